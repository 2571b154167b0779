/*
 * The parent of a differencing image. The image tells its UUID and, as Windows would look for
 * it, a relative path, an absolute one and its name, some of which may be absent. One of them
 * is given to the caller, who decides.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vpc/vpc.h"
#include "lib/location.h"
#include "lib/mem.h"
#include "lib/utf16.h"

#define RELATIVE 0x57327275u /* W2ru */
#define ABSOLUTE 0x57326b75u /* W2ku */

/* ---- reading ------------------------------------------------------------------------- */

/* UTF-16 -> a name; NULL without an error: there is none. */
static int decode(const uint8_t *from, size_t n, bool big, char **out, struct err *err)
{
	bool lossy;

	*out = utf16_to_utf8(from, n, big, &lossy, err);
	if (!*out)
		return -1;
	if (lossy || !(*out)[0]) {
		free(*out);
		*out = NULL;
	}
	return 0;
}

/* The name that a locator of this sort leads to. */
static int read_locator(struct vpc *v, uint32_t code, char **out, struct err *err)
{
	struct blk *file = v->b.image.blk.lower;
	const struct vpc_locator *l = NULL;
	AUTO_FREE uint8_t *buf = NULL;

	*out = NULL;
	for (unsigned i = 0; i < VPC_LOCATORS && !l; i++)
		if (v->h.locator[i].code == code)
			l = &v->h.locator[i];
	if (!l || l->length == 0 || l->length > VPC_LOCATOR_MAX || l->off > blk_size(file) ||
	    l->length > blk_size(file) - l->off)
		return 0;
	buf = malloc(l->length);
	if (!buf)
		return err_nomem(err, l->length, "the parent's name");
	if (blk_pread(file, buf, l->length, l->off, err))
		return -1;
	return decode(buf, l->length, false, out, err);
}

/* "C:\..." or "\\server\...": of a Windows machine. */
static bool is_foreign(const char *path)
{
	return (isalpha((unsigned char)path[0]) && path[1] == ':') ||
	       strncmp(path, "\\\\", 2) == 0;
}

/* What is behind the last separator. */
static const char *last_part(const char *path)
{
	const char *p = path + strlen(path);

	while (p > path && p[-1] != '\\' && p[-1] != '/')
		p--;
	return p;
}

/* A Windows path as one of here. A foreign one leads nowhere but may have its name beside the
 * image. */
static void to_local(char *path)
{
	if (is_foreign(path)) {
		const char *name = last_part(path);

		if (name == path)
			name += 2;
		memmove(path, name, strlen(name) + 1);
	}
	for (char *p = path; *p; p++)
		if (*p == '\\')
			*p = '/';
	while (path[0] == '.' && path[1] == '/' && path[2] != '/')
		memmove(path, path + 2, strlen(path + 2) + 1);
}

int vpc_parent_read(struct vpc *v, struct err *err)
{
	static const uint32_t order[] = {RELATIVE, ABSOLUTE};
	char *name = NULL;

	for (size_t i = 0; i < ARRAY_LEN(order) && !name; i++)
		if (read_locator(v, order[i], &name, err))
			return -1;
	if (!name && decode(v->h.parent_name, VPC_NAME_LEN, true, &name, err))
		return -1;
	if (!name)
		return 0;
	to_local(name);
	v->b.image.backing = name;
	v->b.image.backing_format = strdup(format_vpc.name);
	return v->b.image.backing_format ? 0 : err_nomem(err, 4, "a format's name");
}

/* ---- writing ------------------------------------------------------------------------- */

static int check_path(const char *path, struct err *err)
{
	if (location_has_scheme(path))
		return err_set(err, EINVAL,
			       "A VHD's parent is named by the plain path of a file, not '%s'",
			       path);
	if (strchr(path, '\\'))
		return err_set(err, EINVAL,
			       "The path of a VHD's parent cannot have a backslash: '%s'",
			       path);
	return 0;
}

/* "dir/p.vhd" -> ".\dir\p.vhd", to be freed. */
static char *to_windows(const char *path)
{
	bool bare = path[0] != '/' && strncmp(path, "./", 2) != 0 &&
		    strncmp(path, "../", 3) != 0;
	char *out;

	if (asprintf(&out, "%s%s", bare ? "./" : "", path) < 0)
		return NULL;
	for (char *p = out; *p; p++)
		if (*p == '/')
			*p = '\\';
	return out;
}

/* The name in the header; a longer one is cut: the locator has it all. */
static int put_name(struct vpc_header *h, const char *path, struct err *err)
{
	AUTO_FREE uint8_t *name = NULL;
	bool lossy;
	size_t n;

	name = utf8_to_utf16(last_part(path), true, &n, &lossy, err);
	if (!name)
		return -1;
	if (lossy)
		return err_set(err, EINVAL, "The parent's name '%s' is not UTF-8", path);
	memcpy(h->parent_name, name, MIN(n, VPC_NAME_LEN - 2));
	return 0;
}

int vpc_parent_name(struct vpc_header *h, const char *path, uint64_t at, uint8_t **data,
		    size_t *n, struct err *err)
{
	AUTO_FREE char *windows = NULL;
	AUTO_FREE uint8_t *name = NULL;
	size_t len;

	if (check_path(path, err) || put_name(h, path, err))
		return -1;
	windows = to_windows(path);
	if (!windows)
		return err_nomem(err, strlen(path) + 3, "the parent's name");
	name = utf8_to_utf16(windows, false, &len, NULL, err);
	if (!name)
		return -1;
	if (len > VPC_LOCATOR_MAX)
		return err_set(err, ENAMETOOLONG, "The parent's name '%s' is too long", path);
	*n = round_up(len, VPC_SECTOR);
	*data = calloc(1, *n);
	if (!*data)
		return err_nomem(err, *n, "the parent's name");
	memcpy(*data, name, len);
	h->locator[0] = (struct vpc_locator){
		.code = path[0] == '/' ? ABSOLUTE : RELATIVE,
		.space = (uint32_t)(*n / VPC_SECTOR),
		.length = (uint32_t)len,
		.off = at,
	};
	return 0;
}

/* ---- is it the one? ------------------------------------------------------------------ */

int vpc_adopt(struct image *image, struct image *below, struct err *err)
{
	const struct vpc *v = (const struct vpc *)image;
	const uint8_t *is;
	char want[UUID_TEXT], have[UUID_TEXT];

	if (v->f.type != VPC_TYPE_DIFFERENCE)
		return err_set(err, EINVAL,
			       "A VHD that is not a difference has no backing file");
	if (below->format != &format_vpc)
		return err_set(err, EINVAL, "The parent of a VHD is one, not %s",
			       below->format->name);
	is = ((const struct vpc *)below)->f.uuid;
	if (memcmp(v->h.parent_uuid, is, UUID_LEN) != 0)
		return err_set(err, EINVAL,
			       "The image is a difference to one with UUID %s, but this one "
			       "has %s",
			       uuid_text(v->h.parent_uuid, want), uuid_text(is, have));
	return 0;
}
