/*
 * Dropping all data of an image: docs/interop/qcow2.rst, sections "Host cluster
 * management" and "Cluster mapping".
 *
 * First the L1 table becomes zero and stable: from then on nothing refers to the data, and
 * a crash leaks it at worst. Where nobody else can have any of it - snapshots, bitmaps -
 * the counts are then not lowered one by one but made anew: a refcount table and the few
 * blocks for what is left, and an L1 table, in a place that no table has, to which the
 * header switches in one write. Doing that twice puts them right behind the header.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* Clusters in use. */
struct place {
	uint64_t cl, n;
};

/* The new tables, one behind the other; see plan(). */
struct layout {
	uint64_t cl;			 /* where they begin */
	uint64_t table, blocks, l1, all; /* clusters of each, and of all */
	uint64_t first;			 /* index of the block that describes cl */
};

static int drop_l1(struct qcow2 *q, struct err *err)
{
	for (uint64_t i = 0; i < q->h.l1_size; i++) {
		if (!q->l1[i])
			continue;
		cache_forget(q->l2_cache, q->l1[i] & QCOW2_OFF_MASK);
		qcow2_l1_set(q, i, 0);
	}
	return qcow2_sync(q, true, err);
}

/* ---- one reference after the other ---------------------------------------------------- */

int qcow2_drop_table(struct qcow2 *q, uint64_t i, struct err *err)
{
	uint64_t off = q->l1[i] & QCOW2_OFF_MASK, n = UINT64_C(1) << q->l2_bits;
	uint8_t *table;
	int rc = 0;

	if (qcow2_l2_get(q, i, &table, err))
		return -1;
	qcow2_l1_set(q, i, 0); /* before any of it is queued: the queue may be emptied */
	for (uint64_t k = 0; table && rc == 0 && k < n; k++)
		rc = qcow2_free_entry(q, get_be64(table + k * q->l2_entry), QCOW2_FREE_REQUEST,
				      err);
	if (table)
		cache_put(q->l2_cache, table);
	if (rc == 0 && off)
		rc = qcow2_free_later(q, off, q->cluster_size, QCOW2_FREE_REQUEST, err);
	return rc;
}

static int free_one_by_one(struct qcow2 *q, struct err *err)
{
	struct err ignored;

	for (uint64_t i = 0; i < q->h.l1_size; i++)
		if (q->l1[i] && qcow2_drop_table(q, i, err))
			return -1;
	if (qcow2_sync(q, true, err))
		return -1;
	if (qcow2_external(q))
		blk_zero(q->image.data, 0, blk_size(q->image.data),
			 BLK_UNMAP | BLK_ADVISE | BLK_CHEAP, &ignored);
	return 0;
}

/* ---- all at once ------------------------------------------------------------------------ */

/* Does anything but the L1 table refer to clusters? */
static bool holds_more(const struct qcow2 *q)
{
	const struct qcow2_extra *x = &q->extra;

	if (q->h.nb_snapshots || x->has_bitmaps || x->has_crypt || qcow2_external(q))
		return true;
	for (size_t i = 0; i < x->next; i++)
		if (x->ext[i].type != QCOW2_EXT_BACKING_FORMAT &&
		    x->ext[i].type != QCOW2_EXT_FEATURES)
			return true; /* nobody knows what it refers to */
	return false;
}

static int by_cluster(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->cl < y->cl ? -1 : x->cl > y->cl;
}

/* What must stay as it is until the header has switched, sorted. */
static struct place *tables_now(const struct qcow2 *q, size_t *n, struct err *err)
{
	struct place *list = mem_alloc((q->nreftable + 3) * sizeof(*list));
	unsigned bits = q->h.cluster_bits;

	*n = 0;
	if (!list) {
		err_nomem(err, (q->nreftable + 3) * sizeof(*list), "a list of tables");
		return NULL;
	}
	list[(*n)++] = (struct place){0, 1};
	list[(*n)++] = (struct place){q->h.l1_off >> bits,
				      div_up(q->h.l1_size * UINT64_C(8), q->cluster_size)};
	list[(*n)++] = (struct place){q->h.reftable_off >> bits, q->h.reftable_cl};
	for (uint64_t i = 0; i < q->nreftable; i++)
		if (q->reftable[i])
			list[(*n)++] = (struct place){q->reftable[i] >> bits, 1};
	qsort(list, *n, sizeof(*list), by_cluster);
	return list;
}

/* How much room the tables need that begin at cluster cl: the refcount table, blocks for
 * cluster 0 and for the tables themselves, the L1 table. */
static struct layout plan(const struct qcow2 *q, uint64_t cl)
{
	struct layout l = {.cl = cl, .first = cl >> q->refblock_bits};
	uint64_t last, table, blocks;

	l.l1 = div_up(q->h.l1_size * UINT64_C(8), q->cluster_size);
	l.table = l.blocks = 1;
	for (;;) {
		l.all = l.table + l.blocks + l.l1;
		last = (cl + l.all - 1) >> q->refblock_bits;
		table = div_up((last + 1) * 8, q->cluster_size);
		blocks = last - l.first + 1 + (l.first > 0);
		if (table == l.table && blocks == l.blocks)
			return l;
		l.table = MAX(table, l.table);
		l.blocks = MAX(blocks, l.blocks);
	}
}

/* The lowest place that none of the tables of now has. */
static int find_place(const struct qcow2 *q, struct layout *l, struct err *err)
{
	size_t n;
	AUTO_FREE struct place *list = tables_now(q, &n, err);
	uint64_t free_from = 0;

	if (!list)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (list[i].cl > free_from) {
			*l = plan(q, free_from);
			if (l->all <= list[i].cl - free_from)
				return 0;
		}
		free_from = MAX(free_from, list[i].cl + list[i].n);
	}
	*l = plan(q, free_from);
	return 0;
}

/* The index in the refcount table of the k-th new block. */
static uint64_t block_index(const struct layout *l, uint64_t k)
{
	if (l->first == 0)
		return k;
	return k == 0 ? 0 : l->first + k - 1;
}

static bool counted(const struct layout *l, uint64_t cl)
{
	return cl == 0 || (cl >= l->cl && cl < l->cl + l->all);
}

static int write_tables(struct qcow2 *q, const struct layout *l, struct err *err)
{
	struct blk *file = q->image.blk.lower;
	uint64_t bytes = (l->table + l->blocks) << q->h.cluster_bits;
	uint64_t off = l->cl << q->h.cluster_bits, per = UINT64_C(1) << q->refblock_bits;
	AUTO_FREE uint8_t *buf = calloc(1, bytes);

	if (!buf)
		return err_nomem(err, bytes, "the refcount table");
	if (qcow2_overlap_check(q, 0, off, l->all << q->h.cluster_bits, err))
		return -1;
	for (uint64_t k = 0; k < l->blocks; k++) {
		uint64_t i = block_index(l, k), at = (l->table + k) << q->h.cluster_bits;

		put_be64(buf + 8 * i, off + at);
		for (uint64_t c = 0; c < per; c++)
			if (counted(l, (i << q->refblock_bits) + c))
				qcow2_ref_put(q->h.refcount_order, buf + at, c, 1);
	}
	/* the L1 table is never in a hole that a full disk would not fill */
	if (blk_pwrite(file, buf, bytes, off, 0, err) ||
	    blk_zero(file, off + bytes, l->l1 << q->h.cluster_bits, 0, err))
		return -1;
	return blk_flush(file, err);
}

/* Makes the new tables those of the image, on disk and here. */
static int switch_tables(struct qcow2 *q, const struct layout *l, struct err *err)
{
	uint64_t n = (l->table << q->h.cluster_bits) / 8;
	uint64_t off = l->cl << q->h.cluster_bits;
	uint64_t *table = calloc(n, 8);
	struct qcow2_header old = q->h;

	if (!table)
		return err_nomem(err, n * 8, "the refcount table");
	for (uint64_t k = 0; k < l->blocks; k++)
		table[block_index(l, k)] = off + ((l->table + k) << q->h.cluster_bits);
	q->h.reftable_off = off;
	q->h.reftable_cl = (uint32_t)l->table;
	q->h.l1_off = off + ((l->table + l->blocks) << q->h.cluster_bits);
	if (qcow2_header_update(q, err) || blk_flush(q->image.blk.lower, err)) {
		q->h = old;
		qcow2_lose(q);
		free(table);
		return -1;
	}
	for (uint64_t i = 0; i < q->nreftable; i++)
		if (q->reftable[i])
			cache_forget(q->ref_cache, q->reftable[i]);
	free(q->reftable);
	q->reftable = table;
	q->nreftable = n;
	qcow2_overlap_reset(q);
	q->free_cl = 0;
	q->packed_off = 0;
	return 0;
}

/* Gives back what lies behind the tables, as far as that can be. */
static void cut_file(struct qcow2 *q, const struct layout *l)
{
	struct blk *file = q->image.blk.lower;
	uint64_t end = (l->cl + l->all) << q->h.cluster_bits;
	struct err ignored;

	q->file_end = end;
	q->fresh_off = UINT64_MAX;
	if (blk_size(file) <= end)
		return;
	if ((file->caps & BLK_CAN_GROW) && blk_resize(file, end, PREALLOC_OFF, &ignored) == 0)
		q->fresh_off = end;
	else
		blk_zero(file, end, blk_size(file) - end, BLK_UNMAP | BLK_ADVISE | BLK_CHEAP,
			 &ignored);
}

static int start_over(struct qcow2 *q, struct err *err)
{
	struct layout l;

	if (drop_l1(q, err))
		return -1;
	for (int pass = 0; pass < 2; pass++) {
		if (find_place(q, &l, err) || write_tables(q, &l, err) ||
		    switch_tables(q, &l, err))
			return -1;
		if (l.cl == 1)
			break;
	}
	cut_file(q, &l);
	return 0;
}

int qcow2_make_empty(struct image *image, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qcow2_start(q, err);
	if (rc == 0) /* what waits to be freed must not be so twice */
		rc = qcow2_sync(q, true, err);
	if (rc == 0)
		rc = holds_more(q) ? free_one_by_one(q, err) : start_over(q, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
