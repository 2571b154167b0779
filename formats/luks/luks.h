/*
 * luks: a whole disk encrypted behind a LUKS1 header (crypto/luks1.h), as cryptsetup and QEMU
 * make it. LUKS2 is recognised, and told of by info, but not opened.
 *
 *	luks.c    open and close, reading and writing
 *	create.c  new images, their size
 *	amend.c   key slots' options
 *	info.c    what info tells
 *
 * Sectors are of 512 bytes and numbered from the payload. A write of less than a sector reads
 * the rest of it first, under a lock of that sector.
 */
#ifndef FORMATS_LUKS_LUKS_H
#define FORMATS_LUKS_LUKS_H

#include "crypto/luks1_options.h"
#include "formats/format.h"
#include "lib/ranges.h"

struct luks {
	struct image image;
	struct luks1_header h;
	unsigned flags; /* IMAGE_* */
	uint8_t *key;	/* NULL: opened without */
	struct sector *sector;
	struct ranges *edges; /* sectors of which a part is written */
};

extern const struct format format_luks;
extern const struct opt luks_create_opts[], luks_amend_opts[];

int luks_create(const struct create *c, struct err *err);
int luks_create_check(const struct opts *opts, uint64_t *size, struct err *err);
int luks_measure(const struct opts *opts, uint64_t size, struct blk *src, struct measure *out,
		 struct err *err);
int luks_info(struct image *image, struct info *out, struct err *err);
int luks_amend(struct image *image, const struct amend *a, struct err *err);

#endif
