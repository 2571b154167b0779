/*
 * check: the footers against each other, the table against the file and against itself.
 * A footer that is damaged is written again from the other one; an entry that points nowhere
 * can be dropped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vpc/vpc.h"
#include "lib/array.h"
#include "lib/mem.h"

/* A block and where it is said to be. */
struct place {
	uint32_t entry, block;
};

struct checker {
	struct vpc *v;
	struct check *c;
	struct place *place;
	size_t n, room;
	unsigned told; /* of entries */
};

#define TELL_MOST 1000u /* entries; the others are counted */

/* ---- footers ------------------------------------------------------------------------- */

/* A footer that should be at `at`. */
static int check_footer(struct checker *k, const char *what, bool good, uint64_t at,
			struct err *err)
{
	bool fix = k->c->fix & CHECK_FIX_ERRORS;
	struct check_problem p = {.kind = "footer", .fixed = fix, .has_host = true, .host = at};

	if (good)
		return 0;
	check_find(k->c, &p, "%s: %s at %#" PRIx64 " is missing, damaged or another one",
		   fix ? "Repairing" : "ERROR", what, at);
	*(fix ? &k->c->errors_fixed : &k->c->errors) += 1;
	if (!fix)
		return 0;
	return blk_pwrite(k->v->b.image.blk.lower, k->v->footer, VPC_FOOTER_LEN, at, 0, err);
}

static int check_footers(struct checker *k, struct err *err)
{
	struct vpc *v = k->v;

	/* the one that is good is on the disk before the other is touched */
	if (check_footer(k, "the copy of the footer", v->front_good, 0, err) ||
	    check_footer(k, "the footer", v->footer_good, v->footer_at, err))
		return -1;
	if (k->c->fix & CHECK_FIX_ERRORS)
		v->front_good = v->footer_good = true;
	return 0;
}

static int check_header(struct checker *k, struct err *err)
{
	struct blk *file = k->v->b.image.blk.lower;
	bool fix = k->c->fix & CHECK_FIX_ERRORS;
	struct check_problem p = {
		.kind = "header", .fixed = fix, .has_host = true, .host = k->v->f.data_off};
	uint8_t buf[VPC_HEADER_LEN];

	if (blk_pread(file, buf, sizeof(buf), k->v->f.data_off, err))
		return -1;
	if (vpc_header_sum_fits(buf))
		return 0;
	check_find(k->c, &p, "%s: the checksum of the dynamic header does not fit",
		   fix ? "Repairing" : "ERROR");
	*(fix ? &k->c->errors_fixed : &k->c->errors) += 1;
	if (!fix)
		return 0;
	vpc_header_encode(&k->v->h, buf);
	return blk_pwrite(file, buf, sizeof(buf), k->v->f.data_off, 0, err);
}

/* ---- the table ----------------------------------------------------------------------- */

static uint64_t place_of(uint32_t entry)
{
	return (uint64_t)entry * VPC_SECTOR;
}

static struct check_problem problem(const struct checker *k, const char *kind,
				    const struct place *p)
{
	return (struct check_problem){
		.kind = kind,
		.has_guest = true,
		.guest = p->block * k->v->b.blocks.block,
		.has_host = true,
		.host = place_of(p->entry),
	};
}

/* The entry points to where no block can be. */
static int bad_entry(struct checker *k, const struct place *p, const char *why, struct err *err)
{
	bool fix = k->c->fix & CHECK_FIX_ENTRIES;
	struct check_problem found = problem(k, "entry", p);

	found.fixed = fix;
	if (k->told++ < TELL_MOST)
		check_find(k->c, &found, "%s: block %" PRIu32 " at %#" PRIx64 " %s",
			   fix ? "Dropped" : "ERROR", p->block, place_of(p->entry), why);
	if (!fix) {
		k->c->errors++;
		return 0;
	}
	k->c->errors_fixed++;
	return entries_set(&k->v->table, k->v->h.table_off + 4 * (uint64_t)p->block,
			   VPC_ENTRY_FREE, err);
}

static bool over(uint64_t a, uint64_t a_end, uint64_t b, uint64_t len)
{
	return a < b + len && b < a_end;
}

static int check_entry(struct checker *k, const struct place *p, struct err *err)
{
	const struct vpc *v = k->v;
	uint64_t at = place_of(p->entry), end = at + v->b.blocks.head + v->b.blocks.block;

	if (end > round_up(blk_size(v->b.image.blk.lower), VPC_SECTOR))
		return bad_entry(k, p, "is beyond the end of the file", err);
	if (over(at, end, 0, VPC_FOOTER_LEN) || over(at, end, v->f.data_off, VPC_HEADER_LEN) ||
	    over(at, end, v->h.table_off, 4 * (uint64_t)v->h.entries))
		return bad_entry(k, p, "is where the image's tables are", err);
	if (array_room(&k->place, &k->room, k->n, sizeof(*p), "a map of places", err))
		return -1;
	k->place[k->n++] = *p;
	return 0;
}

static int by_entry(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->entry != y->entry)
		return x->entry < y->entry ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

static void check_overlaps(struct checker *k)
{
	uint64_t len = k->v->b.blocks.head + k->v->b.blocks.block;

	if (k->n > 1)
		qsort(k->place, k->n, sizeof(*k->place), by_entry);
	for (size_t i = 1; i < k->n; i++) {
		struct check_problem found = problem(k, "overlap", &k->place[i]);

		if (place_of(k->place[i].entry) - place_of(k->place[i - 1].entry) >= len)
			continue;
		if (k->told++ < TELL_MOST)
			check_find(k->c, &found,
				   "ERROR: block %" PRIu32 " at %#" PRIx64
				   " overlaps block %" PRIu32,
				   k->place[i].block, found.host, k->place[i - 1].block);
		k->c->errors++;
	}
}

static int check_table(struct checker *k, struct err *err)
{
	struct blocks *b = &k->v->b.blocks;

	for (uint64_t i = 0; i < k->v->h.entries; i++) {
		struct place p = {.block = (uint32_t)i};

		if (vpc_table_get(k->v, i, &p.entry, err))
			return -1;
		if (p.entry != VPC_ENTRY_FREE && check_entry(k, &p, err))
			return -1;
	}
	check_overlaps(k);
	if (k->told > TELL_MOST)
		check_find(k->c, &(struct check_problem){0}, "... and %u more",
			   k->told - TELL_MOST);
	k->c->total_clusters = div_up(b->size, b->block);
	k->c->allocated_clusters = k->n;
	return entries_flush(&k->v->table, err);
}

/* ---- all of it ----------------------------------------------------------------------- */

static int check_fixed(struct vpc *v, struct check *c)
{
	const struct check_problem p = {.kind = "size"};

	if (v->f.current_size <= v->footer_at)
		return 0;
	check_find(c, &p,
		   "ERROR: the footer tells of a disk of %" PRIu64
		   " bytes, but the file has room for %" PRIu64,
		   v->f.current_size, v->footer_at);
	c->errors++;
	return 0;
}

int vpc_check(struct image *image, struct check *c, struct err *err)
{
	struct vpc *v = (struct vpc *)image;
	struct checker k = {.v = v, .c = c};
	int rc;

	if (v->f.type == VPC_TYPE_FIXED)
		return check_fixed(v, c);
	rc = check_footers(&k, err) || check_header(&k, err) || check_table(&k, err);
	free(k.place);
	if (rc)
		return -1;
	return c->fix ? blk_flush(v->b.image.blk.lower, err) : 0;
}
