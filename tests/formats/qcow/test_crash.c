/* Crash safety of qcow images: tests/lib/crash.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/qcow/qcow.h"
#include "tests/lib/crash.h"

#define F &format_qcow

/* Over a backing file clusters are sectors. */
static const struct crash_kind kinds[] = {
	{F, "", NULL, 1001, BELOW_NOTHING, true},
	{F, "", NULL, 500, BELOW_RAW, true},
	{F, "", NULL, 700, BELOW_IMAGE, true},
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
