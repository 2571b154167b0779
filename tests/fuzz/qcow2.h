/*
 * Inputs of the qcow2 targets. One that begins with the magic is the file itself: seeds
 * with 512-byte clusters. Else the first byte is the file's size in units of 16 KiB, and
 * records follow, a big-endian number of the 64-byte line and its 64 bytes: seeds with
 * larger clusters stay small.
 */
#ifndef TESTS_FUZZ_QCOW2_H
#define TESTS_FUZZ_QCOW2_H

#include <errno.h>
#include <stdlib.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define FUZZ_LINE 64
#define FUZZ_ROOM (8u << 20)

/* A file that grows, but not to wherever a table points. */
struct fuzz_file {
	struct blk blk;
	uint8_t *data;
};

static inline int fuzz_pread(struct blk *blk, void *buf, size_t n, uint64_t off,
			     struct err *err)
{
	if (off > blk->size || n > blk->size - off)
		abort();
	memcpy(buf, ((struct fuzz_file *)blk)->data + off, n);
	return 0;
}

static inline int fuzz_resize(struct blk *blk, uint64_t size, enum blk_prealloc p,
			      struct err *err)
{
	struct fuzz_file *f = (struct fuzz_file *)blk;

	if (size > FUZZ_ROOM)
		return err_set(err, ENOSPC, "no room");
	f->data = realloc(f->data, size + 1);
	if (!f->data)
		abort();
	if (size > blk->size)
		memset(f->data + blk->size, 0, size - blk->size);
	blk->size = size;
	return 0;
}

static inline int fuzz_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			      unsigned flags, struct err *err)
{
	if (off > FUZZ_ROOM || n > FUZZ_ROOM - off)
		return err_set(err, ENOSPC, "no room");
	if (off + n > blk->size)
		fuzz_resize(blk, off + n, PREALLOC_OFF, err);
	memcpy(((struct fuzz_file *)blk)->data + off, buf, n);
	return 0;
}

static inline int fuzz_flush(struct blk *blk, struct err *err)
{
	return 0;
}

static inline int fuzz_close(struct blk *blk, struct err *err)
{
	free(((struct fuzz_file *)blk)->data);
	free(blk);
	return 0;
}

static const struct blk_ops fuzz_ops = {
	.name = "fuzz",
	.serial = true,
	.pread = fuzz_pread,
	.pwrite = fuzz_pwrite,
	.flush = fuzz_flush,
	.resize = fuzz_resize,
	.close = fuzz_close,
};

static inline struct blk *fuzz_new(size_t size)
{
	struct fuzz_file *f = calloc(1, sizeof(*f));
	struct err err;

	if (!f || blk_init(&f->blk, &fuzz_ops, "fuzz", &err) ||
	    fuzz_resize(&f->blk, size, PREALLOC_OFF, &err))
		abort();
	f->blk.caps = BLK_CAN_WRITE | BLK_CAN_GROW;
	return &f->blk;
}

static inline struct blk *fuzz_file(const uint8_t *data, size_t n)
{
	size_t size = (size_t)data[0] << 14, lines = size / FUZZ_LINE;
	struct blk *blk;

	if (get_be32(data) == QCOW2_MAGIC) {
		blk = fuzz_new(n);
		memcpy(((struct fuzz_file *)blk)->data, data, n);
		return blk;
	}
	blk = fuzz_new(size);
	for (size_t at = 1; lines && n - at >= 2 + FUZZ_LINE; at += 2 + FUZZ_LINE)
		memcpy(((struct fuzz_file *)blk)->data +
			       get_be16(data + at) % lines * FUZZ_LINE,
		       data + at + 2, FUZZ_LINE);
	return blk;
}

/* Opens it; a data file that it needs is an empty one. NULL: it cannot be opened. */
static inline struct image *fuzz_open(const uint8_t *data, size_t n, unsigned flags)
{
	struct image *image = NULL;
	struct err err;
	struct blk *file = fuzz_file(data, n);

	if (format_qcow2.open(file, NULL, flags, &image, &err)) {
		blk_close(file, &err);
		return NULL;
	}
	if (image->needs_data)
		image->data = fuzz_new(0);
	return image;
}

#endif
