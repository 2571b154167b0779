/* Directories: their entries, with those of long names in front of each. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "lib/io/fat/fat.h"
#include "lib/bytes.h"
#include "lib/layout.h"
#include "lib/mem.h"
#include "lib/utf16.h"

enum { ATTR_LABEL = 0x08, ATTR_FOLDER = 0x10, ATTR_FILE = 0x20, ATTR_LONG = 0x0f };

#define LAST_LONG  0x40
#define LONG_UNITS 13

struct entry {
	uint8_t name[FAT_ALIAS], attr, made_hundredths;
	uint16_t made_time, made_date, read_date, cluster_high, time, date, cluster_low;
	uint32_t size;
};

static const struct field entry_fields[] = {
	BYTES(0, struct entry, name),	       U8(11, struct entry, attr),
	U8(13, struct entry, made_hundredths), LE16(14, struct entry, made_time),
	LE16(16, struct entry, made_date),     LE16(18, struct entry, read_date),
	LE16(20, struct entry, cluster_high),  LE16(22, struct entry, time),
	LE16(24, struct entry, date),	       LE16(26, struct entry, cluster_low),
	LE32(28, struct entry, size),	       FIELD_END,
};

int fat_dir_sizes(struct fat_tree *t, struct err *err)
{
	for (size_t i = 0; i < t->n; i++) {
		struct fat_node *dir = &t->node[i];
		uint64_t n = i == 0 ? 1 : 2; /* the label; "." and ".." */

		if (!dir->folder)
			continue;
		for (size_t k = 0; k < dir->count; k++)
			n += 1u + t->node[dir->first + k].nlong;
		if (n > FAT_DIR_MAX) {
			AUTO_FREE char *path = fat_path(t, i, true, err);

			return !path ? -1
				     : err_set(err, EFBIG,
					       "'%s' needs %" PRIu64
					       " entries for its %u names: a directory of a "
					       "FAT disk has %u at most",
					       path, n, dir->count, FAT_DIR_MAX);
		}
		dir->size = n * FAT_ENTRY;
	}
	return 0;
}

/* Times of FAT reach from 1980 to 2107, in steps of two seconds. */
static void put_time(struct entry *e, const struct fat_tree *t, int64_t when)
{
	time_t seconds = (time_t)when;
	struct tm tm = {0};

	if (!(t->utc ? gmtime_r(&seconds, &tm) : localtime_r(&seconds, &tm)) || tm.tm_year < 80)
		tm = (struct tm){.tm_year = 80, .tm_mday = 1};
	if (tm.tm_year > 207)
		tm = (struct tm){.tm_year = 207, 11, 31, .tm_hour = 23, 59, 59};
	e->date = (uint16_t)((tm.tm_year - 80) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday);
	e->time = (uint16_t)(tm.tm_hour << 11 | tm.tm_min << 5 | MIN(tm.tm_sec, 59) / 2);
	e->made_date = e->read_date = e->date;
	e->made_time = e->time;
	e->made_hundredths = tm.tm_sec % 2 ? 100 : 0;
}

static uint8_t *put_entry(uint8_t *to, const struct fat_tree *t, const uint8_t *name,
			  uint8_t attr, const struct fat_node *node, bool place)
{
	struct entry e = {.attr = attr};

	memcpy(e.name, name, FAT_ALIAS);
	put_time(&e, t, node->mtime);
	if (place) {
		e.cluster_high = (uint16_t)(node->cluster >> 16);
		e.cluster_low = (uint16_t)node->cluster;
		e.size = node->folder ? 0 : (uint32_t)node->size;
	}
	memset(to, 0, FAT_ENTRY);
	layout_encode(entry_fields, &e, to);
	return to + FAT_ENTRY;
}

static uint8_t checksum(const uint8_t *alias)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < FAT_ALIAS; i++)
		sum = (uint8_t)((sum << 7 | sum >> 1) + alias[i]);
	return sum;
}

/* The last part of the name comes first. What is left of it is a zero and then 0xffff. */
static int put_long(uint8_t **to, const struct fat_node *node, struct err *err)
{
	static const uint8_t at[LONG_UNITS] = {1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30};
	size_t n;
	AUTO_FREE uint8_t *wide = utf8_to_utf16(node->name, false, &n, NULL, err);

	if (!wide)
		return -1;
	n /= 2;
	for (unsigned part = node->nlong; part > 0; part--) {
		uint8_t *e = *to;

		memset(e, 0, FAT_ENTRY);
		e[0] = (uint8_t)(part | (part == node->nlong ? LAST_LONG : 0));
		e[11] = ATTR_LONG;
		e[13] = checksum(node->alias);
		for (size_t i = 0; i < LONG_UNITS; i++) {
			size_t k = (part - 1) * LONG_UNITS + i;
			uint16_t c = k < n ? get_le16(wide + 2 * k) : k == n ? 0 : 0xffff;

			put_le16(e + at[i], c);
		}
		*to += FAT_ENTRY;
	}
	return 0;
}

int fat_dir_put(const struct fat_tree *t, size_t folder, const uint8_t *label, uint8_t *to,
		struct err *err)
{
	static const uint8_t dot[] = ".          ", dots[] = "..         ";
	const struct fat_node *dir = &t->node[folder];

	if (folder == 0) {
		to = put_entry(to, t, label, ATTR_LABEL, dir, false);
	} else {
		/* ".." of a folder in the root names no cluster, also in FAT32 */
		to = put_entry(to, t, dot, ATTR_FOLDER, dir, true);
		to = put_entry(to, t, dots, ATTR_FOLDER, &t->node[dir->parent],
			       dir->parent != 0);
	}
	for (size_t i = dir->first; i < (size_t)dir->first + dir->count; i++) {
		const struct fat_node *node = &t->node[i];

		if (put_long(&to, node, err))
			return -1;
		to = put_entry(to, t, node->alias, node->folder ? ATTR_FOLDER : ATTR_FILE, node,
			       true);
	}
	return 0;
}
