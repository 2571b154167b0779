/*
 * Inside of the copy engine: one window of the target on its way through the pool.
 */
#ifndef LIB_COPY_JOB_H
#define LIB_COPY_JOB_H

#include <pthread.h>

#include "lib/copy.h"
#include "lib/pool.h"

/* Fits a second-level cache: data is read, scanned and written from there. */
#define COPY_WINDOW (512u << 10)
/* Where the kernel moves the data: fewer calls. */
#define COPY_STRIDE (4u << 20)
/* Zeros in blocks that the target shares with the source cost no room. Unless -S asks for
 * them they are looked for in whole pieces only, so that the rest need not be read. */
#define COPY_PIECE  (64u << 10)
#define COPY_SAMPLE 64 /* bytes of a piece that mostly show that it is not zero */

struct engine {
	const struct copy *opt;
	struct blk *top; /* the layer of the target that is written */
	uint64_t total;
	uint32_t grain;	 /* the target's; 1 where it is written byte by byte */
	uint32_t window; /* a multiple of the grain */
	uint32_t slot;	 /* room for a packed grain */
	size_t room;	 /* of a buffer */
	size_t unit;	 /* of the zero scan; 0: none */
	bool direct;	 /* top is written by pwrite, not by claims */
	int clone;	 /* may places be cloned? 1 yes, 0 no (atomic) */
	int offload;	 /* may the kernel copy? (atomic) */
	pthread_mutex_t lock;
	struct buffer *spare;
};

struct buffer {
	struct buffer *next;
	uint8_t *data;
};

enum seg_kind { SEG_DATA, SEG_ZERO, SEG_KEEP, SEG_CARRY };

/* What the sources say of a range of the target. */
struct segment {
	enum seg_kind kind;
	unsigned source;
	uint64_t off, len;  /* in the target */
	uint64_t from;	    /* in the source */
	struct extent e;    /* of the source */
	struct extent onto; /* the same bytes of opt->onto, where that is asked for */
};

enum out_kind { OUT_DATA, OUT_ZERO, OUT_PACKED, OUT_KEEP };

/* What to do with a range of the target. */
struct out {
	enum out_kind kind;
	uint64_t off, len;
};

/* Bytes with a place. */
struct write {
	struct blk *home;
	uint64_t off; /* in the target; its data is buf + off - job->off */
	uint64_t host, len;
	const uint8_t *bytes; /* of a packed stream; NULL: in the job's buf */
	bool fresh;
};

struct copy_job {
	struct pool_job pool;
	struct engine *engine;
	uint64_t off, len;
	struct segment *seg;
	size_t nseg, seg_room;
	bool unread; /* buf does not hold it: the kernel is to move it */
	struct buffer *buf, *packed, *other;
	uint8_t *differs;     /* rebase: for each grain, has it to be written? */
	uint32_t *packed_len; /* of each grain; 0: not packed */
	struct out *run;      /* at scan units */
	size_t nrun, run_room;
	struct out *out; /* at grains */
	size_t nout, out_room;
	struct write *write;
	size_t nwrite, write_room;
	struct claim *claim;
	size_t nclaim, claim_room;
};

extern const struct pool_steps copy_steps, copy_steps_unordered;

struct copy_job *copy_job_new(struct engine *e, uint64_t off, struct err *err);
int copy_job_add(struct copy_job *job, const struct segment *seg, struct err *err);
void copy_job_free(struct copy_job *job);

/* Does a grain end at `end`? The last one ends with the disk. */
static inline bool copy_whole_end(const struct engine *e, uint64_t end)
{
	return end % e->grain == 0 || end >= blk_size(e->top);
}

/* Reads what the kernel could not move after all. */
int copy_job_read(struct copy_job *job, struct err *err);
struct buffer *copy_buffer_get(struct engine *e, struct err *err);
/* Rebase: are the bytes the same by what the tables say? copy_onto.c */
bool copy_onto_same(const struct engine *e, const struct segment *s);
/* Sets job->differs of what was read. */
int copy_onto_compare(struct copy_job *job, struct err *err);
/* read + scan (+ pack): copy_read.c */
int copy_job_run(struct pool_job *job, struct err *err);
/* Can blocks of the sources be shared with the target? copy_host.c */
bool copy_host_probe(const struct engine *e);
/* Is all of it in plain places of local files, so that the kernel may move it? */
bool copy_host_can(const struct copy_job *job);
/* Lets the kernel move the write's bytes; 1 done, 0 it cannot, write them. copy_host.c */
int copy_host_move(struct copy_job *job, const struct write *w);

#endif
