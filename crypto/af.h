/*
 * The anti-forensic splitter of LUKS ("LUKS On-Disk Format Specification 1.2.3", section
 * 2.4): a key is blown up to `stripes` times its size such that each lost bit of it loses the
 * key, which makes it possible to destroy a key on a disk that keeps old sectors.
 *
 * Pure but for random bytes and memory.
 */
#ifndef CRYPTO_AF_H
#define CRYPTO_AF_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* out: n * stripes bytes. */
int af_split(const char *hash, const uint8_t *key, size_t n, unsigned stripes, uint8_t *out,
	     struct err *err);
int af_merge(const char *hash, const uint8_t *split, size_t n, unsigned stripes, uint8_t *key,
	     struct err *err);

#endif
