/*
 * check: all chunks inflate, and the checksums are those that are stored: of the data fork, of
 * each table's sectors, and of the tables' checksums. Only CRC-32 is verified; chunks that are
 * to be ignored are in no checksum.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/dmg/dmg.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/pack.h"

#define PIECE (1u << 20)

struct checker {
	struct dmg *d;
	struct check *c;
	uint8_t *buf; /* PIECE bytes, or a chunk */
	size_t room;
};

static void wrong_sum(struct checker *k, const char *what, uint32_t is, uint32_t says)
{
	struct check_problem p = {.kind = "checksum"};

	check_find(k->c, &p,
		   "ERROR: the checksum of %s is %08" PRIx32 ", but %08" PRIx32 " is stored",
		   what, is, says);
	k->c->errors++;
}

static int make_room(struct checker *k, size_t n, struct err *err)
{
	if (n <= k->room)
		return 0;
	free(k->buf);
	k->room = 0;
	k->buf = mem_alloc(n);
	if (!k->buf)
		return err_nomem(err, n, "a chunk");
	k->room = n;
	return 0;
}

/* CRC-32 of bytes of the file. */
static int sum_file(struct checker *k, uint64_t off, uint64_t len, uint32_t *crc,
		    struct err *err)
{
	if (make_room(k, PIECE, err))
		return -1;
	while (len > 0) {
		size_t n = MIN(len, PIECE);

		if (blk_pread(k->d->image.blk.lower, k->buf, n, off, err))
			return -1;
		*crc = pack_crc32(*crc, k->buf, n);
		off += n;
		len -= n;
	}
	return 0;
}

static int check_data_fork(struct checker *k, struct err *err)
{
	const struct dmg_trailer *h = &k->d->h;
	uint64_t size = blk_size(k->d->image.blk.lower);
	struct check_problem p = {.kind = "data-fork", .has_host = true, .host = h->data_off};
	uint32_t crc = 0;

	if (h->data_sum_type != DMG_SUM_CRC32)
		return 0;
	if (h->data_len > size - h->data_off) {
		check_find(k->c, &p,
			   "ERROR: the data fork (%" PRIu64 " bytes at %" PRIu64
			   ") is beyond the end of the file",
			   h->data_len, h->data_off);
		k->c->errors++;
		return 0;
	}
	if (sum_file(k, h->data_off, h->data_len, &crc, err))
		return -1;
	if (crc != h->data_sum)
		wrong_sum(k, "the data fork", crc, h->data_sum);
	return 0;
}

/* Adds a chunk to its table's checksum; 1: it is broken, which was said. */
static int sum_chunk(struct checker *k, const struct dmg_chunk *c, uint32_t *crc,
		     struct err *err)
{
	struct check_problem p = {
		.kind = "data", .has_guest = true, .guest = c->start * DMG_SECTOR};
	size_t n = (size_t)c->count * DMG_SECTOR;
	struct err why;

	if (c->type == DMG_IGNORE)
		return 0;
	if (c->type == DMG_ZERO) {
		*crc = pack_crc32_zeros(*crc, c->count * DMG_SECTOR);
		return 0;
	}
	if (c->type == DMG_RAW)
		return sum_file(k, c->off, n, crc, err);
	if (make_room(k, n, err))
		return -1;
	if (dmg_inflate(k->d->image.blk.lower, c, k->buf, &why) == 0) {
		*crc = pack_crc32(*crc, k->buf, n);
		return 0;
	}
	if (why.num == ENOMEM) {
		*err = why;
		return -1;
	}
	check_find(k->c, &p, "ERROR: chunk %" PRIu32 " of table %" PRIu32 ": %s", c->entry,
		   c->table, why.text);
	k->c->errors++;
	return 1;
}

static int by_place(const void *a, const void *b)
{
	const struct dmg_chunk *x = a, *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return (x->entry > y->entry) - (x->entry < y->entry);
}

/* list: the chunks in the order of the tables. */
static int check_tables(struct checker *k, const struct dmg_chunk *list, struct err *err)
{
	const struct dmg_tables *t = &k->d->t;
	size_t at = 0;
	char what[40];

	for (size_t i = 0; i < t->n; i++) {
		const struct dmg_table *table = &t->table[i];
		bool broken = table->sum_type != DMG_SUM_CRC32;
		uint32_t crc = 0;

		for (; at < t->nchunk && list[at].table == i; at++) {
			int rc = sum_chunk(k, &list[at], &crc, err);

			if (rc < 0)
				return -1;
			broken |= rc > 0;
		}
		snprintf(what, sizeof(what), "table %zu", i);
		if (!broken && crc != table->sum)
			wrong_sum(k, what, crc, table->sum);
	}
	return 0;
}

static void check_master(struct checker *k)
{
	const struct dmg_tables *t = &k->d->t;
	uint32_t crc = 0;
	uint8_t buf[4];

	if (k->d->h.sum_type != DMG_SUM_CRC32 || t->n == 0)
		return;
	for (size_t i = 0; i < t->n; i++) {
		if (t->table[i].sum_type != DMG_SUM_CRC32)
			return;
		put_be32(buf, t->table[i].sum);
		crc = pack_crc32(crc, buf, sizeof(buf));
	}
	if (crc != k->d->h.sum)
		wrong_sum(k, "the tables' checksums", crc, k->d->h.sum);
}

/* Sectors of the disk that no chunk has. */
static void check_gaps(struct checker *k)
{
	uint64_t sectors = blk_size(&k->d->image.blk) / DMG_SECTOR, next;

	for (uint64_t s = 0; s < sectors;) {
		const struct dmg_chunk *c = dmg_find(&k->d->t, s, &next);
		struct check_problem p = {
			.kind = "gap", .has_guest = true, .guest = s * DMG_SECTOR};

		if (c) {
			s = c->start + c->count;
			continue;
		}
		next = MIN(next, sectors);
		check_find(k->c, &p,
			   "ERROR: no chunk has the %" PRIu64 " sectors from %" PRIu64 " on",
			   next - s, s);
		k->c->errors++;
		s = next;
	}
}

int dmg_check(struct image *image, struct check *c, struct err *err)
{
	struct dmg *d = (struct dmg *)image;
	size_t bytes = d->t.nchunk * sizeof(*d->t.chunk);
	AUTO_FREE struct dmg_chunk *list = malloc(bytes ? bytes : 1);
	struct checker k = {.d = d, .c = c};
	int rc;

	if (!list)
		return err_nomem(err, bytes, "a list of chunks");
	if (bytes) {
		memcpy(list, d->t.chunk, bytes);
		qsort(list, d->t.nchunk, sizeof(*list), by_place);
	}
	rc = check_data_fork(&k, err) || check_tables(&k, list, err) ? -1 : 0;
	free(k.buf);
	if (rc)
		return -1;
	check_master(&k);
	check_gaps(&k);
	return 0;
}
