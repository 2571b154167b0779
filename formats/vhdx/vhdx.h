/*
 * vhdx: Hyper-V's disk image.
 *
 * Described in [MS-VHDX], "Virtual Hard Disk v2 (VHDX) File Format". All little-endian; what
 * is placed is placed in units of 1 MiB. The first one holds the file identifier, two copies
 * of the header (2.2.2) and two of the table of regions (2.2.3). One region is the block
 * allocation table (BAT, 2.5), one is the metadata (2.6): sizes, and for an image that is a
 * difference to another where that one is. Changes of both go through a log (2.3), so that
 * they are made as a whole or not at all.
 *
 * Limits (2.6.2, 2.2.3): disks of up to 64 TiB, blocks of 1 to 256 MiB, sectors of 512 or 4096
 * bytes, 2047 entries in a table. Places have to be in the file.
 *
 *	header.c    headers and tables of regions: both copies
 *	metadata.c  the items of the metadata
 *	parent.c    the parent of a difference
 *	log.c       what of the log has to be replayed
 *	replay.c    the replay: in memory, or into the file
 *	journal.c   changes on their way through the log
 *	vhdx.c      the BAT, open and close
 *	partial.c   blocks of which the parent has some sectors
 *	create.c    new images
 *	check.c     the BAT against the file; repair
 */
#ifndef FORMATS_VHDX_VHDX_H
#define FORMATS_VHDX_VHDX_H

#include "formats/blocks.h"
#include "formats/entries.h"
#include "lib/layout.h"
#include "lib/uuid.h"

#define VHDX_MIB      (UINT64_C(1) << 20)
#define VHDX_SIZE_MAX (UINT64_C(64) << 40)
#define VHDX_TEXT     "vhdxfile"

enum {
	VHDX_PAGE = 4096,	     /* what the log works in */
	VHDX_HEADER_AT = 64 << 10,   /* and as much further on again */
	VHDX_REGIONS_AT = 192 << 10, /* and 64 KiB further on again */
	VHDX_COPY = 64 << 10,	     /* from one copy to the other */
	VHDX_HEADER_LEN = 4096,
	VHDX_TABLE_LEN = 64 << 10, /* of regions, of metadata */
	VHDX_ENTRIES_MAX = 2047,
	VHDX_REGION_ENTRY = 32, /* bytes; of the metadata table, too */
	VHDX_ITEM_MAX = 1 << 20,
	VHDX_BLOCK_MIN = 1 << 20,
	VHDX_BLOCK_MAX = 256 << 20,
	VHDX_BITMAP = 1 << 20,	       /* bytes of a block of sector bitmaps */
	VHDX_BITMAP_SECTORS = 8 << 20, /* of the disk that it tells about */
	VHDX_BAT_PIECE = 16 << 10,
	VHDX_BAT_PIECES = 64,
	VHDX_LOG_VERSION = 0,
	VHDX_VERSION = 1,
};

/* States of blocks: bits 0 to 2 of an entry of the BAT (2.5.1.1). */
enum vhdx_state {
	VHDX_NOT_PRESENT = 0,
	VHDX_UNDEFINED = 1,
	VHDX_ZERO = 2,
	VHDX_UNMAPPED = 3,
	VHDX_PRESENT = 6, /* of a sector bitmap, too */
	VHDX_PARTIAL = 7,
};
#define VHDX_STATE(entry) ((enum vhdx_state)((entry)&7))
#define VHDX_PLACE(entry) ((entry)&UINT64_C(0xfffffffffff00000))

struct vhdx_header {
	uint32_t signature, checksum;
	uint64_t sequence;
	uint8_t file_write[UUID_LEN], data_write[UUID_LEN], log[UUID_LEN]; /* as stored */
	uint16_t log_version, version;
	uint32_t log_len;
	uint64_t log_off;
};

struct vhdx_region {
	uint8_t id[UUID_LEN];
	uint64_t off;
	uint32_t len;
	uint32_t required;
};

/* What the metadata tells. */
struct vhdx_meta {
	uint32_t block;
	bool fixed; /* LeaveBlocksAllocated */
	bool has_parent;
	uint64_t size;
	uint32_t logical, physical;
	uint8_t disk_id[UUID_LEN];
	/* of the parent locator, NULL: none; owned */
	char *relative_path, *volume_path, *absolute_path;
	char *linkage, *linkage2;
};

/* What is to be replayed of the log: runs of the file, in order, none over another. */
struct vhdx_run {
	uint64_t off, len;
	uint8_t *bytes; /* a page, owned by the run; NULL: zeros */
};
struct vhdx_replay {
	struct vhdx_run *run;
	size_t n;
	uint64_t last; /* the file is to be at least so long */
	bool pending;  /* the log names changes, perhaps of nothing */
};

struct vhdx_journal;

struct vhdx {
	struct blocks_image b;
	unsigned flags;	  /* IMAGE_* */
	struct blk *file; /* borrowed: lower, or lower with the log replayed in memory */
	struct vhdx_header h;
	unsigned header; /* which copy is the current one */
	bool header_ok[2], regions_ok[2];
	uint64_t file_size; /* when it was opened */
	struct vhdx_region bat, meta_region;
	struct vhdx_meta m;
	uint64_t ratio;	 /* blocks of data to one of sector bitmaps */
	uint64_t blocks; /* of data */
	struct entries map;
	struct cache *bitmap; /* of sector bitmaps; NULL: there are none */
	struct blk *overlay;  /* NULL: nothing to be replayed */
	struct blk *journal;  /* NULL: nothing is written, or it needs no log */
	bool replayed;	      /* into the file */
};

extern const struct format format_vhdx;
extern const struct opt vhdx_create_opts[];
extern const uint8_t vhdx_id_bat[UUID_LEN], vhdx_id_metadata[UUID_LEN];
/* The metadata items in the order of struct vhdx_item_kind. */
enum vhdx_item {
	VHDX_ITEM_PARAMETERS,
	VHDX_ITEM_SIZE,
	VHDX_ITEM_DISK_ID,
	VHDX_ITEM_LOGICAL,
	VHDX_ITEM_PHYSICAL,
	VHDX_ITEM_PARENT,
	VHDX_ITEMS
};

/* ---- header.c ---- */
/* Every limit of a header whose checksum is right. */
int vhdx_header_check(const struct vhdx_header *h, uint64_t file_size, struct err *err);
int vhdx_header_read(struct vhdx *v, struct err *err);
/* Both copies, one after the other, each with a new sequence number; stable. */
int vhdx_header_write(struct vhdx *v, struct err *err);
/* One page of h, with its checksum. */
void vhdx_header_encode(const struct vhdx_header *h, uint8_t page[VHDX_HEADER_LEN]);
/* Finds the BAT and the metadata. */
int vhdx_regions_read(struct vhdx *v, struct err *err);
/* Whole table, VHDX_TABLE_LEN bytes, with its checksum. */
void vhdx_regions_encode(const struct vhdx_region *r, unsigned n, uint8_t *table);
/* The copy that is damaged, or differs, becomes like the other one. */
int vhdx_regions_repair(struct vhdx *v, struct err *err);

/* ---- metadata.c ---- */
int vhdx_meta_read(struct vhdx *v, struct err *err);
int vhdx_meta_check(const struct vhdx_meta *m, struct err *err);
void vhdx_meta_free(struct vhdx_meta *m);
/* The table and the items of a new image: VHDX_TABLE_LEN + VHDX_PAGE bytes. */
void vhdx_meta_encode(const struct vhdx_meta *m, uint8_t *to);

/* ---- parent.c ---- */
/* The item of that name, n bytes. */
int vhdx_locator_read(struct vhdx_meta *m, const uint8_t *item, uint32_t n, struct err *err);
/* The path of the parent from the image's folder; NULL: none is told. *path is to be freed. */
int vhdx_parent_path(const struct vhdx_meta *m, char **path, struct err *err);
int vhdx_adopt(struct image *image, struct image *below, struct err *err);

/* ---- log.c, replay.c ---- */
/* What the log of this header says. To be freed, also after an error. */
int vhdx_log_read(struct blk *file, const struct vhdx_header *h, struct vhdx_replay *out,
		  struct err *err);
void vhdx_replay_free(struct vhdx_replay *r);
/* Reads as the file would after the replay. Takes *r over; `file` is borrowed. */
struct blk *vhdx_replay_blk(struct blk *file, struct vhdx_replay *r, struct err *err);
/* Brings it to the file; stable. */
int vhdx_replay_write(struct blk *file, const struct vhdx_replay *r, struct err *err);

/* ---- journal.c ---- */
/* A blk that writes to v->b.image.blk.lower by way of the log, in batches. */
struct blk *vhdx_journal_new(struct vhdx *v, struct err *err);
/* All that was written to it is in the log, stable, and in the file. */
int vhdx_journal_commit(struct blk *journal, struct err *err);
/* For close, after a commit: nothing is left to be replayed. */
int vhdx_journal_end(struct blk *journal, struct err *err);

/* ---- vhdx.c ---- */
/* Where the entry of block i is in the BAT, and that of the bitmap of its sectors. */
uint64_t vhdx_entry_of(const struct vhdx *v, uint64_t i);
uint64_t vhdx_bitmap_entry_of(const struct vhdx *v, uint64_t i);
uint64_t vhdx_entries(const struct vhdx_meta *m);
int vhdx_get_entry(struct vhdx *v, uint64_t entry, uint64_t *value, struct err *err);
int vhdx_set_entry(struct vhdx *v, uint64_t entry, uint64_t value, struct err *err);
/* May `len` bytes of data be at `off`? NULL: yes; else what is wrong with it. */
const char *vhdx_place_wrong(const struct vhdx *v, uint64_t off, uint64_t len);
/* Bytes of block i that the disk has. */
uint64_t vhdx_block_len(const struct vhdx *v, uint64_t i);

/* ---- partial.c ---- */
int vhdx_partial_extent(struct vhdx *v, uint64_t off, uint64_t len, struct extent *out,
			struct err *err);

/* ---- create.c, check.c ---- */
int vhdx_create_check(const struct opts *opts, uint64_t *size, struct err *err);
int vhdx_create(const struct create *c, struct err *err);
int vhdx_check(struct image *image, struct check *c, struct err *err);

#endif
