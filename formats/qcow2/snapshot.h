/*
 * What the parts of snapshots share.
 *
 *	snapshot.c        the table, read
 *	snapshot_view.c   for readers: load, exclusive
 */
#ifndef FORMATS_QCOW2_SNAPSHOT_H
#define FORMATS_QCOW2_SNAPSHOT_H

#include "formats/qcow2/qcow2.h"

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
