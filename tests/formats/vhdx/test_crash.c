/* Crash safety of vhdx images: tests/lib/crash.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/vhdx/vhdx.h"
#include "tests/lib/crash.h"

static const struct crash_kind kinds[] = {
	{&format_vhdx, "block_size=1M", NULL, CRASH_SECTORS, BELOW_NOTHING, true},
	{&format_vhdx, "block_state_zero=off", NULL, 700, BELOW_NOTHING, false},
	{&format_vhdx, "block_size=1M,logical_sector_size=4096", NULL, 2000, BELOW_NOTHING,
	 false},
	{&format_vhdx, "subformat=fixed,block_size=1M", NULL, CRASH_SECTORS, BELOW_NOTHING,
	 false},
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
