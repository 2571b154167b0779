/*
 * A file that was taken for raw because no format knew it, and is written: a filter
 * below the raw image that refuses what would make the next one who looks at the file
 * find another format in it. Who controls the guest's first sector would else choose
 * what the host opens (a backing file name, say).
 */
#ifndef CMD_GUARD_H
#define CMD_GUARD_H

#include "lib/blk.h"

/* Prints the warning if asked for. Takes file over, also on failure. */
struct blk *guard_new(struct blk *file, bool warn, struct err *err);

#endif
