/*
 * A folder with any names and sizes as a FAT disk, without the folder: short names, sizes of
 * directories, the division of the disk and the entries. And any location of one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/io/fat/fat.h"
#include "lib/bytes.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define NODES 200

static void try_location(const uint8_t *data, size_t n)
{
	char *text = malloc(n + 5);
	struct err err;
	struct opts *o = opts_new(&err);

	if (text && o) {
		memcpy(text, "fat:", 4);
		memcpy(text + 4, data, n);
		text[4 + n] = '\0';
		if (fat_location(text, o, &err) == 0 && !opts_has(o, "dir"))
			abort();
		fat_location(text + 4, o, &err);
	}
	opts_free(o);
	free(text);
}

/* Each name follows a byte with its kind and length, and three of its size. */
static void add_nodes(struct fat_tree *t, const uint8_t *data, size_t n)
{
	size_t folder = 0;

	while (n > 4 && t->n < NODES) {
		struct fat_node *node = &t->node[t->n];
		size_t len = MIN(1 + data[0] % 128u, n - 4);

		node->name = strndup((const char *)data + 4, len);
		node->folder = data[0] & 128;
		node->size = node->folder ? 0
					  : (uint64_t)(get_le16(data + 1)) << (data[3] % 17);
		node->mtime = (int64_t)get_le32(data) << (data[2] % 8);
		node->parent = (uint32_t)folder;
		data += 4 + len;
		n -= 4 + len;
		if (!node->name || !node->name[0]) {
			free(node->name);
			continue;
		}
		if (t->node[folder].count++ == 0)
			t->node[folder].first = (uint32_t)t->n;
		t->n++;
		/* the next folder, where this one has enough */
		if (t->node[folder].count > 20) {
			while (++folder < t->n && !t->node[folder].folder)
				;
			if (folder == t->n)
				return;
		}
	}
}

static void unique(const struct fat_tree *t, const struct fat_node *dir)
{
	for (size_t i = dir->first; i < (size_t)dir->first + dir->count; i++)
		for (size_t k = dir->first; k < i; k++)
			if (memcmp(t->node[i].alias, t->node[k].alias, FAT_ALIAS) == 0)
				abort();
}

static void make_disk(struct fat_tree *t, const struct fat_want *w)
{
	struct fat_shape s;
	struct err err;

	for (size_t i = 0; i < t->n; i++) {
		if (!t->node[i].folder)
			continue;
		if (fat_alias(t, i, &err))
			return;
		unique(t, &t->node[i]);
	}
	if (fat_dir_sizes(t, &err) || fat_shape_make(&s, t, w, &err))
		return;
	if (s.used > s.clusters || s.data + (uint64_t)s.clusters * s.per_cluster > s.size ||
	    s.start + (uint64_t)s.size > s.disk)
		abort();
	for (size_t i = 0; i < t->n; i++) {
		uint8_t *to;

		if (!t->node[i].folder)
			continue;
		to = malloc(t->node[i].size); /* exactly: a byte too many is seen */
		if (to && fat_dir_put(t, i, (const uint8_t *)w->label, to, &err))
			abort();
		free(to);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const unsigned types[] = {0, 12, 16, 32};
	struct fat_tree t = {.n = 1, .root = -1, .utc = true};
	struct fat_want w = {.dir = "d"};

	if (n < 2)
		return 0;
	try_location(data, n);
	t.node = calloc(NODES, sizeof(*t.node));
	if (!t.node)
		return 0;
	t.node[0].name = strdup("d");
	t.node[0].folder = true;
	memset(w.label, 'L', FAT_LABEL);
	w.type = types[data[0] % 4];
	w.floppy = data[0] & 4;
	add_nodes(&t, data + 1, n - 1);
	make_disk(&t, &w);
	fat_tree_free(&t);
	return 0;
}
