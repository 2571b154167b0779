/*
 * Writing: places for guest data are claimed, then written by the caller, then the L2
 * tables are made to point there (lib/blk.h, "A claim"). docs/interop/qcow2.rst, sections
 * "Cluster mapping" and "Extended L2 Entries".
 *
 * Nobody else has a claim on the same clusters meanwhile, so that an entry is in settle()
 * what it was in claim(); that alone tells a new place from one that is used again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define REACH_MAX (16u << 20) /* how much longer than needed the file is made */

int qcow2_l2_own(struct qcow2 *q, uint64_t i, uint8_t **table, struct err *err)
{
	uint64_t old = q->l1[i] & QCOW2_OFF_MASK, off;
	uint8_t *from = NULL;

	if (old && (q->l1[i] & QCOW2_COPIED))
		return qcow2_l2_get(q, i, table, err);
	if (qcow2_alloc_l2(q, &off, err))
		return -1;
	if (old && qcow2_l2_get(q, i, &from, err))
		goto fail;
	*table = cache_new_piece(q->l2_cache, off, err);
	if (*table && from)
		memcpy(*table, from, q->cluster_size);
	if (from)
		cache_put(q->l2_cache, from);
	if (!*table)
		goto fail;
	qcow2_l1_set(q, i, off | QCOW2_COPIED);
	if (old && qcow2_free_later(q, old, q->cluster_size, QCOW2_FREE_OTHER, err)) {
		cache_put(q->l2_cache, *table);
		return -1;
	}
	return 0;
fail:
	*table = NULL;
	qcow2_free_now(q, off, q->cluster_size, &(struct err){0});
	return -1;
}

int qcow2_free_entry(struct qcow2 *q, uint64_t entry, enum qcow2_free_for why, struct err *err)
{
	uint64_t off = entry & QCOW2_OFF_MASK;
	uint32_t len = q->cluster_size;

	if (entry & QCOW2_COMPRESSED) {
		qcow2_packed_place(q, entry, &off, &len);
	} else if (off == 0 || qcow2_external(q)) {
		return 0;
	}
	return qcow2_free_later(q, off, len, why, err);
}

static int add_run(struct claim *c, uint64_t off, uint64_t host, uint64_t len, bool fresh,
		   struct err *err)
{
	struct claim_run *last = c->nrun ? &c->run[c->nrun - 1] : NULL;

	if (last && last->host + last->len == host && last->fresh == fresh) {
		last->len += len;
		return 0;
	}
	if ((c->nrun & (c->nrun - 1)) == 0) { /* room for a power of two of them */
		size_t room = c->nrun ? 2 * c->nrun : 1;
		struct claim_run *grown = realloc(c->run, room * sizeof(*grown));

		if (!grown)
			return err_nomem(err, room * sizeof(*grown), "a claim");
		c->run = grown;
	}
	c->run[c->nrun++] = (struct claim_run){off, host, len, fresh};
	return 0;
}

/* Is the place that an entry has ours alone? Then what is to be written goes there. */
static bool reusable(uint64_t entry)
{
	return (entry & QCOW2_COPIED) && !(entry & QCOW2_COMPRESSED) &&
	       (entry & QCOW2_OFF_MASK);
}

/* A part of a cluster can be written by itself only where the rest of it stays. */
static int check_part(const struct qcow2 *q, uint64_t entry, uint64_t off, uint64_t end,
		      struct err *err)
{
	bool whole = off % q->cluster_size == 0 &&
		     (end % q->cluster_size == 0 || end == q->image.blk.size);

	if (whole || !(entry & (QCOW2_COMPRESSED | QCOW2_OFF_MASK)) || reusable(entry))
		return 0;
	return err_set(err, EINVAL,
		       "A part of a shared or compressed cluster is claimed (guest offset "
		       "%" PRIu64 ")",
		       off);
}

/* New clusters for the n bytes at off, all inside one L2 table. */
static int claim_new(struct qcow2 *q, struct claim *c, uint64_t off, uint64_t n,
		     struct err *err)
{
	uint64_t end = off + n;

	while (off < end) {
		uint64_t in = off & (q->cluster_size - 1);
		uint64_t want = div_up(in + end - off, q->cluster_size), host, got;
		uint64_t len;
		bool fresh;

		if (qcow2_alloc(q, want, false, &host, &got, &fresh, err))
			return -1;
		len = MIN((got << q->h.cluster_bits) - in, end - off);
		fresh = fresh && q->h.crypt == QCOW2_CRYPT_NONE; /* zeros are no zeros there */
		if (add_run(c, off, host + in, len, fresh, err)) {
			qcow2_free_now(q, host, got << q->h.cluster_bits, &(struct err){0});
			return -1;
		}
		off += len;
	}
	return 0;
}

static int check_aligned(struct qcow2 *q, uint64_t entry, uint64_t off, struct err *err)
{
	uint64_t host = entry & QCOW2_OFF_MASK;
	bool zero = (entry & QCOW2_ZERO) && !qcow2_ext_l2(q);

	if (!(host & (q->cluster_size - 1)))
		return 0;
	return qcow2_corrupt(
		q, err, "%s cluster offset %#" PRIx64 " unaligned (guest offset: %#" PRIx64 ")",
		zero ? "Preallocated zero" : "Data", host, round_down(off, q->cluster_size));
}

/* The bytes [off, end) inside one L2 table. */
static int claim_in_table(struct qcow2 *q, struct claim *c, uint8_t *table, uint64_t off,
			  uint64_t end, struct err *err)
{
	uint64_t pending = off; /* from here to off: clusters that need a new place */

	while (off < end) {
		uint64_t next = MIN(round_down(off, q->cluster_size) + q->cluster_size, end);
		uint64_t entry = get_be64(qcow2_entry_at(q, table, off));
		uint64_t host = entry & QCOW2_OFF_MASK;

		if (check_part(q, entry, off, next, err))
			return -1;
		if (reusable(entry)) {
			if (check_aligned(q, entry, off, err))
				return -1;
			if (qcow2_overlap_check(q, 0, host, q->cluster_size, err))
				return -1;
			if (claim_new(q, c, pending, off - pending, err) ||
			    add_run(c, off, host + (off & (q->cluster_size - 1)), next - off,
				    false, err))
				return -1;
			pending = next;
		}
		off = next;
	}
	return claim_new(q, c, pending, off - pending, err);
}

static int claim_plain(struct qcow2 *q, struct claim *c, struct err *err)
{
	uint64_t off = c->off, end = c->off + c->len;
	uint32_t unit = qcow2_ext_l2(q) ? q->image.blk.part : q->cluster_size;

	while (off < end) {
		uint64_t next = MIN((qcow2_l1_index(q, off) + 1) * q->l2_span, end);
		uint8_t *table;
		int rc;

		if (qcow2_l2_own(q, qcow2_l1_index(q, off), &table, err))
			return -1;
		if (qcow2_external(q))
			rc = add_run(c, off, off, next - off,
				     (q->flags & IMAGE_NEW) && q->h.crypt == QCOW2_CRYPT_NONE,
				     err);
		else
			rc = claim_in_table(q, c, table, off, next, err);
		cache_put(q->l2_cache, table);
		if (rc)
			return -1;
		off = next;
	}
	for (size_t i = 0; i < c->nrun && !qcow2_external(q); i++)
		q->file_end = MAX(q->file_end, round_up(c->run[i].host + c->run[i].len, unit));
	return 0;
}

static int claim_packed(struct qcow2 *q, struct claim *c, struct err *err)
{
	uint64_t end = c->off + c->len;
	size_t k = 0;

	if (qcow2_external(q))
		return err_set(err, ENOTSUP,
			       "Compressed clusters are not possible with an external data "
			       "file");
	for (uint64_t off = c->off; off < end; off += q->cluster_size, k++) {
		uint8_t *table;
		uint64_t host;

		/* the table first: its place is before that of its first data */
		if (qcow2_l2_own(q, qcow2_l1_index(q, off), &table, err))
			return -1;
		cache_put(q->l2_cache, table);
		if (qcow2_alloc_packed(q, c->packed[k], &host, err))
			return -1;
		if (add_run(c, off, host, c->packed[k], false, err)) {
			qcow2_free_now(q, host, c->packed[k], &(struct err){0});
			return -1;
		}
		q->file_end = MAX(q->file_end, round_up(host + c->packed[k], 512));
	}
	return 0;
}

/* ---- what was claimed, piece by piece ------------------------------------------------ */

/* One cluster, or a part of it, of a claim. */
struct piece {
	uint64_t off, len; /* guest */
	uint64_t host;
	uint32_t packed; /* bytes; 0: plain */
};

struct pieces {
	const struct qcow2 *q;
	const struct claim *c;
	size_t run, grain;
	uint64_t into;	/* bytes of the run that are done */
	uint64_t guest; /* of the next packed grain */
};

static bool next_piece(struct pieces *p, struct piece *out)
{
	const struct claim *c = p->c;
	const struct claim_run *r;
	uint64_t at;

	if (p->run < c->nrun && p->into == c->run[p->run].len) {
		p->run++;
		p->into = 0;
	}
	if (p->run >= c->nrun)
		return false;
	r = &c->run[p->run];
	out->host = r->host + p->into;
	out->packed = 0;
	if (c->packed) {
		out->off = c->off + p->grain * p->q->cluster_size;
		out->len = p->q->cluster_size;
		out->packed = c->packed[p->grain++];
		p->into += out->packed;
		return true;
	}
	at = r->off + p->into;
	out->off = at;
	out->len = MIN(p->q->cluster_size - (at & (p->q->cluster_size - 1)), r->len - p->into);
	p->into += out->len;
	return true;
}

/* The subclusters that a piece covers, as bits. */
static uint32_t part_bits(const struct qcow2 *q, const struct piece *p)
{
	uint32_t size = q->cluster_size / QCOW2_SUBCLUSTERS;
	uint64_t first = (p->off & (q->cluster_size - 1)) / size;
	uint64_t n = div_up((p->off & (q->cluster_size - 1)) + p->len, size) - first;

	return (n == QCOW2_SUBCLUSTERS ? UINT32_MAX : (UINT32_C(1) << n) - 1) << first;
}

static uint64_t packed_entry(const struct qcow2 *q, const struct piece *p)
{
	uint64_t more = ((p->host + p->packed - 1) >> 9) - (p->host >> 9);

	return QCOW2_COMPRESSED | more << q->packed_shift | p->host;
}

/* The entry (and bitmap) that make a piece visible. */
static void new_entry(const struct qcow2 *q, const struct piece *p, uint64_t old,
		      uint64_t old_bitmap, uint64_t *entry, uint64_t *bitmap)
{
	uint64_t host = p->host - (p->off & (q->cluster_size - 1));
	uint32_t bits;

	*bitmap = 0;
	if (p->packed) {
		*entry = packed_entry(q, p);
		return;
	}
	*entry = host | QCOW2_COPIED;
	if (!qcow2_ext_l2(q))
		return;
	bits = part_bits(q, p);
	if (!(old & QCOW2_COMPRESSED))
		*bitmap = old_bitmap;
	if ((old & QCOW2_OFF_MASK) != host)
		*bitmap &= ~(uint64_t)UINT32_MAX; /* what it had is not in the new place */
	*bitmap = (*bitmap & ~((uint64_t)bits << 32)) | bits;
}

static int settle_piece(struct qcow2 *q, const struct piece *p, struct err *err)
{
	uint64_t old, old_bitmap = 0, entry, bitmap;
	uint8_t *table, *at;
	bool replaced;

	if (qcow2_l2_own(q, qcow2_l1_index(q, p->off), &table, err))
		return -1;
	at = qcow2_entry_at(q, table, p->off);
	old = get_be64(at);
	if (qcow2_ext_l2(q))
		old_bitmap = get_be64(at + 8);
	new_entry(q, p, old, old_bitmap, &entry, &bitmap);
	put_be64(at, entry);
	if (qcow2_ext_l2(q))
		put_be64(at + 8, bitmap);
	qcow2_l2_changed(q, table, at, 1);
	cache_put(q->l2_cache, table);
	replaced = (old & QCOW2_COMPRESSED) || p->packed ||
		   (old & QCOW2_OFF_MASK) != (entry & QCOW2_OFF_MASK);
	return replaced ? qcow2_free_entry(q, old, QCOW2_FREE_OTHER, err) : 0;
}

static int check_claim(const struct qcow2 *q, const struct claim *c, struct err *err)
{
	uint32_t unit = qcow2_ext_l2(q) && !c->packed ? q->image.blk.part : q->cluster_size;
	uint64_t end = c->off + c->len;

	if (c->len == 0 || end < c->off || end > q->image.blk.size || c->off % unit != 0 ||
	    (end % unit != 0 && end != q->image.blk.size))
		return err_set(err, EINVAL,
			       "A claim of %" PRIu64 " bytes at %" PRIu64
			       " is not of whole clusters",
			       c->len, c->off);
	return 0;
}

static void drop_held(struct qcow2 *q, const struct claim *c)
{
	struct pieces walk = {.q = q, .c = c};
	struct piece p;

	if (qcow2_external(q))
		return;
	while (next_piece(&walk, &p)) {
		uint64_t host = p.host & ~(uint64_t)(q->cluster_size - 1), entry = 0;
		uint8_t *table;
		struct err later;

		if (p.packed) {
			qcow2_free_now(q, p.host, p.packed, &later);
			continue;
		}
		if (qcow2_l2_get(q, qcow2_l1_index(q, p.off), &table, &later))
			continue;
		if (table) {
			entry = get_be64(qcow2_entry_at(q, table, p.off));
			cache_put(q->l2_cache, table);
		}
		if (!reusable(entry) || (entry & QCOW2_OFF_MASK) != host)
			qcow2_free_now(q, host, q->cluster_size, &later);
	}
}

static int clear_coded(struct qcow2 *q, uint64_t off, uint64_t host, uint64_t n,
		       struct err *err)
{
	AUTO_FREE uint8_t *zeros = mem_alloc(n);

	if (!zeros)
		return err_nomem(err, n, "zeros");
	memset(zeros, 0, n);
	return blk_pwrite_to(&q->image.blk, q->image.blk.lower, zeros, n, off, host, err);
}

/* The last cluster of a disk may end before it is full: what follows in the file must not
 * be anybody's old data, since the disk may grow. */
static int clear_tail(struct qcow2 *q, const struct claim *c, struct err *err)
{
	const struct claim_run *r = &c->run[c->nrun - 1];
	uint64_t end = r->host + r->len, up = round_up(end, q->cluster_size);

	if (c->packed || qcow2_external(q) || r->fresh || end == up ||
	    c->off + c->len != q->image.blk.size)
		return 0;
	if (q->h.crypt != QCOW2_CRYPT_NONE)
		return clear_coded(q, c->off + c->len, end, up - end, err);
	return blk_zero(q->image.blk.lower, end, up - end, 0, err);
}

/*
 * Makes the file longer than it has to be, so that this is seldom to do; qcow2_finish() cuts
 * that off. Behind fresh_off are nobody's bytes. Without the page cache each first write to
 * a hole would wait for all others, so there is room made for them.
 */
static int reach_ahead(struct qcow2 *q, struct err *err)
{
	struct blk *file = q->image.blk.lower;
	uint64_t size = blk_size(file), more = MIN(q->fresh_off / 4, REACH_MAX);
	uint64_t ahead = q->fresh_off + round_up(more + 1, q->cluster_size);

	if ((file->align == 1 ||
	     blk_zero(file, size, ahead - size, BLK_ROOM | BLK_CHEAP, err)) &&
	    blk_zero(file, ahead - 1, 1, 0, err))
		return -1;
	q->ahead = ahead;
	return 0;
}

/* Zeros may be left out of fresh places, yet before tables point there the file has to reach
 * so far. A new image gets its length in the end. */
static int reach_end(struct qcow2 *q, const struct claim *c, struct err *err)
{
	struct blk *file = q->image.blk.lower;
	uint64_t end = 0;

	if (c->packed || qcow2_external(q) || (q->flags & IMAGE_NEW) ||
	    !(file->caps & BLK_CAN_GROW))
		return 0;
	for (size_t i = 0; i < c->nrun; i++)
		if (c->run[i].fresh)
			end = round_up(c->run[i].host + c->run[i].len, q->cluster_size);
	if (blk_size(file) >= end || reach_ahead(q, err) == 0)
		return 0;
	return blk_zero(file, end - 1, 1, 0, err);
}

int qcow2_claim(struct blk *blk, struct claim *c, struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	int rc;

	if (check_claim(q, c, err))
		return -1;
	c->home = qcow2_home(q);
	pthread_mutex_lock(&q->lock);
	rc = qcow2_start(q, err);
	if (rc == 0) {
		rc = c->packed ? claim_packed(q, c, err) : claim_plain(q, c, err);
		if (rc == 0)
			rc = reach_end(q, c, err);
		if (rc)
			drop_held(q, c);
	}
	pthread_mutex_unlock(&q->lock);
	if (rc == 0 && clear_tail(q, c, err)) {
		qcow2_drop(blk, c);
		rc = -1;
	}
	return rc;
}

int qcow2_settle(struct blk *blk, struct claim *c, struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	struct pieces walk = {.q = q, .c = c};
	struct piece p;
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	cache_data_written(q->l2_cache);
	while (rc == 0 && next_piece(&walk, &p))
		rc = settle_piece(q, &p, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

void qcow2_drop(struct blk *blk, struct claim *c)
{
	struct qcow2 *q = qcow2_of(blk);

	pthread_mutex_lock(&q->lock);
	drop_held(q, c);
	pthread_mutex_unlock(&q->lock);
}
