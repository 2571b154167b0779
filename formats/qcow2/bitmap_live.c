/*
 * Bitmaps that are enabled follow every write. Before the first one the directory says, on
 * the disk, that they are in use; what is touched is kept in memory; at the end it is stored
 * with what they had, by one new directory that says they are not in use any more. Whoever
 * finds them in use, after a crash, knows that they are not to be trusted.
 */
#include "formats/qcow2/bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

static bool follows(const struct qcow2_bitmap *b)
{
	return (b->flags & BITMAP_AUTO) && !b->broken;
}

void qcow2_bitmaps_track(struct qcow2 *q)
{
	unsigned state = QCOW2_TRACK_NONE;

	for (size_t i = 0; i < q->nbitmap && state != QCOW2_TRACK_BEGIN; i++)
		if (follows(&q->bitmap[i]))
			state = q->bitmap[i].held && q->bitmap[i].touched && !q->unsaid
					? QCOW2_TRACK_ON
					: QCOW2_TRACK_BEGIN;
	if (!(q->flags & IMAGE_WRITE) || (q->flags & IMAGE_CHECK))
		state = QCOW2_TRACK_NONE;
	__atomic_store_n(&q->tracking, state, __ATOMIC_RELEASE);
}

/* The directory where it is, with other flags. */
static int rewrite_flags(struct qcow2 *q, struct err *err)
{
	AUTO_FREE uint8_t *dir = NULL;
	size_t len;

	dir = qcow2_bitmaps_encode(q->bitmap, q->nbitmap, &len, err);
	if (!dir)
		return -1;
	if (len != q->extra.bitmap_dir_size)
		return err_set(err, EINVAL,
			       "The bitmap directory has %" PRIu64
			       " bytes, its entries have %zu",
			       q->extra.bitmap_dir_size, len);
	if (qcow2_metadata_write(q, QCOW2_META_BITMAP_DIR, dir, len, q->extra.bitmap_dir_off,
				 err))
		return -1;
	return q->flags & IMAGE_NEW ? 0 : blk_flush(q->image.blk.lower, err);
}

/* In use from now on: those that follow, or all. */
static int hold(struct qcow2 *q, bool all, struct err *err)
{
	bool more = q->unsaid;

	if (qcow2_start(q, err))
		return -1;
	for (size_t i = 0; i < q->nbitmap; i++) {
		struct qcow2_bitmap *b = &q->bitmap[i];

		if (follows(b) && !b->touched) {
			b->touched = dirty_new(qcow2_bitmap_disk(q), b->granularity_bits, err);
			if (!b->touched)
				return -1;
		}
		if (b->broken || b->held || !(all || follows(b)))
			continue;
		b->held = true;
		more = true;
	}
	/* after a failure they stay held here, whatever the disk says: they are stored, and
	 * it is said again before the next write */
	q->unsaid = more && rewrite_flags(q, err);
	qcow2_bitmaps_track(q);
	return q->unsaid ? -1 : 0;
}

int qcow2_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	unsigned state = __atomic_load_n(&q->tracking, __ATOMIC_ACQUIRE);

	if (qcow2_lost(q, err))
		return -1;
	if (state == QCOW2_TRACK_NONE)
		return 0;
	if (state == QCOW2_TRACK_BEGIN) {
		int rc;

		pthread_mutex_lock(&q->lock);
		rc = q->tracking == QCOW2_TRACK_BEGIN ? hold(q, false, err) : 0;
		pthread_mutex_unlock(&q->lock);
		if (rc)
			return err_prefix(err, "The bitmaps cannot be kept");
	}
	/* the list stays as it is while there is I/O */
	for (size_t i = 0; i < q->nbitmap; i++)
		if (follows(&q->bitmap[i]) && dirty_set(q->bitmap[i].touched, off, len, err))
			return -1;
	return 0;
}

static int can_resize(const struct qcow2 *q, uint64_t size, struct err *err)
{
	for (size_t i = 0; i < q->nbitmap; i++) {
		const struct qcow2_bitmap *b = &q->bitmap[i];

		if (b->broken)
			return qcow2_bitmap_broken(b, err);
		if (size == 0)
			return err_set(err, ENOTSUP,
				       "Bitmap '%s' cannot be kept on a disk of size 0: remove "
				       "it first",
				       b->name);
		if (qcow2_bitmap_bytes(size, b->granularity_bits) > BITMAP_BYTES_MAX)
			return err_set(err, EFBIG,
				       "Too much space will be occupied by the bitmap '%s': "
				       "remove it, or use a larger granularity",
				       b->name);
	}
	return 0;
}

int qcow2_bitmaps_resize(struct qcow2 *q, uint64_t size, struct err *err)
{
	if (can_resize(q, size, err))
		return -1;
	if (q->nbitmap == 0 || size == qcow2_bitmap_disk(q))
		return 0;
	if (hold(q, true, err))
		return -1;
	for (size_t i = 0; i < q->nbitmap; i++)
		if (q->bitmap[i].touched && dirty_resize(q->bitmap[i].touched, size, err))
			return -1;
	return 0;
}

static int store(struct qcow2 *q, struct err *err)
{
	struct bitmap_edit e;

	if (qcow2_bitmap_begin(q, &e, err))
		return -1;
	for (size_t i = 0; i < e.n; i++) {
		struct qcow2_bitmap *b = &e.list[i];

		/* after a resize that failed */
		if (b->held && b->touched && dirty_size(b->touched) != qcow2_bitmap_disk(q) &&
		    dirty_resize(b->touched, qcow2_bitmap_disk(q), err))
			goto fail;
		if (b->held && qcow2_bitmap_write(&e, i, b->touched, false, err))
			goto fail;
		b->held = false;
	}
	return qcow2_bitmap_commit(&e, err);
fail:
	qcow2_bitmap_abort(&e);
	return -1;
}

int qcow2_bitmaps_finish(struct qcow2 *q, struct err *err)
{
	bool any = false;

	for (size_t i = 0; i < q->nbitmap; i++)
		any |= q->bitmap[i].held;
	/* after a failure that was told already they stay in use */
	if (!any || q->dead || q->broken)
		return 0;
	if (store(q, err))
		return err_prefix(err, "%s: Lost persistent bitmaps", q->image.blk.name);
	for (size_t i = 0; i < q->nbitmap; i++) {
		dirty_free(q->bitmap[i].touched);
		q->bitmap[i].touched = NULL;
	}
	qcow2_bitmaps_track(q);
	return 0;
}
