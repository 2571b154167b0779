/*
 * A format for tests: grains of a small disk in memory, each absent, zero, plain at a
 * place of its own, or shared. Places are handed out in the order of claims, so that a
 * test can tell whether an order was kept.
 */
#ifndef TESTS_LIB_TOY_H
#define TESTS_LIB_TOY_H

#include <pthread.h>

#include "lib/blk.h"

struct toy {
	struct blk blk;
	struct blk *store; /* a mem blk; home of all places */
	pthread_mutex_t lock;
	uint64_t next; /* the next free place */
	uint64_t grains;
	struct toy_grain {
		unsigned flags;
		uint64_t host;
		uint32_t packed;
	} * map;
	unsigned claims, settled, dropped;
	bool fail_claims;
};

struct toy *toy_new(uint64_t size, uint32_t grain);
#define TOY_BLK(t) (&(t)->blk)

#endif
