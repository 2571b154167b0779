/*
 * Streams: "Virtual Disk Format 5.0", "Stream-Optimized Compressed Sparse Extents". The
 * header says that the directory is at the end; grains come in the order in which they are
 * written; tables, directory and a second header (the footer) follow, each behind a marker, and
 * the marker of the end. So a reader that cannot seek, vSphere's import, reads it as it comes.
 *
 * Such a file is written once, from a state without data: until the end its tables are in
 * memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vmdk/vmdk.h"
#include "lib/bytes.h"
#include "lib/mem.h"

struct vmdk_stream {
	uint32_t **table; /* by entry of the directory; NULL: empty */
};

/* Puts `len` bytes behind a marker at *at; what is left of the last sector is zeros. */
static int put_part(struct blk *file, uint64_t *at, unsigned type, const uint8_t *bytes,
		    size_t len, struct err *err)
{
	size_t all = VMDK_SECTOR + round_up(len, VMDK_SECTOR);
	AUTO_FREE uint8_t *buf = calloc(1, all);

	if (!buf)
		return err_nomem(err, all, "a marker");
	put_le64(buf, all / VMDK_SECTOR - 1);
	put_le32(buf + VMDK_MARKER, type);
	if (len)
		memcpy(buf + VMDK_SECTOR, bytes, len);
	if (blk_pwrite(file, buf, all, *at, 0, err))
		return -1;
	*at += all;
	return 0;
}

static int put_table(struct blk *file, uint64_t *at, const uint32_t *table, uint32_t gtes,
		     uint32_t *sector, struct err *err)
{
	uint8_t buf[4 * VMDK_GTES];

	for (uint32_t i = 0; i < gtes; i++)
		put_le32(buf + 4 * i, table[i]);
	*sector = (uint32_t)(*at / VMDK_SECTOR + 1);
	return put_part(file, at, MARKER_GT, buf, 4 * gtes, err);
}

/* Behind the grains, which end at `at`. table: all NULL, or NULL for that. */
static int put_end(struct blk *file, const struct vmdk_header *h, uint32_t *const *table,
		   uint64_t at, struct err *err)
{
	uint64_t gds = vmdk_gds(h);
	AUTO_FREE uint8_t *dir = calloc(gds ? gds : 1, 4);
	struct vmdk_header footer = *h;
	uint8_t buf[VMDK_SECTOR] = {0};
	uint32_t sector;

	if (!dir)
		return err_nomem(err, 4 * gds, "a grain directory");
	for (uint64_t i = 0; table && i < gds; i++) {
		if (!table[i])
			continue;
		if (put_table(file, &at, table[i], h->gtes, &sector, err))
			return -1;
		put_le32(dir + 4 * i, sector);
	}
	footer.gd_at = at / VMDK_SECTOR + 1;
	if (put_part(file, &at, MARKER_GD, dir, 4 * gds, err))
		return -1;
	layout_encode(vmdk_fields, &footer, buf);
	if (put_part(file, &at, MARKER_FOOTER, buf, sizeof(buf), err) ||
	    put_part(file, &at, MARKER_EOS, NULL, 0, err))
		return -1;
	if (at > UINT32_MAX * (uint64_t)VMDK_SECTOR)
		return err_set(err, EFBIG, "A stream cannot be larger than 2 TiB");
	/* of a longer one that was there */
	return file->caps & BLK_CAN_GROW ? blk_resize(file, at, PREALLOC_OFF, err) : 0;
}

int vmdk_stream_create(struct blk *file, const struct vmdk_header *h, struct err *err)
{
	return put_end(file, h, NULL, h->overhead * VMDK_SECTOR, err);
}

/* ---- the tables in memory -----------------------------------------------------------------
 */

static int stream_get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct vmdk_extent *x = vmdk_extent_of(b);
	const uint32_t *table = x->stream->table[i / x->gtes];
	uint32_t entry = table ? table[i % x->gtes] : 0;

	*out = (struct block){.kind = BLOCK_ABSENT};
	if (entry <= 1) {
		out->kind = entry ? BLOCK_ZERO : BLOCK_ABSENT;
		return 0;
	}
	return vmdk_packed_place(x, i, (uint64_t)entry * VMDK_SECTOR, out, err);
}

static int stream_set(struct blocks *b, uint64_t i, const struct block *to, struct err *err)
{
	struct vmdk_extent *x = vmdk_extent_of(b);
	uint32_t **table = &x->stream->table[i / x->gtes];
	uint64_t sector = to->kind == BLOCK_ZERO ? 1 : to->host / VMDK_SECTOR;

	if (to->kind == BLOCK_DATA)
		return err_set(err, ENOTSUP, "A stream holds nothing but compressed grains");
	if (sector > UINT32_MAX)
		return err_set(err, EFBIG, "A stream cannot be larger than 2 TiB");
	if (!*table)
		*table = calloc(x->gtes, sizeof(**table));
	if (!*table)
		return err_nomem(err, 4 * x->gtes, "a grain table");
	(*table)[i % x->gtes] = (uint32_t)sector;
	return 0;
}

static int stream_write_back(struct blocks *b, struct err *err)
{
	return 0;
}

static const struct blocks_driver stream_driver = {
	.get = stream_get,
	.set = stream_set,
	.write_back = stream_write_back,
};

static int check_empty(struct vmdk_extent *x, struct err *err)
{
	uint64_t n = div_up(x->size, x->blocks.block);
	struct block b;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t table;

		if (vmdk_sparse_table(x, x->gd, i / x->gtes, &table, err))
			return -1;
		if (table == 0) {
			i = round_down(i, x->gtes) + x->gtes - 1;
			continue;
		}
		if (x->blocks.driver->get(&x->blocks, i, &b, err))
			return -1;
		if (b.host)
			return err_set(err, EACCES,
				       "The streamOptimized image is complete: it can only be "
				       "read");
	}
	return 0;
}

int vmdk_stream_open(struct vmdk_extent *x, struct err *err)
{
	if (x->v->flags & IMAGE_CHECK)
		return 0;
	if (check_empty(x, err))
		return -1;
	x->stream = calloc(1, sizeof(*x->stream));
	if (x->stream)
		x->stream->table = calloc(x->gds ? x->gds : 1, sizeof(*x->stream->table));
	if (!x->stream || !x->stream->table)
		return err_nomem(err, x->gds * sizeof(uint32_t *), "grain tables");
	x->blocks.driver = &stream_driver;
	x->blocks.end = MAX(x->first, (x->h.desc_at + x->h.desc_sectors) * VMDK_SECTOR);
	x->blocks.end = MAX(x->blocks.end, VMDK_SECTOR);
	return 0;
}

int vmdk_stream_finish(struct vmdk_extent *x, struct err *err)
{
	if (put_end(x->file, &x->h, x->stream->table, x->blocks.end, err))
		return -1;
	return x->v->flags & IMAGE_NEW ? 0 : blk_flush(x->file, err);
}

void vmdk_stream_free(struct vmdk_extent *x)
{
	for (uint64_t i = 0; x->stream && x->stream->table && i < x->gds; i++)
		free(x->stream->table[i]);
	if (x->stream)
		free(x->stream->table);
	free(x->stream);
	x->stream = NULL;
}
