/*
 * What the format extension says: read at open, kept or dropped.
 */
#include "formats/parallels/extension.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/hash.h"
#include "lib/array.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* What is wrong is remembered, the first of it; the image can be read all the same. */
#define WRONG(x, ...)                                                                          \
	((x)->problem[0] ? 0 : snprintf((x)->problem, sizeof((x)->problem), __VA_ARGS__))

void prl_extension_free(struct prl_extension *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->n; i++) {
		free(x->bitmap[i].cluster);
		dirty_free(x->bitmap[i].live);
	}
	free(x->bitmap);
	free(x->kept);
	free(x);
}

int prl_md5(const void *data, size_t n, uint8_t digest[16], struct err *err)
{
	struct hash *h = hash_new("md5", err);

	if (!h)
		return -1;
	hash_update(h, data, n);
	hash_final(h, digest);
	hash_free(h);
	return 0;
}

/* ---- features ---------------------------------------------------------------------- */

/* Every limit of a bitmap; NULL: it is good. */
static const char *bitmap_wrong(const struct prl *p, uint64_t sectors, uint32_t granularity,
				uint32_t clusters, size_t n)
{
	uint64_t bytes;

	if (sectors != p->h.sectors)
		return "is not of the disk's size";
	if (granularity == 0 || (granularity & (granularity - 1)) != 0)
		return "has a granularity that is no power of 2";
	bytes = div_up(div_up(sectors, granularity), 8);
	if (bytes > PRL_BITMAP_MAX - p->ext->bytes)
		return "is too large";
	if (clusters != div_up(bytes, prl_cluster(p)))
		return "has a table that does not fit its size";
	if (n < PRL_BITMAP_HEAD + 8 * (size_t)clusters)
		return "has a table that is cut off";
	return NULL;
}

static const char *clusters_wrong(const struct prl *p, const uint8_t *table, uint32_t clusters)
{
	uint64_t size = blk_size(p->b.blocks.file), cluster = prl_cluster(p);

	for (uint32_t i = 0; i < clusters; i++) {
		uint64_t at = get_le64(table + 8 * (size_t)i);

		if (at > 1 && (at > INT64_MAX / PRL_SECTOR || at * PRL_SECTOR < p->data_start ||
			       cluster > size || at * PRL_SECTOR > size - cluster))
			return "has a cluster outside image";
	}
	return NULL;
}

static int add_bitmap(struct prl *p, struct prl_extension *x, uint64_t flags,
		      const uint8_t *data, size_t n, struct err *err)
{
	uint32_t granularity = n < PRL_BITMAP_HEAD ? 0 : get_le32(data + 24);
	uint32_t clusters = n < PRL_BITMAP_HEAD ? 0 : get_le32(data + 28);
	const char *wrong = n < PRL_BITMAP_HEAD
				    ? "is cut off"
				    : bitmap_wrong(p, get_le64(data), granularity, clusters, n);
	size_t room = x->n; /* few: one more each time */
	struct prl_bitmap *b;

	if (!wrong && x->n == PRL_BITMAPS_MAX)
		wrong = "is one too many";
	for (size_t i = 0; !wrong && i < x->n; i++)
		if (memcmp(x->bitmap[i].id, data + 8, UUID_LEN) == 0)
			wrong = "has the name of another";
	if (!wrong)
		wrong = clusters_wrong(p, data + PRL_BITMAP_HEAD, clusters);
	if (wrong) {
		WRONG(x, "dirty bitmap %zu %s", x->n, wrong);
		x->necessary |= flags & PRL_NECESSARY;
		return 0;
	}
	if (array_room(&x->bitmap, &room, x->n, sizeof(*b), "a bitmap", err))
		return -1;
	b = &x->bitmap[x->n];
	*b = (struct prl_bitmap){.flags = flags, .clusters = clusters};
	memcpy(b->id, data + 8, UUID_LEN);
	uuid_text(b->id, b->name);
	b->bits = (unsigned)__builtin_ctz(granularity) + 9;
	b->bytes = div_up(div_up(p->h.sectors, granularity), 8);
	b->cluster = calloc(clusters + 1, sizeof(*b->cluster));
	if (!b->cluster)
		return err_nomem(err, 8 * ((uint64_t)clusters + 1), "a bitmap's table");
	for (uint32_t i = 0; i < clusters; i++)
		b->cluster[i] = get_le64(data + PRL_BITMAP_HEAD + 8 * (size_t)i);
	x->bytes += b->bytes;
	x->n++;
	return 0;
}

static int keep_feature(struct prl_extension *x, const uint8_t *head, size_t n, struct err *err)
{
	uint8_t *more = realloc(x->kept, x->nkept + n);

	if (!more)
		return err_nomem(err, x->nkept + n, "a feature");
	memcpy(more + x->nkept, head, n);
	x->kept = more;
	x->nkept += n;
	return 0;
}

/* The features after the head of the cluster. */
static int read_features(struct prl *p, struct prl_extension *x, const uint8_t *buf, size_t n,
			 struct err *err)
{
	size_t at = PRL_EXT_HEAD;

	for (;;) {
		uint64_t magic, flags, data, whole;

		if (n - at < PRL_FEATURE_HEAD)
			return WRONG(x, "its last feature is missing"), 0;
		magic = get_le64(buf + at);
		flags = get_le64(buf + at + 8);
		data = get_le32(buf + at + 16);
		whole = PRL_FEATURE_HEAD + round_up(data, 8);
		if (magic == PRL_FEATURE_END)
			return 0;
		if (data > n - at - PRL_FEATURE_HEAD) {
			x->necessary |= flags & PRL_NECESSARY;
			return WRONG(x, "a feature is cut off"), 0;
		}
		whole = MIN(whole, n - at);
		if (magic == PRL_FEATURE_BITMAP) {
			if (add_bitmap(p, x, flags, buf + at + PRL_FEATURE_HEAD, (size_t)data,
				       err))
				return -1;
		} else {
			WRONG(x, "the feature %#" PRIx64 " is unknown", magic);
			x->foreign = true;
			x->necessary |= flags & PRL_NECESSARY;
			if ((flags & PRL_TRANSIT) &&
			    keep_feature(x, buf + at, (size_t)whole, err))
				return -1;
		}
		at += whole;
	}
}

/* Is it where it may be? */
static bool place_good(struct prl *p, struct prl_extension *x)
{
	uint64_t size = blk_size(p->b.blocks.file), cluster = prl_cluster(p);

	if (p->h.ext_off > INT64_MAX / PRL_SECTOR || x->off < p->data_start || cluster > size ||
	    x->off > size - cluster) {
		WRONG(x, "it is outside image");
		return false;
	}
	if (cluster > PRL_EXT_CLUSTER_MAX) {
		WRONG(x, "its cluster is too large");
		return false;
	}
	return true;
}

static int read_extension(struct prl *p, struct prl_extension *x, struct err *err)
{
	size_t n = (size_t)prl_cluster(p);
	AUTO_FREE uint8_t *buf = NULL;
	uint8_t digest[16];

	if (!place_good(p, x))
		return 0;
	buf = malloc(n);
	if (!buf)
		return err_nomem(err, n, "the format extension");
	if (blk_pread(p->b.blocks.file, buf, n, x->off, err) ||
	    prl_md5(buf + PRL_EXT_HEAD, n - PRL_EXT_HEAD, digest, err))
		return -1;
	if (get_le64(buf) != PRL_EXT_MAGIC)
		return WRONG(x, "its magic is wrong, %#" PRIx64, get_le64(buf)), 0;
	if (memcmp(buf + 8, digest, sizeof(digest)) != 0)
		return WRONG(x, "its checksum is wrong"), 0;
	return read_features(p, x, buf, n, err);
}

int prl_extension_load(struct prl *p, struct err *err)
{
	if (p->h.ext_off == 0 || (p->h.in_use != PRL_CLOSED && p->h.in_use != PRL_IN_USE))
		return 0;
	p->ext = calloc(1, sizeof(*p->ext));
	if (!p->ext)
		return err_nomem(err, sizeof(*p->ext), "the format extension");
	p->ext->off = p->h.ext_off * PRL_SECTOR;
	p->ext->stale = p->h.in_use == PRL_IN_USE;
	return read_extension(p, p->ext, err);
}

int prl_extension_writable(const struct prl_extension *x, struct err *err)
{
	if (!x->necessary)
		return 0;
	return err_set(err, EACCES, "The image can only be read: of its format extension %s",
		       x->problem);
}

/* ---- what it takes ----------------------------------------------------------------- */

size_t prl_extension_count(const struct prl *p)
{
	size_t n = p->ext ? 1 : 0;

	for (size_t i = 0; p->ext && i < p->ext->n; i++)
		for (uint32_t k = 0; k < p->ext->bitmap[i].clusters; k++)
			n += p->ext->bitmap[i].cluster[k] > 1;
	return n;
}

void prl_extension_places(const struct prl *p, struct prl_place *room)
{
	const struct prl_extension *x = p->ext;

	if (!x)
		return;
	*room++ = (struct prl_place){.host = x->off, .entry = PRL_NO_ENTRY};
	for (size_t i = 0; i < x->n; i++)
		for (uint32_t k = 0; k < x->bitmap[i].clusters; k++)
			if (x->bitmap[i].cluster[k] > 1)
				*room++ = (struct prl_place){.host = x->bitmap[i].cluster[k] *
								     PRL_SECTOR,
							     .entry = PRL_NO_ENTRY};
}
