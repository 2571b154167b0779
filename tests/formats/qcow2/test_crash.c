/* Crash safety of qcow2 images of all kinds: tests/lib/crash.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/qcow2/qcow2.h"
#include "tests/lib/crash.h"

#define F &format_qcow2

static const struct crash_kind kinds[] = {
	{F, "cluster_size=512", NULL, 500, BELOW_NOTHING, true},
	{F, "cluster_size=512", NULL, 500, BELOW_RAW, true},
	{F, "cluster_size=512,refcount_bits=64", NULL, 600, BELOW_IMAGE, true},
	{F, "cluster_size=512,refcount_bits=1,compat=1.1", NULL, 500, BELOW_NOTHING, false},
	{F, "cluster_size=512,compat=0.10", NULL, 401, BELOW_NOTHING, false},
	{F, "cluster_size=1k,compat=0.10", NULL, 599, BELOW_RAW, true},
	{F, "cluster_size=2k,refcount_bits=8", NULL, 1001, BELOW_NOTHING, false},
	{F, "cluster_size=4k,lazy_refcounts=on", NULL, 1001, BELOW_RAW, true},
	{F, "cluster_size=16k,extended_l2=on", NULL, 1101, BELOW_RAW, true},
	{F, "cluster_size=16k,extended_l2=on,compression_type=zstd", NULL, 1000, BELOW_NOTHING,
	 false},
	{F, "cluster_size=512", "cache-size=1k", 500, BELOW_NOTHING, true},
	{F, "cluster_size=512,data_file=data", NULL, 500, BELOW_DATA, true},
	{F, "cluster_size=4k,data_file=data,data_file_raw=on", NULL, 801, BELOW_DATA, false},
	{0},
};

/* A refcount table of one cluster describes 2 MiB. */
static const struct crash_kind large[] = {
	{F, "cluster_size=512,refcount_bits=64", NULL, 2000, BELOW_NOTHING, true},
	{0},
};

static void test_logs(void **state)
{
	crash_play_logs(kinds, crash_rows_data);
	crash_play_logs(kinds, crash_rows_image);
	crash_play_logs(kinds, crash_rows_bitmap);
	crash_play_logs(large, crash_rows_many);
}

static void test_faults(void **state)
{
	crash_play_faults(kinds, crash_rows_data);
	crash_play_faults(kinds, crash_rows_image);
	crash_play_faults(kinds, crash_rows_bitmap);
	crash_play_faults(large, crash_rows_many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
