/*
 * A blk is anything with bytes: a local file, a device, a format's guest disk, a
 * whole backing chain, later a remote export. Every one is used through the
 * functions below; blk_ops is what an implementation provides.
 *
 * Units: bytes everywhere. Offsets and lengths need no alignment; who has a
 *	physical unit (O_DIRECT, a device) bounces inside.
 * Ownership: blk_close() closes and frees a blk and its `lower`. An error of the
 *	close is an error of the data: a target is complete only when it returned 0.
 * Threads: all operations but resize and close may be called from many threads at
 *	once, unless ops->serial, where blk.c takes a mutex around each. A format
 *	keeps its metadata under a short lock and does data I/O outside of it.
 * Errors: 0 or -1 with *err set. A failed write may have written a part.
 * Durability: blk_flush() makes stable all writes that returned before it began.
 */
#ifndef LIB_BLK_H
#define LIB_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct blk;

/* What a run of bytes is. */
enum {
	EXT_DATA = 1,	 /* has bytes of its own */
	EXT_ZERO = 2,	 /* reads as zeros, no need to read */
	EXT_ABSENT = 4,	 /* this layer says nothing: ask the image below */
	EXT_PACKED = 8,	 /* with EXT_DATA: compressed; read it through the blk */
	EXT_SHARED = 16, /* others use the place too: never write in place. Also with a part of
			  * a grain that is zero or absent: the grain is written as a whole */
	EXT_CODED = 32,	 /* with EXT_DATA: encrypted; read and write through the blk */
	EXT_VAGUE = 64,	 /* with EXT_DATA: can be read, but nobody ever wrote what is read
			    (null-co) */
};

/*
 * One run. `home` is the blk in which `host` is an offset; NULL where there is no
 * place. Plain bytes (readable straight from home) iff extent_plain(). A run with
 * EXT_ZERO and a home is allocated, yet known to be zero. In place writable iff
 * flags == EXT_DATA and home is set. EXT_PACKED runs are one grain each, host is
 * the byte where the compressed bytes begin and `packed` bounds their length.
 */
struct extent {
	uint64_t off, len;
	uint64_t host;
	struct blk *home; /* borrowed */
	uint32_t packed;
	unsigned flags;
	unsigned depth; /* layer of a chain, 0 on top; set by chain.c */
};

static inline bool extent_plain(const struct extent *e)
{
	return e->home && (e->flags & EXT_DATA) &&
	       !(e->flags & (EXT_PACKED | EXT_CODED | EXT_ZERO));
}

/* caps of a blk */
enum {
	BLK_CAN_WRITE = 1,   /* opened for writing */
	BLK_CAN_ZERO = 2,    /* zero() is cheap: no bytes are written */
	BLK_CAN_UNMAP = 4,   /* zero(BLK_UNMAP) gives space back */
	BLK_ZERO_INIT = 8,   /* never written parts read as zeros (new file, new format) */
	BLK_CAN_GROW = 16,   /* writes past the end, or resize, extend it */
	BLK_IS_HOST = 32,    /* ops->fd gives a local file for the kernel to copy from/to */
	BLK_WHOLE_PACK = 64, /* packed writes only (streamOptimized vmdk) */
	/* discard=ignore: BLK_ADVISE goes no further. Nor does BLK_UNMAP, but to a format: that
	 * frees its clusters and keeps their space. */
	BLK_NO_UNMAP = 128,
	BLK_CODES = 256, /* what is written to its places has to go through code() first */
};

/* flags of pwrite and zero */
enum {
	BLK_FUA = 1,	/* stable when it returns */
	BLK_UNMAP = 2,	/* zero: deallocate if that reads back as zeros */
	BLK_ADVISE = 4, /* zero: a discard; the contents become undefined, it may do nothing */
	BLK_CHEAP = 8,	/* zero: fail with ENOTSUP rather than write zero bytes */
	BLK_ROOM = 16,	/* zero past the end: space is taken for it, nothing is overwritten */
};

/* preallocation of create and resize */
enum blk_prealloc {
	PREALLOC_OFF,
	PREALLOC_METADATA,
	PREALLOC_FALLOC,
	PREALLOC_FULL,
	/* or'ed to one of them, for resize of a format with backing files: what is new reads
	 * as zeros at any time, though the image below goes on there */
	PREALLOC_ZERO = 16,
};

/* Codecs of EXT_PACKED data; equal codec and grain mean: bytes can be carried over. */
enum codec { CODEC_NONE, CODEC_DEFLATE, CODEC_ZSTD };

/*
 * A claim: room for whole grains of a writable format, asked for before the data is
 * written. The order of claims decides the places and nothing else does, so the
 * image is the same whatever the number of threads.
 *
 *	claim   (short, in order)  the format decides where the grains go
 *	write   (parallel)         the caller writes the bytes at home/host of each run
 *	settle  (short, any order) the format lets its tables point there
 *
 * Until settle() the guest sees the old contents, and a crash leaks at most the
 * claimed space. drop() gives the space back instead. One of both must be called.
 */
struct claim_run {
	uint64_t off;  /* guest offset of the first byte */
	uint64_t host; /* where it goes in home */
	uint64_t len;  /* bytes to write there */
	bool fresh;    /* the place reads as zeros until written: zeros may be left out */
};

struct claim {
	/* in: off at a grain; off + len at a grain or the end of the disk. Or at a part, see
	 * struct blk; two claims at once never have a grain in common. */
	uint64_t off, len;
	/* in: NULL for plain data; else the compressed length of each grain, in order.
	 * Their bytes are written one after the other, as one stream over the runs. */
	const uint32_t *packed;
	/* out */
	struct blk *home; /* borrowed */
	struct claim_run *run;
	size_t nrun;
	void *priv; /* the format's own; freed by settle and drop */
};

struct blk_ops {
	const char *name;
	bool serial;
	/* Set by formats: reads go by extent, and pread need serve only runs that are
	 * EXT_PACKED or EXT_CODED (parts of them too); blk.c reads the rest from the
	 * extent's home. Unset: pread serves any range inside the size. */
	bool by_extent;

	int (*pread)(struct blk *, void *, size_t, uint64_t off, struct err *);
	int (*pwrite)(struct blk *, const void *, size_t, uint64_t off, unsigned flags,
		      struct err *);
	/* Formats: whole grains only (or up to the end). NULL: zeros are written. */
	int (*zero)(struct blk *, uint64_t off, uint64_t len, unsigned flags, struct err *);
	int (*flush)(struct blk *, struct err *);
	/* The run at off: out->off == off, 0 < out->len <= len, as long as is cheap to
	 * tell (at least to the end of the table at hand). NULL: all data, home itself. */
	int (*extent)(struct blk *, uint64_t off, uint64_t len, struct extent *, struct err *);

	/* May data of this image lie in holes of its home (room made ahead, never written)?
	 * Whoever wants to know where then asks the home, see walk_holes. NULL: no. */
	bool (*hollow)(struct blk *);

	int (*claim)(struct blk *, struct claim *, struct err *);
	int (*settle)(struct blk *, struct claim *, struct err *);
	void (*drop)(struct blk *, struct claim *);

	/* Guest data in [off, off + len) is about to change, in place or by a claim or zero():
	 * for formats that keep track. Called by who writes (chain, copy), once, before. */
	int (*touch)(struct blk *, uint64_t off, uint64_t len, struct err *);

	/* Compresses one grain (n bytes; the last may be short) into at most *outn bytes.
	 * *outn = 0 on success means: does not shrink, store it plain. Thread-safe, no I/O.*/
	int (*pack)(struct blk *, const void *, size_t n, void *out, size_t *outn,
		    struct err *);
	/* Proves that `packed` (n bytes) inflates to one grain (into `out`, grain bytes)
	 * and says how many bytes of it are used. */
	int (*unpack)(struct blk *, const void *packed, size_t n, void *out, size_t *used,
		      struct err *);
	/* Puts around the compressed grain of `off` what the format has there. `place` has room
	 * for grain + pack_room bytes, the compressed ones are pack_head bytes behind its
	 * beginning, *n of them; then *n is the length of all. plain: the whole grain. Like
	 * pack. */
	int (*wrap)(struct blk *, uint64_t off, const void *plain, uint8_t *place, size_t *n,
		    struct err *);

	/* BLK_CODES: encrypts n bytes (sectors of 512, like all of the offsets) that belong at
	 * guest offset off and will be written at host. Thread-safe, no I/O. */
	int (*code)(struct blk *, void *, size_t n, uint64_t off, uint64_t host, struct err *);

	int (*resize)(struct blk *, uint64_t size, enum blk_prealloc, struct err *);
	/* A descriptor on which the kernel may copy (reflink, copy_file_range, sendfile);
	 * offsets in it are offsets of the blk plus *base. -1: there is none. Borrowed.
	 * Not past blk_size(): nobody would know of it, and it may be cut off. Make the blk
	 * that long first, by blk_zero. */
	int (*fd)(struct blk *, uint64_t *base);
	/* Bytes allocated on the host; -1 if unknown. */
	int64_t (*disk_usage)(struct blk *);
	/* Frees everything but `lower`, which blk_close closes after it. Called once, also
	 * on half-built objects. */
	int (*close)(struct blk *, struct err *);
};

struct blk {
	const struct blk_ops *ops;
	struct blk *lower; /* owned; NULL at a protocol */
	uint64_t size;
	uint32_t align; /* request unit that is fast (O_DIRECT sector, 1 for none) */
	uint32_t grain; /* allocation unit; a write of whole grains needs no read */
	uint32_t part;	/* subclusters: claim() and zero() take whole parts of a grain that is
			 * neither packed nor shared; 0: only whole grains */
	unsigned caps;
	uint64_t below; /* resize with PREALLOC_ZERO: how far the image below goes on */
	enum codec codec;
	/* what a compressed grain may have more than a grain, and how much of that before it */
	uint32_t pack_room, pack_head;
	char *name;    /* owned: what messages and `map` call it */
	void *serial_; /* blk.c's own */
};

/* Fills the common part; ops and name (copied) are required, the rest is zeroed. */
int blk_init(struct blk *blk, const struct blk_ops *ops, const char *name, struct err *err);

/*
 * Ranges must lie inside blk->size, except that pwrite may extend a blk with
 * BLK_CAN_GROW and that pread beyond the end gives zeros.
 */
int blk_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err);
int blk_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
	       struct err *err);
/* Writes zeros where zero() cannot (unless BLK_CHEAP). */
int blk_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags, struct err *err);
int blk_flush(struct blk *blk, struct err *err);
/* The size may grow under a writer: this reads it safely. */
uint64_t blk_size(const struct blk *blk);
/* Beyond the end of the blk: one EXT_ZERO run. */
int blk_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
	       struct err *err);
/* Reads a run, or a part of it, that blk_extent told of: from its home, by the blk
 * (packed, coded), or as zeros. EXT_ABSENT gives zeros. */
int blk_read_extent(struct blk *blk, const struct extent *e, void *buf, size_t n, uint64_t off,
		    struct err *err);
int blk_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err);
int blk_fd(struct blk *blk, uint64_t *base);
int64_t blk_disk_usage(struct blk *blk);
/* Closes and frees; NULL is fine. err gets the first error of the stack. */
int blk_close(struct blk *blk, struct err *err);

int blk_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err);
int blk_claim(struct blk *blk, struct claim *c, struct err *err);
int blk_settle(struct blk *blk, struct claim *c, struct err *err);
void blk_drop(struct blk *blk, struct claim *c);
/* Does it have BLK_CODES, and not only something below it? */
static inline bool blk_codes(const struct blk *blk)
{
	return blk->ops->code && (blk->caps & BLK_CODES);
}
/* Writes n bytes of guest offset off to a place, host in home, that an extent or claim of blk
 * told of: coded, where blk does that. */
int blk_pwrite_to(struct blk *blk, struct blk *home, const void *buf, size_t n, uint64_t off,
		  uint64_t host, struct err *err);

#endif
