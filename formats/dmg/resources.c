/*
 * Where the tables are: "resource-fork" -> "blkx" of the property list, each "Data" one of them
 * in base64; or, in older images, the resources of type blkx of a resource fork (Inside
 * Macintosh: More Macintosh Toolbox, 1-121).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/dmg/dmg.h"
#include "lib/base64.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/xml.h"

#define FORK_HEADER 16
#define FORK_MAP    30 /* up to the number of types */
#define FORK_BLKX   UINT32_C(0x626c6b78)

/* ---- the property list ------------------------------------------------------------- */

/* The value of a key in a dict; NULL: it is not there. */
static const struct xml *plist_get(const struct xml *dict, const char *key)
{
	const struct xml *e = dict ? xml_child(dict, NULL) : NULL;

	while (e) {
		const struct xml *value = xml_next(e, NULL);

		if (strcmp(xml_name(e), "key") == 0 && strcmp(xml_text(e), key) == 0)
			return value;
		e = value;
	}
	return NULL;
}

static int add_data(const struct xml *data, const struct dmg_trailer *h, uint64_t file_size,
		    struct dmg_tables *t, struct err *err)
{
	const char *text = xml_text(data);
	AUTO_FREE uint8_t *p = NULL;
	size_t n;

	if (base64_decode(text, strlen(text), &p, &n, err))
		return err_prefix(err, "The property list's table %zu", t->n);
	return dmg_table_add(t, p, n, h, file_size, err);
}

static int add_all(const struct xml *root, const struct dmg_trailer *h, uint64_t file_size,
		   struct dmg_tables *t, struct err *err)
{
	const struct xml *fork = plist_get(xml_child(root, "dict"), "resource-fork");
	const struct xml *list = plist_get(fork, "blkx");

	if (!list)
		return err_set(err, EINVAL, "The property list has no tables (blkx)");
	for (const struct xml *e = xml_child(list, "dict"); e; e = xml_next(e, "dict")) {
		const struct xml *data = plist_get(e, "Data");

		if (data && add_data(data, h, file_size, t, err))
			return -1;
	}
	return 0;
}

int dmg_plist_tables(const char *text, size_t n, const struct dmg_trailer *h,
		     uint64_t file_size, struct dmg_tables *t, struct err *err)
{
	struct xml *root = xml_parse(text, n, err);
	int rc;

	if (!root)
		return err_prefix(err, "The property list");
	rc = add_all(root, h, file_size, t, err);
	xml_free(root);
	return rc;
}

/* ---- the resource fork ------------------------------------------------------------- */

struct fork {
	const uint8_t *p;
	size_t n;
	uint32_t data, map, data_len, map_len;
};

static int bad_fork(const char *what, uint64_t at, struct err *err)
{
	return err_set(err, EINVAL,
		       "The resource fork's %s (at %#" PRIx64 ") is beyond its end", what, at);
}

static bool inside(uint64_t at, uint64_t len, uint64_t end)
{
	return at <= end && len <= end - at;
}

/* n references from `at` of the fork on. */
static int add_references(const struct fork *f, uint64_t at, uint32_t n,
			  const struct dmg_trailer *h, uint64_t file_size, struct dmg_tables *t,
			  struct err *err)
{
	if (!inside(at, 12 * (uint64_t)n, f->n))
		return bad_fork("list of tables", at, err);
	for (uint32_t i = 0; i < n; i++, at += 12) {
		uint64_t data = f->data + (uint64_t)(get_be32(f->p + at + 4) & 0xffffff);

		if (!inside(data, 4, f->n) || !inside(data + 4, get_be32(f->p + data), f->n))
			return bad_fork("table", data, err);
		if (dmg_table_add(t, f->p + data + 4, get_be32(f->p + data), h, file_size, err))
			return -1;
	}
	return 0;
}

int dmg_fork_tables(const uint8_t *fork, size_t n, const struct dmg_trailer *h,
		    uint64_t file_size, struct dmg_tables *t, struct err *err)
{
	struct fork f = {.p = fork, .n = n};
	uint64_t types, at;
	uint32_t count;

	if (n < FORK_HEADER)
		return bad_fork("header", 0, err);
	f.data = get_be32(fork);
	f.map = get_be32(fork + 4);
	if (!inside(f.map, FORK_MAP, n))
		return bad_fork("map", f.map, err);
	types = f.map + (uint64_t)get_be16(fork + f.map + 24);
	if (!inside(types, 2, n))
		return bad_fork("list of types", types, err);
	count = (get_be16(fork + types) + 1u) & 0xffff; /* 0xffff: none */
	if (!inside(types + 2, 8 * (uint64_t)count, n))
		return bad_fork("list of types", types, err);
	for (uint32_t i = 0; i < count; i++) {
		at = types + 2 + 8 * (uint64_t)i;
		if (get_be32(fork + at) == FORK_BLKX &&
		    add_references(&f, types + get_be16(fork + at + 6),
				   get_be16(fork + at + 4) + 1u, h, file_size, t, err))
			return -1;
	}
	return 0;
}

/* ---- both -------------------------------------------------------------------------- */

/* An image that was made to be written has its data as it is, and no tables. */
static int add_plain(const struct dmg_trailer *h, uint64_t file_size, struct dmg_tables *t,
		     struct err *err)
{
	if (h->data_off > file_size || h->data_len > file_size - h->data_off ||
	    h->data_len / DMG_SECTOR < h->sectors)
		return err_set(err, EINVAL,
			       "The image has no tables, and not the data of %" PRIu64
			       " sectors",
			       h->sectors);
	t->chunk = malloc(sizeof(*t->chunk));
	if (!t->chunk)
		return err_nomem(err, sizeof(*t->chunk), "a chunk");
	*t->chunk =
		(struct dmg_chunk){.count = h->sectors, .off = h->data_off, .type = DMG_RAW};
	t->nchunk = t->chunk_room = 1;
	return 0;
}

int dmg_resources_read(struct blk *file, const struct dmg_trailer *h, struct dmg_tables *t,
		       struct err *err)
{
	bool xml = h->xml_len > 0;
	size_t n = (size_t)(xml ? h->xml_len : h->fork_len);
	AUTO_FREE uint8_t *buf = NULL;

	if (n == 0)
		return add_plain(h, blk_size(file), t, err);
	buf = malloc(n);
	if (!buf)
		return err_nomem(err, n, "the resources");
	if (blk_pread(file, buf, n, xml ? h->xml_off : h->fork_off, err))
		return -1;
	if (xml)
		return dmg_plist_tables((const char *)buf, n, h, blk_size(file), t, err);
	return dmg_fork_tables(buf, n, h, blk_size(file), t, err);
}
