#include "lib/blk.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

#define CODE_CHUNK (256u << 10)
#define ZERO_CHUNK (256u << 10)

int blk_init(struct blk *blk, const struct blk_ops *ops, const char *name, struct err *err)
{
	memset(blk, 0, sizeof(*blk));
	blk->ops = ops;
	blk->align = 1;
	blk->grain = 1;
	blk->name = strdup(name);
	if (!blk->name)
		return err_nomem(err, strlen(name) + 1, "a name");
	if (!ops->serial)
		return 0;
	blk->serial_ = calloc(1, sizeof(pthread_mutex_t));
	if (!blk->serial_)
		return err_nomem(err, sizeof(pthread_mutex_t), "a lock");
	pthread_mutex_init(blk->serial_, NULL);
	return 0;
}

uint64_t blk_size(const struct blk *blk)
{
	return __atomic_load_n(&blk->size, __ATOMIC_ACQUIRE);
}

static void enter(struct blk *blk)
{
	if (blk->serial_)
		pthread_mutex_lock(blk->serial_);
}

static void leave(struct blk *blk)
{
	if (blk->serial_)
		pthread_mutex_unlock(blk->serial_);
}

static int read_by_extent(struct blk *blk, uint8_t *buf, size_t n, uint64_t off,
			  struct err *err)
{
	while (n > 0) {
		struct extent e;

		if (blk_extent(blk, off, n, &e, err))
			return -1;
		if (blk_read_extent(blk, &e, buf, e.len, off, err))
			return -1;
		buf += e.len;
		off += e.len;
		n -= e.len;
	}
	return 0;
}

int blk_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	uint64_t size = blk_size(blk);
	int rc;

	if (off >= size || n > size - off) {
		size_t have = off < size ? (size_t)(size - off) : 0;

		memset((uint8_t *)buf + have, 0, n - have);
		n = have;
	}
	if (n == 0)
		return 0;
	if (blk->ops->by_extent)
		return read_by_extent(blk, buf, n, off, err);
	enter(blk);
	rc = blk->ops->pread(blk, buf, n, off, err);
	leave(blk);
	return rc;
}

static int check_write(struct blk *blk, uint64_t len, uint64_t off, struct err *err)
{
	uint64_t end;

	if (!(blk->caps & BLK_CAN_WRITE))
		return err_set(err, EBADF, "%s is open for reading only", blk->name);
	if (__builtin_add_overflow(off, len, &end) || end > INT64_MAX)
		return err_set(err, EFBIG, "%s: a write at offset %" PRIu64 " is out of range",
			       blk->name, off);
	if (end > blk_size(blk) && !(blk->caps & BLK_CAN_GROW))
		return err_set(err, ENOSPC,
			       "%s: a write of %" PRIu64 " bytes at offset %" PRIu64
			       " reaches past the end (%" PRIu64 ")",
			       blk->name, len, off, blk_size(blk));
	return 0;
}

int blk_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
	       struct err *err)
{
	int rc;

	if (n == 0)
		return 0;
	if (check_write(blk, n, off, err))
		return -1;
	if (!blk->ops->pwrite)
		return err_set(err, ENOTSUP, "%s: format %s is written through a chain",
			       blk->name, blk->ops->name);
	enter(blk);
	rc = blk->ops->pwrite(blk, buf, n, off, flags & ~(unsigned)BLK_FUA, err);
	leave(blk);
	if (rc == 0 && (flags & BLK_FUA))
		rc = blk_flush(blk, err);
	return rc;
}

static int write_zeros(struct blk *blk, uint64_t off, uint64_t len, struct err *err)
{
	size_t chunk = MIN(len, ZERO_CHUNK);
	AUTO_FREE uint8_t *zeros = mem_alloc(chunk);

	if (!zeros)
		return err_nomem(err, chunk, "zeros");
	memset(zeros, 0, chunk);
	while (len > 0) {
		size_t n = MIN(len, chunk);

		if (blk_pwrite(blk, zeros, n, off, 0, err))
			return -1;
		off += n;
		len -= n;
	}
	return 0;
}

int blk_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags, struct err *err)
{
	int rc = -1;

	if (len == 0)
		return 0;
	if (check_write(blk, len, off, err))
		return -1;
	if (blk->caps & BLK_NO_UNMAP) {
		if (flags & BLK_ADVISE)
			return 0;
		if (!blk->ops->claim)
			flags &= ~(unsigned)BLK_UNMAP;
	}
	err_set(err, ENOTSUP, "%s: zeros cannot be made without writing them", blk->name);
	if (blk->ops->zero) {
		enter(blk);
		rc = blk->ops->zero(blk, off, len, flags & ~(unsigned)BLK_FUA, err);
		leave(blk);
	}
	if (rc && err->num == ENOTSUP) {
		if (flags & BLK_ADVISE)
			return 0;
		if (!(flags & BLK_CHEAP) && blk->ops->pwrite)
			rc = write_zeros(blk, off, len, err);
	}
	if (rc == 0 && (flags & BLK_FUA))
		rc = blk_flush(blk, err);
	return rc;
}

int blk_flush(struct blk *blk, struct err *err)
{
	int rc = 0;

	if (blk->ops->flush) {
		enter(blk);
		rc = blk->ops->flush(blk, err);
		leave(blk);
	} else if (blk->lower) {
		rc = blk_flush(blk->lower, err);
	}
	return rc;
}

int blk_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out, struct err *err)
{
	uint64_t size = blk_size(blk);
	int rc;

	memset(out, 0, sizeof(*out));
	out->off = off;
	if (off >= size) {
		out->len = len;
		out->flags = EXT_ZERO;
		return 0;
	}
	len = MIN(len, size - off);
	if (!blk->ops->extent) {
		out->len = len;
		out->host = off;
		out->home = blk;
		out->flags = EXT_DATA;
		return 0;
	}
	enter(blk);
	rc = blk->ops->extent(blk, off, len, out, err);
	leave(blk);
	return rc;
}

int blk_read_extent(struct blk *blk, const struct extent *e, void *buf, size_t n, uint64_t off,
		    struct err *err)
{
	int rc;

	if (extent_plain(e))
		return blk_pread(e->home, buf, n, e->host + (off - e->off), err);
	if (!(e->flags & EXT_DATA) || (e->flags & EXT_ZERO)) {
		memset(buf, 0, n);
		return 0;
	}
	enter(blk);
	rc = blk->ops->pread(blk, buf, n, off, err);
	leave(blk);
	return rc;
}

int blk_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	if (!(blk->caps & BLK_CAN_WRITE))
		return err_set(err, EBADF, "%s is open for reading only", blk->name);
	if (!blk->ops->resize)
		return err_set(err, ENOTSUP, "Image format driver does not support resize");
	return blk->ops->resize(blk, size, p, err);
}

int blk_fd(struct blk *blk, uint64_t *base)
{
	*base = 0;
	return blk->ops->fd ? blk->ops->fd(blk, base) : -1;
}

int64_t blk_disk_usage(struct blk *blk)
{
	if (blk->ops->disk_usage)
		return blk->ops->disk_usage(blk);
	return blk->lower ? blk_disk_usage(blk->lower) : -1;
}

int blk_close(struct blk *blk, struct err *err)
{
	struct err later;
	struct blk *lower;
	char *name;
	pthread_mutex_t *serial;
	int rc = 0;

	if (!blk)
		return 0;
	lower = blk->lower;
	name = blk->name;
	serial = blk->serial_;
	if (blk->ops->close)
		rc = blk->ops->close(blk, err);
	else
		free(blk);
	free(name);
	if (serial)
		pthread_mutex_destroy(serial);
	free(serial);
	if (blk_close(lower, rc ? &later : err))
		rc = -1;
	return rc;
}

int blk_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err)
{
	return blk->ops->touch && len > 0 ? blk->ops->touch(blk, off, len, err) : 0;
}

int blk_claim(struct blk *blk, struct claim *c, struct err *err)
{
	int rc;

	c->run = NULL;
	c->nrun = 0;
	c->priv = NULL;
	c->home = NULL;
	if (!blk->ops->claim)
		return err_set(err, ENOTSUP, "%s: format %s cannot be written", blk->name,
			       blk->ops->name);
	enter(blk);
	rc = blk->ops->claim(blk, c, err);
	leave(blk);
	if (rc) {
		free(c->run);
		c->run = NULL;
		c->nrun = 0;
	}
	return rc;
}

int blk_settle(struct blk *blk, struct claim *c, struct err *err)
{
	int rc = 0;

	if (blk->ops->settle) {
		enter(blk);
		rc = blk->ops->settle(blk, c, err);
		leave(blk);
	}
	free(c->run);
	c->run = NULL;
	c->nrun = 0;
	return rc;
}

void blk_drop(struct blk *blk, struct claim *c)
{
	if (blk->ops->drop) {
		enter(blk);
		blk->ops->drop(blk, c);
		leave(blk);
	}
	free(c->run);
	c->run = NULL;
	c->nrun = 0;
}

int blk_pwrite_to(struct blk *blk, struct blk *home, const void *buf, size_t n, uint64_t off,
		  uint64_t host, struct err *err)
{
	size_t chunk = MIN(n, CODE_CHUNK);
	AUTO_FREE uint8_t *work = NULL;

	if (!blk_codes(blk))
		return blk_pwrite(home, buf, n, host, 0, err);
	work = mem_alloc(chunk);
	if (!work)
		return err_nomem(err, chunk, "a buffer for encryption");
	for (size_t at = 0; at < n; at += chunk) {
		chunk = MIN(chunk, n - at);
		memcpy(work, (const uint8_t *)buf + at, chunk);
		if (blk->ops->code(blk, work, chunk, off + at, host + at, err) ||
		    blk_pwrite(home, work, chunk, host + at, 0, err))
			return -1;
	}
	return 0;
}
