/*
 * The LUKS1 header: "LUKS On-Disk Format Specification", version 1.2.3 (figures 1 and 2,
 * sections 2 to 4). Eight key slots, each of which holds the disk's key, split by crypto/af.h
 * and encrypted by a key that PBKDF2 makes of a passphrase.
 *
 * The header may be anywhere in a file: `base` is its first byte. Payload and key material
 * offsets are sectors of 512 bytes from there.
 *
 * Order on disk: a slot's key material is stable before the header says that it is active.
 * The header has one sector and a bit, and the entry of slot 6 lies in both: what says whether
 * it is active is in the first, which is therefore written last, so that a crash leaves the
 * old or the new slot. A slot that is given up loses that first, and its material in the end.
 *
 * Keys: of key_bytes, in memory of key_alloc(). Passphrases are bytes, not text.
 * Threads: none inside; time: each attempt at a slot takes PBKDF2's iterations.
 */
#ifndef CRYPTO_LUKS1_H
#define CRYPTO_LUKS1_H

#include "crypto/sector.h"
#include "lib/blk.h"

enum {
	LUKS1_HEAD = 592,
	LUKS1_SLOTS = 8,
	LUKS1_DIGEST = 20,
	LUKS1_SALT = 32,
	LUKS1_STRIPES = 4000,
	LUKS1_ITERATIONS_MIN = 1000,
	/* some minutes of work: nobody wants that, but who wants to stop us */
	LUKS1_ITERATIONS_MAX = 1 << 28,
	LUKS1_KEY_MAX = 64,
	LUKS1_ALIGN = 4096, /* of key material and payload in new headers */
};

struct luks1_slot {
	uint32_t active; /* LUKS1_ENABLED or LUKS1_DISABLED */
	uint32_t iterations;
	uint8_t salt[LUKS1_SALT];
	uint32_t key_off, stripes; /* sectors; a count */
};

#define LUKS1_ENABLED  0x00ac71f3u
#define LUKS1_DISABLED 0x0000deadu

struct luks1_header {
	uint8_t magic[6];
	uint16_t version;
	char cipher[32], mode[32], hash[32]; /* "aes", "xts-plain64", "sha256" */
	uint32_t payload_off;		     /* sectors */
	uint32_t key_bytes;
	uint8_t digest[LUKS1_DIGEST], digest_salt[LUKS1_SALT];
	uint32_t digest_iterations;
	char uuid[40];
	struct luks1_slot slot[LUKS1_SLOTS];
};

/* What cipher and mode mean here: the strings that struct sector_spec borrows. */
struct luks1_spec {
	struct sector_spec spec;
	char cipher[32], mode[32], iv[32], iv_hash[32];
};

struct luks1_secret {
	const uint8_t *bytes;
	size_t n;
};

/* Is it the beginning of such a header, of any version? 0: no. */
unsigned luks_version(const uint8_t *head, size_t n);
/* Every limit; all that it points to lies in the first `room` bytes from base on. */
int luks1_decode(const uint8_t *buf, size_t n, struct luks1_header *h, struct err *err);
int luks1_check(const struct luks1_header *h, uint64_t room, struct err *err);
/* Ciphers that are not here: an error that names them. */
int luks1_translate(const struct luks1_header *h, struct luks1_spec *out, struct err *err);
int luks1_read(struct blk *file, uint64_t base, struct luks1_header *h, struct err *err);
int luks1_write(struct blk *file, uint64_t base, const struct luks1_header *h, struct err *err);

/* A header without active slots for what spec says; hash: of slots and splitter. Bytes before
 * the payload are luks1_payload(). iter_time: milliseconds. key: the disk's. */
int luks1_new(struct luks1_header *h, const struct sector_spec *spec, const char *hash,
	      const uint8_t *uuid, const uint8_t *key, unsigned iter_time, struct err *err);
uint64_t luks1_payload(const struct luks1_header *h);
/* The same of a new header for a key of n bytes. */
uint64_t luks1_payload_of(size_t n);
/* A disk's key, to be given to key_free(). */
uint8_t *luks1_random_key(size_t n, struct err *err);

/* Finds the key with this passphrase: in slot `only`, or in any (-1). *slot (may be NULL)
 * says where. EACCES: it fits none. */
int luks1_unlock(struct blk *file, uint64_t base, const struct luks1_header *h,
		 struct luks1_secret pass, int only, uint8_t *key, unsigned *slot,
		 struct err *err);
/* Puts the key under this passphrase into slot i, which is not active. */
int luks1_set_slot(struct blk *file, uint64_t base, struct luks1_header *h, unsigned i,
		   const uint8_t *key, struct luks1_secret pass, unsigned iter_time,
		   struct err *err);
/* Ends slot i: neither it nor what was in it is there afterwards. */
int luks1_drop_slot(struct blk *file, uint64_t base, struct luks1_header *h, unsigned i,
		    struct err *err);

#endif
