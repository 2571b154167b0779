#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/size.h"

/* What qemu-img 7.2.22 makes of these as -o size=, but where a line says so. */
static void takes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} t[] = {
		{"0", 0},
		{"1", 1},
		{"1b", 1},
		{"1B", 1},
		{"1k", 1024},
		{"1K", 1024},
		{"1M", 1 << 20},
		{"1G", 1 << 30},
		{"1T", UINT64_C(1) << 40},
		{"1P", UINT64_C(1) << 50},
		{"7E", UINT64_C(7) << 60},
		{"1e", UINT64_C(1) << 60},
		{"1.5G", UINT64_C(3) << 29},
		{"1.", 1},
		{"1.k", 1024},
		{"1.0", 1},
		{"1.0b", 1},
		{"1.5e", UINT64_C(3) << 59},
		{"1.00001k", 1024},
		{"0.1k", 102},
		{"1.9999999k", 2048},
		{"3.3G", 3543348019},
		{"0.00048828125k", 1},
		{"0.0015k", 2},
		{"0.0014648k", 1},
		{"7.9999E", UINT64_C(9223256744704315136)},
		{"0x10", 16},
		{"0X10", 16},
		{"0x1k", 1024},
		{"0x1b", 0x1b},
		{"0x1e", 0x1e},
		{"010", 10},
		{"08", 8},
		{"+1k", 1024},
		{" 1", 1},
		{"\t 1", 1},
		{"00", 0},
		{"9223372036854775807", INT64_MAX},
		/* The peer loses the carry and says 0. */
		{"0.99999999999999999999k", 1024},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		uint64_t out = 99;

		if (size_parse(t[i].text, 1, &out) != SIZE_OK || out != t[i].bytes)
			fail_msg("%s: %llu", t[i].text, (unsigned long long)out);
	}
}

static void refuses(void **state)
{
	static const char *const bad[] = {
		"",    "-1",   "-0",   "1Z",	"1 ",	  "1 G",  "1kk",  "1kB",    "1KiB",
		".5G", "1.5",  "0.5",  "0.5b",	"1.5B",	  "1e3",  "1e3k", "1.5e1k", "k",
		".",   ".k",   "0x",   "0xgk",	"0x1.5k", "0x-1", "0x+1", "00x10",  "inf",
		"nan", "1,5k", "1..k", "1.5.k", "--1",	  "+",	  "+-1",  "1k\n",   "0x1kk",
	};
	uint64_t out = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (size_parse(bad[i], 1, &out) != SIZE_SYNTAX)
			fail_msg("'%s' is taken", bad[i]);
	}
	assert_int_equal(out, 7);
}

static void too_large(void **state)
{
	static const char *const bad[] = {
		"8E",
		"9223372036854775808",
		"18446744073709551615",
		"18446744073709551616",
		"9007199254740992k",
		"99999999999999999999999",
		"0x8000000000000000",
		"0x10000000000000000",
		"0xffffffffffffffffk",
		"7.99999999999999999E",
	};
	uint64_t out = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (size_parse(bad[i], 1, &out) != SIZE_RANGE)
			fail_msg("'%s' is taken", bad[i]);
	}
	assert_int_equal(out, 7);
}

static void other_unit(void **state)
{
	uint64_t out;

	assert_int_equal(size_parse("3", 1 << 20, &out), SIZE_OK);
	assert_int_equal(out, 3 << 20);
	assert_int_equal(size_parse("1.5", 1 << 20, &out), SIZE_OK);
	assert_int_equal(out, 3 << 19);
	assert_int_equal(size_parse("3b", 1 << 20, &out), SIZE_OK);
	assert_int_equal(out, 3);
}

static void for_humans(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} t[] = {
		{0, "0 B"},
		{1, "1 B"},
		{512, "512 B"},
		{999, "999 B"},
		{1000, "0.977 KiB"},
		{1024, "1 KiB"},
		{1536, "1.5 KiB"},
		{10240, "10 KiB"},
		{100352, "98 KiB"},
		{1000448, "977 KiB"},
		{1022976, "999 KiB"},
		{1023488, "1e+03 KiB"},
		{1024000, "0.977 MiB"},
		{1047040, "0.999 MiB"},
		{1048064, "1 MiB"},
		{1054720, "1.01 MiB"},
		{123457024, "118 MiB"},
		{1072693248, "0.999 GiB"},
		{1073217536, "1 GiB"},
		{(UINT64_C(1) << 40) + 511, "1 TiB"},
		{UINT64_C(1000000000000000), "909 TiB"},
		{UINT64_C(1099511627776000), "0.977 PiB"},
		{UINT64_C(1) << 57, "128 PiB"},
		{UINT64_C(1) << 62, "4 EiB"},
		{UINT64_MAX, "16 EiB"},
	};
	char out[SIZE_TEXT];

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		assert_string_equal(size_human(t[i].bytes, out), t[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes),      cmocka_unit_test(refuses),
		cmocka_unit_test(too_large),  cmocka_unit_test(other_unit),
		cmocka_unit_test(for_humans),
	};

	return cmocka_run_group_tests_name("size", tests, NULL, NULL);
}
