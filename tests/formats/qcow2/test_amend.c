/*
 * amend: what it refuses, and that a crash at any point of it, or a failure, leaves an image
 * with the contents that it had: tests/lib/crash.h.
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

static struct qcow2 *open_qcow2(struct crash *c)
{
	return qcow2_of(c->chain->layer[0]);
}

/* One amend, of which the disk shows nothing but maybe its size. */
static int amend(struct crash *c, const char *keys)
{
	struct opts *o = opts_new(&c->err);
	struct amend a = {.opts = o, .disk = &c->chain->blk, .force = true};
	uint64_t size = c->now->sectors * UINT64_C(512);
	int rc;

	assert_non_null(o);
	crash_begin(c);
	rc = opts_parse(o, keys, NULL, &c->err) || opts_size(o, "size", &size, &c->err);
	assert_int_equal(rc, 0);
	for (unsigned i = (unsigned)(size / 512); i < c->now->sectors; i++)
		c->now->value[i] = 0;
	c->now->sectors = (unsigned)(size / 512);
	rc = crash_end(c, format_qcow2.amend(crash_image(c), &a, &c->err));
	opts_free(o);
	return rc;
}

static int amend_and_write(struct crash *c, const char *keys)
{
	TRY(amend(c, keys));
	return crash_write_some(c, 2, 30);
}

static bool is_v3(const struct crash_kind *k)
{
	return !strstr(k->create, "0.10");
}

static bool fits_width(const struct crash_kind *k)
{
	return is_v3(k);
}

static bool fits_down(const struct crash_kind *k)
{
	return is_v3(k) && k->below != BELOW_DATA && !strstr(k->create, "ext") &&
	       !strstr(k->create, "bits");
}

static bool fits_up(const struct crash_kind *k)
{
	return !is_v3(k);
}

static bool fits_both(const struct crash_kind *k)
{
	return fits_down(k) && crash_fits_snapshots(k);
}

static int with_snapshots(struct crash *c)
{
	TRY(crash_fill_disk(c));
	TRY(crash_snapshot(c));
	TRY(crash_zero(c, 0, 40, 0));
	TRY(crash_zero(c, 60, 40, BLK_UNMAP));
	TRY(crash_snapshot(c));
	TRY(crash_write_some(c, 4, 30));
	return crash_flush(c);
}

static int run_wider(struct crash *c)
{
	TRY(crash_write_some(c, 2, 30));
	TRY(amend_and_write(c, "refcount_bits=64"));
	return amend_and_write(c, "refcount_bits=32");
}

static int run_narrower(struct crash *c)
{
	TRY(amend_and_write(c, "refcount_bits=8"));
	return amend_and_write(c, "refcount_bits=4");
}

/* compressed clusters have many references */
static int run_both_widths(struct crash *c)
{
	TRY(amend_and_write(c, "refcount_bits=32"));
	return amend_and_write(c, "refcount_bits=16");
}

static int run_down(struct crash *c)
{
	TRY(crash_write_some(c, 2, 30));
	TRY(amend(c, "compat=0.10"));
	assert_int_equal(open_qcow2(c)->h.version, 2);
	TRY(crash_write_some(c, 2, 30));
	TRY(crash_flush(c));
	return amend_and_write(c, "compat=1.1");
}

static int run_up(struct crash *c)
{
	TRY(amend_and_write(c, "compat=1.1"));
	TRY(amend_and_write(c, "lazy_refcounts=on,refcount_bits=8"));
	return amend_and_write(c, "refcount_bits=16,compat=0.10");
}

static int run_bits(struct crash *c)
{
	TRY(crash_write_some(c, 2, 30));
	TRY(amend_and_write(c, "lazy_refcounts=on"));
	TRY(crash_reopen(c));
	TRY(crash_write_some(c, 2, 30));
	TRY(amend_and_write(c, "lazy_refcounts=off"));
	return amend_and_write(c, "size=200k");
}

static const struct crash_row rows[] = {
	{.name = "amend wider", .setup = crash_fill_disk, .run = run_wider, .fits = fits_width},
	{.name = "amend narrower",
	 .setup = crash_fill_disk,
	 .run = run_narrower,
	 .fits = fits_width},
	{.name = "amend widths, snapshots",
	 .setup = with_snapshots,
	 .run = run_both_widths,
	 .fits = fits_both},
	{.name = "amend down", .setup = crash_fill_disk, .run = run_down, .fits = fits_down},
	{.name = "amend down, snapshots",
	 .setup = with_snapshots,
	 .run = run_down,
	 .fits = fits_both},
	{.name = "amend up", .setup = crash_fill_disk, .run = run_up, .fits = fits_up},
	{.name = "amend bits", .setup = crash_fill_disk, .run = run_bits, .fits = fits_width},
	{0},
};

static const struct crash_kind kinds[] = {
	{F, "cluster_size=512", NULL, 500, BELOW_NOTHING, true},
	{F, "cluster_size=512", NULL, 500, BELOW_RAW, true},
	{F, "cluster_size=512,refcount_bits=1,compat=1.1", NULL, 500, BELOW_NOTHING, true},
	{F, "cluster_size=512,compat=0.10", NULL, 401, BELOW_NOTHING, true},
	{F, "cluster_size=1k,compat=0.10", NULL, 599, BELOW_RAW, true},
	{F, "cluster_size=4k,lazy_refcounts=on", NULL, 1001, BELOW_RAW, true},
	{F, "cluster_size=16k,extended_l2=on", NULL, 1101, BELOW_RAW, true},
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

/* ---- refusals ------------------------------------------------------------------------ */

static struct err err;

static struct image *make(const char *keys)
{
	struct blk *file = io_mem_new(NULL, 0, &err);
	struct opts *o = opts_new(&err);
	struct create c = {.lower = file, .opts = o, .size = 1 << 20};
	struct image *image = NULL;

	assert_true(file && o && opts_parse(o, keys, NULL, &err) == 0);
	assert_int_equal(qcow2_create(&c, &err), 0);
	assert_int_equal(qcow2_open(file, NULL, IMAGE_WRITE, &image, &err), 0);
	opts_free(o);
	return image;
}

static void refused(struct image *image, const char *keys, bool force, const char *why)
{
	struct opts *o = opts_new(&err);
	struct amend a = {.opts = o, .disk = &image->blk, .force = force};

	assert_true(o && opts_parse(o, keys, NULL, &err) == 0);
	assert_int_equal(qcow2_amend(image, &a, &err), -1);
	if (!strstr(err.text, why))
		print_error("%s: %s\n", keys, err.text);
	assert_non_null(strstr(err.text, why));
	opts_free(o);
}

static void done(struct image *image, const char *keys)
{
	struct opts *o = opts_new(&err);
	struct amend a = {.opts = o, .disk = &image->blk};

	assert_true(o && opts_parse(o, keys, NULL, &err) == 0);
	if (qcow2_amend(image, &a, &err))
		print_error("%s: %s\n", keys, err.text);
	opts_free(o);
	assert_int_equal(((struct qcow2 *)image)->broken, false);
}

static void test_refused(void **state)
{
	struct image *image = make("cluster_size=4k");

	refused(image, "size=512k", false, "smaller than it is now");
	refused(image, "size=1000", true, "multiple of 512");
	refused(image, "compat=3", false, "Unknown compatibility level 3");
	refused(image, "refcount_bits=3", false, "power of two");
	refused(image, "refcount_bits=32,compat=0.10", false, "Refcount widths other than 16");
	refused(image, "data_file=x", false, "use an external data file");
	refused(image, "data_file_raw=on", false, "cannot be set on existing");
	refused(image, "encrypt.state=active", false, "encryption not present");
	refused(image, "compat=0.10,lazy_refcounts=on", false, "Lazy refcounts only");
	assert_int_equal(qcow2_bitmap_ops.add(image, "b", 0, true, &err), 0);
	refused(image, "compat=0.10", false, "no persistent bitmaps");
	done(image, "refcount_bits=8,lazy_refcounts=on");
	assert_int_equal(((struct qcow2 *)image)->h.refcount_order, 3);
	refused(image, "compat=0.10", true, "requires refcount_bits=16");
	assert_int_equal(((struct qcow2 *)image)->nbitmap, 1);
	assert_int_equal(blk_close(&image->blk, &err), 0);
	image = make("extended_l2=on");
	refused(image, "compat=0.10", false, "incompatible features 0x10 set");
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
