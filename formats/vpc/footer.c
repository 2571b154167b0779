#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/vpc/vpc.h"
#include "lib/bytes.h"
#include "lib/mem.h"

const struct field vpc_footer_fields[] = {
	BYTES(0, struct vpc_footer, cookie),
	BE32(8, struct vpc_footer, features),
	BE32(12, struct vpc_footer, version),
	BE64(16, struct vpc_footer, data_off),
	BE32(24, struct vpc_footer, timestamp),
	BYTES(28, struct vpc_footer, creator),
	BE32(32, struct vpc_footer, creator_version),
	BE32(36, struct vpc_footer, creator_os),
	BE64(40, struct vpc_footer, original_size),
	BE64(48, struct vpc_footer, current_size),
	BE16(56, struct vpc_footer, cylinders),
	U8(58, struct vpc_footer, heads),
	U8(59, struct vpc_footer, track),
	BE32(60, struct vpc_footer, type),
	BE32(VPC_CHECKSUM_AT, struct vpc_footer, checksum),
	BYTES(68, struct vpc_footer, uuid),
	U8(84, struct vpc_footer, saved),
	FIELD_END,
};

const struct field vpc_header_fields[] = {
	BYTES(0, struct vpc_header, cookie),
	BE64(8, struct vpc_header, next),
	BE64(16, struct vpc_header, table_off),
	BE32(24, struct vpc_header, version),
	BE32(28, struct vpc_header, entries),
	BE32(32, struct vpc_header, block_size),
	BE32(VPC_HEADER_CHECKSUM_AT, struct vpc_header, checksum),
	BYTES(40, struct vpc_header, parent_uuid),
	BE32(56, struct vpc_header, parent_timestamp),
	BYTES(64, struct vpc_header, parent_name),
	FIELD_END,
};

#define LOCATORS_AT 576
#define LOCATOR_LEN 24

const struct field vpc_locator_fields[] = {
	BE32(0, struct vpc_locator, code),   BE32(4, struct vpc_locator, space),
	BE32(8, struct vpc_locator, length), BE32(12, struct vpc_locator, reserved),
	BE64(16, struct vpc_locator, off),   FIELD_END,
};

/* The one's complement of the sum of all bytes but those of the sum. */
static uint32_t checksum(const uint8_t *buf, size_t n, size_t at)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		if (i < at || i >= at + 4)
			sum += buf[i];
	return ~sum;
}

bool vpc_footer_decode(const uint8_t *buf, struct vpc_footer *f)
{
	layout_decode(vpc_footer_fields, buf, f);
	return memcmp(f->cookie, VPC_FOOTER_COOKIE, sizeof(f->cookie)) == 0 &&
	       f->checksum == checksum(buf, VPC_FOOTER_LEN, VPC_CHECKSUM_AT);
}

void vpc_footer_encode(const struct vpc_footer *f, uint8_t *buf)
{
	layout_encode(vpc_footer_fields, f, buf);
	put_be32(buf + VPC_CHECKSUM_AT, checksum(buf, VPC_FOOTER_LEN, VPC_CHECKSUM_AT));
}

bool vpc_header_sum_fits(const uint8_t *buf)
{
	return get_be32(buf + VPC_HEADER_CHECKSUM_AT) ==
	       checksum(buf, VPC_HEADER_LEN, VPC_HEADER_CHECKSUM_AT);
}

void vpc_header_decode(const uint8_t *buf, struct vpc_header *h)
{
	layout_decode(vpc_header_fields, buf, h);
	for (unsigned i = 0; i < VPC_LOCATORS; i++)
		layout_decode(vpc_locator_fields, buf + LOCATORS_AT + i * LOCATOR_LEN,
			      &h->locator[i]);
}

void vpc_header_encode(const struct vpc_header *h, uint8_t *buf)
{
	memset(buf, 0, VPC_HEADER_LEN);
	layout_encode(vpc_header_fields, h, buf);
	for (unsigned i = 0; i < VPC_LOCATORS; i++)
		layout_encode(vpc_locator_fields, &h->locator[i],
			      buf + LOCATORS_AT + i * LOCATOR_LEN);
	put_be32(buf + VPC_HEADER_CHECKSUM_AT,
		 checksum(buf, VPC_HEADER_LEN, VPC_HEADER_CHECKSUM_AT));
}

/* Virtual PC before 2004 wrote 511 bytes. */
bool vpc_footer_fits(const struct vpc_footer *f, uint64_t file_size)
{
	return f->type == VPC_TYPE_FIXED && f->current_size <= VPC_SIZE_MAX &&
	       f->current_size % VPC_SECTOR == 0 &&
	       (file_size == f->current_size + VPC_FOOTER_LEN ||
		file_size == f->current_size + VPC_FOOTER_LEN - 1);
}

int vpc_header_check(const struct vpc_header *h, uint64_t disk, uint64_t file_size,
		     struct err *err)
{
	uint64_t need, end;

	if (memcmp(h->cookie, VPC_HEADER_COOKIE, sizeof(h->cookie)) != 0)
		return err_set(err, EINVAL, "Invalid header magic");
	if (h->block_size < VPC_BLOCK_MIN || (h->block_size & (h->block_size - 1)) != 0)
		return err_set(err, EINVAL, "Invalid block size %" PRIu32, h->block_size);
	if (h->entries > VPC_ENTRIES_MAX)
		return err_set(err, EINVAL, "Max Table Entries too large (%" PRId32 ")",
			       (int32_t)h->entries);
	need = div_up(disk, h->block_size);
	if (h->entries < need)
		return err_set(err, EINVAL, "Page table too small");
	if (__builtin_add_overflow(h->table_off, 4 * (uint64_t)h->entries, &end) ||
	    end > INT64_MAX)
		return err_set(err, EINVAL, "Error reading pagetable");
	if (h->table_off + 4 * need > file_size)
		return err_set(err, EINVAL,
			       "The block allocation table (%#" PRIx64 " to %#" PRIx64
			       ") is beyond the end of the file (%" PRIu64 " bytes)",
			       h->table_off, h->table_off + 4 * need, file_size);
	return 0;
}

/* ---- the disk's size ----------------------------------------------------------------- */

uint64_t vpc_geometry_sectors(const struct vpc_geometry *g)
{
	return (uint64_t)g->cylinders * g->heads * g->track;
}

struct vpc_geometry vpc_geometry_of(uint64_t sectors)
{
	uint32_t tracks, heads = 16, track;

	sectors = MIN(sectors, VPC_GEOMETRY_MAX);
	if (sectors >= 65535ull * 16 * 63) {
		track = 255;
		tracks = (uint32_t)(sectors / track);
	} else {
		track = 17;
		tracks = (uint32_t)(sectors / track);
		heads = MAX((tracks + 1023) / 1024, 4);
		if (tracks >= heads * 1024 || heads > 16) {
			track = 31;
			heads = 16;
			tracks = (uint32_t)(sectors / track);
		}
		if (tracks >= heads * 1024) {
			track = 63;
			heads = 16;
			tracks = (uint32_t)(sectors / track);
		}
	}
	return (struct vpc_geometry){(uint16_t)(tracks / heads), (uint8_t)heads,
				     (uint8_t)track};
}

struct vpc_geometry vpc_geometry_for(uint64_t sectors)
{
	struct vpc_geometry g = {0};
	uint64_t want = MIN(sectors, VPC_GEOMETRY_MAX);

	for (uint64_t more = 0; vpc_geometry_sectors(&g) < want; more++)
		g = vpc_geometry_of(want + more);
	return g;
}

static bool says_size(const struct vpc_footer *f)
{
	static const char creators[][4] = {
		{'w', 'i', 'n', ' '}, /* Hyper-V */
		{'q', 'e', 'm', '2'}, /* QEMU, force_size */
		{'d', '2', 'v', ' '}, /* disk2vhd */
		{'t', 'a', 'p', 0},   /* XenServer */
	};

	for (size_t i = 0; i < ARRAY_LEN(creators); i++)
		if (memcmp(f->creator, creators[i], 4) == 0)
			return true;
	return false;
}

int vpc_disk_size(const struct vpc_footer *f, const char *by, uint64_t *size, struct err *err)
{
	const struct vpc_geometry g = {f->cylinders, f->heads, f->track};
	bool current = says_size(f);

	if (by && strcmp(by, "chs") != 0 && strcmp(by, "current_size") != 0)
		return err_set(err, EINVAL, "Invalid size calculation mode: '%s'", by);
	if (by)
		current = strcmp(by, "current_size") == 0;
	if (vpc_geometry_sectors(&g) == VPC_GEOMETRY_MAX)
		current = true;
	*size = current ? round_down(f->current_size, VPC_SECTOR)
			: vpc_geometry_sectors(&g) * VPC_SECTOR;
	if (*size > VPC_SIZE_MAX)
		return err_set(err, EFBIG,
			       "The disk is larger (%" PRIu64
			       " bytes) than a VHD can be (%llu)",
			       *size, VPC_SIZE_MAX);
	return 0;
}
