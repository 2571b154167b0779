/* The copy engine between the layers of chains: what commit and rebase do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/copy.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/toy.h"
#include "tests/lib/stamp.h"

#define DISK (1536u << 10) /* several windows */

/* The chain goes, its layers stay. */
static void forget(struct chain *c)
{
	struct err err;

	c->n = 0;
	assert_int_equal(blk_close(&c->blk, &err), 0);
}

/* A layer with data, data that is alike in all layers, zeros, and nothing. */
static struct blk *make_layer(uint64_t size, uint32_t grain, unsigned *seed)
{
	struct err err;
	struct blk *layer = TOY_BLK(toy_new(size, grain));
	struct chain *c = chain_new(layer, &err);
	uint8_t *buf = malloc(100000);

	assert_non_null(c);
	for (int i = 0; i < 12; i++) {
		uint64_t off = dice(seed) % size, n = 1 + dice(seed) % 100000;
		unsigned kind = dice(seed) % 4;

		n = MIN(n, size - off);
		for (uint64_t k = 0; k < n; k++)
			buf[k] = kind == 0 ? (uint8_t)((off + k) / 512) : (uint8_t)dice(seed);
		if (kind == 1)
			assert_int_equal(blk_zero(&c->blk, off, n, 0, &err), 0);
		else if (kind < 3)
			assert_int_equal(blk_pwrite(&c->blk, buf, n, off, 0, &err), 0);
	}
	free(buf);
	forget(c);
	return layer;
}

static uint64_t some_size(unsigned *seed)
{
	return dice(seed) % 3 ? DISK : DISK / 2 + dice(seed) % (DISK / 1024) * 512;
}

static uint32_t some_grain(unsigned *seed)
{
	return 512u << dice(seed) % 11;
}

/* Layers of which the uppermost has `size` bytes. */
static struct chain *make_chain(unsigned n, uint64_t size, unsigned *seed)
{
	struct err err;
	struct chain *c = chain_new(make_layer(size, some_grain(seed), seed), &err);

	assert_non_null(c);
	for (unsigned i = 1; i < n; i++) {
		struct blk *below = make_layer(some_size(seed), some_grain(seed), seed);

		assert_int_equal(chain_append(c, below, &err), 0);
	}
	return c;
}

static void append(struct chain *c, struct blk *below)
{
	struct err err;

	assert_int_equal(chain_append(c, below, &err), 0);
}

static uint8_t *contents(struct chain *c)
{
	uint64_t n = blk_size(&c->blk);
	uint8_t *buf = malloc(n);
	struct err err;

	assert_non_null(buf);
	assert_int_equal(blk_pread(&c->blk, buf, n, 0, &err), 0);
	return buf;
}

static void assert_shows(struct chain *c, const uint8_t *want, uint64_t n)
{
	uint8_t *got = contents(c);

	assert_memory_equal(got, want, n);
	free(got);
}

static void test_commit(void **state)
{
	for (unsigned seed = 1; seed <= 120; seed++) {
		unsigned s = seed, n = 2 + dice(&s) % 4, at = 1 + dice(&s) % (n - 1);
		uint64_t size = some_size(&s);
		struct chain *upper = make_chain(n, size, &s), *lower;
		struct copy_source src = {upper, size};
		struct copy c = {.source = &src, .nsource = 1, .target_backed = true};
		uint8_t *want = contents(upper), *old, *now;
		struct err err = {.text = "none"};

		lower = chain_split(upper, at, &err);
		assert_non_null(lower);
		assert_int_equal(upper->n, at);
		assert_int_equal(lower->n, n - at);
		src.size = MIN(size, blk_size(&lower->blk));
		old = contents(lower);
		c.target = lower;
		c.layers = at;
		c.threads = seed % 4;
		c.sparse = 512;
		c.no_scan = seed % 3;
		c.unmap = seed % 2;
		if (copy_run(&c, &err))
			fail_msg("%s", err.text);
		assert_shows(lower, want, src.size);
		/* what the overlay does not reach stays */
		now = contents(lower);
		assert_memory_equal(now + src.size, old + src.size,
				    blk_size(&lower->blk) - src.size);
		/* and below the overlay nothing shows */
		for (unsigned d = 0; d < lower->n; d++)
			append(upper, lower->layer[d]);
		forget(lower);
		assert_shows(upper, want, src.size);
		assert_int_equal(blk_close(&upper->blk, &err), 0);
		free(want);
		free(old);
		free(now);
	}
}

/* Only known zeros become zeros, and what is kept is not touched, also in a target that is
 * written byte by byte. */
static void test_commit_plain(void **state)
{
	struct err err;
	unsigned seed = 5;
	struct chain *upper = make_chain(1, DISK, &seed), *lower;
	struct copy_source src = {upper, DISK};
	struct copy c = {.source = &src,
			 .nsource = 1,
			 .target_backed = true,
			 .layers = 1,
			 .sparse = 512,
			 .no_scan = true,
			 .threads = 2};
	struct blk *base = io_mem_new(NULL, 0, &err);
	uint8_t *junk = malloc(DISK), *want;

	assert_non_null(base);
	memset(junk, 0xdb, DISK);
	assert_int_equal(blk_pwrite(base, junk, DISK, 0, 0, &err), 0);
	append(upper, base);
	want = contents(upper);
	lower = chain_split(upper, 1, &err);
	assert_non_null(lower);
	c.target = lower;
	assert_int_equal(copy_run(&c, &err), 0);
	assert_shows(lower, want, DISK);
	assert_int_equal(blk_close(&lower->blk, &err), 0);
	assert_int_equal(blk_close(&upper->blk, &err), 0);
	free(want);
	free(junk);
}

/* The top over other layers. */
static struct chain *over(struct chain *top, struct chain *below)
{
	struct err err;
	struct chain *c = chain_new(top->layer[0], &err);

	assert_non_null(c);
	for (unsigned d = 0; below && d < below->n; d++)
		append(c, below->layer[d]);
	return c;
}

static unsigned own_grains(const struct chain *c)
{
	const struct toy *t = (const struct toy *)c->layer[0];
	unsigned n = 0;

	for (uint64_t i = 0; i < t->grains; i++)
		n += !(t->map[i].flags & EXT_ABSENT);
	return n;
}

/* How many grains a rebase has to give to the top. */
static unsigned needed(struct chain *old, struct chain *new, const uint8_t *want)
{
	const struct toy *t = (const struct toy *)old->layer[0];
	uint64_t grain = t->blk.grain, size = blk_size(&old->blk);
	uint8_t *got = contents(new);
	unsigned n = 0;

	for (uint64_t i = 0; i < t->grains; i++) {
		uint64_t len = MIN(grain, size - i * grain);

		n += !(t->map[i].flags & EXT_ABSENT) ||
		     memcmp(got + i * grain, want + i * grain, len) != 0;
	}
	free(got);
	return n;
}

static void test_rebase(void **state)
{
	for (unsigned seed = 1; seed <= 160; seed++) {
		unsigned s = seed, common = dice(&s) % 3;
		struct chain *old = make_chain(1 + dice(&s) % 3, some_size(&s), &s);
		struct chain *new = seed % 8 ? make_chain(1 + dice(&s) % 3, some_size(&s), &s)
					     : NULL;
		struct copy_onto onto = {new, new ? common : 0};
		struct copy_source src = {old, blk_size(&old->blk)};
		struct copy c = {.source = &src, .nsource = 1, .target_backed = true};
		struct chain *view;
		uint8_t *want;
		unsigned must;
		struct err err = {.text = "none"};

		for (unsigned i = 0; i < onto.shared; i++) {
			struct blk *both = make_layer(some_size(&s), some_grain(&s), &s);

			append(old, both);
			append(new, both);
		}
		want = contents(old);
		view = over(old, new);
		must = needed(old, view, want);
		c.target = old;
		c.onto = &onto;
		c.threads = seed % 4;
		c.sparse = 4096;
		c.compress = seed % 5 == 0;
		if (copy_run(&c, &err))
			fail_msg("%s", err.text);
		assert_shows(old, want, src.size);
		assert_shows(view, want, src.size);
		/* not one more than differs: but zeros that only the old one knew to be zero */
		assert_int_equal(own_grains(old), must);
		forget(view);
		if (new) {
			new->n -= onto.shared;
			assert_int_equal(blk_close(&new->blk, &err), 0);
		}
		assert_int_equal(blk_close(&old->blk, &err), 0);
		free(want);
	}
}

/* What both chains have at their lower end is not read, not even to compare it. */
static void test_common_is_not_read(void **state)
{
	struct err err;
	unsigned seed = 3;
	struct chain *old = make_chain(1, DISK, &seed), *new = make_chain(1, DISK, &seed);
	struct blk *both = make_layer(DISK, 65536, &seed);
	struct copy_onto onto = {new, 1};
	struct copy_source src = {old, DISK};
	struct copy c = {.source = &src, .nsource = 1, .target = old, .target_backed = true};
	struct toy *low = (struct toy *)both, *top = (struct toy *)old->layer[0];

	append(old, both);
	append(new, both);
	c.onto = &onto;
	c.sparse = 4096;
	/* the new layer says nothing, and the data of the common one is gone */
	for (uint64_t i = 0; i < ((struct toy *)new->layer[0])->grains; i++)
		((struct toy *)new->layer[0])->map[i].flags = EXT_ABSENT;
	for (uint64_t i = 0; i < low->grains; i++)
		low->map[i].host = UINT64_C(1) << 62;
	top->fail_claims = true;
	assert_int_equal(copy_run(&c, &err), 0);
	new->n--;
	assert_int_equal(blk_close(&new->blk, &err), 0);
	assert_int_equal(blk_close(&old->blk, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commit),
		cmocka_unit_test(test_commit_plain),
		cmocka_unit_test(test_rebase),
		cmocka_unit_test(test_common_is_not_read),
	};

	return cmocka_run_group_tests_name("copy_layers", tests, NULL, NULL);
}
