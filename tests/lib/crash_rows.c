/*
 * Patterns of data and sizes, for any format. Each stops where something fails: TRY.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/copy.h"
#include "lib/mem.h"
#include "lib/pack.h"
#include "tests/lib/crash.h"

static int full(struct crash *c)
{
	TRY(crash_write(c, 0, c->now->sectors));
	return crash_flush(c);
}

/* ---- data ------------------------------------------------------------------------- */

static int run_allocate(struct crash *c)
{
	return crash_write_some(c, 9, 40);
}

static int run_rewrite(struct crash *c)
{
	return crash_write_some(c, 9, 40);
}

static int run_zero(struct crash *c)
{
	unsigned sector, n;

	for (unsigned i = 0; i < 8; i++) {
		crash_pick(c, &sector, &n, 60);
		TRY(crash_zero(c, sector, n, i % 2 ? BLK_UNMAP : 0));
		if (i % 3 == 2)
			TRY(crash_flush(c));
	}
	return 0;
}

static int run_discard(struct crash *c)
{
	unsigned sector, n;

	for (unsigned i = 0; i < 8; i++) {
		crash_pick(c, &sector, &n, 80);
		TRY(crash_zero(c, sector, n, BLK_UNMAP | BLK_ADVISE));
		/* what was freed is used again */
		crash_pick(c, &sector, &n, 20);
		TRY(crash_write(c, sector, n));
		if (i % 3 == 2)
			TRY(crash_flush(c));
	}
	return 0;
}

static bool fits_packed(const struct crash_kind *k)
{
	return (k->format->caps & FORMAT_PACK) && !crash_has_data(k) &&
	       (!strstr(k->create, "zstd") || pack_has(CODEC_ZSTD));
}

static int run_packed(struct crash *c)
{
	unsigned sector, n;

	for (unsigned i = 0; i < 10; i++) {
		crash_pick_grains(c, &sector, &n, 6);
		TRY(crash_pack(c, sector, n));
		if (i % 3 == 1) {
			crash_pick(c, &sector, &n, 20);
			TRY(crash_write(c, sector, n));
		}
		if (i % 4 == 3)
			TRY(crash_flush(c));
	}
	return 0;
}

static int run_mixed(struct crash *c)
{
	unsigned sector, n;

	for (unsigned i = 0; i < 24; i++) {
		unsigned what = crash_rnd(c, 10);

		crash_pick(c, &sector, &n, 30);
		if (what < 4)
			TRY(crash_write(c, sector, n));
		else if (what < 6)
			TRY(crash_zero(c, sector, n, what == 4 ? BLK_UNMAP : 0));
		else if (what == 6)
			TRY(crash_zero(c, sector, n, BLK_UNMAP | BLK_ADVISE));
		else if (what == 7)
			TRY(crash_flush(c));
		else if (what == 8 && i > 12)
			TRY(crash_reopen(c));
		else if (fits_packed(c->kind)) {
			crash_pick_grains(c, &sector, &n, 3);
			TRY(crash_pack(c, sector, n));
		}
	}
	return 0;
}

/* convert -n: all of a disk over what is there. */
static int run_copy(struct crash *c)
{
	struct copy_source source = {.size = c->now->sectors * UINT64_C(512)};
	struct copy copy = {.source = &source,
			    .nsource = 1,
			    .target = c->chain,
			    .sparse = 4096,
			    .compress = fits_packed(c->kind) && crash_rnd(c, 2)};
	struct err later;
	int rc;

	/* it may clear the disk before, or not */
	crash_begin(c);
	memset(c->now->value, 0, sizeof(c->now->value));
	crash_end(c, -1);
	crash_begin(c);
	c->stamp++;
	for (unsigned i = 0; i < c->now->sectors; i++)
		c->now->value[i] = i % 50 < 35 ? c->stamp << 12 | i : 0;
	source.chain = crash_source(c, c->now);
	rc = copy_run(&copy, &c->err);
	blk_close(&source.chain->blk, &later);
	TRY(crash_end(c, rc));
	return crash_flush(c);
}

/* ---- sizes ------------------------------------------------------------------------ */

static unsigned larger(const struct crash *c, unsigned percent)
{
	return MIN(c->now->sectors + c->now->sectors * percent / 100, CRASH_SECTORS);
}

static int grow_and_write(struct crash *c, enum blk_prealloc p)
{
	unsigned old = c->now->sectors;

	TRY(crash_write(c, old - 3, 3));
	TRY(crash_resize(c, larger(c, 40), p));
	TRY(crash_write(c, old - 1, 10));
	TRY(crash_flush(c));
	TRY(crash_resize(c, larger(c, 10), p));
	return crash_write(c, c->now->sectors - 5, 5);
}

static int run_grow(struct crash *c)
{
	return grow_and_write(c, PREALLOC_OFF);
}

static int run_grow_metadata(struct crash *c)
{
	return grow_and_write(c, PREALLOC_METADATA);
}

static int run_grow_full(struct crash *c)
{
	return grow_and_write(c, PREALLOC_FULL);
}

static bool fits_prealloc(const struct crash_kind *k)
{
	return k->below == BELOW_NOTHING;
}

/* What is below is longer than the disk: it must never show. */
static int run_uncover(struct crash *c)
{
	unsigned old = c->now->sectors;

	TRY(crash_write(c, old - 10, 3));
	TRY(crash_resize(c, old + 61, PREALLOC_OFF));
	TRY(crash_write(c, old + 5, 9));
	TRY(crash_resize(c, old + 80, PREALLOC_OFF));
	return crash_write(c, old + 70, 3);
}

const struct crash_row crash_rows_short[] = {
	{.name = "grow over what is below", .setup = crash_fill_disk, .run = run_uncover},
	{0},
};

static bool fits_shrink(const struct crash_kind *k)
{
	return k->below == BELOW_NOTHING || k->below == BELOW_DATA;
}

static int run_shrink(struct crash *c)
{
	unsigned all = c->now->sectors;

	TRY(crash_write(c, all - 30, 30));
	TRY(crash_resize(c, all - all / 5, PREALLOC_OFF));
	TRY(crash_write_some(c, 3, 30));
	TRY(crash_flush(c));
	TRY(crash_resize(c, all / 3 + 5, PREALLOC_OFF));
	TRY(crash_resize(c, all, PREALLOC_OFF));
	return crash_write(c, all - 40, 20);
}

const struct crash_row crash_rows_data[] = {
	{.name = "allocate", .run = run_allocate},
	{.name = "rewrite", .setup = full, .run = run_rewrite},
	{.name = "zero", .setup = crash_fill_disk, .run = run_zero},
	{.name = "discard", .setup = full, .run = run_discard},
	{.name = "packed", .setup = crash_fill_disk, .run = run_packed, .fits = fits_packed},
	{.name = "mixed", .setup = crash_fill_disk, .run = run_mixed},
	{.name = "copy over", .setup = crash_fill_disk, .run = run_copy},
	{0},
};

const struct crash_row crash_rows_resize[] = {
	{.name = "grow", .setup = crash_fill_disk, .run = run_grow},
	{.name = "shrink", .setup = full, .run = run_shrink, .fits = fits_shrink},
	{.name = "grow, metadata",
	 .setup = crash_fill_disk,
	 .run = run_grow_metadata,
	 .fits = fits_prealloc},
	{.name = "grow, full",
	 .setup = crash_fill_disk,
	 .run = run_grow_full,
	 .fits = fits_prealloc},
	{0},
};
