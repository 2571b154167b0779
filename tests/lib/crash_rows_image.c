/*
 * Patterns that change what an image is made of, for any format: snapshots, what is below,
 * repair.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mem.h"
#include "tests/lib/crash.h"
#include "tests/lib/stamp.h"

/* ---- snapshots -------------------------------------------------------------------- */

bool crash_fits_snapshots(const struct crash_kind *k)
{
	return k->format->snapshot && k->format->snapshot->create && !crash_has_data(k) &&
	       !strstr(k->create, "refcount_bits=1,");
}

static int two_snapshots(struct crash *c)
{
	TRY(crash_fill_disk(c));
	TRY(crash_snapshot(c));
	TRY(crash_write_some(c, 6, 40));
	TRY(crash_snapshot(c));
	TRY(crash_write_some(c, 3, 40));
	return crash_flush(c);
}

static int run_snapshot_create(struct crash *c)
{
	TRY(crash_write_some(c, 3, 30));
	TRY(crash_snapshot(c));
	TRY(crash_write_some(c, 5, 30));
	TRY(crash_snapshot(c));
	return crash_write(c, 5, 20);
}

static int run_snapshot_apply(struct crash *c)
{
	TRY(crash_write(c, 20, 20));
	TRY(crash_snapshot_apply(c, 1));
	TRY(crash_flush(c));
	TRY(crash_write_some(c, 3, 30));
	TRY(crash_snapshot_apply(c, 2));
	return crash_write(c, 20, 20);
}

static int run_snapshot_remove(struct crash *c)
{
	TRY(crash_write(c, 20, 20));
	TRY(crash_snapshot_remove(c, 1));
	TRY(crash_write_some(c, 4, 30));
	TRY(crash_flush(c));
	TRY(crash_snapshot_remove(c, 2));
	return crash_write_some(c, 2, 30);
}

/* ---- many clusters ---------------------------------------------------------------- */

static int setup_many(struct crash *c)
{
	TRY(crash_write(c, 0, c->now->sectors));
	TRY(crash_snapshot(c));
	TRY(crash_write(c, 0, c->now->sectors - 300));
	return crash_flush(c);
}

/* Until the table of reference counts must be longer. */
static int run_many(struct crash *c)
{
	for (unsigned i = c->now->sectors - 300; i < c->now->sectors; i += 60)
		TRY(crash_write(c, i, 60));
	TRY(crash_flush(c));
	return crash_snapshot_remove(c, 1);
}

const struct crash_row crash_rows_many[] = {
	{.name = "many clusters",
	 .setup = setup_many,
	 .run = run_many,
	 .fits = crash_fits_snapshots},
	{0},
};

/* ---- what is below ---------------------------------------------------------------- */

static bool fits_rebase(const struct crash_kind *k)
{
	return k->format->set_backing &&
	       (k->below == BELOW_RAW || k->below == BELOW_RAW_AND_DATA);
}

/* Does what is at a sector come from the file below, and is it another one there? */
static bool differs(const struct crash *c, const char *name, unsigned i)
{
	uint32_t was = crash_below_stamp("below.raw", i);

	return c->now->value[i] == was && (name ? crash_below_stamp(name, i) : 0) != was;
}

/* Another file below, or none, and the disk stays as it is: first what differs is written. */
static int rebase(struct crash *c, const char *name)
{
	uint8_t buf[16 * 512];
	unsigned n;

	for (unsigned i = 0; i < c->now->sectors; i += MAX(n, 1)) {
		for (n = 0; n < 16 && i + n < c->now->sectors && differs(c, name, i + n); n++)
			stamp_fill(buf + n * 512, c->now->value[i + n], 1);
		if (n)
			TRY(blk_pwrite(&c->chain->blk, buf, n * 512, i * UINT64_C(512), 0,
				       &c->err));
	}
	TRY(c->kind->format->set_backing(crash_image(c), name, name ? "raw" : NULL, &c->err));
	TRY(crash_reopen(c));
	TRY(crash_write(c, 7, 20));
	return crash_zero(c, 77, 20, 0);
}

static int run_rebase(struct crash *c)
{
	TRY(crash_write(c, 10, 30));
	return rebase(c, "other.raw");
}

static int run_rebase_none(struct crash *c)
{
	TRY(crash_write(c, 10, 30));
	return rebase(c, NULL);
}

static bool fits_empty(const struct crash_kind *k)
{
	return k->format->make_empty;
}

static int make_empty(struct crash *c)
{
	bool below = crash_image(c)->backing;

	crash_begin(c);
	for (unsigned i = 0; i < c->now->sectors; i++)
		c->now->value[i] = below ? crash_below_stamp(crash_image(c)->backing, i) : 0;
	return crash_end(c, c->kind->format->make_empty(crash_image(c), &c->err));
}

static int run_empty(struct crash *c)
{
	TRY(crash_write_some(c, 3, 30));
	TRY(make_empty(c));
	TRY(crash_write_some(c, 3, 30));
	TRY(make_empty(c));
	return crash_write(c, 50, 50);
}

static bool fits_commit(const struct crash_kind *k)
{
	return k->format->make_empty && k->below == BELOW_IMAGE;
}

/* All of the disk goes into the image below, then the image is emptied. */
static int run_commit(struct crash *c)
{
	struct crash_view *all = malloc(sizeof(*all));
	struct chain *below;
	int rc = 0;

	assert_non_null(all);
	*all = *c->now;
	if (crash_write(c, 10, 20) || crash_flush(c) || crash_close(c)) {
		free(all);
		return -1;
	}
	*all = *c->now;
	below = crash_open_file(c, 1);
	for (unsigned i = 0; below && rc == 0 && i < all->sectors; i++) {
		uint8_t buf[512];

		stamp_fill(buf, all->value[i], 1);
		if (all->value[i] != crash_below_stamp("below.image", i))
			rc = blk_pwrite(&below->blk, buf, 512, i * UINT64_C(512), 0, &c->err);
	}
	free(all);
	if (!below || rc || blk_flush(&below->blk, &c->err)) {
		crash_close_file(c, 1, below);
		return -1;
	}
	TRY(crash_close_file(c, 1, below));
	TRY(crash_open(c));
	TRY(c->kind->format->make_empty(crash_image(c), &c->err));
	return crash_write(c, 30, 40);
}

/* ---- repair ----------------------------------------------------------------------- */

/* Room that was taken and never used, as by a process that was killed. */
static int leak(struct crash *c)
{
	TRY(crash_fill_disk(c));
	for (unsigned i = 0; i < 6; i++) {
		struct blk *top = c->chain->layer[0];
		struct claim claim = {.len = top->grain};
		struct extent e;

		claim.off = round_down(crash_rnd(c, c->now->sectors) * UINT64_C(512),
				       top->grain);
		claim.len = MIN(claim.len, blk_size(top) - claim.off);
		TRY(blk_extent(top, claim.off, claim.len, &e, &c->err));
		if (e.flags & EXT_DATA)
			continue;
		TRY(blk_claim(top, &claim, &c->err));
		free(claim.run);
	}
	return crash_flush(c);
}

static int run_repair(struct crash *c)
{
	TRY(crash_close(c));
	TRY(crash_repair(c));
	TRY(crash_open(c));
	return crash_write_some(c, 4, 20);
}

static bool fits_repair(const struct crash_kind *k)
{
	return crash_can_repair(k);
}

const struct crash_row crash_rows_image[] = {
	{.name = "snapshot create",
	 .setup = crash_fill_disk,
	 .run = run_snapshot_create,
	 .fits = crash_fits_snapshots},
	{.name = "snapshot apply",
	 .setup = two_snapshots,
	 .run = run_snapshot_apply,
	 .fits = crash_fits_snapshots},
	{.name = "snapshot delete",
	 .setup = two_snapshots,
	 .run = run_snapshot_remove,
	 .fits = crash_fits_snapshots},
	{.name = "rebase", .setup = crash_fill_disk, .run = run_rebase, .fits = fits_rebase},
	{.name = "rebase to none",
	 .setup = crash_fill_disk,
	 .run = run_rebase_none,
	 .fits = fits_rebase},
	{.name = "empty", .setup = crash_fill_disk, .run = run_empty, .fits = fits_empty},
	{.name = "empty with snapshots",
	 .setup = two_snapshots,
	 .run = run_empty,
	 .fits = crash_fits_snapshots},
	{.name = "commit", .setup = crash_fill_disk, .run = run_commit, .fits = fits_commit},
	{.name = "check -r all", .setup = leak, .run = run_repair, .fits = fits_repair},
	{0},
};
