/*
 * The snapshot table written anew, with whole entries: docs/interop/qcow2.rst, section
 * "Snapshots". When this is called the reference counts are true, in the file and in the
 * checker.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/check.h"
#include "formats/qcow2/snapshot.h"
#include "lib/bytes.h"
#include "lib/mem.h"

static uint64_t entry_size(const struct checker *k, const struct snapshot_root *s,
			   const uint8_t *head)
{
	uint32_t extra = s->extra_large ? QCOW2_SNAPSHOT_EXTRA_MAX : s->extra;

	if (k->q->h.version >= 3)
		extra = MAX(extra, QCOW2_SNAPSHOT_EXTRA);
	return round_up(QCOW2_SNAPSHOT_HEAD + extra + get_be16(head + 12) + get_be16(head + 14),
			8);
}

/* Into `to`, zeroed: what there is of the extra data; what is missing says what it means to
 * those who know no better. */
static int copy_entry(const struct checker *k, const struct snapshot_root *s, uint8_t *to,
		      struct err *err)
{
	uint32_t kept = s->extra_large ? QCOW2_SNAPSHOT_EXTRA_MAX : s->extra, extra = kept;
	uint8_t *more = to + QCOW2_SNAPSHOT_HEAD;
	uint64_t names;

	if (blk_pread(k->file, to, QCOW2_SNAPSHOT_HEAD, s->entry, err) < 0 ||
	    blk_pread(k->file, more, kept, s->entry + QCOW2_SNAPSHOT_HEAD, err) < 0)
		return -1;
	if (s->lost) {
		put_be64(to, 0);
		put_be32(to + 8, 0);
	}
	if (k->q->h.version >= 3 && extra < QCOW2_SNAPSHOT_EXTRA) {
		if (extra < 8)
			put_be64(more, get_be32(to + 32));
		if (extra < 16)
			put_be64(more + 8, k->q->h.size);
		put_be64(more + 16, UINT64_MAX);
		extra = QCOW2_SNAPSHOT_EXTRA;
	}
	put_be32(to + 36, extra);
	names = get_be16(to + 12) + (uint64_t)get_be16(to + 14);
	return blk_pread(k->file, more + extra, names,
			 s->entry + QCOW2_SNAPSHOT_HEAD + s->extra, err);
}

/* All entries, one after the other. */
static uint8_t *encode(const struct checker *k, size_t *len, struct err *err)
{
	uint8_t *buf = NULL;
	size_t n = 0, room = 0;

	for (uint32_t i = 0; i < k->nsnap; i++) {
		uint8_t head[QCOW2_SNAPSHOT_HEAD];
		size_t size;

		if (blk_pread(k->file, head, QCOW2_SNAPSHOT_HEAD, k->snap[i].entry, err) < 0)
			goto fail;
		size = entry_size(k, &k->snap[i], head);
		if (n + size > room) {
			uint8_t *more;

			room = MAX(2 * room, n + size);
			more = realloc(buf, room);
			if (!more) {
				err_nomem(err, room, "the snapshot table");
				goto fail;
			}
			buf = more;
		}
		memset(buf + n, 0, size);
		if (copy_entry(k, &k->snap[i], buf + n, err) < 0)
			goto fail;
		n += size;
	}
	*len = n;
	return buf;
fail:
	free(buf);
	return NULL;
}

/* Gives n clusters at cl a refcount of 1, or takes one reference from each. False where a
 * refcount block is missing. In the file; stable only after a flush. */
static int set_refs(struct checker *k, uint64_t cl, uint64_t n, bool more, bool *done,
		    struct err *err)
{
	AUTO_FREE uint8_t *block = mem_alloc(k->cluster);
	uint64_t per = UINT64_C(1) << k->q->refblock_bits;
	unsigned order = k->q->h.refcount_order;

	*done = true;
	if (!block)
		return err_nomem(err, k->cluster, "a refcount block");
	for (uint64_t i = cl; i < cl + n; i++) {
		uint64_t b = i / per, off = b < k->nreftable ? k->reftable[b] : 0, v;

		if (off == 0 || off % k->cluster) {
			*done = false;
			return 0;
		}
		if (blk_pread(k->file, block, k->cluster, off, err) < 0)
			return -1;
		v = qcow2_ref_get(order, block, i % per);
		if (!more && v == 0)
			continue;
		qcow2_ref_put(order, block, i % per, more ? 1 : v - 1);
		if (blk_pwrite(k->file, block, k->cluster, off, 0, err) < 0)
			return -1;
	}
	return 0;
}

static int move_table(struct checker *k, uint64_t cl, struct err *err)
{
	struct qcow2 *q = k->q;
	struct qcow2_header old = q->h;

	q->h.snapshots_off = k->nsnap ? cl << k->bits : 0;
	q->h.nb_snapshots = k->nsnap;
	if (blk_flush(k->file, err) < 0 || qcow2_header_update(q, err) < 0 ||
	    blk_flush(k->file, err) < 0) {
		q->h = old;
		return -1;
	}
	q->overhanging = 0;
	return 0;
}

int repair_snapshots(struct checker *k, struct err *err)
{
	const uint64_t old = k->q->h.snapshots_off, old_len = k->snap_len;
	size_t len = 0;
	AUTO_FREE uint8_t *buf = encode(k, &len, err);
	uint64_t n = div_up(len, k->cluster), cl = 0;
	bool done = true;

	if (!buf && k->nsnap)
		return -1;
	if (n) {
		cl = counts_unused(&k->counts, 0, n);
		if (set_refs(k, cl, n, true, &done, err) < 0)
			return -1;
		if (check_clusters(k, cl, n, 1, 0, err) < 0)
			return -1;
		if (blk_pwrite(k->file, buf, len, cl << k->bits, 0, err) < 0)
			return -1;
	}
	/* no room among the counts: new ones, with the table in them */
	if (!done) {
		if (repair_rebuild(k, err) < 0)
			return -1;
		k->leaked = true;
	}
	if (move_table(k, cl, err) < 0)
		return -1;
	if (check_outside(k, old, old_len)) {
		if (k->c->errors) /* told of as an error, which has gone with it */
			k->c->errors--;
		return 0;
	}
	if (old_len == 0)
		return 0;
	return set_refs(k, old >> k->bits,
			((old + old_len - 1) >> k->bits) - (old >> k->bits) + 1, false, &done,
			err);
}
