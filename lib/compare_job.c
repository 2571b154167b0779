#include "lib/compare_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/array.h"
#include "lib/mem.h"
#include "lib/zero.h"

static void job_free(struct compare_job *j)
{
	for (unsigned i = 0; i < 2; i++) {
		free(j->half[i].run);
		free(j->half[i].buf);
	}
	free(j->part);
	free(j);
}

void compare_jobs_free(struct compare_engine *e)
{
	while (e->spare) {
		struct compare_job *j = e->spare;

		e->spare = j->next;
		job_free(j);
	}
}

void compare_job_drop(struct compare_job *j)
{
	struct compare_engine *e = j->engine;

	pthread_mutex_lock(&e->lock);
	j->next = e->spare;
	e->spare = j;
	pthread_mutex_unlock(&e->lock);
}

static struct compare_job *job_make(struct compare_engine *e, struct err *err)
{
	struct compare_job *j = calloc(1, sizeof(*j));

	if (!j) {
		err_nomem(err, sizeof(*j), "a comparison");
		return NULL;
	}
	j->pool.steps = &compare_steps;
	j->engine = e;
	for (unsigned i = 0; i < 2; i++) {
		j->half[i].buf = mem_alloc(e->window);
		if (!j->half[i].buf) {
			err_nomem(err, e->window, "a comparison");
			job_free(j);
			return NULL;
		}
	}
	return j;
}

struct compare_job *compare_job_new(struct compare_engine *e, uint64_t off, struct err *err)
{
	struct compare_job *j;

	pthread_mutex_lock(&e->lock);
	j = e->spare;
	if (j)
		e->spare = j->next;
	pthread_mutex_unlock(&e->lock);
	if (!j)
		j = job_make(e, err);
	if (!j)
		return NULL;
	j->off = off;
	j->len = 0;
	j->npart = j->half[0].n = j->half[1].n = 0;
	j->end.found = COMPARE_SAME;
	return j;
}

static bool continues(const struct extent *a, const struct extent *b)
{
	if (a->off + a->len != b->off || a->flags != b->flags || a->depth != b->depth ||
	    a->home != b->home)
		return false;
	if (a->flags & EXT_PACKED)
		return a->host == b->host;
	return !a->home || a->host + a->len == b->host;
}

static int half_add(struct compare_half *h, const struct extent *e, uint64_t len,
		    struct err *err)
{
	struct extent *last = h->n ? &h->run[h->n - 1] : NULL;

	if (last && continues(last, e)) {
		last->len += len;
		return 0;
	}
	if (array_room(&h->run, &h->room, h->n, sizeof(*h->run), "a comparison", err))
		return -1;
	h->run[h->n] = *e;
	h->run[h->n++].len = len;
	return 0;
}

int compare_job_add(struct compare_job *j, const struct extent run[2], uint64_t len,
		    uint64_t base, struct err *err)
{
	if (array_room(&j->part, &j->room, j->npart, sizeof(*j->part), "a comparison", err) ||
	    half_add(&j->half[0], &run[0], len, err) ||
	    half_add(&j->half[1], &run[1], len, err))
		return -1;
	j->part[j->npart++] = (struct compare_part){
		.off = run[0].off,
		.len = len,
		.base = base,
		.zero = {compare_known_zero(&run[0]), compare_known_zero(&run[1])},
	};
	j->len += len;
	return 0;
}

/* The first byte of buf that is not zero; n if there is none. */
static size_t first_nonzero(const uint8_t *buf, size_t n)
{
	size_t i = 0;

	while (i < n && zero_is(buf + i, MIN(n - i, 4096)))
		i += MIN(n - i, 4096);
	while (i < n && buf[i] == 0)
		i++;
	return i;
}

static size_t part_diff(const struct compare_job *j, const struct compare_part *p)
{
	const uint8_t *a = j->half[0].buf + (p->off - j->off);
	const uint8_t *b = j->half[1].buf + (p->off - j->off);

	if (p->zero[0] && p->zero[1])
		return p->len;
	if (p->zero[0])
		return first_nonzero(b, p->len);
	if (p->zero[1])
		return first_nonzero(a, p->len);
	return zero_diff(a, b, p->len);
}

/* Reads the data of one side; *bad is where it cannot be read. */
static int read_half(struct compare_job *j, unsigned side, uint64_t *bad)
{
	const struct compare_half *h = &j->half[side];

	for (size_t i = 0; i < h->n; i++) {
		const struct extent *e = &h->run[i];

		if (!compare_known_zero(e) &&
		    chain_read_extent(j->engine->c->side[side], e, h->buf + (e->off - j->off),
				      e->len, e->off, &j->end.err)) {
			*bad = e->off;
			return -1;
		}
	}
	return 0;
}

static void find(struct compare_job *j, enum compare_found found, unsigned which, uint64_t at)
{
	j->end.found = found;
	j->end.which = which;
	j->end.off = at;
}

/* The first difference in front of `end`, if there is one. */
static void compare_parts(struct compare_job *j, uint64_t end)
{
	for (size_t i = 0; i < j->npart && j->part[i].off < end; i++) {
		const struct compare_part *p = &j->part[i];
		size_t d = part_diff(j, p);
		uint64_t at = p->off + d;

		if (d < p->len && at < end) {
			/* in the peer's unit: sectors from where the run began */
			at = p->base + round_down(at - p->base, COMPARE_SECTOR);
			find(j, COMPARE_CONTENT, 0, at);
			return;
		}
	}
}

/* Never fails: what is found counts only when it is this window's turn. */
static int job_run(struct pool_job *job, struct err *err)
{
	struct compare_job *j = (struct compare_job *)job;
	uint64_t bad = j->off + j->len, at;

	for (unsigned side = 0; side < 2; side++)
		if (read_half(j, side, &at) && at < bad) {
			bad = at;
			find(j, COMPARE_NO_READ, side, at);
		}
	compare_parts(j, bad);
	return 0;
}

static int job_commit(struct pool_job *job, struct err *err)
{
	struct compare_job *j = (struct compare_job *)job;
	struct compare *c = j->engine->c;

	if (j->end.found == COMPARE_SAME) {
		if (c->progress)
			progress_add(c->progress, j->len);
		return 0;
	}
	j->engine->end = j->end;
	return err_set(err, ECANCELED, "The comparison has ended");
}

static void job_done(struct pool_job *job)
{
	compare_job_drop((struct compare_job *)job);
}

const struct pool_steps compare_steps = {
	.run = job_run,
	.commit = job_commit,
	.done = job_done,
};
