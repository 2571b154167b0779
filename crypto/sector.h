/*
 * Encryption of disks: key, cipher, mode and IV generator, for whole runs of sectors.
 *
 * Modes: ecb, cbc, ctr, xts (IEEE 1619). All work on many blocks a call: in xts the tweaks of
 * several sectors are made first; in cbc, where each block waits for the one before, the
 * sectors go side by side.
 *
 * Units: bytes; a sector has 512.
 * Threads: immutable once made; many may use it at once.
 */
#ifndef CRYPTO_SECTOR_H
#define CRYPTO_SECTOR_H

#include "crypto/cipher.h"

#define SECTOR_SIZE 512u

struct sector_spec {
	const char *cipher; /* "aes-256" */
	const char *mode;
	const char *iv;	     /* NULL: none, for ecb */
	const char *iv_hash; /* or NULL */
};

struct sector;

/* Bytes of the key of such a thing (xts: two keys); 0: the cipher or mode is unknown. */
size_t sector_key_size(const struct sector_spec *spec);
bool sector_mode_known(const char *mode);
/* n must be sector_key_size(). */
struct sector *sector_new(const struct sector_spec *spec, const uint8_t *key, size_t n,
			  struct err *err);
void sector_free(struct sector *s);
/* n bytes, whole sectors, of which the first has the number `first`; in place. */
void sector_encrypt(const struct sector *s, uint64_t first, uint8_t *buf, size_t n);
void sector_decrypt(const struct sector *s, uint64_t first, uint8_t *buf, size_t n);

#endif
