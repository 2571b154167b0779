/*
 * vhdx: what goes through the log, again and again round its end, with any number of pages: at
 * each point the file can be had from the log, also if nothing that should have followed
 * happened, or if the entry itself was torn.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/vhdx/vhdx.h"
#include "lib/bytes.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define MIB   (1u << 20)
#define LOG   MIB
#define PAGES 126u
#define AREA  (PAGES * 4096u)

/* In the table, behind what the disk needs of it. */
static uint64_t area(const struct vhdx *v)
{
	return v->bat.off + 128 * 1024;
}

static uint32_t seed = 12345;

static unsigned rnd(unsigned n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* A new image of 5 MiB. */
static struct blk *new_file(const char *options)
{
	struct err err = {0};
	struct opts *opts = opts_new(&err);
	struct blk *file = io_mem_new("", 0, &err);
	struct create c = {.lower = file, .opts = opts, .size = 5 * MIB};

	assert_non_null(opts);
	assert_non_null(file);
	assert_int_equal(opts_parse(opts, options, NULL, &err), 0);
	if (format_vhdx.create(&c, &err))
		fail_msg("%s", err.text);
	opts_free(opts);
	return file;
}

static struct image *open_file(struct blk *file, unsigned flags)
{
	struct err err = {0};
	struct image *image = NULL;

	if (format_vhdx.open(file, NULL, flags, &image, &err))
		fail_msg("%s", err.text);
	return image;
}

/* The area as a reader of these bytes sees it. */
static void sees(const uint8_t *bytes, size_t n, const uint8_t *want, const char *what)
{
	struct err err = {0};
	struct blk *file = io_mem_new(bytes, n, &err);
	AUTO_FREE uint8_t *have = malloc(AREA);
	struct image *image;

	assert_non_null(file);
	assert_non_null(have);
	image = open_file(file, 0);
	assert_int_equal(blk_pread(((struct vhdx *)image)->file, have, AREA,
				   area((struct vhdx *)image), &err),
			 0);
	for (unsigned i = 0; i < AREA; i++)
		if (have[i] != want[i])
			fail_msg("%s: %#x at %#x, not %#x", what, have[i], i, want[i]);
	blk_close(&image->blk, &err);
}

/* Some pages change, in part or all of them. */
static void change(struct vhdx *v, uint8_t *now)
{
	unsigned n = rnd(3) ? rnd(4) + 1 : rnd(PAGES) + 1, first = rnd(PAGES);
	struct err err = {0};

	for (unsigned i = 0; i < n; i++) {
		unsigned at = (first + i) % PAGES * 4096 + rnd(512) * 8;
		unsigned len = 8 * (1 + rnd(700));

		len = MIN(len, AREA - at);

		for (unsigned k = 0; k < len; k++)
			now[at + k] = (uint8_t)rnd(256);
		assert_int_equal(blk_pwrite(v->journal, now + at, len, area(v) + at, 0, &err),
				 0);
	}
}

static void play(const char *options, unsigned times)
{
	struct blk *file = new_file(options);
	struct image *image = open_file(file, IMAGE_WRITE);
	struct vhdx *v = (struct vhdx *)image;
	AUTO_FREE uint8_t *now = calloc(1, AREA), *before = calloc(1, AREA), *copy = NULL;
	AUTO_FREE uint8_t *log = calloc(1, v->h.log_len);
	struct err err = {0};

	assert_non_null(now);
	assert_non_null(before);
	assert_non_null(log);
	for (unsigned k = 0; k < times; k++) {
		const uint8_t *bytes;
		size_t n, torn;

		bytes = io_mem_data(file, &n);
		memcpy(log, bytes + LOG, v->h.log_len);
		memcpy(before, now, AREA);
		change(v, now);
		assert_int_equal(vhdx_journal_commit(v->journal, &err), 0);
		bytes = io_mem_data(file, &n);
		free(copy);
		copy = malloc(n);
		assert_non_null(copy);
		memcpy(copy, bytes, n);
		sees(copy, n, now, "all is done");
		memcpy(copy + area(v), before, AREA);
		sees(copy, n, now, "nothing was done after the log");
		/* the first byte that is new in the log */
		for (torn = 0; log[torn] == copy[LOG + torn];)
			torn++;
		copy[LOG + torn] ^= 0x5a;
		if (k > 0)
			sees(copy, n, before, "the entry was torn");
	}
	assert_int_equal(vhdx_journal_end(v->journal, &err), 0);
	assert_true(uuid_is_null(v->h.log));
	blk_close(&image->blk, &err);
}

static void test_journal(void **state)
{
	play("block_size=1M", 60);
}

static void test_large_log(void **state)
{
	play("block_size=1M,log_size=3M", 12);
}

/* More pages than an entry has room for: what is first in is committed first. */
static void test_many_pages(void **state)
{
	struct blk *file = new_file("block_size=1M");
	struct image *image = open_file(file, IMAGE_WRITE);
	struct vhdx *v = (struct vhdx *)image;
	const unsigned all = 220;
	uint8_t page[4096], have[4096];
	struct err err = {0};

	for (unsigned i = 0; i < all; i++) {
		memset(page, (int)i + 1, sizeof(page));
		assert_int_equal(blk_pwrite(v->journal, page, 4096, v->bat.off + 4096 * (i + 1),
					    0, &err),
				 0);
	}
	for (unsigned i = 0; i < all; i++) {
		assert_int_equal(
			blk_pread(v->journal, have, 4096, v->bat.off + 4096 * (i + 1), &err),
			0);
		assert_int_equal(have[0], i + 1);
		assert_int_equal(blk_pread(file, have, 4096, v->bat.off + 4096 * (i + 1), &err),
				 0);
		assert_int_equal(have[4095], i < PAGES ? i + 1 : 0);
	}
	assert_int_equal(vhdx_journal_commit(v->journal, &err), 0);
	assert_int_equal(blk_pread(file, have, 4096, v->bat.off + 4096 * all, &err), 0);
	assert_int_equal(have[0], all);
	blk_close(&image->blk, &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_large_log),
		cmocka_unit_test(test_many_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
