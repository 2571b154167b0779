#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base64.h"

static void test_good(void **state)
{
	static const char *const known[][2] = {
		{"", ""},
		{"Zg==", "f"},
		{"Zm8=", "fo"},
		{"Zm9v", "foo"},
		{"Zm9vYg==", "foob"},
		{"Zm9vYmE=", "fooba"},
		{"Zm9vYmFy", "foobar"},
		{"Zm9v\n Ym\tFy\r\n", "foobar"},
		{"Zg", "f"},
		{"+/+/", "\xfb\xff\xbf"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		uint8_t *out;
		size_t n;
		struct err err;

		assert_int_equal(
			base64_decode(known[i][0], strlen(known[i][0]), &out, &n, &err), 0);
		assert_int_equal(n, strlen(known[i][1]));
		assert_string_equal((char *)out, known[i][1]);
		free(out);
	}
}

static void test_bad(void **state)
{
	static const char *const bad[] = {"Z",	  "Zg=",      "Zg===", "=",
					  "Z*==", "Zg==Zg==", "Zm9v=", "Zm9vZ"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t *out;
		size_t n;
		struct err err;

		assert_int_equal(base64_decode(bad[i], strlen(bad[i]), &out, &n, &err), -1);
		assert_string_equal(err.text, "Base64 data contains invalid characters");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
