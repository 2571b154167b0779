/*
 * The compare engine: do two disks read the same?
 *
 * It walks both, skips what both know to be zero, and hands windows of the rest to the
 * pool: both sides are read and compared in parallel. What is found is the first of its
 * kind from the beginning, whatever the number of threads.
 */
#ifndef LIB_COMPARE_H
#define LIB_COMPARE_H

#include "lib/chain.h"
#include "lib/progress.h"

enum compare_found {
	COMPARE_SAME,
	COMPARE_CONTENT,   /* at `off`: the start of the first sector that differs */
	COMPARE_STATUS,	   /* strict: at `off` one is allocated otherwise than the other */
	COMPARE_NO_STATUS, /* side's tables cannot be read */
	COMPARE_NO_READ,   /* side cannot be read at `off` */
};

struct compare {
	struct chain *side[2]; /* borrowed */
	uint64_t from, to;     /* may reach beyond the end of a side, which reads as zeros */
	bool strict;	       /* the allocation must be the same, too */
	unsigned threads;      /* 0: in the calling thread */
	struct progress *progress; /* or NULL */

	/* out */
	enum compare_found found;
	unsigned which; /* NO_STATUS, NO_READ: the side, 0 or 1 */
	uint64_t off;
};

/* 0: c->found is SAME, CONTENT or STATUS. -1: it is one of the others, or SAME when
 * memory was short. */
int compare_run(struct compare *c, struct err *err);

#endif
