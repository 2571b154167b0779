/* Crash safety of vpc images: tests/lib/crash.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/vpc/vpc.h"
#include "tests/lib/crash.h"

static const struct crash_kind kinds[] = {
	{&format_vpc, "block_size=4k,force_size=on", NULL, 500, BELOW_NOTHING, true},
	{&format_vpc, "block_size=64k,force_size=on", NULL, 1001, BELOW_NOTHING, true},
	{&format_vpc, "force_size=on", NULL, 2048, BELOW_NOTHING, false},
	{&format_vpc, "subformat=fixed,force_size=on", NULL, 700, BELOW_NOTHING, false},
	{&format_vpc, "block_size=16k,force_size=on", NULL, 600, BELOW_IMAGE, true},
	{0},
};

static void test_logs(void **state)
{
	crash_play_logs(kinds, crash_rows_data);
	crash_play_logs(kinds, crash_rows_image);
}

static void test_faults(void **state)
{
	crash_play_faults(kinds, crash_rows_data);
	crash_play_faults(kinds, crash_rows_image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
