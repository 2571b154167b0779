#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cache.h"

#define SIZE	 512u
#define FILE_MAX (256u * SIZE)

/* A file that remembers what was asked of it: "w OFF/N " in pieces, "r OFF ", "f ". */
static struct {
	struct blk blk;
	uint8_t data[FILE_MAX];
	char log[4000];
	int fail_writes;
} file;

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
	size_t n = strlen(file.log);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(file.log + n, sizeof(file.log) - n, fmt, ap);
	va_end(ap);
}

static int file_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	memcpy(buf, file.data + off, n);
	note("r%u ", (unsigned)(off / SIZE));
	return 0;
}

static int file_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		       struct err *err)
{
	if (file.fail_writes) {
		file.fail_writes--;
		return err_set(err, ENOSPC, "no room");
	}
	memcpy(file.data + off, buf, n);
	note("w%u/%u ", (unsigned)(off / SIZE), (unsigned)(n / SIZE));
	return 0;
}

static int file_flush(struct blk *blk, struct err *err)
{
	note("f ");
	return 0;
}

static const struct blk_ops file_ops = {
	.name = "test",
	.pread = file_pread,
	.pwrite = file_pwrite,
	.flush = file_flush,
};

static struct cache *setup(unsigned pieces)
{
	struct err err;
	struct cache *c;

	memset(&file, 0, sizeof(file));
	assert_int_equal(blk_init(&file.blk, &file_ops, "test", &err), 0);
	file.blk.size = FILE_MAX;
	file.blk.caps = BLK_CAN_WRITE;
	for (unsigned i = 0; i < FILE_MAX; i++)
		file.data[i] = i / SIZE;
	c = cache_new(&file.blk, SIZE, pieces, &err);
	assert_non_null(c);
	return c;
}

static void teardown(struct cache *c)
{
	cache_free(c);
	free(file.blk.name);
}

static void check_log(const char *want)
{
	assert_string_equal(file.log, want);
	file.log[0] = 0;
}

/* Gets piece i, and where v >= 0 sets its first byte to v. */
static void touch(struct cache *c, unsigned i, int v)
{
	struct err err;
	uint8_t *p = cache_get(c, (uint64_t)i * SIZE, &err);

	assert_non_null(p);
	if (v >= 0) {
		p[0] = v;
		cache_dirty(c, p);
	}
	cache_put(c, p);
}

static void test_hit_and_lru(void **state)
{
	struct cache *c = setup(3);

	touch(c, 1, -1);
	touch(c, 2, -1);
	touch(c, 3, -1);
	touch(c, 1, -1);
	check_log("r1 r2 r3 ");
	touch(c, 4, -1); /* evicts 2 */
	touch(c, 1, -1);
	touch(c, 3, -1);
	check_log("r4 ");
	touch(c, 2, -1); /* evicts 4 */
	touch(c, 4, -1); /* evicts 1 */
	touch(c, 3, -1);
	check_log("r2 r4 ");
	teardown(c);
}

static void test_held_stay(void **state)
{
	struct cache *c = setup(2);
	struct err err;
	uint8_t *a = cache_get(c, 1 * SIZE, &err), *b = cache_get(c, 2 * SIZE, &err), *d;

	d = cache_get(c, 3 * SIZE, &err); /* one more than there should be */
	assert_non_null(d);
	assert_int_equal(a[0], 1);
	assert_int_equal(b[0], 2);
	assert_int_equal(d[0], 3);
	assert_ptr_equal(cache_get(c, 1 * SIZE, &err), a);
	cache_put(c, a);
	cache_put(c, a);
	cache_put(c, b);
	cache_put(c, d);
	file.log[0] = 0;
	touch(c, 4, -1); /* evicts 1 and 2 */
	touch(c, 3, -1);
	check_log("r4 ");
	touch(c, 1, -1);
	check_log("r1 ");
	teardown(c);
}

static void test_write_back(void **state)
{
	struct cache *c = setup(4);

	touch(c, 7, 70);
	touch(c, 9, 90);
	touch(c, 6, 60);
	touch(c, 8, -1);
	touch(c, 1, -1); /* evicts 7, writes 6 with it */
	check_log("r7 r9 r6 r8 w6/2 r1 ");
	touch(c, 2, -1); /* evicts 9 */
	touch(c, 3, -1); /* evicts 6: clean by now */
	check_log("w9/1 r2 r3 ");
	assert_int_equal(file.data[6 * SIZE], 60);
	assert_int_equal(file.data[7 * SIZE], 70);
	assert_int_equal(file.data[7 * SIZE + 1], 7);
	assert_int_equal(file.data[9 * SIZE], 90);
	touch(c, 7, -1);
	check_log("r7 ");
	teardown(c);
}

static void test_flush(void **state)
{
	struct cache *c = setup(100);
	struct err err;

	assert_int_equal(cache_flush(c, &err), 0);
	check_log("");
	for (unsigned i = 90; i > 10; i--)
		touch(c, i, i == 50 ? -1 : (int)i + 100);
	file.log[0] = 0;
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("w11/39 w51/40 ");
	for (unsigned i = 11; i <= 90; i++)
		assert_int_equal(file.data[i * SIZE], i == 50 ? 50 : i + 100);
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("");
	teardown(c);
}

static void test_held_stays_dirty(void **state)
{
	struct cache *c = setup(4);
	struct err err;
	uint8_t *p = cache_get(c, 5 * SIZE, &err);

	cache_dirty(c, p);
	p[0] = 1;
	assert_int_equal(cache_flush(c, &err), 0);
	p[0] = 2;
	cache_put(c, p);
	assert_int_equal(cache_flush(c, &err), 0);
	assert_int_equal(file.data[5 * SIZE], 2);
	file.log[0] = 0;
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("");
	teardown(c);
}

/* Only what has changed is written, in units. */
static void test_parts(void **state)
{
	struct cache *c = setup(4);
	struct err err;
	uint8_t *p;

	cache_write_unit(c, SIZE / 8);
	p = cache_get(c, 5 * SIZE, &err);
	memset(file.data + 5 * SIZE, 0x77, SIZE); /* to see what is written over */
	p[SIZE / 2] = 1;
	cache_dirty_part(c, p, SIZE / 2, 1);
	cache_put(c, p);
	assert_int_equal(cache_flush(c, &err), 0);
	assert_int_equal(file.data[5 * SIZE + SIZE / 2 - 1], 0x77);
	assert_int_equal(file.data[5 * SIZE + SIZE / 2], 1);
	assert_int_equal(file.data[5 * SIZE + SIZE / 2 + SIZE / 8 - 1], 5);
	assert_int_equal(file.data[5 * SIZE + SIZE / 2 + SIZE / 8], 0x77);
	/* two changes, and what is between them */
	memset(file.data + 5 * SIZE, 0x77, SIZE);
	p = cache_get(c, 5 * SIZE, &err);
	cache_dirty_part(c, p, SIZE - 1, 1);
	cache_dirty_part(c, p, SIZE / 8, 1);
	cache_put(c, p);
	assert_int_equal(cache_flush(c, &err), 0);
	assert_int_equal(file.data[5 * SIZE + SIZE / 8 - 1], 0x77);
	assert_int_equal(file.data[5 * SIZE + SIZE / 8], 5);
	assert_int_equal(file.data[6 * SIZE - 1], 5);
	/* all of it after all */
	memset(file.data + 5 * SIZE, 0x77, SIZE);
	p = cache_get(c, 5 * SIZE, &err);
	cache_dirty_part(c, p, 3, 1);
	cache_dirty(c, p);
	cache_dirty_part(c, p, 3, 1);
	cache_put(c, p);
	assert_int_equal(cache_flush(c, &err), 0);
	assert_int_equal(file.data[5 * SIZE], 5);
	assert_int_equal(file.data[6 * SIZE - 1], 5);
	teardown(c);
}

static void test_clean(void **state)
{
	struct cache *c = setup(4);

	cache_clean_every(c, 1);
	touch(c, 1, -1);
	touch(c, 2, 22);
	touch(c, 3, -1);
	usleep(1100000);
	touch(c, 1, -1);
	usleep(1100000);
	file.log[0] = 0;
	touch(c, 1, -1);
	touch(c, 2, 22);
	touch(c, 3, -1);
	check_log("r3 "); /* was not used; what is dirty stays */
	teardown(c);
}

static int may_write(void *arg, uint64_t off, size_t n, struct err *err)
{
	return off <= 5 * SIZE && off + n > 5 * SIZE ? err_set(err, EIO, "not there") : 0;
}

static void test_guard(void **state)
{
	struct cache *c = setup(4);
	struct err err;

	cache_guard(c, may_write, NULL);
	touch(c, 3, 33);
	touch(c, 5, 55);
	assert_int_equal(cache_flush(c, &err), -1);
	assert_string_equal(err.text, "not there");
	assert_int_equal(file.data[3 * SIZE], 33);
	assert_int_equal(file.data[5 * SIZE], 5);
	teardown(c);
}

static void test_new_and_forget(void **state)
{
	struct cache *c = setup(4);
	struct err err;
	uint8_t *p;

	p = cache_new_piece(c, 3 * SIZE, &err);
	assert_int_equal(p[0] | p[SIZE - 1], 0);
	cache_put(c, p);
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("w3/1 ");
	touch(c, 3, 9);
	cache_forget(c, 3 * SIZE);
	cache_forget(c, 4 * SIZE);
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("");
	touch(c, 3, -1);
	check_log("r3 ");

	/* forgotten while held, and made anew meanwhile */
	p = cache_get(c, 5 * SIZE, &err);
	cache_dirty(c, p);
	cache_forget(c, 5 * SIZE);
	cache_dirty(c, p);
	touch(c, 5, 55);
	cache_put(c, p);
	file.log[0] = 0;
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("w5/1 ");
	assert_int_equal(file.data[5 * SIZE], 55);

	/* a piece that is there is emptied */
	p = cache_new_piece(c, 5 * SIZE, &err);
	assert_int_equal(p[0] | p[SIZE - 1], 0);
	cache_put(c, p);
	teardown(c);
}

static void test_order(void **state)
{
	struct cache *c = setup(4), *on;
	struct err err;

	on = cache_new(&file.blk, SIZE, 4, &err);
	cache_depend(c, on);
	touch(on, 100, 1);
	touch(c, 1, 1);
	file.log[0] = 0;
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("w100/1 f w1/1 ");
	touch(c, 1, 2); /* nothing new in `on`: no wait */
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("w1/1 ");
	touch(on, 100, 2);
	assert_int_equal(cache_flush(on, &err), 0); /* written, not stable */
	touch(c, 1, 3);
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("w100/1 f w1/1 ");
	cache_data_written(c);
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("");
	touch(c, 1, 4);
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("f w1/1 ");

	/* eviction keeps the order too */
	touch(c, 1, 5);
	touch(on, 100, 3);
	for (unsigned i = 2; i <= 5; i++)
		touch(c, i, -1);
	check_log("r2 r3 r4 w100/1 f w1/1 r5 ");

	/* a circle ends */
	cache_depend(on, c);
	touch(c, 1, 6);
	touch(on, 100, 4);
	assert_int_equal(cache_flush(c, &err), 0);
	cache_relax(c, true);
	cache_relax(on, true);
	touch(c, 1, 7);
	touch(on, 100, 5);
	cache_data_written(c);
	file.log[0] = 0;
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("w1/1 ");
	cache_free(on);
	teardown(c);
}

static int data_flush(struct blk *blk, struct err *err)
{
	note("d ");
	return 0;
}

static void test_data_elsewhere(void **state)
{
	static const struct blk_ops ops = {.name = "data", .flush = data_flush};
	struct cache *c = setup(4);
	struct blk data;
	struct err err;

	assert_int_equal(blk_init(&data, &ops, "data", &err), 0);
	cache_data_in(c, &data);
	touch(c, 1, 1);
	file.log[0] = 0;
	cache_data_written(c);
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("d w1/1 ");
	touch(c, 1, 2); /* once is enough */
	assert_int_equal(cache_flush(c, &err), 0);
	check_log("w1/1 ");
	free(data.name);
	teardown(c);
}

static void test_failed_write(void **state)
{
	struct cache *c = setup(2);
	struct err err;

	touch(c, 1, 11);
	touch(c, 2, 22);
	file.fail_writes = 1;
	assert_null(cache_get(c, 3 * SIZE, &err));
	assert_int_equal(err.num, ENOSPC);
	file.fail_writes = 1;
	assert_int_equal(cache_flush(c, &err), -1);
	assert_int_equal(file.data[SIZE], 1);
	assert_int_equal(cache_flush(c, &err), 0);
	assert_int_equal(file.data[SIZE], 11);
	assert_int_equal(file.data[2 * SIZE], 22);
	assert_null(cache_get(c, 3 * SIZE + 1, &err));
	assert_int_equal(err.num, EINVAL);
	assert_null(cache_new(&file.blk, 0, 2, &err));
	teardown(c);
}

/* Against a plain array, by a fixed sequence of pseudo-random steps. */
static void test_model(void **state)
{
	static uint8_t model[FILE_MAX];
	struct cache *c = setup(11);
	uint32_t seed = 1;
	struct err err;

	memcpy(model, file.data, FILE_MAX);
	cache_write_unit(c, SIZE / 8);
	for (int i = 0; i < 20000; i++) {
		unsigned piece, at;
		uint8_t *p;

		seed = seed * 1664525 + 1013904223;
		piece = (seed >> 8) % 40;
		at = (seed >> 16) % SIZE;
		p = cache_get(c, (uint64_t)piece * SIZE, &err);
		assert_int_equal(p[at], model[piece * SIZE + at]);
		if (seed >> 31) {
			p[at] = model[piece * SIZE + at] = seed >> 24;
			if (seed >> 20 & 1)
				cache_dirty_part(c, p, at, 1);
			else
				cache_dirty(c, p);
		}
		cache_put(c, p);
		if ((seed >> 12) % 512 == 0)
			assert_int_equal(cache_flush(c, &err), 0);
		file.log[0] = 0;
	}
	assert_int_equal(cache_flush(c, &err), 0);
	assert_memory_equal(model, file.data, FILE_MAX);
	teardown(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hit_and_lru),
		cmocka_unit_test(test_held_stay),
		cmocka_unit_test(test_write_back),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_held_stays_dirty),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_new_and_forget),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_data_elsewhere),
		cmocka_unit_test(test_failed_write),
		cmocka_unit_test(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
