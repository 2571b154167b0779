/*
 * The options of a LUKS1 header, which are the same for a luks image and, behind "encrypt.",
 * for a qcow2 one: those of a new header, those that change key slots, and what info tells.
 *
 * prefix: "" or "encrypt.". Errors are in QEMU's words. Threads: none.
 */
#ifndef CRYPTO_LUKS1_OPTIONS_H
#define CRYPTO_LUKS1_OPTIONS_H

#include "crypto/luks1.h"
#include "lib/json.h"
#include "lib/opt.h"

#define LUKS1_ITER_TIME 2000u /* milliseconds */

/* The value of PREFIXkey. */
const char *luks1_value(const struct opts *o, const char *prefix, const char *key);
int luks1_number(const struct opts *o, const char *prefix, const char *key, uint64_t max,
		 uint64_t *out, struct err *err);

/* What a new header is to be; strings are borrowed from the options. */
struct luks1_wish {
	struct sector_spec spec;
	const char *hash;
	unsigned iter_time;
	const char *secret; /* its id; defined */
};

int luks1_wish(const struct opts *o, const char *prefix, struct luks1_wish *w, struct err *err);
/* Writes a header and its first slot to base of file, which is long enough. *key: the disk's,
 * to be given to key_free(). */
int luks1_make(struct blk *file, uint64_t base, const struct luks1_wish *w, const uint8_t *uuid,
	       struct luks1_header *h, uint8_t **key, struct err *err);

/* An open header whose slots are to be changed. */
struct luks1_volume {
	struct blk *file;
	uint64_t base;
	struct luks1_header *h;
	const uint8_t *key;
};

/* force: also what loses the last key. */
int luks1_amend(const struct luks1_volume *v, const struct opts *o, const char *prefix,
		bool force, struct err *err);
/* The key by the secret named so, and what uses it. */
int luks1_open_secret(struct blk *file, uint64_t base, const struct luks1_header *h,
		      const char *secret, uint8_t **key, struct sector **sector,
		      struct err *err);
/* Adds the peer's members, in its order; format NULL: it has none. The payload is told of only
 * where there is no format. */
int luks1_tell(const struct luks1_header *h, const char *format, struct json *d,
	       struct err *err);

#endif
