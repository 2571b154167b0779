#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "formats/dmg/dmg.h"
#include "lib/array.h"
#include "lib/bytes.h"
#include "lib/mem.h"

const struct field dmg_table_fields[] = {
	BE32(0, struct dmg_table, magic),
	BE32(4, struct dmg_table, version),
	BE64(8, struct dmg_table, start),
	BE64(16, struct dmg_table, sectors),
	BE64(24, struct dmg_table, data_off),
	BE32(64, struct dmg_table, sum_type),
	BE32(72, struct dmg_table, sum),
	BE32(200, struct dmg_table, entries),
	FIELD_END,
};

void dmg_tables_free(struct dmg_tables *t)
{
	free(t->table);
	free(t->chunk);
	*t = (struct dmg_tables){0};
}

static int bad_chunk(const struct dmg_chunk *c, struct err *err)
{
	return err_prefix(err, "Chunk %" PRIu32 " of table %" PRIu32, c->entry, c->table);
}

/* Places and sizes; `end` is how far the file goes. */
static int check_chunk(const struct dmg_chunk *c, uint64_t len, uint64_t file_size,
		       struct err *err)
{
	if (dmg_is_zero(c->type))
		return 0;
	if (c->off > file_size || len > file_size - c->off)
		return err_set(err, EINVAL,
			       "its %" PRIu64 " bytes at %" PRIu64
			       " are beyond the end of the file (%" PRIu64 " bytes)",
			       len, c->off, file_size);
	if (c->type == DMG_RAW && len / DMG_SECTOR != c->count)
		return err_set(err, EINVAL,
			       "%" PRIu64 " bytes are stored of %" PRIu64 " sectors", len,
			       c->count);
	if (c->type == DMG_RAW)
		return 0;
	if (c->count > DMG_CHUNK_BYTES / DMG_SECTOR)
		return err_set(err, EINVAL, "sector count %" PRIu64 " is larger than max (%u)",
			       c->count, DMG_CHUNK_BYTES / DMG_SECTOR);
	if (len > DMG_CHUNK_BYTES)
		return err_set(err, EINVAL, "length %" PRIu64 " is larger than max (%u)", len,
			       DMG_CHUNK_BYTES);
	return 0;
}

static int add_chunk(struct dmg_tables *t, struct dmg_chunk *c, uint64_t len,
		     uint64_t file_size, struct err *err)
{
	bool known = dmg_is_zero(c->type) || c->type == DMG_RAW || unpack_name(c->type);

	if (c->type == DMG_COMMENT || c->type == DMG_END)
		return 0;
	if (!known && !t->unknown)
		t->unknown = c->type;
	if (c->count == 0)
		return 0;
	if (check_chunk(c, len, file_size, err))
		return bad_chunk(c, err);
	/* a plain chunk may be long: its length is that of its sectors */
	c->len = c->type == DMG_RAW ? 0 : (uint32_t)len;
	if (array_room(&t->chunk, &t->chunk_room, t->nchunk, sizeof(*c), "a table of chunks",
		       err))
		return -1;
	t->chunk[t->nchunk++] = *c;
	return 0;
}

static int add_entry(struct dmg_tables *t, const uint8_t *p, uint32_t i,
		     const struct dmg_trailer *h, uint64_t file_size, struct err *err)
{
	const struct dmg_table *table = &t->table[t->n - 1];
	struct dmg_chunk c = {.type = get_be32(p),
			      .count = get_be64(p + 16),
			      .table = (uint32_t)(t->n - 1),
			      .entry = i};
	uint64_t len = dmg_is_zero(c.type) ? 0 : get_be64(p + 32), base;

	if (__builtin_add_overflow(table->start, get_be64(p + 8), &c.start) ||
	    c.start > DMG_SECTORS_MAX || c.count > DMG_SECTORS_MAX - c.start) {
		err_set(err, EINVAL,
			"%" PRIu64 " sectors from %" PRIu64 " on, of a table from %" PRIu64
			" on, are more than a disk can have",
			c.count, get_be64(p + 8), table->start);
		return bad_chunk(&c, err);
	}
	if (__builtin_add_overflow(h->data_off, table->data_off, &base) ||
	    __builtin_add_overflow(base, get_be64(p + 24), &c.off))
		c.off = UINT64_MAX; /* beyond the end, if it matters */
	return add_chunk(t, &c, len, file_size, err);
}

int dmg_table_add(struct dmg_tables *t, const uint8_t *p, size_t n, const struct dmg_trailer *h,
		  uint64_t file_size, struct err *err)
{
	struct dmg_table table;
	uint32_t entries;

	if (n < DMG_TABLE_LEN || get_be32(p) != DMG_TABLE_MAGIC)
		return 0;
	layout_decode(dmg_table_fields, p, &table);
	entries = (uint32_t)MIN(table.entries, (n - DMG_TABLE_LEN) / DMG_ENTRY_LEN);
	if (entries < table.entries)
		return err_set(err, EINVAL,
			       "Table %zu has room for %" PRIu32 " chunks, but says %" PRIu32,
			       t->n, entries, table.entries);
	if (array_room(&t->table, &t->room, t->n, sizeof(table), "a list of tables", err))
		return -1;
	t->table[t->n++] = table;
	for (uint32_t i = 0; i < entries; i++)
		if (add_entry(t, p + DMG_TABLE_LEN + (size_t)i * DMG_ENTRY_LEN, i, h, file_size,
			      err))
			return -1;
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct dmg_chunk *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

int dmg_tables_sort(struct dmg_tables *t, struct err *err)
{
	if (t->nchunk > 1)
		qsort(t->chunk, t->nchunk, sizeof(*t->chunk), by_start);
	for (size_t i = 1; i < t->nchunk; i++) {
		const struct dmg_chunk *a = &t->chunk[i - 1], *b = &t->chunk[i];

		if (a->start + a->count <= b->start)
			continue;
		return err_set(err, EINVAL,
			       "Chunk %" PRIu32 " of table %" PRIu32 " overlaps chunk %" PRIu32
			       " of table %" PRIu32 " (sector %" PRIu64 ")",
			       a->entry, a->table, b->entry, b->table, b->start);
	}
	return 0;
}

const struct dmg_chunk *dmg_find(const struct dmg_tables *t, uint64_t sector, uint64_t *next)
{
	size_t low = 0, high = t->nchunk;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->chunk[mid].start <= sector)
			low = mid + 1;
		else
			high = mid;
	}
	*next = low < t->nchunk ? t->chunk[low].start : UINT64_MAX;
	if (low == 0 || sector - t->chunk[low - 1].start >= t->chunk[low - 1].count)
		return NULL;
	return &t->chunk[low - 1];
}
