#include "tests/lib/io/scratch.h"

#include <pthread.h>

#define SIZE 300000u /* no multiple of any sector */

static uint8_t model[SIZE + 70000];
static struct blk *file;
static uint64_t model_size;

static bool open_direct(const char *name, unsigned flags)
{
	file = open_file(name, IO_DIRECT | flags);
	if (!file && err.num == EINVAL)
		return false;
	assert_non_null(file);
	assert_true(file->align >= 512);
	assert_int_equal(file->grain, file->align);
	return true;
}

static void fill(void)
{
	for (size_t i = 0; i < sizeof(model); i++)
		model[i] = (uint8_t)(i * 7 + i / 251);
	model_size = SIZE;
	put_file("a", model, SIZE);
}

static void reads_of_any_shape(void **state)
{
	static const uint64_t off[] = {0, 1, 511, 512, 4095, 4096, 4097, 100000, SIZE - 1};
	static const size_t len[] = {1, 511, 512, 513, 4096, 8193, 65536, 200000};
	static uint8_t buf[SIZE] __attribute__((aligned(4096)));

	fill();
	if (!open_direct("a", 0))
		skip();
	for (size_t i = 0; i < ARRAY_LEN(off); i++) {
		for (size_t k = 0; k < ARRAY_LEN(len); k++) {
			size_t n = MIN(len[k], SIZE - off[i]), unaligned;

			unaligned = i % 2 ? 3 : 0;
			n = MIN(n, SIZE - unaligned);
			memset(buf, 0xee, SIZE);
			assert_int_equal(blk_pread(file, buf + unaligned, n, off[i], &err), 0);
			assert_memory_equal(buf + unaligned, model + off[i], n);
		}
	}
	/* all of it, over more than one bounce, and past the end */
	assert_int_equal(blk_pread(file, buf, SIZE, 0, &err), 0);
	assert_memory_equal(buf, model, SIZE);
	memset(buf, 0xee, 4096);
	assert_int_equal(blk_pread(file, buf, 4096, SIZE - 100, &err), 0);
	assert_memory_equal(buf, model + SIZE - 100, 100);
	for (size_t i = 100; i < 4096; i++)
		assert_int_equal(buf[i], 0);
	close_ok(file);
}

static void put(uint64_t off, size_t n, uint8_t seed)
{
	AUTO_FREE uint8_t *buf = malloc(n);

	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(seed + i * 3);
	assert_int_equal(blk_pwrite(file, buf, n, off, 0, &err), 0);
	if (off > model_size)
		memset(model + model_size, 0, off - model_size);
	memcpy(model + off, buf, n);
	model_size = MAX(model_size, off + n);
	assert_int_equal(blk_size(file), model_size);
	assert_int_equal(size_of("a"), model_size);
}

static void writes_of_any_shape(void **state)
{
	fill();
	if (!open_direct("a", IO_WRITE))
		skip();
	put(0, 1, 1);
	put(511, 2, 2);
	put(4096, 4096, 3);
	put(4097, 10, 4);
	put(10000, 70000, 5);
	put(SIZE - 1, 1, 6); /* the last, partial sector */
	put(SIZE - 1, 2, 7); /* one more byte */
	put(SIZE - 5000, 100, 8);
	put(SIZE + 1, 12345, 9);  /* grows */
	put(SIZE + 40000, 1, 10); /* leaves a hole */
	put(round_up(model_size, 4096), 4096, 11);
	put(model_size, 512, 12);
	put(model_size - 512, 1500, 13);
	check_bytes("a", 0, model, model_size);
	close_ok(file);
}

static void writes_through_the_bounce(void **state)
{
	static uint8_t buf[(3u << 20) + 5], zeros[sizeof(buf)];
	const size_t n = sizeof(buf);

	make_file("a", 0);
	if (!open_direct("a", IO_WRITE))
		skip();
	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(i >> 9 ^ i);
	assert_int_equal(blk_pwrite(file, buf, n, 77, 0, &err), 0);
	check_bytes("a", 77, buf, n);
	assert_int_equal(size_of("a"), n + 77);
	assert_int_equal(blk_resize(file, 0, PREALLOC_OFF, &err), 0);
	assert_int_equal(blk_resize(file, n, PREALLOC_FULL, &err), 0);
	check_bytes("a", 0, zeros, n);
	assert_int_equal(size_of("a"), n);
	close_ok(file);
}

/* Threads write neighbouring pieces that share sectors: none may lose another's. */
#define THREADS 4
#define PIECE	300u
#define PIECES	200u

static void *scribble(void *arg)
{
	unsigned id = (unsigned)(uintptr_t)arg;
	uint8_t buf[PIECE];
	struct err e;

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = id; i < PIECES; i += THREADS) {
			memset(buf, (int)(i + round), sizeof(buf));
			if (blk_pwrite(file, buf, PIECE, (uint64_t)i * PIECE, 0, &e))
				return arg ? arg : (void *)1;
		}
	}
	return NULL;
}

static void neighbours(void **state)
{
	pthread_t thread[THREADS];
	uint8_t want[PIECE];

	make_file("a", PIECES * PIECE / 2);
	if (!open_direct("a", IO_WRITE))
		skip();
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, scribble, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(thread[i], &failed);
		assert_null(failed);
	}
	close_ok(file);
	assert_int_equal(size_of("a"), PIECES * PIECE);
	for (unsigned i = 0; i < PIECES; i++) {
		memset(want, (int)(i + 2), sizeof(want));
		check_bytes("a", (uint64_t)i * PIECE, want, PIECE);
	}
}

static void zeros(void **state)
{
	fill();
	if (!open_direct("a", IO_WRITE | IO_UNMAP))
		skip();
	assert_int_equal(blk_zero(file, 700, 100000, BLK_UNMAP, &err), 0);
	memset(model + 700, 0, 100000);
	assert_int_equal(blk_zero(file, SIZE - 100, 1000, 0, &err), 0);
	memset(model + SIZE - 100, 0, 1000);
	assert_int_equal(blk_size(file), SIZE + 900);
	check_bytes("a", 0, model, SIZE + 900);
	close_ok(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(reads_of_any_shape, scratch_empty),
		cmocka_unit_test_teardown(writes_of_any_shape, scratch_empty),
		cmocka_unit_test_teardown(writes_through_the_bounce, scratch_empty),
		cmocka_unit_test_teardown(neighbours, scratch_empty),
		cmocka_unit_test_teardown(zeros, scratch_empty),
	};

	return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
