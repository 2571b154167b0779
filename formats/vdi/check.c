/*
 * check: the block map against the file and against itself. What the peer finds is told in
 * its words; a place that nothing refers to is a leak here (there an error).
 *
 * Repair of leaks moves the last block into the hole, since there is no list of free places:
 * its data is stable before its entry, and that before the place is given up.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/vdi/vdi.h"
#include "lib/mem.h"

struct checker {
	struct vdi *v;
	struct check *c;
	uint8_t *used;	/* a bit for each place */
	uint32_t next;	/* behind the last place in use */
	uint64_t count; /* entries with a place */
};

static int drop_entry(struct checker *k, uint32_t i, struct err *err)
{
	if (!(k->c->fix & CHECK_FIX_ENTRIES)) {
		k->c->errors++;
		return 0;
	}
	k->c->errors_fixed++;
	return vdi_set_entry(k->v, i, VDI_ENTRY_FREE, err);
}

/* The entry points nowhere. */
static int bad_entry(struct checker *k, uint32_t i, const char *why, uint64_t value,
		     struct err *err)
{
	bool fix = k->c->fix & CHECK_FIX_ENTRIES;
	struct check_problem p = {.kind = "entry",
				  .fixed = fix,
				  .has_guest = true,
				  .guest = (uint64_t)i * k->v->h.block_size};

	check_find(k->c, &p, "%s: block index %" PRIu32 " %s%" PRIu64,
		   fix ? "Dropped" : "ERROR", i, why, value);
	return drop_entry(k, i, err);
}

static int check_entry(struct checker *k, uint32_t i, uint32_t entry, struct err *err)
{
	const struct vdi_header *h = &k->v->h;
	struct check_problem twice = {
		.kind = "overlap", .has_guest = true, .guest = (uint64_t)i * h->block_size};
	uint64_t end;

	if (entry >= h->blocks)
		return bad_entry(k, i, "too large, is ", entry, err);
	end = vdi_place(h, entry) + MIN(h->block_size, k->v->b.blocks.size - twice.guest);
	if (end > blk_size(k->v->b.image.blk.lower))
		return bad_entry(k, i, "points past the end of the file, to ",
				 vdi_place(h, entry), err);
	k->count++;
	k->next = MAX(k->next, entry + 1);
	if (!vdi_use(k->used, entry))
		return 0;
	check_find(k->c, &twice, "ERROR: block index %" PRIu32 " also used by %" PRIu32, entry,
		   entry);
	k->c->errors++;
	return 0;
}

static int check_map(struct checker *k, struct err *err)
{
	uint32_t entry;

	for (uint32_t i = 0; i < k->v->h.blocks; i++) {
		if (vdi_get_entry(k->v, i, &entry, err))
			return -1;
		if (entry != VDI_ENTRY_FREE && entry != VDI_ENTRY_ZERO &&
		    check_entry(k, i, entry, err))
			return -1;
	}
	return entries_flush(&k->v->map, err);
}

/* ---- leaks --------------------------------------------------------------------------- */

static int copy_place(struct vdi *v, uint32_t from, uint32_t to, uint8_t *buf, struct err *err)
{
	struct blk *file = v->b.image.blk.lower;
	uint32_t n = v->h.block_size;

	if (blk_pread(file, buf, n, vdi_place(&v->h, from), err) ||
	    blk_pwrite(file, buf, n, vdi_place(&v->h, to), 0, err))
		return -1;
	entries_data_written(&v->map);
	return 0;
}

/* Fills the lowest holes with the last blocks. owner: by place. */
static int close_holes(struct checker *k, uint32_t *owner, uint8_t *buf, struct err *err)
{
	for (uint32_t hole = 0; hole < k->next; hole++) {
		uint32_t last = k->next - 1;

		if (k->used[hole / 8] & (1u << hole % 8))
			continue;
		if (copy_place(k->v, last, hole, buf, err) ||
		    vdi_set_entry(k->v, owner[last], hole, err))
			return -1;
		vdi_use(k->used, hole);
		owner[hole] = owner[last];
		k->used[last / 8] &= (uint8_t) ~(1u << last % 8);
		while (k->next > 0 && !(k->used[(k->next - 1) / 8] & (1u << (k->next - 1) % 8)))
			k->next--;
	}
	if (entries_flush(&k->v->map, err))
		return -1;
	return blk_flush(k->v->b.image.blk.lower, err);
}

static int find_owners(struct checker *k, uint32_t *owner, struct err *err)
{
	uint32_t entry;

	for (uint32_t i = 0; i < k->v->h.blocks; i++) {
		if (vdi_get_entry(k->v, i, &entry, err))
			return -1;
		if (entry < k->v->h.blocks)
			owner[entry] = i;
	}
	return 0;
}

static int fix_leaks(struct checker *k, struct err *err)
{
	AUTO_FREE uint32_t *owner = calloc(k->v->h.blocks, sizeof(*owner));
	AUTO_FREE uint8_t *buf = mem_alloc(k->v->h.block_size);

	if (!owner || !buf)
		return err_nomem(err, (uint64_t)k->v->h.blocks * 4, "the owners of blocks");
	if (find_owners(k, owner, err) || close_holes(k, owner, buf, err))
		return -1;
	k->v->h.allocated = k->next;
	return vdi_write_allocated(k->v, err);
}

/* blocks_allocated against the entries that have a place: one more is a leak, unless there is
 * more amiss. */
static int check_count(struct checker *k, struct err *err)
{
	uint32_t says = k->v->h.allocated;
	bool leak = says > k->count && k->c->errors == 0;
	unsigned need = leak ? CHECK_FIX_LEAKS : CHECK_FIX_ERRORS;
	/* what is used twice cannot be moved */
	bool fix = (k->c->fix & need) && k->c->errors == 0;
	struct check_problem p = {.kind = leak ? "leak" : "allocated", .fixed = fix};

	if (says == k->count)
		return 0;
	check_find(k->c, &p,
		   "%s: allocated blocks mismatch, is %" PRIu64 ", should be %" PRIu32,
		   fix ? "Repairing" : "ERROR", k->count, says);
	if (leak)
		*(fix ? &k->c->leaks_fixed : &k->c->leaks) += says - k->count;
	else
		*(fix ? &k->c->errors_fixed : &k->c->errors) += 1;
	return fix ? fix_leaks(k, err) : 0;
}

int vdi_check(struct image *image, struct check *c, struct err *err)
{
	struct vdi *v = (struct vdi *)image;
	AUTO_FREE uint8_t *used = calloc(1, v->h.blocks / 8 + 1);
	struct checker k = {.v = v, .c = c, .used = used};

	if (!used)
		return err_nomem(err, v->h.blocks / 8 + 1, "a map of places");
	return check_map(&k, err) || check_count(&k, err) ? -1 : 0;
}
