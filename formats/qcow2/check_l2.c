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

static int slow_packed(struct checker *k, uint64_t v, uint64_t bitmap, unsigned entry,
		       struct l2_stats *st, struct err *err)
{
	struct packed_place p = packed_place(k->q, v);

	if (v & QCOW2_COPIED) {
		check_error(k,
			    "ERROR: coffset=0x%" PRIx64
			    ": copied flag must never be set for compressed clusters",
			    p.off);
		v &= ~QCOW2_COPIED;
	}
	if (qcow2_external(k->q)) {
		check_error(k, "ERROR compressed cluster %u with data file, entry=0x%" PRIx64,
			    entry, v);
		return 0;
	}
	if (bitmap != 0) {
		check_error(k,
			    "ERROR compressed cluster %u with non-zero subcluster allocation "
			    "bitmap, entry=0x%" PRIx64,
			    entry, v);
		return 0;
	}
	if (st) {
		st->allocated++;
		st->compressed++;
		st->fragmented++;
	}
	return check_region(k, p.off, p.len, 1, 0, err);
}

static int slow_data(struct checker *k, uint64_t v, uint64_t bitmap, uint64_t off,
		     uint64_t guest, struct err *err)
{
	bool empty = k->q->l2_entry == 8 ? v & QCOW2_ZERO : (uint32_t)bitmap == 0;

	if (off & (k->cluster - 1))
		check_error(k,
			    "ERROR offset=%" PRIx64
			    ": %s cluster is not properly aligned; L2 entry corrupted.",
			    off, empty ? "Preallocated" : "Data");
	if (!qcow2_external(k->q))
		return check_region(k, off, k->cluster, 1,
				    v & QCOW2_COPIED ? CELL_COPIED : CELL_SHARED, err);
	if (off % k->cluster == 0 && off != guest)
		check_error(k,
			    "ERROR offset=%" PRIx64
			    ": Cluster of an external data file is not at its guest offset "
			    "%" PRIx64,
			    off, guest);
	return 0;
}

int check_l2_slow(struct checker *k, const uint8_t *p, uint32_t index, struct l2_stats *st,
		  struct err *err)
{
	unsigned n = 1u << k->q->l2_bits;
	uint64_t follows = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t v = get_be64(p + k->q->l2_entry * i), off;
		uint64_t bitmap = k->q->l2_entry == 16 ? get_be64(p + 16 * i + 8) : 0;

		if (v & QCOW2_COMPRESSED) {
			if (slow_packed(k, v, bitmap, i, st, err) < 0)
				return -1;
			continue;
		}
		if (v & RESERVED)
			check_error(k, "ERROR found l2 entry with reserved bits set: %" PRIx64,
				    v);
		if (!check_l2_place(k, v, &off)) {
			if ((uint32_t)bitmap != 0)
				check_error(k, "ERROR: Unallocated cluster has non-zero "
					       "subcluster allocation map");
			continue;
		}
		if ((bitmap >> 32) & bitmap)
			check_error(k,
				    "ERROR offset=%" PRIx64
				    ": Allocated cluster has corrupted subcluster allocation "
				    "bitmap",
				    off);
		if (st) {
			st->allocated++;
			if (follows && off != follows)
				st->fragmented++;
			follows = off + k->cluster;
		}
		if (slow_data(k, v, bitmap, off, guest_off(k, index, i), err) < 0)
			return -1;
	}
	return 0;
}
