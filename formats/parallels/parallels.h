/*
 * parallels: the disks of Parallels Desktop, Virtuozzo and OpenVZ.
 *
 * Described in QEMU's docs/interop/parallels.rst ("Parallels Expandable Image File Format")
 * and docs/interop/prl-xml.rst ("Parallels Disk Format"), and in libphdi's "Parallels Hard
 * Disk image format". An expanding image is a header of 64 bytes, the BAT (one 32-bit number
 * for each cluster of the disk) and the clusters, in the order in which they were first
 * written. All little-endian. Two magics: entries count sectors, or clusters. A disk is a
 * folder with DiskDescriptor.xml and the images that it names; that can be read.
 *
 * Limits: version 2; clusters of 512 bytes to QEMU's 4186127 sectors, any number of sectors;
 * QEMU's bound on the entries. The BAT has to be in the file, each cluster, too.
 *
 * in_use is set, and stable, before the first change, and cleared by close: whoever finds it
 * set writes only after a check. That an image is called empty (bit 0 of `flags`) while its
 * BAT has entries is not believed: QEMU never clears the bit.
 *
 *	format.c      the driver: which of both it is
 *	image.c       an expanding image: open, close, its blocks
 *	header.c      its header
 *	places.c      where its clusters are: what is free, what is used twice
 *	create.c      new images
 *	check.c       the BAT against the file and itself; repair
 *	extension.c   the format extension: dirty bitmaps
 *	bitmap.c      their bits
 *	descriptor.c  DiskDescriptor.xml
 *	disk.c        a disk of several files
 */
#ifndef FORMATS_PARALLELS_PARALLELS_H
#define FORMATS_PARALLELS_PARALLELS_H

#include "formats/blocks.h"
#include "formats/entries.h"
#include "lib/layout.h"

#define PRL_MAGIC_SECTORS  "WithoutFreeSpace"
#define PRL_MAGIC_CLUSTERS "WithouFreSpacExt"

#define PRL_CLUSTER UINT64_C(1048576) /* of new images */

enum {
	PRL_SECTOR = 512,
	PRL_MAGIC_LEN = 16,
	PRL_HEADER_LEN = 64,
	PRL_VERSION = 2,
	PRL_TRACKS_MAX = 4186127,     /* QEMU's, INT32_MAX / 513 */
	PRL_ENTRIES_MAX = 0x1fffffff, /* QEMU's, "Catalog too large" */
	PRL_IN_USE = 0x746f6e59,      /* in_use while it is written */
	PRL_CLOSED = 0x312e3276,      /* closed by who understands the extension */
	PRL_EMPTY = 1,		      /* flags */
	PRL_IN_USE_AT = 44,
	PRL_DATA_OFF_AT = 48,
	PRL_FLAGS_AT = 52,
	PRL_EXT_OFF_AT = 56,
	PRL_BAT_PIECE = 16 << 10,
	PRL_BAT_PIECES = 64,
};

struct prl_header {
	uint8_t magic[PRL_MAGIC_LEN];
	uint32_t version, heads, cylinders;
	uint32_t tracks;  /* sectors of a cluster */
	uint32_t entries; /* of the BAT */
	uint64_t sectors; /* of the disk */
	uint32_t in_use;
	uint32_t data_off; /* sectors */
	uint32_t flags;
	uint64_t ext_off; /* sectors */
};

struct prl_extension;

/* An expanding image. */
struct prl {
	struct blocks_image b;
	struct prl_header h;
	struct entries bat;
	unsigned flags;		   /* IMAGE_* */
	uint64_t unit;		   /* bytes that an entry counts */
	uint64_t data_start;	   /* bytes */
	struct prl_extension *ext; /* NULL: none that is valid */
	uint64_t ahead;		   /* the file grows by so much at once; 0: as is needed */
	enum blk_prealloc how;
};

/* An entry that is no hole, and whose it is. */
struct prl_place {
	uint64_t host;
	uint32_t entry;
};
#define PRL_NO_ENTRY UINT32_MAX /* it is the extension's */

extern const struct format format_parallels;
extern const struct field prl_fields[];
extern const struct opt prl_create_opts[];

/* ---- header.c */

/* Every limit; what is above lies in a file of so many bytes. Also on a version 1 image,
 * h->sectors is the disk's size when it returned 0. */
int prl_header_check(struct prl_header *h, uint64_t file_size, struct err *err);
bool prl_counts_clusters(const struct prl_header *h);
/* Bytes. */
uint64_t prl_bat_end(const struct prl_header *h);
/* Where clusters may begin, as the specification has it: data_off where that is sound, and in
 * the file. */
uint64_t prl_first_place(const struct prl_header *h, uint64_t file_size);
bool prl_data_off_good(const struct prl_header *h);

/* ---- image.c */

static inline uint64_t prl_cluster(const struct prl *p)
{
	return (uint64_t)p->h.tracks * PRL_SECTOR;
}

/* opts: NULL, or open_opts. over: what it leaves absent is asked of another image, which is
 * below it. */
int prl_image_open(struct blk *lower, const struct opts *opts, unsigned flags, bool over,
		   struct image **out, struct err *err);
int prl_image_info(struct image *image, struct info *out, struct err *err);
/* Is it one of these, or a disk of several files? */
bool prl_is_image(const struct image *image);
int prl_get_entry(struct prl *p, uint32_t i, uint32_t *entry, struct err *err);
int prl_set_entry(struct prl *p, uint32_t i, uint32_t entry, struct err *err);
/* A number of the header, in the file. */
int prl_write_field(struct prl *p, unsigned at, unsigned width, uint64_t value,
		    struct err *err);
/* What is wrong with the cluster at host, which the entry of `i` says? NULL: nothing. */
const char *prl_place_wrong(const struct prl *p, uint32_t i, uint64_t host);

/* ---- places.c */

/* What is in use, in the order of the file; also what is no good place. To be freed. */
int prl_places(struct prl *p, struct prl_place **list, size_t *n, struct err *err);
/* For a writer: where new clusters go. */
int prl_find_room(struct prl *p, struct err *err);

/* ---- create.c */
int prl_create_check(const struct opts *opts, uint64_t *size, struct err *err);
int prl_create(const struct create *c, struct err *err);

/* ---- check.c; of an expanding image */
int prl_check(struct image *image, struct check *c, struct err *err);

/* ---- disk.c: as in struct format */
bool prl_disk_probe(const uint8_t *head, size_t n, uint64_t size);
int prl_disk_open(struct blk *lower, unsigned flags, struct image **out, struct err *err);
int prl_disk_attached(struct image *image, struct err *err);
int prl_disk_info(struct image *image, struct info *out, struct err *err);
int prl_disk_check(struct image *image, struct check *c, struct err *err);
int prl_disk_load(struct image *image, size_t i, struct err *err);

#endif
