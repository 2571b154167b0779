/*
 * Is there less of the file than the reference counts speak of? Then clusters were
 * allocated ahead (preallocation=metadata) and data may lie in holes of the file. The
 * peer's rule, found by experiment: about a tenth of the clusters must be missing, and
 * at least two. Below that its `map` shows holes as data, and so does ours.
 */
#include "formats/qcow2/qcow2.h"

#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/zero.h"

static bool missing(uint64_t used_cl, uint64_t real_cl)
{
	uint64_t gone = used_cl > real_cl ? used_cl - real_cl : 0;

	return gone >= 2 && gone >= (used_cl + 1) / 10;
}

/* How many of n entries of a refcount block are not zero. */
static uint64_t count_used(const uint8_t *block, uint64_t n, unsigned order)
{
	uint64_t used = 0;

	for (uint64_t i = 0; i < n; i++) {
		if (order < 3) {
			unsigned bits = 1u << order, per = 8 / bits;
			unsigned v = block[i / per] >> (i % per * bits);

			used += (v & ((1u << bits) - 1)) != 0;
		} else {
			size_t bytes = (size_t)1 << (order - 3);

			used += !zero_is(block + i * bytes, bytes);
		}
	}
	return used;
}

/* Refcount blocks in order, until it is certain. Any error: no. */
static bool count_blocks(struct qcow2 *q, const uint8_t *table, uint64_t entries,
			 uint64_t all_cl, uint64_t real_cl)
{
	uint64_t per_block = UINT64_C(1) << q->refblock_bits, used = 0;
	AUTO_FREE uint8_t *block = mem_alloc(q->cluster_size);
	struct err ignored;

	for (uint64_t i = 0; block && i < entries && i * per_block < all_cl; i++) {
		uint64_t off = get_be64(table + 8 * i) & ~UINT64_C(511);

		if (!off)
			continue;
		if (blk_pread(q->image.blk.lower, block, q->cluster_size, off, &ignored))
			return false;
		if (zero_is(block, q->cluster_size))
			continue;
		used += count_used(block, MIN(per_block, all_cl - i * per_block),
				   q->h.refcount_order);
		if (missing(used, real_cl))
			return true;
	}
	return false;
}

bool qcow2_hollow(struct blk *blk)
{
	struct qcow2 *q = qcow2_of(blk);
	int64_t usage = blk_disk_usage(blk->lower);
	uint64_t all_cl = div_up(blk_size(blk->lower), q->cluster_size);
	uint64_t real_cl = usage < 0 ? 0 : (uint64_t)usage / q->cluster_size;
	size_t len = (size_t)q->h.reftable_cl *
		     q->cluster_size; /* at most QCOW2_REFTABLE_MAX */
	AUTO_FREE uint8_t *table = NULL;
	struct err ignored;

	/* for most images this is the end: not even all clusters would be enough */
	if (usage < 0 || !missing(all_cl, real_cl))
		return false;
	table = mem_alloc(len);
	if (!table || blk_pread(blk->lower, table, len, q->h.reftable_off, &ignored))
		return false;
	return count_blocks(q, table, len / 8, all_cl, real_cl);
}
