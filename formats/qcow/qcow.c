#include "formats/qcow/qcow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/legacy.h"
#include "lib/bytes.h"
#include "lib/mem.h"

const struct field qcow_fields[] = {
	BE32(0, struct qcow_header, magic),
	BE32(4, struct qcow_header, version),
	BE64(8, struct qcow_header, backing_off),
	BE32(16, struct qcow_header, backing_len),
	BE32(20, struct qcow_header, mtime),
	BE64(24, struct qcow_header, size),
	U8(32, struct qcow_header, cluster_bits),
	U8(33, struct qcow_header, l2_bits),
	BE32(36, struct qcow_header, crypt),
	BE64(40, struct qcow_header, l1_off),
	FIELD_END,
};

/* ---- the header -------------------------------------------------------------------- */

static int qcow_probe(const uint8_t *head, size_t n, uint64_t size)
{
	return n >= 8 && get_be32(head) == QCOW_MAGIC && get_be32(head + 4) == 1 ? 100 : 0;
}

uint64_t qcow_l1_size(const struct qcow_header *h)
{
	return div_up(h->size, UINT64_C(1) << (h->cluster_bits + h->l2_bits));
}

static int check_places(const struct qcow_header *h, uint64_t file_size, struct err *err)
{
	uint64_t l1 = 8 * qcow_l1_size(h);

	if (h->l1_off % 8 != 0 || h->l1_off < QCOW_HEADER_LEN || h->l1_off > file_size ||
	    l1 > file_size - h->l1_off)
		return err_set(err, EINVAL,
			       "The L1 table of %" PRIu64 " bytes at %#" PRIx64
			       " is not in the file, which has %" PRIu64 " bytes, or not "
			       "aligned to 8",
			       l1, h->l1_off, file_size);
	if (!h->backing_off || !h->backing_len)
		return 0;
	if (h->backing_len > QCOW_BACKING_MAX)
		return err_set(err, EINVAL, "Backing file name too long");
	if (h->backing_off > file_size || h->backing_len > file_size - h->backing_off)
		return err_set(err, EINVAL,
			       "The backing file's name (%" PRIu32 " bytes at %#" PRIx64
			       ") is beyond the end of the file (%" PRIu64 " bytes)",
			       h->backing_len, h->backing_off, file_size);
	return 0;
}

int qcow_header_check(const struct qcow_header *h, uint64_t file_size, struct err *err)
{
	if (h->magic != QCOW_MAGIC)
		return err_set(err, EINVAL, "Image not in qcow format");
	if (h->version != 1)
		return err_set(
			err, ENOTSUP, "qcow (v1) does not support qcow version %" PRIu32 "%s",
			h->version,
			h->version == 2 || h->version == 3 ? "\nTry the 'qcow2' driver instead."
							   : "");
	if (h->size < 2)
		return err_set(err, EINVAL,
			       "Image size is too small (must be at least 2 bytes)");
	if (h->cluster_bits < QCOW_CLUSTER_BITS_MIN || h->cluster_bits > QCOW_CLUSTER_BITS_MAX)
		return err_set(err, EINVAL, "Cluster size must be between 512 and 64k");
	if (h->l2_bits < QCOW_L2_BITS_MIN || h->l2_bits > QCOW_L2_BITS_MAX)
		return err_set(err, EINVAL, "L2 table size must be between 512 and 64k");
	if (h->crypt > QCOW_CRYPT_AES)
		return err_set(err, EINVAL, "invalid encryption method in qcow header");
	if (h->size > INT64_MAX || qcow_l1_size(h) > QCOW_L1_ENTRIES)
		return err_set(err, EINVAL, "Image too large");
	return check_places(h, file_size, err);
}

static int read_backing(struct qcow *q, struct err *err)
{
	AUTO_FREE char *name = NULL;

	if (!q->h.backing_off || !q->h.backing_len)
		return 0;
	name = calloc(1, q->h.backing_len + 1);
	if (!name)
		return err_nomem(err, q->h.backing_len, "a file name");
	if (blk_pread(q->b.image.blk.lower, name, q->h.backing_len, q->h.backing_off, err))
		return -1;
	if (!name[0])
		return 0;
	q->b.image.backing = name;
	name = NULL;
	return 0;
}

static int read_header(struct qcow *q, struct err *err)
{
	struct blk *lower = q->b.image.blk.lower;
	uint8_t buf[QCOW_HEADER_LEN];

	if (blk_pread(lower, buf, sizeof(buf), 0, err))
		return -1;
	layout_decode(qcow_fields, buf, &q->h);
	if (qcow_header_check(&q->h, blk_size(lower), err))
		return -1;
	return read_backing(q, err);
}

/* ---- open and close ---------------------------------------------------------------- */

static int qcow_close(struct blk *blk, struct err *err)
{
	struct qcow *q = qcow_of(blk);
	int rc = q->b.blocks.started ? blocks_finish(&q->b.blocks, err) : 0;

	blocks_free(&q->b.blocks);
	qcow_tables_free(q);
	sector_free(q->sector);
	free(q->b.image.backing);
	free(q);
	return rc;
}

static const struct blk_ops qcow_ops = {
	.name = "qcow",
	.by_extent = true,
	.pread = qcow_pread,
	.extent = qcow_extent,
	.claim = blocks_image_claim,
	.settle = blocks_image_settle,
	.drop = blocks_image_drop,
	.zero = blocks_image_zero,
	.flush = blocks_image_flush,
	.pack = qcow_pack,
	.unpack = qcow_unpack,
	.code = qcow_code,
	.close = qcow_close,
};

static int prepare(struct qcow *q, struct err *err)
{
	struct blk *blk = &q->b.image.blk;

	q->cluster = UINT64_C(1) << q->h.cluster_bits;
	q->per_l2 = UINT64_C(1) << q->h.l2_bits;
	q->l1_size = qcow_l1_size(&q->h);
	q->file_size = blk_size(blk->lower);
	q->b.blocks = (struct blocks){
		.driver = &qcow_driver,
		.size = round_down(q->h.size, 512),
		.block = q->cluster,
		.align = q->cluster,
		.packed_unit = QCOW_PACKED_UNIT,
		.below = q->b.image.backing,
	};
	if (qcow_tables_init(q, err) || blocks_image_init(&q->b, q->flags, err))
		return -1;
	blk->codec = CODEC_DEFLATE;
	if (q->h.crypt != QCOW_CRYPT_NONE) {
		blk->caps |= BLK_CODES;
		q->b.blocks.fresh = UINT64_MAX; /* zeros there are no zeros */
	}
	if (q->b.image.backing)
		blk->caps &= ~(unsigned)BLK_CAN_ZERO;
	if (!(q->flags & IMAGE_WRITE))
		return 0;
	if (qcow_find_end(q, err))
		return -1;
	q->first_place = q->b.blocks.end;
	return 0;
}

static int open_key(struct qcow *q, const struct opts *opts, struct err *err)
{
	const char *secret = opts ? opts_get(opts, "encrypt.key-secret") : NULL;

	if (q->h.crypt == QCOW_CRYPT_NONE ||
	    (q->flags & (IMAGE_NO_IO | IMAGE_CHECK | IMAGE_NO_KEY)))
		return 0;
	if (!secret)
		return qcow_need_key(err);
	q->sector = legacy_sector(secret, err);
	return q->sector ? 0 : -1;
}

static int qcow_open(struct blk *lower, const struct opts *opts, unsigned flags,
		     struct image **out, struct err *err)
{
	struct qcow *q = image_new(sizeof(*q), &qcow_ops, &format_qcow, lower, err);

	if (!q)
		return -1;
	q->flags = flags;
	if (read_header(q, err) || open_key(q, opts, err) || prepare(q, err))
		return image_give_up(&q->b.image);
	*out = &q->b.image;
	return 0;
}

static int qcow_info(struct image *image, struct info *out, struct err *err)
{
	const struct qcow *q = (const struct qcow *)image;

	out->cluster_size = q->cluster;
	out->encrypted = q->h.crypt != QCOW_CRYPT_NONE;
	return 0;
}

static const struct opt open_opts[] = {
	{.name = "encrypt.key-secret",
	 .type = OPT_STR,
	 .arg = "ID",
	 .help = "Secret with the passphrase of an encrypted image"},
	{.name = "encrypt.format",
	 .type = OPT_STR,
	 .choices = "aes",
	 .help = "How the image has to be encrypted"},
	{0},
};

static const char *const extensions[] = {"qcow", NULL};

const struct format format_qcow = {
	.name = "qcow",
	.summary = "QEMU's first copy-on-write format",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_BACKING | FORMAT_PACK,
	.open_opts = open_opts,
	.create_opts = qcow_create_opts,
	.probe = qcow_probe,
	.open = qcow_open,
	.create = qcow_create,
	.create_check = qcow_create_check,
	.info = qcow_info,
	.make_empty = qcow_make_empty,
};
