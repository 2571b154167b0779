#include "lib/zero.h"

#include <stdint.h>
#include <string.h>

/*
 * The loops are written once over 32-byte vectors and compiled twice on x86-64: for
 * any CPU (the compiler splits a vector into two) and for AVX2. Which one runs is
 * asked at each call, a load and a test, rather than by an ifunc: those clash with
 * sanitizers and do not exist in every libc.
 */
typedef uint64_t vec __attribute__((vector_size(32), aligned(1), may_alias));

#define VEC	sizeof(vec)
#define BLOCK	(8 * VEC) /* bytes looked at between two branches */
#define INLINED static inline __attribute__((always_inline))

/* A macro since a vector as an argument depends on the ABI of the CPU. */
#define any_bit(v) (((v)[0] | (v)[1] | (v)[2] | (v)[3]) != 0)

INLINED uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

/* n if all is zero; else the start of the block (BLOCK or VEC bytes, counted from p) in
 * which the first other byte lies. n >= VEC. */
INLINED size_t zeros_body(const uint8_t *p, size_t n)
{
	size_t i = 0;

	for (; n - i >= BLOCK; i += BLOCK) {
		const vec *v = (const vec *)(p + i);
		vec a = (v[0] | v[1]) | (v[2] | v[3]);
		vec b = (v[4] | v[5]) | (v[6] | v[7]);

		a |= b;
		if (any_bit(a))
			return i;
	}
	for (; n - i >= VEC; i += VEC) {
		vec a = *(const vec *)(p + i);

		if (any_bit(a))
			return i;
	}
	if (i < n) {
		/* The rest and some bytes before it, which are zero. */
		vec a = *(const vec *)(p + n - VEC);

		if (any_bit(a))
			return i;
	}
	return n;
}

/* As zeros_body, for bytes that are equal in p and q; may stop VEC - 1 bytes before n. */
INLINED size_t equal_body(const uint8_t *p, const uint8_t *q, size_t n)
{
	size_t i = 0;

	for (; n - i >= BLOCK / 2; i += BLOCK / 2) {
		const vec *v = (const vec *)(p + i), *w = (const vec *)(q + i);
		vec a = (v[0] ^ w[0]) | (v[1] ^ w[1]);
		vec b = (v[2] ^ w[2]) | (v[3] ^ w[3]);

		a |= b;
		if (any_bit(a))
			return i;
	}
	for (; n - i >= VEC; i += VEC) {
		vec a = *(const vec *)(p + i) ^ *(const vec *)(q + i);

		if (any_bit(a))
			return i;
	}
	return i;
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static size_t zeros_avx2(const uint8_t *p, size_t n)
{
	return zeros_body(p, n);
}

__attribute__((target("avx2"))) static size_t equal_avx2(const uint8_t *p, const uint8_t *q,
							 size_t n)
{
	return equal_body(p, q, n);
}
#endif

static size_t zeros_any(const uint8_t *p, size_t n)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return zeros_avx2(p, n);
#endif
	return zeros_body(p, n);
}

static size_t equal_any(const uint8_t *p, const uint8_t *q, size_t n)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return equal_avx2(p, q, n);
#endif
	return equal_body(p, q, n);
}

static bool zero_is_short(const uint8_t *p, size_t n)
{
	uint64_t bits = 0;
	size_t i;

	for (i = 0; n - i >= 8; i += 8)
		bits |= load64(p + i);
	for (; i < n; i++)
		bits |= p[i];
	return !bits;
}

bool zero_is(const void *buf, size_t n)
{
	const uint8_t *p = buf;

	if (n < VEC)
		return zero_is_short(p, n);
	/* Data mostly shows itself at once. The start alone is not enough: tables and
	 * text are often preceded or followed by zeros. */
	if (load64(p) || load64(p + n / 2) || load64(p + n - 8))
		return false;
	return zeros_any(p, n) == n;
}

size_t zero_run(const void *buf, size_t n, size_t unit, bool *zero)
{
	const uint8_t *p = buf;
	size_t run = unit < n ? unit : n;

	*zero = zero_is(p, run);
	if (run == n)
		return n;
	if (*zero) {
		/* One scan over the rest, cut to whole units. */
		size_t more;

		if (n - run >= VEC)
			more = zeros_any(p + run, n - run);
		else
			more = zero_is_short(p + run, n - run) ? n - run : 0;
		if (more == n - run)
			return n;
		/* `more` may be early, but in the unit of the first byte that is not
		 * zero: units are multiples of BLOCK. */
		return run + more / unit * unit;
	}
	while (run < n) {
		size_t len = unit < n - run ? unit : n - run;

		if (zero_is(p + run, len))
			break;
		run += len;
	}
	return run;
}

size_t zero_diff(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;
	size_t i = n >= VEC ? equal_any(p, q, n) : 0;

	while (n - i >= 8 && load64(p + i) == load64(q + i))
		i += 8;
	while (i < n && p[i] == q[i])
		i++;
	return i;
}
