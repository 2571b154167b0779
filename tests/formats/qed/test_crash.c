/* Crash safety of qed images: tests/lib/crash.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/qed/qed.h"
#include "tests/lib/crash.h"

#define F &format_qed

static const struct crash_kind kinds[] = {
	{F, "cluster_size=4k,table_size=1", NULL, 1001, BELOW_NOTHING, true},
	{F, "cluster_size=4k,table_size=2", NULL, 1001, BELOW_RAW, true},
	{F, "cluster_size=4k,table_size=1", NULL, 1500, BELOW_IMAGE, true},
	{F, "cluster_size=64k,table_size=1", NULL, 2000, BELOW_NOTHING, false},
	{F, "cluster_size=4k,table_size=4", NULL, 1999, BELOW_RAW, true},
	{0},
};

static const struct crash_kind small[] = {
	{F, "cluster_size=4k,table_size=1", NULL, 177, BELOW_RAW, true},
	{0},
};

/* Disks only grow. */
static const struct crash_row *grow(void)
{
	static struct crash_row rows[2];

	rows[0] = crash_rows_resize[0];
	return rows;
}

static void test_logs(void **state)
{
	crash_play_logs(kinds, crash_rows_data);
	crash_play_logs(kinds, crash_rows_image);
	crash_play_logs(kinds, grow());
	crash_play_logs(small, crash_rows_short);
}

static void test_faults(void **state)
{
	crash_play_faults(kinds, crash_rows_data);
	crash_play_faults(kinds, crash_rows_image);
	crash_play_faults(kinds, grow());
	crash_play_faults(small, crash_rows_short);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
