#include "formats/qcow2/swap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

#define AREA_UNIT 4096u /* of what is written: the rest of a cluster is read by nobody */

int64_t swap_change(const struct swap *s, const struct swap_table *t)
{
	switch (s->kind) {
	case SWAP_CREATE:
		return t->active;
	case SWAP_REMOVE:
		return -(int64_t)t->snap;
	default:
		return (int64_t)t->snap - (int64_t)t->active;
	}
}

/* ---- the counts ------------------------------------------------------------------- */

/*
 * Of the table itself, at its old place and at its new one. A table that goes with its
 * disk gives its space back, as the data does. One that is replaced does not: there are as
 * many of those as the next change will need places, and to punch a hole for each takes
 * longer than all the rest.
 */
static int count_table(struct swap *s, const struct swap_table *t, struct err *err)
{
	unsigned bits = s->q->h.cluster_bits;
	int64_t here = swap_change(s, t), there = 0;

	if (t->moved) {
		/* the active L1 table names the new place; so does that of a new snapshot */
		there = s->kind == SWAP_CREATE	? 2 * (int64_t)t->active
			: s->kind == SWAP_APPLY ? t->snap
						: t->active;
		here -= there;
	}
	s->replaces = t->moved;
	if (swap_refs_add(s, t->off >> bits, 1, here, err))
		return -1;
	s->replaces = true;
	return t->place ? swap_refs_add(s, t->place >> bits, 1, there - 1, err) : 0;
}

static int count_area(struct swap *s, uint64_t off, uint64_t bytes, struct err *err)
{
	return swap_refs_add(s, off >> s->q->h.cluster_bits, div_up(bytes, s->q->cluster_size),
			     -1, err);
}

/* All that the new tables take the place of. */
static int count_rest(struct swap *s, struct err *err)
{
	struct qcow2 *q = s->q;
	unsigned bits = q->h.cluster_bits;

	for (size_t i = 0; i < s->ntable; i++)
		if (count_table(s, &s->table[i], err))
			return -1;
	s->replaces = true;
	for (uint64_t i = 0; i < q->nreftable; i++)
		if (q->reftable[i] && swap_refs_add(s, q->reftable[i] >> bits, 1, -1, err))
			return -1;
	for (size_t i = s->nmovable + s->nblock; i < s->nsingle; i++)
		if (swap_refs_add(s, s->single[i], 1, -1, err))
			return -1;
	if (count_area(s, q->h.reftable_off, q->nreftable * 8, err) ||
	    count_area(s, q->h.l1_off, q->h.l1_size * UINT64_C(8), err) ||
	    count_area(s, q->h.snapshots_off, q->nsnapshot ? q->snapshot_table_len : 0, err))
		return -1;
	s->replaces = false;
	return count_area(s, s->snap_l1_area.off, s->snap_l1_area.clusters << bits, err);
}

static void note_refs(struct swap *s)
{
	for (size_t i = 0; i < s->ntable; i++)
		swap_refs_get(s, s->table[i].off >> s->q->h.cluster_bits, &s->table[i].refs);
}

/*
 * Where a snapshot goes, the flags depend on the counts, and the counts of tables on which
 * of them move for their flags: with more than one window, each takes a round of its own.
 */
static int make_refs(struct swap *s, struct err *err)
{
	bool flags = s->kind == SWAP_REMOVE, one = s->per_window == s->nblock;

	for (uint32_t at = 0; flags && !one && at < s->nblock; at += s->n)
		if (swap_refs_load(s, at, err) || swap_count(s, err) || swap_flags(s, err))
			return -1;
	s->nfreed = 0;
	for (uint32_t at = 0; at < s->nblock; at += s->n) {
		if (swap_refs_load(s, at, err) || swap_count(s, err) ||
		    (flags && one && swap_flags(s, err)) || count_rest(s, err))
			return -1;
		note_refs(s);
		if (swap_refs_store(s, err))
			return -1;
	}
	return 0;
}

/* ---- the other tables ------------------------------------------------------------- */

static int write_area(struct swap *s, const struct swap_area *a, const void *bytes, size_t n,
		      struct err *err)
{
	size_t room = (size_t)a->clusters << s->q->h.cluster_bits;
	size_t len = MIN(round_up(n, AREA_UNIT), room);
	AUTO_FREE uint8_t *buf = mem_alloc(len);

	if (a->clusters == 0)
		return 0;
	if (!buf)
		return err_nomem(err, len, "a table");
	memcpy(buf, bytes, n);
	memset(buf + n, 0, len - n);
	return blk_pwrite(s->q->image.blk.lower, buf, len, a->off, 0, err);
}

/* Numbers -> big endian, in place and back. */
static int write_numbers(struct swap *s, const struct swap_area *a, uint64_t *v, size_t n,
			 struct err *err)
{
	int rc;

	for (size_t i = 0; i < n; i++)
		v[i] = htobe64(v[i]);
	rc = write_area(s, a, v, n * 8, err);
	for (size_t i = 0; i < n; i++)
		v[i] = be64toh(v[i]);
	return rc;
}

/* The active L1 table as it is to be. */
static uint64_t *new_l1(const struct swap *s, struct err *err)
{
	const uint64_t *from = s->kind == SWAP_APPLY ? s->snap_l1 : s->q->l1;
	uint64_t n = s->kind == SWAP_APPLY ? s->nsnap_l1 : s->q->h.l1_size;
	uint64_t *l1 = calloc(s->nl1 + 1, sizeof(*l1));

	if (!l1) {
		err_nomem(err, s->nl1 * 8, "the L1 table");
		return NULL;
	}
	for (uint64_t i = 0; i < MIN(n, s->nl1); i++) {
		uint64_t off = from[i] & QCOW2_OFF_MASK;
		const struct swap_table *t = off ? swap_find(s, off) : NULL;
		bool alone;

		if (!t)
			continue;
		/* one that moves has only the references that it is given here */
		alone = !t->moved		 ? t->refs == 1
			: s->kind == SWAP_CREATE ? false
			: s->kind == SWAP_APPLY	 ? t->snap == 1
						 : t->active == 1;
		l1[i] = (t->moved ? t->place : off) | (alone ? QCOW2_COPIED : 0);
	}
	return l1;
}

static int write_rest(struct swap *s, uint64_t *l1, struct err *err)
{
	if (write_numbers(s, &s->l1, l1, s->nl1, err) ||
	    write_numbers(s, &s->reftable, s->new_reftable, s->q->nreftable, err) ||
	    write_area(s, &s->snapshots, s->list, s->list_len, err))
		return -1;
	/* what a new snapshot has, the disk has, too: no entry is "copied" */
	return s->kind == SWAP_CREATE ? write_numbers(s, &s->copy, l1, s->nl1, err) : 0;
}

/* ---- the switch ------------------------------------------------------------------- */

static int switch_header(struct swap *s, struct err *err)
{
	struct qcow2 *q = s->q;
	struct qcow2_header *h = &q->h;

	if (blk_flush(q->image.blk.lower, err))
		return -1;
	q->broken = true; /* until it is known which tables the file names */
	if (s->l1.clusters)
		h->l1_off = s->l1.off;
	h->l1_size = (uint32_t)s->nl1;
	h->size = s->disk_size;
	h->reftable_off = s->reftable.off;
	h->nb_snapshots = s->nlist;
	h->snapshots_off = s->nlist ? s->snapshots.off : 0;
	if (qcow2_header_update(q, err) || blk_flush(q->image.blk.lower, err)) {
		qcow2_lose(q);
		return -1;
	}
	q->broken = false;
	return 0;
}

/* In memory as in the file. The old numbers go with `s`. */
static void adopt(struct swap *s, uint64_t **l1, uint8_t **dirty)
{
	struct qcow2 *q = s->q;
	uint64_t *old_l1 = q->l1, *old_reftable = q->reftable;
	uint8_t *old_dirty = q->l1_dirty;

	for (uint64_t i = 0; i < q->nreftable; i++)
		if (q->reftable[i])
			cache_forget(q->ref_cache, q->reftable[i] & ~UINT64_C(511));
	for (size_t i = 0; i < s->ntable; i++)
		cache_forget(q->l2_cache, s->table[i].off);
	q->l1 = *l1;
	q->l1_dirty = *dirty;
	q->l1_changed = false;
	q->reftable = s->new_reftable;
	*l1 = old_l1;
	*dirty = old_dirty;
	s->new_reftable = old_reftable;
	q->free_cl = 0;
	q->packed_off = 0;
	q->snapshot_table_len = s->list_len;
	__atomic_store_n(&q->image.blk.size, round_down(q->h.size, 512), __ATOMIC_RELEASE);
}

void swap_after(struct swap *s)
{
	struct qcow2 *q = s->q;
	struct err ignored;

	qcow2_overlap_reset(q);
	for (size_t i = 0; i < s->nfreed && qcow2_passes(q, QCOW2_FREE_SNAPSHOT); i++) {
		uint64_t cl = s->freed[i].cl, end = cl + s->freed[i].n, from = cl, refs;

		for (; cl <= end; cl++) {
			if (cl < end && qcow2_ref_of(q, cl, &refs, &ignored) == 0 && refs == 0)
				continue;
			if (cl > from)
				qcow2_punch(q, from << q->h.cluster_bits,
					    (cl - from) << q->h.cluster_bits);
			from = cl + 1;
		}
	}
}

static int prepare(struct swap *s, uint64_t **l1, uint8_t **dirty, struct err *err)
{
	size_t len = s->nl1 / 512 / 8 + 2;

	*dirty = calloc(1, len);
	if (!*dirty)
		return err_nomem(err, len, "the L1 table");
	if (swap_reserve(s, err) || swap_refs_begin(s, err) || make_refs(s, err))
		return -1;
	if (s->copy_at)
		put_be64(s->copy_at, s->copy.off);
	*l1 = new_l1(s, err);
	return *l1 ? write_rest(s, *l1, err) : -1;
}

int swap_do(struct swap *s, struct err *err)
{
	AUTO_FREE uint64_t *l1 = NULL;
	AUTO_FREE uint8_t *dirty = NULL;

	if (qcow2_sync(s->q, true, err) || cache_flush(s->q->ref_cache, err) ||
	    swap_gather(s, err))
		return -1;
	if (prepare(s, &l1, &dirty, err)) {
		swap_release(s);
		return -1;
	}
	if (switch_header(s, err))
		return -1;
	adopt(s, &l1, &dirty);
	return 0;
}

void swap_free(struct swap *s)
{
	free(s->table);
	free(s->single);
	free(s->rank);
	free(s->new_reftable);
	free(s->window);
	free(s->freed);
}
