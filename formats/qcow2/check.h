/*
 * What the parts of check share.
 *
 *	check.c         the order of things; header, snapshot table, bitmaps
 *	check_io.c      reading many tables
 *	check_count.c   counted references, a cell for each host cluster
 *	check_l2.c      one L2 table: quietly if it is sound, else entry by entry
 *	check_tables.c  the L1 tables and all L2 tables below them
 *	check_refs.c    refcount table and blocks, compared with what was counted
 *	check_copied.c  the "copied" flags of the active tables, where some are wrong
 *	repair.c        -r: the passes, what may be written where, the header's bits
 *	repair_refs.c   new reference counts beside damaged ones; repair_snap.c: the snapshot
 *table
 *
 * Two ways through the tables. The quick one reads each L2 table once, in order of its
 * place, on several threads, and says nothing: of a table with the least fault it only
 * notes that. The slow one then goes in the peer's order through what was noted, with the
 * peer's words. So a sound image costs little more than reading its metadata.
 *
 * Bounds: memory goes with the clusters that are referenced, time with the tables that are
 *	in the file, whatever the header claims. What a table of a broken image can make
 *	us do again and again (the same table behind many entries) is taken from `budget`.
 */
#ifndef FORMATS_QCOW2_CHECK_H
#define FORMATS_QCOW2_CHECK_H

#include "formats/qcow2/qcow2.h"

/* ---- numbers by number ------------------------------------------------------------ */

struct map {
	uint64_t *key; /* stored plus one; 0 is free */
	uint64_t *val;
	size_t n, room;
};

/* The value of key, made 0 if it is new (*fresh, if asked for). NULL: no memory. */
uint64_t *map_at(struct map *m, uint64_t key, bool *fresh);
/* NULL: not there */
const uint64_t *map_find(const struct map *m, uint64_t key);
void map_free(struct map *m);

/* ---- check_count.c ---------------------------------------------------------------- */

/* A cell: how often its cluster is referenced, and whether by entries of the active
 * tables that claim to be the only ones (COPIED), or that do not (SHARED). */
enum {
	CELL_COUNT = 0x3fff, /* this much: look into `many` */
	CELL_COPIED = 0x4000,
	CELL_SHARED = 0x8000,
	CELLS = 512, /* in a leaf */
};

struct counts {
	void **root;
	size_t nroot;
	uint64_t max; /* what a refcount of this image can say */
	void **slab;  /* of leaves */
	size_t nslab, used;
	struct map many;
	uint64_t last_key; /* of the last node used; UINT64_MAX: none */
	void **last;
};

int counts_init(struct counts *c, uint64_t clusters, unsigned refcount_order, struct err *err);
void counts_free(struct counts *c);
/* The leaf of a cluster: CELLS cells; NULL: all are 0. */
const uint16_t *counts_leaf(const struct counts *c, uint64_t cl);
/* The first of n adjacent clusters >= cl that nothing refers to. */
uint64_t counts_unused(const struct counts *c, uint64_t cl, uint64_t n);
/* May clusters so far out be counted? */
bool counts_reach(const struct counts *c, uint64_t cl);
/* Nothing refers to this cluster any more. */
void counts_drop(struct counts *c, uint64_t cl);
/* The first cluster >= cl whose leaf is there; UINT64_MAX: none. */
uint64_t counts_next(const struct counts *c, uint64_t cl);
uint64_t counts_get(const struct counts *c, uint64_t cl);

/* ---- check.c ---------------------------------------------------------------------- */

struct table {
	uint64_t off;
	uint32_t active, other; /* how many entries of active and other L1 tables name it */
	uint32_t index;		/* the first active L1 entry that does */
	bool bad;
};

struct snapshot_root {
	uint64_t l1_off, entry; /* entry: of the snapshot table, for its names */
	uint32_t l1_size;
	uint32_t extra;	  /* bytes of extra data in the file */
	bool incomplete;  /* too little of it, */
	bool extra_large; /* or more than anybody reads */
	bool lost;	  /* its L1 table is nowhere */
};

struct checker {
	struct qcow2 *q;
	struct check *c;
	struct blk *file;
	uint64_t file_size, cluster;
	uint64_t nb_cl;	 /* clusters to compare: the file, and what is counted past its end */
	uint64_t end_cl; /* the last cluster in use */
	unsigned bits;	 /* log2 of cluster */
	uint64_t budget; /* bytes of tables that may yet be read more than once */
	uint64_t lines;	 /* that were reported */

	unsigned fix;	/* CHECK_FIX_*: what of the tables is repaired as it is found */
	unsigned refs;	/* the same of the reference counts, in the pass that is on */
	bool preview;	/* the counts are compared to see what is to be done about them */
	bool mute;	/* tell of problems, but neither say nor count anything */
	bool deaf;	/* the other way: this pass tells of no problems */
	bool again;	/* the snapshot table was told of before */
	bool leaked;	/* repair itself left leaks behind */
	bool blind;	/* some table could not be read: what it refers to is not known */
	bool rebuild;	/* the reference counts have to be made anew */
	bool has_guest; /* of which guest cluster is the talk */
	uint64_t guest;
	uint64_t file_cl;  /* clusters in the file */
	uint64_t *outside; /* where refcount blocks should be that are past the end */
	size_t noutside;

	struct counts counts;
	struct table *table; /* by offset, once all are known */
	size_t ntable, table_room;
	struct map table_of; /* offset -> index; while they are gathered */
	bool slow;	     /* something needs the slow way */
	bool copied;	     /* "copied" flags need to be looked at */

	struct snapshot_root *snap;
	uint32_t nsnap;
	uint64_t snap_len; /* of the snapshot table */
	bool snap_changed; /* it has to be written */

	uint64_t *reftable;
	uint64_t nreftable;
	struct map disk; /* refcounts on disk that differ from what was counted */
	bool said_unaligned;
};

void check_say(struct checker *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "ERROR <text>", counted; or, if it is to be repaired, "Repairing <text>". A text that begins
 * with a colon comes right after "ERROR". kind and host: of the problem; NULL: no place. */
void check_fault(struct checker *k, bool fix, const char *kind, const uint64_t *host,
		 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void check_problem(struct checker *k, const char *kind, const uint64_t *host, bool fixed);
/* Are messages still printed? Who would say the same many times may then just count. */
bool check_heard(const struct checker *k);
/* Takes n from the budget; false: it is used up. */
bool check_spend(struct checker *k, uint64_t n);
/* Counts `times` references to each cluster of a region, unless it lies past the end of
 * the file by a cluster or more: that is an error. flags: CELL_COPIED, CELL_SHARED. */
int check_region(struct checker *k, uint64_t off, uint64_t len, uint64_t times, unsigned flags,
		 struct err *err);
/* The same for whole clusters that are known to be inside. */
int check_clusters(struct checker *k, uint64_t cl, uint64_t n, uint64_t times, unsigned flags,
		   struct err *err);
/* Would check_region complain? */
bool check_outside(const struct checker *k, uint64_t off, uint64_t len);

int checker_init(struct checker *k, struct qcow2 *q, struct check *c, unsigned fix,
		 struct err *err);
void checker_free(struct checker *k);
/* All references: snapshot table, tables, bitmaps, the refcount structures. */
int check_references(struct checker *k, struct err *err);

/* ---- check_io.c ------------------------------------------------------------------- */

/* Calls fn with each stretch of the n 64-bit entries at `off` that is in the file and no
 * hole. `again`: they may have been read before, which the budget pays. What cannot be
 * read counts as check error; `what` names it then. */
int check_entries(struct checker *k, const char *what, uint64_t off, uint64_t n, bool again,
		  int (*fn)(struct checker *, void *arg, uint64_t first, const uint8_t *entries,
			    size_t n, struct err *),
		  void *arg, struct err *err);

/* A cluster for each of the n offsets, neighbours in one request; zeros past the end of
 * the file and for UINT64_MAX. `holes`: ask the file where it has none, first. errors[i]:
 * 0 or an errno value. Thread-safe. */
void check_read_clusters(const struct checker *k, const uint64_t *off, size_t n, bool holes,
			 uint8_t *data, int *errors);

/* Memory of jobs, kept for the next one. */
struct check_buf {
	struct check_buf *next;
	uint8_t *data;
	void *more;
};
struct check_bufs {
	pthread_mutex_t lock;
	struct check_buf *spare;
	size_t data, more; /* bytes */
};
void check_bufs_init(struct check_bufs *b, size_t data, size_t more);
void check_bufs_free(struct check_bufs *b);
struct check_buf *check_buf_take(struct check_bufs *b, struct err *err);
void check_buf_give(struct check_bufs *b, struct check_buf *buf);
/* Threads for work on so many bytes; 0: not worth one. */
unsigned check_threads(uint64_t bytes);

/* ---- check_l2.c ------------------------------------------------------------------- */

struct l2_stats {
	uint64_t allocated, fragmented, compressed;
};

struct l2_run {
	uint64_t cl;
	uint32_t n;
	uint32_t flags;
};

/* Runs and numbers of a sound table, at most one run for each entry; *nrun is added to.
 * false: the table is not sound. Thread-safe. *shared: an external data file's cluster
 * lacks the copied flag. */
bool check_l2_quick(const struct checker *k, const uint8_t *p, uint32_t index,
		    struct l2_run *run, size_t *nrun, struct l2_stats *st, bool *shared);
/* Entry by entry. st: NULL for other tables than the active ones. *changed: p was repaired
 * and is to be written. */
int check_l2_slow(struct checker *k, uint8_t *p, uint32_t index, struct l2_stats *st,
		  bool *changed, struct err *err);
/* The place of a standard entry's cluster. false: it has none, or is compressed. */
bool check_l2_place(const struct checker *k, uint64_t entry, uint64_t *off);

/* ---- check_tables.c, check_refs.c, check_copied.c ---------------------------------- */

int check_tables(struct checker *k, struct err *err);
/* References of the refcount structures to themselves; loads the table. */
int check_reftable(struct checker *k, struct err *err);
int check_refcounts(struct checker *k, struct err *err);
/* What the file says; false: it cannot be told. */
bool check_disk_refcount(struct checker *k, uint64_t cl, uint64_t *out);
/* fix: repair them */
int check_copied(struct checker *k, bool fix, struct err *err);
const struct table *check_table_at(const struct checker *k, uint64_t off);

/* ---- repair*.c -------------------------------------------------------------------- */

int qcow2_repair(struct qcow2 *q, struct check *c, struct err *err);
/* Writes to a table in place. Where other metadata is in the same place nothing is written:
 * that fails or, with CHECK_FIX_ENTRIES, returns 1. */
enum repair_what { REPAIR_L1, REPAIR_SNAPSHOT_L1, REPAIR_L2 };
int repair_write(struct checker *k, enum repair_what what, uint64_t off, const void *buf,
		 size_t n, struct err *err);
/* Writes new refcount blocks and a table from what was counted, where nothing is in use, and
 * lets the header point there. */
int repair_rebuild(struct checker *k, struct err *err);
/* Writes the snapshot table as it was read, whole entries, to a new place. */
int repair_snapshots(struct checker *k, struct err *err);

#endif
