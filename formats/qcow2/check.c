/*
 * check: what a qcow2 file says of its clusters against what is there. See check.h.
 */
#include "formats/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

enum {
	SECTOR = 512,
	LINES_MAX = 1000000,	   /* messages; more help nobody */
	SNAPSHOT_HEAD = 40,	   /* fixed part of a snapshot table entry */
	SNAPSHOT_EXTRA_MAX = 1024, /* the peer's limit */
	SNAPSHOT_EXTRA_V3 = 16,	   /* the least of version 3 */
	BUDGET_MIN = 64 << 20,
	BUDGET_DISK = 16, /* times what the file takes on disk */
};

/* ---- messages --------------------------------------------------------------------- */

bool check_heard(const struct checker *k)
{
	return k->c->report && k->lines <= LINES_MAX;
}

static void __attribute__((format(printf, 2, 0)))
say(struct checker *k, const char *fmt, va_list ap)
{
	char line[512];

	if (!check_heard(k))
		return;
	if (k->lines++ == LINES_MAX)
		snprintf(line, sizeof(line), "Further messages are left out.");
	else
		vsnprintf(line, sizeof(line), fmt, ap);
	k->c->report(k->c->arg, line);
}

void check_say(struct checker *k, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(k, fmt, ap);
	va_end(ap);
}

void check_error(struct checker *k, const char *fmt, ...)
{
	va_list ap;

	k->c->errors++;
	va_start(ap, fmt);
	say(k, fmt, ap);
	va_end(ap);
}

bool check_spend(struct checker *k, uint64_t n)
{
	if (k->budget == 0)
		return false;
	if (n <= k->budget) {
		k->budget -= n;
		return true;
	}
	k->budget = 0;
	k->c->check_errors++;
	check_say(k, "ERROR: too many references to damaged or shared tables; the rest is not "
		     "looked into");
	return false;
}

/* ---- the snapshot table ----------------------------------------------------------- */

static int extra_too_large(struct checker *k, uint32_t i, struct err *err)
{
	check_say(k,
		  "ERROR failed to read the snapshot table: Too much extra metadata in "
		  "snapshot table entry %" PRIu32,
		  i);
	check_say(k, "You can force-remove this extra metadata with qemu-img check -r all");
	return err_set(err, EFBIG, "%s", strerror(EFBIG));
}

static int read_snapshots(struct checker *k, struct err *err)
{
	const struct qcow2_header *h = &k->q->h;
	uint64_t at = h->snapshots_off;

	if (h->nb_snapshots == 0)
		return 0;
	/* at most 65536: header.c */
	k->snap = calloc(h->nb_snapshots, sizeof(*k->snap));
	if (!k->snap)
		return err_nomem(err, h->nb_snapshots * sizeof(*k->snap), "snapshots");
	for (uint32_t i = 0; i < h->nb_snapshots; i++) {
		struct snapshot_root *s = &k->snap[k->nsnap++];
		uint8_t head[SNAPSHOT_HEAD];
		uint32_t extra;

		at = round_up(at, 8);
		if (blk_pread(k->file, head, sizeof(head), at, err) < 0)
			return err_prefix(err, "ERROR failed to read the snapshot table");
		s->entry = at;
		s->l1_off = get_be64(head);
		s->l1_size = get_be32(head + 8);
		extra = get_be32(head + 36);
		if (extra > SNAPSHOT_EXTRA_MAX)
			return extra_too_large(k, i, err);
		s->incomplete = h->version >= 3 && extra < SNAPSHOT_EXTRA_V3;
		at += SNAPSHOT_HEAD + extra + get_be16(head + 12) + get_be16(head + 14);
		if (at - h->snapshots_off > QCOW2_SNAPSHOT_TABLE_MAX) {
			check_say(k, "ERROR failed to read the snapshot table: Snapshot table "
				     "is too big");
			return err_set(err, EFBIG, "%s", strerror(EFBIG));
		}
	}
	k->snap_len = at - h->snapshots_off;
	for (uint32_t i = 0; i < k->nsnap; i++)
		if (k->snap[i].incomplete)
			check_error(k, "ERROR snapshot table entry %" PRIu32 " is incomplete",
				    i);
	return 0;
}

/* ---- bitmaps ---------------------------------------------------------------------- */

static int bitmap_entries(struct checker *k, void *arg, uint64_t first, const uint8_t *p,
			  size_t n, struct err *err)
{
	const struct qcow2_bitmap *b = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t v = get_be64(p + 8 * i), off = v & QCOW2_OFF_MASK;

		if ((v & ~(QCOW2_OFF_MASK | 1)) || (off && (v & 1)) || off % k->cluster)
			return err_set(err, EINVAL,
				       "Bitmap '%s' has a damaged table: entry %" PRIu64
				       " is %#" PRIx64,
				       b->name, first + i, v);
		if (off && check_region(k, off, k->cluster, 1, 0, err) < 0)
			return -1;
	}
	return 0;
}

static int check_bitmaps(struct checker *k, struct err *err)
{
	const struct qcow2_extra *x = &k->q->extra;
	struct qcow2_bitmap *list;
	size_t n;
	int ret;

	if (qcow2_bitmaps_read(k->q, &list, &n, err) < 0)
		return -1;
	if (n == 0)
		return 0;
	ret = check_region(k, x->bitmap_dir_off, x->bitmap_dir_size, 1, 0, err);
	for (size_t i = 0; i < n && ret == 0; i++) {
		ret = check_region(k, list[i].table_off, list[i].table_size * UINT64_C(8), 1, 0,
				   err);
		if (ret == 0)
			ret = check_entries(k, "bitmap table", list[i].table_off,
					    list[i].table_size, true, bitmap_entries, &list[i],
					    err);
	}
	qcow2_bitmaps_free(list, n);
	return ret;
}

/* ---- all -------------------------------------------------------------------------- */

static int check_all(struct checker *k, struct err *err)
{
	const struct qcow2_extra *x = &k->q->extra;

	if (read_snapshots(k, err) < 0 || check_region(k, 0, k->cluster, 1, 0, err) < 0 ||
	    check_tables(k, err) < 0 ||
	    check_region(k, k->q->h.snapshots_off, k->snap_len, 1, 0, err) < 0)
		return -1;
	if (x->has_crypt && check_region(k, x->crypt_off, x->crypt_len, 1, 0, err) < 0)
		return -1;
	if (check_bitmaps(k, err) < 0 || check_reftable(k, err) < 0 ||
	    check_refcounts(k, err) < 0)
		return -1;
	return k->copied ? check_copied(k, err) : 0;
}

static void checker_free(struct checker *k)
{
	counts_free(&k->counts);
	map_free(&k->table_of);
	map_free(&k->disk);
	free(k->table);
	free(k->snap);
	free(k->reftable);
}

int qcow2_check(struct image *image, struct check *c, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	struct checker k = {.q = q, .c = c, .file = image->blk.lower};
	int64_t on_disk;
	int ret;

	if (c->fix)
		return err_set(err, ENOTSUP, "This version cannot repair qcow2 images");
	k.file_size = round_up(blk_size(k.file), SECTOR); /* as the peer sees it */
	k.cluster = q->cluster_size;
	k.bits = q->h.cluster_bits;
	k.nb_cl = div_up(k.file_size, k.cluster);
	on_disk = blk_disk_usage(k.file);
	k.budget = BUDGET_MIN +
		   BUDGET_DISK * (on_disk >= 0 ? (uint64_t)on_disk
					       : MIN(k.file_size, INT64_MAX / BUDGET_DISK));
	c->total_clusters = div_up(q->h.size, k.cluster);
	ret = counts_init(&k.counts, k.nb_cl, q->h.refcount_order, err);
	if (ret == 0)
		ret = check_all(&k, err);
	c->image_end = (k.end_cl + 1) << k.bits;
	checker_free(&k);
	return ret;
}
