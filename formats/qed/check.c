/*
 * check: qed_spec.rst, section "Consistency checking". The numbers are the peer's, which has
 * no line for what it finds: only programs are told of each.
 *
 * Repair drops entries that point nowhere, and closes the holes that leaks are (compact.c;
 * the peer leaves those). A cluster that is used twice is told of and left alone: nobody knows
 * whose it is; then nothing is moved.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/qed/check.h"
#include "lib/mem.h"

#define STRIDE 4096u /* entries between two looks for a run of empty ones */

struct checker {
	struct qed *q;
	struct check *c;
	uint8_t *used; /* a bit for each cluster of the file */
	uint64_t clusters, nused;
};

static void tell(struct checker *k, const char *kind, bool fixed, uint64_t host)
{
	struct check_problem p = {.kind = kind, .has_host = true, .host = host, .fixed = fixed};

	if (k->c->problem)
		k->c->problem(k->c->arg, &p);
}

static void tell_guest(struct checker *k, const char *kind, bool fixed, uint64_t guest)
{
	struct check_problem p = {
		.kind = kind, .has_guest = true, .guest = guest, .fixed = fixed};

	if (k->c->problem)
		k->c->problem(k->c->arg, &p);
}

/* n clusters at off, which are inside of the file, are used. -1: some were, before. */
static int use(struct checker *k, uint64_t off, uint64_t n)
{
	uint64_t first = off / k->q->h.cluster_size;
	int rc = 0;

	for (uint64_t i = first; i < first + n; i++) {
		uint8_t bit = (uint8_t)(1u << i % 8);

		if (k->used[i / 8] & bit) {
			tell(k, "overlap", false, i * k->q->h.cluster_size);
			k->c->errors++;
			rc = -1;
			continue;
		}
		k->used[i / 8] |= bit;
		k->nused++;
	}
	return rc;
}

/* An entry at `at` that points nowhere. */
static int drop(struct checker *k, struct entries *e, uint64_t at, const char *kind,
		uint64_t guest, struct err *err)
{
	bool fix = k->c->fix;

	tell_guest(k, kind, fix, guest);
	*(fix ? &k->c->errors_fixed : &k->c->errors) += 1;
	return fix ? entries_set(e, at, 0, err) : 0;
}

static int check_l2(struct checker *k, uint64_t l1_index, uint64_t l2, struct err *err)
{
	struct qed *q = k->q;
	uint64_t entry, next = 0;

	for (uint64_t i = 0; i < q->per_table; i++) {
		if (i % STRIDE == 0)
			i += qed_none(q, l2, i);
		if (i >= q->per_table)
			break;
		if (entries_get(&q->l2, l2 + 8 * i, &entry, err))
			return -1;
		if (entry == QED_ABSENT || entry == QED_ZERO)
			continue;
		k->c->allocated_clusters++;
		if (next && entry != next)
			k->c->fragmented_clusters++;
		next = entry + q->h.cluster_size;
		if (qed_inside(q, entry, q->h.cluster_size))
			use(k, entry, 1);
		else if (drop(k, &q->l2, l2 + 8 * i, "l2-entry",
			      (l1_index * q->per_table + i) * q->h.cluster_size, err))
			return -1;
	}
	return 0;
}

/* Each table is walked once only, so that the file's size bounds the work. */
static int check_l1(struct checker *k, struct err *err)
{
	struct qed *q = k->q;
	uint64_t l2;

	for (uint64_t i = 0; i < q->per_table; i++) {
		uint64_t at = q->h.l1_off + 8 * i;

		if (i % STRIDE == 0 &&
		    entries_none(&q->l1, NULL, at, MIN(STRIDE, q->per_table - i)) == STRIDE) {
			i += STRIDE - 1;
			continue;
		}
		if (entries_get(&q->l1, at, &l2, err))
			return -1;
		if (l2 == 0)
			continue;
		if (!qed_inside(q, l2, q->table)) {
			if (drop(k, &q->l1, at, "l1-entry",
				 i * q->per_table * q->h.cluster_size, err))
				return -1;
			continue;
		}
		if (use(k, l2, q->h.table_size) == 0 && check_l2(k, i, l2, err))
			return -1;
	}
	return 0;
}

static int find_leaks(struct checker *k, struct err *err)
{
	uint64_t leaks = k->clusters - k->nused;
	bool fix = (k->c->fix & CHECK_FIX_LEAKS) && k->c->errors == 0 &&
		   (k->q->b.image.blk.lower->caps & BLK_CAN_GROW);

	k->c->leaks = leaks;
	if (leaks == 0)
		return 0;
	for (uint64_t i = 0; k->c->problem && i < k->clusters; i++)
		if (!(k->used[i / 8] & (1u << i % 8)))
			tell(k, "leak", fix, i * k->q->h.cluster_size);
	if (!fix)
		return 0;
	if (qed_compact(k->q, k->used, &k->clusters, err))
		return -1;
	k->c->leaks = k->clusters - k->nused;
	k->c->leaks_fixed = leaks - k->c->leaks;
	return 0;
}

/* The tables are stable before the image is called clean. */
static int call_it_clean(struct qed *q, struct err *err)
{
	struct blk *lower = q->b.image.blk.lower;

	if (!(q->h.features & QED_NEED_CHECK))
		return 0;
	q->h.features &= ~(uint64_t)QED_NEED_CHECK;
	if (blk_flush(lower, err) || qed_header_write(q, err))
		return -1;
	return blk_flush(lower, err);
}

static int check_all(struct checker *k, struct err *err)
{
	struct qed *q = k->q;

	use(k, 0, q->h.header_size);
	use(k, q->h.l1_off, q->h.table_size);
	if (check_l1(k, err) || find_leaks(k, err))
		return -1;
	k->c->total_clusters = div_up(q->h.size, q->h.cluster_size);
	if (!k->c->fix)
		return 0;
	if (entries_flush(&q->l2, err) || entries_flush(&q->l1, err))
		return -1;
	return k->c->errors == 0 ? call_it_clean(q, err) : 0;
}

int qed_check(struct image *image, struct check *c, struct err *err)
{
	struct qed *q = (struct qed *)image;
	struct checker k = {.q = q, .c = c, .clusters = q->whole / q->h.cluster_size};
	int rc;

	k.used = calloc(1, (k.clusters + QED_TABLE_MAX) / 8 + 1);
	if (!k.used)
		return err_nomem(err, k.clusters / 8 + 1, "a map of clusters");
	rc = check_all(&k, err);
	free(k.used);
	return rc;
}
