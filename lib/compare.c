#include "lib/compare.h"

#include <stdlib.h>

#include "lib/compare_job.h"
#include "lib/mem.h"

/* Where both walks are. */
struct reader {
	struct compare_engine engine;
	struct compare_end end; /* what the walks found; earlier windows come first */
	struct walk *walk[2];
	struct compare_strict *strict; /* or NULL */
	uint64_t base, base_end;       /* the run at hand, in which nothing begins to be zero */
	bool zero[2];
};

static void follow_base(struct reader *r, uint64_t pos, uint64_t len,
			const struct extent run[2])
{
	for (unsigned i = 0; i < 2; i++) {
		if (pos >= r->base_end && compare_known_zero(&run[i]) != r->zero[i])
			r->base = pos;
		r->zero[i] = compare_known_zero(&run[i]);
	}
	r->base_end = pos + len;
}

/* What both sides say at pos, and the length that they agree on. */
static int look(struct reader *r, uint64_t pos, uint64_t *len, struct extent run[2])
{
	*len = r->engine.c->to - pos;
	for (unsigned i = 0; i < 2; i++) {
		if (walk_next(r->walk[i], pos, *len, &run[i], &r->end.err)) {
			r->end.found = COMPARE_NO_STATUS;
			r->end.which = i;
			r->end.off = pos;
			return -1;
		}
		*len = MIN(*len, run[i].len);
	}
	follow_base(r, pos, *len, run);
	return 0;
}

/* Fills one window. A run that goes on into the next one keeps its base. What the walks
 * find at fault is told by r->end, after what is in front of it. */
static int fill(struct reader *r, struct compare_job *j, uint64_t end, struct err *err)
{
	uint64_t pos = j->off;

	while (pos < end) {
		struct extent run[2];
		uint64_t len;

		if (look(r, pos, &len, run))
			return 0;
		len = MIN(len, end - pos);
		if (compare_job_add(j, run, len, r->base, err))
			return -1;
		pos += len;
	}
	return 0;
}

/* Where the window at pos ends; in strict mode also where the allocation differs. */
static uint64_t window_end(struct reader *r, uint64_t pos)
{
	uint64_t end = round_down(pos, r->engine.window) + r->engine.window;

	end = MIN(end, r->engine.c->to);
	if (!r->strict)
		return end;
	compare_strict_until(r->strict, end - 1, &r->end);
	return r->end.found ? MIN(end, r->end.off) : end;
}

static int submit_window(struct reader *r, struct pool *pool, uint64_t *pos, struct err *err)
{
	uint64_t end = window_end(r, *pos);
	struct compare_job *j;

	if (*pos == end)
		return 0;
	j = compare_job_new(&r->engine, *pos, err);
	if (!j)
		return -1;
	if (fill(r, j, end, err)) {
		compare_job_drop(j);
		return -1;
	}
	*pos += j->len;
	return pool_submit(pool, &j->pool, err);
}

/* Until the end, or until something is found. */
static int submit_all(struct reader *r, struct pool *pool, struct err *err)
{
	const struct compare *c = r->engine.c;
	uint64_t pos = c->from;

	while (pos < c->to && !r->end.found) {
		struct extent run[2];
		uint64_t len;

		if (r->strict)
			compare_strict_until(r->strict, pos, &r->end);
		if (r->end.found || look(r, pos, &len, run))
			return 0;
		if (!compare_known_zero(&run[0]) || !compare_known_zero(&run[1])) {
			if (submit_window(r, pool, &pos, err))
				return -1;
			continue;
		}
		if (r->strict)
			len = MIN(len, compare_strict_done(r->strict) - pos);
		if (c->progress)
			progress_add(c->progress, len);
		pos += len;
	}
	return 0;
}

static int run_pool(struct reader *r, struct err *err)
{
	struct compare *c = r->engine.c;
	struct pool *pool = pool_new(c->threads, c->threads + 4, err);
	const struct compare_end *end = &r->engine.end;
	int rc, drained;
	struct err later;

	if (!pool)
		return -1;
	rc = submit_all(r, pool, err);
	drained = pool_drain(pool, rc ? &later : err);
	pool_free(pool);
	if (!end->found) {
		if (rc || drained)
			return -1;
		end = &r->end;
	}
	c->found = end->found;
	c->which = end->which;
	c->off = end->off;
	if (c->found != COMPARE_NO_STATUS && c->found != COMPARE_NO_READ)
		return 0;
	*err = end->err;
	return -1;
}

/* Compressed grains lie in one window each, so that none is inflated twice. */
static uint32_t window_of(const struct compare *c)
{
	uint32_t n = COMPARE_WINDOW;

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned d = 0; d < c->side[i]->n; d++) {
			const struct blk *layer = c->side[i]->layer[d];

			if (layer->codec != CODEC_NONE && layer->grain > n &&
			    layer->grain <= COMPARE_WINDOW_MAX)
				n = layer->grain;
		}
	}
	return n;
}

static int prepare(struct reader *r, struct err *err)
{
	struct compare *c = r->engine.c;

	r->engine.window = window_of(c);
	for (unsigned i = 0; i < 2; i++) {
		r->walk[i] = walk_new(c->side[i], 0, err);
		if (!r->walk[i])
			return -1;
		walk_holes(r->walk[i]);
	}
	if (!c->strict)
		return 0;
	r->strict = compare_strict_new(c, err);
	return r->strict ? 0 : -1;
}

int compare_run(struct compare *c, struct err *err)
{
	struct reader *r = calloc(1, sizeof(*r));
	int rc;

	c->found = COMPARE_SAME;
	if (!r)
		return err_nomem(err, sizeof(*r), "a comparison");
	r->engine.c = c;
	r->base = r->base_end = c->from;
	pthread_mutex_init(&r->engine.lock, NULL);
	rc = prepare(r, err) ? -1 : run_pool(r, err);
	compare_strict_free(r->strict);
	walk_free(r->walk[0]);
	walk_free(r->walk[1]);
	compare_jobs_free(&r->engine);
	pthread_mutex_destroy(&r->engine.lock);
	free(r);
	return rc;
}
