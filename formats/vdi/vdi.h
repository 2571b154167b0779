/*
 * vdi: VirtualBox's disk image.
 *
 * Described in the VirtualBox forum's "Tutorial: All about VDIs" (sections "Header", "Block
 * map") and by what qemu-img and VirtualBox accept. A header of 512 bytes, a block map of one
 * 32-bit number for each block, then the blocks in the order in which they were first
 * written. All little-endian.
 *
 * Limits: version 1.1; sectors of 512 bytes; blocks of 4 KiB to 256 MiB (new ones: 1 MiB);
 * QEMU's bound on the number of blocks. The map and each block have to be in the file.
 *
 * blocks_allocated is where other programs put the next block, so it never lags behind the
 * map: it is written before the block's data is, and a crash leaves it too large at worst.
 *
 *	vdi.c     the header, the block map, open and close
 *	create.c  new images
 *	check.c   what the map says against what there is; repair
 */
#ifndef FORMATS_VDI_VDI_H
#define FORMATS_VDI_VDI_H

#include "formats/blocks.h"
#include "formats/entries.h"
#include "lib/layout.h"
#include "lib/uuid.h"

#define VDI_MAGIC   0xbeda107fu
#define VDI_VERSION 0x00010001u
#define VDI_TEXT    "<<< Platter VM Virtual Disk Image >>>\n"

enum {
	VDI_SECTOR = 512,
	VDI_HEADER_LEN = 512,
	VDI_HEADER_SIZE = 0x180, /* what the field of that name says */
	VDI_BLOCK = 1 << 20,
	VDI_BLOCK_MIN = 4096,
	VDI_BLOCK_MAX = 256 << 20,
	VDI_BLOCKS_MAX = 0x1fffff80, /* QEMU's */
	VDI_MAP_PIECE = 16 << 10,
	VDI_MAP_PIECES = 64,
	VDI_ALLOCATED_AT = 0x184,
	VDI_MODIFY_AT = 0x198,
};

enum { VDI_TYPE_DYNAMIC = 1, VDI_TYPE_STATIC = 2, VDI_TYPE_DIFFERENCE = 4 };

/* Entries of the map that are no place. */
#define VDI_ENTRY_FREE 0xffffffffu
#define VDI_ENTRY_ZERO 0xfffffffeu

struct vdi_header {
	uint8_t text[64];
	uint32_t magic, version, header_size, type, flags;
	uint32_t map_off, data_off;
	uint32_t sector_size;
	uint64_t disk_size;
	uint32_t block_size, block_extra, blocks, allocated;
	uint8_t image_uuid[UUID_LEN], modify_uuid[UUID_LEN];
	uint8_t parent_uuid[UUID_LEN], parent_modify_uuid[UUID_LEN];
};

struct vdi {
	struct blocks_image b;
	struct vdi_header h;
	struct entries map;
	unsigned flags; /* IMAGE_* */
};

extern const struct format format_vdi;
extern const struct field vdi_fields[];
extern const struct opt vdi_create_opts[];

/* Every limit; what is above lies in a file of so many bytes. */
int vdi_header_check(const struct vdi_header *h, uint64_t file_size, struct err *err);
bool vdi_is_difference(const struct vdi_header *h);
/* Where the data of a block of the file begins. */
uint64_t vdi_place(const struct vdi_header *h, uint64_t index);
int vdi_get_entry(struct vdi *v, uint64_t i, uint32_t *entry, struct err *err);
int vdi_set_entry(struct vdi *v, uint64_t i, uint32_t entry, struct err *err);
int vdi_write_allocated(struct vdi *v, struct err *err);
/* The bit was set. */
static inline bool vdi_use(uint8_t *bits, uint32_t i)
{
	bool was = bits[i / 8] & (1u << i % 8);

	bits[i / 8] |= (uint8_t)(1u << i % 8);
	return was;
}

int vdi_create_check(const struct opts *opts, uint64_t *size, struct err *err);
int vdi_create(const struct create *c, struct err *err);
int vdi_check(struct image *image, struct check *c, struct err *err);

#endif
