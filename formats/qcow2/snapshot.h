/*
 * What the parts of snapshots share.
 *
 *	snapshot.c        the table, read
 *	snapshot_view.c   for readers: load, exclusive
 *	snapshot_write.c  create, apply, remove; the table, written
 *	swap.h            new tables for old ones, at once
 *
 * Nobody has a claim while a snapshot is taken or applied: what it would write in place
 * would be written into the snapshot.
 */
#ifndef FORMATS_QCOW2_SNAPSHOT_H
#define FORMATS_QCOW2_SNAPSHOT_H

#include "formats/qcow2/qcow2.h"

enum {
	QCOW2_SNAPSHOT_HEAD = 40,	 /* the fixed part of an entry */
	QCOW2_SNAPSHOT_EXTRA = 24,	 /* the extra data that we know, and always write */
	QCOW2_SNAPSHOT_EXTRA_V3 = 16,	 /* the least of version 3 */
	QCOW2_SNAPSHOT_EXTRA_MAX = 1024, /* the peer's limit */
};

/*
 * The snapshot table of q's list without one entry (UINT32_MAX: all), and with `new` at the
 * end (or NULL), in *len bytes: *out (the caller frees it). *last: where its last
 * entry is.
 */
int qcow2_snapshots_encode(const struct qcow2 *q, uint32_t without,
			   const struct qcow2_snapshot *new, uint8_t **out, size_t *len,
			   size_t *last, struct err *err);
/* The L1 table of a snapshot as numbers, with as many entries as its disk needs at least.
 * The caller frees it. */
int qcow2_snapshot_l1(const struct qcow2 *q, const struct qcow2_snapshot *s, uint64_t **l1,
		      uint64_t *n, struct err *err);

int qcow2_snapshot_create(struct image *image, const struct snapshot_info *s, struct err *err);
int qcow2_snapshot_apply(struct image *image, size_t i, struct err *err);
int qcow2_snapshot_remove(struct image *image, size_t i, struct err *err);
int qcow2_snapshot_load(struct image *image, size_t i, struct err *err);
int qcow2_snapshot_exclusive(struct image *image, uint64_t *bytes, size_t n, struct err *err);

#endif
