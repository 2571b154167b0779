/*
 * A filter that lets operations fail, for tests of what an error leaves behind.
 *
 * A plan says which operations count, and which of those fails: the n-th, or all from the
 * n-th on. Several filters may follow one plan: then it counts over all of them. A write
 * that fails may leave its first half behind, as a real one may.
 *
 * Ownership: plan and file stay the caller's. Threads: as blk.
 */
#ifndef LIB_FILTER_FAULT_H
#define LIB_FILTER_FAULT_H

#include "lib/blk.h"

enum {
	FAULT_READ = 1,
	FAULT_WRITE = 2,
	FAULT_ZERO = 4,
	FAULT_FLUSH = 8,
	FAULT_RESIZE = 16,
	FAULT_GROW = 32, /* what makes the file longer: a write, a zero, a resize */
};

struct fault {
	unsigned ops;	/* FAULT_*: which count */
	uint64_t nth;	/* from 1; 0: none fails */
	bool lasting;	/* and all after it */
	bool half;	/* writes: the first half is written before */
	int error;	/* EIO, ENOSPC */
	uint64_t seen;	/* how many counted so far */
	uint64_t fired; /* how many failed */
};

/* A blk that hands everything to `to`, but for what the plan lets fail. */
struct blk *fault_open(struct fault *plan, struct blk *to, struct err *err);
/* The same over a blk that is closed with it; it is closed on failure, too. */
struct blk *fault_over(struct fault *plan, struct blk *lower, struct err *err);

#endif
