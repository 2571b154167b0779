/*
 * check: what QEMU finds, in its words - not closed, clusters outside of the file, space at
 * the end - and what it does not: clusters that are used twice, lie in the header or are cut
 * off, a wrong data_off, an extension that cannot be used.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/parallels/extension.h"
#include "formats/parallels/parallels.h"
#include "lib/mem.h"

struct checker {
	struct prl *p;
	struct check *c;
	bool fix;      /* errors */
	uint64_t file; /* its size, in whole sectors */
	uint64_t end;  /* of what is in use */
};

static const char *verb(bool fixed)
{
	return fixed ? "Repairing" : "ERROR";
}

static void count_error(struct checker *k)
{
	*(k->fix ? &k->c->errors_fixed : &k->c->errors) += 1;
}

/* ---- the header -------------------------------------------------------------------- */

static int check_closed(struct checker *k, struct err *err)
{
	struct check_problem prob = {.kind = "in-use", .fixed = k->fix};

	if (k->p->h.in_use != PRL_IN_USE)
		return 0;
	check_find(k->c, &prob, "%s image was not closed correctly", verb(k->fix));
	count_error(k);
	return 0; /* cleared when all else is done */
}

static int check_data_off(struct checker *k, struct err *err)
{
	struct check_problem prob = {.kind = "data-offset", .fixed = k->fix};
	struct prl *p = k->p;

	if (prl_data_off_good(&p->h))
		return 0;
	check_find(k->c, &prob, "%s data_off field has incorrect value %" PRIu32, verb(k->fix),
		   p->h.data_off);
	count_error(k);
	if (!k->fix)
		return 0;
	p->h.data_off = (uint32_t)(p->data_start / PRL_SECTOR);
	return prl_write_field(p, PRL_DATA_OFF_AT, 4, p->h.data_off, err);
}

/* Bitmaps of an image that was not closed say nothing any more, and those of one that was
 * closed by who knows nothing of them have not done so before. */
static int check_extension(struct checker *k, struct err *err)
{
	struct prl *p = k->p;
	struct check_problem prob = {.kind = "extension", .fixed = k->fix};

	if (!p->ext && !(k->fix && p->h.ext_off))
		return 0;
	if (p->ext && !p->ext->problem[0] && !(p->ext->stale && k->fix))
		return 0;
	if (p->ext && p->ext->problem[0]) {
		check_find(k->c, &prob, "%s format extension: %s", verb(k->fix),
			   p->ext->problem);
		count_error(k);
	}
	/* what is good of it is kept by the next writer, and is not to be lost now */
	if (!k->fix)
		return 0;
	prl_extension_free(p->ext);
	p->ext = NULL;
	p->h.ext_off = 0;
	return prl_write_field(p, PRL_EXT_OFF_AT, 8, 0, err);
}

/* ---- the BAT ----------------------------------------------------------------------- */

/* What lies before the end of the file is kept: it gets zeros after it. */
static int fix_entry(struct checker *k, uint32_t i, uint64_t host, bool partly, struct err *err)
{
	uint64_t end = host + prl_cluster(k->p);

	if (!partly)
		return prl_set_entry(k->p, i, 0, err);
	if (blk_zero(k->p->b.blocks.file, k->file, end - k->file, 0, err))
		return -1;
	k->file = MAX(k->file, end);
	return 0;
}

/* *host: where the cluster is; 0: it has no place, or not any more. */
static int check_entry(struct checker *k, uint32_t i, uint64_t *host, struct err *err)
{
	struct check_problem prob = {.kind = "entry",
				     .fixed = k->fix,
				     .has_guest = true,
				     .guest = i * prl_cluster(k->p)};
	const char *wrong;
	uint32_t entry;
	bool partly;

	if (prl_get_entry(k->p, i, &entry, err))
		return -1;
	*host = entry * k->p->unit;
	wrong = entry ? prl_place_wrong(k->p, i, *host) : NULL;
	if (!wrong)
		return 0;
	partly = *host >= prl_bat_end(&k->p->h) && *host < k->file;
	check_find(k->c, &prob, "%s cluster %" PRIu32 " %s", verb(k->fix), i, wrong);
	count_error(k);
	if (!k->fix)
		return 0;
	if (fix_entry(k, i, *host, partly, err))
		return -1;
	if (!partly)
		*host = 0;
	return 0;
}

static int check_bat(struct checker *k, struct err *err)
{
	uint64_t cluster = prl_cluster(k->p), prev = 0, host;

	k->c->total_clusters = k->p->h.entries;
	k->end = k->p->data_start;
	for (uint32_t i = 0; i < k->p->h.entries; i++) {
		if (check_entry(k, i, &host, err))
			return -1;
		if (host) {
			k->c->allocated_clusters++;
			k->c->fragmented_clusters += prev && prev + cluster != host;
			k->end = MAX(k->end, host + cluster);
		}
		prev = host;
	}
	return entries_flush(&k->p->bat, err);
}

/* ---- what is used twice -------------------------------------------------------------- */

static int copy_cluster(struct checker *k, uint64_t from, uint64_t to, struct err *err)
{
	const uint64_t piece = 1 << 20;
	uint64_t n = MIN(prl_cluster(k->p), k->file - from); /* no more is there */
	struct blk *file = k->p->b.blocks.file;
	AUTO_FREE uint8_t *buf = mem_alloc(piece);

	if (!buf)
		return err_nomem(err, piece, "a cluster");
	for (uint64_t at = 0; at < n; at += piece) {
		size_t len = (size_t)MIN(piece, n - at);

		if (blk_pread(file, buf, len, from + at, err) ||
		    blk_pwrite(file, buf, len, to + at, 0, err))
			return -1;
	}
	n = prl_cluster(k->p) - n;
	return n ? blk_zero(file, to + prl_cluster(k->p) - n, n, 0, err) : 0;
}

/* The cluster gets a place of its own, with what is there. */
static int move_away(struct checker *k, const struct prl_place *at, struct err *err)
{
	uint64_t cluster = prl_cluster(k->p), to;

	to = k->p->data_start + round_up(MAX(k->end, k->file) - k->p->data_start, cluster);
	if (to / k->p->unit > UINT32_MAX)
		return err_set(err, EFBIG, "There is no room for one more cluster");
	if (copy_cluster(k, at->host, to, err))
		return -1;
	entries_data_written(&k->p->bat);
	k->end = k->file = to + cluster;
	return prl_set_entry(k->p, at->entry, (uint32_t)(to / k->p->unit), err);
}

/* The one that stands later in the BAT goes, and rather a cluster than the extension. */
static int used_twice(struct checker *k, const struct prl_place *at, struct err *err)
{
	struct check_problem prob = {.kind = "overlap",
				     .fixed = k->fix,
				     .has_guest = true,
				     .guest = at->entry * prl_cluster(k->p),
				     .has_host = true,
				     .host = at->host};

	check_find(k->c, &prob, "%s duplicate offset in BAT entry %" PRIu32, verb(k->fix),
		   at->entry);
	count_error(k);
	return k->fix ? move_away(k, at, err) : 0;
}

static int check_twice(struct checker *k, struct err *err)
{
	struct prl_place *list;
	size_t n, kept = 0;
	int rc = 0;

	if (prl_places(k->p, &list, &n, err))
		return -1;
	for (size_t i = 1; rc == 0 && i < n; i++) {
		size_t which = i;

		if (list[i].host - list[kept].host >= prl_cluster(k->p)) {
			kept = i;
			continue;
		}
		if (list[i].entry == PRL_NO_ENTRY) {
			which = kept;
			kept = i;
		}
		/* what is outside was told already */
		if (list[which].entry != PRL_NO_ENTRY &&
		    !prl_place_wrong(k->p, list[which].entry, list[which].host))
			rc = used_twice(k, &list[which], err);
	}
	for (size_t i = 0; i < n; i++)
		if (list[i].entry == PRL_NO_ENTRY)
			k->end = MAX(k->end, list[i].host + prl_cluster(k->p));
	free(list);
	return rc ? -1 : entries_flush(&k->p->bat, err);
}

/* ---- the end of the file --------------------------------------------------------------- */

static int check_end(struct checker *k, struct err *err)
{
	bool fix = k->c->fix & CHECK_FIX_LEAKS;
	struct check_problem prob = {
		.kind = "leak", .fixed = fix, .has_host = true, .host = k->end};
	uint64_t n;

	k->c->image_end = k->end;
	/* a device has the size that it has */
	if (k->file <= k->end || strcmp(k->p->b.blocks.file->ops->name, "host_device") == 0)
		return 0;
	n = div_up(k->file - k->end, prl_cluster(k->p));
	check_find(k->c, &prob, "%s space leaked at the end of the image %" PRIu64, verb(fix),
		   k->file - k->end);
	*(fix ? &k->c->leaks_fixed : &k->c->leaks) += n;
	if (!fix)
		return 0;
	return blk_resize(k->p->b.blocks.file, k->end, PREALLOC_OFF, err);
}

int prl_check(struct image *image, struct check *c, struct err *err)
{
	struct prl *p = (struct prl *)image;
	struct checker k = {.p = p, .c = c, .fix = c->fix & CHECK_FIX_ERRORS};

	k.file = round_up(blk_size(p->b.blocks.file), PRL_SECTOR);
	if (check_closed(&k, err) || check_data_off(&k, err) || check_extension(&k, err) ||
	    check_bat(&k, err) || check_twice(&k, err) || check_end(&k, err))
		return -1;
	if (!c->fix)
		return 0;
	if (p->h.in_use == PRL_IN_USE && k.fix) {
		/* the rest is repaired before it says so */
		if (blk_flush(p->b.blocks.file, err) ||
		    prl_write_field(p, PRL_IN_USE_AT, 4, 0, err))
			return -1;
		p->h.in_use = 0;
	}
	return blk_flush(p->b.blocks.file, err);
}
