#include "lib/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/copy_job.h"
#include "lib/mem.h"

#define ZERO_JOB_MAX (1ull << 30) /* zeros handed over at once: a cheap call for most */
#define SCAN_UNIT    4096
#define SECTOR	     512
#define BUFFERS_MAX  (64u << 20)

/* Where the walk through the sources is. */
struct reader {
	struct engine *e;
	struct walk *walk;
	struct walk *onto; /* rebase: through what is to come below */
	unsigned layers;   /* that it looks at; 0: all */
	unsigned source;
	uint64_t base; /* where the source begins in the target */
};

static bool skips(const struct engine *e, enum seg_kind kind)
{
	return kind == SEG_KEEP ||
	       (kind == SEG_ZERO && e->opt->target_zero && !e->opt->target_backed);
}

static bool carries(const struct engine *e, const struct segment *s, uint64_t pos)
{
	const struct blk *layer = e->opt->source[s->source].chain->layer[s->e.depth];

	return e->opt->compress && (s->e.flags & EXT_PACKED) && !(s->e.flags & EXT_CODED) &&
	       e->top->ops->unpack && layer->codec == e->top->codec &&
	       layer->grain == e->grain && s->from % e->grain == 0 && pos % e->grain == 0 &&
	       s->e.len == s->len && s->len == MIN(e->grain, e->total - pos) &&
	       copy_whole_end(e, pos + s->len);
}

/* How far the image below the top of a chain reaches; 0: there is none. */
static uint64_t reach_below(const struct chain *chain)
{
	return chain->n > 1 ? round_up(blk_size(chain->layer[1]), SECTOR) : 0;
}

/* How many layers of a source count at pos; 0: all. With -B what is below is there already,
 * as far as the target's backing file reaches. */
static unsigned layers(const struct copy *o, uint64_t pos)
{
	if (!o->target_backed || o->onto)
		return 0;
	return o->layers ? o->layers : pos < reach_below(o->target) ? 1 : 0;
}

/*
 * Is what the target shows to stay? With -B: bytes that only the source's backing file has,
 * which the target's has as well, or so the user promised; and past the end of that, zeros.
 * In a commit: what is absent in all the layers that count, and not hidden by a short one.
 */
static bool stays(const struct copy *o, const struct segment *s, uint64_t pos)
{
	const struct chain *from = o->source[s->source].chain;

	if (!o->target_backed)
		return false;
	if (o->layers)
		return (s->e.flags & EXT_ABSENT) && s->e.depth + 1 == MIN(o->layers, from->n);
	if (pos < reach_below(o->target))
		return (s->e.flags & EXT_ABSENT) && s->from < reach_below(from);
	return (s->e.flags & (EXT_ABSENT | EXT_ZERO)) && o->sparse && o->target_zero;
}

static enum seg_kind classify(const struct engine *e, const struct segment *s, uint64_t pos)
{
	const struct copy *o = e->opt;

	if (o->onto ? copy_onto_same(e, s) || (s->e.depth == 0 && !(s->e.flags & EXT_ABSENT))
		    : stays(o, s, pos))
		return SEG_KEEP;
	if (s->e.flags & (EXT_ZERO | EXT_ABSENT))
		return o->sparse ? SEG_ZERO : SEG_DATA;
	return carries(e, s, pos) ? SEG_CARRY : SEG_DATA;
}

static int look_onto(struct reader *r, struct segment *s, struct err *err)
{
	struct chain *onto = r->e->opt->onto->chain;

	s->onto = (struct extent){.off = s->off, .len = s->len, .flags = EXT_ABSENT};
	if (!onto)
		return 0;
	if (!r->onto)
		r->onto = walk_new(onto, 0, err);
	if (!r->onto || walk_next(r->onto, s->off, s->len, &s->onto, err))
		return err_prefix(err,
				  "error while reading block status of the new backing file "
				  "at offset %" PRIu64,
				  s->off);
	s->len = MIN(s->len, s->onto.len);
	return 0;
}

/* Up to where a segment is of one kind. */
static uint64_t cut_below(const struct engine *e, const struct segment *s, uint64_t pos,
			  uint64_t len)
{
	const struct copy *o = e->opt;
	uint64_t source, target;

	if (!o->target_backed || o->onto || o->layers)
		return len;
	source = reach_below(o->source[s->source].chain);
	target = reach_below(o->target);
	if (s->from < source)
		len = MIN(len, source - s->from);
	return pos < target ? MIN(len, target - pos) : len;
}

/* The walk through the source at hand. */
static int walk_at(struct reader *r, uint64_t pos, struct err *err)
{
	const struct copy *o = r->e->opt;
	unsigned n = layers(o, pos);

	if (r->walk && r->layers == n)
		return 0;
	walk_free(r->walk);
	r->walk = walk_new(o->source[r->source].chain, n, err);
	r->layers = n;
	return r->walk ? 0 : -1;
}

/* The segment at pos of the target, at most len bytes of it. */
static int next_segment(struct reader *r, uint64_t pos, uint64_t len, struct segment *s,
			struct err *err)
{
	const struct copy *o = r->e->opt;

	while (pos - r->base >= o->source[r->source].size) {
		r->base += o->source[r->source].size;
		r->source++;
		walk_free(r->walk);
		r->walk = NULL;
	}
	if (walk_at(r, pos, err))
		return -1;
	s->source = r->source;
	s->from = pos - r->base;
	s->off = pos;
	len = MIN(len, o->source[r->source].size - s->from);
	len = cut_below(r->e, s, pos, len);
	if (walk_next(r->walk, s->from, len, &s->e, err)) {
		return err_prefix(err, "error while reading block status at offset %" PRIu64,
				  pos);
	}
	s->len = MIN(len, s->e.len);
	if (o->onto && look_onto(r, s, err))
		return -1;
	s->kind = classify(r->e, s, pos);
	return 0;
}

static void progress(const struct engine *e, uint64_t n)
{
	if (e->opt->progress)
		progress_add(e->opt->progress, n);
}

/* Sleeps so that `done` bytes take at least their time. */
static void hold_rate(const struct engine *e, const struct timespec *start, uint64_t done)
{
	struct timespec now, ts;
	double due, is;

	if (!e->opt->rate)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	due = (double)done / (double)e->opt->rate;
	is = (double)(now.tv_sec - start->tv_sec) +
	     (double)(now.tv_nsec - start->tv_nsec) / 1e9;
	if (due <= is)
		return;
	due -= is;
	ts.tv_sec = (time_t)due;
	ts.tv_nsec = (long)((due - (double)ts.tv_sec) * 1e9);
	nanosleep(&ts, NULL);
}

/* Fills one window from pos; *job is NULL if there is nothing to do in it. */
static int fill_window(struct reader *r, uint64_t pos, uint64_t end, struct copy_job **job,
		       struct err *err)
{
	struct copy_job *j = copy_job_new(r->e, pos, err);
	bool idle = true;

	*job = NULL;
	if (!j)
		return -1;
	while (pos < end) {
		struct segment s;

		if (next_segment(r, pos, end - pos, &s, err) || copy_job_add(j, &s, err)) {
			copy_job_free(j);
			return -1;
		}
		if (!skips(r->e, s.kind))
			idle = false;
		pos += s.len;
	}
	if (idle)
		copy_job_free(j);
	else
		*job = j;
	return 0;
}

/* A long run that needs no window: skipped, or zeroed as a whole. 0: there is none. */
static uint64_t long_run(const struct engine *e, const struct segment *s)
{
	uint64_t n = s->off + s->len == e->total ? s->len : round_down(s->len, e->window);

	if (skips(e, s->kind))
		return n;
	return s->kind == SEG_ZERO && !e->opt->onto && n > e->window
		       ? MIN(n, round_down(ZERO_JOB_MAX, e->window))
		       : 0;
}

static int submit_all(struct engine *e, struct reader *r, struct pool *pool, struct err *err)
{
	struct timespec start;
	uint64_t pos = 0, copied = 0;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (pos < e->total) {
		uint64_t end = MIN(pos + e->window, e->total);
		struct copy_job *job = NULL;
		struct segment s;
		uint64_t n;

		if (next_segment(r, pos, e->total - pos, &s, err))
			return -1;
		n = long_run(e, &s);
		if (n > 0) {
			end = pos + n;
			if (!skips(e, s.kind)) {
				s.len = n;
				job = copy_job_new(e, pos, err);
				if (!job)
					return -1;
				if (copy_job_add(job, &s, err)) {
					copy_job_free(job);
					return -1;
				}
			}
		} else if (fill_window(r, pos, end, &job, err)) {
			return -1;
		}
		if (!job)
			progress(e, end - pos);
		else if (pool_submit(pool, &job->pool, err))
			return -1;
		if (job) {
			copied += end - pos;
			hold_rate(e, &start, copied);
		}
		pos = end;
	}
	return pool_drain(pool, err);
}

/* Not known to be zero, not to keep: try to make it zero as a whole and cheaply, which
 * is also how thin devices stay thin. */
static bool clear_target(const struct copy *c, uint64_t total)
{
	struct err ignored;

	return total > 0 &&
	       blk_zero(&c->target->blk, 0, total, BLK_UNMAP | BLK_CHEAP, &ignored) == 0;
}

static uint32_t window_of(const struct engine *e)
{
	uint32_t want = e->clone || e->offload ? COPY_STRIDE : COPY_WINDOW;

	return e->grain >= want ? e->grain : want / e->grain * e->grain;
}

/* Jobs under way: enough that no thread waits for the submitter, and a bound on memory. */
static unsigned jobs_at_once(const struct engine *e)
{
	uint64_t each = (uint64_t)e->window * (e->opt->compress ? 2 : 1);

	return (unsigned)MAX(MIN(2 * e->opt->threads + 4, BUFFERS_MAX / each), 2);
}

static void spare_free(struct engine *e)
{
	while (e->spare) {
		struct buffer *b = e->spare;

		e->spare = b->next;
		free(b->data);
		free(b);
	}
	pthread_mutex_destroy(&e->lock);
}

static size_t scan_unit(uint64_t sparse)
{
	size_t unit = SCAN_UNIT;

	if (sparse == 0)
		return 0;
	while (unit > 512 && unit > sparse)
		unit /= 2;
	return unit;
}

int copy_run(const struct copy *c, struct err *err)
{
	struct copy opt = *c;
	struct engine e = {.opt = &opt, .top = c->target->layer[0]};
	struct reader r = {.e = &e};
	struct pool *pool;
	int rc;

	for (unsigned i = 0; i < c->nsource; i++)
		if (__builtin_add_overflow(e.total, c->source[i].size, &e.total))
			return err_set(err, EFBIG, "The sources are too large together");
	if (e.total == 0)
		return 0;
	opt.compress = c->compress && e.top->ops->pack;
	e.direct = e.top->ops->pwrite != NULL;
	e.grain = e.direct ? 1 : e.top->grain;
	e.unit = scan_unit(c->sparse);
	e.offload = c->offload;
	e.clone = !opt.compress && copy_host_probe(&e);
	e.window = window_of(&e);
	e.slot = e.grain + e.top->pack_room;
	e.room = opt.compress ? (size_t)(e.window / e.grain) * e.slot : e.window;
	if (c->offload)
		e.unit = 0;
	if (!c->target_zero && !c->target_backed && c->target->n == 1 && c->sparse)
		opt.target_zero = clear_target(c, e.total);
	pthread_mutex_init(&e.lock, NULL);
	pool = pool_new(c->threads, jobs_at_once(&e), err);
	rc = pool ? submit_all(&e, &r, pool, err) : -1;
	pool_free(pool);
	walk_free(r.walk);
	walk_free(r.onto);
	spare_free(&e);
	return rc;
}
