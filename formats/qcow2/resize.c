/*
 * Another size: a larger L1 table, and that nothing shows in what is new.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

static int write_l1_at(struct qcow2 *q, const uint64_t *l1, uint64_t n, uint64_t off,
		       struct err *err)
{
	AUTO_FREE uint8_t *buf = mem_alloc(n * 8);

	if (!buf)
		return err_nomem(err, n * 8, "the L1 table");
	for (uint64_t i = 0; i < n; i++)
		put_be64(buf + 8 * i, l1[i]);
	return qcow2_metadata_write(q, QCOW2_META_ACTIVE_L1, buf, n * 8, off, err);
}

/* A table of n entries in a new place, stable before the header points there. */
static int grow_l1(struct qcow2 *q, uint64_t n, struct err *err)
{
	uint64_t old_off = q->h.l1_off, old_n = q->h.l1_size, off, got;
	uint64_t clusters = div_up(n * 8, q->cluster_size);
	uint64_t *l1;
	uint8_t *dirty;
	bool fresh;

	l1 = realloc(q->l1, n * 8);
	if (!l1)
		return err_nomem(err, n * 8, "the L1 table");
	q->l1 = l1;
	memset(l1 + old_n, 0, (n - old_n) * 8);
	dirty = realloc(q->l1_dirty, n / 512 / 8 + 2);
	if (!dirty)
		return err_nomem(err, n / 512 / 8 + 2, "the L1 table");
	q->l1_dirty = dirty;
	if (qcow2_alloc(q, clusters, true, &off, &got, &fresh, err))
		return -1;
	/* what the entries point to has to be on the disk before they are */
	if (qcow2_sync(q, false, err))
		return -1;
	memset(dirty, 0, n / 512 / 8 + 2);
	if (write_l1_at(q, l1, n, off, err) ||
	    (!(q->flags & IMAGE_NEW) && blk_flush(q->image.blk.lower, err)))
		return -1;
	q->h.l1_off = off;
	q->h.l1_size = (uint32_t)n;
	if (qcow2_header_update(q, err))
		return -1;
	return old_n ? qcow2_free_later(q, old_off, old_n * 8, QCOW2_FREE_OTHER, err) : 0;
}

/* Subclusters of the last cluster that an old, longer disk left behind its end. What of
 * them is in the last part, or in clusters without parts, is the caller's to clear. */
static int hide_parts(struct qcow2 *q, struct err *err)
{
	uint64_t from, end = round_up(q->h.size, q->cluster_size);
	uint8_t *table;
	uint64_t entry = 0, bitmap = 0;

	if (!qcow2_ext_l2(q) || q->h.size == 0)
		return 0;
	from = round_up(q->h.size, q->image.blk.part);
	if (from == end)
		return 0;
	if (qcow2_l2_get(q, qcow2_l1_index(q, from), &table, err))
		return -1;
	if (table) {
		entry = get_be64(qcow2_entry_at(q, table, from));
		bitmap = get_be64(qcow2_entry_at(q, table, from) + 8);
		cache_put(q->l2_cache, table);
	}
	if ((entry & QCOW2_COMPRESSED) || !(uint32_t)bitmap)
		return 0;
	return qcow2_zero_held(q, from, end, 0, err);
}

/* The data file of an image. One that is read by itself may be longer than the disk. */
static int grow_data(struct qcow2 *q, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct blk *data = q->image.data;
	bool enough = blk_size(data) >= size;

	if (p == PREALLOC_METADATA)
		p = PREALLOC_OFF;
	if (enough && (q->image.data_raw || !(data->caps & BLK_CAN_GROW) || p != PREALLOC_OFF))
		return 0;
	return blk_resize(data, size, p, err);
}

/* The rest of the last cluster is the caller's: it may have to be copied. */
static int hide_below(struct qcow2 *q, uint64_t size, struct err *err)
{
	uint64_t unit = qcow2_ext_l2(q) ? q->image.blk.part : q->cluster_size;
	uint64_t from = round_up(q->h.size, unit);
	uint64_t to = round_up(MIN(size, q->image.blk.below), q->cluster_size);

	return from < to ? qcow2_zero_held(q, from, to, 0, err) : 0;
}

static int settle_data(struct qcow2 *q, struct err *err)
{
	return qcow2_external(q) && !(q->flags & IMAGE_NEW) ? blk_flush(q->image.data, err) : 0;
}

static int grow(struct qcow2 *q, uint64_t size, enum blk_prealloc mode, struct err *err)
{
	enum blk_prealloc p = mode & ~(unsigned)PREALLOC_ZERO;
	uint64_t need = qcow2_l1_needed(&q->h, size);
	uint64_t from = round_up(q->h.size, q->cluster_size), old = q->h.size;

	/* who reads the data file by itself sees what the tables do not have */
	if (q->image.data_raw && p == PREALLOC_OFF)
		p = PREALLOC_METADATA;
	if (need > q->h.l1_size && grow_l1(q, need, err))
		return -1;
	if (hide_parts(q, err) || (qcow2_external(q) && grow_data(q, size, p, err)))
		return -1;
	if (p != PREALLOC_OFF && from < size && qcow2_preallocate(q, from, size, p, err))
		return -1;
	if ((mode & PREALLOC_ZERO) && (p <= PREALLOC_METADATA || qcow2_ext_l2(q)) &&
	    hide_below(q, size, err))
		return -1;
	/* what the disk shows there has to be so before it is shown */
	if (qcow2_sync(q, true, err) || settle_data(q, err))
		return -1;
	q->h.size = size;
	if (qcow2_header_update(q, err)) {
		q->h.size = old;
		return -1;
	}
	__atomic_store_n(&q->image.blk.size, size, __ATOMIC_RELEASE);
	return 0;
}

int qcow2_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	int rc;

	if (size % 512 != 0)
		return err_set(err, EINVAL, "The new size must be a multiple of 512");
	if (q->h.version < 3 && q->h.nb_snapshots)
		return err_set(err, ENOTSUP, "Can't resize a v2 image which has snapshots");
	/* where data is preallocated it hides what is below */
	if ((p & PREALLOC_ZERO) && q->h.version < 3 &&
	    (p & ~(unsigned)PREALLOC_ZERO) <= PREALLOC_METADATA)
		return err_set(err, ENOTSUP,
			       "Failed to zero out new clusters: Operation not supported");
	if (qcow2_l1_needed(&q->h, size) > QCOW2_L1_MAX / 8 || size > INT64_MAX)
		return err_set(err, EFBIG, "Failed to grow the L1 table: %s", strerror(EFBIG));
	pthread_mutex_lock(&q->lock);
	rc = qcow2_start(q, err) || qcow2_bitmaps_resize(q, size, err) ? -1 : 0;
	if (rc == 0 && size != q->h.size)
		rc = size < q->h.size ? qcow2_shrink(q, size, err) : grow(q, size, p, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
