/*
 * seSparse, of ESXi 5.1 and later: grains of 4 KiB, entries of 8 bytes, sizes and places in
 * sectors. There is no public specification: what is here was learned from such files, and
 * held against what qemu-img reads in them. Read only.
 *
 * An entry of the directory is 0, or 1 in the top 4 bits and the number of a table below. An
 * entry of a table has in its top 4 bits what the grain is: absent, unmapped, zeros, data. Of
 * the number of the grain, the low 12 bits come next, then the others.
 */
#include <errno.h>
#include <inttypes.h>

#include "formats/vmdk/vmdk.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define VERSION	       0x0000000200000001ull
#define VOLATILE_MAGIC 0x00000000cafecafeull
#define TABLE_THERE    1u
#define CAPACITY_MAX   (64ull << 40)

enum { GRAIN = 4096, TABLE = 64 * VMDK_SECTOR, ENTRY = 8 };
enum { TYPE_NONE, TYPE_UNMAPPED, TYPE_ZERO, TYPE_DATA };

struct sesparse_header {
	uint64_t magic, version, capacity, grain, table, flags;
	uint64_t volatile_at, volatile_sectors;
	uint64_t gd_at, gd_sectors, gt_at, gt_sectors, grains_at, grains_sectors;
};

static const struct field sesparse_fields[] = {
	LE64(0, struct sesparse_header, magic),
	LE64(8, struct sesparse_header, version),
	LE64(16, struct sesparse_header, capacity),
	LE64(24, struct sesparse_header, grain),
	LE64(32, struct sesparse_header, table),
	LE64(40, struct sesparse_header, flags),
	LE64(80, struct sesparse_header, volatile_at),
	LE64(88, struct sesparse_header, volatile_sectors),
	LE64(128, struct sesparse_header, gd_at),
	LE64(136, struct sesparse_header, gd_sectors),
	LE64(144, struct sesparse_header, gt_at),
	LE64(152, struct sesparse_header, gt_sectors),
	LE64(192, struct sesparse_header, grains_at),
	LE64(200, struct sesparse_header, grains_sectors),
	FIELD_END,
};

static int check_area(const char *what, uint64_t at, uint64_t len, uint64_t file_size,
		      struct err *err)
{
	if (at >= 1 && at <= file_size / VMDK_SECTOR && len <= file_size / VMDK_SECTOR - at)
		return 0;
	return err_set(err, EINVAL,
		       "The %s of the seSparse extent, %" PRIu64 " sectors at %" PRIu64
		       ", is not in the file (%" PRIu64 " bytes)",
		       what, len, at, file_size);
}

static int check_header(const struct sesparse_header *h, uint64_t file_size, struct err *err)
{
	uint64_t gds = div_up(h->capacity, TABLE / ENTRY * (GRAIN / VMDK_SECTOR));

	if (h->magic != SESPARSE_MAGIC)
		return err_set(err, EINVAL, "Bad const header magic: 0x%016" PRIx64, h->magic);
	if (h->version != VERSION)
		return err_set(err, ENOTSUP, "Unsupported version: 0x%016" PRIx64, h->version);
	if (h->grain != GRAIN / VMDK_SECTOR)
		return err_set(err, ENOTSUP, "Unsupported grain size: %" PRIu64, h->grain);
	if (h->table != TABLE / VMDK_SECTOR)
		return err_set(err, ENOTSUP, "Unsupported grain table size: %" PRIu64,
			       h->table);
	if (h->flags != 0)
		return err_set(err, ENOTSUP, "Unsupported flags: 0x%016" PRIx64, h->flags);
	if (h->capacity > CAPACITY_MAX / VMDK_SECTOR)
		return err_set(err, EFBIG, "A seSparse disk of %" PRIu64 " sectors",
			       h->capacity);
	if (div_up(gds * ENTRY, VMDK_SECTOR) > h->gd_sectors)
		return err_set(err, EINVAL,
			       "A directory of %" PRIu64 " sectors is too small for %" PRIu64
			       " sectors",
			       h->gd_sectors, h->capacity);
	return check_area("grain directory", h->gd_at, h->gd_sectors, file_size, err) ||
			       check_area("grain tables", h->gt_at, 0, file_size, err) ||
			       check_area("grains", h->grains_at, 0, file_size, err)
		       ? -1
		       : 0;
}

/* What was written last may be in a journal only. */
static int check_volatile(struct blk *file, const struct sesparse_header *h, struct err *err)
{
	uint8_t buf[VMDK_SECTOR];

	if (check_area("volatile header", h->volatile_at, 1, blk_size(file), err) ||
	    blk_pread(file, buf, sizeof(buf), h->volatile_at * VMDK_SECTOR, err))
		return -1;
	if (get_le64(buf) != VOLATILE_MAGIC)
		return err_set(err, EINVAL, "Bad volatile header magic: 0x%016" PRIx64,
			       get_le64(buf));
	if (buf[24])
		return err_set(err, ENOTSUP, "Image is dirty, Replaying journal not supported");
	return 0;
}

static int get_entry(struct vmdk_extent *x, uint64_t i, uint64_t *entry, struct err *err)
{
	uint64_t dir, at;

	*entry = 0;
	if (entries_get(&x->tables, x->gd + ENTRY * (i / x->gtes), &dir, err))
		return -1;
	if (dir == 0)
		return 0;
	at = x->gt_first + (dir & UINT32_MAX) * TABLE;
	if (dir >> 32 != TABLE_THERE << 28 || at + TABLE > blk_size(x->file))
		return err_set(err, EIO,
			       "Entry %" PRIu64 " of the grain directory is %#" PRIx64
			       ", which is no table of the file",
			       i / x->gtes, dir);
	return entries_get(&x->tables, at + ENTRY * (i % x->gtes), entry, err);
}

static int sesparse_get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct vmdk_extent *x = vmdk_extent_of(b);
	uint64_t entry, grain;

	*out = (struct block){.kind = BLOCK_ABSENT};
	if (get_entry(x, i, &entry, err))
		return -1;
	switch (entry >> 60) {
	case TYPE_NONE:
		if (entry == 0)
			return 0;
		break;
	case TYPE_UNMAPPED:
	case TYPE_ZERO:
		out->kind = BLOCK_ZERO;
		return 0;
	case TYPE_DATA:
		grain = (entry >> 48 & 0xfff) | (entry & 0xffffffffffff) << 12;
		if (grain >= (blk_size(x->file) - x->grain_first) / GRAIN)
			break;
		out->kind = BLOCK_DATA;
		out->host = x->grain_first + grain * GRAIN;
		return 0;
	default:
		break;
	}
	return err_set(err, EIO,
		       "The entry of grain %" PRIu64 " is %#" PRIx64
		       ", which is no grain of the file",
		       i, entry);
}

static const struct blocks_driver sesparse_driver = {.get = sesparse_get};

int vmdk_sesparse_open(struct vmdk_extent *x, struct err *err)
{
	struct sesparse_header h;
	uint8_t buf[VMDK_SECTOR];

	if (blk_pread(x->file, buf, sizeof(buf), 0, err))
		return -1;
	layout_decode(sesparse_fields, buf, &h);
	if (check_header(&h, blk_size(x->file), err) || check_volatile(x->file, &h, err))
		return -1;
	x->kind = VMDK_SESPARSE;
	x->size = h.capacity * VMDK_SECTOR;
	x->gtes = TABLE / ENTRY;
	x->gds = div_up(h.capacity, TABLE / ENTRY * (GRAIN / VMDK_SECTOR));
	x->gd = h.gd_at * VMDK_SECTOR;
	x->gt_first = h.gt_at * VMDK_SECTOR;
	x->grain_first = h.grains_at * VMDK_SECTOR;
	return vmdk_sparse_init(x, GRAIN, ENTRY, &sesparse_driver, err);
}
