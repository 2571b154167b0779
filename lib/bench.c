#include "lib/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "lib/mem.h"

struct run {
	const struct bench *b;
	uint64_t size;
	uint32_t next; /* request to begin; atomic where there are no flushes */
	bool failed;   /* atomic */

	pthread_mutex_t lock;
	pthread_cond_t idle;	/* nothing is under way */
	pthread_cond_t flushed; /* requests may begin again */
	uint32_t under_way;
	bool flushing;
	struct err *err; /* of the first failure */
};

static void fail(struct run *r, const struct err *err)
{
	pthread_mutex_lock(&r->lock);
	if (!r->failed)
		*r->err = *err;
	__atomic_store_n(&r->failed, true, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&r->flushed);
	pthread_mutex_unlock(&r->lock);
}

static uint64_t place(const struct run *r, uint32_t i)
{
	const struct bench *b = r->b;
	uint64_t off = i ? (b->off + (uint64_t)i * b->step) % r->size : b->off;

	if (b->fit && (off > r->size || r->size - off < b->n))
		off = r->size > b->n ? r->size - b->n : 0;
	return off;
}

static int request(struct run *r, uint32_t i, void *buf, struct err *err)
{
	const struct bench *b = r->b;
	uint64_t off = place(r, i);

	if (off > r->size || r->size - off < b->n)
		return err_set(err, EIO,
			       "Request %" PRIu32 ": %" PRIu32 " bytes at offset %" PRIu64
			       " reach past the end of the disk (%" PRIu64 ")",
			       i + 1, b->n, off, r->size);
	return b->write ? blk_pwrite(b->blk, buf, b->n, off, 0, err)
			: blk_pread(b->blk, buf, b->n, off, err);
}

/* Is a flush due before request i? */
static bool due(const struct bench *b, uint32_t i)
{
	return i > 0 && (b->count - i) % b->flush_every == 0;
}

/* Under the lock, which is not held meanwhile. */
static int flush(struct run *r, struct err *err)
{
	int rc;

	r->flushing = r->b->drain;
	while (r->flushing && r->under_way > 0)
		pthread_cond_wait(&r->idle, &r->lock);
	pthread_mutex_unlock(&r->lock);
	rc = blk_flush(r->b->blk, err);
	pthread_mutex_lock(&r->lock);
	r->flushing = false;
	pthread_cond_broadcast(&r->flushed);
	return rc;
}

/* The next request, after the flush that is due before it. False: there is none. */
static bool begin_flushed(struct run *r, uint32_t *i)
{
	struct err err;
	int rc = 0;
	bool more;

	pthread_mutex_lock(&r->lock);
	while (r->flushing)
		pthread_cond_wait(&r->flushed, &r->lock);
	more = !r->failed && r->next < r->b->count;
	if (more) {
		*i = r->next++;
		if (due(r->b, *i))
			rc = flush(r, &err);
		r->under_way++;
	}
	pthread_mutex_unlock(&r->lock);
	if (rc)
		fail(r, &err);
	return more;
}

static bool begin(struct run *r, uint32_t *i)
{
	if (r->b->flush_every)
		return begin_flushed(r, i);
	if (__atomic_load_n(&r->failed, __ATOMIC_ACQUIRE))
		return false;
	/* count <= INT32_MAX: as many threads may add one too many */
	*i = __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED);
	return *i < r->b->count;
}

static void end(struct run *r)
{
	if (!r->b->flush_every)
		return;
	pthread_mutex_lock(&r->lock);
	if (--r->under_way == 0 && r->flushing)
		pthread_cond_signal(&r->idle);
	pthread_mutex_unlock(&r->lock);
}

static void *work(void *arg)
{
	struct run *r = arg;
	AUTO_FREE void *buf = mem_alloc(r->b->n);
	struct err err;
	uint32_t i;

	if (!buf) {
		err_nomem(&err, r->b->n, "a request");
		fail(r, &err);
		return NULL;
	}
	memset(buf, r->b->pattern, r->b->n);
	while (begin(r, &i)) {
		if (request(r, i, buf, &err))
			fail(r, &err);
		end(r);
	}
	return NULL;
}

int bench_run(const struct bench *b, struct err *err)
{
	struct run r = {
		.b = b,
		.size = blk_size(b->blk),
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.idle = PTHREAD_COND_INITIALIZER,
		.flushed = PTHREAD_COND_INITIALIZER,
		.err = err,
	};
	pthread_t thread[BENCH_THREADS];
	uint32_t want = MIN(MIN(b->depth, b->count), BENCH_THREADS), n = 0;

	if (r.size == 0)
		return err_set(err, EINVAL, "%s: the disk is empty: there is nothing to %s",
			       b->blk->name, b->write ? "write" : "read");
	while (n + 1 < want && pthread_create(&thread[n], NULL, work, &r) == 0)
		n++;
	if (n + 1 < want) {
		struct err few;

		err_set(&few, EAGAIN, "Only %" PRIu32 " of %" PRIu32 " threads could be made",
			n + 1, want);
		fail(&r, &few);
	}
	work(&r);
	for (uint32_t i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	return r.failed ? -1 : 0;
}
