/*
 * Tables that describe an on-disk structure: the specification's list of offsets,
 * written as code. One table serves decoding and encoding.
 *
 *	static const struct field hdr_fields[] = {
 *		BE32(0, struct hdr, magic),
 *		BE64(24, struct hdr, size),
 *		BYTES(64, struct hdr, uuid),
 *		FIELD_END,
 *	};
 *
 * The macros check at compile time that the member has the width of the field.
 * Pure; no errors: the caller has checked that the buffer reaches
 * layout_size(fields).
 */
#ifndef LIB_LAYOUT_H
#define LIB_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

enum field_kind { FIELD_NONE, FIELD_BE, FIELD_LE, FIELD_RAW };

struct field {
	enum field_kind kind;
	uint32_t at;	 /* byte offset on disk */
	uint32_t member; /* offsetof in the struct */
	uint32_t width;	 /* bytes */
};

#define FIELD_MEMBER(s, m) (((s *)0)->m)
#define FIELD_ROW(k, off, s, m, w)                                                             \
	{                                                                                      \
		(k), (off), offsetof(s, m),                                                    \
			(w) + 0 * sizeof(char[sizeof(FIELD_MEMBER(s, m)) == (w) ? 1 : -1])     \
	}
#define BE16(off, s, m)	 FIELD_ROW(FIELD_BE, off, s, m, 2)
#define BE32(off, s, m)	 FIELD_ROW(FIELD_BE, off, s, m, 4)
#define BE64(off, s, m)	 FIELD_ROW(FIELD_BE, off, s, m, 8)
#define LE16(off, s, m)	 FIELD_ROW(FIELD_LE, off, s, m, 2)
#define LE32(off, s, m)	 FIELD_ROW(FIELD_LE, off, s, m, 4)
#define LE64(off, s, m)	 FIELD_ROW(FIELD_LE, off, s, m, 8)
#define U8(off, s, m)	 FIELD_ROW(FIELD_RAW, off, s, m, 1)
#define BYTES(off, s, m) FIELD_ROW(FIELD_RAW, off, s, m, sizeof(FIELD_MEMBER(s, m)))
#define FIELD_END                                                                              \
	{                                                                                      \
		FIELD_NONE, 0, 0, 0                                                            \
	}

/* One past the last byte that the table describes. */
size_t layout_size(const struct field *fields);
/* disk -> host; bytes outside the fields are not touched in either direction. */
void layout_decode(const struct field *fields, const uint8_t *disk, void *host);
void layout_encode(const struct field *fields, const void *host, uint8_t *disk);

#endif
