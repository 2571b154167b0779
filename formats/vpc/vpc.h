/*
 * vpc: Virtual PC's and Hyper-V's VHD.
 *
 * Described in Microsoft's "Virtual Hard Disk Image Format Specification" (2006; sections
 * "Hard Disk Footer Format", "Dynamic Disk Header Format", "Block Allocation Table and Data
 * Blocks", "Implementing a Differencing Hard Disk", appendix "CHS Calculation") and libyal's
 * "Virtual Hard Disk (VHD) image format". All big-endian.
 *
 * A fixed image is the disk and a footer of 512 bytes after it. A dynamic one begins with a
 * copy of the footer, then the dynamic header, the block allocation table (a sector number for
 * each block), blocks that each have a bitmap of their sectors before them, and the footer. A
 * differencing image is a dynamic one whose bitmaps say which sectors are in it; the others
 * are its parent's, of which it tells the UUID and several names.
 *
 * Limits: 2040 GiB, as Microsoft's and QEMU's; blocks of a power of two from 512 bytes (new
 * ones: 2 MiB); tables of fewer than 2^29 entries, which have to be in the file.
 *
 * How large is the disk? Programs disagree: by the footer's size or by its geometry (CHS).
 * As QEMU has it: by the footer where QEMU (with force_size), Hyper-V, disk2vhd or XenServer
 * made it, or the geometry is the largest there is; else by geometry.
 *
 * Order: data, then what refers to it. New blocks are put where the footer was, so the one at
 * the end of the file is written anew with each flush, and until then the copy at the
 * beginning is all there is: enough for us and for QEMU, and check can write it again.
 *
 *	vpc.c      open and close; the disk's size
 *	footer.c   the footer and the dynamic header: fields, checksums, limits, geometry
 *	dynamic.c  the allocation table, places, the footer at the end
 *	sectors.c  the bitmaps
 *	fixed.c    fixed images
 *	parent.c   the names of a parent, and is this the one?
 *	create.c   new images
 *	check.c    what the table says against what there is; repair
 */
#ifndef FORMATS_VPC_VPC_H
#define FORMATS_VPC_VPC_H

#include "formats/blocks.h"
#include "formats/entries.h"
#include "lib/layout.h"
#include "lib/uuid.h"

#define VPC_FOOTER_COOKIE "conectix"
#define VPC_HEADER_COOKIE "cxsparse"
#define VPC_NOWHERE	  UINT64_MAX  /* data_off of a fixed image, header's next */
#define VPC_ENTRY_FREE	  0xffffffffu /* in the allocation table */
#define VPC_SIZE_MAX	  (2040ull << 30)
#define VPC_EPOCH	  946684800ull /* 2000-01-01 in Unix seconds */

enum {
	VPC_SECTOR = 512,
	VPC_FOOTER_LEN = 512,
	VPC_HEADER_LEN = 1024,
	VPC_BLOCK = 2 << 20,
	VPC_GRAIN = 64 << 10, /* of a fixed image, where any will do */
	VPC_BLOCK_MIN = 512,
	VPC_ENTRIES_MAX = 0x1fffffff, /* QEMU's */
	VPC_LOCATORS = 8,
	VPC_NAME_LEN = 512,	    /* bytes of the parent's name in the header */
	VPC_LOCATOR_MAX = 16 << 10, /* of a name elsewhere */
	VPC_PIECE = 16 << 10,	    /* of the table */
	VPC_PIECES = 64,
	VPC_BITS_PIECES = 256, /* sectors of bitmaps */
	VPC_CHECKSUM_AT = 64,
	VPC_HEADER_CHECKSUM_AT = 36,
};

enum { VPC_TYPE_FIXED = 2, VPC_TYPE_DYNAMIC = 3, VPC_TYPE_DIFFERENCE = 4 };

/* The largest geometry: says nothing of larger disks. */
enum { VPC_CYLINDERS = 65535, VPC_HEADS = 16, VPC_TRACK = 255 };
#define VPC_GEOMETRY_MAX ((uint64_t)VPC_CYLINDERS * VPC_HEADS * VPC_TRACK)

struct vpc_geometry {
	uint16_t cylinders;
	uint8_t heads, track; /* track: sectors per */
};

struct vpc_footer {
	uint8_t cookie[8];
	uint32_t features, version;
	uint64_t data_off; /* of the dynamic header */
	uint32_t timestamp;
	uint8_t creator[4];
	uint32_t creator_version, creator_os;
	uint64_t original_size, current_size;
	uint16_t cylinders;
	uint8_t heads, track;
	uint32_t type, checksum;
	uint8_t uuid[UUID_LEN];
	uint8_t saved;
};

struct vpc_locator {
	uint32_t code, space, length, reserved;
	uint64_t off;
};

struct vpc_header {
	uint8_t cookie[8];
	uint64_t next, table_off;
	uint32_t version, entries, block_size, checksum;
	uint8_t parent_uuid[UUID_LEN];
	uint32_t parent_timestamp;
	uint8_t parent_name[VPC_NAME_LEN];
	struct vpc_locator locator[VPC_LOCATORS];
};

struct vpc {
	struct blocks_image b; /* of a fixed image only b.image is in use */
	struct vpc_footer f;
	struct vpc_header h;
	uint8_t footer[VPC_FOOTER_LEN]; /* as it is to be at the end */
	struct entries table;
	struct cache *bits;
	uint64_t footer_at; /* of the one at the end; where it is, or belongs */
	bool footer_good;   /* it is there */
	bool front_good;
	unsigned flags; /* IMAGE_* */
};

extern const struct format format_vpc;
extern const struct blk_ops vpc_fixed_ops, vpc_dynamic_ops;
extern const struct field vpc_footer_fields[], vpc_header_fields[], vpc_locator_fields[];
extern const struct opt vpc_create_opts[];

/* ---- footer.c */
bool vpc_footer_decode(const uint8_t *buf, struct vpc_footer *f); /* cookie and checksum fit */
void vpc_footer_encode(const struct vpc_footer *f, uint8_t *buf); /* with its checksum */
void vpc_header_decode(const uint8_t *buf, struct vpc_header *h);
void vpc_header_encode(const struct vpc_header *h, uint8_t *buf);
bool vpc_header_sum_fits(const uint8_t *buf);
/* Is it the footer of a fixed image in a file of so many bytes? */
bool vpc_footer_fits(const struct vpc_footer *f, uint64_t file_size);
/* Every limit; disk: its size. */
int vpc_header_check(const struct vpc_header *h, uint64_t disk, uint64_t file_size,
		     struct err *err);
/* The specification's, for so many sectors. */
struct vpc_geometry vpc_geometry_of(uint64_t sectors);
/* The smallest that has room for them, as QEMU looks for it. */
struct vpc_geometry vpc_geometry_for(uint64_t sectors);
uint64_t vpc_geometry_sectors(const struct vpc_geometry *g);
/* In bytes; whole sectors. by: "chs", "current_size", NULL: as the creator had it. */
int vpc_disk_size(const struct vpc_footer *f, const char *by, uint64_t *size, struct err *err);

/* ---- dynamic.c */
uint64_t vpc_bitmap_len(uint32_t block_size);
/* Behind the tables and the parent's names: where the first block may be. */
uint64_t vpc_tables_end(const struct vpc *v);
int vpc_dynamic_open(struct vpc *v, struct err *err);
int vpc_make_empty(struct image *image, struct err *err);
int vpc_table_get(struct vpc *v, uint64_t i, uint32_t *entry, struct err *err);

/* ---- sectors.c */
int vpc_bits_init(struct vpc *v, struct err *err);
/* A new place's: none for a difference, else all. */
int vpc_bits_new(struct vpc *v, uint64_t host, struct err *err);
/* Bytes in..in + n of the block at host are there. */
int vpc_bits_set(struct vpc *v, uint64_t host, uint64_t in, uint64_t n, struct err *err);
/* How many of at most n bytes from `in` on are there, or are not, as the first one is. */
int vpc_bits_run(struct vpc *v, uint64_t host, uint64_t in, uint64_t n, bool *there,
		 uint64_t *len, struct err *err);

/* ---- parent.c */
/* Sets image.backing: the most useful of the names. */
int vpc_parent_read(struct vpc *v, struct err *err);
/* For a new image: the names in the header; to be freed: *data (whole sectors, *n bytes) is to
 * be written at `at`. */
int vpc_parent_name(struct vpc_header *h, const char *path, uint64_t at, uint8_t **data,
		    size_t *n, struct err *err);
int vpc_adopt(struct image *image, struct image *below, struct err *err);

int vpc_create_check(const struct opts *opts, uint64_t *size, struct err *err);
int vpc_create(const struct create *c, struct err *err);
int vpc_check(struct image *image, struct check *c, struct err *err);

#endif
