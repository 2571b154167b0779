/*
 * info: as the peer tells it.
 */
#include <errno.h>

#include "formats/vmdk/vmdk.h"

/* NULL: no memory. */
static struct json *extent_json(const struct vmdk_extent *x)
{
	struct json *j = json_object();
	int bad = !j;

	if (x->packed)
		bad |= json_add_bool(j, "compressed", true);
	bad |= json_add_int(j, "virtual-size", (int64_t)x->size);
	bad |= json_add_str(j, "filename", x->file ? x->file->name : "");
	if (x->blocks.block)
		bad |= json_add_int(j, "cluster-size", (int64_t)x->blocks.block);
	bad |= json_add_str(j, "format", x->line ? x->line->type : "");
	if (!bad)
		return j;
	json_free(j);
	return NULL;
}

int vmdk_info(struct image *image, struct info *out, struct err *err)
{
	const struct vmdk *v = (struct vmdk *)image;
	struct json *j = json_object(), *list = json_array();
	int bad = !j || !list;

	/* where it is the same for all */
	if (v->n > 0)
		out->cluster_size = v->extent[0].blocks.block;
	for (size_t i = 1; i < v->n; i++)
		if (v->extent[i].blocks.block != v->extent[0].blocks.block)
			out->cluster_size = 0;
	for (size_t i = 0; !bad && i < v->n; i++) {
		struct json *x = extent_json(&v->extent[i]);

		bad |= !x || json_push(list, x);
	}
	if (!bad) {
		bad |= json_add_int(j, "cid", v->desc.cid);
		bad |= json_add_int(j, "parent-cid", v->desc.parent_cid);
		bad |= json_add_str(j, "create-type", v->desc.type ? v->desc.type : "");
		bad |= json_add(j, "extents", list);
		list = NULL;
	}
	if (!bad) {
		out->specific = j;
		return 0;
	}
	json_free(list);
	json_free(j);
	return err_nomem(err, 1000, "the facts of an image");
}
