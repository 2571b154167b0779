#include "crypto/luks1_options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crypto/hash.h"
#include "crypto/iv.h"
#include "crypto/keymem.h"
#include "crypto/secret.h"
#include "lib/mem.h"

#define KEY_ROOM 40 /* of an option's name */

static const char *full_name(const char *prefix, const char *key, char out[KEY_ROOM])
{
	snprintf(out, KEY_ROOM, "%s%s", prefix, key);
	return out;
}

const char *luks1_value(const struct opts *o, const char *prefix, const char *key)
{
	char name[KEY_ROOM];

	return opts_get(o, full_name(prefix, key, name));
}

int luks1_number(const struct opts *o, const char *prefix, const char *key, uint64_t max,
		 uint64_t *out, struct err *err)
{
	char name[KEY_ROOM];

	return opts_num(o, full_name(prefix, key, name), max, out, err);
}

/* ---- a new header ------------------------------------------------------------------------ */

static int refuse(const char *key, const char *value, struct err *err)
{
	return err_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", key, value);
}

static const char *or_else(const char *value, const char *initial)
{
	return value ? value : initial;
}

int luks1_wish(const struct opts *o, const char *prefix, struct luks1_wish *w, struct err *err)
{
	uint64_t ms = LUKS1_ITER_TIME;
	bool salted;

	w->spec = (struct sector_spec){
		.cipher = or_else(luks1_value(o, prefix, "cipher-alg"), "aes-256"),
		.mode = or_else(luks1_value(o, prefix, "cipher-mode"), "xts"),
		.iv = or_else(luks1_value(o, prefix, "ivgen-alg"), "plain64"),
		.iv_hash = luks1_value(o, prefix, "ivgen-hash-alg"),
	};
	w->hash = or_else(luks1_value(o, prefix, "hash-alg"), "sha256");
	if (!cipher_key_size(w->spec.cipher))
		return refuse("cipher-alg", w->spec.cipher, err);
	if (!sector_mode_known(w->spec.mode))
		return refuse("cipher-mode", w->spec.mode, err);
	if (!iv_known(w->spec.iv, &salted))
		return refuse("ivgen-alg", w->spec.iv, err);
	if (!hash_known(w->hash))
		return refuse("hash-alg", w->hash, err);
	if (w->spec.iv_hash && !hash_known(w->spec.iv_hash))
		return refuse("ivgen-hash-alg", w->spec.iv_hash, err);
	if (salted && !w->spec.iv_hash)
		w->spec.iv_hash = "sha256";
	if (!salted)
		w->spec.iv_hash = NULL;
	if (strcmp(w->spec.mode, "xts") == 0 &&
	    cipher_block_size(w->spec.cipher) != CIPHER_BLOCK_MAX)
		return err_set(err, EINVAL, "Unsupported cipher mode xts");
	if (luks1_number(o, prefix, "iter-time", UINT32_MAX, &ms, err))
		return -1;
	w->iter_time = (unsigned)ms;
	w->secret = luks1_value(o, prefix, "key-secret");
	if (!w->secret)
		return err_set(err, EINVAL, "Parameter '%skey-secret' is required for cipher",
			       prefix);
	return secret_find(w->secret, err) ? 0 : -1;
}

int luks1_make(struct blk *file, uint64_t base, const struct luks1_wish *w, const uint8_t *uuid,
	       struct luks1_header *h, uint8_t **key, struct err *err)
{
	const struct secret *s = secret_find(w->secret, err);

	*key = s ? luks1_random_key(sector_key_size(&w->spec), err) : NULL;
	if (!*key)
		return -1;
	if (luks1_new(h, &w->spec, w->hash, uuid, *key, w->iter_time, err) == 0 &&
	    luks1_write(file, base, h, err) == 0 &&
	    luks1_set_slot(file, base, h, 0, *key, (struct luks1_secret){s->bytes, s->n},
			   w->iter_time, err) == 0)
		return 0;
	key_free(*key);
	*key = NULL;
	return -1;
}

int luks1_open_secret(struct blk *file, uint64_t base, const struct luks1_header *h,
		      const char *secret, uint8_t **key, struct sector **sector,
		      struct err *err)
{
	const struct secret *s = secret_find(secret, err);
	struct luks1_spec spec;

	*sector = NULL;
	*key = s ? key_alloc(h->key_bytes, err) : NULL;
	if (!*key)
		return -1;
	if (luks1_unlock(file, base, h, (struct luks1_secret){s->bytes, s->n}, -1, *key, NULL,
			 err) == 0 &&
	    luks1_translate(h, &spec, err) == 0)
		*sector = sector_new(&spec.spec, *key, h->key_bytes, err);
	if (*sector)
		return 0;
	key_free(*key);
	*key = NULL;
	return -1;
}
