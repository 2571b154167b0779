/*
 * Images that are a difference: of a block that is partially present, a bit for each sector
 * says whether it is here or in the parent (2.4.2). A block of such bits is there for each
 * chunk of blocks.
 */
#include <errno.h>
#include <inttypes.h>

#include "formats/vhdx/vhdx.h"
#include "lib/mem.h"

#define PIECE VHDX_PAGE /* of a bitmap that is looked at for one extent */

/* Where the bits of block i are. */
static int find_bits(struct vhdx *v, uint64_t i, uint64_t *at, struct err *err)
{
	uint64_t entry, bytes = v->m.block / v->m.logical / 8;
	const char *wrong;

	if (vhdx_get_entry(v, vhdx_bitmap_entry_of(v, i), &entry, err))
		return -1;
	if (VHDX_STATE(entry) != VHDX_PRESENT)
		return err_set(err, EIO,
			       "Block %" PRIu64
			       " of the disk is partially present, but there is no bitmap of "
			       "its sectors",
			       i);
	wrong = vhdx_place_wrong(v, VHDX_PLACE(entry), VHDX_BITMAP);
	if (wrong)
		return err_set(err, EIO,
			       "The bitmap of sectors of block %" PRIu64 " at %#" PRIx64 " %s",
			       i, VHDX_PLACE(entry), wrong);
	*at = VHDX_PLACE(entry) + i % v->ratio * bytes;
	return 0;
}

/* How many of the bits from..to of p are like the first. */
static uint64_t count_alike(const uint8_t *p, uint64_t from, uint64_t to, bool *set)
{
	uint64_t i = from;

	*set = p[from / 8] >> from % 8 & 1;
	while (i < to) {
		if (i % 8 == 0 && to - i >= 8 && p[i / 8] == (*set ? 0xff : 0)) {
			i += 8;
			continue;
		}
		if ((p[i / 8] >> i % 8 & 1) != *set)
			break;
		i++;
	}
	return i - from;
}

/* off is in block i, whose data begins at `place`. */
static int find_run(struct vhdx *v, uint64_t i, uint64_t place, uint64_t off, uint64_t len,
		    struct extent *out, struct err *err)
{
	uint32_t sector = v->m.logical;
	uint64_t in = off % v->m.block, bits = 0, bit, to, n;
	uint8_t *p;
	bool set;

	if (find_bits(v, i, &bits, err))
		return -1;
	/* bit 0 of the piece is the first of the 8 * PIECE sectors around */
	bits += in / sector / 8;
	bit = bits % PIECE * 8 + in / sector % 8;
	to = MIN(bit + div_up(in % sector + len, sector), (uint64_t)PIECE * 8);
	p = cache_get(v->bitmap, round_down(bits, PIECE), err);
	if (!p)
		return -1;
	n = count_alike(p, bit, to, &set);
	cache_put(v->bitmap, p);
	*out = (struct extent){.off = off, .flags = set ? EXT_DATA : EXT_ABSENT};
	out->len = MIN(n * sector - in % sector, len);
	if (set) {
		out->home = v->file;
		out->host = place + in;
	}
	return 0;
}

int vhdx_partial_extent(struct vhdx *v, uint64_t off, uint64_t len, struct extent *out,
			struct err *err)
{
	uint64_t i = off / v->m.block, entry, place;
	const char *wrong;
	int rc;

	len = MIN(len, v->m.size - off);
	pthread_mutex_lock(&v->b.blocks.lock);
	rc = vhdx_get_entry(v, vhdx_entry_of(v, i), &entry, err);
	if (rc || VHDX_STATE(entry) != VHDX_PARTIAL) {
		pthread_mutex_unlock(&v->b.blocks.lock);
		return rc ? -1 : blocks_extent(&v->b.blocks, off, len, out, err);
	}
	place = VHDX_PLACE(entry);
	wrong = vhdx_place_wrong(v, place, vhdx_block_len(v, i));
	if (wrong)
		rc = err_set(err, EIO, "Block %" PRIu64 " of the disk at %#" PRIx64 " %s", i,
			     place, wrong);
	else
		rc = find_run(v, i, place, off, MIN(len, v->m.block - off % v->m.block), out,
			      err);
	pthread_mutex_unlock(&v->b.blocks.lock);
	return rc;
}
