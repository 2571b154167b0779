/* What a pattern does, and what the disk should be after it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mem.h"
#include "lib/pack.h"
#include "tests/lib/crash.h"
#include "tests/lib/stamp.h"

#define SECTOR 512u

void crash_begin(struct crash *c)
{
	crash_event_begin(c, EVENT_CHANGE);
}

int crash_end(struct crash *c, int rc)
{
	return crash_event_end(c, rc);
}

static void set(struct crash *c, unsigned sector, unsigned n, uint32_t stamp)
{
	for (unsigned i = sector; i < sector + n; i++)
		c->now->value[i] = stamp;
}

int crash_write(struct crash *c, unsigned sector, unsigned n)
{
	AUTO_FREE uint8_t *buf = malloc(n * SECTOR);

	assert_non_null(buf);
	assert_true(sector + n <= c->now->sectors);
	stamp_fill(buf, ++c->stamp, n);
	crash_begin(c);
	set(c, sector, n, c->stamp);
	return crash_end(c, blk_pwrite(&c->chain->blk, buf, n * SECTOR, sector * UINT64_C(512),
				       0, &c->err));
}

/* A discard leaves what it likes: what, is known by reading. */
static int look(struct crash *c, unsigned sector, unsigned n)
{
	AUTO_FREE uint8_t *buf = malloc(n * SECTOR);

	assert_non_null(buf);
	if (blk_pread(&c->chain->blk, buf, n * SECTOR, sector * UINT64_C(512), &c->err))
		return -1;
	for (unsigned i = 0; i < n; i++) {
		uint32_t stamp = stamp_of(buf + i * SECTOR);

		assert_true(stamp == 0 ||
			    stamp == c->event[c->nevent].before->value[sector + i]);
		c->now->value[sector + i] = stamp;
	}
	return 0;
}

int crash_zero(struct crash *c, unsigned sector, unsigned n, unsigned flags)
{
	int rc;

	crash_begin(c);
	set(c, sector, n, 0);
	rc = blk_zero(&c->chain->blk, sector * UINT64_C(512), n * UINT64_C(512), flags,
		      &c->err);
	if (rc == 0 && (flags & BLK_ADVISE))
		rc = look(c, sector, n);
	return crash_end(c, rc);
}

/* Compresses the grains at [sector, +n) into out; their lengths. */
static int pack_all(struct crash *c, unsigned sector, unsigned n, uint8_t *out,
		    uint32_t *packed)
{
	struct blk *top = c->chain->layer[0];
	unsigned per = top->grain / SECTOR;
	AUTO_FREE uint8_t *in = malloc(top->grain);
	size_t at = 0, k = 0;

	assert_non_null(in);
	for (unsigned i = sector; i < sector + n; i += per, k++) {
		size_t len = top->grain;
		unsigned have = MIN(per, c->now->sectors - i);

		stamp_fill(in, c->stamp, per);
		if (top->ops->pack(top, in, have * SECTOR, out + at, &len, &c->err))
			return -1;
		assert_int_not_equal(len, 0);
		packed[k] = (uint32_t)len;
		at += len;
	}
	return 0;
}

int crash_pack(struct crash *c, unsigned sector, unsigned n)
{
	struct blk *top = c->chain->layer[0];
	uint32_t packed[CRASH_SECTORS];
	AUTO_FREE uint8_t *out = malloc((n + 2) * top->grain);
	struct claim claim = {.packed = packed};
	size_t at = 0;
	int rc;

	assert_non_null(out);
	if (!top->ops->pack)
		return crash_write(c, sector, n);
	c->stamp++;
	crash_begin(c);
	claim.off = sector * UINT64_C(512);
	claim.len = n * UINT64_C(512);
	set(c, sector, n, c->stamp);
	if (pack_all(c, sector, n, out, packed))
		return crash_end(c, -1);
	if (blk_touch(top, claim.off, claim.len, &c->err) || blk_claim(top, &claim, &c->err))
		return crash_end(c, -1);
	rc = 0;
	for (size_t i = 0; rc == 0 && i < claim.nrun; i++) {
		rc = blk_pwrite(claim.home, out + at, claim.run[i].len, claim.run[i].host, 0,
				&c->err);
		at += claim.run[i].len;
	}
	if (rc)
		blk_drop(top, &claim);
	else
		rc = blk_settle(top, &claim, &c->err);
	return crash_end(c, rc);
}

int crash_flush(struct crash *c)
{
	crash_event_begin(c, EVENT_FLUSH);
	return crash_event_end(c, blk_flush(&c->chain->blk, &c->err));
}

int crash_resize(struct crash *c, unsigned sectors, enum blk_prealloc p)
{
	assert_true(sectors <= CRASH_SECTORS);
	crash_begin(c);
	for (unsigned i = MIN(sectors, c->now->sectors); i < CRASH_SECTORS; i++)
		c->now->value[i] = 0;
	c->now->sectors = sectors;
	return crash_end(c, chain_resize(c->chain, sectors * UINT64_C(512), p, &c->err));
}

/* ---- at random ------------------------------------------------------------------------ */

static unsigned per_grain(const struct crash *c)
{
	return c->chain->layer[0]->grain / 512;
}

/* A range inside the disk. */
void crash_pick(struct crash *c, unsigned *sector, unsigned *n, unsigned max)
{
	*sector = crash_rnd(c, c->now->sectors);
	*n = 1 + crash_rnd(c, MIN(max, c->now->sectors - *sector));
}

/* The same in whole grains. */
void crash_pick_grains(struct crash *c, unsigned *sector, unsigned *n, unsigned max)
{
	unsigned per = per_grain(c), all = c->now->sectors / per, first = crash_rnd(c, all);

	*sector = first * per;
	*n = (1 + crash_rnd(c, MIN(max, all - first))) * per;
}

int crash_write_some(struct crash *c, unsigned times, unsigned max)
{
	unsigned sector, n;

	for (unsigned i = 0; i < times; i++) {
		crash_pick(c, &sector, &n, max);
		TRY(crash_write(c, sector, n));
		if (i % 4 == 3)
			TRY(crash_flush(c));
	}
	return 0;
}

/* All that is there is used: data, zeros, compressed grains, nothing. */
int crash_fill_disk(struct crash *c)
{
	unsigned per = per_grain(c), all = c->now->sectors / per;
	bool packs = pack_has(c->chain->blk.codec) && !crash_has_data(c->kind);

	for (unsigned i = 0; i + 4 < all; i += 5) {
		TRY(crash_write(c, i * per, 2 * per));
		TRY(crash_zero(c, (i + 2) * per, per, 0));
		if (packs)
			TRY(crash_pack(c, (i + 3) * per, per));
		i += all / 12;
	}
	return crash_flush(c);
}

/* ---- snapshots -------------------------------------------------------------------- */

static const struct snapshot_ops *snapshots(const struct crash *c)
{
	return c->kind->format->snapshot;
}

int crash_snapshot(struct crash *c)
{
	struct crash_event *e = crash_event_begin(c, EVENT_SNAPSHOT);
	struct snapshot_info info = {.name = e->name, .date_sec = 1000, .icount = -1};

	snprintf(e->name, sizeof(e->name), "s%u", ++c->nsnapshot);
	return crash_event_end(c, snapshots(c)->create(crash_image(c), &info, &c->err));
}

/* Where the list of snapshots has it. */
static int find(struct crash *c, const char *name, size_t *i)
{
	struct info info = {0};
	int rc = -1;

	if (c->kind->format->info(crash_image(c), &info, &c->err))
		return -1;
	for (size_t k = 0; k < info.nsnapshot; k++) {
		if (strcmp(info.snapshot[k].name, name) != 0)
			continue;
		*i = k;
		rc = 0;
	}
	info_free(&info);
	assert_int_equal(rc, 0);
	return rc;
}

static const struct crash_view *snapshot_view(const struct crash *c, const char *name)
{
	for (size_t i = 0; i < c->nevent; i++)
		if (c->event[i].kind == EVENT_SNAPSHOT && strcmp(c->event[i].name, name) == 0)
			return c->event[i].view;
	return NULL;
}

int crash_snapshot_apply(struct crash *c, unsigned number)
{
	char name[16];
	size_t i;
	int rc;

	snprintf(name, sizeof(name), "s%u", number);
	crash_begin(c);
	*c->now = *snapshot_view(c, name);
	rc = find(c, name, &i);
	if (rc == 0)
		rc = snapshots(c)->apply(crash_image(c), i, &c->err);
	rc = crash_end(c, rc);
	return rc ? rc : crash_reopen(c); /* the disk may have another size */
}

int crash_snapshot_remove(struct crash *c, unsigned number)
{
	struct crash_event *e = crash_event_begin(c, EVENT_FORGET);
	size_t i;
	int rc;

	snprintf(e->name, sizeof(e->name), "s%u", number);
	rc = find(c, e->name, &i);
	if (rc == 0)
		rc = snapshots(c)->remove(crash_image(c), i, &c->err);
	return crash_event_end(c, rc);
}
