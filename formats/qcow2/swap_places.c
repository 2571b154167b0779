/*
 * Clusters for what is new. They count as used in the counts that are in force, so that a
 * crash leaks them at worst, and nobody else gets them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/swap.h"
#include "lib/mem.h"

static bool may_move(const struct swap *s, const struct swap_table *t)
{
	return s->kind == SWAP_APPLY ? t->snap > 0 : t->active > 0;
}

static size_t blocks(const struct qcow2 *q)
{
	size_t n = 0;

	for (uint64_t i = 0; i < q->nreftable; i++)
		n += q->reftable[i] != 0;
	return n;
}

static int reserve_singles(struct swap *s, size_t want, struct err *err)
{
	struct qcow2 *q = s->q;

	if (want > s->single_room) {
		uint64_t *more = realloc(s->single, want * sizeof(*more));

		if (!more)
			return err_nomem(err, want * sizeof(*more), "a list of clusters");
		s->single = more;
		s->single_room = want;
	}
	while (s->nsingle < want) {
		uint64_t off, got;
		bool fresh;

		if (qcow2_alloc(q, want - s->nsingle, false, &off, &got, &fresh, err))
			return -1;
		for (uint64_t i = 0; i < got; i++)
			s->single[s->nsingle++] = (off >> q->h.cluster_bits) + i;
	}
	return 0;
}

static int reserve_area(struct swap *s, struct swap_area *a, uint64_t bytes, struct err *err)
{
	uint64_t got;
	bool fresh;

	a->clusters = div_up(bytes, s->q->cluster_size);
	if (a->clusters == 0 ||
	    qcow2_alloc(s->q, a->clusters, true, &a->off, &got, &fresh, err) == 0)
		return 0;
	a->clusters = 0;
	return -1;
}

static void release_area(struct swap *s, struct swap_area *a)
{
	struct err ignored;

	if (a->clusters)
		qcow2_free_now(s->q, a->off, a->clusters << s->q->h.cluster_bits, &ignored);
	a->clusters = 0;
}

/* Each allocation may need refcount blocks, and those a larger table. */
static int reserve_refs(struct swap *s, struct err *err)
{
	struct qcow2 *q = s->q;
	uint64_t entries;

	do {
		if (reserve_singles(s, s->nmovable + blocks(q), err))
			return -1;
		release_area(s, &s->reftable);
		entries = q->nreftable;
		if (reserve_area(s, &s->reftable, entries * 8, err))
			return -1;
	} while (entries != q->nreftable || s->nsingle < s->nmovable + blocks(q));
	return 0;
}

static void assign_tables(struct swap *s)
{
	size_t k = 0;

	for (size_t i = 0; i < s->ntable; i++)
		if (may_move(s, &s->table[i]))
			s->table[i].place = s->single[k++] << s->q->h.cluster_bits;
}

int swap_reserve(struct swap *s, struct err *err)
{
	struct qcow2 *q = s->q;

	for (size_t i = 0; i < s->ntable; i++)
		s->nmovable += may_move(s, &s->table[i]);
	/* single ones first: then the search for several begins behind what is full */
	if (reserve_singles(s, s->nmovable + blocks(q), err) ||
	    reserve_area(s, &s->l1, s->nl1 * 8, err) ||
	    (s->kind == SWAP_CREATE && reserve_area(s, &s->copy, s->nl1 * 8, err)) ||
	    reserve_area(s, &s->snapshots, s->list_len, err) || reserve_refs(s, err))
		return -1;
	assign_tables(s);
	/* the counts on the disk are the ones that the new ones are made from */
	return qcow2_sync(q, false, err) || cache_flush(q->ref_cache, err) ? -1 : 0;
}

void swap_release(struct swap *s)
{
	struct err ignored;

	for (size_t i = 0, n; i < s->nsingle; i += n) {
		for (n = 1; i + n < s->nsingle && s->single[i + n] == s->single[i] + n; n++)
			;
		qcow2_ref_change(s->q, s->single[i], n, false, &ignored);
	}
	s->nsingle = 0;
	release_area(s, &s->l1);
	release_area(s, &s->copy);
	release_area(s, &s->snapshots);
	release_area(s, &s->reftable);
	qcow2_sync(s->q, false, &ignored);
}
