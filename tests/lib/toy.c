#include "tests/lib/toy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/io/io.h"
#include "lib/mem.h"
#include "lib/pack.h"

static int toy_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *e,
		      struct err *err)
{
	struct toy *t = (struct toy *)blk;
	const struct toy_grain *g = &t->map[off / blk->grain];
	uint64_t in = off % blk->grain;

	pthread_mutex_lock(&t->lock);
	e->len = MIN(len, blk->grain - in);
	e->flags = g->flags;
	if (g->flags & EXT_DATA) {
		e->home = t->store;
		e->host = g->host + (g->flags & EXT_PACKED ? 0 : in);
		e->packed = g->packed;
	}
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int toy_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct toy *t = (struct toy *)blk;
	uint8_t *grain = malloc(blk->grain), *bytes;
	struct toy_grain *g = &t->map[off / blk->grain];
	int rc;

	bytes = malloc(g->packed);
	rc = blk_pread(t->store, bytes, g->packed, g->host, err) ||
	     pack_inflate(CODEC_DEFLATE, bytes, g->packed, grain, blk->grain, NULL, err);
	memcpy(buf, grain + off % blk->grain, n);
	free(grain);
	free(bytes);
	return rc ? -1 : 0;
}

static int toy_claim(struct blk *blk, struct claim *c, struct err *err)
{
	struct toy *t = (struct toy *)blk;
	uint64_t n = div_up(c->len, blk->grain), bytes = n * blk->grain;

	pthread_mutex_lock(&t->lock);
	if (t->fail_claims) {
		pthread_mutex_unlock(&t->lock);
		return err_set(err, ENOSPC, "toy is full");
	}
	if (c->packed) {
		bytes = 0;
		for (uint64_t i = 0; i < n; i++)
			bytes += c->packed[i];
	}
	c->run = calloc(1, sizeof(*c->run));
	c->nrun = 1;
	c->home = t->store;
	c->run[0] = (struct claim_run){c->off, t->next, c->packed ? bytes : c->len, true};
	t->next += bytes;
	t->claims++;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int toy_settle(struct blk *blk, struct claim *c, struct err *err)
{
	struct toy *t = (struct toy *)blk;
	uint64_t host = c->run[0].host, first = c->off / blk->grain;

	pthread_mutex_lock(&t->lock);
	for (uint64_t i = 0; i < div_up(c->len, blk->grain); i++) {
		struct toy_grain *g = &t->map[first + i];

		g->flags = EXT_DATA | (c->packed ? EXT_PACKED : 0);
		g->host = host;
		g->packed = c->packed ? c->packed[i] : 0;
		host += c->packed ? c->packed[i] : blk->grain;
	}
	t->settled++;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static void toy_drop(struct blk *blk, struct claim *c)
{
	struct toy *t = (struct toy *)blk;

	pthread_mutex_lock(&t->lock);
	t->dropped++;
	pthread_mutex_unlock(&t->lock);
}

static int toy_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		    struct err *err)
{
	struct toy *t = (struct toy *)blk;

	pthread_mutex_lock(&t->lock);
	for (uint64_t i = off / blk->grain; i < div_up(off + len, blk->grain); i++)
		t->map[i].flags = EXT_ZERO;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int toy_pack(struct blk *blk, const void *in, size_t n, void *out, size_t *outn,
		    struct err *err)
{
	return pack_deflate(CODEC_DEFLATE, PACK_LEVEL_DEFAULT, in, n, out, outn, err);
}

static int toy_unpack(struct blk *blk, const void *in, size_t n, void *out, size_t *used,
		      struct err *err)
{
	return pack_inflate(CODEC_DEFLATE, in, n, out, blk->grain, used, err);
}

static int toy_close(struct blk *blk, struct err *err)
{
	struct toy *t = (struct toy *)blk;
	int rc = blk_close(t->store, err);

	pthread_mutex_destroy(&t->lock);
	free(t->map);
	free(t);
	return rc;
}

static const struct blk_ops toy_ops = {
	.name = "toy",
	.by_extent = true,
	.pread = toy_pread,
	.zero = toy_zero,
	.extent = toy_extent,
	.claim = toy_claim,
	.settle = toy_settle,
	.drop = toy_drop,
	.pack = toy_pack,
	.unpack = toy_unpack,
	.close = toy_close,
};

struct toy *toy_new(uint64_t size, uint32_t grain)
{
	struct toy *t = calloc(1, sizeof(*t));
	struct err err;

	if (!t || blk_init(&t->blk, &toy_ops, "toy", &err))
		abort();
	t->store = io_mem_new(NULL, 0, &err);
	t->grains = div_up(size, grain);
	t->map = calloc(t->grains + 1, sizeof(*t->map));
	if (!t->store || !t->map)
		abort();
	pthread_mutex_init(&t->lock, NULL);
	for (uint64_t i = 0; i < t->grains; i++)
		t->map[i].flags = EXT_ABSENT;
	t->blk.size = size;
	t->blk.grain = grain;
	t->blk.caps = BLK_CAN_WRITE | BLK_CAN_ZERO | BLK_ZERO_INIT;
	t->blk.codec = CODEC_DEFLATE;
	return t;
}
