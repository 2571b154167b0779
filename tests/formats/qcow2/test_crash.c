/* Crash safety of qcow2 images of all kinds: tests/lib/crash.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow2/qcow2.h"
#include "tests/lib/crash.h"

#define F &format_qcow2

static const struct crash_kind kinds[] = {
	{F, "cluster_size=512", NULL, 500, BELOW_NOTHING, true},
	{F, "cluster_size=512", NULL, 500, BELOW_RAW, true},
	{F, "cluster_size=512,refcount_bits=64", NULL, 600, BELOW_IMAGE, true},
	{F, "cluster_size=512,refcount_bits=1,compat=1.1", NULL, 500, BELOW_NOTHING, false},
	{F, "cluster_size=512,compat=0.10", NULL, 401, BELOW_NOTHING, false},
	{F, "cluster_size=1k,compat=0.10", NULL, 599, BELOW_RAW, true},
	{F, "cluster_size=2k,refcount_bits=8", NULL, 1001, BELOW_NOTHING, false},
	{F, "cluster_size=4k,lazy_refcounts=on", NULL, 1001, BELOW_RAW, true},
	{F, "cluster_size=16k,extended_l2=on", NULL, 1101, BELOW_RAW, true},
	{F, "cluster_size=16k,extended_l2=on,compression_type=zstd", NULL, 1000, BELOW_NOTHING,
	 false},
	{F, "cluster_size=512", "cache-size=1k", 500, BELOW_NOTHING, true},
	{F, "cluster_size=512,data_file=data", NULL, 500, BELOW_DATA, false},
	{F, "cluster_size=512,data_file=data", NULL, 600, BELOW_RAW_AND_DATA, true},
	{F, "cluster_size=4k,data_file=data,data_file_raw=on", NULL, 801, BELOW_DATA, false},
	{0},
};

/* ---- amend ------------------------------------------------------------------------ */

static int amend(struct crash *c, const char *text)
{
	struct opts *opts = opts_new(&c->err);
	struct amend a = {.opts = opts, .force = true};
	int rc;

	assert_non_null(opts);
	assert_int_equal(opts_parse(opts, text, NULL, &c->err), 0);
	rc = format_qcow2.amend(crash_image(c), &a, &c->err);
	opts_free(opts);
	return rc;
}

static bool is_plain(const struct crash_kind *k)
{
	return !crash_has_data(k) && !strstr(k->create, "extended") &&
	       !strstr(k->create, "refcount") && !strstr(k->create, "compat");
}

static bool is_v3(const struct crash_kind *k)
{
	return !strstr(k->create, "compat=0.10");
}

/* Zero clusters become others on the way down. */
static int run_compat(struct crash *c)
{
	TRY(crash_write_some(c, 3, 20));
	TRY(amend(c, "compat=0.10"));
	TRY(crash_reopen(c));
	TRY(crash_write_some(c, 3, 20));
	TRY(amend(c, "compat=1.1,lazy_refcounts=on"));
	TRY(crash_reopen(c));
	return crash_zero(c, 10, 100, BLK_UNMAP);
}

static int run_refcount_bits(struct crash *c)
{
	TRY(crash_write_some(c, 3, 20));
	TRY(amend(c, "refcount_bits=64"));
	TRY(crash_write_some(c, 3, 20));
	TRY(crash_reopen(c));
	TRY(amend(c, "refcount_bits=8"));
	return crash_write_some(c, 4, 20);
}

static int run_lazy(struct crash *c)
{
	TRY(amend(c, "lazy_refcounts=on"));
	TRY(crash_write_some(c, 3, 20));
	TRY(crash_reopen(c));
	TRY(crash_write_some(c, 3, 20));
	TRY(amend(c, "lazy_refcounts=off"));
	return crash_write_some(c, 3, 20);
}

static const struct crash_row amend_rows[] = {
	{"amend compat", crash_fill_disk, run_compat, is_plain, NULL},
	{"amend refcount_bits", crash_fill_disk, run_refcount_bits, is_v3, NULL},
	{"amend lazy_refcounts", crash_fill_disk, run_lazy, is_v3, NULL},
	{0},
};

/* A refcount table of one cluster describes 2 MiB. */
static const struct crash_kind large[] = {
	{F, "cluster_size=512,refcount_bits=64", NULL, 2000, BELOW_NOTHING, true},
	{0},
};

static const struct crash_kind small[] = {
	{F, "cluster_size=512", NULL, 199, BELOW_RAW, true},
	{F, "cluster_size=4k", NULL, 177, BELOW_RAW, true},
	{F, "cluster_size=16k,extended_l2=on", NULL, 150, BELOW_RAW, true},
	{F, "cluster_size=512,data_file=data", NULL, 200, BELOW_RAW_AND_DATA, true},
	{0},
};

static void test_logs(void **state)
{
	crash_play_logs(kinds, crash_rows_data);
	crash_play_logs(kinds, crash_rows_resize);
	crash_play_logs(kinds, crash_rows_image);
	crash_play_logs(kinds, crash_rows_bitmap);
	crash_play_logs(large, crash_rows_many);
	crash_play_logs(small, crash_rows_short);
	crash_play_logs(kinds, amend_rows);
}

static void test_faults(void **state)
{
	crash_play_faults(kinds, crash_rows_data);
	crash_play_faults(kinds, crash_rows_resize);
	crash_play_faults(kinds, crash_rows_image);
	crash_play_faults(kinds, crash_rows_bitmap);
	crash_play_faults(large, crash_rows_many);
	crash_play_faults(small, crash_rows_short);
	crash_play_faults(kinds, amend_rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
