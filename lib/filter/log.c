#include "lib/filter/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/filter/pass.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define SECTOR 512u

/* A file's bytes. */
struct bytes {
	uint8_t *data;
	uint64_t size, room;
};

struct file {
	struct blk *to;
	struct bytes start; /* before the first entry */
	struct bytes at;    /* start and the entries before `upto` */
	size_t upto;
};

struct log {
	pthread_mutex_t lock;
	struct file *file;
	unsigned nfile;
	struct log_entry *entry;
	size_t n, room;
	bool forget;
	void (*hook)(void *arg);
	void *arg;
};

struct log_blk {
	struct pass pass; /* first */
	struct log *log;
	unsigned file;
};

/* ---- bytes ------------------------------------------------------------------------ */

static int bytes_resize(struct bytes *b, uint64_t size, struct err *err)
{
	if (size > b->room) {
		uint64_t room = MAX(size, 2 * b->room);
		uint8_t *data = realloc(b->data, room);

		if (!data)
			return err_nomem(err, room, "a state of a file");
		b->data = data;
		b->room = room;
	}
	if (size > b->size)
		memset(b->data + b->size, 0, size - b->size);
	b->size = size;
	return 0;
}

static int bytes_copy(struct bytes *to, const struct bytes *from, struct err *err)
{
	if (bytes_resize(to, from->size, err))
		return -1;
	if (from->size)
		memcpy(to->data, from->data, from->size);
	return 0;
}

/* The part [from, from + n) of an entry. */
static int apply_part(struct bytes *b, const struct log_entry *e, uint64_t from, uint64_t n,
		      struct err *err)
{
	uint64_t off = e->off + from;

	if (off + n > b->size && bytes_resize(b, off + n, err))
		return -1;
	if (e->kind == LOG_ZERO)
		memset(b->data + off, 0, n);
	else
		memcpy(b->data + off, e->bytes + from, n);
	return 0;
}

static int apply(struct bytes *b, const struct log_entry *e, struct err *err)
{
	if (e->kind == LOG_FLUSH)
		return 0;
	if (e->kind == LOG_RESIZE)
		return bytes_resize(b, e->len, err);
	return apply_part(b, e, 0, e->len, err);
}

/* ---- recording -------------------------------------------------------------------- */

static void entry_free(struct log_entry *e)
{
	free(e->bytes);
	e->bytes = NULL;
}

/* What this file's last entry, a flush, made stable goes into the start. */
static int forget_stable(struct log *log, unsigned file, struct err *err)
{
	struct file *f = &log->file[file];
	size_t kept = 0;
	int rc = 0;

	for (size_t i = 0; i < log->n; i++) {
		struct log_entry *e = &log->entry[i];

		if (e->file != file) {
			log->entry[kept++] = *e;
			continue;
		}
		if (rc == 0)
			rc = apply(&f->start, e, err);
		entry_free(e);
	}
	log->n = kept;
	f->upto = 0;
	return rc ? rc : bytes_copy(&f->at, &f->start, err);
}

static int record(struct log *log, const struct log_entry *e, const void *bytes,
		  struct err *err)
{
	struct log_entry *at;

	if (log->n == log->room) {
		size_t room = log->room ? 2 * log->room : 64;
		struct log_entry *grown = realloc(log->entry, room * sizeof(*grown));

		if (!grown)
			return err_nomem(err, room * sizeof(*grown), "a log");
		log->entry = grown;
		log->room = room;
	}
	at = &log->entry[log->n];
	*at = *e;
	at->bytes = NULL;
	if (bytes) {
		at->bytes = malloc(e->len);
		if (!at->bytes)
			return err_nomem(err, e->len, "a log");
		memcpy(at->bytes, bytes, e->len);
	}
	log->n++;
	return e->kind == LOG_FLUSH && log->forget ? forget_stable(log, e->file, err) : 0;
}

/* An operation: the files take turns, so that the log has the order that they saw. */
static struct log *enter(struct blk *blk)
{
	struct log *log = ((struct log_blk *)blk)->log;

	pthread_mutex_lock(&log->lock);
	if (log->hook)
		log->hook(log->arg);
	return log;
}

static int leave(struct blk *blk, int rc, enum log_kind kind, uint64_t off, uint64_t len,
		 const void *bytes, struct err *err)
{
	struct log_blk *b = (struct log_blk *)blk;
	struct log_entry e = {.kind = kind, .file = b->file, .off = off, .len = len};

	if (rc == 0)
		rc = record(b->log, &e, bytes, err);
	pthread_mutex_unlock(&b->log->lock);
	return rc;
}

static int log_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		      struct err *err)
{
	enter(blk);
	return leave(blk, pass_pwrite(blk, buf, n, off, flags, err), LOG_WRITE, off, n, buf,
		     err);
}

static int log_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		    struct err *err)
{
	enter(blk);
	return leave(blk, pass_zero(blk, off, len, flags, err), LOG_ZERO, off, len, NULL, err);
}

static int log_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	enter(blk);
	return leave(blk, pass_resize(blk, size, p, err), LOG_RESIZE, 0, size, NULL, err);
}

static int log_flush(struct blk *blk, struct err *err)
{
	enter(blk);
	return leave(blk, pass_flush(blk, err), LOG_FLUSH, 0, 0, NULL, err);
}

static const struct blk_ops log_ops = {
	.name = "log",
	.pread = pass_pread,
	.pwrite = log_pwrite,
	.zero = log_zero,
	.flush = log_flush,
	.extent = pass_extent_here,
	.resize = log_resize,
	.disk_usage = pass_disk_usage,
	.close = pass_close,
};

/* ---- files ------------------------------------------------------------------------ */

struct log *log_new(struct err *err)
{
	struct log *log = calloc(1, sizeof(*log));

	if (!log)
		err_nomem(err, sizeof(*log), "a log");
	else
		pthread_mutex_init(&log->lock, NULL);
	return log;
}

void log_free(struct log *log)
{
	if (!log)
		return;
	for (size_t i = 0; i < log->n; i++)
		entry_free(&log->entry[i]);
	for (unsigned i = 0; i < log->nfile; i++) {
		free(log->file[i].start.data);
		free(log->file[i].at.data);
	}
	free(log->file);
	free(log->entry);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

int log_restart(struct log *log, struct err *err)
{
	for (size_t i = 0; i < log->n; i++)
		entry_free(&log->entry[i]);
	log->n = 0;
	for (unsigned i = 0; i < log->nfile; i++) {
		struct file *f = &log->file[i];
		uint64_t size = blk_size(f->to);

		if (bytes_resize(&f->start, size, err) ||
		    blk_pread(f->to, f->start.data, size, 0, err))
			return -1;
		f->upto = 0;
		if (bytes_copy(&f->at, &f->start, err))
			return -1;
	}
	return 0;
}

int log_add_file(struct log *log, struct blk *to, struct err *err)
{
	struct file *grown = realloc(log->file, (log->nfile + 1) * sizeof(*grown));

	if (!grown)
		return err_nomem(err, (log->nfile + 1) * sizeof(*grown), "a log");
	log->file = grown;
	grown[log->nfile++] = (struct file){.to = to};
	return log_restart(log, err);
}

struct blk *log_open(struct log *log, unsigned file, struct err *err)
{
	struct log_blk *b = calloc(1, sizeof(*b));
	struct err later;

	if (!b) {
		err_nomem(err, sizeof(*b), "a log");
		return NULL;
	}
	if (pass_init(&b->pass, &log_ops, log->file[file].to, err)) {
		blk_close(&b->pass.blk, &later);
		return NULL;
	}
	b->log = log;
	b->file = file;
	return &b->pass.blk;
}

unsigned log_files(const struct log *log)
{
	return log->nfile;
}

void log_forget_stable(struct log *log)
{
	log->forget = true;
}

void log_hook(struct log *log, void (*hook)(void *arg), void *arg)
{
	log->hook = hook;
	log->arg = arg;
}

size_t log_count(const struct log *log)
{
	return log->n;
}

const struct log_entry *log_entry(const struct log *log, size_t i)
{
	return &log->entry[i];
}

/* ---- states ----------------------------------------------------------------------- */

size_t log_stable(const struct log *log, size_t n, unsigned file)
{
	while (n > 0 && (log->entry[n - 1].kind != LOG_FLUSH || log->entry[n - 1].file != file))
		n--;
	return n;
}

/* Any number, always the same for the same three. */
static uint64_t dice(uint64_t seed, uint64_t a, uint64_t b)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) ^ a * UINT64_C(0xbf58476d1ce4e5b9) ^
		     b * UINT64_C(0x94d049bb133111eb);

	x ^= x >> 31;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 29;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

/* Only the first sector, or all but that. */
static int apply_part_of(struct bytes *b, const struct log_entry *e, bool head, struct err *err)
{
	uint64_t first = MIN(SECTOR - e->off % SECTOR, e->len);

	if (e->kind != LOG_WRITE && e->kind != LOG_ZERO)
		return apply(b, e, err);
	return head ? apply_part(b, e, 0, first, err)
		    : apply_part(b, e, first, e->len - first, err);
}

static int apply_torn(struct bytes *b, const struct log_entry *e, uint64_t seed, size_t i,
		      unsigned odds, struct err *err)
{
	for (uint64_t at = 0, n; at < e->len; at += n) {
		n = MIN(SECTOR - (e->off + at) % SECTOR, e->len - at);
		if (dice(seed, i, at + 1) % 4 < odds && apply_part(b, e, at, n, err))
			return -1;
	}
	return 0;
}

/* Entry i, or what is left of it. */
static int apply_lossy(struct bytes *b, const struct log_entry *e, size_t i,
		       const struct log_loss *loss, struct err *err)
{
	unsigned odds = dice(loss->which, 0, 0) % 5; /* of four: from nothing to everything */
	uint64_t roll = dice(loss->which, i + 1, 0);

	switch (loss->kind) {
	case LOSE_NOTHING:
		break;
	case LOSE_ALL_BUT_ONE:
		return i == loss->which ? apply(b, e, err) : 0;
	case LOSE_ONE:
		return i != loss->which ? apply(b, e, err) : 0;
	case LOSE_TAIL:
	case LOSE_HEAD:
		return i == loss->which ? apply_part_of(b, e, loss->kind == LOSE_TAIL, err)
					: apply(b, e, err);
	case LOSE_RANDOM_PARTS:
		if (roll % 4 == 0 && (e->kind == LOG_WRITE || e->kind == LOG_ZERO))
			return apply_torn(b, e, loss->which, i, odds, err);
		/* fallthrough */
	case LOSE_RANDOM:
		return (roll >> 8) % 4 < odds ? apply(b, e, err) : 0;
	}
	return apply(b, e, err);
}

static int advance(struct log *log, unsigned file, size_t upto, struct err *err)
{
	struct file *f = &log->file[file];

	if (upto < f->upto) {
		f->upto = 0;
		f->at.size = 0;
		if (bytes_copy(&f->at, &f->start, err))
			return -1;
	}
	for (; f->upto < upto; f->upto++)
		if (log->entry[f->upto].file == file &&
		    apply(&f->at, &log->entry[f->upto], err))
			return -1;
	return 0;
}

struct blk *log_state(struct log *log, unsigned file, size_t n, const struct log_loss *loss,
		      struct err *err)
{
	size_t stable = log_stable(log, n, file);
	struct bytes state = {0};
	struct blk *out = NULL;
	int rc;

	rc = advance(log, file, stable, err);
	if (rc == 0)
		rc = bytes_copy(&state, &log->file[file].at, err);
	for (size_t i = stable; rc == 0 && i < n; i++)
		if (log->entry[i].file == file)
			rc = apply_lossy(&state, &log->entry[i], i, loss, err);
	if (rc == 0)
		out = io_mem_new(state.data, state.size, err);
	free(state.data);
	return out;
}
