/*
 * raw: the guest's bytes as they are. Its size is that of the file rounded up to a
 * sector; the missing tail reads as zeros.
 *
 * Runtime options `offset` and `size` open a window of the file.
 */
#ifndef FORMATS_RAW_H
#define FORMATS_RAW_H

#include "formats/format.h"

extern const struct format format_raw;

/* Any blk as an image of `format`, a driver without a structure of its own: the guest's
 * bytes are those of lower. Takes lower over on success. */
struct image *raw_wrap(struct blk *lower, const struct format *format, struct err *err);

#endif
