/*
 * Dynamic and differencing images: the allocation table, and where new blocks go.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vpc/vpc.h"
#include "lib/bytes.h"
#include "lib/mem.h"

static struct vpc *vpc_of(struct blocks *b)
{
	return (struct vpc *)((char *)b - offsetof(struct vpc, b.blocks));
}

uint64_t vpc_bitmap_len(uint32_t block_size)
{
	return round_up(div_up(block_size / VPC_SECTOR, 8), VPC_SECTOR);
}

/* ---- the table ---------------------------------------------------------------------- */

int vpc_table_get(struct vpc *v, uint64_t i, uint32_t *entry, struct err *err)
{
	uint64_t value;

	if (entries_get(&v->table, v->h.table_off + 4 * i, &value, err))
		return -1;
	*entry = (uint32_t)value;
	return 0;
}

static bool overlap(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
	return a < b_end && b < a_end;
}

/* Would a block there lie over what the image is described by? */
static bool over_tables(const struct vpc *v, uint64_t at)
{
	uint64_t end = at + v->b.blocks.head + v->b.blocks.block;
	uint64_t table = v->h.table_off;

	return at < VPC_FOOTER_LEN ||
	       overlap(at, end, v->f.data_off, v->f.data_off + VPC_HEADER_LEN) ||
	       overlap(at, end, table, table + 4 * (uint64_t)v->h.entries);
}

static int vpc_get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct vpc *v = vpc_of(b);
	uint32_t entry;

	*out = (struct block){.kind = b->below ? BLOCK_ABSENT : BLOCK_ZERO};
	if (vpc_table_get(v, i, &entry, err))
		return -1;
	if (entry == VPC_ENTRY_FREE)
		return 0;
	out->kind = BLOCK_DATA;
	out->host = (uint64_t)entry * VPC_SECTOR + b->head;
	if (over_tables(v, out->host - b->head))
		return err_set(err, EIO,
			       "Block %" PRIu64 " is said to be at %#" PRIx64
			       ", where the image's tables are",
			       i, out->host - b->head);
	return 0;
}

static int vpc_set(struct blocks *b, uint64_t i, const struct block *to, struct err *err)
{
	struct vpc *v = vpc_of(b);

	return entries_set(&v->table, v->h.table_off + 4 * i, (to->host - b->head) / VPC_SECTOR,
			   err);
}

/* ---- places -------------------------------------------------------------------------- */

static int vpc_took(struct blocks *b, uint64_t host, struct err *err)
{
	struct vpc *v = vpc_of(b);
	uint64_t end = host + b->block;

	if ((host - b->head) / VPC_SECTOR >= VPC_ENTRY_FREE)
		return err_set(err, EFBIG, "The file would be larger than a VHD can be");
	if (!(b->file->caps & BLK_CAN_GROW) && end > v->footer_at)
		return err_set(err, ENOSPC, "The device has no room for another block");
	if (end > v->footer_at) {
		v->footer_at = end;
		v->footer_good = false;
	}
	return vpc_bits_new(v, host, err);
}

static void vpc_settled(struct blocks *b)
{
	struct vpc *v = vpc_of(b);

	entries_data_written(&v->table);
	cache_data_written(v->bits);
}

static int vpc_wrote(struct blocks *b, uint64_t i, uint64_t host, uint64_t in, uint64_t n,
		     struct err *err)
{
	return vpc_bits_set(vpc_of(b), host, in, n, err);
}

static int vpc_write_back(struct blocks *b, struct err *err)
{
	struct vpc *v = vpc_of(b);

	if (cache_flush(v->bits, err) || entries_flush(&v->table, err))
		return -1;
	if (v->footer_good)
		return 0;
	if (blk_pwrite(b->file, v->footer, VPC_FOOTER_LEN, v->footer_at, 0, err))
		return -1;
	v->footer_good = true;
	return 0;
}

static const struct blocks_driver vpc_driver = {
	.get = vpc_get,
	.set = vpc_set,
	.write_back = vpc_write_back,
	.took = vpc_took,
	.settled = vpc_settled,
	.wrote = vpc_wrote,
};

/* ---- blk_ops ------------------------------------------------------------------------- */

static int vpc_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		      struct err *err)
{
	struct vpc *v = (struct vpc *)blk;
	struct blocks *b = &v->b.blocks;
	uint64_t in = off % b->block;
	bool there = true;
	int rc;

	if (blocks_extent(b, off, len, out, err))
		return -1;
	if (!b->part || !(out->flags & EXT_DATA))
		return 0;
	pthread_mutex_lock(&b->lock);
	rc = vpc_bits_run(v, out->host - in, in, MIN(out->len, b->block - in), &there,
			  &out->len, err);
	pthread_mutex_unlock(&b->lock);
	if (rc == 0 && !there) {
		out->flags = EXT_ABSENT;
		out->home = NULL;
	}
	return rc;
}

/* Others' readers heed the bits of a dynamic image: what is written in a block that is there
 * already shall be seen by them. */
static int vpc_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err)
{
	struct vpc *v = (struct vpc *)blk;
	struct blocks *b = &v->b.blocks;
	uint64_t end = off + len;
	int rc = blocks_start(b, err);

	if (b->below || b->new_image)
		return rc;
	pthread_mutex_lock(&b->lock);
	for (uint64_t i = off / b->block; rc == 0 && i * b->block < end; i++) {
		struct block e;

		rc = vpc_get(b, i, &e, err);
		if (rc == 0 && e.kind == BLOCK_DATA)
			rc = vpc_bits_set(v, e.host, 0, b->block, err);
	}
	pthread_mutex_unlock(&b->lock);
	return rc;
}

static int vpc_close(struct blk *blk, struct err *err)
{
	struct vpc *v = (struct vpc *)blk;
	int rc = 0;

	if (v->b.blocks.started)
		rc = blocks_finish(&v->b.blocks, err);
	blocks_free(&v->b.blocks);
	entries_free(&v->table);
	cache_free(v->bits);
	free(v->b.image.backing);
	free(v->b.image.backing_format);
	free(v->b.image.note);
	free(v);
	return rc;
}

const struct blk_ops vpc_dynamic_ops = {
	.name = "vpc",
	.by_extent = true,
	.extent = vpc_extent,
	.claim = blocks_image_claim,
	.settle = blocks_image_settle,
	.drop = blocks_image_drop,
	.zero = blocks_image_zero,
	.touch = vpc_touch,
	.flush = blocks_image_flush,
	.close = vpc_close,
};

/* ---- empty ---------------------------------------------------------------------------- */

static int drop_entries(struct vpc *v, struct err *err)
{
	uint64_t n = div_up(v->b.blocks.size, v->b.blocks.block);

	for (uint64_t i = 0; i < n; i++) {
		uint32_t entry;

		if (vpc_table_get(v, i, &entry, err) ||
		    (entry != VPC_ENTRY_FREE &&
		     entries_set(&v->table, v->h.table_off + 4 * i, VPC_ENTRY_FREE, err)))
			return -1;
	}
	return 0;
}

/* The table says so before the blocks are given up. */
static int make_empty(struct vpc *v, struct err *err)
{
	struct blocks *b = &v->b.blocks;

	if (drop_entries(v, err) || vpc_write_back(b, err) || blk_flush(b->file, err))
		return -1;
	b->end = vpc_tables_end(v);
	b->nspare = 0;
	b->fresh = UINT64_MAX; /* what is there is old, until the file is cut */
	if (!(b->file->caps & BLK_CAN_GROW))
		return 0;
	v->footer_at = b->end;
	v->footer_good = false;
	if (vpc_write_back(b, err) ||
	    blk_resize(b->file, v->footer_at + VPC_FOOTER_LEN, PREALLOC_OFF, err))
		return -1;
	b->fresh = blk_size(b->file);
	return 0;
}

int vpc_make_empty(struct image *image, struct err *err)
{
	struct vpc *v = (struct vpc *)image;
	struct blocks *b = &v->b.blocks;
	int rc;

	if (v->f.type == VPC_TYPE_FIXED)
		return blk_zero(image->blk.lower, 0, image->blk.size, BLK_UNMAP, err) ||
				       blk_flush(image->blk.lower, err)
			       ? -1
			       : 0;
	if (blocks_start(b, err))
		return -1;
	pthread_mutex_lock(&b->lock);
	rc = make_empty(v, err);
	pthread_mutex_unlock(&b->lock);
	return rc ? -1 : blk_flush(b->file, err);
}

/* ---- open ---------------------------------------------------------------------------- */

static int read_header(struct vpc *v, struct err *err)
{
	struct blk *file = v->b.image.blk.lower;
	uint8_t buf[VPC_HEADER_LEN];
	uint64_t size = blk_size(file);

	if (v->f.data_off > INT64_MAX - VPC_HEADER_LEN)
		return err_set(err, EINVAL, "Error reading dynamic VHD header");
	if (v->f.data_off + VPC_HEADER_LEN > size)
		return err_set(err, EINVAL, "Invalid header magic");
	if (blk_pread(file, buf, sizeof(buf), v->f.data_off, err))
		return -1;
	vpc_header_decode(buf, &v->h);
	if (vpc_header_check(&v->h, v->b.blocks.size, size, err))
		return -1;
	if (v->h.table_off % VPC_SECTOR != 0)
		return err_set(
			err, ENOTSUP,
			"The block allocation table is not at a sector, but at %#" PRIx64,
			v->h.table_off);
	if (v->h.table_off < VPC_FOOTER_LEN ||
	    overlap(v->h.table_off, v->h.table_off + 4 * (uint64_t)v->h.entries, v->f.data_off,
		    v->f.data_off + VPC_HEADER_LEN))
		return err_set(err, EINVAL,
			       "The block allocation table (from %#" PRIx64
			       ") overlaps the footer or the header",
			       v->h.table_off);
	return 0;
}

uint64_t vpc_tables_end(const struct vpc *v)
{
	uint64_t end = v->h.table_off + 4 * (uint64_t)v->h.entries;
	uint64_t size = blk_size(v->b.image.blk.lower);

	end = MAX(end, v->f.data_off + VPC_HEADER_LEN);
	for (unsigned i = 0; i < VPC_LOCATORS; i++) {
		const struct vpc_locator *l = &v->h.locator[i];

		if (l->code && l->off <= size && l->length <= size - l->off)
			end = MAX(end, l->off + l->length);
	}
	return round_up(end, VPC_SECTOR);
}

/* Behind the last block. *beyond: some are said to be where the file does not reach. */
static int find_end(struct vpc *v, uint64_t *end, bool *beyond, struct err *err)
{
	struct blocks *b = &v->b.blocks;
	uint64_t n = 4 * (uint64_t)v->h.entries, chunk = MIN(n, 64u << 10);
	uint64_t size = round_up(blk_size(b->file), VPC_SECTOR);
	AUTO_FREE uint8_t *buf = mem_alloc(chunk);

	if (!buf)
		return err_nomem(err, chunk, "a block allocation table");
	*end = vpc_tables_end(v);
	*beyond = *end > size;
	if (*beyond)
		return 0;
	for (uint64_t at = 0; at < n; at += chunk) {
		chunk = MIN(chunk, n - at);
		if (blk_pread(b->file, buf, chunk, v->h.table_off + at, err))
			return -1;
		for (uint64_t k = 0; k < chunk; k += 4) {
			uint64_t e = get_be32(buf + k), to;

			to = e * VPC_SECTOR + b->head + b->block;
			if (e == VPC_ENTRY_FREE || to <= *end)
				continue;
			if (to > size)
				*beyond = true;
			else
				*end = to;
		}
	}
	return 0;
}

static int place_end(struct vpc *v, struct err *err)
{
	struct blocks *b = &v->b.blocks;
	bool beyond = false;

	if (find_end(v, &b->end, &beyond, err))
		return -1;
	/* check tells of single blocks only */
	if (beyond && (!(v->flags & IMAGE_CHECK) || b->end > blk_size(b->file)))
		return err_set(
			err, EINVAL,
			"block-vpc: free_data_block_offset points after the end of file. "
			"The image has been truncated.");
	if (b->end > v->footer_at) {
		v->footer_at = b->end;
		v->footer_good = false;
	}
	return 0;
}

int vpc_dynamic_open(struct vpc *v, struct err *err)
{
	struct blocks *b = &v->b.blocks;
	struct blk *lower = v->b.image.blk.lower;
	bool below = v->f.type == VPC_TYPE_DIFFERENCE;

	if (!v->front_good && (v->flags & IMAGE_WRITE) && !(v->flags & IMAGE_CHECK))
		return err_set(err, EUCLEAN,
			       "The copy of the footer at the beginning is damaged; check -r "
			       "writes it again");
	if (read_header(v, err))
		return -1;
	*b = (struct blocks){
		.driver = &vpc_driver,
		.file = lower,
		.size = b->size,
		.block = v->h.block_size,
		.head = vpc_bitmap_len(v->h.block_size),
		.align = VPC_SECTOR,
		.below = below,
		.part = below ? VPC_SECTOR : 0,
	};
	v->b.image.needs_backing = below;
	if ((below && vpc_parent_read(v, err)) ||
	    entries_init(&v->table, lower, VPC_PIECE, VPC_PIECES, 4, true, v->flags & IMAGE_NEW,
			 err) ||
	    vpc_bits_init(v, err) || place_end(v, err))
		return -1;
	return blocks_image_init(&v->b, v->flags, err);
}
