#include "crypto/hash.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <nettle/hmac.h>
#include <nettle/nettle-meta.h>
#include <nettle/pbkdf2.h>

#include "crypto/keymem.h"
#include "lib/mem.h"

struct hash {
	const struct nettle_hash *kind;
	void *state; /* kind->context_size bytes */
};

static const struct nettle_hash *const kinds[] = {
	&nettle_md5,	&nettle_sha1,	&nettle_sha224,	   &nettle_sha256,
	&nettle_sha384, &nettle_sha512, &nettle_ripemd160,
};

/* "SHA-256" is sha256. */
static bool same_name(const char *a, const char *b)
{
	for (; *a || *b; a++, b++) {
		if (*a == '-')
			a++;
		if (tolower((unsigned char)*a) != *b)
			return false;
		if (!*a)
			break;
	}
	return true;
}

static const struct nettle_hash *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (same_name(name, kinds[i]->name))
			return kinds[i];
	return NULL;
}

bool hash_known(const char *name)
{
	return find(name);
}

struct hash *hash_new(const char *name, struct err *err)
{
	const struct nettle_hash *kind = find(name);
	struct hash *h;

	if (!kind) {
		err_set(err, ENOTSUP, "There is no hash '%s' here", name);
		return NULL;
	}
	h = calloc(1, sizeof(*h));
	if (h)
		h->state = malloc(kind->context_size);
	if (!h || !h->state) {
		free(h);
		err_nomem(err, kind->context_size, "a hash");
		return NULL;
	}
	h->kind = kind;
	kind->init(h->state);
	return h;
}

size_t hash_size(const struct hash *h)
{
	return h->kind->digest_size;
}

void hash_update(struct hash *h, const void *data, size_t n)
{
	h->kind->update(h->state, n, data);
}

void hash_final(struct hash *h, uint8_t *digest)
{
	h->kind->digest(h->state, h->kind->digest_size, digest);
}

const char *hash_final_hex(struct hash *h, char out[HASH_HEX])
{
	static const char digit[] = "0123456789abcdef";
	uint8_t d[HASH_MAX];
	size_t n = hash_size(h);

	hash_final(h, d);
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digit[d[i] >> 4];
		out[2 * i + 1] = digit[d[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}

void hash_free(struct hash *h)
{
	if (!h)
		return;
	explicit_bzero(h->state, h->kind->context_size);
	free(h->state);
	free(h);
}

/* ---- key derivation -------------------------------------------------------------------- */

struct hmac {
	const struct nettle_hash *kind;
	void *outer, *inner, *state;
};

static void update_hmac(void *arg, size_t n, const uint8_t *data)
{
	struct hmac *m = arg;

	hmac_update(m->state, m->kind, n, data);
}

static void digest_hmac(void *arg, size_t n, uint8_t *digest)
{
	struct hmac *m = arg;

	hmac_digest(m->outer, m->inner, m->state, m->kind, n, digest);
}

int hash_pbkdf2(const char *name, const void *pass, size_t npass, const void *salt,
		size_t nsalt, uint32_t iterations, uint8_t *out, size_t n, struct err *err)
{
	struct hmac m = {.kind = find(name)};
	size_t context;
	uint8_t *mem;

	if (!m.kind)
		return err_set(err, ENOTSUP, "There is no hash '%s' here", name);
	context = round_up(m.kind->context_size, 64);
	mem = key_alloc(3 * context, err);
	if (!mem)
		return -1;
	m.outer = mem;
	m.inner = mem + context;
	m.state = mem + 2 * context;
	hmac_set_key(m.outer, m.inner, m.state, m.kind, npass, pass);
	pbkdf2(&m, update_hmac, digest_hmac, m.kind->digest_size, iterations, nsalt, salt, n,
	       out);
	key_free(mem);
	return 0;
}
