/*
 * Rebase: which grains of a window read otherwise from the image that is to come below.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/copy_job.h"
#include "lib/mem.h"
#include "lib/zero.h"

#define SAMPLE 4096 /* read first: what differs mostly does so from the beginning */

static bool known_zero(const struct extent *e)
{
	return e->flags & (EXT_ZERO | EXT_ABSENT);
}

/* Of a layer counted from the bottom. */
static unsigned height(const struct chain *c, const struct extent *e)
{
	return c->n - 1 - e->depth;
}

bool copy_onto_same(const struct engine *e, const struct segment *s)
{
	const struct copy_onto *onto = e->opt->onto;
	const struct chain *from = e->opt->source[s->source].chain;
	unsigned at;

	if (known_zero(&s->e))
		return known_zero(&s->onto);
	if (known_zero(&s->onto))
		return false;
	at = height(from, &s->e);
	return at < onto->shared && at == height(onto->chain, &s->onto);
}

/* n bytes at `off`, inside of the segment and of one grain. */
static int compare(struct copy_job *job, const struct segment *s, uint64_t off, size_t n,
		   bool *same, struct err *err)
{
	const struct engine *e = job->engine;
	const uint8_t *ours = job->buf->data + (off - job->off);
	uint8_t *other = job->other->data;

	if (known_zero(&s->onto)) {
		*same = zero_is(ours, n);
		return 0;
	}
	if (chain_read_extent(e->opt->onto->chain, &s->onto, other, n, off, err))
		return err_prefix(err, "error while reading from new backing file");
	*same = zero_diff(ours, other, n) == n;
	return 0;
}

static int compare_segment(struct copy_job *job, const struct segment *s, struct err *err)
{
	uint32_t grain = job->engine->grain;
	uint64_t end = s->off + s->len;

	for (uint64_t off = s->off; off < end;) {
		uint64_t next = MIN(round_down(off, grain) + grain, end);
		uint8_t *differs = &job->differs[(off - job->off) / grain];
		bool same = true, whole = known_zero(&s->onto) || (s->onto.flags & EXT_PACKED);

		while (!*differs && off < next) {
			size_t n = whole ? next - off : MIN(SAMPLE, next - off);

			if (compare(job, s, off, n, &same, err))
				return -1;
			*differs = !same;
			off += n;
			whole = true;
		}
		off = next;
	}
	return 0;
}

int copy_onto_compare(struct copy_job *job, struct err *err)
{
	size_t grains = div_up(job->len, job->engine->grain);

	job->differs = calloc(grains, 1);
	job->other = copy_buffer_get(job->engine, err);
	if (!job->other)
		return -1;
	if (!job->differs)
		return err_nomem(err, grains, "a comparison");
	for (size_t i = 0; i < job->nseg; i++)
		if (job->seg[i].kind != SEG_KEEP && compare_segment(job, &job->seg[i], err))
			return -1;
	return 0;
}
