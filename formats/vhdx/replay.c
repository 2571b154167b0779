/*
 * The replay of the log (2.3.3): what its changes come to, as runs of the file, and these
 * brought to the file, or seen over it where it cannot or may not be written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vhdx/log.h"
#include "lib/mem.h"

/* ---- many changes, some over others ---------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static size_t sort_unique(uint64_t *v, size_t n)
{
	size_t k = 0;

	qsort(v, n, sizeof(*v), by_value);
	for (size_t i = 0; i < n; i++)
		if (k == 0 || v[k - 1] != v[i])
			v[k++] = v[i];
	return k;
}

static size_t index_of(const uint64_t *v, size_t n, uint64_t key)
{
	const uint64_t *at = bsearch(&key, v, n, sizeof(*v), by_value);

	return (size_t)(at - v);
}

/* The first piece from i on that nobody has. */
static size_t first_free(size_t *next, size_t i)
{
	size_t at = i;

	while (next[at] != at)
		at = next[at];
	while (next[i] != at) {
		size_t after = next[i];

		next[i] = at;
		i = after;
	}
	return at;
}

static int add_run(struct vhdx_replay *out, struct log_change *from, uint64_t off, uint64_t len)
{
	struct vhdx_run *last = out->n ? &out->run[out->n - 1] : NULL;

	if (last && !last->bytes && !from->bytes && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	out->run[out->n++] = (struct vhdx_run){off, len, from->bytes};
	from->bytes = NULL;
	return 0;
}

/* The file is cut where any change begins or ends; the last to change a piece has it. */
int vhdx_replay_make(struct log_change *change, size_t n, struct vhdx_replay *out,
		     struct err *err)
{
	AUTO_FREE uint64_t *cut = calloc(2 * n + 1, sizeof(*cut));
	AUTO_FREE size_t *next = calloc(2 * n + 1, sizeof(*next));
	AUTO_FREE size_t *owner = calloc(2 * n + 1, sizeof(*owner));
	size_t pieces;

	out->run = calloc(2 * n + 1, sizeof(*out->run));
	if (!cut || !next || !owner || !out->run)
		return err_nomem(err, n * 2 * sizeof(*out->run), "the log");
	for (size_t i = 0; i < n; i++) {
		cut[2 * i] = change[i].off;
		cut[2 * i + 1] = change[i].off + change[i].len;
	}
	pieces = sort_unique(cut, 2 * n);
	for (size_t i = 0; i <= pieces; i++)
		next[i] = i;
	for (size_t i = n; i-- > 0;) {
		size_t end = index_of(cut, pieces, change[i].off + change[i].len);
		size_t at = first_free(next, index_of(cut, pieces, change[i].off));

		for (; at < end; at = first_free(next, at)) {
			owner[at] = i + 1;
			next[at] = at + 1;
		}
	}
	for (size_t i = 0; i + 1 < pieces; i++)
		if (owner[i])
			add_run(out, &change[owner[i] - 1], cut[i], cut[i + 1] - cut[i]);
	return 0;
}

void vhdx_replay_free(struct vhdx_replay *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->run[i].bytes);
	free(r->run);
	*r = (struct vhdx_replay){0};
}

/* ---- into the file ------------------------------------------------------------------- */

int vhdx_replay_write(struct blk *file, const struct vhdx_replay *r, struct err *err)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct vhdx_run *run = &r->run[i];

		if (run->bytes ? blk_pwrite(file, run->bytes, run->len, run->off, 0, err)
			       : blk_zero(file, run->off, run->len, 0, err))
			return -1;
	}
	if (blk_size(file) < r->last && (file->caps & BLK_CAN_GROW) &&
	    blk_zero(file, r->last - 1, 1, 0, err))
		return -1;
	return blk_flush(file, err);
}

/* ---- over the file ------------------------------------------------------------------- */

struct overlay {
	struct blk blk;
	struct blk *file; /* borrowed */
	struct vhdx_replay r;
};

/* The first run that ends behind off. */
static size_t first_run(const struct vhdx_replay *r, uint64_t off)
{
	size_t from = 0, to = r->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (r->run[mid].off + r->run[mid].len <= off)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static int overlay_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct overlay *o = (struct overlay *)blk;

	if (blk_pread(o->file, buf, n, off, err))
		return -1;
	for (size_t i = first_run(&o->r, off); i < o->r.n && o->r.run[i].off < off + n; i++) {
		const struct vhdx_run *run = &o->r.run[i];
		uint64_t from = MAX(run->off, off), to = MIN(run->off + run->len, off + n);
		uint8_t *at = (uint8_t *)buf + (from - off);

		if (run->bytes)
			memcpy(at, run->bytes + (from - run->off), to - from);
		else
			memset(at, 0, to - from);
	}
	return 0;
}

static int64_t overlay_disk_usage(struct blk *blk)
{
	return blk_disk_usage(((struct overlay *)blk)->file);
}

static int overlay_close(struct blk *blk, struct err *err)
{
	vhdx_replay_free(&((struct overlay *)blk)->r);
	free(blk);
	return 0;
}

static const struct blk_ops overlay_ops = {
	.name = "vhdx-replayed",
	.pread = overlay_pread,
	.disk_usage = overlay_disk_usage,
	.close = overlay_close,
};

struct blk *vhdx_replay_blk(struct blk *file, struct vhdx_replay *r, struct err *err)
{
	struct overlay *o = calloc(1, sizeof(*o));

	if (!o || blk_init(&o->blk, &overlay_ops, file->name, err)) {
		if (!o)
			err_nomem(err, sizeof(*o), "the log");
		free(o);
		return NULL;
	}
	o->file = file;
	o->blk.size = MAX(blk_size(file), r->last);
	o->blk.align = file->align;
	o->r = *r;
	*r = (struct vhdx_replay){0};
	return &o->blk;
}
