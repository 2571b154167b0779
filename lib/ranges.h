/*
 * Locks on byte ranges: any number of readers or one writer for each byte.
 * Threads: that is its point. A thread must not lock a range it already holds.
 */
#ifndef LIB_RANGES_H
#define LIB_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

struct ranges;

struct range_hold {
	uint64_t from, to; /* half open */
	bool writer;
	struct range_hold *next;
};

struct ranges *ranges_new(struct err *err);
void ranges_free(struct ranges *r);
/* Waits. `hold` belongs to the caller and must live until ranges_unlock. */
void ranges_lock(struct ranges *r, struct range_hold *hold, uint64_t from, uint64_t to,
		 bool writer);
void ranges_unlock(struct ranges *r, struct range_hold *hold);

#endif
