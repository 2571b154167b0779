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
	pthread_mutex_t lock; /* of the head: what was looked at is what gets written */
};

static struct guard *guard_of(struct blk *blk)
{
	return (struct guard *)blk;
}

/* Would the file, with n bytes (zeros if buf is NULL) at off, be taken for another? */
static int check_head(struct blk *blk, const uint8_t *buf, uint64_t n, uint64_t off,
		      struct err *err)
{
	uint8_t head[PROBE_BYTES];
	uint64_t size = MAX(blk->size, off + n);
	size_t have = MIN(size, sizeof(head));
	size_t len = MIN(n, sizeof(head) - off);
	const char *found;

	if (blk_pread(blk->lower, head, have, 0, err))
		return -1;
	if (buf)
		memcpy(head + off, buf, len);
	else
		memset(head + off, 0, len);
	found = probe_name(head, have, size);
	if (strcmp(found, "raw") == 0)
		return 0;
	return err_set(err, EPERM,
		       "Operation not permitted: '%s' was taken for raw, and this write to its "
		       "first bytes would make it a %s image; give its format to allow that",
		       blk->name, found);
}

static int guard_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			unsigned flags, struct err *err)
{
	struct guard *g = guard_of(blk);
	int rc;

	if (off >= PROBE_BYTES)
		return pass_pwrite(blk, buf, n, off, flags, err);
	pthread_mutex_lock(&g->lock);
	rc = check_head(blk, buf, n, off, err);
	if (rc == 0)
		rc = pass_pwrite(blk, buf, n, off, flags, err);
	pthread_mutex_unlock(&g->lock);
	return rc;
}

static int guard_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err)
{
	struct guard *g = guard_of(blk);
	int rc;

	if (off >= PROBE_BYTES)
		return pass_zero(blk, off, len, flags, err);
	pthread_mutex_lock(&g->lock);
	rc = check_head(blk, NULL, len, off, err);
	if (rc == 0)
		rc = pass_zero(blk, off, len, flags, err);
	pthread_mutex_unlock(&g->lock);
	return rc;
}

/* The head is its own home, so that nobody writes it in place past the guard. */
static int guard_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			struct err *err)
{
	if (off < PROBE_BYTES)
		len = MIN(len, PROBE_BYTES - off);
	if (pass_extent(blk, off, len, out, err))
		return -1;
	if (off < PROBE_BYTES && out->home) {
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
