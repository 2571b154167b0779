/*
 * New reference counts beside the old ones: refcount blocks and a refcount table in places
 * that nothing refers to, then one write of the header. The old structure, as far as it was
 * counted, keeps its references, so that nothing of it is overwritten before the switch; it
 * is leaked by it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/check.h"
#include "lib/bytes.h"
#include "lib/mem.h"

struct plan {
	struct checker *k;
	uint64_t *block; /* the new table: offsets of blocks */
	uint64_t n;	 /* entries that are used */
	uint64_t room;
	uint64_t from; /* no cluster below it is free */
	uint64_t table, table_cl;
};

static int grow(struct plan *p, uint64_t n, struct err *err)
{
	uint64_t room = round_up(MAX(n, 2 * p->room), p->k->cluster / 8), *more;

	if (n <= p->room)
		return 0;
	if (n > QCOW2_REFTABLE_MAX / 8)
		return err_set(
			err, EFBIG,
			"The reference counts of this file need a refcount table of more "
			"than %d bytes",
			QCOW2_REFTABLE_MAX);
	more = realloc(p->block, room * 8);
	if (!more)
		return err_nomem(err, room * 8, "the refcount table");
	memset(more + p->room, 0, (room - p->room) * 8);
	p->block = more;
	p->room = room;
	return 0;
}

static int take(struct plan *p, uint64_t n, uint64_t *cl, struct err *err)
{
	*cl = counts_unused(&p->k->counts, p->from, n);
	if (n == 1)
		p->from = *cl + 1;
	return check_clusters(p->k, *cl, n, 1, 0, err);
}

/* A block for each stretch of clusters in which some are in use, itself maybe. */
static int place_blocks(struct plan *p, bool *fresh, struct err *err)
{
	struct checker *k = p->k;
	unsigned bits = k->q->refblock_bits;

	*fresh = false;
	for (uint64_t cl = counts_next(&k->counts, 0), at; cl != UINT64_MAX;
	     cl = counts_next(&k->counts, cl)) {
		uint64_t i = cl >> bits, first = cl;

		/* the next leaf, or block, whichever is nearer */
		cl = MIN((i + 1) << bits, (cl / CELLS + 1) * CELLS);
		if (i < p->n && p->block[i])
			continue;
		while (first < cl && counts_get(&k->counts, first) == 0)
			first++;
		if (first == cl)
			continue;
		if (grow(p, i + 1, err) < 0 || take(p, 1, &at, err) < 0)
			return -1;
		p->block[i] = at << k->bits;
		p->n = MAX(p->n, i + 1);
		*fresh = true;
	}
	return 0;
}

static int place_all(struct plan *p, struct err *err)
{
	bool fresh;

	do {
		uint64_t need;

		if (place_blocks(p, &fresh, err) < 0)
			return -1;
		need = MAX(1, div_up(p->n * 8, p->k->cluster));
		if (need <= p->table_cl)
			continue;
		for (uint64_t i = 0; i < p->table_cl; i++)
			counts_drop(&p->k->counts, p->table + i);
		if (p->table_cl)
			p->from = MIN(p->from, p->table);
		p->table_cl = need;
		if (take(p, need, &p->table, err) < 0)
			return -1;
		fresh = true;
	} while (fresh);
	return 0;
}

static int write_blocks(const struct plan *p, struct err *err)
{
	const struct checker *k = p->k;
	AUTO_FREE uint8_t *buf = mem_alloc(k->cluster);
	uint64_t per = UINT64_C(1) << k->q->refblock_bits;

	if (!buf)
		return err_nomem(err, k->cluster, "a refcount block");
	for (uint64_t i = 0; i < p->n; i++) {
		if (!p->block[i])
			continue;
		memset(buf, 0, k->cluster);
		for (uint64_t at = 0; at < per; at++) {
			uint64_t cl = i * per + at;

			if (!counts_leaf(&k->counts, cl))
				at |= MIN(per, CELLS) - 1;
			else
				qcow2_ref_put(k->q->h.refcount_order, buf, at,
					      counts_get(&k->counts, cl));
		}
		if (blk_pwrite(k->file, buf, k->cluster, p->block[i], 0, err) < 0)
			return -1;
	}
	return 0;
}

static int write_table(const struct plan *p, struct err *err)
{
	const struct checker *k = p->k;
	size_t n = (size_t)p->table_cl << k->bits;
	AUTO_FREE uint8_t *buf = mem_alloc(n);

	if (!buf)
		return err_nomem(err, n, "the refcount table");
	memset(buf, 0, n);
	for (uint64_t i = 0; i < p->n; i++)
		put_be64(buf + 8 * i, p->block[i]);
	return blk_pwrite(k->file, buf, n, p->table << k->bits, 0, err);
}

static int switch_table(const struct plan *p, struct err *err)
{
	struct qcow2 *q = p->k->q;
	struct qcow2_header old = q->h;

	q->h.reftable_off = p->table << p->k->bits;
	q->h.reftable_cl = (uint32_t)p->table_cl;
	if (blk_flush(p->k->file, err) < 0 || qcow2_header_update(q, err) < 0 ||
	    blk_flush(p->k->file, err) < 0) {
		q->h = old;
		return -1;
	}
	free(q->reftable);
	q->reftable = NULL;
	q->nreftable = 0;
	return qcow2_reftable_load(q, err);
}

int repair_rebuild(struct checker *k, struct err *err)
{
	struct plan p = {.k = k};
	int rc;

	for (size_t i = 0; i < k->noutside; i++)
		counts_drop(&k->counts, k->outside[i]);
	rc = place_all(&p, err);
	if (rc == 0)
		rc = write_blocks(&p, err);
	if (rc == 0)
		rc = write_table(&p, err);
	if (rc == 0)
		rc = switch_table(&p, err);
	free(p.block);
	return rc;
}
