/* Dirty bitmaps against an array of one byte for each bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/dirty.h"
#include "lib/mem.h"

#define BITS_MAX 1000000u

static struct {
	struct dirty *d;
	unsigned shift;
	uint64_t size;
	uint8_t *bit; /* BITS_MAX */
	unsigned seed;
	struct err err;
} m;

static unsigned rnd(unsigned n)
{
	m.seed = m.seed * 1103515245u + 12345u;
	return (unsigned)(((uint64_t)(m.seed >> 4) * n) >> 28);
}

static uint64_t bits(void)
{
	return div_up(m.size, UINT64_C(1) << m.shift);
}

static void model(uint64_t off, uint64_t len, uint8_t v)
{
	if (off >= m.size || len == 0)
		return;
	len = MIN(len, m.size - off);
	for (uint64_t i = off >> m.shift; i <= (off + len - 1) >> m.shift; i++)
		m.bit[i] = v;
}

static void compare_runs(void)
{
	uint64_t off = 0, len, at = 0, count = 0, i;

	for (i = 0; i < bits(); i++)
		count += m.bit[i];
	assert_int_equal(dirty_count(m.d), count);
	for (; dirty_next(m.d, &off, &len); off += len) {
		for (; at < off >> m.shift; at++)
			assert_false(m.bit[at]);
		for (; at < div_up(off + len, UINT64_C(1) << m.shift); at++)
			assert_true(m.bit[at]);
		assert_true(off + len <= m.size);
	}
	for (; at < bits(); at++)
		assert_false(m.bit[at]);
	for (i = 0; i < 20 && m.size; i++) {
		bool set;

		off = (uint64_t)rnd((unsigned)bits()) << m.shift;
		assert_int_equal(dirty_test(m.d, off), m.bit[off >> m.shift]);
		len = dirty_run(m.d, off, UINT64_MAX, &set);
		assert_int_equal(set, m.bit[off >> m.shift]);
		at = (off + len) >> m.shift;
		assert_true(off + len == m.size || m.bit[at] != set);
		assert_int_equal(m.bit[(off + len - 1) >> m.shift], set);
	}
}

static void compare_data(void)
{
	uint8_t buf[5000], want[5000];

	for (unsigned k = 0; k < 20; k++) {
		size_t n = rnd(sizeof(buf)) + 1, full = 0, clear = 0;
		uint64_t at = rnd((unsigned)dirty_bytes(m.d) + 100);
		enum dirty_kind kind;

		memset(want, 0, n);
		for (size_t i = 0; i < n * 8; i++)
			if (at * 8 + i < bits() && m.bit[at * 8 + i])
				want[i / 8] |= (uint8_t)(1 << i % 8);
		for (size_t i = 0; i < n; i++) {
			full += want[i] == 0xff;
			clear += want[i] == 0;
		}
		kind = dirty_get(m.d, at, n, buf, false);
		assert_memory_equal(buf, want, n);
		assert_int_equal(kind, clear == n  ? DIRTY_CLEAR
				       : full == n ? DIRTY_FULL
						   : DIRTY_MIXED);
		kind = dirty_get(m.d, at, n, buf, true);
		if (kind != DIRTY_CLEAR)
			assert_memory_equal(buf, want, n);
		else
			assert_int_equal(clear, n);
	}
}

static void put_some(void)
{
	static uint8_t buf[70000];
	size_t n = rnd(sizeof(buf)) + 1;
	uint64_t at = rnd((unsigned)dirty_bytes(m.d) + 10);
	unsigned how = rnd(4);

	for (size_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(how == 0 ? 0 : how == 1 ? 0xff : rnd(256));
	for (size_t i = 0; i < n * 8; i++)
		if (at * 8 + i < bits())
			m.bit[at * 8 + i] = buf[i / 8] >> i % 8 & 1;
	assert_int_equal(dirty_put(m.d, at, buf, n, &m.err), 0);
}

static void resize_some(void)
{
	uint64_t old = bits();

	m.size = rnd(4) ? m.size + rnd(5000) : rnd(BITS_MAX - 1000) << m.shift;
	m.size = MIN(m.size, (uint64_t)BITS_MAX << m.shift);
	for (uint64_t i = bits(); i < old; i++)
		m.bit[i] = 0;
	assert_int_equal(dirty_resize(m.d, m.size, &m.err), 0);
	assert_int_equal(dirty_size(m.d), m.size);
}

static void act(void)
{
	uint64_t off = (uint64_t)rnd((unsigned)bits() + 2) << m.shift;
	uint64_t len = (uint64_t)rnd(rnd(3) ? 1000 : BITS_MAX) << m.shift;

	off += rnd(1u << m.shift);
	len += rnd(1u << m.shift);
	switch (rnd(16)) {
	case 0:
		put_some();
		return;
	case 1:
		if (rnd(4) == 0)
			resize_some();
		return;
	case 2:
		len = UINT64_MAX; /* to the end */
				  /* fall through */
	case 3:
	case 4:
	case 5:
	case 6:
		assert_int_equal(dirty_clear(m.d, off, len, &m.err), 0);
		model(off, len, 0);
		return;
	default:
		assert_int_equal(dirty_set(m.d, off, len, &m.err), 0);
		model(off, len, 1);
	}
}

static void test_model(void **state)
{
	for (unsigned round = 0; round < 6; round++) {
		m.seed = round;
		m.shift = round % 3 * 4;
		m.size = ((uint64_t)rnd(BITS_MAX) << m.shift) + rnd(1u << m.shift);
		m.d = dirty_new(m.size, m.shift, &m.err);
		assert_non_null(m.d);
		assert_int_equal(dirty_granularity_bits(m.d), m.shift);
		memset(m.bit, 0, BITS_MAX);
		for (unsigned i = 0; i < 120; i++) {
			act();
			compare_runs();
			compare_data();
		}
		dirty_free(m.d);
	}
}

static void test_merge(void **state)
{
	for (unsigned round = 0; round < 40; round++) {
		unsigned a = 9 + rnd(5), b = 9 + rnd(5);
		uint64_t size = rnd(30000000) + 1;
		struct dirty *from = dirty_new(size, a, &m.err);
		struct dirty *to = dirty_new(size, b, &m.err);
		struct dirty *want = dirty_new(size, b, &m.err);

		for (unsigned i = 0; i < 30; i++) {
			uint64_t off = rnd(30000000), len = rnd(i % 10 ? 5000 : 20000000);
			struct dirty *which = rnd(2) ? from : to;

			assert_int_equal(dirty_set(which, off, len, &m.err), 0);
			if (which == to)
				dirty_set(want, off, len, &m.err);
		}
		for (uint64_t off = 0; off < size; off += UINT64_C(1) << a)
			if (dirty_test(from, off))
				dirty_set(want, off, UINT64_C(1) << a, &m.err);
		assert_int_equal(dirty_merge(to, from, &m.err), 0);
		for (uint64_t off = 0; off < size; off += UINT64_C(1) << b)
			assert_int_equal(dirty_test(to, off), dirty_test(want, off));
		assert_int_equal(dirty_count(to), dirty_count(want));
		assert_int_equal(dirty_merge(to, to, &m.err), 0);
		dirty_free(from);
		dirty_free(to);
		dirty_free(want);
	}
}

static void test_sizes(void **state)
{
	struct dirty *d = dirty_new(0, 9, &m.err), *e;
	uint64_t off = 0, len;
	uint8_t buf[4] = {1, 1, 1, 1};

	assert_int_equal(dirty_set(d, 0, 100, &m.err), 0);
	assert_int_equal(dirty_count(d), 0);
	assert_int_equal(dirty_bytes(d), 0);
	assert_false(dirty_next(d, &off, &len));
	assert_int_equal(dirty_get(d, 0, 4, buf, false), DIRTY_CLEAR);
	assert_int_equal(buf[0], 0);
	e = dirty_new(1, 9, &m.err);
	assert_int_equal(dirty_merge(d, e, &m.err), -1);
	assert_int_equal(dirty_set(e, 0, 1, &m.err), 0);
	assert_int_equal(dirty_count(e), 1);
	assert_int_equal(dirty_get(e, 0, 1, buf, false), DIRTY_MIXED);
	assert_int_equal(buf[0], 1);
	dirty_free(d);
	dirty_free(e);
	dirty_free(NULL);

	/* 64 TiB in granules of 512 bytes, all set */
	d = dirty_new(UINT64_C(64) << 40, 9, &m.err);
	assert_non_null(d);
	assert_int_equal(dirty_set(d, 0, UINT64_MAX, &m.err), 0);
	assert_int_equal(dirty_count(d), UINT64_C(1) << 37);
	assert_int_equal(dirty_clear(d, UINT64_C(5) << 40, 1, &m.err), 0);
	assert_true(dirty_next(d, &off, &len));
	assert_int_equal(len, UINT64_C(5) << 40);
	off = len;
	assert_true(dirty_next(d, &off, &len));
	assert_int_equal(off, (UINT64_C(5) << 40) + 512);
	assert_int_equal(off + len, UINT64_C(64) << 40);
	dirty_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_sizes),
	};

	m.bit = malloc(BITS_MAX + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
