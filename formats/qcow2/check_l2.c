/*
 * One L2 table: docs/interop/qcow2.rst, sections "Cluster mapping" and "Extended L2
 * Entries".
 */
#include "formats/qcow2/check.h"

#include <inttypes.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

#define RESERVED    UINT64_C(0x3f000000000001fe)
#define EMPTY_BATCH 8

struct packed_place {
	uint64_t off;
	uint32_t len;
};

static struct packed_place packed_place(const struct qcow2 *q, uint64_t v)
{
	struct packed_place p;

	qcow2_packed_place(q, v, &p.off, &p.len);
	return p;
}

bool check_l2_place(const struct checker *k, uint64_t v, uint64_t *off)
{
	if (v & QCOW2_COMPRESSED)
		return false;
	*off = v & QCOW2_OFF_MASK;
	/* in a data file of its own the first guest cluster lies at 0 */
	return *off != 0 || (qcow2_external(k->q) && (v & QCOW2_COPIED));
}

static uint64_t guest_off(const struct checker *k, uint32_t index, unsigned entry)
{
	return (((uint64_t)index << k->q->l2_bits) + entry) << k->bits;
}

/* ---- quickly ---------------------------------------------------------------------- */

struct quick {
	const struct checker *k;
	struct l2_run *run; /* the one that may yet grow; NULL: none */
	struct l2_run *next;
	struct l2_stats *st;
	uint64_t follows; /* where the next cluster would lie; 0: no matter */
	uint32_t index;
	bool *shared;
};

static bool quick_packed(struct quick *w, uint64_t v)
{
	struct packed_place p = packed_place(w->k->q, v);
	uint64_t first = p.off >> w->k->bits;

	if ((v & QCOW2_COPIED) || qcow2_external(w->k->q) || check_outside(w->k, p.off, p.len))
		return false;
	*w->next = (struct l2_run){.cl = first};
	w->next->n = (uint32_t)(((p.off + p.len - 1) >> w->k->bits) - first + 1);
	w->next++;
	w->run = NULL;
	w->st->allocated++;
	w->st->compressed++;
	w->st->fragmented++;
	return true;
}

static bool quick_data(struct quick *w, uint64_t v, uint64_t off, unsigned entry)
{
	uint32_t flags = v & QCOW2_COPIED ? CELL_COPIED : CELL_SHARED;

	if (off & (w->k->cluster - 1))
		return false;
	w->st->allocated++;
	if (w->follows && off != w->follows)
		w->st->fragmented++;
	w->follows = off + w->k->cluster;
	if (qcow2_external(w->k->q)) {
		if (flags == CELL_SHARED)
			*w->shared = true;
		return off == guest_off(w->k, w->index, entry);
	}
	if (off >= w->k->file_size)
		return false;
	if (w->run && w->run->flags == flags && off >> w->k->bits == w->run->cl + w->run->n) {
		w->run->n++;
		return true;
	}
	w->run = w->next++;
	*w->run = (struct l2_run){.cl = off >> w->k->bits, .n = 1, .flags = flags};
	return true;
}

static bool quick_entry(struct quick *w, uint64_t v, uint64_t bitmap, unsigned entry)
{
	uint64_t off;

	if (v & QCOW2_COMPRESSED)
		return bitmap == 0 && quick_packed(w, v);
	if (v & RESERVED)
		return false;
	if (!check_l2_place(w->k, v, &off))
		return (uint32_t)bitmap == 0;
	return ((bitmap >> 32) & bitmap) == 0 && quick_data(w, v, off, entry);
}

/* How many of the n entries at p belong to clusters that simply follow the one before. */
static unsigned quick_follow(struct quick *w, const uint8_t *p, unsigned n)
{
	uint64_t want;
	unsigned i;

	if (!w->run || w->run->flags != CELL_COPIED || w->follows >= w->k->file_size)
		return 0;
	if (w->follows != (w->run->cl + w->run->n) << w->k->bits)
		return 0;
	want = w->follows | QCOW2_COPIED;
	n = (unsigned)MIN(n, (w->k->file_size - w->follows + w->k->cluster - 1) >> w->k->bits);
	for (i = 0; i < n && get_be64(p + 8 * i) == want; i++)
		want += w->k->cluster;
	w->run->n += i;
	w->follows = want & ~QCOW2_COPIED;
	w->st->allocated += i;
	return i;
}

static bool is_empty(const uint8_t *p, unsigned n)
{
	uint64_t v[EMPTY_BATCH], any = 0;

	memcpy(v, p, n * 8);
	for (unsigned i = 0; i < n; i++)
		any |= v[i];
	return any == 0;
}

bool check_l2_quick(const struct checker *k, const uint8_t *p, uint32_t index,
		    struct l2_run *run, size_t *nrun, struct l2_stats *st, bool *shared)
{
	struct quick w = {.k = k, .next = run + *nrun, .st = st, .index = index};
	unsigned n = 1u << k->q->l2_bits, i = 0;
	bool wide = k->q->l2_entry == 16;

	w.shared = shared;
	memset(st, 0, sizeof(*st));
	while (i < n) {
		if (!wide && i % EMPTY_BATCH == 0 && n - i >= EMPTY_BATCH &&
		    is_empty(p + 8 * i, EMPTY_BATCH)) {
			i += EMPTY_BATCH;
			continue;
		}
		if (!quick_entry(&w, get_be64(p + k->q->l2_entry * i),
				 wide ? get_be64(p + 16 * i + 8) : 0, i))
			return false;
		i++;
		if (!wide)
			i += quick_follow(&w, p + 8 * i, n - i);
	}
	*nrun = (size_t)(w.next - run);
	return true;
}

/* ---- entry by entry --------------------------------------------------------------- */

/* An entry that is looked at, and what becomes of it. */
struct entry {
	uint64_t v, bitmap; /* bitmap: 0 where entries have none */
	unsigned i;
	uint64_t guest; /* by the table's first place */
	struct l2_stats *st;
	bool changed;
};

static bool mends(const struct checker *k)
{
	return k->fix & CHECK_FIX_ENTRIES;
}

/* The guest reads zeros there, which the peer reads past the end of a file, too. */
static void drop_entry(const struct checker *k, struct entry *e)
{
	e->v = k->q->l2_entry == 8 && k->q->h.version >= 3 ? QCOW2_ZERO : 0;
	e->bitmap = k->q->l2_entry == 16 ? (uint64_t)UINT32_MAX << 32 : 0;
	e->changed = true;
}

/* What cannot be a compressed cluster, for no matter what bits. */
static bool slow_packed_lost(struct checker *k, struct entry *e, const struct packed_place *p)
{
	if (qcow2_external(k->q))
		check_fault(k, mends(k), "l2-entry", &p->off,
			    "compressed cluster %u with data file, entry=0x%" PRIx64, e->i,
			    e->v);
	else if (mends(k) && p->off >= k->file_size)
		check_fault(k, true, "l2-entry", &p->off,
			    "compressed cluster %u past the end of the file, entry=0x%" PRIx64
			    ": it reads as zeros from now on",
			    e->i, e->v);
	else if (e->bitmap != 0)
		check_fault(k, mends(k), "l2-entry", &p->off,
			    "compressed cluster %u with non-zero subcluster allocation "
			    "bitmap, entry=0x%" PRIx64,
			    e->i, e->v);
	else
		return false;
	return true;
}

/* The length says more than the file has. What there is of the cluster may be whole: it ends
 * by itself. */
static void shorten_packed(struct checker *k, struct entry *e, struct packed_place *p)
{
	const unsigned x = k->q->packed_shift;
	uint64_t first = p->off / 512, sectors = div_up(k->file_size, 512) - first - 1;

	check_fault(k, true, "l2-entry", &p->off,
		    "compressed cluster %u reaches past the end of the file, entry=0x%" PRIx64,
		    e->i, e->v);
	e->v &= (UINT64_C(1) << x) - 1;
	e->v |= QCOW2_COMPRESSED | sectors << x;
	e->changed = true;
	*p = packed_place(k->q, e->v);
}

static int slow_packed(struct checker *k, struct entry *e, struct err *err)
{
	struct packed_place p = packed_place(k->q, e->v);

	if (e->v & QCOW2_COPIED) {
		check_fault(k, mends(k), "l2-entry", &p.off,
			    ": coffset=0x%" PRIx64
			    ": copied flag must never be set for compressed clusters",
			    p.off);
		e->v &= ~QCOW2_COPIED;
		e->changed |= mends(k);
	}
	if (slow_packed_lost(k, e, &p)) {
		if (!mends(k))
			return 0;
		if (qcow2_external(k->q) || p.off >= k->file_size) {
			drop_entry(k, e);
			return 0;
		}
		e->bitmap = 0;
		e->changed = true;
	}
	if (mends(k) && check_outside(k, p.off, p.len))
		shorten_packed(k, e, &p);
	if (e->st) {
		e->st->allocated++;
		e->st->compressed++;
		e->st->fragmented++;
	}
	return check_region(k, p.off, p.len, 1, 0, err);
}

/* An entry that was dropped is no reference any more. */
static bool slow_unaligned(struct checker *k, struct entry *e, uint64_t off)
{
	bool empty = k->q->l2_entry == 8 ? e->v & QCOW2_ZERO : (uint32_t)e->bitmap == 0;
	bool fix = mends(k) || (empty && (k->fix & CHECK_FIX_ERRORS));
	uint64_t zeros = e->bitmap;

	if ((off & (k->cluster - 1)) == 0)
		return false;
	check_fault(k, fix, "l2-entry", &off,
		    "offset=%" PRIx64
		    ": %s cluster is not properly aligned; L2 entry corrupted.",
		    off, empty ? "Preallocated" : "Data");
	if (fix)
		drop_entry(k, e);
	if (fix && empty)
		e->bitmap = zeros; /* what it said of its parts still holds */
	return fix;
}

static bool slow_outside(struct checker *k, struct entry *e, uint64_t off)
{
	if (!mends(k) || qcow2_external(k->q) || !check_outside(k, off, k->cluster))
		return false;
	check_fault(k, true, "l2-entry", &off,
		    "offset=%" PRIx64
		    ": cluster past the end of the file; it reads as zeros from now on",
		    off);
	drop_entry(k, e);
	return true;
}

static int slow_data(struct checker *k, struct entry *e, uint64_t off, struct err *err)
{
	if (!qcow2_external(k->q))
		return check_region(k, off, k->cluster, 1,
				    e->v & QCOW2_COPIED ? CELL_COPIED : CELL_SHARED, err);
	if (off % k->cluster == 0 && off != e->guest)
		check_fault(k, false, "l2-entry", &off,
			    "offset=%" PRIx64
			    ": Cluster of an external data file is not at its guest offset "
			    "%" PRIx64,
			    off, e->guest);
	return 0;
}

static void slow_bits(struct checker *k, struct entry *e, uint64_t off, bool placed)
{
	if (e->v & RESERVED) {
		check_fault(k, mends(k), "l2-entry", placed ? &off : NULL,
			    "found l2 entry with reserved bits set: %" PRIx64, e->v);
		if (mends(k))
			e->v &= ~RESERVED, e->changed = true;
	}
	if (!placed && (uint32_t)e->bitmap != 0) {
		check_fault(k, mends(k), "l2-entry", NULL,
			    ": Unallocated cluster has non-zero subcluster allocation map");
		if (mends(k))
			e->bitmap &= ~(uint64_t)UINT32_MAX, e->changed = true;
	}
	if (placed && (e->bitmap >> 32) & e->bitmap) {
		check_fault(k, mends(k), "l2-entry", &off,
			    "offset=%" PRIx64
			    ": Allocated cluster has corrupted subcluster allocation bitmap",
			    off);
		if (mends(k)) /* there is data: it is shown */
			e->bitmap &= ~(e->bitmap << 32), e->changed = true;
	}
}

static int slow_entry(struct checker *k, struct entry *e, uint64_t *follows, struct err *err)
{
	uint64_t off = 0;
	bool placed;

	if (e->v & QCOW2_COMPRESSED)
		return slow_packed(k, e, err);
	placed = check_l2_place(k, e->v, &off);
	slow_bits(k, e, off, placed);
	if (!placed)
		return 0;
	if (e->st) {
		e->st->allocated++;
		if (*follows && off != *follows)
			e->st->fragmented++;
		*follows = off + k->cluster;
	}
	if (slow_unaligned(k, e, off) || slow_outside(k, e, off))
		return 0;
	return slow_data(k, e, off, err);
}

int check_l2_slow(struct checker *k, uint8_t *p, uint32_t index, struct l2_stats *st,
		  bool *changed, struct err *err)
{
	unsigned n = 1u << k->q->l2_bits, size = k->q->l2_entry;
	uint64_t follows = 0;
	int rc = 0;

	k->has_guest = st != NULL;
	for (unsigned i = 0; i < n && rc == 0; i++) {
		uint8_t *at = p + (size_t)size * i;
		struct entry e = {.v = get_be64(at), .i = i, .st = st};

		e.bitmap = size == 16 ? get_be64(at + 8) : 0;
		e.guest = k->guest = guest_off(k, index, i);
		rc = slow_entry(k, &e, &follows, err);
		if (!e.changed)
			continue;
		put_be64(at, e.v);
		if (size == 16)
			put_be64(at + 8, e.bitmap);
		*changed = true;
	}
	k->has_guest = false;
	return rc;
}
