/*
 * Short names: eight characters and three, upper case, each only once in its folder.
 *
 * Names that are one already keep it. The others get theirs by the document's "basis-name
 * generation algorithm": what does not fit is cut off or becomes '_', and "~1", "~2" ...
 * tells them apart. They come second, so that no such name is also the long name of another
 * file.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/io/fat/fat.h"
#include "lib/mem.h"
#include "lib/utf16.h"

#define BASE	     8
#define EXTENSION    3
#define TAIL_BASE    6 /* what "~1" leaves of the base */
#define TAIL_MAX     999999
#define LONG_UNITS   13	 /* of a long name in one entry */
#define LONG_MAX     255 /* characters of a long name */
#define NOT_IN_NAMES "\"*/:<>?\\|"
#define ALSO_IN_LONG "+,;=[]" /* and the space */

/* Of short names: which are taken, or how far the tails of one have come. */
struct map {
	struct slot {
		uint8_t key[FAT_ALIAS];
		uint32_t tail;
		bool used;
	} * slot;
	size_t mask;
};

static int map_new(struct map *m, size_t n, struct err *err)
{
	size_t room = 4;

	while (room < 2 * n)
		room *= 2;
	m->mask = room - 1;
	m->slot = calloc(room, sizeof(*m->slot));
	return m->slot ? 0 : err_nomem(err, room * sizeof(*m->slot), "short names");
}

/* The slot of the key, or the free one where it belongs. */
static struct slot *map_find(const struct map *m, const uint8_t *key)
{
	uint64_t h = 14695981039346656037ull;

	for (size_t i = 0; i < FAT_ALIAS; i++)
		h = (h ^ key[i]) * 1099511628211ull;
	h ^= h >> 32;
	while (m->slot[h & m->mask].used && memcmp(m->slot[h & m->mask].key, key, FAT_ALIAS))
		h++;
	return &m->slot[h & m->mask];
}

static bool map_add(struct map *m, const uint8_t *key)
{
	struct slot *s = map_find(m, key);

	if (s->used)
		return false;
	s->used = true;
	memcpy(s->key, key, FAT_ALIAS);
	return true;
}

static bool is_short(unsigned char c)
{
	return c > ' ' && c < 0x7f && !strchr(NOT_IN_NAMES ALSO_IN_LONG ".", c);
}

static int refuse(const struct fat_tree *t, size_t node, const char *why, struct err *err)
{
	AUTO_FREE char *path = fat_path(t, node, true, err);

	if (!path)
		return -1;
	return err_set(err, EINVAL, "'%s' cannot be on a FAT disk: %s", path, why);
}

/* Also counts the entries of the long name. */
static int check_name(const struct fat_tree *t, size_t at, struct err *err)
{
	struct fat_node *node = &t->node[at];
	size_t len = strlen(node->name), n;
	AUTO_FREE uint8_t *wide = NULL;
	bool lossy;

	for (const char *p = node->name; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f || strchr(NOT_IN_NAMES, *p))
			return refuse(t, at,
				      "control characters and any of " NOT_IN_NAMES
				      " are not possible in its names",
				      err);
	if (node->name[len - 1] == '.' || node->name[len - 1] == ' ')
		return refuse(t, at, "the name ends in a dot or a space", err);
	wide = utf8_to_utf16(node->name, false, &n, &lossy, err);
	if (!wide)
		return -1;
	if (lossy)
		return refuse(t, at, "the name is not UTF-8", err);
	if (n / 2 > LONG_MAX)
		return refuse(t, at, "the name has more than 255 characters", err);
	node->nlong = (uint8_t)div_up(n / 2, LONG_UNITS);
	return 0;
}

/* Is the name, but for its case, a short one? */
static bool natural(struct fat_node *node)
{
	const char *dot = strrchr(node->name, '.'), *p = node->name;
	size_t base = dot ? (size_t)(dot - p) : strlen(p);
	size_t ext = dot ? strlen(dot + 1) : 0;
	bool upper = true;

	if (base == 0 || base > BASE || ext > EXTENSION)
		return false;
	memset(node->alias, ' ', FAT_ALIAS);
	for (size_t i = 0; p[i]; i++) {
		if (p + i == dot)
			continue;
		if (!is_short((unsigned char)p[i]))
			return false;
		upper = upper && !(p[i] >= 'a' && p[i] <= 'z');
		node->alias[i < base ? i : BASE + i - base - 1] =
			(uint8_t)(p[i] >= 'a' && p[i] <= 'z' ? p[i] - 32 : p[i]);
	}
	if (upper)
		node->nlong = 0;
	return true;
}

/* Up to `max` characters of [p, end) that a short name can have; a character of several
 * bytes becomes one '_'. Returns how many. */
static size_t squeeze(const char *p, const char *end, uint8_t *to, size_t max)
{
	size_t n = 0;

	for (; p < end && n < max; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == ' ' || c == '.' || (c & 0xc0) == 0x80)
			continue;
		if (c >= 'a' && c <= 'z')
			c -= 32;
		to[n++] = is_short(c) ? c : '_';
	}
	return n;
}

static int invent(const struct fat_tree *t, size_t at, struct map *taken, struct map *tails,
		  struct err *err)
{
	struct fat_node *node = &t->node[at];
	const char *name = node->name + strspn(node->name, " .");
	const char *end = name + strlen(name), *dot = strrchr(name, '.');
	uint8_t base[BASE], key[FAT_ALIAS];
	struct slot *s;
	size_t n;

	memset(node->alias, ' ', FAT_ALIAS);
	n = squeeze(name, dot ? dot : end, base, TAIL_BASE);
	if (n == 0)
		base[n++] = '_';
	if (dot)
		squeeze(dot + 1, end, node->alias + BASE, EXTENSION);
	memcpy(key, node->alias, FAT_ALIAS);
	memcpy(key, base, n);
	map_add(tails, key);
	s = map_find(tails, key);
	while (s->tail < TAIL_MAX) {
		char tail[BASE + 1];
		size_t len = (size_t)snprintf(tail, sizeof(tail), "~%u", (unsigned)++s->tail);
		size_t keep = MIN(n, BASE - len);

		memset(node->alias, ' ', BASE);
		memcpy(node->alias, base, keep);
		memcpy(node->alias + keep, tail, len);
		if (map_add(taken, node->alias))
			return 0;
	}
	return refuse(t, at, "there are no more short names like it", err);
}

static int name_all(const struct fat_tree *t, const struct fat_node *dir, struct map *taken,
		    struct map *tails, struct err *err)
{
	size_t end = (size_t)dir->first + dir->count;
	AUTO_FREE bool *done = calloc(dir->count ? dir->count : 1, sizeof(*done));

	if (!done)
		return err_nomem(err, dir->count, "short names");
	for (size_t i = dir->first; i < end; i++) {
		done[i - dir->first] = natural(&t->node[i]);
		if (done[i - dir->first])
			map_add(taken, t->node[i].alias);
	}
	for (size_t i = dir->first; i < end; i++)
		if (!done[i - dir->first] && invent(t, i, taken, tails, err))
			return -1;
	return 0;
}

int fat_alias(struct fat_tree *t, size_t folder, struct err *err)
{
	const struct fat_node *dir = &t->node[folder];
	struct map taken = {0}, tails = {0};
	int rc;

	for (size_t i = 0; i < dir->count; i++)
		if (check_name(t, dir->first + i, err))
			return -1;
	if (fat_same_names(t, folder, err))
		return -1;
	rc = map_new(&taken, dir->count, err);
	if (rc == 0)
		rc = map_new(&tails, dir->count, err);
	if (rc == 0)
		rc = name_all(t, dir, &taken, &tails, err);
	free(taken.slot);
	free(tails.slot);
	return rc;
}
