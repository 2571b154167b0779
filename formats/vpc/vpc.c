#include "formats/vpc/vpc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

static int vpc_probe(const uint8_t *head, size_t n, uint64_t size)
{
	return n >= 8 && memcmp(head, VPC_FOOTER_COOKIE, 8) == 0 ? 100 : 0;
}

/* Only a fixed image that fits its file: a guest that writes such a footer at the end of its
 * disk loses a sector, and nobody opens what it names. */
static int vpc_probe_tail(const uint8_t *tail, size_t n, uint64_t size)
{
	size_t len = size % VPC_SECTOR ? VPC_FOOTER_LEN - 1 : VPC_FOOTER_LEN;
	uint8_t buf[VPC_FOOTER_LEN] = {0};
	struct vpc_footer f;

	if (n < len)
		return 0;
	memcpy(buf, tail + n - len, len);
	return vpc_footer_decode(buf, &f) && vpc_footer_fits(&f, size) ? 100 : 0;
}

/* ---- which footer ------------------------------------------------------------------- */

static bool has_cookie(const struct vpc_footer *f)
{
	return memcmp(f->cookie, VPC_FOOTER_COOKIE, sizeof(f->cookie)) == 0;
}

/* The sector at off; zeros where the file ends in it. */
static int read_sector(struct blk *file, uint64_t off, uint8_t *buf, struct err *err)
{
	uint64_t size = blk_size(file);

	memset(buf, 0, VPC_SECTOR);
	return off < size ? blk_pread(file, buf, MIN(size - off, VPC_SECTOR), off, err) : 0;
}

/*
 * The one at the end counts where it is of a fixed image that fits the file: the disk's first
 * sector may say what it likes. Else the copy at the beginning does, as for QEMU.
 */
static int choose_footer(struct vpc *v, struct err *err)
{
	struct blk *file = v->b.image.blk.lower;
	uint64_t size = blk_size(file), last = round_up(size, VPC_SECTOR);
	uint8_t front[VPC_FOOTER_LEN], tail[VPC_FOOTER_LEN];
	struct vpc_footer f, t;
	bool tail_good;

	v->footer_at = last - MIN(last, VPC_SECTOR);
	if (read_sector(file, 0, front, err) || read_sector(file, v->footer_at, tail, err))
		return -1;
	v->front_good = vpc_footer_decode(front, &f);
	tail_good = vpc_footer_decode(tail, &t);
	if (!v->front_good && !tail_good)
		return err_set(err, EINVAL,
			       has_cookie(&f) || has_cookie(&t) ? "Incorrect header checksum"
								: "invalid VPC image");
	if (tail_good && t.type == VPC_TYPE_FIXED &&
	    (!v->front_good || vpc_footer_fits(&t, size)))
		v->front_good = false;
	else if (v->front_good && f.type == VPC_TYPE_FIXED)
		return err_set(
			err, EINVAL,
			"The footer at the beginning is that of a fixed image, which has "
			"none there");
	v->f = v->front_good ? f : t;
	memcpy(v->footer, v->front_good ? front : tail, VPC_FOOTER_LEN);
	v->footer_good = tail_good && memcmp(tail, v->footer, VPC_FOOTER_LEN) == 0;
	return 0;
}

/* ---- the disk's size ----------------------------------------------------------------- */

/* VirtualBox and Virtual PC have disks that are longer than their geometry. */
static int note_size(struct vpc *v, const char *by, uint64_t size, struct err *err)
{
	uint64_t current = v->f.current_size;

	if (by || current < size + VPC_SECTOR)
		return 0;
	if (asprintf(&v->b.image.note,
		     "the disk is taken to have the %" PRIu64
		     " bytes of its geometry, as QEMU does; by its footer they are %" PRIu64
		     " (--image-opts driver=vpc,force_size_calc=current_size,...)",
		     size, current) >= 0)
		return 0;
	v->b.image.note = NULL;
	return err_nomem(err, 200, "a note");
}

/* ---- open --------------------------------------------------------------------------- */

static int vpc_open_as(struct vpc *v, const struct opts *opts, struct err *err)
{
	struct blk *blk = &v->b.image.blk;
	const char *by = opts ? opts_get(opts, "force_size_calc") : NULL;
	uint64_t size;

	if (choose_footer(v, err) || vpc_disk_size(&v->f, by, &size, err) ||
	    note_size(v, by, size, err))
		return -1;
	v->b.blocks.size = size;
	blk->size = size;
	if (v->f.type != VPC_TYPE_FIXED)
		return vpc_dynamic_open(v, err);
	if (size > v->footer_at)
		return err_set(err, EINVAL,
			       "The disk (%" PRIu64 " bytes) is larger than its file (%" PRIu64
			       "). The image has been truncated.",
			       size, v->footer_at);
	blk->ops = &vpc_fixed_ops;
	blk->align = blk->lower->align;
	blk->grain = VPC_GRAIN;
	blk->caps = blk->lower->caps & (BLK_CAN_ZERO | BLK_CAN_UNMAP | BLK_IS_HOST);
	if (blk->lower->caps & BLK_CAN_GROW)
		blk->caps |= BLK_ZERO_INIT;
	if (v->flags & IMAGE_WRITE)
		blk->caps |= BLK_CAN_WRITE;
	return 0;
}

static int vpc_open(struct blk *lower, const struct opts *opts, unsigned flags,
		    struct image **out, struct err *err)
{
	struct vpc *v = image_new(sizeof(*v), &vpc_dynamic_ops, &format_vpc, lower, err);

	if (!v)
		return -1;
	v->flags = flags;
	if (vpc_open_as(v, opts, err))
		return image_give_up(&v->b.image);
	*out = &v->b.image;
	return 0;
}

static int vpc_info(struct image *image, struct info *out, struct err *err)
{
	const struct vpc *v = (const struct vpc *)image;

	if (v->f.type != VPC_TYPE_FIXED)
		out->cluster_size = v->h.block_size;
	out->dirty_ours = true;
	out->dirty = v->f.type != VPC_TYPE_FIXED && !(v->front_good && v->footer_good);
	return 0;
}

static const struct opt vpc_open_opts[] = {
	{.name = "force_size_calc",
	 .type = OPT_STR,
	 .arg = "HOW",
	 .help = "chs or current_size: which of both tells the disk's size"},
	{0},
};

static const char *const extensions[] = {"vhd", "vpc", NULL};

const struct format format_vpc = {
	.name = "vpc",
	.summary = "Virtual PC's, Hyper-V's and Azure's disk image (VHD)",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_BACKING | FORMAT_READS_BACKING |
		FORMAT_CHECK_OURS,
	.open_opts = vpc_open_opts,
	.create_opts = vpc_create_opts,
	.probe = vpc_probe,
	.probe_tail = vpc_probe_tail,
	.open = vpc_open,
	.create = vpc_create,
	.create_check = vpc_create_check,
	.adopt = vpc_adopt,
	.make_empty = vpc_make_empty,
	.info = vpc_info,
	.check = vpc_check,
};
