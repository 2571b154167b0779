/*
 * Inflated pieces of an image that is compressed in pieces (dmg, cloop), shared by all that
 * read it: whoever needs a part of a piece inflates it once for the others.
 *
 * A piece that is asked for as a whole is inflated to where it is wanted and not kept. Of
 * others some are kept, at most CHUNKS_BYTES, or two if they are larger. Who would have to
 * wait for a piece that another thread inflates takes one of the next meanwhile: readers of
 * windows that cut pieces stay parallel.
 *
 * Ownership: `arg` is the owner's. chunks_free() is fine on what is zeroed or half made.
 * Threads: chunks_read() may be called from many. inflate() is, too; no lock is held then.
 */
#ifndef FORMATS_CHUNKS_H
#define FORMATS_CHUNKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define CHUNKS_KEPT  32
#define CHUNKS_BYTES (64u << 20)
#define CHUNKS_LARGE (8u << 20) /* of these one is inflated at a time */

enum chunk_state { CHUNK_NONE, CHUNK_COMING, CHUNK_HERE };

struct chunk_slot {
	enum chunk_state state;
	uint64_t i, used_at;
	unsigned users; /* that copy from it */
	uint32_t size, room;
	uint8_t *data;
};

struct chunks {
	/* Bytes that piece i inflates to; 0: it is not compressed, or there is none. */
	uint32_t (*size)(void *arg, uint64_t i);
	/* Inflates piece i into `out`, which has room for just that. */
	int (*inflate)(void *arg, uint64_t i, void *out, struct err *err);
	void *arg;

	/* private */
	bool made;
	pthread_mutex_t lock, large;
	pthread_cond_t came;
	uint64_t clock, bytes;
	struct chunk_slot slot[CHUNKS_KEPT];
};

int chunks_init(struct chunks *c, struct err *err);
void chunks_free(struct chunks *c);
/* n bytes from `in` of piece i; all of them are inside it. */
int chunks_read(struct chunks *c, uint64_t i, uint32_t in, void *buf, size_t n,
		struct err *err);

#endif
