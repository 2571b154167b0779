#include "lib/chain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"
#include "lib/ranges.h"
#include "lib/zero.h"

#define SECTOR	 512u	    /* what is encrypted as one */
#define LOCK_MAX (4u << 20) /* the longest range that one request locks at a time */

static struct chain *chain_of(struct blk *blk)
{
	return (struct chain *)blk;
}

static bool writable(const struct chain *c)
{
	return c->blk.caps & BLK_CAN_WRITE;
}

/* The run at off of the first layer, from the top, that says something. */
static int resolve(struct chain *c, uint64_t off, uint64_t len, struct extent *out,
		   struct err *err)
{
	*out = (struct extent){.off = off, .len = len, .flags = EXT_ABSENT};
	for (unsigned d = 0; d < c->n; d++) {
		if (blk_extent(c->layer[d], off, len, out, err))
			return -1;
		out->depth = d;
		if (!(out->flags & EXT_ABSENT))
			return 0;
		len = out->len;
	}
	return 0;
}

static int chain_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			struct err *err)
{
	return resolve(chain_of(blk), off, len, out, err);
}

int chain_read_extent(struct chain *c, const struct extent *e, void *buf, size_t n,
		      uint64_t off, struct err *err)
{
	return blk_read_extent(c->layer[e->depth], e, buf, n, off, err);
}

static int read_held(struct chain *c, uint8_t *buf, size_t n, uint64_t off, struct err *err)
{
	while (n > 0) {
		struct extent e;

		if (resolve(c, off, n, &e, err) ||
		    chain_read_extent(c, &e, buf, e.len, off, err))
			return -1;
		buf += e.len;
		off += e.len;
		n -= e.len;
	}
	return 0;
}

static int chain_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct chain *c = chain_of(blk);
	struct range_hold hold;
	int rc;

	if (!writable(c))
		return read_held(c, buf, n, off, err);
	ranges_lock(c->ranges, &hold, round_down(off, blk->grain),
		    round_up(off + n, blk->grain), false);
	rc = read_held(c, buf, n, off, err);
	ranges_unlock(c->ranges, &hold);
	return rc;
}

/* The n bytes at off, which are all that is claimed, or all of it that is not zero. */
static int write_runs(struct blk *top, const struct claim *c, const uint8_t *buf, uint64_t off,
		      size_t n, struct err *err)
{
	if (c->nrun == 1 && n < c->len)
		return blk_pwrite_to(top, c->home, buf, n, off, c->run[0].host + (off - c->off),
				     err);
	for (size_t i = 0; i < c->nrun; i++) {
		const struct claim_run *r = &c->run[i];

		if (blk_pwrite_to(top, c->home, buf + (r->off - off), r->len, r->off, r->host,
				  err))
			return -1;
	}
	return 0;
}

/* Whole grains that get a new place: claimed, written, settled. */
static int write_claimed(struct blk *top, const uint8_t *buf, uint64_t off, size_t n,
			 struct err *err)
{
	struct claim c = {.off = off, .len = n};

	if (blk_claim(top, &c, err))
		return -1;
	if (write_runs(top, &c, buf, off, n, err)) {
		blk_drop(top, &c);
		return -1;
	}
	return blk_settle(top, &c, err);
}

/* The least that may be written of a run without reading what is around it. */
static uint32_t unit_of(const struct chain *c, const struct extent *e)
{
	if (c->blk.part && !(e->flags & (EXT_PACKED | EXT_SHARED)))
		return c->blk.part;
	return c->blk.grain;
}

static bool reads_zero(const struct chain *c, const struct extent *e)
{
	return (e->flags & EXT_ZERO) || ((e->flags & EXT_ABSENT) && e->depth + 1 == c->n);
}

/*
 * A part of one unit of which all reads as zeros: where its new place does so, too, nothing
 * else has to be written.
 */
static int write_in_zeros(struct blk *top, const uint8_t *buf, uint64_t off, size_t n,
			  uint64_t start, size_t len, struct err *err)
{
	struct claim c = {.off = start, .len = len};
	AUTO_FREE uint8_t *whole = NULL;
	int rc;

	if (blk_claim(top, &c, err))
		return -1;
	if (c.nrun == 1 && c.run[0].fresh) {
		rc = write_runs(top, &c, buf, off, n, err);
	} else if ((whole = mem_alloc(len))) {
		memset(whole, 0, len);
		memcpy(whole + (off - start), buf, n);
		rc = write_runs(top, &c, whole, start, len, err);
	} else {
		rc = err_nomem(err, len, "a cluster");
	}
	if (rc) {
		blk_drop(top, &c);
		return -1;
	}
	return blk_settle(top, &c, err);
}

/* A part of one unit: the rest of it comes from what the guest sees there now. */
static int write_part(struct chain *c, const uint8_t *buf, uint64_t off, size_t n,
		      uint32_t unit, struct err *err)
{
	uint64_t start = round_down(off, unit);
	size_t len = MIN(unit, c->blk.size - start);
	AUTO_FREE uint8_t *whole = NULL;
	struct extent e;

	if (resolve(c, start, len, &e, err))
		return -1;
	if (e.len >= len && reads_zero(c, &e))
		return write_in_zeros(c->layer[0], buf, off, n, start, len, err);
	whole = mem_alloc(len);
	if (!whole)
		return err_nomem(err, len, "a cluster");
	if (read_held(c, whole, off - start, start, err) ||
	    read_held(c, whole + (off - start) + n, start + len - (off + n), off + n, err))
		return -1;
	memcpy(whole + (off - start), buf, n);
	return write_claimed(c->layer[0], whole, start, len, err);
}

/* n bytes at off, all of one run that cannot be written in place. */
static int write_anew(struct chain *c, const uint8_t *buf, uint64_t off, size_t n,
		      uint32_t unit, struct err *err)
{
	while (n > 0) {
		size_t len = MIN(n, unit - off % unit);

		if (off % unit || (len < unit && off + len < c->blk.size)) {
			if (write_part(c, buf, off, len, unit, err))
				return -1;
		} else {
			len = off + n >= c->blk.size ? n : round_down(n, unit);
			if (write_claimed(c->layer[0], buf, off, len, err))
				return -1;
		}
		buf += len;
		off += len;
		n -= len;
	}
	return 0;
}

/* n bytes at off, all of one run in a place of its own where bytes are coded: whole sectors
 * go there. Nobody else writes this grain. */
static int write_coded(struct chain *c, const struct extent *e, const uint8_t *buf, size_t n,
		       uint64_t off, struct err *err)
{
	uint64_t start = round_down(off, SECTOR), end = round_up(off + n, SECTOR);
	AUTO_FREE uint8_t *whole = NULL;

	if (start < off || off + n < end) {
		whole = mem_alloc(end - start);
		if (!whole)
			return err_nomem(err, end - start, "sectors");
		if (read_held(c, whole, off - start, start, err) ||
		    read_held(c, whole + (off - start) + n, end - (off + n), off + n, err))
			return -1;
		memcpy(whole + (off - start), buf, n);
		buf = whole;
	}
	return blk_pwrite_to(c->layer[0], e->home, buf, end - start, start,
			     e->host - (off - start), err);
}

static int write_held(struct chain *c, const uint8_t *buf, size_t n, uint64_t off,
		      struct err *err)
{
	if (c->layer[0]->ops->pwrite)
		return blk_pwrite(c->layer[0], buf, n, off, 0, err);
	while (n > 0) {
		struct extent e;
		int rc;

		if (blk_extent(c->layer[0], off, n, &e, err))
			return -1;
		if (e.flags == EXT_DATA && e.home)
			rc = blk_pwrite(e.home, buf, e.len, e.host, 0, err);
		else if (e.flags == (EXT_DATA | EXT_CODED) && e.home && blk_codes(c->layer[0]))
			rc = write_coded(c, &e, buf, e.len, off, err);
		else
			rc = write_anew(c, buf, off, e.len, unit_of(c, &e), err);
		if (rc)
			return -1;
		buf += e.len;
		off += e.len;
		n -= e.len;
	}
	return 0;
}

/* What of it, from the beginning, is in places that stay: others may write there, too. */
static int write_in_place(struct chain *c, const uint8_t *buf, size_t n, uint64_t off,
			  size_t *done, struct err *err)
{
	for (*done = 0; *done < n;) {
		struct extent e;

		if (blk_extent(c->layer[0], off + *done, n - *done, &e, err))
			return -1;
		if (e.flags != EXT_DATA || !e.home)
			return 0;
		if (blk_pwrite(e.home, buf + *done, e.len, e.host, 0, err))
			return -1;
		*done += e.len;
	}
	return 0;
}

/* At most LOCK_MAX bytes. */
static int write_locked(struct chain *c, const uint8_t *buf, size_t n, uint64_t off,
			struct err *err)
{
	uint64_t from = round_down(off, c->blk.grain), to = round_up(off + n, c->blk.grain);
	struct range_hold hold;
	size_t done;
	int rc;

	ranges_lock(c->ranges, &hold, from, to, false);
	rc = write_in_place(c, buf, n, off, &done, err);
	ranges_unlock(c->ranges, &hold);
	if (rc || done == n)
		return rc;
	ranges_lock(c->ranges, &hold, from, to, true);
	rc = write_held(c, buf + done, n - done, off + done, err);
	ranges_unlock(c->ranges, &hold);
	return rc;
}

static int chain_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			unsigned flags, struct err *err)
{
	struct chain *c = chain_of(blk);
	const uint8_t *from = buf;

	if (c->detect && off + n <= blk_size(blk) && zero_is(buf, n))
		return blk_zero(blk, off, n, c->detect == DETECT_UNMAP ? BLK_UNMAP : 0, err);
	if (c->layer[0]->ops->pwrite) {
		if (blk_pwrite(c->layer[0], buf, n, off, flags, err))
			return -1;
		__atomic_store_n(&blk->size, blk_size(c->layer[0]), __ATOMIC_RELEASE);
		return 0;
	}
	if (blk_touch(c->layer[0], off, n, err))
		return -1;
	while (n > 0) {
		size_t part = MIN(n, LOCK_MAX - off % LOCK_MAX);

		if (write_locked(c, from, part, off, err))
			return -1;
		from += part;
		off += part;
		n -= part;
	}
	return 0;
}

/* Zeros as data, a bounded piece at a time. */
static int write_zeros(struct chain *c, uint64_t off, uint64_t len, struct err *err)
{
	size_t chunk = MIN(len, 1u << 20);
	AUTO_FREE uint8_t *zeros = mem_alloc(chunk);

	if (!zeros)
		return err_nomem(err, chunk, "zeros");
	memset(zeros, 0, chunk);
	while (len > 0) {
		size_t n = MIN(len, chunk);

		if (write_held(c, zeros, n, off, err))
			return -1;
		off += n;
		len -= n;
	}
	return 0;
}

static int zero_whole(struct chain *c, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err)
{
	int rc = blk_zero(c->layer[0], off, len, flags | BLK_CHEAP, err);

	if (rc == 0 || err->num != ENOTSUP || (flags & BLK_CHEAP))
		return rc;
	if (flags & BLK_ADVISE)
		return 0;
	return write_zeros(c, off, len, err);
}

/* A part of one unit. */
static int zero_part(struct chain *c, uint64_t off, uint64_t len, struct err *err)
{
	while (len > 0) {
		struct extent e;

		if (resolve(c, off, len, &e, err))
			return -1;
		if (!reads_zero(c, &e) && write_zeros(c, off, e.len, err))
			return -1;
		off += e.len;
		len -= e.len;
	}
	return 0;
}

/* [off, end) in units: the whole ones by the format, what sticks out as data. */
static int zero_units(struct chain *c, uint64_t off, uint64_t end, uint32_t unit,
		      unsigned flags, struct err *err)
{
	uint64_t from = round_up(off, unit);
	uint64_t to = end == c->blk.size ? end : round_down(end, unit);

	if (from >= to)
		return flags & BLK_ADVISE ? 0 : zero_part(c, off, end - off, err);
	if (!(flags & BLK_ADVISE) &&
	    (zero_part(c, off, from - off, err) || zero_part(c, to, end - to, err)))
		return -1;
	return zero_whole(c, from, to - from, flags, err);
}

/* A part of one grain, whose subclusters may be alike or not. */
static int zero_edge(struct chain *c, uint64_t off, uint64_t end, unsigned flags,
		     struct err *err)
{
	while (off < end) {
		struct extent e;

		if (blk_extent(c->layer[0], off, end - off, &e, err) ||
		    zero_units(c, off, off + e.len, unit_of(c, &e), flags, err))
			return -1;
		off += e.len;
	}
	return 0;
}

static int zero_held(struct chain *c, uint64_t off, uint64_t len, unsigned flags,
		     struct err *err)
{
	uint64_t end = off + len;
	uint64_t from = round_up(off, c->blk.grain);
	uint64_t to = end == c->blk.size ? end : round_down(end, c->blk.grain);

	if (!c->blk.part)
		return zero_units(c, off, end, c->blk.grain, flags, err);
	if (from >= to)
		return zero_edge(c, off, end, flags, err);
	if (zero_edge(c, off, from, flags, err) || zero_edge(c, to, end, flags, err))
		return -1;
	return zero_whole(c, from, to - from, flags, err);
}

static int chain_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err)
{
	struct chain *c = chain_of(blk);
	struct range_hold hold;
	int rc;

	if (blk_touch(c->layer[0], off, len, err))
		return -1;
	ranges_lock(c->ranges, &hold, round_down(off, blk->grain),
		    round_up(off + len, blk->grain), true);
	rc = zero_held(c, off, len, flags, err);
	ranges_unlock(c->ranges, &hold);
	return rc;
}

static int chain_flush(struct blk *blk, struct err *err)
{
	return blk_flush(chain_of(blk)->layer[0], err);
}

static int chain_fd(struct blk *blk, uint64_t *base)
{
	struct chain *c = chain_of(blk);

	return c->n == 1 ? blk_fd(c->layer[0], base) : -1;
}

static int64_t chain_disk_usage(struct blk *blk)
{
	return blk_disk_usage(chain_of(blk)->layer[0]);
}

/* Zeros for the guest, behind the end of the disk in its last place. */
static int clear_coded(struct chain *c, const struct extent *e, uint64_t end, uint64_t n,
		       struct err *err)
{
	AUTO_FREE uint8_t *zeros = mem_alloc(n);

	if (!zeros)
		return err_nomem(err, n, "zeros");
	memset(zeros, 0, n);
	return blk_pwrite_to(c->layer[0], e->home, zeros, n, end, e->host + (end - e->off),
			     err);
}

/*
 * What is past the end in the last unit shows once the disk is longer. It must be neither
 * the image below's (`over`: that goes on there) nor what a writer copied from there.
 */
static int clear_last(struct chain *c, bool over, struct err *err)
{
	uint32_t unit = c->blk.part ? c->blk.part : c->blk.grain;
	uint64_t end = c->blk.size, start = round_down(end, unit);
	AUTO_FREE uint8_t *buf = NULL;
	struct extent e;

	if (end % c->blk.grain == 0 || c->layer[0]->ops->pwrite)
		return 0;
	/* other parts of the grain are the format's to hide, unless they are in one piece */
	if (blk_extent(c->layer[0], start < end ? start : end - unit, 1, &e, err))
		return -1;
	if (start == end && !(e.flags & EXT_PACKED))
		return 0;
	if (e.flags == EXT_ZERO || (!over && (e.flags & EXT_ABSENT)))
		return 0;
	if (e.flags == EXT_DATA && e.home) {
		uint64_t host = e.host + (end - start), size = blk_size(e.home);
		uint64_t rest = round_up(end, unit) - end;

		return host < size ? blk_zero(e.home, host, MIN(rest, size - host), 0, err) : 0;
	}
	if (e.flags == (EXT_DATA | EXT_CODED) && e.home)
		return clear_coded(c, &e, end, round_up(end, unit) - end, err);
	start = round_down(end, unit_of(c, &e));
	buf = mem_alloc(end - start);
	if (!buf)
		return err_nomem(err, end - start, "a cluster");
	return read_held(c, buf, end - start, start, err) ||
			       write_claimed(c->layer[0], buf, start, end - start, err)
		       ? -1
		       : 0;
}

/* Longer, over an image that is longer already: what was hidden stays so. Only so far as
 * there is something to hide: the rest costs nothing. */
static int grow_over(struct chain *c, uint64_t size, enum blk_prealloc p, struct err *err)
{
	c->layer[0]->below = blk_size(c->layer[1]);
	return blk_resize(c->layer[0], size, p | PREALLOC_ZERO, err);
}

static int chain_resize_op(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct chain *c = chain_of(blk);
	bool over = size > blk->size && c->n > 1 && blk_size(c->layer[1]) > blk->size;
	int rc;

	if (size > blk->size && (clear_last(c, over, err) || blk_flush(c->layer[0], err)))
		return -1;
	rc = over ? grow_over(c, size, p, err) : blk_resize(c->layer[0], size, p, err);
	blk->size = blk_size(c->layer[0]);
	return rc;
}

int chain_resize(struct chain *c, uint64_t size, enum blk_prealloc p, struct err *err)
{
	return blk_resize(&c->blk, size, p, err);
}

static int chain_close(struct blk *blk, struct err *err)
{
	struct chain *c = chain_of(blk);
	struct err later;
	int rc = 0;

	for (unsigned d = 0; d < c->n; d++)
		if (blk_close(c->layer[d], rc ? &later : err))
			rc = -1;
	ranges_free(c->ranges);
	free(c->layer);
	free(c);
	return rc;
}

static const struct blk_ops chain_ops = {
	.name = "chain",
	.pread = chain_pread,
	.pwrite = chain_pwrite,
	.zero = chain_zero,
	.flush = chain_flush,
	.extent = chain_extent,
	.resize = chain_resize_op,
	.fd = chain_fd,
	.disk_usage = chain_disk_usage,
	.close = chain_close,
};

struct chain *chain_from_blk(struct blk *blk)
{
	return blk && blk->ops == &chain_ops ? (struct chain *)blk : NULL;
}

int chain_append(struct chain *c, struct blk *below, struct err *err)
{
	struct err later;
	struct blk **more;

	if (c->n >= CHAIN_MAX) {
		blk_close(below, &later);
		return err_set(err, ELOOP, "The backing chain is deeper than %d images",
			       CHAIN_MAX);
	}
	more = realloc(c->layer, (c->n + 1) * sizeof(*more));
	if (!more) {
		blk_close(below, &later);
		return err_nomem(err, (c->n + 1) * sizeof(*more), "the backing chain");
	}
	c->layer = more;
	c->layer[c->n++] = below;
	return 0;
}

struct chain *chain_split(struct chain *c, unsigned n, struct err *err)
{
	struct chain *lower = chain_new(c->layer[n], err);
	struct err later;

	for (unsigned d = n + 1; d < c->n; d++) {
		if (!lower) {
			blk_close(c->layer[d], &later);
		} else if (chain_append(lower, c->layer[d], err)) {
			blk_close(&lower->blk, &later);
			lower = NULL;
		}
	}
	c->n = n;
	return lower;
}

struct chain *chain_new(struct blk *top, struct err *err)
{
	struct err later;
	struct chain *c = calloc(1, sizeof(*c));

	if (!c) {
		err_nomem(err, sizeof(*c), "a chain");
		blk_close(top, &later);
		return NULL;
	}
	if (blk_init(&c->blk, &chain_ops, top->name, err) || !(c->ranges = ranges_new(err))) {
		blk_close(top, &later);
		blk_close(&c->blk, &later);
		return NULL;
	}
	c->blk.size = blk_size(top);
	c->blk.align = top->align;
	c->blk.grain = top->grain;
	c->blk.part = top->part;
	c->blk.caps = top->caps & ~(unsigned)BLK_NO_UNMAP; /* the top looks after itself */
	c->blk.codec = top->codec;
	if (chain_append(c, top, err)) {
		blk_close(&c->blk, &later);
		return NULL;
	}
	return c;
}
