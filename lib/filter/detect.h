/*
 * detect-zeroes of a file: writes of nothing but zeros become zero(). (Of an image:
 * struct chain does it.)
 */
#ifndef LIB_FILTER_DETECT_H
#define LIB_FILTER_DETECT_H

#include "lib/blk.h"

/* unmap: with BLK_UNMAP. Takes lower over, also on failure. */
struct blk *detect_new(struct blk *lower, bool unmap, struct err *err);

#endif
