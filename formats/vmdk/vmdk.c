/*
 * The image: a descriptor and its extents.
 */
#include "formats/vmdk/vmdk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/uuid.h"

static struct vmdk *vmdk_of(struct blk *blk)
{
	return (struct vmdk *)blk;
}

static int vmdk_probe(const uint8_t *head, size_t n, uint64_t size)
{
	if (n < 8)
		return 0;
	if (get_le32(head) == VMDK_MAGIC || get_le32(head) == COWD_MAGIC ||
	    get_le64(head) == SESPARSE_MAGIC)
		return 100;
	return vmdk_desc_probe(head, n) ? 100 : 0;
}

/* ---- where bytes are --------------------------------------------------------------------- */

/* What is not there is told to who reads it. */
static void extent_flat(const struct vmdk_extent *x, uint64_t in, uint64_t len,
			struct extent *out)
{
	uint64_t size = round_up(blk_size(x->file), VMDK_SECTOR), have = 0;

	if (x->host < size)
		have = MIN(x->size, size - x->host);
	out->flags = EXT_DATA | (x->read_only ? EXT_SHARED : 0u);
	out->len = len;
	if (in >= have) {
		out->flags |= EXT_CODED;
		return;
	}
	out->len = MIN(len, have - in);
	out->home = x->file;
	out->host = x->host + in;
}

static int vmdk_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	struct vmdk_extent *x = vmdk_find(vmdk_of(blk), off);
	uint64_t in = off - x->start;
	int rc = 0;

	len = MIN(len, x->size - in);
	out->len = len;
	switch (x->kind) {
	case VMDK_ZERO:
		out->flags = EXT_ZERO;
		break;
	case VMDK_LOCKED:
		out->flags = EXT_DATA | EXT_CODED;
		break;
	case VMDK_FLAT:
		extent_flat(x, in, len, out);
		break;
	default:
		rc = blocks_extent(&x->blocks, in, len, out, err);
		if (x->read_only && (out->flags & EXT_DATA))
			out->flags |= EXT_SHARED;
		if (rc)
			err_prefix(err, "%s", x->file->name);
	}
	out->off = off;
	return rc;
}

static bool vmdk_hollow(struct blk *blk)
{
	const struct vmdk *v = vmdk_of(blk);

	for (size_t i = 0; i < v->n; i++)
		if (v->extent[i].kind == VMDK_FLAT)
			return true;
	return false;
}

/* ---- writing ------------------------------------------------------------------------------
 */

static int cannot_write(const struct vmdk *v, const struct vmdk_extent *x, struct err *err)
{
	return err_set(err, EACCES, "%s: extent %zu, from offset %" PRIu64 " on, %s",
		       v->image.blk.name, (size_t)(x - v->extent), x->start,
		       x->kind == VMDK_ZERO   ? "is all zeros and cannot be written"
		       : x->kind == VMDK_FLAT ? "is longer than its file"
					      : "can only be read");
}

static bool sparse(const struct vmdk_extent *x)
{
	return x->kind == VMDK_SPARSE && !x->read_only;
}

static void shift(struct claim *c, uint64_t by)
{
	c->off += by;
	for (size_t i = 0; i < c->nrun; i++)
		c->run[i].off += by;
}

static int vmdk_claim(struct blk *blk, struct claim *c, struct err *err)
{
	struct vmdk *v = vmdk_of(blk);
	struct vmdk_extent *x = vmdk_find(v, c->off);
	int rc;

	if (!sparse(x))
		return cannot_write(v, x, err);
	if (x->packed && !c->packed)
		return err_set(err, EIO,
			       "%s: a streamOptimized image takes whole compressed grains only",
			       blk->name);
	shift(c, -x->start);
	rc = blocks_claim(&x->blocks, c, err);
	shift(c, x->start);
	return rc;
}

static int vmdk_settle(struct blk *blk, struct claim *c, struct err *err)
{
	struct vmdk_extent *x = vmdk_find(vmdk_of(blk), c->off);

	shift(c, -x->start);
	return blocks_settle(&x->blocks, c, err);
}

static void vmdk_drop(struct blk *blk, struct claim *c)
{
	struct vmdk_extent *x = vmdk_find(vmdk_of(blk), c->off);

	shift(c, -x->start);
	blocks_drop(&x->blocks, c);
}

static int zero_extent(struct vmdk *v, struct vmdk_extent *x, uint64_t in, uint64_t len,
		       unsigned flags, struct err *err)
{
	if (x->kind == VMDK_ZERO)
		return 0;
	if (sparse(x))
		return blocks_zero(&x->blocks, in, len, flags, err);
	if (x->kind != VMDK_FLAT || x->read_only ||
	    x->host + in + len > round_up(blk_size(x->file), VMDK_SECTOR))
		return cannot_write(v, x, err);
	return blk_zero(x->file, x->host + in, len, flags, err);
}

static int vmdk_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags,
		     struct err *err)
{
	struct vmdk *v = vmdk_of(blk);

	while (len > 0) {
		struct vmdk_extent *x = vmdk_find(v, off);
		uint64_t in = off - x->start, n = MIN(len, x->size - in);

		if (zero_extent(v, x, in, n, flags, err))
			return -1;
		off += n;
		len -= n;
	}
	return 0;
}

/* The content identifier says that children are no longer valid. */
static int new_cid(struct vmdk *v, struct err *err)
{
	AUTO_FREE char *text = NULL;
	size_t at, digits, n;
	uint8_t r[UUID_LEN];

	if (!vmdk_desc_cid(v->desc.text, &at, &digits))
		return 0;
	do {
		if (uuid_random(r, err))
			return -1;
		v->desc.cid = get_le32(r);
	} while (v->desc.cid >= VMDK_NO_CID - 1);
	/* what follows moves where there were not 8 digits */
	if (asprintf(&text, "%08" PRIx32 "%s", v->desc.cid, v->desc.text + at + digits) < 0) {
		text = NULL;
		return err_nomem(err, strlen(v->desc.text), "a descriptor");
	}
	n = digits == 8 ? 8 : strlen(text);
	if (at + n > v->desc.room)
		return err_set(err, ENOSPC, "The descriptor has no room for a new CID");
	return blk_pwrite(v->image.blk.lower, text, n, v->desc_at + at, 0, err);
}

static int vmdk_touch(struct blk *blk, uint64_t off, uint64_t len, struct err *err)
{
	struct vmdk *v = vmdk_of(blk);
	int rc = 0;

	if (v->flags & IMAGE_NEW)
		return 0;
	pthread_mutex_lock(&v->lock);
	if (!v->touched && v->desc.text)
		rc = new_cid(v, err);
	v->touched = true;
	pthread_mutex_unlock(&v->lock);
	return rc;
}

static int vmdk_flush(struct blk *blk, struct err *err)
{
	struct vmdk *v = vmdk_of(blk);

	for (size_t i = 0; i < v->n; i++) {
		struct vmdk_extent *x = &v->extent[i];

		if (sparse(x) ? blocks_flush(&x->blocks, err)
			      : x->kind == VMDK_FLAT && blk_flush(x->file, err))
			return -1;
	}
	return v->touched ? blk_flush(blk->lower, err) : 0;
}

static int64_t vmdk_disk_usage(struct blk *blk)
{
	const struct image *image = (struct image *)blk;
	int64_t sum = blk_disk_usage(blk->lower);

	for (size_t i = 0; sum >= 0 && i < image->nfile; i++) {
		int64_t one = blk_disk_usage(image->file[i].blk);

		sum = one < 0 ? -1 : sum + one;
	}
	return sum;
}

/* ---- open and close ------------------------------------------------------------------------
 */

static int finish(struct vmdk *v, struct err *err)
{
	/* none where a file of theirs was missing */
	for (size_t i = 0; v->extent && i < v->n; i++) {
		struct vmdk_extent *x = &v->extent[i];

		if (!x->blocks.started)
			continue;
		if (x->stream ? vmdk_stream_finish(x, err) : blocks_finish(&x->blocks, err))
			return -1;
	}
	return 0;
}

static int vmdk_close(struct blk *blk, struct err *err)
{
	struct vmdk *v = vmdk_of(blk);
	struct err later;
	int rc = finish(v, err);

	for (size_t i = 0; v->extent && i < v->n; i++)
		vmdk_extent_close(&v->extent[i]);
	if (image_files_free(&v->image, rc ? &later : err))
		rc = -1;
	if (v->lock_made)
		pthread_mutex_destroy(&v->lock);
	vmdk_desc_free(&v->desc);
	free(v->image.backing);
	free(v->image.backing_format);
	free(v->extent);
	free(v);
	return rc;
}

#define VMDK_OPS                                                                               \
	.name = "vmdk", .by_extent = true, .pread = vmdk_pread, .extent = vmdk_extent,         \
	.hollow = vmdk_hollow, .claim = vmdk_claim, .settle = vmdk_settle, .drop = vmdk_drop,  \
	.zero = vmdk_zero, .touch = vmdk_touch, .flush = vmdk_flush,                           \
	.disk_usage = vmdk_disk_usage, .close = vmdk_close

static const struct blk_ops vmdk_ops = {VMDK_OPS};

static const struct blk_ops vmdk_stream_ops = {
	VMDK_OPS,
	.pack = vmdk_pack,
	.unpack = vmdk_unpack,
	.wrap = vmdk_wrap,
};

/*
 * What is claimed are whole grains of the disk. Where extents begin in the middle of one, or
 * differ, smaller pieces do, unless what they lack would have to come from the image below.
 */
static int settle_grain(struct vmdk *v, struct err *err)
{
	struct blk *blk = &v->image.blk;
	uint64_t grain = 0;
	bool below = false, odd = false;

	for (size_t i = 0; i < v->n; i++) {
		const struct vmdk_extent *x = &v->extent[i];
		bool last = i + 1 == v->n;

		if (x->blocks.block) {
			uint32_t own = blocks_grain(&x->blocks);

			odd |= grain && own != grain;
			grain = grain ? MIN(grain, own) : own;
			below |= x->blocks.below || x->packed;
		}
		while (grain && ((!last && (x->start + x->size) % grain) || x->start % grain)) {
			odd = true;
			grain /= 2;
		}
	}
	blk->grain = grain ? (uint32_t)grain : VMDK_SECTOR;
	if (!odd)
		return 0;
	if (below && (v->flags & IMAGE_WRITE))
		return err_set(err, ENOTSUP,
			       "The extents of the image do not begin at whole grains: it can "
			       "only be read");
	for (size_t i = 0; i < v->n; i++)
		if (v->extent[i].blocks.block)
			v->extent[i].blocks.grain = below ? 0 : blk->grain;
	return 0;
}

static int settle_blk(struct vmdk *v, struct err *err)
{
	struct blk *blk = &v->image.blk;

	blk->caps = BLK_CAN_ZERO | BLK_CAN_UNMAP | BLK_ZERO_INIT;
	if (v->flags & IMAGE_WRITE)
		blk->caps |= BLK_CAN_WRITE;
	blk->align = blk->lower->align;
	for (size_t i = 0; i < v->n; i++) {
		const struct vmdk_extent *x = &v->extent[i];

		if (x->file)
			blk->align = MAX(blk->align, x->file->align);
		if (x->kind == VMDK_FLAT && !(x->file->caps & BLK_CAN_GROW))
			blk->caps &= ~(unsigned)BLK_ZERO_INIT;
		if (x->packed) {
			blk->ops = &vmdk_stream_ops;
			blk->codec = CODEC_DEFLATE;
			blk->pack_head = VMDK_MARKER + VMDK_ZLIB_HEAD;
			blk->pack_room = 1024;
			blk->caps |= BLK_WHOLE_PACK;
		}
	}
	return settle_grain(v, err);
}

/* All files are there. */
static int open_extents(struct vmdk *v, struct err *err)
{
	size_t n = v->alone ? 1 : v->desc.n, f = 0;
	uint64_t at = 0;

	v->extent = calloc(n ? n : 1, sizeof(*v->extent));
	if (!v->extent)
		return err_nomem(err, n * sizeof(*v->extent), "extents");
	for (size_t i = 0; i < n; i++) {
		struct vmdk_extent *x = &v->extent[v->n++];

		x->v = v;
		x->start = at;
		if (v->alone) {
			x->file = v->image.blk.lower;
		} else {
			x->line = &v->desc.line[i];
			if (x->line->name && x->line->access != VMDK_NOACCESS)
				x->file = v->image.file[f++].blk;
		}
		if (vmdk_extent_open(x, err))
			return x->file && x->line ? err_prefix(err, "%s", x->file->name) : -1;
		if (__builtin_add_overflow(at, x->size, &at) || at > INT64_MAX)
			return err_set(err, EFBIG, "The extents are too large together");
		if (x->size == 0)
			vmdk_extent_close(&v->extent[--v->n]);
	}
	v->image.blk.size = at;
	return settle_blk(v, err);
}

static int vmdk_attached(struct image *image, struct err *err)
{
	struct vmdk *v = (struct vmdk *)image;

	return image->nfile ? open_extents(v, err) : 0;
}

/* The text at `at` of the file. */
static int read_desc(struct vmdk *v, uint64_t at, uint64_t len, struct err *err)
{
	struct blk *file = v->image.blk.lower;
	uint64_t size = blk_size(file);
	char *text;

	if (at >= size)
		return err_set(err, EINVAL,
			       "The descriptor at offset %" PRIu64 " is beyond the end of the "
			       "file (%" PRIu64 " bytes)",
			       at, size);
	len = MIN(len, size - at);
	if (len > VMDK_DESC_MAX)
		return err_set(err, EFBIG, "A descriptor of %" PRIu64 " bytes is too large",
			       len);
	text = calloc(1, len + 1);
	if (!text)
		return err_nomem(err, len, "a descriptor");
	if (blk_pread(file, text, len, at, err)) {
		free(text);
		return -1;
	}
	v->desc_at = at;
	if (vmdk_desc_parse(&v->desc, text, err))
		return -1;
	v->desc.room = at ? len : VMDK_DESC_MAX;
	return 0;
}

static int add_files(struct vmdk *v, struct err *err)
{
	for (size_t i = 0; i < v->desc.n; i++) {
		const struct vmdk_line *l = &v->desc.line[i];
		char key[32];

		snprintf(key, sizeof(key), "extents.%zu", v->image.nfile);
		if (l->name && l->access != VMDK_NOACCESS &&
		    image_file_add(&v->image, l->name, key, l->access != VMDK_RW, err))
			return -1;
	}
	return 0;
}

static int no_desc(struct err *err)
{
	return err_set(err, EINVAL,
		       "The file is an extent of a VMDK image and has no descriptor: open the "
		       "file that names it");
}

/* The file is an extent, with the descriptor in it. */
static int read_sparse(struct vmdk *v, const uint8_t *head, struct err *err)
{
	struct vmdk_header h;

	layout_decode(vmdk_fields, head, &h);
	if (get_le32(head) != VMDK_MAGIC || h.desc_at == 0 || h.desc_sectors == 0)
		return no_desc(err);
	if (h.desc_at > INT64_MAX / VMDK_SECTOR || h.desc_sectors > VMDK_DESC_MAX / VMDK_SECTOR)
		return err_set(err, EFBIG,
			       "A descriptor of %" PRIu64 " sectors at sector %" PRIu64
			       " is too large",
			       h.desc_sectors, h.desc_at);
	if (read_desc(v, h.desc_at * VMDK_SECTOR, h.desc_sectors * VMDK_SECTOR, err))
		return v->desc.text && !v->desc.text[0] ? no_desc(err) : -1;
	v->alone = true;
	/* nothing but a descriptor */
	if (h.capacity == 0 && v->desc.n > 0) {
		v->alone = false;
		return add_files(v, err);
	}
	return 0;
}

static int read_image(struct vmdk *v, struct err *err)
{
	struct blk *file = v->image.blk.lower;
	uint8_t head[VMDK_SECTOR];

	if (blk_pread(file, head, sizeof(head), 0, err))
		return -1;
	if (get_le32(head) == VMDK_MAGIC || get_le32(head) == COWD_MAGIC ||
	    get_le64(head) == SESPARSE_MAGIC) {
		if (read_sparse(v, head, err))
			return -1;
	} else if (!vmdk_desc_probe(head, sizeof(head))) {
		return err_set(err, EINVAL, "Image not in VMDK format");
	} else if (read_desc(v, 0, UINT64_MAX, err) || add_files(v, err)) {
		return -1;
	}
	if (v->desc.parent && v->desc.parent[0]) {
		v->image.backing = strdup(v->desc.parent);
		v->image.backing_format = strdup("vmdk");
		if (!v->image.backing || !v->image.backing_format)
			return err_nomem(err, strlen(v->desc.parent), "a file name");
	}
	v->image.needs_backing = v->desc.parent_cid != VMDK_NO_CID;
	return v->image.nfile ? 0 : open_extents(v, err);
}

static int make_lock(struct vmdk *v, struct err *err)
{
	int rc = pthread_mutex_init(&v->lock, NULL);

	v->lock_made = rc == 0;
	errno = rc;
	return rc ? err_sys(err, "Could not make a lock") : 0;
}

static int vmdk_open(struct blk *lower, const struct opts *opts, unsigned flags,
		     struct image **out, struct err *err)
{
	struct vmdk *v = image_new(sizeof(*v), &vmdk_ops, &format_vmdk, lower, err);

	if (!v)
		return -1;
	v->flags = flags;
	if (make_lock(v, err) || read_image(v, err))
		return image_give_up(&v->image);
	*out = &v->image;
	return 0;
}

static int vmdk_adopt(struct image *image, struct image *below, struct err *err)
{
	const struct vmdk *v = (struct vmdk *)image, *parent = (struct vmdk *)below;

	if (v->desc.parent_cid == VMDK_NO_CID)
		return err_set(err, EINVAL,
			       "A VMDK image whose parentCID is ffffffff has no backing file");
	if (below->format != &format_vmdk)
		return err_set(err, EINVAL, "The parent of a VMDK image is one, not %s",
			       below->format->name);
	if (parent->desc.cid == v->desc.parent_cid)
		return 0;
	return err_set(err, EINVAL,
		       "The image was made over one with CID %08" PRIx32
		       ", but this one has %08" PRIx32 ": it was changed since",
		       v->desc.parent_cid, parent->desc.cid);
}

static const char *const extensions[] = {"vmdk", NULL};

const struct format format_vmdk = {
	.name = "vmdk",
	.summary = "VMware's virtual disks",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_BACKING | FORMAT_PACK |
		FORMAT_READS_BACKING,
	.create_opts = vmdk_create_opts,
	.probe = vmdk_probe,
	.open = vmdk_open,
	.create = vmdk_create,
	.create_files = vmdk_create_files,
	.attached = vmdk_attached,
	.adopt = vmdk_adopt,
	.create_check = vmdk_create_check,
	.info = vmdk_info,
	.check = vmdk_check,
};
