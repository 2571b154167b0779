/*
 * convert --bitmaps: those of the source's top image, with their bits.
 */
#include <stdlib.h>

#include "cmd/cmd.h"
#include "cmd/convert.h"
#include "lib/dirty.h"

static const struct bitmap_ops *ops_of(struct image *image)
{
	const struct bitmap_ops *ops = image->format->bitmap;

	return ops && ops->usable(image) ? ops : NULL;
}

static struct image *source_of(const struct convert *c)
{
	return (struct image *)c->in[0].chain->layer[0];
}

static int list_source(const struct convert *c, struct bitmap_info **list, size_t *n)
{
	struct image *source = source_of(c);
	struct err err;

	if (ops_of(source)->list(source, list, n, &err) == 0)
		return 0;
	cmd_err(&err);
	return 1;
}

/* From the last to the first, as the peer looks at them. */
static int check_broken(const struct convert *c)
{
	bool skip = opts_has(c->o, "skip-broken-bitmaps");
	struct bitmap_info *list;
	int rc = 0;
	size_t n;

	if (list_source(c, &list, &n))
		return 1;
	while (rc == 0 && !skip && n-- > 0) {
		if (!list[n].broken)
			continue;
		cmd_error("Cannot copy inconsistent bitmap '%s'\n"
			  "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to "
			  "delete it",
			  list[n].name);
		rc = 1;
	}
	free(list);
	return rc;
}

static int refuse(const struct format *target)
{
	cmd_error("Format driver '%s' does not support bitmaps", target->name);
	return 1;
}

int convert_bitmaps_check(const struct convert *c)
{
	if (!opts_has(c->o, "bitmaps"))
		return 0;
	if (c->nsource > 1)
		cmd_error("Copying bitmaps only possible with single source");
	else if (!ops_of(source_of(c)))
		cmd_error("Source lacks bitmap support");
	else if (c->image.format && !c->image.format->bitmap)
		return refuse(c->image.format);
	else
		return check_broken(c);
	return 1;
}

int convert_bitmaps_accept(const struct convert *c, struct chain *target)
{
	struct image *image = (struct image *)target->layer[0];

	if (!opts_has(c->o, "bitmaps") || ops_of(image))
		return 0;
	return refuse(image->format);
}

static int copy_one(const struct convert *c, const struct bitmap_info *b, struct image *to)
{
	struct image *from = source_of(c);
	const struct bitmap_ops *ops = ops_of(to);
	struct dirty *bits;
	struct err err, later;
	int rc;

	if (ops->add(to, b->name, b->granularity, b->enabled, &err)) {
		cmd_error("Failed to create bitmap %s: %s", b->name, err.text);
		return 1;
	}
	rc = ops_of(from)->read(from, b->name, &bits, &err);
	if (rc == 0)
		rc = ops->merge(to, b->name, bits, &err);
	if (rc) {
		cmd_error("Failed to populate bitmap %s: %s", b->name, err.text);
		ops->remove(to, b->name, &later);
	}
	dirty_free(bits);
	return rc ? 1 : 0;
}

int convert_bitmaps(const struct convert *c, struct chain *target)
{
	struct bitmap_info *list;
	int rc = 0;
	size_t n;

	if (!opts_has(c->o, "bitmaps"))
		return 0;
	if (list_source(c, &list, &n))
		return 1;
	while (rc == 0 && n-- > 0) {
		if (list[n].broken)
			cmd_warn("Skipping inconsistent bitmap '%s'", list[n].name);
		else
			rc = copy_one(c, &list[n], (struct image *)target->layer[0]);
	}
	free(list);
	return rc;
}
