/* Pieces that are inflated for many readers: each once, few kept, errors told to all. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/chunks.h"
#include "lib/mem.h"
#include "tests/lib/stamp.h"

#define PIECES 200
#define BAD    77 /* cannot be inflated */

struct toy {
	struct chunks c;
	uint32_t size; /* of each, and i more */
	int inflated[PIECES];
};

static uint32_t toy_size(void *arg, uint64_t i)
{
	return i < PIECES && i % 10 != 9 ? ((struct toy *)arg)->size + (uint32_t)i : 0;
}

static uint8_t toy_byte(uint64_t i, uint32_t at)
{
	return (uint8_t)(i * 7 + at * 3);
}

static int toy_inflate(void *arg, uint64_t i, void *out, struct err *err)
{
	struct toy *t = arg;
	uint8_t *to = out;

	__atomic_add_fetch(&t->inflated[i], 1, __ATOMIC_RELAXED);
	if (i == BAD)
		return err_set(err, EIO, "piece %d is bad", BAD);
	for (uint32_t k = 0; k < toy_size(t, i); k++)
		to[k] = toy_byte(i, k);
	return 0;
}

static struct toy *toy_new(uint32_t size)
{
	struct toy *t = calloc(1, sizeof(*t));
	struct err err;

	assert_non_null(t);
	t->size = size;
	t->c.size = toy_size;
	t->c.inflate = toy_inflate;
	t->c.arg = t;
	assert_int_equal(chunks_init(&t->c, &err), 0);
	return t;
}

static void toy_free(struct toy *t)
{
	chunks_free(&t->c);
	free(t);
}

static bool reads(struct toy *t, uint64_t i, uint32_t in, uint32_t n)
{
	AUTO_FREE uint8_t *buf = malloc(n);
	struct err err = {0};

	if (!buf || chunks_read(&t->c, i, in, buf, n, &err))
		return i == BAD && strstr(err.text, "is bad");
	for (uint32_t k = 0; k < n; k++)
		if (buf[k] != toy_byte(i, in + k))
			return false;
	return i != BAD;
}

static void test_once(void **state)
{
	struct toy *t = toy_new(1000);

	for (uint32_t at = 0; at < 1000; at += 100)
		assert_true(reads(t, 3, at, 100));
	assert_int_equal(t->inflated[3], 1);
	/* a whole one is not kept, but taken from what is */
	assert_true(reads(t, 3, 0, 1003));
	assert_int_equal(t->inflated[3], 1);
	assert_true(reads(t, 4, 0, 1004));
	assert_true(reads(t, 4, 0, 1004));
	assert_int_equal(t->inflated[4], 2);
	/* the oldest goes */
	for (uint64_t i = 20; i < 70; i++)
		if (i % 10 != 9)
			assert_true(reads(t, i, 1, 10));
	assert_true(reads(t, 3, 1, 10));
	assert_int_equal(t->inflated[3], 2);
	toy_free(t);
}

static void test_bytes(void **state)
{
	struct toy *t = toy_new(CHUNKS_BYTES / 3);

	for (uint64_t i = 0; i < 5; i++)
		assert_true(reads(t, i, 5, 10));
	assert_true(t->c.bytes <= CHUNKS_BYTES);
	toy_free(t);
	/* two at least */
	t = toy_new(CHUNKS_BYTES);
	for (int k = 0; k < 4; k++)
		assert_true(reads(t, k % 2, 5, 10));
	assert_int_equal(t->inflated[0], 1);
	assert_int_equal(t->inflated[1], 1);
	assert_true(reads(t, 2, 5, 10));
	assert_true(t->c.bytes <= 2ull * CHUNKS_BYTES + 10);
	toy_free(t);
}

static void test_error(void **state)
{
	struct toy *t = toy_new(1000);

	assert_true(reads(t, BAD, 5, 10));
	assert_true(reads(t, BAD, 5, 10));
	assert_true(reads(t, BAD, 0, 1000 + BAD));
	assert_int_equal(t->inflated[BAD], 3);
	toy_free(t);
}

struct reader {
	struct toy *t;
	unsigned seed;
	bool bad;
};

static void *read_much(void *arg)
{
	struct reader *r = arg;

	for (int k = 0; k < 1500 && !r->bad; k++) {
		uint64_t i = dice(&r->seed) % (k % 2 ? PIECES : 8);
		uint32_t size = toy_size(r->t, i), in, n;

		if (!size)
			continue;
		in = dice(&r->seed) % size;
		n = 1 + dice(&r->seed) % (size - in);
		r->bad = !reads(r->t, i, in, n);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct toy *t = toy_new(3000);
	struct reader r[6];
	pthread_t thread[6];

	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		r[i] = (struct reader){t, (unsigned)i + 1, false};
		assert_int_equal(pthread_create(&thread[i], NULL, read_much, &r[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(r); i++) {
		pthread_join(thread[i], NULL);
		assert_false(r[i].bad);
	}
	toy_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("chunks", tests, NULL, NULL);
}
