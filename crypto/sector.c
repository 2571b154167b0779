#include "crypto/sector.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/iv.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define GROUP 16u /* sectors that are worked on together: 8 KiB, on the stack */
#define BLOCK CIPHER_BLOCK_MAX

enum mode { ECB, CBC, CTR, XTS };

static const char *const modes[] = {"ecb", "cbc", "ctr", "xts"};

struct sector {
	enum mode mode;
	struct cipher *cipher, *tweak; /* tweak: xts */
	struct iv *iv;
	size_t block;
};

static int find_mode(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (strcmp(modes[i], name) == 0)
			return (int)i;
	return -1;
}

bool sector_mode_known(const char *mode)
{
	return find_mode(mode) >= 0;
}

size_t sector_key_size(const struct sector_spec *spec)
{
	int mode = find_mode(spec->mode);
	size_t n = cipher_key_size(spec->cipher);

	if (mode < 0)
		return 0;
	return mode == XTS ? 2 * n : n;
}

static int check(const struct sector_spec *spec, size_t n, struct err *err)
{
	size_t want = sector_key_size(spec);

	if (want == 0)
		return err_set(err, ENOTSUP, "There is no cipher '%s' in mode '%s' here",
			       spec->cipher, spec->mode);
	if (n != want)
		return err_set(err, EINVAL, "%s in mode %s has keys of %zu bytes, not %zu",
			       spec->cipher, spec->mode, want, n);
	if (find_mode(spec->mode) == XTS && cipher_block_size(spec->cipher) != BLOCK)
		return err_set(err, EINVAL, "XTS mode needs a cipher with blocks of 16 bytes");
	if (!spec->iv && find_mode(spec->mode) != ECB)
		return err_set(err, EINVAL, "Mode %s needs an IV generator", spec->mode);
	return 0;
}

struct sector *sector_new(const struct sector_spec *spec, const uint8_t *key, size_t n,
			  struct err *err)
{
	size_t one = cipher_key_size(spec->cipher);
	struct sector *s;

	if (check(spec, n, err))
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s) {
		err_nomem(err, sizeof(*s), "a cipher");
		return NULL;
	}
	s->mode = (enum mode)find_mode(spec->mode);
	s->block = cipher_block_size(spec->cipher);
	s->cipher = cipher_new(spec->cipher, key, err);
	if (s->cipher && s->mode == XTS)
		s->tweak = cipher_new(spec->cipher, key + one, err);
	if (s->cipher && s->mode != ECB)
		s->iv = iv_new(spec->iv, spec->iv_hash, spec->cipher, key, n, err);
	if (!s->cipher || (s->mode == XTS && !s->tweak) || (s->mode != ECB && !s->iv)) {
		sector_free(s);
		return NULL;
	}
	return s;
}

void sector_free(struct sector *s)
{
	if (!s)
		return;
	cipher_free(s->cipher);
	cipher_free(s->tweak);
	iv_free(s->iv);
	free(s);
}

static void xor_into(uint8_t *to, const uint8_t *with, size_t n)
{
	for (size_t i = 0; i < n; i += 8) {
		uint64_t a, b;

		memcpy(&a, to + i, 8);
		memcpy(&b, with + i, 8);
		a ^= b;
		memcpy(to + i, &a, 8);
	}
}

/* ---- xts ----------------------------------------------------------------------------- */

/* All tweaks of n sectors: the first of each is its encrypted number, each next one the one
 * before times alpha. */
static void make_tweaks(const struct sector *s, uint64_t first, size_t n, uint8_t *out)
{
	uint8_t head[GROUP * BLOCK];

	iv_make(s->iv, first, n, head);
	cipher_encrypt(s->tweak, head, head, n * BLOCK);
	for (size_t i = 0; i < n; i++) {
		uint64_t lo = get_le64(head + i * BLOCK), hi = get_le64(head + i * BLOCK + 8);

		for (size_t k = 0; k < SECTOR_SIZE / BLOCK; k++) {
			uint64_t carry = (0 - (hi >> 63)) & 0x87;

			put_le64(out, lo);
			put_le64(out + 8, hi);
			out += BLOCK;
			hi = hi << 1 | lo >> 63;
			lo = lo << 1 ^ carry;
		}
	}
}

static void xts(const struct sector *s, bool encrypt, uint64_t first, uint8_t *buf, size_t n)
{
	uint8_t tweak[GROUP * SECTOR_SIZE];
	size_t len = n * SECTOR_SIZE;

	make_tweaks(s, first, n, tweak);
	xor_into(buf, tweak, len);
	encrypt ? cipher_encrypt(s->cipher, buf, buf, len)
		: cipher_decrypt(s->cipher, buf, buf, len);
	xor_into(buf, tweak, len);
}

/* ---- cbc ----------------------------------------------------------------------------- */

/* The k-th blocks of all sectors in one call. */
static void cbc_encrypt(const struct sector *s, uint64_t first, uint8_t *buf, size_t n)
{
	uint8_t row[GROUP * BLOCK];
	size_t b = s->block;

	iv_make(s->iv, first, n, row);
	for (size_t k = 0; k < SECTOR_SIZE; k += b) {
		for (size_t i = 0; i < n; i++)
			xor_into(row + i * b, buf + i * SECTOR_SIZE + k, b);
		cipher_encrypt(s->cipher, row, row, n * b);
		for (size_t i = 0; i < n; i++)
			memcpy(buf + i * SECTOR_SIZE + k, row + i * b, b);
	}
}

static void cbc_decrypt(const struct sector *s, uint64_t first, uint8_t *buf, size_t n)
{
	uint8_t plain[GROUP * SECTOR_SIZE], ivs[GROUP * BLOCK];
	size_t b = s->block;

	iv_make(s->iv, first, n, ivs);
	cipher_decrypt(s->cipher, plain, buf, n * SECTOR_SIZE);
	for (size_t i = 0; i < n; i++) {
		uint8_t *at = plain + i * SECTOR_SIZE;

		xor_into(at, ivs + i * b, b);
		xor_into(at + b, buf + i * SECTOR_SIZE, SECTOR_SIZE - b);
	}
	memcpy(buf, plain, n * SECTOR_SIZE);
	explicit_bzero(plain, n * SECTOR_SIZE);
}

/* ---- ctr ----------------------------------------------------------------------------- */

static void count_up(uint8_t *counter, size_t n)
{
	while (n-- > 0 && ++counter[n] == 0)
		;
}

static void ctr(const struct sector *s, uint64_t first, uint8_t *buf, size_t n)
{
	uint8_t stream[GROUP * SECTOR_SIZE], counter[GROUP * BLOCK];
	size_t b = s->block;

	iv_make(s->iv, first, n, counter);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < SECTOR_SIZE; k += b) {
			memcpy(stream + i * SECTOR_SIZE + k, counter + i * b, b);
			count_up(counter + i * b, b);
		}
	}
	cipher_encrypt(s->cipher, stream, stream, n * SECTOR_SIZE);
	xor_into(buf, stream, n * SECTOR_SIZE);
	explicit_bzero(stream, n * SECTOR_SIZE);
}

/* ---- runs of sectors ------------------------------------------------------------------ */

static void group(const struct sector *s, bool encrypt, uint64_t first, uint8_t *buf, size_t n)
{
	switch (s->mode) {
	case XTS:
		xts(s, encrypt, first, buf, n);
		break;
	case CBC:
		encrypt ? cbc_encrypt(s, first, buf, n) : cbc_decrypt(s, first, buf, n);
		break;
	case CTR:
		ctr(s, first, buf, n);
		break;
	case ECB:
		encrypt ? cipher_encrypt(s->cipher, buf, buf, n * SECTOR_SIZE)
			: cipher_decrypt(s->cipher, buf, buf, n * SECTOR_SIZE);
		break;
	}
}

static void run(const struct sector *s, bool encrypt, uint64_t first, uint8_t *buf, size_t n)
{
	size_t left = n / SECTOR_SIZE;

	while (left > 0) {
		size_t now = MIN(left, GROUP);

		group(s, encrypt, first, buf, now);
		buf += now * SECTOR_SIZE;
		first += now;
		left -= now;
	}
}

void sector_encrypt(const struct sector *s, uint64_t first, uint8_t *buf, size_t n)
{
	run(s, true, first, buf, n);
}

void sector_decrypt(const struct sector *s, uint64_t first, uint8_t *buf, size_t n)
{
	run(s, false, first, buf, n);
}
