/*
 * The header: qed_spec.rst, section "Header".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qed/qed.h"
#include "lib/mem.h"

const struct field qed_fields[] = {
	LE32(0, struct qed_header, magic),	  LE32(4, struct qed_header, cluster_size),
	LE32(8, struct qed_header, table_size),	  LE32(12, struct qed_header, header_size),
	LE64(16, struct qed_header, features),	  LE64(24, struct qed_header, compat),
	LE64(32, struct qed_header, autoclear),	  LE64(40, struct qed_header, l1_off),
	LE64(48, struct qed_header, size),	  LE32(56, struct qed_header, backing_off),
	LE32(60, struct qed_header, backing_len), FIELD_END,
};

static bool is_power(uint32_t v, uint32_t min, uint32_t max)
{
	return v >= min && v <= max && (v & (v - 1)) == 0;
}

static uint64_t header_end(const struct qed_header *h)
{
	return (uint64_t)h->header_size * h->cluster_size;
}

uint64_t qed_size_max(const struct qed_header *h)
{
	uint64_t n = (uint64_t)h->table_size * h->cluster_size / 8, max;

	/* n * n is at most 2^54 */
	return __builtin_mul_overflow(n * n, (uint64_t)h->cluster_size, &max) ? 0 : max;
}

static int check_places(const struct qed_header *h, uint64_t file_size, struct err *err)
{
	uint64_t table = (uint64_t)h->table_size * h->cluster_size;
	uint64_t whole = round_down(file_size, h->cluster_size);

	if (h->l1_off % h->cluster_size != 0 || h->l1_off < header_end(h) ||
	    h->l1_off > whole || table > whole - h->l1_off)
		return err_set(err, EINVAL, "QED table offset is invalid");
	if ((h->features & QED_BACKING) &&
	    (uint64_t)h->backing_off + h->backing_len > header_end(h))
		return err_set(err, EINVAL, "QED backing filename offset is invalid");
	if (h->header_size == 0)
		return err_set(err, EINVAL, "QED header size is invalid");
	return 0;
}

int qed_header_check(const struct qed_header *h, uint64_t file_size, struct err *err)
{
	if (h->magic != QED_MAGIC)
		return err_set(err, EINVAL, "Image not in QED format");
	if (h->features & ~(uint64_t)QED_FEATURES)
		return err_set(err, ENOTSUP, "Unsupported QED features: %" PRIx64,
			       h->features & ~(uint64_t)QED_FEATURES);
	if (!is_power(h->cluster_size, QED_CLUSTER_MIN, QED_CLUSTER_MAX))
		return err_set(err, EINVAL, "QED cluster size is invalid");
	if (!is_power(h->table_size, 1, QED_TABLE_MAX))
		return err_set(err, EINVAL, "QED table size is invalid");
	if (h->size % 512 != 0 || h->size > qed_size_max(h) || h->size > INT64_MAX)
		return err_set(err, EINVAL, "QED image size is invalid");
	return check_places(h, file_size, err);
}

static int read_backing(struct qed *q, struct err *err)
{
	uint32_t n = MIN(q->h.backing_len, QED_BACKING_MAX + 1);
	AUTO_FREE char *name = calloc(1, n + 1);

	if (!(q->h.features & QED_BACKING))
		return 0;
	if (!name)
		return err_nomem(err, n, "a file name");
	if (blk_pread(q->b.image.blk.lower, name, n, q->h.backing_off, err))
		return -1;
	if (strlen(name) > QED_BACKING_MAX)
		return err_set(err, EINVAL,
			       "The name of the QED backing file has more than %d bytes",
			       QED_BACKING_MAX);
	if (!name[0])
		return 0;
	q->b.image.backing = strdup(name);
	if (!q->b.image.backing)
		return err_nomem(err, n, "a file name");
	if (!(q->h.features & QED_NO_PROBE))
		return 0;
	q->b.image.backing_format = strdup("raw");
	return q->b.image.backing_format ? 0 : err_nomem(err, 4, "a format's name");
}

int qed_header_read(struct qed *q, struct err *err)
{
	struct blk *lower = q->b.image.blk.lower;

	if (blk_pread(lower, q->first, sizeof(q->first), 0, err))
		return -1;
	layout_decode(qed_fields, q->first, &q->h);
	if (qed_header_check(&q->h, blk_size(lower), err))
		return -1;
	return read_backing(q, err);
}

int qed_header_write(struct qed *q, struct err *err)
{
	/* bits that we do not know are of what we do not keep up to date */
	q->h.autoclear = 0;
	layout_encode(qed_fields, &q->h, q->first);
	return blk_pwrite(q->b.image.blk.lower, q->first, sizeof(q->first), 0, 0, err);
}
