/*
 * All L2 tables below an L1 table or two: each is read in order of its place, many in a
 * request, on several threads.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/check.h"
#include "formats/qcow2/swap.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/pool.h"

#define BATCH (512u << 10) /* bytes of tables in a job */

/* ---- which tables ----------------------------------------------------------------- */

struct found {
	uint64_t off;
	bool active;
};

static int by_off(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return (x->off > y->off) - (x->off < y->off);
}

static int note(const struct swap *s, const uint64_t *l1, uint64_t n, bool active,
		struct found *out, size_t *nout, struct err *err)
{
	const struct qcow2 *q = s->q;
	uint64_t end = round_up(blk_size(q->image.blk.lower), q->cluster_size);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = l1[i] & QCOW2_OFF_MASK;

		if (off == 0)
			continue;
		if (off & (q->cluster_size - 1) || off >= end)
			return err_set(err, EIO,
				       "The image is corrupt: there can be no L2 table at "
				       "0x%" PRIx64 " (L1 index: 0x%" PRIx64
				       "); check the image",
				       off, i);
		out[(*nout)++] = (struct found){off, active};
	}
	return 0;
}

int swap_gather(struct swap *s, struct err *err)
{
	uint64_t most = s->q->h.l1_size + s->nsnap_l1;
	AUTO_FREE struct found *all = malloc(most * sizeof(*all) + 1);
	size_t n = 0;

	if (!all)
		return err_nomem(err, most * sizeof(*all), "the list of tables");
	if (note(s, s->q->l1, s->q->h.l1_size, true, all, &n, err) ||
	    note(s, s->snap_l1, s->nsnap_l1, false, all, &n, err))
		return -1;
	if (n)
		qsort(all, n, sizeof(*all), by_off);
	s->table = calloc(n + 1, sizeof(*s->table));
	if (!s->table)
		return err_nomem(err, n * sizeof(*s->table), "the list of tables");
	for (size_t i = 0; i < n; i++) {
		struct swap_table *t = s->table + s->ntable;

		if (i && all[i].off == all[i - 1].off)
			t--;
		else
			s->ntable++;
		t->off = all[i].off;
		all[i].active ? t->active++ : t->snap++;
	}
	return 0;
}

static int compare_table(const void *key, const void *t)
{
	uint64_t off = *(const uint64_t *)key, at = ((const struct swap_table *)t)->off;

	return (off > at) - (off < at);
}

struct swap_table *swap_find(const struct swap *s, uint64_t off)
{
	return bsearch(&off, s->table, s->ntable, sizeof(*s->table), compare_table);
}

/* ---- one table -------------------------------------------------------------------- */

static int bad_cluster(uint64_t off, uint64_t table, struct err *err)
{
	return err_set(err, EIO,
		       "The image is corrupt: there can be no data cluster at 0x%" PRIx64
		       " (L2 offset: 0x%" PRIx64 "); check the image",
		       off, table);
}

/* The clusters that it refers to, in runs: at most one for each entry. */
static int parse(const struct swap *s, const uint8_t *p, uint64_t at, struct swap_run *run,
		 size_t *nrun, struct err *err)
{
	const struct qcow2 *q = s->q;
	uint64_t n = UINT64_C(1) << q->l2_bits, expect = 0;
	struct swap_run *last = NULL;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = get_be64(p + i * q->l2_entry), off = v & QCOW2_OFF_MASK;
		uint32_t len = q->cluster_size;

		if (last && off == expect && !(v & QCOW2_COMPRESSED)) {
			last->n++;
			expect += q->cluster_size;
			continue;
		}
		if (v & QCOW2_COMPRESSED)
			qcow2_packed_place(q, v, &off, &len);
		else if (off == 0)
			continue;
		else if (off & (q->cluster_size - 1))
			return bad_cluster(off, at, err);
		last = &run[(*nrun)++];
		last->cl = off >> q->h.cluster_bits;
		last->n = ((off + len - 1) >> q->h.cluster_bits) - last->cl + 1;
		expect = (last->cl + last->n) << q->h.cluster_bits;
	}
	return 0;
}

static void note_reach(const struct swap *s, struct swap_table *t, const struct swap_run *run,
		       size_t n)
{
	if (t->seen)
		return;
	t->seen = true;
	t->low = UINT32_MAX;
	t->high = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t low = run[i].cl >> s->q->refblock_bits;
		uint64_t high = (run[i].cl + run[i].n - 1) >> s->q->refblock_bits;

		t->low = (uint32_t)MIN(t->low, low);
		t->high = (uint32_t)MAX(t->high, MIN(high, UINT32_MAX));
	}
}

/* No entry of it is the only one for its cluster any more. True: something changed. */
static bool clear_flags(const struct qcow2 *q, uint8_t *p)
{
	uint64_t any = 0, n = UINT64_C(1) << q->l2_bits;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = get_be64(p + i * q->l2_entry);
		uint64_t flag = v & QCOW2_COMPRESSED ? 0 : v & QCOW2_COPIED;

		any |= flag;
		put_be64(p + i * q->l2_entry, v ^ flag);
	}
	return any;
}

static bool set_flags(const struct swap *s, struct swap_table *t, uint8_t *p)
{
	const struct qcow2 *q = s->q;
	uint64_t n = UINT64_C(1) << q->l2_bits, refs;
	bool any = false;

	t->open_flags = false;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = get_be64(p + i * q->l2_entry);

		if ((v & (QCOW2_COPIED | QCOW2_COMPRESSED)) || !(v & QCOW2_OFF_MASK))
			continue;
		if (!swap_refs_get(s, (v & QCOW2_OFF_MASK) >> q->h.cluster_bits, &refs)) {
			t->open_flags = true;
			continue;
		}
		if (refs != 1)
			continue;
		put_be64(p + i * q->l2_entry, v | QCOW2_COPIED);
		any = true;
	}
	return any;
}

/* ---- jobs ------------------------------------------------------------------------- */

enum sweep { SWEEP_LESS, SWEEP_MORE, SWEEP_FLAGS };

struct sweeper {
	struct swap *s;
	enum sweep sweep;
	struct check_bufs bufs;
	size_t per_job;
	struct pool *pool;
};

struct sweep_job {
	struct pool_job job;
	struct sweeper *w;
	struct check_buf *buf;
	size_t n;
	/* in buf->more */
	struct swap_table **t;
	uint64_t *at; /* where each is */
	size_t *run_end;
	struct swap_run *run;
};

static size_t more_bytes(const struct sweeper *w)
{
	return w->per_job * (sizeof(struct swap_table *) + sizeof(uint64_t) + sizeof(size_t)) +
	       (w->per_job << w->s->q->l2_bits) * sizeof(struct swap_run);
}

static void spread(struct sweep_job *j)
{
	size_t n = j->w->per_job;

	j->t = j->buf->more;
	j->at = (uint64_t *)(j->t + n);
	j->run_end = (size_t *)(j->at + n);
	j->run = (struct swap_run *)(j->run_end + n);
}

/* Tables of the job from i on whose places adjoin. */
static size_t adjoining(const struct sweep_job *j, size_t i)
{
	size_t n = 1;

	while (i + n < j->n && j->at[i + n] == j->at[i] + n * j->w->s->q->cluster_size)
		n++;
	return n;
}

static int read_tables(struct sweep_job *j, struct err *err)
{
	const struct qcow2 *q = j->w->s->q;

	for (size_t i = 0, n; i < j->n; i += n) {
		n = adjoining(j, i);
		if (blk_pread(q->image.blk.lower, j->buf->data + (i << q->h.cluster_bits),
			      n << q->h.cluster_bits, j->at[i], err))
			return err_prefix(err, "Could not read L2 tables");
	}
	return 0;
}

/* To where they are to be; at[] of those that changed. */
static int write_tables(struct sweep_job *j, struct err *err)
{
	const struct qcow2 *q = j->w->s->q;

	for (size_t i = 0, n; i < j->n; i += n) {
		n = j->at[i] ? adjoining(j, i) : 1;
		if (j->at[i] &&
		    blk_pwrite(q->image.blk.lower, j->buf->data + (i << q->h.cluster_bits),
			       n << q->h.cluster_bits, j->at[i], 0, err))
			return -1;
	}
	return 0;
}

/* Do all entries of a table share what they refer to, when all is done? */
static bool shares_all(const struct swap *s, const struct swap_table *t)
{
	return s->kind == SWAP_CREATE ? t->active : s->kind == SWAP_APPLY && t->snap;
}

static bool edit(struct sweep_job *j, struct swap_table *t, uint8_t *p)
{
	struct swap *s = j->w->s;
	bool changed = false;

	if (j->w->sweep == SWEEP_FLAGS)
		changed = set_flags(s, t, p);
	else if (s->first == 0 && t->place && shares_all(s, t))
		changed = clear_flags(s->q, p);
	t->moved |= changed;
	return changed;
}

static int sweep_run(struct pool_job *job, struct err *err)
{
	struct sweep_job *j = (struct sweep_job *)job;
	struct swap *s = j->w->s;
	size_t nrun = 0;

	for (size_t i = 0; i < j->n; i++)
		j->at[i] = j->t[i]->moved ? j->t[i]->place : j->t[i]->off;
	if (read_tables(j, err))
		return -1;
	for (size_t i = 0; i < j->n; i++) {
		uint8_t *p = j->buf->data + (i << s->q->h.cluster_bits);
		size_t from = nrun;

		if (j->w->sweep != SWEEP_FLAGS) {
			if (parse(s, p, j->at[i], j->run, &nrun, err))
				return -1;
			note_reach(s, j->t[i], j->run + from, nrun - from);
		}
		j->run_end[i] = nrun;
		j->at[i] = edit(j, j->t[i], p) ? j->t[i]->place : 0;
	}
	return write_tables(j, err);
}

static int sweep_commit(struct pool_job *job, struct err *err)
{
	struct sweep_job *j = (struct sweep_job *)job;
	struct swap *s = j->w->s;
	size_t r = 0;

	for (size_t i = 0; i < j->n && j->w->sweep != SWEEP_FLAGS; i++) {
		int64_t d = swap_change(s, j->t[i]);

		for (; r < j->run_end[i]; r++)
			if (swap_refs_add(s, j->run[r].cl, j->run[r].n, d, err))
				return -1;
	}
	return 0;
}

static void sweep_done(struct pool_job *job)
{
	struct sweep_job *j = (struct sweep_job *)job;

	check_buf_give(&j->w->bufs, j->buf);
	free(j);
}

static const struct pool_steps steps = {
	.run = sweep_run,
	.commit = sweep_commit,
	.done = sweep_done,
};

/* Has this sweep, in this window, something to do with the table? */
static bool concerns(const struct sweeper *w, const struct swap_table *t)
{
	const struct swap *s = w->s;
	int64_t d = swap_change(s, t);
	bool first = s->first == 0;

	if (w->sweep == SWEEP_FLAGS)
		return t->active && (first || t->open_flags);
	/* what two snapshots share, others do not change; its flags are as they must be */
	if (d == 0)
		return false;
	if ((d > 0) != (w->sweep == SWEEP_MORE))
		return false;
	return first || (t->low <= s->high_index && t->high >= s->low_index);
}

static int add_table(struct sweeper *w, struct sweep_job **j, struct swap_table *t,
		     struct err *err)
{
	if (!*j) {
		*j = calloc(1, sizeof(**j));
		if (!*j)
			return err_nomem(err, sizeof(**j), "a job");
		(*j)->buf = check_buf_take(&w->bufs, err);
		if (!(*j)->buf) {
			free(*j);
			*j = NULL;
			return -1;
		}
		(*j)->job.steps = &steps;
		(*j)->w = w;
		spread(*j);
	}
	(*j)->t[(*j)->n++] = t;
	return 0;
}

static int submit_all(struct sweeper *w, struct err *err)
{
	struct swap *s = w->s;
	struct sweep_job *j = NULL;

	for (size_t i = 0; i < s->ntable; i++) {
		if (!concerns(w, &s->table[i]))
			continue;
		if (add_table(w, &j, &s->table[i], err))
			return -1;
		if (j->n < w->per_job)
			continue;
		if (pool_submit(w->pool, &j->job, err))
			return -1;
		j = NULL;
	}
	return j ? pool_submit(w->pool, &j->job, err) : 0;
}

static int sweep(struct swap *s, enum sweep kind, struct err *err)
{
	struct sweeper w = {.s = s, .sweep = kind};
	unsigned threads = check_threads(s->ntable << s->q->h.cluster_bits);
	int rc;

	w.per_job = MIN(MAX(1, BATCH >> s->q->h.cluster_bits), s->ntable);
	if (s->ntable == 0)
		return 0;
	w.pool = pool_new(threads, 2 * threads + 1, err);
	if (!w.pool)
		return -1;
	check_bufs_init(&w.bufs, w.per_job << s->q->h.cluster_bits, more_bytes(&w));
	rc = submit_all(&w, err);
	if (rc == 0)
		rc = pool_drain(w.pool, err);
	pool_free(w.pool);
	check_bufs_free(&w.bufs);
	return rc;
}

/* First what is let go, so that no count is for a while higher than it ever will be. */
int swap_count(struct swap *s, struct err *err)
{
	return sweep(s, SWEEP_LESS, err) || sweep(s, SWEEP_MORE, err) ? -1 : 0;
}

int swap_flags(struct swap *s, struct err *err)
{
	return sweep(s, SWEEP_FLAGS, err);
}
