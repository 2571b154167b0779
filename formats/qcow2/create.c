/*
 * New images, laid out as the peer lays them out: header, refcount table, refcount block,
 * L1 table; then what preallocation asks for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/location.h"
#include "lib/mem.h"

static void fill_header(const struct qcow2_settings *s, struct qcow2_header *h)
{
	memset(h, 0, sizeof(*h));
	h->magic = QCOW2_MAGIC;
	h->version = s->version;
	h->cluster_bits = s->cluster_bits;
	h->reftable_off = UINT64_C(1) << s->cluster_bits;
	h->reftable_cl = 1;
	h->refcount_order = s->refcount_order;
	h->compression = s->zstd;
	if (s->data_file)
		h->incompat |= QCOW2_INCOMPAT_DATA_FILE;
	if (s->zstd)
		h->incompat |= QCOW2_INCOMPAT_COMPRESSION;
	if (s->extended_l2)
		h->incompat |= QCOW2_INCOMPAT_EXT_L2;
	if (s->lazy)
		h->compat |= QCOW2_COMPAT_LAZY;
	if (s->data_raw)
		h->autoclear |= QCOW2_AUTOCLEAR_DATA_RAW;
}

/* The first three clusters of an image without a disk. */
static int write_start(const struct create *c, const struct qcow2_settings *s, struct err *err)
{
	size_t cluster = (size_t)1 << s->cluster_bits;
	AUTO_FREE uint8_t *buf = mem_alloc(3 * cluster);
	struct qcow2_header h;
	struct qcow2_extra x = {
		.backing = (char *)(uintptr_t)s->backing,
		.backing_format = (char *)(uintptr_t)s->backing_format,
		.data_file = (char *)(uintptr_t)s->data_file,
		.has_data_file = s->data_file,
	};
	const char *format = s->backing_format ? s->backing_format : "";

	if (!buf)
		return err_nomem(err, 3 * cluster, "a new image");
	memset(buf, 0, 3 * cluster);
	fill_header(s, &h);
	if ((s->backing && strlen(s->backing) > QCOW2_BACKING_MAX) || strlen(format) > 15)
		err_set(err, EINVAL, "%s", strerror(EINVAL));
	else if (qcow2_header_encode(&h, &x, true, buf, cluster, err) == 0)
		goto encoded;
	if (!s->backing)
		return -1;
	return err_set(err, err->num, "Could not assign backing file '%s' with format '%s': %s",
		       s->backing, format, strerror(err->num));
encoded:
	put_be64(buf + cluster, 2 * cluster);
	for (uint64_t i = 0; i < 3; i++)
		qcow2_ref_put(s->refcount_order, buf + 2 * cluster, i, 1);
	return blk_pwrite(c->lower, buf, 3 * cluster, 0, 0, err);
}

/* A disk of `size` bytes in the image that has none. */
static int make_disk(const struct create *c, uint64_t size, const struct qcow2_settings *s,
		     struct err *err)
{
	struct image *image = NULL;
	struct err later;
	struct blk *blk;
	int rc;

	if (qcow2_open(c->lower, NULL, IMAGE_WRITE | IMAGE_NEW, &image, err))
		return -1;
	image->data = c->nfile ? c->file[0] : NULL;
	blk = &image->blk;
	rc = s->crypt == QCOW2_CRYPT_NONE ? 0 : qcow2_crypt_make((struct qcow2 *)image, s, err);
	if (rc == 0 && size)
		rc = blk_resize(blk, size, s->prealloc, err);
	if (rc == 0)
		rc = qcow2_finish((struct qcow2 *)image, err);
	/* the files are not ours: they stay open */
	image->data = NULL;
	((struct qcow2 *)image)->flags &= ~(unsigned)IMAGE_WRITE;
	blk->lower = NULL;
	if (blk_close(blk, rc ? &later : err))
		rc = -1;
	return rc;
}

int qcow2_create_files(const struct opts *opts, uint64_t size, const char *path,
		       struct file_names *out, struct err *err)
{
	const char *name = opts_get(opts, "data_file");

	if (!name)
		return 0;
	if (location_has_scheme(name))
		return err_set(err, EINVAL,
			       "data_file '%s' must be the plain path of a local file", name);
	return file_names_add(out, name, err);
}

int qcow2_create(const struct create *c, struct err *err)
{
	struct qcow2_settings s;
	uint64_t size = c->size;

	if (qcow2_create_check(c->opts, &size, err) || qcow2_settings(c->opts, &s, err))
		return -1;
	if (s.data_file && !c->nfile)
		return err_set(err, EINVAL, "data_file '%s' is not open", s.data_file);
	if (write_start(c, &s, err))
		return -1;
	/* A data file that is read by itself must hold what the image says: so each of its
	 * clusters is in the tables. */
	if (s.data_raw && s.prealloc == PREALLOC_OFF)
		s.prealloc = PREALLOC_METADATA;
	return size || s.crypt != QCOW2_CRYPT_NONE ? make_disk(c, size, &s, err) : 0;
}
