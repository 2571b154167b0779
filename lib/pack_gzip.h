/*
 * gzip (RFC 1952), written in pieces that are compressed apart from each other and become one
 * member, and read as a stream. A file of them is the same whatever the number of threads.
 *
 *	gzip_head()	once
 *	gzip_piece()	for each piece of the data, in any order; written in the data's order
 *	gzip_tail()	once, with the checksum of all
 *
 * Threads: all functions may be called from many threads, on one reader from one at a time.
 */
#ifndef LIB_PACK_GZIP_H
#define LIB_PACK_GZIP_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define GZIP_HEAD 10
#define GZIP_TAIL 10 /* with the empty block that ends the data */

/* No name and no time in it. */
void gzip_head(uint8_t out[GZIP_HEAD]);
/* The room that gzip_piece wants for n bytes. */
size_t gzip_bound(size_t n);
/* Compresses n bytes into at most gzip_bound(n); *crc is theirs. */
int gzip_piece(const void *in, size_t n, void *out, size_t *outn, uint32_t *crc,
	       struct err *err);
/* The checksum of what `a` is of, followed by len bytes whose checksum is `b`; begin with 0. */
uint32_t gzip_crc_join(uint32_t a, uint32_t b, uint64_t len);
/* size: of all the data. */
void gzip_tail(uint8_t out[GZIP_TAIL], uint32_t crc, uint64_t size);

/* Reading. more() gives the next bytes of the file; *n = 0 is its end. Each member's checksum
 * and length are proven; several members are one stream. */
struct gzip_reader;
typedef int gzip_more(void *arg, const uint8_t **data, size_t *n, struct err *err);
struct gzip_reader *gzip_open(gzip_more *more, void *arg, struct err *err);
/* *got < n: the end. */
int gzip_read(struct gzip_reader *r, void *buf, size_t n, size_t *got, struct err *err);
void gzip_close(struct gzip_reader *r);

#endif
