/*
 * The sectors in front of the FATs: the MBR with one partition; the boot sector; with FAT32
 * also FSInfo, which counts the free clusters, and a copy of both.
 */
#include <string.h>

#include "lib/io/fat/fat.h"
#include "lib/bytes.h"
#include "lib/layout.h"
#include "lib/mem.h"

#define SERIAL	  0xfabe1afdu /* the peer's */
#define BACKUP	  6u
#define CYLINDERS 1024u /* what the MBR can count */

/* All of a boot sector but what FAT32 has elsewhere. */
struct boot {
	uint8_t jump[3], oem[8];
	uint16_t bytes, reserved, root_entries, size16, fat16, track, heads;
	uint8_t per_cluster, fats, media;
	uint32_t start, size, fat32, root, serial;
	uint16_t info, backup;
	uint8_t drive, signature, label[FAT_LABEL], type[8];
};

#define COMMON_FIELDS                                                                          \
	BYTES(0, struct boot, jump), BYTES(3, struct boot, oem), LE16(11, struct boot, bytes), \
		U8(13, struct boot, per_cluster), LE16(14, struct boot, reserved),             \
		U8(16, struct boot, fats), LE16(17, struct boot, root_entries),                \
		LE16(19, struct boot, size16), U8(21, struct boot, media),                     \
		LE16(22, struct boot, fat16), LE16(24, struct boot, track),                    \
		LE16(26, struct boot, heads), LE32(28, struct boot, start),                    \
		LE32(32, struct boot, size)

static const struct field boot16_fields[] = {
	COMMON_FIELDS,
	U8(36, struct boot, drive),
	U8(38, struct boot, signature),
	LE32(39, struct boot, serial),
	BYTES(43, struct boot, label),
	BYTES(54, struct boot, type),
	FIELD_END,
};

static const struct field boot32_fields[] = {
	COMMON_FIELDS,
	LE32(36, struct boot, fat32),
	LE32(44, struct boot, root),
	LE16(48, struct boot, info),
	LE16(50, struct boot, backup),
	U8(64, struct boot, drive),
	U8(66, struct boot, signature),
	LE32(67, struct boot, serial),
	BYTES(71, struct boot, label),
	BYTES(82, struct boot, type),
	FIELD_END,
};

static void sign(uint8_t *sector)
{
	sector[510] = 0x55;
	sector[511] = 0xaa;
}

/* Head, sector and cylinder; the last that there are for what is further away. */
static void put_chs(uint8_t *to, const struct fat_shape *s, uint32_t sector)
{
	uint32_t cylinder = sector / s->track / s->heads;
	uint32_t head = sector / s->track % s->heads, in_track = sector % s->track + 1;

	if (cylinder >= CYLINDERS) {
		cylinder = CYLINDERS - 1;
		head = s->heads - 1;
		in_track = s->track;
	}
	to[0] = (uint8_t)head;
	to[1] = (uint8_t)(in_track | cylinder >> 8 << 6);
	to[2] = (uint8_t)cylinder;
}

void fat_mbr_put(const struct fat_shape *s, uint8_t *to)
{
	uint8_t *part = to + 446;
	uint32_t size = s->disk - s->start;
	bool lba = s->disk > CYLINDERS * s->heads * s->track;

	memset(to, 0, FAT_SECTOR);
	put_le32(to + 440, SERIAL);
	part[0] = 0x80;
	put_chs(part + 1, s, s->start);
	if (s->type == 12)
		part[4] = 0x01;
	else if (s->type == 16)
		part[4] = lba ? 0x0e : 0x06;
	else
		part[4] = lba ? 0x0c : 0x0b;
	put_chs(part + 5, s, s->disk - 1);
	put_le32(part + 8, s->start);
	put_le32(part + 12, size);
	sign(to);
}

static void put_info(const struct fat_shape *s, uint8_t *to)
{
	put_le32(to, 0x41615252);
	put_le32(to + 484, 0x61417272);
	put_le32(to + 488, s->clusters - s->used);
	put_le32(to + 492, s->used < s->clusters ? s->used + 2 : 0xffffffff);
	sign(to);
}

void fat_boot_put(const struct fat_shape *s, const uint8_t *label, uint8_t *to)
{
	bool large = s->type == 32, small = s->size < 65536 && !large;
	struct boot b = {
		.jump = {0xeb, large ? 0x58 : 0x3c, 0x90},
		.bytes = FAT_SECTOR,
		.per_cluster = (uint8_t)s->per_cluster,
		.reserved = (uint16_t)s->reserved,
		.fats = 2,
		.root_entries = (uint16_t)s->root_entries,
		.size16 = small ? (uint16_t)s->size : 0,
		.size = small ? 0 : s->size,
		.media = s->media,
		.fat16 = large ? 0 : (uint16_t)s->fat,
		.fat32 = large ? s->fat : 0,
		.track = (uint16_t)s->track,
		.heads = (uint16_t)s->heads,
		.start = s->start,
		.root = 2,
		.info = 1,
		.backup = BACKUP,
		.drive = s->start ? 0x80 : 0,
		.signature = 0x29,
		.serial = SERIAL,
	};

	/* what DOS and Windows look for */
	memcpy(b.oem, "MSWIN4.1", sizeof(b.oem));
	memcpy(b.label, label, FAT_LABEL);
	memcpy(b.type, large ? "FAT32   " : s->type == 16 ? "FAT16   " : "FAT12   ", 8);
	memset(to, 0, (size_t)s->reserved * FAT_SECTOR);
	layout_encode(large ? boot32_fields : boot16_fields, &b, to);
	sign(to);
	if (!large)
		return;
	put_info(s, to + FAT_SECTOR);
	sign(to + 2 * FAT_SECTOR);
	memcpy(to + (size_t)BACKUP * FAT_SECTOR, to, 3 * FAT_SECTOR);
}
