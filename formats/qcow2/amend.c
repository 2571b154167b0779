/*
 * Options of an image that is there. Everything is checked before anything is changed;
 * then each step leaves a sound image that a crash may find: upwards first, what only
 * version 3 has after it, downwards last.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/amend.h"
#include "formats/qcow2/snapshot.h"
#include "lib/mem.h"

const struct opt qcow2_amend_opts[] = {
	{.name = "backing_file",
	 .type = OPT_STR,
	 .arg = "FILE",
	 .help = "File name of a base image"},
	{.name = "backing_fmt",
	 .type = OPT_STR,
	 .arg = "FMT",
	 .help = "Image format of the base image"},
	{.name = "compat",
	 .type = OPT_STR,
	 .arg = "LEVEL",
	 .choices = "v2|v3|0.10|1.1",
	 .help = "Compatibility level (v2 [0.10] or v3 [1.1])"},
	{.name = "data_file",
	 .type = OPT_STR,
	 .arg = "FILE",
	 .help = "File name of an external data file"},
	{.name = "data_file_raw",
	 .type = OPT_BOOL,
	 .help = "The external data file must stay valid as a raw image"},
	{.name = "encrypt.iter-time",
	 .type = OPT_NUM,
	 .help = "Time to spend in PBKDF in milliseconds"},
	{.name = "encrypt.keyslot",
	 .type = OPT_NUM,
	 .help = "Select a single keyslot to modify explicitly"},
	{.name = "encrypt.new-secret",
	 .type = OPT_STR,
	 .help = "New secret to set in the matching keyslots. Empty string to erase"},
	{.name = "encrypt.old-secret",
	 .type = OPT_STR,
	 .help = "Select all keyslots that match this password"},
	{.name = "encrypt.state",
	 .type = OPT_STR,
	 .help = "Select new state of affected keyslots (active/inactive)"},
	{.name = "lazy_refcounts", .type = OPT_BOOL, .help = "Postpone refcount updates"},
	{.name = "refcount_bits",
	 .type = OPT_NUM,
	 .arg = "BITS",
	 .help = "Width of a reference count entry in bits"},
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.type = OPT_END},
};

/* The image as it is to be. */
struct plan {
	bool slots; /* of keys */
	uint32_t version;
	unsigned order;
	bool lazy, data_raw;
	uint64_t size;
	const char *data_file; /* NULL: stays */
};

static int plan_version(const struct opts *o, struct plan *p, struct err *err)
{
	int i;

	if (!opts_has(o, "compat"))
		return 0;
	if (opts_choice(o, "compat", "v2|0.10|v3|1.1", &i, err))
		return err_set(err, EINVAL, "Unknown compatibility level %s",
			       opts_get(o, "compat"));
	p->version = i < 2 ? 2 : 3;
	return 0;
}

static int plan_width(const struct opts *o, struct plan *p, struct err *err)
{
	uint64_t bits;

	if (!opts_has(o, "refcount_bits"))
		return 0;
	if (opts_num(o, "refcount_bits", UINT64_MAX, &bits, err))
		return -1;
	if (bits == 0 || bits > 64 || (bits & (bits - 1)))
		return err_set(err, EINVAL,
			       "Refcount width must be a power of two and may not exceed 64 "
			       "bits");
	p->order = (unsigned)__builtin_ctzll(bits);
	if (p->version < 3 && bits != 16)
		return err_set(err, EINVAL,
			       "Refcount widths other than 16 bits require compatibility level "
			       "1.1 or above (use compat=1.1 or greater)");
	return 0;
}

static int plan_data_file(const struct qcow2 *q, const struct opts *o, struct plan *p,
			  struct err *err)
{
	p->data_file = opts_get(o, "data_file");
	if (p->data_file && !qcow2_external(q))
		return err_set(err, EINVAL,
			       "data-file can only be set for images that use an external data "
			       "file");
	if (opts_bool(o, "data_file_raw", &p->data_raw, err))
		return -1;
	if (p->data_raw && !q->image.data_raw)
		return err_set(err, EINVAL, "data-file-raw cannot be set on existing images");
	return 0;
}

static int plan_encryption(const struct qcow2 *q, const struct opts *o, struct plan *p,
			   struct err *err)
{
	bool any = false;

	for (size_t i = 0; i < opts_count(o); i++)
		any |= strncmp(opts_key(o, i), "encrypt.", 8) == 0;
	if (!any)
		return 0;
	if (q->h.crypt == QCOW2_CRYPT_NONE)
		return err_set(err, EINVAL,
			       "Can't amend encryption options - encryption not present");
	if (q->h.crypt != QCOW2_CRYPT_LUKS)
		return err_set(err, ENOTSUP,
			       "Only LUKS encryption options can be amended for "
			       "qcow2 with luks encryption");
	p->slots = true;
	return 0;
}

static int plan_size(const struct qcow2 *q, const struct amend *a, struct plan *p,
		     struct err *err)
{
	if (opts_size(a->opts, "size", &p->size, err))
		return -1;
	if (p->size % 512 != 0)
		return err_set(err, EINVAL, "The new size must be a multiple of 512");
	if (p->size >= q->image.blk.size || a->force)
		return 0;
	return err_set(err, EINVAL,
		       "A disk of %" PRIu64 " bytes is smaller than it is now (%" PRIu64
		       "): all behind its new end would be lost; --force does it all the same",
		       p->size, q->image.blk.size);
}

static int plan_all(struct qcow2 *q, const struct amend *a, struct plan *p, struct err *err)
{
	const struct opts *o = a->opts;
	bool lazy = false;

	*p = (struct plan){.version = q->h.version,
			   .order = q->h.refcount_order,
			   .lazy = q->h.compat & QCOW2_COMPAT_LAZY,
			   .data_raw = q->image.data_raw,
			   .size = q->image.blk.size};
	if (plan_version(o, p, err) || plan_size(q, a, p, err) ||
	    plan_encryption(q, o, p, err) || opts_bool(o, "lazy_refcounts", &p->lazy, err) ||
	    opts_bool(o, "lazy_refcounts", &lazy, err))
		return -1;
	if (lazy && p->version < 3)
		return err_set(err, EINVAL,
			       "Lazy refcounts only supported with compatibility level 1.1 and "
			       "above (use compat=1.1 or greater)");
	return plan_width(o, p, err) || plan_data_file(q, o, p, err) ? -1 : 0;
}

/* ---- downwards -------------------------------------------------------------------- */

/* The entries of version 2 know no size of the disk, and 32 bits of the machine's state. */
static int check_snapshots(const struct qcow2 *q, const struct plan *p, struct err *err)
{
	for (uint32_t i = 0; i < q->nsnapshot; i++) {
		const struct snapshot_info *s = &q->snapshot[i].info;

		if (s->vm_state_size > UINT32_MAX || s->disk_size != p->size)
			return err_set(err, ENOTSUP,
				       "Internal snapshots prevent downgrade of image");
	}
	return 0;
}

static int check_downgrade(struct qcow2 *q, const struct amend *a, const struct plan *p,
			   struct err *err)
{
	const uint64_t can_go = QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_COMPRESSION |
				QCOW2_INCOMPAT_DATA_FILE;

	if (p->order != 4)
		return err_set(err, ENOTSUP, "compat=0.10 requires refcount_bits=16");
	if (qcow2_external(q))
		return err_set(err, ENOTSUP, "Cannot downgrade an image with a data file");
	if (q->h.incompat & ~can_go)
		return err_set(err, ENOTSUP,
			       "Cannot downgrade an image with incompatible features %#" PRIx64
			       " set",
			       q->h.incompat & ~can_go);
	if (check_snapshots(q, p, err))
		return -1;
	if (q->nbitmap && !a->force)
		return err_set(err, ENOTSUP,
			       "compat=0.10 has no persistent bitmaps, and this image has %zu: "
			       "remove them, or use --force to lose them",
			       q->nbitmap);
	return q->h.incompat & QCOW2_INCOMPAT_COMPRESSION ? qcow2_downgrade_packed(q, err) : 0;
}

static int drop_bitmaps(struct qcow2 *q, struct err *err)
{
	while (q->nbitmap) {
		AUTO_FREE char *name = strdup(q->bitmap[0].name);

		if (!name)
			return err_nomem(err, strlen(q->bitmap[0].name), "a bitmap's name");
		if (qcow2_bitmap_ops.remove(&q->image, name, err))
			return -1;
	}
	return 0;
}

static int rewrite(struct qcow2 *q, const struct qcow2_header *old, struct err *err)
{
	if (qcow2_header_rewrite(q, err)) {
		q->h = *old;
		return -1;
	}
	qcow2_set_caps(q);
	return 0;
}

static int downgrade(struct qcow2 *q, const struct amend_progress *p, struct err *err)
{
	struct qcow2_header old = q->h;

	if (qcow2_downgrade_zeros(q, p, err))
		return -1;
	q->h.version = 2;
	q->h.incompat = q->h.compat = q->h.autoclear = 0;
	q->h.compression = 0;
	q->image.blk.codec = CODEC_DEFLATE;
	return rewrite(q, &old, err);
}

/* ---- upwards ---------------------------------------------------------------------- */

/* Version 3 wants to know of each snapshot how large its disk is. */
static int complete_snapshots(struct qcow2 *q, struct err *err)
{
	uint64_t old_off = q->h.snapshots_off, old_len = q->snapshot_table_len, off, got;
	AUTO_FREE uint8_t *table = NULL;
	bool all = true, fresh;
	size_t len, last;

	for (uint32_t i = 0; i < q->nsnapshot; i++)
		all &= q->snapshot[i].extra_size >= 16;
	if (all)
		return 0;
	if (qcow2_snapshots_encode(q, UINT32_MAX, NULL, &table, &len, &last, err) ||
	    qcow2_alloc(q, div_up(len, q->cluster_size), true, &off, &got, &fresh, err))
		return -1;
	if (qcow2_sync(q, true, err) ||
	    qcow2_metadata_write(q, QCOW2_META_SNAPSHOT_TABLE, table, len, off, err) ||
	    blk_flush(q->image.blk.lower, err))
		return -1;
	q->h.snapshots_off = off;
	q->snapshot_table_len = len;
	if (qcow2_header_update(q, err)) {
		q->h.snapshots_off = old_off;
		q->snapshot_table_len = old_len;
		return -1;
	}
	for (uint32_t i = 0; i < q->nsnapshot; i++)
		q->snapshot[i].extra_size = MAX(q->snapshot[i].extra_size,
						(uint32_t)QCOW2_SNAPSHOT_EXTRA);
	qcow2_overlap_reset(q);
	return qcow2_free_later(q, old_off, old_len, QCOW2_FREE_OTHER, err) ||
			       qcow2_sync(q, true, err)
		       ? -1
		       : 0;
}

static int upgrade(struct qcow2 *q, struct err *err)
{
	struct qcow2_header old = q->h;

	if (complete_snapshots(q, err))
		return -1;
	q->h.version = 3;
	q->h.incompat = q->h.compat = q->h.autoclear = 0;
	q->h.refcount_order = 4;
	return rewrite(q, &old, err);
}

/* ---- what is in the header ---------------------------------------------------------- */

/* An empty name is none. */
static int set_data_file(struct qcow2 *q, const char *name, struct err *err)
{
	struct qcow2_header old = q->h;
	char *was = q->image.data_file, *now = NULL;
	bool had = q->extra.has_data_file;

	if (name[0] && !(now = strdup(name)))
		return err_nomem(err, strlen(name) + 1, "a file name");
	q->image.data_file = now;
	q->extra.has_data_file = now;
	if (rewrite(q, &old, err)) {
		q->image.data_file = was;
		q->extra.has_data_file = had;
		free(now);
		return -1;
	}
	free(was);
	return 0;
}

static int set_bits(struct qcow2 *q, const struct plan *p, struct err *err)
{
	struct qcow2_header old = q->h;

	q->h.compat &= ~(uint64_t)QCOW2_COMPAT_LAZY;
	if (p->lazy && q->h.version >= 3)
		q->h.compat |= QCOW2_COMPAT_LAZY;
	if (!p->data_raw)
		q->h.autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_DATA_RAW;
	if (q->h.compat == old.compat && q->h.autoclear == old.autoclear)
		return 0;
	if (qcow2_header_update(q, err) || blk_flush(q->image.blk.lower, err)) {
		q->h = old;
		return -1;
	}
	q->image.data_raw = p->data_raw;
	return 0;
}

static int apply_held(struct qcow2 *q, const struct plan *p, const struct amend_progress *tell,
		      struct err *err)
{
	if (q->h.version < p->version && upgrade(q, err))
		return -1;
	if (p->order != q->h.refcount_order && qcow2_width_change(q, p->order, tell, err))
		return -1;
	if (p->data_file && set_data_file(q, p->data_file, err))
		return -1;
	return set_bits(q, p, err);
}

static int check_held(struct qcow2 *q, const struct amend *a, struct plan *p, struct err *err)
{
	if (plan_all(q, a, p, err))
		return -1;
	if (p->version < q->h.version && check_downgrade(q, a, p, err))
		return -1;
	/* counts are not to be late here: some are about to move */
	q->tuning.lazy = false;
	return qcow2_start(q, err);
}

static int amend_slots(struct qcow2 *q, const struct amend *a, struct err *err)
{
	struct luks1_volume v = {.file = q->image.blk.lower,
				 .base = q->extra.crypt_off,
				 .h = &q->luks,
				 .key = q->key};

	return luks1_amend(&v, a->opts, "encrypt.", a->force_said, err);
}

int qcow2_amend(struct image *image, const struct amend *a, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	struct amend_progress tell = {a->progress, a->arg};
	struct plan p;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = check_held(q, a, &p, err);
	if (rc == 0)
		rc = apply_held(q, &p, &tell, err);
	pthread_mutex_unlock(&q->lock);
	if (rc == 0 && p.slots)
		rc = amend_slots(q, a, err);
	if (rc == 0 && p.size != image->blk.size)
		rc = blk_resize(a->disk, p.size, PREALLOC_OFF, err);
	if (rc || p.version >= q->h.version)
		return rc;
	if (drop_bitmaps(q, err))
		return -1;
	pthread_mutex_lock(&q->lock);
	rc = downgrade(q, &tell, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}
