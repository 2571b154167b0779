/*
 * Mac OS disk images, as hdiutil makes them: "Universal Disk Image Format (UDIF)" in the
 * format documentation of keramics, and "Mac OS disk image types" of libmodi.
 *
 * The file ends with a trailer ("koly"), which says where the property list is or, in older
 * images, the resource fork. In there is a table ("mish") for each partition: chunks of
 * sectors, each stored as it is, compressed, or not at all. Numbers are big-endian.
 *
 * Read only. Images in several files and encrypted ones are refused.
 */
#include "formats/dmg/dmg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

/* Only what is as it should be: a guest that writes a raw disk may write there, too. */
static int dmg_probe_tail(const uint8_t *tail, size_t n, uint64_t size)
{
	struct dmg_trailer h;
	struct err ignored;

	if (n < DMG_TRAILER_LEN)
		return 0;
	layout_decode(dmg_trailer_fields, tail + n - DMG_TRAILER_LEN, &h);
	return h.magic == DMG_MAGIC && dmg_trailer_check(&h, size, &ignored) == 0 ? 100 : 0;
}

/* ---- reading ------------------------------------------------------------------------- */

int dmg_inflate(struct blk *file, const struct dmg_chunk *c, uint8_t *out, struct err *err)
{
	AUTO_FREE uint8_t *packed = mem_alloc(c->len + (size_t)UNPACK_PAD);

	if (!packed)
		return err_nomem(err, c->len, "a compressed chunk");
	if (blk_pread(file, packed, c->len, c->off, err))
		return -1;
	memset(packed + c->len, 0, UNPACK_PAD);
	return unpack(c->type, packed, c->len, out, c->count * DMG_SECTOR, err);
}

static uint32_t dmg_size(void *arg, uint64_t i)
{
	const struct dmg *d = arg;
	const struct dmg_chunk *c;

	if (i >= d->t.nchunk)
		return 0;
	c = &d->t.chunk[i];
	return dmg_is_zero(c->type) || c->type == DMG_RAW ? 0 : (uint32_t)c->count * DMG_SECTOR;
}

static int dmg_inflate_chunk(void *arg, uint64_t i, void *out, struct err *err)
{
	struct dmg *d = arg;
	const struct dmg_chunk *c = &d->t.chunk[i];

	if (dmg_inflate(d->image.blk.lower, c, out, err) == 0)
		return 0;
	return err_prefix(err,
			  "%s: Chunk %" PRIu32 " of table %" PRIu32 " (sector %" PRIu64 ")",
			  d->image.blk.name, c->entry, c->table, c->start);
}

/* At most n bytes at off, which one chunk has; how many, -1 with *err set. */
static int64_t read_part(struct dmg *d, void *buf, size_t n, uint64_t off, struct err *err)
{
	uint64_t next, sector = off / DMG_SECTOR, in;
	const struct dmg_chunk *c = dmg_find(&d->t, sector, &next);
	int rc = 0;

	if (!c)
		return err_set(err, EIO, "%s: No chunk has the sectors from %" PRIu64 " on",
			       d->image.blk.name, sector);
	in = off - c->start * DMG_SECTOR;
	n = MIN(n, c->count * DMG_SECTOR - in);
	if (dmg_is_zero(c->type))
		memset(buf, 0, n);
	else if (c->type == DMG_RAW)
		rc = blk_pread(d->image.blk.lower, buf, n, c->off + in, err);
	else
		rc = chunks_read(&d->chunks, (uint64_t)(c - d->t.chunk), (uint32_t)in, buf, n,
				 err);
	return rc ? -1 : (int64_t)n;
}

static int dmg_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	uint8_t *to = buf;

	while (n > 0) {
		int64_t part = read_part((struct dmg *)blk, to, n, off, err);

		if (part < 0)
			return -1;
		to += part;
		off += (uint64_t)part;
		n -= (size_t)part;
	}
	return 0;
}

static int dmg_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		      struct err *err)
{
	const struct dmg *d = (const struct dmg *)blk;
	uint64_t next, in;
	const struct dmg_chunk *c = dmg_find(&d->t, off / DMG_SECTOR, &next);

	out->flags = EXT_DATA | EXT_PACKED;
	if (!c) { /* cannot be read: dmg_pread says it */
		out->len = next < UINT64_MAX / DMG_SECTOR ? MIN(len, next * DMG_SECTOR - off)
							  : len;
		return 0;
	}
	in = off - c->start * DMG_SECTOR;
	out->len = MIN(len, c->count * DMG_SECTOR - in);
	if (dmg_is_zero(c->type)) {
		out->flags = EXT_ZERO;
		return 0;
	}
	out->home = blk->lower;
	out->host = c->off;
	out->packed = c->len;
	if (c->type == DMG_RAW) {
		out->flags = EXT_DATA;
		out->host += in;
	}
	return 0;
}

/* ---- open and close ---------------------------------------------------------------- */

static int dmg_close(struct blk *blk, struct err *err)
{
	struct dmg *d = (struct dmg *)blk;

	chunks_free(&d->chunks);
	dmg_tables_free(&d->t);
	free(d);
	return 0;
}

static const struct blk_ops dmg_ops = {
	.name = "dmg",
	.by_extent = true,
	.pread = dmg_pread,
	.extent = dmg_extent,
	.close = dmg_close,
};

static int prepare(struct dmg *d, struct err *err)
{
	struct blk *blk = &d->image.blk;
	uint64_t sectors;

	if (dmg_trailer_read(blk->lower, &d->h, err) ||
	    dmg_resources_read(blk->lower, &d->h, &d->t, err) || dmg_tables_sort(&d->t, err))
		return -1;
	sectors = d->h.sectors;
	if (sectors == 0 && d->t.nchunk > 0) {
		const struct dmg_chunk *last = &d->t.chunk[d->t.nchunk - 1];

		sectors = last->start + last->count;
	}
	blk->size = sectors * DMG_SECTOR;
	blk->grain = DMG_SECTOR;
	d->chunks.size = dmg_size;
	d->chunks.inflate = dmg_inflate_chunk;
	d->chunks.arg = d;
	if (chunks_init(&d->chunks, err))
		return -1;
	if (d->t.unknown)
		err_warn("Image contains chunks of unknown type %" PRIx32
			 ", accessing them will result in I/O errors",
			 d->t.unknown);
	return 0;
}

static int dmg_open(struct blk *lower, const struct opts *opts, unsigned flags,
		    struct image **out, struct err *err)
{
	struct dmg *d = image_new(sizeof(*d), &dmg_ops, &format_dmg, lower, err);

	if (!d)
		return -1;
	if (prepare(d, err))
		return image_give_up(&d->image);
	*out = &d->image;
	return 0;
}

static int dmg_info(struct image *image, struct info *out, struct err *err)
{
	return 0;
}

const struct format format_dmg = {
	.name = "dmg",
	.summary = "Mac OS disk image",
	.caps = FORMAT_OPAQUE | FORMAT_INFO_OURS | FORMAT_CHECK_OURS,
	.probe_tail = dmg_probe_tail,
	.open = dmg_open,
	.info = dmg_info,
	.check = dmg_check,
};
