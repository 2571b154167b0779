/*
 * Requests of one size, one after the other or many at a time, at steps through a disk:
 * the work that bench measures.
 *
 * Request i begins at off + i * step, modulo the size of the disk. Where it would reach
 * past the end it fails with EIO, or (`fit`) is moved down until it ends there.
 *
 * Threads: `depth` of them, BENCH_THREADS at most; the calling thread is one.
 */
#ifndef LIB_BENCH_H
#define LIB_BENCH_H

#include "lib/blk.h"

#define BENCH_THREADS 64

struct bench {
	struct blk *blk; /* borrowed; not empty */
	bool write;
	uint8_t pattern; /* what is written */
	uint32_t n;	 /* bytes of each request */
	uint64_t off;
	uint32_t step, count, depth;
	/* Flush when what remains is a multiple of it; 0: never. */
	uint32_t flush_every;
	bool drain; /* nothing is under way during a flush */
	bool fit;
};

int bench_run(const struct bench *b, struct err *err);

#endif
