/*
 * vmdk: VMware's virtual disks.
 *
 * Described in VMware's "Virtual Disk Format 5.0" (sections "The Descriptor File", "Hosted
 * Sparse Extents", "Stream-Optimized Compressed Sparse Extents", "ESX Server Sparse Extents")
 * and in libyal's "VMware Virtual Disk (VMDK) format". A descriptor, a text, says which
 * extents make up the disk, one after the other; each is a range of zeros, a range of a file,
 * or a sparse file: a grain directory that points to grain tables that point to grains of
 * (mostly) 64 KiB. All little-endian, places in sectors of 512 bytes. The descriptor is a file
 * or lies inside the only extent.
 *
 * Two copies of directory and tables are kept the same. Where the descriptor is inside a
 * stream, its grains are deflated, each behind a marker.
 *
 * Limits: descriptors of 1 MiB; VMDK_EXTENTS_MAX extents; grains of 4 KiB to 2 MiB (COWD: from
 * a sector on); 512 entries in a table; as places have 32 bits, 2 TiB in one file.
 *
 *	descriptor.c  the text
 *	header.c      headers of sparse extents, their limits
 *	extent.c      from a line of the descriptor, or a file alone, to an extent
 *	sparse.c      grain directory and tables
 *	sesparse.c    those of seSparse
 *	vmdk.c        the image: probe, open, dispatch to its extents
 *	packed.c      compressed grains
 *	stream.c      a stream that is being written
 *	create.c      new images; create_files.c: what belongs to them
 *	check.c, info.c
 */
#ifndef FORMATS_VMDK_VMDK_H
#define FORMATS_VMDK_VMDK_H

#include "formats/blocks.h"
#include "formats/entries.h"
#include "lib/layout.h"

#define VMDK_MAGIC     0x564d444bu /* "KDMV" */
#define COWD_MAGIC     0x44574f43u /* "COWD" */
#define SESPARSE_MAGIC 0x00000000cafebabeull
#define VMDK_GD_AT_END UINT64_MAX
#define VMDK_NO_CID    0xffffffffu
#define VMDK_TOOLS     "2147483647"

enum {
	VMDK_SECTOR = 512,
	VMDK_DESC_MAX = 1 << 20,
	VMDK_DESC_ROOM = 20 * 512, /* of a new embedded one */
	VMDK_EXTENTS_MAX = 65536,
	VMDK_GRAIN = 65536,
	VMDK_GRAIN_MIN = 4096,
	VMDK_GRAIN_MAX = 2 << 20,
	VMDK_GTES = 512,
	VMDK_PIECE = 16 << 10,
	VMDK_PIECES = 64,
	VMDK_MARKER = 12, /* of a grain: sector of the disk, length */
	VMDK_ZLIB_HEAD = 2,
	VMDK_ZLIB_TAIL = 4, /* Adler-32 */
};

enum {
	VMDK_F_NEWLINE = 1,
	VMDK_F_RGD = 2, /* there is a redundant directory */
	VMDK_F_ZERO = 4,
	VMDK_F_PACKED = 1 << 16,
	VMDK_F_MARKERS = 1 << 17,
};

/* of markers that are no grains */
enum { MARKER_EOS, MARKER_GT, MARKER_GD, MARKER_FOOTER };

/* ---- the descriptor ------------------------------------------------------------------ */

enum vmdk_access { VMDK_NOACCESS, VMDK_RDONLY, VMDK_RW };

struct vmdk_line {
	enum vmdk_access access;
	uint64_t sectors, offset;
	char type[16];
	char *name; /* NULL: none */
};

struct vmdk_desc {
	char *text;  /* NUL-terminated */
	size_t room; /* bytes that it may have in its file */
	uint32_t cid, parent_cid;
	char *type;   /* createType */
	char *parent; /* parentFileNameHint, or NULL */
	struct vmdk_line *line;
	size_t n;
};

/* Takes text over, also on failure. */
int vmdk_desc_parse(struct vmdk_desc *d, char *text, struct err *err);
void vmdk_desc_free(struct vmdk_desc *d);
/* Does a text begin as a descriptor does? */
bool vmdk_desc_probe(const uint8_t *text, size_t n);
/* Where the digits of CID= stand in the text. */
bool vmdk_desc_cid(const char *text, size_t *at, size_t *digits);

/* ---- extents ------------------------------------------------------------------------- */

struct vmdk_header {
	uint32_t magic, version, flags;
	uint64_t capacity, grain, desc_at, desc_sectors;
	uint32_t gtes;
	uint64_t rgd_at, gd_at, overhead;
	uint8_t dirty;
	uint8_t newline[4];
	uint16_t compression;
};

enum vmdk_kind {
	VMDK_ZERO,
	VMDK_FLAT,
	VMDK_SPARSE,   /* hosted, and streams */
	VMDK_COWD,     /* of ESX */
	VMDK_SESPARSE, /* of ESX, since 5.1 */
	VMDK_LOCKED,   /* NOACCESS */
};

struct vmdk;
struct vmdk_stream;

struct vmdk_extent {
	struct blocks blocks; /* of sparse kinds */
	struct vmdk *v;
	enum vmdk_kind kind;
	bool read_only;
	const struct vmdk_line *line; /* NULL: the extent is the image's own file */
	struct blk *file;	      /* borrowed; NULL: none */
	uint64_t start, size;	      /* bytes, in the disk */
	uint64_t host;		      /* of a flat one: where it begins in the file */

	/* of sparse kinds */
	struct entries tables;
	uint64_t gd, rgd; /* bytes; rgd 0: there is none */
	uint64_t gds;	  /* entries */
	uint32_t gtes;
	bool zeroed, packed, markers;
	uint64_t first; /* nothing but tables is before that byte */
	struct vmdk_header h;
	struct vmdk_stream *stream;	/* of one that is being made; NULL: none */
	uint64_t gt_first, grain_first; /* seSparse: where tables and grains begin */
};

struct vmdk {
	struct image image;
	struct vmdk_desc desc;
	uint64_t desc_at; /* in image.blk.lower */
	bool alone;	  /* that is the only extent */
	struct vmdk_extent *extent;
	size_t n;
	unsigned flags; /* IMAGE_* */
	bool touched;
	pthread_mutex_t lock; /* touch */
	bool lock_made;
};

extern const struct format format_vmdk;
extern const struct opt vmdk_create_opts[];
extern const struct field vmdk_fields[];

static inline struct vmdk_extent *vmdk_extent_of(struct blocks *b)
{
	return (struct vmdk_extent *)b;
}

/* Every limit; the header lies in a file of so many bytes. */
int vmdk_header_check(const struct vmdk_header *h, uint64_t file_size, struct err *err);
/* The header, or the footer where that is the valid one. *at (may be NULL): where. */
int vmdk_header_read(struct blk *file, struct vmdk_header *h, uint64_t *at, struct err *err);
uint64_t vmdk_gds(const struct vmdk_header *h);

/* Sets up x->file as a sparse extent of a kind that its magic tells. */
int vmdk_extent_open(struct vmdk_extent *x, struct err *err);
void vmdk_extent_close(struct vmdk_extent *x);
/* After x's tables are known. */
int vmdk_sparse_init(struct vmdk_extent *x, uint64_t grain, unsigned width,
		     const struct blocks_driver *driver, struct err *err);
int vmdk_sparse_open(struct vmdk_extent *x, struct err *err);
int vmdk_cowd_open(struct vmdk_extent *x, struct err *err);
int vmdk_sesparse_open(struct vmdk_extent *x, struct err *err);
/* The offset of the table that entry `i` of the directory at `dir` points to, and the entry:
 * 0, and 1 where that means zeros, are no places. */
int vmdk_sparse_table(struct vmdk_extent *x, uint64_t dir, uint64_t i, uint64_t *at,
		      struct err *err);

/* The entry of grain i in the tables of one directory. */
int vmdk_sparse_get(struct vmdk_extent *x, uint64_t dir, uint64_t i, uint64_t *entry,
		    struct err *err);
int vmdk_sparse_set(struct vmdk_extent *x, uint64_t dir, uint64_t i, uint64_t entry,
		    struct err *err);

struct vmdk_extent *vmdk_find(struct vmdk *v, uint64_t off);

/* ---- compressed grains --------------------------------------------------------------- */

/* The compressed bytes of a grain whose entry points to `at`: without marker and zlib's
 * wrapping. i: the grain that it should be. */
int vmdk_packed_place(struct vmdk_extent *x, uint64_t i, uint64_t at, struct block *out,
		      struct err *err);
int vmdk_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err);
int vmdk_pack(struct blk *blk, const void *in, size_t n, void *out, size_t *outn,
	      struct err *err);
int vmdk_unpack(struct blk *blk, const void *packed, size_t n, void *out, size_t *used,
		struct err *err);
int vmdk_wrap(struct blk *blk, uint64_t off, const void *plain, uint8_t *packed, size_t *n,
	      struct err *err);

/* ---- streams ------------------------------------------------------------------------- */

/* x is a stream whose directory is at its end: it can be written if it has no data yet. */
int vmdk_stream_open(struct vmdk_extent *x, struct err *err);
/* Tables, directory, footer. */
int vmdk_stream_finish(struct vmdk_extent *x, struct err *err);
void vmdk_stream_free(struct vmdk_extent *x);
/* All of a stream without data behind its descriptor. */
int vmdk_stream_create(struct blk *file, const struct vmdk_header *h, struct err *err);

/* ---- the rest ------------------------------------------------------------------------ */

int vmdk_create_check(const struct opts *opts, uint64_t *size, struct err *err);
int vmdk_create_files(const struct opts *opts, uint64_t size, const char *path,
		      struct file_names *out, struct err *err);
int vmdk_create(const struct create *c, struct err *err);
int vmdk_info(struct image *image, struct info *out, struct err *err);
int vmdk_check(struct image *image, struct check *c, struct err *err);

#endif
