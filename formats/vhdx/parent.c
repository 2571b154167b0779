/*
 * The parent of an image that is a difference (2.6.2.6): a list of keys and values, among
 * them where the parent was seen, and what its DataWriteGuid was.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vhdx/vhdx.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/utf16.h"

enum { LOCATOR_HEAD = 20, LOCATOR_ENTRY = 12, TEXT_MAX = 2 * 32767 };

/* b04aefb7-d19e-4a81-b789-25b8e9445913, as stored */
static const uint8_t locator_type[UUID_LEN] = {0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a,
					       0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13};

static int bad_locator(struct err *err, const char *what)
{
	return err_set(err, EINVAL, "The image's parent locator %s", what);
}

/* One text of the item; to be freed. */
static char *read_text(const uint8_t *item, uint32_t n, uint32_t off, uint16_t len,
		       struct err *err)
{
	bool lossy;
	char *text;

	if (off > n || len > n - off || len % 2 || len > TEXT_MAX) {
		bad_locator(err, "is cut off");
		return NULL;
	}
	text = utf16_to_utf8(item + off, len, false, &lossy, err);
	if (text && lossy) {
		free(text);
		bad_locator(err, "has text that is not UTF-16");
		return NULL;
	}
	return text;
}

static char **value_of(struct vhdx_meta *m, const char *key)
{
	if (strcmp(key, "relative_path") == 0)
		return &m->relative_path;
	if (strcmp(key, "volume_path") == 0)
		return &m->volume_path;
	if (strcmp(key, "absolute_win32_path") == 0)
		return &m->absolute_path;
	if (strcmp(key, "parent_linkage") == 0)
		return &m->linkage;
	if (strcmp(key, "parent_linkage2") == 0)
		return &m->linkage2;
	return NULL;
}

static int read_pair(struct vhdx_meta *m, const uint8_t *item, uint32_t n, const uint8_t *p,
		     struct err *err)
{
	AUTO_FREE char *key = read_text(item, n, get_le32(p), get_le16(p + 8), err);
	char **to;

	if (!key)
		return -1;
	to = value_of(m, key);
	if (!to)
		return 0;
	if (*to)
		return bad_locator(err, "has a key twice");
	*to = read_text(item, n, get_le32(p + 4), get_le16(p + 10), err);
	return *to ? 0 : -1;
}

int vhdx_locator_read(struct vhdx_meta *m, const uint8_t *item, uint32_t n, struct err *err)
{
	uint32_t count;

	if (n < LOCATOR_HEAD)
		return bad_locator(err, "is cut off");
	if (memcmp(item, locator_type, UUID_LEN) != 0)
		return err_set(err, ENOTSUP, "The image's parent is not told in a known way");
	count = get_le16(item + 18);
	if (count > (n - LOCATOR_HEAD) / LOCATOR_ENTRY)
		return bad_locator(err, "is cut off");
	for (uint32_t i = 0; i < count; i++)
		if (read_pair(m, item, n, item + LOCATOR_HEAD + i * LOCATOR_ENTRY, err))
			return -1;
	return 0;
}

/* ---- where it is --------------------------------------------------------------------- */

/* A path of Windows that is relative to the image: one of ours. */
static char *from_relative(const char *path)
{
	char *to = strdup(path);

	for (char *p = to; p && *p; p++)
		if (*p == '\\')
			*p = '/';
	if (to && strncmp(to, "./", 2) == 0)
		memmove(to, to + 2, strlen(to + 2) + 1);
	return to;
}

/* Of a path on another computer: the name, beside the image. */
static char *from_elsewhere(const char *path)
{
	const char *slash = strrchr(path, '\\');

	return strdup(slash ? slash + 1 : path);
}

int vhdx_parent_path(const struct vhdx_meta *m, char **path, struct err *err)
{
	const char *from = m->absolute_path ? m->absolute_path : m->volume_path;

	*path = NULL;
	if (m->relative_path && *m->relative_path)
		*path = from_relative(m->relative_path);
	else if (from)
		*path = from_elsewhere(from);
	else
		return 0;
	if (!*path)
		return err_nomem(err, 1, "a file name");
	if (!**path) {
		free(*path);
		*path = NULL;
	}
	return 0;
}

/* ---- is it the one? ------------------------------------------------------------------- */

/* Is this value the GUID? */
static bool links(const char *text, const uint8_t *stored)
{
	uint8_t want[UUID_LEN], have[UUID_LEN];
	struct err later;

	if (!text || uuid_parse(text, want, &later))
		return false;
	uuid_swap(stored, have);
	return memcmp(want, have, UUID_LEN) == 0;
}

int vhdx_adopt(struct image *image, struct image *below, struct err *err)
{
	const struct vhdx *v = (struct vhdx *)image, *parent = (struct vhdx *)below;
	char have[UUID_TEXT];
	uint8_t id[UUID_LEN];

	if (!v->m.has_parent)
		return err_set(err, EINVAL,
			       "A VHDX image that is not a difference has no backing file");
	if (below->format != &format_vhdx)
		return err_set(err, EINVAL, "The parent of a VHDX image is one, not %s",
			       below->format->name);
	if (parent->m.logical != v->m.logical)
		return err_set(err, EINVAL,
			       "The image's parent has sectors of %" PRIu32
			       " bytes, not %" PRIu32,
			       parent->m.logical, v->m.logical);
	if (links(v->m.linkage, parent->h.data_write) ||
	    links(v->m.linkage2, parent->h.data_write))
		return 0;
	uuid_swap(parent->h.data_write, id);
	return err_set(
		err, EINVAL,
		"The image is a difference to one with data of %.40s, but this one has %s: "
		"it is another one, or was written since",
		v->m.linkage ? v->m.linkage : "an unknown GUID", uuid_text(id, have));
}
