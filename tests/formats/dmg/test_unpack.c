/* What chunks of a dmg are compressed by: what is sound, and that nothing else gets through. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/dmg/unpack.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "tests/lib/golden.h"
#include "tests/lib/stamp.h"

#define LZFSE_DISK (222u * 512)

/* n bytes of input in a buffer of just that size and the padding. */
static int try(uint32_t type, const void *in, size_t n, void *out, size_t outn, struct err *err)
{
	uint8_t *p = calloc(1, n + UNPACK_PAD);
	int rc;

	assert_non_null(p);
	memcpy(p, in, n);
	rc = unpack(type, p, n, out, outn, err);
	free(p);
	return rc;
}

static void fails(uint32_t type, const void *in, size_t n, size_t outn, const char *why)
{
	uint8_t *out = malloc(outn ? outn : 1);
	struct err err = {0};

	assert_int_equal(try(type, in, n, out, outn, &err), -1);
	if (!strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
	free(out);
}

static void gives(uint32_t type, const void *in, size_t n, const char *want)
{
	uint8_t out[600];
	struct err err = {0};

	if (try(type, in, n, out, strlen(want), &err))
		fail_msg("%s", err.text);
	assert_memory_equal(out, want, strlen(want));
}

#define IN(text) text, sizeof(text) - 1

static void test_adc(void **state)
{
	gives(UNPACK_ADC,
	      IN("\x82"
		 "abc"),
	      "abc");
	/* 3 bytes from 3 ago, 5 from 1 ago, 4 from 11 ago */
	gives(UNPACK_ADC,
	      IN("\x82"
		 "abc\x00\x02\x08\x00\x40\x00\x0a"),
	      "abcabcccccc"
	      "abca");
	gives(UNPACK_ADC, IN(""), "");
	/* what fills the sector */
	gives(UNPACK_ADC,
	      IN("\x80"
		 "a\0\0\0"),
	      "a");
	fails(UNPACK_ADC,
	      IN("\x82"
		 "ab"),
	      3, "broken");
	fails(UNPACK_ADC,
	      IN("\x80"
		 "a\x00"),
	      4, "broken");
	fails(UNPACK_ADC,
	      IN("\x80"
		 "a\x40\x00"),
	      5, "broken");
	fails(UNPACK_ADC,
	      IN("\x80"
		 "a\x00\x01"),
	      4, "broken");
	fails(UNPACK_ADC,
	      IN("\x80"
		 "a\x00\x00"),
	      3, "more than 3");
	fails(UNPACK_ADC,
	      IN("\x80"
		 "a\x00\x00"),
	      5, "4 bytes instead of 5");
}

/* One LZVN block. */
static size_t wrap(uint8_t *to, const char *body, size_t n, uint32_t raw)
{
	memcpy(to, "bvxn", 4);
	put_le32(to + 4, raw);
	put_le32(to + 8, (uint32_t)n);
	memcpy(to + 12, body, n);
	memcpy(to + 12 + n, "bvx$", 4);
	return n + 16;
}

static void lzvn_gives(const char *body, size_t n, const char *want)
{
	uint8_t in[400];

	gives(UNPACK_LZFSE, in, wrap(in, body, n, (uint32_t)strlen(want)), want);
}

static void lzvn_fails(const char *body, size_t n, uint32_t raw, const char *why)
{
	uint8_t in[400];

	fails(UNPACK_LZFSE, in, wrap(in, body, n, raw), raw, why);
}

static void test_lzvn(void **state)
{
	static const char lots[] = "\xe0\x00"
				   "0123456789abcdef"
				   "\x06";

	lzvn_gives(IN("\xe3"
		      "abc\x06"),
		   "abc");
	lzvn_gives(lots, sizeof(lots) - 1, "0123456789abcdef");
	/* a small distance with one literal, then the same again, small and large */
	lzvn_gives(IN("\xe3"
		      "abc\x40\x04"
		      "d\x06"),
		   "abcdabc");
	lzvn_gives(IN("\xe3"
		      "abc\x40\x04"
		      "d\xf5\x06"),
		   "abcdabcdabcd");
	lzvn_gives(IN("\xe1"
		      "a\x00\x01\xf0\x00\x06"),
		   "aaaaaaaaaaaaaaaaaaaa");
	/* the distance of before, with a literal: 1 and 3 bytes */
	lzvn_gives(IN("\xe2"
		      "ab\x00\x02\x46"
		      "c\x06"),
		   "ababacaca");
	/* medium: no literal, 3 + 1 bytes from 2 ago; large: two literals */
	lzvn_gives(IN("\xe2"
		      "ab\xa0\x09\x00\x06"),
		   "ababab");
	lzvn_gives(IN("\xe2"
		      "ab\x87\x04\x00"
		      "cd\x06"),
		   "abcdabc");
	/* opcodes that do nothing */
	lzvn_gives(IN("\x0e\x16\xe1"
		      "a\x06"),
		   "a");
	lzvn_fails(IN("\xe3"
		      "abc"),
		   3, "broken");
	lzvn_fails(IN("\xe3"
		      "ab"),
		   3, "broken");
	lzvn_fails(IN("\xe3"
		      "abc\x06"),
		   2, "more than");
	lzvn_fails(IN("\xe3"
		      "abc\x06"),
		   4, "instead of");
	lzvn_fails(IN("\xf3\x06"), 3, "broken");
	lzvn_fails(IN("\xe1"
		      "a\x00\x02\x06"),
		   4, "broken");
	for (int code = 0; code < 256; code++) {
		char body[3] = {(char)code, 6, 6};
		bool unknown = code >> 4 == 7 || code >> 4 == 13 || code == 0x1e ||
			       code == 0x26 || code == 0x2e || code == 0x36 || code == 0x3e;

		if (unknown)
			lzvn_fails(body, sizeof(body), 1, "broken");
	}
}

static uint8_t *load(const char *name, size_t *n)
{
	uint8_t *data = malloc(1 << 16);
	FILE *f = fopen(name, "rb");

	assert_non_null(f);
	assert_non_null(data);
	*n = fread(data, 1, 1 << 16, f);
	fclose(f);
	return data;
}

/* Every kind of block. */
static void test_lzfse(void **state)
{
	AUTO_FREE uint8_t *out = malloc(LZFSE_DISK), *in;
	struct err err = {0};
	size_t n;

	in = load("tests/data/dmg/lzfse", &n);
	assert_non_null(out);
	if (try(UNPACK_LZFSE, in, n, out, LZFSE_DISK, &err))
		fail_msg("%s", err.text);
	for (uint32_t i = 0; i < LZFSE_DISK; i++)
		if (out[i] != golden_byte(i))
			fail_msg("byte %u is %u", i, out[i]);
	fails(UNPACK_LZFSE, in, n, LZFSE_DISK - 1, "more than");
	fails(UNPACK_LZFSE, in, n, LZFSE_DISK + 1, "instead of");
	fails(UNPACK_LZFSE, in, n, 0, "more than");
}

/* Cut off anywhere it is an error; what is changed is one or shows something, and no sanitizer
 * has a say. */
static void test_lzfse_damaged(void **state)
{
	AUTO_FREE uint8_t *out = malloc(LZFSE_DISK), *in;
	unsigned seed = 7;
	struct err err;
	size_t n;

	in = load("tests/data/dmg/lzfse", &n);
	assert_non_null(out);
	for (size_t cut = 0; cut < n; cut += 1 + cut / 20)
		assert_int_equal(try(UNPACK_LZFSE, in, cut, out, LZFSE_DISK, &err), -1);
	for (int i = 0; i < 1500; i++) {
		size_t at = dice(&seed) % n;
		uint8_t was = in[at];

		in[at] ^= (uint8_t)(1u << dice(&seed) % 8);
		try(UNPACK_LZFSE, in, n, out, LZFSE_DISK, &err);
		in[at] = was;
	}
}

/* Header fields that no block can have. */
static void test_lzfse_header(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value[4];
	} bad[] = {{4, {0, 0, 0, 0x7f}},	   {8, {0xff, 0xff, 0xff, 0xff}},
		   {13, {0xff, 0xff, 0xff, 0xff}}, {24, {31, 0, 0, 0}},
		   {24, {0xff, 0xff, 0xff, 0xff}}, {24, {32, 0, 0, 0}},
		   {28, {0xff, 0xff, 0xff, 0xff}}, {32, {0xff, 0xff, 0xff, 0xff}}};
	AUTO_FREE uint8_t *in;
	size_t n;

	in = load("tests/data/dmg/lzfse", &n);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		uint8_t was[4];

		memcpy(was, in + bad[i].at, 4);
		memcpy(in + bad[i].at, bad[i].value, 4);
		fails(UNPACK_LZFSE, in, n, LZFSE_DISK, "LZFSE data");
		memcpy(in + bad[i].at, was, 4);
	}
	fails(UNPACK_LZFSE, IN("bvx2"), 0, "broken");
	fails(UNPACK_LZFSE, IN("bvx1bvx$"), 0, "broken");
	fails(UNPACK_LZFSE, IN("bvx-\4\0\0\0abc"), 4, "broken");
	fails(UNPACK_LZFSE, IN("bvxnbvx$"), 0, "broken");
	fails(UNPACK_LZFSE, IN("bvxq"), 0, "broken");
	fails(UNPACK_LZFSE, IN(""), 0, "broken");
	gives(UNPACK_LZFSE, IN("bvx$"), "");
	gives(UNPACK_LZFSE, IN("bvx-\3\0\0\0abcbvx$"), "abc");
}

static void test_zlib(void **state)
{
	static const char hello[] = "\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15";

	gives(UNPACK_ZLIB, IN(hello), "hello");
	fails(UNPACK_ZLIB, IN(hello), 4, "more than");
	fails(UNPACK_ZLIB, IN(hello), 6, "instead of");
	fails(UNPACK_ZLIB, hello, 12, 5, "broken");
}

/* "hello" by bzip2 and xz. */
static void test_libraries(void **state)
{
	static const char bz[] =
		"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x19\x31\x65\x3d\x00\x00\x00\x81\x00"
		"\x02\x44\xa0\x00\x21\x9a\x68\x33\x4d\x07\x33\x8b\xb9\x22\x9c\x28\x48\x0c\x98"
		"\xb2\x9e\x80";
	static const char xz[] =
		"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00"
		"\x00\x74\x2f\xe5\xa3\x01\x00\x04\x68\x65\x6c\x6c\x6f\x00\x00\x00\x00\xb1\x37"
		"\xb9\xdb\xe5\xda\x1e\x9b\x00\x01\x1d\x05\xb8\x2d\x80\xaf\x1f\xb6\xf3\x7d\x01"
		"\x00\x00\x00\x00\x04\x59\x5a";
	const struct {
		uint32_t type;
		const char *in;
		size_t n;
	} both[] = {{UNPACK_BZIP2, IN(bz)}, {UNPACK_XZ, IN(xz)}};

	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		if (!unpack_has(both[i].type)) {
			fails(both[i].type, both[i].in, both[i].n, 5, "this build has no");
			continue;
		}
		gives(both[i].type, both[i].in, both[i].n, "hello");
		fails(both[i].type, both[i].in, both[i].n, 4, "more than");
		fails(both[i].type, both[i].in, both[i].n, 6, "instead of");
		fails(both[i].type, both[i].in, 20, 5, "");
		fails(both[i].type, both[i].in, 0, 5, "");
		fails(both[i].type, "garbage!", 8, 5, "broken");
	}
}

static void test_names(void **state)
{
	assert_string_equal(unpack_name(UNPACK_XZ), "xz");
	assert_null(unpack_name(1));
	assert_true(unpack_has(UNPACK_ADC));
	assert_false(unpack_has(3));
	fails(3, "", 0, 0, "not known");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_adc),	     cmocka_unit_test(test_lzvn),
		cmocka_unit_test(test_lzfse),	     cmocka_unit_test(test_lzfse_damaged),
		cmocka_unit_test(test_lzfse_header), cmocka_unit_test(test_zlib),
		cmocka_unit_test(test_libraries),    cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("dmg_unpack", tests, NULL, NULL);
}
