/*
 * Names that are one on FAT, which keeps upper and lower case and tells names apart by
 * neither. Which letters are a pair: Latin, Greek, Cyrillic and Armenian ones, which is what
 * all systems agree on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/io/fat/fat.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/utf16.h"

struct folded {
	uint8_t *text; /* UTF-16 in upper case */
	size_t n;
	size_t node;
};

/* Ranges of small letters: how far above their capitals they are, or capitals and small
 * letters in turns, the small ones odd or even. */
static const struct {
	uint16_t from, to;
	enum { ABOVE, ODD, EVEN } how;
	uint16_t by;
} pairs[] = {
	{'a', 'z', ABOVE, 32},	     {0xe0, 0xf6, ABOVE, 32},	{0xf8, 0xfe, ABOVE, 32},
	{0x100, 0x12f, ODD, 0},	     {0x132, 0x137, ODD, 0},	{0x139, 0x148, EVEN, 0},
	{0x14a, 0x177, ODD, 0},	     {0x179, 0x17e, EVEN, 0},	{0x3b1, 0x3c1, ABOVE, 32},
	{0x3c3, 0x3cb, ABOVE, 32},   {0x430, 0x44f, ABOVE, 32}, {0x450, 0x45f, ABOVE, 80},
	{0x460, 0x481, ODD, 0},	     {0x48a, 0x4bf, ODD, 0},	{0x4d0, 0x52f, ODD, 0},
	{0x561, 0x586, ABOVE, 48},   {0x1e00, 0x1e95, ODD, 0},	{0x1ea0, 0x1eff, ODD, 0},
	{0xff41, 0xff5a, ABOVE, 32},
};

static uint16_t upper(uint16_t c)
{
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		if (c < pairs[i].from || c > pairs[i].to)
			continue;
		if (pairs[i].how == ABOVE)
			return c - pairs[i].by;
		return c % 2 == (pairs[i].how == ODD) ? c - 1 : c;
	}
	return c;
}

static int fold(struct folded *f, const char *name, struct err *err)
{
	f->text = utf8_to_utf16(name, false, &f->n, NULL, err);
	if (!f->text)
		return -1;
	for (size_t i = 0; i < f->n; i += 2)
		put_le16(f->text + i, upper(get_le16(f->text + i)));
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct folded *x = a, *y = b;
	int order = memcmp(x->text, y->text, MIN(x->n, y->n));

	if (order)
		return order;
	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return x->node < y->node ? -1 : 1;
}

static int refuse(const struct fat_tree *t, size_t a, size_t b, struct err *err)
{
	AUTO_FREE char *path = fat_path(t, a, true, err);

	if (!path)
		return -1;
	return err_set(err, EEXIST,
		       "'%s' and '%s' beside it are the same name on a FAT disk, which does "
		       "not tell upper from lower case",
		       path, t->node[b].name);
}

int fat_same_names(const struct fat_tree *t, size_t folder, struct err *err)
{
	const struct fat_node *dir = &t->node[folder];
	size_t n = dir->count;
	struct folded *f = calloc(n ? n : 1, sizeof(*f));
	int rc = 0;

	if (!f)
		return err_nomem(err, n * sizeof(*f), "the names of a folder");
	for (size_t i = 0; rc == 0 && i < n; i++) {
		f[i].node = dir->first + i;
		rc = fold(&f[i], t->node[f[i].node].name, err);
	}
	if (rc == 0 && n > 1)
		qsort(f, n, sizeof(*f), compare);
	for (size_t i = 1; rc == 0 && i < n; i++)
		if (f[i].n == f[i - 1].n && memcmp(f[i].text, f[i - 1].text, f[i].n) == 0)
			rc = refuse(t, f[i - 1].node, f[i].node, err);
	for (size_t i = 0; i < n; i++)
		free(f[i].text);
	free(f);
	return rc;
}
