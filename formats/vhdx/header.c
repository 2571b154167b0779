/*
 * The headers (2.2.2) and the tables of regions (2.2.3). There are two of each, so that one is
 * whole at any time: the header with the higher sequence number counts, and the other one is
 * where the next is written.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vhdx/vhdx.h"
#include "lib/bytes.h"
#include "lib/crc32c.h"
#include "lib/mem.h"

#define HEADER_SIGNATURE  0x64616568u /* "head" */
#define REGIONS_SIGNATURE 0x69676572u /* "regi" */
#define CHECKSUM_AT	  4	      /* in both */

static const struct field header_fields[] = {
	LE32(0, struct vhdx_header, signature),
	LE32(CHECKSUM_AT, struct vhdx_header, checksum),
	LE64(8, struct vhdx_header, sequence),
	BYTES(16, struct vhdx_header, file_write),
	BYTES(32, struct vhdx_header, data_write),
	BYTES(48, struct vhdx_header, log),
	LE16(64, struct vhdx_header, log_version),
	LE16(66, struct vhdx_header, version),
	LE32(68, struct vhdx_header, log_len),
	LE64(72, struct vhdx_header, log_off),
	FIELD_END,
};

static const struct field region_fields[] = {
	BYTES(0, struct vhdx_region, id),
	LE64(16, struct vhdx_region, off),
	LE32(24, struct vhdx_region, len),
	LE32(28, struct vhdx_region, required),
	FIELD_END,
};

/* 2dc27766-f623-4200-9d64-115e9bfd4a08, 8b7ca206-4790-4b9a-b8fe-575f050f886e, as stored */
const uint8_t vhdx_id_bat[UUID_LEN] = {0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42,
				       0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08};
const uint8_t vhdx_id_metadata[UUID_LEN] = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
					    0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};

/* Of n bytes that hold their own checksum. */
static uint32_t checksum(const uint8_t *p, size_t n)
{
	static const uint8_t none[4];
	uint32_t crc = crc32c(0, p, CHECKSUM_AT);

	crc = crc32c(crc, none, sizeof(none));
	return crc32c(crc, p + CHECKSUM_AT + sizeof(none), n - CHECKSUM_AT - sizeof(none));
}

static bool is_sound(const uint8_t *p, size_t n, uint32_t signature)
{
	return get_le32(p) == signature && get_le32(p + CHECKSUM_AT) == checksum(p, n);
}

/* ---- headers ------------------------------------------------------------------------- */

int vhdx_header_check(const struct vhdx_header *h, uint64_t file_size, struct err *err)
{
	uint64_t end;

	if (h->version != VHDX_VERSION)
		return err_set(err, ENOTSUP, "Unsupported VHDX version %" PRIu16, h->version);
	if (!uuid_is_null(h->log) && h->log_version != VHDX_LOG_VERSION)
		return err_set(err, ENOTSUP,
			       "The log has the unsupported version %" PRIu16
			       " and is to be replayed",
			       h->log_version);
	if (h->log_len % VHDX_MIB || h->log_off % VHDX_MIB ||
	    (h->log_len && h->log_off < VHDX_MIB))
		return err_set(err, EINVAL,
			       "The log (%" PRIu32 " bytes at %#" PRIx64
			       ") is not aligned to 1 MiB, or in the header section",
			       h->log_len, h->log_off);
	if (__builtin_add_overflow(h->log_off, h->log_len, &end) ||
	    (h->log_len && end > file_size))
		return err_set(err, EINVAL,
			       "The log (%" PRIu32 " bytes at %#" PRIx64
			       ") is beyond the end of the file (%" PRIu64 " bytes)",
			       h->log_len, h->log_off, file_size);
	if (!uuid_is_null(h->log) && h->log_len == 0)
		return err_set(err, EINVAL, "A log is to be replayed, but there is none");
	return 0;
}

int vhdx_header_read(struct vhdx *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	AUTO_FREE uint8_t *buf = mem_alloc(2 * VHDX_HEADER_LEN);
	struct vhdx_header h[2];

	if (!buf)
		return err_nomem(err, 2 * VHDX_HEADER_LEN, "the headers");
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *p = buf + i * VHDX_HEADER_LEN;

		if (blk_pread(lower, p, VHDX_HEADER_LEN, VHDX_HEADER_AT + i * VHDX_COPY, err))
			return -1;
		layout_decode(header_fields, p, &h[i]);
		v->header_ok[i] = is_sound(p, VHDX_HEADER_LEN, HEADER_SIGNATURE);
	}
	if (!v->header_ok[0] && !v->header_ok[1])
		return err_set(err, EINVAL, "Both copies of the VHDX header are damaged");
	v->header = !v->header_ok[0] || (v->header_ok[1] && h[1].sequence > h[0].sequence);
	/* Hyper-V's conversion from VHD makes two that are the same */
	if (v->header_ok[0] && v->header_ok[1] && h[0].sequence == h[1].sequence &&
	    memcmp(buf, buf + VHDX_HEADER_LEN, VHDX_HEADER_LEN) != 0)
		return err_set(err, EINVAL,
			       "Both copies of the VHDX header have sequence number %" PRIu64
			       ", but they differ",
			       h[0].sequence);
	v->h = h[v->header];
	return vhdx_header_check(&v->h, blk_size(lower), err);
}

void vhdx_header_encode(const struct vhdx_header *h, uint8_t page[VHDX_HEADER_LEN])
{
	struct vhdx_header with = *h;

	memset(page, 0, VHDX_HEADER_LEN);
	with.signature = HEADER_SIGNATURE;
	layout_encode(header_fields, &with, page);
	put_le32(page + CHECKSUM_AT, checksum(page, VHDX_HEADER_LEN));
}

int vhdx_header_write(struct vhdx *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	AUTO_FREE uint8_t *page = mem_alloc(VHDX_HEADER_LEN);

	if (!page)
		return err_nomem(err, VHDX_HEADER_LEN, "a header");
	for (int i = 0; i < 2; i++) {
		unsigned to = 1 - v->header;

		v->h.sequence++;
		vhdx_header_encode(&v->h, page);
		if (blk_pwrite(lower, page, VHDX_HEADER_LEN, VHDX_HEADER_AT + to * VHDX_COPY, 0,
			       err) ||
		    blk_flush(lower, err))
			return -1;
		v->header = to;
		v->header_ok[to] = true;
	}
	return 0;
}

/* ---- regions ------------------------------------------------------------------------- */

void vhdx_regions_encode(const struct vhdx_region *r, unsigned n, uint8_t *table)
{
	memset(table, 0, VHDX_TABLE_LEN);
	put_le32(table, REGIONS_SIGNATURE);
	put_le32(table + 8, n);
	for (unsigned i = 0; i < n; i++)
		layout_encode(region_fields, &r[i], table + 16 + i * VHDX_REGION_ENTRY);
	put_le32(table + CHECKSUM_AT, checksum(table, VHDX_TABLE_LEN));
}

static int region_error(struct err *err, const struct vhdx_region *r, const char *what)
{
	uint8_t id[UUID_LEN];
	char text[UUID_TEXT];

	uuid_swap(r->id, id);
	return err_set(err, EINVAL, "Region %s (%" PRIu32 " bytes at %#" PRIx64 ") %s",
		       uuid_text(id, text), r->len, r->off, what);
}

static int check_region(const struct vhdx *v, const struct vhdx_region *r, struct err *err)
{
	uint64_t end;

	if (r->off % VHDX_MIB || r->len % VHDX_MIB || r->len == 0)
		return region_error(err, r, "is empty or not aligned to 1 MiB");
	if (r->off < VHDX_MIB)
		return region_error(err, r, "is in the header section");
	if (__builtin_add_overflow(r->off, r->len, &end) || end > v->file_size)
		return region_error(err, r, "is beyond the end of the file");
	if (v->h.log_len && r->off < v->h.log_off + v->h.log_len && v->h.log_off < end)
		return region_error(err, r, "overlaps the log");
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct vhdx_region *r = a, *s = b;

	return (r->off > s->off) - (r->off < s->off);
}

static int check_overlap(struct vhdx_region *r, uint32_t n, struct err *err)
{
	qsort(r, n, sizeof(*r), by_offset);
	for (uint32_t i = 1; i < n; i++)
		if (r[i - 1].off + r[i - 1].len > r[i].off)
			return region_error(err, &r[i], "overlaps another one");
	return 0;
}

/* What is known is kept. */
static int note_region(struct vhdx *v, const struct vhdx_region *r, struct err *err)
{
	bool bat = memcmp(r->id, vhdx_id_bat, UUID_LEN) == 0;
	struct vhdx_region *to = bat ? &v->bat : &v->meta_region;

	if (!bat && memcmp(r->id, vhdx_id_metadata, UUID_LEN) != 0) {
		if (r->required & 1)
			return region_error(err, r, "is of an unknown kind, but required");
		return 0;
	}
	if (to->len)
		return region_error(err, r, "is there twice");
	*to = *r;
	return 0;
}

static int read_entries(struct vhdx *v, const uint8_t *table, struct err *err)
{
	uint32_t n = get_le32(table + 8);
	AUTO_FREE struct vhdx_region *r = NULL;

	if (n > VHDX_ENTRIES_MAX)
		return err_set(err, EINVAL,
			       "The table of regions has %" PRIu32
			       " entries, at most %d can be",
			       n, VHDX_ENTRIES_MAX);
	r = calloc(n + 1, sizeof(*r));
	if (!r)
		return err_nomem(err, n * sizeof(*r), "the table of regions");
	for (uint32_t i = 0; i < n; i++) {
		layout_decode(region_fields, table + 16 + i * VHDX_REGION_ENTRY, &r[i]);
		if (check_region(v, &r[i], err) || note_region(v, &r[i], err))
			return -1;
	}
	if (v->bat.len == 0 || v->meta_region.len == 0)
		return err_set(err, EINVAL, "There is no region for the %s",
			       v->bat.len ? "metadata" : "block allocation table");
	return check_overlap(r, n, err);
}

/* Both copies, one after the other, to be freed. */
static uint8_t *read_tables(struct vhdx *v, struct err *err)
{
	uint8_t *tables = mem_alloc(2 * VHDX_TABLE_LEN);

	if (!tables) {
		err_nomem(err, 2 * VHDX_TABLE_LEN, "the tables of regions");
		return NULL;
	}
	if (blk_pread(v->file, tables, 2 * VHDX_TABLE_LEN, VHDX_REGIONS_AT, err)) {
		free(tables);
		return NULL;
	}
	for (unsigned i = 0; i < 2; i++)
		v->regions_ok[i] = is_sound(tables + i * VHDX_TABLE_LEN, VHDX_TABLE_LEN,
					    REGIONS_SIGNATURE);
	return tables;
}

int vhdx_regions_read(struct vhdx *v, struct err *err)
{
	AUTO_FREE uint8_t *tables = read_tables(v, err);
	unsigned use;

	if (!tables)
		return -1;
	use = !v->regions_ok[0];
	if (!v->regions_ok[use])
		return err_set(err, EINVAL, "Both copies of the table of regions are damaged");
	if (memcmp(tables, tables + VHDX_TABLE_LEN, VHDX_TABLE_LEN) != 0)
		v->regions_ok[!use] = false;
	return read_entries(v, tables + use * VHDX_TABLE_LEN, err);
}

int vhdx_regions_repair(struct vhdx *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	AUTO_FREE uint8_t *tables = read_tables(v, err);
	unsigned good;

	if (!tables)
		return -1;
	good = !v->regions_ok[0];
	if (blk_pwrite(lower, tables + good * VHDX_TABLE_LEN, VHDX_TABLE_LEN,
		       VHDX_REGIONS_AT + !good * VHDX_COPY, 0, err) ||
	    blk_flush(lower, err))
		return -1;
	v->regions_ok[0] = v->regions_ok[1] = true;
	return 0;
}
