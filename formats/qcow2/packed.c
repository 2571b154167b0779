/*
 * Compressed clusters: docs/interop/qcow2.rst, "Compressed Clusters Descriptor".
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/mem.h"
#include "lib/pack.h"

static int need_codec(const struct blk *blk, struct err *err)
{
	if (pack_has(blk->codec))
		return 0;
	return err_set(err, ENOTSUP, "%s: This build has no %s", blk->name,
		       pack_name(blk->codec));
}

/* The whole cluster that e, which begins anywhere in it, is a part of. */
static int inflate(struct qcow2 *q, const struct extent *e, void *out, struct err *err)
{
	struct blk *blk = &q->image.blk;
	AUTO_FREE uint8_t *packed = mem_alloc(e->packed);

	if (e->host >= blk_size(e->home))
		return err_set(err, EIO,
			       "%s: Compressed cluster at 0x%" PRIx64
			       " is beyond the end of the file (guest offset: 0x%" PRIx64 ")",
			       blk->name, e->host, round_down(e->off, q->cluster_size));
	if (!packed)
		return err_nomem(err, e->packed, "a compressed cluster");
	if (blk_pread(e->home, packed, e->packed, e->host, err))
		return -1;
	if (pack_inflate(blk->codec, packed, e->packed, out, q->cluster_size, NULL, err))
		return err_prefix(err,
				  "%s: Compressed cluster at guest offset %" PRIu64
				  " (file offset %" PRIu64 ")",
				  blk->name, round_down(e->off, q->cluster_size), e->host);
	return 0;
}

int qcow2_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	AUTO_FREE uint8_t *whole = NULL;
	uint8_t *to = buf;

	if (need_codec(blk, err))
		return -1;
	while (n > 0) {
		uint32_t at = (uint32_t)(off & (q->cluster_size - 1));
		size_t part = MIN(n, q->cluster_size - at);
		struct extent e;

		if (qcow2_extent(blk, off, part, &e, err))
			return -1;
		if (!(e.flags & EXT_PACKED)) {
			part = MIN(part, e.len);
			if (qcow2_decode(q, &e, to, part, off, err))
				return -1;
		} else if (part == q->cluster_size) {
			if (inflate(q, &e, to, err))
				return -1;
		} else {
			if (!whole && !(whole = mem_alloc(q->cluster_size)))
				return err_nomem(err, q->cluster_size, "a cluster");
			if (inflate(q, &e, whole, err))
				return -1;
			memcpy(to, whole + at, part);
		}
		to += part;
		off += part;
		n -= part;
	}
	return 0;
}

int qcow2_pack(struct blk *blk, const void *in, size_t n, void *out, size_t *outn,
	       struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	AUTO_FREE uint8_t *whole = NULL;

	if (need_codec(blk, err))
		return -1;
	/* the last cluster of a disk is stored whole, filled up with zeros */
	if (n < q->cluster_size) {
		whole = mem_alloc(q->cluster_size);
		if (!whole)
			return err_nomem(err, q->cluster_size, "a cluster");
		memcpy(whole, in, n);
		memset(whole + n, 0, q->cluster_size - n);
		in = whole;
	}
	/* a cluster that does not shrink is better stored plain */
	*outn = MIN(*outn, q->cluster_size - 1);
	return pack_deflate(blk->codec, PACK_LEVEL_DEFAULT, in, q->cluster_size, out, outn,
			    err);
}

int qcow2_unpack(struct blk *blk, const void *packed, size_t n, void *out, size_t *used,
		 struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);

	if (need_codec(blk, err))
		return -1;
	return pack_inflate(blk->codec, packed, n, out, q->cluster_size, used, err);
}
