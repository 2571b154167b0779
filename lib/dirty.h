/*
 * A dirty bitmap: one bit for each granule (a power of two of bytes) of a disk, set where
 * something was written.
 *
 * Memory: what is all clear or all set takes none, by pieces of 2^18 bits.
 * Threads: all functions but dirty_free and dirty_resize may be called at once. A merge
 *	reads `from` without a lock: nobody may change that meanwhile.
 * Data: dirty_get and dirty_put speak bytes as qcow2 stores them: bit i is bit i % 8 of
 *	byte i / 8, bit 0 the lowest (docs/interop/qcow2.rst, "Bitmap data").
 */
#ifndef LIB_DIRTY_H
#define LIB_DIRTY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct dirty;

/* All clear. granularity_bits: log2 of a granule's bytes, at most 62. */
struct dirty *dirty_new(uint64_t size, unsigned granularity_bits, struct err *err);
void dirty_free(struct dirty *d);

uint64_t dirty_size(const struct dirty *d);
unsigned dirty_granularity_bits(const struct dirty *d);
/* What is new is clear. */
int dirty_resize(struct dirty *d, uint64_t size, struct err *err);

/* Every granule that the bytes touch; what is past the end is left out. Only memory can
 * be missing. */
int dirty_set(struct dirty *d, uint64_t off, uint64_t len, struct err *err);
int dirty_clear(struct dirty *d, uint64_t off, uint64_t len, struct err *err);

bool dirty_test(struct dirty *d, uint64_t off);
/* The run of bytes at off (< size) that are alike, at most len; is it set? Its length. */
uint64_t dirty_run(struct dirty *d, uint64_t off, uint64_t len, bool *set);
/* The set runs from *off on: each time the next one. False: no more. */
bool dirty_next(struct dirty *d, uint64_t *off, uint64_t *len);
/* How many bits are set. */
uint64_t dirty_count(struct dirty *d);

/* Sets in `to` what is set in `from`; the sizes are equal, granules need not be. */
int dirty_merge(struct dirty *to, struct dirty *from, struct err *err);

enum dirty_kind { DIRTY_CLEAR, DIRTY_FULL, DIRTY_MIXED };

/* Bytes of data: what is past it reads as clear. */
uint64_t dirty_bytes(const struct dirty *d);
/* n bytes of data from byte `at` on; buf is filled in any case, but left alone where all
 * is clear and `lazy`. FULL only where all 8 * n bits are there and set. */
enum dirty_kind dirty_get(struct dirty *d, uint64_t at, size_t n, uint8_t *buf, bool lazy);
/* Replaces n bytes of data at byte `at`. Bits past the end are dropped. */
int dirty_put(struct dirty *d, uint64_t at, const uint8_t *buf, size_t n, struct err *err);

#endif
