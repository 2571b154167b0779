/*
 * The "copied" flags of the active tables: set where the refcount is exactly one. Only
 * looked at entry by entry when something is wrong with the image.
 */
#include "formats/qcow2/check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/bytes.h"
#include "lib/mem.h"

/* The entry as it should be. */
static uint64_t data_cluster(struct checker *k, uint64_t v, bool fix)
{
	uint64_t off, count = 1;

	if (!check_l2_place(k, v, &off))
		return v;
	/* the clusters of an external data file are nobody else's */
	if (!qcow2_external(k->q) && !check_disk_refcount(k, off >> k->bits, &count))
		return v;
	if ((count == 1) == ((v & QCOW2_COPIED) != 0))
		return v;
	check_fault(k, fix, "copied-flag", &off,
		    "OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64, v,
		    count);
	return v ^ QCOW2_COPIED;
}

static int l2_table(struct checker *k, uint64_t index, uint64_t off, bool fix, struct err *err)
{
	AUTO_FREE uint8_t *p = NULL;
	bool changed = false;
	struct err io;

	if (off >= k->file_size || !check_spend(k, k->cluster))
		return 0;
	p = mem_alloc(k->cluster);
	if (!p)
		return err_nomem(err, k->cluster, "an L2 table");
	if (blk_pread(k->file, p, k->cluster, off, &io) < 0)
		return 0; /* told before */
	for (unsigned i = 0; i < 1u << k->q->l2_bits; i++) {
		uint8_t *at = p + (size_t)k->q->l2_entry * i;
		uint64_t v = get_be64(at), sane;

		k->guest = ((index << k->q->l2_bits) + i) << k->bits;
		sane = data_cluster(k, v, fix);
		if (sane == v)
			continue;
		changed = true;
		put_be64(at, sane);
	}
	if (changed && fix)
		return repair_write(k, REPAIR_L2, off, p, k->cluster, err) < 0 ? -1 : 0;
	return 0;
}

static int l1_entry(struct checker *k, uint64_t i, uint64_t v, bool fix, struct err *err)
{
	uint64_t off = v & QCOW2_OFF_MASK, count;
	uint8_t buf[8];

	/* the peer, too, looks no further where it cannot tell */
	if (off == 0 || !check_disk_refcount(k, off >> k->bits, &count))
		return 0;
	k->has_guest = true;
	k->guest = (i << k->q->l2_bits) << k->bits;
	if ((count == 1) != ((v & QCOW2_COPIED) != 0)) {
		check_fault(k, fix, "copied-flag", &off,
			    "OFLAG_COPIED L2 cluster: l1_index=%" PRIu64 " l1_entry=%" PRIx64
			    " refcount=%" PRIu64,
			    i, v, count);
		put_be64(buf, v ^ QCOW2_COPIED);
		if (fix && repair_write(k, REPAIR_L1, k->q->h.l1_off + 8 * i, buf, 8, err) < 0)
			return -1;
	}
	return l2_table(k, i, off, fix, err);
}

static int l1_entries(struct checker *k, void *arg, uint64_t first, const uint8_t *p, size_t n,
		      struct err *err)
{
	const bool *fix = arg;

	for (size_t i = 0; i < n; i++) {
		int rc = l1_entry(k, first + i, get_be64(p + 8 * i), *fix, err);

		k->has_guest = false;
		if (rc < 0)
			return -1;
	}
	return 0;
}

int check_copied(struct checker *k, bool fix, struct err *err)
{
	return check_entries(k, "L1 table", k->q->h.l1_off, k->q->h.l1_size, true, l1_entries,
			     &fix, err);
}
