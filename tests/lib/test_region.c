#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/io/io.h"

static struct err err;
static struct blk *lower;

static struct blk *window(uint64_t off, uint64_t size)
{
	struct blk *r;

	lower = io_mem_new("0123456789", 10, &err);
	assert_non_null(lower);
	r = region_new(lower, off, size, &err);
	assert_non_null(r);
	assert_ptr_equal(r->lower, lower);
	return r;
}

static const char *below(void)
{
	size_t n;

	return io_mem_data(lower, &n);
}

static void shifted(void **state)
{
	struct blk *r = window(3, 4);
	struct extent e;
	char buf[8];

	assert_int_equal(blk_size(r), 4);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(blk_pread(r, buf, 8, 1, &err), 0);
	assert_memory_equal(buf, "456\0\0\0\0\0", 8);
	assert_int_equal(blk_pwrite(r, "ab", 2, 2, 0, &err), 0);
	assert_int_equal(blk_zero(r, 0, 1, 0, &err), 0);
	assert_memory_equal(below(),
			    "012\0"
			    "4ab789",
			    10);
	assert_int_equal(blk_extent(r, 1, 100, &e, &err), 0);
	assert_int_equal(e.off, 1);
	assert_int_equal(e.len, 3);
	assert_int_equal(e.host, 4);
	assert_ptr_equal(e.home, lower);
	assert_true(extent_plain(&e));
	assert_int_equal(blk_read_extent(r, &e, buf, 2, 2, &err), 0);
	assert_memory_equal(buf, "ab", 2);
	assert_int_equal(blk_flush(r, &err), 0);
	assert_int_equal(blk_close(r, &err), 0);
}

static void stays_inside(void **state)
{
	struct blk *r = window(3, 4);

	assert_int_equal(blk_pwrite(r, "ab", 2, 3, 0, &err), -1);
	assert_int_equal(err.num, ENOSPC);
	assert_int_equal(blk_zero(r, 0, 5, 0, &err), -1);
	assert_int_equal(blk_resize(r, 5, PREALLOC_OFF, &err), -1);
	assert_string_equal(err.text, "Cannot resize fixed-size raw disks");
	assert_memory_equal(below(), "0123456789", 10);
	assert_int_equal(blk_close(r, &err), 0);
}

static void open_end(void **state)
{
	struct blk *r = window(8, UINT64_MAX);

	assert_int_equal(blk_size(r), 2);
	assert_int_equal(blk_pwrite(r, "ab", 2, 3, 0, &err), 0);
	assert_int_equal(blk_size(r), 5);
	assert_memory_equal(below(), "0123456789\0ab", 13);
	assert_int_equal(blk_zero(r, 5, 2, 0, &err), 0);
	assert_int_equal(blk_size(r), 7);
	assert_int_equal(blk_resize(r, 1, PREALLOC_OFF, &err), 0);
	assert_int_equal(blk_size(lower), 9);
	assert_int_equal(blk_pwrite(r, "a", 1, INT64_MAX - 3, 0, &err), -1);
	assert_int_equal(err.num, EFBIG);
	assert_int_equal(blk_resize(r, INT64_MAX, PREALLOC_OFF, &err), -1);
	assert_int_equal(err.num, EFBIG);
	assert_int_equal(blk_close(r, &err), 0);
}

static void bounds(void **state)
{
	lower = io_mem_new("0123456789", 10, &err);
	assert_null(region_new(lower, 11, 0, &err));
	assert_null(region_new(lower, 11, UINT64_MAX, &err));
	assert_null(region_new(lower, 5, 6, &err));
	assert_null(region_new(lower, UINT64_MAX - 2, 5, &err));
	assert_int_equal(err.num, EINVAL);
	assert_int_equal(blk_close(lower, &err), 0);
	assert_int_equal(blk_close(window(10, 0), &err), 0);
	assert_int_equal(blk_close(window(10, UINT64_MAX), &err), 0);
}

static void descriptor_with_base(void **state)
{
	char name[] = "/tmp/platter-region.XXXXXX", c;
	struct opts *o = opts_new(&err);
	int fd = mkstemp(name);
	struct blk *f, *r, *rr;
	uint64_t base;

	assert_int_equal(write(fd, "0123456789", 10), 10);
	close(fd);
	opts_set(o, "filename", name, &err);
	assert_int_equal(io_file.open(o, 0, &f, &err), 0);
	unlink(name);
	r = region_new(f, 2, 7, &err);
	rr = region_new(r, 3, 2, &err); /* a window of a window */
	fd = blk_fd(rr, &base);
	assert_int_equal(base, 5);
	assert_int_equal(pread(fd, &c, 1, (off_t)base), 1);
	assert_int_equal(c, '5');
	assert_true(blk_disk_usage(rr) >= 0);
	assert_int_equal(blk_close(rr, &err), 0);
	opts_free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shifted),
		cmocka_unit_test(stays_inside),
		cmocka_unit_test(open_end),
		cmocka_unit_test(bounds),
		cmocka_unit_test(descriptor_with_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
