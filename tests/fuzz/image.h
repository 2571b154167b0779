/*
 * What the targets of image formats have in common: a file from an input, and reading and
 * writing an image whose metadata is whatever it is. A target of a format is
 *
 *	#include "tests/fuzz/image.h"
 *	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
 *	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
 *	{
 *		return fuzz_image_read(&format_x, data, n) |
 *		       fuzz_image_write(&format_x, data, n);
 *	}
 *
 * An input that the format's probe takes is the file itself, as is any of a format without one.
 * Else the first byte is the file's size in units of 16 KiB, and records follow, a big-endian
 * number of the 64-byte line and its 64 bytes: so seeds with large blocks stay small
 * (tests/fuzz/pack.py makes them).
 */
#ifndef TESTS_FUZZ_IMAGE_H
#define TESTS_FUZZ_IMAGE_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/format.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/mem.h"

#define FUZZ_LINE 64
#define FUZZ_ROOM (8u << 20)

/* A file that grows, but not to wherever a table points. */
struct fuzz_file {
	struct blk blk;
	uint8_t *data;
	uint64_t room;
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
	if (!f->data || size > f->room) {
		/* of large ones most is never touched */
		uint64_t room = size > FUZZ_ROOM / 4 ? FUZZ_ROOM : size;
		uint8_t *more = calloc(1, room + 1);

		if (!more)
			abort();
		if (f->data)
			memcpy(more, f->data, blk->size);
		free(f->data);
		f->data = more;
		f->room = room;
	} else if (size < blk->size) {
		memset(f->data + size, 0, blk->size - size);
	}
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

/* A target may set it: what makes the file a better one - checksums, its size. */
static void (*fuzz_mend)(struct blk *blk) __attribute__((unused));

static inline struct blk *fuzz_file(const struct format *format, const uint8_t *data, size_t n)
{
	size_t size = (size_t)data[0] << 14, lines = size / FUZZ_LINE;
	struct blk *blk;

	if (!format->probe || format->probe(data, n, n) >= 50) {
		blk = fuzz_new(n);
		memcpy(((struct fuzz_file *)blk)->data, data, n);
		if (fuzz_mend)
			fuzz_mend(blk);
		return blk;
	}
	blk = fuzz_new(size);
	for (size_t at = 1; lines && n - at >= 2 + FUZZ_LINE; at += 2 + FUZZ_LINE)
		memcpy(((struct fuzz_file *)blk)->data +
			       get_be16(data + at) % lines * FUZZ_LINE,
		       data + at + 2, FUZZ_LINE);
	if (fuzz_mend)
		fuzz_mend(blk);
	return blk;
}

/* Opens it; other files that it needs are empty ones. NULL: it cannot be opened. */
static inline struct image *fuzz_open(const struct format *format, const uint8_t *data,
				      size_t n, unsigned flags)
{
	struct image *image = NULL;
	struct err err;
	struct blk *file = fuzz_file(format, data, n);
	struct opts *none = opts_new(&err);
	int rc;

	if (!none)
		abort();
	rc = format->open(file, none, flags, &image, &err);
	opts_free(none);
	if (rc) {
		blk_close(file, &err);
		return NULL;
	}
	if (image->needs_data)
		image->data = fuzz_new(0);
	for (size_t i = 0; i < image->nfile; i++)
		image->file[i].blk = fuzz_new(0);
	if (format->attached && format->attached(image, &err)) {
		blk_close(&image->blk, &err);
		return NULL;
	}
	return image;
}

static inline void fuzz_look(struct blk *blk, uint64_t off)
{
	uint64_t size = blk_size(blk);
	uint8_t buf[5000];
	struct extent e;
	struct err err;

	for (int i = 0; i < 40 && off < size; i++) {
		if (blk_extent(blk, off, size - off, &e, &err))
			return;
		if (e.off != off || e.len == 0 || e.len > size - off)
			abort();
		blk_read_extent(blk, &e, buf, MIN(e.len, sizeof(buf)), off, &err);
		off += e.len;
	}
}

static inline void fuzz_info(const struct format *format, const uint8_t *data, size_t n)
{
	struct image *image = fuzz_open(format, data, n, IMAGE_NO_IO);
	struct info found = {0};
	struct err err;

	if (!image)
		return;
	if (format->info)
		format->info(image, &found, &err);
	info_free(&found);
	blk_close(&image->blk, &err);
}

static inline void fuzz_hear(void *arg, const char *line)
{
	*(size_t *)arg += strlen(line);
}

static inline void fuzz_check(const struct format *format, const uint8_t *data, size_t n)
{
	struct image *image = format->check ? fuzz_open(format, data, n, IMAGE_CHECK) : NULL;
	size_t heard = 0;
	struct check c = {.report = fuzz_hear, .arg = &heard};
	struct err err;

	if (!image)
		return;
	if (n % 4)
		c.report = NULL; /* faster: a small file can say much */
	format->check(image, &c, &err);
	blk_close(&image->blk, &err);
}

static inline void fuzz_read_and_measure(const struct format *format, const uint8_t *data,
					 size_t n)
{
	struct image *image = fuzz_open(format, data, n, 0);
	struct measure m;
	struct chain *chain;
	struct opts *opts;
	struct err err;

	if (!image)
		return;
	chain = chain_new(&image->blk, &err);
	if (!chain)
		return;
	fuzz_look(&chain->blk, 0);
	fuzz_look(&chain->blk, get_be64(data + n - 8) % (chain->blk.size + 1));
	fuzz_look(&chain->blk, chain->blk.size / 2);
	opts = opts_new(&err);
	/* the whole of it is only walked where that is not long */
	if (opts && format->measure && chain->blk.size < 1 << 30)
		format->measure(opts, 0, &chain->blk, &m, &err);
	opts_free(opts);
	blk_close(&chain->blk, &err);
}

/* Opens, info, check, reads, measure. */
static inline int fuzz_image_read(const struct format *format, const uint8_t *data, size_t n)
{
	if (n < 8 || n > 1 << 20)
		return 0;
	fuzz_info(format, data, n);
	fuzz_check(format, data, n);
	fuzz_read_and_measure(format, data, n);
	return 0;
}

static inline void fuzz_act(struct blk *blk, unsigned what, uint64_t off, uint32_t len)
{
	static uint8_t bytes[1 << 18];
	uint64_t size = blk_size(blk);
	struct err err;

	if (size == 0)
		return;
	off %= size;
	len = (uint32_t)MIN(len % sizeof(bytes) + 1, size - off);
	switch (what % 5) {
	case 0:
		blk_pwrite(blk, bytes, len, off, 0, &err);
		return;
	case 1:
		blk_zero(blk, off, len, 0, &err);
		return;
	case 2:
		blk_zero(blk, off, len, BLK_UNMAP | BLK_ADVISE, &err);
		return;
	case 3:
		blk_flush(blk, &err);
		return;
	case 4:
		blk_pread(blk, bytes, len, off, &err);
		return;
	}
}

/* The last 32 bytes of the input say what is written where. */
static inline int fuzz_image_write(const struct format *format, const uint8_t *data, size_t n)
{
	struct image *image;
	struct chain *chain;
	struct err err;

	if (n < 64 || n > 1 << 20)
		return 0;
	image = fuzz_open(format, data, n, IMAGE_WRITE);
	if (!image)
		return 0;
	chain = chain_new(&image->blk, &err);
	if (!chain)
		return 0;
	for (size_t at = n - 32; at < n; at += 8)
		fuzz_act(&chain->blk, data[at], get_be32(data + at) & 0xffffff,
			 get_be32(data + at + 4));
	blk_close(&chain->blk, &err);
	return 0;
}

#endif
