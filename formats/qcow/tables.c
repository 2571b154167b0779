/*
 * Where clusters are: "Level 1 table", "Level 2 table", in the way of version 1.
 */
#include <errno.h>
#include <inttypes.h>

#include "formats/qcow/qcow.h"
#include "lib/mem.h"

static struct qcow *owner(struct blocks *b)
{
	return (struct qcow *)((char *)b - offsetof(struct qcow, b.blocks));
}

/* Are len bytes at off in the file? */
static bool inside(const struct qcow *q, uint64_t off, uint64_t len)
{
	const struct blocks *b = &q->b.blocks;
	uint64_t end;

	if (off < QCOW_HEADER_LEN || __builtin_add_overflow(off, len, &end))
		return false;
	return end <= q->file_size || (off >= q->first_place && end <= b->end);
}

/* 0: there is none. */
static int l2_of(struct qcow *q, uint64_t l1_index, uint64_t *off, struct err *err)
{
	if (entries_get(&q->l1, q->h.l1_off + 8 * l1_index, off, err))
		return -1;
	if (*off == 0 || (*off % 8 == 0 && inside(q, *off, 8 * q->per_l2)))
		return 0;
	return err_set(err, EIO,
		       "%s: L1 entry %" PRIu64 " points to %#" PRIx64
		       ", where no L2 table can be",
		       q->b.image.blk.name, l1_index, *off);
}

static int get_packed(struct qcow *q, uint64_t i, uint64_t entry, struct block *out,
		      struct err *err)
{
	unsigned bits = 63 - q->h.cluster_bits;

	out->kind = BLOCK_PACKED;
	out->packed = (uint32_t)((entry & ~QCOW_PACKED) >> bits);
	out->host = entry & ((UINT64_C(1) << bits) - 1);
	if (out->packed && inside(q, out->host, out->packed))
		return 0;
	return err_set(err, EIO,
		       "%s: The compressed cluster at guest offset %" PRIu64
		       " is said to have %" PRIu32 " bytes at %#" PRIx64
		       ", where they cannot be",
		       q->b.image.blk.name, i * q->cluster, out->packed, out->host);
}

static int get(struct blocks *b, uint64_t i, struct block *out, struct err *err)
{
	struct qcow *q = owner(b);
	uint64_t l2, entry;

	*out = (struct block){.kind = BLOCK_ABSENT};
	if (l2_of(q, i / q->per_l2, &l2, err))
		return -1;
	if (l2 == 0)
		return 0;
	if (entries_get(&q->l2, l2 + 8 * (i % q->per_l2), &entry, err))
		return -1;
	if (entry == 0)
		return 0;
	if (entry & QCOW_PACKED)
		return get_packed(q, i, entry, out, err);
	/* the last one need not be whole */
	if (!inside(q, entry, MIN(q->cluster, b->size - i * q->cluster)))
		return err_set(err, EIO,
			       "%s: The cluster at guest offset %" PRIu64
			       " is said to be at %#" PRIx64 ", where none can be",
			       q->b.image.blk.name, i * q->cluster, entry);
	out->kind = BLOCK_DATA;
	out->host = entry;
	return 0;
}

static uint64_t absent(struct blocks *b, uint64_t i)
{
	struct qcow *q = owner(b);
	uint64_t in = i % q->per_l2, l2;
	struct err later;

	if (l2_of(q, i / q->per_l2, &l2, &later))
		return 0;
	if (l2 == 0)
		return q->per_l2 - in;
	return entries_none(&q->l2, q->flags & IMAGE_WRITE ? NULL : q->b.image.blk.lower,
			    l2 + 8 * in, q->per_l2 - in);
}

static int new_l2(struct qcow *q, uint64_t l1_index, uint64_t *off, struct err *err)
{
	if (blocks_room(&q->b.blocks, 8 * q->per_l2, q->cluster, off, err))
		return -1;
	/* the table's zeros and the file's length are as good as data */
	entries_data_written(&q->l1);
	return entries_set(&q->l1, q->h.l1_off + 8 * l1_index, *off, err);
}

static int set(struct blocks *b, uint64_t i, const struct block *to, struct err *err)
{
	struct qcow *q = owner(b);
	uint64_t l2, entry = to->host;

	if (l2_of(q, i / q->per_l2, &l2, err) ||
	    (l2 == 0 && new_l2(q, i / q->per_l2, &l2, err)))
		return -1;
	/* else there could be data between two tables that are written at once */
	if (l2 % q->l2.piece != 0)
		return err_set(err, ENOTSUP,
			       "%s: The L2 table at %#" PRIx64
			       " is not aligned to %u bytes: it can only be read",
			       q->b.image.blk.name, l2, q->l2.piece);
	if (entry >> (to->kind == BLOCK_PACKED ? 63 - q->h.cluster_bits : 63))
		return err_set(err, EFBIG, "%s: The file is too large for another cluster",
			       q->b.image.blk.name);
	if (to->kind == BLOCK_PACKED)
		entry |= QCOW_PACKED | (uint64_t)to->packed << (63 - q->h.cluster_bits);
	return entries_set(&q->l2, l2 + 8 * (i % q->per_l2), entry, err);
}

static void settled(struct blocks *b)
{
	entries_data_written(&owner(b)->l2);
}

static int write_back(struct blocks *b, struct err *err)
{
	struct qcow *q = owner(b);

	return entries_flush(&q->l2, err) || entries_flush(&q->l1, err) ? -1 : 0;
}

static int start(struct blocks *b, struct err *err)
{
	struct qcow *q = owner(b);

	return q->h.crypt == QCOW_CRYPT_NONE || q->sector ? 0 : qcow_need_key(err);
}

const struct blocks_driver qcow_driver = {
	.get = get,
	.absent = absent,
	.set = set,
	.settled = settled,
	.write_back = write_back,
	.start = start,
};

static int init_l2(struct qcow *q, struct err *err)
{
	uint32_t piece = (uint32_t)MIN(MIN(q->cluster, 8 * q->per_l2), QCOW_PIECE);

	if (entries_init(&q->l2, q->b.image.blk.lower, piece, QCOW_L2_CACHE / piece, 8, true,
			 q->flags & IMAGE_NEW, err))
		return -1;
	entries_depend(&q->l1, &q->l2);
	return 0;
}

int qcow_tables_init(struct qcow *q, struct err *err)
{
	if (entries_init(&q->l1, q->b.image.blk.lower, QCOW_PIECE, QCOW_L1_PIECES, 8, true,
			 q->flags & IMAGE_NEW, err))
		return -1;
	return init_l2(q, err);
}

void qcow_tables_free(struct qcow *q)
{
	entries_free(&q->l1);
	entries_free(&q->l2);
}

/* ---- the end of what is in use ------------------------------------------------------- */

static int find_end_of_l2(struct qcow *q, uint64_t l1_index, uint64_t *end, struct err *err)
{
	uint64_t n = div_up(q->b.blocks.size, q->cluster);
	struct err ignored; /* what is nowhere is in nobody's way */
	struct block e;

	for (uint64_t i = l1_index * q->per_l2, k = 0; k < q->per_l2 && i < n; i++, k++)
		if (get(&q->b.blocks, i, &e, &ignored) == 0 && e.kind != BLOCK_ABSENT)
			*end = MAX(*end, e.host + (e.packed ? e.packed : q->cluster));
	return 0;
}

/* On a device: behind all that is in use. In a file: at its end. */
int qcow_find_end(struct qcow *q, struct err *err)
{
	struct blk *lower = q->b.image.blk.lower;
	uint64_t end = q->h.l1_off + 8 * q->l1_size, l2;
	struct err ignored;

	if (lower->caps & BLK_CAN_GROW) {
		q->b.blocks.end = blk_size(lower);
		return 0;
	}
	for (uint64_t i = 0; i < q->l1_size && !(q->flags & IMAGE_NEW); i++) {
		if (l2_of(q, i, &l2, &ignored) || l2 == 0)
			continue;
		end = MAX(end, l2 + 8 * q->per_l2);
		if (find_end_of_l2(q, i, &end, err))
			return -1;
	}
	q->b.blocks.end = end;
	return 0;
}

/* ---- no data ----------------------------------------------------------------------- */

static int clear_l1(struct qcow *q, struct err *err)
{
	uint64_t l2;

	for (uint64_t i = 0; i < q->l1_size; i++) {
		uint64_t at = q->h.l1_off + 8 * i;

		if (entries_get(&q->l1, at, &l2, err) ||
		    (l2 && entries_set(&q->l1, at, 0, err)))
			return -1;
	}
	return 0;
}

static int make_empty(struct qcow *q, struct err *err)
{
	struct blk *lower = q->b.image.blk.lower;
	struct blocks *b = &q->b.blocks;
	uint64_t end = q->h.l1_off + 8 * q->l1_size;

	if (start(b, err) || clear_l1(q, err) || write_back(b, err) || blk_flush(lower, err))
		return -1;
	if (lower->caps & BLK_CAN_GROW) {
		if (blk_resize(lower, end, PREALLOC_OFF, err))
			return -1;
		b->fresh = end;
	}
	b->end = q->file_size = q->first_place = end;
	b->nspare = 0;
	/* tables that come to lie where others were are not those */
	entries_free(&q->l2);
	return init_l2(q, err);
}

int qcow_make_empty(struct image *image, struct err *err)
{
	struct qcow *q = (struct qcow *)image;
	int rc;

	pthread_mutex_lock(&q->b.blocks.lock);
	rc = make_empty(q, err);
	pthread_mutex_unlock(&q->b.blocks.lock);
	return rc;
}
