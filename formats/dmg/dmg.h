/*
 * Inside of the dmg driver: what its files share. See dmg.c for the format.
 *
 * trailer.c reads where things are, resources.c finds the tables in the property list or the
 * resource fork, table.c makes one list of chunks of them, dmg.c reads by it, check.c verifies
 * the checksums. unpack.h has what chunks are compressed by.
 */
#ifndef FORMATS_DMG_H
#define FORMATS_DMG_H

#include "formats/chunks.h"
#include "formats/dmg/unpack.h"
#include "formats/format.h"
#include "lib/layout.h"

#define DMG_SECTOR	512
#define DMG_TRAILER_LEN 512
#define DMG_MAGIC	UINT32_C(0x6b6f6c79) /* koly */
#define DMG_VERSION	4
#define DMG_SUM_CRC32	2 /* type of a checksum; its first 4 bytes count */

#define DMG_TABLE_MAGIC UINT32_C(0x6d697368) /* mish */
#define DMG_TABLE_LEN	204
#define DMG_ENTRY_LEN	40

/* Of what is read into memory as a whole. */
#define DMG_XML_MAX	(64u << 20) /* as lib/xml.h */
#define DMG_FORK_MAX	(64u << 20)
#define DMG_CHUNK_BYTES (64u << 20) /* the peer's */
#define DMG_SECTORS_MAX (UINT64_C(1) << 54)

/* Types of chunks that are not compressed (unpack.h has the others). */
#define DMG_ZERO    UINT32_C(0)
#define DMG_RAW	    UINT32_C(1)
#define DMG_IGNORE  UINT32_C(2) /* reads as zeros, too, but is in no checksum */
#define DMG_COMMENT UINT32_C(0x7ffffffe)
#define DMG_END	    UINT32_C(0xffffffff)

struct dmg_trailer {
	uint32_t magic, version, len, flags;
	uint64_t data_off, data_len;
	uint64_t fork_off, fork_len;
	uint32_t segment, segments;
	uint32_t data_sum_type, data_sum;
	uint64_t xml_off, xml_len;
	uint32_t sum_type, sum; /* over the checksums of all tables */
	uint64_t sectors;
};

struct dmg_table {
	uint32_t magic, version;
	uint64_t start, sectors;
	uint64_t data_off; /* that the chunks' offsets begin at */
	uint32_t sum_type, sum;
	uint32_t entries;
};

/* Sectors of the disk, and what is stored of them at `off` of the file. */
struct dmg_chunk {
	uint64_t start, count;
	uint64_t off;
	uint32_t len, type;
	uint32_t table, entry; /* where it is from, for messages */
};

/* All tables, in the order of the file. */
struct dmg_tables {
	struct dmg_table *table;
	size_t n, room;
	struct dmg_chunk *chunk; /* sorted and disjoint once dmg_tables_sort() was called */
	size_t nchunk, chunk_room;
	uint32_t unknown; /* a type of chunk that nobody here knows; 0: there is none */
};

struct dmg {
	struct image image;
	struct dmg_trailer h;
	struct dmg_tables t;
	struct chunks chunks;
};

extern const struct format format_dmg;
extern const struct field dmg_trailer_fields[], dmg_table_fields[];

int dmg_trailer_check(const struct dmg_trailer *h, uint64_t file_size, struct err *err);
/* Finds and reads it; what is behind it, less than a sector, does not matter. */
int dmg_trailer_read(struct blk *file, struct dmg_trailer *h, struct err *err);

/* Adds all tables of the file. */
int dmg_resources_read(struct blk *file, const struct dmg_trailer *h, struct dmg_tables *t,
		       struct err *err);
/* Those of a property list, of a resource fork. */
int dmg_plist_tables(const char *text, size_t n, const struct dmg_trailer *h,
		     uint64_t file_size, struct dmg_tables *t, struct err *err);
int dmg_fork_tables(const uint8_t *fork, size_t n, const struct dmg_trailer *h,
		    uint64_t file_size, struct dmg_tables *t, struct err *err);

/* Adds a table of n bytes. What is no table is passed over. */
int dmg_table_add(struct dmg_tables *t, const uint8_t *p, size_t n, const struct dmg_trailer *h,
		  uint64_t file_size, struct err *err);
/* Sorts the chunks; an overlap is an error. */
int dmg_tables_sort(struct dmg_tables *t, struct err *err);
void dmg_tables_free(struct dmg_tables *t);

static inline bool dmg_is_zero(uint32_t type)
{
	return type == DMG_ZERO || type == DMG_IGNORE;
}

/* The chunk that has the sector; NULL: none, and *next is where one begins again. */
const struct dmg_chunk *dmg_find(const struct dmg_tables *t, uint64_t sector, uint64_t *next);
/* Inflates a compressed chunk; out has room for its sectors. */
int dmg_inflate(struct blk *file, const struct dmg_chunk *c, uint8_t *out, struct err *err);

int dmg_check(struct image *image, struct check *c, struct err *err);

#endif
