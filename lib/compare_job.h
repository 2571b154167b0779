/*
 * Inside of the compare engine: one window of both disks, and the strict look-ahead.
 */
#ifndef LIB_COMPARE_JOB_H
#define LIB_COMPARE_JOB_H

#include <pthread.h>

#include "lib/compare.h"
#include "lib/pool.h"

#define COMPARE_SECTOR	   512
#define COMPARE_WINDOW	   (256u << 10) /* both sides of it fit a second-level cache */
#define COMPARE_WINDOW_MAX (4u << 20)

/* What ends a comparison, or SAME. */
struct compare_end {
	enum compare_found found;
	unsigned which;
	uint64_t off;
	struct err err;
};

struct compare_engine {
	struct compare *c;
	struct compare_end end; /* of the job that was first to find something */
	uint32_t window;	/* a multiple of both grains: no compressed one is read twice */
	pthread_mutex_t lock;
	struct compare_job *spare;
};

/* A range where neither side's extent ends. */
struct compare_part {
	uint64_t off, len;
	uint64_t base; /* where it began, in an earlier window perhaps */
	bool zero[2];
};

struct compare_half {
	struct extent *run; /* what to read: neighbours joined */
	size_t n, room;
	uint8_t *buf;
};

struct compare_job {
	struct pool_job pool;
	struct compare_engine *engine;
	uint64_t off, len;
	struct compare_half half[2];
	struct compare_part *part;
	size_t npart, room;
	struct compare_end end;
	struct compare_job *next;
};

extern const struct pool_steps compare_steps;

struct compare_job *compare_job_new(struct compare_engine *e, uint64_t off, struct err *err);
/* What both sides say of [run[0].off, + len). */
int compare_job_add(struct compare_job *job, const struct extent run[2], uint64_t len,
		    uint64_t base, struct err *err);
/* Keeps it for the next. */
void compare_job_drop(struct compare_job *job);
void compare_jobs_free(struct compare_engine *e);

/* Reads as zeros without being read? */
static inline bool compare_known_zero(const struct extent *e)
{
	return e->flags & (EXT_ZERO | EXT_ABSENT);
}

/* The strict mode's view: compare_strict.c. */
struct compare_strict;
struct compare_strict *compare_strict_new(const struct compare *c, struct err *err);
void compare_strict_free(struct compare_strict *s);
/* Judges the allocation in runs, as far as beyond `off`. end->found tells whether it
 * differs, and from where on, or that a table could not be read. */
void compare_strict_until(struct compare_strict *s, uint64_t off, struct compare_end *end);
/* How far it came: up to there the allocation is the same. */
uint64_t compare_strict_done(const struct compare_strict *s);

#endif
