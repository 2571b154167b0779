/*
 * Changes of an image as a whole: another size, another backing file. What the header says
 * changes with one write of its sector, after all that it refers to is stable.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qed/qed.h"
#include "lib/mem.h"

/* Where there is no room in the header's sector: from here on. A name has room between this
 * and the end of the smallest cluster, and before this. */
#define FAR_NAME 2048u

static int header_now(struct qed *q, struct err *err)
{
	struct blk *lower = q->b.image.blk.lower;

	if (!(q->flags & IMAGE_NEW) && blk_flush(lower, err))
		return -1;
	if (qed_header_write(q, err))
		return -1;
	return q->flags & IMAGE_NEW ? 0 : blk_flush(lower, err);
}

/* ---- size -------------------------------------------------------------------------- */

static int grow(struct qed *q, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct blk *blk = &q->b.image.blk;
	struct blocks *b = &q->b.blocks;
	uint64_t old = b->size, from = round_up(old, b->block), to;

	to = round_up(MIN(size, blk->below), b->block);
	b->size = MAX(size, to);
	if ((p & PREALLOC_ZERO) && from < to &&
	    (blocks_zero(b, from, to - from, 0, err) || blocks_flush(b, err))) {
		b->size = old;
		return -1;
	}
	q->h.size = b->size = size;
	if (header_now(q, err)) {
		q->h.size = b->size = old;
		return -1;
	}
	__atomic_store_n(&blk->size, size, __ATOMIC_RELEASE);
	return 0;
}

int qed_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	static const char *const mode[] = {"off", "metadata", "falloc", "full"};
	struct qed *q = (struct qed *)blk;
	unsigned prealloc = p & ~(unsigned)PREALLOC_ZERO;

	if (prealloc != PREALLOC_OFF)
		return err_set(err, ENOTSUP, "Unsupported preallocation mode '%s'",
			       mode[prealloc]);
	if (size % 512 != 0 || size > qed_size_max(&q->h))
		return err_set(err, EINVAL, "Invalid image size specified");
	if (size < q->h.size)
		return err_set(err, ENOTSUP, "Shrinking images is currently not supported");
	return size == q->h.size ? 0 : grow(q, size, p, err);
}

/* ---- the backing file ---------------------------------------------------------------- */

/* The name is put where the one that is there now is not. */
static int put_name(struct qed *q, const char *file, struct err *err)
{
	uint32_t n = (uint32_t)strlen(file), at = QED_HEADER_LEN;

	if (at + n <= QED_SECTOR) {
		memcpy(q->first + at, file, n);
	} else {
		if ((q->h.features & QED_BACKING) && q->h.backing_off < at + n &&
		    q->h.backing_off + q->h.backing_len > at)
			at = FAR_NAME;
		if (blk_pwrite(q->b.image.blk.lower, file, n, at, 0, err))
			return -1;
		memcpy(q->first + MIN(at, QED_SECTOR), file,
		       at < QED_SECTOR ? QED_SECTOR - at : 0);
	}
	q->h.backing_off = at;
	q->h.backing_len = n;
	return 0;
}

static int change_header(struct qed *q, const char *file, const char *format, struct err *err)
{
	struct qed_header old = q->h;
	uint8_t first[QED_SECTOR];

	memcpy(first, q->first, sizeof(first));
	if (file && put_name(q, file, err))
		return -1;
	if (!file)
		q->h.backing_off = q->h.backing_len = 0;
	q->h.features &= ~(uint64_t)(QED_BACKING | QED_NO_PROBE);
	if (file)
		q->h.features |= QED_BACKING;
	if (file && format && strcmp(format, "raw") == 0)
		q->h.features |= QED_NO_PROBE;
	if (header_now(q, err) == 0)
		return 0;
	q->h = old;
	memcpy(q->first, first, sizeof(first));
	return -1;
}

int qed_set_backing(struct image *image, const char *file, const char *format, struct err *err)
{
	struct qed *q = (struct qed *)image;
	AUTO_FREE char *name = NULL;
	AUTO_FREE char *raw = NULL;

	file = file && file[0] ? file : NULL;
	if (file && strlen(file) > QED_BACKING_MAX)
		return err_set(err, EINVAL,
			       "The backing file's name has %zu bytes, %d are possible",
			       strlen(file), QED_BACKING_MAX);
	name = file ? strdup(file) : NULL;
	raw = file && format && strcmp(format, "raw") == 0 ? strdup("raw") : NULL;
	if (file && !name)
		return err_nomem(err, strlen(file), "a file name");
	/* what the image has of its own must be there before it loses what was below */
	if (blocks_flush(&q->b.blocks, err) || change_header(q, file, format, err))
		return -1;
	free(image->backing);
	free(image->backing_format);
	image->backing = name;
	image->backing_format = raw;
	name = raw = NULL;
	return 0;
}
