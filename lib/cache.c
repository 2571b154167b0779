#include "lib/cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/mem.h"

#define RUN_MAX (1024u * 1024) /* longest write that is put together from small pieces */

/* Follows its piece in memory: a piece is found from its bytes without a look-up. */
struct piece {
	uint64_t off;
	struct piece *chain;	     /* of the hash bucket */
	struct piece *older, *newer; /* of the list of what is not held */
	size_t index;		     /* in all[] */
	uint32_t from, to;	     /* the bytes that are dirty */
	unsigned held;
	bool dirty;
	bool gone; /* forgotten while held: freed by the last put */
	bool used; /* since the last time that unused pieces were dropped */
};

struct cache {
	struct blk *file, *data; /* data NULL: in file, too */
	uint32_t size, unit;
	unsigned max;
	struct cache *on;
	bool relaxed;
	bool short_end;	   /* the last piece may go past the end of the file */
	bool data_written; /* data not yet stable that pieces refer to */
	bool unstable;	   /* pieces were written and not yet made stable */
	bool waiting;	   /* for `on` to be flushed */
	int (*may_write)(void *arg, uint64_t off, size_t n, struct err *err); /* or NULL */
	void *arg;
	unsigned clean; /* seconds; 0: never */
	time_t cleaned;

	struct piece **bucket;
	size_t nbucket; /* a power of two; all[] has as much room */
	struct piece **all;
	size_t n, ndirty;
	struct piece *oldest, *newest;
	uint8_t *run; /* RUN_MAX bytes, taken when first needed */
};

static uint8_t *bytes_of(const struct cache *c, struct piece *p)
{
	return (uint8_t *)p - c->size;
}

static struct piece *piece_of(const struct cache *c, void *bytes)
{
	return (struct piece *)(void *)((uint8_t *)bytes + c->size);
}

static size_t bucket_of(const struct cache *c, uint64_t off)
{
	uint64_t h = off / c->size * UINT64_C(0x9e3779b97f4a7c15);

	return (h >> 32) & (c->nbucket - 1);
}

static struct piece *find(const struct cache *c, uint64_t off)
{
	struct piece *p = c->bucket[bucket_of(c, off)];

	while (p && p->off != off)
		p = p->chain;
	return p;
}

static void hash_insert(struct cache *c, struct piece *p)
{
	size_t b = bucket_of(c, p->off);

	p->chain = c->bucket[b];
	c->bucket[b] = p;
}

static void hash_remove(struct cache *c, struct piece *p)
{
	struct piece **link = &c->bucket[bucket_of(c, p->off)];

	while (*link != p)
		link = &(*link)->chain;
	*link = p->chain;
}

static void list_add_newest(struct cache *c, struct piece *p)
{
	p->older = c->newest;
	p->newer = NULL;
	*(c->newest ? &c->newest->newer : &c->oldest) = p;
	c->newest = p;
}

static void list_remove(struct cache *c, struct piece *p)
{
	*(p->older ? &p->older->newer : &c->oldest) = p->newer;
	*(p->newer ? &p->newer->older : &c->newest) = p->older;
	p->older = p->newer = NULL;
}

static void set_dirty(struct cache *c, struct piece *p, bool dirty)
{
	p->from = 0;
	p->to = c->size;
	if (p->dirty != dirty) {
		p->dirty = dirty;
		dirty ? c->ndirty++ : c->ndirty--;
	}
}

/* Doubles the hash and all[]. */
static int grow(struct cache *c, struct err *err)
{
	size_t n = c->nbucket * 2;
	struct piece **all = realloc(c->all, n * sizeof(*all));
	struct piece **bucket;

	if (!all)
		return err_nomem(err, n * sizeof(*all), "a metadata cache");
	c->all = all;
	bucket = calloc(n, sizeof(struct piece *));
	if (!bucket)
		return err_nomem(err, n * sizeof(*bucket), "a metadata cache");
	free(c->bucket);
	c->bucket = bucket;
	c->nbucket = n;
	for (size_t i = 0; i < c->n; i++)
		if (!c->all[i]->gone)
			hash_insert(c, c->all[i]);
	return 0;
}

struct cache *cache_new(struct blk *file, uint32_t size, unsigned pieces, struct err *err)
{
	struct cache *c = NULL;

	if (size == 0 || size % 16 != 0 || pieces < 2) {
		err_set(err, EINVAL, "A cache of %u pieces of %u bytes is not possible", pieces,
			size);
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		err_nomem(err, sizeof(*c), "a metadata cache");
		return NULL;
	}
	c->file = file;
	c->size = size;
	c->max = pieces;
	c->nbucket = 8;
	if (grow(c, err) < 0) {
		cache_free(c);
		return NULL;
	}
	return c;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		free(bytes_of(c, c->all[i]));
	free(c->all);
	free(c->bucket);
	free(c->run);
	free(c);
}

void cache_depend(struct cache *c, struct cache *on)
{
	c->on = on;
}

void cache_relax(struct cache *c, bool relaxed)
{
	c->relaxed = relaxed;
}

void cache_short_end(struct cache *c)
{
	c->short_end = true;
}

void cache_data_written(struct cache *c)
{
	c->data_written = true;
}

void cache_data_in(struct cache *c, struct blk *data)
{
	c->data = data;
}

void cache_guard(struct cache *c,
		 int (*may_write)(void *arg, uint64_t off, size_t n, struct err *err),
		 void *arg)
{
	c->may_write = may_write;
	c->arg = arg;
}

/* What must be stable before a piece of c may be written. */
static int before_write(struct cache *c, struct err *err)
{
	struct cache *on = c->on;
	int ret = 0;

	if (c->relaxed)
		return 0;
	/* a circle of dependencies is cut where it closes */
	if (on && !on->waiting) {
		c->waiting = true;
		ret = cache_flush(on, err);
		c->waiting = false;
	}
	if (ret < 0)
		return -1;
	if (c->data_written && c->data) {
		if (blk_flush(c->data, err) < 0)
			return -1;
		c->data_written = false;
	}
	if (c->data_written || (on && on->unstable)) {
		if (blk_flush(c->file, err) < 0)
			return -1;
		c->data_written = false;
		c->unstable = false;
		if (on)
			on->unstable = false;
	}
	return 0;
}

/* Writes n adjacent pieces. A held piece stays dirty: its holder may be at work on it. */
static int write_run(struct cache *c, struct piece **p, size_t n, struct err *err)
{
	uint8_t *from = bytes_of(c, p[0]);
	uint64_t off = p[0]->off;
	size_t len = n * c->size;

	if (c->may_write && c->may_write(c->arg, off, len, err))
		return -1;
	if (n > 1) {
		for (size_t i = 0; i < n; i++)
			memcpy(c->run + i * c->size, bytes_of(c, p[i]), c->size);
		from = c->run;
	}
	if (c->unit) {
		uint32_t start = round_down(p[0]->from, c->unit);

		from += start;
		off += start;
		len -= start + (c->size - MIN(round_up(p[n - 1]->to, c->unit), c->size));
	}
	c->unstable = true;
	if (blk_pwrite(c->file, from, len, off, 0, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (!p[i]->held)
			set_dirty(c, p[i], false);
	return 0;
}

/* How many pieces one write may take; 1 where there is no memory for more. */
static size_t run_max(struct cache *c)
{
	size_t n = RUN_MAX / c->size;

	if (n > 1 && !c->run)
		c->run = mem_alloc(RUN_MAX);
	return n > 1 && c->run ? n : 1;
}

static bool may_join(const struct piece *p)
{
	return p && p->dirty && !p->held;
}

/* Writes a piece that is to be evicted, with its dirty neighbours. */
static int write_back(struct cache *c, struct piece *p, struct err *err)
{
	struct piece *run[64];
	size_t max = MIN(run_max(c), ARRAY_LEN(run));
	size_t n = 0;
	uint64_t from = p->off;

	if (before_write(c, err) < 0)
		return -1;
	while (max > 1 && from >= c->size && p->off - from < (max / 2) * c->size &&
	       may_join(find(c, from - c->size)))
		from -= c->size;
	for (uint64_t off = from; n < max; off += c->size) {
		struct piece *next = find(c, off);

		if (!may_join(next))
			break;
		run[n++] = next;
	}
	return write_run(c, run, n, err);
}

static void drop(struct cache *c, struct piece *p)
{
	set_dirty(c, p, false);
	c->all[p->index] = c->all[--c->n];
	c->all[p->index]->index = p->index;
	free(bytes_of(c, p));
}

/* Takes out the piece that was unused for longest. */
static int evict(struct cache *c, struct err *err)
{
	struct piece *p = c->oldest;

	if (p->dirty && write_back(c, p, err) < 0)
		return -1;
	list_remove(c, p);
	hash_remove(c, p);
	drop(c, p);
	return 0;
}

/* A held piece for off, contents undefined, not yet in the hash. */
static struct piece *take(struct cache *c, uint64_t off, struct err *err)
{
	struct piece *p;
	void *bytes;

	/* with everything held there are more than max for a while: better than to fail */
	while (c->n >= c->max && c->oldest)
		if (evict(c, err) < 0)
			return NULL;
	if (c->n == c->nbucket && grow(c, err) < 0)
		return NULL;
	if (posix_memalign(&bytes, MIN(MEM_ALIGN, c->size & -c->size), c->size + sizeof(*p))) {
		err_nomem(err, c->size + sizeof(*p), "a metadata cache");
		return NULL;
	}
	p = piece_of(c, bytes);
	*p = (struct piece){.off = off, .held = 1, .index = c->n};
	c->all[c->n++] = p;
	return p;
}

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec;
}

void cache_write_unit(struct cache *c, uint32_t unit)
{
	c->unit = unit;
}

void cache_clean_every(struct cache *c, unsigned seconds)
{
	c->clean = seconds;
	c->cleaned = now();
}

/* What was not used since the last time goes. */
static void clean(struct cache *c)
{
	struct piece *next;

	for (struct piece *p = c->oldest; p; p = next) {
		next = p->newer;
		if (!p->used && !p->dirty) {
			list_remove(c, p);
			hash_remove(c, p);
			drop(c, p);
		} else {
			p->used = false;
		}
	}
	c->cleaned = now();
}

static struct piece *hold(struct cache *c, uint64_t off)
{
	struct piece *p;

	if (c->clean && now() - c->cleaned >= c->clean)
		clean(c);
	p = find(c, off);
	if (p && p->held++ == 0)
		list_remove(c, p);
	return p;
}

static int check_off(const struct cache *c, uint64_t off, struct err *err)
{
	if (off % c->size == 0)
		return 0;
	return err_set(err, EINVAL, "Metadata at %#" PRIx64 " is not aligned to %u bytes", off,
		       c->size);
}

/* What was cut off would read as zeros, and a table of zeros as an empty disk. */
static int check_whole(const struct cache *c, uint64_t off, struct err *err)
{
	uint64_t size = blk_size(c->file);

	if (off <= size && (c->size <= size - off || (c->short_end && off < size)))
		return 0;
	return err_set(err, EINVAL,
		       "Metadata at %#" PRIx64
		       " (%u bytes) is beyond the end of the file (%" PRIu64 " bytes)",
		       off, c->size, size);
}

void *cache_get(struct cache *c, uint64_t off, struct err *err)
{
	struct piece *p = hold(c, off);

	if (p)
		return bytes_of(c, p);
	if (check_off(c, off, err) < 0 || check_whole(c, off, err) < 0)
		return NULL;
	p = take(c, off, err);
	if (!p)
		return NULL;
	if (blk_pread(c->file, bytes_of(c, p), c->size, off, err) < 0) {
		drop(c, p);
		return NULL;
	}
	hash_insert(c, p);
	return bytes_of(c, p);
}

void *cache_new_piece(struct cache *c, uint64_t off, struct err *err)
{
	struct piece *p = hold(c, off);

	if (!p) {
		if (check_off(c, off, err) < 0)
			return NULL;
		p = take(c, off, err);
		if (!p)
			return NULL;
		hash_insert(c, p);
	}
	memset(bytes_of(c, p), 0, c->size);
	set_dirty(c, p, true);
	return bytes_of(c, p);
}

void cache_put(struct cache *c, void *piece)
{
	struct piece *p = piece_of(c, piece);

	if (--p->held)
		return;
	p->used = true;
	if (p->gone)
		drop(c, p);
	else
		list_add_newest(c, p);
}

void cache_dirty(struct cache *c, void *piece)
{
	struct piece *p = piece_of(c, piece);

	if (!p->gone)
		set_dirty(c, p, true);
}

void cache_dirty_part(struct cache *c, void *piece, size_t at, size_t n)
{
	struct piece *p = piece_of(c, piece);
	uint32_t from = (uint32_t)at, to = (uint32_t)(at + n);

	if (p->gone)
		return;
	if (p->dirty) {
		from = MIN(from, p->from);
		to = MAX(to, p->to);
	}
	set_dirty(c, p, true);
	p->from = from;
	p->to = to;
}

void cache_forget(struct cache *c, uint64_t off)
{
	struct piece *p = find(c, off);

	if (!p)
		return;
	hash_remove(c, p);
	if (p->held) {
		set_dirty(c, p, false);
		p->gone = true;
		return;
	}
	list_remove(c, p);
	drop(c, p);
}

static int by_off(const void *a, const void *b)
{
	const struct piece *const *p = a, *const *q = b;

	return ((*p)->off > (*q)->off) - ((*p)->off < (*q)->off);
}

int cache_flush(struct cache *c, struct err *err)
{
	size_t max;

	if (c->ndirty == 0)
		return 0;
	if (before_write(c, err) < 0)
		return -1;
	max = c->ndirty > 1 ? run_max(c) : 1;
	qsort(c->all, c->n, sizeof(struct piece *), by_off);
	for (size_t i = 0; i < c->n; i++)
		c->all[i]->index = i;
	for (size_t i = 0, n; i < c->n; i += n) {
		n = 1;
		if (!c->all[i]->dirty)
			continue;
		while (n < max && i + n < c->n && c->all[i + n]->dirty &&
		       c->all[i + n]->off == c->all[i]->off + n * c->size)
			n++;
		if (write_run(c, &c->all[i], n, err) < 0)
			return -1;
	}
	return 0;
}
