/*
 * A window of a blk: raw's offset and size. Extents keep naming the place in the blk
 * below (home and host are not translated): who reads there needs no window.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/io/io.h"
#include "lib/mem.h"

struct region {
	struct blk blk;
	uint64_t from;
	bool open_end; /* reaches to the end of lower, and beyond when that grows */
};

static int region_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	return blk_pread(blk->lower, buf, n, ((struct region *)blk)->from + off, err);
}

static void reaches(struct region *r, uint64_t end)
{
	uint64_t size = blk_size(&r->blk);

	while (size < end && !__atomic_compare_exchange_n(&r->blk.size, &size, end, true,
							  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

/* blk.c has checked the window's end; this guards the sum. */
static int check_sum(struct region *r, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t end;

	if (__builtin_add_overflow(r->from, off, &end) ||
	    __builtin_add_overflow(end, len, &end) || end > INT64_MAX)
		return err_set(err, EFBIG, "%s: offset %" PRIu64 " is out of range",
			       r->blk.name, off);
	return 0;
}

static int region_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			 unsigned flags, struct err *err)
{
	struct region *r = (struct region *)blk;

	if (check_sum(r, off, n, err) ||
	    blk_pwrite(blk->lower, buf, n, r->from + off, flags, err))
		return -1;
	reaches(r, off + n);
	return 0;
}

static int region_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		       struct err *err)
{
	struct region *r = (struct region *)blk;

	if (check_sum(r, off, len, err) || blk_zero(blk->lower, r->from + off, len, flags, err))
		return -1;
	if (!(flags & BLK_ADVISE))
		reaches(r, off + len);
	return 0;
}

static int region_flush(struct blk *blk, struct err *err)
{
	return blk_flush(blk->lower, err);
}

static int region_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			 struct err *err)
{
	if (blk_extent(blk->lower, ((struct region *)blk)->from + off, len, out, err))
		return -1;
	out->off = off;
	return 0;
}

static int region_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct region *r = (struct region *)blk;

	if (!r->open_end)
		return err_set(err, ENOTSUP, "Cannot resize fixed-size raw disks");
	if (check_sum(r, 0, size, err) || blk_resize(blk->lower, r->from + size, p, err))
		return -1;
	__atomic_store_n(&blk->size, size, __ATOMIC_RELEASE);
	return 0;
}

static int region_fd(struct blk *blk, uint64_t *base)
{
	int fd = blk_fd(blk->lower, base);

	*base += ((struct region *)blk)->from;
	return fd;
}

static int region_close(struct blk *blk, struct err *err)
{
	free(blk);
	return 0;
}

static const struct blk_ops region_ops = {
	.name = "region",
	.pread = region_pread,
	.pwrite = region_pwrite,
	.zero = region_zero,
	.flush = region_flush,
	.extent = region_extent,
	.resize = region_resize,
	.fd = region_fd,
	.close = region_close,
};

struct blk *region_new(struct blk *lower, uint64_t off, uint64_t size, struct err *err)
{
	uint64_t whole = blk_size(lower);
	struct region *r;
	struct err ignored;

	if (off > whole || (size != UINT64_MAX && size > whole - off)) {
		err_set(err, EINVAL,
			"%s: a window of %" PRIu64 " bytes at offset %" PRIu64
			" reaches past the end (%" PRIu64 ")",
			lower->name, size == UINT64_MAX ? 0 : size, off, whole);
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		err_nomem(err, sizeof(*r), "a window");
		return NULL;
	}
	if (blk_init(&r->blk, &region_ops, lower->name, err)) {
		blk_close(&r->blk, &ignored);
		return NULL;
	}
	r->from = off;
	r->open_end = size == UINT64_MAX;
	r->blk.lower = lower;
	r->blk.size = r->open_end ? whole - off : size;
	r->blk.align = off % lower->align == 0 ? lower->align : 1;
	r->blk.grain = off % lower->grain == 0 ? lower->grain : 1;
	r->blk.caps = lower->caps;
	if (!r->open_end)
		r->blk.caps &= ~(unsigned)BLK_CAN_GROW;
	return &r->blk;
}
