/*
 * commit: what an overlay changes goes into the image below it.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "lib/copy.h"
#include "lib/mem.h"

#define SECTOR 512

static const struct opt commit_opts[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"base", 'b', OPT_STR, 0, "BASE", NULL,
	 "Commit down to this file of the chain; what is between is invalid then (implies -d)"},
	{"drop", 'd', OPT_FLAG, 0, NULL, NULL, "Do not empty FILENAME: it will be deleted"},
	{"rate-limit", 'r', OPT_SIZE, 0, "RATE", NULL, "Copy RATE bytes a second at most"},
	{"cache", 't', OPT_STR, 0, "CACHE", NULL, "The cache mode to open the images with"},
	{"progress", 'p', OPT_FLAG, 0, NULL, NULL, "Show progress"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{"rate", 'r', OPT_SIZE, OPT_HIDDEN, "RATE"},
	{.type = OPT_END},
};

struct commit {
	const struct opts *o;
	const char *name;
	struct chain *upper; /* the image and what lies above the base */
	struct chain *base;  /* the base and what lies below it */
	uint64_t rate;
};

/* The layer that was opened for writing; 0: there is none. */
static unsigned base_layer(const struct chain *chain)
{
	for (unsigned d = 1; d < chain->n; d++)
		if (chain->layer[d]->caps & BLK_CAN_WRITE)
			return d;
	return 0;
}

static int split(struct commit *c, struct err *err)
{
	const char *name = opts_get(c->o, "base");
	unsigned d = base_layer(c->upper);

	if (d == 0 && name)
		return err_set(err, 0, "Did not find '%s' in the backing chain of '%s'", name,
			       c->name);
	if (d == 0)
		return err_set(err, 0, "Image does not have a backing file");
	c->base = chain_split(c->upper, d, err);
	return c->base ? 0 : -1;
}

/* The base is not made shorter. */
static int grow_base(const struct commit *c, struct err *err)
{
	uint64_t size = blk_size(&c->upper->blk);

	if (blk_size(&c->base->blk) >= size)
		return 0;
	return chain_resize(c->base, size, PREALLOC_OFF, err);
}

static int copy_down(const struct commit *c, struct progress *progress, struct err *err)
{
	const struct copy_source source = {c->upper, blk_size(&c->upper->blk)};
	const struct copy copy = {
		.source = &source,
		.nsource = 1,
		.target = c->base,
		.threads = args_threads(),
		.sparse = SECTOR,
		.no_scan = true,
		.target_backed = true,
		.layers = c->upper->n,
		.unmap = true,
		.rate = c->rate,
		.progress = progress,
	};

	if (grow_base(c, err) || copy_run(&copy, err))
		return -1;
	return blk_flush(&c->base->blk, err);
}

/* Only when the base has all of it for good. A format that cannot drop its data keeps it: it
 * is what is below now. */
static int empty(const struct commit *c, struct err *err)
{
	struct image *image = (struct image *)c->upper->layer[0];

	if (!image->format->make_empty)
		return 0;
	if (image->format->make_empty(image, err))
		return err_prefix(err, "Could not empty %s", c->name);
	return 0;
}

static int fill_base(struct commit *c, struct err *err)
{
	struct progress *progress;
	struct err later;
	int rc = split(c, err);

	if (rc)
		return -1;
	progress_signals();
	progress = progress_new(args_progress(c->o), blk_size(&c->upper->blk));
	rc = copy_down(c, progress, err);
	progress_free(progress, rc == 0);
	clearerr(stdout); /* lost progress is no failure of the work */
	if (blk_close(&c->base->blk, rc ? &later : err))
		rc = -1;
	if (rc && cmd_persona == PERSONA_QEMU_IMG)
		err_set(err, err->num, "%s", strerror(err->num));
	return rc ? err_prefix(err, "Block job failed") : 0;
}

static int commit_all(struct commit *c)
{
	bool keep = opts_has(c->o, "drop") || opts_has(c->o, "base");
	struct err err, later;
	int rc = fill_base(c, &err);

	if (rc == 0 && !keep)
		rc = empty(c, &err);
	if (blk_close(&c->upper->blk, rc ? &later : &err))
		rc = -1;
	if (rc) {
		cmd_err(&err);
		return 1;
	}
	if (!opts_has(c->o, "quiet"))
		printf("Image committed.\n");
	return 0;
}

static int commit_image(const struct opts *o, const char *name)
{
	struct commit c = {.o = o, .name = name};
	const char *rate = opts_get(o, "rate-limit");
	struct stack_request r;

	if ((rate && args_bytes(rate, "rate limit", &c.rate)) || args_source(o, name, &r) ||
	    args_cache(opts_get(o, "cache"), "cache") || args_object(o))
		return 1;
	r.cache = opts_get(o, "cache");
	r.write = true;
	r.commit = true;
	r.base = opts_get(o, "base");
	c.upper = args_open(&r);
	if (!c.upper)
		return 1;
	return commit_all(&c);
}

static int run_commit(int argc, char **argv)
{
	return cmd_with_image(&cmd_commit, argc, argv, commit_image);
}

const struct command cmd_commit = {
	.name = "commit",
	.synopsis = "FILENAME",
	.summary = "Put the changes of an overlay into the image below it",
	.opts = commit_opts,
	.run = run_commit,
};
