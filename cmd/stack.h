/*
 * Arguments -> an open chain. The only place that decides whether to open a file, in
 * particular one that an image names: those are opened only as plain local paths,
 * relative to the image's folder, never as json:, URIs or options, each once (a loop is
 * an error), at most CHAIN_MAX deep.
 */
#ifndef CMD_STACK_H
#define CMD_STACK_H

#include "formats/format.h"
#include "lib/chain.h"
#include "lib/io/io.h"

struct stack_request {
	const char *name;   /* what the user typed */
	bool image_opts;    /* name is --image-opts text */
	const char *format; /* -f; NULL: probe */
	const char *cache;  /* -t/-T; NULL: writeback */
	bool write;
	bool resize;	 /* with write: the file itself will be grown or cut */
	bool share;	 /* -U */
	bool alone;	 /* the source of a copy: nobody may write it meanwhile, raw or not */
	bool no_backing; /* only the top image; its backing file is not opened */
	bool no_key;	 /* no data is read: an encrypted image needs no key */
	bool no_io;	 /* info: implies no_backing and no data file */
	bool check;	 /* opened to be checked: dirty and corrupt bits are no obstacle */
	bool bare;	 /* errors do not begin with "Could not open 'NAME'" */
	/*
	 * commit: the backing file `base` (as -b names it; NULL: the uppermost) is opened for
	 * writing, too. It is the layer below the top that has BLK_CAN_WRITE; none: there is
	 * no such file.
	 */
	bool commit;
	const char *base;
	/* -l: the image shows this snapshot, as snapname.h reads it; not with write */
	const char *snapshot;
};

/* The open image is chain->layer[0], a struct image, called as the peer calls it (blk.name:
 * a path, or "json:{...}"). Errors are complete sentences as the peer words them: "Could not
 * open 'x': Image is not in qcow2 format". The warning that a file was taken for raw and is
 * written goes to stderr. */
struct chain *stack_open(const struct stack_request *r, struct err *err);

/* A cache mode by name -> IO_* flags; *writethrough for writethrough/directsync. */
int stack_cache_mode(const char *mode, unsigned *io_flags, bool *writethrough, struct err *err);

/* Guesses the format of an open file by content. Never fails: raw takes the rest. */
const struct format *stack_probe(struct blk *file, struct err *err);

/*
 * A target in the making: created beside its name, filled through chain, then
 * published or thrown away.
 */
struct stack_target {
	struct chain *chain; /* the new image, writable; NULL until stack_target_open */
	struct blk *file;    /* the new file; the chain only borrows it */
	struct blk **more;   /* the image's other files in the making; the same */
	size_t nmore;
	uint64_t size; /* of the disk: as asked for, or as the format rounds that */
	char *path;
};

struct stack_create {
	const char *name; /* what the user typed */
	const struct format *format;
	const struct opts *opts; /* -o, checked against the format's and protocol's tables */
	uint64_t size;
	const char *cache;
	/* Empty a file that exists rather than replace it: who calls qemu-img may hold it open,
	 * or count on its place and owner. */
	bool in_place;
	bool backing_open; /* attach the backing file named in opts to the chain (convert -B) */
	/* The image begins there in its file, and is called so: what is before it is written by
	 * whoever asked for it. 0, NULL: the image is the file. */
	uint64_t head;
	const char *inner;
};

/* Creates the image (not published yet). For `create`: no chain is opened. On failure, of
 * this and of stack_target_open, nothing is left and *t is empty. */
int stack_target_create(const struct stack_create *c, struct stack_target *t, struct err *err);
/* Opens what was created as a writable chain, IMAGE_NEW. */
int stack_target_open(const struct stack_create *c, struct stack_target *t, struct err *err);
/* Flushes and closes the chain: the image is complete in t->file. */
int stack_target_close(struct stack_target *t, struct err *err);
/* Flushes, closes, publishes. After it (or abandon) *t is empty. */
int stack_target_finish(struct stack_target *t, struct err *err);
void stack_target_abandon(struct stack_target *t);

#endif
