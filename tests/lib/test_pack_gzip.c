#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/pack_gzip.h"

#define PIECE 70000u
#define N     (5 * PIECE + 123)

static struct err err;
static uint8_t data[N], file[2 * N + 1000];
static size_t len;

static void fill(void)
{
	for (size_t i = 0; i < N; i++)
		data[i] = i < 2 * PIECE ? (uint8_t)(i * i >> 7) : 0;
}

/* A file of pieces, the last one short, one empty. */
static void make(void)
{
	uint32_t crc = 0;

	gzip_head(file);
	len = GZIP_HEAD;
	for (size_t at = 0; at <= N; at += PIECE) {
		size_t n = at + PIECE > N ? N - at : PIECE, out;
		uint32_t part;

		if (at == PIECE) { /* nothing changes by a piece of nothing */
			assert_int_equal(gzip_piece(data, 0, file + len, &out, &part, &err), 0);
			crc = gzip_crc_join(crc, part, 0);
			len += out;
		}
		assert_int_equal(gzip_piece(data + at, n, file + len, &out, &part, &err), 0);
		assert_true(out <= gzip_bound(n));
		crc = gzip_crc_join(crc, part, n);
		len += out;
	}
	gzip_tail(file + len, crc, N);
	len += GZIP_TAIL;
}

struct source {
	size_t at, end, step;
};

static int more(void *arg, const uint8_t **out, size_t *n, struct err *e)
{
	struct source *s = arg;

	*n = s->end - s->at < s->step ? s->end - s->at : s->step;
	*out = file + s->at;
	s->at += *n;
	return 0;
}

/* -1, or what was read; at is compared with data. */
static long long read_all(struct source s, size_t step)
{
	struct gzip_reader *r = gzip_open(more, &s, &err);
	uint8_t *buf = malloc(step);
	long long total = 0;
	size_t got = step;
	int rc = 0;

	assert_non_null(r);
	assert_non_null(buf);
	while (rc == 0 && got == step) {
		rc = gzip_read(r, buf, step, &got, &err);
		if (rc == 0 && total + (long long)got <= N)
			assert_memory_equal(buf, data + total, got);
		total += rc ? 0 : (long long)got;
	}
	free(buf);
	gzip_close(r);
	return rc ? -1 : total;
}

static void there_and_back(void **state)
{
	fill();
	make();
	assert_int_equal(read_all((struct source){.end = len, .step = 1}, 512), N);
	assert_int_equal(read_all((struct source){.end = len, .step = len}, 1 << 20), N);
	assert_int_equal(read_all((struct source){.end = len, .step = 4096}, 7), N);
}

static void two_members(void **state)
{
	fill();
	make();
	memcpy(file + len, file, len < sizeof(file) - len ? len : 0);
	if (2 * len <= sizeof(file))
		assert_int_equal(read_all((struct source){.end = 2 * len, .step = 999}, 4 * N),
				 2 * N);
}

static void damaged(void **state)
{
	fill();
	make();
	for (size_t cut = 1; cut < len; cut += len / 50) {
		assert_int_equal(read_all((struct source){.end = cut, .step = 4096}, 512), -1);
		assert_non_null(strstr(err.text, "cut off"));
	}
	file[len - 5] ^= 1; /* the checksum */
	assert_int_equal(read_all((struct source){.end = len, .step = 4096}, 512), -1);
	assert_non_null(strstr(err.text, "damaged"));
	file[len - 5] ^= 1;
	file[len - 1] ^= 1; /* the length */
	assert_int_equal(read_all((struct source){.end = len, .step = 4096}, 512), -1);
	file[len - 1] ^= 1;
	file[0] = 0;
	assert_int_equal(read_all((struct source){.end = len, .step = 4096}, 512), -1);
	assert_int_equal(read_all((struct source){.end = 0, .step = 4096}, 512), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(two_members),
		cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
