/*
 * How large a qcow2 file gets: docs/interop/qcow2.rst, sections "Host cluster management"
 * and "Cluster mapping". The numbers are those of the peer, which counts the metadata of
 * a fully allocated image in every case.
 */
#include "formats/qcow2/qcow2.h"

#include <errno.h>
#include <string.h>

#include "lib/chain.h"
#include "lib/mem.h"

/* What of the create options changes the size. */
struct shape {
	uint64_t cluster;
	uint64_t l2_entry;	/* bytes */
	uint64_t refcount_bits; /* a power of two */
	bool v3, full, backing;
};

static bool is_power(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

static int shape_version(const struct opts *o, struct shape *s, struct err *err)
{
	const char *compat = opts_get(o, "compat");

	s->v3 = true;
	if (!compat || strcmp(compat, "1.1") == 0 || strcmp(compat, "v3") == 0)
		return 0;
	if (strcmp(compat, "0.10") != 0 && strcmp(compat, "v2") != 0)
		return err_set(err, EINVAL, "Invalid compatibility level: '%s'", compat);
	s->v3 = false;
	return 0;
}

static int shape_clusters(const struct opts *o, struct shape *s, struct err *err)
{
	bool ext = false;

	s->cluster = 64 << 10;
	s->refcount_bits = 16;
	if (opts_size(o, "cluster_size", &s->cluster, err) < 0 ||
	    opts_bool(o, "extended_l2", &ext, err) < 0)
		return -1;
	s->l2_entry = ext ? 16 : 8;
	if (!is_power(s->cluster) || s->cluster < 1u << QCOW2_CLUSTER_BITS_MIN ||
	    s->cluster > 1u << QCOW2_CLUSTER_BITS_MAX)
		return err_set(err, EINVAL,
			       "Cluster size must be a power of two between 512 and 2048k");
	if (ext && s->cluster / QCOW2_SUBCLUSTERS < QCOW2_SUBCLUSTER_MIN)
		return err_set(err, EINVAL,
			       "Extended L2 entries are only supported with cluster sizes of "
			       "at least %d bytes",
			       QCOW2_SUBCLUSTERS * QCOW2_SUBCLUSTER_MIN);
	return 0;
}

static int shape_refcounts(const struct opts *o, struct shape *s, struct err *err)
{
	if (opts_num(o, "refcount_bits", UINT64_MAX, &s->refcount_bits, err) < 0)
		return -1;
	if (!is_power(s->refcount_bits) || s->refcount_bits > 64)
		return err_set(err, EINVAL,
			       "Refcount width must be a power of two and may not exceed 64 "
			       "bits");
	if (!s->v3 && s->refcount_bits != 16)
		return err_set(err, EINVAL,
			       "Different refcount widths than 16 bits require compatibility "
			       "level 1.1 or above (use compat=1.1 or greater)");
	return 0;
}

static int shape_preallocation(const struct opts *o, struct shape *s, struct err *err)
{
	const char *p = opts_get(o, "preallocation");

	if (!p || strcmp(p, "off") == 0 || strcmp(p, "metadata") == 0)
		return 0;
	if (strcmp(p, "full") != 0 && strcmp(p, "falloc") != 0)
		return err_set(err, EINVAL, "invalid parameter value: %s", p);
	s->full = true;
	return 0;
}

static int shape_parse(const struct opts *o, struct shape *s, struct err *err)
{
	memset(s, 0, sizeof(*s));
	if (shape_clusters(o, s, err) < 0 || shape_version(o, s, err) < 0 ||
	    shape_refcounts(o, s, err) < 0 || shape_preallocation(o, s, err) < 0)
		return -1;
	s->backing = opts_has(o, "backing_file");
	return 0;
}

/* The clusters of a full image that are not data: header, L1, L2, and the refcount table
 * and blocks, which count themselves. What is too large ends at the L1 table's limit, so
 * that no product overflows. */
static int metadata_clusters(const struct shape *s, uint64_t size, uint64_t *out,
			     struct err *err)
{
	uint64_t data = div_up(size, s->cluster);
	uint64_t l2 = div_up(data, s->cluster / s->l2_entry);
	uint64_t per_block = s->cluster * 8 / s->refcount_bits;
	uint64_t n, before, blocks = 0, table = 0;

	if (l2 > QCOW2_L1_MAX / 8)
		return err_set(err, EFBIG,
			       "The image size is too large (try using a larger cluster size)");
	n = 1 + data + l2 + div_up(l2 * 8, s->cluster);
	do {
		before = blocks + table;
		blocks = div_up(n + before, per_block);
		table = div_up(blocks * 8, s->cluster);
	} while (blocks + table != before);
	*out = n - data + blocks + table;
	return 0;
}

/* Clusters of the target that data of the source falls into. */
static int data_clusters(struct walk *walk, struct chain *src, uint64_t cluster, uint64_t *out,
			 struct err *err)
{
	uint64_t size = blk_size(&src->blk), n = 0, next = 0;
	struct extent e;

	for (uint64_t off = 0; off < size; off += e.len) {
		uint64_t from, to;

		if (walk_next(walk, off, size - off, &e, err) < 0)
			return err_prefix(err, "Unable to get block status");
		if (!(e.flags & EXT_DATA) || (e.flags & (EXT_ZERO | EXT_VAGUE)))
			continue;
		from = MAX(off / cluster, next);
		to = div_up(off + e.len, cluster);
		if (to > from) {
			n += to - from;
			next = to;
		}
	}
	*out = n;
	return 0;
}

/* What the source's bitmaps take in the target, where both can have some. */
static int measure_bitmaps(const struct shape *s, struct blk *top, struct measure *out,
			   struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)top;
	struct qcow2_bitmap *list;
	uint64_t dir = 0, n = 0;
	size_t count;

	if (strcmp(top->ops->name, format_qcow2.name) != 0 || q->h.version < 3 || !s->v3)
		return 0;
	if (qcow2_bitmaps_read(q, &list, &count, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		uint64_t data = qcow2_bitmap_clusters(top->size, list[i].granularity_bits,
						      s->cluster);

		n += data + div_up(data * 8, s->cluster);
		dir += round_up(24 + strlen(list[i].name), 8);
	}
	qcow2_bitmaps_free(list, count);
	out->has_bitmaps = true;
	out->bitmaps = (n + div_up(dir, s->cluster)) * s->cluster;
	return 0;
}

int qcow2_measure(const struct opts *opts, uint64_t size, struct blk *src, struct measure *out,
		  struct err *err)
{
	struct chain *chain = chain_from_blk(src);
	uint64_t meta = 0, data = 0, all;
	struct walk *walk = NULL;
	struct shape s;
	int ret = 0;

	memset(out, 0, sizeof(*out));
	if (src && !chain)
		return err_set(err, EINVAL, "A chain of images is needed to measure");
	if (src)
		size = blk_size(src);
	if (shape_parse(opts, &s, err) < 0 || metadata_clusters(&s, size, &meta, err) < 0)
		return -1;
	all = div_up(size, s.cluster);
	/* with a backing file of its own the target may need any part of the source */
	if (s.full || (chain && s.backing)) {
		data = all;
	} else if (chain) {
		walk = walk_new(chain, 0, err);
		if (!walk)
			return -1;
		walk_holes(walk);
		ret = data_clusters(walk, chain, s.cluster, &data, err);
		walk_free(walk);
	}
	if (ret < 0)
		return -1;
	out->required = (meta + data) * s.cluster;
	out->fully_allocated = (meta + all) * s.cluster;
	return chain ? measure_bitmaps(&s, chain->layer[0], out, err) : 0;
}
