/*
 * Zeros and discards: docs/interop/qcow2.rst, bit 0 of the "Standard Cluster Descriptor"
 * and the upper half of the "Subcluster Allocation Bitmap".
 *
 * Without BLK_UNMAP a cluster keeps its place; with it the place is freed, or kept but
 * given back to the file system (discard-no-unref). Version 2 has no zero clusters: there
 * only an unallocated cluster without a backing file is zero.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* One L2 entry that is to become zero, in whole or in part. */
struct target {
	uint64_t off, end; /* guest, inside one cluster */
	uint32_t bits;	   /* subclusters; all of them in standard entries */
	unsigned flags;
};

/* Adjacent places that are kept, without what was in them. */
struct emptied {
	uint64_t off, len;
};

static uint32_t target_bits(const struct qcow2 *q, uint64_t off, uint64_t end)
{
	uint32_t size = q->cluster_size / QCOW2_SUBCLUSTERS;
	uint64_t in = off & (q->cluster_size - 1);
	uint64_t first, n;

	if (!qcow2_ext_l2(q))
		return UINT32_MAX;
	/* what is past the end of the disk in its last cluster goes along */
	if (end == q->image.blk.size)
		end = round_up(end, q->cluster_size);
	first = in / size;
	n = (in + end - off) / size - first;
	return (n == QCOW2_SUBCLUSTERS ? UINT32_MAX : (UINT32_C(1) << n) - 1) << first;
}

/* What the entry becomes. Returns false where it stays as it is. */
static bool zero_entry(const struct qcow2 *q, const struct target *t, uint64_t old,
		       uint64_t old_map, uint64_t *entry, uint64_t *map)
{
	bool packed = old & QCOW2_COMPRESSED;
	bool whole = t->bits == UINT32_MAX;
	bool unmap = packed || (whole && (t->flags & BLK_UNMAP) && !q->image.data_raw &&
				!q->tuning.no_unref);

	*entry = unmap ? 0 : old;
	*map = 0;
	if (q->image.data_raw)
		*entry = (t->off & ~(uint64_t)(q->cluster_size - 1)) | QCOW2_COPIED;
	if (q->h.version < 3) {
		*entry = 0;
	} else if (qcow2_ext_l2(q)) {
		uint64_t zeros = (uint64_t)t->bits << 32;

		*map = ((packed ? 0 : old_map) & ~(uint64_t)t->bits) | zeros;
	} else {
		*entry |= QCOW2_ZERO;
	}
	return *entry != old || *map != old_map;
}

static void punch_emptied(struct qcow2 *q, struct emptied *e)
{
	if (e->len)
		qcow2_punch(q, e->off, e->len);
	e->len = 0;
}

/* The place of the target, which is nobody else's, holds nothing that is needed. */
static void add_emptied(struct qcow2 *q, const struct target *t, uint64_t entry,
			struct emptied *e)
{
	uint64_t in = t->off & (q->cluster_size - 1), off = (entry & QCOW2_OFF_MASK) + in;

	if (!q->tuning.no_unref || !(t->flags & BLK_UNMAP) || !(entry & QCOW2_COPIED) ||
	    off == in || qcow2_external(q) || !qcow2_passes(q, QCOW2_FREE_REQUEST))
		return;
	if (e->len == 0 || e->off + e->len != off) {
		punch_emptied(q, e);
		e->off = off;
	}
	e->len += t->end - t->off;
}

static int zero_cluster(struct qcow2 *q, const struct target *t, uint8_t *table,
			struct emptied *e, struct err *err)
{
	uint8_t *at = qcow2_entry_at(q, table, t->off);
	uint64_t old = get_be64(at), old_map = 0, entry, map;

	if (qcow2_ext_l2(q))
		old_map = get_be64(at + 8);
	/* reads as zeros already */
	if (!old && !old_map && qcow2_alone(q) && !q->image.data_raw)
		return 0;
	if (!zero_entry(q, t, old, old_map, &entry, &map))
		return 0;
	put_be64(at, entry);
	if (qcow2_ext_l2(q))
		put_be64(at + 8, map);
	qcow2_l2_changed(q, table, at, 1);
	if ((entry & QCOW2_OFF_MASK) == (old & QCOW2_OFF_MASK) && !(old & QCOW2_COMPRESSED)) {
		add_emptied(q, t, entry, e);
		return 0;
	}
	return qcow2_free_entry(q, old, QCOW2_FREE_REQUEST, err);
}

/* Is a part of a compressed cluster asked for? That is for the caller to write anew. */
static bool splits_packed(const struct qcow2 *q, const struct target *t, uint8_t *table)
{
	return t->bits != UINT32_MAX &&
	       (get_be64(qcow2_entry_at(q, table, t->off)) & QCOW2_COMPRESSED);
}

/* [off, end) lies in one L2 table. */
static int zero_in_table(struct qcow2 *q, uint64_t off, uint64_t end, unsigned flags,
			 struct err *err)
{
	uint64_t i = qcow2_l1_index(q, off);
	struct emptied emptied = {0};
	uint8_t *table;
	int rc = 0;

	/* no table, nothing below: zeros as they are */
	if (!(q->l1[i] & QCOW2_OFF_MASK) && qcow2_alone(q) && !q->image.data_raw)
		return 0;
	if (qcow2_l2_own(q, i, &table, err))
		return -1;
	while (rc == 0 && off < end) {
		uint64_t next = MIN(round_down(off, q->cluster_size) + q->cluster_size, end);
		struct target t = {off, next, target_bits(q, off, next), flags};

		if (splits_packed(q, &t, table))
			rc = err_set(err, ENOTSUP,
				     "A part of a compressed cluster cannot become zero");
		else
			rc = zero_cluster(q, &t, table, &emptied, err);
		off = next;
	}
	punch_emptied(q, &emptied);
	cache_put(q->l2_cache, table);
	return rc;
}

/* In an external data file the places stay what they are; their space need not. */
static void punch_data(struct qcow2 *q, uint64_t off, uint64_t len, unsigned flags)
{
	struct err later;

	if (qcow2_external(q) && !q->image.data_raw && (flags & BLK_UNMAP) &&
	    qcow2_passes(q, QCOW2_FREE_REQUEST))
		blk_zero(q->image.data, off, len, BLK_UNMAP | BLK_ADVISE | BLK_CHEAP, &later);
}

static int check_range(const struct qcow2 *q, uint64_t off, uint64_t len, struct err *err)
{
	uint32_t unit = qcow2_ext_l2(q) ? q->image.blk.part : q->cluster_size;
	uint64_t end = off + len;

	if (off % unit == 0 && (end % unit == 0 || end == q->image.blk.size))
		return 0;
	return err_set(err, EINVAL,
		       "Zeros of %" PRIu64 " bytes at %" PRIu64 " are not of whole clusters",
		       len, off);
}

int qcow2_zero_held(struct qcow2 *q, uint64_t off, uint64_t end, unsigned flags,
		    struct err *err)
{
	while (off < end) {
		uint64_t next = MIN((qcow2_l1_index(q, off) + 1) * q->l2_span, end);

		if (zero_in_table(q, off, next, flags, err))
			return -1;
		off = next;
	}
	return 0;
}

int qcow2_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags, struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	uint64_t start = off, end = off + len;
	unsigned keep = BLK_ADVISE;
	int rc;

	if (check_range(q, off, len, err))
		return -1;
	if (q->h.version < 3 && !qcow2_alone(q))
		return err_set(err, ENOTSUP,
			       "qcow2 version 2 has no zero clusters over a backing file");
	if (flags & BLK_ADVISE)
		flags |= BLK_UNMAP;
	/* who reads the data file by itself has to find zeros there */
	if (!qcow2_passes(q, QCOW2_FREE_REQUEST))
		keep |= BLK_UNMAP;
	if (q->image.data_raw && blk_zero(q->image.data, off, len, flags & ~keep, err))
		return -1;
	pthread_mutex_lock(&q->lock);
	rc = qcow2_start(q, err);
	if (q->image.data_raw)
		cache_data_written(q->l2_cache);
	if (rc == 0)
		rc = qcow2_zero_held(q, off, end, flags, err);
	pthread_mutex_unlock(&q->lock);
	if (rc == 0)
		punch_data(q, start, len, flags);
	return rc;
}
