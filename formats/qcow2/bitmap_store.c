/*
 * Bitmaps are replaced: docs/interop/qcow2.rst, sections "Bitmap table", "Bitmap data".
 */
#include "formats/qcow2/bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/array.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define BUFFER (1u << 20) /* bits that are written at a time */
#define SECTOR 512u

static bool waits(const struct qcow2 *q)
{
	return !(q->flags & IMAGE_NEW);
}

/* ---- places ----------------------------------------------------------------------- */

static int add_place(struct places *p, uint64_t off, uint64_t len, struct err *err)
{
	struct qcow2_freed *last = p->n ? &p->at[p->n - 1] : NULL;

	if (last && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	if (array_room(&p->at, &p->room, p->n, sizeof(*p->at), "a bitmap", err))
		return -1;
	p->at[p->n++] = (struct qcow2_freed){off, len, QCOW2_FREE_OTHER};
	return 0;
}

/* Up to n adjacent clusters (`whole`: so many), which an abort gives back. */
static int take(struct bitmap_edit *e, uint64_t n, bool whole, uint64_t *off, uint64_t *got,
		struct err *err)
{
	struct qcow2 *q = e->q;
	bool fresh;

	if (qcow2_alloc(q, n, whole, off, got, &fresh, err))
		return -1;
	if (add_place(&e->fresh, *off, *got << q->h.cluster_bits, err) == 0)
		return 0;
	qcow2_free_now(q, *off, *got << q->h.cluster_bits, &(struct err){0});
	return -1;
}

/* ---- bits ------------------------------------------------------------------------- */

/* The work on one bitmap: clusters with new contents wait in `buf`. */
struct work {
	struct bitmap_edit *e;
	uint64_t *table; /* new */
	uint8_t *buf, *old;
	uint64_t *index; /* of those in buf, in the table */
	size_t n, room;	 /* clusters */
	bool changed;
};

static int write_waiting(struct work *w, struct err *err)
{
	struct qcow2 *q = w->e->q;

	for (size_t done = 0; done < w->n;) {
		uint64_t off, got;

		if (take(w->e, w->n - done, false, &off, &got, err) ||
		    qcow2_metadata_write(q, 0, w->buf + (done << q->h.cluster_bits),
					 got << q->h.cluster_bits, off, err))
			return -1;
		q->file_end = MAX(q->file_end, off + (got << q->h.cluster_bits));
		for (; got > 0; got--, off += q->cluster_size)
			w->table[w->index[done++]] = off;
	}
	w->n = 0;
	return 0;
}

static bool is_full(const uint8_t *p, size_t n)
{
	return p[0] == 0xff && memcmp(p, p + 1, n - 1) == 0;
}

/* Bits past the end of the disk are clear. */
static void cut_tail(uint8_t *p, size_t n, uint64_t bits)
{
	size_t whole = (size_t)MIN(bits / 8, n);

	if (whole == n)
		return;
	p[whole] &= (uint8_t)((1u << bits % 8) - 1);
	memset(p + whole + 1, 0, n - whole - 1);
}

/* What a table entry stands for. */
static int read_old(struct work *w, uint64_t entry, uint8_t *to, struct err *err)
{
	struct qcow2 *q = w->e->q;
	uint64_t off = entry & QCOW2_OFF_MASK;

	if (off)
		return blk_pread(q->image.blk.lower, to, q->cluster_size, off, err);
	memset(to, entry & BITMAP_ALL_SET ? 0xff : 0, q->cluster_size);
	return 0;
}

/* Entry i, which was `old`: or'ed with `bits`; `left` bits from its begin are in the disk. */
static int work_entry(struct work *w, uint64_t i, uint64_t old, struct dirty *bits,
		      uint64_t left, struct err *err)
{
	size_t size = w->e->q->cluster_size;
	uint8_t *p = w->buf + w->n * size;
	enum dirty_kind kind = bits ? dirty_get(bits, i * size, size, p, true) : DIRTY_CLEAR;
	bool cut = left < size * 8 && old;

	w->table[i] = old;
	if (!cut && (kind == DIRTY_CLEAR || old == BITMAP_ALL_SET))
		return 0;
	if (kind == DIRTY_FULL && left >= size * 8) {
		w->table[i] = BITMAP_ALL_SET;
		w->changed = true;
		return 0;
	}
	if (kind == DIRTY_CLEAR)
		memset(p, 0, size);
	if (old) {
		if (read_old(w, old, w->old, err))
			return -1;
		for (size_t k = 0; k < size; k++)
			p[k] |= w->old[k];
		cut_tail(p, size, left);
		if (old != BITMAP_ALL_SET && memcmp(p, w->old, size) == 0)
			return 0;
	}
	w->changed = true;
	if (is_full(p, size)) {
		w->table[i] = BITMAP_ALL_SET;
		return 0;
	}
	w->index[w->n++] = i;
	return w->n == w->room ? write_waiting(w, err) : 0;
}

static int work_all(struct work *w, const struct qcow2_bitmap *b, const uint64_t *old,
		    uint64_t nold, uint64_t n, struct dirty *bits, struct err *err)
{
	const struct qcow2 *q = w->e->q;
	uint64_t total = div_up(qcow2_bitmap_disk(q), UINT64_C(1) << b->granularity_bits);
	uint64_t per = (uint64_t)q->cluster_size * 8;

	for (uint64_t i = 0; i < n; i++)
		if (work_entry(w, i, i < nold ? old[i] : 0, bits, total - i * per, err))
			return -1;
	return write_waiting(w, err);
}

static int write_table(struct bitmap_edit *e, const uint64_t *table, uint64_t n, uint64_t *off,
		       struct err *err)
{
	struct qcow2 *q = e->q;
	uint64_t clusters = div_up(n * 8, q->cluster_size), got;
	size_t len = round_up(n * 8, SECTOR);
	AUTO_FREE uint8_t *buf = mem_alloc(len);

	if (!buf)
		return err_nomem(err, len, "a bitmap's table");
	if (take(e, clusters, true, off, &got, err))
		return -1;
	memset(buf, 0, len);
	for (uint64_t i = 0; i < n; i++)
		put_be64(buf + 8 * i, table[i]);
	q->file_end = MAX(q->file_end, *off + (clusters << q->h.cluster_bits));
	return qcow2_metadata_write(q, 0, buf, len, *off, err);
}

/* What the old table had and the new one has not. */
static int replace(struct bitmap_edit *e, const uint64_t *old, uint64_t nold,
		   const uint64_t *table, uint64_t n, struct err *err)
{
	for (uint64_t i = 0; i < nold; i++) {
		uint64_t off = old[i] & QCOW2_OFF_MASK;

		if (off && (!table || i >= n || table[i] != old[i]) &&
		    add_place(&e->old, off, e->q->cluster_size, err))
			return -1;
	}
	return 0;
}

static int work_init(struct work *w, struct bitmap_edit *e, uint64_t n, struct err *err)
{
	size_t size = e->q->cluster_size;

	w->e = e;
	w->room = MIN(MAX(BUFFER / size, 1), n);
	w->buf = mem_alloc(w->room * size);
	w->old = mem_alloc(size);
	w->index = malloc(w->room * sizeof(*w->index));
	w->table = calloc(n, sizeof(*w->table));
	if (w->buf && w->old && w->index && w->table)
		return 0;
	return err_nomem(err, w->room * size, "a bitmap");
}

int qcow2_bitmap_write(struct bitmap_edit *e, size_t i, struct dirty *bits, bool clear,
		       struct err *err)
{
	struct qcow2_bitmap *b = &e->list[i];
	uint64_t n = qcow2_bitmap_clusters(qcow2_bitmap_disk(e->q), b->granularity_bits,
					   e->q->cluster_size);
	uint64_t nold = b->table_off ? b->table_size : 0, off = b->table_off;
	AUTO_FREE uint64_t *old = NULL;
	struct work w = {0};
	int rc = 0;

	if (nold)
		old = qcow2_bitmap_table(e->q, b, err);
	if (nold && !old)
		return -1;
	rc = work_init(&w, e, n, err);
	if (rc == 0)
		rc = work_all(&w, b, old, clear ? 0 : nold, n, bits, err);
	if (rc == 0 && (w.changed || n != nold || clear)) {
		rc = write_table(e, w.table, n, &off, err);
		if (rc == 0 && nold)
			rc = replace(e, old, nold, w.table, n, err) ||
					     add_place(&e->old, b->table_off, nold * 8, err)
				     ? -1
				     : 0;
	}
	if (rc == 0) {
		b->table_off = off;
		b->table_size = (uint32_t)n;
	}
	free(w.buf);
	free(w.old);
	free(w.index);
	free(w.table);
	return rc;
}

int qcow2_bitmap_discard(struct bitmap_edit *e, size_t i, struct err *err)
{
	const struct qcow2_bitmap *b = &e->list[i];
	AUTO_FREE uint64_t *old = NULL;
	struct err later;

	/* of a broken one, only what is surely a place is freed */
	old = qcow2_bitmap_table(e->q, b, b->broken ? &later : err);
	if (!old && !b->broken)
		return -1;
	if (old && replace(e, old, b->table_size, NULL, 0, err))
		return -1;
	return add_place(&e->old, b->table_off, b->table_size * UINT64_C(8), err);
}

/* ---- the directory ---------------------------------------------------------------- */

int qcow2_bitmap_begin(struct qcow2 *q, struct bitmap_edit *e, struct err *err)
{
	*e = (struct bitmap_edit){.q = q, .n = q->nbitmap};
	e->list = calloc(q->nbitmap + 1, sizeof(*e->list));
	if (!e->list)
		return err_nomem(err, (q->nbitmap + 1) * sizeof(*e->list), "bitmaps");
	if (q->nbitmap)
		memcpy(e->list, q->bitmap, q->nbitmap * sizeof(*e->list));
	return 0;
}

static void edit_end(struct bitmap_edit *e)
{
	free(e->list);
	free(e->fresh.at);
	free(e->old.at);
	memset(e, 0, sizeof(*e));
}

void qcow2_bitmap_abort(struct bitmap_edit *e)
{
	struct err later;

	for (size_t i = 0; i < e->fresh.n; i++)
		qcow2_free_now(e->q, e->fresh.at[i].off, e->fresh.at[i].len, &later);
	edit_end(e);
}

static int write_dir(struct bitmap_edit *e, uint64_t *off, size_t *len, struct err *err)
{
	struct qcow2 *q = e->q;
	AUTO_FREE uint8_t *dir = NULL;
	uint64_t got;

	*off = *len = 0;
	if (e->n == 0)
		return 0;
	dir = qcow2_bitmaps_encode(e->list, e->n, len, err);
	if (!dir || take(e, div_up(*len, q->cluster_size), true, off, &got, err))
		return -1;
	q->file_end = MAX(q->file_end, *off + round_up(*len, q->cluster_size));
	return qcow2_metadata_write(q, QCOW2_META_BITMAP_DIR, dir, *len, *off, err);
}

/* Is the header on disk, but for one sector, what it is to be? Then a write of it happens
 * or does not. */
static int differs_little(const struct qcow2 *q, bool *little, struct err *err)
{
	AUTO_FREE uint8_t *now = mem_alloc(q->cluster_size);
	AUTO_FREE uint8_t *first = calloc(1, q->cluster_size);
	struct qcow2_header h;
	unsigned n = 0;

	if (!now || !first)
		return err_nomem(err, q->cluster_size, "the header");
	if (blk_pread(q->image.blk.lower, now, q->cluster_size, 0, err) ||
	    qcow2_header_image(q, &h, first, err))
		return -1;
	for (uint32_t at = 0; at < q->cluster_size; at += SECTOR)
		n += memcmp(now + at, first + at, SECTOR) != 0;
	*little = n <= 1;
	return 0;
}

static int set_autoclear(struct qcow2 *q, bool on, struct err *err)
{
	uint64_t old = q->h.autoclear;

	q->h.autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_BITMAPS;
	if (on)
		q->h.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
	if (q->h.autoclear == old)
		return 0;
	return qcow2_header_update(q, err) || (waits(q) && blk_flush(q->image.blk.lower, err))
		       ? -1
		       : 0;
}

/* The header says where the bitmaps are. While more than a sector of it changes, it does not
 * say that they are to be trusted. */
static int point_there(struct qcow2 *q, struct err *err)
{
	bool little = false;

	if (differs_little(q, &little, err))
		return -1;
	if (little && q->extra.has_bitmaps && (q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return qcow2_header_rewrite(q, err);
	return set_autoclear(q, false, err) || qcow2_header_rewrite(q, err) ||
			       set_autoclear(q, q->extra.has_bitmaps, err)
		       ? -1
		       : 0;
}

static int switch_dir(struct bitmap_edit *e, uint64_t off, size_t len, struct err *err)
{
	struct qcow2 *q = e->q;
	struct qcow2_extra old = q->extra;

	/* counts first; what was written in place of a table's old one is stable with them */
	if (cache_flush(q->ref_cache, err) || (waits(q) && blk_flush(q->image.blk.lower, err)))
		return -1;
	q->extra.has_bitmaps = e->n > 0;
	q->extra.nb_bitmaps = (uint32_t)e->n;
	q->extra.bitmap_dir_off = off;
	q->extra.bitmap_dir_size = len;
	if (point_there(q, err)) {
		/* what the disk says now is not known: nothing more is written */
		qcow2_lose(q);
		q->extra.has_bitmaps = old.has_bitmaps;
		q->extra.nb_bitmaps = old.nb_bitmaps;
		q->extra.bitmap_dir_off = old.bitmap_dir_off;
		q->extra.bitmap_dir_size = old.bitmap_dir_size;
		q->broken = true;
		return -1;
	}
	return 0;
}

int qcow2_bitmap_commit(struct bitmap_edit *e, struct err *err)
{
	struct qcow2 *q = e->q;
	uint64_t old_off = q->extra.bitmap_dir_off, off;
	uint64_t old_len = q->nbitmap ? q->extra.bitmap_dir_size : 0;
	size_t len;
	int rc = 0;

	if (write_dir(e, &off, &len, err) ||
	    (old_len && add_place(&e->old, old_off, old_len, err))) {
		qcow2_bitmap_abort(e);
		return -1;
	}
	if (switch_dir(e, off, len, err)) {
		if (q->broken)
			edit_end(e); /* they may be in use */
		else
			qcow2_bitmap_abort(e);
		return -1;
	}
	for (size_t i = 0; rc == 0 && i < e->old.n; i++)
		rc = qcow2_free_later(q, e->old.at[i].off, e->old.at[i].len, QCOW2_FREE_OTHER,
				      err);
	free(q->bitmap);
	q->bitmap = e->list;
	q->nbitmap = e->n;
	e->list = NULL;
	edit_end(e);
	qcow2_bitmaps_track(q);
	return rc;
}
