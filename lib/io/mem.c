/* A blk in memory, for tests and fuzzing. */
#include "lib/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "lib/io/io.h"

#define MEM_MAX (1ull << 30) /* fuzzers ask for anything */

struct mem {
	struct blk blk;
	pthread_mutex_t lock; /* of data, which moves when it grows */
	uint8_t *data;
	size_t room;
};

static int mem_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct mem *m = (struct mem *)blk;

	pthread_mutex_lock(&m->lock);
	memcpy(buf, m->data + off, n);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

/* The size, with the lock held; what is new reads as zeros. */
static int set_size(struct mem *m, uint64_t size, struct err *err)
{
	uint64_t old = m->blk.size;

	if (size > MEM_MAX)
		return err_set(err, ENOSPC, "%s: no room for %" PRIu64 " bytes", m->blk.name,
			       size);
	if (size > m->room) {
		size_t room = (size_t)MIN(MAX(size, 2 * (uint64_t)m->room), MEM_MAX);
		uint8_t *data = realloc(m->data, room);

		if (!data)
			return err_nomem(err, room, m->blk.name);
		m->data = data;
		m->room = room;
	}
	if (size > old)
		memset(m->data + old, 0, (size_t)(size - old));
	__atomic_store_n(&m->blk.size, size, __ATOMIC_RELEASE);
	return 0;
}

/* buf NULL: zeros */
static int put(struct mem *m, const void *buf, uint64_t n, uint64_t off, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	if (off + n > m->blk.size)
		rc = set_size(m, off + n, err);
	if (rc == 0 && buf)
		memcpy(m->data + off, buf, (size_t)n);
	else if (rc == 0)
		memset(m->data + off, 0, (size_t)n);
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static int mem_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		      struct err *err)
{
	return put((struct mem *)blk, buf, n, off, err);
}

static int mem_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		    struct err *err)
{
	return put((struct mem *)blk, NULL, len, off, err);
}

static int mem_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct mem *m = (struct mem *)blk;
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = set_size(m, size, err);
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static int mem_flush(struct blk *blk, struct err *err)
{
	return 0;
}

static int64_t mem_disk_usage(struct blk *blk)
{
	return (int64_t)blk_size(blk);
}

static int mem_close(struct blk *blk, struct err *err)
{
	struct mem *m = (struct mem *)blk;

	pthread_mutex_destroy(&m->lock);
	free(m->data);
	free(m);
	return 0;
}

static const struct blk_ops mem_ops = {
	.name = "mem",
	.pread = mem_pread,
	.pwrite = mem_pwrite,
	.zero = mem_zero,
	.flush = mem_flush,
	.resize = mem_resize,
	.disk_usage = mem_disk_usage,
	.close = mem_close,
};

struct blk *io_mem_new(const void *buf, size_t n, struct err *err)
{
	struct mem *m = calloc(1, sizeof(*m));
	struct err ignored;

	if (!m) {
		err_nomem(err, sizeof(*m), "memory");
		return NULL;
	}
	pthread_mutex_init(&m->lock, NULL);
	if (blk_init(&m->blk, &mem_ops, "mem", err) || set_size(m, n, err)) {
		blk_close(&m->blk, &ignored);
		return NULL;
	}
	if (n)
		memcpy(m->data, buf, n);
	m->blk.caps = BLK_CAN_WRITE | BLK_CAN_ZERO | BLK_CAN_GROW | BLK_ZERO_INIT;
	return &m->blk;
}

const void *io_mem_data(const struct blk *blk, size_t *n)
{
	const struct mem *m = (const struct mem *)blk;

	*n = (size_t)blk_size(blk);
	return m->data;
}
