#include "lib/filter/detect.h"

#include <stdlib.h>

#include "lib/filter/pass.h"
#include "lib/zero.h"

struct detect {
	struct pass pass;
	unsigned flags;
};

static int detect_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			 unsigned flags, struct err *err)
{
	struct detect *d = (struct detect *)blk;

	if (zero_is(buf, n))
		return pass_zero(blk, off, n, flags | d->flags, err);
	return pass_pwrite(blk, buf, n, off, flags, err);
}

/* Places are the filter's own, so that what is written in place is looked at, too. */
static int detect_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			 struct err *err)
{
	if (pass_extent(blk, off, len, out, err))
		return -1;
	if (out->home) {
		out->home = blk;
		out->host = off;
	}
	return 0;
}

/* No fd: the kernel would copy past the filter. */
static const struct blk_ops detect_ops = {
	.name = "detect-zeroes",
	.pread = pass_pread,
	.pwrite = detect_pwrite,
	.zero = pass_zero,
	.extent = detect_extent,
	.resize = pass_resize,
	.close = pass_close,
};

struct blk *detect_new(struct blk *lower, bool unmap, struct err *err)
{
	struct detect *d = calloc(1, sizeof(*d));
	struct err later;

	if (!d) {
		err_nomem(err, sizeof(*d), "a filter");
		blk_close(lower, &later);
		return NULL;
	}
	if (pass_init(&d->pass, &detect_ops, lower, err)) {
		blk_close(lower, &later);
		blk_close(&d->pass.blk, &later);
		return NULL;
	}
	d->pass.blk.lower = lower;
	d->pass.blk.caps &= ~(unsigned)BLK_IS_HOST;
	d->flags = unmap ? BLK_UNMAP : 0;
	return &d->pass.blk;
}
