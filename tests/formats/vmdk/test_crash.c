/* Crash safety of vmdk images: tests/lib/crash.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/vmdk/vmdk.h"
#include "tests/lib/crash.h"

static const struct crash_kind kinds[] = {
	{&format_vmdk, "", NULL, 2048, BELOW_NOTHING, true},
	{&format_vmdk, "", NULL, 1001, BELOW_NOTHING, false},
	{&format_vmdk, "zeroed_grain=on", NULL, 1500, BELOW_NOTHING, false},
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
