/*
 * Snapshots for readers: docs/interop/qcow2.rst, section "Snapshots". An image shows one
 * instead of the active disk; how much only one of them holds.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/snapshot.h"
#include "lib/bytes.h"
#include "lib/mem.h"

int qcow2_snapshot_l1(const struct qcow2 *q, const struct qcow2_snapshot *s, uint64_t **l1,
		      uint64_t *n, struct err *err)
{
	uint64_t need = qcow2_l1_needed(&q->h, s->info.disk_size);
	uint64_t len = s->l1_size * UINT64_C(8);

	*l1 = NULL;
	if (len > QCOW2_L1_MAX || need > QCOW2_L1_MAX / 8 || s->info.disk_size > INT64_MAX)
		return err_set(err, EFBIG, "Snapshot L1 table too large");
	if (s->l1_off & (q->cluster_size - 1) || s->l1_off > INT64_MAX - len)
		return err_set(err, EINVAL, "Snapshot L1 table offset invalid");
	if (s->l1_off + len > blk_size(q->image.blk.lower))
		return err_set(err, EINVAL,
			       "The L1 table of the snapshot, at 0x%" PRIx64
			       ", is beyond the end of the file",
			       s->l1_off);
	/* a table that is too short says nothing of the rest, as the peer takes it */
	*n = MAX(s->l1_size, need);
	*l1 = calloc(*n + 1, sizeof(**l1));
	if (!*l1)
		return err_nomem(err, *n * 8, "the L1 table of a snapshot");
	if (blk_pread(q->image.blk.lower, *l1, len, s->l1_off, err)) {
		free(*l1);
		*l1 = NULL;
		return -1;
	}
	for (uint64_t i = 0; i < s->l1_size; i++)
		(*l1)[i] = get_be64(&(*l1)[i]);
	return 0;
}

int qcow2_snapshot_load(struct image *image, size_t i, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	uint64_t *l1, n;

	if (i >= q->nsnapshot || (q->flags & IMAGE_WRITE) || !q->l1)
		return err_set(err, EINVAL, "A snapshot is shown by images open to be read");
	if (qcow2_snapshot_l1(q, &q->snapshot[i], &l1, &n, err))
		return -1;
	free(q->l1);
	q->l1 = l1;
	/* the header stays that of the file: bitmaps, for one, are as long as that says */
	image->blk.size = round_down(q->snapshot[i].info.disk_size, 512);
	return 0;
}

/* ---- what only one holds ----------------------------------------------------------- */

/* Host clusters with compressed data that one snapshot refers to more than once: the
 * refcount of such a cluster may be all its own. Sorted, then counted. */
struct packed_list {
	uint64_t *cl;
	size_t n, room;
};

struct holder {
	struct qcow2 *q;
	struct packed_list packed;
	uint8_t *table; /* a buffer of a cluster */
	uint64_t alone; /* clusters */
};

static int hold_packed(struct holder *h, uint64_t entry, struct err *err)
{
	struct packed_list *p = &h->packed;
	uint64_t off, last;
	uint32_t len;

	qcow2_packed_place(h->q, entry, &off, &len);
	last = (off + len - 1) >> h->q->h.cluster_bits;
	for (uint64_t cl = off >> h->q->h.cluster_bits; cl <= last; cl++) {
		if (p->n == p->room) {
			size_t room = p->room ? 2 * p->room : 1024;
			uint64_t *more = realloc(p->cl, room * sizeof(*more));

			if (!more)
				return err_nomem(err, room * sizeof(*more),
						 "compressed clusters");
			p->cl = more;
			p->room = room;
		}
		p->cl[p->n++] = cl;
	}
	return 0;
}

/* A cluster that has one reference: ours. */
static int hold(struct holder *h, uint64_t off, struct err *err)
{
	uint64_t refs;

	if (qcow2_ref_of(h->q, off >> h->q->h.cluster_bits, &refs, err))
		return -1;
	h->alone += refs == 1;
	return 0;
}

static int hold_table(struct holder *h, uint64_t off, struct err *err)
{
	struct qcow2 *q = h->q;

	if (off & (q->cluster_size - 1))
		return qcow2_corrupt(q, err, "L2 table offset %#" PRIx64 " unaligned", off);
	if (blk_pread(q->image.blk.lower, h->table, q->cluster_size, off, err))
		return -1;
	for (uint64_t i = 0; i < UINT64_C(1) << q->l2_bits; i++) {
		uint64_t entry = get_be64(h->table + i * q->l2_entry);

		if (entry & QCOW2_COMPRESSED ? hold_packed(h, entry, err)
		    : entry & QCOW2_OFF_MASK ? hold(h, entry & QCOW2_OFF_MASK, err)
					     : 0)
			return -1;
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int count_packed(struct holder *h, struct err *err)
{
	const struct packed_list *p = &h->packed;
	uint64_t refs;

	if (p->n)
		qsort(p->cl, p->n, sizeof(*p->cl), by_number);
	for (size_t i = 0, k; i < p->n; i = k) {
		for (k = i + 1; k < p->n && p->cl[k] == p->cl[i]; k++)
			;
		if (qcow2_ref_of(h->q, p->cl[i], &refs, err))
			return -1;
		h->alone += refs == k - i;
	}
	return 0;
}

/* Tables that others have, too, lead to nothing that others do not have. */
static int hold_all(struct holder *h, const struct qcow2_snapshot *s, struct err *err)
{
	uint64_t *l1, n;
	int rc = 0;

	h->alone = div_up(s->l1_size * UINT64_C(8), h->q->cluster_size);
	h->packed.n = 0;
	if (qcow2_snapshot_l1(h->q, s, &l1, &n, err))
		return -1;
	for (uint64_t i = 0; rc == 0 && i < s->l1_size; i++) {
		uint64_t off = l1[i] & QCOW2_OFF_MASK, refs;

		if (off == 0)
			continue;
		rc = qcow2_ref_of(h->q, off >> h->q->h.cluster_bits, &refs, err);
		if (rc == 0 && refs == 1) {
			h->alone++;
			rc = hold_table(h, off, err);
		}
	}
	free(l1);
	return rc ? -1 : count_packed(h, err);
}

/* The counts, which readers do without otherwise. */
static int load_counts(struct qcow2 *q, struct err *err)
{
	unsigned pieces = (unsigned)MAX(q->tuning.ref_cache / q->cluster_size, 64);

	if (!q->reftable && qcow2_reftable_load(q, err))
		return -1;
	if (!q->ref_cache)
		q->ref_cache = cache_new(q->image.blk.lower, q->cluster_size, pieces, err);
	return q->ref_cache ? 0 : -1;
}

int qcow2_snapshot_exclusive(struct image *image, uint64_t *bytes, size_t n, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	struct holder h = {.q = q};
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	h.table = mem_alloc(q->cluster_size);
	if (!h.table)
		rc = err_nomem(err, q->cluster_size, "an L2 table");
	if (rc == 0)
		rc = load_counts(q, err);
	for (size_t i = 0; rc == 0 && i < n && i < q->nsnapshot; i++) {
		rc = hold_all(&h, &q->snapshot[i], err);
		bytes[i] = h.alone << q->h.cluster_bits;
	}
	free(h.table);
	free(h.packed.cl);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
