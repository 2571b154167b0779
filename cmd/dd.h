/*
 * dd, in two parts: dd.c what was asked for and the images, dd_stream.c standard input and
 * output.
 */
#ifndef CMD_DD_H
#define CMD_DD_H

#include "lib/chain.h"

/* Writes n bytes of `from`, and then zeros up to `size`, to standard output. */
int dd_write_stream(struct blk *from, uint64_t n, uint64_t size, struct err *err);
/* What standard input still has to give, where that can be told. */
bool dd_stream_size(uint64_t *size);
/* Copies at most n bytes of standard input, less if it ends before, after the first `skip`.
 * `zero`: the target reads as zeros. False in *reached: it ended in what is skipped. */
int dd_read_stream(struct blk *to, uint64_t skip, uint64_t n, bool zero, bool *reached,
		   struct err *err);

#endif
