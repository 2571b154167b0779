#include "crypto/cipher.h"

#include <errno.h>
#include <string.h>

#include <nettle/nettle-meta.h>

#include "crypto/keymem.h"
#include "lib/mem.h"

static const struct {
	const char *name;
	const struct nettle_cipher *kind;
} ciphers[] = {
	{"aes-128", &nettle_aes128},	       {"aes-192", &nettle_aes192},
	{"aes-256", &nettle_aes256},	       {"cast5-128", &nettle_cast128},
	{"serpent-128", &nettle_serpent128},   {"serpent-192", &nettle_serpent192},
	{"serpent-256", &nettle_serpent256},   {"twofish-128", &nettle_twofish128},
	{"twofish-192", &nettle_twofish192},   {"twofish-256", &nettle_twofish256},
	{"camellia-128", &nettle_camellia128}, {"camellia-192", &nettle_camellia192},
	{"camellia-256", &nettle_camellia256},
};

struct cipher {
	const struct nettle_cipher *kind;
	void *encrypt, *decrypt;
};

static const struct nettle_cipher *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(ciphers); i++)
		if (strcmp(ciphers[i].name, name) == 0)
			return ciphers[i].kind;
	return NULL;
}

const char *cipher_name(size_t i)
{
	return i < ARRAY_LEN(ciphers) ? ciphers[i].name : NULL;
}

size_t cipher_key_size(const char *name)
{
	const struct nettle_cipher *kind = find(name);

	return kind ? kind->key_size : 0;
}

size_t cipher_block_size(const char *name)
{
	const struct nettle_cipher *kind = find(name);

	return kind ? kind->block_size : 0;
}

struct cipher *cipher_new(const char *name, const uint8_t *key, struct err *err)
{
	const struct nettle_cipher *kind = find(name);
	size_t context;
	struct cipher *c;

	if (!kind) {
		err_set(err, ENOTSUP, "There is no cipher '%s' here", name);
		return NULL;
	}
	context = round_up(kind->context_size, 64);
	c = key_alloc(64 + 2 * context, err);
	if (!c)
		return NULL;
	c->kind = kind;
	c->encrypt = (uint8_t *)c + 64;
	c->decrypt = (uint8_t *)c + 64 + context;
	kind->set_encrypt_key(c->encrypt, key);
	kind->set_decrypt_key(c->decrypt, key);
	return c;
}

void cipher_free(struct cipher *c)
{
	key_free(c);
}

size_t cipher_block(const struct cipher *c)
{
	return c->kind->block_size;
}

void cipher_encrypt(const struct cipher *c, uint8_t *to, const uint8_t *from, size_t n)
{
	c->kind->encrypt(c->encrypt, n, to, from);
}

void cipher_decrypt(const struct cipher *c, uint8_t *to, const uint8_t *from, size_t n)
{
	c->kind->decrypt(c->decrypt, n, to, from);
}
