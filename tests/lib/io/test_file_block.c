/* Block devices, by way of loop devices: for root only. */
#include "tests/lib/io/scratch.h"

#define MB (1u << 20)

static char device[64];

static bool attach(unsigned sector)
{
	char cmd[128];
	FILE *p;

	make_file("disk", 3 * MB);
	snprintf(cmd, sizeof(cmd), "losetup -f --show --sector-size %u disk 2>/dev/null",
		 sector);
	device[0] = '\0';
	p = geteuid() == 0 ? popen(cmd, "r") : NULL;
	if (!p)
		return false;
	if (!fgets(device, sizeof(device), p))
		device[0] = '\0';
	device[strcspn(device, "\n")] = '\0';
	return pclose(p) == 0 && device[0];
}

static int detach(void **state)
{
	char cmd[128];

	if (device[0]) {
		snprintf(cmd, sizeof(cmd), "losetup -d %s", device);
		if (system(cmd))
			return -1;
	}
	device[0] = '\0';
	return scratch_empty(state);
}

static void a_disk(void **state)
{
	struct extent e;
	struct blk *b;
	char buf[4];

	if (!attach(512))
		skip();
	b = scratch_open(&io_host_device, device, IO_WRITE, NULL);
	assert_non_null(b);
	assert_int_equal(blk_size(b), 3 * MB);
	assert_false(b->caps & (BLK_CAN_GROW | BLK_ZERO_INIT));
	assert_int_equal(blk_disk_usage(b), 0);
	assert_int_equal(blk_pwrite(b, "abc", 3, 3 * MB - 3, BLK_FUA, &err), 0);
	assert_int_equal(blk_pwrite(b, "abc", 3, 3 * MB - 2, 0, &err), -1);
	assert_int_equal(err.num, ENOSPC);
	assert_int_equal(blk_pread(b, buf, 4, 3 * MB - 2, &err), 0);
	assert_memory_equal(buf, "bc\0\0", 4);
	assert_int_equal(blk_extent(b, 7, 4 * MB, &e, &err), 0);
	assert_int_equal(e.len, 3 * MB - 7);
	assert_int_equal(e.flags, EXT_DATA);
	assert_int_equal(blk_resize(b, 4 * MB, PREALLOC_OFF, &err), -1);
	assert_string_equal(err.text, "Cannot resize device files");
	assert_int_equal(blk_resize(b, 4 * MB, PREALLOC_FULL, &err), -1);
	assert_string_equal(err.text,
			    "Preallocation mode 'full' unsupported for this non-regular file");
	close_ok(b);
	assert_int_equal(io_file_new(device, 0, &b, &err), 0);
	assert_int_equal(blk_size(b), 3 * MB);
	assert_false(b->caps & BLK_ZERO_INIT);
	assert_int_equal(io_file_publish(b, &err), 0);
	assert_int_equal(blk_pread(b, buf, 2, 3 * MB - 2, &err), 0);
	assert_memory_equal(buf, "bc", 2);
	close_ok(b);
}

static void check_zeros(struct blk *b, const uint8_t *model)
{
	static uint8_t got[3 * MB];

	assert_int_equal(blk_pread(b, got, sizeof(got), 0, &err), 0);
	assert_memory_equal(got, model, sizeof(got));
}

static void zero_ranges(unsigned sector, unsigned more)
{
	static const unsigned flags[] = {0, BLK_UNMAP, BLK_UNMAP | BLK_CHEAP};
	static uint8_t model[3 * MB];
	struct stat before, after;
	struct blk *b;

	if (!attach(sector))
		skip();
	b = open_file(device, IO_WRITE | IO_UNMAP | more);
	assert_non_null(b);
	if (more & IO_DIRECT)
		assert_true(b->align >= sector);
	memset(model, 1, sizeof(model));
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		uint64_t off = (i + 1) * 100000 + 7;

		assert_int_equal(blk_pwrite(b, model, sizeof(model), 0, 0, &err), 0);
		memset(model + off, 0, 50001);
		assert_int_equal(blk_zero(b, off, 50001, flags[i], &err), 0);
		check_zeros(b, model);
		/* inside of one sector */
		memset(model + 5, 0, 100);
		assert_int_equal(blk_zero(b, 5, 100, flags[i], &err), 0);
		check_zeros(b, model);
	}
	assert_int_equal(blk_flush(b, &err), 0);
	assert_int_equal(stat("disk", &before), 0);
	assert_int_equal(blk_zero(b, MB, MB, BLK_ADVISE, &err), 0);
	assert_int_equal(stat("disk", &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	close_ok(b);
}

static void zeros(void **state)
{
	zero_ranges(512, 0);
}

static void zeros_large_sectors(void **state)
{
	zero_ranges(4096, 0);
}

static void direct(void **state)
{
	zero_ranges(512, IO_DIRECT);
}

static void direct_large_sectors(void **state)
{
	zero_ranges(4096, IO_DIRECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_disk, detach),
		cmocka_unit_test_teardown(zeros, detach),
		cmocka_unit_test_teardown(zeros_large_sectors, detach),
		cmocka_unit_test_teardown(direct, detach),
		cmocka_unit_test_teardown(direct_large_sectors, detach),
	};

	return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
