/*
 * What of a writer's work goes to the disk when.
 *
 * Every reference follows what it refers to: guest data, reference counts, L2 tables, the
 * L1 table, with a flush between where something changed. Only then clusters that were
 * replaced are freed, so that none is reused while the disk may still point to it. A
 * crash leaks clusters at worst. With lazy refcounts the counts may come late: the dirty
 * bit says so. A new image (IMAGE_NEW) is synced as a whole before it gets its name, and
 * waits for nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define L1_BLOCK 512 /* entries that are written together: 4 KiB */

static int mark_corrupt(struct qcow2 *q, struct err *err)
{
	if ((q->flags & IMAGE_NEW) || q->h.version < 3 ||
	    (q->h.incompat & QCOW2_INCOMPAT_CORRUPT))
		return 0;
	q->h.incompat |= QCOW2_INCOMPAT_CORRUPT;
	return qcow2_header_update(q, err) || blk_flush(q->image.blk.lower, err) ? -1 : 0;
}

/* Says it once; false where nobody listens. */
static bool tell(struct qcow2 *q, bool writing, const char *text)
{
	if (q->told)
		return err_has_notice();
	q->told = true;
	return writing ? err_notice("qcow2: Marking image as corrupt: %s; further corruption "
				    "events will be suppressed",
				    text)
		       : err_notice("qcow2: Image is corrupt: %s; further non-fatal corruption "
				    "events will be suppressed",
				    text);
}

int qcow2_corrupt(struct qcow2 *q, struct err *err, const char *fmt, ...)
{
	bool writing = (q->flags & IMAGE_WRITE) && !(q->flags & IMAGE_CHECK), told;
	char text[256];
	struct err later;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	told = !(q->flags & IMAGE_CHECK) && tell(q, writing, text);
	if (writing && !q->dead) {
		q->dead = true;
		mark_corrupt(q, &later);
	}
	if (told)
		return err_set(err, EIO, "%s", strerror(EIO));
	return err_set(err, EIO, "%s: qcow2: Image is corrupt: %s", q->image.blk.name, text);
}

static int check_alive(const struct qcow2 *q, struct err *err)
{
	bool corrupt = (q->h.incompat & QCOW2_INCOMPAT_CORRUPT) && !(q->flags & IMAGE_CHECK);

	if (!q->dead && !corrupt)
		return 0;
	return err_set(err, EIO, "%s: qcow2: Image is corrupt; it is not written any more",
		       q->image.blk.name);
}

int qcow2_lost(const struct qcow2 *q, struct err *err)
{
	if (!__atomic_load_n(&q->lost, __ATOMIC_RELAXED))
		return 0;
	return err_set(err, EIO,
		       "%s: An earlier error left the header unknown: the image is not "
		       "written any more",
		       q->image.blk.name);
}

int qcow2_start(struct qcow2 *q, struct err *err)
{
	struct qcow2_header *h = &q->h;
	struct qcow2_header old = *h;

	if (h->crypt != QCOW2_CRYPT_NONE && !q->sector && !(q->flags & IMAGE_CHECK))
		return qcow2_need_key(err);
	if (qcow2_lost(q, err))
		return -1;
	if (q->broken)
		return err_set(err, EIO,
			       "An earlier error left the reference counts unfinished: no more "
			       "clusters are allocated");
	if (check_alive(q, err))
		return -1;
	if (q->started)
		return 0;
	if (q->tuning.lazy && !(q->flags & IMAGE_NEW))
		h->incompat |= QCOW2_INCOMPAT_DIRTY;
	if (old.incompat != h->incompat) {
		if (qcow2_header_update(q, err) || blk_flush(q->image.blk.lower, err)) {
			*h = old;
			return -1;
		}
	}
	cache_data_in(q->l2_cache, q->image.data);
	if (!(h->incompat & QCOW2_INCOMPAT_DIRTY))
		cache_depend(q->l2_cache, q->ref_cache);
	q->started = true;
	return 0;
}

void qcow2_l1_set(struct qcow2 *q, uint64_t i, uint64_t entry)
{
	qcow2_overlap_l2(q, q->l1[i], entry);
	q->l1[i] = entry;
	q->l1_dirty[i / L1_BLOCK / 8] |= (uint8_t)(1 << i / L1_BLOCK % 8);
	q->l1_changed = true;
}

static int write_l1(struct qcow2 *q, struct err *err)
{
	uint8_t buf[L1_BLOCK * 8];
	uint64_t n = q->h.l1_size;

	for (uint64_t i = 0; i < n; i += L1_BLOCK) {
		uint8_t *dirty = &q->l1_dirty[i / L1_BLOCK / 8];
		uint8_t bit = (uint8_t)(1 << i / L1_BLOCK % 8);
		uint64_t part = MIN(n - i, L1_BLOCK);

		if (!(*dirty & bit))
			continue;
		for (uint64_t k = 0; k < part; k++)
			put_be64(buf + 8 * k, q->l1[i + k]);
		if (qcow2_metadata_write(q, QCOW2_META_ACTIVE_L1, buf, part * 8,
					 q->h.l1_off + i * 8, err))
			return -1;
		*dirty &= (uint8_t)~bit;
	}
	q->l1_changed = false;
	return 0;
}

void qcow2_punch(struct qcow2 *q, uint64_t off, uint64_t len)
{
	struct blk *file = q->image.blk.lower;
	uint64_t size = blk_size(file);
	struct err later;

	if (off < size && qcow2_overlap_check(q, 0, off, len, &later) == 0)
		blk_zero(file, off, MIN(len, size - off), BLK_UNMAP | BLK_ADVISE | BLK_CHEAP,
			 &later);
}

static void punch_run(struct qcow2 *q, uint64_t cl, uint64_t n)
{
	qcow2_punch(q, cl << q->h.cluster_bits, n << q->h.cluster_bits);
}

/* Gives the space of clusters that nobody refers to any more back to the file system. */
static void punch(struct qcow2 *q, const struct qcow2_freed *f)
{
	uint64_t cl = f->off >> q->h.cluster_bits, from = cl;
	uint64_t last = (f->off + f->len - 1) >> q->h.cluster_bits, refs;
	struct err later;

	for (; cl <= last; cl++) {
		if (qcow2_ref_of(q, cl, &refs, &later) == 0 && refs == 0)
			continue;
		punch_run(q, from, cl - from);
		from = cl + 1;
	}
	punch_run(q, from, cl - from);
}

static int free_all(struct qcow2 *q, struct err *err)
{
	struct err later;
	int rc = 0;

	for (size_t i = 0; i < q->nlater; i++) {
		const struct qcow2_freed *f = &q->later[i];

		if (qcow2_free_now(q, f->off, f->len, rc ? &later : err))
			rc = -1;
		else if (qcow2_passes(q, f->why))
			punch(q, f);
	}
	q->nlater = 0;
	q->later_bytes = 0;
	return rc;
}

int qcow2_sync(struct qcow2 *q, bool stable, struct err *err)
{
	struct blk *file = q->image.blk.lower;
	bool wait = !(q->flags & IMAGE_NEW);

	if (check_alive(q, err) || qcow2_lost(q, err))
		return -1;
	/* the caches flush the file where one refers to the other, or to data */
	if (cache_flush(q->ref_cache, err) || cache_flush(q->l2_cache, err))
		return -1;
	if (q->l1_changed && ((wait && blk_flush(file, err)) || write_l1(q, err)))
		return -1;
	if ((stable || q->nlater) && wait && blk_flush(file, err))
		return -1;
	return q->nlater ? free_all(q, err) : 0;
}

int qcow2_flush(struct blk *blk, struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	int rc;

	if (!(q->flags & IMAGE_WRITE) || !q->l1)
		return 0;
	pthread_mutex_lock(&q->lock);
	rc = qcow2_sync(q, true, err);
	pthread_mutex_unlock(&q->lock);
	if (rc)
		return -1;
	if (q->flags & IMAGE_NEW)
		return blk_flush(blk->lower, err) ||
				       (q->image.data && blk_flush(q->image.data, err))
			       ? -1
			       : 0;
	/* data that was written in place */
	return q->image.data ? blk_flush(q->image.data, err) : 0;
}

static int set_length(struct qcow2 *q, struct err *err)
{
	struct blk *file = q->image.blk.lower;
	uint64_t end = q->file_end;

	if (q->ahead && blk_size(file) == q->ahead)
		end = MAX(end, q->fresh_off);
	else if (blk_size(file) >= end)
		return 0;
	return blk_resize(file, end, PREALLOC_OFF, err);
}

/* The end of a writer: all is written, the counts are right, the file is as long as its
 * clusters are. */
int qcow2_finish(struct qcow2 *q, struct err *err)
{
	struct blk *file = q->image.blk.lower;

	if (!q->started)
		return 0;
	if (check_alive(q, err) || qcow2_bitmaps_finish(q, err) || qcow2_sync(q, true, err) ||
	    cache_flush(q->ref_cache, err))
		return -1;
	if ((file->caps & BLK_CAN_GROW) && set_length(q, err))
		return -1;
	if (!(q->h.incompat & QCOW2_INCOMPAT_DIRTY) || (q->flags & IMAGE_CHECK))
		return 0;
	if (blk_flush(file, err))
		return -1;
	q->h.incompat &= ~(uint64_t)QCOW2_INCOMPAT_DIRTY;
	return qcow2_header_update(q, err);
}
