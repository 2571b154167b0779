/*
 * The bitmap directory: docs/interop/qcow2.rst, sections "Bitmaps extension", "Bitmap
 * directory". The limits and the wording are the peer's.
 */
#include "formats/qcow2/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

enum {
	ENTRY = 24,	       /* fixed part of a directory entry */
	TABLE_MAX = 0x8000000, /* entries */
	NAME_MAX_LEN = 1023,
	GRANULARITY_MIN = 9,
	GRANULARITY_MAX = 31,
	FLAG_IN_USE = 1,
	FLAGS_RESERVED = ~3,
	TYPE_DIRTY = 1,
};

void qcow2_bitmaps_free(struct qcow2_bitmap *list, size_t n)
{
	for (size_t i = 0; list && i < n; i++)
		free(list[i].name);
	free(list);
}

uint64_t qcow2_bitmap_clusters(uint64_t size, unsigned granularity_bits, uint64_t cluster)
{
	uint64_t bits = div_up(size, UINT64_C(1) << granularity_bits);

	return div_up(div_up(bits, 8), cluster);
}

static int entry_check(const struct qcow2 *q, const struct qcow2_bitmap *b, size_t name_len,
		       struct err *err)
{
	if (name_len == 0 || name_len > NAME_MAX_LEN || b->table_size == 0 ||
	    b->table_size > TABLE_MAX || b->table_off == 0 ||
	    b->table_off % q->cluster_size != 0 || b->granularity_bits < GRANULARITY_MIN ||
	    b->granularity_bits > GRANULARITY_MAX || (b->flags & (uint32_t)FLAGS_RESERVED) ||
	    b->type != TYPE_DIRTY)
		return err_set(err, EINVAL, "Bitmap '%s' doesn't satisfy the constraints",
			       b->name);
	if (!(b->flags & FLAG_IN_USE) &&
	    b->table_size !=
		    qcow2_bitmap_clusters(q->h.size, b->granularity_bits, q->cluster_size))
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

	if (n < ENTRY)
		return err_set(err, EINVAL, "Broken bitmap directory"), 0;
	*name_len = get_be16(p + 18);
	extra = get_be32(p + 20);
	len = round_up((uint64_t)ENTRY + extra + *name_len, 8);
	if (len > n)
		return err_set(err, EINVAL, "Broken bitmap directory"), 0;
	if (extra != 0)
		return err_set(err, EINVAL, "Bitmap extra data is not supported"), 0;
	b->table_off = get_be64(p);
	b->table_size = get_be32(p + 8);
	b->flags = get_be32(p + 12);
	b->type = p[16];
	b->granularity_bits = p[17];
	b->name = strndup((const char *)p + ENTRY, *name_len);
	if (!b->name)
		return err_nomem(err, *name_len, "a bitmap's name"), 0;
	return (size_t)len;
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
	file_end = round_up(q->file_size, q->cluster_size);
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
