#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>
#ifdef HAVE_LIBZSTD
#include <zstd.h>
#endif

#include "lib/pack.h"

#define CL  65536
#define MAX (2u << 20)

static const enum codec codecs[] = {CODEC_DEFLATE, CODEC_ZSTD};

#define each_codec(c)                                                                          \
	for (size_t i_##c = 0; i_##c < 2; i_##c++)                                             \
		for (enum codec c = codecs[i_##c]; c && pack_has(c); c = CODEC_NONE)

struct rng {
	uint64_t s;
};

static uint32_t rnd(struct rng *r)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return (uint32_t)(r->s >> 32);
}

/* Words from a small vocabulary, numbers, noise and far copies: deflate has to work. */
static void fill(struct rng *r, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t len = 1 + rnd(r) % 60, kind = rnd(r) % 4;

		if (len > n - i)
			len = n - i;
		if (kind == 0 && i > 40000) {
			size_t from = i - 1 - rnd(r) % 32768;

			for (size_t k = 0; k < len; k++)
				p[i + k] = p[from + k];
		} else if (kind == 1) {
			for (size_t k = 0; k < len; k++)
				p[i + k] = (uint8_t)rnd(r);
		} else {
			for (size_t k = 0; k < len; k++)
				p[i + k] = "the quick brown fox "[(kind + k) % 20];
		}
		i += len;
	}
}

static uint8_t *buffer(size_t n)
{
	uint8_t *p = malloc(n ? n : 1);

	assert_non_null(p);
	return p;
}

/* Packs into a buffer of exactly the packed size, so that a sanitizer sees overreads. */
static uint8_t *packed(enum codec c, int level, const uint8_t *in, size_t n, size_t *outn)
{
	uint8_t *room = buffer(n), *out;
	struct err err;

	*outn = n;
	assert_int_equal(pack_deflate(c, level, in, n, room, outn, &err), 0);
	assert_true(*outn < n);
	out = buffer(*outn);
	memcpy(out, room, *outn);
	free(room);
	return out;
}

static void names(void **state)
{
	assert_string_equal(pack_name(CODEC_DEFLATE), "zlib");
	assert_string_equal(pack_name(CODEC_ZSTD), "zstd");
	assert_string_equal(pack_name(CODEC_NONE), "none");
	assert_true(pack_has(CODEC_DEFLATE));
	assert_false(pack_has(CODEC_NONE));
	assert_true(strchr(pack_deflate_library(), ' ') != NULL);
}

static void round_trip(void **state)
{
	static const size_t sizes[] = {512, 4096, 8192, 16384, 32768, CL, 100000, MAX};
	static const int levels[] = {PACK_LEVEL_DEFAULT, 1, 2, 6, 9};
	struct rng r = {42};
	uint8_t *in = buffer(MAX), *back = buffer(MAX);
	struct err err;

	each_codec(c)
	{
		for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			for (size_t l = 0; l < 5; l++) {
				size_t n = sizes[s], outn, used = 0;
				uint8_t *out;

				fill(&r, in, n);
				out = packed(c, levels[l], in, n, &outn);
				assert_true(outn > 0);
				memset(back, 0xee, n);
				assert_int_equal(
					pack_inflate(c, out, outn, back, n, &used, &err), 0);
				assert_int_equal(used, outn);
				assert_memory_equal(in, back, n);
				free(out);
			}
		}
	}
	free(in);
	free(back);
}

static void does_not_fit(void **state)
{
	struct rng r = {43};
	uint8_t *in = buffer(CL), *out = buffer(CL), *exact;
	size_t outn, full;
	struct err err;

	each_codec(c)
	{
		for (int level = PACK_LEVEL_DEFAULT; level < 10; level += level < 0 ? 2 : 4) {
			/* noise never shrinks */
			for (size_t i = 0; i < CL; i++)
				in[i] = (uint8_t)rnd(&r);
			outn = CL;
			assert_int_equal(pack_deflate(c, level, in, CL, out, &outn, &err), 0);
			assert_int_equal(outn, 0);
			outn = 1;
			assert_int_equal(pack_deflate(c, level, in, 1, out, &outn, &err), 0);
			assert_int_equal(outn, 0);

			/* what shrinks does not fit into less than it needs */
			fill(&r, in, CL);
			exact = packed(c, level, in, CL, &full);
			free(exact);
			exact = buffer(full / 2);
			outn = full / 2;
			assert_int_equal(pack_deflate(c, level, in, CL, exact, &outn, &err), 0);
			assert_int_equal(outn, 0);
			outn = 0;
			assert_int_equal(pack_deflate(c, level, in, CL, exact, &outn, &err), 0);
			assert_int_equal(outn, 0);
			/* and the compressor is as good as new after it */
			free(exact);
			exact = packed(c, level, in, CL, &outn);
			assert_int_equal(outn, full);
			free(exact);
		}
		outn = 10;
		assert_int_equal(pack_deflate(c, 1, in, 0, out, &outn, &err), 0);
		assert_int_equal(outn, 0);
	}
	free(in);
	free(out);
}

static void bad_level(void **state)
{
	uint8_t in[512] = {0}, out[512];

	each_codec(c)
	{
		static const int bad[] = {0, -2, 23, 1000};

		for (size_t i = 0; i < 4; i++) {
			struct err err = {0};
			size_t outn = sizeof(out);

			assert_int_equal(
				pack_deflate(c, bad[i], in, sizeof(in), out, &outn, &err), -1);
			assert_int_equal(err.num, EINVAL);
			assert_non_null(strstr(err.text, "level"));
		}
	}
}

static void absent_codec(void **state)
{
	static const enum codec all[] = {CODEC_NONE, CODEC_DEFLATE, CODEC_ZSTD};
	uint8_t in[512] = {0}, out[512];

	for (size_t i = 0; i < 3; i++) {
		struct err err = {0};
		size_t outn = sizeof(out);

		if (pack_has(all[i]))
			continue;
		assert_int_equal(pack_deflate(all[i], PACK_LEVEL_DEFAULT, in, sizeof(in), out,
					      &outn, &err),
				 -1);
		assert_int_equal(err.num, ENOTSUP);
		assert_int_equal(pack_inflate(all[i], in, sizeof(in), out, 1, NULL, &err), -1);
		assert_int_equal(err.num, ENOTSUP);
	}
}

static void must_fail(enum codec c, const void *in, size_t n, size_t outn, const char *why)
{
	uint8_t *copy = buffer(n), *out = buffer(outn);
	struct err err = {0};

	memcpy(copy, in, n);
	assert_int_equal(pack_inflate(c, copy, n, out, outn, NULL, &err), -1);
	assert_int_equal(err.num, EIO);
	if (!strstr(err.text, why) || !strstr(err.text, pack_name(c)))
		fail_msg("'%s' does not say '%s'", err.text, why);
	free(copy);
	free(out);
}

static void short_and_long(void **state)
{
	static const size_t off[] = {1, 2, 100, CL / 2};
	struct rng r = {44};
	uint8_t *in = buffer(CL);

	each_codec(c)
	{
		size_t n;
		uint8_t *out;

		fill(&r, in, CL);
		out = packed(c, PACK_LEVEL_DEFAULT, in, CL, &n);
		for (size_t i = 0; i < 4; i++) {
			must_fail(c, out, n, CL + off[i], "instead of");
			must_fail(c, out, n, CL - off[i], "more than");
		}
		must_fail(c, out, n, 0, "more than");
		free(out);

		/* zeros: the whole cluster is one match, or one run */
		memset(in, 0, CL);
		out = packed(c, PACK_LEVEL_DEFAULT, in, CL, &n);
		must_fail(c, out, n, CL + 1, "instead of");
		must_fail(c, out, n, CL - 1, "more than");
		free(out);
	}
	free(in);
}

/* Every truncation, and thousands of single wrong bytes: an error or other contents,
 * never a byte read or written outside (the sanitizers look). */
static void truncated_and_broken(void **state)
{
	struct rng r = {45};
	size_t n, used;
	uint8_t *in = buffer(8192), *back = buffer(8192);

	each_codec(c)
	{
		uint8_t *out;

		fill(&r, in, 8192);
		out = packed(c, PACK_LEVEL_DEFAULT, in, 8192, &n);
		for (size_t i = 0; i < n; i++)
			must_fail(c, out, i, 8192, "");
		for (int k = 0; k < 5000; k++) {
			size_t i = rnd(&r) % n;
			uint8_t keep = out[i];
			struct err err = {0};

			out[i] = (uint8_t)rnd(&r);
			if (pack_inflate(c, out, n, back, 8192, &used, &err) < 0) {
				assert_int_equal(err.num, EIO);
				assert_non_null(strstr(err.text, pack_name(c)));
			} else {
				assert_true(used <= n);
			}
			out[i] = keep;
		}
		free(out);
		memset(back, 0xff, 8192);
		must_fail(c, back, 8192, CL, "");
		memset(back, 0, 8192);
		must_fail(c, back, 8192, CL, "");
		for (size_t i = 0; i < 8192; i++)
			back[i] = (uint8_t)rnd(&r);
		must_fail(c, back, 8192, CL, "");
	}
	free(in);
	free(back);
}

/* A cluster is followed by the rest of its sector, or by the next cluster. */
static void followed_by_others(void **state)
{
	struct rng r = {46};
	uint8_t *in = buffer(CL), *back = buffer(CL);
	struct err err;

	each_codec(c)
	{
		for (int k = 0; k < 200; k++) {
			size_t n, more = 1 + rnd(&r) % 600, used = 0;
			uint8_t *out, *both;

			fill(&r, in, CL);
			out = packed(c, PACK_LEVEL_DEFAULT, in, CL, &n);
			both = buffer(n + more);
			memcpy(both, out, n);
			memset(both + n, 0, more);
			if (k % 3 == 0)
				fill(&r, both + n, more);
			else if (k % 3 == 1)
				memcpy(both + n, out, more < n ? more : n);
			assert_int_equal(pack_inflate(c, both, n + more, back, CL, &used, &err),
					 0);
			assert_int_equal(used, n);
			assert_memory_equal(in, back, CL);
			free(out);
			free(both);
		}
	}
	free(in);
	free(back);
}

/* Streams as the other tool makes them: raw, window 4 KiB; and those with the largest
 * window, with stored blocks, with empty blocks at the end. */
static void deflate_of_others(void **state)
{
	static const int kinds[][2] = {{6, -12}, {9, -15}, {0, -12}, {1, -9}};
	struct rng r = {47};
	uint8_t *in = buffer(CL), *out = buffer(2 * CL), *back = buffer(CL);
	size_t used;
	struct err err;

	fill(&r, in, CL);
	for (size_t k = 0; k < 8; k++) {
		z_stream z = {0};

		assert_int_equal(deflateInit2(&z, kinds[k % 4][0], Z_DEFLATED, kinds[k % 4][1],
					      9, Z_DEFAULT_STRATEGY),
				 Z_OK);
		z.next_in = in;
		z.avail_in = CL;
		z.next_out = out;
		z.avail_out = 2 * CL;
		if (k >= 4)
			assert_int_equal(deflate(&z, Z_FULL_FLUSH), Z_OK);
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		memset(back, 0xee, CL);
		assert_int_equal(
			pack_inflate(CODEC_DEFLATE, out, z.total_out, back, CL, &used, &err),
			0);
		assert_int_equal(used, z.total_out);
		assert_memory_equal(in, back, CL);
		assert_int_equal(
			pack_inflate(CODEC_DEFLATE, out, 2 * CL, back, CL, &used, &err), 0);
		assert_int_equal(used, z.total_out);
		must_fail(CODEC_DEFLATE, out, z.total_out - 1, CL, "");
		deflateEnd(&z);
	}
	free(in);
	free(out);
	free(back);
}

/* The other tool declares a window of 4 KiB, and inflates a cluster in one call. */
static void deflate_for_others(void **state)
{
	struct rng r = {48};
	uint8_t *in = buffer(MAX), *back = buffer(MAX);
	static const size_t sizes[] = {4096, CL, MAX};

	for (size_t k = 0; k < 3; k++) {
		size_t n = sizes[k], outn;
		uint8_t *out;
		z_stream z = {0};

		fill(&r, in, n);
		out = packed(CODEC_DEFLATE, PACK_LEVEL_DEFAULT, in, n, &outn);
		assert_int_equal(inflateInit2(&z, -12), Z_OK);
		z.next_in = out;
		z.avail_in = (unsigned)outn;
		z.next_out = back;
		z.avail_out = (unsigned)n;
		assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
		assert_int_equal(z.total_out, n);
		assert_memory_equal(in, back, n);
		inflateEnd(&z);
		free(out);
	}
	free(in);
	free(back);
}

/* Noise is not tried, but only where nothing would be gained. */
static void noise_with_hope(void **state)
{
	struct rng r = {49};
	uint8_t *in = buffer(CL);
	size_t n;

	each_codec(c)
	{
		for (size_t i = 0; i < CL; i++)
			in[i] = (uint8_t)rnd(&r);
		memcpy(in + 30000, in, 30000);
		free(packed(c, PACK_LEVEL_DEFAULT, in, CL, &n));
		assert_true(n < 40000);
		for (size_t i = 0; i < CL; i++)
			in[i] = (uint8_t)rnd(&r);
		memset(in + 50000, 'x', 4096);
		free(packed(c, PACK_LEVEL_DEFAULT, in, CL, &n));
		assert_true(n < CL - 2000);
	}
	free(in);
}

/* Images must not depend on which thread packed what before. */
static void same_bytes_again(void **state)
{
	struct rng r = {51}, other = {52};
	uint8_t *in = buffer(CL), *noise = buffer(MAX);

	each_codec(c)
	{
		uint8_t *first, *again;
		size_t n, m;

		fill(&r, in, CL);
		first = packed(c, PACK_LEVEL_DEFAULT, in, CL, &n);
		for (int k = 0; k < 50; k++) {
			size_t len = 4096u << rnd(&other) % 10;

			fill(&other, noise, len);
			free(packed(c, k % 2 ? PACK_LEVEL_DEFAULT : 1 + k % 9, noise, len, &m));
			again = packed(c, PACK_LEVEL_DEFAULT, in, CL, &m);
			assert_int_equal(m, n);
			assert_memory_equal(first, again, n);
			free(again);
		}
		free(first);
	}
	free(in);
	free(noise);
}

#ifdef HAVE_LIBZSTD
/* Appends one frame; without the content size, as a streaming compressor leaves it. */
static size_t frame(uint8_t *out, const uint8_t *in, size_t n, bool size, bool sum)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();
	size_t r;

	assert_non_null(z);
	ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, size);
	ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, sum);
	ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, 21);
	r = ZSTD_compress2(z, out, 2 * CL, in, n);
	assert_false(ZSTD_isError(r));
	ZSTD_freeCCtx(z);
	return r;
}

static void zstd_of_others(void **state)
{
	struct rng r = {50};
	uint8_t *in = buffer(CL), *out = calloc(4, CL), *back = buffer(CL);
	size_t n, m, used;
	struct err err;

	assert_non_null(out);
	for (int k = 0; k < 4; k++) {
		fill(&r, in, CL);
		n = frame(out, in, CL, k & 1, k & 2);
		assert_int_equal(pack_inflate(CODEC_ZSTD, out, n + 300, back, CL, &used, &err),
				 0);
		assert_int_equal(used, n);
		assert_memory_equal(in, back, CL);
		must_fail(CODEC_ZSTD, out, n + 300, CL - 1, "more than");
		/* zeros follow where another frame is missing */
		must_fail(CODEC_ZSTD, out, n + 300, CL + 1, "instead of");

		/* several frames, an empty one and a skippable one between */
		n = frame(out, in, 1000, k & 1, k & 2);
		n += frame(out + n, in, 0, k & 1, k & 2);
		memcpy(out + n, "\x50\x2a\x4d\x18\x03\0\0\0abc", 11);
		n += 11;
		m = n;
		n += frame(out + n, in + 1000, CL - 1000, k & 1, k & 2);
		assert_int_equal(pack_inflate(CODEC_ZSTD, out, n + 5, back, CL, &used, &err),
				 0);
		assert_int_equal(used, n);
		assert_memory_equal(in, back, CL);
		must_fail(CODEC_ZSTD, out, m, CL, "instead of");
		must_fail(CODEC_ZSTD, out, n, CL - 1, "more than");
	}
	free(in);
	free(out);
	free(back);
}
#endif

static void *worker(void *arg)
{
	struct rng r = {(uintptr_t)arg * 7919 + 1};
	uint8_t *in = malloc(CL), *out = malloc(CL), *back = malloc(CL);
	void *bad = NULL;

	if (!in || !out || !back)
		bad = arg;
	for (int k = 0; k < 40 && !bad; k++) {
		enum codec c = pack_has(CODEC_ZSTD) && k % 2 ? CODEC_ZSTD : CODEC_DEFLATE;
		size_t n = CL, used;
		struct err err;

		fill(&r, in, CL);
		if (pack_deflate(c, k % 3 ? PACK_LEVEL_DEFAULT : 1 + k % 9, in, CL, out, &n,
				 &err) < 0 ||
		    pack_inflate(c, out, n, back, CL, &used, &err) < 0 || used != n ||
		    memcmp(in, back, CL))
			bad = arg;
	}
	free(in);
	free(out);
	free(back);
	return bad;
}

static void many_threads(void **state)
{
	pthread_t t[8];

	for (int round = 0; round < 3; round++) {
		for (uintptr_t i = 0; i < 8; i++)
			assert_int_equal(pthread_create(&t[i], NULL, worker, (void *)(i + 1)),
					 0);
		for (int i = 0; i < 8; i++) {
			void *bad;

			pthread_join(t[i], &bad);
			assert_null(bad);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(does_not_fit),
		cmocka_unit_test(bad_level),
		cmocka_unit_test(absent_codec),
		cmocka_unit_test(short_and_long),
		cmocka_unit_test(truncated_and_broken),
		cmocka_unit_test(followed_by_others),
		cmocka_unit_test(deflate_of_others),
		cmocka_unit_test(deflate_for_others),
		cmocka_unit_test(noise_with_hope),
		cmocka_unit_test(same_bytes_again),
#ifdef HAVE_LIBZSTD
		cmocka_unit_test(zstd_of_others),
#endif
		cmocka_unit_test(many_threads),
	};

	return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
