/*
 * The header of a hosted sparse extent: "Virtual Disk Format 5.0", "Hosted Sparse Extent
 * Header", and "Stream-Optimized Compressed Sparse Extents" for the footer.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/vmdk/vmdk.h"
#include "lib/mem.h"

#define GDS_MAX (1u << 27) /* QEMU's: 512 MiB of directory */

const struct field vmdk_fields[] = {
	LE32(0, struct vmdk_header, magic),
	LE32(4, struct vmdk_header, version),
	LE32(8, struct vmdk_header, flags),
	LE64(12, struct vmdk_header, capacity),
	LE64(20, struct vmdk_header, grain),
	LE64(28, struct vmdk_header, desc_at),
	LE64(36, struct vmdk_header, desc_sectors),
	LE32(44, struct vmdk_header, gtes),
	LE64(48, struct vmdk_header, rgd_at),
	LE64(56, struct vmdk_header, gd_at),
	LE64(64, struct vmdk_header, overhead),
	U8(72, struct vmdk_header, dirty),
	BYTES(73, struct vmdk_header, newline),
	LE16(77, struct vmdk_header, compression),
	FIELD_END,
};

uint64_t vmdk_gds(const struct vmdk_header *h)
{
	return div_up(h->capacity, h->grain * h->gtes);
}

static int check_directory(const char *what, uint64_t at, uint64_t gds, uint64_t file_size,
			   struct err *err)
{
	uint64_t begin, end;

	if (__builtin_mul_overflow(at, (uint64_t)VMDK_SECTOR, &begin) ||
	    __builtin_add_overflow(begin, 4 * gds, &end) || end > file_size)
		return err_set(err, EINVAL,
			       "The %s of %" PRIu64 " entries at sector %" PRIu64
			       " is beyond the end of the file (%" PRIu64 " bytes)",
			       what, gds, at, file_size);
	if (begin < VMDK_SECTOR)
		return err_set(err, EINVAL, "The %s overlaps the header", what);
	return 0;
}

static int check_version(const struct vmdk_header *h, struct err *err)
{
	static const uint8_t newline[4] = {'\n', ' ', '\r', '\n'};

	if (h->magic != VMDK_MAGIC)
		return err_set(err, EINVAL, "Image not in VMDK format");
	if (h->version < 1 || h->version > 3)
		return err_set(err, ENOTSUP, "Unsupported VMDK version %" PRIu32, h->version);
	if ((h->flags & VMDK_F_NEWLINE) && memcmp(h->newline, newline, sizeof(newline)) != 0)
		return err_set(err, EINVAL,
			       "The header's line ends are not what they were: the file was "
			       "transferred as text");
	if (h->compression > 1)
		return err_set(err, ENOTSUP, "Unknown compression method %" PRIu16,
			       h->compression);
	return 0;
}

int vmdk_header_check(const struct vmdk_header *h, uint64_t file_size, struct err *err)
{
	uint64_t grain = h->grain;

	if (check_version(h, err))
		return -1;
	if (grain == 0 || h->gtes == 0)
		return err_set(err, EINVAL, "L1 entry size is invalid");
	if (h->gtes > VMDK_GTES)
		return err_set(err, EINVAL, "L2 table size too big");
	if (grain < VMDK_GRAIN_MIN / VMDK_SECTOR || grain > VMDK_GRAIN_MAX / VMDK_SECTOR ||
	    (grain & (grain - 1)) != 0)
		return err_set(err, EINVAL, "Invalid granularity, image may be corrupt");
	if (h->capacity > INT64_MAX / VMDK_SECTOR || vmdk_gds(h) > GDS_MAX)
		return err_set(err, EFBIG, "L1 size too big: a disk of %" PRIu64 " sectors",
			       h->capacity);
	if (h->gd_at == VMDK_GD_AT_END)
		return err_set(err, EINVAL,
			       "The stream has no footer that says where its grain directory "
			       "is: it was cut off");
	if (check_directory("grain directory", h->gd_at, vmdk_gds(h), file_size, err) ||
	    ((h->flags & VMDK_F_RGD) && h->rgd_at &&
	     check_directory("redundant grain directory", h->rgd_at, vmdk_gds(h), file_size,
			     err)))
		return -1;
	return 0;
}

int vmdk_header_read(struct blk *file, struct vmdk_header *h, uint64_t *at, struct err *err)
{
	uint8_t buf[VMDK_SECTOR];
	uint64_t size = blk_size(file), where = 0;
	struct vmdk_header footer;

	if (blk_pread(file, buf, sizeof(buf), 0, err))
		return -1;
	layout_decode(vmdk_fields, buf, h);
	if (h->magic == VMDK_MAGIC && h->gd_at == VMDK_GD_AT_END && size >= 4 * VMDK_SECTOR) {
		/* the last sector is the end-of-stream marker */
		where = round_down(size, VMDK_SECTOR) - 2 * VMDK_SECTOR;
		if (blk_pread(file, buf, sizeof(buf), where, err))
			return -1;
		layout_decode(vmdk_fields, buf, &footer);
		if (footer.magic == VMDK_MAGIC && footer.gd_at != VMDK_GD_AT_END)
			*h = footer;
	}
	if (at)
		*at = where;
	return vmdk_header_check(h, size, err);
}
