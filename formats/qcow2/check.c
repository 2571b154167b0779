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

#include "formats/qcow2/snapshot.h"
#include "lib/bytes.h"
#include "lib/mem.h"

enum {
	SECTOR = 512,
	LINES_MAX = 1000000, /* messages; more help nobody */
	BUDGET_MIN = 64 << 20,
	BUDGET_DISK = 16, /* times what the file takes on disk */
};

/* ---- messages --------------------------------------------------------------------- */

bool check_heard(const struct checker *k)
{
	return k->c->report && !k->mute && k->lines <= LINES_MAX;
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

void check_problem(struct checker *k, const char *kind, const uint64_t *host, bool fixed)
{
	struct check_problem p = {.kind = kind, .fixed = fixed};

	if (!k->c->problem || k->deaf || k->preview)
		return;
	p.has_guest = k->has_guest;
	p.guest = k->has_guest ? k->guest : 0;
	p.has_host = host != NULL;
	p.host = host ? *host : 0;
	k->c->problem(k->c->arg, &p);
}

void check_fault(struct checker *k, bool fix, const char *kind, const uint64_t *host,
		 const char *fmt, ...)
{
	char text[400];
	va_list ap;

	if (!k->mute)
		*(fix ? &k->c->errors_fixed : &k->c->errors) += 1;
	if (check_heard(k)) {
		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		if (fix)
			check_say(k, "Repairing %s", text + 2 * (text[0] == ':'));
		else
			check_say(k, "ERROR%s%s", text[0] == ':' ? "" : " ", text);
	}
	check_problem(k, kind, host, fix);
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
	k->blind = true;
	k->c->check_errors++;
	check_say(k, "ERROR: too many references to damaged or shared tables; the rest is not "
		     "looked into");
	return false;
}

/* ---- the snapshot table ----------------------------------------------------------- */

static int extra_too_large(struct checker *k, uint32_t i, uint32_t extra, struct err *err)
{
	if (k->fix & CHECK_FIX_ERRORS) {
		check_say(k,
			  "Discarding too much extra metadata in snapshot table entry %" PRIu32
			  " (%" PRIu32 " > %d)",
			  i, extra, QCOW2_SNAPSHOT_EXTRA_MAX);
		k->c->errors_fixed++;
		check_problem(k, "snapshot", &k->snap[i].entry, true);
		k->snap_changed = true;
		return 0;
	}
	check_say(k,
		  "ERROR failed to read the snapshot table: Too much extra metadata in "
		  "snapshot table entry %" PRIu32,
		  i);
	check_say(k, "You can force-remove this extra metadata with qemu-img check -r all");
	return err_set(err, EFBIG, "%s", strerror(EFBIG));
}

static int too_many(struct checker *k, struct err *err)
{
	uint32_t n = k->q->overhanging;

	if (k->fix & CHECK_FIX_ERRORS) {
		check_say(k, "Discarding %" PRIu32 " overhanging snapshots", n);
		k->c->errors_fixed += n;
		check_problem(k, "snapshot", NULL, true);
		k->snap_changed = true;
		return 0;
	}
	check_say(k, "ERROR snapshot table too large");
	check_say(k,
		  "You can force-remove all %" PRIu32
		  " overhanging snapshots with qemu-img check -r all",
		  n);
	return err_set(err, EFBIG, "%s", strerror(EFBIG));
}

/* Past the peer's limit; the entries from i on go. */
static int table_too_large(struct checker *k, uint32_t i, struct err *err)
{
	uint32_t n = k->q->h.nb_snapshots - i;

	if (!(k->fix & CHECK_FIX_ERRORS)) {
		check_say(k,
			  "ERROR failed to read the snapshot table: Snapshot table is too big");
		return err_set(err, EFBIG, "%s", strerror(EFBIG));
	}
	check_say(k, "Discarding %" PRIu32 " overhanging snapshots (snapshot table is too big)",
		  n);
	k->c->errors_fixed += n;
	check_problem(k, "snapshot", &k->snap[i].entry, true);
	k->nsnap = i;
	k->snap_changed = true;
	return 0;
}

static int read_snapshot(struct checker *k, struct snapshot_root *s, uint64_t *at,
			 struct err *err)
{
	uint8_t head[QCOW2_SNAPSHOT_HEAD];

	*at = round_up(*at, 8);
	if (blk_pread(k->file, head, sizeof(head), *at, err) < 0)
		return err_prefix(err, "ERROR failed to read the snapshot table");
	s->entry = *at;
	s->l1_off = get_be64(head);
	s->l1_size = get_be32(head + 8);
	s->extra = get_be32(head + 36);
	s->incomplete = k->q->h.version >= 3 && s->extra < QCOW2_SNAPSHOT_EXTRA_V3;
	s->extra_large = s->extra > QCOW2_SNAPSHOT_EXTRA_MAX;
	*at += QCOW2_SNAPSHOT_HEAD + s->extra + get_be16(head + 12) + get_be16(head + 14);
	return 0;
}

static int read_table(struct checker *k, struct err *err)
{
	const struct qcow2_header *h = &k->q->h;
	uint64_t at = h->snapshots_off, good = at;
	bool fix = k->fix & CHECK_FIX_ERRORS;

	if (k->q->overhanging && too_many(k, err) < 0)
		return -1;
	/* at most 65536: header.c, open.c */
	k->snap = calloc(h->nb_snapshots, sizeof(*k->snap));
	if (!k->snap)
		return err_nomem(err, h->nb_snapshots * sizeof(*k->snap), "snapshots");
	for (uint32_t i = 0; i < h->nb_snapshots; i++) {
		if (read_snapshot(k, &k->snap[k->nsnap++], &at, err) < 0)
			return -1;
		if (k->snap[i].extra_large && extra_too_large(k, i, k->snap[i].extra, err) < 0)
			return -1;
		if (at - h->snapshots_off > QCOW2_SNAPSHOT_TABLE_MAX) {
			if (table_too_large(k, i, err) < 0)
				return -1;
			break;
		}
		good = at;
	}
	k->snap_len = good - h->snapshots_off;
	for (uint32_t i = 0; i < k->nsnap; i++) {
		if (!k->snap[i].incomplete)
			continue;
		check_fault(k, fix, "snapshot", &k->snap[i].entry,
			    "snapshot table entry %" PRIu32 " is incomplete", i);
		k->snap_changed |= fix;
	}
	return 0;
}

static int read_snapshots(struct checker *k, struct err *err)
{
	struct check before = *k->c;
	bool mute = k->mute, deaf = k->deaf;
	int rc;

	if (k->q->h.nb_snapshots == 0)
		return 0;
	k->mute |= k->again;
	k->deaf |= k->again;
	rc = read_table(k, err);
	if (k->again)
		*k->c = before;
	k->mute = mute;
	k->deaf = deaf;
	return rc;
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

int check_references(struct checker *k, struct err *err)
{
	const struct qcow2_extra *x = &k->q->extra;

	if (read_snapshots(k, err) < 0 || check_region(k, 0, k->cluster, 1, 0, err) < 0 ||
	    check_tables(k, err) < 0 ||
	    check_region(k, k->q->h.snapshots_off, k->snap_len, 1, 0, err) < 0)
		return -1;
	if (x->has_crypt && check_region(k, x->crypt_off, x->crypt_len, 1, 0, err) < 0)
		return -1;
	return check_bitmaps(k, err) < 0 || check_reftable(k, err) < 0 ? -1 : 0;
}

int checker_init(struct checker *k, struct qcow2 *q, struct check *c, unsigned fix,
		 struct err *err)
{
	int64_t on_disk;

	memset(k, 0, sizeof(*k));
	k->q = q;
	k->c = c;
	k->fix = fix;
	k->file = q->image.blk.lower;
	k->file_size = round_up(blk_size(k->file), SECTOR); /* as the peer sees it */
	k->cluster = q->cluster_size;
	k->bits = q->h.cluster_bits;
	k->nb_cl = k->file_cl = div_up(k->file_size, k->cluster);
	on_disk = blk_disk_usage(k->file);
	k->budget = BUDGET_MIN +
		    BUDGET_DISK * (on_disk >= 0 ? (uint64_t)on_disk
						: MIN(k->file_size, INT64_MAX / BUDGET_DISK));
	c->total_clusters = div_up(q->h.size, k->cluster);
	c->allocated_clusters = c->fragmented_clusters = c->compressed_clusters = 0;
	return counts_init(&k->counts, k->nb_cl, q->h.refcount_order, err);
}

void checker_free(struct checker *k)
{
	counts_free(&k->counts);
	map_free(&k->table_of);
	map_free(&k->disk);
	free(k->table);
	free(k->snap);
	free(k->reftable);
	free(k->outside);
}

int qcow2_check(struct image *image, struct check *c, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	struct checker k;
	int ret;

	if (c->fix)
		return qcow2_repair(q, c, err);
	ret = checker_init(&k, q, c, 0, err);
	if (ret == 0 && (check_references(&k, err) < 0 || check_refcounts(&k, err) < 0 ||
			 (k.copied && check_copied(&k, false, err) < 0)))
		ret = -1;
	c->image_end = (k.end_cl + 1) << k.bits;
	checker_free(&k);
	return ret;
}
