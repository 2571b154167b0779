/*
 * Entries of the log (2.3.1): a page that begins with a header and goes on with descriptors,
 * more pages of descriptors, then a page for each descriptor of data.
 */
#ifndef FORMATS_VHDX_LOG_H
#define FORMATS_VHDX_LOG_H

#include "formats/vhdx/vhdx.h"

#define LOG_ENTRY 0x65676f6cu /* "loge" */
#define LOG_ZERO  0x6f72657au /* "zero" */
#define LOG_DESC  0x63736564u /* "desc" */
#define LOG_DATA  0x61746164u /* "data" */

enum {
	LOG_CHECKSUM_AT = 4,
	LOG_HEAD = 64,
	LOG_DESCRIPTOR = 32,
	/* a page of data: its first 8 and last 4 bytes are in the descriptor */
	LOG_LEADING = 8,
	LOG_TRAILING = 4,
	LOG_SEQUENCE_LOW_AT = VHDX_PAGE - 4,
};

struct log_head {
	uint32_t signature, checksum, len, tail;
	uint64_t sequence;
	uint32_t count; /* of descriptors */
	uint8_t log[UUID_LEN];
	uint64_t flushed, last; /* lengths of the file */
};

extern const struct field log_head_fields[];

/* Pages of descriptors, the header's page included. */
static inline uint64_t log_descriptor_pages(uint32_t count)
{
	return ((uint64_t)count * LOG_DESCRIPTOR + LOG_HEAD + VHDX_PAGE - 1) / VHDX_PAGE;
}

/* A descriptor and, for data, its page. */
struct log_change {
	uint64_t off, len;
	uint8_t *bytes; /* NULL: zeros */
};

/* replay.c: what many changes, made in their order, come to. Takes the bytes over. */
int vhdx_replay_make(struct log_change *change, size_t n, struct vhdx_replay *out,
		     struct err *err);

#endif
