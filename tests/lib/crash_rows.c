/*
 * Patterns for any format. Each stops where something fails: TRY.
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

static unsigned per_grain(const struct crash *c)
{
	return c->chain->layer[0]->grain / 512;
}

/* A range inside the disk. */
static void pick(struct crash *c, unsigned *sector, unsigned *n, unsigned max)
{
	*sector = crash_rnd(c, c->now->sectors);
	*n = 1 + crash_rnd(c, MIN(max, c->now->sectors - *sector));
}

/* The same in whole grains. */
static void pick_grains(struct crash *c, unsigned *sector, unsigned *n, unsigned max)
{
	unsigned per = per_grain(c), all = c->now->sectors / per, first = crash_rnd(c, all);

	*sector = first * per;
	*n = (1 + crash_rnd(c, MIN(max, all - first))) * per;
}

static int write_some(struct crash *c, unsigned times, unsigned max)
{
	unsigned sector, n;

	for (unsigned i = 0; i < times; i++) {
		pick(c, &sector, &n, max);
		TRY(crash_write(c, sector, n));
		if (i % 4 == 3)
			TRY(crash_flush(c));
	}
	return 0;
}

/* All that is there is used: data, zeros, compressed grains, nothing. */
static int fill(struct crash *c)
{
	unsigned per = per_grain(c), all = c->now->sectors / per;
	bool packs = pack_has(c->chain->blk.codec) && c->kind->below != BELOW_DATA;

	for (unsigned i = 0; i + 4 < all; i += 5) {
		TRY(crash_write(c, i * per, 2 * per));
		TRY(crash_zero(c, (i + 2) * per, per, 0));
		if (packs)
			TRY(crash_pack(c, (i + 3) * per, per));
		i += all / 12;
	}
	return crash_flush(c);
}

static int full(struct crash *c)
{
	TRY(crash_write(c, 0, c->now->sectors));
	return crash_flush(c);
}

/* ---- data ------------------------------------------------------------------------- */

static int run_allocate(struct crash *c)
{
	return write_some(c, 9, 40);
}

static int run_rewrite(struct crash *c)
{
	return write_some(c, 9, 40);
}

static int run_zero(struct crash *c)
{
	unsigned sector, n;

	for (unsigned i = 0; i < 8; i++) {
		pick(c, &sector, &n, 60);
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
		pick(c, &sector, &n, 80);
		TRY(crash_zero(c, sector, n, BLK_UNMAP | BLK_ADVISE));
		/* what was freed is used again */
		pick(c, &sector, &n, 20);
		TRY(crash_write(c, sector, n));
		if (i % 3 == 2)
			TRY(crash_flush(c));
	}
	return 0;
}

static bool fits_packed(const struct crash_kind *k)
{
	return k->below != BELOW_DATA && (!strstr(k->create, "zstd") || pack_has(CODEC_ZSTD));
}

static int run_packed(struct crash *c)
{
	unsigned sector, n;

	for (unsigned i = 0; i < 10; i++) {
		pick_grains(c, &sector, &n, 6);
		TRY(crash_pack(c, sector, n));
		if (i % 3 == 1) {
			pick(c, &sector, &n, 20);
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

		pick(c, &sector, &n, 30);
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
			pick_grains(c, &sector, &n, 3);
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

	/* it may clear the disk before */
	crash_begin(c);
	memset(c->now->value, 0, sizeof(c->now->value));
	crash_end(c, 0);
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

/* ---- snapshots -------------------------------------------------------------------- */

static bool fits_snapshot(const struct crash_kind *k)
{
	return k->format->snapshot && k->format->snapshot->create && k->below != BELOW_DATA &&
	       !strstr(k->create, "refcount_bits=1,");
}

static int two_snapshots(struct crash *c)
{
	TRY(fill(c));
	TRY(crash_snapshot(c));
	TRY(write_some(c, 6, 40));
	TRY(crash_snapshot(c));
	TRY(write_some(c, 3, 40));
	return crash_flush(c);
}

static int run_snapshot_create(struct crash *c)
{
	TRY(write_some(c, 3, 30));
	TRY(crash_snapshot(c));
	TRY(write_some(c, 5, 30));
	TRY(crash_snapshot(c));
	return crash_write(c, 5, 20);
}

static int run_snapshot_apply(struct crash *c)
{
	TRY(crash_write(c, 20, 20));
	TRY(crash_snapshot_apply(c, 1));
	TRY(crash_flush(c));
	TRY(write_some(c, 3, 30));
	TRY(crash_snapshot_apply(c, 2));
	return crash_write(c, 20, 20);
}

static int run_snapshot_remove(struct crash *c)
{
	TRY(crash_write(c, 20, 20));
	TRY(crash_snapshot_remove(c, 1));
	TRY(write_some(c, 4, 30));
	TRY(crash_flush(c));
	TRY(crash_snapshot_remove(c, 2));
	return write_some(c, 2, 30);
}

const struct crash_row crash_rows[] = {
	{.name = "allocate", .run = run_allocate},
	{.name = "rewrite", .setup = full, .run = run_rewrite},
	{.name = "zero", .setup = fill, .run = run_zero},
	{.name = "discard", .setup = full, .run = run_discard},
	{.name = "packed", .setup = fill, .run = run_packed, .fits = fits_packed},
	{.name = "mixed", .setup = fill, .run = run_mixed},
	{.name = "copy over", .setup = fill, .run = run_copy},
	{.name = "grow", .setup = fill, .run = run_grow},
	{.name = "grow, metadata",
	 .setup = fill,
	 .run = run_grow_metadata,
	 .fits = fits_prealloc},
	{.name = "grow, full", .setup = fill, .run = run_grow_full, .fits = fits_prealloc},
	{.name = "snapshot create",
	 .setup = fill,
	 .run = run_snapshot_create,
	 .fits = fits_snapshot},
	{.name = "snapshot apply",
	 .setup = two_snapshots,
	 .run = run_snapshot_apply,
	 .fits = fits_snapshot},
	{.name = "snapshot delete",
	 .setup = two_snapshots,
	 .run = run_snapshot_remove,
	 .fits = fits_snapshot},
	{0},
};
