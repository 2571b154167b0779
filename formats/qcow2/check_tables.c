/*
 * The L1 tables, active and of snapshots, and the L2 tables below them.
 */
#include "formats/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/pool.h"

#define L1_RESERVED UINT64_C(0x7f000000000001ff)

enum {
	BATCH = 512 << 10, /* bytes of tables in a job */
	NAME_ROOM = 256,   /* for a snapshot's id and name in a message */
};

/* An L1 table that is being read. */
struct root {
	uint64_t off;
	uint32_t size;
	bool active;
};

static bool l1_sound(const struct checker *k, uint64_t v)
{
	uint64_t off = v & QCOW2_OFF_MASK;

	return !(v & L1_RESERVED) && off % k->cluster == 0 && off < k->file_size;
}

/* Other metadata that lies in one place only: no L2 table can be there. Refcount blocks are
 * not among them: they move, when something else refers to them. */
static bool on_metadata(const struct checker *k, uint64_t off)
{
	const struct qcow2_header *h = &k->q->h;
	const struct {
		uint64_t off, len;
	} part[] = {
		{0, 1},
		{h->l1_off, h->l1_size * UINT64_C(8)},
		{h->reftable_off, (uint64_t)h->reftable_cl << k->bits},
		{h->snapshots_off, k->snap_len},
	};

	for (size_t i = 0; i < ARRAY_LEN(part); i++)
		if (part[i].len && off < part[i].off + part[i].len &&
		    part[i].off < off + k->cluster)
			return true;
	return false;
}

/* May an L1 entry be followed? Where entries are repaired, not to other metadata. */
static bool l1_follow(const struct checker *k, uint64_t v)
{
	return l1_sound(k, v) &&
	       !((k->fix & CHECK_FIX_ENTRIES) && on_metadata(k, v & QCOW2_OFF_MASK));
}

static unsigned l1_flags(const struct root *r, uint64_t v)
{
	if (!r->active)
		return 0;
	return v & QCOW2_COPIED ? CELL_COPIED : CELL_SHARED;
}

/* ---- gathering -------------------------------------------------------------------- */

static struct table *table_at(struct checker *k, uint64_t off, struct err *err)
{
	bool fresh;
	uint64_t *at = map_at(&k->table_of, off, &fresh);

	if (at && !fresh)
		return &k->table[*at];
	if (k->ntable == k->table_room) {
		size_t room = k->table_room ? 2 * k->table_room : 64;
		struct table *more = realloc(k->table, room * sizeof(*more));

		if (!more)
			at = NULL;
		else
			k->table = more, k->table_room = room;
	}
	if (!at) {
		err_nomem(err, 2 * k->table_room * sizeof(struct table), "the list of tables");
		return NULL;
	}
	*at = k->ntable;
	k->table[k->ntable] = (struct table){.off = off};
	return &k->table[k->ntable++];
}

static int gather(struct checker *k, void *arg, uint64_t first, const uint8_t *p, size_t n,
		  struct err *err)
{
	const struct root *r = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t v = get_be64(p + 8 * i), off = v & QCOW2_OFF_MASK;
		struct table *t;

		if (v == 0)
			continue;
		if (!l1_follow(k, v)) {
			k->slow = true;
			continue;
		}
		if (check_clusters(k, off >> k->bits, 1, 1, l1_flags(r, v), err) < 0)
			return -1;
		t = table_at(k, off, err);
		if (!t)
			return -1;
		if (r->active && t->active++ == 0)
			t->index = (uint32_t)(first + i);
		else if (!r->active && t->other < UINT32_MAX)
			t->other++;
	}
	return 0;
}

/* ---- every table once ------------------------------------------------------------- */

struct table_work {
	struct checker *k;
	struct check_bufs bufs;
	size_t per_job;
	bool holes; /* ask where the file has holes: there are more tables than bytes on disk */
};

struct table_job {
	struct pool_job job;
	struct table_work *w;
	struct check_buf *buf;
	struct table *t;
	size_t n;
	bool shared;
	/* in buf->more */
	uint64_t *off;
	int *error;
	size_t *run_end;
	struct l2_stats *st;
	struct l2_run *run;
};

static size_t more_bytes(const struct checker *k, size_t tables)
{
	return tables * (sizeof(uint64_t) + sizeof(size_t) + sizeof(struct l2_stats) +
			 sizeof(uint64_t) /* int, rounded */) +
	       (tables << k->q->l2_bits) * sizeof(struct l2_run);
}

/* The arrays, one after the other. */
static void spread(struct table_job *j)
{
	size_t n = j->w->per_job;

	j->off = j->buf->more;
	j->run_end = (size_t *)(j->off + n);
	j->st = (struct l2_stats *)(j->run_end + n);
	j->run = (struct l2_run *)(j->st + n);
	j->error = (int *)(j->run + (n << j->w->k->q->l2_bits));
}

static int table_run(struct pool_job *job, struct err *err)
{
	struct table_job *j = (struct table_job *)job;
	const struct checker *k = j->w->k;
	size_t nrun = 0;

	for (size_t i = 0; i < j->n; i++)
		j->off[i] = j->t[i].off;
	check_read_clusters(k, j->off, j->n, j->w->holes, j->buf->data, j->error);
	for (size_t i = 0; i < j->n; i++) {
		/* a data file has each cluster in one place only */
		bool twice = j->t[i].active > 1 && qcow2_external(k->q);

		j->t[i].bad = j->error[i] || twice ||
			      !check_l2_quick(k, j->buf->data + (i << k->bits), j->t[i].index,
					      j->run, &nrun, &j->st[i], &j->shared);
		j->run_end[i] = nrun;
	}
	return 0;
}

static int table_commit(struct pool_job *job, struct err *err)
{
	struct table_job *j = (struct table_job *)job;
	struct checker *k = j->w->k;
	size_t r = 0;

	if (j->shared)
		k->copied = true;
	for (size_t i = 0; i < j->n; i++) {
		const struct table *t = &j->t[i];
		uint64_t times = (uint64_t)t->active + t->other;

		if (t->bad) {
			k->slow = true;
			continue;
		}
		for (; r < j->run_end[i]; r++) {
			const struct l2_run *run = &j->run[r];

			if (check_clusters(k, run->cl, run->n, times,
					   t->active ? run->flags : 0, err) < 0)
				return -1;
		}
		k->c->allocated_clusters += t->active * j->st[i].allocated;
		k->c->fragmented_clusters += t->active * j->st[i].fragmented;
		k->c->compressed_clusters += t->active * j->st[i].compressed;
	}
	return 0;
}

static void table_done(struct pool_job *job)
{
	struct table_job *j = (struct table_job *)job;

	check_buf_give(&j->w->bufs, j->buf);
	free(j);
}

static const struct pool_steps table_steps = {
	.run = table_run,
	.commit = table_commit,
	.done = table_done,
};

static int submit(struct table_work *w, struct pool *pool, struct table *t, size_t n,
		  struct err *err)
{
	struct table_job *j = calloc(1, sizeof(*j));

	if (!j)
		return err_nomem(err, sizeof(*j), "a job");
	j->buf = check_buf_take(&w->bufs, err);
	if (!j->buf) {
		free(j);
		return -1;
	}
	j->job.steps = &table_steps;
	j->w = w;
	j->t = t;
	j->n = n;
	spread(j);
	return pool_submit(pool, &j->job, err);
}

static int by_off(const void *a, const void *b)
{
	const struct table *s = a, *t = b;

	return (s->off > t->off) - (s->off < t->off);
}

static int quick_pass(struct checker *k, struct err *err)
{
	uint64_t bytes = (uint64_t)k->ntable << k->bits;
	int64_t on_disk = blk_disk_usage(k->file);
	unsigned threads = check_threads(bytes);
	struct table_work w = {.k = k, .per_job = MAX(1, BATCH >> k->bits)};
	struct pool *pool;
	int ret = 0;

	map_free(&k->table_of);
	if (k->ntable == 0)
		return 0;
	qsort(k->table, k->ntable, sizeof(*k->table), by_off);
	w.per_job = MIN(w.per_job, k->ntable);
	w.holes = on_disk >= 0 && bytes > (uint64_t)on_disk;
	pool = pool_new(threads, 2 * threads + 1, err);
	if (!pool)
		return -1;
	check_bufs_init(&w.bufs, w.per_job << k->bits, more_bytes(k, w.per_job));
	for (size_t i = 0; i < k->ntable && ret == 0; i += w.per_job)
		ret = submit(&w, pool, k->table + i, MIN(w.per_job, k->ntable - i), err);
	if (ret == 0)
		ret = pool_drain(pool, err);
	pool_free(pool);
	check_bufs_free(&w.bufs);
	return ret;
}

/* ---- what was noted, in the peer's order ------------------------------------------ */

const struct table *check_table_at(const struct checker *k, uint64_t off)
{
	struct table key = {.off = off};

	return bsearch(&key, k->table, k->ntable, sizeof(key), by_off);
}

static int slow_table(struct checker *k, uint64_t off, uint32_t index, bool active,
		      struct err *err)
{
	AUTO_FREE uint8_t *p = NULL;
	struct l2_stats st = {0};
	bool changed = false;
	struct err io;

	if (off >= k->file_size || !check_spend(k, k->cluster))
		return 0;
	p = mem_alloc(k->cluster);
	if (!p)
		return err_nomem(err, k->cluster, "an L2 table");
	if (blk_pread(k->file, p, k->cluster, off, &io) < 0) {
		check_say(k, "ERROR: I/O error in L2 table at 0x%" PRIx64 ": %s", off, io.text);
		k->c->check_errors++;
		k->blind = true;
		check_problem(k, "unreadable", &off, false);
		return 0;
	}
	if (check_l2_slow(k, p, index, active ? &st : NULL, &changed, err) < 0 ||
	    (changed && repair_write(k, REPAIR_L2, off, p, k->cluster, err) < 0))
		return -1;
	k->c->allocated_clusters += st.allocated;
	k->c->fragmented_clusters += st.fragmented;
	k->c->compressed_clusters += st.compressed;
	return 0;
}

static uint64_t l1_guest(const struct checker *k, uint32_t index)
{
	return (uint64_t)index << (k->q->l2_bits + k->bits);
}

/* Is the table nowhere, or where none can be? Then the entry may be dropped. */
static bool l1_lost(struct checker *k, uint64_t off)
{
	const char *what = "Table past the end of the file";

	if (!(k->fix & CHECK_FIX_ENTRIES))
		return false;
	if (off % k->cluster != 0)
		what = "Table is not cluster aligned";
	else if (off < k->file_size && !on_metadata(k, off))
		return false;
	else if (off < k->file_size)
		what = "Table in the place of other metadata";
	check_fault(k, true, "l1-entry", &off, "l2_offset=%" PRIx64 ": %s; L1 entry corrupted",
		    off, what);
	return true;
}

static int slow_root_entry(struct checker *k, const struct root *r, uint32_t index, uint64_t v,
			   struct err *err)
{
	bool mend = k->fix & CHECK_FIX_ENTRIES;
	uint64_t off = v & QCOW2_OFF_MASK, sane = v;
	uint8_t buf[8];

	k->has_guest = r->active;
	k->guest = l1_guest(k, index);
	if (v & L1_RESERVED) {
		check_fault(k, mend, "l1-entry", &off,
			    "found L1 entry with reserved bits set: %" PRIx64, v);
		sane &= mend ? ~L1_RESERVED : UINT64_MAX;
	}
	if (l1_lost(k, off))
		sane = off = 0;
	if (sane != v) {
		put_be64(buf, sane);
		if (repair_write(k, r->active ? REPAIR_L1 : REPAIR_SNAPSHOT_L1,
				 r->off + 8 * (uint64_t)index, buf, 8, err) < 0)
			return -1;
	}
	if (off == 0 && sane != v)
		return 0;
	if (check_region(k, off, k->cluster, 1, l1_flags(r, v), err) < 0)
		return -1;
	if (off % k->cluster != 0)
		check_fault(k, false, "l1-entry", &off,
			    "l2_offset=%" PRIx64
			    ": Table is not cluster aligned; L1 entry corrupted",
			    off);
	return slow_table(k, off, index, r->active, err);
}

static int slow_entry(struct checker *k, const struct root *r, uint32_t index, uint64_t v,
		      struct err *err)
{
	const struct table *t;
	int rc = 0;

	if (l1_follow(k, v)) {
		t = check_table_at(k, v & QCOW2_OFF_MASK);
		/* one that is not there: the file changed under us */
		if (t && t->bad)
			rc = slow_table(k, t->off, index, r->active, err);
	} else {
		rc = slow_root_entry(k, r, index, v, err);
	}
	k->has_guest = false;
	return rc;
}

static int slow_entries(struct checker *k, void *arg, uint64_t first, const uint8_t *p,
			size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = get_be64(p + 8 * i);

		if (v && slow_entry(k, arg, (uint32_t)(first + i), v, err) < 0)
			return -1;
	}
	return 0;
}

/* ---- the roots -------------------------------------------------------------------- */

/* "ID (NAME)" of a snapshot, as the file has it. */
static void snapshot_name(const struct checker *k, const struct snapshot_root *s,
			  char out[NAME_ROOM])
{
	char text[2][NAME_ROOM / 2 - 4] = {"", ""};
	uint8_t head[40];
	struct err err;
	uint64_t at = s->entry + sizeof(head);

	if (blk_pread(k->file, head, sizeof(head), s->entry, &err) < 0)
		memset(head, 0, sizeof(head));
	at += get_be32(head + 36);
	for (int i = 0; i < 2; i++) {
		size_t len = get_be16(head + 12 + 2 * i);
		size_t n = MIN(len, sizeof(text[i]) - 1);

		if (blk_pread(k->file, text[i], n, at, &err) < 0)
			n = 0;
		text[i][n] = '\0';
		at += len;
	}
	snprintf(out, NAME_ROOM, "%s (%s)", text[0], text[1]);
}

/* Is there a table to follow? Says why not, when it is the time to speak. A table that is
 * nowhere is taken for an empty one, if the snapshot table may be written. */
static bool snapshot_sound(struct checker *k, struct snapshot_root *s, bool speak)
{
	const char *what = "L1 table is not cluster aligned; snapshot table entry corrupted";
	bool aligned = s->l1_off % k->cluster == 0, mend = k->fix & CHECK_FIX_ENTRIES;
	bool outside = mend && check_outside(k, s->l1_off, s->l1_size * UINT64_C(8));
	char name[NAME_ROOM];

	if (aligned && s->l1_size <= QCOW2_L1_MAX / 8 && !outside)
		return true;
	k->slow = true;
	s->lost = mend;
	k->snap_changed |= mend;
	if (!speak || (k->again && mend))
		return false;
	snapshot_name(k, s, name);
	if (aligned && s->l1_size > QCOW2_L1_MAX / 8)
		check_fault(k, mend, "snapshot", &s->entry,
			    "snapshot %s l1_size=%#" PRIx32
			    ": L1 table is too large; snapshot table entry corrupted",
			    name, s->l1_size);
	else
		check_fault(k, mend, "snapshot", &s->entry,
			    "snapshot %s l1_offset=%#" PRIx64 ": %s", name, s->l1_off,
			    aligned ? "L1 table past the end of the file" : what);
	return false;
}

static int pass_root(struct checker *k, const struct root *r, bool slow, struct err *err)
{
	bool outside = check_outside(k, r->off, r->size * UINT64_C(8));

	if (outside)
		k->slow = true;
	if (slow == outside && check_region(k, r->off, r->size * UINT64_C(8), 1, 0, err) < 0)
		return -1;
	return check_entries(k, "L1 table", r->off, r->size, slow || !r->active,
			     slow ? slow_entries : gather, (void *)r, err);
}

static int pass_roots(struct checker *k, bool slow, struct err *err)
{
	struct root active = {k->q->h.l1_off, k->q->h.l1_size, true};

	if (pass_root(k, &active, slow, err) < 0)
		return -1;
	for (uint32_t i = 0; i < k->nsnap; i++) {
		struct root r = {k->snap[i].l1_off, k->snap[i].l1_size, false};

		if (snapshot_sound(k, &k->snap[i], slow) && pass_root(k, &r, slow, err) < 0)
			return -1;
	}
	return 0;
}

int check_tables(struct checker *k, struct err *err)
{
	if (pass_roots(k, false, err) < 0 || quick_pass(k, err) < 0)
		return -1;
	if (!k->slow)
		return 0;
	k->copied = true;
	return pass_roots(k, true, err);
}
