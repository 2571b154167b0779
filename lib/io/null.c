/* null-co and null-aio: a disk that forgets what is written to it. For measuring. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/io/io.h"

#define DEFAULT_SIZE (1ull << 30) /* as the peer's */
#define NSEC	     1000000000u

struct null {
	struct blk blk;
	bool zeroes;
	struct timespec latency;
};

static void wait(const struct null *n)
{
	struct timespec left = n->latency;

	if (left.tv_sec || left.tv_nsec)
		while (nanosleep(&left, &left) < 0 && errno == EINTR)
			;
}

/* The peer leaves the buffer as it was, unless read-zeroes: here nobody sees old memory. */
static int null_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	wait((struct null *)blk);
	memset(buf, 0, n);
	return 0;
}

static int null_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		       struct err *err)
{
	wait((struct null *)blk);
	return 0;
}

static int null_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		     struct err *err)
{
	wait((struct null *)blk);
	return 0;
}

static int null_flush(struct blk *blk, struct err *err)
{
	wait((struct null *)blk);
	return 0;
}

static int null_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	struct null *n = (struct null *)blk;

	out->off = off;
	out->len = len;
	out->host = off;
	out->home = blk;
	out->flags = n->zeroes ? EXT_ZERO : EXT_DATA | EXT_VAGUE;
	return 0;
}

static int64_t null_disk_usage(struct blk *blk)
{
	return 0;
}

static int null_close(struct blk *blk, struct err *err)
{
	free(blk);
	return 0;
}

static const struct opt null_open_opts[] = {
	{.name = "size",
	 .type = OPT_SIZE,
	 .arg = "size",
	 .initial = "1G",
	 .help = "Size of the disk"},
	{.name = "latency-ns",
	 .type = OPT_NUM,
	 .arg = "num",
	 .help = "Nanoseconds that each request takes"},
	{.name = "read-zeroes", .type = OPT_BOOL, .help = "The disk is known to be zero"},
	{0},
};

static int null_open(const struct opts *opts, unsigned flags, const struct blk_ops *ops,
		     const char *scheme, struct blk **out, struct err *err)
{
	uint64_t size = DEFAULT_SIZE, latency = 0;
	struct null *n = calloc(1, sizeof(*n));
	struct err ignored;

	if (!n)
		return err_nomem(err, sizeof(*n), "a null device");
	if (blk_init(&n->blk, ops, scheme, err) || opts_size(opts, "size", &size, err) ||
	    opts_num(opts, "latency-ns", INT64_MAX, &latency, err) ||
	    opts_bool(opts, "read-zeroes", &n->zeroes, err)) {
		blk_close(&n->blk, &ignored);
		return -1;
	}
	n->latency.tv_sec = (time_t)(latency / NSEC);
	n->latency.tv_nsec = (long)(latency % NSEC);
	n->blk.size = size;
	if (flags & IO_WRITE)
		n->blk.caps = BLK_CAN_WRITE | BLK_CAN_ZERO | BLK_CAN_UNMAP;
	*out = &n->blk;
	return 0;
}

#define NULL_OPS(driver)                                                                       \
	{                                                                                      \
		.name = (driver), .pread = null_pread, .pwrite = null_pwrite,                  \
		.zero = null_zero, .flush = null_flush, .extent = null_extent,                 \
		.disk_usage = null_disk_usage, .close = null_close,                            \
	}

static const struct blk_ops null_co_ops = NULL_OPS("null-co");
static const struct blk_ops null_aio_ops = NULL_OPS("null-aio");

static int null_co_open(const struct opts *opts, unsigned flags, struct blk **out,
			struct err *err)
{
	return null_open(opts, flags, &null_co_ops, "null-co://", out, err);
}

static int null_aio_open(const struct opts *opts, unsigned flags, struct blk **out,
			 struct err *err)
{
	return null_open(opts, flags, &null_aio_ops, "null-aio://", out, err);
}

const struct protocol io_null_co = {
	.name = "null-co",
	.scheme = "null-co://",
	.open_opts = null_open_opts,
	.open = null_co_open,
};

const struct protocol io_null_aio = {
	.name = "null-aio",
	.scheme = "null-aio://",
	.open_opts = null_open_opts,
	.open = null_aio_open,
};
