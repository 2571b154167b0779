#include "formats/qed/qed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/bytes.h"
#include "lib/mem.h"

static struct qed *qed_of(struct blocks *b)
{
	return (struct qed *)((char *)b - offsetof(struct qed, b.blocks));
}

static int qed_probe(const uint8_t *head, size_t n, uint64_t size)
{
	return n >= 4 && get_le32(head) == QED_MAGIC ? 100 : 0;
}

/* ---- the tables -------------------------------------------------------------------- */

bool qed_inside(const struct qed *q, uint64_t off, uint64_t len)
{
	const struct blocks *b = &q->b.blocks;
	uint64_t end;

	if (off % q->h.cluster_size != 0 ||
	    off < (uint64_t)q->h.header_size * q->h.cluster_size ||
	    __builtin_add_overflow(off, len, &end))
		return false;
	return end <= q->whole || (off >= q->first_place && end <= b->end);
}

int qed_l2_of(struct qed *q, uint64_t l1_index, uint64_t *off, struct err *err)
{
	if (entries_get(&q->l1, q->h.l1_off + 8 * l1_index, off, err))
		return -1;
	if (*off == 0 || qed_inside(q, *off, q->table))
		return 0;
	return err_set(err, EINVAL,
		       "%s: L1 entry %" PRIu64 " points to %#" PRIx64
		       ", where no L2 table can be",
		       q->b.image.blk.name, l1_index, *off);
}

static int qed_get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct qed *q = qed_of(b);
	uint64_t l2, entry;

	*out = (struct block){.kind = BLOCK_ABSENT};
	if (qed_l2_of(q, i / q->per_table, &l2, err))
		return -1;
	if (l2 == 0)
		return 0;
	if (entries_get(&q->l2, l2 + 8 * (i % q->per_table), &entry, err))
		return -1;
	if (entry == QED_ABSENT)
		return 0;
	if (entry == QED_ZERO) {
		out->kind = BLOCK_ZERO;
		return 0;
	}
	if (!qed_inside(q, entry, q->h.cluster_size))
		return err_set(err, EINVAL,
			       "%s: The cluster at guest offset %" PRIu64
			       " is said to be at %#" PRIx64 ", where none can be",
			       b->file->name, i * q->h.cluster_size, entry);
	out->kind = BLOCK_DATA;
	out->host = entry;
	return 0;
}

uint64_t qed_none(struct qed *q, uint64_t l2, uint64_t i)
{
	struct blk *lower = q->b.image.blk.lower;

	return entries_none(&q->l2, q->flags & IMAGE_WRITE ? NULL : lower, l2 + 8 * i,
			    q->per_table - i);
}

static uint64_t qed_absent(struct blocks *b, uint64_t i)
{
	struct qed *q = qed_of(b);
	uint64_t in = i % q->per_table, l2;
	struct err later;

	if (qed_l2_of(q, i / q->per_table, &l2, &later))
		return 0;
	return l2 ? qed_none(q, l2, in) : q->per_table - in;
}

static int new_l2(struct qed *q, uint64_t l1_index, uint64_t *off, struct err *err)
{
	if (blocks_room(&q->b.blocks, q->table, q->h.cluster_size, off, err))
		return -1;
	/* the table's zeros and the file's length are as good as data */
	entries_data_written(&q->l1);
	return entries_set(&q->l1, q->h.l1_off + 8 * l1_index, *off, err);
}

static int qed_set(struct blocks *b, uint64_t i, const struct block *to, struct err *err)
{
	struct qed *q = qed_of(b);
	uint64_t l2;

	if (qed_l2_of(q, i / q->per_table, &l2, err) ||
	    (l2 == 0 && new_l2(q, i / q->per_table, &l2, err)))
		return -1;
	return entries_set(&q->l2, l2 + 8 * (i % q->per_table),
			   to->kind == BLOCK_DATA ? to->host : QED_ZERO, err);
}

static void qed_settled(struct blocks *b)
{
	entries_data_written(&qed_of(b)->l2);
}

static int qed_write_back(struct blocks *b, struct err *err)
{
	struct qed *q = qed_of(b);

	return entries_flush(&q->l2, err) || entries_flush(&q->l1, err) ? -1 : 0;
}

static int qed_start(struct blocks *b, struct err *err)
{
	struct qed *q = qed_of(b);

	if (b->new_image)
		return 0;
	q->h.features |= QED_NEED_CHECK;
	return qed_header_write(q, err) ? -1 : blk_flush(b->file, err);
}

static const struct blocks_driver qed_driver = {
	.get = qed_get,
	.absent = qed_absent,
	.set = qed_set,
	.settled = qed_settled,
	.write_back = qed_write_back,
	.start = qed_start,
};

/* ---- open and close ---------------------------------------------------------------- */

static int find_end_of_l2(struct qed *q, uint64_t l2, uint64_t *end, struct err *err)
{
	uint64_t entry;

	for (uint64_t i = 0; i < q->per_table; i++) {
		if (entries_get(&q->l2, l2 + 8 * i, &entry, err))
			return -1;
		if (entry > QED_ZERO && qed_inside(q, entry, q->h.cluster_size))
			*end = MAX(*end, entry + q->h.cluster_size);
	}
	return 0;
}

/* On a device: behind all that is in use. In a file: at its end. */
static int find_end(struct qed *q, struct err *err)
{
	struct blk *lower = q->b.image.blk.lower;
	uint64_t end = q->h.l1_off + q->table, l2, tables;
	struct err ignored; /* such a table is in nobody's way */

	if (lower->caps & BLK_CAN_GROW) {
		q->b.blocks.end = round_up(blk_size(lower), q->h.cluster_size);
		return 0;
	}
	tables = div_up(q->h.size, q->per_table * q->h.cluster_size);
	for (uint64_t i = 0; i < tables && !(q->flags & IMAGE_NEW); i++) {
		if (qed_l2_of(q, i, &l2, &ignored) || l2 == 0)
			continue;
		end = MAX(end, l2 + q->table);
		if (find_end_of_l2(q, l2, &end, err))
			return -1;
	}
	q->b.blocks.end = end;
	return 0;
}

static int finish(struct qed *q, struct err *err)
{
	if (blocks_finish(&q->b.blocks, err))
		return -1;
	if (!(q->h.features & QED_NEED_CHECK))
		return 0;
	q->h.features &= ~(uint64_t)QED_NEED_CHECK;
	return qed_header_write(q, err);
}

static int qed_close(struct blk *blk, struct err *err)
{
	struct qed *q = (struct qed *)blk;
	int rc = q->b.blocks.started ? finish(q, err) : 0;

	blocks_free(&q->b.blocks);
	entries_free(&q->l1);
	entries_free(&q->l2);
	free(q->b.image.backing);
	free(q->b.image.backing_format);
	free(q);
	return rc;
}

static const struct blk_ops qed_ops = {
	.name = "qed",
	.by_extent = true,
	.extent = blocks_image_extent,
	.claim = blocks_image_claim,
	.settle = blocks_image_settle,
	.drop = blocks_image_drop,
	.zero = blocks_image_zero,
	.flush = blocks_image_flush,
	.resize = qed_resize,
	.close = qed_close,
};

static int prepare(struct qed *q, struct err *err)
{
	struct blk *lower = q->b.image.blk.lower;
	bool relaxed = q->flags & IMAGE_NEW;

	q->table = (uint64_t)q->h.table_size * q->h.cluster_size;
	q->per_table = q->table / 8;
	q->whole = round_down(blk_size(lower), q->h.cluster_size);
	q->b.blocks = (struct blocks){
		.driver = &qed_driver,
		.size = q->h.size,
		.block = q->h.cluster_size,
		.align = q->h.cluster_size,
		.below = q->b.image.backing,
		.can_zero = true,
	};
	if (entries_init(&q->l1, lower, QED_PIECE, QED_L1_PIECES, 8, false, relaxed, err) ||
	    entries_init(&q->l2, lower, QED_PIECE, QED_L2_PIECES, 8, false, relaxed, err) ||
	    blocks_image_init(&q->b, q->flags, err))
		return -1;
	entries_depend(&q->l1, &q->l2);
	if (!(q->flags & IMAGE_WRITE) || (q->flags & IMAGE_CHECK))
		return 0;
	if (q->h.features & QED_NEED_CHECK)
		return err_set(err, EUCLEAN,
			       "The image was not closed cleanly and needs a check "
			       "before it can be written");
	if (find_end(q, err))
		return -1;
	q->first_place = q->b.blocks.end;
	return 0;
}

static int qed_open(struct blk *lower, const struct opts *opts, unsigned flags,
		    struct image **out, struct err *err)
{
	struct qed *q = image_new(sizeof(*q), &qed_ops, &format_qed, lower, err);

	if (!q)
		return -1;
	q->flags = flags;
	if (qed_header_read(q, err) || prepare(q, err))
		return image_give_up(&q->b.image);
	*out = &q->b.image;
	return 0;
}

static int qed_info(struct image *image, struct info *out, struct err *err)
{
	out->cluster_size = ((struct qed *)image)->h.cluster_size;
	return 0;
}

static const char *const extensions[] = {"qed", NULL};

const struct format format_qed = {
	.name = "qed",
	.summary = "QEMU's enhanced disk, between qcow and qcow2's version 3",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_BACKING,
	.create_opts = qed_create_opts,
	.probe = qed_probe,
	.open = qed_open,
	.create = qed_create,
	.create_check = qed_create_check,
	.info = qed_info,
	.check = qed_check,
	.set_backing = qed_set_backing,
};
