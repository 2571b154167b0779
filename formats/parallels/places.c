/*
 * What of the file is in use. Places are sorted, not marked in a map: a map would be as large
 * as the file claims to be, the list is as long as the BAT has entries.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/parallels/extension.h"
#include "formats/parallels/parallels.h"
#include "lib/array.h"
#include "lib/mem.h"

#define SPARE_MAX 65536 /* holes that are used again */

static int compare(const void *a, const void *b)
{
	const struct prl_place *x = a, *y = b;

	if (x->host != y->host)
		return x->host < y->host ? -1 : 1;
	return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static int collect(struct prl *p, struct prl_place **list, size_t *n, struct err *err)
{
	size_t room = 0, more = prl_extension_count(p);
	uint32_t entry;

	for (uint32_t i = 0; i < p->h.entries; i++) {
		if (prl_get_entry(p, i, &entry, err))
			return -1;
		if (entry == 0)
			continue;
		if (array_room(list, &room, *n, sizeof(**list), "the places", err))
			return -1;
		(*list)[(*n)++] = (struct prl_place){entry * p->unit, i};
	}
	if (more) {
		struct prl_place *all = reallocarray(*list, *n + more, sizeof(*all));

		if (!all)
			return err_nomem(err, (*n + more) * sizeof(*all), "the places");
		*list = all;
		prl_extension_places(p, all + *n);
		*n += more;
	}
	return 0;
}

int prl_places(struct prl *p, struct prl_place **list, size_t *n, struct err *err)
{
	*list = NULL;
	*n = 0;
	if (collect(p, list, n, err)) {
		free(*list);
		*list = NULL;
		return -1;
	}
	for (size_t i = 1; i < *n; i++) {
		if (compare(&(*list)[i - 1], &(*list)[i]) > 0) {
			qsort(*list, *n, sizeof(**list), compare);
			break;
		}
	}
	return 0;
}

static int cannot_write(const struct prl_place *at, const char *wrong, struct err *err)
{
	err_set(err, EINVAL, "Cluster %" PRIu32 ", at %#" PRIx64 ", %s: it cannot be written",
		at->entry, at->host, wrong);
	return err_hint(err, "To repair it: check -r all");
}

/* Room between two places. What lies there could be a foreign feature's. */
static void spare_between(struct prl *p, uint64_t from, uint64_t to)
{
	uint64_t cluster = prl_cluster(p);

	if (p->ext && p->ext->foreign)
		return;
	for (; to > from && to - from >= cluster && p->b.blocks.nspare < SPARE_MAX;
	     from += cluster)
		blocks_spare(&p->b.blocks, from);
}

/* The first place at or after `at`: they are whole clusters apart. */
static uint64_t next_place(const struct prl *p, uint64_t at)
{
	if (at <= p->data_start)
		return p->data_start;
	return p->data_start + round_up(at - p->data_start, prl_cluster(p));
}

int prl_find_room(struct prl *p, struct err *err)
{
	uint64_t end = p->data_start;
	struct prl_place *list;
	int rc = 0;
	size_t n;

	if (prl_places(p, &list, &n, err))
		return -1;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		const struct prl_place *at = &list[i];
		const char *wrong = at->entry == PRL_NO_ENTRY
					    ? NULL
					    : prl_place_wrong(p, at->entry, at->host);

		if (wrong)
			rc = cannot_write(at, wrong, err);
		spare_between(p, end, at->host);
		end = MAX(end, next_place(p, at->host + prl_cluster(p)));
	}
	free(list);
	if (p->ext && p->ext->foreign)
		end = MAX(end, next_place(p, blk_size(p->b.blocks.file)));
	p->b.blocks.end = end;
	return rc;
}
