/*
 * Reading of what is encrypted in places of a file: whole sectors are read and decrypted, and
 * what was asked for of them is given.
 *
 * Threads: any.
 */
#ifndef CRYPTO_CODED_H
#define CRYPTO_CODED_H

#include "crypto/sector.h"
#include "lib/blk.h"

/*
 * n bytes at host of home, of which the first is in the sector numbered `number`, at `in`
 * (< 512) of it: the sector begins at host - in.
 */
int coded_read(const struct sector *s, struct blk *home, uint64_t host, uint64_t number,
	       size_t in, void *to, size_t n, struct err *err);

#endif
