/*
 * Nothing is written over metadata: each place that data or metadata is about to go to is
 * compared with where the other metadata is. In a sound image no check ever hits; in one
 * whose reference counts lie, it is the last line of defence. The kinds, the templates and
 * the words are the peer's.
 *
 * Tables of which there is one are compared with as they are in q. Of L2 tables and
 * refcount blocks there are many: they are in sets of clusters, made when first asked for
 * and kept up to date by who changes q->l1 and q->reftable. Inactive tables change with
 * the snapshots only: who changes those calls qcow2_overlap_reset().
 *
 * Cost: a look-up for each 64 clusters of the place and each kind; memory: at most 64 bytes
 *	for each table.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* ---- a set of clusters ------------------------------------------------------------------ */

/* 64 clusters, one bit each. */
struct group {
	uint64_t key; /* cluster / 64, plus one; 0 is free */
	uint64_t bits;
};

struct set {
	struct group *at;
	size_t n, room; /* room: 0 or a power of two, at least 2 n */
};

static struct group *group_at(const struct set *s, uint64_t key)
{
	size_t i = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (s->room - 1);

	while (s->at[i].key != 0 && s->at[i].key != key)
		i = (i + 1) & (s->room - 1);
	return &s->at[i];
}

static int set_grow(struct set *s, struct err *err)
{
	struct set more = {.room = s->room ? 2 * s->room : 64};

	more.at = calloc(more.room, sizeof(*more.at));
	if (!more.at)
		return err_nomem(err, more.room * sizeof(*more.at),
				 "the places of the metadata");
	for (size_t i = 0; i < s->room; i++) {
		if (!s->at[i].bits)
			continue;
		*group_at(&more, s->at[i].key) = s->at[i];
		more.n++;
	}
	free(s->at);
	*s = more;
	return 0;
}

/* Returns 1 where it was in already. */
static int set_add(struct set *s, uint64_t cl, struct err *err)
{
	uint64_t bit = UINT64_C(1) << cl % 64;
	struct group *g;

	if (2 * (s->n + 1) > s->room && set_grow(s, err))
		return -1;
	g = group_at(s, cl / 64 + 1);
	if (g->key == 0) {
		g->key = cl / 64 + 1;
		s->n++;
	}
	if (g->bits & bit)
		return 1;
	g->bits |= bit;
	return 0;
}

static void set_remove(struct set *s, uint64_t cl)
{
	if (s->room)
		group_at(s, cl / 64 + 1)->bits &= ~(UINT64_C(1) << cl % 64);
}

static uint64_t bits_between(uint64_t key, uint64_t first, uint64_t last)
{
	uint64_t start = (key - 1) * 64, bits = UINT64_MAX;

	if (first > start)
		bits &= UINT64_MAX << (first - start);
	if (last - start < 63)
		bits &= UINT64_MAX >> (63 - (last - start));
	return bits;
}

/* Is one of the clusters from first to last in it? */
static bool set_meets(const struct set *s, uint64_t first, uint64_t last)
{
	uint64_t from = first / 64 + 1, to = last / 64 + 1;

	if (s->n == 0)
		return false;
	if (to - from < s->n) {
		for (uint64_t key = from; key <= to; key++)
			if (group_at(s, key)->bits & bits_between(key, first, last))
				return true;
		return false;
	}
	for (size_t i = 0; i < s->room; i++) {
		const struct group *g = &s->at[i];

		if (g->key >= from && g->key <= to &&
		    (g->bits & bits_between(g->key, first, last)))
			return true;
	}
	return false;
}

/* ---- where the tables are ---------------------------------------------------------------- */

struct span {
	uint64_t off, end;
};

struct qcow2_guard {
	bool active_known, l1_known, l2_known;
	bool proven; /* that something of this image overlaps */
	struct set active_l2, refblocks, inactive_l2;
	struct set twice; /* behind several L1 entries: stays until all is forgotten */
	struct span *l1;  /* inactive L1 tables, in order, apart from each other */
	size_t nl1;
};

void qcow2_overlap_reset(struct qcow2 *q)
{
	struct qcow2_guard *g = q->guard;

	if (!g)
		return;
	free(g->active_l2.at);
	free(g->refblocks.at);
	free(g->inactive_l2.at);
	free(g->twice.at);
	free(g->l1);
	free(g);
	q->guard = NULL;
}

/* A table of one cluster at `off`, of a broken image maybe across two. */
static int add_table(const struct qcow2 *q, struct set *s, struct set *twice, uint64_t off,
		     struct err *err)
{
	uint64_t first = off >> q->h.cluster_bits;
	uint64_t last = (off + q->cluster_size - 1) >> q->h.cluster_bits;

	for (uint64_t cl = first; cl <= last; cl++) {
		int rc = set_add(s, cl, err);

		if (rc < 0 || (rc > 0 && twice && set_add(twice, cl, err) < 0))
			return -1;
	}
	return 0;
}

static int know_active(struct qcow2 *q, struct qcow2_guard *g, struct err *err)
{
	for (uint64_t i = 0; i < q->h.l1_size; i++) {
		uint64_t off = q->l1[i] & QCOW2_OFF_MASK;

		if (off && add_table(q, &g->active_l2, &g->twice, off, err))
			return -1;
	}
	for (uint64_t i = 0; i < q->nreftable; i++) {
		uint64_t off = q->reftable[i] & ~UINT64_C(511);

		if (off && add_table(q, &g->refblocks, NULL, off, err))
			return -1;
	}
	g->active_known = true;
	return 0;
}

static int by_off(const void *a, const void *b)
{
	const struct span *p = a, *q = b;

	return (p->off > q->off) - (p->off < q->off);
}

static int know_inactive_l1(struct qcow2 *q, struct qcow2_guard *g, struct err *err)
{
	size_t n = 0, m = 0;

	g->l1 = malloc((q->nsnapshot + 1) * sizeof(*g->l1));
	if (!g->l1)
		return err_nomem(err, (q->nsnapshot + 1) * sizeof(*g->l1), "snapshots");
	for (uint32_t i = 0; i < q->nsnapshot; i++) {
		const struct qcow2_snapshot *s = &q->snapshot[i];
		uint64_t end;

		if (s->l1_size &&
		    !__builtin_add_overflow(s->l1_off, s->l1_size * UINT64_C(8), &end))
			g->l1[n++] = (struct span){s->l1_off, end};
	}
	qsort(g->l1, n, sizeof(*g->l1), by_off);
	for (size_t i = 0; i < n; i++) {
		if (m && g->l1[i].off <= g->l1[m - 1].end)
			g->l1[m - 1].end = MAX(g->l1[m - 1].end, g->l1[i].end);
		else
			g->l1[m++] = g->l1[i];
	}
	g->nl1 = m;
	g->l1_known = true;
	return 0;
}

/* What is behind the entries of [off, end), as far as that is in the file. */
static int know_span(struct qcow2 *q, struct qcow2_guard *g, uint64_t off, uint64_t end,
		     struct err *err)
{
	size_t room = 64 << 10;
	AUTO_FREE uint8_t *buf = mem_alloc(room);

	if (!buf)
		return err_nomem(err, room, "an L1 table");
	end = MIN(end, blk_size(q->image.blk.lower));
	while (off < end) {
		size_t n = MIN(end - off, room);

		memset(buf, 0, room);
		if (blk_pread(q->image.blk.lower, buf, n, off, err))
			return -1;
		for (size_t i = 0; i + 8 <= n; i += 8) {
			uint64_t l2 = get_be64(buf + i) & QCOW2_OFF_MASK;

			if (l2 && add_table(q, &g->inactive_l2, NULL, l2, err))
				return -1;
		}
		off += n;
	}
	return 0;
}

static int know_inactive_l2(struct qcow2 *q, struct qcow2_guard *g, struct err *err)
{
	for (size_t i = 0; i < g->nl1; i++)
		if (know_span(q, g, g->l1[i].off, g->l1[i].end, err))
			return -1;
	g->l2_known = true;
	return 0;
}

/* What the kinds in `ask` need. */
static int know(struct qcow2 *q, unsigned ask, struct err *err)
{
	const unsigned active = QCOW2_META_ACTIVE_L2 | QCOW2_META_REFBLOCK;
	const unsigned inactive = QCOW2_META_INACTIVE_L1 | QCOW2_META_INACTIVE_L2;
	struct qcow2_guard *g = q->guard;
	int rc = 0;

	if (!g) {
		g = q->guard = calloc(1, sizeof(*g));
		if (!g)
			return err_nomem(err, sizeof(*g), "the places of the metadata");
	}
	if ((ask & active) && !g->active_known)
		rc = know_active(q, g, err);
	if (rc == 0 && (ask & inactive) && !g->l1_known)
		rc = know_inactive_l1(q, g, err);
	if (rc == 0 && (ask & QCOW2_META_INACTIVE_L2) && !g->l2_known)
		rc = know_inactive_l2(q, g, err);
	if (rc)
		qcow2_overlap_reset(q);
	return rc;
}

void qcow2_overlap_l2(struct qcow2 *q, uint64_t old, uint64_t now)
{
	struct qcow2_guard *g = q->guard;
	struct err later;

	old &= QCOW2_OFF_MASK;
	now &= QCOW2_OFF_MASK;
	if (!g || !g->active_known || old == now)
		return;
	if (old && !(old & (q->cluster_size - 1)) &&
	    !set_meets(&g->twice, old >> q->h.cluster_bits, old >> q->h.cluster_bits))
		set_remove(&g->active_l2, old >> q->h.cluster_bits);
	/* without memory: all anew at the next check */
	if (now && add_table(q, &g->active_l2, &g->twice, now, &later))
		qcow2_overlap_reset(q);
}

void qcow2_overlap_refblock(struct qcow2 *q, uint64_t now)
{
	struct qcow2_guard *g = q->guard;
	struct err later;

	if (g && g->active_known && add_table(q, &g->refblocks, NULL, now, &later))
		qcow2_overlap_reset(q);
}

/* ---- the checks ---------------------------------------------------------------------------
 */

static bool touches(uint64_t off, uint64_t len, uint64_t table, uint64_t size)
{
	return size && off < table + size && table < off + len;
}

static bool meets_l1(const struct qcow2_guard *g, uint64_t off, uint64_t len)
{
	size_t low = 0, high = g->nl1;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (g->l1[mid].end <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return low < g->nl1 && g->l1[low].off < off + len;
}

/* In the peer's order. */
static const char *find(const struct qcow2 *q, unsigned ask, uint64_t off, uint64_t len)
{
	const struct qcow2_header *h = &q->h;
	const struct qcow2_guard *g = q->guard;
	uint64_t first = off >> h->cluster_bits, last = (off + len - 1) >> h->cluster_bits;

	if ((ask & QCOW2_META_HEADER) && off < q->cluster_size)
		return "qcow2_header";
	if ((ask & QCOW2_META_ACTIVE_L1) &&
	    touches(off, len, h->l1_off, h->l1_size * UINT64_C(8)))
		return "active L1 table";
	if ((ask & QCOW2_META_ACTIVE_L2) && set_meets(&g->active_l2, first, last))
		return "active L2 table";
	if ((ask & QCOW2_META_REFBLOCK) && set_meets(&g->refblocks, first, last))
		return "refcount block";
	if ((ask & QCOW2_META_REFTABLE) &&
	    touches(off, len, h->reftable_off, (uint64_t)h->reftable_cl << h->cluster_bits))
		return "refcount table";
	if ((ask & QCOW2_META_SNAPSHOT_TABLE) &&
	    touches(off, len, h->snapshots_off, h->nb_snapshots ? q->snapshot_table_len : 0))
		return "snapshot table";
	if ((ask & QCOW2_META_INACTIVE_L1) && meets_l1(g, off, len))
		return "inactive L1 table";
	if ((ask & QCOW2_META_INACTIVE_L2) && set_meets(&g->inactive_l2, first, last))
		return "inactive L2 table";
	if ((ask & QCOW2_META_BITMAP_DIR) && (h->autoclear & QCOW2_AUTOCLEAR_BITMAPS) &&
	    touches(off, len, q->extra.bitmap_dir_off, q->extra.bitmap_dir_size))
		return "bitmap directory";
	return NULL;
}

int qcow2_overlap_find(struct qcow2 *q, unsigned kind, uint64_t off, uint64_t len,
		       const char **what, struct err *err)
{
	unsigned ask = q->tuning.overlap & ~kind;

	*what = NULL;
	if (len == 0 || ask == 0)
		return 0;
	if (know(q, ask, err))
		return -1;
	*what = find(q, ask, off, len);
	if (!*what || q->guard->proven)
		return 0;
	/* never a false alarm: what is known may be old */
	qcow2_overlap_reset(q);
	if (know(q, ask, err))
		return -1;
	*what = find(q, ask, off, len);
	q->guard->proven = *what;
	return 0;
}

int qcow2_overlap_check(struct qcow2 *q, unsigned kind, uint64_t off, uint64_t len,
			struct err *err)
{
	const char *what;

	if (q->dead)
		return err_set(err, EIO,
			       "%s: qcow2: Image is corrupt; it is not written any more",
			       q->image.blk.name);
	if (qcow2_overlap_find(q, kind, off, len, &what, err))
		return -1;
	if (!what)
		return 0;
	return qcow2_corrupt(q, err, "Preventing invalid write on metadata (overlaps with %s)",
			     what);
}

int qcow2_metadata_write(struct qcow2 *q, unsigned kind, const void *buf, size_t n,
			 uint64_t off, struct err *err)
{
	if (qcow2_overlap_check(q, kind, off, n, err))
		return -1;
	return blk_pwrite(q->image.blk.lower, buf, n, off, 0, err);
}
