#include "crypto/af.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "crypto/hash.h"
#include "lib/bytes.h"
#include "lib/mem.h"

static int random_bytes(uint8_t *out, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t got = getrandom(out, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(err, "Could not get random bytes");
		out += got;
		n -= (size_t)got;
	}
	return 0;
}

/* Each piece as long as a digest becomes its hash, numbered. */
static void diffuse(struct hash *h, uint8_t *block, size_t n)
{
	size_t step = hash_size(h);
	uint8_t number[4], digest[HASH_MAX];

	for (size_t at = 0, i = 0; at < n; at += step, i++) {
		size_t len = MIN(step, n - at);

		put_be32(number, (uint32_t)i);
		hash_update(h, number, sizeof(number));
		hash_update(h, block + at, len);
		hash_final(h, digest);
		memcpy(block + at, digest, len);
	}
	explicit_bzero(digest, sizeof(digest));
}

static void mix(uint8_t *d, const uint8_t *stripe, size_t n)
{
	for (size_t i = 0; i < n; i++)
		d[i] ^= stripe[i];
}

/* All stripes but the last, into d, which was zeros. */
static void fold(struct hash *h, const uint8_t *split, size_t n, unsigned stripes, uint8_t *d)
{
	for (unsigned k = 0; k + 1 < stripes; k++) {
		mix(d, split + (size_t)k * n, n);
		diffuse(h, d, n);
	}
}

int af_split(const char *hash, const uint8_t *key, size_t n, unsigned stripes, uint8_t *out,
	     struct err *err)
{
	uint8_t *last = out + (size_t)(stripes - 1) * n;
	struct hash *h;

	if (random_bytes(out, (size_t)(stripes - 1) * n, err))
		return -1;
	h = hash_new(hash, err);
	if (!h)
		return -1;
	memset(last, 0, n);
	fold(h, out, n, stripes, last);
	mix(last, key, n);
	hash_free(h);
	return 0;
}

int af_merge(const char *hash, const uint8_t *split, size_t n, unsigned stripes, uint8_t *key,
	     struct err *err)
{
	struct hash *h = hash_new(hash, err);

	if (!h)
		return -1;
	memset(key, 0, n);
	fold(h, split, n, stripes, key);
	mix(key, split + (size_t)(stripes - 1) * n, n);
	hash_free(h);
	return 0;
}
