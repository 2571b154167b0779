#include "cmd/guard.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/probe.h"
#include "lib/filter/pass.h"
#include "lib/mem.h"

struct guard {
	struct pass pass;
	pthread_mutex_t lock; /* of both ends: what was looked at is what gets written */
};

static struct guard *guard_of(struct blk *blk)
{
	return (struct guard *)blk;
}

/* A write: n bytes, zeros if buf is NULL, at off. */
struct change {
	const uint8_t *buf;
	uint64_t off, n;
	uint64_t size; /* of the file after it */
};

/* The have bytes at `at` of the file as it will be. */
static int look(struct blk *blk, const struct change *c, uint8_t *at_buf, size_t have,
		uint64_t at, struct err *err)
{
	uint64_t from = MAX(at, c->off), to = MIN(at + have, c->off + c->n);

	if (have > 0 && blk_pread(blk->lower, at_buf, have, at, err))
		return -1;
	if (from >= to)
		return 0;
	if (c->buf)
		memcpy(at_buf + (from - at), c->buf + (from - c->off), to - from);
	else
		memset(at_buf + (from - at), 0, to - from);
	return 0;
}

static int refuse(const struct blk *blk, const char *where, const char *found, struct err *err)
{
	return err_set(err, EPERM,
		       "Operation not permitted: '%s' was taken for raw, and this write to its "
		       "%s bytes would make it a %s image; give its format to allow that",
		       blk->name, where, found);
}

/* Would the file be taken for another? */
static int check_ends(struct blk *blk, const struct change *c, struct err *err)
{
	uint8_t head[PROBE_BYTES], tail[PROBE_TAIL];
	size_t nhead = MIN(c->size, sizeof(head)), ntail = MIN(c->size, sizeof(tail));
	const struct format *by_tail;
	const char *found;

	if (look(blk, c, head, nhead, 0, err) ||
	    look(blk, c, tail, ntail, c->size - ntail, err))
		return -1;
	found = probe_name(head, nhead, c->size);
	if (strcmp(found, "raw") != 0)
		return refuse(blk, "first", found, err);
	by_tail = probe_tail(tail, ntail, c->size);
	return by_tail ? refuse(blk, "last", by_tail->name, err) : 0;
}

static bool at_ends(const struct change *c)
{
	return c->off < PROBE_BYTES || c->off + c->n + PROBE_TAIL > c->size;
}

static int guard_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			unsigned flags, struct err *err)
{
	struct change c = {buf, off, n, MAX(blk_size(blk), off + n)};
	struct guard *g = guard_of(blk);
	int rc;

	if (!at_ends(&c))
		return pass_pwrite(blk, buf, n, off, flags, err);
	pthread_mutex_lock(&g->lock);
	rc = check_ends(blk, &c, err);
	if (rc == 0)
		rc = pass_pwrite(blk, buf, n, off, flags, err);
	pthread_mutex_unlock(&g->lock);
	return rc;
}

static int guard_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err)
{
	struct change c = {NULL, off, len, MAX(blk_size(blk), off + len)};
	struct guard *g = guard_of(blk);
	int rc;

	if (!at_ends(&c))
		return pass_zero(blk, off, len, flags, err);
	pthread_mutex_lock(&g->lock);
	rc = check_ends(blk, &c, err);
	if (rc == 0)
		rc = pass_zero(blk, off, len, flags, err);
	pthread_mutex_unlock(&g->lock);
	return rc;
}

/* The ends are their own home, so that nobody writes them in place past the guard. */
static int guard_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			struct err *err)
{
	uint64_t size = blk_size(blk), last = size - MIN(size, PROBE_TAIL);
	bool end = off < PROBE_BYTES || off >= last;

	if (off < PROBE_BYTES)
		len = MIN(len, PROBE_BYTES - off);
	if (off < last)
		len = MIN(len, last - off);
	if (pass_extent(blk, off, len, out, err))
		return -1;
	if (end && out->home) {
		out->home = blk;
		out->host = off;
	}
	return 0;
}

static int guard_close(struct blk *blk, struct err *err)
{
	pthread_mutex_destroy(&guard_of(blk)->lock);
	return pass_close(blk, err);
}

/* No fd: the kernel would copy past the guard. */
static const struct blk_ops guard_ops = {
	.name = "guard",
	.pread = pass_pread,
	.pwrite = guard_pwrite,
	.zero = guard_zero,
	.extent = guard_extent,
	.resize = pass_resize,
	.close = guard_close,
};

static void print_warning(const char *name)
{
	fprintf(stderr,
		"WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
		"         Automatically detecting the format is dangerous for raw images, "
		"write "
		"operations on block 0 will be restricted.\n"
		"         Specify the 'raw' format explicitly to remove the restrictions.\n",
		name);
}

struct blk *guard_new(struct blk *file, bool warn, struct err *err)
{
	struct guard *g = calloc(1, sizeof(*g));
	struct err later;

	if (!g) {
		err_nomem(err, sizeof(*g), "a guard");
		blk_close(file, &later);
		return NULL;
	}
	pthread_mutex_init(&g->lock, NULL);
	if (pass_init(&g->pass, &guard_ops, file, err)) {
		blk_close(file, &later);
		blk_close(&g->pass.blk, &later);
		return NULL;
	}
	g->pass.blk.lower = file;
	g->pass.blk.caps &= ~(unsigned)BLK_IS_HOST;
	if (warn)
		print_warning(file->name);
	return &g->pass.blk;
}
