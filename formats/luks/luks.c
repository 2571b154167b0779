#include "formats/luks/luks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/coded.h"
#include "crypto/keymem.h"
#include "lib/mem.h"

#define CHUNK (256u << 10) /* encrypted at once: stays in the cache */

static struct luks *of(struct blk *blk)
{
	return (struct luks *)blk;
}

static int no_key(struct err *err)
{
	return err_set(err, EACCES, "Parameter 'key-secret' is required for cipher");
}

/* ---- reading ---------------------------------------------------------------------------- */

static int luks_pread(struct blk *blk, void *to, size_t n, uint64_t off, struct err *err)
{
	struct luks *l = of(blk);

	if (!l->sector)
		return no_key(err);
	return coded_read(l->sector, blk->lower, luks1_payload(&l->h) + off, off / SECTOR_SIZE,
			  off % SECTOR_SIZE, to, n, err);
}

/* ---- writing ---------------------------------------------------------------------------- */

/* Whole sectors; `work` has room for CHUNK bytes. */
static int write_sectors(struct luks *l, const uint8_t *buf, size_t n, uint64_t off,
			 uint8_t *work, struct err *err)
{
	for (size_t at = 0; at < n;) {
		size_t now = MIN(n - at, CHUNK);

		memcpy(work, buf + at, now);
		sector_encrypt(l->sector, (off + at) / SECTOR_SIZE, work, now);
		if (blk_pwrite(l->image.blk.lower, work, now, luks1_payload(&l->h) + off + at,
			       0, err))
			return -1;
		at += now;
	}
	return 0;
}

static int write_part(struct luks *l, const uint8_t *buf, size_t n, uint64_t start, size_t in,
		      struct err *err)
{
	uint8_t sector[SECTOR_SIZE], work[SECTOR_SIZE];
	struct range_hold hold;
	int rc;

	ranges_lock(l->edges, &hold, start, start + SECTOR_SIZE, true);
	rc = luks_pread(&l->image.blk, sector, sizeof(sector), start, err);
	if (rc == 0) {
		memcpy(sector + in, buf, n);
		rc = write_sectors(l, sector, sizeof(sector), start, work, err);
	}
	ranges_unlock(l->edges, &hold);
	explicit_bzero(sector, sizeof(sector));
	return rc;
}

static int write_whole(struct luks *l, const uint8_t *buf, size_t n, uint64_t off,
		       uint8_t *work, struct err *err)
{
	struct range_hold hold;
	int rc;

	ranges_lock(l->edges, &hold, off, off + n, false);
	rc = write_sectors(l, buf, n, off, work, err);
	ranges_unlock(l->edges, &hold);
	return rc;
}

static int luks_pwrite(struct blk *blk, const void *from, size_t n, uint64_t off,
		       unsigned flags, struct err *err)
{
	struct luks *l = of(blk);
	const uint8_t *buf = from;
	AUTO_FREE uint8_t *work = NULL;

	if (!l->sector)
		return no_key(err);
	work = mem_alloc(MIN(MAX(n, SECTOR_SIZE), CHUNK));
	if (!work)
		return err_nomem(err, MIN(n, CHUNK), "a buffer for encryption");
	while (n > 0) {
		size_t in = off % SECTOR_SIZE, now = n - n % SECTOR_SIZE;
		int rc;

		if (in || now == 0) {
			now = MIN(n, SECTOR_SIZE - in);
			rc = write_part(l, buf, now, off - in, in, err);
		} else {
			rc = write_whole(l, buf, now, off, work, err);
		}
		if (rc)
			return -1;
		buf += now;
		off += now;
		n -= now;
	}
	return 0;
}

static int luks_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	out->len = len;
	out->flags = EXT_DATA | EXT_CODED;
	out->home = blk->lower;
	out->host = luks1_payload(&of(blk)->h) + off;
	return 0;
}

static int luks_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct luks *l = of(blk);

	if (size > INT64_MAX - luks1_payload(&l->h))
		return err_set(err, EFBIG, "The requested file size is too large");
	if (blk_resize(blk->lower, luks1_payload(&l->h) + size, p, err))
		return -1;
	blk->size = size;
	return 0;
}

static int luks_close(struct blk *blk, struct err *err)
{
	struct luks *l = of(blk);

	sector_free(l->sector);
	key_free(l->key);
	ranges_free(l->edges);
	free(l);
	return 0;
}

static const struct blk_ops luks_ops = {
	.name = "luks",
	.pread = luks_pread,
	.pwrite = luks_pwrite,
	.extent = luks_extent,
	.resize = luks_resize,
	.close = luks_close,
};

/* ---- open ------------------------------------------------------------------------------- */

static int open_header(struct luks *l, const struct opts *opts, struct err *err)
{
	struct blk *blk = &l->image.blk;
	struct luks1_spec spec;
	uint64_t size = blk_size(blk->lower);
	const char *id = opts_get(opts, "key-secret");

	if (luks1_read(blk->lower, 0, &l->h, err) || luks1_translate(&l->h, &spec, err))
		return -1;
	if (luks1_payload(&l->h) > size)
		return err_set(err, EINVAL,
			       "The LUKS payload (at %" PRIu64
			       ") is beyond the end of the file (%" PRIu64 " bytes)",
			       luks1_payload(&l->h), size);
	blk->size = round_up(size - MIN(size, luks1_payload(&l->h)), SECTOR_SIZE);
	blk->align = blk->lower->align;
	blk->grain = MAX(SECTOR_SIZE, blk->lower->align);
	blk->caps = blk->lower->caps & (BLK_CAN_WRITE | BLK_CAN_GROW);
	l->edges = ranges_new(err);
	if (!l->edges)
		return -1;
	if (l->flags & (IMAGE_NO_IO | IMAGE_CHECK | IMAGE_NO_KEY))
		return 0;
	if (!id)
		return no_key(err);
	return luks1_open_secret(blk->lower, 0, &l->h, id, &l->key, &l->sector, err);
}

static int luks_open(struct blk *lower, const struct opts *opts, unsigned flags,
		     struct image **out, struct err *err)
{
	struct luks *l = image_new(sizeof(*l), &luks_ops, &format_luks, lower, err);

	if (!l)
		return -1;
	l->flags = flags;
	if (open_header(l, opts, err))
		return image_give_up(&l->image);
	*out = &l->image;
	return 0;
}

static int luks_probe(const uint8_t *head, size_t n, uint64_t size)
{
	return luks_version(head, n) == 1 ? 100 : 0;
}

static const struct opt open_opts[] = {
	{.name = "key-secret",
	 .type = OPT_STR,
	 .arg = "ID",
	 .help = "Secret with the passphrase"},
	{0},
};

static const char *const extensions[] = {"luks", NULL};

const struct format format_luks = {
	.name = "luks",
	.summary = "encrypted, as cryptsetup does it (LUKS1)",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE,
	.open_opts = open_opts,
	.create_opts = luks_create_opts,
	.amend_opts = luks_amend_opts,
	.probe = luks_probe,
	.open = luks_open,
	.create = luks_create,
	.create_check = luks_create_check,
	.measure = luks_measure,
	.info = luks_info,
	.amend = luks_amend,
};
