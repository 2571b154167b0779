/*
 * Crash safety of an image format, by replay.
 *
 * A pattern of changes (a crash_row) plays on an image whose files are below a write log.
 * Then the files are put together as a power failure could have left them, at every point
 * of the log and with parts of what was not flushed yet lost, and each time:
 *	- the image opens, and the format's check finds nothing worse than leaks
 *	- what was flushed before is there; where a change was under way: old or new
 *	- the same holds for the snapshots
 *	- after repair a check is clean, and all that was there is
 *	- it can be written again
 * The same patterns play with each write, flush and extension of the file failing in turn.
 *
 * A format is a table of kinds (crash_kind) and of the rows that it can do; nothing here
 * knows which. What the guest should see is a view: a stamp for each sector of 512 bytes.
 */
#ifndef TESTS_LIB_CRASH_H
#define TESTS_LIB_CRASH_H

#include "formats/format.h"
#include "lib/chain.h"
#include "lib/filter/fault.h"
#include "lib/filter/log.h"

#define CRASH_SECTORS 6144u /* of a disk at most */
#define CRASH_FILES   2u

struct crash_view {
	unsigned sectors;
	uint32_t value[CRASH_SECTORS]; /* the sector's bytes, again and again; 0: zeros */
};

/* What is below the image. */
enum crash_below {
	BELOW_NOTHING,
	BELOW_RAW,   /* a fixed raw file, shorter than the disk */
	BELOW_IMAGE, /* an image of the same format, that may be written, too: file 1 */
	BELOW_DATA,  /* not below but beside: an external data file, file 1 */
	BELOW_RAW_AND_DATA,
};

/* One sort of image. */
struct crash_kind {
	const struct format *format;
	const char *create, *open; /* options; open may be NULL */
	unsigned sectors;
	enum crash_below below;
	bool quick; /* played also where time is short */
};

static inline bool crash_has_data(const struct crash_kind *k)
{
	return k->below == BELOW_DATA || k->below == BELOW_RAW_AND_DATA;
}

struct crash;

struct crash_row {
	const char *name;
	/* Makes what the pattern begins with. Flushed after it. Nothing fails. NULL: empty. */
	int (*setup)(struct crash *c);
	/* The pattern. -1 as soon as something fails: then c->err says why. */
	int (*run)(struct crash *c);
	bool (*fits)(const struct crash_kind *k); /* NULL: any */
	/* More that must be true of an image that was opened for reading. */
	void (*verify)(struct crash *c, struct chain *chain);
};

/* Something that the pattern did. */
struct crash_event {
	enum { EVENT_CHANGE, EVENT_FLUSH, EVENT_SNAPSHOT, EVENT_FORGET } kind;
	size_t from, to; /* entries of the log before and after */
	bool failed;
	struct crash_view *before, *view; /* view: as meant to be afterwards */
	char name[16];			  /* of the snapshot */
};

struct crash {
	const struct crash_kind *kind;
	const struct crash_row *row;
	struct blk *file[CRASH_FILES]; /* in memory */
	unsigned nfile;
	struct blk *through[CRASH_FILES]; /* how the pattern sees them: logged */
	struct log *log;
	struct fault *fault;	/* NULL: nothing fails */
	struct chain *chain;	/* open for writing while the pattern runs */
	struct crash_view *now; /* what chain should show */
	struct crash_event event[400];
	size_t nevent;
	unsigned stamp, nsnapshot, seed;
	bool writing; /* an event is begun */
	size_t step;  /* of the log, in messages */
	struct err err;
};

/* What fails ends a pattern. */
#define TRY(what)                                                                              \
	do {                                                                                   \
		if (what)                                                                      \
			return -1;                                                             \
	} while (0)

/* ---- for rows; int: 0 or -1 with c->err ------------------------------------------- */

unsigned crash_rnd(struct crash *c, unsigned n);
struct image *crash_image(const struct crash *c);
/* New contents; one stamp for all n sectors. */
int crash_write(struct crash *c, unsigned sector, unsigned n);
int crash_zero(struct crash *c, unsigned sector, unsigned n, unsigned flags);
/* Whole grains, compressed; a short last one, too. */
int crash_pack(struct crash *c, unsigned sector, unsigned n);
int crash_flush(struct crash *c);
int crash_resize(struct crash *c, unsigned sectors, enum blk_prealloc p);
/* The image is closed and opened again. */
int crash_reopen(struct crash *c);
/* Anything inside of the disk; the same in whole grains. */
void crash_pick(struct crash *c, unsigned *sector, unsigned *n, unsigned max);
void crash_pick_grains(struct crash *c, unsigned *sector, unsigned *n, unsigned max);
/* So many writes, each of at most max sectors, and some flushes. */
int crash_write_some(struct crash *c, unsigned times, unsigned max);
/* Data, zeros, compressed grains, nothing; then a flush. */
int crash_fill_disk(struct crash *c);
/* While the image is closed: the format repairs it; another of its files is opened. */
int crash_repair(struct crash *c);
struct chain *crash_open_file(struct crash *c, unsigned file);
int crash_close_file(struct crash *c, unsigned file, struct chain *chain);
/* Anything else: begin, change *c->now to what is meant, do it, and say how it went. */
void crash_begin(struct crash *c);
int crash_end(struct crash *c, int rc);
/* Snapshots "s1", "s2", ... in order of their creation. */
int crash_snapshot(struct crash *c);
/* May there be any? */
bool crash_fits_snapshots(const struct crash_kind *k);
int crash_snapshot_apply(struct crash *c, unsigned number);
int crash_snapshot_remove(struct crash *c, unsigned number);
/* Opens the image named so for what is below another: to be attached. flags: IMAGE_*. */
struct blk *crash_open_below(struct crash *c, struct blk *const *file, const char *name,
			     unsigned flags);
/* The stamp of a sector of the fixed raw files "below.raw" and "other.raw". */
uint32_t crash_below_stamp(const char *name, unsigned sector);
/* A chain of one raw file in memory with these contents. */
struct chain *crash_source(struct crash *c, const struct crash_view *view);

/* Patterns that any format can play which has what they need; rows end with name NULL. */
extern const struct crash_row crash_rows_data[], crash_rows_image[], crash_rows_bitmap[];
/* For formats that can resize. */
extern const struct crash_row crash_rows_resize[];
/* For disks of at most 200 sectors, with a raw file below. */
extern const struct crash_row crash_rows_short[];
/* For disks so large that they outgrow their tables. */
extern const struct crash_row crash_rows_many[];

/* Is there repair for this kind? Asks the format, once. */
bool crash_can_repair(const struct crash_kind *kind);

/* ---- for tests -------------------------------------------------------------------- */

/* Plays all rows on all kinds (ended by format NULL): prefixes and subsets, then faults.
 * CRASH_FULL=1: all kinds, and more of everything. CRASH_ONLY=TEXT: only what has TEXT in
 * "OPTIONS ROW". CRASH_COUNTS=1: tells how much was tried. */
void crash_play_logs(const struct crash_kind *kinds, const struct crash_row *rows);
void crash_play_faults(const struct crash_kind *kinds, const struct crash_row *rows);

/* ---- inside: crash.c, crash_ops.c, crash_state.c, crash_play.c
 * ---------------------------------- */

void crash_good(struct crash *c, int rc);
/* Creates the image of a kind: no log, not open. */
void crash_create(struct crash *c, const struct crash_kind *kind, const struct crash_row *row);
void crash_free(struct crash *c);
/* The log begins here: what is in the files is stable, c->now is what the disk shows. */
void crash_start_log(struct crash *c);
struct crash_event *crash_event_begin(struct crash *c, int kind);
int crash_event_end(struct crash *c, int rc);
int crash_open(struct crash *c);
int crash_close(struct crash *c);
/* A chain over these files, named as the image names them. */
struct chain *crash_chain(struct crash *c, struct blk *const *file, unsigned flags);

/* What crash_state_check looks at. */
enum {
	STATE_LEAKS_TOO = 1, /* there must be none, and contents must be those of c->now */
	STATE_REPAIR = 2,
	STATE_WRITE = 4, /* write some more */
};
/* Tells apart the moments at which different things may be in a file. */
uint64_t crash_state_expects(struct crash *c, size_t step);
/* Everything at the top of this file, on these files after `step` entries of the log. The
 * files are changed. */
void crash_state_check(struct crash *c, struct blk *const *file, size_t step, unsigned what);

#endif
