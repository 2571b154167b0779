/*
 * The reference counts as they will be, a window of refcount blocks at a time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/swap.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define WRITE_MAX  (4u << 20) /* bytes in one request */
#define FREED_MAX  (1u << 20) /* runs that are remembered: past it, space is not given back */
#define BLOCK_MASK (~UINT64_C(511))

int swap_refs_begin(struct swap *s, struct err *err)
{
	struct qcow2 *q = s->q;

	s->per_window = MAX(q->tuning.window >> q->h.cluster_bits, 1);
	s->rank = malloc(q->nreftable * sizeof(*s->rank) + 1);
	s->new_reftable = calloc(q->nreftable + 1, sizeof(*s->new_reftable));
	if (!s->rank || !s->new_reftable)
		return err_nomem(err, q->nreftable * 12, "a refcount table");
	for (uint64_t i = 0; i < q->nreftable; i++)
		s->rank[i] = q->reftable[i] & BLOCK_MASK ? s->nblock++ : UINT32_MAX;
	s->per_window = MIN(s->per_window, s->nblock);
	s->window = mem_alloc((size_t)s->per_window << q->h.cluster_bits);
	if (!s->window)
		return err_nomem(err, (size_t)s->per_window << q->h.cluster_bits,
				 "refcount blocks");
	return 0;
}

int swap_refs_load(struct swap *s, uint32_t first, struct err *err)
{
	struct qcow2 *q = s->q;
	uint64_t from = 0, len = 0;
	uint8_t *to = s->window;

	s->first = first;
	s->n = 0;
	s->low_index = UINT64_MAX;
	for (uint64_t i = 0; i < q->nreftable && s->n < s->per_window; i++) {
		uint64_t off = q->reftable[i] & BLOCK_MASK;

		if (off == 0 || s->rank[i] < first)
			continue;
		if (off & (q->cluster_size - 1))
			return err_set(err, EIO,
				       "Refblock offset 0x%" PRIx64
				       " unaligned (reftable index: 0x%" PRIx64 ")",
				       off, i);
		/* neighbours in one request */
		if (len && (from + len != off || len >= WRITE_MAX)) {
			if (blk_pread(q->image.blk.lower, to, len, from, err))
				return -1;
			to += len;
			len = 0;
		}
		if (len == 0)
			from = off;
		s->low_index = MIN(s->low_index, i);
		s->high_index = i;
		len += q->cluster_size;
		s->n++;
	}
	return len ? blk_pread(q->image.blk.lower, to, len, from, err) : 0;
}

int swap_refs_store(struct swap *s, struct err *err)
{
	struct qcow2 *q = s->q;
	const uint64_t *place = s->single + s->nmovable + s->first;

	for (uint32_t i = 0, n; i < s->n; i += n) {
		for (n = 1; i + n < s->n && place[i + n] == place[i] + n &&
			    n << q->h.cluster_bits < WRITE_MAX;
		     n++)
			;
		if (blk_pwrite(q->image.blk.lower, s->window + ((size_t)i << q->h.cluster_bits),
			       (size_t)n << q->h.cluster_bits, place[i] << q->h.cluster_bits, 0,
			       err))
			return -1;
	}
	for (uint64_t i = 0; i < q->nreftable; i++) {
		uint32_t slot = s->rank[i] - s->first;

		if (s->rank[i] != UINT32_MAX && slot < s->n)
			s->new_reftable[i] = place[slot] << q->h.cluster_bits;
	}
	return 0;
}

static uint8_t *block_at(const struct swap *s, uint64_t i)
{
	uint32_t slot = s->rank[i] - s->first;

	if (s->rank[i] == UINT32_MAX || slot >= s->n)
		return NULL;
	return s->window + ((size_t)slot << s->q->h.cluster_bits);
}

bool swap_refs_get(const struct swap *s, uint64_t cl, uint64_t *refs)
{
	uint64_t i = cl >> s->q->refblock_bits;
	const uint8_t *block = i < s->q->nreftable ? block_at(s, i) : NULL;

	if (!block)
		return false;
	*refs = qcow2_ref_get(s->q->h.refcount_order, block,
			      cl & ((UINT64_C(1) << s->q->refblock_bits) - 1));
	return true;
}

/* ---- changes ---------------------------------------------------------------------- */

static int too_much(const struct swap *s, uint64_t cl, uint64_t max, struct err *err)
{
	return err_set(err, EINVAL,
		       "The refcount of the cluster at 0x%" PRIx64 " would exceed %" PRIu64
		       ", which is the most that %u refcount bits hold",
		       cl << s->q->h.cluster_bits, max, 1u << s->q->h.refcount_order);
}

static int too_little(const struct swap *s, uint64_t cl, struct err *err)
{
	return err_set(err, EIO,
		       "The image is corrupt: the cluster at 0x%" PRIx64
		       " is used more often than its refcount says; check the image",
		       cl << s->q->h.cluster_bits);
}

/* 16 bits, without a branch: *none where a count became 0. False: one is out of bounds, or
 * was 0 although its cluster is in use. */
static bool add_16(uint8_t *p, size_t n, int d, bool *none)
{
	unsigned bad = 0, zero = 0;

	for (size_t i = 0; i < n; i++) {
		uint16_t v;
		int now;

		memcpy(&v, p + 2 * i, 2);
		now = be16toh(v) + d;
		bad |= (unsigned)(now & ~0xffff) | (v == 0);
		zero |= now == 0;
		v = htobe16((uint16_t)now);
		memcpy(p + 2 * i, &v, 2);
	}
	*none = zero;
	return bad == 0;
}

static void forget_run(struct swap *s, uint64_t cl)
{
	struct swap_run *last = s->nfreed ? &s->freed[s->nfreed - 1] : NULL;

	if (s->replaces)
		return;
	if (last && last->cl + last->n == cl) {
		last->n++;
		return;
	}
	if (s->nfreed == s->freed_room) {
		size_t room = s->freed_room ? 2 * s->freed_room : 256;
		struct swap_run *more = NULL;

		if (room <= FREED_MAX)
			more = realloc(s->freed, room * sizeof(*more));
		if (!more)
			return; /* it is free all the same */
		s->freed = more;
		s->freed_room = room;
	}
	s->freed[s->nfreed++] = (struct swap_run){cl, 1};
}

/* One by one; also to find out what was wrong, after `undo` of all. */
static int add_slowly(struct swap *s, uint8_t *block, uint64_t at, uint64_t cl, uint64_t n,
		      int64_t d, struct err *err)
{
	unsigned order = s->q->h.refcount_order;
	uint64_t max = qcow2_ref_max(order);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = qcow2_ref_get(order, block, at + i);

		/* a cluster in use has a count, also where it gets another reference */
		if (d < 0 ? v < (uint64_t)-d : v == 0)
			return too_little(s, cl + i, err);
		if (d > 0 && (uint64_t)d > max - v)
			return too_much(s, cl + i, max, err);
		v += (uint64_t)d;
		qcow2_ref_put(order, block, at + i, v);
		if (v == 0)
			forget_run(s, cl + i);
	}
	return 0;
}

static int add_in_block(struct swap *s, uint8_t *block, uint64_t cl, uint64_t n, int64_t d,
			struct err *err)
{
	uint64_t at = cl & ((UINT64_C(1) << s->q->refblock_bits) - 1);
	bool none;

	if (n < 8 || s->q->h.refcount_order != 4 || d > 1000 || d < -1000)
		return add_slowly(s, block, at, cl, n, d, err);
	if (!add_16(block + 2 * at, n, (int)d, &none)) {
		add_16(block + 2 * at, n, (int)-d, &none); /* the same bits as before */
		return add_slowly(s, block, at, cl, n, d, err);
	}
	for (uint64_t i = 0; none && i < n; i++)
		if (get_be16(block + 2 * (at + i)) == 0)
			forget_run(s, cl + i);
	return 0;
}

int swap_refs_add(struct swap *s, uint64_t cl, uint64_t n, int64_t d, struct err *err)
{
	uint64_t per = UINT64_C(1) << s->q->refblock_bits;

	while (n > 0 && d) {
		uint64_t i = cl >> s->q->refblock_bits, part = MIN(n, per - (cl & (per - 1)));
		uint8_t *block;

		if (i >= s->q->nreftable || s->rank[i] == UINT32_MAX)
			return too_little(s, cl, err);
		block = block_at(s, i);
		if (block && add_in_block(s, block, cl, part, d, err))
			return -1;
		cl += part;
		n -= part;
	}
	return 0;
}
