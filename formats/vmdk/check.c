/*
 * check: each entry of the grain tables against the file, the two copies of the tables against
 * each other, and all places against each other. What the peer finds is told in its words.
 *
 * Repair: an entry that points nowhere is taken from the other copy of its table, where that
 * is good; two copies that differ become the same. CHECK_FIX_ENTRIES: what is bad in both is
 * dropped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/vmdk/vmdk.h"
#include "lib/array.h"
#include "lib/mem.h"

#define TABLE UINT32_MAX

/* Small, since there may be one for each grain of 2 TiB. */
struct place {
	uint64_t at;
	uint32_t sectors, grain; /* grain TABLE: metadata */
};

struct checker {
	struct vmdk_extent *x;
	struct check *c;
	struct place *place;
	size_t n, room;
	bool changed;
};

static int add_place(struct checker *k, uint64_t at, uint64_t len, uint64_t grain,
		     struct err *err)
{
	if (len == 0)
		return 0;
	if (array_room(&k->place, &k->room, k->n, sizeof(*k->place), "places", err))
		return -1;
	k->place[k->n++] = (struct place){at, (uint32_t)div_up(len, VMDK_SECTOR),
					  (uint32_t)MIN(grain, TABLE)};
	return 0;
}

static struct check_problem problem(const struct checker *k, const char *kind, uint64_t sector)
{
	return (struct check_problem){
		.kind = kind,
		.has_guest = true,
		.guest = k->x->start + sector * VMDK_SECTOR,
	};
}

static uint64_t disk_sector(const struct checker *k, uint64_t sector)
{
	return k->x->start / VMDK_SECTOR + sector;
}

static int by_place(const void *a, const void *b)
{
	const struct place *p = a, *q = b;

	return p->at < q->at ? -1 : p->at > q->at;
}

/* What reaches into what comes next. */
static void check_overlaps(struct checker *k)
{
	uint64_t end = 0, step = k->x->blocks.block / VMDK_SECTOR;
	uint32_t owner = TABLE;

	qsort(k->place, k->n, sizeof(*k->place), by_place);
	for (size_t i = 0; i < k->n; i++) {
		const struct place *p = &k->place[i];
		uint32_t who = p->grain == TABLE ? owner : p->grain;
		struct check_problem bad = problem(k, "overlap", who == TABLE ? 0 : who * step);

		if (p->at < end && owner == TABLE && p->grain == TABLE) {
			check_find(k->c, &bad,
				   "ERROR: tables and headers overlap at offset %#" PRIx64,
				   p->at);
			k->c->errors++;
		} else if (p->at < end && (owner == TABLE || p->grain == TABLE)) {
			check_find(k->c, &bad,
				   "ERROR: cluster for sector %" PRIu64
				   " overlaps a table or header at offset %#" PRIx64,
				   disk_sector(k, who * step), p->at);
			k->c->errors++;
		} else if (p->at < end) {
			check_find(k->c, &bad,
				   "ERROR: clusters for sectors %" PRIu64 " and %" PRIu64
				   " overlap at offset %#" PRIx64,
				   disk_sector(k, owner * step), disk_sector(k, who * step),
				   p->at);
			k->c->errors++;
		}
		if (p->at + (uint64_t)p->sectors * VMDK_SECTOR > end) {
			end = p->at + (uint64_t)p->sectors * VMDK_SECTOR;
			owner = p->grain;
		}
	}
}

/* ---- entries -------------------------------------------------------------------------- */

static bool is_place(const struct checker *k, uint64_t entry)
{
	return entry > (k->x->zeroed ? 1 : 0);
}

static bool is_good(const struct checker *k, uint64_t entry)
{
	return !is_place(k, entry) || (entry > 1 && entry * VMDK_SECTOR >= k->x->first &&
				       entry * VMDK_SECTOR < blk_size(k->x->file));
}

static int write_entry(struct checker *k, uint64_t i, uint64_t entry, struct err *err)
{
	struct vmdk_extent *x = k->x;

	k->changed = true;
	if (vmdk_sparse_set(x, x->gd, i, entry, err))
		return -1;
	return x->rgd ? vmdk_sparse_set(x, x->rgd, i, entry, err) : 0;
}

/* The entry points nowhere. */
static bool bad_entry(struct checker *k, uint64_t sector, uint64_t is, unsigned need)
{
	struct check_problem p = problem(k, "entry", sector);

	p.fixed = k->c->fix & need;
	check_find(k->c, &p, "%s: cluster offset for sector %" PRIu64 " points %s",
		   p.fixed ? "Repairing" : "ERROR", disk_sector(k, sector),
		   is * VMDK_SECTOR < blk_size(k->x->file) ? "into the header" : "after EOF");
	*(p.fixed ? &k->c->errors_fixed : &k->c->errors) += 1;
	return p.fixed;
}

/*
 * The copies differ. The first one counts. Where a grain is in one only, a crash came between
 * the two: at worst it is lost room.
 */
static bool differing(struct checker *k, uint64_t sector, uint64_t is, uint64_t other)
{
	bool leak = !is_place(k, is) || !is_place(k, other);
	unsigned need = leak ? CHECK_FIX_LEAKS | CHECK_FIX_ERRORS : CHECK_FIX_ERRORS;
	struct check_problem p = problem(k, leak ? "leak" : "entry", sector);

	p.fixed = k->c->fix & need;
	check_find(k->c, &p,
		   "%s: cluster offset for sector %" PRIu64 " is %#" PRIx64 ", but %#" PRIx64
		   " in the redundant table",
		   p.fixed ? "Repairing"
		   : leak  ? "Leaked"
			   : "ERROR",
		   disk_sector(k, sector), is * VMDK_SECTOR, other * VMDK_SECTOR);
	if (leak)
		*(p.fixed ? &k->c->leaks_fixed : &k->c->leaks) += 1;
	else
		*(p.fixed ? &k->c->errors_fixed : &k->c->errors) += 1;
	return p.fixed;
}

/* Two copies, where there are: what is right? What is bad and stays becomes 0. */
static int check_pair(struct checker *k, uint64_t i, uint64_t *entry, uint64_t other,
		      struct err *err)
{
	uint64_t sector = i * (k->x->blocks.block / VMDK_SECTOR), is = *entry;
	bool fix;

	if (is == other && is_good(k, is))
		return 0;
	if (is_good(k, is)) {
		fix = differing(k, sector, is, other);
	} else if (is_good(k, other)) {
		*entry = other;
		fix = bad_entry(k, sector, is, CHECK_FIX_ERRORS);
	} else {
		*entry = 0;
		fix = bad_entry(k, sector, is, CHECK_FIX_ENTRIES);
	}
	return fix ? write_entry(k, i, *entry, err) : 0;
}

/* A compressed grain has a marker that says what it is. */
static int check_place(struct checker *k, uint64_t i, uint64_t entry, struct err *err)
{
	struct vmdk_extent *x = k->x;
	uint64_t at = entry * VMDK_SECTOR, len = x->blocks.block;
	uint64_t sector = i * (x->blocks.block / VMDK_SECTOR);
	struct check_problem p = problem(k, "grain", sector);
	struct block b;
	struct err why;

	if (!is_place(k, entry))
		return 0;
	if (x->packed) {
		if (vmdk_packed_place(x, i, at, &b, &why)) {
			if (why.num != EIO)
				return -1;
			check_find(k->c, &p, "ERROR: %s", why.text);
			k->c->errors++;
			return 0;
		}
		len = b.host + b.packed - at;
	} else {
		/* the last one of a file may be short */
		len = MIN(len, blk_size(x->file) - at);
	}
	return add_place(k, at, len, i, err);
}

/* Table i of a directory: *at is 0 where nothing can be read there. */
static int check_table(struct checker *k, uint64_t dir, uint64_t i, uint64_t *at,
		       struct err *err)
{
	struct vmdk_extent *x = k->x;
	uint64_t per = x->gtes * (x->blocks.block / VMDK_SECTOR);
	struct check_problem p = problem(k, "table", i * per);
	struct err why;

	if (vmdk_sparse_table(x, dir, i, at, &why)) {
		*at = 0;
	} else if (*at <= 1) {
		*at = 0;
		return 0;
	} else if (*at + 4 * (uint64_t)x->gtes <= blk_size(x->file)) {
		return add_place(k, *at, 4 * (uint64_t)x->gtes, TABLE, err);
	} else {
		err_set(&why, EIO,
			"Grain table %" PRIu64 " at %#" PRIx64 " is cut off by the end of the "
			"file",
			i, *at);
		*at = 0;
	}
	check_find(k->c, &p, "ERROR: %s", why.text);
	k->c->errors++;
	return 0;
}

static int check_entries(struct checker *k, uint64_t table, bool first, bool second,
			 struct err *err)
{
	struct vmdk_extent *x = k->x;
	uint64_t n = div_up(x->size, x->blocks.block), i = table * x->gtes;
	uint64_t end = MIN(n, i + x->gtes), entry, other;

	for (; i < end; i++) {
		if (vmdk_sparse_get(x, first ? x->gd : x->rgd, i, &entry, err))
			return -1;
		other = entry;
		if (first && second && vmdk_sparse_get(x, x->rgd, i, &other, err))
			return -1;
		if (check_pair(k, i, &entry, other, err) || check_place(k, i, entry, err))
			return -1;
	}
	return 0;
}

static int check_sparse(struct checker *k, struct err *err)
{
	struct vmdk_extent *x = k->x;
	uint64_t at, other, step = x->blocks.block / VMDK_SECTOR;

	if (add_place(k, 0, VMDK_SECTOR, TABLE, err) ||
	    add_place(k, x->h.desc_at * VMDK_SECTOR, x->h.desc_sectors * VMDK_SECTOR, TABLE,
		      err) ||
	    add_place(k, x->gd, 4 * x->gds, TABLE, err) ||
	    (x->rgd && add_place(k, x->rgd, 4 * x->gds, TABLE, err)))
		return -1;
	for (uint64_t i = 0; i < x->gds; i++) {
		uint64_t before = k->c->errors;

		other = 0;
		if (check_table(k, x->gd, i, &at, err) ||
		    (x->rgd && check_table(k, x->rgd, i, &other, err)))
			return -1;
		if (x->rgd && !at != !other && k->c->errors == before) {
			struct check_problem p = problem(k, "table", i * x->gtes * step);

			check_find(k->c, &p,
				   "ERROR: grain table %" PRIu64 " is in the %s directory only",
				   i, at ? "first" : "redundant");
			k->c->errors++;
		}
		if ((at || other) && check_entries(k, i, at, other, err))
			return -1;
	}
	check_overlaps(k);
	if (!k->changed)
		return 0;
	return entries_flush(&x->tables, err) ? -1 : blk_flush(x->file, err);
}

/* Kinds that are only read: what get() says. */
static int check_other(struct checker *k, struct err *err)
{
	struct vmdk_extent *x = k->x;
	uint64_t n = div_up(x->size, x->blocks.block);
	uint64_t step = x->blocks.block / VMDK_SECTOR;
	struct err why;
	struct block b;

	for (uint64_t i = 0; i < n; i++) {
		struct check_problem p = problem(k, "entry", i * step);

		if (x->blocks.driver->get(&x->blocks, i, &b, &why)) {
			if (why.num != EIO) {
				*err = why;
				return -1;
			}
			check_find(k->c, &p, "ERROR: %s", why.text);
			k->c->errors++;
		} else if (b.kind == BLOCK_DATA &&
			   add_place(k, b.host, x->blocks.block, i, err)) {
			return -1;
		}
	}
	check_overlaps(k);
	return 0;
}

static int check_flat(struct checker *k)
{
	const struct vmdk_extent *x = k->x;
	uint64_t size = round_up(blk_size(x->file), VMDK_SECTOR);
	struct check_problem p = problem(k, "extent", 0);

	if (x->host <= size && x->size <= size - x->host)
		return 0;
	check_find(k->c, &p,
		   "ERROR: extent file %s has %" PRIu64 " bytes, but the image has %" PRIu64
		   " of it",
		   x->file->name, blk_size(x->file), x->host + x->size);
	k->c->errors++;
	return 0;
}

int vmdk_check(struct image *image, struct check *c, struct err *err)
{
	struct vmdk *v = (struct vmdk *)image;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < v->n; i++) {
		struct checker k = {.x = &v->extent[i], .c = c};

		switch (k.x->kind) {
		case VMDK_FLAT:
			rc = check_flat(&k);
			break;
		case VMDK_SPARSE:
			rc = check_sparse(&k, err);
			break;
		case VMDK_COWD:
		case VMDK_SESPARSE:
			rc = check_other(&k, err);
			break;
		default:
			break;
		}
		free(k.place);
	}
	return rc;
}
