/*
 * A write-back cache of equal-sized pieces of metadata (L2 tables, refcount blocks,
 * block allocation tables) of one file.
 *
 * Order: cache_flush writes what is dirty. A cache may depend on another: before any
 * of its own pieces is written, the other is flushed and made stable. So references
 * never reach the disk before what they refer to. Data is made stable first by
 * `barrier` where the owner sets it.
 *
 * Threads: none inside; the owner calls under its metadata lock. Pieces that are held
 * (got, not put) are never evicted.
 */
#ifndef LIB_CACHE_H
#define LIB_CACHE_H

#include "lib/blk.h"

struct cache;

/* `pieces` (>= 2) of `size` bytes each at most; memory is taken as it is needed. */
struct cache *cache_new(struct blk *file, uint32_t size, unsigned pieces, struct err *err);
/* Writes nothing. */
void cache_free(struct cache *c);
/* Before c writes, flush `on` and make the file stable. NULL ends it. */
void cache_depend(struct cache *c, struct cache *on);
/* No stability is asked for between writes (a new image that is synced as a whole). */
void cache_relax(struct cache *c, bool relaxed);
/* Data was written that pieces will refer to: the file is made stable before the next
 * piece is written. */
void cache_data_written(struct cache *c);
/* Data lies in this file instead: it is what then is made stable. NULL ends it. */
void cache_data_in(struct cache *c, struct blk *data);

/* What has changed of a piece is written in units of so many bytes; 0, as at first: whole
 * pieces. Neighbours that have changed, too, are written with it: all that is between. */
void cache_write_unit(struct cache *c, uint32_t unit);
/* Pieces that need not be written and were not used for `seconds` are dropped, at the first
 * use of the cache after that. 0: never. */
void cache_clean_every(struct cache *c, unsigned seconds);

/* A piece that begins in the file may go on past its end: zeros. */
void cache_short_end(struct cache *c);

/* Asked before n bytes of pieces are written at off; -1: they are not. */
void cache_guard(struct cache *c,
		 int (*may_write)(void *arg, uint64_t off, size_t n, struct err *err),
		 void *arg);

/* The piece at `off` (a multiple of size), read if need be; held until put. All of it must
 * be in the file, unless cache_short_end() says that the owner has looked to that. */
void *cache_get(struct cache *c, uint64_t off, struct err *err);
/* The same, all zeros and dirty, without reading. */
void *cache_new_piece(struct cache *c, uint64_t off, struct err *err);
void cache_put(struct cache *c, void *piece);
void cache_dirty(struct cache *c, void *piece);
/* Only the n bytes at `at` inside the piece have changed. */
void cache_dirty_part(struct cache *c, void *piece, size_t at, size_t n);
/* Forget the piece at off: it was freed on disk. */
void cache_forget(struct cache *c, uint64_t off);
/* Writes all dirty pieces, in order of offset. Does not make them stable. */
int cache_flush(struct cache *c, struct err *err);

#endif
