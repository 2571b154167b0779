/*
 * Less room: docs/interop/qcow2.rst, sections "Cluster mapping" and "Host cluster
 * management".
 *
 * The header's size goes first, and is stable before anything behind the new end is given
 * up: whatever happens then, the disk has the one size or the other, with its contents.
 * Then L1 and L2 entries behind the end become zero, what they had is freed, refcount
 * blocks that describe nothing any more go, and the file is cut behind the last cluster in
 * use. An image keeps the length of its L1 table.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* Of the L2 table that maps the new end, what is behind it: from guest offset `off` on. */
static int drop_rest(struct qcow2 *q, uint64_t off, struct err *err)
{
	uint64_t i = qcow2_l1_index(q, off), end = (i + 1) * q->l2_span;
	uint8_t *table;
	int rc = 0;

	if (!(q->l1[i] & QCOW2_OFF_MASK))
		return 0;
	if (qcow2_l2_own(q, i, &table, err))
		return -1;
	for (; rc == 0 && off < end; off += q->cluster_size) {
		uint8_t *at = qcow2_entry_at(q, table, off);
		uint64_t entry = get_be64(at);

		memset(at, 0, q->l2_entry);
		cache_dirty(q->l2_cache, table);
		rc = qcow2_free_entry(q, entry, QCOW2_FREE_REQUEST, err);
	}
	cache_put(q->l2_cache, table);
	return rc;
}

static int drop_entries(struct qcow2 *q, uint64_t size, struct err *err)
{
	uint64_t off = round_up(size, q->cluster_size);
	uint64_t first = div_up(off, q->l2_span);

	if (off % q->l2_span != 0 && qcow2_l1_index(q, off) < q->h.l1_size &&
	    drop_rest(q, off, err))
		return -1;
	for (uint64_t i = first; i < q->h.l1_size; i++)
		if (q->l1[i] && qcow2_drop_table(q, i, err))
			return -1;
	return qcow2_sync(q, true, err);
}

/* Does the block at index b of the refcount table count nothing but itself? */
static int counts_nothing(struct qcow2 *q, uint64_t b, bool *nothing, struct err *err)
{
	uint64_t per = UINT64_C(1) << q->refblock_bits;
	uint64_t own = (q->reftable[b] >> q->h.cluster_bits) - (b << q->refblock_bits);
	uint8_t *block;

	if (qcow2_refblock_get(q, b, &block, err))
		return -1;
	*nothing = true;
	for (uint64_t k = 0; *nothing && k < per; k++)
		if (k != own && qcow2_ref_get(q->h.refcount_order, block, k) != 0)
			*nothing = false;
	cache_put(q->ref_cache, block);
	return 0;
}

/* The table no longer has blocks [from, to), stable; then their own clusters are free. */
static int drop_range(struct qcow2 *q, uint64_t from, uint64_t to, struct err *err)
{
	size_t n = (size_t)(to - from);
	AUTO_FREE uint64_t *old = mem_alloc(n * 8);
	AUTO_FREE uint8_t *none = calloc(n, 8);

	if (!old || !none)
		return err_nomem(err, n * 8, "the refcount table");
	if (cache_flush(q->ref_cache, err) ||
	    qcow2_metadata_write(q, QCOW2_META_REFTABLE, none, n * 8,
				 q->h.reftable_off + from * 8, err) ||
	    blk_flush(q->image.blk.lower, err))
		return -1;
	memcpy(old, q->reftable + from, n * 8);
	memset(q->reftable + from, 0, n * 8);
	qcow2_overlap_reset(q);
	for (size_t k = 0; k < n; k++) {
		uint64_t b = old[k] >> q->h.cluster_bits >> q->refblock_bits;

		cache_forget(q->ref_cache, old[k]);
		/* those in the range took the counts of their places along */
		if (old[k] && (b < from || b >= to) &&
		    qcow2_free_now(q, old[k], q->cluster_size, err))
			return -1;
	}
	return 0;
}

/* Refcount blocks at the end that nothing needs would keep the file long. What they took
 * may have been all that another one counted. */
static int drop_blocks(struct qcow2 *q, struct err *err)
{
	uint64_t to = q->nreftable, from;

	for (; to > 1; to = from) {
		bool nothing = true;

		for (from = to; from > 1 && nothing; from -= nothing)
			if (q->reftable[from - 1] && counts_nothing(q, from - 1, &nothing, err))
				return -1;
		if (from == to)
			return 0;
		if (drop_range(q, from, to, err))
			return -1;
	}
	return 0;
}

/* All that is in use, and the counts that say so, are stable before the file is cut. */
static int cut_file(struct qcow2 *q, struct err *err)
{
	struct blk *file = q->image.blk.lower;
	uint64_t cl, end;

	if (qcow2_tail(q, &cl, err) || cache_flush(q->ref_cache, err) || blk_flush(file, err))
		return -1;
	end = cl << q->h.cluster_bits;
	q->file_end = MIN(q->file_end, end);
	if (!(file->caps & BLK_CAN_GROW))
		return 0;
	if (q->fresh_off != UINT64_MAX)
		q->fresh_off = MIN(q->fresh_off, MAX(end, round_up(blk_size(file), 512)));
	if (blk_size(file) <= end)
		return 0;
	if (blk_resize(file, end, PREALLOC_OFF, err))
		return err_prefix(err, "Failed to truncate the tail of the image");
	q->fresh_off = end;
	return 0;
}

static int shrink_data(struct qcow2 *q, uint64_t size, struct err *err)
{
	struct blk *data = q->image.data;

	if (!qcow2_external(q) || !(data->caps & BLK_CAN_GROW) || blk_size(data) <= size)
		return 0;
	return blk_resize(data, size, PREALLOC_OFF, err);
}

int qcow2_shrink(struct qcow2 *q, uint64_t size, struct err *err)
{
	struct blk *file = q->image.blk.lower;
	uint64_t old = q->h.size;

	if (qcow2_sync(q, true, err))
		return -1;
	q->h.size = size;
	if (qcow2_header_update(q, err) || blk_flush(file, err)) {
		q->h.size = old;
		return -1;
	}
	__atomic_store_n(&q->image.blk.size, size, __ATOMIC_RELEASE);
	q->packed_off = 0;
	return drop_entries(q, size, err) || shrink_data(q, size, err) || drop_blocks(q, err) ||
			       cut_file(q, err)
		       ? -1
		       : 0;
}
