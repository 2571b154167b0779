#include "formats/blocks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/array.h"
#include "lib/mem.h"

#define RUN_BLOCKS 4096u       /* entries that are looked at for one extent */
#define GRAIN	   (64u << 10) /* of large blocks where nothing is below */

/* A block that got a place which its entry does not tell yet. */
struct blocks_pending {
	uint64_t i, host;
	unsigned claims; /* that are in it */
	bool fresh;
};

int blocks_init(struct blocks *b, unsigned flags, struct err *err)
{
	int rc = pthread_mutex_init(&b->lock, NULL);

	if (rc) {
		errno = rc;
		return err_sys(err, "Could not make a lock");
	}
	b->lock_made = true;
	b->new_image = flags & IMAGE_NEW;
	b->fresh = b->file->caps & BLK_CAN_GROW ? blk_size(b->file) : UINT64_MAX;
	return 0;
}

void blocks_free(struct blocks *b)
{
	if (b->lock_made)
		pthread_mutex_destroy(&b->lock);
	b->lock_made = false;
	free(b->pending);
	free(b->spare);
	b->pending = NULL;
	b->spare = NULL;
}

/* Several claims may be in one block. */
static bool shares(const struct blocks *b)
{
	return (!b->below || b->part) && !b->packed_unit;
}

uint32_t blocks_grain(const struct blocks *b)
{
	uint64_t two = b->block & -b->block; /* blocks may be 63 sectors */

	if (b->grain)
		return b->grain;
	return (uint32_t)(!b->below && shares(b) ? MIN(two, GRAIN) : b->block);
}

/* ---- where bytes are -------------------------------------------------------------- */

static unsigned flags_of(enum block_kind kind)
{
	switch (kind) {
	case BLOCK_ZERO:
		return EXT_ZERO;
	case BLOCK_DATA:
		return EXT_DATA;
	case BLOCK_PACKED:
		return EXT_DATA | EXT_PACKED;
	default:
		return EXT_ABSENT;
	}
}

static bool follows(const struct block *a, const struct block *b, uint64_t step)
{
	return a->kind == b->kind && (a->host ? b->host == a->host + step : b->host == 0);
}

/* How many of n blocks from i on no table speaks of. */
static uint64_t count_absent(struct blocks *b, uint64_t i, uint64_t n)
{
	uint64_t k = 0, more = 1;

	if (!b->driver->absent)
		return 0;
	for (unsigned tables = 0; k < n && more && tables < RUN_BLOCKS; tables++) {
		more = b->driver->absent(b, i + k);
		k += more;
	}
	return MIN(k, n);
}

/* How many blocks from i on, at most n, are like `first` and lie one after the other. */
static uint64_t count_run(struct blocks *b, uint64_t i, const struct block *first, uint64_t n)
{
	struct block next;
	struct err later;
	uint64_t k = first->kind == BLOCK_ABSENT ? count_absent(b, i, n) : 0;

	if (k > 0)
		return k;
	n = MIN(n, RUN_BLOCKS);
	if (first->kind == BLOCK_PACKED)
		return 1;
	k = 1;
	/* what is wrong over there is told to who asks for it */
	while (k < n && b->driver->get(b, i + k, &next, &later) == 0 &&
	       follows(first, &next, k * b->block))
		k++;
	return k;
}

int blocks_extent(struct blocks *b, uint64_t off, uint64_t len, struct extent *out,
		  struct err *err)
{
	uint64_t i = off / b->block, in = off % b->block, n;
	struct block first;
	int rc;

	len = MIN(len, b->size - off);
	pthread_mutex_lock(&b->lock);
	rc = b->driver->get(b, i, &first, err);
	n = rc ? 0 : count_run(b, i, &first, div_up(in + len, b->block));
	pthread_mutex_unlock(&b->lock);
	if (rc)
		return -1;
	out->off = off;
	out->len = MIN(n * b->block - in, len);
	out->flags = flags_of(first.kind);
	out->packed = first.packed;
	out->home = first.host ? b->file : NULL;
	out->host = first.host;
	if (first.host && first.kind != BLOCK_PACKED)
		out->host += in;
	return 0;
}

/* ---- places ------------------------------------------------------------------------ */

static struct blocks_pending *find_pending(struct blocks *b, uint64_t i)
{
	for (size_t k = 0; k < b->npending; k++)
		if (b->pending[k].i == i)
			return &b->pending[k];
	return NULL;
}

/* The file reaches to the end of a place that will be referred to. */
static int reach(struct blocks *b, uint64_t end, struct err *err)
{
	if (b->new_image || !(b->file->caps & BLK_CAN_GROW) || blk_size(b->file) >= end)
		return 0;
	return blk_zero(b->file, end - 1, 1, 0, err);
}

/* A place for the data of a block. */
static int take_place(struct blocks *b, uint64_t *host, bool *fresh, struct err *err)
{
	uint64_t at, end;

	if (b->nspare > 0) {
		*host = b->spare[--b->nspare];
		*fresh = false;
		return 0;
	}
	at = round_up(b->end, b->align);
	if (__builtin_add_overflow(at, b->head + b->block, &end) || end > INT64_MAX)
		return err_set(err, EFBIG, "The file would be larger than a file can be");
	if (reach(b, end, err))
		return -1;
	*host = at + b->head;
	*fresh = at >= b->fresh;
	if (b->driver->took && b->driver->took(b, *host, err))
		return -1;
	b->end = end;
	return 0;
}

int blocks_room(struct blocks *b, uint64_t len, uint64_t align, uint64_t *at, struct err *err)
{
	uint64_t from = round_up(b->end, align), end;

	if (__builtin_add_overflow(from, len, &end) || end > INT64_MAX)
		return err_set(err, EFBIG, "The file would be larger than a file can be");
	if (from < b->fresh && blk_zero(b->file, from, len, 0, err))
		return -1;
	/* a table is read before it is written, in new images, too */
	if ((b->file->caps & BLK_CAN_GROW) && blk_size(b->file) < end &&
	    blk_zero(b->file, end - 1, 1, 0, err))
		return -1;
	b->end = end;
	*at = from;
	return 0;
}

void blocks_spare(struct blocks *b, uint64_t host)
{
	struct err ignored; /* then it is lost */

	if (array_room(&b->spare, &b->spare_room, b->nspare, sizeof(host), "free places",
		       &ignored) == 0)
		b->spare[b->nspare++] = host;
}

/* ---- claims ------------------------------------------------------------------------ */

static int add_run(struct claim *c, size_t *room, uint64_t off, uint64_t host, uint64_t len,
		   bool fresh, struct err *err)
{
	struct claim_run *last = c->nrun ? &c->run[c->nrun - 1] : NULL;

	if (last && last->host + last->len == host && last->fresh == fresh) {
		last->len += len;
		return 0;
	}
	if (array_room(&c->run, room, c->nrun, sizeof(*c->run), "a claim", err))
		return -1;
	c->run[c->nrun++] = (struct claim_run){off, host, len, fresh};
	return 0;
}

/* A block that is written for the first time; the claim covers `in`..`in + n` of it. */
static int claim_new(struct blocks *b, uint64_t i, uint64_t in, uint64_t n, uint64_t kept,
		     struct blocks_pending *out, struct err *err)
{
	*out = (struct blocks_pending){.i = i, .host = kept, .claims = 1};
	if (!kept && take_place(b, &out->host, &out->fresh, err))
		return -1;
	/* what is not written of it has to read as zeros, or is not there */
	if (!out->fresh && n < b->block && !b->part &&
	    blk_zero(b->file, out->host, b->block, 0, err)) {
		if (!kept)
			blocks_spare(b, out->host);
		return -1;
	}
	if (!shares(b))
		return 0;
	if (array_room(&b->pending, &b->pending_room, b->npending, sizeof(*out), "a claim",
		       err)) {
		if (!kept)
			blocks_spare(b, out->host);
		return -1;
	}
	b->pending[b->npending++] = *out;
	return 0;
}

/* The bytes in..in + n of block i. */
static int claim_block(struct blocks *b, struct claim *c, size_t *room, uint64_t i, uint64_t in,
		       uint64_t n, struct err *err)
{
	struct blocks_pending *p = find_pending(b, i), new;
	struct block e;

	if (b->driver->get(b, i, &e, err))
		return -1;
	if (p) {
		/* once it has an entry there may be other data around */
		if (add_run(c, room, i * b->block + in, p->host + in, n,
			    p->fresh && e.kind != BLOCK_DATA, err))
			return -1;
		p->claims++;
		return 0;
	}
	if (e.kind == BLOCK_DATA)
		return add_run(c, room, i * b->block + in, e.host + in, n, false, err);
	if (claim_new(b, i, in, n, e.kind == BLOCK_ZERO ? e.host : 0, &new, err))
		return -1;
	return add_run(c, room, i * b->block + in, new.host + in, n, new.fresh, err);
}

static int claim_packed(struct blocks *b, struct claim *c, struct err *err)
{
	uint64_t n = div_up(c->len, b->block), at = round_up(b->end, b->packed_unit);
	size_t room = 0;

	for (uint64_t k = 0; k < n; k++) {
		uint64_t end;

		if (__builtin_add_overflow(at, c->packed[k], &end) || end > INT64_MAX)
			return err_set(err, EFBIG,
				       "The file would be larger than a file can be");
		if (add_run(c, &room, c->off + k * b->block, at, c->packed[k], false, err))
			return -1;
		at = round_up(end, b->packed_unit);
	}
	b->end = at;
	return 0;
}

static int claim_plain(struct blocks *b, struct claim *c, struct err *err)
{
	uint64_t off = c->off, end = c->off + c->len;
	size_t room = 0;

	while (off < end) {
		uint64_t in = off % b->block, n = MIN(b->block - in, end - off);

		if (claim_block(b, c, &room, off / b->block, in, n, err))
			return -1;
		off += n;
	}
	return 0;
}

/* One block, or what of it belongs to the claim. */
struct piece {
	uint64_t i, off, len;
	uint64_t host; /* of the block's data */
	uint32_t packed;
};

struct pieces {
	const struct blocks *b;
	const struct claim *c;
	size_t run;
	uint64_t into, grain;
};

static bool next_piece(struct pieces *p, struct piece *out)
{
	const struct claim_run *r;
	uint64_t in;

	if (p->run < p->c->nrun && p->into == p->c->run[p->run].len) {
		p->run++;
		p->into = 0;
	}
	if (p->run >= p->c->nrun)
		return false;
	r = &p->c->run[p->run];
	if (p->c->packed) {
		out->off = p->c->off + p->grain * p->b->block;
		out->packed = p->c->packed[p->grain++];
		out->host = r->host + p->into;
		out->len = p->b->block;
		p->into += out->packed;
	} else {
		out->off = r->off + p->into;
		in = out->off % p->b->block;
		out->len = MIN(p->b->block - in, r->len - p->into);
		out->host = r->host + p->into - in;
		out->packed = 0;
		p->into += out->len;
	}
	out->i = out->off / p->b->block;
	return true;
}

/* A claim in it is done with. Gives true where no other is left. */
static bool leave(struct blocks *b, uint64_t i)
{
	struct blocks_pending *p = find_pending(b, i);

	if (!p)
		return !shares(b);
	if (--p->claims > 0)
		return false;
	*p = b->pending[--b->npending];
	return true;
}

static void drop_held(struct blocks *b, const struct claim *c)
{
	struct pieces walk = {.b = b, .c = c};
	struct piece p;
	struct block e;
	struct err later;

	while (next_piece(&walk, &p)) {
		bool last = leave(b, p.i);

		/* packed places differ in size, and room that was kept is not given away */
		if (!last || p.packed || b->driver->get(b, p.i, &e, &later) ||
		    (e.host && e.host == p.host))
			continue;
		blocks_spare(b, p.host);
	}
}

static int check_claim(const struct blocks *b, const struct claim *c, struct err *err)
{
	uint64_t grain = b->part && !c->packed ? b->part : blocks_grain(b);
	uint64_t end = c->off + c->len;

	if (c->packed && !b->packed_unit)
		return err_set(err, ENOTSUP, "This format has no compressed data");
	if (c->len == 0 || end < c->off || end > b->size || c->off % grain ||
	    (end % grain && end != b->size))
		return err_set(err, EINVAL,
			       "A claim of %" PRIu64 " bytes at %" PRIu64
			       " is not of whole blocks",
			       c->len, c->off);
	return 0;
}

static int start(struct blocks *b, struct err *err)
{
	if (b->started)
		return 0;
	if (b->driver->start && b->driver->start(b, err))
		return -1;
	b->started = true;
	return 0;
}

int blocks_start(struct blocks *b, struct err *err)
{
	int rc;

	pthread_mutex_lock(&b->lock);
	rc = start(b, err);
	pthread_mutex_unlock(&b->lock);
	return rc;
}

int blocks_claim(struct blocks *b, struct claim *c, struct err *err)
{
	int rc;

	if (check_claim(b, c, err))
		return -1;
	c->home = b->file;
	pthread_mutex_lock(&b->lock);
	rc = start(b, err);
	if (rc == 0) {
		rc = c->packed ? claim_packed(b, c, err) : claim_plain(b, c, err);
		if (rc)
			drop_held(b, c);
	}
	pthread_mutex_unlock(&b->lock);
	return rc;
}

static int settle_piece(struct blocks *b, const struct piece *p, struct err *err)
{
	struct block old, new = {.kind = BLOCK_DATA, .host = p->host, .packed = p->packed};

	if (b->part && b->driver->wrote(b, p->i, p->host, p->off % b->block, p->len, err))
		return -1;
	if (b->driver->get(b, p->i, &old, err))
		return -1;
	if (p->packed)
		new.kind = BLOCK_PACKED;
	if (old.kind == new.kind && old.host == new.host &&old.packed == new.packed)
		return 0;
	return b->driver->set(b, p->i, &new, err);
}

int blocks_settle(struct blocks *b, struct claim *c, struct err *err)
{
	struct pieces walk = {.b = b, .c = c};
	struct piece p;
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	if (b->driver->settled)
		b->driver->settled(b);
	while (next_piece(&walk, &p)) {
		if (rc == 0)
			rc = settle_piece(b, &p, err);
		if (shares(b))
			leave(b, p.i);
	}
	pthread_mutex_unlock(&b->lock);
	return rc;
}

void blocks_drop(struct blocks *b, struct claim *c)
{
	pthread_mutex_lock(&b->lock);
	drop_held(b, c);
	pthread_mutex_unlock(&b->lock);
}

/* ---- zeros ------------------------------------------------------------------------- */

/* in..in + n of block i. *at: where zeros are to be written; 0: all is done. */
static int zero_block(struct blocks *b, uint64_t i, uint64_t in, uint64_t n, uint64_t *at,
		      struct err *err)
{
	bool whole = n == b->block || i * b->block + in + n == b->size;
	struct blocks_pending *p = find_pending(b, i);
	struct block e, zero = {.kind = BLOCK_ZERO};

	*at = 0;
	if (b->driver->get(b, i, &e, err))
		return -1;
	if (e.kind == BLOCK_DATA) {
		*at = e.host + in;
		return 0;
	}
	if (p && b->part)
		return err_set(err, ENOTSUP, "Zeros have to be written there");
	if (p) {
		/* another part of it is being written */
		*at = p->fresh ? 0 : p->host + in;
		return 0;
	}
	if (e.kind == BLOCK_ZERO || (e.kind == BLOCK_ABSENT && !b->below && !b->below_to_come))
		return 0;
	if (!whole || in != 0 || !b->can_zero)
		return err_set(err, ENOTSUP, "Zeros have to be written there");
	return b->driver->set(b, i, &zero, err);
}

/* Zeros are at `at` now. */
static int zeros_written(struct blocks *b, uint64_t i, uint64_t in, uint64_t n, uint64_t at,
			 struct err *err)
{
	int rc;

	pthread_mutex_lock(&b->lock);
	if (b->driver->settled)
		b->driver->settled(b);
	rc = b->driver->wrote(b, i, at - in, in, n, err);
	pthread_mutex_unlock(&b->lock);
	return rc;
}

int blocks_zero(struct blocks *b, uint64_t off, uint64_t len, unsigned flags, struct err *err)
{
	uint64_t end = off + len;

	if (blocks_start(b, err))
		return -1;
	while (off < end) {
		uint64_t in = off % b->block, n = MIN(b->block - in, end - off), at;
		int rc;

		pthread_mutex_lock(&b->lock);
		rc = zero_block(b, off / b->block, in, n, &at, err);
		pthread_mutex_unlock(&b->lock);
		if (rc || (at && blk_zero(b->file, at, n, flags, err)))
			return -1;
		/* a discard says nothing of what is not there */
		if (at && b->part && !(flags & BLK_ADVISE) &&
		    zeros_written(b, off / b->block, in, n, at, err))
			return -1;
		off += n;
	}
	return 0;
}

/* ---- order ------------------------------------------------------------------------- */

int blocks_flush(struct blocks *b, struct err *err)
{
	int rc;

	pthread_mutex_lock(&b->lock);
	rc = b->driver->write_back(b, err);
	pthread_mutex_unlock(&b->lock);
	return rc ? -1 : blk_flush(b->file, err);
}

int blocks_finish(struct blocks *b, struct err *err)
{
	if ((b->file->caps & BLK_CAN_GROW) && blk_size(b->file) < b->end &&
	    blk_zero(b->file, b->end - 1, 1, 0, err))
		return -1;
	return blocks_flush(b, err);
}

/* ---- an image that is one table ---------------------------------------------------- */

static struct blocks *of(struct blk *blk)
{
	return &((struct blocks_image *)blk)->blocks;
}

int blocks_image_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			struct err *err)
{
	return blocks_extent(of(blk), off, len, out, err);
}

int blocks_image_claim(struct blk *blk, struct claim *c, struct err *err)
{
	return blocks_claim(of(blk), c, err);
}

int blocks_image_settle(struct blk *blk, struct claim *c, struct err *err)
{
	return blocks_settle(of(blk), c, err);
}

void blocks_image_drop(struct blk *blk, struct claim *c)
{
	blocks_drop(of(blk), c);
}

int blocks_image_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err)
{
	of(blk)->below_to_come = ((struct image *)blk)->below_to_come;
	return blocks_zero(of(blk), off, len, flags, err);
}

int blocks_image_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err)
{
	return blocks_start(of(blk), err);
}

int blocks_image_flush(struct blk *blk, struct err *err)
{
	return blocks_flush(of(blk), err);
}

int blocks_image_init(struct blocks_image *b, unsigned flags, struct err *err)
{
	struct blk *blk = &b->image.blk;

	b->blocks.file = blk->lower;
	blk->size = b->blocks.size;
	blk->grain = blocks_grain(&b->blocks);
	blk->part = b->blocks.part;
	blk->align = blk->lower->align;
	blk->caps = BLK_CAN_ZERO | BLK_CAN_UNMAP | BLK_ZERO_INIT;
	if (flags & IMAGE_WRITE)
		blk->caps |= BLK_CAN_WRITE;
	return blocks_init(&b->blocks, flags, err);
}
