/*
 * Formats that are a table: for each block of the disk an entry that says where in a file
 * its bytes are. vdi, vpc, vhdx, parallels, qed, qcow and each sparse extent of vmdk are
 * that, and differ in how an entry is found and spelled. That is what a driver gives
 * (struct blocks_driver); what follows from it is here once: extents, claims at the end of
 * the file, zeros, order.
 *
 * Where nothing is below the image (`below` is false) a block that has no place reads as
 * zeros, and its new place does so, too. Then the guest is told a grain smaller than the
 * block: a write does not drag the rest of the block along, and several claims may be in
 * one block at once.
 *
 * Where something is below it, a format may keep track of smaller parts (`part`): a block that
 * has a place then holds some of its parts, and the driver's extent says which.
 *
 * Places: `host` is where the block's data begins in `file`. A place is `head` bytes more,
 * before that (vpc's bitmap). New places are taken at `end`, in the order of the claims.
 *
 * Units: bytes. Blocks need not be powers of two (parallels).
 * Threads: as blk. The driver's functions are called under `lock`.
 * Order: data reaches the disk before what the driver's set() changed: the driver sees to
 *	that by entries_data_written() in settled(). A block keeps its place for good, also
 *	where it becomes zero: a place that nothing refers to would be lost to most of these
 *	formats, and to vdi's readers worse. Its bytes are made a hole of the file instead.
 * Errors: that an entry points past the end of the file shows when it is read; get() checks
 *	what else there is to check.
 */
#ifndef FORMATS_BLOCKS_H
#define FORMATS_BLOCKS_H

#include <pthread.h>

#include "formats/format.h"

struct blocks;

enum block_kind {
	BLOCK_ABSENT, /* nothing is said: the image below, or zeros */
	BLOCK_ZERO,   /* reads as zeros; host may be set all the same: room that is kept */
	BLOCK_DATA,
	BLOCK_PACKED, /* at host lie at most `packed` bytes that inflate to the block */
};

struct block {
	enum block_kind kind;
	uint32_t packed;
	uint64_t host; /* 0: no place */
};

struct blocks_driver {
	/* The entry of block i. */
	int (*get)(struct blocks *b, uint64_t i, struct block *out, struct err *err);
	/* How many blocks from i on are absent for lack of a table; 0: look at them one by one.
	 * May be NULL. */
	uint64_t (*absent)(struct blocks *b, uint64_t i);
	/* Reaches the disk with write_back(), or earlier, but after the data. */
	int (*set)(struct blocks *b, uint64_t i, const struct block *to, struct err *err);
	/* Brings to the file what set() has changed. */
	int (*write_back)(struct blocks *b, struct err *err);
	/* Once, before the first change of guest data: an image is marked as in use, say. May
	 * be NULL. */
	int (*start)(struct blocks *b, struct err *err);
	/* A new place has been taken at host: what a place has besides data is written. May be
	 * NULL. */
	int (*took)(struct blocks *b, uint64_t host, struct err *err);
	/* Data was written that the next set() will refer to. May be NULL. */
	void (*settled)(struct blocks *b);
	/* With `part`: in..in + n of block i, whose place is at host, was written. Reaches the
	 * disk as set() does. */
	int (*wrote)(struct blocks *b, uint64_t i, uint64_t host, uint64_t in, uint64_t n,
		     struct err *err);
};

struct blocks {
	const struct blocks_driver *driver;
	struct blk *file;     /* borrowed; where places are */
	uint64_t size;	      /* of the disk */
	uint64_t block;	      /* bytes of a block */
	uint64_t head;	      /* bytes of a place before its data */
	uint64_t align;	      /* of places */
	uint64_t packed_unit; /* of packed places; 0: there are none */
	uint64_t end;	      /* where the next place may begin */
	bool below;	      /* absent means: ask the image below */
	bool below_to_come;   /* nothing is below yet: zeros have to be said all the same */
	uint32_t part;	      /* with below: what may be written alone; 0: whole blocks */
	bool can_zero;	      /* the table can say that a block is zero */
	uint32_t grain;	      /* that the blk is to tell; 0: by itself. A part of a block only
			       * where nothing is below and nothing is packed */
	uint64_t fresh;	      /* from here on the file reads as zeros until written */
	bool new_image;	      /* IMAGE_NEW: the file gets its length at the end */
	bool started;
	pthread_mutex_t lock;
	bool lock_made;
	/* blocks.c's own */
	struct blocks_pending *pending;
	size_t npending, pending_room;
	uint64_t *spare; /* places that were taken and not used */
	size_t nspare, spare_room;
};

/* The caller has set what stands above `fresh`. flags: of open. */
int blocks_init(struct blocks *b, unsigned flags, struct err *err);
/* Writes nothing. Fine on what is zeroed. */
void blocks_free(struct blocks *b);
/* Room for a table of the driver's at the end of the file: it reads as zeros, and the file
 * reaches to its end. Called under lock, by set() for one. */
int blocks_room(struct blocks *b, uint64_t len, uint64_t align, uint64_t *at, struct err *err);
/* A place that nothing refers to, to be used before new ones. */
void blocks_spare(struct blocks *b, uint64_t host);
/* The grain that the blk should tell. */
uint32_t blocks_grain(const struct blocks *b);

/* As in struct blk_ops; off counts from the beginning of what the table describes. The runs
 * of the claim do, too. */
int blocks_extent(struct blocks *b, uint64_t off, uint64_t len, struct extent *out,
		  struct err *err);
int blocks_claim(struct blocks *b, struct claim *c, struct err *err);
int blocks_settle(struct blocks *b, struct claim *c, struct err *err);
void blocks_drop(struct blocks *b, struct claim *c);
int blocks_zero(struct blocks *b, uint64_t off, uint64_t len, unsigned flags, struct err *err);
/* For touch. */
int blocks_start(struct blocks *b, struct err *err);
int blocks_flush(struct blocks *b, struct err *err);
/* For the close of a writer: blocks_flush, and the file has its whole last place. */
int blocks_finish(struct blocks *b, struct err *err);

/*
 * An image that is one such table: the driver's own struct begins with this, and its blk_ops
 * has these functions. by_extent is to be set.
 */
struct blocks_image {
	struct image image;
	struct blocks blocks;
};

int blocks_image_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			struct err *err);
int blocks_image_claim(struct blk *blk, struct claim *c, struct err *err);
int blocks_image_settle(struct blk *blk, struct claim *c, struct err *err);
void blocks_image_drop(struct blk *blk, struct claim *c);
int blocks_image_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err);
int blocks_image_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err);
int blocks_image_flush(struct blk *blk, struct err *err);

/* After the header is read: blocks_init() over blk.lower, and what the blk tells of it. */
int blocks_image_init(struct blocks_image *b, unsigned flags, struct err *err);

#endif
