/*
 * Other sizes: with snapshots, subclusters, data files and over backing files, what is new
 * reads as zeros, and a crash or a failure at any point leaves the one size or the other,
 * with its contents: tests/lib/crash.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/crash.h"

#define F &format_qcow2

static int full(struct crash *c)
{
	TRY(crash_write(c, 0, c->now->sectors));
	return crash_flush(c);
}

static int full_snapshots(struct crash *c)
{
	TRY(full(c));
	TRY(crash_snapshot(c));
	TRY(crash_write_some(c, 4, 60));
	TRY(crash_snapshot(c));
	TRY(crash_write_some(c, 2, 60));
	return crash_flush(c);
}

/* Smaller than what is below, and longer again: that must not show. */
static int run_back_and_forth(struct crash *c)
{
	unsigned all = c->now->sectors;

	TRY(crash_resize(c, all / 2 + 1, PREALLOC_OFF));
	TRY(crash_resize(c, all - 7, PREALLOC_OFF));
	TRY(crash_write(c, all / 2 - 5, 20));
	TRY(crash_flush(c));
	TRY(crash_resize(c, all / 3 + 3, PREALLOC_OFF));
	TRY(crash_resize(c, all / 3 + 13, PREALLOC_METADATA));
	TRY(crash_resize(c, all / 2, PREALLOC_FULL));
	TRY(crash_write(c, all / 3, 20));
	TRY(crash_flush(c));
	return crash_resize(c, all, PREALLOC_OFF);
}

/* More than a refcount block describes. */
static int run_ahead(struct crash *c)
{
	unsigned all = c->now->sectors;

	TRY(crash_resize(c, CRASH_SECTORS, PREALLOC_METADATA));
	TRY(crash_write(c, all - 3, 20));
	TRY(crash_flush(c));
	TRY(crash_resize(c, all, PREALLOC_OFF));
	return crash_write(c, 20, 20);
}

static bool fits_snapshots(const struct crash_kind *k)
{
	return crash_fits_snapshots(k) && !strstr(k->create, "0.10");
}

static bool fits_prealloc(const struct crash_kind *k)
{
	return k->below == BELOW_NOTHING || strstr(k->create, "ext");
}

static bool fits_any(const struct crash_kind *k)
{
	return k->below == BELOW_NOTHING || !strstr(k->create, "0.10");
}

static const struct crash_row rows[] = {
	{.name = "back and forth", .setup = full, .run = run_back_and_forth, .fits = fits_any},
	{.name = "back and forth, little there",
	 .setup = crash_fill_disk,
	 .run = run_back_and_forth,
	 .fits = fits_any},
	{.name = "back and forth, snapshots",
	 .setup = full_snapshots,
	 .run = run_back_and_forth,
	 .fits = fits_snapshots},
	{.name = "ahead", .setup = crash_fill_disk, .run = run_ahead, .fits = fits_prealloc},
	{0},
};

static const struct crash_kind kinds[] = {
	{F, "cluster_size=512,refcount_bits=64", NULL, 500, BELOW_NOTHING, true},
	{F, "cluster_size=512", NULL, 500, BELOW_RAW, true},
	{F, "cluster_size=512,refcount_bits=1,compat=1.1", NULL, 500, BELOW_NOTHING, true},
	{F, "cluster_size=1k,compat=0.10", NULL, 599, BELOW_NOTHING, true},
	{F, "cluster_size=4k,lazy_refcounts=on", NULL, 1001, BELOW_RAW, true},
	{F, "cluster_size=16k,extended_l2=on", NULL, 1101, BELOW_RAW, true},
	{F, "cluster_size=16k,extended_l2=on", NULL, 1101, BELOW_NOTHING, true},
	{F, "cluster_size=512,data_file=data", NULL, 500, BELOW_DATA, true},
	{0},
};

static void test_logs(void **state)
{
	crash_play_logs(kinds, rows);
}

static void test_faults(void **state)
{
	crash_play_faults(kinds, rows);
}

/* ---- sizes ----------------------------------------------------------------------------- */

static struct err err;

static struct image *make(const char *keys, uint64_t size, struct blk **file)
{
	struct opts *o = opts_new(&err);
	struct create c = {.opts = o, .size = size};
	struct image *image = NULL;

	*file = io_mem_new(NULL, 0, &err);
	c.lower = *file;
	assert_true(c.lower && o && opts_parse(o, keys, NULL, &err) == 0);
	assert_int_equal(qcow2_create(&c, &err), 0);
	assert_int_equal(qcow2_open(c.lower, NULL, IMAGE_WRITE, &image, &err), 0);
	opts_free(o);
	return image;
}

static void refused(struct blk *blk, uint64_t size, enum blk_prealloc p, const char *why)
{
	uint64_t old = blk->size;

	assert_int_equal(blk_resize(blk, size, p, &err), -1);
	assert_string_equal(err.text, why);
	assert_int_equal(blk->size, old);
}

static void test_limits(void **state)
{
	struct snapshot_info s = {.name = (char[]){"s"}, .icount = -1};
	struct blk *file;
	struct image *image = make("cluster_size=512", 1 << 20, &file);

	refused(&image->blk, 1000, PREALLOC_OFF, "The new size must be a multiple of 512");
	refused(&image->blk, (UINT64_C(128) << 30) + 512, PREALLOC_OFF,
		"Failed to grow the L1 table: File too large");
	refused(&image->blk, UINT64_MAX & ~UINT64_C(511), PREALLOC_OFF,
		"Failed to grow the L1 table: File too large");
	assert_int_equal(blk_resize(&image->blk, UINT64_C(3) << 30, PREALLOC_OFF, &err), 0);
	assert_int_equal(blk_resize(&image->blk, 0, PREALLOC_OFF, &err), 0);
	assert_int_equal(blk_resize(&image->blk, 512, PREALLOC_FULL, &err), 0);
	assert_int_equal(blk_close(&image->blk, &err), 0);
	image = make("compat=0.10", 1 << 20, &file);
	assert_int_equal(format_qcow2.snapshot->create(image, &s, &err), 0);
	refused(&image->blk, 512, PREALLOC_OFF, "Can't resize a v2 image which has snapshots");
	refused(&image->blk, 2 << 20, PREALLOC_OFF,
		"Can't resize a v2 image which has snapshots");
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

/* A file is no longer than what is left in it. */
static void test_cut(void **state)
{
	struct blk *file;
	struct image *image = make("cluster_size=512,refcount_bits=64", 1 << 20, &file);
	uint64_t empty = blk_size(file);

	assert_int_equal(blk_resize(&image->blk, 4 << 20, PREALLOC_METADATA, &err), 0);
	assert_true(blk_size(file) > 3 << 20);
	assert_int_equal(blk_resize(&image->blk, 512, PREALLOC_OFF, &err), 0);
	/* the L1 table is longer, and the refcount table may have moved */
	assert_true(blk_size(file) < empty + (64 << 10));
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
