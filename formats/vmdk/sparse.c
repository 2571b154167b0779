/*
 * Grain directories and grain tables: "Virtual Disk Format 5.0", "Hosted Sparse Extent
 * Metadata" and "ESX Server Sparse Extents". An entry of the directory is the sector of a
 * table, an entry of a table that of a grain; 0 is none, and 1 (with VMDK_F_ZERO) zeros.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vmdk/vmdk.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define PLACE_MAX ((1ull << 32) * VMDK_SECTOR)
#define COWD_GTES 4096

enum { ENTRY_NONE, ENTRY_ZERO };

static bool is_place(const struct vmdk_extent *x, uint64_t entry)
{
	return entry > (x->zeroed ? ENTRY_ZERO : ENTRY_NONE);
}

int vmdk_sparse_table(struct vmdk_extent *x, uint64_t dir, uint64_t i, uint64_t *at,
		      struct err *err)
{
	uint64_t entry, size = blk_size(x->file);

	if (entries_get(&x->tables, dir + 4 * i, &entry, err))
		return -1;
	*at = entry;
	if (!is_place(x, entry))
		return 0;
	*at = entry * VMDK_SECTOR;
	if (*at >= size)
		return err_set(err, EIO,
			       "Grain table %" PRIu64 " at sector %" PRIu64
			       " is beyond the end of the file (%" PRIu64 " bytes)",
			       i, entry, size);
	return 0;
}

/* The entry of grain i in the tables of one directory. */
int vmdk_sparse_get(struct vmdk_extent *x, uint64_t dir, uint64_t i, uint64_t *entry,
		    struct err *err)
{
	uint64_t table, at;

	if (vmdk_sparse_table(x, dir, i / x->gtes, &table, err))
		return -1;
	*entry = table;
	if (table <= ENTRY_ZERO)
		return 0;
	at = table + 4 * (i % x->gtes);
	if (at + 4 > blk_size(x->file))
		return err_set(err, EIO,
			       "Grain table %" PRIu64 " at %#" PRIx64 " is cut off by the end "
			       "of the file",
			       i / x->gtes, table);
	return entries_get(&x->tables, at, entry, err);
}

static int sparse_get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct vmdk_extent *x = vmdk_extent_of(b);
	uint64_t entry;

	*out = (struct block){.kind = BLOCK_ABSENT};
	if (vmdk_sparse_get(x, x->gd, i, &entry, err))
		return -1;
	if (entry == ENTRY_NONE)
		return 0;
	if (entry == ENTRY_ZERO && x->zeroed) {
		out->kind = BLOCK_ZERO;
		return 0;
	}
	if (entry * VMDK_SECTOR < VMDK_SECTOR * 2)
		return err_set(err, EIO,
			       "Grain %" PRIu64 " is in the header (sector %" PRIu64 ")", i,
			       entry);
	if (x->packed)
		return vmdk_packed_place(x, i, entry * VMDK_SECTOR, out, err);
	if (entry * VMDK_SECTOR >= blk_size(x->file))
		return err_set(err, EIO,
			       "Grain %" PRIu64 " at sector %" PRIu64
			       " is beyond the end of the file (%" PRIu64 " bytes)",
			       i, entry, blk_size(x->file));
	out->kind = BLOCK_DATA;
	out->host = entry * VMDK_SECTOR;
	return 0;
}

/* A table that was not there: it gets a place at the end of the file. */
static int new_table(struct vmdk_extent *x, uint64_t dir, uint64_t i, uint64_t *table,
		     struct err *err)
{
	struct blocks *b = &x->blocks;
	uint64_t fill = *table, at = round_up(b->end, VMDK_SECTOR);
	uint32_t len = (uint32_t)round_up(4 * x->gtes, VMDK_SECTOR);
	AUTO_FREE uint8_t *buf = calloc(1, len);

	if (!buf)
		return err_nomem(err, len, "a grain table");
	if (at + len > PLACE_MAX)
		return err_set(err, EFBIG, "An extent's file cannot be larger than 2 TiB");
	for (uint32_t k = 0; k < x->gtes; k++)
		put_le32(buf + 4 * k, (uint32_t)fill);
	if (blk_pwrite(x->file, buf, len, at, 0, err))
		return -1;
	b->end = at + len;
	*table = at;
	entries_data_written(&x->tables);
	return entries_set(&x->tables, dir + 4 * i, at / VMDK_SECTOR, err);
}

int vmdk_sparse_set(struct vmdk_extent *x, uint64_t dir, uint64_t i, uint64_t entry,
		    struct err *err)
{
	uint64_t table;

	if (vmdk_sparse_table(x, dir, i / x->gtes, &table, err))
		return -1;
	if (table <= ENTRY_ZERO && new_table(x, dir, i / x->gtes, &table, err))
		return -1;
	return entries_set(&x->tables, table + 4 * (i % x->gtes), entry, err);
}

static int sparse_set(struct blocks *b, uint64_t i, const struct block *to, struct err *err)
{
	struct vmdk_extent *x = vmdk_extent_of(b);
	uint64_t entry = to->kind == BLOCK_ZERO ? ENTRY_ZERO : to->host / VMDK_SECTOR;

	if (to->kind != BLOCK_ZERO && to->host + b->block > PLACE_MAX)
		return err_set(err, EFBIG, "An extent's file cannot be larger than 2 TiB");
	if (vmdk_sparse_set(x, x->gd, i, entry, err))
		return -1;
	return x->rgd ? vmdk_sparse_set(x, x->rgd, i, entry, err) : 0;
}

static int sparse_took(struct blocks *b, uint64_t host, struct err *err)
{
	if (host + b->block <= PLACE_MAX)
		return 0;
	return err_set(err, EFBIG, "An extent's file cannot be larger than 2 TiB");
}

static void sparse_settled(struct blocks *b)
{
	entries_data_written(&vmdk_extent_of(b)->tables);
}

static int sparse_write_back(struct blocks *b, struct err *err)
{
	return entries_flush(&vmdk_extent_of(b)->tables, err);
}

static const struct blocks_driver sparse_driver = {
	.get = sparse_get,
	.set = sparse_set,
	.took = sparse_took,
	.settled = sparse_settled,
	.write_back = sparse_write_back,
};

/* ---- open ------------------------------------------------------------------------------ */

/*
 * May what lies between two entries that change be written with them? Then all tables are
 * before the first grain, and nothing else is among them but the directories.
 */
static bool tables_together(struct vmdk_extent *x, uint64_t dir)
{
	struct err ignored;
	uint64_t table, low = (x->h.desc_at + x->h.desc_sectors) * VMDK_SECTOR;

	for (uint64_t i = 0; i < x->gds; i++) {
		if (vmdk_sparse_table(x, dir, i, &table, &ignored) || table < low ||
		    table < VMDK_SECTOR || table + 4 * (uint64_t)x->gtes > x->first)
			return false;
	}
	return dir >= low;
}

static int init_tables(struct vmdk_extent *x, unsigned width, struct err *err)
{
	bool fresh = x->v->flags & IMAGE_NEW;
	uint32_t piece = VMDK_PIECE;

	if (entries_init(&x->tables, x->file, piece, VMDK_PIECES, width, false, fresh, err))
		return -1;
	if (!(x->v->flags & IMAGE_WRITE) || x->kind != VMDK_SPARSE)
		return 0;
	if (x->first % VMDK_PIECE == 0 && tables_together(x, x->gd) &&
	    (!x->rgd || tables_together(x, x->rgd)))
		return 0;
	entries_free(&x->tables);
	return entries_init(&x->tables, x->file, VMDK_SECTOR, VMDK_PIECES * 8, width, false,
			    fresh, err);
}

/* The end of a device says nothing: what is in use does. */
static int find_end(struct vmdk_extent *x, struct err *err)
{
	uint64_t n = div_up(x->size, x->blocks.block), end = x->first;
	struct block b;

	for (uint64_t i = 0; i < n; i++) {
		if (x->blocks.driver->get(&x->blocks, i, &b, err))
			return -1;
		if (b.host)
			end = MAX(end, b.host + x->blocks.block);
	}
	x->blocks.end = end;
	return 0;
}

int vmdk_sparse_init(struct vmdk_extent *x, uint64_t grain, unsigned width,
		     const struct blocks_driver *driver, struct err *err)
{
	struct blocks *b = &x->blocks;

	*b = (struct blocks){
		.driver = driver,
		.file = x->file,
		.size = x->size,
		.block = grain,
		.align = VMDK_SECTOR,
		.packed_unit = x->packed ? VMDK_SECTOR : 0,
		.end = MAX(round_up(blk_size(x->file), VMDK_SECTOR), x->first),
		.below = x->v->desc.parent || x->v->desc.parent_cid != VMDK_NO_CID,
		.can_zero = x->zeroed,
	};
	if (init_tables(x, width, err) || blocks_init(b, x->v->flags, err))
		return -1;
	if (!(x->v->flags & IMAGE_WRITE) || (x->file->caps & BLK_CAN_GROW))
		return 0;
	return find_end(x, err);
}

int vmdk_sparse_open(struct vmdk_extent *x, struct err *err)
{
	struct vmdk_header *h = &x->h;
	uint8_t buf[VMDK_SECTOR];
	struct vmdk_header first;

	if (vmdk_header_read(x->file, h, NULL, err) ||
	    blk_pread(x->file, buf, sizeof(buf), 0, err))
		return -1;
	layout_decode(vmdk_fields, buf, &first);
	x->kind = VMDK_SPARSE;
	x->size = h->capacity * VMDK_SECTOR;
	x->gtes = h->gtes;
	x->gds = vmdk_gds(h);
	x->gd = h->gd_at * VMDK_SECTOR;
	x->rgd = (h->flags & VMDK_F_RGD) ? h->rgd_at * VMDK_SECTOR : 0;
	x->zeroed = h->flags & VMDK_F_ZERO;
	x->packed = h->flags & VMDK_F_PACKED;
	x->markers = h->flags & VMDK_F_MARKERS;
	x->first = h->overhead < PLACE_MAX / VMDK_SECTOR ? h->overhead * VMDK_SECTOR : 0;
	if (x->packed && h->compression == 0)
		return err_set(err, ENOTSUP,
			       "The extent has compressed grains, but no compression method");
	if (vmdk_sparse_init(x, h->grain * VMDK_SECTOR, 4, &sparse_driver, err))
		return -1;
	if (first.gd_at == VMDK_GD_AT_END && (x->v->flags & IMAGE_WRITE))
		return vmdk_stream_open(x, err);
	return 0;
}

/*
 * The header of an ESX Server sparse extent. Tables have 4096 entries, and are only there
 * where they have any.
 */
struct cowd_header {
	uint32_t magic, version, flags, capacity, grain, gd_at, gds, free_at;
};

static const struct field cowd_fields[] = {
	LE32(0, struct cowd_header, magic),
	LE32(4, struct cowd_header, version),
	LE32(8, struct cowd_header, flags),
	LE32(12, struct cowd_header, capacity),
	LE32(16, struct cowd_header, grain),
	LE32(20, struct cowd_header, gd_at),
	LE32(24, struct cowd_header, gds),
	LE32(28, struct cowd_header, free_at),
	FIELD_END,
};

static int cowd_check(const struct cowd_header *h, uint64_t file_size, struct err *err)
{
	uint64_t covers = (uint64_t)h->grain * COWD_GTES;

	if (h->magic != COWD_MAGIC)
		return err_set(err, EINVAL, "Image not in VMDK format");
	if (h->version != 1)
		return err_set(err, ENOTSUP, "Unsupported COWD version %" PRIu32, h->version);
	if (h->grain == 0 || h->grain > VMDK_GRAIN_MAX / VMDK_SECTOR ||
	    (h->grain & (h->grain - 1)) != 0)
		return err_set(err, EINVAL,
			       "Invalid granularity, image may be corrupt: grains of %" PRIu32
			       " sectors",
			       h->grain);
	if (h->gds < div_up(h->capacity, covers))
		return err_set(err, EINVAL,
			       "A directory of %" PRIu32 " entries is too small for %" PRIu32
			       " sectors",
			       h->gds, h->capacity);
	if (h->gd_at < 1 || (uint64_t)h->gd_at * VMDK_SECTOR + 4 * (uint64_t)h->gds > file_size)
		return err_set(err, EINVAL,
			       "The grain directory of %" PRIu32 " entries at sector %" PRIu32
			       " is beyond the end of the file (%" PRIu64 " bytes)",
			       h->gds, h->gd_at, file_size);
	return 0;
}

int vmdk_cowd_open(struct vmdk_extent *x, struct err *err)
{
	struct cowd_header h;
	uint8_t buf[VMDK_SECTOR];

	if (blk_pread(x->file, buf, sizeof(buf), 0, err))
		return -1;
	layout_decode(cowd_fields, buf, &h);
	if (cowd_check(&h, blk_size(x->file), err))
		return -1;
	x->kind = VMDK_COWD;
	x->size = (uint64_t)h.capacity * VMDK_SECTOR;
	x->gtes = COWD_GTES;
	x->gds = h.gds;
	x->gd = (uint64_t)h.gd_at * VMDK_SECTOR;
	return vmdk_sparse_init(x, (uint64_t)h.grain * VMDK_SECTOR, 4, &sparse_driver, err);
}
