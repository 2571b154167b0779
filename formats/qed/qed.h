/*
 * qed: QEMU's enhanced disk.
 *
 * Specification: QEMU's docs/interop/qed_spec.rst. A header in the first clusters, an L1
 * table, L2 tables and data clusters in the order in which they were first written. All
 * little-endian.
 *
 * Limits: sections "Field descriptions" and "Tables"; a backing file's name has at most 1023
 * bytes, as in QEMU. What a table points to has to be inside of the file, whose last cluster
 * counts only if it is whole.
 *
 * QED_F_NEED_CHECK is set before the first change of a table and cleared when all of it is
 * stable, at the end. Tables never reach the disk before what they refer to does, so that a
 * crash leaves leaks at worst.
 *
 *	header.c  the header, its limits, what may be in it
 *	qed.c     the tables, open and close
 *	create.c  new images
 *	change.c  another size, another backing file
 *	check.c   the tables against the file; repair (compact.c)
 */
#ifndef FORMATS_QED_QED_H
#define FORMATS_QED_QED_H

#include "formats/blocks.h"
#include "formats/entries.h"
#include "lib/layout.h"

#define QED_MAGIC 0x00444551u /* "QED\0" */

enum {
	QED_HEADER_LEN = 64,
	QED_SECTOR = 512, /* what is written at once; the header is in the first */
	QED_CLUSTER = 65536,
	QED_CLUSTER_MIN = 4096,
	QED_CLUSTER_MAX = 64 << 20,
	QED_TABLE = 4,
	QED_TABLE_MAX = 16,
	QED_BACKING_MAX = 1023,
	QED_PIECE = 4096, /* of a table; the smallest cluster */
	QED_L1_PIECES = 64,
	QED_L2_PIECES = 512,
};

/* features */
enum {
	QED_BACKING = 1,
	QED_NEED_CHECK = 2,
	QED_NO_PROBE = 4, /* the backing file is a raw one */
	QED_FEATURES = 7,
};

/* Entries of an L2 table that are no place. */
enum { QED_ABSENT = 0, QED_ZERO = 1 };

struct qed_header {
	uint32_t magic, cluster_size, table_size, header_size;
	uint64_t features, compat, autoclear;
	uint64_t l1_off, size;
	uint32_t backing_off, backing_len;
};

struct qed {
	struct blocks_image b;
	struct qed_header h;
	uint8_t first[QED_SECTOR]; /* of the file; h is encoded into it */
	struct entries l1, l2;
	uint64_t table;	      /* bytes of a table */
	uint64_t per_table;   /* entries of a table */
	uint64_t whole;	      /* of the file when it was opened: clusters up to here */
	uint64_t first_place; /* where the first new place may have been taken */
	unsigned flags;	      /* IMAGE_* */
};

extern const struct format format_qed;
extern const struct field qed_fields[];
extern const struct opt qed_create_opts[];

/* Every limit; what is above lies in a file of so many bytes. */
int qed_header_check(const struct qed_header *h, uint64_t file_size, struct err *err);
/* Reads q->h and q->first and what the header names. */
int qed_header_read(struct qed *q, struct err *err);
/* Does not make it stable. */
int qed_header_write(struct qed *q, struct err *err);
/* Of a disk. 0: the tables could hold so much that QEMU, which counts in 64 bits, refuses
 * whatever there is. */
uint64_t qed_size_max(const struct qed_header *h);

/* Is there, inside of the file, room for len bytes at off, where a cluster may begin? */
bool qed_inside(const struct qed *q, uint64_t off, uint64_t len);
/* 0: there is none. */
int qed_l2_of(struct qed *q, uint64_t l1_index, uint64_t *off, struct err *err);

/* How many entries of a table from i on say nothing; 0: look at them one by one. */
uint64_t qed_none(struct qed *q, uint64_t l2, uint64_t i);

int qed_create_check(const struct opts *opts, uint64_t *size, struct err *err);
int qed_create(const struct create *c, struct err *err);
int qed_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err);
int qed_set_backing(struct image *image, const char *file, const char *format, struct err *err);
int qed_check(struct image *image, struct check *c, struct err *err);

#endif
