/*
 * The "copied" flags of the active tables: set where the refcount is exactly one. Only
 * looked at entry by entry when something is wrong with the image.
 */
#include "formats/qcow2/check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/bytes.h"
#include "lib/mem.h"

static void data_cluster(struct checker *k, uint64_t v)
{
	uint64_t off, count = 1;

	if (!check_l2_place(k, v, &off))
		return;
	/* the clusters of an external data file are nobody else's */
	if (!qcow2_external(k->q) && !check_disk_refcount(k, off >> k->bits, &count))
		return;
	if ((count == 1) != ((v & QCOW2_COPIED) != 0))
		check_error(k,
			    "ERROR OFLAG_COPIED data cluster: l2_entry=%" PRIx64
			    " refcount=%" PRIu64,
			    v, count);
}

static int l2_table(struct checker *k, uint64_t off, struct err *err)
{
	AUTO_FREE uint8_t *p = NULL;
	struct err io;

	if (off >= k->file_size || !check_spend(k, k->cluster))
		return 0;
	p = mem_alloc(k->cluster);
	if (!p)
		return err_nomem(err, k->cluster, "an L2 table");
	if (blk_pread(k->file, p, k->cluster, off, &io) < 0)
		return 0; /* told before */
	for (unsigned i = 0; i < 1u << k->q->l2_bits; i++)
		data_cluster(k, get_be64(p + k->q->l2_entry * i));
	return 0;
}

static int l1_entries(struct checker *k, void *arg, uint64_t first, const uint8_t *p, size_t n,
		      struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = get_be64(p + 8 * i), off = v & QCOW2_OFF_MASK, count;

		if (off == 0)
			continue;
		/* the peer, too, looks no further where it cannot tell */
		if (!check_disk_refcount(k, off >> k->bits, &count))
			continue;
		if ((count == 1) != ((v & QCOW2_COPIED) != 0))
			check_error(k,
				    "ERROR OFLAG_COPIED L2 cluster: l1_index=%" PRIu64
				    " l1_entry=%" PRIx64 " refcount=%" PRIu64,
				    first + i, v, count);
		if (l2_table(k, off, err) < 0)
			return -1;
	}
	return 0;
}

int check_copied(struct checker *k, struct err *err)
{
	return check_entries(k, "L1 table", k->q->h.l1_off, k->q->h.l1_size, true, l1_entries,
			     NULL, err);
}
