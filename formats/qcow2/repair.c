/*
 * check -r: what check found wrong is put right, in an order that may be cut off anywhere.
 *
 * Entries of tables are repaired as they are found: one that goes is no reference any more,
 * and a crash after it leaks a cluster at worst. Then the reference counts, in place where
 * each cluster in use has one that is too low or too high only; where one is 0, or a part of
 * their structure is damaged, all of them are written anew in places that nothing refers to,
 * and the header is switched to them by one write. Then, with counts that are true and
 * stable, the copied flags, the snapshot table if it changed, and last the header's dirty and
 * corrupt bits. Started again, it goes on from whatever it finds.
 *
 * Nothing is freed, and nothing is written to a free place, when a table could not be read:
 * what it refers to would look free.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/check.h"
#include "lib/mem.h"

/* ---- writing in place ------------------------------------------------------------- */

static bool touches(uint64_t off, uint64_t n, uint64_t what, uint64_t size)
{
	return size && off < what + size && what < off + n;
}

static bool on_l2(const struct checker *k, uint64_t off, uint64_t n)
{
	for (size_t i = 0; i < k->ntable; i++)
		if (k->table[i].active && touches(off, n, k->table[i].off, k->cluster))
			return true;
	return false;
}

static bool on_refblock(const struct checker *k, uint64_t off, uint64_t n)
{
	const uint64_t *table = k->reftable ? k->reftable : k->q->reftable;
	uint64_t entries = k->reftable ? k->nreftable : k->q->nreftable;

	for (uint64_t i = 0; i < entries; i++)
		if (table[i] && touches(off, n, table[i] & ~UINT64_C(511), k->cluster))
			return true;
	return false;
}

static bool on_snapshot_l1(const struct checker *k, enum repair_what what, uint64_t off,
			   size_t n)
{
	for (uint32_t i = 0; i < k->nsnap; i++) {
		const struct snapshot_root *s = &k->snap[i];

		if (what == REPAIR_SNAPSHOT_L1 && off >= s->l1_off)
			continue; /* itself, mostly */
		if (touches(off, n, s->l1_off, s->l1_size * UINT64_C(8)))
			return true;
	}
	return false;
}

/* What else is at a place that is to be written: the peer's name of it; NULL: nothing. */
static const char *overlaps(const struct checker *k, enum repair_what what, uint64_t off,
			    size_t n)
{
	const struct qcow2_header *h = &k->q->h;

	if (off < k->cluster)
		return "qcow2_header";
	if (what != REPAIR_L1 && touches(off, n, h->l1_off, h->l1_size * UINT64_C(8)))
		return "active L1 table";
	if (what != REPAIR_L2 && on_l2(k, off, n))
		return "active L2 table";
	if (on_refblock(k, off, n))
		return "refcount block";
	if (touches(off, n, h->reftable_off, (uint64_t)h->reftable_cl << k->bits))
		return "refcount table";
	if (touches(off, n, h->snapshots_off, k->snap_len))
		return "snapshot table";
	return on_snapshot_l1(k, what, off, n) ? "inactive L1 table" : NULL;
}

static int set_corrupt(struct qcow2 *q, struct err *err)
{
	if (q->h.version < 3 || (q->h.incompat & QCOW2_INCOMPAT_CORRUPT))
		return 0;
	q->h.incompat |= QCOW2_INCOMPAT_CORRUPT;
	return qcow2_header_update(q, err);
}

int repair_write(struct checker *k, enum repair_what what, uint64_t off, const void *buf,
		 size_t n, struct err *err)
{
	const char *other = overlaps(k, what, off, n);

	if (what == REPAIR_L2 && off % k->cluster)
		return 1;
	if (!other)
		return blk_pwrite(k->file, buf, n, off, 0, err);
	if (k->fix & CHECK_FIX_ENTRIES)
		return 1;
	check_say(k,
		  "qcow2: Marking image as corrupt: Preventing invalid write on metadata "
		  "(overlaps with %s); further corruption events will be suppressed",
		  other);
	if (set_corrupt(k->q, err))
		return -1;
	return err_set(err, EIO, "%s", strerror(EIO));
}

/* ---- the passes ------------------------------------------------------------------- */

/* Before anything else is repaired that relies on it. */
static int settle(struct checker *k, struct err *err)
{
	return blk_flush(k->file, err);
}

/* Compares the reference counts once more, now to repair them. */
static int fix_refcounts(struct checker *k, const struct check *before, struct err *err)
{
	k->c->errors = before->errors;
	k->c->leaks = before->leaks;
	k->c->check_errors = before->check_errors;
	k->refs = k->c->fix;
	return check_refcounts(k, err) < 0 || settle(k, err) < 0 ? -1 : 0;
}

/* All that is wrong with the counts goes with them; tells of it. */
static int tell_rebuilt(struct checker *k, struct err *err)
{
	k->mute = true;
	k->refs = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS;
	if (check_refcounts(k, err) < 0)
		return -1;
	k->mute = false;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Blocks that were counted past the end of the file: as if they had been freed. */
static void say_outside(struct checker *k, uint64_t *cl, size_t n)
{
	if (n == 0)
		return;
	qsort(cl, n, sizeof(*cl), by_number);
	for (size_t i = 0, same; i < n; i += same) {
		for (same = 1; i + same < n && cl[i + same] == cl[i]; same++)
			;
		check_say(k, "Repairing cluster %" PRIu64 " refcount=%zu reference=0", cl[i],
			  same);
	}
}

/*
 * New counts, and from then on another checker: the old structure has become a leak, and
 * what refers to it may have changed. What the second look does not find is repaired.
 */
static int rebuild(struct checker *k, struct err *err)
{
	struct check *c = k->c;
	struct qcow2 *q = k->q;
	uint64_t *outside = k->outside, errors = c->errors, fixed, leaks_fixed;
	size_t noutside = k->noutside;
	unsigned fix = k->fix;
	int rc;

	check_say(k, "Rebuilding refcount structure");
	if (tell_rebuilt(k, err) < 0 || repair_rebuild(k, err) < 0)
		return -1;
	leaks_fixed = c->leaks_fixed + c->leaks;
	fixed = c->errors_fixed;
	c->errors = c->leaks = c->check_errors = 0;
	k->outside = NULL;
	checker_free(k);
	rc = checker_init(k, q, c, fix, err);
	k->again = k->deaf = true;
	if (rc == 0)
		rc = check_references(k, err);
	k->refs = CHECK_FIX_LEAKS;
	if (rc == 0 && !k->blind)
		rc = check_refcounts(k, err) < 0 || settle(k, err) < 0 ? -1 : 0;
	if (rc == 0)
		say_outside(k, outside, noutside);
	free(outside);
	c->leaks_fixed = leaks_fixed;
	c->errors_fixed = fixed + (errors > c->errors ? errors - c->errors : 0);
	k->deaf = false;
	return rc;
}

static int fix_copied(struct checker *k, struct err *err)
{
	bool sound = !k->c->errors && !k->c->check_errors;
	bool fix = (k->fix & CHECK_FIX_ERRORS) || ((k->fix & CHECK_FIX_LEAKS) && sound);

	if (!k->copied)
		return 0;
	return check_copied(k, fix && !k->blind, err) < 0 || settle(k, err) < 0 ? -1 : 0;
}

/* Bits that ask for a repair; and what follows our writes only if we know of it. */
static int clear_bits(struct checker *k, bool counts_true, struct err *err)
{
	const uint64_t known = QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_DATA_RAW;
	const struct check *c = k->c;
	struct qcow2_header *h = &k->q->h, old = *h;

	if (h->version < 3 || k->blind || c->check_errors)
		return 0;
	if (counts_true)
		h->incompat &= ~(uint64_t)QCOW2_INCOMPAT_DIRTY;
	if (!c->errors)
		h->incompat &= ~(uint64_t)QCOW2_INCOMPAT_CORRUPT;
	h->autoclear &= known;
	if (old.incompat == h->incompat && old.autoclear == h->autoclear)
		return 0;
	return settle(k, err) < 0 || qcow2_header_update(k->q, err) < 0 ? -1 : settle(k, err);
}

/* Bitmaps that nobody may trust any more, and whose clusters were just freed as leaks, are not
 * named any longer: qcow2_bitmaps_load(). */
static int forget_bitmaps(struct checker *k, struct err *err)
{
	struct qcow2 *q = k->q;

	if (k->blind || !q->image.warning || q->extra.has_bitmaps)
		return 0;
	return qcow2_header_rewrite(q, err);
}

static int repair_all(struct checker *k, struct err *err)
{
	struct check *c = k->c, before;
	bool counts_true = true;
	uint64_t errors;

	if (check_references(k, err) < 0 || settle(k, err) < 0)
		return -1;
	before = *c;
	k->preview = true;
	if (check_refcounts(k, err) < 0)
		return -1;
	k->preview = false;
	if (k->blind) {
		check_say(
			k,
			"Nothing is freed or moved while there are tables that cannot be read");
		k->mute = true;
		return check_refcounts(k, err);
	}
	if (k->rebuild && !(c->fix & CHECK_FIX_ERRORS)) {
		check_say(k, "ERROR need to rebuild refcount structures");
		return err_set(err, EIO, "%s", strerror(EIO));
	}
	if (k->rebuild) {
		if (rebuild(k, err) < 0)
			return -1;
	} else if (c->leaks > before.leaks || c->errors > before.errors) {
		errors = before.errors;
		if (fix_refcounts(k, &before, err) < 0)
			return -1;
		counts_true = c->errors == errors;
	}
	if (fix_copied(k, err) < 0)
		return -1;
	if (k->snap_changed && !k->blind && repair_snapshots(k, err) < 0)
		return -1;
	if (forget_bitmaps(k, err) < 0)
		return -1;
	return clear_bits(k, counts_true, err);
}

int qcow2_repair(struct qcow2 *q, struct check *c, struct err *err)
{
	struct check quiet = {.fix = CHECK_FIX_LEAKS};
	struct checker k;
	int rc;

	if (!(q->flags & IMAGE_WRITE))
		return err_set(err, EACCES,
			       "An image that is open for reading is not repaired");
	rc = checker_init(&k, q, c, c->fix, err);
	if (rc == 0)
		rc = repair_all(&k, err);
	c->image_end = (k.end_cl + 1) << k.bits;
	checker_free(&k);
	return rc == 0 && k.leaked ? qcow2_repair(q, &quiet, err) : rc;
}
