#include "tests/lib/io/scratch.h"

#include <pthread.h>

#define MB (1ull << 20)

static struct blk *file;

static bool have_holes(void)
{
	int fd;
	off_t at;

	make_file("probe", 4 * MB);
	fd = open("probe", O_RDONLY);
	at = lseek(fd, 0, SEEK_DATA);
	close(fd);
	return at < 0 && errno == ENXIO;
}

static void expect(uint64_t off, uint64_t len, uint64_t want_len, unsigned flags)
{
	struct extent e;

	assert_int_equal(blk_extent(file, off, len, &e, &err), 0);
	assert_int_equal(e.off, off);
	assert_int_equal(e.len, want_len);
	assert_int_equal(e.flags, flags);
	if (off < blk_size(file)) {
		assert_ptr_equal(e.home, file);
		assert_int_equal(e.host, off);
	}
}

static void write_at(uint64_t off, uint64_t n)
{
	AUTO_FREE uint8_t *buf = malloc(n);

	memset(buf, 1, n);
	assert_int_equal(blk_pwrite(file, buf, n, off, 0, &err), 0);
}

static void holes_and_data(void **state)
{
	if (!have_holes())
		skip();
	make_file("a", 10 * MB + 100);
	file = open_file("a", IO_WRITE | IO_UNMAP);
	write_at(2 * MB, MB);
	write_at(5 * MB, MB);
	for (int round = 0; round < 2; round++) {
		expect(0, 20 * MB, 2 * MB, EXT_ZERO);
		expect(2 * MB, 20 * MB, MB, EXT_DATA);
		expect(3 * MB, 20 * MB, 2 * MB, EXT_ZERO);
		expect(5 * MB, 20 * MB, MB, EXT_DATA);
		expect(6 * MB, 20 * MB, 4 * MB + 100, EXT_ZERO);
		expect(10 * MB + 100, 20 * MB, 20 * MB, EXT_ZERO);
	}
	/* in the middle of runs, backwards, and less than all of a run */
	expect(9 * MB, 10, 10, EXT_ZERO);
	expect(5 * MB + 5, 10 * MB, MB - 5, EXT_DATA);
	expect(2 * MB + 5, 7, 7, EXT_DATA);
	expect(MB, 10 * MB, MB, EXT_ZERO);
	close_ok(file);
}

static void follows_our_writes(void **state)
{
	if (!have_holes())
		skip();
	make_file("a", 8 * MB);
	file = open_file("a", IO_WRITE | IO_UNMAP);
	expect(0, 8 * MB, 8 * MB, EXT_ZERO);
	write_at(4 * MB, MB);
	expect(0, 8 * MB, 4 * MB, EXT_ZERO);
	write_at(MB, MB);
	expect(0, 8 * MB, MB, EXT_ZERO);
	expect(MB, 8 * MB, MB, EXT_DATA);
	/* data becomes a hole: the run that was just told of is stale */
	assert_int_equal(blk_zero(file, MB, MB, BLK_UNMAP, &err), 0);
	expect(MB, 8 * MB, 3 * MB, EXT_ZERO);
	/* "data begins at 4M" was learnt with that hole, and is no longer true */
	assert_int_equal(blk_zero(file, 4 * MB, MB, BLK_UNMAP, &err), 0);
	expect(4 * MB, 8 * MB, 4 * MB, EXT_ZERO);
	/* growth */
	write_at(8 * MB, MB);
	expect(8 * MB, 8 * MB, MB, EXT_DATA);
	assert_int_equal(blk_resize(file, 20 * MB, PREALLOC_OFF, &err), 0);
	expect(8 * MB, 20 * MB, MB, EXT_DATA);
	expect(9 * MB, 20 * MB, 11 * MB, EXT_ZERO);
	assert_int_equal(blk_resize(file, 8 * MB, PREALLOC_OFF, &err), 0);
	assert_int_equal(blk_resize(file, 9 * MB, PREALLOC_OFF, &err), 0);
	expect(8 * MB, 8 * MB, MB, EXT_ZERO);
	close_ok(file);
}

static void an_all_data_file(void **state)
{
	put_file("a", "0123456789", 10);
	file = open_file("a", 0);
	expect(0, 100, 10, EXT_DATA);
	expect(3, 4, 4, EXT_DATA);
	close_ok(file);
}

static char failed, stale;

/* Nobody may be told of a hole where his own write has returned. */
static void *walker(void *arg)
{
	uint64_t base = (uintptr_t)arg * 64 * MB;
	uint8_t buf[4096] = {1};
	struct extent e;
	struct err why;

	for (uint64_t i = 0; i < 300; i++) {
		uint64_t off = base + i * 8192;

		if (blk_extent(file, base, 64 * MB, &e, &why) ||
		    blk_pwrite(file, buf, sizeof(buf), off, 0, &why) ||
		    blk_extent(file, off, 4096, &e, &why))
			return &failed;
		if (e.flags != EXT_DATA)
			return &stale;
	}
	return NULL;
}

static void asked_while_written(void **state)
{
	pthread_t thread[4];

	make_file("a", 256 * MB);
	file = open_file("a", IO_WRITE);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, walker, (void *)i), 0);
	for (int i = 0; i < 4; i++) {
		void *what;

		pthread_join(thread[i], &what);
		assert_ptr_not_equal(what, &failed);
		assert_ptr_not_equal(what, &stale);
	}
	close_ok(file);
}

static uint64_t used(void)
{
	struct stat st;

	assert_int_equal(stat("a", &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void zero_and_space(void **state)
{
	static uint8_t zeros[2 << 20];
	uint64_t before;

	if (!have_holes())
		skip();
	make_file("a", 0);
	file = open_file("a", IO_WRITE | IO_UNMAP);
	assert_true(file->caps & BLK_CAN_UNMAP);
	write_at(0, 8 * MB);
	/* allocated zeros keep their place, unmapped ones give it back */
	assert_int_equal(blk_zero(file, MB, MB, BLK_CHEAP, &err), 0);
	assert_int_equal(blk_flush(file, &err), 0);
	assert_true(used() >= 8 * MB);
	check_bytes("a", MB, zeros, MB);
	before = used();
	assert_int_equal(blk_zero(file, 2 * MB, 2 * MB, BLK_UNMAP | BLK_CHEAP, &err), 0);
	assert_true(used() <= before - 2 * MB);
	check_bytes("a", 2 * MB, zeros, 2 * MB);
	assert_int_equal(blk_zero(file, 4 * MB, 2 * MB, BLK_ADVISE, &err), 0);
	assert_true(used() <= before - 4 * MB);
	/* past the end: a discard changes nothing, zeros make the file longer */
	assert_int_equal(blk_zero(file, 8 * MB, 7 * MB, BLK_ADVISE, &err), 0);
	assert_int_equal(size_of("a"), 8 * MB);
	assert_int_equal(blk_zero(file, 8 * MB - 1, 5 * MB, BLK_UNMAP, &err), 0);
	assert_int_equal(size_of("a"), 13 * MB - 1);
	assert_int_equal(blk_size(file), 13 * MB - 1);
	check_bytes("a", 8 * MB - 2, "\1\0\0", 3);
	close_ok(file);
}

static void discard_has_to_be_allowed(void **state)
{
	make_file("a", 0);
	file = open_file("a", IO_WRITE);
	write_at(0, 4 * MB);
	assert_int_equal(blk_zero(file, 0, MB, BLK_ADVISE, &err), 0);
	check_bytes("a", 0, "\1\1\1", 3);
	assert_int_equal(blk_zero(file, 0, MB, BLK_UNMAP, &err), 0);
	check_bytes("a", 0, "\0\0\0", 3);
	assert_true(used() >= 4 * MB);
	close_ok(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(holes_and_data, scratch_empty),
		cmocka_unit_test_teardown(follows_our_writes, scratch_empty),
		cmocka_unit_test_teardown(an_all_data_file, scratch_empty),
		cmocka_unit_test_teardown(asked_while_written, scratch_empty),
		cmocka_unit_test_teardown(zero_and_space, scratch_empty),
		cmocka_unit_test_teardown(discard_has_to_be_allowed, scratch_empty),
	};

	return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
