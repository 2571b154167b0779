/*
 * New vdi images.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/vdi/vdi.h"
#include "lib/bytes.h"
#include "lib/mem.h"

const struct opt vdi_create_opts[] = {
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.name = "static",
	 .type = OPT_BOOL,
	 .help = "VDI static (pre-allocated) image",
	 .initial = "off"},
	{.name = "preallocation",
	 .type = OPT_STR,
	 .flags = OPT_HIDDEN,
	 .arg = "MODE",
	 .choices = "off|metadata|falloc|full",
	 .help = "How the file's space is taken"},
	{.name = "block_size",
	 .type = OPT_SIZE,
	 .flags = OPT_OURS,
	 .arg = "SIZE",
	 .help = "Size of a block, 4k to 256M; QEMU reads 1M only"},
	{.name = "uuid",
	 .type = OPT_STR,
	 .flags = OPT_OURS,
	 .arg = "UUID",
	 .help = "The image's UUID, else a random one"},
	{0},
};

static const char modes[] = "off|metadata|falloc|full";

int vdi_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	uint64_t block = VDI_BLOCK, max;
	bool fixed = false;
	uint8_t uuid[UUID_LEN];
	int mode = 0;

	if (opts_size(opts, "block_size", &block, err))
		return -1;
	if (block < VDI_BLOCK_MIN || block > VDI_BLOCK_MAX || (block & (block - 1)) != 0)
		return err_set(err, EINVAL,
			       "Invalid block_size %" PRIu64
			       ": it must be a power of two from 4k to 256M",
			       block);
	max = VDI_BLOCKS_MAX * block;
	if (*size > max)
		return err_set(err, EFBIG,
			       "Unsupported VDI image size (size is %#" PRIx64
			       ", max supported is %#" PRIx64 ")",
			       *size, max);
	if (opts_choice(opts, "preallocation", modes, &mode, err))
		return err_set(err, EINVAL, "invalid parameter value: %s",
			       opts_get(opts, "preallocation"));
	if (opts_bool(opts, "static", &fixed, err) ||
	    (opts_has(opts, "uuid") && uuid_parse(opts_get(opts, "uuid"), uuid, err)))
		return -1;
	return 0;
}

static int make_header(const struct create *c, struct vdi_header *h, struct err *err)
{
	uint64_t block = VDI_BLOCK;
	bool fixed = false;

	*h = (struct vdi_header){
		.text = VDI_TEXT,
		.magic = VDI_MAGIC,
		.version = VDI_VERSION,
		.header_size = VDI_HEADER_SIZE,
		.map_off = VDI_HEADER_LEN,
		.sector_size = VDI_SECTOR,
		.disk_size = round_up(c->size, VDI_SECTOR),
	};
	if (opts_bool(c->opts, "static", &fixed, err) ||
	    opts_size(c->opts, "block_size", &block, err) ||
	    uuid_option(c->opts, "uuid", h->image_uuid, err) ||
	    uuid_option(c->opts, "uuid", h->modify_uuid, err))
		return -1;
	h->block_size = (uint32_t)block;
	h->blocks = (uint32_t)div_up(c->size, block);
	h->data_off = VDI_HEADER_LEN + (uint32_t)round_up((uint64_t)h->blocks * 4, VDI_SECTOR);
	h->type = fixed ? VDI_TYPE_STATIC : VDI_TYPE_DYNAMIC;
	h->allocated = fixed ? h->blocks : 0;
	return 0;
}

/* The map of a new image: nothing has a place, or all blocks in their order. */
static int write_map(struct blk *file, const struct vdi_header *h, struct err *err)
{
	const uint32_t chunk = 1 << 18;
	AUTO_FREE uint8_t *buf = calloc(chunk, 4);

	if (!buf)
		return err_nomem(err, 4 * (uint64_t)chunk, "a block map");
	for (uint32_t i = 0; i < h->blocks; i += chunk) {
		uint32_t n = MIN(chunk, h->blocks - i);

		for (uint32_t k = 0; k < n; k++)
			put_le32(buf + 4 * (size_t)k,
				 h->type == VDI_TYPE_STATIC ? i + k : VDI_ENTRY_FREE);
		if (blk_pwrite(file, buf, 4 * (size_t)n, h->map_off + 4 * (uint64_t)i, 0, err))
			return -1;
	}
	return 0;
}

int vdi_create(const struct create *c, struct err *err)
{
	static const enum blk_prealloc kind[] = {PREALLOC_OFF, PREALLOC_METADATA,
						 PREALLOC_FALLOC, PREALLOC_FULL};
	uint64_t size = c->size, end;
	uint8_t buf[VDI_HEADER_LEN] = {0};
	struct vdi_header h;
	int mode = 0;

	if (vdi_create_check(c->opts, &size, err) || make_header(c, &h, err) ||
	    opts_choice(c->opts, "preallocation", modes, &mode, err))
		return -1;
	if (kind[mode] == PREALLOC_METADATA)
		return err_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
	end = h.data_off + (h.type == VDI_TYPE_STATIC ? (uint64_t)h.blocks * h.block_size : 0);
	layout_encode(vdi_fields, &h, buf);
	if (image_new_size(c->lower, end, kind[mode], err) ||
	    blk_pwrite(c->lower, buf, sizeof(buf), 0, 0, err) || write_map(c->lower, &h, err))
		return -1;
	return 0;
}
