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
#include "lib/pack.h"
#include "tests/lib/toy.h"
#include "tests/lib/stamp.h"

#define DISK (3u << 20) /* several windows */
#define ODD  (DISK - 777)

/* Data that compresses, data that does not, zeros inside of grains, and nothing. */
static struct chain *make_source(uint64_t size, uint32_t grain, uint8_t *shadow)
{
	struct err err;
	struct chain *c = chain_new(TOY_BLK(toy_new(size, grain)), &err);
	unsigned seed = grain;

	memset(shadow, 0, size);
	for (uint64_t off = 0; off < size; off += 40000) {
		uint64_t n = MIN(30000, size - off);
		unsigned kind = dice(&seed) % 4;

		if (kind == 3)
			continue;
		for (uint64_t i = 0; i < n; i++)
			shadow[off + i] = kind == 0   ? (uint8_t)dice(&seed)
					  : kind == 1 ? 'x'
						      : 0;
		assert_int_equal(blk_pwrite(&c->blk, shadow + off, n, off, 0, &err), 0);
	}
	return c;
}

static void assert_contents(struct chain *c, const uint8_t *want, uint64_t n)
{
	uint8_t *got = malloc(n);
	struct err err;

	assert_int_equal(blk_pread(&c->blk, got, n, 0, &err), 0);
	assert_memory_equal(got, want, n);
	free(got);
}

struct trial {
	uint64_t size;
	uint32_t from_grain, to_grain;
	struct copy copy;
};

static struct chain *copy_once(const struct trial *t, uint8_t *shadow)
{
	struct err err = {.text = "none"};
	struct chain *from = make_source(t->size, t->from_grain, shadow);
	struct chain *to = chain_new(TOY_BLK(toy_new(t->size, t->to_grain)), &err);
	struct copy_source src = {from, t->size};
	struct copy c = t->copy;

	c.source = &src;
	c.nsource = 1;
	c.target = to;
	if (copy_run(&c, &err))
		fail_msg("%s", err.text);
	assert_int_equal(((struct toy *)to->layer[0])->dropped, 0);
	assert_contents(to, shadow, t->size);
	blk_close(&from->blk, &err);
	return to;
}

static void test_contents_and_determinism(void **state)
{
	static const uint64_t sizes[] = {1, 512, 511, 65536, ODD, DISK};
	static const uint32_t grains[] = {512, 4096, 65536, 2u << 20};
	static const uint64_t sparse[] = {0, 512, 4096, 1u << 20};
	uint8_t *shadow = malloc(DISK);

	for (unsigned i = 0; i < 6 * 4 * 4 * 2; i++) {
		struct trial t = {sizes[i % 6], 65536, grains[i / 6 % 4], {0}};
		struct chain *serial, *parallel;
		struct toy *a, *b;
		struct err err;
		size_t na, nb;

		t.copy.sparse = sparse[i / 24 % 4];
		t.copy.compress = i / 96;
		t.copy.target_zero = true;
		serial = copy_once(&t, shadow);
		t.copy.threads = 6;
		parallel = copy_once(&t, shadow);
		a = (struct toy *)serial->layer[0];
		b = (struct toy *)parallel->layer[0];
		assert_int_equal(a->next, b->next);
		io_mem_data(a->store, &na);
		io_mem_data(b->store, &nb);
		assert_memory_equal(io_mem_data(a->store, &na), io_mem_data(b->store, &nb),
				    MIN(na, nb));
		for (uint64_t g = 0; g < a->grains; g++)
			assert_int_equal(a->map[g].host, b->map[g].host);
		blk_close(&serial->blk, &err);
		blk_close(&parallel->blk, &err);
	}
	free(shadow);
}

static void test_zero_grains_stay_absent(void **state)
{
	uint8_t *shadow = malloc(DISK);
	struct trial t = {
		DISK, 4096, 4096, {.sparse = 4096, .target_zero = true, .threads = 2}};
	struct chain *to = copy_once(&t, shadow);
	struct toy *toy = (struct toy *)to->layer[0];
	struct err err;

	for (uint64_t g = 0; g < toy->grains; g++) {
		bool zero = true;

		for (unsigned i = 0; i < 4096; i++)
			zero &= shadow[g * 4096 + i] == 0;
		assert_int_equal(toy->map[g].flags == EXT_ABSENT, zero);
	}
	blk_close(&to->blk, &err);
	free(shadow);
}

static void test_dirty_target_is_overwritten(void **state)
{
	uint8_t *shadow = malloc(DISK), *junk = malloc(DISK);
	struct err err;

	for (int whole = 0; whole < 2; whole++) {
		struct chain *from = make_source(ODD, 65536, shadow);
		struct chain *to = chain_new(TOY_BLK(toy_new(DISK, 65536)), &err);
		struct copy_source src = {from, ODD};
		struct copy c = {.source = &src, .nsource = 1, .target = to, .threads = 3};

		c.sparse = whole ? 0 : 4096;
		memset(junk, 0xee, DISK);
		assert_int_equal(blk_pwrite(&to->blk, junk, DISK, 0, 0, &err), 0);
		assert_int_equal(copy_run(&c, &err), 0);
		assert_contents(to, shadow, ODD);
		blk_close(&from->blk, &err);
		blk_close(&to->blk, &err);
	}
	free(shadow);
	free(junk);
}

static void test_packed_is_carried(void **state)
{
	uint8_t *shadow = malloc(DISK);
	struct trial t = {ODD, 65536, 65536, {.sparse = 4096, .target_zero = true}};
	struct chain *one, *two;
	struct toy *a, *b;
	struct err err;

	t.copy.compress = true;
	one = copy_once(&t, shadow);
	for (int trust = 0; trust < 2; trust++) {
		struct copy_source src = {one, ODD};
		struct copy c = t.copy;

		two = chain_new(TOY_BLK(toy_new(ODD, 65536)), &err);
		c.source = &src;
		c.nsource = 1;
		c.target = two;
		c.threads = 2;
		c.trust_packed = trust;
		assert_int_equal(copy_run(&c, &err), 0);
		assert_contents(two, shadow, ODD);
		a = (struct toy *)one->layer[0];
		b = (struct toy *)two->layer[0];
		assert_int_equal(a->next, b->next);
		for (uint64_t g = 0; g < a->grains; g++)
			assert_int_equal(a->map[g].packed, b->map[g].packed);
		blk_close(&two->blk, &err);
	}
	blk_close(&one->blk, &err);
	free(shadow);
}

static void test_concatenates(void **state)
{
	uint8_t *shadow = malloc(DISK), *all = malloc(2 * DISK);
	struct err err;
	struct copy_source src[2] = {{make_source(100352, 4096, shadow), 100352}, {NULL, 0}};
	struct chain *to = chain_new(TOY_BLK(toy_new(100352 + 70144, 65536)), &err);
	struct copy c = {.source = src, .nsource = 2, .target = to, .threads = 2};

	memcpy(all, shadow, 100352);
	src[1].chain = make_source(70000, 4096, shadow);
	src[1].size = 70144; /* rounded up to a sector: zeros follow */
	memset(all + 100352, 0, 70144);
	memcpy(all + 100352, shadow, 70000);
	c.sparse = 4096;
	c.target_zero = true;
	assert_int_equal(copy_run(&c, &err), 0);
	assert_contents(to, all, 100352 + 70144);
	for (int i = 0; i < 2; i++)
		blk_close(&src[i].chain->blk, &err);
	blk_close(&to->blk, &err);
	free(all);
	free(shadow);
}

static void test_failure_drops_claims(void **state)
{
	uint8_t *shadow = malloc(DISK);
	struct err err;
	struct chain *from = make_source(DISK, 65536, shadow);
	struct chain *to = chain_new(TOY_BLK(toy_new(DISK, 65536)), &err);
	struct toy *toy = (struct toy *)to->layer[0];
	struct copy_source src = {from, DISK};
	struct copy c = {
		.source = &src, .nsource = 1, .target = to, .threads = 3, .sparse = 4096};

	c.target_zero = true;
	toy->fail_claims = true;
	assert_int_equal(copy_run(&c, &err), -1);
	assert_int_equal(err.num, 28);
	assert_int_equal(toy->claims, toy->settled + toy->dropped);
	blk_close(&from->blk, &err);
	blk_close(&to->blk, &err);
	free(shadow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contents_and_determinism),
		cmocka_unit_test(test_zero_grains_stay_absent),
		cmocka_unit_test(test_dirty_target_is_overwritten),
		cmocka_unit_test(test_packed_is_carried),
		cmocka_unit_test(test_concatenates),
		cmocka_unit_test(test_failure_drops_claims),
	};

	return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
