/*
 * Compressed loop devices, version 2: what create_compressed_fs(1) of cloop-utils writes.
 *
 *	0	128	a shell script that begins with CLOOP_MAGIC
 *	128	4	size of a block, big-endian as all that follows
 *	132	4	number of blocks
 *	136	8 each	where the blocks are, and one more: where the last one ends
 *
 * Each block is a zlib stream of its own. There is no size of the disk: it is all blocks.
 */
#include "formats/cloop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/chunks.h"
#include "formats/entries.h"
#include "formats/format.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/pack.h"

#define CLOOP_TABLE  136
#define CLOOP_SECTOR 512
#define PIECE	     (64u << 10) /* of the table, read at once */
#define PIECES	     16

struct cloop {
	struct image image;
	struct cloop_header h;
	struct entries table;
	pthread_mutex_t lock; /* of the table */
	bool lock_made;
	struct chunks chunks;
};

/* ---- the header -------------------------------------------------------------------- */

int cloop_header_check(const struct cloop_header *h, uint64_t file_size, struct err *err)
{
	uint64_t bytes = ((uint64_t)h->blocks + 1) * 8;

	if (h->block_size == 0)
		return err_set(err, EINVAL, "block_size cannot be zero");
	if (h->block_size % CLOOP_SECTOR)
		return err_set(err, EINVAL, "block_size %" PRIu32 " must be a multiple of %d",
			       h->block_size, CLOOP_SECTOR);
	if (h->block_size > CLOOP_BLOCK_MAX)
		return err_set(err, EINVAL, "block_size %" PRIu32 " must be 64 MB or less",
			       h->block_size);
	if (h->blocks > CLOOP_BLOCKS_MAX)
		return err_set(err, EINVAL, "n_blocks %" PRIu32 " must be %u or less",
			       h->blocks, CLOOP_BLOCKS_MAX);
	if (bytes > CLOOP_TABLE_MAX)
		return err_set(err, EINVAL,
			       "image requires too many offsets, try increasing block size");
	if (h->blocks && bytes > file_size - MIN(file_size, CLOOP_TABLE))
		return err_set(err, EINVAL,
			       "The offsets of %" PRIu32 " blocks are beyond the end of the "
			       "file (%" PRIu64 " bytes)",
			       h->blocks, file_size);
	return 0;
}

static int cloop_probe(const uint8_t *head, size_t n, uint64_t size)
{
	size_t len = sizeof(CLOOP_MAGIC) - 1;

	return n >= len && memcmp(head, CLOOP_MAGIC, len) == 0 ? 100 : 0;
}

static int get_offset(struct cloop *c, uint64_t i, uint64_t *off, struct err *err)
{
	int rc;

	pthread_mutex_lock(&c->lock);
	rc = entries_get(&c->table, CLOOP_TABLE + 8 * i, off, err);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* Blocks follow each other and are not longer than one can be. */
static int check_table(struct cloop *c, struct err *err)
{
	uint64_t last = 0, off;

	for (uint64_t i = 0; i <= c->h.blocks; i++) {
		if (get_offset(c, i, &off, err))
			return -1;
		if (i > 0 && off < last)
			return err_set(err, EINVAL,
				       "offsets not monotonically increasing at index %" PRIu64
				       ", image file is corrupt",
				       i);
		if (i > 0 && off - last > 2 * CLOOP_BLOCK_MAX)
			return err_set(err, EINVAL,
				       "invalid compressed block size at index %" PRIu64
				       ", image file is corrupt",
				       i);
		last = off;
	}
	return 0;
}

/* ---- blocks ------------------------------------------------------------------------ */

static uint32_t cloop_size(void *arg, uint64_t i)
{
	const struct cloop *c = arg;

	return i < c->h.blocks ? c->h.block_size : 0;
}

static int find_block(struct cloop *c, uint64_t i, uint64_t *off, uint32_t *len,
		      struct err *err)
{
	uint64_t end;

	if (get_offset(c, i, off, err) || get_offset(c, i + 1, &end, err))
		return -1;
	*len = (uint32_t)(end - *off); /* check_table() */
	return 0;
}

static int inflate(struct cloop *c, uint64_t i, void *out, struct err *err)
{
	struct blk *file = c->image.blk.lower;
	AUTO_FREE uint8_t *packed = NULL;
	uint64_t off;
	uint32_t len;

	if (find_block(c, i, &off, &len, err))
		return -1;
	if (off > blk_size(file) || len > blk_size(file) - off)
		return err_set(err, EIO, "it is beyond the end of the file (%" PRIu64 " bytes)",
			       blk_size(file));
	packed = mem_alloc(len);
	if (!packed)
		return err_nomem(err, len, "a compressed block");
	if (blk_pread(file, packed, len, off, err))
		return -1;
	return pack_inflate_zlib(packed, len, out, c->h.block_size, NULL, err);
}

static int cloop_inflate(void *arg, uint64_t i, void *out, struct err *err)
{
	struct cloop *c = arg;

	if (inflate(c, i, out, err) == 0)
		return 0;
	return err_prefix(err, "%s: Block %" PRIu64, c->image.blk.name, i);
}

static int cloop_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct cloop *c = (struct cloop *)blk;
	uint8_t *to = buf;

	while (n > 0) {
		uint32_t in = (uint32_t)(off % c->h.block_size);
		size_t part = MIN(n, c->h.block_size - in);

		if (chunks_read(&c->chunks, off / c->h.block_size, in, to, part, err))
			return -1;
		to += part;
		off += part;
		n -= part;
	}
	return 0;
}

/* Deflate without its wrapping, 2 bytes before it and 4 behind, may be carried over. */
static int cloop_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			struct err *err)
{
	struct cloop *c = (struct cloop *)blk;
	uint32_t in = (uint32_t)(off % c->h.block_size), size;

	if (find_block(c, off / c->h.block_size, &out->host, &size, err))
		return -1;
	out->len = MIN(len, c->h.block_size - in);
	out->flags = EXT_DATA | EXT_PACKED;
	out->home = blk->lower;
	out->packed = size;
	if (size > 6) {
		out->host += 2;
		out->packed -= 6;
	}
	return 0;
}

/* ---- open and close ---------------------------------------------------------------- */

static int cloop_close(struct blk *blk, struct err *err)
{
	struct cloop *c = (struct cloop *)blk;

	chunks_free(&c->chunks);
	entries_free(&c->table);
	if (c->lock_made)
		pthread_mutex_destroy(&c->lock);
	free(c);
	return 0;
}

static const struct blk_ops cloop_ops = {
	.name = "cloop",
	.by_extent = true,
	.pread = cloop_pread,
	.extent = cloop_extent,
	.close = cloop_close,
};

static int prepare(struct cloop *c, struct err *err)
{
	struct blk *blk = &c->image.blk;
	uint8_t buf[8];
	int rc;

	if (blk_pread(blk->lower, buf, sizeof(buf), CLOOP_HEADER, err))
		return -1;
	c->h = (struct cloop_header){get_be32(buf), get_be32(buf + 4)};
	if (cloop_header_check(&c->h, blk_size(blk->lower), err))
		return -1;
	rc = pthread_mutex_init(&c->lock, NULL);
	if (rc) {
		errno = rc;
		return err_sys(err, "Could not make a lock");
	}
	c->lock_made = true;
	c->chunks.size = cloop_size;
	c->chunks.inflate = cloop_inflate;
	c->chunks.arg = c;
	blk->size = (uint64_t)c->h.blocks * c->h.block_size;
	blk->grain = c->h.block_size;
	blk->codec = CODEC_DEFLATE;
	if (entries_init(&c->table, blk->lower, PIECE, PIECES, 8, true, false, err) ||
	    chunks_init(&c->chunks, err))
		return -1;
	return c->h.blocks ? check_table(c, err) : 0;
}

static int cloop_open(struct blk *lower, const struct opts *opts, unsigned flags,
		      struct image **out, struct err *err)
{
	struct cloop *c = image_new(sizeof(*c), &cloop_ops, &format_cloop, lower, err);

	if (!c)
		return -1;
	if (prepare(c, err))
		return image_give_up(&c->image);
	*out = &c->image;
	return 0;
}

static int cloop_info(struct image *image, struct info *out, struct err *err)
{
	return 0;
}

/* All blocks inflate, to their size and with their checksum. */
static int cloop_check(struct image *image, struct check *check, struct err *err)
{
	struct cloop *c = (struct cloop *)image;
	AUTO_FREE uint8_t *buf = mem_alloc(c->h.block_size);
	struct err why;

	if (!buf)
		return err_nomem(err, c->h.block_size, "a block");
	for (uint64_t i = 0; i < c->h.blocks; i++) {
		struct check_problem p = {
			.kind = "data", .has_guest = true, .guest = i * c->h.block_size};

		if (inflate(c, i, buf, &why) == 0)
			continue;
		if (why.num != EIO) {
			*err = why;
			return -1;
		}
		check_find(check, &p, "ERROR: block %" PRIu64 ": %s", i, why.text);
		check->errors++;
	}
	return 0;
}

const struct format format_cloop = {
	.name = "cloop",
	.summary = "Compressed loop device",
	.caps = FORMAT_OPAQUE | FORMAT_INFO_OURS | FORMAT_CHECK_OURS,
	.probe = cloop_probe,
	.open = cloop_open,
	.info = cloop_info,
	.check = cloop_check,
};
