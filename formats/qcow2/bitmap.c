/*
 * The bitmap directory: docs/interop/qcow2.rst, sections "Bitmaps extension", "Bitmap
 * directory". The limits and the wording are the peer's.
 */
#include "formats/qcow2/bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

void qcow2_bitmaps_free(struct qcow2_bitmap *list, size_t n)
{
	for (size_t i = 0; list && i < n; i++) {
		free(list[i].name);
		dirty_free(list[i].touched);
	}
	free(list);
}

uint64_t qcow2_bitmap_clusters(uint64_t size, unsigned granularity_bits, uint64_t cluster)
{
	return div_up(qcow2_bitmap_bytes(size, granularity_bits), cluster);
}

static int entry_check(const struct qcow2 *q, const struct qcow2_bitmap *b, size_t name_len,
		       struct err *err)
{
	uint64_t bytes = (uint64_t)b->table_size << q->h.cluster_bits;

	if (name_len == 0 || name_len > BITMAP_NAME_MAX || strlen(b->name) != name_len ||
	    b->table_size == 0 || b->table_size > BITMAP_TABLE_MAX ||
	    bytes > BITMAP_BYTES_MAX || b->table_off == 0 ||
	    b->table_off % q->cluster_size != 0 ||
	    b->granularity_bits < BITMAP_GRANULARITY_MIN ||
	    b->granularity_bits > BITMAP_GRANULARITY_MAX ||
	    (b->flags & (uint32_t)BITMAP_FLAGS_RESERVED) || b->type != BITMAP_TYPE_DIRTY)
		return err_set(err, EINVAL, "Bitmap '%s' doesn't satisfy the constraints",
			       b->name);
	if (!(b->flags & BITMAP_IN_USE) &&
	    b->table_size != qcow2_bitmap_clusters(qcow2_bitmap_disk(q), b->granularity_bits,
						   q->cluster_size))
		return err_set(err, EINVAL,
			       "Could not read bitmap '%s' from image: Invalid argument",
			       b->name);
	return 0;
}

/* The entry at p, of which n bytes are there. Its length, or 0. */
static size_t entry_decode(const uint8_t *p, size_t n, struct qcow2_bitmap *b, size_t *name_len,
			   struct err *err)
{
	uint32_t extra;
	uint64_t len;

	if (n < BITMAP_ENTRY)
		return err_set(err, EINVAL, "Broken bitmap directory"), 0;
	*name_len = get_be16(p + 18);
	extra = get_be32(p + 20);
	len = round_up((uint64_t)BITMAP_ENTRY + extra + *name_len, 8);
	if (len > n)
		return err_set(err, EINVAL, "Broken bitmap directory"), 0;
	if (extra != 0)
		return err_set(err, EINVAL, "Bitmap extra data is not supported"), 0;
	b->table_off = get_be64(p);
	b->table_size = get_be32(p + 8);
	b->flags = get_be32(p + 12);
	b->type = p[16];
	b->granularity_bits = p[17];
	b->name = strndup((const char *)p + BITMAP_ENTRY, *name_len);
	if (!b->name)
		return err_nomem(err, *name_len, "a bitmap's name"), 0;
	return (size_t)len;
}

size_t qcow2_bitmap_entry_len(const struct qcow2_bitmap *b)
{
	return round_up(BITMAP_ENTRY + strlen(b->name), 8);
}

uint8_t *qcow2_bitmaps_encode(const struct qcow2_bitmap *list, size_t n, size_t *len,
			      struct err *err)
{
	uint8_t *dir, *p;

	*len = 0;
	for (size_t i = 0; i < n; i++)
		*len += qcow2_bitmap_entry_len(&list[i]);
	p = dir = calloc(1, *len + 1);
	if (!dir) {
		err_nomem(err, *len, "the bitmap directory");
		return NULL;
	}
	for (size_t i = 0; i < n; p += qcow2_bitmap_entry_len(&list[i++])) {
		const struct qcow2_bitmap *b = &list[i];
		size_t name = strlen(b->name);

		put_be64(p, b->table_off);
		put_be32(p + 8, b->table_size);
		put_be32(p + 12, (b->flags & ~(uint32_t)BITMAP_IN_USE) |
					 (b->broken || b->held ? BITMAP_IN_USE : 0));
		p[16] = b->type;
		p[17] = b->granularity_bits;
		put_be16(p + 18, (uint16_t)name);
		memcpy(p + BITMAP_ENTRY, b->name, name);
	}
	return dir;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_check(const struct qcow2_bitmap *list, size_t n, struct err *err)
{
	AUTO_FREE char **name = calloc(n + 1, sizeof(char *));

	if (!name)
		return err_nomem(err, n * sizeof(*name), "bitmaps");
	for (size_t i = 0; i < n; i++)
		name[i] = list[i].name;
	qsort(name, n, sizeof(char *), by_name);
	for (size_t i = 1; i < n; i++)
		if (strcmp(name[i - 1], name[i]) == 0)
			return err_set(err, EINVAL, "Bitmap already exists: %s", name[i]);
	return 0;
}

static int decode(const struct qcow2 *q, const uint8_t *dir, size_t size,
		  struct qcow2_bitmap *list, size_t *n, struct err *err)
{
	uint32_t want = q->extra.nb_bitmaps;

	for (size_t at = 0, len; at < size; at += len) {
		size_t name_len;

		if (*n == want)
			return err_set(err, EINVAL,
				       "More bitmaps found than specified in header "
				       "extension");
		len = entry_decode(dir + at, size - at, &list[*n], &name_len, err);
		if (len == 0)
			return -1;
		if (entry_check(q, &list[(*n)++], name_len, err) < 0)
			return -1;
	}
	if (*n < want)
		return err_set(err, EINVAL,
			       "Less bitmaps found than specified in header extension");
	return names_check(list, *n, err);
}

int qcow2_bitmaps_read(const struct qcow2 *q, struct qcow2_bitmap **list, size_t *n,
		       struct err *err)
{
	const struct qcow2_extra *x = &q->extra;
	AUTO_FREE uint8_t *dir = NULL;
	uint64_t file_end;

	*list = NULL;
	*n = 0;
	if (!x->has_bitmaps || !(q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	/* header.c has bounded the size to 64 MiB and the count to 65535 */
	file_end = round_up(blk_size(q->image.blk.lower), q->cluster_size);
	if (x->bitmap_dir_off > file_end || x->bitmap_dir_size > file_end - x->bitmap_dir_off)
		return err_set(err, EINVAL,
			       "The bitmap directory at %#" PRIx64 " (%" PRIu64
			       " bytes) is beyond the end of the file",
			       x->bitmap_dir_off, x->bitmap_dir_size);
	dir = malloc(x->bitmap_dir_size + 1);
	if (!dir)
		return err_nomem(err, x->bitmap_dir_size, "the bitmap directory");
	*list = calloc(x->nb_bitmaps, sizeof(**list));
	if (!*list)
		return err_nomem(err, x->nb_bitmaps * sizeof(**list), "bitmaps");
	if (blk_pread(q->image.blk.lower, dir, x->bitmap_dir_size, x->bitmap_dir_off, err) <
		    0 ||
	    decode(q, dir, x->bitmap_dir_size, *list, n, err) < 0) {
		qcow2_bitmaps_free(*list, x->nb_bitmaps);
		*list = NULL;
		*n = 0;
		return -1;
	}
	return 0;
}

static bool good_entry(const struct qcow2 *q, uint64_t v)
{
	uint64_t off = v & QCOW2_OFF_MASK;

	return !(v & ~(QCOW2_OFF_MASK | BITMAP_ALL_SET)) && !(off && (v & BITMAP_ALL_SET)) &&
	       off % q->cluster_size == 0;
}

/* As for the peer, what of a table is past the end of the file is zero. Bytes. */
static uint64_t table_in_file(const struct qcow2 *q, const struct qcow2_bitmap *b)
{
	uint64_t size = blk_size(q->image.blk.lower);

	return b->table_off < size ? MIN(b->table_size * UINT64_C(8), size - b->table_off) : 0;
}

uint64_t *qcow2_bitmap_table(const struct qcow2 *q, const struct qcow2_bitmap *b,
			     struct err *err)
{
	/* bounded by BITMAP_BYTES_MAX, in clusters */
	uint64_t *table = calloc(b->table_size, sizeof(*table));
	size_t n = table_in_file(q, b) / 8;

	if (!table) {
		err_nomem(err, b->table_size * sizeof(*table), "a bitmap's table");
		return NULL;
	}
	if (blk_pread(q->image.blk.lower, table, n * 8, b->table_off, err))
		goto fail;
	for (size_t i = 0; i < n; i++) {
		table[i] = get_be64(&table[i]);
		if (!good_entry(q, table[i])) {
			err_set(err, EINVAL,
				"Could not read bitmap_table table from image for bitmap '%s': "
				"Invalid argument",
				b->name);
			goto fail;
		}
	}
	return table;
fail:
	free(table);
	return NULL;
}

static int set_warning(struct qcow2 *q, struct err *err)
{
	const char *why = q->h.version < 3
				  ? "This qcow2 v2 image contains bitmaps, but they may have "
				    "been modified by a program without persistent bitmap "
				    "support; so now they must all be considered inconsistent"
				  : "a program lacking bitmap support modified this file, so "
				    "all bitmaps are now considered inconsistent";

	if (asprintf(&q->image.warning,
		     "%s\nSome clusters may be leaked, run 'qemu-img check -r' on the image "
		     "file to fix.",
		     why) >= 0)
		return 0;
	q->image.warning = NULL;
	return err_nomem(err, 300, "a warning");
}

int qcow2_bitmaps_load(struct qcow2 *q, struct err *err)
{
	uint64_t total = 0;

	if (q->extra.has_bitmaps && !(q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS)) {
		/* whoever writes the header next leaves them out */
		if (q->flags & IMAGE_WRITE)
			q->extra.has_bitmaps = false;
		return set_warning(q, err);
	}
	if (qcow2_bitmaps_read(q, &q->bitmap, &q->nbitmap, err))
		return -1;
	for (size_t i = 0; i < q->nbitmap; i++) {
		struct qcow2_bitmap *b = &q->bitmap[i];
		uint64_t *table;

		b->broken = b->flags & BITMAP_IN_USE;
		if (b->broken)
			continue;
		/* a place is not in two tables: no more is read than there is */
		total += table_in_file(q, b);
		if (total > blk_size(q->image.blk.lower))
			return err_set(err, EINVAL,
				       "The tables of bitmaps overlap: with that of "
				       "'%s' they are longer than the file",
				       b->name);
		table = qcow2_bitmap_table(q, b, err);
		if (!table)
			return -1;
		free(table);
	}
	qcow2_bitmaps_track(q);
	return 0;
}
