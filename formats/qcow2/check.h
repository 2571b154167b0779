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
	bool incomplete;
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

	struct counts counts;
	struct table *table; /* by offset, once all are known */
	size_t ntable, table_room;
	struct map table_of; /* offset -> index; while they are gathered */
	bool slow;	     /* something needs the slow way */
	bool copied;	     /* "copied" flags need to be looked at */

	struct snapshot_root *snap;
	uint32_t nsnap;
	uint64_t snap_len; /* of the snapshot table */

	uint64_t *reftable;
	uint64_t nreftable;
	struct map disk; /* refcounts on disk that differ from what was counted */
	bool said_unaligned;
};

void check_say(struct checker *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, and counts an error. */
void check_error(struct checker *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
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
/* Entry by entry. st: NULL for other tables than the active ones. */
int check_l2_slow(struct checker *k, const uint8_t *p, uint32_t index, struct l2_stats *st,
		  struct err *err);
/* The place of a standard entry's cluster. false: it has none, or is compressed. */
bool check_l2_place(const struct checker *k, uint64_t entry, uint64_t *off);

/* ---- check_tables.c, check_refs.c, check_copied.c ---------------------------------- */

int check_tables(struct checker *k, struct err *err);
/* References of the refcount structures to themselves; loads the table. */
int check_reftable(struct checker *k, struct err *err);
int check_refcounts(struct checker *k, struct err *err);
/* What the file says; false: it cannot be told. */
bool check_disk_refcount(struct checker *k, uint64_t cl, uint64_t *out);
int check_copied(struct checker *k, struct err *err);

#endif
