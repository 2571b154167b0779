/*
 * Guest offsets -> extents: docs/interop/qcow2.rst, sections "Cluster mapping" and
 * "Extended L2 Entries".
 *
 * A call looks at whole L2 tables: inside one it runs as far as the entries are alike
 * and their hosts adjoin, and goes on into the next table while the run holds.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* L2 tables that one call looks into at most, so that a reader of a few bytes of a
 * well-ordered image does not read all of its tables. Absent tables are not counted. */
#define TABLES_MAX 32

/* A run inside one L2 table. */
struct run {
	uint64_t len;
	uint64_t host; /* meaningful where placed */
	uint32_t packed;
	unsigned flags;
	bool placed;
};

/* Where an L2 entry was found, for messages. */
struct where {
	struct qcow2 *q;
	const uint8_t *table; /* the entries */
	uint64_t l2_off;
	uint64_t index, n; /* the first entry asked for; entries in the table */
	uint64_t guest;	   /* of that entry */
};

static int bad_entry(const struct where *w, uint64_t index, const char *what, struct err *err)
{
	return qcow2_corrupt(w->q, err, "%s (L2 offset: %#" PRIx64 ", L2 index: %#" PRIx64 ")",
			     what, w->l2_off, index);
}

static int check_host(const struct where *w, uint64_t index, uint64_t host, struct err *err)
{
	uint64_t guest = w->guest + ((index - w->index) << w->q->h.cluster_bits);

	if (host & (w->q->cluster_size - 1))
		return qcow2_corrupt(w->q, err,
				     "Cluster allocation offset %#" PRIx64
				     " unaligned (L2 offset: %#" PRIx64 ", L2 index: %#" PRIx64
				     ")",
				     host, w->l2_off, index);
	if (qcow2_external(w->q) && host != guest)
		return qcow2_corrupt(w->q, err,
				     "External data file host cluster offset %#" PRIx64
				     " does not match guest cluster offset: %#" PRIx64
				     ", L2 index: %#" PRIx64 ")",
				     host, guest, index);
	return 0;
}

void qcow2_packed_place(const struct qcow2 *q, uint64_t entry, uint64_t *off, uint32_t *len)
{
	uint64_t low = entry & ~(QCOW2_COPIED | QCOW2_COMPRESSED);
	uint64_t sectors = (low >> q->packed_shift) + 1;

	*off = low & ((UINT64_C(1) << q->packed_shift) - 1);
	*len = (uint32_t)(sectors * 512 - (*off & 511));
}

/* Data of a cluster of its own: what may be done with it. */
static unsigned data_flags(const struct qcow2 *q, uint64_t entry)
{
	unsigned flags = EXT_DATA;

	if (!(entry & QCOW2_COPIED) && !qcow2_external(q))
		flags |= EXT_SHARED;
	if (q->h.crypt != QCOW2_CRYPT_NONE)
		flags |= EXT_CODED;
	return flags;
}

static int packed_run(const struct where *w, uint64_t index, uint64_t entry, struct run *r,
		      struct err *err)
{
	uint64_t end;

	if (qcow2_external(w->q))
		return bad_entry(w, index,
				 "Compressed cluster entry found in image with external data "
				 "file",
				 err);
	qcow2_packed_place(w->q, entry, &r->host, &r->packed);
	end = blk_size(w->q->image.blk.lower);
	r->flags = EXT_DATA | EXT_PACKED;
	/* behind the end there is nothing to carry over; a read says what is wrong */
	if (r->host < end)
		r->packed = (uint32_t)MIN(r->packed, end - r->host);
	else
		r->flags |= EXT_CODED;
	r->placed = true;
	r->len = w->q->cluster_size;
	return 0;
}

/* What a standard entry says of its cluster. */
static int classify(const struct where *w, uint64_t index, uint64_t entry, struct run *r,
		    struct err *err)
{
	uint64_t host = entry & QCOW2_OFF_MASK;

	memset(r, 0, sizeof(*r));
	if (entry & QCOW2_COMPRESSED)
		return packed_run(w, index, entry, r, err);
	r->len = w->q->cluster_size;
	r->host = host;
	r->placed = host != 0;
	if (entry & QCOW2_ZERO) {
		if (w->q->h.version < 3)
			return bad_entry(w, index, "Zero cluster entry found in pre-v3 image",
					 err);
		r->flags = EXT_ZERO;
		/* offset 0 of a data file is a place when the cluster is marked as used */
		if (qcow2_external(w->q) && (entry & QCOW2_COPIED))
			r->placed = true;
	} else if (host || (qcow2_external(w->q) && (entry & QCOW2_COPIED))) {
		r->flags = data_flags(w->q, entry);
		r->placed = true;
	} else {
		r->flags = EXT_ABSENT;
	}
	return r->placed ? check_host(w, index, host, err) : 0;
}

static bool adjoins(const struct run *a, const struct run *b)
{
	return a->flags == b->flags && !(a->flags & EXT_PACKED) && a->placed == b->placed &&
	       (!a->placed || a->host + a->len == b->host);
}

/* Entries of 8 bytes. */
static int scan_standard(const struct where *w, struct run *r, struct err *err)
{
	const uint8_t *p = w->table;
	uint64_t i = w->index;
	uint64_t entry = get_be64(p + 8 * i);
	uint64_t step, expect;

	if (classify(w, i, entry, r, err))
		return -1;
	if (r->flags & EXT_PACKED)
		return 0;
	step = r->placed ? w->q->cluster_size : 0;
	for (;;) {
		struct run next;
		struct err later;

		/* the hot loop: a nanosecond for each entry */
		for (expect = entry + step, i++; i < w->n && get_be64(p + 8 * i) == expect; i++)
			expect += step;
		r->len = (i - w->index) << w->q->h.cluster_bits;
		if (i == w->n)
			return 0;
		/* reserved bits may differ where the meaning is the same */
		entry = get_be64(p + 8 * i);
		if (classify(w, i, entry, &next, &later) || !adjoins(r, &next))
			return 0;
		r->len += w->q->cluster_size;
	}
}

/* The subclusters from `sub` on that are alike. */
static int classify_sub(const struct where *w, uint64_t index, unsigned sub, struct run *r,
			struct err *err)
{
	uint64_t entry = get_be64(w->table + 16 * index);
	uint64_t bitmap = get_be64(w->table + 16 * index + 8);
	uint32_t alloc = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);
	uint64_t host = entry & QCOW2_OFF_MASK;
	uint32_t like, bits, size = w->q->cluster_size / QCOW2_SUBCLUSTERS;

	memset(r, 0, sizeof(*r));
	if (entry & QCOW2_COMPRESSED)
		return packed_run(w, index, entry, r, err);
	r->placed = host || (qcow2_external(w->q) && (entry & QCOW2_COPIED));
	if ((alloc & zero) || (alloc && !r->placed))
		return bad_entry(w, index, "Invalid cluster entry found ", err);
	if (r->placed && check_host(w, index, host, err))
		return -1;
	if (alloc >> sub & 1) {
		r->flags = data_flags(w->q, entry);
		like = alloc;
	} else if (zero >> sub & 1) {
		r->flags = EXT_ZERO;
		like = zero;
	} else {
		r->flags = EXT_ABSENT;
		like = ~(alloc | zero);
	}
	/* the rest of a cluster that others have too is not to be written by itself */
	if (host && !(entry & QCOW2_COPIED) && !qcow2_external(w->q))
		r->flags |= EXT_SHARED;
	bits = ~(like >> sub);
	r->len = (uint64_t)(bits ? MIN((unsigned)__builtin_ctz(bits), QCOW2_SUBCLUSTERS - sub)
				 : QCOW2_SUBCLUSTERS - sub) *
		 size;
	r->host = host + (r->placed ? (uint64_t)sub * size : 0);
	return 0;
}

/* Entries of 16 bytes; the run begins at subcluster `sub` of the first. */
static int scan_extended(const struct where *w, unsigned sub, struct run *r, struct err *err)
{
	const uint8_t *p = w->table;
	uint64_t i = w->index;
	uint64_t to_end = w->q->cluster_size -
			  (uint64_t)sub * (w->q->cluster_size / QCOW2_SUBCLUSTERS);

	if (classify_sub(w, i, sub, r, err))
		return -1;
	if ((r->flags & EXT_PACKED) || r->len < to_end)
		return 0;
	for (;;) {
		uint64_t entry = get_be64(p + 16 * i);
		uint64_t bitmap = get_be64(p + 16 * i + 8);
		uint64_t step = r->placed ? w->q->cluster_size : 0;
		uint64_t expect = entry + step;
		uint64_t from = ++i;
		struct run next;
		struct err later;

		/* whole clusters of one kind, by far the most frequent */
		if (bitmap == 0 || bitmap == UINT32_MAX || bitmap == ~(uint64_t)UINT32_MAX)
			for (; i < w->n && get_be64(p + 16 * i) == expect &&
			       get_be64(p + 16 * i + 8) == bitmap;
			     i++)
				expect += step;
		r->len += (i - from) << w->q->h.cluster_bits;
		if (i == w->n || classify_sub(w, i, 0, &next, &later) || !adjoins(r, &next))
			return 0;
		r->len += next.len;
		if (next.len < w->q->cluster_size)
			return 0;
	}
}

int qcow2_l2_get(struct qcow2 *q, uint64_t i, uint8_t **table, struct err *err)
{
	uint64_t off = q->l1[i] & QCOW2_OFF_MASK;

	*table = NULL;
	if (off == 0)
		return 0;
	if (off & (q->cluster_size - 1))
		return qcow2_corrupt(q, err,
				     "L2 table offset %#" PRIx64
				     " unaligned (L1 index: %#" PRIx64 ")",
				     off, i);
	*table = cache_get(q->l2_cache, off, err);
	return *table ? 0 : -1;
}

/* The run at off inside its L2 table, or absent L2 tables up to off + len. */
static int table_run(struct qcow2 *q, uint64_t off, uint64_t len, struct run *r,
		     unsigned *tables, struct err *err)
{
	uint64_t i = off / q->l2_span;
	uint64_t in_cluster = off & (q->cluster_size - 1);
	uint32_t sub_size = q->cluster_size / QCOW2_SUBCLUSTERS;
	uint64_t into = 0;
	struct where w = {.q = q, .n = UINT64_C(1) << q->l2_bits, .guest = off - in_cluster};
	uint8_t *table;
	int rc;

	if (qcow2_l2_get(q, i, &table, err))
		return -1;
	if (!table) {
		uint64_t end = (i + 1) * q->l2_span;

		while (end < off + len && (q->l1[++i] & QCOW2_OFF_MASK) == 0)
			end += q->l2_span;
		*r = (struct run){.flags = EXT_ABSENT, .len = end - off};
		return 0;
	}
	(*tables)++;
	w.table = table;
	w.l2_off = q->l1[i] & QCOW2_OFF_MASK;
	w.index = (off >> q->h.cluster_bits) & (w.n - 1);
	/* not past what was asked for */
	w.n = MIN(w.n, w.index + div_up(in_cluster + len, q->cluster_size));
	if (qcow2_ext_l2(q)) {
		rc = scan_extended(&w, (unsigned)(in_cluster / sub_size), r, err);
		into = r->flags & EXT_PACKED ? in_cluster : in_cluster % sub_size;
	} else {
		rc = scan_standard(&w, r, err);
		into = in_cluster;
	}
	cache_put(q->l2_cache, table);
	if (rc)
		return -1;
	r->len -= into;
	if (r->placed && !(r->flags & EXT_PACKED))
		r->host += into;
	return 0;
}

static int find_run(struct qcow2 *q, uint64_t off, uint64_t len, struct run *all,
		    struct err *err)
{
	unsigned tables = 0;

	if (table_run(q, off, len, all, &tables, err))
		return -1;
	while (all->len < len && !(all->flags & EXT_PACKED) && tables < TABLES_MAX &&
	       (off + all->len) % q->l2_span == 0) {
		struct run r;
		struct err later;

		/* what is wrong over there is told to who asks for it */
		if (table_run(q, off + all->len, len - all->len, &r, &tables, &later) ||
		    !adjoins(all, &r))
			break;
		all->len += r.len;
	}
	return 0;
}

/* May the guest write straight to the place of the run? */
static bool in_place(struct qcow2 *q, const struct run *r, uint64_t len)
{
	const char *what;
	struct err later;

	if (q->dead)
		return false;
	return qcow2_external(q) ||
	       (qcow2_overlap_find(q, 0, r->host, MIN(r->len, len), &what, &later) == 0 &&
		!what);
}

int qcow2_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		 struct err *err)
{
	struct qcow2 *q = qcow2_of(blk);
	struct run r;
	int rc;

	if (!q->l1)
		return err_set(err, EINVAL, "The image was opened for its metadata only");
	pthread_mutex_lock(&q->lock);
	rc = find_run(q, off, len, &r, err);
	/* a broken table must not let the guest write over metadata: a claim sees that */
	if (rc == 0 && (q->flags & IMAGE_WRITE) && r.flags == EXT_DATA && !in_place(q, &r, len))
		r.flags |= EXT_SHARED;
	pthread_mutex_unlock(&q->lock);
	if (rc)
		return -1;
	out->off = off;
	out->len = MIN(r.len, len);
	out->flags = r.flags;
	out->packed = r.packed;
	out->host = r.placed ? r.host : 0;
	out->home = NULL;
	/* packed bytes are always in the image file; an external image has none */
	if (r.placed)
		out->home = qcow2_home(q);
	return 0;
}
