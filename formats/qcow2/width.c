/*
 * Reference counts of another width: docs/interop/qcow2.rst, refcount_order in section
 * "Header", and section "Host cluster management".
 *
 * All blocks and the table are written anew, into clusters that the old ones count; they
 * are stable before the header, in one write, names the table and the width. Then the old
 * ones are freed. A crash leaks the ones or the others.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/amend.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define TRIES 8

struct width {
	struct qcow2 *q;
	unsigned order, bits;	 /* of the counts; log2 of the entries in a new block */
	uint8_t *need;		 /* a bit for each new block: it counts something */
	uint64_t nneed, highest; /* how many; the last one's index */
	uint64_t limit;		 /* bits in need */
	/* the new clusters: the table, then the blocks, then what turned out to be too much */
	uint64_t off, all, table, used;
	uint64_t *reftable; /* the new one */
	uint8_t *block;	    /* at work */
};

/* Notes what the old block b counts. */
static int look_at(struct width *w, uint64_t b, struct err *err)
{
	struct qcow2 *q = w->q;
	uint64_t per = UINT64_C(1) << q->refblock_bits, max = qcow2_ref_max(w->order);
	uint64_t bad = 0, v;
	uint8_t *block;

	if (qcow2_refblock_get(q, b, &block, err))
		return -1;
	for (uint64_t k = 0; block && k < per; k++) {
		uint64_t cl = (b << q->refblock_bits) + k, i = cl >> w->bits;

		v = qcow2_ref_get(q->h.refcount_order, block, k);
		if (v == 0)
			continue;
		if (v > max) {
			bad = v;
			err_set(err, EINVAL,
				"Cannot decrease refcount entry width to %u bits: Cluster at "
				"offset %#" PRIx64 " has a refcount of %" PRIu64,
				1u << w->order, cl << q->h.cluster_bits, v);
			break;
		}
		if (w->need[i / 8] & 1 << i % 8)
			continue;
		w->need[i / 8] |= (uint8_t)(1 << i % 8);
		w->nneed++;
		w->highest = MAX(w->highest, i);
	}
	if (block)
		cache_put(q->ref_cache, block);
	return bad ? -1 : 0;
}

static int look(struct width *w, const struct amend_progress *p, struct err *err)
{
	struct qcow2 *q = w->q;

	/* the table, too, may have grown meanwhile */
	w->limit = ((q->nreftable << q->refblock_bits) >> w->bits) + 1;
	free(w->need);
	w->need = calloc(1, w->limit / 8 + 1);
	if (!w->need)
		return err_nomem(err, w->limit / 8 + 1, "the refcount table");
	w->nneed = w->highest = 0;
	for (uint64_t b = 0; b < q->nreftable; b++) {
		if (q->reftable[b] && look_at(w, b, err))
			return -1;
		if (p && p->tell && b % 64 == 0)
			p->tell(p->arg, b, 2 * q->nreftable);
	}
	if (w->highest >= QCOW2_REFTABLE_MAX / 8)
		return err_set(err, EFBIG,
			       "The image file is larger than a refcount table of %d bytes "
			       "can describe with %u refcount bits",
			       QCOW2_REFTABLE_MAX, 1u << w->order);
	return 0;
}

/* Clusters for the new table and blocks. To have them is to count them, with new blocks
 * maybe: whether they are enough is known afterwards. */
static int reserve(struct width *w, struct err *err)
{
	struct qcow2 *q = w->q;
	uint64_t more = 4, got;
	bool fresh;

	for (int i = 0; i < TRIES; i++, more *= 2) {
		uint64_t tail, top, want;

		if (qcow2_tail(q, &tail, err))
			return -1;
		want = w->nneed + more;
		top = tail + want + (want >> w->bits) + (q->nreftable * 8 >> q->h.cluster_bits);
		w->table = div_up(((top >> w->bits) + 2) * 8, q->cluster_size);
		w->all = want + w->table + (want >> w->bits);
		if (qcow2_alloc(q, w->all, true, &w->off, &got, &fresh, err))
			return -1;
		if (look(w, NULL, err)) {
			qcow2_free_now(q, w->off, w->all << q->h.cluster_bits,
				       &(struct err){0});
			return -1;
		}
		if (w->nneed + w->table <= w->all &&
		    w->highest < w->table * (q->cluster_size / 8))
			return 0;
		if (qcow2_free_now(q, w->off, w->all << q->h.cluster_bits, err))
			return -1;
	}
	return err_set(err, ENOSPC, "No place was found for the new reference counts");
}

/* The counts of new block i; what was set aside for nothing counts no more. */
static int fill_block(struct width *w, uint64_t i, struct err *err)
{
	struct qcow2 *q = w->q;
	uint64_t first = i << w->bits, n = UINT64_C(1) << w->bits;
	uint64_t spare = (w->off >> q->h.cluster_bits) + w->used;
	uint64_t spare_end = (w->off >> q->h.cluster_bits) + w->all;
	uint64_t per = UINT64_C(1) << q->refblock_bits;

	memset(w->block, 0, q->cluster_size);
	for (uint64_t k = 0; k < n;) {
		uint64_t at = (first + k) & (per - 1), part = MIN(n - k, per - at);
		uint8_t *old;

		if (qcow2_refblock_get(q, (first + k) >> q->refblock_bits, &old, err))
			return -1;
		for (uint64_t c = 0; old && c < part; c++) {
			uint64_t cl = first + k + c;
			uint64_t v = qcow2_ref_get(q->h.refcount_order, old, at + c);

			if (v && (cl < spare || cl >= spare_end))
				qcow2_ref_put(w->order, w->block, k + c, v);
		}
		if (old)
			cache_put(q->ref_cache, old);
		k += part;
	}
	return 0;
}

static int write_blocks(struct width *w, const struct amend_progress *p, struct err *err)
{
	struct qcow2 *q = w->q;
	uint64_t entries = w->table * (q->cluster_size / 8), place = w->table;
	AUTO_FREE uint8_t *table = calloc(w->table, q->cluster_size);

	w->used = w->table + w->nneed;
	w->reftable = calloc(entries, 8);
	w->block = mem_alloc(q->cluster_size);
	if (!table || !w->reftable || !w->block)
		return err_nomem(err, entries * 8, "the refcount table");
	for (uint64_t i = 0; i <= w->highest; i++) {
		uint64_t off = w->off + (place << q->h.cluster_bits);

		if (!(w->need[i / 8] & 1 << i % 8))
			continue;
		if (fill_block(w, i, err) ||
		    qcow2_metadata_write(q, QCOW2_META_REFBLOCK, w->block, q->cluster_size, off,
					 err))
			return -1;
		w->reftable[i] = off;
		put_be64(table + 8 * i, off);
		place++;
		if (p->tell && i % 64 == 0)
			p->tell(p->arg, w->highest + i, 2 * w->highest + 1);
	}
	if (qcow2_metadata_write(q, QCOW2_META_REFTABLE, table, entries * 8, w->off, err))
		return -1;
	return blk_flush(q->image.blk.lower, err);
}

/* From now on the new ones count, on disk and here. The old ones are in *w instead. */
static int switch_over(struct width *w, struct err *err)
{
	struct qcow2 *q = w->q;
	struct qcow2_header old = q->h;
	uint64_t *table = q->reftable, n = q->nreftable;

	q->h.reftable_off = w->off;
	q->h.reftable_cl = (uint32_t)w->table;
	q->h.refcount_order = w->order;
	if (qcow2_header_update(q, err) || blk_flush(q->image.blk.lower, err)) {
		q->h = old;
		q->broken = true; /* it may have been written all the same */
		return -1;
	}
	for (uint64_t i = 0; i < n; i++)
		if (table[i])
			cache_forget(q->ref_cache, table[i] & ~UINT64_C(511));
	q->reftable = w->reftable;
	q->nreftable = w->table * (q->cluster_size / 8);
	q->refblock_bits = w->bits;
	q->free_cl = 0;
	qcow2_overlap_reset(q);
	w->reftable = table;
	w->table = n;
	w->off = old.reftable_off;
	return 0;
}

static int free_old(const struct width *w, struct err *err)
{
	struct qcow2 *q = w->q;

	for (uint64_t i = 0; i < w->table; i++)
		if (w->reftable[i] &&
		    qcow2_free_now(q, w->reftable[i] & ~UINT64_C(511), q->cluster_size, err))
			return -1;
	if (w->table && qcow2_free_now(q, w->off, w->table * 8, err))
		return -1;
	return qcow2_sync(q, true, err);
}

int qcow2_width_change(struct qcow2 *q, unsigned order, const struct amend_progress *p,
		       struct err *err)
{
	struct width w = {.q = q, .order = order, .bits = q->h.cluster_bits + 3 - order};
	bool reserved = false;
	int rc;

	rc = qcow2_sync(q, true, err) || look(&w, p, err);
	if (rc == 0) {
		rc = reserve(&w, err);
		reserved = rc == 0;
	}
	if (rc == 0)
		rc = cache_flush(q->ref_cache, err) || write_blocks(&w, p, err);
	if (rc && reserved)
		qcow2_free_now(q, w.off, w.all << q->h.cluster_bits, &(struct err){0});
	if (rc == 0)
		rc = switch_over(&w, err) || free_old(&w, err);
	free(w.need);
	free(w.reftable);
	free(w.block);
	return rc ? -1 : 0;
}
