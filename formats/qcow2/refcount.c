/*
 * Reference counts: docs/interop/qcow2.rst, section "Host cluster management".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/zero.h"

/* What waits to be freed is bounded: then the tables are synced first. */
#define LATER_MAX 65536

uint64_t qcow2_ref_get(unsigned order, const uint8_t *block, uint64_t i)
{
	switch (order) {
	case 3:
		return block[i];
	case 4:
		return get_be16(block + 2 * i);
	case 5:
		return get_be32(block + 4 * i);
	case 6:
		return get_be64(block + 8 * i);
	default: { /* several in a byte, the first in its lowest bits */
		unsigned bits = 1u << order, per_byte = 8 / bits;

		return block[i / per_byte] >> (i % per_byte * bits) & ((1u << bits) - 1);
	}
	}
}

void qcow2_ref_put(unsigned order, uint8_t *block, uint64_t i, uint64_t v)
{
	switch (order) {
	case 3:
		block[i] = (uint8_t)v;
		break;
	case 4:
		put_be16(block + 2 * i, (uint16_t)v);
		break;
	case 5:
		put_be32(block + 4 * i, (uint32_t)v);
		break;
	case 6:
		put_be64(block + 8 * i, v);
		break;
	default: {
		unsigned bits = 1u << order, per_byte = 8 / bits;
		unsigned shift = i % per_byte * bits;
		unsigned mask = ((1u << bits) - 1) << shift;

		block[i / per_byte] = (uint8_t)((block[i / per_byte] & ~mask) |
						(unsigned)v << shift);
	}
	}
}

int qcow2_reftable_load(struct qcow2 *q, struct err *err)
{
	uint64_t bytes = (uint64_t)q->h.reftable_cl << q->h.cluster_bits;

	/* bounded by QCOW2_REFTABLE_MAX */
	q->nreftable = bytes / 8;
	q->reftable = mem_alloc(bytes);
	if (!q->reftable)
		return err_nomem(err, bytes, "the refcount table");
	if (bytes && blk_pread(q->image.blk.lower, q->reftable, bytes, q->h.reftable_off, err))
		return err_prefix(err, "Could not read refcount table");
	for (uint64_t i = 0; i < q->nreftable; i++)
		q->reftable[i] = get_be64(&q->reftable[i]);
	return 0;
}

int qcow2_refblock_get(struct qcow2 *q, uint64_t i, uint8_t **block, struct err *err)
{
	uint64_t off = i < q->nreftable ? q->reftable[i] & ~UINT64_C(511) : 0;

	*block = NULL;
	if (off == 0)
		return 0;
	if (off & (q->cluster_size - 1))
		return qcow2_corrupt(q, err,
				     "Refblock offset %#" PRIx64
				     " unaligned (reftable index: %#" PRIx64 ")",
				     off, i);
	*block = cache_get(q->ref_cache, off, err);
	return *block ? 0 : -1;
}

int qcow2_ref_of(struct qcow2 *q, uint64_t cl, uint64_t *refs, struct err *err)
{
	uint64_t i = cl & ((UINT64_C(1) << q->refblock_bits) - 1);
	uint8_t *block;

	*refs = 0;
	if (qcow2_refblock_get(q, cl >> q->refblock_bits, &block, err))
		return -1;
	if (!block)
		return 0;
	*refs = qcow2_ref_get(q->h.refcount_order, block, i);
	cache_put(q->ref_cache, block);
	return 0;
}

/* Cluster cl, entry i of `block`, gets or loses a reference. */
static int change_one(struct qcow2 *q, uint8_t *block, uint64_t i, uint64_t cl, bool more,
		      struct err *err)
{
	unsigned order = q->h.refcount_order;
	uint64_t v = qcow2_ref_get(order, block, i);
	uint64_t off = cl << q->h.cluster_bits;

	if (more && v == qcow2_ref_max(order))
		return err_set(err, EINVAL,
			       "The refcount of the cluster at 0x%" PRIx64
			       " would exceed %" PRIu64
			       ", which is the most that %u refcount bits hold",
			       off, qcow2_ref_max(order), 1u << order);
	if (!more && v == 0)
		return qcow2_corrupt(
			q, err,
			"The cluster at 0x%" PRIx64 " is in use, but has a refcount of 0", off);
	v += more ? 1 : -1;
	qcow2_ref_put(order, block, i, v);
	if (v > 0)
		return 0;
	q->free_cl = MIN(q->free_cl, cl);
	/* it may become anything: what it was must not be written any more */
	cache_forget(q->l2_cache, off);
	if (q->packed_off && (q->packed_off - 1) >> q->h.cluster_bits == cl)
		q->packed_off = 0;
	return 0;
}

/* n entries from i on have changed. */
static void mark(struct qcow2 *q, uint8_t *block, uint64_t i, uint64_t n)
{
	unsigned order = q->h.refcount_order;
	uint64_t from = (i << order) / 8, to = div_up((i + n) << order, 8);

	cache_dirty_part(q->ref_cache, block, from, to - from);
}

bool qcow2_refs_none(unsigned order, const uint8_t *block, uint64_t i, uint64_t n)
{
	if (order >= 3)
		return zero_is(block + (i << (order - 3)), n << (order - 3));
	for (uint64_t k = 0; k < n; k++)
		if (qcow2_ref_get(order, block, i + k))
			return false;
	return true;
}

/* The first reference to each of n clusters that have none. */
static void set_first(unsigned order, uint8_t *block, uint64_t i, uint64_t n)
{
	if (order != 4) {
		for (uint64_t k = 0; k < n; k++)
			qcow2_ref_put(order, block, i + k, 1);
		return;
	}
	block += 2 * i;
	for (uint64_t k = 0; k < n; k++)
		put_be16(block + 2 * k, 1);
}

int qcow2_ref_change(struct qcow2 *q, uint64_t cl, uint64_t n, bool more, struct err *err)
{
	uint64_t per = UINT64_C(1) << q->refblock_bits;

	while (n > 0) {
		uint64_t i = cl & (per - 1), part = MIN(n, per - i), k;
		uint8_t *block;

		if (qcow2_refblock_get(q, cl >> q->refblock_bits, &block, err))
			return -1;
		if (!block)
			return qcow2_corrupt(q, err,
					     "The cluster at 0x%" PRIx64
					     " is in use, but has a refcount of 0",
					     cl << q->h.cluster_bits);
		k = 0;
		if (more && qcow2_refs_none(q->h.refcount_order, block, i, part))
			set_first(q->h.refcount_order, block, i, k = part);
		for (; k < part; k++)
			if (change_one(q, block, i + k, cl + k, more, err))
				break;
		mark(q, block, i, part);
		cache_put(q->ref_cache, block);
		if (k < part)
			return -1;
		cl += part;
		n -= part;
	}
	return 0;
}

int qcow2_free_now(struct qcow2 *q, uint64_t off, uint64_t len, struct err *err)
{
	uint64_t first = off >> q->h.cluster_bits;
	uint64_t last = (off + len - 1) >> q->h.cluster_bits;

	return qcow2_ref_change(q, first, last - first + 1, false, err);
}

bool qcow2_passes(const struct qcow2 *q, enum qcow2_free_for why)
{
	enum qcow2_pass pass = why == QCOW2_FREE_REQUEST    ? q->tuning.pass_request
			       : why == QCOW2_FREE_SNAPSHOT ? q->tuning.pass_snapshot
							    : q->tuning.pass_other;

	if (pass == QCOW2_PASS_AS_DISCARD)
		return !(q->image.blk.caps & BLK_NO_UNMAP);
	return pass == QCOW2_PASS_ON;
}

int qcow2_free_later(struct qcow2 *q, uint64_t off, uint64_t len, enum qcow2_free_for why,
		     struct err *err)
{
	struct qcow2_freed *last = q->nlater ? &q->later[q->nlater - 1] : NULL;
	uint64_t mask = q->cluster_size - 1;

	if (last && last->why == why && last->off + last->len == off &&
	    ((last->off | last->len | off | len) & mask) == 0) {
		last->len += len;
		q->later_bytes += len;
		return 0;
	}
	if (q->nlater >= LATER_MAX && qcow2_sync(q, false, err))
		return -1;
	if (q->nlater == q->later_room) {
		size_t room = q->later_room ? 2 * q->later_room : 64;
		struct qcow2_freed *grown = realloc(q->later, room * sizeof(*grown));

		if (!grown)
			return err_nomem(err, room * sizeof(*grown), "freed clusters");
		q->later = grown;
		q->later_room = room;
	}
	q->later[q->nlater++] = (struct qcow2_freed){off, len, why};
	q->later_bytes += len;
	return 0;
}
