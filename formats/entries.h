/*
 * The entries of a format's tables - block allocation tables, grain tables, L1 and L2 - as
 * numbers at offsets of a file, read and written through a cache.
 *
 * A piece is what is read at once. It has to be so small that no data lies between two
 * tables of one piece, since changes are written from the first changed entry to the last:
 * for one table in a file any size will do, for many at most their alignment.
 *
 * Units: bytes. `off` is a multiple of the width.
 * Threads: none inside; the owner calls under its lock.
 * Order: entries_data_written() before an entry is set that refers to new data;
 *	entries_depend() where one table refers to another. See lib/cache.h.
 */
#ifndef FORMATS_ENTRIES_H
#define FORMATS_ENTRIES_H

#include <stdbool.h>

#include "lib/cache.h"

struct entries {
	struct cache *cache;
	uint32_t piece;
	unsigned width; /* 4 or 8 */
	bool big;	/* endian */
};

/* Keeps `pieces` (>= 2) at most. relaxed: IMAGE_NEW, nothing waits for anything. */
int entries_init(struct entries *e, struct blk *file, uint32_t piece, unsigned pieces,
		 unsigned width, bool big, bool relaxed, struct err *err);
/* Writes nothing. Fine on what is zeroed. */
void entries_free(struct entries *e);
int entries_get(struct entries *e, uint64_t off, uint64_t *value, struct err *err);
/* Reaches the disk with entries_flush, or before that. */
int entries_set(struct entries *e, uint64_t off, uint64_t value, struct err *err);
/* How many entries from off on, at most n, are zero for sure; quick for what is. `file`: is
 * where they are, if nothing of it was changed and so its holes may be asked for; else NULL. */
uint64_t entries_none(struct entries *e, struct blk *file, uint64_t off, uint64_t n);
/* New data was written that entries will refer to. */
void entries_data_written(struct entries *e);
/* `on` is stable before any of e is written. */
void entries_depend(struct entries *e, struct entries *on);
/* Writes all that has changed. Does not make it stable. */
int entries_flush(struct entries *e, struct err *err);

#endif
