/*
 * The copy engine: the data part of convert, commit and rebase, and of whatever moves one
 * disk into another.
 *
 * It walks the sources' extents, never reads what is known to be zero or absent, and
 * hands chunks to the pool: read, zero scan and compression run in parallel, places
 * are claimed in order, data is written in parallel. Where both ends are plain ranges
 * of local files the kernel moves the bytes.
 */
#ifndef LIB_COPY_H
#define LIB_COPY_H

#include "lib/chain.h"
#include "lib/progress.h"

struct copy_source {
	struct chain *chain; /* borrowed */
	uint64_t size;	     /* bytes of it to copy: its size rounded up to a sector */
};

struct copy_onto {
	struct chain *chain; /* borrowed; NULL: nothing but zeros */
	unsigned shared; /* so many of its lowest layers are also the source's lowest ones */
};

struct copy {
	const struct copy_source *source; /* concatenated */
	unsigned nsource;
	struct chain *target; /* borrowed, writable */

	unsigned threads;  /* 0: in the calling thread */
	uint64_t sparse;   /* -S: zeros of this length become holes; 0: all is written */
	bool sparse_exact; /* -S was given: see COPY_PIECE in copy_job.h */
	bool compress;	   /* -c; nothing to a target without compression */
	bool trust_packed; /* carry compressed clusters over unproved */
	bool offload;	   /* -C: let the kernel copy, no zero scan */
	bool unordered;	   /* -W */
	/* what is not written in the target reads as zeros; with target_backed: past what is
	 * below it */
	bool target_zero;
	/* -B: what the top layer of a source leaves to the one below stays absent, as far as
	 * the layers below both reach */
	bool target_backed;
	unsigned layers; /* with target_backed, commit: what these upper layers lack stays */
	bool no_scan;	 /* zeros are what the tables say is zero; data is not looked at */
	bool unmap;	 /* zeros over what the target has give its room back */
	/*
	 * Rebase: source and target are the same chain. What its top layer leaves absent is
	 * written there unless it is in `onto`, too, grain by grain. With target_backed.
	 */
	const struct copy_onto *onto;
	bool salvage;		   /* read errors become zeros */
	uint64_t rate;		   /* bytes a second; 0 for no limit */
	struct progress *progress; /* or NULL */
	/* salvage: told of each unreadable range; may be called from any thread */
	void (*unreadable)(void *arg, uint64_t off, uint64_t len, const struct err *why);
	void *arg;
};

/* Does not flush the target: the caller does, and closes it. */
int copy_run(const struct copy *c, struct err *err);

#endif
