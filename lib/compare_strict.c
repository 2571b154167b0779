/*
 * Strict mode: is each byte allocated in the same way on both sides?
 *
 * The peer compares run by run, and that a run reaches to the end of its image is one
 * of the things it compares. So a run is followed to its end before it is judged, on
 * walks of its own, ahead of the contents.
 */
#include "lib/compare_job.h"

#include <stdlib.h>

#include "lib/mem.h"

enum {
	ST_DATA = 1,
	ST_ZERO = 2,
	ST_PLACE = 4,	  /* the bytes have an offset in a file */
	ST_ALLOCATED = 8, /* some layer says so */
};

struct status_run {
	uint64_t off, end;
	unsigned status;
	bool to_end; /* of the image that said so */
};

struct compare_strict {
	const struct compare *c;
	uint64_t done; /* judged up to here */
	struct walk *walk[2];
	struct extent next[2]; /* looked at already: behind the run; len 0: none */
	struct status_run run[2];
};

static unsigned status(const struct chain *chain, const struct extent *e)
{
	unsigned s = 0;

	if (e->flags & EXT_DATA)
		s |= ST_DATA;
	if (compare_known_zero(e))
		s |= ST_ZERO;
	if (e->home && !(e->flags & (EXT_PACKED | EXT_CODED)))
		s |= ST_PLACE;
	/* behind the end of a short backing file it is the layer above that says zero */
	if (!(e->flags & EXT_ABSENT) || e->depth + 1 < chain->n)
		s |= ST_ALLOCATED;
	return s;
}

static int look(struct compare_strict *s, unsigned i, uint64_t off, struct extent *e,
		struct compare_end *end)
{
	if (s->next[i].len) {
		*e = s->next[i];
		s->next[i].len = 0;
		return 0;
	}
	if (walk_next(s->walk[i], off, s->c->to - off, e, &end->err)) {
		end->found = COMPARE_NO_STATUS;
		end->which = i;
		end->off = s->done;
		return -1;
	}
	return 0;
}

/* The run at off, followed to where the status changes. */
static int follow(struct compare_strict *s, unsigned i, uint64_t off, struct compare_end *end)
{
	const struct chain *chain = s->c->side[i];
	struct status_run *r = &s->run[i];
	struct extent e;

	if (look(s, i, off, &e, end))
		return -1;
	r->off = off;
	r->status = status(chain, &e);
	do {
		uint64_t size = round_up(blk_size(chain->layer[e.depth]), COMPARE_SECTOR);

		r->end = e.off + e.len;
		r->to_end = r->end == size;
		if (r->end >= s->c->to)
			return 0;
		if (look(s, i, r->end, &e, end))
			return -1;
	} while (status(chain, &e) == r->status);
	s->next[i] = e;
	return 0;
}

void compare_strict_until(struct compare_strict *s, uint64_t off, struct compare_end *end)
{
	while (s->done < s->c->to && s->done <= off) {
		for (unsigned i = 0; i < 2; i++)
			if (s->run[i].end <= s->done && follow(s, i, s->done, end))
				return;
		if (s->run[0].status != s->run[1].status ||
		    s->run[0].to_end != s->run[1].to_end) {
			end->found = COMPARE_STATUS;
			end->off = s->done;
			return;
		}
		s->done = MIN(s->run[0].end, s->run[1].end);
	}
}

uint64_t compare_strict_done(const struct compare_strict *s)
{
	return s->done;
}

struct compare_strict *compare_strict_new(const struct compare *c, struct err *err)
{
	struct compare_strict *s = calloc(1, sizeof(*s));

	if (!s) {
		err_nomem(err, sizeof(*s), "a comparison");
		return NULL;
	}
	s->c = c;
	s->done = c->from;
	for (unsigned i = 0; i < 2; i++) {
		s->run[i].end = c->from;
		s->walk[i] = walk_new(c->side[i], 0, err);
		if (!s->walk[i]) {
			compare_strict_free(s);
			return NULL;
		}
		walk_holes(s->walk[i]);
	}
	return s;
}

void compare_strict_free(struct compare_strict *s)
{
	if (!s)
		return;
	walk_free(s->walk[0]);
	walk_free(s->walk[1]);
	free(s);
}
