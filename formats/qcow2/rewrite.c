/*
 * A new first cluster: the header, its extensions, the name of the backing file.
 *
 * Only a sector is written as a whole, and all of it rarely fits into one. What does is the
 * same without the table of feature names, which nobody needs: so first such a header,
 * alone in the first sector, takes the place of the old one, then the rest follows behind
 * it, then the full one comes before. A crash finds the old header or the new one. A name
 * that is too long for this waits behind all else in the cluster meanwhile.
 */
#include <errno.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define SECTOR 512u

/* With the names that are in q->image. */
static int encode(const struct qcow2 *q, struct qcow2_header *h, bool features, uint8_t *first,
		  struct err *err)
{
	struct qcow2_extra extra = q->extra;

	*h = q->h;
	extra.backing = q->image.backing;
	extra.backing_format = q->image.backing_format;
	extra.data_file = q->image.data_file;
	return qcow2_header_encode(h, &extra, features, first, q->cluster_size, err);
}

int qcow2_header_image(const struct qcow2 *q, struct qcow2_header *h, uint8_t *first,
		       struct err *err)
{
	return encode(q, h, true, first, err);
}

struct rewrite {
	struct qcow2 *q;
	struct blk *file;
	uint8_t *old, *full; /* the first cluster: as it is, and as it will be */
	uint8_t *lean;	     /* the same without what does not fit into a sector */
};

static int put(const struct rewrite *r, const uint8_t *from, uint64_t off, size_t n,
	       struct err *err)
{
	return blk_pwrite(r->file, from + off, n, off, 0, err) || blk_flush(r->file, err) ? -1
											  : 0;
}

/* Bytes of a cluster before the zeros at its end. */
static size_t used(const uint8_t *cluster, size_t n)
{
	while (n > 0 && cluster[n - 1] == 0)
		n--;
	return n;
}

/*
 * The first sector of `lean` says all. False where it cannot: then the name does not fit
 * behind the rest either, or the extensions are long. *name: where a name has to be first.
 */
static bool make_lean(const struct rewrite *r, size_t *name)
{
	struct qcow2_header h;
	size_t n = r->q->cluster_size, end, far;
	struct err ignored;

	*name = 0;
	if (encode(r->q, &h, false, r->lean, &ignored))
		return false;
	end = used(r->lean, n);
	if (end <= SECTOR)
		return true;
	far = round_up(MAX(used(r->old, n), MAX(used(r->full, n), end)), SECTOR);
	if (h.backing_off == 0 || h.backing_off > SECTOR || far + h.backing_len > n)
		return false;
	memmove(r->lean + far, r->lean + h.backing_off, h.backing_len);
	memset(r->lean + h.backing_off, 0, far - h.backing_off);
	put_be64(r->lean + 8, far); /* backing_file_offset */
	*name = far;
	return true;
}

static int write_all(struct rewrite *r, struct err *err)
{
	size_t n = r->q->cluster_size, name;

	if (memcmp(r->old + SECTOR, r->full + SECTOR, n - SECTOR) == 0)
		return put(r, r->full, 0, SECTOR, err);
	if ((r->q->flags & IMAGE_NEW) || !make_lean(r, &name))
		return put(r, r->full, 0, n, err);
	if (name && put(r, r->lean, name, n - name, err))
		return -1;
	return put(r, r->lean, 0, SECTOR,
		   err) || put(r, r->full, SECTOR, n - SECTOR - (name ? n - name : 0), err) ||
			       put(r, r->full, 0, SECTOR, err)
		       ? -1
		       : 0;
}

int qcow2_header_rewrite(struct qcow2 *q, struct err *err)
{
	struct qcow2_header h;
	size_t n = q->cluster_size;
	AUTO_FREE uint8_t *buf = calloc(3, n);
	struct rewrite r = {.q = q, .file = q->image.blk.lower};

	if (!buf)
		return err_nomem(err, 3 * n, "the header");
	r.old = buf;
	r.full = buf + n;
	r.lean = buf + 2 * n;
	if (qcow2_header_image(q, &h, r.full, err) || blk_pread(r.file, r.old, n, 0, err) ||
	    blk_flush(r.file, err))
		return -1;
	if (write_all(&r, err)) {
		qcow2_lose(q); /* the old header, the new one, or the one between */
		return -1;
	}
	q->h = h;
	return 0;
}
