/*
 * The parallel first half of a window: read it, find its zeros, compress it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/array.h"
#include "lib/copy_job.h"
#include "lib/mem.h"
#include "lib/zero.h"

#define SALVAGE_UNIT 512
#define PEEK	     (256u << 10) /* read at a time only to look for zeros: stays in the cache */

static uint8_t *at(struct copy_job *job, uint64_t off)
{
	return job->buf->data + (off - job->off);
}

struct buffer *copy_buffer_get(struct engine *e, struct err *err)
{
	struct buffer *b;

	pthread_mutex_lock(&e->lock);
	b = e->spare;
	if (b)
		e->spare = b->next;
	pthread_mutex_unlock(&e->lock);
	if (b)
		return b;
	b = calloc(1, sizeof(*b));
	if (b)
		b->data = mem_alloc(e->room);
	if (!b || !b->data) {
		free(b);
		err_nomem(err, e->room, "a copy buffer");
		return NULL;
	}
	return b;
}

/*
 * A grain that begins behind the end of its file would read as zeros, yet it says that it
 * has data: the file was cut off. (The last grain of a file may be short, and so may an
 * external data file.)
 */
static int check_there(const struct blk *layer, const struct extent *e, size_t n, uint64_t off,
		       struct err *err)
{
	uint64_t host = e->host + (off - e->off), size;

	if (!layer->ops->by_extent || !extent_plain(e) || e->home != layer->lower)
		return 0;
	size = blk_size(e->home);
	if (host + n <= round_up(size, layer->grain))
		return 0;
	return err_set(err, EIO,
		       "%s: its data at offset %" PRIu64
		       " is beyond the end of the file (%" PRIu64
		       " bytes); --salvage takes it for zeros",
		       layer->name, MAX(host, round_up(size, layer->grain)), size);
}

/* What can be read of a bad range, a sector at a time; the rest becomes zeros. */
static void salvage(struct copy_job *job, const struct segment *s)
{
	const struct copy *o = job->engine->opt;
	struct chain *from = o->source[s->source].chain;

	for (uint64_t done = 0; done < s->len;) {
		size_t n = MIN(SALVAGE_UNIT - (s->from + done) % SALVAGE_UNIT, s->len - done);
		struct err why;
		int rc = check_there(from->layer[s->e.depth], &s->e, n, s->from + done, &why);

		if (rc)
			n = s->len - done; /* and what follows is not there either */
		else
			rc = chain_read_extent(from, &s->e, at(job, s->off + done), n,
					       s->from + done, &why);
		if (rc) {
			memset(at(job, s->off + done), 0, n);
			if (o->unreadable)
				o->unreadable(o->arg, s->off + done, n, &why);
		}
		done += n;
	}
}

static int read_data(struct copy_job *job, const struct segment *s, struct err *err)
{
	const struct copy *o = job->engine->opt;
	struct chain *from = o->source[s->source].chain;

	if (check_there(from->layer[s->e.depth], &s->e, s->len, s->from, err) == 0 &&
	    chain_read_extent(from, &s->e, at(job, s->off), s->len, s->from, err) == 0)
		return 0;
	if (!o->salvage)
		return err_prefix(err, "error while reading at byte %" PRIu64, s->off);
	salvage(job, s);
	return 0;
}

/* Where the packed grain i has its place, and where there the stream begins. */
static uint8_t *slot(struct copy_job *job, uint64_t i)
{
	return job->packed->data + i * job->engine->slot;
}

static int wrap(struct copy_job *job, uint64_t i, size_t n, struct err *err)
{
	struct engine *e = job->engine;
	uint64_t off = job->off + i * e->grain;

	if (e->top->ops->wrap &&
	    e->top->ops->wrap(e->top, off, at(job, off), slot(job, i), &n, err))
		return -1;
	job->packed_len[i] = (uint32_t)n;
	return 0;
}

/* A compressed grain is taken over as it is, once it is proved to inflate: to a whole grain,
 * or it is read and compressed anew. */
static int read_packed(struct copy_job *job, struct segment *s, struct err *err)
{
	struct engine *e = job->engine;
	uint64_t grain_at = (s->off - job->off) / e->grain;
	uint8_t *to = slot(job, grain_at) + e->top->pack_head;
	size_t used = s->e.packed;
	struct err why;

	if (s->e.packed > e->grain || e->opt->salvage) {
		s->kind = SEG_DATA; /* does not fit, or must not fail here */
		return read_data(job, s, err);
	}
	if (blk_pread(s->e.home, to, s->e.packed, s->e.host, &why)) {
		*err = why;
		return err_prefix(err, "error while reading at byte %" PRIu64, s->off);
	}
	if (!e->opt->trust_packed || e->top->ops->wrap) {
		if (e->top->ops->unpack(e->top, to, s->e.packed, at(job, s->off), &used,
					&why)) {
			s->kind = SEG_DATA;
			return read_data(job, s, err);
		}
		if (e->unit && zero_is(at(job, s->off), s->len)) {
			s->kind = SEG_ZERO;
			return 0;
		}
	}
	return wrap(job, grain_at, used, err);
}

/* With a backing file under the target: what is absent in a grain that gets data is
 * what the target shows there now. */
static int read_kept(struct copy_job *job, const struct segment *s, struct err *err)
{
	const struct copy *o = job->engine->opt;
	uint64_t size = blk_size(&o->target->blk);
	size_t n = s->off < size ? MIN(s->len, size - s->off) : 0;

	memset(at(job, s->off) + n, 0, s->len - n);
	return blk_pread(&o->target->blk, at(job, s->off), n, s->off, err);
}

int copy_job_read(struct copy_job *job, struct err *err)
{
	struct engine *e = job->engine;
	uint64_t padded = round_up(job->len, e->grain);

	job->unread = false;
	for (size_t i = 0; i < job->nseg; i++) {
		struct segment *s = &job->seg[i];
		int rc = 0;

		if (s->kind == SEG_DATA)
			rc = read_data(job, s, err);
		else if (s->kind == SEG_CARRY)
			rc = read_packed(job, s, err);
		else if (s->kind == SEG_KEEP && (s->off % e->grain || s->len % e->grain))
			rc = read_kept(job, s, err);
		if (rc)
			return -1;
		if (s->kind == SEG_ZERO)
			memset(at(job, s->off), 0, s->len);
	}
	memset(job->buf->data + job->len, 0, padded - job->len);
	return 0;
}

static int add_out(struct out **list, size_t *n, size_t *room, enum out_kind kind, uint64_t off,
		   uint64_t len, struct err *err)
{
	if (*n && (*list)[*n - 1].kind == kind &&
	    (*list)[*n - 1].off + (*list)[*n - 1].len == off) {
		(*list)[*n - 1].len += len;
		return 0;
	}
	if (array_room(list, room, *n, sizeof(**list), "a copy job", err))
		return -1;
	(*list)[(*n)++] = (struct out){kind, off, len};
	return 0;
}

static int add_run(struct copy_job *j, enum out_kind kind, uint64_t off, uint64_t len,
		   struct err *err)
{
	return add_out(&j->run, &j->nrun, &j->run_room, kind, off, len, err);
}

/* Runs of data and zeros in `n` bytes that belong at `off`; zeros shorter than -S count
 * as data, unless the end of what is looked at cuts them. */
static int scan_bytes(struct copy_job *job, const uint8_t *bytes, uint64_t off, size_t n,
		      struct err *err)
{
	const struct engine *e = job->engine;

	for (size_t at_ = 0; at_ < n;) {
		bool zero;
		size_t len = zero_run(bytes + at_, n - at_, e->unit, &zero);
		bool edge = at_ == 0 || at_ + len == n;

		if (zero && len < e->opt->sparse && !edge)
			zero = false;
		if (add_run(job, zero ? OUT_ZERO : OUT_DATA, off + at_, len, err))
			return -1;
		at_ += len;
	}
	return 0;
}

static int look(struct copy_job *job, const struct segment *s, uint64_t off, size_t n,
		struct err *err)
{
	struct chain *from = job->engine->opt->source[s->source].chain;

	if (chain_read_extent(from, &s->e, job->buf->data, n, s->from + (off - s->off), err))
		return err_prefix(err, "error while reading at byte %" PRIu64, off);
	return 0;
}

/* Looks at data that the kernel is to move, without keeping it. */
static int peek(struct copy_job *job, const struct segment *s, struct err *err)
{
	for (uint64_t off = s->off; off < s->off + s->len;) {
		size_t n = MIN(PEEK, s->off + s->len - off);

		if (look(job, s, off, n, err) || scan_bytes(job, job->buf->data, off, n, err))
			return -1;
		off += n;
	}
	return 0;
}

/* The same in pieces: a sample mostly tells that one is data. */
static int peek_pieces(struct copy_job *job, const struct segment *s, struct err *err)
{
	uint32_t piece = MAX(COPY_PIECE, job->engine->grain);

	for (uint64_t off = s->off; off < s->off + s->len;) {
		size_t n = MIN(piece - off % piece, s->off + s->len - off);
		size_t sample = MIN(n, COPY_SAMPLE);
		bool zero;

		if (look(job, s, off, sample, err))
			return -1;
		zero = zero_is(job->buf->data, sample);
		if (zero && look(job, s, off, n, err))
			return -1;
		zero = zero && n >= job->engine->opt->sparse && zero_is(job->buf->data, n);
		if (add_run(job, zero ? OUT_ZERO : OUT_DATA, off, n, err))
			return -1;
		off += n;
	}
	return 0;
}

static int peek_segment(struct copy_job *job, const struct segment *s, struct err *err)
{
	const struct chain *from = job->engine->opt->source[s->source].chain;

	if (s->kind != SEG_DATA)
		return add_run(job, OUT_ZERO, s->off, s->len, err);
	if (check_there(from->layer[s->e.depth], &s->e, s->len, s->from, err))
		return err_prefix(err, "error while reading at byte %" PRIu64, s->off);
	if (job->engine->opt->sparse_exact ||
	    !__atomic_load_n(&job->engine->clone, __ATOMIC_RELAXED))
		return peek(job, s, err);
	return peek_pieces(job, s, err);
}

/* What was read. A grain that is carried over is data, and need not have been inflated. */
static int scan_read(struct copy_job *job, struct err *err)
{
	uint64_t off = job->off, end = job->off + job->len;

	for (size_t i = 0; i < job->nseg; i++) {
		const struct segment *s = &job->seg[i];

		if (s->kind != SEG_CARRY)
			continue;
		if (scan_bytes(job, at(job, off), off, s->off - off, err) ||
		    add_run(job, OUT_DATA, s->off, s->len, err))
			return -1;
		off = s->off + s->len;
	}
	return scan_bytes(job, at(job, off), off, end - off, err);
}

/* Only what the tables said. What is kept and shares a grain with data is written with it,
 * and stays untouched where the target has no grains. */
static int scan_known(struct copy_job *job, struct err *err)
{
	for (size_t i = 0; i < job->nseg; i++) {
		const struct segment *s = &job->seg[i];
		enum out_kind kind = s->kind == SEG_ZERO   ? OUT_ZERO
				     : s->kind == SEG_KEEP ? OUT_KEEP
							   : OUT_DATA;

		if (add_run(job, kind, s->off, s->len, err))
			return -1;
	}
	return 0;
}

static int scan(struct copy_job *job, struct err *err)
{
	const struct engine *e = job->engine;

	if (e->opt->no_scan)
		return scan_known(job, err);
	if (!e->unit)
		return add_run(job, OUT_DATA, job->off, job->len, err);
	if (!job->unread)
		return scan_read(job, err);
	for (size_t i = 0; i < job->nseg; i++)
		if (peek_segment(job, &job->seg[i], err))
			return -1;
	return 0;
}

static bool kept(const struct copy_job *job, uint64_t off, uint64_t len)
{
	for (size_t i = 0; i < job->nseg; i++) {
		const struct segment *s = &job->seg[i];

		if (s->kind != SEG_KEEP && s->off < off + len && off < s->off + s->len)
			return false;
	}
	return true;
}

static bool all_zero(const struct copy_job *job, size_t *r, uint64_t off, uint64_t len)
{
	while (job->run[*r].off + job->run[*r].len <= off)
		++*r;
	return job->run[*r].kind == OUT_ZERO &&
	       job->run[*r].off + job->run[*r].len >= off + len;
}

/* What to do, grain by grain: where the target has none, the runs are it already. */
static int plan(struct copy_job *job, struct err *err)
{
	const struct engine *e = job->engine;
	uint64_t end = job->off + job->len;
	size_t r = 0;

	for (uint64_t off = job->off; off < end;) {
		uint64_t n = e->grain;
		enum out_kind kind = OUT_DATA;

		if (e->direct) {
			n = job->run[r].len;
			kind = job->run[r++].kind;
		} else {
			n = MIN(n, end - off);
			if (job->differs && !job->differs[(off - job->off) / e->grain])
				kind = OUT_KEEP;
			else if (job->packed_len &&
				 job->packed_len[(off - job->off) / e->grain])
				kind = OUT_PACKED;
			else if (e->opt->target_backed && kept(job, off, n))
				kind = OUT_KEEP;
			else if (all_zero(job, &r, off, n))
				kind = OUT_ZERO;
		}
		if (add_out(&job->out, &job->nout, &job->out_room, kind, off, n, err))
			return -1;
		off += n;
	}
	return 0;
}

static int pack_grains(struct copy_job *job, const struct out *o, struct err *err)
{
	struct engine *e = job->engine;

	for (uint64_t off = o->off; off < o->off + o->len; off += e->grain) {
		uint64_t i = (off - job->off) / e->grain;
		size_t n = e->slot - e->top->pack_head;

		if (e->top->ops->pack(e->top, at(job, off), e->grain,
				      slot(job, i) + e->top->pack_head, &n, err) ||
		    (n > 0 && wrap(job, i, n, err)))
			return -1;
	}
	return 0;
}

static int pack(struct copy_job *job, struct err *err)
{
	for (size_t i = 0; i < job->nout; i++)
		if (job->out[i].kind == OUT_DATA && pack_grains(job, &job->out[i], err))
			return err_prefix(err, "error while compressing at byte %" PRIu64,
					  job->out[i].off);
	job->nout = 0; /* again, now that it is known which grains shrink */
	return plan(job, err);
}

int copy_job_run(struct pool_job *pool, struct err *err)
{
	struct copy_job *job = (struct copy_job *)pool;
	struct engine *e = job->engine;

	if (job->nseg == 1 && job->seg[0].kind == SEG_ZERO && !e->opt->onto)
		return add_out(&job->out, &job->nout, &job->out_room, OUT_ZERO, job->off,
			       job->len, err);
	job->buf = copy_buffer_get(e, err);
	if (!job->buf)
		return -1;
	if (e->opt->compress) {
		size_t grains = e->window / e->grain;

		job->packed = copy_buffer_get(e, err);
		job->packed_len = calloc(grains, sizeof(*job->packed_len));
		if (!job->packed)
			return -1;
		if (!job->packed_len)
			return err_nomem(err, grains * sizeof(*job->packed_len), "lengths");
	}
	job->unread = copy_host_can(job);
	if ((!job->unread && copy_job_read(job, err)) ||
	    (e->opt->onto && copy_onto_compare(job, err)) || scan(job, err) || plan(job, err))
		return -1;
	return e->opt->compress ? pack(job, err) : 0;
}
