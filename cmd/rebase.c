/*
 * rebase: another backing file for an image, whose contents stay the same.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/args.h"
#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "lib/copy.h"
#include "lib/location.h"
#include "lib/mem.h"

#define SPARSE 4096 /* zeros of this length are not written as data */

static const struct opt rebase_opts[] = {
	{"backing", 'b', OPT_STR, 0, "BACKING", NULL,
	 "The new backing file, from FILENAME's folder on; \"\" for none"},
	{"backing-format", 'F', OPT_STR, 0, "FMT", NULL, "The new backing file's format"},
	{"backing-unsafe", 'u', OPT_FLAG, 0, NULL, NULL,
	 "Change the name only; no backing file is opened"},
	{"compress", 'c', OPT_FLAG, 0, NULL, NULL, "Compress what is written"},
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"cache", 't', OPT_STR, 0, "CACHE", NULL, "The cache mode of FILENAME"},
	{"backing-cache", 'T', OPT_STR, 0, "CACHE", NULL, "That of the new backing file"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the new backing file"},
	{"progress", 'p', OPT_FLAG, 0, NULL, NULL, "Show progress"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

struct rebase {
	const struct opts *o;
	const char *file, *format; /* -b, -F */
	struct chain *chain;	   /* the image and its backing files of now */
	struct image *image;
	struct chain *onto; /* those to come; NULL: none, or not to be opened */
};

/* ---- what both chains have ------------------------------------------------------------- */

static bool same_file(int a, int b)
{
	struct stat x, y;

	if (fstat(a, &x) || fstat(b, &y))
		return false;
	return S_ISBLK(x.st_mode) ? S_ISBLK(y.st_mode) && x.st_rdev == y.st_rdev
				  : x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Are the bytes of both in the same place of the same file? */
static bool same_bytes(struct blk *a, struct blk *b)
{
	uint64_t at, bt;

	for (; a && b && a->ops == b->ops; a = a->lower, b = b->lower) {
		int fa = blk_fd(a, &at), fb = blk_fd(b, &bt);

		if (fa >= 0 || fb >= 0)
			return fa >= 0 && fb >= 0 && at == bt && same_file(fa, fb);
	}
	return false;
}

static bool same_image(struct blk *a, struct blk *b)
{
	struct image *x = (struct image *)a, *y = (struct image *)b;

	if (x->format != y->format || blk_size(a) != blk_size(b) || !same_bytes(a, b))
		return false;
	return x->data || y->data ? x->data && y->data && same_bytes(x->data, y->data) : true;
}

/* How many images at the bottom of both are the same. */
static unsigned shared(const struct chain *old, const struct chain *new)
{
	unsigned n = 0;

	while (n + 1 < old->n &&
	       n < new->n &&same_image(old->layer[old->n - 1 - n], new->layer[new->n - 1 - n]))
		n++;
	return n;
}

/* ---- the new backing file -------------------------------------------------------------- */

static struct blk *lowest(struct blk *blk)
{
	while (blk->lower)
		blk = blk->lower;
	return blk;
}

/* With -U no lock keeps the image from being found below itself. */
static int check_loop(const struct rebase *r, struct err *err)
{
	uint64_t at;
	int own = blk_fd(lowest(r->chain->layer[0]), &at);

	for (unsigned d = 0; own >= 0 && d < r->onto->n; d++) {
		int fd = blk_fd(lowest(r->onto->layer[d]), &at);

		if (fd >= 0 && same_file(own, fd))
			return err_set(err, ELOOP, "'%s' would be below itself",
				       r->chain->layer[0]->name);
	}
	return 0;
}

static int open_onto(struct rebase *r, struct err *err)
{
	struct stack_request q = {.format = r->format,
				  .cache = opts_get(r->o, "backing-cache"),
				  .share = opts_has(r->o, "force-share"),
				  .bare = true};
	AUTO_FREE char *path = NULL;

	path = location_relative(lowest(r->chain->layer[0])->name, r->file, err);
	if (!path)
		return -1;
	q.name = path;
	r->onto = stack_open(&q, err);
	if (!r->onto || check_loop(r, err))
		return err_prefix(err, "Could not open new backing file '%s'", r->file);
	return 0;
}

/* What would be refused in the end is refused before anything is written. */
static int check_change(const struct rebase *r, struct err *err)
{
	const char *name = r->file ? r->file : "";

	if (name[0] && !r->format)
		return err_set(err, EINVAL,
			       "Could not change the backing file to '%s': backing format "
			       "must be specified",
			       name);
	if (!r->image->format->set_backing)
		return err_set(err, ENOTSUP,
			       "Could not change the backing file to '%s': Operation not "
			       "supported",
			       name);
	return 0;
}

static int check_compress(const struct rebase *r, struct err *err)
{
	if (!opts_has(r->o, "compress"))
		return 0;
	if (!r->image->blk.ops->pack)
		return err_set(err, ENOTSUP, "Compression not supported for this file format");
	if (r->image->needs_data)
		return err_set(err, ENOTSUP,
			       "Compression and an external data file are not supported at "
			       "the same time");
	return 0;
}

static int copy_what_differs(struct rebase *r, struct progress *progress, struct err *err)
{
	const struct copy_source source = {r->chain, blk_size(&r->chain->blk)};
	const struct copy_onto onto = {r->onto, r->onto ? shared(r->chain, r->onto) : 0};
	const struct copy copy = {
		.source = &source,
		.nsource = 1,
		.target = r->chain,
		.threads = args_threads(),
		.sparse = SPARSE,
		.compress = opts_has(r->o, "compress"),
		.target_backed = true,
		.onto = &onto,
		.progress = progress,
	};

	r->image->below_to_come = r->onto;
	return copy_run(&copy, err) || blk_flush(&r->chain->blk, err) ? -1 : 0;
}

/* The peer's words for what it knows, and what went wrong. */
static int change(const struct rebase *r, struct err *err)
{
	if (r->image->format->set_backing(r->image, r->file, r->format, err) == 0)
		return 0;
	if (err->num == ENOSPC)
		err_set(err, ENOSPC, "No space left in the file header");
	else if (cmd_persona == PERSONA_QEMU_IMG)
		err_set(err, err->num, "%s", strerror(err->num));
	return err_prefix(err, "Could not change the backing file to '%s'",
			  r->file ? r->file : "");
}

static int rebase(struct rebase *r, bool unsafe, struct err *err)
{
	struct progress *progress;
	int rc;

	if (r->format && !catalog_format(r->format) && !catalog_protocol(r->format))
		return err_set(err, EINVAL, "Invalid format name: '%s'", r->format);
	if (!unsafe && r->file && r->file[0] && open_onto(r, err))
		return -1;
	if (check_change(r, err) || check_compress(r, err))
		return -1;
	progress_signals();
	progress = progress_new(args_progress(r->o), blk_size(&r->chain->blk));
	rc = unsafe ? 0 : copy_what_differs(r, progress, err);
	if (rc == 0)
		rc = change(r, err);
	progress_free(progress, rc == 0);
	clearerr(stdout); /* lost progress is no failure of the work */
	return rc;
}

static int rebase_open(struct rebase *r, bool unsafe)
{
	struct err err, later;
	int rc;

	r->image = (struct image *)r->chain->layer[0];
	rc = rebase(r, unsafe, &err);
	blk_close(r->onto ? &r->onto->blk : NULL, &later); /* nothing was written */
	if (blk_close(&r->chain->blk, rc ? &later : &err))
		rc = -1;
	if (rc)
		cmd_err(&err);
	return rc ? 1 : 0;
}

static int rebase_image(const struct opts *o, const char *name)
{
	struct rebase r = {.o = o,
			   .file = opts_get(o, "backing"),
			   .format = opts_get(o, "backing-format")};
	bool unsafe = opts_has(o, "backing-unsafe");
	struct stack_request q;

	if (!unsafe && !r.file)
		return cmd_usage("Must specify backing file (-b) or use unsafe mode (-u)");
	if (args_source(o, name, &q) || args_cache(opts_get(o, "cache"), "cache") ||
	    args_cache(opts_get(o, "backing-cache"), "source cache") || args_object(o))
		return 1;
	q.cache = opts_get(o, "cache");
	q.write = true;
	q.share = false;
	q.no_backing = unsafe;
	r.chain = args_open(&q);
	if (!r.chain)
		return 1;
	return rebase_open(&r, unsafe);
}

static int run_rebase(int argc, char **argv)
{
	return cmd_with_image(&cmd_rebase, argc, argv, rebase_image);
}

const struct command cmd_rebase = {
	.name = "rebase",
	.synopsis = "FILENAME",
	.summary = "Change the backing file of an image, whose contents stay the same",
	.opts = rebase_opts,
	.run = run_rebase,
};
