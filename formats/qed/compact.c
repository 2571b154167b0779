/*
 * Leaks repaired: the last clusters of the file move into the holes, and the file is cut.
 *
 * A move goes down from the end, so no source is the place of another one: the old tables and
 * data are all there until the new ones are stable. For a table that finds no hole as long as
 * itself the data around a hole makes room, at the end, and moves down again after it; there
 * what was a source is made free by a sync. Between two tables a hole may stay a leak.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qed/check.h"
#include "lib/mem.h"

#define NOBODY UINT64_MAX

struct compact {
	struct qed *q;
	uint8_t *used;
	uint64_t *owner; /* of a cluster: 2 * guest cluster, 2 * L1 index + 1, or NOBODY */
	uint64_t hole, table_hole, window; /* none that is as long as needed is before */
	uint64_t last;
	uint8_t *buf;
};

static bool is_used(const struct compact *c, uint64_t i)
{
	return c->used[i / 8] & (1u << i % 8);
}

static void mark(struct compact *c, uint64_t i, uint64_t n, bool used)
{
	for (; n > 0; i++, n--) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		c->used[i / 8] = used ? c->used[i / 8] | bit : c->used[i / 8] & (uint8_t)~bit;
	}
}

static int find_owners(struct compact *c, struct err *err)
{
	struct qed *q = c->q;
	uint64_t l2, entry;

	for (uint64_t i = 0; i < c->last; i++)
		c->owner[i] = NOBODY;
	for (uint64_t i = 0; i < q->per_table; i++) {
		if (qed_l2_of(q, i, &l2, err))
			return -1;
		if (l2 == 0)
			continue;
		c->owner[l2 / q->h.cluster_size] = 2 * i + 1;
		for (uint64_t k = 0; k < q->per_table; k++) {
			if (entries_get(&q->l2, l2 + 8 * k, &entry, err))
				return -1;
			if (entry > QED_ZERO)
				c->owner[entry / q->h.cluster_size] = 2 *
								      (i * q->per_table + k);
		}
	}
	return 0;
}

static int copy(struct compact *c, uint64_t from, uint64_t to, uint64_t n, struct err *err)
{
	struct blk *file = c->q->b.image.blk.lower;
	uint32_t size = c->q->h.cluster_size;

	for (uint64_t i = 0; i < n; i++)
		if (blk_pread(file, c->buf, size, (from + i) * size, err) ||
		    blk_pwrite(file, c->buf, size, (to + i) * size, 0, err))
			return -1;
	return 0;
}

static int move_table(struct compact *c, uint64_t from, uint64_t to, struct err *err)
{
	struct qed *q = c->q;
	uint64_t size = q->h.cluster_size;

	/* what is copied is what is in the file */
	if (entries_flush(&q->l2, err) || copy(c, from, to, q->h.table_size, err))
		return -1;
	for (uint64_t at = 0; at < q->table; at += QED_PIECE)
		cache_forget(q->l2.cache, from * size + at);
	entries_data_written(&q->l1);
	return entries_set(&q->l1, q->h.l1_off + 8 * (c->owner[from] / 2), to * size, err);
}

static int move_data(struct compact *c, uint64_t from, uint64_t to, struct err *err)
{
	struct qed *q = c->q;
	uint64_t i = c->owner[from] / 2, l2;

	if (copy(c, from, to, 1, err) || qed_l2_of(q, i / q->per_table, &l2, err))
		return -1;
	entries_data_written(&q->l2);
	return entries_set(&q->l2, l2 + 8 * (i % q->per_table), to * q->h.cluster_size, err);
}

/* The lowest n free clusters below `end`, one after the other. Holes are only filled, so a
 * search goes on where the last one ended. */
static bool find_hole(struct compact *c, uint64_t n, uint64_t end, uint64_t *at)
{
	uint64_t *cursor = n == 1 ? &c->hole : &c->table_hole, have = 0;

	for (uint64_t i = *cursor; i < end; i++) {
		have = is_used(c, i) ? 0 : have + 1;
		*cursor = *at = i + 1 - have;
		if (have == n)
			return true;
	}
	return false;
}

static int sync_all(struct compact *c, struct err *err)
{
	struct qed *q = c->q;

	if (entries_flush(&q->l2, err) || entries_flush(&q->l1, err))
		return -1;
	return blk_flush(q->b.image.blk.lower, err);
}

static int move(struct compact *c, uint64_t from, uint64_t to, uint64_t n, struct err *err)
{
	int rc = c->owner[from] % 2 ? move_table(c, from, to, err)
				    : move_data(c, from, to, err);

	if (rc)
		return -1;
	mark(c, to, n, true);
	mark(c, from, n, false);
	memmove(c->owner + to, c->owner + from, n * sizeof(*c->owner));
	return 0;
}

/* Is there nothing but data and holes? */
static bool may_clear(const struct compact *c, uint64_t at, uint64_t n)
{
	for (uint64_t i = at; i < at + n; i++)
		if (is_used(c, i) && c->owner[i] % 2) /* NOBODY is odd, too */
			return false;
	return true;
}

static bool find_window(struct compact *c, uint64_t n, uint64_t end, uint64_t *at)
{
	for (; c->window < end; c->window++) {
		if (is_used(c, c->window))
			continue;
		for (uint64_t k = 0; k < n && k <= c->window; k++) {
			*at = c->window - k;
			if (*at + n <= end && may_clear(c, *at, n))
				return true;
		}
	}
	return false;
}

/* The last n clusters are a table; its new place is made by moving up what is there. */
static int make_room(struct compact *c, uint64_t from, uint64_t n, struct err *err)
{
	uint64_t to;

	if (!find_window(c, n, from, &to))
		return 0;
	for (uint64_t i = to; i < to + n; i++) {
		if (!is_used(c, i))
			continue;
		c->q->whole = (c->last + 1) * c->q->h.cluster_size;
		if (move(c, i, c->last, 1, err))
			return -1;
		c->last++;
	}
	if (sync_all(c, err) || move(c, from, to, n, err) || sync_all(c, err))
		return -1;
	return 1;
}

/* 1: there is more to do. */
static int move_last(struct compact *c, struct err *err)
{
	uint64_t n = 1, from, to;

	while (c->last > 0 && !is_used(c, c->last - 1))
		c->last--;
	from = c->last - 1;
	if (c->last == 0)
		return 0;
	if (c->owner[from] == NOBODY || c->owner[from] % 2) {
		n = c->q->h.table_size;
		if (c->last < n)
			return 0;
		from = c->last - n;
		if (c->owner[from] == NOBODY || c->owner[from] % 2 == 0)
			return 0; /* the L1 table, or the header */
	}
	if (find_hole(c, n, from, &to))
		return move(c, from, to, n, err) ? -1 : 1;
	return n > 1 ? make_room(c, from, n, err) : 0;
}

static int cut(struct compact *c, struct err *err)
{
	struct qed *q = c->q;
	struct blk *file = q->b.image.blk.lower;

	if (sync_all(c, err) ||
	    blk_resize(file, c->last * q->h.cluster_size, PREALLOC_OFF, err))
		return -1;
	q->whole = c->last * q->h.cluster_size;
	return 0;
}

int qed_compact(struct qed *q, uint8_t *used, uint64_t *clusters, struct err *err)
{
	AUTO_FREE uint64_t *owner = calloc(*clusters + QED_TABLE_MAX, sizeof(*owner));
	AUTO_FREE uint8_t *buf = mem_alloc(q->h.cluster_size);
	struct compact c = {.q = q, .used = used, .owner = owner, .buf = buf};
	int rc;

	c.last = *clusters;
	if (!owner || !buf)
		return err_nomem(err, *clusters * sizeof(*owner), "the owners of clusters");
	if (find_owners(&c, err))
		return -1;
	do
		rc = move_last(&c, err);
	while (rc > 0);
	if (rc || cut(&c, err))
		return -1;
	*clusters = c.last;
	return 0;
}
