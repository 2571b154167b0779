#include "formats/vhdx/vhdx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

static struct vhdx *vhdx_of(struct blocks *b)
{
	return (struct vhdx *)((char *)b - offsetof(struct vhdx, b.blocks));
}

/* ---- the block allocation table ------------------------------------------------------ */

uint64_t vhdx_entry_of(const struct vhdx *v, uint64_t i)
{
	return i + i / v->ratio;
}

uint64_t vhdx_bitmap_entry_of(const struct vhdx *v, uint64_t i)
{
	return i / v->ratio * (v->ratio + 1) + v->ratio;
}

uint64_t vhdx_entries(const struct vhdx_meta *m)
{
	uint64_t blocks = div_up(m->size, m->block);
	uint64_t ratio = VHDX_BITMAP_SECTORS * (uint64_t)m->logical / m->block;

	if (blocks == 0)
		return 0;
	if (m->has_parent)
		return div_up(blocks, ratio) * (ratio + 1);
	return blocks + (blocks - 1) / ratio;
}

int vhdx_get_entry(struct vhdx *v, uint64_t entry, uint64_t *value, struct err *err)
{
	return entries_get(&v->map, v->bat.off + 8 * entry, value, err);
}

int vhdx_set_entry(struct vhdx *v, uint64_t entry, uint64_t value, struct err *err)
{
	return entries_set(&v->map, v->bat.off + 8 * entry, value, err);
}

uint64_t vhdx_block_len(const struct vhdx *v, uint64_t i)
{
	return MIN(v->m.block, v->m.size - i * v->m.block);
}

static bool overlaps(uint64_t off, uint64_t len, uint64_t other, uint64_t other_len)
{
	return off < other + other_len && other < off + len;
}

const char *vhdx_place_wrong(const struct vhdx *v, uint64_t off, uint64_t len)
{
	uint64_t size = blk_size(v->file);

	if (off < VHDX_MIB)
		return "is in the header section";
	/* a new file gets its length at the end */
	if (!v->b.blocks.new_image && (off > size || len > size - off))
		return "is beyond the end of the file";
	if (overlaps(off, len, v->h.log_off, v->h.log_len))
		return "overlaps the log";
	if (overlaps(off, len, v->bat.off, v->bat.len) ||
	    overlaps(off, len, v->meta_region.off, v->meta_region.len))
		return "overlaps the metadata";
	return NULL;
}

static int vhdx_get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct vhdx *v = vhdx_of(b);
	uint64_t entry;
	const char *wrong;

	*out = (struct block){.kind = BLOCK_ZERO};
	if (vhdx_get_entry(v, vhdx_entry_of(v, i), &entry, err))
		return -1;
	switch (VHDX_STATE(entry)) {
	case VHDX_NOT_PRESENT:
		if (b->below)
			out->kind = BLOCK_ABSENT;
		return 0;
	case VHDX_UNDEFINED:
	case VHDX_ZERO:
	case VHDX_UNMAPPED:
		return 0; /* where it may once have been is not relied upon */
	case VHDX_PRESENT:
		break;
	default:
		return err_set(err, EIO, "Block %" PRIu64 " of the disk has state %d", i,
			       VHDX_STATE(entry));
	}
	out->kind = BLOCK_DATA;
	out->host = VHDX_PLACE(entry);
	wrong = vhdx_place_wrong(v, out->host, vhdx_block_len(v, i));
	if (wrong)
		return err_set(err, EIO, "Block %" PRIu64 " of the disk at %#" PRIx64 " %s", i,
			       out->host, wrong);
	return 0;
}

static int vhdx_set(struct blocks *b, uint64_t i, const struct block *to, struct err *err)
{
	struct vhdx *v = vhdx_of(b);
	uint64_t entry = VHDX_ZERO;

	if (to->kind == BLOCK_DATA)
		entry = to->host | VHDX_PRESENT;
	return vhdx_set_entry(v, vhdx_entry_of(v, i), entry, err);
}

static int vhdx_write_back(struct blocks *b, struct err *err)
{
	struct vhdx *v = vhdx_of(b);

	if (entries_flush(&v->map, err))
		return -1;
	return v->journal ? vhdx_journal_commit(v->journal, err) : 0;
}

/* The file changes, and what its guest sees (2.2.2): images that differ from it can tell. */
static int vhdx_start(struct blocks *b, struct err *err)
{
	struct vhdx *v = vhdx_of(b);

	if (b->new_image)
		return 0;
	if (uuid_random(v->h.file_write, err) || uuid_random(v->h.data_write, err))
		return -1;
	return vhdx_header_write(v, err);
}

static const struct blocks_driver vhdx_driver = {
	.get = vhdx_get,
	.set = vhdx_set,
	.write_back = vhdx_write_back,
	.start = vhdx_start,
};

/* ---- open and close ------------------------------------------------------------------ */

static int vhdx_probe(const uint8_t *head, size_t n, uint64_t size)
{
	return n >= strlen(VHDX_TEXT) && memcmp(head, VHDX_TEXT, strlen(VHDX_TEXT)) == 0 ? 100
											 : 0;
}

static int vhdx_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	struct vhdx *v = (struct vhdx *)blk;

	if (v->bitmap)
		return vhdx_partial_extent(v, off, len, out, err);
	return blocks_extent(&v->b.blocks, off, len, out, err);
}

static bool vhdx_hollow(struct blk *blk)
{
	return ((struct vhdx *)blk)->m.fixed;
}

static int vhdx_close(struct blk *blk, struct err *err)
{
	struct vhdx *v = (struct vhdx *)blk;
	struct blocks *b = &v->b.blocks;
	struct err later;
	int rc = 0;

	if (b->started)
		rc = blocks_finish(b, err);
	if (rc == 0 && v->journal)
		rc = vhdx_journal_end(v->journal, err);
	blocks_free(b);
	entries_free(&v->map);
	cache_free(v->bitmap);
	blk_close(v->journal, &later);
	blk_close(v->overlay, &later);
	vhdx_meta_free(&v->m);
	free(v->b.image.backing);
	free(v->b.image.backing_format);
	free(v);
	return rc;
}

static const struct blk_ops vhdx_ops = {
	.name = "vhdx",
	.by_extent = true,
	.extent = vhdx_extent,
	.hollow = vhdx_hollow,
	.claim = blocks_image_claim,
	.settle = blocks_image_settle,
	.drop = blocks_image_drop,
	.zero = blocks_image_zero,
	.touch = blocks_image_touch,
	.flush = blocks_image_flush,
	.close = vhdx_close,
};

/* The changes that the log holds: into the file, or seen over it. */
static int replay(struct vhdx *v, struct vhdx_replay *r, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;

	if (!r->pending)
		return 0;
	if (!(v->flags & IMAGE_WRITE)) {
		v->overlay = vhdx_replay_blk(lower, r, err);
		v->file = v->overlay;
		return v->overlay ? 0 : -1;
	}
	if (uuid_random(v->h.file_write, err) || vhdx_header_write(v, err) ||
	    vhdx_replay_write(lower, r, err))
		return -1;
	memset(v->h.log, 0, UUID_LEN);
	v->replayed = true;
	return vhdx_header_write(v, err);
}

static int read_header(struct vhdx *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	uint8_t text[sizeof(VHDX_TEXT) - 1];
	struct vhdx_replay r;
	int rc;

	v->file = lower;
	if (blk_pread(lower, text, sizeof(text), 0, err))
		return -1;
	if (memcmp(text, VHDX_TEXT, sizeof(text)) != 0)
		return err_set(err, EINVAL, "Image not in VHDX format (bad signature)");
	if (vhdx_header_read(v, err))
		return -1;
	rc = vhdx_log_read(lower, &v->h, &r, err);
	if (rc == 0)
		rc = replay(v, &r, err);
	vhdx_replay_free(&r);
	if (rc)
		return -1;
	v->file_size = blk_size(v->file);
	return vhdx_regions_read(v, err) || vhdx_meta_read(v, err) ? -1 : 0;
}

static int name_parent(struct vhdx *v, struct err *err)
{
	struct image *image = &v->b.image;

	if (!v->m.has_parent)
		return 0;
	if (v->flags & IMAGE_WRITE)
		return err_set(err, EACCES,
			       "A VHDX image that is a difference to another can only be read");
	if (vhdx_parent_path(&v->m, &image->backing, err))
		return -1;
	if (!image->backing) {
		image->needs_backing = true;
		return 0;
	}
	image->backing_format = strdup("vhdx");
	return image->backing_format ? 0 : err_nomem(err, 5, "a name");
}

/* Behind all that is in use. */
static int find_end(struct vhdx *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	struct blocks *b = &v->b.blocks;
	uint64_t entry;

	b->end = round_up(blk_size(lower), VHDX_MIB);
	if (lower->caps & BLK_CAN_GROW)
		return 0;
	b->end = MAX(v->bat.off + v->bat.len, v->meta_region.off + v->meta_region.len);
	b->end = MAX(b->end, v->h.log_off + v->h.log_len);
	for (uint64_t i = 0; i < v->blocks; i++) {
		if (vhdx_get_entry(v, vhdx_entry_of(v, i), &entry, err))
			return -1;
		if (VHDX_STATE(entry) == VHDX_PRESENT)
			b->end = MAX(b->end, VHDX_PLACE(entry) + v->m.block);
	}
	return 0;
}

static int prepare_map(struct vhdx *v, struct err *err)
{
	struct blk *file = v->file;

	if ((v->flags & IMAGE_WRITE) && !(v->flags & IMAGE_NEW)) {
		if (v->h.log_len == 0)
			return err_set(err, EINVAL,
				       "The image has no log: it can only be read");
		v->journal = vhdx_journal_new(v, err);
		if (!v->journal)
			return -1;
		file = v->journal;
	}
	/* what waits for what is the journal's business */
	if (entries_init(&v->map, file, VHDX_BAT_PIECE, VHDX_BAT_PIECES, 8, false, true, err))
		return -1;
	if (v->m.has_parent) {
		v->bitmap = cache_new(v->file, VHDX_PAGE, VHDX_BAT_PIECES, err);
		if (!v->bitmap)
			return -1;
		cache_short_end(v->bitmap);
	}
	return 0;
}

static int prepare(struct vhdx *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	struct blocks *b = &v->b.blocks;

	v->ratio = VHDX_BITMAP_SECTORS * (uint64_t)v->m.logical / v->m.block;
	v->blocks = div_up(v->m.size, v->m.block);
	if (vhdx_entries(&v->m) * 8 > v->bat.len)
		return err_set(err, EINVAL,
			       "The block allocation table (%" PRIu32
			       " bytes) has no room for %" PRIu64 " entries",
			       v->bat.len, vhdx_entries(&v->m));
	*b = (struct blocks){
		.driver = &vhdx_driver,
		.size = v->m.size,
		.block = v->m.block,
		.align = VHDX_MIB,
		.below = v->m.has_parent,
		.can_zero = true,
	};
	if (name_parent(v, err) || prepare_map(v, err) ||
	    blocks_image_init(&v->b, v->flags, err))
		return -1;
	b->file = v->file;
	/* nobody knows what is on a device */
	if (v->m.fixed && !(lower->caps & BLK_CAN_GROW))
		v->b.image.blk.caps &= ~(unsigned)BLK_ZERO_INIT;
	return v->flags & IMAGE_WRITE ? find_end(v, err) : 0;
}

static int vhdx_open(struct blk *lower, const struct opts *opts, unsigned flags,
		     struct image **out, struct err *err)
{
	struct vhdx *v = image_new(sizeof(*v), &vhdx_ops, &format_vhdx, lower, err);

	if (!v)
		return -1;
	v->flags = flags;
	if (read_header(v, err) || prepare(v, err))
		return image_give_up(&v->b.image);
	*out = &v->b.image;
	return 0;
}

static int vhdx_info(struct image *image, struct info *out, struct err *err)
{
	struct vhdx *v = (struct vhdx *)image;

	out->cluster_size = v->m.block;
	out->has_dirty = true;
	out->dirty = v->overlay;
	return 0;
}

static const char *const extensions[] = {"vhdx", "avhdx", NULL};

const struct format format_vhdx = {
	.name = "vhdx",
	.summary = "Hyper-V's disk image",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_PARENT | FORMAT_OPAQUE,
	.create_opts = vhdx_create_opts,
	.probe = vhdx_probe,
	.open = vhdx_open,
	.create = vhdx_create,
	.create_check = vhdx_create_check,
	.adopt = vhdx_adopt,
	.info = vhdx_info,
	.check = vhdx_check,
};
