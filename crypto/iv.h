/*
 * Initialisation vectors: from the number of a sector to the first block of its mode.
 *
 *	plain      the number, 32 bits, little-endian
 *	plain64    64 bits
 *	plain64be  64 bits, big-endian, at the end of the vector
 *	essiv      plain64, encrypted by a hash of the key (the cipher of the same family
 *	           whose key is as long as the digest)
 *	benbi      big-endian number of the sector's first cipher block, counted from one
 *	null       zeros
 *
 * The names and the first five are those of dm-crypt ("IV generators" of its documentation).
 * Threads: immutable once made.
 */
#ifndef CRYPTO_IV_H
#define CRYPTO_IV_H

#include "crypto/cipher.h"

struct iv;

/* Is there one of that name, and does it want a hash? */
bool iv_known(const char *name, bool *wants_hash);
/* cipher: of the data; key: n bytes, for essiv. hash: NULL where none is wanted. */
struct iv *iv_new(const char *name, const char *hash, const char *cipher, const uint8_t *key,
		  size_t n, struct err *err);
void iv_free(struct iv *iv);
/* The vectors of n sectors from `first` on, one block each. */
void iv_make(const struct iv *iv, uint64_t first, size_t n, uint8_t *out);

#endif
