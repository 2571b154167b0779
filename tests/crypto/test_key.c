/* PBKDF2 against RFC 6070 and RFC 7914, the splitter against itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/af.h"
#include "crypto/hash.h"
#include "crypto/keymem.h"

static void test_pbkdf2(void **state)
{
	static const struct {
		const char *hash, *pass;
		size_t npass;
		const char *salt;
		size_t nsalt;
		uint32_t iterations;
		const char *want;
	} known[] = {
		{"sha1", "password", 8, "salt", 4, 1,
		 "0c60c80f961f0e71f3a9b524af6012062fe037a6"},
		{"sha1", "password", 8, "salt", 4, 2,
		 "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"},
		{"sha1", "password", 8, "salt", 4, 4096,
		 "4b007901b765489abead49d926f721d065a429c1"},
		{"sha1", "passwordPASSWORDpassword", 24, "saltSALTsaltSALTsaltSALTsaltSALTsalt",
		 36, 4096, "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038"},
		{"sha1", "pass\0word", 9, "sa\0lt", 5, 4096,
		 "56fa6aa75548099dcc37d7f03425e0c3"},
		{"sha256", "passwd", 6, "salt", 4, 1,
		 "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
		 "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = strlen(known[i].want) / 2;
		uint8_t got[80];
		struct err err;

		assert_int_equal(hash_pbkdf2(known[i].hash, known[i].pass, known[i].npass,
					     known[i].salt, known[i].nsalt, known[i].iterations,
					     got, n, &err),
				 0);
		for (size_t k = 0; k < n; k++) {
			unsigned v;

			assert_int_equal(sscanf(known[i].want + 2 * k, "%2x", &v), 1);
			if (got[k] != v)
				fail_msg("vector %zu differs at byte %zu", i, k);
		}
	}
}

static void test_af(void **state)
{
	static const char *const hashes[] = {"sha1", "sha256", "sha512", "ripemd160"};
	uint8_t key[64], back[64], split[64 * 400];

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(i * 11);
	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
		for (size_t n = 16; n <= 64; n += 16) {
			struct err err;

			assert_int_equal(af_split(hashes[i], key, n, 400, split, &err), 0);
			assert_int_equal(af_merge(hashes[i], split, n, 400, back, &err), 0);
			assert_memory_equal(key, back, n);
			split[n * 200] ^= 1;
			assert_int_equal(af_merge(hashes[i], split, n, 400, back, &err), 0);
			assert_memory_not_equal(key, back, n);
		}
	}
}

static void test_memory(void **state)
{
	struct err err;
	uint8_t *p = key_alloc(100000, &err);

	assert_non_null(p);
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(p[i], 0);
	memset(p, 7, 100000);
	key_free(p);
	assert_null(key_alloc(SIZE_MAX - 10, &err));
	key_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pbkdf2),
		cmocka_unit_test(test_af),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
