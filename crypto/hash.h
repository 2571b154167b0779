/*
 * Hashes, by the names that images and their manifests use: md5, sha1, sha224, sha256,
 * sha384, sha512, ripemd160. Nettle does the work; nobody else includes it for that.
 *
 * Ownership: hash_new() gives an object that hash_free() wipes and frees; NULL is fine.
 * Threads: an object belongs to one thread at a time.
 */
#ifndef CRYPTO_HASH_H
#define CRYPTO_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define HASH_MAX 64		    /* bytes of the longest digest */
#define HASH_HEX (2 * HASH_MAX + 1) /* as text, with its end */

struct hash;

/* Is there one of that name? In either case, with or without a dash: "SHA256", "sha-256". */
bool hash_known(const char *name);
/* NULL: unknown (ENOTSUP), or no memory. */
struct hash *hash_new(const char *name, struct err *err);
/* Bytes of its digest. */
size_t hash_size(const struct hash *h);
void hash_update(struct hash *h, const void *data, size_t n);
/* Writes hash_size() bytes; after it the object is as new. */
void hash_final(struct hash *h, uint8_t *digest);
/* The same as lower-case hexadecimal digits. */
const char *hash_final_hex(struct hash *h, char out[HASH_HEX]);
void hash_free(struct hash *h);

/*
 * PBKDF2 (RFC 8018) over HMAC of that hash: n bytes from a passphrase. Takes time in
 * proportion to iterations (at least one) and to n.
 */
int hash_pbkdf2(const char *name, const void *pass, size_t npass, const void *salt,
		size_t nsalt, uint32_t iterations, uint8_t *out, size_t n, struct err *err);

#endif
