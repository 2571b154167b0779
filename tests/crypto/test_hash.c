/* Known answers: FIPS 180 and RFC 1321's examples, RIPEMD-160's own test values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/hash.h"

static struct err err;

static const char *const table[][3] = {
	/* name, of "", of "abc" */
	{"md5", "d41d8cd98f00b204e9800998ecf8427e", "900150983cd24fb0d6963f7d28e17f72"},
	{"sha1", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
	 "a9993e364706816aba3e25717850c26c9cd0d89d"},
	{"sha224", "d14a028c2a3a2bc9476102bb288234c415a2b01f828ea62ac5b3e42f",
	 "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"},
	{"sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{"sha384",
	 "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da"
	 "274edebfe76f65fbd51ad2f14898b95b",
	 "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
	 "8086072ba1e7cc2358baeca134c825a7"},
	{"sha512",
	 "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
	 "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
	 "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
	 "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
	{"ripemd160", "9c1185a5c5e9fc54612808977ee8f548b2258d31",
	 "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"},
};
#define N (sizeof(table) / sizeof(table[0]))

static void known_answers(void **state)
{
	char hex[HASH_HEX];

	for (size_t i = 0; i < N; i++) {
		struct hash *h = hash_new(table[i][0], &err);

		assert_non_null(h);
		assert_int_equal(hash_size(h) * 2, strlen(table[i][1]));
		assert_string_equal(hash_final_hex(h, hex), table[i][1]);
		/* it is as new, and takes pieces */
		hash_update(h, "a", 1);
		hash_update(h, "", 0);
		hash_update(h, "bc", 2);
		assert_string_equal(hash_final_hex(h, hex), table[i][2]);
		hash_free(h);
	}
}

/* FIPS 180: a million times 'a', in pieces that fit no block. */
static void a_million(void **state)
{
	struct hash *h = hash_new("SHA-256", &err);
	char piece[997], hex[HASH_HEX];

	assert_non_null(h);
	memset(piece, 'a', sizeof(piece));
	for (size_t left = 1000000; left;) {
		size_t n = left < sizeof(piece) ? left : sizeof(piece);

		hash_update(h, piece, n);
		left -= n;
	}
	assert_string_equal(hash_final_hex(h, hex),
			    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	hash_free(h);
}

static void names(void **state)
{
	assert_true(hash_known("SHA1"));
	assert_true(hash_known("sha-512"));
	assert_true(hash_known("RIPEMD-160"));
	assert_false(hash_known("sha"));
	assert_false(hash_known("sha2566"));
	assert_false(hash_known(""));
	assert_false(hash_known("-"));
	assert_null(hash_new("md4", &err));
	assert_string_equal(err.text, "There is no hash 'md4' here");
	hash_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(a_million),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
