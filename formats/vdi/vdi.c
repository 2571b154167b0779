#include "formats/vdi/vdi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

const struct field vdi_fields[] = {
	BYTES(0, struct vdi_header, text),
	LE32(0x40, struct vdi_header, magic),
	LE32(0x44, struct vdi_header, version),
	LE32(0x48, struct vdi_header, header_size),
	LE32(0x4c, struct vdi_header, type),
	LE32(0x50, struct vdi_header, flags),
	LE32(0x154, struct vdi_header, map_off),
	LE32(0x158, struct vdi_header, data_off),
	LE32(0x168, struct vdi_header, sector_size),
	LE64(0x170, struct vdi_header, disk_size),
	LE32(0x178, struct vdi_header, block_size),
	LE32(0x17c, struct vdi_header, block_extra),
	LE32(0x180, struct vdi_header, blocks),
	LE32(VDI_ALLOCATED_AT, struct vdi_header, allocated),
	BYTES(0x188, struct vdi_header, image_uuid),
	BYTES(VDI_MODIFY_AT, struct vdi_header, modify_uuid),
	BYTES(0x1a8, struct vdi_header, parent_uuid),
	BYTES(0x1b8, struct vdi_header, parent_modify_uuid),
	FIELD_END,
};

static struct vdi *vdi_of(struct blocks *b)
{
	return (struct vdi *)((char *)b - offsetof(struct vdi, b.blocks));
}

bool vdi_is_difference(const struct vdi_header *h)
{
	return h->type == VDI_TYPE_DIFFERENCE || !uuid_is_null(h->parent_uuid);
}

/* ---- the header -------------------------------------------------------------------- */

static int unsupported(struct err *err, const char *what, uint64_t is, const char *want)
{
	return err_set(err, ENOTSUP, "unsupported VDI image (%s %" PRIu64 " is not %s)", what,
		       is, want);
}

static int check_places(const struct vdi_header *h, uint64_t file_size, struct err *err)
{
	uint64_t map_end = (uint64_t)h->map_off + (uint64_t)h->blocks * 4;

	if (h->map_off % VDI_SECTOR != 0)
		return err_set(err, ENOTSUP,
			       "unsupported VDI image (unaligned block map offset %#" PRIx32
			       ")",
			       h->map_off);
	if (h->data_off % VDI_SECTOR != 0)
		return err_set(err, ENOTSUP,
			       "unsupported VDI image (unaligned data offset %#" PRIx32 ")",
			       h->data_off);
	if (h->map_off < VDI_HEADER_LEN || (h->blocks && h->data_off < map_end))
		return err_set(err, EINVAL,
			       "The block map (%#" PRIx32 " to %#" PRIx64
			       ") overlaps the header or the data (from %#" PRIx32 ")",
			       h->map_off, map_end, h->data_off);
	if (h->blocks && map_end > file_size)
		return err_set(err, EINVAL,
			       "The block map (%#" PRIx32 " to %#" PRIx64
			       ") is beyond the end of the file (%" PRIu64 " bytes)",
			       h->map_off, map_end, file_size);
	return 0;
}

int vdi_header_check(const struct vdi_header *h, uint64_t file_size, struct err *err)
{
	if (h->magic != VDI_MAGIC)
		return err_set(err, EINVAL,
			       "Image not in VDI format (bad signature %08" PRIx32 ")",
			       h->magic);
	if (h->version != VDI_VERSION)
		return err_set(err, ENOTSUP,
			       "unsupported VDI image (version %" PRIu32 ".%" PRIu32 ")",
			       h->version >> 16, h->version & 0xffff);
	if (h->sector_size != VDI_SECTOR)
		return unsupported(err, "sector size", h->sector_size, "512");
	if (h->block_size < VDI_BLOCK_MIN || h->block_size > VDI_BLOCK_MAX ||
	    (h->block_size & (h->block_size - 1)) != 0)
		return unsupported(err, "block size", h->block_size, "1048576");
	if (h->block_extra % VDI_SECTOR != 0 || h->block_extra > VDI_BLOCK_MAX)
		return unsupported(err, "block extra size", h->block_extra, "0");
	if (h->blocks > VDI_BLOCKS_MAX)
		return err_set(err, ENOTSUP,
			       "unsupported VDI image (too many blocks %" PRIu32 ", max is %d)",
			       h->blocks, VDI_BLOCKS_MAX);
	if (h->disk_size > (uint64_t)h->blocks * h->block_size)
		return err_set(err, ENOTSUP,
			       "unsupported VDI image (disk size %" PRIu64
			       ", image bitmap has room for %" PRIu64 ")",
			       h->disk_size, (uint64_t)h->blocks * h->block_size);
	return check_places(h, file_size, err);
}

static int vdi_probe(const uint8_t *head, size_t n, uint64_t size)
{
	return n >= 0x44 && get_le32(head + 0x40) == VDI_MAGIC ? 100 : 0;
}

static int read_header(struct vdi *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	uint8_t buf[VDI_HEADER_LEN];

	if (blk_pread(lower, buf, sizeof(buf), 0, err))
		return -1;
	layout_decode(vdi_fields, buf, &v->h);
	return vdi_header_check(&v->h, blk_size(lower), err);
}

/* ---- the block map ----------------------------------------------------------------- */

uint64_t vdi_place(const struct vdi_header *h, uint64_t index)
{
	return h->data_off + index * ((uint64_t)h->block_extra + h->block_size) +
	       h->block_extra;
}

int vdi_get_entry(struct vdi *v, uint64_t i, uint32_t *entry, struct err *err)
{
	uint64_t value;

	if (entries_get(&v->map, v->h.map_off + 4 * i, &value, err))
		return -1;
	*entry = (uint32_t)value;
	return 0;
}

int vdi_set_entry(struct vdi *v, uint64_t i, uint32_t entry, struct err *err)
{
	return entries_set(&v->map, v->h.map_off + 4 * i, entry, err);
}

static int vdi_get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct vdi *v = vdi_of(b);
	uint32_t entry;

	*out = (struct block){.kind = b->below ? BLOCK_ABSENT : BLOCK_ZERO};
	if (vdi_get_entry(v, i, &entry, err))
		return -1;
	if (entry == VDI_ENTRY_FREE)
		return 0;
	if (entry == VDI_ENTRY_ZERO) {
		out->kind = BLOCK_ZERO;
		return 0;
	}
	if (entry >= v->h.blocks)
		return err_set(err, EIO,
			       "Block %" PRIu64 " of the disk is block %" PRIu32
			       " of the file, which has room for %" PRIu32,
			       i, entry, v->h.blocks);
	out->kind = BLOCK_DATA;
	out->host = vdi_place(&v->h, entry);
	return 0;
}

static int vdi_set(struct blocks *b, uint64_t i, const struct block *to, struct err *err)
{
	struct vdi *v = vdi_of(b);
	uint64_t entry = VDI_ENTRY_ZERO;

	if (to->kind == BLOCK_DATA)
		entry = (to->host - vdi_place(&v->h, 0)) /
			((uint64_t)v->h.block_size + v->h.block_extra);
	return vdi_set_entry(v, i, (uint32_t)entry, err);
}

int vdi_write_allocated(struct vdi *v, struct err *err)
{
	uint8_t buf[4];

	put_le32(buf, v->h.allocated);
	return blk_pwrite(v->b.image.blk.lower, buf, sizeof(buf), VDI_ALLOCATED_AT, 0, err);
}

static int vdi_took(struct blocks *b, uint64_t host, struct err *err)
{
	struct vdi *v = vdi_of(b);

	v->h.allocated++;
	return b->new_image ? 0 : vdi_write_allocated(v, err);
}

static void vdi_settled(struct blocks *b)
{
	entries_data_written(&vdi_of(b)->map);
}

static int vdi_write_back(struct blocks *b, struct err *err)
{
	return entries_flush(&vdi_of(b)->map, err);
}

/* The content changes: images that differ from it are no longer valid, and can tell. */
static int vdi_start(struct blocks *b, struct err *err)
{
	struct vdi *v = vdi_of(b);

	if (b->new_image)
		return 0;
	if (uuid_random(v->h.modify_uuid, err))
		return -1;
	return blk_pwrite(v->b.image.blk.lower, v->h.modify_uuid, UUID_LEN, VDI_MODIFY_AT, 0,
			  err);
}

static const struct blocks_driver vdi_driver = {
	.get = vdi_get,
	.set = vdi_set,
	.took = vdi_took,
	.settled = vdi_settled,
	.write_back = vdi_write_back,
	.start = vdi_start,
};

/* ---- what is in use ------------------------------------------------------------------ */

/*
 * Places that were taken and that no entry refers to are to be used first, or the next one
 * could be outside the room that the image has. What is in use counts, not the header.
 */
static int find_places(struct vdi *v, struct err *err)
{
	AUTO_FREE uint8_t *used = calloc(1, v->h.blocks / 8 + 1);
	uint32_t next = 0, n = 0, entry;

	if (!used)
		return err_nomem(err, v->h.blocks / 8 + 1, "a map of places");
	for (uint32_t i = 0; i < v->h.blocks; i++) {
		if (vdi_get_entry(v, i, &entry, err))
			return -1;
		if (entry >= v->h.blocks || vdi_use(used, entry))
			continue;
		next = MAX(next, entry + 1);
		n++;
	}
	next = MIN(MAX(next, v->h.allocated), v->h.blocks);
	for (uint32_t i = next; i-- > 0 && n < next;)
		if (!(used[i / 8] & (1u << i % 8)))
			blocks_spare(&v->b.blocks, vdi_place(&v->h, i));
	v->h.allocated = next;
	v->b.blocks.end = vdi_place(&v->h, next) - v->h.block_extra;
	return 0;
}

/* ---- open and close ---------------------------------------------------------------- */

static int vdi_close(struct blk *blk, struct err *err)
{
	struct vdi *v = (struct vdi *)blk;
	struct blocks *b = &v->b.blocks;
	int rc = 0;

	if (b->started) {
		rc = b->new_image ? vdi_write_allocated(v, err) : 0;
		if (rc == 0)
			rc = blocks_finish(b, err);
	}
	blocks_free(b);
	entries_free(&v->map);
	free(v);
	return rc;
}

static bool vdi_hollow(struct blk *blk)
{
	return ((struct vdi *)blk)->h.type == VDI_TYPE_STATIC;
}

static const struct blk_ops vdi_ops = {
	.name = "vdi",
	.by_extent = true,
	.extent = blocks_image_extent,
	.hollow = vdi_hollow,
	.claim = blocks_image_claim,
	.settle = blocks_image_settle,
	.drop = blocks_image_drop,
	.zero = blocks_image_zero,
	.touch = blocks_image_touch,
	.flush = blocks_image_flush,
	.close = vdi_close,
};

static int prepare(struct vdi *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	struct blocks *b = &v->b.blocks;

	*b = (struct blocks){
		.driver = &vdi_driver,
		.size = round_up(v->h.disk_size, VDI_SECTOR),
		.block = v->h.block_size,
		.head = v->h.block_extra,
		.align = VDI_SECTOR,
		.below = vdi_is_difference(&v->h),
		.can_zero = true,
	};
	if (b->below && (v->flags & IMAGE_WRITE))
		return err_set(err, EACCES,
			       "A VDI image that is a difference to another can only be read");
	v->b.image.needs_backing = b->below;
	if (entries_init(&v->map, lower, VDI_MAP_PIECE, VDI_MAP_PIECES, 4, false,
			 v->flags & IMAGE_NEW, err) ||
	    blocks_image_init(&v->b, v->flags, err))
		return -1;
	/* nobody knows what is on a device */
	if (v->h.type == VDI_TYPE_STATIC && !(lower->caps & BLK_CAN_GROW))
		v->b.image.blk.caps &= ~(unsigned)BLK_ZERO_INIT;
	if (!(v->flags & IMAGE_WRITE) || (v->flags & IMAGE_CHECK))
		return 0;
	return find_places(v, err);
}

static int vdi_open(struct blk *lower, const struct opts *opts, unsigned flags,
		    struct image **out, struct err *err)
{
	struct vdi *v = image_new(sizeof(*v), &vdi_ops, &format_vdi, lower, err);

	if (!v)
		return -1;
	v->flags = flags;
	if (read_header(v, err) || prepare(v, err))
		return image_give_up(&v->b.image);
	*out = &v->b.image;
	return 0;
}

static int vdi_adopt(struct image *image, struct image *below, struct err *err)
{
	const struct vdi_header *h = &((struct vdi *)image)->h, *parent;
	char want[UUID_TEXT], have[UUID_TEXT];
	uint8_t a[UUID_LEN], b[UUID_LEN];

	if (!vdi_is_difference(h))
		return err_set(err, EINVAL,
			       "A VDI image that is not a difference has no backing file");
	if (below->format != &format_vdi)
		return err_set(err, EINVAL, "The parent of a VDI image is one, not %s",
			       below->format->name);
	parent = &((struct vdi *)below)->h;
	uuid_swap(h->parent_uuid, a);
	uuid_swap(parent->image_uuid, b);
	if (memcmp(a, b, UUID_LEN) != 0)
		return err_set(err, EINVAL,
			       "The image is a difference to one with UUID %s, but this one "
			       "has %s",
			       uuid_text(a, want), uuid_text(b, have));
	if (!uuid_is_null(h->parent_modify_uuid) &&
	    memcmp(h->parent_modify_uuid, parent->modify_uuid, UUID_LEN) != 0)
		return err_set(err, EINVAL,
			       "The image's parent was changed after the image was made");
	return 0;
}

static int vdi_info(struct image *image, struct info *out, struct err *err)
{
	out->cluster_size = ((struct vdi *)image)->h.block_size;
	return 0;
}

static const char *const extensions[] = {"vdi", NULL};

const struct format format_vdi = {
	.name = "vdi",
	.summary = "VirtualBox's disk image",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_PARENT,
	.create_opts = vdi_create_opts,
	.probe = vdi_probe,
	.open = vdi_open,
	.create = vdi_create,
	.create_check = vdi_create_check,
	.adopt = vdi_adopt,
	.info = vdi_info,
	.check = vdi_check,
};
