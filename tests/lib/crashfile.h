/*
 * A file in memory whose writes reach the disk only with a flush, for tests of what a
 * crash leaves: at any time it tells one of the states that a power failure could leave,
 * with some sectors of some of the writes since the last flush.
 */
#ifndef TESTS_LIB_CRASHFILE_H
#define TESTS_LIB_CRASHFILE_H

#include "lib/blk.h"

/* Empty; grows on writes up to max bytes. */
struct blk *crashfile_new(size_t max, struct err *err);
/* Present contents; borrowed. */
const void *crashfile_data(struct blk *blk);
/* A state after a crash, chosen by `seed`: buf has max bytes. Returns its length. */
size_t crashfile_crash(struct blk *blk, unsigned seed, void *buf);
/* Called before each write and flush: a good moment for a crash. NULL: nobody. */
void crashfile_hook(struct blk *blk, void (*hook)(void *arg), void *arg);

#endif
