/*
 * A chain: an image and its backing files, seen as the guest sees them. It is a blk.
 *
 * Everything that every format would otherwise do again lives here: which layer a
 * byte comes from, copy-on-write, writes over compressed, zero and shared clusters,
 * partial grains. A write takes the range lock of its grains, asks the top layer's
 * extent, writes in place where that is allowed, and else assembles whole grains
 * from the layers below and has the format claim, write and settle them.
 *
 * Ownership: the chain owns its layers and closes them, top first.
 * Threads: as a blk. Readers lock only when the chain is writable.
 */
#ifndef LIB_CHAIN_H
#define LIB_CHAIN_H

#include "lib/blk.h"

#define CHAIN_MAX 200 /* layers; the bound that the issue of loops and depth uses */

enum chain_detect {
	DETECT_OFF,
	DETECT_ZEROES, /* a write of nothing but zeros becomes zero() */
	DETECT_UNMAP,  /* with BLK_UNMAP */
};

struct chain {
	struct blk blk;
	struct blk **layer; /* 0 is the top; owned */
	unsigned n;
	struct ranges *ranges;
	enum chain_detect detect; /* of pwrite; who claims for itself looks here, too */
};

/* Takes `top` over, also on failure. */
struct chain *chain_new(struct blk *top, struct err *err);
/* Puts an image under the lowest layer. Takes it over, also on failure. */
int chain_append(struct chain *chain, struct blk *below, struct err *err);
/*
 * The layers from n on (0 < n < chain->n) become a chain of their own; the first keeps the
 * others, and what those leave absent is then absent. NULL: those layers are closed.
 */
struct chain *chain_split(struct chain *chain, unsigned n, struct err *err);
/* The chain that this blk is; NULL: it is something else. */
struct chain *chain_from_blk(struct blk *blk);
/* chain->blk.size follows the top layer after a resize of that. What is new reads as zeros,
 * also where the layer below is longer. */
int chain_resize(struct chain *chain, uint64_t size, enum blk_prealloc p, struct err *err);

/*
 * A walk over the extents of a chain, for readers that go forward: each layer's
 * current run is remembered, so that a deep chain costs one look-up per run and
 * layer, not per run, layer and call. Not thread-safe; nobody may write meanwhile.
 *
 * `layers`: how many to look at from the top; 0 for all. What all of them leave
 * absent comes out as EXT_ABSENT, with the depth of the layer that ended the search:
 * the last, or the one above a layer that is too short. A layer reaches to the end of
 * its last sector of 512 bytes.
 */
struct walk;
struct walk *walk_new(struct chain *chain, unsigned layers, struct err *err);
int walk_next(struct walk *walk, uint64_t off, uint64_t len, struct extent *out,
	      struct err *err);
/* From here on, plain data of layers that may be hollow (blk_ops) comes cut where its home
 * has holes; what lies in one has EXT_ZERO beside EXT_DATA. */
void walk_holes(struct walk *walk);
void walk_free(struct walk *walk);

/* Reads a run that a walk gave: from the layer at e->depth. */
int chain_read_extent(struct chain *chain, const struct extent *e, void *buf, size_t n,
		      uint64_t off, struct err *err);

#endif
