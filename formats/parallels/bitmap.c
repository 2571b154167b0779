/*
 * Dirty bitmaps of the format extension: read, kept up to date, stored again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/parallels/extension.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* ---- bits ---------------------------------------------------------------------------- */

static int read_cluster(struct prl *p, const struct prl_bitmap *b, uint32_t i, uint8_t *buf,
			struct dirty *to, struct err *err)
{
	uint64_t at = i * prl_cluster(p);
	size_t n = (size_t)MIN(b->bytes - at, prl_cluster(p));

	if (b->cluster[i] == 0)
		return 0;
	if (b->cluster[i] == 1)
		memset(buf, 0xff, n);
	else if (blk_pread(p->b.blocks.file, buf, n, b->cluster[i] * PRL_SECTOR, err))
		return -1;
	return dirty_put(to, at, buf, n, err);
}

static struct dirty *read_bits(struct prl *p, const struct prl_bitmap *b, struct err *err)
{
	AUTO_FREE uint8_t *buf = malloc((size_t)MIN(b->bytes, prl_cluster(p)) + 1);
	struct dirty *bits;

	if (!buf) {
		err_nomem(err, MIN(b->bytes, prl_cluster(p)), "a bitmap");
		return NULL;
	}
	bits = dirty_new(p->h.sectors * PRL_SECTOR, b->bits, err);
	for (uint32_t i = 0; bits && i < b->clusters; i++) {
		if (read_cluster(p, b, i, buf, bits, err)) {
			dirty_free(bits);
			return NULL;
		}
	}
	return bits;
}

/* ---- while the image is written ------------------------------------------------------- */

int prl_extension_start(struct prl *p, struct err *err)
{
	struct prl_extension *x = p->ext;

	for (size_t i = 0; i < x->n; i++) {
		if (x->bitmap[i].live)
			continue;
		x->bitmap[i].live = read_bits(p, &x->bitmap[i], err);
		if (!x->bitmap[i].live)
			return err_prefix(err, "The bitmaps cannot be kept");
	}
	x->started = true;
	return 0;
}

int prl_extension_touch(struct prl *p, uint64_t off, uint64_t len, struct err *err)
{
	for (size_t i = 0; i < p->ext->n; i++)
		if (dirty_set(p->ext->bitmap[i].live, off, len, err))
			return -1;
	return 0;
}

/* One cluster of bits, where it was or, if it needs room and has none, in a new place. */
static int store_cluster(struct prl *p, struct prl_bitmap *b, uint32_t i, uint8_t *buf,
			 struct err *err)
{
	uint64_t at = i * prl_cluster(p), host = b->cluster[i] * PRL_SECTOR;
	size_t n = (size_t)MIN(b->bytes - at, prl_cluster(p));
	enum dirty_kind kind;

	memset(buf, 0, (size_t)prl_cluster(p));
	kind = dirty_get(b->live, at, n, buf, false);
	if (b->cluster[i] <= 1) {
		b->cluster[i] = kind == DIRTY_FULL;
		if (kind != DIRTY_MIXED)
			return 0;
		if (blocks_room(&p->b.blocks, prl_cluster(p), p->unit, &host, err))
			return -1;
		b->cluster[i] = host / PRL_SECTOR;
	}
	return blk_pwrite(p->b.blocks.file, buf, (size_t)prl_cluster(p), host, 0, err);
}

/* The cluster of features: the bitmaps, and what is kept without being understood. */
static int write_features(struct prl *p, uint8_t *buf, struct err *err)
{
	struct prl_extension *x = p->ext;
	size_t n = (size_t)prl_cluster(p), at = PRL_EXT_HEAD;

	memset(buf, 0, n);
	put_le64(buf, PRL_EXT_MAGIC);
	for (size_t i = 0; i < x->n; i++) {
		const struct prl_bitmap *b = &x->bitmap[i];
		uint8_t *data = buf + at + PRL_FEATURE_HEAD;

		/* all this was in a cluster before */
		put_le64(buf + at, PRL_FEATURE_BITMAP);
		put_le64(buf + at + 8, b->flags);
		put_le32(buf + at + 16, PRL_BITMAP_HEAD + 8 * b->clusters);
		put_le64(data, p->h.sectors);
		memcpy(data + 8, b->id, UUID_LEN);
		put_le32(data + 24, 1u << (b->bits - 9));
		put_le32(data + 28, b->clusters);
		for (uint32_t k = 0; k < b->clusters; k++)
			put_le64(data + PRL_BITMAP_HEAD + 8 * (size_t)k, b->cluster[k]);
		at += PRL_FEATURE_HEAD + PRL_BITMAP_HEAD + 8 * (size_t)b->clusters;
	}
	if (x->nkept)
		memcpy(buf + at, x->kept, x->nkept);
	if (prl_md5(buf + PRL_EXT_HEAD, n - PRL_EXT_HEAD, buf + 8, err))
		return -1;
	return blk_pwrite(p->b.blocks.file, buf, n, x->off, 0, err);
}

int prl_extension_finish(struct prl *p, struct err *err)
{
	struct prl_extension *x = p->ext;
	AUTO_FREE uint8_t *buf = NULL;

	if (!x->started)
		return 0;
	/* nothing of it could be used: it goes */
	if (x->n == 0 && x->nkept == 0)
		return prl_write_field(p, PRL_EXT_OFF_AT, 8, 0, err);
	buf = malloc((size_t)prl_cluster(p));
	if (!buf)
		return err_nomem(err, prl_cluster(p), "the format extension");
	for (size_t i = 0; i < x->n; i++)
		for (uint32_t k = 0; k < x->bitmap[i].clusters; k++)
			if (store_cluster(p, &x->bitmap[i], k, buf, err))
				return -1;
	return write_features(p, buf, err);
}

/* ---- bitmap_ops ------------------------------------------------------------------------ */

static struct prl_extension *extension_of(struct image *image)
{
	return prl_is_image(image) ? ((struct prl *)image)->ext : NULL;
}

static bool usable(struct image *image)
{
	struct prl_extension *x = extension_of(image);

	/* none are made: an image without any is none that could get one */
	return x && x->n > 0;
}

static int list(struct image *image, struct bitmap_info **out, size_t *n, struct err *err)
{
	struct prl_extension *x = extension_of(image);

	*n = x ? x->n : 0;
	*out = calloc(*n + 1, sizeof(**out));
	if (!*out)
		return err_nomem(err, (*n + 1) * sizeof(**out), "bitmaps");
	for (size_t i = 0; i < *n; i++)
		(*out)[i] = (struct bitmap_info){
			.name = x->bitmap[i].name,
			.granularity = UINT64_C(1) << x->bitmap[i].bits,
			.enabled = true,
			.broken = x->stale,
		};
	return 0;
}

static struct prl_bitmap *find_bitmap(struct image *image, const char *name, struct err *err)
{
	struct prl_extension *x = extension_of(image);

	for (size_t i = 0; x && i < x->n; i++)
		if (strcmp(x->bitmap[i].name, name) == 0)
			return &x->bitmap[i];
	err_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
	return NULL;
}

static int find(struct image *image, const char *name, struct err *err)
{
	if (!find_bitmap(image, name, err))
		return -1;
	if (!extension_of(image)->stale)
		return 0;
	return err_set(err, EINVAL, "Bitmap '%s' is inconsistent and cannot be used", name);
}

static int read_bitmap(struct image *image, const char *name, struct dirty **bits,
		       struct err *err)
{
	struct prl *p = (struct prl *)image;

	*bits = NULL;
	if (find(image, name, err))
		return -1;
	*bits = read_bits(p, find_bitmap(image, name, err), err);
	return *bits ? 0 : -1;
}

static int no_change(struct image *image, const char *name, struct err *err)
{
	if (!find_bitmap(image, name, err))
		return -1;
	return err_set(err, ENOTSUP, "The bitmaps of a parallels image can only be read");
}

static int add(struct image *image, const char *name, uint64_t granularity, bool enabled,
	       struct err *err)
{
	if (name[0] == '\0')
		return err_set(err, EINVAL, "Bitmap name cannot be empty");
	if (granularity && ((granularity & (granularity - 1)) || granularity < PRL_SECTOR ||
			    granularity > UINT64_C(1) << 31))
		return err_set(err, EINVAL, "Granularity must be power of 2 and at least 512");
	return err_set(err, ENOTSUP, "Can't store persistent bitmaps to %s: %s",
		       image->blk.name, "Operation not supported");
}

static int enable(struct image *image, const char *name, bool on, struct err *err)
{
	return no_change(image, name, err);
}

static int merge(struct image *image, const char *name, struct dirty *from, struct err *err)
{
	return no_change(image, name, err);
}

const struct bitmap_ops prl_bitmap_ops = {
	.usable = usable,
	.list = list,
	.add = add,
	.remove = no_change,
	.clear = no_change,
	.enable = enable,
	.find = find,
	.read = read_bitmap,
	.merge = merge,
};
