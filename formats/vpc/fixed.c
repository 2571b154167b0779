/*
 * Fixed images: every byte of the disk is where it is in the file.
 */
#include <stdlib.h>

#include "formats/vpc/vpc.h"
#include "lib/mem.h"

static int fixed_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			struct err *err)
{
	out->off = off;
	out->len = MIN(len, blk->size - off);
	out->flags = EXT_DATA;
	out->home = blk->lower;
	out->host = off;
	return 0;
}

static bool fixed_hollow(struct blk *blk)
{
	return true;
}

static int fixed_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err)
{
	return blk_zero(blk->lower, off, len, flags, err);
}

/* There is nothing to settle and nothing to give back. */
static int fixed_claim(struct blk *blk, struct claim *c, struct err *err)
{
	const struct vpc *v = (const struct vpc *)blk;

	c->run = malloc(sizeof(*c->run));
	if (!c->run)
		return err_nomem(err, sizeof(*c->run), "a claim");
	c->nrun = 1;
	c->home = blk->lower;
	c->run[0] = (struct claim_run){
		.off = c->off,
		.host = c->off,
		.len = c->len,
		.fresh = (v->flags & IMAGE_NEW) && (blk->caps & BLK_ZERO_INIT),
	};
	return 0;
}

static int fixed_fd(struct blk *blk, uint64_t *base)
{
	return blk_fd(blk->lower, base);
}

static int fixed_close(struct blk *blk, struct err *err)
{
	free(((struct vpc *)blk)->b.image.note);
	free(blk);
	return 0;
}

const struct blk_ops vpc_fixed_ops = {
	.name = "vpc",
	.by_extent = true,
	.extent = fixed_extent,
	.hollow = fixed_hollow,
	.zero = fixed_zero,
	.claim = fixed_claim,
	.fd = fixed_fd,
	.close = fixed_close,
};
