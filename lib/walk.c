#include <inttypes.h>
#include <stdlib.h>

#include "lib/chain.h"
#include "lib/mem.h"

#define SECTOR 512

struct level {
	struct extent at; /* what the layer said last; len 0: nothing yet */
	bool asked, hollow;
};

struct walk {
	struct chain *chain;
	unsigned layers;
	bool holes;
	struct level level[];
};

struct walk *walk_new(struct chain *chain, unsigned layers, struct err *err)
{
	unsigned n = layers && layers < chain->n ? layers : chain->n;
	size_t bytes = sizeof(struct walk) + n * sizeof(struct level);
	struct walk *w = calloc(1, bytes);

	if (!w) {
		err_nomem(err, bytes, "a walk");
		return NULL;
	}
	w->chain = chain;
	w->layers = n;
	return w;
}

void walk_holes(struct walk *w)
{
	w->holes = true;
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

static uint64_t layer_end(const struct walk *w, unsigned d)
{
	return round_up(blk_size(w->chain->layer[d]), SECTOR);
}

static int layer_at(struct walk *w, unsigned d, uint64_t off, uint64_t len, struct extent *out,
		    struct err *err)
{
	struct extent *e = &w->level[d].at;

	if (e->len == 0 || off < e->off || off - e->off >= e->len) {
		uint64_t size = blk_size(&w->chain->blk);

		/* ahead to the end, so that the answer serves the next calls too */
		len = MAX(len, size - MIN(off, size));
		if (off < layer_end(w, d))
			len = MIN(len, layer_end(w, d) - off);
		if (blk_extent(w->chain->layer[d], off, len, e, err)) {
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

static bool hollow(struct walk *w, unsigned d)
{
	struct level *l = &w->level[d];
	struct blk *layer = w->chain->layer[d];

	if (!l->asked) {
		l->hollow = layer->ops->hollow && layer->ops->hollow(layer);
		l->asked = true;
	}
	return l->hollow;
}

static int look_below(struct extent *e, struct err *err)
{
	struct extent in;

	if (blk_extent(e->home, e->host, e->len, &in, err))
		return -1;
	e->len = MIN(e->len, in.len);
	if (in.flags & EXT_ZERO)
		e->flags |= EXT_ZERO;
	return 0;
}

int walk_next(struct walk *w, uint64_t off, uint64_t len, struct extent *out, struct err *err)
{
	for (unsigned d = 0; d < w->layers; d++) {
		if (d > 0 && off >= layer_end(w, d))
			break;
		if (layer_at(w, d, off, len, out, err))
			return -1;
		out->len = len = MIN(out->len, len);
		if (!(out->flags & EXT_ABSENT))
			break;
	}
	if (w->holes && extent_plain(out) && hollow(w, out->depth))
		return look_below(out, err);
	return 0;
}
