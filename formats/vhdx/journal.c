/*
 * Changes on their way through the log (2.3): what is written to this blk is gathered, in
 * pages, and goes to the file as one entry of the log at a time:
 *
 *	the data that the pages will refer to, and what earlier entries said, is stable
 *	the entry is written, in the room that the one before does not have; stable
 *	the header names the log, if it does not yet
 *	the pages are written in their places
 *
 * So an entry's tail is the entry itself, and wherever that ends, the newest whole entry
 * brings the file to what it was after it. The log is emptied when the image is closed.
 *
 * Threads: none inside; under the image's lock.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vhdx/log.h"
#include "lib/bytes.h"
#include "lib/crc32c.h"
#include "lib/mem.h"

/* As many as one page of descriptors has room for: two such entries fit into any log. */
#define PAGES_MAX ((VHDX_PAGE - LOG_HEAD) / LOG_DESCRIPTOR)

struct journal {
	struct blk blk;
	struct vhdx *v;
	uint64_t page_off[PAGES_MAX];
	uint8_t *page; /* PAGES_MAX of them */
	unsigned n;
	uint8_t *entry; /* room for one */
	uint64_t at;	/* of the next entry in the log */
	uint64_t sequence;
	uint8_t log[UUID_LEN];
	bool named; /* by the header */
};

static struct blk *file_of(const struct journal *j)
{
	return j->v->b.image.blk.lower;
}

/* ---- pages --------------------------------------------------------------------------- */

static uint8_t *find_page(struct journal *j, uint64_t off)
{
	for (unsigned i = 0; i < j->n; i++)
		if (j->page_off[i] == off)
			return j->page + (size_t)i * VHDX_PAGE;
	return NULL;
}

static uint8_t *take_page(struct journal *j, uint64_t off, struct err *err)
{
	uint8_t *p = find_page(j, off);

	if (p)
		return p;
	if (j->n == PAGES_MAX && vhdx_journal_commit(&j->blk, err))
		return NULL;
	p = j->page + (size_t)j->n * VHDX_PAGE;
	if (blk_pread(file_of(j), p, VHDX_PAGE, off, err))
		return NULL;
	j->page_off[j->n++] = off;
	return p;
}

static int journal_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct journal *j = (struct journal *)blk;

	if (blk_pread(file_of(j), buf, n, off, err))
		return -1;
	for (unsigned i = 0; i < j->n; i++) {
		uint64_t from = MAX(j->page_off[i], off);
		uint64_t to = MIN(j->page_off[i] + VHDX_PAGE, off + n);

		if (from < to)
			memcpy((uint8_t *)buf + (from - off),
			       j->page + (size_t)i * VHDX_PAGE + from % VHDX_PAGE, to - from);
	}
	return 0;
}

static int journal_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			  unsigned flags, struct err *err)
{
	struct journal *j = (struct journal *)blk;
	const uint8_t *from = buf;

	while (n > 0) {
		size_t in = off % VHDX_PAGE, part = MIN(n, VHDX_PAGE - in);
		uint8_t *p = take_page(j, off - in, err);

		if (!p)
			return -1;
		memcpy(p + in, from, part);
		from += part;
		off += part;
		n -= part;
	}
	return 0;
}

/* ---- entries ------------------------------------------------------------------------- */

/* 2.3.1.1 to 2.3.1.4. Bytes of it. */
static size_t encode_entry(const struct journal *j)
{
	size_t len = (size_t)(1 + j->n) * VHDX_PAGE;
	uint64_t size = round_down(blk_size(file_of(j)), VHDX_MIB);
	struct log_head h = {.signature = LOG_ENTRY,
			     .len = (uint32_t)len,
			     .tail = (uint32_t)j->at,
			     .sequence = j->sequence,
			     .count = j->n,
			     .flushed = size,
			     .last = size};

	memcpy(h.log, j->log, UUID_LEN);
	memset(j->entry, 0, VHDX_PAGE);
	layout_encode(log_head_fields, &h, j->entry);
	for (unsigned i = 0; i < j->n; i++) {
		uint8_t *p = j->entry + LOG_HEAD + (size_t)i * LOG_DESCRIPTOR;
		uint8_t *data = j->entry + (size_t)(1 + i) * VHDX_PAGE;
		const uint8_t *page = j->page + (size_t)i * VHDX_PAGE;

		put_le32(p, LOG_DESC);
		memcpy(p + 4, page + LOG_SEQUENCE_LOW_AT, LOG_TRAILING);
		memcpy(p + 8, page, LOG_LEADING);
		put_le64(p + 16, j->page_off[i]);
		put_le64(p + 24, j->sequence);
		memcpy(data, page, VHDX_PAGE);
		put_le32(data, LOG_DATA);
		put_le32(data + 4, (uint32_t)(j->sequence >> 32));
		put_le32(data + LOG_SEQUENCE_LOW_AT, (uint32_t)j->sequence);
	}
	put_le32(j->entry + LOG_CHECKSUM_AT, crc32c(0, j->entry, len));
	return len;
}

/* The log is a ring. */
static int write_entry(struct journal *j, size_t len, struct err *err)
{
	const struct vhdx_header *h = &j->v->h;
	size_t first = MIN(len, h->log_len - j->at);

	if (blk_pwrite(file_of(j), j->entry, first, h->log_off + j->at, 0, err) ||
	    (first < len &&
	     blk_pwrite(file_of(j), j->entry + first, len - first, h->log_off, 0, err)))
		return -1;
	return blk_flush(file_of(j), err);
}

static int name_log(struct journal *j, struct err *err)
{
	struct vhdx_header *h = &j->v->h;

	if (j->named)
		return 0;
	memcpy(h->log, j->log, UUID_LEN);
	h->log_version = VHDX_LOG_VERSION;
	if (vhdx_header_write(j->v, err))
		return -1;
	j->named = true;
	return 0;
}

int vhdx_journal_commit(struct blk *blk, struct err *err)
{
	struct journal *j = (struct journal *)blk;
	size_t len;

	if (j->n == 0)
		return 0;
	if (blk_flush(file_of(j), err))
		return -1;
	len = encode_entry(j);
	if (write_entry(j, len, err))
		return -1;
	/* from now on it may count: what comes next is written elsewhere */
	j->at = (j->at + len) % j->v->h.log_len;
	j->sequence++;
	if (name_log(j, err))
		return -1;
	for (unsigned i = 0; i < j->n; i++)
		if (blk_pwrite(file_of(j), j->page + (size_t)i * VHDX_PAGE, VHDX_PAGE,
			       j->page_off[i], 0, err))
			return -1;
	j->n = 0;
	return 0;
}

int vhdx_journal_end(struct blk *blk, struct err *err)
{
	struct journal *j = (struct journal *)blk;

	if (!j->named)
		return 0;
	if (blk_flush(file_of(j), err))
		return -1;
	memset(j->v->h.log, 0, UUID_LEN);
	if (vhdx_header_write(j->v, err))
		return -1;
	j->named = false;
	return 0;
}

/* ---- open and close ------------------------------------------------------------------ */

static int journal_flush(struct blk *blk, struct err *err)
{
	return blk_flush(file_of((struct journal *)blk), err);
}

static int journal_close(struct blk *blk, struct err *err)
{
	struct journal *j = (struct journal *)blk;

	free(j->page);
	free(j->entry);
	free(j);
	return 0;
}

static const struct blk_ops journal_ops = {
	.name = "vhdx-journal",
	.pread = journal_pread,
	.pwrite = journal_pwrite,
	.flush = journal_flush,
	.close = journal_close,
};

struct blk *vhdx_journal_new(struct vhdx *v, struct err *err)
{
	struct blk *lower = v->b.image.blk.lower;
	struct journal *j = calloc(1, sizeof(*j));
	struct err later;

	if (!j) {
		err_nomem(err, sizeof(*j), "the log");
		return NULL;
	}
	if (blk_init(&j->blk, &journal_ops, lower->name, err)) {
		free(j);
		return NULL;
	}
	j->v = v;
	j->sequence = 1;
	j->blk.size = blk_size(lower);
	j->blk.align = lower->align;
	j->blk.caps = BLK_CAN_WRITE;
	j->page = mem_alloc((size_t)PAGES_MAX * VHDX_PAGE);
	j->entry = mem_alloc((size_t)(PAGES_MAX + 1) * VHDX_PAGE);
	if (!j->page || !j->entry)
		err_nomem(err, 2 * PAGES_MAX * VHDX_PAGE, "the log");
	if (!j->page || !j->entry || uuid_random(j->log, err)) {
		blk_close(&j->blk, &later);
		return NULL;
	}
	return &j->blk;
}
