/*
 * The metadata (2.6): a table of items, then the items.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vhdx/vhdx.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define TABLE_SIGNATURE UINT64_C(0x617461646174656d) /* "metadata" */

/* Flags of an entry. */
enum { IS_USER = 1, IS_DISK = 2, IS_REQUIRED = 4 };

/* 2.6.2.1 to 2.6.2.6 */
static const struct item {
	uint8_t id[UUID_LEN]; /* as stored */
	const char *name;
	uint32_t len; /* 0: any */
	uint32_t flags;
} items[VHDX_ITEMS] = {
	/* caa16737-fa36-4d43-b3b6-33f0aa44e76b */
	[VHDX_ITEM_PARAMETERS] = {{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6,
				   0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b},
				  "file parameters",
				  8,
				  IS_REQUIRED},
	/* 2fa54224-cd1b-4876-b211-5dbed83bf4b8 */
	[VHDX_ITEM_SIZE] = {{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d,
			     0xbe, 0xd8, 0x3b, 0xf4, 0xb8},
			    "virtual disk size",
			    8,
			    IS_DISK | IS_REQUIRED},
	/* beca12ab-b2e6-4523-93ef-c309e000c746 */
	[VHDX_ITEM_DISK_ID] = {{0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef,
				0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46},
			       "virtual disk identifier",
			       16,
			       IS_DISK | IS_REQUIRED},
	/* 8141bf1d-a96f-4709-ba47-f233a8faab5f */
	[VHDX_ITEM_LOGICAL] = {{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47,
				0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f},
			       "logical sector size",
			       4,
			       IS_DISK | IS_REQUIRED},
	/* cda348c7-445d-4471-9cc9-e9885251c556 */
	[VHDX_ITEM_PHYSICAL] = {{0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9,
				 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56},
				"physical sector size",
				4,
				IS_DISK | IS_REQUIRED},
	/* a8d35f2d-b30b-454d-abf7-d3d84834ab0c */
	[VHDX_ITEM_PARENT] = {{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3,
			       0xd8, 0x48, 0x34, 0xab, 0x0c},
			      "parent locator",
			      0,
			      IS_REQUIRED},
};

/* ---- limits -------------------------------------------------------------------------- */

static int check_sector(const char *which, uint32_t size, struct err *err)
{
	if (size == 512 || size == 4096)
		return 0;
	return err_set(err, EINVAL, "The %s sector size %" PRIu32 " is neither 512 nor 4096",
		       which, size);
}

int vhdx_meta_check(const struct vhdx_meta *m, struct err *err)
{
	if (m->block < VHDX_BLOCK_MIN || m->block > VHDX_BLOCK_MAX ||
	    (m->block & (m->block - 1)) != 0)
		return err_set(err, EINVAL,
			       "The block size %" PRIu32
			       " is not a power of two from 1 to 256 MiB",
			       m->block);
	if (check_sector("logical", m->logical, err) ||
	    check_sector("physical", m->physical, err))
		return -1;
	if (m->size > VHDX_SIZE_MAX || m->size % m->logical)
		return err_set(err, EINVAL,
			       "The virtual disk size %" PRIu64
			       " is more than 64 TiB or not whole sectors of %" PRIu32,
			       m->size, m->logical);
	return 0;
}

/* ---- reading ------------------------------------------------------------------------- */

struct entry {
	uint32_t off, len; /* len 0: not there */
};

static int entry_error(struct err *err, const uint8_t *p, const char *what)
{
	uint8_t id[UUID_LEN];
	char text[UUID_TEXT];

	uuid_swap(p, id);
	return err_set(err, EINVAL, "Metadata item %s (%" PRIu32 " bytes at %#" PRIx32 ") %s",
		       uuid_text(id, text), get_le32(p + 20), get_le32(p + 16), what);
}

static int find_kind(const uint8_t *id)
{
	for (int i = 0; i < VHDX_ITEMS; i++)
		if (memcmp(id, items[i].id, UUID_LEN) == 0)
			return i;
	return -1;
}

static int note_entry(const struct vhdx *v, const uint8_t *p, struct entry *all,
		      struct err *err)
{
	uint32_t off = get_le32(p + 16), len = get_le32(p + 20), flags = get_le32(p + 24);
	int kind = flags & IS_USER ? -1 : find_kind(p);

	if (kind < 0) {
		if (flags & IS_REQUIRED)
			return entry_error(err, p, "is of an unknown kind, but required");
		return 0;
	}
	if (off < VHDX_TABLE_LEN || len == 0 || len > VHDX_ITEM_MAX ||
	    off > v->meta_region.len || len > v->meta_region.len - off)
		return entry_error(err, p, "is not inside of the metadata");
	if (items[kind].len && len != items[kind].len)
		return entry_error(err, p, "has a wrong length");
	if (all[kind].len)
		return entry_error(err, p, "is there twice");
	all[kind] = (struct entry){off, len};
	return 0;
}

static int read_table(struct vhdx *v, struct entry *all, struct err *err)
{
	AUTO_FREE uint8_t *table = mem_alloc(VHDX_TABLE_LEN);
	uint16_t n;

	if (!table)
		return err_nomem(err, VHDX_TABLE_LEN, "the metadata");
	if (blk_pread(v->file, table, VHDX_TABLE_LEN, v->meta_region.off, err))
		return -1;
	n = get_le16(table + 10);
	if (get_le64(table) != TABLE_SIGNATURE || n > VHDX_ENTRIES_MAX)
		return err_set(err, EINVAL,
			       "The metadata table at %#" PRIx64
			       " has a bad signature or more than %d entries",
			       v->meta_region.off, VHDX_ENTRIES_MAX);
	for (uint32_t i = 0; i < n; i++)
		if (note_entry(v, table + VHDX_REGION_ENTRY * (i + 1), all, err))
			return -1;
	return 0;
}

/* buf: room for the longest. */
static int read_item(struct vhdx *v, enum vhdx_item kind, const struct entry *e, uint8_t *buf,
		     struct err *err)
{
	if (e->len == 0)
		return err_set(err, EINVAL, "The metadata has no %s", items[kind].name);
	return blk_pread(v->file, buf, e->len, v->meta_region.off + e->off, err);
}

int vhdx_meta_read(struct vhdx *v, struct err *err)
{
	struct entry all[VHDX_ITEMS] = {{0}};
	struct vhdx_meta *m = &v->m;
	AUTO_FREE uint8_t *buf = NULL;
	uint32_t parent;

	if (read_table(v, all, err))
		return -1;
	parent = all[VHDX_ITEM_PARENT].len;
	buf = malloc(MAX(16, parent));
	if (!buf)
		return err_nomem(err, parent, "the metadata");
	for (int i = 0; i < VHDX_ITEMS; i++) {
		if (i == VHDX_ITEM_PARENT && !m->has_parent)
			continue;
		if (read_item(v, i, &all[i], buf, err))
			return -1;
		if (i == VHDX_ITEM_PARAMETERS) {
			m->block = get_le32(buf);
			m->fixed = get_le32(buf + 4) & 1;
			m->has_parent = get_le32(buf + 4) & 2;
		} else if (i == VHDX_ITEM_SIZE) {
			m->size = get_le64(buf);
		} else if (i == VHDX_ITEM_DISK_ID) {
			memcpy(m->disk_id, buf, UUID_LEN);
		} else if (i == VHDX_ITEM_LOGICAL) {
			m->logical = get_le32(buf);
		} else if (i == VHDX_ITEM_PHYSICAL) {
			m->physical = get_le32(buf);
		} else if (vhdx_locator_read(m, buf, parent, err)) {
			return -1;
		}
	}
	return vhdx_meta_check(m, err);
}

void vhdx_meta_free(struct vhdx_meta *m)
{
	free(m->relative_path);
	free(m->volume_path);
	free(m->absolute_path);
	free(m->linkage);
	free(m->linkage2);
}

/* ---- writing ------------------------------------------------------------------------- */

void vhdx_meta_encode(const struct vhdx_meta *m, uint8_t *to)
{
	uint32_t at = VHDX_TABLE_LEN;

	memset(to, 0, VHDX_TABLE_LEN + VHDX_PAGE);
	put_le64(to, TABLE_SIGNATURE);
	put_le16(to + 10, VHDX_ITEM_PARENT);
	for (uint32_t i = 0; i < VHDX_ITEM_PARENT; i++) {
		uint8_t *p = to + VHDX_REGION_ENTRY * (i + 1);

		memcpy(p, items[i].id, UUID_LEN);
		put_le32(p + 16, at);
		put_le32(p + 20, items[i].len);
		put_le32(p + 24, items[i].flags);
		at += items[i].len;
	}
	to += VHDX_TABLE_LEN;
	put_le32(to, m->block);
	put_le32(to + 4, m->fixed);
	put_le64(to + 8, m->size);
	memcpy(to + 16, m->disk_id, UUID_LEN);
	put_le32(to + 32, m->logical);
	put_le32(to + 36, m->physical);
}
