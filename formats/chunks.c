#include "formats/chunks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

#define AHEAD 8 /* pieces that are looked at for one to do while waiting */

int chunks_init(struct chunks *c, struct err *err)
{
	int rc = pthread_mutex_init(&c->lock, NULL);

	if (rc == 0) {
		/* neither can fail where the first did not */
		pthread_mutex_init(&c->large, NULL);
		pthread_cond_init(&c->came, NULL);
		c->made = true;
		return 0;
	}
	errno = rc;
	return err_sys(err, "Could not make a lock");
}

void chunks_free(struct chunks *c)
{
	if (!c->made)
		return;
	for (size_t k = 0; k < CHUNKS_KEPT; k++)
		free(c->slot[k].data);
	pthread_cond_destroy(&c->came);
	pthread_mutex_destroy(&c->large);
	pthread_mutex_destroy(&c->lock);
	c->made = false;
}

static int inflate(struct chunks *c, uint64_t i, uint32_t size, void *out, struct err *err)
{
	bool large = size > CHUNKS_LARGE;
	int rc;

	if (large)
		pthread_mutex_lock(&c->large);
	rc = c->inflate(c->arg, i, out, err);
	if (large)
		pthread_mutex_unlock(&c->large);
	return rc;
}

static struct chunk_slot *find(struct chunks *c, uint64_t i)
{
	for (size_t k = 0; k < CHUNKS_KEPT; k++)
		if (c->slot[k].state != CHUNK_NONE && c->slot[k].i == i)
			return &c->slot[k];
	return NULL;
}

/* The slot that was not used for the longest time; NULL: all are in use. */
static struct chunk_slot *oldest(struct chunks *c, bool with_data)
{
	struct chunk_slot *best = NULL;

	for (size_t k = 0; k < CHUNKS_KEPT; k++) {
		struct chunk_slot *s = &c->slot[k];

		if (s->state == CHUNK_COMING || s->users > 0 || (with_data && !s->data))
			continue;
		if (!best || s->used_at < best->used_at)
			best = s;
	}
	return best;
}

static void drop(struct chunks *c, struct chunk_slot *s)
{
	c->bytes -= s->room;
	free(s->data);
	*s = (struct chunk_slot){0};
}

/* A slot for a piece of that size, CHUNK_COMING; NULL: there is no room now. */
static struct chunk_slot *begin(struct chunks *c, uint64_t i, uint32_t size)
{
	struct chunk_slot *s = oldest(c, false), *old;

	if (!s)
		return NULL;
	if (s->room < size && s->data)
		drop(c, s);
	while (!s->data && c->bytes > 0 && c->bytes + size > MAX(CHUNKS_BYTES, 2 * size)) {
		old = oldest(c, true);
		if (!old)
			return NULL;
		drop(c, old);
	}
	if (!s->data) {
		s->data = mem_alloc(size);
		if (!s->data)
			return NULL;
		s->room = size;
		c->bytes += size;
	}
	s->i = i;
	s->size = size;
	s->used_at = ++c->clock;
	s->state = CHUNK_COMING;
	return s;
}

/* Fills a slot that was begun. Called with the lock, and gives it up meanwhile. */
static int fill(struct chunks *c, struct chunk_slot *s, struct err *err)
{
	int rc;

	pthread_mutex_unlock(&c->lock);
	rc = inflate(c, s->i, s->size, s->data, err);
	pthread_mutex_lock(&c->lock);
	s->state = rc ? CHUNK_NONE : CHUNK_HERE;
	pthread_cond_broadcast(&c->came);
	return rc;
}

/* Piece i is on its way: makes one of the next, or waits if there is none to make. */
static void be_useful(struct chunks *c, uint64_t i)
{
	struct err later; /* is told to who asks for it */

	for (uint64_t k = i + 1; k <= i + AHEAD; k++) {
		uint32_t size = c->size(c->arg, k);
		struct chunk_slot *s;

		if (size == 0 || find(c, k))
			continue;
		s = begin(c, k, size);
		if (!s)
			break;
		fill(c, s, &later);
		return;
	}
	pthread_cond_wait(&c->came, &c->lock);
}

static int copy_out(struct chunks *c, struct chunk_slot *s, uint32_t in, void *buf, size_t n)
{
	s->users++;
	s->used_at = ++c->clock;
	pthread_mutex_unlock(&c->lock);
	memcpy(buf, s->data + in, n);
	pthread_mutex_lock(&c->lock);
	s->users--;
	return 0;
}

static int read_alone(struct chunks *c, uint64_t i, uint32_t in, void *buf, size_t n,
		      struct err *err)
{
	uint32_t size = c->size(c->arg, i);
	AUTO_FREE uint8_t *whole = NULL;

	if (in == 0 && n == size)
		return inflate(c, i, size, buf, err);
	whole = mem_alloc(size);
	if (!whole)
		return err_nomem(err, size, "a piece of the disk");
	if (inflate(c, i, size, whole, err))
		return -1;
	memcpy(buf, whole + in, n);
	return 0;
}

int chunks_read(struct chunks *c, uint64_t i, uint32_t in, void *buf, size_t n, struct err *err)
{
	uint32_t size = c->size(c->arg, i);
	struct chunk_slot *s;
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		s = find(c, i);
		if (s && s->state == CHUNK_HERE) {
			rc = copy_out(c, s, in, buf, n);
			break;
		}
		if (s) {
			be_useful(c, i);
			continue;
		}
		s = in == 0 && n == size ? NULL : begin(c, i, size);
		if (!s) {
			pthread_mutex_unlock(&c->lock);
			return read_alone(c, i, in, buf, n, err);
		}
		rc = fill(c, s, err);
		if (rc)
			break;
	}
	pthread_mutex_unlock(&c->lock);
	return rc;
}
