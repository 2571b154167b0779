/*
 * An expanding image: its blocks, open and close.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/parallels/extension.h"
#include "formats/parallels/parallels.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define PRL_AHEAD_MAX (UINT64_C(1) << 40)

static struct prl *prl_of(struct blocks *b)
{
	return (struct prl *)((char *)b - offsetof(struct prl, b.blocks));
}

/* ---- the BAT ----------------------------------------------------------------------- */

int prl_get_entry(struct prl *p, uint32_t i, uint32_t *entry, struct err *err)
{
	uint64_t value;

	if (entries_get(&p->bat, PRL_HEADER_LEN + 4 * (uint64_t)i, &value, err))
		return -1;
	*entry = (uint32_t)value;
	return 0;
}

int prl_set_entry(struct prl *p, uint32_t i, uint32_t entry, struct err *err)
{
	return entries_set(&p->bat, PRL_HEADER_LEN + 4 * (uint64_t)i, entry, err);
}

const char *prl_place_wrong(const struct prl *p, uint32_t i, uint64_t host)
{
	uint64_t file = round_up(blk_size(p->b.blocks.file), PRL_SECTOR);
	uint64_t guest = i * prl_cluster(p), need = prl_cluster(p);

	if (guest < p->b.blocks.size)
		need = MIN(need, p->b.blocks.size - guest);
	if (host < prl_bat_end(&p->h))
		return "is in the header or the BAT";
	if (host >= file)
		return "is outside image";
	return need > file - host ? "is cut off by the end of the image" : NULL;
}

static int prl_get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct prl *p = prl_of(b);
	const char *wrong;
	uint32_t entry;

	*out = (struct block){.kind = BLOCK_ABSENT};
	if (i >= p->h.entries)
		return 0; /* a disk that is larger than its BAT */
	if (prl_get_entry(p, (uint32_t)i, &entry, err))
		return -1;
	if (entry == 0)
		return 0;
	out->kind = BLOCK_DATA;
	out->host = entry * p->unit;
	/* a new file gets its length at the end */
	wrong = b->new_image ? NULL : prl_place_wrong(p, (uint32_t)i, out->host);
	if (wrong)
		return err_set(err, EIO, "Cluster %" PRIu64 ", at %#" PRIx64 ", %s", i,
			       out->host, wrong);
	return 0;
}

static int prl_set(struct blocks *b, uint64_t i, const struct block *to, struct err *err)
{
	struct prl *p = prl_of(b);

	return prl_set_entry(p, (uint32_t)i, (uint32_t)(to->host / p->unit), err);
}

/* Before data is written to a place that no entry could tell. */
static int prl_took(struct blocks *b, uint64_t host, struct err *err)
{
	struct prl *p = prl_of(b);
	uint64_t end = host + b->block;

	if (host / p->unit > UINT32_MAX)
		return err_set(err, EFBIG,
			       "The image's entries reach no further than %#" PRIx64,
			       UINT32_MAX * p->unit);
	if (p->ahead == 0 || b->new_image || blk_size(b->file) > end)
		return 0;
	return blk_resize(b->file, end + p->ahead, p->how, err);
}

static void prl_settled(struct blocks *b)
{
	entries_data_written(&prl_of(b)->bat);
}

static int prl_write_back(struct blocks *b, struct err *err)
{
	return entries_flush(&prl_of(b)->bat, err);
}

int prl_write_field(struct prl *p, unsigned at, unsigned width, uint64_t value, struct err *err)
{
	uint8_t buf[8];

	put_le64(buf, value);
	return blk_pwrite(p->b.blocks.file, buf, width, at, 0, err);
}

static int prl_start(struct blocks *b, struct err *err)
{
	struct prl *p = prl_of(b);

	if (b->new_image)
		return 0;
	if (p->ext && prl_extension_start(p, err))
		return -1;
	/* one that is not valid any more could be overwritten, and is not to be found then */
	if (!p->ext && p->h.ext_off && prl_write_field(p, PRL_EXT_OFF_AT, 8, 0, err))
		return -1;
	if (prl_write_field(p, PRL_IN_USE_AT, 4, PRL_IN_USE, err) ||
	    ((p->h.flags & PRL_EMPTY) &&
	     prl_write_field(p, PRL_FLAGS_AT, 4, p->h.flags & ~(uint32_t)PRL_EMPTY, err)))
		return -1;
	return blk_flush(b->file, err);
}

static const struct blocks_driver prl_driver = {
	.get = prl_get,
	.set = prl_set,
	.took = prl_took,
	.settled = prl_settled,
	.write_back = prl_write_back,
	.start = prl_start,
};

static int prl_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err)
{
	struct prl *p = (struct prl *)blk;

	if (blocks_image_touch(blk, off, len, err))
		return -1;
	return p->ext ? prl_extension_touch(p, off, len, err) : 0;
}

/* ---- open and close ---------------------------------------------------------------- */

static int finish(struct prl *p, struct err *err)
{
	struct blocks *b = &p->b.blocks;
	/* zero says that the extension, if there is any, was not looked after */
	uint32_t closed = p->h.in_use == PRL_CLOSED ? PRL_CLOSED : 0;

	if (p->ext && prl_extension_finish(p, err))
		return -1;
	if (blocks_finish(b, err))
		return -1;
	/* what was taken ahead and not used */
	if (p->ahead && !b->new_image && blk_size(b->file) > b->end &&
	    blk_resize(b->file, b->end, PREALLOC_OFF, err))
		return -1;
	if (b->new_image)
		return 0;
	if (prl_write_field(p, PRL_IN_USE_AT, 4, closed, err))
		return -1;
	return blk_flush(b->file, err);
}

static int prl_close(struct blk *blk, struct err *err)
{
	struct prl *p = (struct prl *)blk;
	int rc = p->b.blocks.started ? finish(p, err) : 0;

	blocks_free(&p->b.blocks);
	entries_free(&p->bat);
	prl_extension_free(p->ext);
	free(p);
	return rc;
}

static const struct blk_ops prl_ops = {
	.name = "parallels",
	.by_extent = true,
	.extent = blocks_image_extent,
	.claim = blocks_image_claim,
	.settle = blocks_image_settle,
	.drop = blocks_image_drop,
	.zero = blocks_image_zero,
	.touch = prl_touch,
	.flush = blocks_image_flush,
	.close = prl_close,
};

bool prl_is_image(const struct image *image)
{
	return image->blk.ops == &prl_ops;
}

static int read_header(struct prl *p, struct err *err)
{
	struct blk *lower = p->b.image.blk.lower;
	uint8_t buf[PRL_HEADER_LEN];

	if (blk_pread(lower, buf, sizeof(buf), 0, err))
		return -1;
	layout_decode(prl_fields, buf, &p->h);
	return prl_header_check(&p->h, blk_size(lower), err);
}

static int check_writable(const struct prl *p, struct err *err)
{
	uint64_t room = (uint64_t)p->h.entries * p->h.tracks;

	if (p->flags & IMAGE_CHECK)
		return 0;
	if (p->h.in_use == PRL_IN_USE) {
		err_set(err, EACCES,
			"parallels: Image was not closed correctly; cannot be opened "
			"read/write");
		return -1;
	}
	if (p->h.sectors > room)
		return err_set(err, EACCES,
			       "The disk has %" PRIu64 " sectors, but its BAT has room for "
			       "%" PRIu64 ": it can only be read",
			       p->h.sectors, room);
	return p->ext ? prl_extension_writable(p->ext, err) : 0;
}

/* How the file grows. QEMU's: it takes 128 MiB if nothing is said. */
static int read_opts(struct prl *p, const struct opts *opts, struct err *err)
{
	uint64_t size = UINT64_C(128) << 20;
	int mode = 0;

	if (!opts || !(opts_has(opts, "prealloc-mode") || opts_has(opts, "prealloc-size")))
		return 0;
	if (opts_size(opts, "prealloc-size", &size, err))
		return -1;
	if (opts_choice(opts, "prealloc-mode", "falloc|truncate", &mode, err))
		return err_set(err, EINVAL, "invalid parameter value: %s",
			       opts_get(opts, "prealloc-mode"));
	p->ahead = MIN(size, PRL_AHEAD_MAX);
	p->how = mode == 0 ? PREALLOC_FALLOC : PREALLOC_OFF;
	if (!(p->b.image.blk.lower->caps & BLK_CAN_GROW))
		p->ahead = 0;
	return 0;
}

static int prepare(struct prl *p, bool over, struct err *err)
{
	bool clusters = prl_counts_clusters(&p->h);

	p->unit = clusters ? prl_cluster(p) : PRL_SECTOR;
	p->data_start = prl_first_place(&p->h, blk_size(p->b.image.blk.lower));
	p->b.blocks = (struct blocks){
		.driver = &prl_driver,
		.size = p->h.sectors * PRL_SECTOR,
		.block = prl_cluster(p),
		.align = p->unit,
		.below = over,
	};
	if (entries_init(&p->bat, p->b.image.blk.lower, PRL_BAT_PIECE, PRL_BAT_PIECES, 4, false,
			 p->flags & IMAGE_NEW, err) ||
	    blocks_image_init(&p->b, p->flags, err) || prl_extension_load(p, err))
		return -1;
	if (!(p->flags & IMAGE_WRITE))
		return 0;
	if (check_writable(p, err))
		return -1;
	return p->flags & IMAGE_CHECK ? 0 : prl_find_room(p, err);
}

int prl_image_open(struct blk *lower, const struct opts *opts, unsigned flags, bool over,
		   struct image **out, struct err *err)
{
	struct prl *p = image_new(sizeof(*p), &prl_ops, &format_parallels, lower, err);

	if (!p)
		return -1;
	p->flags = flags;
	if (read_opts(p, opts, err) || read_header(p, err) || prepare(p, over, err))
		return image_give_up(&p->b.image);
	*out = &p->b.image;
	return 0;
}

/* ---- info -------------------------------------------------------------------------- */

static struct json *bitmaps_json(const struct prl_extension *x)
{
	struct json *all = json_array();
	int bad = !all;

	for (size_t i = 0; !bad && i < x->n; i++) {
		struct json *j = json_object();

		bad |= json_add_str(j, "name", x->bitmap[i].name);
		bad |= json_add_int(j, "granularity", INT64_C(1) << x->bitmap[i].bits);
		bad |= json_add_bool(j, "inconsistent", x->stale);
		bad |= json_push(all, j);
	}
	if (!bad)
		return all;
	json_free(all);
	return NULL;
}

int prl_image_info(struct image *image, struct info *out, struct err *err)
{
	const struct prl *p = (const struct prl *)image;
	char magic[PRL_MAGIC_LEN + 1] = {0};
	int bad;

	memcpy(magic, p->h.magic, PRL_MAGIC_LEN);
	out->cluster_size = prl_cluster(p);
	out->has_dirty = true;
	out->dirty = p->h.in_use == PRL_IN_USE;
	out->specific = json_object();
	bad = json_add_str(out->specific, "magic", magic);
	if (p->ext && p->ext->n)
		bad |= json_add(out->specific, "bitmaps", bitmaps_json(p->ext));
	if (p->ext && p->ext->problem[0])
		bad |= json_add_str(out->specific, "extension-problem", p->ext->problem);
	return bad ? err_nomem(err, 1000, "info") : 0;
}
