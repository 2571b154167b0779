#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/bench.h"
#include "lib/filter/pass.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define SIZE 65536

/* A disk that keeps a record of what was asked of it. */
struct spy {
	struct pass pass;
	uint64_t off[64];
	unsigned n, flush_at[64], nflush; /* atomic */
	unsigned under_way, most;	  /* atomic */
	bool flushed_busy, fails;
};

static void enter(struct spy *s, uint64_t off)
{
	unsigned i = __atomic_fetch_add(&s->n, 1, __ATOMIC_SEQ_CST);
	unsigned now = __atomic_add_fetch(&s->under_way, 1, __ATOMIC_SEQ_CST);
	unsigned most = __atomic_load_n(&s->most, __ATOMIC_SEQ_CST);

	if (i < ARRAY_LEN(s->off))
		s->off[i] = off;
	while (now > most && !__atomic_compare_exchange_n(&s->most, &most, now, false,
							  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
}

static int spy_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct spy *s = (struct spy *)blk;
	int rc;

	enter(s, off);
	rc = s->fails ? err_set(err, EDOM, "as the test wants")
		      : pass_pread(blk, buf, n, off, err);
	__atomic_sub_fetch(&s->under_way, 1, __ATOMIC_SEQ_CST);
	return rc;
}

static int spy_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		      struct err *err)
{
	struct spy *s = (struct spy *)blk;
	int rc;

	enter(s, off);
	rc = pass_pwrite(blk, buf, n, off, flags, err);
	__atomic_sub_fetch(&s->under_way, 1, __ATOMIC_SEQ_CST);
	return rc;
}

static int spy_flush(struct blk *blk, struct err *err)
{
	struct spy *s = (struct spy *)blk;
	unsigned i = __atomic_fetch_add(&s->nflush, 1, __ATOMIC_SEQ_CST);

	if (__atomic_load_n(&s->under_way, __ATOMIC_SEQ_CST))
		__atomic_store_n(&s->flushed_busy, true, __ATOMIC_SEQ_CST);
	if (i < ARRAY_LEN(s->flush_at))
		s->flush_at[i] = __atomic_load_n(&s->n, __ATOMIC_SEQ_CST);
	return s->fails ? err_set(err, ENOSPC, "as the test wants") : 0;
}

static const struct blk_ops spy_ops = {
	.name = "spy",
	.pread = spy_pread,
	.pwrite = spy_pwrite,
	.flush = spy_flush,
	.close = pass_close,
};

static struct spy *spy_new(size_t size)
{
	uint8_t *zeros = calloc(1, size ? size : 1);
	struct spy *s = calloc(1, sizeof(*s));
	struct err err;
	struct blk *mem = io_mem_new(zeros, size, &err);

	assert_non_null(mem);
	assert_int_equal(pass_init(&s->pass, &spy_ops, mem, &err), 0);
	s->pass.blk.lower = mem;
	free(zeros);
	return s;
}

static void spy_free(struct spy *s)
{
	struct err err;

	assert_int_equal(blk_close(&s->pass.blk, &err), 0);
}

static void test_places(void **state)
{
	struct spy *s = spy_new(SIZE);
	struct bench b = {.blk = &s->pass.blk,
			  .n = 4096,
			  .off = 8192,
			  .step = 24576,
			  .count = 6,
			  .depth = 1};
	const uint64_t want[] = {8192, 32768, 57344, 16384, 40960, 0};
	struct err err;

	assert_int_equal(bench_run(&b, &err), 0);
	assert_int_equal(s->n, 6);
	assert_memory_equal(s->off, want, sizeof(want));
	spy_free(s);
}

static void test_end(void **state)
{
	struct spy *s = spy_new(SIZE);
	struct bench b = {.blk = &s->pass.blk,
			  .n = 4096,
			  .off = SIZE - 4095,
			  .step = 1,
			  .count = 1,
			  .depth = 1};
	struct err err;

	assert_int_equal(bench_run(&b, &err), -1);
	assert_int_equal(err.num, EIO);
	assert_int_equal(s->n, 0);
	b.fit = true;
	assert_int_equal(bench_run(&b, &err), 0);
	assert_int_equal(s->off[0], SIZE - 4096);
	b.off = INT64_MAX;
	b.count = 3;
	b.step = INT32_MAX;
	assert_int_equal(bench_run(&b, &err), 0);
	b.n = SIZE + 1;
	assert_int_equal(bench_run(&b, &err), -1);
	b.n = 0;
	b.off = SIZE;
	b.count = 1;
	b.fit = false;
	assert_int_equal(bench_run(&b, &err), 0);
	b.count = 0;
	assert_int_equal(bench_run(&b, &err), 0);
	spy_free(s);
	s = spy_new(0);
	b.blk = &s->pass.blk;
	assert_int_equal(bench_run(&b, &err), -1);
	assert_int_equal(err.num, EINVAL);
	spy_free(s);
}

/* Each byte that is to be written is, once, at any depth. */
static void test_depths(void **state)
{
	static const uint32_t depth[] = {1, 2, 7, 64, 1000000};
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(depth); i++) {
		struct spy *s = spy_new(SIZE);
		struct bench b = {.blk = &s->pass.blk,
				  .write = true,
				  .pattern = 0xa5,
				  .n = 512,
				  .step = 1024,
				  .count = SIZE / 1024,
				  .depth = depth[i]};
		const uint8_t *got;
		size_t n;

		assert_int_equal(bench_run(&b, &err), 0);
		assert_int_equal(s->n, SIZE / 1024);
		assert_true(s->most <= MIN(depth[i], BENCH_THREADS));
		got = io_mem_data(s->pass.blk.lower, &n);
		assert_int_equal(n, SIZE);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(got[k], k % 1024 < 512 ? 0xa5 : 0);
		spy_free(s);
	}
}

static void test_flushes(void **state)
{
	struct spy *s = spy_new(SIZE);
	struct bench b = {.blk = &s->pass.blk,
			  .write = true,
			  .n = 512,
			  .step = 512,
			  .count = 11,
			  .depth = 1,
			  .flush_every = 5,
			  .drain = true};
	struct err err;

	/* where what remains is a multiple; not before the first request nor after the last */
	assert_int_equal(bench_run(&b, &err), 0);
	assert_int_equal(s->nflush, 2);
	assert_int_equal(s->flush_at[0], 1);
	assert_int_equal(s->flush_at[1], 6);
	s->nflush = 0;
	b.count = 10;
	assert_int_equal(bench_run(&b, &err), 0);
	assert_int_equal(s->nflush, 1);
	spy_free(s);
	for (int drain = 0; drain < 2; drain++) {
		s = spy_new(SIZE);
		b = (struct bench){.blk = &s->pass.blk,
				   .write = true,
				   .n = 512,
				   .step = 512,
				   .count = 2000,
				   .depth = 16,
				   .flush_every = 20,
				   .drain = drain};
		assert_int_equal(bench_run(&b, &err), 0);
		assert_int_equal(s->n, 2000);
		assert_int_equal(s->nflush, 99);
		if (drain)
			assert_false(s->flushed_busy);
		spy_free(s);
	}
}

static void test_failure(void **state)
{
	struct spy *s = spy_new(SIZE);
	struct bench b = {
		.blk = &s->pass.blk, .n = 512, .step = 512, .count = 100000, .depth = 8};
	struct err err;

	s->fails = true;
	assert_int_equal(bench_run(&b, &err), -1);
	assert_int_equal(err.num, EDOM);
	assert_true(s->n < 1000);
	s->n = 0;
	b.write = true;
	b.flush_every = 10;
	b.drain = true;
	assert_int_equal(bench_run(&b, &err), -1);
	assert_int_equal(err.num, ENOSPC);
	assert_true(s->n < 1000);
	spy_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),	cmocka_unit_test(test_end),
		cmocka_unit_test(test_depths),	cmocka_unit_test(test_flushes),
		cmocka_unit_test(test_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
