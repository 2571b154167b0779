#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/zero.h"

#define ROOM 20000

static uint64_t seed = 88172645463325252u;

/* xorshift64: the same numbers in every run */
static uint64_t rnd(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static bool naive_is(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static size_t naive_run(const uint8_t *p, size_t n, size_t unit, bool *zero)
{
	size_t run = unit < n ? unit : n;

	*zero = naive_is(p, run);
	while (run < n) {
		size_t len = unit < n - run ? unit : n - run;

		if (naive_is(p + run, len) != *zero)
			break;
		run += len;
	}
	return run;
}

/* Every length up to some vectors, every alignment, every place of the one byte. The
 * buffer is exactly n bytes of the heap, so that a sanitizer sees a read beside it. */
static void zero_is_each_place(void **state)
{
	for (size_t n = 0; n < 600; n += n < 130 ? 1 : 37) {
		for (size_t shift = 0; shift < 9; shift += 4) {
			uint8_t *room = malloc(n + shift + 1), *p = room + shift;

			assert_non_null(room);
			memset(room, 0xee, shift);
			memset(p, 0, n);
			p[n] = 0xee;
			assert_true(zero_is(p, n));
			for (size_t i = 0; i < n; i++) {
				p[i] = (uint8_t)(1 << (i & 7));
				assert_false(zero_is(p, n));
				p[i] = 0;
			}
			free(room);
		}
	}
}

static void zero_is_large(void **state)
{
	size_t n = 1 << 20;
	uint8_t *p = calloc(1, n);

	assert_non_null(p);
	assert_true(zero_is(p, n));
	for (int k = 0; k < 2000; k++) {
		size_t i = rnd(n), from = rnd(n), len = rnd(n - from);

		p[i] = 1;
		assert_int_equal(zero_is(p + from, len), i < from || i >= from + len);
		p[i] = 0;
	}
	free(p);
}

/* Stretches of zeros and of bytes, some of these single ones between zeros. */
static void fill(uint8_t *p, size_t n)
{
	memset(p, 0, n);
	for (size_t i = 0; i < n;) {
		size_t len = 1 + rnd(rnd(3) ? 3000 : 40);

		if (len > n - i)
			len = n - i;
		if (rnd(2))
			memset(p + i, (int)rnd(256), rnd(2) ? len : 1);
		i += len;
	}
}

static void zero_run_random(void **state)
{
	static const size_t units[] = {512, 1024, 4096, 65536};

	for (int k = 0; k < 30000; k++) {
		size_t n = 1 + rnd(k % 3 ? ROOM : 700), shift = rnd(40);
		uint8_t *room = malloc(n + shift);
		bool zero, want_zero;
		size_t unit = units[rnd(4)], want;

		assert_non_null(room);
		if (k % 10 == 0)
			memset(room, k % 20 ? 7 : 0, n + shift);
		else
			fill(room, n + shift);
		want = naive_run(room + shift, n, unit, &want_zero);
		assert_int_equal(zero_run(room + shift, n, unit, &zero), want);
		assert_int_equal(zero, want_zero);
		free(room);
	}
}

/* A run may end at any unit, and the byte that ends it may be any in its unit. */
static void zero_run_each_end(void **state)
{
	size_t n = 8 * 512 + 100;
	uint8_t *p = calloc(1, n);
	bool zero;

	assert_non_null(p);
	for (size_t i = 0; i < n; i++) {
		size_t unit = i / 512 * 512;

		p[i] = 0x80;
		assert_int_equal(zero_run(p, n, 512, &zero), i < 512 ? 512 : unit);
		assert_int_equal(zero, i >= 512);
		p[i] = 0;
	}
	assert_int_equal(zero_run(p, n, 512, &zero), n);
	assert_true(zero);
	free(p);
}

static void zero_diff_random(void **state)
{
	for (int k = 0; k < 30000; k++) {
		size_t n = rnd(k % 3 ? 3000 : 200), sa = rnd(40), sb = rnd(40), i;
		uint8_t *a = malloc(n + sa + 1), *b = malloc(n + sb + 1);

		assert_non_null(a);
		assert_non_null(b);
		fill(a + sa, n);
		memcpy(b + sb, a + sa, n);
		a[sa + n] = 1;
		b[sb + n] = 2;
		assert_int_equal(zero_diff(a + sa, b + sb, n), n);
		if (n) {
			i = rnd(n);
			b[sb + i] ^= (uint8_t)(1 << rnd(8));
			/* a second difference must not win */
			if (rnd(2))
				b[sb + n - 1] = (uint8_t)~a[sa + n - 1];
			assert_int_equal(zero_diff(a + sa, b + sb, n), i);
		}
		free(a);
		free(b);
	}
	assert_int_equal(zero_diff("", "", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_is_each_place), cmocka_unit_test(zero_is_large),
		cmocka_unit_test(zero_run_random),    cmocka_unit_test(zero_run_each_end),
		cmocka_unit_test(zero_diff_random),
	};

	return cmocka_run_group_tests_name("zero", tests, NULL, NULL);
}
