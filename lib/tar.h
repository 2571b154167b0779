/*
 * Tar archives: finding what is in one, and the headers of new ones.
 *
 * Read: POSIX ustar (IEEE Std 1003.1-2017, pax, "ustar Interchange Format"), the pax headers
 * for path and size, and GNU's old format (GNU tar manual, "Basic Tar Format"): long names
 * ('L'), sizes in base 256, sparse files of the old kind ('S'; their data is in pieces, so
 * they are named but cannot be used in place).
 * Written: ustar, and GNU's old format with its sparse headers.
 *
 * Bounds: at most TAR_MEMBERS_MAX members, names of TAR_NAME_MAX bytes; a member that does
 * not lie in the file is an error. No member's data is read.
 */
#ifndef LIB_TAR_H
#define LIB_TAR_H

#include "lib/blk.h"

#define TAR_BLOCK	512
#define TAR_NAME_MAX	4096
#define TAR_MEMBERS_MAX 4096

struct tar_member {
	char *name;    /* owned */
	uint64_t off;  /* of its data in the archive */
	uint64_t size; /* of its data there */
	bool plain;    /* a regular file whose data is in one piece */
};

struct tar {
	struct tar_member *member;
	size_t n;
	bool ustar; /* all headers are POSIX's: no GNU extension was needed to read it */
};

/* Do these bytes begin like a tar archive? The header's checksum decides. */
bool tar_probe(const uint8_t *head, size_t n);
/* Lists an archive; tar_free() drops it, also after a failure. */
int tar_list(struct blk *archive, struct tar *out, struct err *err);
void tar_free(struct tar *tar);

/* ---- one header at a time, for streams ------------------------------------------------- */

struct tar_header {
	char name[101];
	char type;     /* '0' regular, 'S' old sparse ... */
	bool gnu;      /* the old GNU magic; else POSIX's */
	uint64_t size; /* of the data that follows */
	uint64_t real; /* 'S': of the file */
	bool extended; /* 'S': a block with more of the map follows */
};

/* One block. 1: it is a header. 0: it is all zeros, the archive's end. -1: neither. */
int tar_decode(const uint8_t block[TAR_BLOCK], struct tar_header *h, struct err *err);
/* Of a continuation of a sparse map: does another follow it? */
bool tar_sparse_more(const uint8_t block[TAR_BLOCK]);

/* A regular file's header. gnu: as old GNU tar; sizes over 8 GiB are in base 256 in both. mtime
 * in seconds; owner and group are 0 and have no names. */
void tar_encode(uint8_t block[TAR_BLOCK], const char *name, uint64_t size, int64_t mtime,
		bool gnu);

/*
 * The headers of a sparse file in GNU's old format: begin with the number of entries of its
 * map and the bytes of data, add each entry in order; a block is given to `write` as soon as it
 * is full. tar_sparse_end() gives the last one. Needs no more memory, whatever the number.
 */
struct tar_sparse {
	uint8_t block[TAR_BLOCK];
	uint64_t left; /* entries to come */
	unsigned at, room;
	bool first;
	int (*write)(void *arg, const uint8_t block[TAR_BLOCK], struct err *err);
	void *arg;
};
void tar_sparse_begin(struct tar_sparse *s, const char *name, uint64_t stored, uint64_t real,
		      uint64_t entries, int64_t mtime);
int tar_sparse_add(struct tar_sparse *s, uint64_t off, uint64_t len, struct err *err);
int tar_sparse_end(struct tar_sparse *s, struct err *err);

#endif
