#include "crypto/luks1.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "crypto/hash.h"
#include "crypto/iv.h"
#include "lib/bytes.h"
#include "lib/layout.h"
#include "lib/mem.h"

static const uint8_t magic[6] = "LUKS\xba\xbe";

static const struct field head_fields[] = {
	BYTES(0, struct luks1_header, magic),
	BE16(6, struct luks1_header, version),
	BYTES(8, struct luks1_header, cipher),
	BYTES(40, struct luks1_header, mode),
	BYTES(72, struct luks1_header, hash),
	BE32(104, struct luks1_header, payload_off),
	BE32(108, struct luks1_header, key_bytes),
	BYTES(112, struct luks1_header, digest),
	BYTES(132, struct luks1_header, digest_salt),
	BE32(164, struct luks1_header, digest_iterations),
	BYTES(168, struct luks1_header, uuid),
	FIELD_END,
};

#define SLOT_AT	 208u
#define SLOT_LEN 48u

static const struct field slot_fields[] = {
	BE32(0, struct luks1_slot, active),   BE32(4, struct luks1_slot, iterations),
	BYTES(8, struct luks1_slot, salt),    BE32(40, struct luks1_slot, key_off),
	BE32(44, struct luks1_slot, stripes), FIELD_END,
};

unsigned luks_version(const uint8_t *head, size_t n)
{
	return n >= 8 && memcmp(head, magic, sizeof(magic)) == 0 ? get_be16(head + 6) : 0;
}

int luks1_decode(const uint8_t *buf, size_t n, struct luks1_header *h, struct err *err)
{
	unsigned version = luks_version(buf, n);

	memset(h, 0, sizeof(*h));
	if (version == 0)
		return err_set(err, EINVAL, "Volume is not in LUKS format");
	if (version != 1)
		return err_set(err, ENOTSUP, "LUKS version %u is not supported", version);
	if (n < LUKS1_HEAD)
		return err_set(err, EINVAL, "The LUKS header is cut off after %zu bytes", n);
	layout_decode(head_fields, buf, h);
	for (unsigned i = 0; i < LUKS1_SLOTS; i++)
		layout_decode(slot_fields, buf + SLOT_AT + i * (size_t)SLOT_LEN, &h->slot[i]);
	return 0;
}

static void encode(const struct luks1_header *h, uint8_t buf[LUKS1_HEAD])
{
	memset(buf, 0, LUKS1_HEAD);
	layout_encode(head_fields, h, buf);
	for (unsigned i = 0; i < LUKS1_SLOTS; i++)
		layout_encode(slot_fields, &h->slot[i], buf + SLOT_AT + i * (size_t)SLOT_LEN);
}

int luks1_read(struct blk *file, uint64_t base, struct luks1_header *h, struct err *err)
{
	uint8_t buf[LUKS1_HEAD];
	uint64_t size = blk_size(file);
	size_t n = base < size ? MIN(size - base, sizeof(buf)) : 0;

	if (n > 0 && blk_pread(file, buf, n, base, err))
		return -1;
	return luks1_decode(buf, n, h, err) || luks1_check(h, size - base, err) ? -1 : 0;
}

int luks1_write(struct blk *file, uint64_t base, const struct luks1_header *h, struct err *err)
{
	uint8_t buf[LUKS1_HEAD];

	encode(h, buf);
	if (blk_pwrite(file, buf + SECTOR_SIZE, sizeof(buf) - SECTOR_SIZE, base + SECTOR_SIZE,
		       BLK_FUA, err))
		return -1;
	return blk_pwrite(file, buf, SECTOR_SIZE, base, BLK_FUA, err);
}

/* ---- limits --------------------------------------------------------------------------- */

static int check_text(const char *text, size_t n, const char *what, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\0')
			return 0;
		if (!isprint((unsigned char)text[i]))
			return err_set(err, EINVAL, "LUKS header %s is no text", what);
	}
	return err_set(err, EINVAL, "LUKS header %s is not NUL terminated", what);
}

static uint64_t material(const struct luks1_header *h, const struct luks1_slot *s)
{
	return round_up((uint64_t)h->key_bytes * s->stripes, SECTOR_SIZE) / SECTOR_SIZE;
}

static int check_slot(const struct luks1_header *h, unsigned i, uint64_t room, struct err *err)
{
	const struct luks1_slot *s = &h->slot[i];
	uint64_t end = s->key_off + material(h, s);

	if (s->active != LUKS1_ENABLED && s->active != LUKS1_DISABLED)
		return err_set(err, EINVAL, "Keyslot %u state (active/disable) is corrupted",
			       i);
	if (s->stripes != LUKS1_STRIPES)
		return err_set(err, EINVAL,
			       "Keyslot %u is corrupted (stripes %" PRIu32 " != %d)", i,
			       s->stripes, LUKS1_STRIPES);
	if ((uint64_t)s->key_off * SECTOR_SIZE < LUKS1_HEAD)
		return err_set(err, EINVAL, "Keyslot %u is overlapping with the LUKS header",
			       i);
	if (s->active == LUKS1_ENABLED && s->iterations == 0)
		return err_set(err, EINVAL, "Keyslot %u iteration count is zero", i);
	/* a detached header has its payload elsewhere */
	if (h->payload_off && end > h->payload_off)
		return err_set(err, EINVAL,
			       "Keyslot %u is overlapping with the encrypted payload", i);
	if (s->active == LUKS1_ENABLED && end * SECTOR_SIZE > room)
		return err_set(err, EINVAL,
			       "Keyslot %u (%" PRIu64 " bytes at %" PRIu64
			       ") is beyond the end of the file",
			       i, material(h, s) * SECTOR_SIZE,
			       (uint64_t)s->key_off * SECTOR_SIZE);
	for (unsigned k = 0; k < i; k++) {
		const struct luks1_slot *o = &h->slot[k];

		if (s->key_off < o->key_off + material(h, o) && o->key_off < end)
			return err_set(err, EINVAL,
				       "Keyslots %u and %u are overlapping in the header", k,
				       i);
	}
	return 0;
}

int luks1_check(const struct luks1_header *h, uint64_t room, struct err *err)
{
	if (check_text(h->cipher, sizeof(h->cipher), "cipher name", err) ||
	    check_text(h->mode, sizeof(h->mode), "cipher mode", err) ||
	    check_text(h->hash, sizeof(h->hash), "hash spec", err) ||
	    check_text(h->uuid, sizeof(h->uuid), "UUID", err))
		return -1;
	if (h->key_bytes == 0 || h->key_bytes > LUKS1_KEY_MAX)
		return err_set(err, EINVAL, "LUKS key has %" PRIu32 " bytes, at most are %d",
			       h->key_bytes, LUKS1_KEY_MAX);
	if (h->digest_iterations == 0)
		return err_set(err, EINVAL, "LUKS key iteration count is zero");
	if (h->payload_off && luks1_payload(h) < LUKS1_HEAD)
		return err_set(err, EINVAL, "LUKS payload is overlapping with the header");
	for (unsigned i = 0; i < LUKS1_SLOTS; i++)
		if (check_slot(h, i, room, err))
			return -1;
	return 0;
}

uint64_t luks1_payload(const struct luks1_header *h)
{
	return (uint64_t)h->payload_off * SECTOR_SIZE;
}

/* ---- names ---------------------------------------------------------------------------- */

static bool split_at(const char *text, char at, char *first, size_t room, const char **rest)
{
	const char *p = strchr(text, at);
	size_t n = p ? (size_t)(p - text) : strlen(text);

	*rest = p ? p + 1 : NULL;
	if (n >= room)
		return false;
	memcpy(first, text, n);
	first[n] = '\0';
	return true;
}

int luks1_translate(const struct luks1_header *h, struct luks1_spec *out, struct err *err)
{
	const char *iv, *hash = NULL, *iv_end;
	size_t bits = h->key_bytes * (size_t)8;
	bool wants_hash;

	memset(out, 0, sizeof(*out));
	if (!strchr(h->mode, '-') && strcmp(h->mode, "ecb") != 0)
		return err_set(err, EINVAL, "Unexpected cipher mode string format '%s'",
			       h->mode);
	if (!split_at(h->mode, '-', out->mode, sizeof(out->mode), &iv) ||
	    (iv && !split_at(iv, ':', out->iv, sizeof(out->iv), &hash)))
		return err_set(err, EINVAL, "Unexpected cipher mode string format '%s'",
			       h->mode);
	if (iv && hash && !split_at(hash, '\0', out->iv_hash, sizeof(out->iv_hash), &iv_end))
		return err_set(err, EINVAL, "Unexpected cipher mode string format '%s'",
			       h->mode);
	if (strcmp(out->mode, "xts") == 0)
		bits /= 2;
	if (snprintf(out->cipher, sizeof(out->cipher), "%s-%zu", h->cipher, bits) >=
	    (int)sizeof(out->cipher))
		return err_set(err, EINVAL, "Unexpected cipher name '%s'", h->cipher);
	out->spec = (struct sector_spec){.cipher = out->cipher,
					 .mode = out->mode,
					 .iv = iv ? out->iv : NULL,
					 .iv_hash = iv && hash ? out->iv_hash : NULL};
	if (!sector_mode_known(out->mode))
		return err_set(err, ENOTSUP, "Cipher mode '%s' not supported", out->mode);
	if (!cipher_key_size(out->cipher))
		return err_set(err, ENOTSUP,
			       "Algorithm '%s' with key size %zu bytes not supported",
			       h->cipher, bits / 8);
	if (sector_key_size(&out->spec) != h->key_bytes)
		return err_set(err, EINVAL, "Algorithm '%s' has no keys of %" PRIu32 " bytes",
			       h->cipher, h->key_bytes);
	if (iv && !iv_known(out->iv, &wants_hash))
		return err_set(err, ENOTSUP, "IV generator '%s' not supported", out->iv);
	if (!hash_known(h->hash))
		return err_set(err, ENOTSUP, "Hash algorithm '%s' not supported", h->hash);
	return 0;
}
