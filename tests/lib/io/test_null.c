#include "tests/lib/io/scratch.h"

#include <time.h>

static void defaults(void **state)
{
	struct blk *b = scratch_open(&io_null_co, NULL, 0, NULL);
	struct extent e;
	char c = 'x';

	assert_non_null(b);
	assert_int_equal(blk_size(b), 1 << 30);
	assert_string_equal(b->name, "null-co://");
	assert_string_equal(b->ops->name, "null-co");
	assert_false(b->caps & BLK_CAN_WRITE);
	assert_int_equal(blk_disk_usage(b), 0);
	assert_int_equal(blk_pread(b, &c, 1, 5, &err), 0);
	assert_int_equal(c, 0);
	assert_int_equal(blk_extent(b, 5, 1ull << 40, &e, &err), 0);
	assert_int_equal(e.len, (1 << 30) - 5);
	assert_int_equal(e.flags, EXT_DATA | EXT_VAGUE);
	close_ok(b);
}

static void options(void **state)
{
	struct blk *b = scratch_open(&io_null_aio, NULL, IO_WRITE, "size=1001,read-zeroes=on");
	struct extent e;
	char c = 'x';

	assert_non_null(b);
	assert_int_equal(blk_size(b), 1001);
	assert_string_equal(b->name, "null-aio://");
	assert_int_equal(blk_pwrite(b, &c, 1, 1000, BLK_FUA, &err), 0);
	assert_int_equal(blk_pread(b, &c, 1, 1000, &err), 0);
	assert_int_equal(c, 0);
	assert_int_equal(blk_pwrite(b, &c, 1, 1001, 0, &err), -1);
	assert_int_equal(err.num, ENOSPC);
	assert_int_equal(blk_zero(b, 0, 1001, BLK_CHEAP | BLK_UNMAP, &err), 0);
	assert_int_equal(blk_extent(b, 0, 1001, &e, &err), 0);
	assert_int_equal(e.flags, EXT_ZERO);
	assert_ptr_equal(e.home, b);
	assert_int_equal(blk_resize(b, 5, PREALLOC_OFF, &err), -1);
	assert_false(io_is_file(b));
	close_ok(b);
	assert_null(io_null_co.create);
}

static void latency(void **state)
{
	struct blk *b = scratch_open(&io_null_co, NULL, 0, "latency-ns=20000000");
	struct timespec from, to;
	char c;

	clock_gettime(CLOCK_MONOTONIC, &from);
	assert_int_equal(blk_pread(b, &c, 1, 0, &err), 0);
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true((to.tv_sec - from.tv_sec) * 1000000000ll + to.tv_nsec - from.tv_nsec >=
		    20000000);
	close_ok(b);
}

static void bad_values(void **state)
{
	assert_null(scratch_open(&io_null_co, NULL, 0, "size=x"));
	assert_null(scratch_open(&io_null_co, NULL, 0, "size=99999999999999999999"));
	assert_null(scratch_open(&io_null_co, NULL, 0, "latency-ns=-1"));
	assert_null(scratch_open(&io_null_co, NULL, 0, "read-zeroes=maybe"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(options),
		cmocka_unit_test(latency),
		cmocka_unit_test(bad_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
