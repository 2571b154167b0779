/* Inside of the cloop driver, for its tests: what its header may say. See cloop.c. */
#ifndef FORMATS_CLOOP_H
#define FORMATS_CLOOP_H

#include <stdint.h>

#include "lib/err.h"

#define CLOOP_MAGIC                                                                            \
	"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop "   \
	"$1\n"
#define CLOOP_HEADER	 128
#define CLOOP_BLOCK_MAX	 (64u << 20)	   /* the peer's */
#define CLOOP_BLOCKS_MAX (UINT32_MAX / 8u) /* the peer's */
#define CLOOP_TABLE_MAX	 (512u << 20)	   /* the peer's */

struct cloop_header {
	uint32_t block_size, blocks;
};

extern const struct format format_cloop;

int cloop_header_check(const struct cloop_header *h, uint64_t file_size, struct err *err);

#endif
