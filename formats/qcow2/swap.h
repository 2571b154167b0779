/*
 * Changes of snapshots: new tables beside the old ones, and one write of the header that
 * puts all of them in force.
 *
 *	swap.c         the order of things; the switch itself
 *	swap_places.c  clusters for what is new
 *	swap_refs.c    the reference counts as they will be
 *	swap_tables.c  all L2 tables below the L1 tables at hand
 *
 * Reference counts, "copied" flags and L1 tables only fit together as a whole: whatever is
 * changed in place first contradicts the rest until it is changed, too. So nothing is
 * changed in place. All refcount blocks, the L2 tables whose flags change, the L1 table
 * and the snapshot table are written anew, and the header names the new ones in one sector.
 * A crash before that leaves the image as it was, but for clusters that were set aside; one
 * after it leaves the image as it is to be.
 *
 * Bounds: q->tuning.window bytes of refcount blocks are in memory at a time. Where there are
 *more, the tables that touch them are read again for each part. Threads: under the image's
 *lock; the jobs of swap_tables.c touch only their own tables.
 */
#ifndef FORMATS_QCOW2_SWAP_H
#define FORMATS_QCOW2_SWAP_H

#include "formats/qcow2/qcow2.h"

enum swap_kind { SWAP_CREATE, SWAP_REMOVE, SWAP_APPLY };

/* An L2 table of the active disk, of the snapshot, or of both. */
struct swap_table {
	uint64_t off;
	uint64_t place;	       /* a cluster set aside for it: an offset; 0: it stays for sure */
	uint64_t refs;	       /* to the table at `off`, in the end */
	uint32_t active, snap; /* how many entries of each L1 table name it */
	uint32_t low, high;    /* the refcount blocks that its entries touch */
	bool moved;	       /* it is at `place` now */
	bool seen;	       /* low and high are known */
	bool open_flags;       /* it has entries that could get a "copied" flag */
};

struct swap_run {
	uint64_t cl, n;
};

/* Clusters in a row, set aside for one table. */
struct swap_area {
	uint64_t off, clusters;
};

struct swap {
	struct qcow2 *q;
	enum swap_kind kind;
	const uint64_t *snap_l1; /* apply, remove: of the snapshot */
	uint64_t nsnap_l1;
	struct swap_area snap_l1_area; /* remove: its place */
	uint64_t nl1;		       /* entries of the active L1 table that is to be */
	uint64_t disk_size;	       /* of the disk that is to be */
	uint8_t *list;		       /* the snapshot table that is to be */
	size_t list_len;
	uint8_t *copy_at; /* create: the new entry in it, which gets the place of `copy` */
	uint32_t nlist;

	struct swap_table *table; /* by off */
	size_t ntable;

	/* swap_places.c */
	uint64_t *single; /* cluster numbers: for tables first, then for blocks */
	size_t nsingle, single_room;
	size_t nmovable;				/* tables that have one of them */
	struct swap_area l1, copy, snapshots, reftable; /* copy: of a new snapshot's L1 */

	/* swap_refs.c */
	uint32_t *rank; /* of each refcount block among those that are there */
	uint32_t nblock;
	uint64_t *new_reftable; /* as many entries as q has */
	uint8_t *window;
	uint32_t first, n, per_window;	/* ranks in the window */
	uint64_t low_index, high_index; /* of the refcount table, likewise */
	bool replaces;		/* what is freed now is room for the next change: it stays */
	struct swap_run *freed; /* else: whose last reference went, maybe for a while */
	size_t nfreed, freed_room;
};

/* ---- swap.c ----------------------------------------------------------------------- */

/*
 * Does it. 0: all of it is stable; s->l1 and s->copy say where the L1 tables are. -1:
 * nothing was changed, unless q->broken says that nobody knows.
 */
int swap_do(struct swap *s, struct err *err);
/* When the caller has changed the list of snapshots in q to what it is now: gives the space
 * of what went back to the file system. */
void swap_after(struct swap *s);
void swap_free(struct swap *s);
/* By how much the references to what a table refers to change. */
int64_t swap_change(const struct swap *s, const struct swap_table *t);

/* ---- swap_places.c ---------------------------------------------------------------- */

int swap_reserve(struct swap *s, struct err *err);
/* Nothing came of it. */
void swap_release(struct swap *s);

/* ---- swap_refs.c ------------------------------------------------------------------ */

int swap_refs_begin(struct swap *s, struct err *err);
/* The next part of the refcount blocks, from rank `first` on. */
int swap_refs_load(struct swap *s, uint32_t first, struct err *err);
/* Writes it to its new place. */
int swap_refs_store(struct swap *s, struct err *err);
/* By d for each of the n clusters from cl on; those outside of the window are left. */
int swap_refs_add(struct swap *s, uint64_t cl, uint64_t n, int64_t d, struct err *err);
/* What the window says of a cluster; false: it is not in there. */
bool swap_refs_get(const struct swap *s, uint64_t cl, uint64_t *refs);

/* ---- swap_tables.c ---------------------------------------------------------------- */

/* All tables that one of the two L1 tables has -> s->table. */
int swap_gather(struct swap *s, struct err *err);
struct swap_table *swap_find(const struct swap *s, uint64_t off);
/* Takes what the tables refer to into the counts of the window, and clears "copied" flags
 * where a disk begins to share all it has. */
int swap_count(struct swap *s, struct err *err);
/* Sets the flags of what has no second reference any more, as the window says. */
int swap_flags(struct swap *s, struct err *err);

#endif
