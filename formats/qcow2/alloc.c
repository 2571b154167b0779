/*
 * The allocation of host clusters: docs/interop/qcow2.rst, section "Host cluster
 * management".
 *
 * Places depend on the order of the calls and on nothing else. A refcount block that is
 * missing is put right behind the clusters that need it, the refcount table, when it is
 * full, behind all that is in use.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* Entries point to places below 2^56. */
static uint64_t cluster_limit(const struct qcow2 *q)
{
	return UINT64_C(1) << (56 - q->h.cluster_bits);
}

static bool has_block(const struct qcow2 *q, uint64_t i)
{
	return i < q->nreftable && q->reftable[i] != 0;
}

/* How many clusters from cl on, at most max, are free (or, with used, are not). */
static int count_run(struct qcow2 *q, uint64_t cl, uint64_t max, bool used, uint64_t *n,
		     struct err *err)
{
	unsigned order = q->h.refcount_order;
	uint64_t per = UINT64_C(1) << q->refblock_bits;

	*n = 0;
	while (*n < max) {
		uint64_t at = cl + *n, i = at & (per - 1), part = MIN(max - *n, per - i), k;
		uint8_t *block;

		if (qcow2_refblock_get(q, at >> q->refblock_bits, &block, err))
			return -1;
		if (!block) {
			if (used)
				return 0;
			*n += part;
			continue;
		}
		k = !used && qcow2_refs_none(order, block, i, part) ? part : 0;
		for (; k < part; k++)
			if ((qcow2_ref_get(order, block, i + k) != 0) != used)
				break;
		cache_put(q->ref_cache, block);
		*n += k;
		if (k < part)
			return 0;
	}
	return 0;
}

/* The first free run at or past `from`, of at most `want` clusters, or of exactly so
 * many. */
static int find_free(struct qcow2 *q, uint64_t from, uint64_t want, bool whole, uint64_t *cl,
		     uint64_t *got, struct err *err)
{
	uint64_t limit = cluster_limit(q);

	for (uint64_t n;; from += *got) {
		if (from < limit) {
			if (count_run(q, from, limit - from, true, &n, err))
				return -1;
			from += n;
		}
		if (from >= limit || want > limit - from)
			return err_set(err, EFBIG,
				       "The image file would exceed %" PRIu64 " bytes",
				       UINT64_C(1) << 56);
		if (count_run(q, from, want, false, got, err))
			return -1;
		if (*got == want || !whole)
			break;
	}
	*cl = from;
	return 0;
}

int qcow2_tail(struct qcow2 *q, uint64_t *cl, struct err *err)
{
	uint64_t per = UINT64_C(1) << q->refblock_bits;

	for (uint64_t b = q->nreftable; b-- > 0;) {
		uint8_t *block;
		uint64_t i = per;

		if (qcow2_refblock_get(q, b, &block, err))
			return -1;
		if (!block)
			continue;
		while (i > 0 && qcow2_ref_get(q->h.refcount_order, block, i - 1) == 0)
			i--;
		cache_put(q->ref_cache, block);
		if (i > 0) {
			*cl = b * per + i;
			return 0;
		}
	}
	*cl = 0;
	return 0;
}

/* How many refcount blocks are missing for [cl, cl + n) and for themselves, when they
 * follow it. *top: the highest index. */
static uint64_t count_missing(const struct qcow2 *q, uint64_t cl, uint64_t n, uint64_t *top)
{
	uint64_t missing = 0, first = cl >> q->refblock_bits, next = first;

	do {
		*top = (cl + n + missing - 1) >> q->refblock_bits;
		for (; next <= *top; next++)
			missing += !has_block(q, next);
	} while (((cl + n + missing - 1) >> q->refblock_bits) > *top);
	return missing;
}

/* Writes entries [from, to] of the refcount table at `off`. */
static int write_reftable(struct qcow2 *q, uint64_t off, uint64_t from, uint64_t to,
			  struct err *err)
{
	size_t n = (size_t)(to - from + 1) * 8;
	AUTO_FREE uint8_t *buf = mem_alloc(n);

	if (!buf)
		return err_nomem(err, n, "the refcount table");
	for (uint64_t i = from; i <= to; i++)
		put_be64(buf + (i - from) * 8, q->reftable[i]);
	return qcow2_metadata_write(q, QCOW2_META_REFTABLE, buf, n, off + from * 8, err);
}

static int wait_stable(struct qcow2 *q, struct err *err)
{
	return q->flags & IMAGE_NEW ? 0 : blk_flush(q->image.blk.lower, err);
}

static void used_up_to(struct qcow2 *q, uint64_t cl)
{
	uint64_t end = cl << q->h.cluster_bits;

	if (q->fresh_off != UINT64_MAX)
		q->fresh_off = MAX(q->fresh_off, end);
}

/* The last line of defence against refcounts that are too low. The header is safe whatever
 * the options say. */
static int check_place(struct qcow2 *q, bool l2, uint64_t off, uint64_t len, struct err *err)
{
	if (l2 && off == 0)
		return qcow2_corrupt(q, err,
				     "Preventing invalid allocation of L2 table at offset 0");
	if (off == 0)
		return qcow2_corrupt(q, err,
				     "Preventing invalid write on metadata (overlaps with "
				     "qcow2_header)");
	return qcow2_overlap_check(q, 0, off, len, err);
}

/* Puts the n blocks that are missing for [cl, ...] up to index top at `at` and counts them
 * (in blocks of their own, partly). In memory; *low, *high: the indexes that changed. */
static int make_blocks(struct qcow2 *q, uint64_t cl, uint64_t top, uint64_t at, uint64_t n,
		       uint64_t *low, uint64_t *high, struct err *err)
{
	uint64_t place = at;

	if (check_place(q, false, at << q->h.cluster_bits, n << q->h.cluster_bits, err))
		return -1;
	*low = UINT64_MAX;
	*high = 0;
	for (uint64_t b = cl >> q->refblock_bits; b <= top; b++) {
		uint64_t off = place << q->h.cluster_bits;
		void *block;

		if (has_block(q, b))
			continue;
		cache_forget(q->l2_cache, off);
		block = cache_new_piece(q->ref_cache, off, err);
		if (!block)
			return -1;
		cache_put(q->ref_cache, block);
		q->reftable[b] = off;
		qcow2_overlap_refblock(q, off);
		place++;
		*low = MIN(*low, b);
		*high = MAX(*high, b);
	}
	used_up_to(q, at + n);
	return qcow2_ref_change(q, at, n, true, err);
}

/* How many blocks are missing for an area that begins with them, goes on with a table of
 * `entries` entries (which grows if need be) and ends with n clusters. */
static uint64_t plan_area(const struct qcow2 *q, uint64_t at, uint64_t n, uint64_t *entries,
			  uint64_t *top)
{
	uint64_t per = q->cluster_size / 8, blocks;

	for (;;) {
		blocks = count_missing(q, at, *entries / per + n, top);
		if (*top < *entries)
			return blocks;
		*entries = round_up(*top + 1, per);
	}
}

/*
 * An area at cluster `at`, where nothing is in use: refcount blocks, a new refcount table
 * of at least `entries` entries, and n clusters, in use from now on. All is stable before
 * the header points to the new table; the old one is freed after.
 */
static int make_area(struct qcow2 *q, uint64_t at, uint64_t entries, uint64_t n, uint64_t *cl,
		     struct err *err)
{
	uint64_t per = q->cluster_size / 8, blocks, table, top, low, high;
	uint64_t old_off = q->h.reftable_off, old_n = q->nreftable;
	struct qcow2_header *h = &q->h;
	uint64_t *grown;

	entries = round_up(entries, per);
	blocks = plan_area(q, at, n, &entries, &top);
	table = at + blocks;
	*cl = table + entries / per;
	if (entries > QCOW2_REFTABLE_MAX / 8)
		return err_set(err, EFBIG,
			       "The image file has reached the size that a refcount table of "
			       "%d bytes can describe",
			       QCOW2_REFTABLE_MAX);
	if (check_place(q, false, at << h->cluster_bits, (*cl + n - at) << h->cluster_bits,
			err))
		return -1;
	grown = realloc(q->reftable, entries * 8);
	if (!grown)
		return err_nomem(err, entries * 8, "the refcount table");
	memset(grown + old_n, 0, (entries - old_n) * 8);
	q->reftable = grown;
	q->nreftable = entries;
	if (make_blocks(q, at, top, at, blocks, &low, &high, err) ||
	    qcow2_ref_change(q, table, entries / per + n, true, err))
		return -1;
	used_up_to(q, *cl + n);
	if (cache_flush(q->ref_cache, err) ||
	    write_reftable(q, table << h->cluster_bits, 0, entries - 1, err) ||
	    wait_stable(q, err))
		return -1;
	h->reftable_off = table << h->cluster_bits;
	h->reftable_cl = (uint32_t)(entries / per);
	if (qcow2_header_update(q, err))
		return -1;
	cache_data_written(q->l2_cache);
	return old_n ? qcow2_free_later(q, old_off, old_n * 8, QCOW2_FREE_OTHER, err) : 0;
}

/* A larger table, behind all that is in use and behind cluster `past`. */
static int grow_reftable(struct qcow2 *q, uint64_t need, uint64_t past, struct err *err)
{
	uint64_t tail, cl;

	if (qcow2_tail(q, &tail, err))
		return -1;
	return make_area(q, MAX(tail, past), MAX(need, q->nreftable + q->nreftable / 2), 0, &cl,
			 err);
}

int qcow2_alloc_area(struct qcow2 *q, uint64_t n, uint64_t *off, struct err *err)
{
	uint64_t tail, cl;

	if (qcow2_tail(q, &tail, err))
		return -1;
	if (n > cluster_limit(q) || tail > cluster_limit(q) - n)
		return err_set(err, EFBIG, "The image file would exceed %" PRIu64 " bytes",
			       UINT64_C(1) << 56);
	if (make_area(q, tail, q->nreftable, n, &cl, err)) {
		q->broken = true;
		return -1;
	}
	*off = cl << q->h.cluster_bits;
	return 0;
}

/* Makes new refcount blocks stable, then lets the table point to them. */
static int publish_blocks(struct qcow2 *q, uint64_t low, uint64_t high, struct err *err)
{
	/* a new image is whole when it gets its name, and not before */
	bool wait = !(q->flags & IMAGE_NEW);

	if ((wait && (cache_flush(q->ref_cache, err) || wait_stable(q, err))) ||
	    write_reftable(q, q->h.reftable_off, low, high, err))
		return -1;
	cache_data_written(q->l2_cache);
	return 0;
}

/*
 * Sees to it that there are refcount blocks for [cl, cl + *n). Returns 1 where the caller
 * has to look for a place again. *n may become less.
 */
static int cover(struct qcow2 *q, uint64_t cl, uint64_t *n, bool whole, struct err *err)
{
	uint64_t b = cl >> q->refblock_bits, top, low, high, room;
	uint64_t missing = count_missing(q, cl, *n, &top);

	if (missing == 0)
		return 0;
	if (top >= q->nreftable)
		return grow_reftable(q, top + 1, cl + *n + missing, err) ? -1 : 1;
	if (count_run(q, cl + *n, missing, false, &room, err))
		return -1;
	if (room >= missing) {
		if (make_blocks(q, cl, top, cl + *n, missing, &low, &high, err))
			return -1;
		return publish_blocks(q, low, high, err);
	}
	if (has_block(q, b) && !whole) {
		*n = ((b + 1) << q->refblock_bits) - cl;
		return 0;
	}
	/* what follows is in use; but a block can describe its own place */
	while (has_block(q, b))
		b++;
	cl = MAX(cl, b << q->refblock_bits);
	if (make_blocks(q, cl, b, cl, 1, &low, &high, err) || publish_blocks(q, low, high, err))
		return -1;
	return 1;
}

/* Is the file to grow at `off` although much could be had again, if only the tables that
 * no longer point there were on the disk? */
static bool wants_sync(const struct qcow2 *q, uint64_t off)
{
	const uint64_t least = 1 << 20, most = 64 << 20;

	return off >= q->fresh_off && q->later_bytes >= least &&
	       q->later_bytes >= MIN(q->fresh_off / 8, most);
}

static int allocate(struct qcow2 *q, uint64_t want, bool whole, bool l2, uint64_t *off,
		    uint64_t *got, bool *fresh, struct err *err)
{
	uint64_t cl = 0, n = 0, len;
	int rc;

	do {
		if (find_free(q, q->free_cl, want, whole, &cl, &n, err))
			return -1;
		if (wants_sync(q, cl << q->h.cluster_bits)) {
			if (qcow2_sync(q, false, err))
				return -1;
			rc = 1;
			continue;
		}
		rc = cover(q, cl, &n, whole, err);
	} while (rc > 0);
	if (rc < 0) {
		q->broken = true;
		return -1;
	}
	*off = cl << q->h.cluster_bits;
	len = n << q->h.cluster_bits;
	*fresh = *off >= q->fresh_off;
	if (check_place(q, l2, *off, len, err))
		return -1;
	if (qcow2_ref_change(q, cl, n, true, err))
		return -1;
	used_up_to(q, cl + n);
	if (!whole)
		q->free_cl = cl + n;
	*got = n;
	return 0;
}

int qcow2_alloc(struct qcow2 *q, uint64_t want, bool whole, uint64_t *off, uint64_t *got,
		bool *fresh, struct err *err)
{
	return allocate(q, want, whole, false, off, got, fresh, err);
}

int qcow2_alloc_l2(struct qcow2 *q, uint64_t *off, struct err *err)
{
	uint64_t got;
	bool fresh;

	return allocate(q, 1, false, true, off, &got, &fresh, err);
}

/* Another reference to the cluster that holds the last compressed bytes. False where it
 * has as many as the refcount can say. */
static bool share_packed(struct qcow2 *q)
{
	uint64_t cl = q->packed_off >> q->h.cluster_bits;
	struct err later;

	return qcow2_ref_change(q, cl, 1, true, &later) == 0;
}

int qcow2_alloc_packed(struct qcow2 *q, uint32_t n, uint64_t *off, struct err *err)
{
	uint64_t mask = q->cluster_size - 1, more, got;
	uint32_t room = q->packed_off ? (uint32_t)(q->cluster_size - (q->packed_off & mask))
				      : 0;
	bool fresh;

	if (n == 0 || n > q->cluster_size)
		return err_set(err, EINVAL,
			       "%" PRIu32 " bytes are no compressed cluster of %" PRIu32, n,
			       q->cluster_size);
	if (n <= room && share_packed(q)) {
		*off = q->packed_off;
	} else {
		uint64_t last = q->packed_off;

		if (qcow2_alloc(q, 1, false, &more, &got, &fresh, err))
			return -1;
		*off = more;
		/* across the border where the next cluster was to be had */
		if (n > room && room && last && more == last + room && q->packed_off &&
		    share_packed(q))
			*off = last;
	}
	q->packed_off = (*off + n) & mask ? *off + n : 0;
	if (*off + n <= UINT64_C(1) << q->packed_shift)
		return 0;
	qcow2_free_now(q, *off, n, err);
	return err_set(err, EFBIG,
		       "A compressed cluster at 0x%" PRIx64 " is out of reach with clusters "
		       "of %" PRIu32 " bytes",
		       *off, q->cluster_size);
}
