#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/guess.h"

#define N 65536

static uint64_t seed = 88172645463325252u;

static uint8_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint8_t)(seed >> 32);
}

static uint8_t *noise(size_t n)
{
	uint8_t *p = malloc(n);

	assert_non_null(p);
	for (size_t i = 0; i < n; i++)
		p[i] = rnd();
	return p;
}

static void hopeless_is_noise(void **state)
{
	uint8_t *p = noise(2 << 20);

	assert_true(guess_hopeless(p, N));
	assert_true(guess_hopeless(p, 2 << 20));
	assert_true(guess_hopeless(p, 16384));
	/* too small, or an odd piece that nobody looked at */
	assert_false(guess_hopeless(p, 8192));
	assert_false(guess_hopeless(p, 0));
	assert_false(guess_hopeless(p, N - 1));
	free(p);
}

/* One page of something else anywhere gives hope. */
static void one_page_of_text(void **state)
{
	uint8_t *p = noise(N);

	for (size_t page = 0; page < N; page += 4096) {
		uint8_t keep[4096];

		memcpy(keep, p + page, 4096);
		for (size_t i = 0; i < 4096; i++)
			p[page + i] = "etaoin shrdlu\n"[rnd() % 14];
		assert_false(guess_hopeless(p, N));
		memset(p + page, 0, 4096);
		assert_false(guess_hopeless(p, N));
		memcpy(p + page, keep, 4096);
	}
	assert_true(guess_hopeless(p, N));
	free(p);
}

/* Noise that comes again is not noise, at whatever distance. */
static void noise_again(void **state)
{
	static const size_t dist[] = {1500, 4096, 4097, 8191, 20000, 32768};

	for (size_t k = 0; k < sizeof(dist) / sizeof(dist[0]); k++) {
		uint8_t *p = noise(N);

		for (size_t i = dist[k]; i < N; i++)
			p[i] = p[i - dist[k]];
		assert_false(guess_hopeless(p, N));
		free(p);
	}
}

static void binary_or_text(void **state)
{
	uint8_t *p = noise(N);

	assert_false(guess_binary(p, N));
	for (size_t i = 0; i < N; i++)
		p[i] = "etaoin shrdlu\n"[rnd() % 14];
	assert_false(guess_binary(p, N));
	for (size_t i = 0; i < N; i += 4)
		memset(p + i, 0, 2);
	assert_true(guess_binary(p, N));
	assert_true(guess_binary(p, 4096));
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hopeless_is_noise),
		cmocka_unit_test(one_page_of_text),
		cmocka_unit_test(noise_again),
		cmocka_unit_test(binary_or_text),
	};

	return cmocka_run_group_tests_name("guess", tests, NULL, NULL);
}
