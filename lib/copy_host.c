/*
 * Bytes that the kernel moves: blocks shared by a reflink, or copied inside the kernel
 * where the user asked for that (-C).
 */
#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/copy_job.h"
#include "lib/mem.h"

#define CLONE_UNIT 4096 /* the block size of the file systems that share blocks */

/* The plain local place of a segment. */
static int source_fd(const struct segment *s, uint64_t off, uint64_t *host)
{
	uint64_t base;
	int fd;

	if (s->kind != SEG_DATA || !extent_plain(&s->e))
		return -1;
	fd = blk_fd(s->e.home, &base);
	*host = base + s->e.host + (s->from - s->e.off) + (off - s->off);
	return fd;
}

static bool aligned(uint64_t from, uint64_t to, uint64_t len)
{
	return (from | to | len) % CLONE_UNIT == 0;
}

static bool share(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t len)
{
	struct file_clone_range r = {.src_fd = from,
				     .src_offset = from_off,
				     .src_length = len,
				     .dest_offset = to_off};

	return ioctl(to, FICLONERANGE, &r) == 0;
}

static bool kernel_copy(int from, uint64_t from_off, int to, uint64_t to_off, uint64_t len)
{
	off_t f = (off_t)from_off, t = (off_t)to_off;

	while (len > 0) {
		ssize_t n = copy_file_range(from, &f, to, &t, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		len -= (uint64_t)n;
	}
	return true;
}

/* One stretch of one segment. */
static bool move_part(struct engine *e, const struct segment *s, uint64_t off, uint64_t len,
		      int to, uint64_t to_off)
{
	uint64_t from_off;
	int from = source_fd(s, off, &from_off);

	if (from < 0)
		return false;
	if (__atomic_load_n(&e->clone, __ATOMIC_RELAXED) && aligned(from_off, to_off, len)) {
		if (share(from, from_off, to, to_off, len))
			return true;
		if (errno == EOPNOTSUPP || errno == EXDEV || errno == ENOTTY || errno == EINVAL)
			__atomic_store_n(&e->clone, 0, __ATOMIC_RELAXED);
	}
	if (__atomic_load_n(&e->offload, __ATOMIC_RELAXED)) {
		if (kernel_copy(from, from_off, to, to_off, len))
			return true;
		__atomic_store_n(&e->offload, 0, __ATOMIC_RELAXED);
	}
	return false;
}

/* The kernel grows the file, not the blk: that must know how far the file reaches. Only
 * the last byte is touched: what is before the job's own may be another's, just moved. */
static bool reach(struct blk *home, uint64_t end)
{
	struct err ignored;

	return end <= blk_size(home) ||
	       blk_zero(home, end - 1, 1, BLK_UNMAP | BLK_CHEAP, &ignored) == 0;
}

static int any_fd(struct blk *blk)
{
	uint64_t base;
	int fd = -1;

	for (; blk && fd < 0; blk = blk->lower)
		fd = blk_fd(blk, &base);
	return fd;
}

/* A request that no file system can fulfil tells by its error whether it knows the call. */
bool copy_host_probe(const struct engine *e)
{
	int to = any_fd(e->direct ? &e->opt->target->blk : e->top);

	for (unsigned i = 0; i < e->opt->nsource; i++) {
		int from = any_fd(e->opt->source[i].chain->layer[0]);

		if (from >= 0 && to >= 0 && !share(from, 1, to, 1, 1) && errno == EINVAL)
			return true;
	}
	return false;
}

bool copy_host_can(const struct copy_job *job)
{
	const struct engine *e = job->engine;

	if (e->opt->compress || e->opt->salvage || e->opt->onto || blk_codes(e->top) ||
	    (!__atomic_load_n(&e->offload, __ATOMIC_RELAXED) &&
	     !__atomic_load_n(&e->clone, __ATOMIC_RELAXED)))
		return false;
	for (size_t i = 0; i < job->nseg; i++) {
		const struct segment *s = &job->seg[i];
		uint64_t host;

		if (s->kind == SEG_ZERO ||
		    (s->kind == SEG_KEEP && (s->off | s->len) % e->grain == 0))
			continue;
		if (source_fd(s, s->off, &host) < 0)
			return false;
	}
	return true;
}

int copy_host_move(struct copy_job *job, const struct write *w)
{
	struct engine *e = job->engine;
	uint64_t base;
	int to;

	if (!__atomic_load_n(&e->clone, __ATOMIC_RELAXED) &&
	    !__atomic_load_n(&e->offload, __ATOMIC_RELAXED))
		return 0;
	if (w->bytes)
		return 0; /* a packed stream */
	to = blk_fd(w->home, &base);
	if (to < 0 || !reach(w->home, w->host + w->len))
		return 0;
	for (size_t i = 0; i < job->nseg; i++) {
		const struct segment *s = &job->seg[i];
		uint64_t from = MAX(s->off, w->off);
		uint64_t end = MIN(s->off + s->len, w->off + w->len);

		if (from >= end || (s->kind == SEG_ZERO && w->fresh))
			continue;
		if (!move_part(e, s, from, end - from, to, base + w->host + (from - w->off)))
			return 0; /* all of it is written from the buffer then */
	}
	return 1;
}
