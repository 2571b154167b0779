/*
 * Opening and closing a qcow2 image: docs/interop/qcow2.rst, sections "Header" and
 * "Cluster mapping". What opens read no more than the first cluster, the L1 table and
 * the snapshot table; writing and checking ones the refcount table as well.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/pack.h"

#define WRITE_UNIT 4096	      /* of refcount blocks */
#define PIECES_MAX (1u << 20) /* of a cache; more only take time to look up */

static int read_header(struct qcow2 *q, struct err *err)
{
	struct blk *file = q->image.blk.lower;
	AUTO_FREE uint8_t *head = mem_alloc(512);
	AUTO_FREE uint8_t *first = NULL;
	size_t n = MIN(q->file_size, 512);

	if (!head)
		return err_nomem(err, 512, "the header");
	if (blk_pread(file, head, 512, 0, err))
		return -1;
	if (qcow2_header_decode(head, n, &q->h, err) || qcow2_shape_check(&q->h, err))
		return -1;
	q->external = q->h.incompat & QCOW2_INCOMPAT_DATA_FILE;
	q->ext_l2 = q->h.incompat & QCOW2_INCOMPAT_EXT_L2;
	n = (size_t)1 << q->h.cluster_bits;
	first = mem_alloc(n);
	if (!first)
		return err_nomem(err, n, "the header");
	if (blk_pread(file, first, n, 0, err))
		return -1;
	return qcow2_extra_decode(first, n, &q->h, &q->extra, err);
}

/* What the open flags ask of the header. */
static int check_purpose(struct qcow2 *q, struct err *err)
{
	const struct qcow2_header *h = &q->h;
	bool lenient = q->flags & (IMAGE_NO_IO | IMAGE_CHECK);

	if (qcow2_features_check(h, &q->extra, err))
		return -1;
	if ((q->flags & IMAGE_CHECK) && h->nb_snapshots > QCOW2_SNAPSHOTS_MAX) {
		/* an error like others; nobody reads more than those */
		q->overhanging = h->nb_snapshots - QCOW2_SNAPSHOTS_MAX;
		q->h.nb_snapshots = QCOW2_SNAPSHOTS_MAX;
	}
	if (qcow2_header_check(h, lenient ? UINT64_MAX : q->file_size, err))
		return -1;
	if (h->reftable_cl == 0 && !(q->flags & IMAGE_CHECK))
		return err_set(err, EINVAL, "Image does not contain a reference count table");
	if (q->flags & IMAGE_NO_IO)
		return 0;
	if (!(q->flags & IMAGE_CHECK) && h->compression && !pack_has(CODEC_ZSTD))
		return err_set(err, ENOTSUP,
			       "The image is compressed with zstd, and this build has no zstd");
	if ((h->autoclear & QCOW2_AUTOCLEAR_DATA_RAW) && !qcow2_external(q))
		return err_set(err, EINVAL, "data-file-raw requires a data file");
	if (!(q->flags & IMAGE_WRITE) || (q->flags & IMAGE_CHECK))
		return 0;
	if (h->incompat & QCOW2_INCOMPAT_CORRUPT)
		return err_set(err, EACCES,
			       "qcow2: Image is corrupt; cannot be opened read/write");
	if (h->incompat & QCOW2_INCOMPAT_DIRTY)
		return err_set(err, EUCLEAN, /* cmd/node.c repairs it and comes again */
			       "qcow2: Image was not closed cleanly (dirty bit): its reference "
			       "counts must be repaired before it can be written");
	return 0;
}

static void derive(struct qcow2 *q)
{
	const struct qcow2_header *h = &q->h;
	struct blk *blk = &q->image.blk;

	q->cluster_size = UINT32_C(1) << h->cluster_bits;
	q->l2_entry = qcow2_ext_l2(q) ? 16 : 8;
	q->l2_bits = h->cluster_bits - (qcow2_ext_l2(q) ? 4 : 3);
	q->l2_span = UINT64_C(1) << (q->l2_bits + h->cluster_bits);
	q->refblock_bits = h->cluster_bits + 3 - h->refcount_order;
	q->packed_shift = 62 - (h->cluster_bits - 8);

	blk->size = round_down(h->size, 512); /* as the peer: whole sectors */
	blk->align = blk->lower->align;
	blk->grain = q->cluster_size;
	blk->part = qcow2_ext_l2(q) ? q->cluster_size / QCOW2_SUBCLUSTERS : 0;
	blk->codec = h->compression ? CODEC_ZSTD : CODEC_DEFLATE;
	if (!(q->flags & IMAGE_WRITE))
		return;
	blk->caps = BLK_CAN_WRITE | BLK_CAN_UNMAP;
	if (h->crypt != QCOW2_CRYPT_NONE)
		blk->caps |= BLK_CODES;
	/* version 2 has no zero clusters: over a backing file zeros must be written */
	if (h->version >= 3 || !h->backing_off)
		blk->caps |= BLK_CAN_ZERO;
	/* all of a raw data file is in the tables, whatever it was before: nobody knows here */
	if ((q->flags & IMAGE_NEW) && !h->backing_off &&
	    !(qcow2_external(q) && (h->autoclear & QCOW2_AUTOCLEAR_DATA_RAW)))
		blk->caps |= BLK_ZERO_INIT;
}

/* Moves the names to where stack.c looks for them. */
static void name_files(struct qcow2 *q)
{
	struct image *image = &q->image;

	image->backing = q->extra.backing;
	image->backing_format = q->extra.backing_format;
	image->data_file = q->extra.data_file;
	q->extra.backing = q->extra.backing_format = q->extra.data_file = NULL;
	image->needs_data = qcow2_external(q);
	image->data_raw = image->needs_data && (q->h.autoclear & QCOW2_AUTOCLEAR_DATA_RAW);
}

static int load_l1(struct qcow2 *q, struct err *err)
{
	size_t n = q->h.l1_size;

	/* bounded by QCOW2_L1_MAX, and by the file but for check */
	q->l1 = mem_alloc(n * 8);
	if (!q->l1)
		return err_nomem(err, n * 8, "the L1 table");
	if (blk_pread(q->image.blk.lower, q->l1, n * 8, q->h.l1_off, err))
		return err_prefix(err, "Could not read L1 table");
	for (size_t i = 0; i < n; i++)
		q->l1[i] = get_be64(&q->l1[i]);
	return 0;
}

/* With few pieces a walk would read tables again and again. */
static unsigned pieces(uint64_t bytes, uint32_t size)
{
	return (unsigned)MIN(MAX(bytes / size, 4), PIECES_MAX);
}

static int make_caches(struct qcow2 *q, struct err *err)
{
	uint32_t size = q->cluster_size;

	q->l2_cache = cache_new(q->image.blk.lower, size, pieces(q->tuning.l2_cache, size),
				err);
	if (!q->l2_cache)
		return -1;
	cache_clean_every(q->l2_cache, q->tuning.clean);
	cache_write_unit(q->l2_cache, MAX(q->tuning.l2_entry, q->image.blk.align));
	if (!(q->flags & (IMAGE_WRITE | IMAGE_CHECK)))
		return 0;
	q->ref_cache = cache_new(q->image.blk.lower, size, pieces(q->tuning.ref_cache, size),
				 err);
	if (!q->ref_cache)
		return -1;
	cache_clean_every(q->ref_cache, q->tuning.clean);
	cache_write_unit(q->ref_cache, MAX(WRITE_UNIT, q->image.blk.align));
	return 0;
}

static int check_l2(void *q, uint64_t off, size_t n, struct err *err)
{
	return qcow2_overlap_check(q, QCOW2_META_ACTIVE_L2, off, n, err);
}

static int check_refblock(void *q, uint64_t off, size_t n, struct err *err)
{
	return qcow2_overlap_check(q, QCOW2_META_REFBLOCK, off, n, err);
}

/* What only a writer needs. An autoclear bit that we do not know says that something
 * follows our writes which will not. */
static int prepare_writing(struct qcow2 *q, struct err *err)
{
	const uint64_t known = QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_DATA_RAW;
	size_t bits = div_up(q->h.l1_size, 512);

	q->l1_dirty = calloc(1, bits / 8 + 1);
	if (!q->l1_dirty)
		return err_nomem(err, bits / 8 + 1, "the L1 table");
	cache_guard(q->l2_cache, check_l2, q);
	cache_guard(q->ref_cache, check_refblock, q);
	cache_relax(q->l2_cache, q->flags & IMAGE_NEW);
	cache_relax(q->ref_cache, q->flags & IMAGE_NEW);
	q->fresh_off = UINT64_MAX;
	if (q->image.blk.lower->caps & BLK_CAN_GROW)
		q->fresh_off = round_up(q->file_size, q->cluster_size);
	if (!(q->h.autoclear & ~known) || (q->flags & IMAGE_CHECK))
		return 0;
	q->h.autoclear &= known;
	return qcow2_header_update(q, err);
}

static int load_tables(struct qcow2 *q, struct err *err)
{
	if (load_l1(q, err) || make_caches(q, err))
		return -1;
	if ((q->flags & (IMAGE_WRITE | IMAGE_CHECK)) && qcow2_reftable_load(q, err))
		return -1;
	/* what was made ahead has never been written, and does not decrypt to zeros */
	for (size_t i = 0; i < q->h.l1_size && q->h.crypt != QCOW2_CRYPT_NONE; i++)
		if (q->l1[i])
			q->image.blk.caps &= ~(unsigned)BLK_ZERO_INIT;
	return q->flags & IMAGE_WRITE ? prepare_writing(q, err) : 0;
}

int qcow2_open(struct blk *lower, const struct opts *opts, unsigned flags, struct image **out,
	       struct err *err)
{
	struct qcow2 *q = image_new(sizeof(*q), &qcow2_ops, &format_qcow2, lower, err);

	if (!q)
		return -1;
	q->flags = flags;
	q->file_size = blk_size(lower);
	pthread_mutex_init(&q->lock, NULL);
	q->lock_made = true;
	if (read_header(q, err) || check_purpose(q, err) ||
	    qcow2_tuning(opts, &q->h, flags & IMAGE_WRITE, &q->tuning, err))
		goto fail;
	if (qcow2_crypt_open(q, opts, err))
		goto fail;
	derive(q);
	name_files(q);
	if (!(flags & IMAGE_CHECK) && qcow2_snapshots_read(q, err))
		goto fail;
	if (qcow2_bitmaps_load(q, err))
		goto fail;
	if (!(flags & IMAGE_NO_IO) && load_tables(q, err))
		goto fail;
	*out = &q->image;
	return 0;
fail:
	q->flags &= ~(unsigned)IMAGE_WRITE; /* nothing to bring to the disk */
	return image_give_up(&q->image);
}

static int qcow2_close(struct blk *blk, struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	struct err later;
	int rc = 0;

	if ((q->flags & IMAGE_WRITE) && q->l1_dirty && qcow2_finish(q, err))
		rc = -1;
	if (q->image.data && blk_close(q->image.data, rc ? &later : err))
		rc = -1;
	qcow2_crypt_close(q);
	cache_free(q->l2_cache);
	cache_free(q->ref_cache);
	free(q->l1);
	free(q->reftable);
	free(q->l1_dirty);
	free(q->later);
	qcow2_overlap_reset(q);
	qcow2_snapshots_free(q);
	qcow2_bitmaps_free(q->bitmap, q->nbitmap);
	free(q->image.warning);
	qcow2_extra_free(&q->extra);
	free(q->image.backing);
	free(q->image.backing_format);
	free(q->image.data_file);
	if (q->lock_made)
		pthread_mutex_destroy(&q->lock);
	free(q);
	return rc;
}

const struct blk_ops qcow2_ops = {
	.name = "qcow2",
	.by_extent = true,
	.pread = qcow2_pread,
	.extent = qcow2_extent,
	.hollow = qcow2_hollow,
	.claim = qcow2_claim,
	.settle = qcow2_settle,
	.drop = qcow2_drop,
	.zero = qcow2_zero,
	.touch = qcow2_touch,
	.flush = qcow2_flush,
	.code = qcow2_code,
	.resize = qcow2_resize,
	.pack = qcow2_pack,
	.unpack = qcow2_unpack,
	.close = qcow2_close,
};
