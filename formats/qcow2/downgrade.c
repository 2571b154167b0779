/*
 * An image without zero clusters, for version 2: docs/interop/qcow2.rst, bit 0 of the
 * "Standard Cluster Descriptor".
 *
 * A zero cluster with a place of its own gets zeros written there; one without is taken out
 * of the table where nothing is below, and else gets a place with zeros. The disk and the
 * snapshots may share tables: each is changed once, in place, and means the same before and
 * after. What a table is to refer to is stable before it is written, what it referred to is
 * freed after.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/amend.h"
#include "formats/qcow2/snapshot.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define INACTIVE 1u /* in an offset: no entry of the active L1 table has it */

struct tables {
	uint64_t *off; /* sorted, each once */
	size_t n, room;
};

static int add_all(struct tables *t, const uint64_t *l1, uint64_t n, unsigned flag,
		   struct err *err)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = l1[i] & QCOW2_OFF_MASK;

		if (!off)
			continue;
		if (t->n == t->room) {
			size_t room = t->room ? 2 * t->room : 256;
			uint64_t *grown = realloc(t->off, room * sizeof(*grown));

			if (!grown)
				return err_nomem(err, room * sizeof(*grown),
						 "a list of tables");
			t->off = grown;
			t->room = room;
		}
		t->off[t->n++] = off | flag;
	}
	return 0;
}

static int by_off(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* All L2 tables of the disk and of the snapshots. */
static int gather(struct qcow2 *q, struct tables *t, struct err *err)
{
	size_t kept = 0;

	if (add_all(t, q->l1, q->h.l1_size, 0, err))
		return -1;
	for (uint32_t i = 0; i < q->nsnapshot; i++) {
		AUTO_FREE uint64_t *l1 = NULL;
		uint64_t n;

		if (qcow2_snapshot_l1(q, &q->snapshot[i], &l1, &n, err) ||
		    add_all(t, l1, n, INACTIVE, err))
			return -1;
	}
	if (t->n)
		qsort(t->off, t->n, sizeof(*t->off), by_off);
	for (size_t i = 0; i < t->n; i++)
		if (kept == 0 || (t->off[i] & ~(uint64_t)INACTIVE) !=
					 (t->off[kept - 1] & ~(uint64_t)INACTIVE))
			t->off[kept++] = t->off[i];
	t->n = kept;
	return 0;
}

static int read_table(struct qcow2 *q, uint64_t off, uint8_t *buf, struct err *err)
{
	if (off % q->cluster_size != 0)
		return qcow2_corrupt(q, err, "L2 table offset %#" PRIx64 " unaligned", off);
	return blk_pread(q->image.blk.lower, buf, q->cluster_size, off, err);
}

int qcow2_downgrade_packed(struct qcow2 *q, struct err *err)
{
	AUTO_FREE uint8_t *buf = mem_alloc(q->cluster_size);
	struct tables t = {0};
	int rc = 0;

	if (!buf)
		return err_nomem(err, q->cluster_size, "an L2 table");
	if (qcow2_sync(q, true, err) || gather(q, &t, err))
		rc = -1;
	for (size_t i = 0; rc == 0 && i < t.n; i++) {
		rc = read_table(q, t.off[i] & ~(uint64_t)INACTIVE, buf, err);
		for (size_t k = 0; rc == 0 && k < q->cluster_size; k += 8)
			if (get_be64(buf + k) & QCOW2_COMPRESSED)
				rc = err_set(err, ENOTSUP,
					     "Cannot downgrade an image with zstd compression "
					     "type and existing compressed clusters");
	}
	free(t.off);
	return rc;
}

/* One L2 table at work. */
struct work {
	struct qcow2 *q;
	uint64_t off, refs; /* refs: how many L1 entries name it */
	bool active;
	uint8_t *now, *old;
};

/* A cluster of zeros, counted for each who will refer to it. */
static int new_zeros(struct work *w, uint64_t *host, struct err *err)
{
	struct qcow2 *q = w->q;
	uint64_t got;
	bool fresh;

	if (qcow2_alloc(q, 1, false, host, &got, &fresh, err))
		return -1;
	for (uint64_t i = 1; i < w->refs; i++)
		if (qcow2_ref_change(q, *host >> q->h.cluster_bits, 1, true, err))
			return -1;
	q->file_end = MAX(q->file_end, *host + q->cluster_size);
	return blk_zero(q->image.blk.lower, *host, q->cluster_size, 0, err);
}

static int expand_entry(struct work *w, size_t at, struct err *err)
{
	struct qcow2 *q = w->q;
	uint64_t entry = get_be64(w->now + at), host = entry & QCOW2_OFF_MASK, refs = 0;

	if ((entry & QCOW2_COMPRESSED) || !(entry & QCOW2_ZERO))
		return 0;
	if (host % q->cluster_size != 0)
		return qcow2_corrupt(q, err,
				     "Data cluster offset 0x%" PRIx64
				     " unaligned (L2 offset: %#" PRIx64 ")",
				     host, w->off);
	if (host && qcow2_ref_of(q, host >> q->h.cluster_bits, &refs, err))
		return -1;
	if (host && refs == w->refs) {
		/* nobody sees what is there */
		if (qcow2_overlap_check(q, 0, host, q->cluster_size, err) ||
		    blk_zero(q->image.blk.lower, host, q->cluster_size, 0, err))
			return -1;
		entry &= ~QCOW2_ZERO;
	} else if (!q->h.backing_off) {
		entry = 0;
	} else {
		if (new_zeros(w, &host, err))
			return -1;
		entry = host | (w->active && w->refs == 1 ? QCOW2_COPIED : 0);
	}
	put_be64(w->now + at, entry);
	return 0;
}

/* What the entries had and have no more. */
static int free_replaced(struct work *w, struct err *err)
{
	for (size_t k = 0; k < w->q->cluster_size; k += 8) {
		uint64_t was = get_be64(w->old + k) & QCOW2_OFF_MASK;

		if (get_be64(w->old + k) & QCOW2_COMPRESSED || !was ||
		    was == (get_be64(w->now + k) & QCOW2_OFF_MASK))
			continue;
		for (uint64_t i = 0; i < w->refs; i++)
			if (qcow2_free_later(w->q, was, w->q->cluster_size, QCOW2_FREE_OTHER,
					     err))
				return -1;
	}
	return 0;
}

static int expand_table(struct work *w, struct err *err)
{
	struct qcow2 *q = w->q;

	if (read_table(q, w->off, w->now, err) ||
	    qcow2_ref_of(q, w->off >> q->h.cluster_bits, &w->refs, err))
		return -1;
	if (w->refs == 0)
		return qcow2_corrupt(q, err, "The L2 table at %#" PRIx64 " has a refcount of 0",
				     w->off);
	memcpy(w->old, w->now, q->cluster_size);
	for (size_t k = 0; k < q->cluster_size; k += 8)
		if (expand_entry(w, k, err))
			return -1;
	if (memcmp(w->old, w->now, q->cluster_size) == 0)
		return 0;
	if (cache_flush(q->ref_cache, err) || blk_flush(q->image.blk.lower, err))
		return -1;
	cache_forget(q->l2_cache, w->off);
	if (qcow2_metadata_write(q, QCOW2_META_ACTIVE_L2 | QCOW2_META_INACTIVE_L2, w->now,
				 q->cluster_size, w->off, err))
		return -1;
	return free_replaced(w, err);
}

int qcow2_downgrade_zeros(struct qcow2 *q, const struct amend_progress *p, struct err *err)
{
	AUTO_FREE uint8_t *now = mem_alloc(q->cluster_size);
	AUTO_FREE uint8_t *old = mem_alloc(q->cluster_size);
	struct work w = {.q = q, .now = now, .old = old};
	struct tables t = {0};
	int rc = 0;

	if (!now || !old)
		return err_nomem(err, q->cluster_size, "an L2 table");
	if (qcow2_sync(q, true, err) || gather(q, &t, err))
		rc = -1;
	for (size_t i = 0; rc == 0 && i < t.n; i++) {
		w.active = !(t.off[i] & INACTIVE);
		w.off = t.off[i] & ~(uint64_t)INACTIVE;
		rc = expand_table(&w, err);
		if (p->tell)
			p->tell(p->arg, i + 1, t.n);
	}
	free(t.off);
	return rc ? -1 : qcow2_sync(q, true, err);
}
