#include "lib/filter/pass.h"

#include <stdlib.h>
#include <string.h>

static struct blk *target(struct blk *blk)
{
	return ((struct pass *)blk)->to;
}

static void follow(struct blk *blk)
{
	__atomic_store_n(&blk->size, blk_size(target(blk)), __ATOMIC_RELEASE);
}

int pass_init(struct pass *p, const struct blk_ops *ops, struct blk *to, struct err *err)
{
	if (blk_init(&p->blk, ops, to->name, err))
		return -1;
	p->to = to;
	p->blk.size = blk_size(to);
	p->blk.align = to->align;
	p->blk.grain = to->grain;
	p->blk.caps = to->caps;
	return 0;
}

int pass_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	return blk_pread(target(blk), buf, n, off, err);
}

int pass_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		struct err *err)
{
	int rc = blk_pwrite(target(blk), buf, n, off, flags, err);

	follow(blk);
	return rc;
}

int pass_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags, struct err *err)
{
	int rc = blk_zero(target(blk), off, len, flags, err);

	follow(blk);
	return rc;
}

int pass_flush(struct blk *blk, struct err *err)
{
	return blk_flush(target(blk), err);
}

int pass_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		struct err *err)
{
	return blk_extent(target(blk), off, len, out, err);
}

int pass_extent_here(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		     struct err *err)
{
	if (pass_extent(blk, off, len, out, err))
		return -1;
	if (out->home)
		out->home = blk;
	return 0;
}

int pass_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	int rc = blk_resize(target(blk), size, p, err);

	follow(blk);
	return rc;
}

int pass_fd(struct blk *blk, uint64_t *base)
{
	return blk_fd(target(blk), base);
}

int64_t pass_disk_usage(struct blk *blk)
{
	return blk_disk_usage(target(blk));
}

int pass_close(struct blk *blk, struct err *err)
{
	free(blk);
	return 0;
}

static const struct blk_ops borrow_ops = {
	.name = "borrow",
	.pread = pass_pread,
	.pwrite = pass_pwrite,
	.zero = pass_zero,
	.flush = pass_flush,
	.extent = pass_extent,
	.resize = pass_resize,
	.fd = pass_fd,
	.disk_usage = pass_disk_usage,
	.close = pass_close,
};

struct blk *pass_borrow(struct blk *blk, struct err *err)
{
	struct pass *p = calloc(1, sizeof(*p));
	struct err later;

	if (!p) {
		err_nomem(err, sizeof(*p), "a borrowed file");
		return NULL;
	}
	if (pass_init(p, &borrow_ops, blk, err)) {
		blk_close(&p->blk, &later);
		return NULL;
	}
	return &p->blk;
}
