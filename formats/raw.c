#include "formats/raw.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/io/io.h"
#include "lib/mem.h"

#define SECTOR 512

struct raw {
	struct image image;
	bool fixed; /* a window with a size of its own */
};

static int raw_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	return blk_pread(blk->lower, buf, n, off, err);
}

/* A write past the end has grown lower; several threads may be here. */
static void follow(struct blk *blk, uint64_t end)
{
	uint64_t size = __atomic_load_n(&blk->size, __ATOMIC_ACQUIRE);

	end = round_up(end, SECTOR);
	while (end > size && !__atomic_compare_exchange_n(&blk->size, &size, end, false,
							  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

static int raw_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		      struct err *err)
{
	if (blk_pwrite(blk->lower, buf, n, off, flags, err))
		return -1;
	follow(blk, off + n);
	return 0;
}

static int raw_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		    struct err *err)
{
	if (blk_zero(blk->lower, off, len, flags, err))
		return -1;
	follow(blk, off + len);
	return 0;
}

/* Behind the end of the file, up to the full sector: a hole that goes on from its last
 * byte. */
static int tail_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	uint64_t end = blk_size(blk->lower);

	if (end > 0 && blk_extent(blk->lower, end - 1, 1, out, err))
		return -1;
	out->host += off - out->off;
	out->off = off;
	out->len = len;
	out->flags = EXT_ZERO;
	return 0;
}

static int raw_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		      struct err *err)
{
	uint64_t end = blk_size(blk->lower);

	if (off >= end)
		return tail_extent(blk, off, len, out, err);
	if (blk_extent(blk->lower, off, len, out, err))
		return -1;
	if ((out->flags & EXT_ZERO) && off + out->len == end)
		out->len = len;
	return 0;
}

/* Every place is its own: there is nothing to settle and nothing to give back. */
static int raw_claim(struct blk *blk, struct claim *c, struct err *err)
{
	if (c->packed)
		return err_set(err, ENOTSUP, "Format %s has no compressed data",
			       blk->ops->name);
	c->run = malloc(sizeof(*c->run));
	if (!c->run)
		return err_nomem(err, sizeof(*c->run), "a claim");
	c->nrun = 1;
	c->home = blk->lower;
	c->run[0] = (struct claim_run){.off = c->off, .host = c->off, .len = c->len};
	return 0;
}

static int raw_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	if (((struct raw *)blk)->fixed)
		return err_set(err, ENOTSUP, "Cannot resize fixed-size raw disks");
	if (blk_resize(blk->lower, size, p, err)) {
		/* the peer's words for an image; those for a new file are others */
		if (p == PREALLOC_METADATA && strncmp(err->text, "Unsupported", 11) == 0)
			err_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
		return -1;
	}
	blk->size = round_up(size, SECTOR);
	return 0;
}

static int raw_fd(struct blk *blk, uint64_t *base)
{
	return blk_fd(blk->lower, base);
}

static int raw_close(struct blk *blk, struct err *err)
{
	free(blk);
	return 0;
}

static const struct blk_ops raw_ops = {
	.name = "raw",
	.pread = raw_pread,
	.pwrite = raw_pwrite,
	.zero = raw_zero,
	.extent = raw_extent,
	.claim = raw_claim,
	.resize = raw_resize,
	.fd = raw_fd,
	.close = raw_close,
};

struct image *raw_wrap(struct blk *lower, const struct format *format, struct err *err)
{
	struct raw *raw = image_new(sizeof(*raw), &raw_ops, format, lower, err);
	struct image *image;

	if (!raw)
		return NULL;
	image = &raw->image;
	image->blk.size = round_up(blk_size(lower), SECTOR);
	image->blk.align = lower->align;
	/* Any byte can be written alone, but what is bounced below is not cut up here. */
	image->blk.grain = lower->align;
	image->blk.caps = lower->caps;
	return image;
}

static int check_window(uint64_t off, uint64_t size, uint64_t whole, struct err *err)
{
	if (off > whole)
		return err_set(err, EINVAL,
			       "Offset (%" PRIu64
			       ") cannot be greater than size of the containing file (%" PRIu64
			       ")",
			       off, whole);
	if (size == UINT64_MAX)
		return 0;
	if (size > whole - off)
		return err_set(err, EINVAL,
			       "The sum of offset (%" PRIu64 ") and size (%" PRIu64
			       ") has to be smaller or equal to the  actual size of the "
			       "containing file (%" PRIu64 ")",
			       off, size, whole);
	if (size % SECTOR != 0)
		return err_set(err, EINVAL, "Specified size is not multiple of %d", SECTOR);
	return 0;
}

/* Puts the window between image and file; lower stays the caller's if it fails. A window
 * may reach into the missing tail of the last sector. */
static int open_window(struct image *image, uint64_t off, uint64_t size, struct err *err)
{
	uint64_t have = blk_size(image->blk.lower), from = MIN(off, have);
	bool fixed = size != UINT64_MAX;
	struct blk *part = region_new(image->blk.lower, from,
				      fixed ? MIN(size, have - from) : UINT64_MAX, err);

	if (!part)
		return -1;
	((struct raw *)image)->fixed = fixed;
	image->blk.lower = part;
	image->blk.size = fixed ? size : round_up(image->blk.size - off, SECTOR);
	image->blk.align = part->align;
	image->blk.grain = part->align;
	image->blk.caps = part->caps;
	return 0;
}

static int raw_open(struct blk *lower, const struct opts *opts, unsigned flags,
		    struct image **out, struct err *err)
{
	uint64_t off = 0, size = UINT64_MAX;
	bool window = opts_has(opts, "offset") || opts_has(opts, "size");
	struct image *image;

	if (opts_size(opts, "offset", &off, err) || opts_size(opts, "size", &size, err))
		return -1;
	if (window && check_window(off, size, round_up(blk_size(lower), SECTOR), err))
		return -1;
	image = raw_wrap(lower, &format_raw, err);
	if (!image)
		return -1;
	if (window && open_window(image, off, size, err))
		return image_give_up(image);
	*out = image;
	return 0;
}

/* Takes what nobody else knows. */
static int raw_probe(const uint8_t *head, size_t n, uint64_t size)
{
	return 1;
}

static int raw_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	if (*size > INT64_MAX - (SECTOR - 1))
		return err_set(err, EINVAL, "Could not resize file: Invalid argument");
	*size = round_up(*size, SECTOR);
	return 0;
}

static int raw_create(const struct create *c, struct err *err)
{
	static const enum blk_prealloc kind[] = {PREALLOC_OFF, PREALLOC_FALLOC, PREALLOC_FULL,
						 PREALLOC_METADATA};
	const char *mode = opts_get(c->opts, "preallocation");
	uint64_t size = c->size;
	int prealloc = 0;

	if (raw_create_check(c->opts, &size, err))
		return -1;
	/* No other driver words these so. */
	if (opts_choice(c->opts, "preallocation", "off|falloc|full|metadata", &prealloc, err))
		return err_set(err, EINVAL, "invalid parameter value: %s", mode);
	if (kind[prealloc] == PREALLOC_METADATA)
		return err_set(err, ENOTSUP, "Unsupported preallocation mode: %s", mode);
	if (!(c->lower->caps & BLK_CAN_GROW)) {
		if (kind[prealloc] != PREALLOC_OFF)
			return err_set(err, ENOTSUP, "Unsupported preallocation mode '%s'",
				       mode);
		/* A device is as large as it is. */
		return size > c->lower->size ? err_set(err, EINVAL, "Cannot grow device files")
					     : 0;
	}
	if (blk_resize(c->lower, size, kind[prealloc], err) == 0)
		return 0;
	if (err->num == EFBIG)
		err_set(err, EFBIG, "The image size is too large for file format 'raw'");
	return -1;
}

static int raw_measure(const struct opts *opts, uint64_t size, struct blk *src,
		       struct measure *out, struct err *err)
{
	out->required = round_up(src ? src->size : size, SECTOR);
	out->fully_allocated = out->required;
	return 0;
}

static int raw_info(struct image *image, struct info *out, struct err *err)
{
	return 0;
}

static const struct opt raw_open_opts[] = {
	{.name = "offset",
	 .type = OPT_SIZE,
	 .arg = "OFF",
	 .help = "first byte of the disk in the file"},
	{.name = "size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "size of the disk; to the end of the file if absent"},
	{0},
};

static const struct opt raw_create_opts[] = {
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{0},
};

static const char *const raw_extensions[] = {"raw", "img", "iso", "bin", NULL};

const struct format format_raw = {
	.name = "raw",
	.summary = "the bytes of the disk as they are",
	.extensions = raw_extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_ANY,
	.open_opts = raw_open_opts,
	.create_opts = raw_create_opts,
	.probe = raw_probe,
	.open = raw_open,
	.create = raw_create,
	.create_check = raw_create_check,
	.measure = raw_measure,
	.info = raw_info,
};
