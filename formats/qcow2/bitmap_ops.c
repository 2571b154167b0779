/*
 * What users do with bitmaps (struct bitmap_ops). The words are the peer's.
 */
#include "formats/qcow2/bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

/* Granularities by default: a cluster, but not outside these. */
enum { GRANULARITY_LEAST = 4096, GRANULARITY_MOST = 65536 };

int qcow2_bitmap_broken(const struct qcow2_bitmap *b, struct err *err)
{
	err_set(err, EINVAL, "Bitmap '%s' is inconsistent and cannot be used", b->name);
	return err_hint(err, "Try block-dirty-bitmap-remove to delete this bitmap from disk");
}

uint64_t qcow2_bitmap_bytes(uint64_t size, unsigned granularity_bits)
{
	return div_up(div_up(size, UINT64_C(1) << granularity_bits), 8);
}

static bool usable(struct image *image)
{
	return ((const struct qcow2 *)image)->h.version >= 3;
}

static int list_all(struct image *image, struct bitmap_info **list, size_t *n, struct err *err)
{
	const struct qcow2 *q = (const struct qcow2 *)image;

	*n = q->nbitmap;
	*list = calloc(q->nbitmap + 1, sizeof(**list));
	if (!*list)
		return err_nomem(err, (q->nbitmap + 1) * sizeof(**list), "bitmaps");
	for (size_t i = 0; i < q->nbitmap; i++) {
		const struct qcow2_bitmap *b = &q->bitmap[i];

		(*list)[i] = (struct bitmap_info){
			.name = b->name,
			.granularity = UINT64_C(1) << b->granularity_bits,
			.enabled = b->flags & BITMAP_AUTO,
			.broken = b->broken,
		};
	}
	return 0;
}

static ssize_t find(const struct qcow2 *q, const char *name)
{
	for (size_t i = 0; i < q->nbitmap; i++)
		if (strcmp(q->bitmap[i].name, name) == 0)
			return (ssize_t)i;
	return -1;
}

/* Its place in the list; with `sound`, only if it can be used. */
static ssize_t look_up(const struct qcow2 *q, const char *name, bool sound, struct err *err)
{
	ssize_t i = find(q, name);

	if (i < 0)
		return err_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
	if (sound && q->bitmap[i].broken)
		return qcow2_bitmap_broken(&q->bitmap[i], err);
	return i;
}

/* ---- add -------------------------------------------------------------------------- */

static int cannot(const struct qcow2 *q, const char *name, const char *why, struct err *err)
{
	return err_set(err, EINVAL, "Can't make bitmap '%s' persistent in '%s': %s", name,
		       q->image.blk.name, why);
}

static int check_new(const struct qcow2 *q, const char *name, unsigned bits, struct err *err)
{
	struct qcow2_bitmap b = {.name = (char *)name};
	uint64_t dir = q->nbitmap ? q->extra.bitmap_dir_size : 0;

	if (find(q, name) >= 0)
		return err_set(err, EEXIST, "Bitmap already exists: %s", name);
	if (q->h.version < 3)
		return cannot(q, name, "Cannot store dirty bitmaps in qcow2 v2 files", err);
	if (qcow2_bitmap_bytes(qcow2_bitmap_disk(q), bits) > BITMAP_BYTES_MAX)
		return cannot(q, name,
			      "Too much space will be occupied by the bitmap. Use larger "
			      "granularity",
			      err);
	if (strlen(name) > BITMAP_NAME_MAX)
		return cannot(q, name, "Name length exceeds maximum (1023 characters)", err);
	if (q->nbitmap >= QCOW2_BITMAPS_MAX)
		return cannot(q, name,
			      "Maximum number of persistent bitmaps is already reached", err);
	if (dir + qcow2_bitmap_entry_len(&b) > BITMAP_DIR_MAX)
		return cannot(q, name, "Not enough space in the bitmap directory", err);
	if (qcow2_bitmap_disk(q) == 0)
		return cannot(q, name, "A disk of size 0 has no room for bits", err);
	return 0;
}

/* Behind those that the image had when it was opened, before those added since: who adds
 * several finds them in the order that the peer gives them. */
static size_t place_new(const struct qcow2 *q)
{
	size_t i = 0;

	while (i < q->nbitmap && !q->bitmap[i].added)
		i++;
	return i;
}

static int add_held(struct qcow2 *q, const char *name, unsigned bits, bool enabled,
		    struct err *err)
{
	struct qcow2_bitmap b = {
		.flags = enabled ? BITMAP_AUTO : 0,
		.type = BITMAP_TYPE_DIRTY,
		.granularity_bits = (uint8_t)bits,
		.added = true,
	};
	struct bitmap_edit e;
	size_t at = place_new(q);

	if (qcow2_start(q, err) || qcow2_bitmap_begin(q, &e, err))
		return -1;
	b.name = strdup(name);
	if (!b.name) {
		qcow2_bitmap_abort(&e);
		return err_nomem(err, strlen(name) + 1, "a bitmap's name");
	}
	memmove(&e.list[at + 1], &e.list[at], (e.n - at) * sizeof(b));
	e.list[at] = b;
	e.n++;
	if (qcow2_bitmap_write(&e, at, NULL, true, err)) {
		qcow2_bitmap_abort(&e);
		free(b.name);
		return -1;
	}
	if (qcow2_bitmap_commit(&e, err)) {
		if (find(q, name) < 0)
			free(b.name);
		return -1;
	}
	return 0;
}

static int add(struct image *image, const char *name, uint64_t granularity, bool enabled,
	       struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	unsigned bits;
	int rc;

	if (name[0] == '\0')
		return err_set(err, EINVAL, "Bitmap name cannot be empty");
	if (granularity == 0)
		granularity = MIN(MAX(q->cluster_size, GRANULARITY_LEAST), GRANULARITY_MOST);
	bits = (unsigned)__builtin_ctzll(granularity);
	if (granularity != UINT64_C(1) << bits || bits < BITMAP_GRANULARITY_MIN ||
	    bits > BITMAP_GRANULARITY_MAX)
		return err_set(err, EINVAL, "Granularity must be power of 2 and at least 512");
	pthread_mutex_lock(&q->lock);
	rc = check_new(q, name, bits, err);
	if (rc == 0)
		rc = add_held(q, name, bits, enabled, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* ---- changes of one that is there ------------------------------------------------- */

enum change { REMOVE, CLEAR, ENABLE, DISABLE, MERGE };

static int change_entry(struct bitmap_edit *e, size_t i, enum change what, struct dirty *from,
			struct err *err)
{
	struct qcow2_bitmap *b = &e->list[i];

	switch (what) {
	case REMOVE:
		if (qcow2_bitmap_discard(e, i, err))
			return -1;
		e->n--;
		memmove(b, b + 1, (e->n - i) * sizeof(*b));
		return 0;
	case CLEAR:
		return qcow2_bitmap_write(e, i, NULL, true, err);
	case ENABLE:
		b->flags |= BITMAP_AUTO;
		return 0;
	case DISABLE:
		b->flags &= ~(uint32_t)BITMAP_AUTO;
		return 0;
	case MERGE:
		return qcow2_bitmap_write(e, i, from, false, err);
	}
	return 0;
}

static int change_held(struct qcow2 *q, const char *name, enum change what, struct dirty *from,
		       struct err *err)
{
	ssize_t i = look_up(q, name, what != REMOVE, err);
	struct qcow2_bitmap gone;
	struct bitmap_edit e;

	if (i < 0 || qcow2_start(q, err) || qcow2_bitmap_begin(q, &e, err))
		return -1;
	gone = q->bitmap[i];
	if (change_entry(&e, (size_t)i, what, from, err)) {
		qcow2_bitmap_abort(&e);
		return -1;
	}
	if (qcow2_bitmap_commit(&e, err))
		return -1;
	if (what == REMOVE) {
		free(gone.name);
		dirty_free(gone.touched);
	}
	if (what == CLEAR && gone.touched)
		return dirty_clear(gone.touched, 0, UINT64_MAX, err);
	return 0;
}

static int change(struct image *image, const char *name, enum change what, struct dirty *from,
		  struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = change_held(q, name, what, from, err);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static int remove_one(struct image *image, const char *name, struct err *err)
{
	return change(image, name, REMOVE, NULL, err);
}

static int clear(struct image *image, const char *name, struct err *err)
{
	return change(image, name, CLEAR, NULL, err);
}

static int enable(struct image *image, const char *name, bool on, struct err *err)
{
	return change(image, name, on ? ENABLE : DISABLE, NULL, err);
}

static int find_sound(struct image *image, const char *name, struct err *err)
{
	return look_up((const struct qcow2 *)image, name, true, err) < 0 ? -1 : 0;
}

/* ---- bits ------------------------------------------------------------------------- */

static int read_clusters(const struct qcow2 *q, const uint64_t *table, uint64_t n,
			 struct dirty *d, struct err *err)
{
	size_t size = q->cluster_size;
	AUTO_FREE uint8_t *buf = mem_alloc(size);

	if (!buf)
		return err_nomem(err, size, "a bitmap");
	for (uint64_t i = 0; i < n; i++) {
		uint64_t off = table[i] & QCOW2_OFF_MASK;

		if (!table[i])
			continue;
		memset(buf, 0xff, size);
		if (off && blk_pread(q->image.blk.lower, buf, size, off, err))
			return -1;
		if (dirty_put(d, i * size, buf, size, err))
			return -1;
	}
	return 0;
}

static struct dirty *read_bits(const struct qcow2 *q, const struct qcow2_bitmap *b,
			       struct err *err)
{
	AUTO_FREE uint64_t *table = qcow2_bitmap_table(q, b, err);
	struct dirty *d = table ? dirty_new(qcow2_bitmap_disk(q), b->granularity_bits, err)
				: NULL;

	if (!d)
		return NULL;
	if (read_clusters(q, table, b->table_size, d, err) ||
	    (b->touched && dirty_merge(d, b->touched, err))) {
		dirty_free(d);
		return NULL;
	}
	return d;
}

static int read_one(struct image *image, const char *name, struct dirty **bits, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	ssize_t i;

	*bits = NULL;
	pthread_mutex_lock(&q->lock);
	i = look_up(q, name, true, err);
	if (i >= 0)
		*bits = read_bits(q, &q->bitmap[i], err);
	pthread_mutex_unlock(&q->lock);
	return *bits ? 0 : -1;
}

static int merge(struct image *image, const char *name, struct dirty *from, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	struct dirty *other = NULL;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = look_up(q, name, true, err) < 0 ? -1 : 0;
	if (rc == 0 && dirty_size(from) != qcow2_bitmap_disk(q))
		rc = err_set(err, EINVAL,
			     "Bitmaps are of different sizes (destination size is %" PRIu64
			     ", source size is %" PRIu64 ") and can't be merged",
			     qcow2_bitmap_disk(q), dirty_size(from));
	if (rc == 0) {
		unsigned bits = q->bitmap[find(q, name)].granularity_bits;

		if (bits != dirty_granularity_bits(from)) {
			other = dirty_new(qcow2_bitmap_disk(q), bits, err);
			rc = !other || dirty_merge(other, from, err) ? -1 : 0;
		}
	}
	if (rc == 0)
		rc = change_held(q, name, MERGE, other ? other : from, err);
	pthread_mutex_unlock(&q->lock);
	dirty_free(other);
	return rc;
}

const struct bitmap_ops qcow2_bitmap_ops = {
	.usable = usable,
	.list = list_all,
	.add = add,
	.remove = remove_one,
	.clear = clear,
	.enable = enable,
	.find = find_sound,
	.read = read_one,
	.merge = merge,
};
