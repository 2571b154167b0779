/* CRC-32C: the answers of RFC 3720, appendix B.4, and both ways to get them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/crc32c.h"

static void check(const void *bytes, size_t n, uint32_t want)
{
	assert_int_equal(crc32c(0, bytes, n), want);
	assert_int_equal(crc32c_by_table(0, bytes, n), want);
}

static void test_answers(void **state)
{
	static const uint8_t scsi_read[48] = {
		0x01, 0xc0, [16] = 0x14, [20] = 0x00, 0x00, 0x04, 0x00, 0x00,	     0x00,
		0x00, 0x14, 0x00,	 0x00,	      0x00, 0x18, 0x28, [40] = 0x02,
	};
	uint8_t bytes[32];

	check("", 0, 0);
	check("a", 1, 0xc1d04330);
	check("123456789", 9, 0xe3069283);
	memset(bytes, 0, sizeof(bytes));
	check(bytes, sizeof(bytes), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	check(bytes, sizeof(bytes), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	check(bytes, sizeof(bytes), 0x46dd794e);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(31 - i);
	check(bytes, sizeof(bytes), 0x113fdb5c);
	check(scsi_read, sizeof(scsi_read), 0xd9963a56);
}

/* In parts of any length, from any address. */
static void test_parts(void **state)
{
	uint8_t bytes[300];
	uint32_t whole;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * i + 7 * i);
	for (size_t from = 0; from < 9; from++) {
		whole = crc32c_by_table(0, bytes + from, sizeof(bytes) - from);
		assert_int_equal(crc32c(0, bytes + from, sizeof(bytes) - from), whole);
		for (size_t n = 0; n < 40; n++) {
			uint32_t a = crc32c(0, bytes + from, n);
			uint32_t b = crc32c_by_table(0, bytes + from, n);
			size_t rest = sizeof(bytes) - from - n;

			assert_int_equal(a, b);
			assert_int_equal(crc32c(a, bytes + from + n, rest), whole);
			assert_int_equal(crc32c_by_table(a, bytes + from + n, rest), whole);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
