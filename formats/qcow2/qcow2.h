/*
 * qcow2 (QEMU docs/interop/qcow2.rst), shared inside formats/qcow2/.
 *
 *	header.c   the header and its extensions, every limit
 *	open.c     open and close; hollow.c: an answer about the file
 *	snapshot.c  the table of snapshots; snapshot.h: what is done with them; swap.h: how,
 *	            all at once
 *	bitmap.c    the directory of bitmaps; bitmap_store.c: how it and they are replaced;
 *	            bitmap_live.c: kept true; bitmap_ops.c: what users do with them
 *	map.c      L1 and L2 tables -> extents; packed.c: compressed clusters
 *	refcount.c, alloc.c  reference counts; host clusters
 *	overlap.c  what is about to be written over metadata is not
 *	claim.c, zero.c      writing: claim, settle, drop; zeros, discard
 *	sync.c     what goes to the disk when
 *	tuning.c   the options of an open
 *	options.c, create.c, resize.c  new images, more room; prealloc.c, shrink.c
 *	backing.c, empty.c   another backing file; all data dropped
 *	amend.c, width.c, downgrade.c  other options of an image that is there
 *	crypt.c    encrypted images
 *	info.c, measure.c, check*.c    what format.h asks for
 *
 * Units: bytes; what counts clusters ends in _cl. L1, L2 and refcount table entries are
 *	kept in memory as numbers (L1, refcount table) or as on disk (the caches).
 * Threads: `lock` guards everything below it in struct qcow2. Data I/O is done outside.
 * Order on disk: data, reference counts, L2, L1; frees come after all of them. See
 *	qcow2_sync().
 */
#ifndef FORMATS_QCOW2_QCOW2_H
#define FORMATS_QCOW2_QCOW2_H

#include <pthread.h>

#include "crypto/luks1_options.h"
#include "formats/format.h"
#include "lib/cache.h"

extern const struct format format_qcow2;

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

enum {
	QCOW2_HEAD_V2 = 72,   /* length of a version 2 header */
	QCOW2_HEAD_V3 = 104,  /* the least length of a version 3 header */
	QCOW2_HEAD_NOW = 112, /* with the compression type: what we write */

	/* QEMU's limits, named in the specification and its manual */
	QCOW2_CLUSTER_BITS_MIN = 9,
	QCOW2_CLUSTER_BITS_MAX = 21,
	QCOW2_L1_MAX = 32 << 20,      /* bytes */
	QCOW2_REFTABLE_MAX = 8 << 20, /* bytes */
	QCOW2_SNAPSHOTS_MAX = 65536,
	QCOW2_SNAPSHOT_TABLE_MAX = 64 << 20,
	QCOW2_BACKING_MAX = 1023,
	QCOW2_BITMAPS_MAX = 65535,
	QCOW2_SUBCLUSTERS = 32,
	QCOW2_SUBCLUSTER_MIN = 512,
};

/* incompatible_features */
enum {
	QCOW2_INCOMPAT_DIRTY = 1,
	QCOW2_INCOMPAT_CORRUPT = 2,
	QCOW2_INCOMPAT_DATA_FILE = 4,
	QCOW2_INCOMPAT_COMPRESSION = 8,
	QCOW2_INCOMPAT_EXT_L2 = 16,
	QCOW2_INCOMPAT_KNOWN = 31,
};
/* compatible_features */
enum { QCOW2_COMPAT_LAZY = 1 };
/* autoclear_features */
enum { QCOW2_AUTOCLEAR_BITMAPS = 1, QCOW2_AUTOCLEAR_DATA_RAW = 2 };

/* crypt_method */
enum { QCOW2_CRYPT_NONE, QCOW2_CRYPT_AES, QCOW2_CRYPT_LUKS };

/* L1 and L2 entries */
#define QCOW2_COPIED	 (UINT64_C(1) << 63)
#define QCOW2_COMPRESSED (UINT64_C(1) << 62)
#define QCOW2_ZERO	 UINT64_C(1)		      /* version 3, standard L2 entries */
#define QCOW2_OFF_MASK	 UINT64_C(0x00fffffffffffe00) /* bits 9-55 */

/* The fixed header; fields that version 2 lacks hold what they mean there. */
struct qcow2_header {
	uint32_t magic, version;
	uint64_t backing_off;
	uint32_t backing_len;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt;
	uint32_t l1_size; /* entries */
	uint64_t l1_off;
	uint64_t reftable_off;
	uint32_t reftable_cl;
	uint32_t nb_snapshots;
	uint64_t snapshots_off;
	uint64_t incompat, compat, autoclear;
	uint32_t refcount_order;
	uint32_t header_len;
	uint8_t compression; /* 0 deflate, 1 zstd */
};

/* Header extension types */
enum {
	QCOW2_EXT_END = 0,
	QCOW2_EXT_BACKING_FORMAT = 0xe2792aca,
	QCOW2_EXT_FEATURES = 0x6803f857,
	QCOW2_EXT_BITMAPS = 0x23852875,
	QCOW2_EXT_CRYPT = 0x0537be77,
	QCOW2_EXT_DATA_FILE = 0x44415441,
};

/* One header extension, known or not, as it stands in the file. */
struct qcow2_ext {
	uint32_t type, len;
	uint8_t *data; /* owned */
};

/* All of the first cluster that is not the fixed header. */
struct qcow2_extra {
	uint8_t *unknown; /* fields past the ones we know: header_len - QCOW2_HEAD_NOW bytes */
	uint32_t nunknown;
	struct qcow2_ext *ext; /* in order, without the end mark */
	size_t next;
	char *backing, *backing_format, *data_file; /* NULL: none */
	bool has_data_file;			    /* the extension is there, maybe empty */
	bool has_bitmaps;
	uint32_t nb_bitmaps;
	uint64_t bitmap_dir_size, bitmap_dir_off;
	bool has_crypt;
	uint64_t crypt_off, crypt_len;
};

/* Place of a snapshot's tables, beside what info tells of it. */
struct qcow2_snapshot {
	struct snapshot_info info;
	uint64_t l1_off;
	uint32_t l1_size;
	uint32_t extra_size; /* of the entry's extra data */
	uint8_t *unknown;    /* what of it follows the fields that we know, or NULL; owned */
};

/* An entry of the bitmap directory. */
struct qcow2_bitmap {
	char *name;
	uint64_t table_off;
	uint32_t table_size; /* entries */
	uint32_t flags;	     /* 1 in_use, 2 auto, 4 extra_data_compatible */
	uint8_t type, granularity_bits;
	/* in q->bitmap only */
	bool broken;	       /* was in use when the image was opened: inconsistent */
	bool held;	       /* in use by us: the disk says so until it is stored */
	bool added;	       /* since the image was opened */
	struct dirty *touched; /* what was written since it is held; NULL: nothing */
};

/* Why clusters are freed: whether their space is given back to the file system, too, is an
 * option for each. */
enum qcow2_free_for { QCOW2_FREE_OTHER, QCOW2_FREE_REQUEST, QCOW2_FREE_SNAPSHOT };

/* Freed on disk only after the tables that pointed there are stable. */
struct qcow2_freed {
	uint64_t off, len; /* any bytes: each cluster that they touch loses one reference */
	enum qcow2_free_for why;
};

/* The kinds of metadata that nothing else may be written over. */
enum {
	QCOW2_META_HEADER = 1,
	QCOW2_META_ACTIVE_L1 = 2,
	QCOW2_META_ACTIVE_L2 = 4,
	QCOW2_META_REFBLOCK = 8,
	QCOW2_META_REFTABLE = 16,
	QCOW2_META_SNAPSHOT_TABLE = 32,
	QCOW2_META_INACTIVE_L1 = 64,
	QCOW2_META_INACTIVE_L2 = 128,
	QCOW2_META_BITMAP_DIR = 256,
	/* the templates of the option overlap-check */
	QCOW2_META_CONSTANT = QCOW2_META_HEADER | QCOW2_META_ACTIVE_L1 | QCOW2_META_REFTABLE |
			      QCOW2_META_SNAPSHOT_TABLE | QCOW2_META_BITMAP_DIR,
	QCOW2_META_CACHED = QCOW2_META_CONSTANT | QCOW2_META_ACTIVE_L2 | QCOW2_META_REFBLOCK |
			    QCOW2_META_INACTIVE_L1,
	QCOW2_META_ALL = QCOW2_META_CACHED | QCOW2_META_INACTIVE_L2,
};

/* Is the space of freed clusters given back? */
enum qcow2_pass {
	QCOW2_PASS_AS_DISCARD /* with discard=unmap */,
	QCOW2_PASS_ON,
	QCOW2_PASS_OFF
};

/* How an image is used, not what it is. */
struct qcow2_tuning {
	uint64_t l2_cache, ref_cache; /* bytes at most */
	uint32_t l2_entry;	      /* bytes of an L2 table that are written at a time */
	unsigned clean;		      /* seconds; 0: never */
	bool lazy;
	enum qcow2_pass pass_request, pass_snapshot, pass_other;
	bool no_unref;
	unsigned overlap; /* QCOW2_META_*: what is looked for before a write */
	uint32_t window;  /* bytes of refcount blocks that a change of snapshots has at hand */
};

struct qcow2 {
	struct image image; /* first */
	struct qcow2_tuning tuning;
	unsigned flags; /* IMAGE_* of the open */
	struct qcow2_header h;
	struct qcow2_extra extra;
	uint64_t file_size; /* of the image file when opened */

	/* fixed by the header; the bits of h.incompat change under the lock */
	bool external, ext_l2;
	uint32_t cluster_size;
	uint32_t l2_entry;	/* bytes: 8 or 16 */
	unsigned l2_bits;	/* log2 of the entries in an L2 table */
	uint64_t l2_span;	/* guest bytes that an L2 table maps */
	unsigned refblock_bits; /* log2 of the entries in a refcount block */
	unsigned packed_shift;	/* x of the specification's compressed descriptor */

	struct qcow2_snapshot *snapshot; /* read at open, but for check */
	uint32_t nsnapshot;
	uint32_t overhanging; /* for check: more than the most that are allowed; not in h */
	uint64_t snapshot_table_len; /* bytes, without the padding of the last entry */

	struct qcow2_bitmap *bitmap; /* read at open */
	size_t nbitmap;

	pthread_mutex_t lock;
	bool lock_made;

	uint64_t *l1;	    /* h.l1_size entries as numbers; NULL with IMAGE_NO_IO */
	uint64_t *reftable; /* numbers; loaded for writing and for check */
	uint64_t nreftable; /* entries */
	struct cache *l2_cache;
	struct cache *ref_cache; /* loaded as reftable is */

	/* writing */
	uint8_t *l1_dirty; /* a bit for each 4 KiB of the L1 table */
	bool l1_changed;
	bool started;	     /* the header says that we write: dirty, autoclear bits */
	bool lost;	     /* see qcow2_lost() */
	bool broken;	     /* an error left the counts in memory unlike those on disk */
	uint64_t free_cl;    /* no cluster below it is free */
	uint64_t fresh_off;  /* at and past it the file has never been written */
	uint64_t packed_off; /* where the next compressed bytes go; 0: into a new cluster */
	uint64_t file_end;   /* the file has to be this long in the end */
	uint64_t ahead;	     /* the length that claim.c gave it, beyond what is in use; or 0 */
	struct qcow2_freed *later; /* what the next sync frees */
	size_t nlater, later_room;
	uint64_t later_bytes;
	unsigned tracking;	   /* BITMAPS_*; read without the lock */
	bool unsaid;		   /* the disk may not say yet which bitmaps are in use */
	struct luks1_header luks;  /* of crypt_method 2; read at open */
	uint8_t *key;		   /* of key_alloc(); NULL: none, or the legacy method */
	struct sector *sector;	   /* NULL: opened without the key */
	struct qcow2_guard *guard; /* overlap.c's; NULL: not yet made */
	bool told;		   /* of a corruption, once */
	bool dead;		   /* corrupt: nothing is written any more */
};

static inline struct qcow2 *qcow2_of(struct blk *blk)
{
	return (struct qcow2 *)blk;
}

/* Where guest data is: the external data file or the image file. */
static inline struct blk *qcow2_home(struct qcow2 *q)
{
	return q->external ? q->image.data : q->image.blk.lower;
}

/* The n entries from `at` on of an L2 table in the cache have changed. */
static inline void qcow2_l2_changed(struct qcow2 *q, uint8_t *table, const uint8_t *at,
				    size_t n)
{
	cache_dirty_part(q->l2_cache, table, (size_t)(at - table), n * q->l2_entry);
}

/* The place of a guest offset in the L1 table, and in its L2 table. */
static inline uint64_t qcow2_l1_index(const struct qcow2 *q, uint64_t off)
{
	return off / q->l2_span;
}

static inline uint8_t *qcow2_entry_at(const struct qcow2 *q, uint8_t *table, uint64_t off)
{
	uint64_t i = (off >> q->h.cluster_bits) & ((UINT64_C(1) << q->l2_bits) - 1);

	return table + i * q->l2_entry;
}

static inline bool qcow2_external(const struct qcow2 *q)
{
	return q->external;
}

/* Is what is absent zero? */
static inline bool qcow2_alone(const struct qcow2 *q)
{
	return !q->h.backing_off && !q->image.below_to_come;
}

static inline bool qcow2_ext_l2(const struct qcow2 *q)
{
	return q->ext_l2;
}
/* ---- header.c; pure --------------------------------------------------------------- */

/* magic and version, then the fields. n >= QCOW2_HEAD_V2. */
int qcow2_header_decode(const uint8_t *buf, size_t n, struct qcow2_header *h, struct err *err);
/*
 * Every limit on the fixed header. file_size UINT64_MAX leaves out what compares tables
 * with the file: info and check look at images whose tables are elsewhere, too.
 */
int qcow2_header_check(const struct qcow2_header *h, uint64_t file_size, struct err *err);
/* The part of it that the rest of the first cluster is read with. */
int qcow2_shape_check(const struct qcow2_header *h, struct err *err);
/* The rest of the first cluster: buf holds n of its bytes, at least up to the backing
 * name or the whole cluster. extra is to be freed also after an error. */
int qcow2_extra_decode(const uint8_t *buf, size_t n, const struct qcow2_header *h,
		       struct qcow2_extra *extra, struct err *err);
void qcow2_extra_free(struct qcow2_extra *extra);
/* -1 with the names of the incompatible features that we do not know. */
int qcow2_features_check(const struct qcow2_header *h, const struct qcow2_extra *extra,
			 struct err *err);
/*
 * Header, extensions in the peer's order (unknown ones last), backing name, into n zeroed
 * bytes (the first cluster). Sets h->backing_off, backing_len and header_len. With
 * `features` the feature name table is written as the peer writes it.
 */
int qcow2_header_encode(struct qcow2_header *h, const struct qcow2_extra *extra, bool features,
			uint8_t *buf, size_t n, struct err *err);
/* Entries that an L1 table needs for `size` guest bytes. */
uint64_t qcow2_l1_needed(const struct qcow2_header *h, uint64_t size);

/* ---- bitmap*.c -------------------------------------------------------------------- */

/* What writers have to do for bitmaps. */
enum {
	QCOW2_TRACK_NONE,
	QCOW2_TRACK_BEGIN, /* some are enabled; before the first change the disk must say so */
	QCOW2_TRACK_ON,	   /* they are held */
};

/* The bitmap directory, checked as the peer checks it when it opens an image. None where
 * the bitmaps' autoclear bit is not set. */
int qcow2_bitmaps_read(const struct qcow2 *q, struct qcow2_bitmap **list, size_t *n,
		       struct err *err);
void qcow2_bitmaps_free(struct qcow2_bitmap *list, size_t n);
/* q->bitmap, and the warning where what the image has is not to be trusted. At open. */
int qcow2_bitmaps_load(struct qcow2 *q, struct err *err);
/* blk_ops.touch. */
int qcow2_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err);
/*
 * The disk is about to get another size: says if the bitmaps can follow, and holds them. They
 * are stored with the size that the header has in the end. Under the lock.
 */
int qcow2_bitmaps_resize(struct qcow2 *q, uint64_t size, struct err *err);
/* Stores what is held. At the end of a writer; before qcow2_sync(). */
int qcow2_bitmaps_finish(struct qcow2 *q, struct err *err);
extern const struct bitmap_ops qcow2_bitmap_ops;
/* Entries that the table of a bitmap of this granularity has. */
uint64_t qcow2_bitmap_clusters(uint64_t size, unsigned granularity_bits, uint64_t cluster);

/* ---- check.c, measure.c: struct format -------------------------------------------- */

int qcow2_check(struct image *image, struct check *c, struct err *err);
int qcow2_measure(const struct opts *opts, uint64_t size, struct blk *src, struct measure *out,
		  struct err *err);

/* ---- hollow.c: blk_ops.hollow ----------------------------------------------------- */

bool qcow2_hollow(struct blk *blk);

/* ---- open.c ----------------------------------------------------------------------- */

extern const struct blk_ops qcow2_ops;
int qcow2_open(struct blk *lower, const struct opts *opts, unsigned flags, struct image **out,
	       struct err *err);

/* ---- sync.c ----------------------------------------------------------------------- */

/* Writes the fixed fields of the header from q->h, in one piece. */
int qcow2_header_update(struct qcow2 *q, struct err *err);
/* Before the first change: clears what a writer must clear, refuses what it must. Under
 * the lock, as all of the following. */
int qcow2_start(struct qcow2 *q, struct err *err);
/*
 * Brings all metadata to the file, each kind stable before the next refers to it (no
 * waits with IMAGE_NEW), then frees what was replaced. `stable`: the last kind, too.
 */
int qcow2_sync(struct qcow2 *q, bool stable, struct err *err);
void qcow2_l1_set(struct qcow2 *q, uint64_t i, uint64_t entry);
/* Gives the space of a part of the image file back, where that is possible. */
void qcow2_punch(struct qcow2 *q, uint64_t off, uint64_t len);
/* At the end of a writer. Takes no lock. */
int qcow2_finish(struct qcow2 *q, struct err *err);
int qcow2_flush(struct blk *blk, struct err *err);
/*
 * EIO, -1. The first time the user is told, in the peer's words (err_notice). Of an image
 * that is written, the corrupt bit is set, and nothing is written any more. Under the lock.
 */
int qcow2_corrupt(struct qcow2 *q, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- refcount.c ------------------------------------------------------------------- */

uint64_t qcow2_ref_get(unsigned order, const uint8_t *block, uint64_t i);
void qcow2_ref_put(unsigned order, uint8_t *block, uint64_t i, uint64_t v);
/* The most that a count of 1 << order bits says. */
static inline uint64_t qcow2_ref_max(unsigned order)
{
	return UINT64_MAX >> (64 - (1u << order));
}

/* Are all n counts from i on 0? */
bool qcow2_refs_none(unsigned order, const uint8_t *block, uint64_t i, uint64_t n);
/* q->reftable, for writing and check. */
int qcow2_reftable_load(struct qcow2 *q, struct err *err);
/* The block at refcount table index i, held; *block NULL where there is none. */
int qcow2_refblock_get(struct qcow2 *q, uint64_t i, uint8_t **block, struct err *err);
int qcow2_ref_of(struct qcow2 *q, uint64_t cl, uint64_t *refs, struct err *err);
/* One more (or less) reference to each of n clusters whose refcount blocks exist. */
int qcow2_ref_change(struct qcow2 *q, uint64_t cl, uint64_t n, bool more, struct err *err);
/* Clusters in use that off..off+len touches (len > 0) lose a reference at the next sync. */
int qcow2_free_later(struct qcow2 *q, uint64_t off, uint64_t len, enum qcow2_free_for why,
		     struct err *err);
/* Is the space of what is freed for that reason given back? */
bool qcow2_passes(const struct qcow2 *q, enum qcow2_free_for why);
/* The same at once: nothing on disk refers to them. */
int qcow2_free_now(struct qcow2 *q, uint64_t off, uint64_t len, struct err *err);

/* ---- alloc.c ---------------------------------------------------------------------- */

/*
 * At most `want` adjacent free clusters, the first there are (`whole`: exactly so many),
 * with a refcount of 1 from now on. *fresh: they read as zeros.
 */
int qcow2_alloc(struct qcow2 *q, uint64_t want, bool whole, uint64_t *off, uint64_t *got,
		bool *fresh, struct err *err);
/* One for an L2 table. */
int qcow2_alloc_l2(struct qcow2 *q, uint64_t *off, struct err *err);
/*
 * n adjacent clusters behind all that is in use, and before them the refcount blocks and
 * the new refcount table that describe them: how the peer preallocates data.
 */
int qcow2_alloc_area(struct qcow2 *q, uint64_t n, uint64_t *off, struct err *err);
/* The cluster behind the last one that is in use. */
int qcow2_tail(struct qcow2 *q, uint64_t *cl, struct err *err);
/* Room for n compressed bytes: after the last ones where they fit. */
int qcow2_alloc_packed(struct qcow2 *q, uint32_t n, uint64_t *off, struct err *err);

/* ---- overlap.c -------------------------------------------------------------------- */

/*
 * Every write of metadata but the header's goes through this (or a cache): the place must
 * not be of any metadata of another kind, or the image is corrupt. `kind`: what is written,
 * one of QCOW2_META_*, 0 for what is none of these. Under the lock, as all of the following.
 */
int qcow2_metadata_write(struct qcow2 *q, unsigned kind, const void *buf, size_t n,
			 uint64_t off, struct err *err);
/* The check by itself: for data, for places that are about to be used (kind 0). */
int qcow2_overlap_check(struct qcow2 *q, unsigned kind, uint64_t off, uint64_t len,
			struct err *err);
/* The same, only *what it overlaps is told; NULL: nothing. */
int qcow2_overlap_find(struct qcow2 *q, unsigned kind, uint64_t off, uint64_t len,
		       const char **what, struct err *err);
/* An L1 entry changes, or a refcount block is made. */
void qcow2_overlap_l2(struct qcow2 *q, uint64_t old, uint64_t now);
void qcow2_overlap_refblock(struct qcow2 *q, uint64_t now);
/* To be called when q->snapshot, or more of q->l1 or q->reftable than single entries, has
 * changed: forgets what was known of their places. */
void qcow2_overlap_reset(struct qcow2 *q);

/* ---- claim.c ---------------------------------------------------------------------- */

int qcow2_claim(struct blk *blk, struct claim *c, struct err *err);
int qcow2_settle(struct blk *blk, struct claim *c, struct err *err);
void qcow2_drop(struct blk *blk, struct claim *c);
/* The L2 table at L1 index i for writing, held: made or copied if need be. */
int qcow2_l2_own(struct qcow2 *q, uint64_t i, uint8_t **table, struct err *err);
/* What an entry refers to is replaced: frees it at the next sync. */
int qcow2_free_entry(struct qcow2 *q, uint64_t entry, enum qcow2_free_for why, struct err *err);

/* ---- zero.c ----------------------------------------------------------------------- */

int qcow2_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags, struct err *err);

/* The same under the lock, after qcow2_start(), whatever the disk's size: off at a cluster or
 * part, end at one or beyond all that is read. */
int qcow2_zero_held(struct qcow2 *q, uint64_t off, uint64_t end, unsigned flags,
		    struct err *err);

/* ---- backing.c, empty.c: struct format --------------------------------------------- */

int qcow2_set_backing(struct image *image, const char *file, const char *format,
		      struct err *err);
int qcow2_make_empty(struct image *image, struct err *err);
/* Another version or backing file: version 2 has no zero clusters, see derive() in open.c. */
void qcow2_set_caps(struct qcow2 *q);
/* L1 entry i becomes 0; its L2 table, and all that this refers to, is freed at the next
 * sync. Under the lock. */
int qcow2_drop_table(struct qcow2 *q, uint64_t i, struct err *err);

/*
 * A write of the header failed: the file has the old tables or the new ones. From then on
 * qcow2_lost() is -1 with EIO and nothing is written any more: it might go to a place that
 * is shared in the file, or be missed there.
 */
static inline void qcow2_lose(struct qcow2 *q)
{
	__atomic_store_n(&q->lost, true, __ATOMIC_RELAXED);
}
int qcow2_lost(const struct qcow2 *q, struct err *err);

/* ---- rewrite.c -------------------------------------------------------------------- */

/*
 * The header with all extensions and the names (q->extra, q->image): the whole first cluster,
 * stable before and after. For who changes more than fixed fields. Under the lock.
 */
int qcow2_header_rewrite(struct qcow2 *q, struct err *err);
/* The first cluster that it would write: `first` is cluster_size bytes, zeroed. */
int qcow2_header_image(const struct qcow2 *q, struct qcow2_header *h, uint8_t *first,
		       struct err *err);

/* ---- resize.c, prealloc.c, shrink.c ----------------------------------------------- */

int qcow2_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err);
/* prealloc.c: places for the guest's [off, end), off at a cluster. */
int qcow2_preallocate(struct qcow2 *q, uint64_t off, uint64_t end, enum blk_prealloc p,
		      struct err *err);
/* To `size`, less than it is; under the lock, after qcow2_start(). */
int qcow2_shrink(struct qcow2 *q, uint64_t size, struct err *err);

/* ---- amend.c: struct format ------------------------------------------------------- */

extern const struct opt qcow2_amend_opts[];
int qcow2_amend(struct image *image, const struct amend *a, struct err *err);

/* ---- options.c -------------------------------------------------------------------- */

/* What `-o` asks of a new image. */
struct qcow2_settings {
	uint32_t version;
	unsigned cluster_bits, refcount_order;
	bool extended_l2, lazy, zstd, data_raw;
	const char *backing, *backing_format, *data_file; /* borrowed from the opts */
	enum blk_prealloc prealloc;
	unsigned crypt;		/* QCOW2_CRYPT_* */
	struct luks1_wish luks; /* of QCOW2_CRYPT_LUKS */
	const char *secret;	/* of QCOW2_CRYPT_AES; borrowed */
};

extern const struct opt qcow2_create_opts[];
/* Bad values and bad combinations, in the peer's words. */
int qcow2_settings(const struct opts *opts, struct qcow2_settings *s, struct err *err);
/* The same and the size, which becomes whole sectors. */
int qcow2_create_check(const struct opts *opts, uint64_t *size, struct err *err);

/* ---- tuning.c --------------------------------------------------------------------- */

extern const struct opt qcow2_open_opts[];
/* o may be NULL: all as by default. */
int qcow2_tuning(const struct opts *o, const struct qcow2_header *h, bool write,
		 struct qcow2_tuning *t, struct err *err);

/* ---- create.c, info.c: struct format ---------------------------------------------- */

int qcow2_create_files(const struct opts *opts, uint64_t size, const char *path,
		       struct file_names *out, struct err *err);
int qcow2_create(const struct create *c, struct err *err);
int qcow2_info(struct image *image, struct info *out, struct err *err);

/* ---- snapshot.c ------------------------------------------------------------------- */

/* The snapshot table -> q->snapshot. Entries that begin past the end of the file are left
 * out. qcow2_open() calls it, except with IMAGE_CHECK, where the checker does. */
int qcow2_snapshots_read(struct qcow2 *q, struct err *err);
void qcow2_snapshots_free(struct qcow2 *q);

/* ---- map.c ------------------------------------------------------------------------ */

int qcow2_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		 struct err *err);
/* The L2 table at L1 index i, held; *table NULL where there is none. Under the lock. */
int qcow2_l2_get(struct qcow2 *q, uint64_t i, uint8_t **table, struct err *err);
/* The place of a compressed cluster: first byte and how many up to its last sector. */
void qcow2_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint32_t *len);

/* ---- packed.c --------------------------------------------------------------------- */

/* ---- crypt.c ---------------------------------------------------------------------- */

/* The header of the encryption, and the key where data will be wanted. */
int qcow2_crypt_open(struct qcow2 *q, const struct opts *opts, struct err *err);
void qcow2_crypt_close(struct qcow2 *q);
/* blk_ops.code */
int qcow2_code(struct blk *blk, void *buf, size_t n, uint64_t off, uint64_t host,
	       struct err *err);
/* Reads n bytes at off of an encrypted run. */
int qcow2_decode(struct qcow2 *q, const struct extent *e, void *to, size_t n, uint64_t off,
		 struct err *err);
int qcow2_need_key(struct err *err);
struct qcow2_settings;
/* Makes a new image an encrypted one. */
int qcow2_crypt_make(struct qcow2 *q, const struct qcow2_settings *s, struct err *err);

int qcow2_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err);
int qcow2_pack(struct blk *blk, const void *in, size_t n, void *out, size_t *outn,
	       struct err *err);
int qcow2_unpack(struct blk *blk, const void *packed, size_t n, void *out, size_t *used,
		 struct err *err);

#endif
