/*
 * An ordered pool of jobs. Each job has three steps:
 *
 *	run     in parallel with everything
 *	commit  one at a time, in the order of submission: short, it decides places
 *	finish  in parallel again: here the data is written
 *
 * With 0 threads the same steps run in the submitting thread, one job after the
 * other, so that results cannot depend on the number of threads.
 *
 * After the first failure no further step of any job is called except `done`, which
 * is called once for every submitted job, whatever happened; it frees the job.
 *
 * Threads: one submitter; steps run on the pool's threads.
 */
#ifndef LIB_POOL_H
#define LIB_POOL_H

#include "lib/err.h"

struct pool;
struct pool_job;

struct pool_steps {
	/* each may be NULL but done */
	int (*run)(struct pool_job *, struct err *);
	int (*commit)(struct pool_job *, struct err *);
	int (*finish)(struct pool_job *, struct err *);
	void (*done)(struct pool_job *);
};

struct pool_job {
	const struct pool_steps *steps;
	/* the pool's own */
	struct pool_job *next;
	unsigned long long ticket;
	unsigned state;
};

/* At most `window` jobs (>= 1) are under way: that bounds the memory. */
struct pool *pool_new(unsigned threads, unsigned window, struct err *err);
/* Takes the job over in every case. Waits while the window is full. -1 with the error
 * of the first job that failed (perhaps an earlier one). */
int pool_submit(struct pool *pool, struct pool_job *job, struct err *err);
/* Waits for all; -1 with the first error in ticket order. */
int pool_drain(struct pool *pool, struct err *err);
/* Waits for what is under way, drops what has not begun, ends the threads. */
void pool_free(struct pool *pool);

#endif
