/*
 * More room: a larger L1 table, and preallocation of what is new.
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

/* Entries for n clusters from guest offset `off` on, all in one L2 table, at `host`. In
 * extended entries no subcluster counts as written. */
static void set_entries(struct qcow2 *q, uint8_t *table, uint64_t off, uint64_t n,
			uint64_t host)
{
	for (uint64_t i = 0; i < n; i++, off += q->cluster_size, host += q->cluster_size)
		put_be64(qcow2_entry_at(q, table, off), host | QCOW2_COPIED);
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

/* Room in the file itself, in one piece. */
static int prealloc_area(struct qcow2 *q, uint64_t off, uint64_t end, enum blk_prealloc p,
			 struct err *err)
{
	uint64_t n = div_up(end - off, q->cluster_size), area, area_end;
	struct blk *file = q->image.blk.lower;

	if (qcow2_alloc_area(q, n, &area, err))
		return -1;
	area_end = area + (n << q->h.cluster_bits);
	/* what lies behind the last cluster in use is nobody's; a device is as long as it is */
	if (file->caps & BLK_CAN_GROW ? blk_resize(file, area, PREALLOC_OFF, err) ||
						blk_resize(file, area_end, p, err)
				      : blk_zero(file, area, area_end - area, 0, err))
		return err_prefix(err, "Could not preallocate data");
	/* the clusters of the old refcount table are to be had again */
	if (qcow2_sync(q, false, err))
		return -1;
	return prealloc_range(q, off, end, &area, err);
}

/* The rest of the last cluster is the caller's: it may have to be copied. */
static int hide_below(struct qcow2 *q, uint64_t size, struct err *err)
{
	uint64_t unit = qcow2_ext_l2(q) ? q->image.blk.part : q->cluster_size;

	return qcow2_zero_held(q, round_up(q->h.size, unit), round_up(size, q->cluster_size), 0,
			       err);
}

static int resize_held(struct qcow2 *q, uint64_t size, enum blk_prealloc mode, struct err *err)
{
	enum blk_prealloc p = mode & ~(unsigned)PREALLOC_ZERO;
	uint64_t need = qcow2_l1_needed(&q->h, size);
	uint64_t from = round_up(q->h.size, q->cluster_size), old = q->h.size;

	if (qcow2_start(q, err) || qcow2_bitmaps_resize(q, size, err))
		return -1;
	if (need > q->h.l1_size && grow_l1(q, need, err))
		return -1;
	if (qcow2_external(q) &&
	    blk_resize(q->image.data, size, p == PREALLOC_METADATA ? PREALLOC_OFF : p, err))
		return -1;
	if (p != PREALLOC_OFF && from < size) {
		bool area = p != PREALLOC_METADATA && !qcow2_external(q);

		if (area ? prealloc_area(q, from, size, p, err)
			 : prealloc_range(q, from, size, NULL, err))
			return -1;
	}
	if ((mode & PREALLOC_ZERO) && (p == PREALLOC_OFF || qcow2_ext_l2(q)) &&
	    (hide_below(q, size, err) || qcow2_sync(q, true, err)))
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
	if (size < blk->size)
		return err_set(err, ENOTSUP, "qcow2 images cannot be made smaller");
	if (size > blk->size && q->h.version < 3 && q->h.nb_snapshots)
		return err_set(err, ENOTSUP, "Can't resize a v2 image which has snapshots");
	if ((p & PREALLOC_ZERO) && q->h.version < 3)
		return err_set(err, ENOTSUP,
			       "qcow2 version 2 has no zero clusters over a backing file");
	if (qcow2_l1_needed(&q->h, size) > QCOW2_L1_MAX / 8 || size > INT64_MAX)
		return err_set(err, EFBIG,
			       "The image size is too large for file format 'qcow2' (try "
			       "using a larger cluster size)");
	pthread_mutex_lock(&q->lock);
	rc = resize_held(q, size, p, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
