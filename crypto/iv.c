#include "crypto/iv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/hash.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define SECTOR 512u

enum kind { PLAIN, PLAIN64, PLAIN64BE, ESSIV, BENBI, NONE };

static const char *const names[] = {"plain", "plain64", "plain64be", "essiv", "benbi", "null"};

struct iv {
	enum kind kind;
	size_t block;
	unsigned per_sector;   /* log2 of cipher blocks in a sector */
	struct cipher *salted; /* essiv */
};

static int find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return -1;
}

bool iv_known(const char *name, bool *wants_hash)
{
	int kind = find(name);

	*wants_hash = kind == ESSIV;
	return kind >= 0;
}

/* The cipher of the family whose key has n bytes. */
static int sibling(const char *cipher, size_t n, char *out, size_t room, struct err *err)
{
	const char *dash = strrchr(cipher, '-');
	int family = dash ? (int)(dash - cipher) : (int)strlen(cipher);

	snprintf(out, room, "%.*s-%zu", family, cipher, 8 * n);
	if (cipher_key_size(out) == n)
		return 0;
	return err_set(err, EINVAL, "No %.*s cipher has a key as long as the hash (%zu bytes)",
		       family, cipher, n);
}

static struct cipher *salted(const char *hash, const char *cipher, const uint8_t *key, size_t n,
			     struct err *err)
{
	struct hash *h = hash_new(hash, err);
	uint8_t digest[HASH_MAX];
	struct cipher *c = NULL;
	char name[32];

	if (!h)
		return NULL;
	hash_update(h, key, n);
	hash_final(h, digest);
	if (sibling(cipher, hash_size(h), name, sizeof(name), err) == 0)
		c = cipher_new(name, digest, err);
	explicit_bzero(digest, sizeof(digest));
	hash_free(h);
	return c;
}

struct iv *iv_new(const char *name, const char *hash, const char *cipher, const uint8_t *key,
		  size_t n, struct err *err)
{
	int kind = find(name);
	struct iv *iv;

	if (kind < 0) {
		err_set(err, ENOTSUP, "There is no IV generator '%s' here", name);
		return NULL;
	}
	if (kind == ESSIV && !hash) {
		err_set(err, EINVAL, "The IV generator essiv needs a hash");
		return NULL;
	}
	iv = calloc(1, sizeof(*iv));
	if (!iv) {
		err_nomem(err, sizeof(*iv), "an IV generator");
		return NULL;
	}
	iv->kind = (enum kind)kind;
	iv->block = cipher_block_size(cipher);
	iv->per_sector = iv->block == 8 ? 6 : 5;
	if (kind == ESSIV)
		iv->salted = salted(hash, cipher, key, n, err);
	if (kind == ESSIV && !iv->salted) {
		free(iv);
		return NULL;
	}
	return iv;
}

void iv_free(struct iv *iv)
{
	if (!iv)
		return;
	cipher_free(iv->salted);
	free(iv);
}

static void make_one(const struct iv *iv, uint64_t sector, uint8_t *out)
{
	switch (iv->kind) {
	case PLAIN:
		put_le32(out, (uint32_t)sector);
		break;
	case PLAIN64:
	case ESSIV:
		put_le64(out, sector);
		break;
	case PLAIN64BE:
		put_be64(out + iv->block - 8, sector);
		break;
	case BENBI:
		put_be64(out + iv->block - 8, (sector << iv->per_sector) + 1);
		break;
	case NONE:
		break;
	}
}

void iv_make(const struct iv *iv, uint64_t first, size_t n, uint8_t *out)
{
	memset(out, 0, n * iv->block);
	for (size_t i = 0; i < n; i++)
		make_one(iv, first + i, out + i * iv->block);
	if (iv->kind == ESSIV)
		cipher_encrypt(iv->salted, out, out, n * iv->block);
}
