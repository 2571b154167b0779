/*
 * The contract of a format driver, and how to add one.
 *
 * A format is its file (or folder), a line in cmd/catalog.c, its tests and its
 * paragraph in the manual. It answers three questions about a file that it did not
 * open: where do these guest bytes live (blk_ops.extent), give me compressed or
 * encrypted bytes (pread), and make room for whole grains (claim/settle, zero). It
 * never reads-modifies-writes and never opens a file: what else it needs - a backing
 * file, an external data file - it names in struct image, and cmd/stack.c decides.
 *
 * A driver reads like its specification: a header comment that names the document and
 * section; a `static const struct field[]` that is the specification's table; a pure
 * xxx_header_check() that states every limit with its source; nothing allocated by a
 * number from the file before that number was bounded by the file's real size or a
 * named limit; every error with what, where and value. stack.c puts "Could not open
 * 'NAME': " before errors of open; do not name the file again there.
 *
 * Threads: open, create, info, check, measure, amend: one at a time per image. The
 *	blk_ops: see lib/blk.h.
 */
#ifndef FORMATS_FORMAT_H
#define FORMATS_FORMAT_H

#include "lib/blk.h"
#include "lib/json.h"
#include "lib/opt.h"

/* open flags */
enum {
	IMAGE_WRITE = 1,
	IMAGE_NO_IO = 2, /* info: metadata only; no key, no data file needed */
	IMAGE_CHECK = 4, /* for check: a dirty or corrupt image is opened all the same */
	IMAGE_NEW = 8,	 /* just created by us, renamed when complete: order needs no syncs */
	IMAGE_UNTRUSTED = 16, /* hard budgets */
	IMAGE_PROBED = 32,    /* the format was guessed, not given */
	IMAGE_NO_KEY = 64,    /* no data will be read: an encrypted image opens without key */
};

/*
 * A file that holds guest data and that the image names: an extent of vmdk, a part of a
 * parallels folder. A plain path from the image's folder, as everything that an image names.
 */
struct image_file {
	char *name; /* owned */
	char *key;  /* "extents.0": where the user may say otherwise; owned or NULL */
	bool read_only;
	struct blk *blk; /* attached by stack.c; owned */
};

/* An open image: what format->open returns. blk is first: (struct blk *)image. */
struct image {
	struct blk blk;
	const struct format *format;

	/* Named by the file; NULL: none. Owned. Never parsed as anything but a path. */
	char *backing;
	char *backing_format;
	char *data_file; /* external data file; needs_data says that one is required */
	bool needs_data;
	bool data_raw;	  /* the data file is valid as a raw image */
	struct blk *data; /* attached by stack.c before any data I/O; owned */

	/* More files, opened after open() and before attached() is called. Owned; all of it is
	 * freed by image_files_free(). */
	struct image_file *file;
	size_t nfile;

	/* Differs from an image that it does not name: the user has to. */
	bool needs_backing;

	/* What whoever opened it should be told, once; NULL: nothing. Owned. */
	char *warning;
	char *note; /* the same, where the peer says nothing: under our own name alone. Owned.
		     */

	/* Set by rebase: what is absent will be read from an image that is not below yet. So
	 * zeros have to be said, also where there is nothing below now. */
	bool below_to_come;
};

/* For open: n zeroed bytes that begin with a struct image, whose blk is set up over lower.
 * NULL: an error. */
void *image_new(size_t n, const struct blk_ops *ops, const struct format *format,
		struct blk *lower, struct err *err);
/* For open that fails after it: closes the image, and lower stays the caller's. -1. */
int image_give_up(struct image *image);

/* Adds a file. name and key are copied; key may be NULL. */
int image_file_add(struct image *image, const char *name, const char *key, bool read_only,
		   struct err *err);
/* For create: an empty file gets its length; a device is large enough, or that is an error. */
int image_new_size(struct blk *file, uint64_t size, enum blk_prealloc p, struct err *err);
/* For create_check of formats without an option preallocation: it is one of their file's. */
int image_new_prealloc(const struct opts *opts, struct err *err);
/* For close: closes and frees them. */
int image_files_free(struct image *image, struct err *err);

struct snapshot_info {
	char *id, *name;
	uint64_t vm_state_size, disk_size;
	uint32_t date_sec, date_nsec;
	uint64_t vm_clock_nsec;
	int64_t icount; /* -1: none */
};

/* What info tells beyond the blk. Zeroed by the caller; info_free drops the rest. */
struct info {
	uint64_t cluster_size; /* 0: none */
	bool encrypted, compressed, dirty;
	bool has_dirty;	 /* the format knows a dirty flag */
	bool dirty_ours; /* dirty is what the peer cannot tell: not under its name */
	struct snapshot_info *snapshot;
	size_t nsnapshot;
	struct json
		*specific; /* the peer's format-specific "data", keys in its order; or NULL */
};
void info_free(struct info *info);

/*
 * Snapshots inside an image; info() lists them. The image is open for writing but for load
 * and exclusive. `i` is the place in that list.
 */
struct snapshot_ops {
	/* s->name, dates and vm_clock are the caller's; id NULL: the next free number. Not
	 * stable before it returned 0. */
	int (*create)(struct image *image, const struct snapshot_info *s, struct err *err);
	/* The disk becomes what it was, its size, too. */
	int (*apply)(struct image *image, size_t i, struct err *err);
	int (*remove)(struct image *image, size_t i, struct err *err);
	/* From now on a read-only image shows the snapshot instead of the active disk. */
	int (*load)(struct image *image, size_t i, struct err *err);
	/* bytes[i]: what only snapshot i holds; n as info() counts. */
	int (*exclusive)(struct image *image, uint64_t *bytes, size_t n, struct err *err);
};

struct dirty;

/* A persistent dirty bitmap of an image. */
struct bitmap_info {
	const char *name; /* borrowed from the image, until a bitmap is added or removed */
	uint64_t granularity;
	bool enabled; /* follows what is written */
	bool broken;  /* was not stored after its last use: only to be removed */
};

/*
 * Dirty bitmaps inside an image, found by name. All but list, find and read need an image that
 * is open for writing and nobody else's; each change is stable when it returned 0. Errors have
 * the peer's words, "Dirty bitmap 'x' not found" for one.
 */
struct bitmap_ops {
	/* Can there be any in this image? (Not in version 2 of qcow2.) */
	bool (*usable)(struct image *image);
	/* *list: n of them, to be freed. */
	int (*list)(struct image *image, struct bitmap_info **list, size_t *n, struct err *err);
	/* granularity 0: by the format. All clear. */
	int (*add)(struct image *image, const char *name, uint64_t granularity, bool enabled,
		   struct err *err);
	int (*remove)(struct image *image, const char *name, struct err *err);
	int (*clear)(struct image *image, const char *name, struct err *err);
	int (*enable)(struct image *image, const char *name, bool on, struct err *err);
	/* Is it there, and can it be used? */
	int (*find)(struct image *image, const char *name, struct err *err);
	/* The bits, to be freed. */
	int (*read)(struct image *image, const char *name, struct dirty **bits,
		    struct err *err);
	/* Sets what is set in `from`. */
	int (*merge)(struct image *image, const char *name, struct dirty *from,
		     struct err *err);
};

enum {
	CHECK_FIX_LEAKS = 1,
	CHECK_FIX_ERRORS = 2,
	/* What qemu-img leaves: entries that point nowhere are dropped, bits that mean nothing
	 * are cleared, so that the image is sound afterwards. */
	CHECK_FIX_ENTRIES = 4,
};

/* One thing that check found, for programs. */
struct check_problem {
	const char *kind; /* a word: "leak", "refcount", "l2-entry", ... */
	bool has_guest, has_host, fixed;
	uint64_t guest, host; /* offsets */
};

struct check {
	/* in */
	unsigned fix;
	/* Called with one line, without newline ("ERROR cluster 5 refcount=0 reference=1"). */
	void (*report)(void *arg, const char *line);
	/* NULL, or called with each problem, after its line. */
	void (*problem)(void *arg, const struct check_problem *p);
	void *arg;
	/* out */
	uint64_t errors, leaks, check_errors; /* found (and still there after fixing) */
	uint64_t errors_fixed, leaks_fixed;
	uint64_t image_end; /* 0: not known */
	uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
};

/* For check(): says a line, and tells of the problem (kind NULL: there is none). */
void check_find(struct check *c, const struct check_problem *p, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct measure {
	uint64_t required, fully_allocated;
	bool has_bitmaps;
	uint64_t bitmaps;
};

/* All that a create needs. The files are empty, writable and open. */
struct create {
	struct blk *lower;	 /* borrowed */
	struct blk *const *file; /* borrowed; what create_files() named, in that order */
	size_t nfile;
	const struct opts *opts; /* checked against create_opts; size is apart */
	uint64_t size;
	/* With FORMAT_READS_BACKING and a backing_file: that, open for its metadata, of
	 * whatever format it is. Borrowed. */
	struct image *backing;
};

/* Paths of files. */
struct file_names {
	char **name;
	size_t n;
};

/* The name is copied. */
int file_names_add(struct file_names *names, const char *name, struct err *err);
void file_names_free(struct file_names *names);

/* What amend is asked for. */
struct amend {
	const struct opts *opts; /* checked against amend_opts; what is absent stays */
	struct blk *disk; /* the chain with this image on top: its size is changed there */
	bool force;	  /* also what loses data: a smaller disk, bitmaps */
	bool force_said;  /* --force itself: also what loses the last key */
	void (*progress)(void *arg, uint64_t done, uint64_t total); /* or NULL */
	void *arg;
};

struct format {
	const char *name;	       /* as in -f */
	const char *summary;	       /* one line for help */
	const char *const *extensions; /* NULL-terminated, without dot: for the target's name */
	const char *type;	       /* the "type" of format-specific; NULL: as name */
	unsigned caps;		       /* FORMAT_* */
	const struct opt *open_opts, *create_opts;

	/* 0..100 for the first n (<= 2048, more where the file has more) bytes of a file
	 * of `size` bytes. 100: the magic fits. */
	int (*probe)(const uint8_t *head, size_t n, uint64_t size);
	/* The same by the last n bytes (512 or the whole file), where no head tells more than
	 * raw. A guest can write there: only for what names no other files and shows none of
	 * the disk's contents as something else. NULL: it is not found so. */
	int (*probe_tail)(const uint8_t *tail, size_t n, uint64_t size);
	/* Takes `lower` over on success only. EUCLEAN: to be written it has to be repaired, by
	 * check() of an open with IMAGE_WRITE and IMAGE_CHECK, first. */
	int (*open)(struct blk *lower, const struct opts *opts, unsigned flags,
		    struct image **out, struct err *err);
	int (*create)(const struct create *c, struct err *err);
	/* image->file[] are all there; for formats that name any. Also in an open for metadata
	 * only. */
	int (*attached)(struct image *image, struct err *err);
	/* Is `below`, which was opened as its backing file, the one that the image was made
	 * over (content identifiers, UUIDs)? NULL: any will do. */
	int (*adopt)(struct image *image, struct image *below, struct err *err);
	/* The checks of create that need no file: bad values, bad combinations, sizes
	 * that the format cannot hold. create calls it too. size may be rounded. */
	int (*create_check)(const struct opts *opts, uint64_t *size, struct err *err);
	/* The files that a new image will have besides its own at `path`: the paths to make
	 * them at. They are published before the image is, and with it or not at all. Opened
	 * again, it names the same ones in the same order in image->file[], or has one, and
	 * needs_data. Called after create_check. NULL: none. */
	int (*create_files)(const struct opts *opts, uint64_t size, const char *path,
			    struct file_names *out, struct err *err);
	/* src NULL: a new empty image of `size` bytes. Else src is a chain to convert. */
	int (*measure)(const struct opts *opts, uint64_t size, struct blk *src,
		       struct measure *out, struct err *err);
	int (*info)(struct image *image, struct info *out, struct err *err);
	/* 0: c tells what was found. -1: could not be completed. */
	int (*check)(struct image *image, struct check *c, struct err *err);
	/* Changes options of an image that is there; amend_opts are those that can be. */
	const struct opt *amend_opts;
	int (*amend)(struct image *image, const struct amend *a, struct err *err);
	/* Names another backing file (NULL: none) and its format (NULL: not recorded). The
	 * contents are the caller's business. */
	int (*set_backing)(struct image *image, const char *file, const char *format,
			   struct err *err);
	/* Drops all data: the image shows its backing file again, or zeros. */
	int (*make_empty)(struct image *image, struct err *err);
	const struct snapshot_ops *snapshot;
	const struct bitmap_ops *bitmap;
};

enum {
	FORMAT_CREATE = 1,
	FORMAT_WRITE = 2,
	FORMAT_BACKING = 4,	   /* -b makes sense */
	FORMAT_PACK = 8,	   /* -c makes sense */
	FORMAT_ANY = 16,	   /* raw: takes what nobody else knows */
	FORMAT_PARENT = 32,	   /* there are images with a backing file, but -b makes none */
	FORMAT_READS_BACKING = 64, /* create looks at the backing file */
	FORMAT_CHECK_OURS = 128,   /* the peer has no check() for it */
	/* The peer cannot tell where its data is: under its name neither do map and measure. */
	FORMAT_OPAQUE = 256,
	/* The peer's driver tells nothing but the size: under its name neither do we tell the
	 * cluster size, a dirty flag or what is specific. */
	FORMAT_INFO_OURS = 512,
};

#endif
