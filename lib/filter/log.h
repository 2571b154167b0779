/*
 * A log of all that changes one or more files: every write, zero, resize and flush, with
 * contents, in memory. From it the files can be had as they were at any point, and as a
 * power failure there could have left them.
 *
 * Sectors of 512 bytes are written as a whole or not at all. Of what no flush of its file
 * has covered, any part may be lost, in any order: whole entries, or sectors of them.
 *
 * Ownership: the files below stay the caller's. Files of a log are closed before it.
 * Threads: the blks as any blk; they take turns. The rest: while nobody writes.
 */
#ifndef LIB_FILTER_LOG_H
#define LIB_FILTER_LOG_H

#include "lib/blk.h"

struct log;

struct log *log_new(struct err *err);
void log_free(struct log *log);

/* A blk that hands everything to `to` (borrowed) and records it as of file 0, 1, ... in the
 * order of these calls. The start is what is in `to` now, and it is stable. */
int log_add_file(struct log *log, struct blk *to, struct err *err);
/* Another blk of a file that was added, to be closed by whoever gets it. */
struct blk *log_open(struct log *log, unsigned file, struct err *err);
unsigned log_files(const struct log *log);

/* Forgets all entries: what the files hold now is the start, and stable. */
int log_restart(struct log *log, struct err *err);
/* Entries that a flush made stable are forgotten from now on: for logs without end, of
 * which only the present is of interest. */
void log_forget_stable(struct log *log);
/* Called before each write, zero, resize and flush. NULL: nobody. */
void log_hook(struct log *log, void (*hook)(void *arg), void *arg);

enum log_kind { LOG_WRITE, LOG_ZERO, LOG_RESIZE, LOG_FLUSH };

struct log_entry {
	enum log_kind kind;
	unsigned file;
	uint64_t off, len; /* LOG_RESIZE: len is the new size */
	uint8_t *bytes;	   /* LOG_WRITE */
};

size_t log_count(const struct log *log);
const struct log_entry *log_entry(const struct log *log, size_t i);
/* Of the first n entries: how many of those of this file a flush has covered come before
 * this index. */
size_t log_stable(const struct log *log, size_t n, unsigned file);

/* What is lost of entries that no flush has covered. */
enum log_loss_kind {
	LOSE_NOTHING,	   /* the files at that point */
	LOSE_ALL_BUT_ONE,  /* only entry `which` is there: it overtook the others */
	LOSE_ONE,	   /* only entry `which` is not */
	LOSE_TAIL,	   /* of entry `which` only the first sector is there */
	LOSE_HEAD,	   /* of entry `which` all but the first sector is there */
	LOSE_RANDOM,	   /* some entries, by `which` */
	LOSE_RANDOM_PARTS, /* some entries, of some others some sectors */
};

struct log_loss {
	enum log_loss_kind kind;
	uint64_t which;
};

/* The file after the first n entries and a power failure: a blk in memory of its own.
 * Cheapest with n that grows from call to call. */
struct blk *log_state(struct log *log, unsigned file, size_t n, const struct log_loss *loss,
		      struct err *err);

#endif
