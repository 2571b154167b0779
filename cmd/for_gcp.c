/*
 * Compute Engine's archive: disk.raw in GNU's old tar format, sparse, compressed by gzip, as
 * "tar --format=oldgnu -Sczf" makes it (cloud.google.com, "Import boot disk images to Compute
 * Engine manually").
 *
 * The sources' extents are walked twice: to count the pieces of data, since the map of a sparse
 * file comes before it, and to write. So no more memory is needed for a disk of any size. Zeros
 * that no table tells of are in the archive, where they take a thousandth of their size.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/for.h"
#include "lib/mem.h"
#include "lib/pack_gzip.h"
#include "lib/pool.h"
#include "lib/tar.h"

#define MEMBER "disk.raw"
#define PIECE  (1u << 20)     /* of the archive, compressed by itself */
#define HOLE   (1u << 20)     /* shorter ones are filled with zeros */
#define UNIT   4096	      /* data begins and ends there in the disk */
#define PARTS  (PIECE / UNIT) /* of the disk in one piece */

/* ---- where the data is ------------------------------------------------------------------ */

struct runs {
	const struct convert *c;
	struct walk *walk; /* of the source at hand */
	unsigned source;
	uint64_t base, at; /* where that begins; how far we are */
	uint64_t off, len; /* data that may go on; len 0: none */
};

static void runs_end(struct runs *r)
{
	walk_free(r->walk);
	r->walk = NULL;
}

/* One extent of the disk. */
static int look(struct runs *r, struct extent *e, struct err *err)
{
	const struct copy_source *in = &r->c->in[r->source];

	while (r->at - r->base >= in->size) {
		r->base += in->size;
		in = &r->c->in[++r->source];
		runs_end(r);
	}
	if (!r->walk) {
		r->walk = walk_new(in->chain, 0, err);
		if (!r->walk)
			return -1;
		walk_holes(r->walk);
	}
	if (walk_next(r->walk, r->at - r->base, in->size - (r->at - r->base), e, err))
		return err_prefix(err, "%s", r->c->source[r->source]);
	e->off = r->at;
	r->at += e->len;
	return 0;
}

/* The next piece of data; *len 0: there is none. */
static int runs_next(struct runs *r, uint64_t *off, uint64_t *len, struct err *err)
{
	uint64_t size = r->c->size;

	while (r->at < size) {
		struct extent e;
		uint64_t from, to;

		if (look(r, &e, err))
			return -1;
		if (e.flags & (EXT_ZERO | EXT_ABSENT))
			continue;
		from = round_down(e.off, UNIT);
		to = MIN(round_up(e.off + e.len, UNIT), size);
		if (r->len && from < r->off + r->len + HOLE) {
			r->len = MAX(to, r->off + r->len) - r->off;
			continue;
		}
		*off = r->off;
		*len = r->len;
		r->off = from;
		r->len = to - from;
		if (*len)
			return 0;
	}
	*off = r->off;
	*len = r->len;
	r->len = 0;
	return 0;
}

struct plan {
	uint64_t entries, stored;
	bool whole; /* all of it is data: no map */
};

static int make_plan(const struct convert *c, struct plan *p, struct err *err)
{
	struct runs r = {.c = c};
	uint64_t off = 0, len = 0;
	int rc;

	memset(p, 0, sizeof(*p));
	while ((rc = runs_next(&r, &off, &len, err)) == 0 && len > 0) {
		p->entries++;
		p->stored += len;
	}
	runs_end(&r);
	p->whole = p->stored == c->size;
	return rc;
}

/* ---- the stream ------------------------------------------------------------------------- */

struct part {
	uint32_t at, len; /* in the piece */
	uint64_t off;	  /* in the disk */
};

struct piece {
	struct pool_job pool;
	struct stream *stream;
	struct part part[PARTS];
	unsigned nparts;
	size_t len, packed_len;
	uint64_t place;
	uint32_t crc;
	uint8_t data[PIECE];
	uint8_t packed[];
};

struct stream {
	struct convert *c;
	struct blk *file;
	struct pool *workers;
	struct piece *piece; /* being filled */
	uint64_t at, size;   /* in the file; of the archive */
	uint32_t crc;
};

static int read_disk(const struct convert *c, uint8_t *buf, size_t n, uint64_t off,
		     struct err *err)
{
	for (unsigned i = 0; n > 0; i++) {
		uint64_t size = c->in[i].size;
		size_t now;

		if (off >= size) {
			off -= size;
			continue;
		}
		now = MIN(n, size - off);
		if (blk_pread(&c->in[i].chain->blk, buf, now, off, err))
			return err_prefix(err, "error while reading %s", c->source[i]);
		buf += now;
		n -= now;
		off = 0;
	}
	return 0;
}

static int piece_run(struct pool_job *job, struct err *err)
{
	struct piece *p = (struct piece *)job;

	for (unsigned i = 0; i < p->nparts; i++)
		if (read_disk(p->stream->c, p->data + p->part[i].at, p->part[i].len,
			      p->part[i].off, err))
			return -1;
	return gzip_piece(p->data, p->len, p->packed, &p->packed_len, &p->crc, err);
}

static int piece_commit(struct pool_job *job, struct err *err)
{
	struct piece *p = (struct piece *)job;
	struct stream *s = p->stream;

	p->place = s->at;
	s->at += p->packed_len;
	s->size += p->len;
	s->crc = gzip_crc_join(s->crc, p->crc, p->len);
	return 0;
}

static int piece_finish(struct pool_job *job, struct err *err)
{
	struct piece *p = (struct piece *)job;

	if (blk_pwrite(p->stream->file, p->packed, p->packed_len, p->place, 0, err))
		return -1;
	if (p->stream->c->copy.progress)
		progress_add(p->stream->c->copy.progress, p->len);
	return 0;
}

static void piece_done(struct pool_job *job)
{
	free(job);
}

static const struct pool_steps steps = {
	.run = piece_run,
	.commit = piece_commit,
	.finish = piece_finish,
	.done = piece_done,
};

static int send(struct stream *s, struct err *err)
{
	struct piece *p = s->piece;

	s->piece = NULL;
	return p ? pool_submit(s->workers, &p->pool, err) : 0;
}

/* The piece at hand, with room in it. */
static struct piece *piece_at(struct stream *s, struct err *err)
{
	size_t bytes = sizeof(struct piece) + gzip_bound(PIECE);

	if (s->piece && (s->piece->len == PIECE || s->piece->nparts == PARTS) && send(s, err))
		return NULL;
	if (s->piece)
		return s->piece;
	s->piece = malloc(bytes);
	if (!s->piece) {
		err_nomem(err, bytes, "a piece of an archive");
		return NULL;
	}
	memset(s->piece, 0, offsetof(struct piece, data));
	s->piece->pool.steps = &steps;
	s->piece->stream = s;
	return s->piece;
}

static int put_bytes(struct stream *s, const void *data, size_t n, struct err *err)
{
	const uint8_t *from = data;

	while (n > 0) {
		struct piece *p = piece_at(s, err);
		size_t now;

		if (!p)
			return -1;
		now = MIN(n, PIECE - p->len);
		memcpy(p->data + p->len, from, now);
		p->len += now;
		from += now;
		n -= now;
	}
	return 0;
}

static int put_block(void *arg, const uint8_t block[TAR_BLOCK], struct err *err)
{
	return put_bytes(arg, block, TAR_BLOCK, err);
}

static int put_disk(struct stream *s, uint64_t off, uint64_t len, struct err *err)
{
	while (len > 0) {
		struct piece *p = piece_at(s, err);
		size_t now;

		if (!p)
			return -1;
		now = MIN(len, PIECE - p->len);
		p->part[p->nparts++] =
			(struct part){.at = (uint32_t)p->len, .len = (uint32_t)now, .off = off};
		p->len += now;
		off += now;
		len -= now;
	}
	return 0;
}

/* ---- the archive ------------------------------------------------------------------------ */

static int put_headers(struct stream *s, const struct plan *plan, struct err *err)
{
	struct tar_sparse map = {.write = put_block, .arg = s};
	struct runs r = {.c = s->c};
	uint64_t off = 0, len = 0, end = 0, size = s->c->size;
	uint8_t block[TAR_BLOCK];
	int rc;

	if (plan->whole) {
		tar_encode(block, MEMBER, size, for_mtime(), true);
		return put_bytes(s, block, sizeof(block), err);
	}
	tar_sparse_begin(&map, MEMBER, plan->stored, size, plan->entries + 1, for_mtime());
	while ((rc = runs_next(&r, &off, &len, err)) == 0 && len > 0) {
		if (tar_sparse_add(&map, off, len, err)) {
			rc = -1;
			break;
		}
		end = off + len;
	}
	runs_end(&r);
	/* the end of the file, which GNU tar makes it as long as */
	if (rc || tar_sparse_add(&map, end < size ? size : end, 0, err))
		return -1;
	return tar_sparse_end(&map, err);
}

static int put_data(struct stream *s, struct err *err)
{
	static const uint8_t end[2 * TAR_BLOCK];
	struct runs r = {.c = s->c};
	uint64_t off = 0, len = 0;
	int rc;

	while ((rc = runs_next(&r, &off, &len, err)) == 0 && len > 0) {
		if (put_disk(s, off, len, err)) {
			rc = -1;
			break;
		}
	}
	runs_end(&r);
	if (rc || put_bytes(s, end, sizeof(end), err))
		return -1;
	return send(s, err);
}

static int put_all(struct stream *s, const struct plan *plan, struct err *err)
{
	unsigned threads = s->c->copy.threads > 1 ? s->c->copy.threads : 0;
	uint8_t head[GZIP_HEAD], tail[GZIP_TAIL];
	int rc;

	s->workers = pool_new(threads, 2 * threads + 2, err);
	if (!s->workers)
		return -1;
	gzip_head(head);
	s->at = sizeof(head);
	rc = put_headers(s, plan, err) || put_data(s, err) || pool_drain(s->workers, err) ? -1
											  : 0;
	pool_free(s->workers);
	free(s->piece);
	if (rc)
		return -1;
	gzip_tail(tail, s->crc, s->size);
	if (blk_pwrite(s->file, tail, sizeof(tail), s->at, 0, err))
		return -1;
	return blk_pwrite(s->file, head, sizeof(head), 0, 0, err);
}

static int write_archive(struct convert *c, struct blk *file, struct err *err)
{
	struct stream s = {.c = c, .file = file};
	struct plan plan;
	int rc;

	if (!(file->caps & BLK_CAN_GROW))
		return err_set(err, ENOTSUP, "An archive is written into a regular file");
	if (make_plan(c, &plan, err))
		return -1;
	c->copy.progress = convert_progress(c);
	progress_total(c->copy.progress, MAX(plan.stored, 1));
	rc = put_all(&s, &plan, err);
	progress_free(c->copy.progress, rc == 0);
	return rc;
}

int gcp_convert(struct convert *c)
{
	/* an empty raw image is an empty file */
	struct stack_create create = {
		.name = c->target,
		.format = c->image.format,
		.opts = c->image.keys,
		.cache = convert_cache(c->o),
	};
	struct stack_target t;
	struct err err;

	if (stack_target_create(&create, &t, &err)) {
		cmd_error("%s: %s", c->target, err.text);
		return 1;
	}
	if (write_archive(c, t.file, &err)) {
		cmd_error("%s: %s", c->target, err.text);
		stack_target_abandon(&t);
		return 1;
	}
	if (stack_target_finish(&t, &err)) {
		cmd_err(&err);
		return 1;
	}
	return 0;
}
