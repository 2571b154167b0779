/*
 * The second half of a window: places are claimed in order, data is written in
 * parallel, tables follow.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/array.h"
#include "lib/copy_job.h"
#include "lib/mem.h"

struct copy_job *copy_job_new(struct engine *e, uint64_t off, struct err *err)
{
	struct copy_job *job = calloc(1, sizeof(*job));

	if (!job) {
		err_nomem(err, sizeof(*job), "a copy job");
		return NULL;
	}
	job->pool.steps = e->opt->unordered ? &copy_steps_unordered : &copy_steps;
	job->engine = e;
	job->off = off;
	return job;
}

int copy_job_add(struct copy_job *job, const struct segment *s, struct err *err)
{
	if (array_room(&job->seg, &job->seg_room, job->nseg, sizeof(*s), "a copy job", err))
		return -1;
	job->seg[job->nseg++] = *s;
	job->len += s->len;
	return 0;
}

static void give_back(struct engine *e, struct buffer *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&e->lock);
	b->next = e->spare;
	e->spare = b;
	pthread_mutex_unlock(&e->lock);
}

void copy_job_free(struct copy_job *job)
{
	for (size_t i = 0; i < job->nclaim; i++)
		blk_drop(job->engine->top, &job->claim[i]);
	give_back(job->engine, job->buf);
	give_back(job->engine, job->packed);
	give_back(job->engine, job->other);
	free(job->differs);
	free(job->packed_len);
	free(job->seg);
	free(job->run);
	free(job->out);
	free(job->write);
	free(job->claim);
	free(job);
}

static int add_write(struct copy_job *job, const struct write *w, struct err *err)
{
	if (array_room(&job->write, &job->write_room, job->nwrite, sizeof(*w), "a copy job",
		       err))
		return -1;
	job->write[job->nwrite++] = *w;
	return 0;
}

static const uint8_t *bytes_at(const struct copy_job *job, uint64_t off)
{
	return job->buf->data + (off - job->off);
}

static struct claim *claim(struct copy_job *job, uint64_t off, uint64_t len,
			   const uint32_t *packed, struct err *err)
{
	struct claim *c;

	if (array_room(&job->claim, &job->claim_room, job->nclaim, sizeof(*c), "a copy job",
		       err))
		return NULL;
	c = &job->claim[job->nclaim];
	*c = (struct claim){.off = off, .len = len, .packed = packed};
	if (blk_claim(job->engine->top, c, err))
		return NULL;
	job->nclaim++;
	return c;
}

static int place_anew(struct copy_job *job, uint64_t off, uint64_t len, struct err *err)
{
	struct claim *c = claim(job, off, len, NULL, err);

	if (!c)
		return -1;
	for (size_t i = 0; i < c->nrun; i++) {
		const struct claim_run *r = &c->run[i];
		struct write w = {c->home, r->off, r->host, r->len, NULL, r->fresh};

		if (add_write(job, &w, err))
			return -1;
	}
	return 0;
}

/* Plain data: over what is there where that may be, else to new places. */
static int place_data(struct copy_job *job, uint64_t off, uint64_t len, struct err *err)
{
	struct engine *e = job->engine;

	while (len > 0) {
		struct extent x;
		uint64_t n;

		if (blk_extent(e->top, off, len, &x, err))
			return -1;
		n = MIN(x.len, len);
		if (x.flags == EXT_DATA && x.home) {
			struct write w = {x.home, off, x.host, n, NULL, false};

			if (add_write(job, &w, err))
				return -1;
		} else {
			/* subclusters: up to the end of the last grain that has any of it */
			n = MIN(round_up(off + n, e->grain) - off, len);
			if (place_anew(job, off, n, err))
				return -1;
		}
		off += n;
		len -= n;
	}
	return 0;
}

/* Packed grains, their bytes closed up to one stream. */
static int place_packed(struct copy_job *job, uint64_t off, uint64_t len, struct err *err)
{
	struct engine *e = job->engine;
	uint64_t first = (off - job->off) / e->grain, n = div_up(len, e->grain);
	uint8_t *stream = job->packed->data + first * e->slot, *to = stream;
	struct claim *c = claim(job, off, len, job->packed_len + first, err);

	if (!c)
		return -1;
	for (uint64_t i = 0; i < n; i++) {
		memmove(to, stream + i * e->slot, job->packed_len[first + i]);
		to += job->packed_len[first + i];
	}
	for (size_t i = 0; i < c->nrun; i++) {
		struct write w = {c->home,	 c->run[i].off, c->run[i].host,
				  c->run[i].len, stream,	false};

		stream += w.len;
		if (add_write(job, &w, err))
			return -1;
	}
	return 0;
}

static int place_zeros(struct copy_job *job, const struct out *o, struct err *err)
{
	const struct copy *opt = job->engine->opt;

	if (opt->target_zero && !opt->target_backed)
		return 0;
	return blk_zero(&opt->target->blk, o->off, o->len,
			opt->unmap || opt->target->detect == DETECT_UNMAP ? BLK_UNMAP : 0, err);
}

/* A part of a grain, behind which the target goes on: what is there has to stay. */
static int place_tail(struct copy_job *job, uint64_t off, uint64_t len, struct err *err)
{
	if (len == 0)
		return 0;
	if (job->unread && copy_job_read(job, err))
		return -1;
	return blk_pwrite(&job->engine->opt->target->blk, bytes_at(job, off), len, off, 0, err);
}

static int place_one(struct copy_job *job, const struct out *o, struct err *err)
{
	const struct engine *e = job->engine;
	uint64_t end = o->off + o->len, tail = copy_whole_end(e, end) ? 0 : end % e->grain;
	uint64_t more = 0;
	int rc;

	if (o->kind == OUT_KEEP)
		return 0;
	if (o->kind == OUT_ZERO)
		return place_zeros(job, o, err);
	if (e->direct) {
		struct write w = {&e->opt->target->blk, o->off, o->off, o->len, NULL, false};

		return add_write(job, &w, err);
	}
	if (tail && o->kind == OUT_PACKED && (e->top->caps & BLK_WHOLE_PACK)) {
		/* nothing is there that would have to stay: zeros fill the grain up */
		more = MIN(e->grain - tail, blk_size(e->top) - end);
		tail = 0;
	}
	if (tail < o->len && blk_touch(e->top, o->off, o->len - tail, err))
		return -1;
	if (tail == o->len)
		rc = 0;
	else if (o->kind == OUT_PACKED)
		rc = place_packed(job, o->off, o->len - tail + more, err);
	else
		rc = place_data(job, o->off, o->len - tail, err);
	return rc ? -1 : place_tail(job, end - tail, tail, err);
}

static int job_commit(struct pool_job *pool, struct err *err)
{
	struct copy_job *job = (struct copy_job *)pool;

	for (size_t i = 0; i < job->nout; i++)
		if (place_one(job, &job->out[i], err))
			return err_prefix(err, "error while writing at byte %" PRIu64,
					  job->out[i].off);
	return 0;
}

/* A fresh place reads as zeros already: only the runs with data are written. */
static int write_fresh(struct copy_job *job, const struct write *w, struct err *err)
{
	for (size_t i = 0; i < job->nrun; i++) {
		const struct out *r = &job->run[i];
		uint64_t from = MAX(r->off, w->off), to = MIN(r->off + r->len, w->off + w->len);

		if (r->kind == OUT_ZERO || from >= to)
			continue;
		if (blk_pwrite(w->home, bytes_at(job, from), to - from,
			       w->host + (from - w->off), 0, err))
			return -1;
	}
	return 0;
}

static int write_one(struct copy_job *job, const struct write *w, struct err *err)
{
	if (copy_host_move(job, w))
		return 0;
	if (job->unread && copy_job_read(job, err))
		return -1;
	if (w->fresh && job->engine->unit && !w->bytes)
		return write_fresh(job, w, err);
	if (w->bytes)
		return blk_pwrite(w->home, w->bytes, w->len, w->host, 0, err);
	return blk_pwrite_to(job->engine->top, w->home, bytes_at(job, w->off), w->len, w->off,
			     w->host, err);
}

static int job_finish(struct pool_job *pool, struct err *err)
{
	struct copy_job *job = (struct copy_job *)pool;
	struct engine *e = job->engine;

	for (size_t i = 0; i < job->nwrite; i++)
		if (write_one(job, &job->write[i], err))
			return err_prefix(err, "error while writing at byte %" PRIu64,
					  job->write[i].off);
	while (job->nclaim > 0) {
		/* from the last: what is left belongs to copy_job_free */
		struct claim *c = &job->claim[--job->nclaim];

		if (blk_settle(e->top, c, err))
			return err_prefix(err, "error while writing at byte %" PRIu64, c->off);
	}
	if (e->opt->progress)
		progress_add(e->opt->progress, job->len);
	return 0;
}

/* -W: places are taken as the jobs come. */
static int job_finish_unordered(struct pool_job *pool, struct err *err)
{
	return job_commit(pool, err) || job_finish(pool, err) ? -1 : 0;
}

static void job_done(struct pool_job *pool)
{
	copy_job_free((struct copy_job *)pool);
}

const struct pool_steps copy_steps = {
	.run = copy_job_run,
	.commit = job_commit,
	.finish = job_finish,
	.done = job_done,
};

const struct pool_steps copy_steps_unordered = {
	.run = copy_job_run,
	.finish = job_finish_unordered,
	.done = job_done,
};
