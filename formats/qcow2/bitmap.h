/*
 * Bitmaps of a qcow2 image, shared by formats/qcow2/bitmap*.c.
 *
 * A change of bits, or of what the directory says, never overwrites: new clusters for the
 * bits, a new table, a new directory, all stable; then the header points there; then the old
 * ones are freed. But for the flag "in use": that is set in the directory where it is, one
 * number in one sector, and goes away with the next directory.
 */
#ifndef FORMATS_QCOW2_BITMAP_H
#define FORMATS_QCOW2_BITMAP_H

#include "formats/qcow2/qcow2.h"
#include "lib/dirty.h"

/* The limits are the peer's. */
enum {
	BITMAP_ENTRY = 24,	      /* fixed part of a directory entry */
	BITMAP_TABLE_MAX = 0x8000000, /* entries */
	BITMAP_BYTES_MAX = 512 << 20, /* of bits */
	BITMAP_DIR_MAX = QCOW2_BITMAPS_MAX * 1024,
	BITMAP_NAME_MAX = 1023,
	BITMAP_GRANULARITY_MIN = 9,
	BITMAP_GRANULARITY_MAX = 31,
	BITMAP_IN_USE = 1, /* flags */
	BITMAP_AUTO = 2,
	BITMAP_FLAGS_RESERVED = ~3,
	BITMAP_TYPE_DIRTY = 1,
};

#define BITMAP_ALL_SET UINT64_C(1) /* a table entry without a place: all bits are set */

/* The disk that bits are for: whole sectors, as blk.size, which a snapshot may show instead. */
static inline uint64_t qcow2_bitmap_disk(const struct qcow2 *q)
{
	return q->h.size & ~UINT64_C(511);
}

/* ---- bitmap.c --------------------------------------------------------------------- */

size_t qcow2_bitmap_entry_len(const struct qcow2_bitmap *b);
/* The directory, to be freed. */
uint8_t *qcow2_bitmaps_encode(const struct qcow2_bitmap *list, size_t n, size_t *len,
			      struct err *err);
/* The entries of b's table as numbers, checked; to be freed. */
uint64_t *qcow2_bitmap_table(const struct qcow2 *q, const struct qcow2_bitmap *b,
			     struct err *err);

/* ---- bitmap_store.c; all under the lock, the image started ------------------------ */

/* Places in the file. */
struct places {
	struct qcow2_freed *at;
	size_t n, room;
};

/* A change in the making. */
struct bitmap_edit {
	struct qcow2 *q;
	/* what the directory will say, at first what it says; room for one more. Names and
	 * `touched` are borrowed from q->bitmap. */
	struct qcow2_bitmap *list;
	size_t n;
	struct places fresh, old;
};

int qcow2_bitmap_begin(struct qcow2 *q, struct bitmap_edit *e, struct err *err);
/* Bitmap i: a table as long as the disk asks for, with what it had (unless `clear`) and what
 * is set in `bits` (or NULL). */
int qcow2_bitmap_write(struct bitmap_edit *e, size_t i, struct dirty *bits, bool clear,
		       struct err *err);
/* Frees the clusters of bitmap i in the end. */
int qcow2_bitmap_discard(struct bitmap_edit *e, size_t i, struct err *err);
/* Makes it so on disk, stable, and in q->bitmap; after it, e is done. What of q->bitmap is
 * not in the list is the caller's to free. */
int qcow2_bitmap_commit(struct bitmap_edit *e, struct err *err);
/* Gives back what was allocated. */
void qcow2_bitmap_abort(struct bitmap_edit *e);

/* ---- bitmap_ops.c ----------------------------------------------------------------- */

/* "Bitmap 'x' is inconsistent ...". Returns -1. */
int qcow2_bitmap_broken(const struct qcow2_bitmap *b, struct err *err);
/* What the bits of a disk take. */
uint64_t qcow2_bitmap_bytes(uint64_t size, unsigned granularity_bits);

/* ---- bitmap_live.c ---------------------------------------------------------------- */

/* q->tracking as q->bitmap asks for it. */
void qcow2_bitmaps_track(struct qcow2 *q);

#endif
