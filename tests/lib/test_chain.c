#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/chain.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/toy.h"
#include "tests/lib/stamp.h"

#define DISK  100000
#define GRAIN 4096

/* What the guest must see, written through the chain and into a plain array alike. */
static void write_both(struct chain *c, uint8_t *shadow, unsigned *seed)
{
	uint64_t off = dice(seed) % DISK, n = 1 + dice(seed) % 20000;
	uint8_t *buf = malloc(n);
	struct err err;

	n = MIN(n, DISK - off);
	memset(buf, (int)dice(seed), n);
	if (dice(seed) % 4 == 0) {
		memset(buf, 0, n);
		assert_int_equal(blk_zero(&c->blk, off, n, 0, &err), 0);
	} else {
		assert_int_equal(blk_pwrite(&c->blk, buf, n, off, 0, &err), 0);
	}
	memcpy(shadow + off, buf, n);
	free(buf);
}

static void assert_same(struct chain *c, const uint8_t *shadow, unsigned *seed)
{
	uint8_t *got = malloc(DISK);
	struct err err;

	assert_int_equal(blk_pread(&c->blk, got, DISK, 0, &err), 0);
	assert_memory_equal(got, shadow, DISK);
	for (int i = 0; i < 20; i++) {
		uint64_t off = dice(seed) % DISK, n = 1 + dice(seed) % 9000;

		n = MIN(n, DISK - off);

		assert_int_equal(blk_pread(&c->blk, got, n, off, &err), 0);
		assert_memory_equal(got, shadow + off, n);
	}
	free(got);
}

static struct chain *toy_chain(unsigned layers, uint64_t base_size)
{
	struct err err;
	struct chain *c = chain_new(TOY_BLK(toy_new(DISK, GRAIN)), &err);

	for (unsigned i = 1; i < layers; i++)
		chain_append(c, TOY_BLK(toy_new(i + 1 == layers ? base_size : DISK, GRAIN)),
			     &err);
	return c;
}

/* A base with contents of its own, seen through absent grains. */
static void fill_base(struct chain *c, uint8_t *shadow, unsigned *seed)
{
	struct blk *base = c->layer[c->n - 1];
	struct claim claim = {.off = 0, .len = base->size};
	uint8_t *bytes = malloc(base->size);
	struct err err;

	for (uint64_t i = 0; i < base->size; i++)
		bytes[i] = (uint8_t)dice(seed);
	assert_int_equal(blk_claim(base, &claim, &err), 0);
	assert_int_equal(blk_pwrite(claim.home, bytes, base->size, claim.run[0].host, 0, &err),
			 0);
	assert_int_equal(blk_settle(base, &claim, &err), 0);
	memcpy(shadow, bytes, base->size);
	free(bytes);
}

static void test_shadow(void **state)
{
	for (unsigned layers = 1; layers <= 4; layers++) {
		for (uint64_t base = 1; base <= DISK; base += 33333) {
			struct chain *c = toy_chain(layers, layers > 1 ? base : DISK);
			uint8_t *shadow = calloc(1, DISK);
			unsigned seed = layers * 77 + (unsigned)base;
			struct err err;

			if (layers > 1)
				fill_base(c, shadow, &seed);
			for (int i = 0; i < 60; i++) {
				write_both(c, shadow, &seed);
				if (i % 6 == 0)
					assert_same(c, shadow, &seed);
			}
			assert_same(c, shadow, &seed);
			free(shadow);
			assert_int_equal(blk_close(&c->blk, &err), 0);
		}
	}
}

static void test_walk_equals_extent(void **state)
{
	struct chain *c = toy_chain(3, DISK); /* a short base differs on purpose */
	uint8_t *shadow = calloc(1, DISK);
	unsigned seed = 5;
	struct err err;
	struct walk *w;

	fill_base(c, shadow, &seed);
	for (int i = 0; i < 5; i++)
		write_both(c, shadow, &seed);
	w = walk_new(c, 0, &err);
	for (uint64_t off = 0; off < DISK;) {
		struct extent a, b;

		assert_int_equal(walk_next(w, off, DISK - off, &a, &err), 0);
		assert_int_equal(blk_extent(&c->blk, off, DISK - off, &b, &err), 0);
		assert_int_equal(a.flags, b.flags);
		assert_int_equal(a.depth, b.depth);
		assert_int_equal(a.host, b.host);
		assert_true(a.len > 0 && a.off == off);
		off += MIN(a.len, b.len);
	}
	walk_free(w);
	free(shadow);
	blk_close(&c->blk, &err);
}

static void test_short_backing_reads_zero(void **state)
{
	struct chain *c = toy_chain(2, 5000);
	uint8_t *shadow = calloc(1, DISK), got[100];
	unsigned seed = 9;
	struct err err;
	struct extent e;

	fill_base(c, shadow, &seed);
	assert_int_equal(blk_pread(&c->blk, got, 100, 4950, &err), 0);
	assert_memory_equal(got, shadow + 4950, 100);
	assert_int_equal(blk_extent(&c->blk, 6000, 1000, &e, &err), 0);
	assert_int_equal(e.flags, EXT_ZERO);
	assert_int_equal(e.depth, 1);
	free(shadow);
	blk_close(&c->blk, &err);
}

static void test_failed_claim_changes_nothing(void **state)
{
	struct chain *c = toy_chain(1, DISK);
	struct toy *t = (struct toy *)c->layer[0];
	uint8_t one = 1, got = 7;
	struct err err;

	t->fail_claims = true;
	assert_int_equal(blk_pwrite(&c->blk, &one, 1, 5000, 0, &err), -1);
	assert_int_equal(err.num, 28);
	assert_int_equal(blk_pread(&c->blk, &got, 1, 5000, &err), 0);
	assert_int_equal(got, 0);
	blk_close(&c->blk, &err);
}

static void test_limits(void **state)
{
	struct chain *c = toy_chain(1, DISK);
	uint8_t b[8] = {0};
	struct err err;

	assert_int_equal(blk_pwrite(&c->blk, b, 8, DISK - 4, 0, &err), -1);
	assert_int_equal(blk_pwrite(&c->blk, b, 8, UINT64_MAX - 4, 0, &err), -1);
	for (unsigned i = 1; i < CHAIN_MAX; i++)
		assert_int_equal(chain_append(c, TOY_BLK(toy_new(10, 512)), &err), 0);
	assert_int_equal(chain_append(c, TOY_BLK(toy_new(10, 512)), &err), -1);
	blk_close(&c->blk, &err);
}

/* Threads on stripes of their own, with edges that share grains. */
struct stripe {
	struct chain *c;
	uint8_t *shadow;
	unsigned n;
};

static void *work_stripe(void *arg)
{
	struct stripe *s = arg;
	uint64_t from = s->n * 7777, len = 7777;
	unsigned seed = s->n + 1;
	struct err err;

	for (int i = 0; i < 300; i++) {
		uint64_t off = from + dice(&seed) % len, n = 1 + dice(&seed) % 5000;
		uint8_t buf[5000], v = (uint8_t)dice(&seed);

		n = MIN(n, from + len - off);
		memset(buf, v, n);
		if (blk_pwrite(&s->c->blk, buf, n, off, 0, &err))
			return (void *)1;
		memcpy(s->shadow + off, buf, n);
		if (blk_pread(&s->c->blk, buf, n, off, &err) ||
		    memcmp(buf, s->shadow + off, n) != 0)
			return (void *)1;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct chain *c = toy_chain(2, 60000);
	uint8_t *shadow = calloc(1, DISK);
	pthread_t thread[8];
	struct stripe s[8];
	unsigned seed = 3;
	struct err err;

	fill_base(c, shadow, &seed);
	for (unsigned i = 0; i < 8; i++) {
		s[i] = (struct stripe){c, shadow, i};
		pthread_create(&thread[i], NULL, work_stripe, &s[i]);
	}
	for (unsigned i = 0; i < 8; i++) {
		void *bad;

		pthread_join(thread[i], &bad);
		assert_null(bad);
	}
	assert_same(c, shadow, &seed);
	free(shadow);
	blk_close(&c->blk, &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shadow),
		cmocka_unit_test(test_walk_equals_extent),
		cmocka_unit_test(test_short_backing_reads_zero),
		cmocka_unit_test(test_failed_claim_changes_nothing),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
