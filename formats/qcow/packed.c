/*
 * What a run of clusters is to others, and compressed clusters: "Compressed chunk data block
 * - version 1". Raw deflate of a whole cluster, its exact length beside its place.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "crypto/coded.h"
#include "formats/qcow/qcow.h"
#include "lib/mem.h"
#include "lib/pack.h"

int qcow_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		struct err *err)
{
	struct qcow *q = qcow_of(blk);

	if (blocks_extent(&q->b.blocks, off, len, out, err))
		return -1;
	if (q->h.crypt != QCOW_CRYPT_NONE && out->flags == EXT_DATA)
		out->flags |= EXT_CODED;
	return 0;
}

/* The whole cluster that e, which begins anywhere in it, is a part of. */
static int inflate(struct qcow *q, const struct extent *e, void *out, struct err *err)
{
	struct blk *blk = &q->b.image.blk;
	AUTO_FREE uint8_t *packed = mem_alloc(e->packed);

	if (!packed)
		return err_nomem(err, e->packed, "a compressed cluster");
	if (blk_pread(e->home, packed, e->packed, e->host, err))
		return -1;
	if (pack_inflate(CODEC_DEFLATE, packed, e->packed, out, q->cluster, NULL, err))
		return err_prefix(err,
				  "%s: Compressed cluster at guest offset %" PRIu64
				  " (file offset %" PRIu64 ")",
				  blk->name, round_down(e->off, q->cluster), e->host);
	return 0;
}

int qcow_need_key(struct err *err)
{
	return err_set(err, EACCES, "Parameter 'encrypt.key-secret' is required for cipher");
}

int qcow_code(struct blk *blk, void *buf, size_t n, uint64_t off, uint64_t host,
	      struct err *err)
{
	struct qcow *q = qcow_of(blk);

	if (!q->sector)
		return qcow_need_key(err);
	sector_encrypt(q->sector, off / SECTOR_SIZE, buf, n);
	return 0;
}

static int read_coded(struct qcow *q, const struct extent *e, void *to, size_t n, uint64_t off,
		      struct err *err)
{
	if (!q->sector)
		return qcow_need_key(err);
	return coded_read(q->sector, e->home, e->host + (off - e->off), off / SECTOR_SIZE,
			  off % SECTOR_SIZE, to, n, err);
}

int qcow_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct qcow *q = qcow_of(blk);
	AUTO_FREE uint8_t *whole = mem_alloc(q->cluster);
	uint8_t *to = buf;

	if (!whole)
		return err_nomem(err, q->cluster, "a cluster");
	while (n > 0) {
		size_t at = off % q->cluster, part = MIN(n, q->cluster - at);
		bool direct = part == q->cluster;
		struct extent e;

		if (qcow_extent(blk, off, part, &e, err))
			return -1;
		if (e.flags & EXT_CODED) {
			part = e.len;
			if (read_coded(q, &e, to, part, off, err))
				return -1;
		} else if (!(e.flags & EXT_PACKED)) {
			return err_set(err, EIO, "%s: No compressed cluster at %" PRIu64,
				       blk->name, off);
		} else if (inflate(q, &e, direct ? to : whole, err)) {
			return -1;
		} else if (!direct) {
			memcpy(to, whole + at, part);
		}
		to += part;
		off += part;
		n -= part;
	}
	return 0;
}

int qcow_pack(struct blk *blk, const void *in, size_t n, void *out, size_t *outn,
	      struct err *err)
{
	struct qcow *q = qcow_of(blk);
	AUTO_FREE uint8_t *whole = NULL;

	/* the last cluster of a disk is stored whole, filled up with zeros */
	if (n < q->cluster) {
		whole = mem_alloc(q->cluster);
		if (!whole)
			return err_nomem(err, q->cluster, "a cluster");
		memcpy(whole, in, n);
		memset(whole + n, 0, q->cluster - n);
		in = whole;
	}
	/* a cluster that does not shrink is better stored plain */
	*outn = MIN(*outn, q->cluster - 1);
	return pack_deflate(CODEC_DEFLATE, PACK_LEVEL_DEFAULT, in, q->cluster, out, outn, err);
}

int qcow_unpack(struct blk *blk, const void *packed, size_t n, void *out, size_t *used,
		struct err *err)
{
	return pack_inflate(CODEC_DEFLATE, packed, n, out, qcow_of(blk)->cluster, used, err);
}
