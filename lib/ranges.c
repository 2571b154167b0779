#include "lib/ranges.h"

#include <pthread.h>
#include <stdlib.h>

struct ranges {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct range_hold *held; /* few at a time: one for each request under way */
};

struct ranges *ranges_new(struct err *err)
{
	struct ranges *r = calloc(1, sizeof(*r));

	if (!r) {
		err_nomem(err, sizeof(*r), "range locks");
		return NULL;
	}
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->freed, NULL);
	return r;
}

void ranges_free(struct ranges *r)
{
	if (!r)
		return;
	pthread_cond_destroy(&r->freed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static bool conflicts(const struct ranges *r, const struct range_hold *want)
{
	for (const struct range_hold *h = r->held; h; h = h->next)
		if (h->from < want->to && want->from < h->to && (h->writer || want->writer))
			return true;
	return false;
}

void ranges_lock(struct ranges *r, struct range_hold *hold, uint64_t from, uint64_t to,
		 bool writer)
{
	hold->from = from;
	hold->to = to;
	hold->writer = writer;
	pthread_mutex_lock(&r->lock);
	while (conflicts(r, hold))
		pthread_cond_wait(&r->freed, &r->lock);
	hold->next = r->held;
	r->held = hold;
	pthread_mutex_unlock(&r->lock);
}

void ranges_unlock(struct ranges *r, struct range_hold *hold)
{
	pthread_mutex_lock(&r->lock);
	for (struct range_hold **p = &r->held; *p; p = &(*p)->next) {
		if (*p == hold) {
			*p = hold->next;
			break;
		}
	}
	pthread_cond_broadcast(&r->freed);
	pthread_mutex_unlock(&r->lock);
}
