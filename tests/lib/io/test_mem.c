#include "tests/lib/io/scratch.h"

#include <pthread.h>

static void grows_and_shrinks(void **state)
{
	struct blk *b = io_mem_new("hello", 5, &err);
	size_t n;

	assert_non_null(b);
	assert_int_equal(blk_size(b), 5);
	assert_int_equal(blk_pwrite(b, "J", 1, 0, 0, &err), 0);
	assert_int_equal(blk_pwrite(b, "end", 3, 7, 0, &err), 0);
	assert_memory_equal(io_mem_data(b, &n), "Jello\0\0end", 10);
	assert_int_equal(n, 10);
	assert_int_equal(blk_zero(b, 8, 4, 0, &err), 0);
	assert_memory_equal(io_mem_data(b, &n), "Jello\0\0e\0\0\0\0", 12);
	assert_int_equal(n, 12);
	assert_int_equal(blk_resize(b, 2, PREALLOC_OFF, &err), 0);
	assert_int_equal(blk_resize(b, 4, PREALLOC_OFF, &err), 0);
	assert_memory_equal(io_mem_data(b, &n), "Je\0\0", 4);
	assert_int_equal(blk_disk_usage(b), 4);
	assert_int_equal(blk_flush(b, &err), 0);
	close_ok(b);
}

static void empty_and_full(void **state)
{
	struct blk *b = io_mem_new(NULL, 0, &err);
	char c = 'x';

	assert_int_equal(blk_size(b), 0);
	assert_int_equal(blk_pread(b, &c, 1, 0, &err), 0);
	assert_int_equal(c, 0);
	assert_int_equal(blk_pwrite(b, "a", 1, 1ull << 40, 0, &err), -1);
	assert_int_equal(err.num, ENOSPC);
	assert_int_equal(blk_size(b), 0);
	close_ok(b);
}

static struct blk *shared;

static void *append(void *arg)
{
	struct err e;

	for (uintptr_t i = 0; i < 500; i++)
		if (blk_pwrite(shared, "0123456789", 10, (i * 4 + (uintptr_t)arg) * 10, 0, &e))
			return &shared;
	return NULL;
}

static void by_many(void **state)
{
	pthread_t t[4];
	const char *data;
	size_t n;

	shared = io_mem_new(NULL, 0, &err);
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, append, (void *)i), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;

		pthread_join(t[i], &failed);
		assert_null(failed);
	}
	data = io_mem_data(shared, &n);
	assert_int_equal(n, 20000);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(data[i], '0' + i % 10);
	close_ok(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_and_shrinks),
		cmocka_unit_test(empty_and_full),
		cmocka_unit_test(by_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
