/*
 * The refcount table and blocks: docs/interop/qcow2.rst, section "Host cluster
 * management"; and their comparison with what was counted.
 */
#include "formats/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/pool.h"

#define REFTABLE_MASK (~UINT64_C(0x1ff))

enum {
	BATCH = 512 << 10, /* bytes of refcount blocks in a job */
	LANE = 64,	   /* cells compared at a time: a constant, for the compiler */
};

/* ---- the table -------------------------------------------------------------------- */

static int keep_entries(struct checker *k, void *arg, uint64_t first, const uint8_t *p,
			size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		k->reftable[first + i] = get_be64(p + 8 * i);
	return 0;
}

static int load_reftable(struct checker *k, struct err *err)
{
	uint64_t off = k->q->h.reftable_off;
	uint64_t len = (uint64_t)k->q->h.reftable_cl << k->bits; /* <= 8 MiB: header.c */

	if (off >= k->file_size)
		return 0;
	k->nreftable = MIN(len, round_up(k->file_size - off, 8)) / 8;
	k->reftable = calloc(k->nreftable + 1, sizeof(*k->reftable));
	if (!k->reftable)
		return err_nomem(err, k->nreftable * 8, "the refcount table");
	return check_entries(k, "refcount table", off, k->nreftable, false, keep_entries, NULL,
			     err);
}

/* The peer makes the file so long, counts the block, then makes all of them anew and frees
 * it. So do we, without the file. */
static int outside_entry(struct checker *k, uint64_t i, uint64_t off, struct err *err)
{
	bool fix = k->fix & CHECK_FIX_ERRORS;
	uint64_t *more;

	check_fault(k, fix, "refcount-block", &off,
		    "refcount block %" PRIu64 " is outside image", i);
	if (!fix)
		return 0;
	k->rebuild = true;
	if (!counts_reach(&k->counts, off >> k->bits)) {
		check_fault(k, false, "refcount-block", &off, "could not resize image: %s",
			    strerror(EFBIG));
		return 0;
	}
	more = realloc(k->outside, (k->noutside + 1) * sizeof(*more));
	if (!more)
		return err_nomem(err, (k->noutside + 1) * sizeof(*more), "refcount blocks");
	k->outside = more;
	k->outside[k->noutside++] = off >> k->bits;
	return check_clusters(k, off >> k->bits, 1, 1, 0, err);
}

static int reftable_entry(struct checker *k, uint64_t i, struct err *err)
{
	uint64_t v = k->reftable[i], off = v & REFTABLE_MASK, count;

	if (v & ~REFTABLE_MASK) {
		check_fault(k, false, "refcount-table", &off,
			    "refcount table entry %" PRIu64 " has reserved bits set", i);
		k->rebuild = true;
		return 0;
	}
	if (off % k->cluster) {
		check_fault(k, false, "refcount-table", &off,
			    "refcount block %" PRIu64
			    " is not cluster aligned; refcount table entry corrupted",
			    i);
		k->rebuild = true;
		return 0;
	}
	if (off >> k->bits >= k->nb_cl)
		return outside_entry(k, i, off, err);
	if (check_region(k, off, k->cluster, 1, 0, err) < 0)
		return -1;
	count = counts_get(&k->counts, off >> k->bits);
	if (count == 1)
		return 0;
	check_fault(k, false, "refcount-block", &off,
		    "refcount block %" PRIu64 " refcount=%" PRIu64, i, count);
	k->rebuild = true;
	return 0;
}

int check_reftable(struct checker *k, struct err *err)
{
	if (check_region(k, k->q->h.reftable_off, (uint64_t)k->q->h.reftable_cl << k->bits, 1,
			 0, err) < 0 ||
	    load_reftable(k, err) < 0)
		return -1;
	for (uint64_t i = 0; i < k->nreftable; i++)
		if (k->reftable[i] && reftable_entry(k, i, err) < 0)
			return -1;
	return 0;
}

/* ---- refcounts on disk ------------------------------------------------------------ */

/* The block of an index: an offset, UINT64_MAX for none; false: there is a wrong one, which
 * no file can have. */
static bool block_of(const struct checker *k, uint64_t i, uint64_t *off)
{
	*off = i < k->nreftable ? k->reftable[i] & REFTABLE_MASK : 0;
	if (*off % k->cluster || *off > INT64_MAX)
		return false;
	if (*off == 0)
		*off = UINT64_MAX;
	return true;
}

/* ---- comparing -------------------------------------------------------------------- */

/* What a stretch of clusters says: `any` in use at all; `bad` a difference, or a copied
 * flag that does not fit. */
struct verdict {
	unsigned any, bad;
};

static inline void compare_cell(uint64_t disk, unsigned cell, struct verdict *v)
{
	unsigned count = cell & CELL_COUNT;

	v->any |= (disk | count) != 0;
	v->bad |= disk != count || count == CELL_COUNT ||
		  (cell & (disk == 1 ? CELL_SHARED : CELL_COPIED)) != 0;
}

/* The same for LANE cells and 16-bit refcounts, without a branch. */
static void compare_lane(const uint8_t *block, const uint16_t *cell, struct verdict *v)
{
	uint16_t disk[LANE], any = 0, bad = 0;

	memcpy(disk, block, sizeof(disk));
	for (int i = 0; i < LANE; i++) {
		uint16_t d = be16toh(disk[i]), c = cell[i];
		uint16_t one = (uint16_t) - (d == 1);

		any |= d | c;
		bad |= (d ^ c) & CELL_COUNT;
		bad |= d & (uint16_t)~CELL_COUNT;
		bad |= c & ((one & CELL_SHARED) | (~one & CELL_COPIED));
		bad |= (uint16_t) - ((c & CELL_COUNT) == CELL_COUNT);
	}
	v->any |= any;
	v->bad |= bad;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* n clusters from cl on, all in one leaf; `at` is the place of the first in the block. */
static void compare_part(const struct checker *k, const uint8_t *block, uint64_t at,
			 uint64_t cl, unsigned n, struct verdict *v)
{
	static const uint16_t none[CELLS];
	const uint16_t *leaf = counts_leaf(&k->counts, cl);
	unsigned order = k->q->h.refcount_order, i = 0;
	const uint16_t *cell = leaf ? leaf + cl % CELLS : none;

	if (!leaf && order >= 3 && all_zero(block + (at << (order - 3)), n << (order - 3)))
		return;
	if (order == 4)
		for (; i + LANE <= n; i += LANE)
			compare_lane(block + 2 * (at + i), cell + i, v);
	for (; i < n; i++)
		compare_cell(qcow2_ref_get(order, block, at + i), cell[i], v);
}

/* ---- jobs ------------------------------------------------------------------------- */

struct block_part {
	uint64_t index;
	uint64_t end; /* one past the last part with clusters in use */
	bool bad;
};

struct block_work {
	struct checker *k;
	struct check_bufs bufs;
	size_t per_job;
	bool holes;
};

struct block_job {
	struct pool_job job;
	struct block_work *w;
	struct check_buf *buf;
	size_t n;
	/* in buf->more */
	struct block_part *part;
	uint64_t *off;
	int *error;
};

static void compare_block(const struct checker *k, const uint8_t *block, struct block_part *p)
{
	uint64_t first = p->index << k->q->refblock_bits;
	uint64_t end = MIN(k->nb_cl, first + (UINT64_C(1) << k->q->refblock_bits));

	for (uint64_t cl = first, n; cl < end; cl += n) {
		struct verdict v = {0, 0};

		n = MIN(end - cl, CELLS - cl % CELLS);
		compare_part(k, block, cl - first, cl, (unsigned)n, &v);
		if (v.any)
			p->end = cl + n;
		if (v.bad)
			p->bad = true;
	}
}

static int block_run(struct pool_job *job, struct err *err)
{
	struct block_job *j = (struct block_job *)job;
	const struct checker *k = j->w->k;

	for (size_t i = 0; i < j->n; i++) {
		j->part[i].bad = !block_of(k, j->part[i].index, &j->off[i]);
		j->part[i].end = 0;
		if (j->part[i].bad)
			j->off[i] = UINT64_MAX;
	}
	check_read_clusters(k, j->off, j->n, j->w->holes, j->buf->data, j->error);
	for (size_t i = 0; i < j->n; i++) {
		if (!j->part[i].bad && !j->error[i])
			compare_block(k, j->buf->data + (i << k->bits), &j->part[i]);
		if (j->error[i])
			j->part[i].bad = true;
	}
	return 0;
}

/* One cluster that is not as it should be, or next to such a one. *block is changed where that
 * is to be repaired: true. */
static bool tell(struct checker *k, uint64_t cl, uint64_t disk, uint64_t count)
{
	bool leak = disk > count, fix = k->refs & (leak ? CHECK_FIX_LEAKS : CHECK_FIX_ERRORS);
	uint64_t off = cl << k->bits;

	if (k->preview && !leak && disk == 0)
		k->rebuild = true;
	if (!leak) {
		check_fault(k, fix, "refcount", &off,
			    "cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64, cl,
			    disk, count);
		return fix && !k->mute;
	}
	if (!k->mute) {
		check_say(k, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
			  fix ? "Repairing" : "Leaked", cl, disk, count);
		*(fix ? &k->c->leaks_fixed : &k->c->leaks) += 1;
	}
	check_problem(k, "leak", &off, fix);
	return fix && !k->mute;
}

static int tell_block(struct checker *k, uint8_t *block, uint64_t first, uint64_t end,
		      bool *changed, struct err *err)
{
	unsigned order = k->q->h.refcount_order;

	for (uint64_t cl = first; cl < end; cl++) {
		const uint16_t *leaf = counts_leaf(&k->counts, cl);
		uint64_t disk = qcow2_ref_get(order, block, cl - first), count, *at;
		struct verdict v = {0, 0};

		compare_cell(disk, leaf ? leaf[cl % CELLS] : 0, &v);
		if (!v.bad)
			continue;
		if (leaf && leaf[cl % CELLS] & (CELL_COPIED | CELL_SHARED))
			k->copied = true;
		count = counts_get(&k->counts, cl);
		if (disk == count)
			continue;
		if (tell(k, cl, disk, count)) {
			qcow2_ref_put(order, block, cl - first, count);
			*changed = true;
			disk = count;
		}
		/* so that what is repaired costs no memory */
		if (count == 0 || disk == count || k->preview || k->mute)
			continue;
		at = map_at(&k->disk, cl, NULL);
		if (!at)
			return err_nomem(err, k->disk.room * 32, "refcounts");
		*at = disk;
	}
	return 0;
}

static void tell_unreadable(struct checker *k, uint64_t i, uint64_t first, uint64_t end,
			    int error)
{
	uint64_t off = k->reftable[i] & REFTABLE_MASK;

	k->rebuild |= k->preview;
	if (k->mute)
		return;
	if (off % k->cluster && !k->said_unaligned) {
		k->said_unaligned = true;
		check_say(k,
			  "qcow2: %s: Refblock offset %#" PRIx64
			  " unaligned (reftable index: %#" PRIx64
			  "); further %scorruption events will be suppressed",
			  k->fix ? "Marking image as corrupt" : "Image is corrupt", off, i,
			  k->fix ? "" : "non-fatal ");
	}
	for (uint64_t cl = first; cl < end; cl++)
		check_say(k, "Can't get refcount for cluster %" PRIu64 ": %s", cl,
			  strerror(error ? error : EIO));
	k->c->check_errors += end - first;
}

static int block_commit(struct pool_job *job, struct err *err)
{
	struct block_job *j = (struct block_job *)job;
	struct checker *k = j->w->k;

	for (size_t i = 0; i < j->n; i++) {
		const struct block_part *p = &j->part[i];
		uint8_t *block = j->buf->data + (i << k->bits);
		uint64_t first = p->index << k->q->refblock_bits, cl = p->end, off;
		bool changed = false;
		uint64_t end = MIN(k->nb_cl, first + (UINT64_C(1) << k->q->refblock_bits));

		if (!block_of(k, p->index, &off) || j->error[i]) {
			tell_unreadable(k, p->index, first, end, j->error[i]);
			continue;
		}
		while (cl > first && !counts_get(&k->counts, cl - 1) &&
		       !qcow2_ref_get(k->q->h.refcount_order, block, cl - 1 - first))
			cl--;
		if (cl > first)
			k->end_cl = cl - 1;
		if (p->bad && tell_block(k, block, first, end, &changed, err) < 0)
			return -1;
		if (changed && blk_pwrite(k->file, block, k->cluster, off, 0, err) < 0)
			return -1;
	}
	return 0;
}

static void block_done(struct pool_job *job)
{
	struct block_job *j = (struct block_job *)job;

	check_buf_give(&j->w->bufs, j->buf);
	free(j);
}

static const struct pool_steps block_steps = {
	.run = block_run,
	.commit = block_commit,
	.done = block_done,
};

static struct block_job *block_job(struct block_work *w, struct err *err)
{
	struct block_job *j = calloc(1, sizeof(*j));

	if (!j) {
		err_nomem(err, sizeof(*j), "a job");
		return NULL;
	}
	j->buf = check_buf_take(&w->bufs, err);
	if (!j->buf) {
		free(j);
		return NULL;
	}
	j->job.steps = &block_steps;
	j->w = w;
	j->part = j->buf->more;
	j->off = (uint64_t *)(j->part + w->per_job);
	j->error = (int *)(j->off + w->per_job);
	return j;
}

/* The first index >= i of a block that is there, or has counted clusters. */
static uint64_t next_index(const struct checker *k, uint64_t i)
{
	uint64_t cl = i << k->q->refblock_bits;
	uint64_t counted = counts_next(&k->counts, cl);

	counted = counted == UINT64_MAX ? counted : counted >> k->q->refblock_bits;
	while (i < k->nreftable && i < counted && !k->reftable[i])
		i++;
	return i < k->nreftable && i <= counted ? i : counted;
}

static int submit_blocks(struct block_work *w, struct pool *pool, struct err *err)
{
	struct checker *k = w->k;
	uint64_t last = (k->nb_cl - 1) >> k->q->refblock_bits;
	struct block_job *j = NULL;

	for (uint64_t i = next_index(k, 0); i <= last; i = next_index(k, i + 1)) {
		if (!j)
			j = block_job(w, err);
		if (!j)
			return -1;
		j->part[j->n++].index = i;
		if (j->n < w->per_job)
			continue;
		if (pool_submit(pool, &j->job, err) < 0)
			return -1;
		j = NULL;
	}
	return j ? pool_submit(pool, &j->job, err) : 0;
}

int check_refcounts(struct checker *k, struct err *err)
{
	struct block_work w = {.k = k, .per_job = MAX(1, BATCH >> k->bits)};
	int64_t on_disk = blk_disk_usage(k->file);
	struct pool *pool;
	uint64_t blocks, bytes;
	unsigned threads;
	int ret;

	if (k->nb_cl == 0)
		return 0;
	blocks = ((k->nb_cl - 1) >> k->q->refblock_bits) + 1;
	bytes = MIN(k->nreftable, blocks) << k->bits;
	w.per_job = MIN(w.per_job, blocks);
	threads = check_threads(bytes);
	w.holes = on_disk >= 0 && bytes > (uint64_t)on_disk;
	pool = pool_new(threads, 2 * threads + 1, err);
	if (!pool)
		return -1;
	check_bufs_init(&w.bufs, w.per_job << k->bits,
			w.per_job * (sizeof(struct block_part) + 2 * sizeof(uint64_t)));
	ret = submit_blocks(&w, pool, err);
	if (ret == 0)
		ret = pool_drain(pool, err);
	pool_free(pool);
	check_bufs_free(&w.bufs);
	return ret;
}

bool check_disk_refcount(struct checker *k, uint64_t cl, uint64_t *out)
{
	AUTO_FREE uint8_t *block = NULL;
	const uint64_t *differs;
	struct err err;
	uint64_t off, at = cl & ((UINT64_C(1) << k->q->refblock_bits) - 1);

	if (!block_of(k, cl >> k->q->refblock_bits, &off))
		return false;
	if (cl < k->nb_cl) {
		differs = map_find(&k->disk, cl);
		*out = differs ? *differs : counts_get(&k->counts, cl);
		return true;
	}
	/* past what was compared: rare, in images that were cut short */
	*out = 0;
	if (off >= k->file_size)
		return true;
	block = mem_alloc(k->cluster);
	if (!block || !check_spend(k, k->cluster) ||
	    blk_pread(k->file, block, k->cluster, off, &err) < 0)
		return false;
	*out = qcow2_ref_get(k->q->h.refcount_order, block, at);
	return true;
}
