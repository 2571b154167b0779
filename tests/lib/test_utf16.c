#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/utf16.h"

static void there_and_back(const char *text, const char *wide, size_t n)
{
	struct err err;
	size_t got;
	bool lossy = true;
	uint8_t *w = utf8_to_utf16(text, false, &got, &lossy, &err);
	char *back;

	assert_non_null(w);
	assert_false(lossy);
	assert_int_equal(got, n);
	assert_memory_equal(w, wide, n);
	back = utf16_to_utf8(w, got, false, &lossy, &err);
	assert_non_null(back);
	assert_false(lossy);
	assert_string_equal(back, text);
	free(w);
	free(back);
}

static void test_good(void **state)
{
	there_and_back("", "", 0);
	there_and_back("a.vhd", "a\0.\0v\0h\0d", 10);
	there_and_back("\xc3\xa9\xe2\x82\xac", "\xe9\0\xac\x20", 4);
	there_and_back("\xf0\x9f\x98\x80", "\x3d\xd8\x00\xde", 4);
	there_and_back("\xef\xbf\xbd", "\xfd\xff", 2);
}

static void test_bad_utf8(void **state)
{
	static const char *const bad[] = {"\xff",	  "\xc0\x80",	  "\xe2\x82",
					  "\xed\xa0\x80", "\xf5\x80\x80", "\x80"};
	struct err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bool lossy = false;
		size_t n;
		uint8_t *w = utf8_to_utf16(bad[i], true, &n, &lossy, &err);

		assert_non_null(w);
		assert_true(lossy);
		assert_memory_equal(w, "\xff\xfd", 2);
		free(w);
	}
}

static void test_bad_utf16(void **state)
{
	struct err err;
	bool lossy = false;
	char *text = utf16_to_utf8((const uint8_t *)"\x3d\xd8x\0\x00\xde", 6, false, &lossy,
				   &err);

	assert_true(lossy);
	assert_string_equal(text, "\xef\xbf\xbdx\xef\xbf\xbd");
	free(text);
	text = utf16_to_utf8((const uint8_t *)"\0a\0b\0\0\0c", 8, true, &lossy, &err);
	assert_false(lossy);
	assert_string_equal(text, "ab");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad_utf8),
		cmocka_unit_test(test_bad_utf16),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
