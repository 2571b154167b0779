/*
 * Keys of LUKS1: the disk's key in and out of its slots.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "crypto/af.h"
#include "crypto/hash.h"
#include "crypto/keymem.h"
#include "crypto/luks1.h"
#include "lib/mem.h"

#define MASTER_PART 8 /* of the time for a slot: the digest of the key is checked each time */

static size_t material_of(size_t key)
{
	return round_up(key * LUKS1_STRIPES, SECTOR_SIZE);
}

/* Bytes in a slot, whole sectors. */
static size_t material(const struct luks1_header *h)
{
	return material_of(h->key_bytes);
}

uint64_t luks1_payload_of(size_t n)
{
	return LUKS1_ALIGN + LUKS1_SLOTS * round_up(material_of(n), LUKS1_ALIGN);
}

static int random_bytes(void *out, size_t n, struct err *err)
{
	if (getrandom(out, n, 0) != (ssize_t)n)
		return err_sys(err, "Could not get random bytes");
	return 0;
}

uint8_t *luks1_random_key(size_t n, struct err *err)
{
	uint8_t *key = key_alloc(n, err);

	if (key && random_bytes(key, n, err)) {
		key_free(key);
		return NULL;
	}
	return key;
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* How many iterations take so many milliseconds here; at least the least that is safe. */
static int calibrate(const char *hash, size_t n, double ms, uint32_t *out, struct err *err)
{
	uint8_t key[LUKS1_KEY_MAX], salt[LUKS1_SALT] = {0};
	uint32_t count = 1000;
	double took = 0, want;

	for (; took < 0.02 && count < UINT32_C(1) << 30; count *= 2) {
		double began = cpu_seconds();

		if (hash_pbkdf2(hash, "password", 8, salt, sizeof(salt), count, key, n, err))
			return -1;
		took = cpu_seconds() - began;
	}
	want = count / 2 / took * ms / 1000;
	*out = (uint32_t)MIN(MAX(want, LUKS1_ITERATIONS_MIN), UINT32_MAX);
	return 0;
}

/* ---- a new header ----------------------------------------------------------------------- */

static void put_text(char *to, size_t room, const char *a, const char *b, const char *c)
{
	/* the names are our own, and short */
	snprintf(to, room, "%s%s%s%s%s", a, b ? "-" : "", b ? b : "", c ? ":" : "", c ? c : "");
}

static int set_digest(struct luks1_header *h, const uint8_t *key, struct err *err)
{
	return hash_pbkdf2(h->hash, key, h->key_bytes, h->digest_salt, LUKS1_SALT,
			   h->digest_iterations, h->digest, LUKS1_DIGEST, err);
}

static void set_uuid(struct luks1_header *h, const uint8_t *u)
{
	snprintf(h->uuid, sizeof(h->uuid),
		 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
		 u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		 u[13], u[14], u[15]);
}

int luks1_new(struct luks1_header *h, const struct sector_spec *spec, const char *hash,
	      const uint8_t *uuid, const uint8_t *key, unsigned iter_time, struct err *err)
{
	const char *dash = strrchr(spec->cipher, '-');
	uint64_t at = LUKS1_ALIGN, step;

	memset(h, 0, sizeof(*h));
	memcpy(h->magic, "LUKS\xba\xbe", sizeof(h->magic));
	h->version = 1;
	memcpy(h->cipher, spec->cipher,
	       MIN((size_t)(dash ? dash - spec->cipher : 0), sizeof(h->cipher) - 1));
	put_text(h->mode, sizeof(h->mode), spec->mode, spec->iv, spec->iv_hash);
	put_text(h->hash, sizeof(h->hash), hash, NULL, NULL);
	h->key_bytes = (uint32_t)sector_key_size(spec);
	set_uuid(h, uuid);
	step = round_up(material(h), LUKS1_ALIGN);
	for (unsigned i = 0; i < LUKS1_SLOTS; i++, at += step)
		h->slot[i] = (struct luks1_slot){.active = LUKS1_DISABLED,
						 .key_off = (uint32_t)(at / SECTOR_SIZE),
						 .stripes = LUKS1_STRIPES};
	h->payload_off = (uint32_t)(at / SECTOR_SIZE);
	if (random_bytes(h->digest_salt, LUKS1_SALT, err) ||
	    calibrate(h->hash, LUKS1_DIGEST, (double)iter_time / MASTER_PART,
		      &h->digest_iterations, err))
		return -1;
	return set_digest(h, key, err);
}

/* ---- slots ------------------------------------------------------------------------------ */

/* What a slot's material is encrypted with. */
static struct sector *slot_cipher(const struct luks1_header *h, const struct luks1_slot *s,
				  struct luks1_secret pass, struct err *err)
{
	uint8_t *key = key_alloc(h->key_bytes, err);
	struct sector *cipher = NULL;
	struct luks1_spec spec;

	if (!key)
		return NULL;
	if (luks1_translate(h, &spec, err) == 0 &&
	    hash_pbkdf2(h->hash, pass.bytes, pass.n, s->salt, LUKS1_SALT, s->iterations, key,
			h->key_bytes, err) == 0)
		cipher = sector_new(&spec.spec, key, h->key_bytes, err);
	key_free(key);
	return cipher;
}

/* In time that does not depend on where they differ. */
static bool same_bytes(const uint8_t *a, const uint8_t *b, size_t n)
{
	unsigned differ = 0;

	for (size_t i = 0; i < n; i++)
		differ |= (unsigned)(a[i] ^ b[i]);
	return differ == 0;
}

static int key_fits(const struct luks1_header *h, const uint8_t *key, bool *fits,
		    struct err *err)
{
	struct luks1_header copy = *h;

	if (set_digest(&copy, key, err))
		return -1;
	*fits = same_bytes(copy.digest, h->digest, LUKS1_DIGEST);
	return 0;
}

static int check_work(const char *what, uint32_t iterations, struct err *err)
{
	if (iterations <= LUKS1_ITERATIONS_MAX)
		return 0;
	return err_set(err, EINVAL,
		       "%s wants %" PRIu32 " iterations of its hash, which would take very "
		       "long; at most %d are done",
		       what, iterations, LUKS1_ITERATIONS_MAX);
}

/* Tries one slot. */
static int try_slot(struct blk *file, uint64_t base, const struct luks1_header *h, unsigned i,
		    struct luks1_secret pass, uint8_t *split, uint8_t *key, bool *fits,
		    struct err *err)
{
	const struct luks1_slot *s = &h->slot[i];
	struct sector *cipher;
	int rc;

	if (check_work("A key slot", s->iterations, err) ||
	    check_work("The key's digest", h->digest_iterations, err))
		return -1;
	cipher = slot_cipher(h, s, pass, err);
	if (!cipher)
		return -1;
	rc = blk_pread(file, split, material(h), base + (uint64_t)s->key_off * SECTOR_SIZE,
		       err);
	if (rc == 0) {
		sector_decrypt(cipher, 0, split, material(h));
		rc = af_merge(h->hash, split, h->key_bytes, LUKS1_STRIPES, key, err);
	}
	sector_free(cipher);
	return rc ? rc : key_fits(h, key, fits, err);
}

int luks1_unlock(struct blk *file, uint64_t base, const struct luks1_header *h,
		 struct luks1_secret pass, int only, uint8_t *key, unsigned *slot,
		 struct err *err)
{
	uint8_t *split = key_alloc(material(h), err);
	bool fits = false;
	int rc = 0;

	if (!split)
		return -1;
	for (unsigned i = 0; i < LUKS1_SLOTS && rc == 0 && !fits; i++) {
		if (h->slot[i].active != LUKS1_ENABLED || (only >= 0 && (unsigned)only != i))
			continue;
		rc = try_slot(file, base, h, i, pass, split, key, &fits, err);
		if (fits && slot)
			*slot = i;
	}
	key_free(split);
	if (rc == 0 && !fits) {
		explicit_bzero(key, h->key_bytes);
		return err_set(err, EACCES, "Invalid password, cannot unlock any keyslot");
	}
	return rc;
}

int luks1_set_slot(struct blk *file, uint64_t base, struct luks1_header *h, unsigned i,
		   const uint8_t *key, struct luks1_secret pass, unsigned iter_time,
		   struct err *err)
{
	struct luks1_slot s = h->slot[i];
	struct sector *cipher = NULL;
	uint8_t *split;
	int rc = -1;

	if (random_bytes(s.salt, LUKS1_SALT, err) ||
	    calibrate(h->hash, h->key_bytes, iter_time, &s.iterations, err))
		return -1;
	split = key_alloc(material(h), err);
	if (!split)
		return -1;
	cipher = slot_cipher(h, &s, pass, err);
	if (cipher && af_split(h->hash, key, h->key_bytes, LUKS1_STRIPES, split, err) == 0) {
		sector_encrypt(cipher, 0, split, material(h));
		rc = blk_pwrite(file, split, material(h),
				base + (uint64_t)s.key_off * SECTOR_SIZE, 0, err);
	}
	sector_free(cipher);
	key_free(split);
	if (rc || blk_flush(file, err))
		return -1;
	s.active = LUKS1_ENABLED;
	h->slot[i] = s;
	return luks1_write(file, base, h, err);
}

int luks1_drop_slot(struct blk *file, uint64_t base, struct luks1_header *h, unsigned i,
		    struct err *err)
{
	struct luks1_slot *s = &h->slot[i];
	AUTO_FREE uint8_t *noise = malloc(material(h));

	if (!noise)
		return err_nomem(err, material(h), "a key slot");
	s->active = LUKS1_DISABLED;
	if (luks1_write(file, base, h, err))
		return -1;
	s->iterations = 0;
	memset(s->salt, 0, LUKS1_SALT);
	for (size_t at = 0; at < material(h); at += 256)
		if (random_bytes(noise + at, MIN(256, material(h) - at), err))
			return -1;
	if (blk_pwrite(file, noise, material(h), base + (uint64_t)s->key_off * SECTOR_SIZE, 0,
		       err))
		return -1;
	return luks1_write(file, base, h, err);
}
