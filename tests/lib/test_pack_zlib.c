/* pack: zlib's wrapping of deflate, and its checksums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/pack.h"

/* zlib's wrapping: each of its bytes counts. */
static void zlib_wrapping(void **state)
{
	static const uint8_t hello[] = {0x78, 0x9c, 0xcb, 0x48, 0xcd, 0xc9, 0xc9,
					0x07, 0x00, 0x06, 0x2c, 0x02, 0x15};
	uint8_t in[16], out[5], zeros[300] = {0};
	size_t used;
	struct err err;

	memcpy(in, hello, sizeof(hello));
	assert_int_equal(pack_inflate_zlib(in, 16, out, 5, &used, &err), 0);
	assert_memory_equal(out, "hello", 5);
	assert_int_equal(used, 13);
	assert_int_equal(pack_inflate_zlib(in, 13, out, 5, NULL, &err), 0);
	for (size_t n = 0; n < 13; n++)
		assert_int_equal(pack_inflate_zlib(in, n, out, 5, NULL, &err), -1);
	for (size_t i = 0; i < 13; i++) {
		if (i == 8) /* behind the last bit */
			continue;
		in[i] ^= 0x10;
		assert_int_equal(pack_inflate_zlib(in, 13, out, 5, NULL, &err), -1);
		in[i] ^= 0x10;
	}
	assert_int_equal(pack_inflate_zlib(in, 13, out, 4, NULL, &err), -1);
	assert_int_equal(pack_inflate_zlib("\x78\x9c\x03\0\0\0\0\1", 8, out, 0, NULL, &err), 0);
	assert_int_equal(pack_crc32(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(pack_crc32(pack_crc32(0, "1234", 4), "56789", 5), 0xcbf43926);
	for (size_t n = 0; n < sizeof(zeros); n++)
		assert_int_equal(pack_crc32_zeros(77, n), pack_crc32(77, zeros, n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(zlib_wrapping)};

	return cmocka_run_group_tests_name("pack_zlib", tests, NULL, NULL);
}
