#include <inttypes.h>
#include <stdlib.h>

#include "lib/chain.h"
#include "lib/mem.h"

struct walk {
	struct chain *chain;
	unsigned layers;
	struct extent at[]; /* what each layer said last; len 0: nothing yet */
};

struct walk *walk_new(struct chain *chain, unsigned layers, struct err *err)
{
	unsigned n = layers && layers < chain->n ? layers : chain->n;
	size_t bytes = sizeof(struct walk) + n * sizeof(struct extent);
	struct walk *w = calloc(1, bytes);

	if (!w) {
		err_nomem(err, bytes, "a walk");
		return NULL;
	}
	w->chain = chain;
	w->layers = n;
	return w;
}

void walk_free(struct walk *w)
{
	free(w);
}

static void cut_front(struct extent *e, uint64_t off)
{
	uint64_t skip = off - e->off;

	e->off = off;
	e->len -= skip;
	if (e->home && !(e->flags & EXT_PACKED))
		e->host += skip;
}

static int layer_at(struct walk *w, unsigned d, uint64_t off, uint64_t len, struct extent *out,
		    struct err *err)
{
	struct extent *e = &w->at[d];

	if (e->len == 0 || off < e->off || off - e->off >= e->len) {
		uint64_t size = blk_size(&w->chain->blk);

		/* ahead to the end, so that the answer serves the next calls too */
		if (blk_extent(w->chain->layer[d], off, MAX(len, size - MIN(off, size)), e,
			       err)) {
			e->len = 0;
			return -1;
		}
		e->depth = d;
	}
	*out = *e;
	if (!(e->flags & EXT_PACKED))
		cut_front(out, off);
	else
		out->len -= off - e->off, out->off = off;
	return 0;
}

int walk_next(struct walk *w, uint64_t off, uint64_t len, struct extent *out, struct err *err)
{
	for (unsigned d = 0; d < w->layers; d++) {
		if (layer_at(w, d, off, len, out, err))
			return -1;
		out->len = len = MIN(out->len, len);
		if (!(out->flags & EXT_ABSENT))
			break;
	}
	return 0;
}
