/*
 * qcow: QEMU's copy-on-write image, version 1.
 *
 * Specification: libyal's "QEMU Copy-On-Write file format", sections "File header - version 1",
 * "Cluster blocks" and "Encryption"; M. McLoughlin's "The QCOW Image Format". A header of 48
 * bytes, the backing file's name, an L1 table, then L2 tables and clusters in the order in
 * which they were first written. All big-endian. Which clusters are zero, and what format the
 * backing file has, cannot be said.
 *
 * Limits: QEMU's: clusters of 512 bytes to 64 KiB, L2 tables of 64 to 8192 entries, an L1
 * table of 2 GiB, a name of 1023 bytes. All tables and clusters have to be inside of the
 * file. A disk ends with its last whole sector of 512 bytes.
 *
 * Tables never reach the disk before what they refer to does. What a crash leaves behind
 * unused stays so: the format has no list of what is free.
 *
 * Images whose data is encrypted (AES) are recognized, but their data is not read.
 *
 *	qcow.c    the header, open and close
 *	tables.c  L1 and L2; all data dropped
 *	packed.c  compressed clusters
 *	create.c  new images
 */
#ifndef FORMATS_QCOW_QCOW_H
#define FORMATS_QCOW_QCOW_H

#include "crypto/sector.h"
#include "formats/blocks.h"
#include "formats/entries.h"
#include "lib/layout.h"

#define QCOW_MAGIC	0x514649fbu /* "QFI\xfb" */
#define QCOW_PACKED	(UINT64_C(1) << 63)
#define QCOW_L1_ENTRIES (INT32_MAX / 8)

enum {
	QCOW_HEADER_LEN = 48,
	QCOW_CLUSTER_BITS_MIN = 9,
	QCOW_CLUSTER_BITS_MAX = 16,
	QCOW_L2_BITS_MIN = 6,
	QCOW_L2_BITS_MAX = 13,
	QCOW_BACKING_MAX = 1023,
	QCOW_PACKED_UNIT = 512, /* where compressed clusters begin */
	QCOW_PIECE = 4096,
	QCOW_L1_PIECES = 64,
	QCOW_L2_CACHE = 2 << 20, /* bytes */
};

enum { QCOW_CRYPT_NONE, QCOW_CRYPT_AES };

struct qcow_header {
	uint32_t magic, version;
	uint64_t backing_off;
	uint32_t backing_len, mtime;
	uint64_t size;
	uint8_t cluster_bits, l2_bits;
	uint32_t crypt;
	uint64_t l1_off;
};

struct qcow {
	struct blocks_image b;
	struct qcow_header h;
	struct entries l1, l2;
	uint64_t cluster;      /* bytes of a cluster */
	uint64_t per_l2;       /* entries of an L2 table */
	uint64_t l1_size;      /* entries of the L1 table */
	uint64_t file_size;    /* when it was opened */
	uint64_t first_place;  /* where the first new place may have been taken */
	unsigned flags;	       /* IMAGE_* */
	struct sector *sector; /* of an encrypted image; NULL: opened without the key */
};

extern const struct format format_qcow;
extern const struct field qcow_fields[];
extern const struct opt qcow_create_opts[];

static inline struct qcow *qcow_of(struct blk *blk)
{
	return (struct qcow *)blk;
}

/* How many entries the L1 table of a disk of h->size bytes has. */
uint64_t qcow_l1_size(const struct qcow_header *h);
/* Every limit; what is above lies in a file of so many bytes. */
int qcow_header_check(const struct qcow_header *h, uint64_t file_size, struct err *err);

/* ---- tables.c */
extern const struct blocks_driver qcow_driver;
int qcow_tables_init(struct qcow *q, struct err *err);
void qcow_tables_free(struct qcow *q);
/* blocks.end: where new places may be taken. */
int qcow_find_end(struct qcow *q, struct err *err);
int qcow_make_empty(struct image *image, struct err *err);

/* ---- packed.c: blk_ops */
int qcow_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		struct err *err);
int qcow_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err);
int qcow_pack(struct blk *blk, const void *in, size_t n, void *out, size_t *outn,
	      struct err *err);
int qcow_unpack(struct blk *blk, const void *packed, size_t n, void *out, size_t *used,
		struct err *err);

/* An encrypted image: blk_ops.code, and the error where there is no key. */
int qcow_code(struct blk *blk, void *buf, size_t n, uint64_t off, uint64_t host,
	      struct err *err);
int qcow_need_key(struct err *err);

/* ---- create.c */
int qcow_create_check(const struct opts *opts, uint64_t *size, struct err *err);
int qcow_create(const struct create *c, struct err *err);

#endif
