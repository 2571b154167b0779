#include "crypto/legacy.h"

#include <string.h>

#include "crypto/secret.h"
#include "lib/mem.h"

struct sector *legacy_sector(const char *secret, struct err *err)
{
	static const struct sector_spec spec = {
		.cipher = "aes-128", .mode = "cbc", .iv = "plain64"};
	const struct secret *s = secret_find(secret, err);
	uint8_t key[16] = {0};
	struct sector *sector;

	if (!s)
		return NULL;
	memcpy(key, s->bytes, MIN(s->n, sizeof(key)));
	sector = sector_new(&spec, key, sizeof(key), err);
	explicit_bzero(key, sizeof(key));
	return sector;
}
