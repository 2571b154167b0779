/*
 * What `info` tells: the peer's keys in its order. Of the file nothing is read that open
 * did not read, but the bitmap directory.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"

static struct json *bitmap_json(const struct qcow2_bitmap *b)
{
	struct json *j = json_object(), *flags = json_array();
	int rc = 0;

	if (b->flags & 1)
		rc |= json_push(flags, json_string("in-use"));
	if (b->flags & 2)
		rc |= json_push(flags, json_string("auto"));
	if (!j || rc || json_add(j, "flags", flags) || json_add_str(j, "name", b->name) ||
	    json_add_int(j, "granularity", INT64_C(1) << b->granularity_bits)) {
		json_free(j);
		return NULL;
	}
	return j;
}

static int add_bitmaps(const struct qcow2 *q, struct json *data, struct err *err)
{
	struct qcow2_bitmap *list;
	struct json *all;
	size_t n;
	int rc = 0;

	if (qcow2_bitmaps_read(q, &list, &n, err))
		return -1;
	if (n == 0)
		return 0;
	all = json_array();
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = json_push(all, bitmap_json(&list[i]));
	qcow2_bitmaps_free(list, n);
	if (rc) {
		json_free(all);
		return err_nomem(err, n * 100, "info");
	}
	return json_add(data, "bitmaps", all) ? err_nomem(err, n * 100, "info") : 0;
}

static int add_encrypt(const struct qcow2 *q, struct json *data, struct err *err)
{
	struct json *j;

	if (q->h.crypt == QCOW2_CRYPT_NONE)
		return 0;
	j = json_object();
	if (!j || (q->h.crypt == QCOW2_CRYPT_LUKS ? luks1_tell(&q->luks, "luks", j, err)
						  : json_add_str(j, "format", "aes"))) {
		json_free(j);
		return -1;
	}
	return json_add(data, "encrypt", j);
}

static int add_v2(const struct qcow2 *q, struct json *d)
{
	return json_add_str(d, "compat", q->h.version < 3 ? "0.10" : "1.1") ||
	       json_add_str(d, "compression-type", q->h.compression ? "zstd" : "zlib");
}

/* The members that the image as a whole gives; err is for the bitmaps. */
static int add_all(const struct qcow2 *q, struct json *d, struct err *err)
{
	const struct qcow2_header *h = &q->h;
	bool v3 = h->version >= 3;

	err_nomem(err, 1000, "info");
	if (add_v2(q, d) ||
	    (v3 && json_add_bool(d, "lazy-refcounts", h->compat & QCOW2_COMPAT_LAZY)))
		return -1;
	if (v3 && add_bitmaps(q, d, err))
		return -1;
	err_nomem(err, 1000, "info");
	if (json_add_int(d, "refcount-bits", INT64_C(1) << h->refcount_order) ||
	    add_encrypt(q, d, err))
		return -1;
	if (q->image.data_file && json_add_str(d, "data-file", q->image.data_file))
		return -1;
	if (qcow2_external(q) && json_add_bool(d, "data-file-raw", q->image.data_raw))
		return -1;
	if (v3 && (json_add_bool(d, "corrupt", h->incompat & QCOW2_INCOMPAT_CORRUPT) ||
		   json_add_bool(d, "extended-l2", h->incompat & QCOW2_INCOMPAT_EXT_L2)))
		return -1;
	return 0;
}

static int copy_snapshots(const struct qcow2 *q, struct info *out, struct err *err)
{
	if (q->nsnapshot == 0)
		return 0;
	out->snapshot = calloc(q->nsnapshot, sizeof(*out->snapshot));
	if (!out->snapshot)
		return err_nomem(err, q->nsnapshot * sizeof(*out->snapshot), "snapshots");
	for (uint32_t i = 0; i < q->nsnapshot; i++) {
		struct snapshot_info *to = &out->snapshot[i];

		*to = q->snapshot[i].info;
		to->id = strdup(q->snapshot[i].info.id);
		to->name = strdup(q->snapshot[i].info.name);
		out->nsnapshot++;
		if (!to->id || !to->name)
			return err_nomem(err, 100, "snapshots");
	}
	return 0;
}

int qcow2_info(struct image *image, struct info *out, struct err *err)
{
	const struct qcow2 *q = (const struct qcow2 *)image;

	out->cluster_size = q->cluster_size;
	out->encrypted = q->h.crypt != QCOW2_CRYPT_NONE;
	out->has_dirty = true;
	out->dirty = q->h.incompat & QCOW2_INCOMPAT_DIRTY;
	if (copy_snapshots(q, out, err))
		return -1;
	out->specific = json_object();
	if (!out->specific)
		return err_nomem(err, 1000, "info");
	return add_all(q, out->specific, err);
}
