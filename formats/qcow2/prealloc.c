/*
 * Places ahead of the data: each cluster gets one, and with falloc and full the file has
 * the room, too.
 */
#include <errno.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* Entries for n clusters from guest offset `off` on, all in one L2 table, at `host`. In
 * extended entries no subcluster counts as written. */
static void set_entries(struct qcow2 *q, uint8_t *table, uint64_t off, uint64_t n,
			uint64_t host)
{
	uint8_t *at = qcow2_entry_at(q, table, off);

	for (uint64_t i = 0; i < n; i++, at += q->l2_entry, host += q->cluster_size)
		put_be64(at, host | QCOW2_COPIED);
	cache_dirty(q->l2_cache, table);
}

/* How much of n clusters for [off, end) has to be in the file. */
static uint64_t file_len(const struct qcow2 *q, uint64_t off, uint64_t end, uint64_t n)
{
	uint64_t len = n << q->h.cluster_bits;

	return qcow2_ext_l2(q) ? MIN(len, round_up(end - off, q->image.blk.part)) : len;
}

/* The file has to be as long as the tables will say. A new one is made so in the end. */
static int reach_end(struct qcow2 *q, uint64_t end, struct err *err)
{
	struct blk *file = q->image.blk.lower;

	q->file_end = MAX(q->file_end, end);
	if ((q->flags & IMAGE_NEW) || !(file->caps & BLK_CAN_GROW) || blk_size(file) >= end)
		return 0;
	cache_data_written(q->l2_cache);
	return blk_resize(file, end, PREALLOC_OFF, err);
}

/* Places for the clusters of one L2 table: at `area`, or wherever there are some. */
static int prealloc_table(struct qcow2 *q, uint8_t *table, uint64_t off, uint64_t end,
			  const uint64_t *area, struct err *err)
{
	while (off < end) {
		uint64_t n = div_up(end - off, q->cluster_size), host, got = n;
		bool fresh = true;

		if (qcow2_external(q))
			host = off;
		else if (area)
			host = *area;
		else if (qcow2_alloc(q, n, false, &host, &got, &fresh, err))
			return -1;
		if (!fresh && blk_zero(q->image.blk.lower, host, got << q->h.cluster_bits,
				       BLK_UNMAP, err))
			return -1;
		if (!qcow2_external(q) && reach_end(q, host + file_len(q, off, end, got), err))
			return -1;
		set_entries(q, table, off, got, host);
		off += got << q->h.cluster_bits;
	}
	return 0;
}

static int prealloc_range(struct qcow2 *q, uint64_t off, uint64_t end, const uint64_t *area,
			  struct err *err)
{
	uint64_t start = off;

	while (off < end) {
		uint64_t next = MIN((qcow2_l1_index(q, off) + 1) * q->l2_span, end);
		uint64_t host = area ? *area + (off - start) : 0;
		uint8_t *table;
		int rc;

		if (qcow2_l2_own(q, qcow2_l1_index(q, off), &table, err))
			return -1;
		rc = prealloc_table(q, table, off, next, area ? &host : NULL, err);
		cache_put(q->l2_cache, table);
		if (rc)
			return -1;
		off = next;
	}
	return 0;
}

/* How many L2 tables are missing for [off, end). */
static uint64_t missing_tables(const struct qcow2 *q, uint64_t off, uint64_t end)
{
	uint64_t n = 0;

	for (uint64_t i = qcow2_l1_index(q, off); i <= qcow2_l1_index(q, end - 1); i++)
		n += !(q->l1[i] & QCOW2_OFF_MASK);
	return n;
}

/* Puts those at `place`, which is counted: so that no L2 table waits for counts. */
static int make_tables(struct qcow2 *q, uint64_t off, uint64_t end, uint64_t place,
		       struct err *err)
{
	for (uint64_t i = qcow2_l1_index(q, off); i <= qcow2_l1_index(q, end - 1); i++) {
		void *table;

		if (q->l1[i] & QCOW2_OFF_MASK)
			continue;
		table = cache_new_piece(q->l2_cache, place, err);
		if (!table)
			return -1;
		cache_put(q->l2_cache, table);
		qcow2_l1_set(q, i, place | QCOW2_COPIED);
		place += q->cluster_size;
	}
	return 0;
}

/* What lies behind the last cluster in use is nobody's; a device is as long as it is. */
static int reserve(struct qcow2 *q, uint64_t area, uint64_t area_end, enum blk_prealloc p,
		   struct err *err)
{
	struct blk *file = q->image.blk.lower;
	int rc;

	if (p == PREALLOC_METADATA)
		p = PREALLOC_OFF;
	if (file->caps & BLK_CAN_GROW)
		rc = blk_resize(file, area, PREALLOC_OFF, err) ||
		     blk_resize(file, area_end, p, err);
	else
		rc = blk_zero(file, area, area_end - area, 0, err);
	return rc ? err_prefix(err, "Could not preallocate data") : 0;
}

/* Room in one piece. An image that is there gets its L2 tables with it. */
static int prealloc_area(struct qcow2 *q, uint64_t off, uint64_t end, enum blk_prealloc p,
			 struct err *err)
{
	uint64_t tables = q->flags & IMAGE_NEW ? 0 : missing_tables(q, off, end);
	uint64_t n = div_up(end - off, q->cluster_size), area, data;

	if (qcow2_alloc_area(q, tables + n, &area, err))
		return -1;
	data = area + (tables << q->h.cluster_bits);
	if (reserve(q, area, data + (n << q->h.cluster_bits), p, err))
		return -1;
	/* the clusters of the old refcount table are to be had again */
	if (qcow2_sync(q, false, err))
		return -1;
	cache_data_written(q->l2_cache);
	if (tables && make_tables(q, off, end, area, err))
		return -1;
	return prealloc_range(q, off, end, &data, err);
}

int qcow2_preallocate(struct qcow2 *q, uint64_t off, uint64_t end, enum blk_prealloc p,
		      struct err *err)
{
	bool grows = q->image.blk.lower->caps & BLK_CAN_GROW;
	/* many refcount blocks: each by itself would have to be waited for */
	bool large = !(q->flags & IMAGE_NEW) && grows &&
		     (end - off) >> q->h.cluster_bits >> q->refblock_bits > 0;

	if (!qcow2_external(q) && (p != PREALLOC_METADATA || large))
		return prealloc_area(q, off, end, p, err);
	return prealloc_range(q, off, end, NULL, err);
}
