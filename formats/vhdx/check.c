/*
 * check: the block allocation table against the file and against itself, and both copies of
 * what there are two of. The log was replayed when the image was opened, into the file if it
 * may be written.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/vhdx/vhdx.h"
#include "lib/mem.h"

#define UNITS_MAX (UINT64_C(1) << 28) /* of 1 MiB, of which it is known who has them */

struct checker {
	struct vhdx *v;
	struct check *c;
	uint8_t *used; /* a bit for each MiB of the file */
	uint64_t units;
	bool dropped;
};

/* entry: where it is in the table, if it may be dropped; else NONE. */
#define NONE UINT64_MAX
static int report(struct checker *k, uint64_t i, uint64_t entry, const char *what,
		  const char *why, uint64_t place, struct err *err)
{
	bool fix = entry != NONE && (k->c->fix & CHECK_FIX_ENTRIES);
	struct check_problem p = {.kind = "entry",
				  .has_guest = true,
				  .guest = i * k->v->m.block,
				  .has_host = true,
				  .host = place,
				  .fixed = fix};

	check_find(k->c, &p, "%s: %s %" PRIu64 " at %#" PRIx64 " %s", fix ? "Dropped" : "ERROR",
		   what, i, place, why);
	if (!fix) {
		k->c->errors++;
		return 0;
	}
	k->c->errors_fixed++;
	k->dropped = true;
	return vhdx_set_entry(k->v, entry, VHDX_ZERO, err);
}

/* The bits of a place; false: one was set. */
static bool take_units(struct checker *k, uint64_t off, uint64_t len)
{
	bool free_ = true;

	for (uint64_t u = off / VHDX_MIB; u < (off + len) / VHDX_MIB && u < k->units; u++) {
		uint8_t bit = (uint8_t)(1u << u % 8);

		if (k->used[u / 8] & bit)
			free_ = false;
		k->used[u / 8] |= bit;
	}
	return free_;
}

static int check_block(struct checker *k, uint64_t i, struct err *err)
{
	struct vhdx *v = k->v;
	uint64_t at = vhdx_entry_of(v, i), entry, bits, place;
	const char *wrong;

	if (vhdx_get_entry(v, at, &entry, err))
		return -1;
	if (VHDX_STATE(entry) <= VHDX_UNMAPPED)
		return 0;
	place = VHDX_PLACE(entry);
	if (VHDX_STATE(entry) != VHDX_PRESENT && VHDX_STATE(entry) != VHDX_PARTIAL)
		return report(k, i, at, "block", "has an unknown state", place, err);
	if (VHDX_STATE(entry) == VHDX_PARTIAL && !v->m.has_parent)
		return report(k, i, NONE, "block", "has sectors of a parent, but there is none",
			      place, err);
	wrong = vhdx_place_wrong(v, place, vhdx_block_len(v, i));
	if (wrong)
		return report(k, i, at, "block", wrong, place, err);
	if (!take_units(k, place, v->m.block))
		return report(k, i, NONE, "block", "overlaps another one", place, err);
	if (VHDX_STATE(entry) == VHDX_PRESENT)
		return 0;
	if (vhdx_get_entry(v, vhdx_bitmap_entry_of(v, i), &bits, err))
		return -1;
	if (VHDX_STATE(bits) == VHDX_PRESENT)
		return 0;
	return report(k, i, NONE, "block", "has no bitmap of its sectors", place, err);
}

static int check_bitmaps(struct checker *k, struct err *err)
{
	const char *what = "sector bitmap of block", *wrong;
	struct vhdx *v = k->v;
	uint64_t entry, place;

	for (uint64_t i = 0; v->m.has_parent && i < v->blocks; i += v->ratio) {
		if (vhdx_get_entry(v, vhdx_bitmap_entry_of(v, i), &entry, err))
			return -1;
		if (VHDX_STATE(entry) != VHDX_PRESENT)
			continue;
		place = VHDX_PLACE(entry);
		wrong = vhdx_place_wrong(v, place, VHDX_BITMAP);
		if (!wrong && !take_units(k, place, VHDX_BITMAP))
			wrong = "overlaps another place";
		if (wrong)
			report(k, i, NONE, what, wrong, place, err);
	}
	return 0;
}

/* ---- copies -------------------------------------------------------------------------- */

/* A copy is no error by itself: the other one is there. */
static int check_copies(struct checker *k, const char *what, const bool ok[2],
			int (*repair)(struct vhdx *v, struct err *err), struct err *err)
{
	bool fix = k->c->fix & CHECK_FIX_ERRORS;
	struct check_problem p = {.kind = "copy", .fixed = fix};

	if (ok[0] && ok[1])
		return 0;
	check_find(k->c, &p, "%s copy %d of the %s%s", fix ? "Rewriting" : "Damaged is",
		   ok[0] ? 2 : 1, what, fix ? "" : "; the other one is used");
	if (!fix)
		return 0;
	k->c->errors_fixed++;
	return repair(k->v, err);
}

static void tell_log(struct checker *k)
{
	struct check_problem p = {.kind = "log", .fixed = k->v->replayed};

	if (k->v->overlay)
		check_find(k->c, &p,
			   "The log holds changes that are not in the file yet; check -r all "
			   "brings them there");
	if (!k->v->replayed)
		return;
	check_find(k->c, &p, "The log was replayed");
	k->c->errors_fixed++;
	k->v->replayed = false;
}

int vhdx_check(struct image *image, struct check *c, struct err *err)
{
	struct vhdx *v = (struct vhdx *)image;
	struct checker k = {.v = v, .c = c};
	AUTO_FREE uint8_t *used = NULL;

	k.units = MIN(div_up(blk_size(v->file), VHDX_MIB), UNITS_MAX);
	k.used = used = calloc(1, k.units / 8 + 1);
	if (!used)
		return err_nomem(err, k.units / 8 + 1, "a map of the file");
	tell_log(&k);
	if (check_copies(&k, "header", v->header_ok, vhdx_header_write, err) ||
	    check_copies(&k, "table of regions", v->regions_ok, vhdx_regions_repair, err))
		return -1;
	for (uint64_t i = 0; i < v->blocks; i++)
		if (check_block(&k, i, err))
			return -1;
	if (check_bitmaps(&k, err))
		return -1;
	return k.dropped ? blocks_flush(&v->b.blocks, err) : 0;
}
