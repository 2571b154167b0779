/*
 * What of the log has to be replayed (2.3.2, 2.3.3).
 *
 * An entry counts if it is whole: its checksum is right, and each of its pages has its
 * sequence number. Entries one after the other with sequence numbers one after the other are
 * a sequence; the newest entry whose tail is in its own sequence is the head of what is
 * replayed. What was torn is no entry, so what came before it counts.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vhdx/log.h"
#include "lib/array.h"
#include "lib/bytes.h"
#include "lib/crc32c.h"
#include "lib/mem.h"

#define CHUNK	    (1u << 20)
#define PAGES_MAX   65536u /* that are replayed: they are in memory */
#define REPLAY_FROM VHDX_REGIONS_AT
#define FILE_MAX    (VHDX_SIZE_MAX + (UINT64_C(1) << 40))

const struct field log_head_fields[] = {
	LE32(0, struct log_head, signature), LE32(LOG_CHECKSUM_AT, struct log_head, checksum),
	LE32(8, struct log_head, len),	     LE32(12, struct log_head, tail),
	LE64(16, struct log_head, sequence), LE32(24, struct log_head, count),
	BYTES(32, struct log_head, log),     LE64(48, struct log_head, flushed),
	LE64(56, struct log_head, last),     FIELD_END,
};

/* A whole entry. */
struct entry {
	struct log_head h;
	uint32_t at;
	size_t run; /* sequence; 0: not known yet */
};

struct log {
	struct blk *file;
	const struct vhdx_header *h;
	struct entry *entry; /* by `at` */
	size_t n, room;
	uint64_t budget; /* bytes that may still be looked at */
	uint8_t *buf;	 /* CHUNK */
	uint64_t buf_at, buf_len;
	/* what the entries of the sequence say */
	struct log_change *change;
	size_t nchange, change_room, npage;
};

/* The page at `at` of the log, which is a ring; borrowed until the next call. */
static uint8_t *page_at(struct log *log, uint64_t at, struct err *err)
{
	uint64_t len = log->h->log_len;

	at %= len;
	if (at < log->buf_at || at - log->buf_at >= log->buf_len) {
		uint64_t n = MIN(CHUNK, len - at);

		log->buf_len = 0;
		if (blk_pread(log->file, log->buf, n, log->h->log_off + at, err))
			return NULL;
		log->buf_at = at;
		log->buf_len = n;
	}
	return log->buf + (at - log->buf_at);
}

/* ---- whole entries ------------------------------------------------------------------- */

static bool head_possible(const struct log *log, const struct log_head *h)
{
	return h->signature == LOG_ENTRY && h->sequence > 0 &&
	       memcmp(h->log, log->h->log, UUID_LEN) == 0 && h->len % VHDX_PAGE == 0 &&
	       h->len >= VHDX_PAGE && h->len <= log->h->log_len && h->tail % VHDX_PAGE == 0 &&
	       h->tail < log->h->log_len &&
	       log_descriptor_pages(h->count) <= h->len / VHDX_PAGE;
}

/* Descriptors in page k of an entry; counts those of data. */
static bool descriptors_whole(const struct log_head *h, const uint8_t *page, uint64_t k,
			      uint64_t *data)
{
	const uint64_t per = VHDX_PAGE / LOG_DESCRIPTOR, head = LOG_HEAD / LOG_DESCRIPTOR;
	uint64_t from = k == 0 ? head : 0;

	for (uint64_t i = from; i < per && k * per + i - head < h->count; i++) {
		const uint8_t *p = page + i * LOG_DESCRIPTOR;
		uint32_t signature = get_le32(p);

		if ((signature != LOG_ZERO && signature != LOG_DESC) ||
		    get_le64(p + 24) != h->sequence)
			return false;
		*data += signature == LOG_DESC;
	}
	return true;
}

static bool data_whole(const struct log_head *h, const uint8_t *page)
{
	return get_le32(page) == LOG_DATA && get_le32(page + 4) == h->sequence >> 32 &&
	       get_le32(page + LOG_SEQUENCE_LOW_AT) == (uint32_t)h->sequence;
}

static uint32_t add_checksum(uint32_t crc, const uint8_t *page, bool first)
{
	static const uint8_t none[4];

	if (!first)
		return crc32c(crc, page, VHDX_PAGE);
	crc = crc32c(crc, page, LOG_CHECKSUM_AT);
	crc = crc32c(crc, none, sizeof(none));
	return crc32c(crc, page + LOG_CHECKSUM_AT + 4, VHDX_PAGE - LOG_CHECKSUM_AT - 4);
}

/* 1: it is whole, 0: it is not, -1: it cannot be read. */
static int entry_whole(struct log *log, uint32_t at, const struct log_head *h, struct err *err)
{
	uint64_t pages = h->len / VHDX_PAGE, head = log_descriptor_pages(h->count), data = 0;
	uint32_t crc = 0;

	for (uint64_t k = 0; k < pages; k++) {
		uint8_t *page = page_at(log, at + k * VHDX_PAGE, err);

		if (!page)
			return -1;
		if (log->budget < VHDX_PAGE)
			return err_set(err, EINVAL,
				       "The log is damaged: entries lie one over the other");
		log->budget -= VHDX_PAGE;
		if (k < head ? !descriptors_whole(h, page, k, &data)
			     : k - head < data && !data_whole(h, page))
			return 0;
		crc = add_checksum(crc, page, k == 0);
	}
	return data <= pages - head && crc == h->checksum;
}

/* Whole pages of a hole of the file from `at` on: a log may be long, and used little. */
static uint64_t skip_hole(const struct log *log, uint64_t at)
{
	struct extent e;
	struct err later; /* then it is read */

	if (blk_extent(log->file, log->h->log_off + at, log->h->log_len - at, &e, &later) ||
	    !(e.flags & EXT_ZERO))
		return 0;
	return round_down(e.len, VHDX_PAGE);
}

static int find_entries(struct log *log, struct err *err)
{
	for (uint64_t at = 0; at < log->h->log_len; at += VHDX_PAGE) {
		struct log_head h;
		uint8_t *page;
		int whole;

		if (at % CHUNK == 0)
			at += skip_hole(log, at);
		if (at == log->h->log_len)
			break;
		page = page_at(log, at, err);
		if (!page)
			return -1;
		layout_decode(log_head_fields, page, &h);
		if (!head_possible(log, &h))
			continue;
		whole = entry_whole(log, (uint32_t)at, &h, err);
		if (whole < 0)
			return -1;
		if (whole == 0)
			continue;
		if (array_room(&log->entry, &log->room, log->n, sizeof(*log->entry), "the log",
			       err))
			return -1;
		log->entry[log->n++] = (struct entry){.h = h, .at = (uint32_t)at};
	}
	return 0;
}

/* ---- the sequence -------------------------------------------------------------------- */

static int by_place(const void *key, const void *of)
{
	const struct entry *e = of;
	uint32_t at = *(const uint32_t *)key;

	return (at > e->at) - (at < e->at);
}

static struct entry *find_at(const struct log *log, uint64_t at)
{
	uint32_t key = (uint32_t)(at % log->h->log_len);

	return log->n ? bsearch(&key, log->entry, log->n, sizeof(*log->entry), by_place) : NULL;
}

static struct entry *next_of(const struct log *log, const struct entry *e)
{
	struct entry *next = find_at(log, (uint64_t)e->at + e->h.len);

	return next && next->h.sequence == e->h.sequence + 1 ? next : NULL;
}

static int by_sequence(const void *a, const void *b)
{
	const struct entry *const *x = a, *const *y = b;

	return ((*x)->h.sequence > (*y)->h.sequence) - ((*x)->h.sequence < (*y)->h.sequence);
}

/* From the tail of e to e, which take no more room than there is. */
static bool is_head(struct log *log, const struct entry *e, struct entry **tail)
{
	struct entry *t = find_at(log, e->h.tail);
	uint64_t len = 0;

	if (!t || t->run != e->run || t->h.sequence > e->h.sequence)
		return false;
	*tail = t;
	for (;; t = next_of(log, t)) {
		len += t->h.len;
		if (len > log->h->log_len || log->budget < VHDX_PAGE)
			return false;
		log->budget -= VHDX_PAGE;
		if (t == e)
			return true;
	}
}

/*
 * The newest sequence; *tail to *head, NULL where there is none. By the specification a log
 * that is named has an entry. QEMU names it first, so that its first one may be torn.
 */
static int find_sequence(struct log *log, struct entry **tail, struct entry **head,
			 struct err *err)
{
	AUTO_FREE struct entry **order = calloc(log->n + 1, sizeof(*order));

	if (!order)
		return err_nomem(err, log->n * sizeof(*order), "the log");
	for (size_t i = 0; i < log->n; i++)
		order[i] = &log->entry[i];
	qsort(order, log->n, sizeof(*order), by_sequence);
	for (size_t i = 0; i < log->n; i++) {
		struct entry *next = next_of(log, order[i]);

		if (!order[i]->run)
			order[i]->run = i + 1;
		if (next && !next->run)
			next->run = order[i]->run;
	}
	*head = *tail = NULL;
	for (size_t i = log->n; i-- > 0;) {
		*head = order[i];
		if (is_head(log, *head, tail))
			return 0;
	}
	if (!*head)
		return 0;
	return err_set(err, EINVAL,
		       "The log is to be replayed, but what its newest entry needs is gone");
}

/* ---- what it says -------------------------------------------------------------------- */

static int check_change(const struct log *log, const struct log_head *h, uint64_t off,
			uint64_t len, struct err *err)
{
	uint64_t log_end = log->h->log_off + log->h->log_len, end;
	uint64_t limit = MAX(h->last, round_up(blk_size(log->file), VHDX_MIB));

	if (off % VHDX_PAGE || len % VHDX_PAGE || off < REPLAY_FROM ||
	    __builtin_add_overflow(off, len, &end) || end > limit ||
	    (off < log_end && log->h->log_off < end))
		return err_set(err, EINVAL,
			       "The log changes %" PRIu64 " bytes at %#" PRIx64
			       ", which it must not",
			       len, off);
	return 0;
}

static int add_change(struct log *log, struct log_change change, struct err *err)
{
	if (array_room(&log->change, &log->change_room, log->nchange, sizeof(change), "the log",
		       err)) {
		free(change.bytes);
		return -1;
	}
	log->change[log->nchange++] = change;
	return 0;
}

/* Descriptor p, whose data (if it is one of data) is at `at` of the log. */
static int read_change(struct log *log, const struct log_head *h, const uint8_t *p, uint64_t at,
		       struct err *err)
{
	bool data = get_le32(p) == LOG_DESC;
	struct log_change c = {.off = get_le64(p + 16)};
	uint8_t *page;

	c.len = data ? VHDX_PAGE : get_le64(p + 8);
	if (check_change(log, h, c.off, c.len, err))
		return -1;
	if (!data)
		return c.len ? add_change(log, c, err) : 0;
	if (++log->npage > PAGES_MAX)
		return err_set(err, ENOTSUP, "More than %u pages of the log are to be replayed",
			       PAGES_MAX);
	c.bytes = malloc(VHDX_PAGE);
	if (!c.bytes)
		return err_nomem(err, VHDX_PAGE, "the log");
	memcpy(c.bytes, p + 8, LOG_LEADING);
	memcpy(c.bytes + LOG_SEQUENCE_LOW_AT, p + 4, LOG_TRAILING);
	page = page_at(log, at, err);
	if (!page) {
		free(c.bytes);
		return -1;
	}
	memcpy(c.bytes + LOG_LEADING, page + LOG_LEADING,
	       VHDX_PAGE - LOG_LEADING - LOG_TRAILING);
	return add_change(log, c, err);
}

static int read_changes(struct log *log, const struct entry *e, struct err *err)
{
	uint64_t data = e->at + log_descriptor_pages(e->h.count) * VHDX_PAGE;

	for (uint32_t i = 0; i < e->h.count; i++) {
		uint64_t at = LOG_HEAD + (uint64_t)i * LOG_DESCRIPTOR;
		uint8_t *page = page_at(log, round_down(e->at + at, VHDX_PAGE), err);
		uint8_t p[LOG_DESCRIPTOR];

		if (!page)
			return -1;
		memcpy(p, page + at % VHDX_PAGE, sizeof(p));
		if (read_change(log, &e->h, p, data, err))
			return -1;
		if (get_le32(p) == LOG_DESC)
			data += VHDX_PAGE;
	}
	return 0;
}

static int read_log(struct log *log, struct vhdx_replay *out, struct err *err)
{
	struct entry *tail = NULL, *head = NULL;

	if (find_entries(log, err) || find_sequence(log, &tail, &head, err))
		return -1;
	if (!head)
		return 0;
	out->pending = true;
	if (head->h.flushed > blk_size(log->file))
		return err_set(err, EINVAL,
			       "The file was cut off: it has %" PRIu64
			       " bytes, but had %" PRIu64 " when it was last written",
			       blk_size(log->file), head->h.flushed);
	if (head->h.last > FILE_MAX)
		return err_set(err, EINVAL, "The log says that the file has %" PRIu64 " bytes",
			       head->h.last);
	out->last = head->h.last;
	for (struct entry *e = tail;; e = next_of(log, e)) {
		if (read_changes(log, e, err))
			return -1;
		if (e == head)
			break;
	}
	return vhdx_replay_make(log->change, log->nchange, out, err);
}

int vhdx_log_read(struct blk *file, const struct vhdx_header *h, struct vhdx_replay *out,
		  struct err *err)
{
	struct log log = {.file = file, .h = h};
	int rc;

	*out = (struct vhdx_replay){0};
	if (uuid_is_null(h->log))
		return 0;
	log.budget = 8 * (uint64_t)h->log_len;
	log.buf = mem_alloc(CHUNK);
	if (!log.buf)
		return err_nomem(err, CHUNK, "the log");
	rc = read_log(&log, out, err);
	for (size_t i = 0; i < log.nchange; i++)
		free(log.change[i].bytes); /* what is not in *out */
	free(log.change);
	free(log.entry);
	free(log.buf);
	return rc;
}
