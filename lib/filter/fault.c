#include "lib/filter/fault.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/filter/pass.h"

struct fault_blk {
	struct pass pass; /* first */
	struct fault *plan;
};

/* Is it this one's turn? Sets the error then. */
static bool fails(struct blk *blk, unsigned op, uint64_t end, const char *what, struct err *err)
{
	struct fault *f = ((struct fault_blk *)blk)->plan;
	uint64_t seen;

	if (end > blk_size(((struct pass *)blk)->to))
		op |= FAULT_GROW;
	if (!(f->ops & op))
		return false;
	seen = __atomic_add_fetch(&f->seen, 1, __ATOMIC_RELAXED);
	if (f->nth == 0 || (f->lasting ? seen < f->nth : seen != f->nth))
		return false;
	__atomic_add_fetch(&f->fired, 1, __ATOMIC_RELAXED);
	errno = f->error;
	err_sys(err, "%s: %s fails as planned", blk->name, what);
	return true;
}

static int fault_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	return fails(blk, FAULT_READ, 0, "a read", err) ? -1
							: pass_pread(blk, buf, n, off, err);
}

static int fault_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			unsigned flags, struct err *err)
{
	struct err later;

	if (!fails(blk, FAULT_WRITE, off + n, "a write", err))
		return pass_pwrite(blk, buf, n, off, flags, err);
	if (((struct fault_blk *)blk)->plan->half && n / 1024 > 0)
		pass_pwrite(blk, buf, n / 1024 * 512, off, flags, &later);
	return -1;
}

static int fault_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err)
{
	return fails(blk, FAULT_ZERO, off + len, "a write of zeros", err)
		       ? -1
		       : pass_zero(blk, off, len, flags, err);
}

static int fault_flush(struct blk *blk, struct err *err)
{
	return fails(blk, FAULT_FLUSH, 0, "a flush", err) ? -1 : pass_flush(blk, err);
}

static int fault_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	return fails(blk, FAULT_RESIZE, size, "a resize", err) ? -1
							       : pass_resize(blk, size, p, err);
}

static const struct blk_ops fault_ops = {
	.name = "fault",
	.pread = fault_pread,
	.pwrite = fault_pwrite,
	.zero = fault_zero,
	.flush = fault_flush,
	.extent = pass_extent_here,
	.resize = fault_resize,
	.disk_usage = pass_disk_usage,
	.close = pass_close,
};

struct blk *fault_open(struct fault *plan, struct blk *to, struct err *err)
{
	struct fault_blk *b = calloc(1, sizeof(*b));
	struct err later;

	if (!b) {
		err_nomem(err, sizeof(*b), "a filter");
		return NULL;
	}
	if (pass_init(&b->pass, &fault_ops, to, err)) {
		blk_close(&b->pass.blk, &later);
		return NULL;
	}
	b->plan = plan;
	return &b->pass.blk;
}

struct blk *fault_over(struct fault *plan, struct blk *lower, struct err *err)
{
	struct blk *b = fault_open(plan, lower, err);
	struct err later;

	if (b)
		b->lower = lower;
	else
		blk_close(lower, &later);
	return b;
}
