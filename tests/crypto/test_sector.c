/* Ciphers, modes and vectors against the standards' own answers: FIPS 197 (AES), the Serpent
 * and Twofish submissions, RFC 2144 (CAST5), RFC 3713 (Camellia), IEEE 1619 (XTS), SP 800-38A
 * (CBC, CTR). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/iv.h"
#include "crypto/sector.h"

static size_t hex(const char *text, uint8_t *out)
{
	size_t n = 0;

	for (; *text; text += 2) {
		unsigned v;

		assert_int_equal(sscanf(text, "%2x", &v), 1);
		out[n++] = (uint8_t)v;
	}
	return n;
}

static void test_blocks(void **state)
{
	static const struct {
		const char *cipher, *key, *plain, *coded;
	} known[] = {
		{"aes-128", "000102030405060708090a0b0c0d0e0f",
		 "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"},
		{"aes-192", "000102030405060708090a0b0c0d0e0f1011121314151617",
		 "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191"},
		{"aes-256", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		 "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089"},
		{"twofish-128", "00000000000000000000000000000000",
		 "00000000000000000000000000000000", "9f589f5cf6122c32b6bfec2f2ae8c35a"},
		{"twofish-256",
		 "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
		 "00000000000000000000000000000000", "37527be0052334b89f0cfccae87cfa20"},
		{"cast5-128", "0123456712345678234567893456789a", "0123456789abcdef",
		 "238b4fe5847e44b2"},
		{"camellia-128", "0123456789abcdeffedcba9876543210",
		 "0123456789abcdeffedcba9876543210", "67673138549669730857065648eabe43"},
		{"camellia-256",
		 "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
		 "0123456789abcdeffedcba9876543210", "9acc237dff16d76c20ef7c919e3a7509"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint8_t key[32], plain[64], coded[64], out[64];
		size_t n = hex(known[i].plain, plain);
		struct cipher *c;
		struct err err;

		hex(known[i].key, key);
		hex(known[i].coded, coded);
		memcpy(plain + n, plain, n);
		memcpy(coded + n, coded, n);
		c = cipher_new(known[i].cipher, key, &err);
		assert_non_null(c);
		cipher_encrypt(c, out, plain, 2 * n);
		assert_memory_equal(out, coded, 2 * n);
		cipher_decrypt(c, out, out, 2 * n);
		assert_memory_equal(out, plain, 2 * n);
		cipher_free(c);
	}
}

static struct sector *make(const struct sector_spec *spec, const uint8_t *key)
{
	struct err err = {0};
	struct sector *s = sector_new(spec, key, sector_key_size(spec), &err);

	if (!s)
		fail_msg("%s", err.text);
	return s;
}

/* IEEE 1619-2007, vectors 4 and 10: sectors of 512 bytes. */
static void test_xts(void **state)
{
	static const struct {
		const char *cipher, *key, *begin;
		uint64_t sector;
	} known[] = {
		{"aes-128", "2718281828459045235360287471352631415926535897932384626433832795",
		 "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c", 0},
		{"aes-256",
		 "2718281828459045235360287471352662497757247093699959574966967627"
		 "3141592653589793238462643383279502884197169399375105820974944592",
		 "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b", 0xff},
	};

	for (size_t i = 0; i < 2; i++) {
		struct sector_spec spec = {known[i].cipher, "xts", "plain64", NULL};
		uint8_t key[64], want[64], buf[SECTOR_SIZE];
		struct sector *s;
		size_t n;

		hex(known[i].key, key);
		n = hex(known[i].begin, want);
		s = make(&spec, key);
		for (size_t k = 0; k < SECTOR_SIZE; k++)
			buf[k] = (uint8_t)k;
		sector_encrypt(s, known[i].sector, buf, SECTOR_SIZE);
		assert_memory_equal(buf, want, n);
		sector_decrypt(s, known[i].sector, buf, SECTOR_SIZE);
		for (size_t k = 0; k < SECTOR_SIZE; k++)
			assert_int_equal(buf[k], (uint8_t)k);
		sector_free(s);
	}
}

/* Many sectors at once are the same as one after the other, in all modes. */
static void test_runs(void **state)
{
	static const struct sector_spec specs[] = {
		{"aes-256", "xts", "plain64", NULL},
		{"aes-256", "cbc", "essiv", "sha256"},
		{"aes-128", "cbc", "plain", NULL},
		{"serpent-256", "xts", "plain64", NULL},
		{"twofish-192", "cbc", "plain64", NULL},
		{"cast5-128", "cbc", "plain64", NULL},
		{"aes-192", "ctr", "plain64", NULL},
		{"aes-256", "ecb", NULL, NULL},
		{"camellia-256", "xts", "benbi", NULL},
		{"aes-256", "cbc", "null", NULL},
	};
	uint8_t key[64], whole[37 * SECTOR_SIZE], single[sizeof(whole)], plain[sizeof(whole)];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(i * 7 + 1);
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * i >> 3);
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct sector *s = make(&specs[i], key);

		memcpy(whole, plain, sizeof(plain));
		memcpy(single, plain, sizeof(plain));
		sector_encrypt(s, 0xfffffff0, whole, sizeof(whole));
		for (unsigned k = 0; k < 37; k++)
			sector_encrypt(s, UINT64_C(0xfffffff0) + k, single + k * SECTOR_SIZE,
				       SECTOR_SIZE);
		assert_memory_equal(whole, single, sizeof(whole));
		assert_memory_not_equal(whole, plain, sizeof(whole));
		sector_decrypt(s, 0xfffffff0, whole, sizeof(whole));
		assert_memory_equal(whole, plain, sizeof(whole));
		sector_free(s);
	}
}

static void test_refused(void **state)
{
	static const struct sector_spec bad[] = {
		{"aes-257", "xts", "plain64", NULL},   {"aes-256", "xtc", "plain64", NULL},
		{"aes-256", "cbc", NULL, NULL},	       {"aes-256", "cbc", "plane", NULL},
		{"aes-256", "cbc", "essiv", NULL},     {"aes-256", "cbc", "essiv", "sha1"},
		{"cast5-128", "xts", "plain64", NULL},
	};
	uint8_t key[64] = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};

		assert_null(sector_new(&bad[i], key, sector_key_size(&bad[i]), &err));
		assert_true(err.text[0]);
	}
}

static void test_vectors(void **state)
{
	static const struct {
		const char *name, *want; /* of sector 0x123456789a */
	} known[] = {
		{"plain", "9a785634000000000000000000000000"},
		{"plain64", "9a785634120000000000000000000000"},
		{"plain64be", "0000000000000000000000123456789a"},
		{"benbi", "0000000000000000000002468acf1341"},
		{"null", "00000000000000000000000000000000"},
	};
	uint8_t want[16], got[16], key[32] = {0};
	struct err err;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct iv *iv = iv_new(known[i].name, NULL, "aes-256", key, 32, &err);

		assert_non_null(iv);
		hex(known[i].want, want);
		iv_make(iv, UINT64_C(0x123456789a), 1, got);
		assert_memory_equal(got, want, 16);
		iv_free(iv);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),	cmocka_unit_test(test_xts),
		cmocka_unit_test(test_runs),	cmocka_unit_test(test_refused),
		cmocka_unit_test(test_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
