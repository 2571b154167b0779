/*
 * compare: do two images hold the same disk?
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "lib/compare.h"
#include "lib/mem.h"

#define SECTOR 512

/* What the exit code says. */
enum { SAME = 0, DIFFERENT = 1, NOT_OPEN = 2, NO_STATUS = 3, NO_READ = 4 };

static const struct opt compare_opts[] = {
	{"a-format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The format of FILENAME1, if it should not be guessed"},
	{"b-format", 'F', OPT_STR, 0, "FMT", NULL, "The format of FILENAME2, likewise"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "The file names are lists of options"},
	{"strict", 's', OPT_FLAG, 0, NULL, NULL, "Fail if sizes or allocation differ, too"},
	{"progress", 'p', OPT_FLAG, 0, NULL, NULL, "Show progress"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"cache", 'T', OPT_STR, 0, "CACHE", NULL, "The cache mode to open the images with"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the images"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{"format", 'f', OPT_STR, OPT_HIDDEN, "FMT", NULL, NULL},
	{.type = OPT_END},
};

struct request {
	const char *const *name;
	bool strict, quiet;
	enum progress_style style;
};

/* What was found, in the peer's words; the exit code. */
static int tell(const struct request *q, const struct compare *c, const struct err *err)
{
	switch (c->found) {
	case COMPARE_CONTENT:
		if (!q->quiet)
			printf("Content mismatch at offset %" PRIu64 "!\n", c->off);
		return DIFFERENT;
	case COMPARE_STATUS:
		if (!q->quiet)
			printf("Strict mode: Offset %" PRIu64 " block status mismatch!\n",
			       c->off);
		return DIFFERENT;
	case COMPARE_NO_STATUS:
		cmd_error("Sector allocation test failed for %s", q->name[c->which]);
		return NO_STATUS;
	case COMPARE_NO_READ:
		cmd_error("Error while reading offset %" PRIu64 " of %s: %s", c->off,
			  q->name[c->which], strerror(err->num));
		return NO_READ;
	default:
		cmd_err(err);
		return NO_READ;
	}
}

/* A bar ends before there is a message; the peer's kind of progress goes on. */
static void end_bar(const struct request *q, struct compare *c)
{
	if (q->style != PROGRESS_BAR)
		return;
	progress_free(c->progress, c->found == COMPARE_SAME);
	c->progress = NULL;
}

static int compare_part(const struct request *q, struct compare *c)
{
	struct err err;

	if (compare_run(c, &err) == 0 && c->found == COMPARE_SAME)
		return SAME;
	end_bar(q, c);
	return tell(q, c, &err);
}

static int compare_sizes(const struct request *q, struct compare *c, uint64_t common,
			 uint64_t longer)
{
	int rc;

	c->to = common;
	rc = compare_part(q, c);
	if (rc || common == longer)
		return rc;
	/* one goes on: the rest of it must be zeros */
	end_bar(q, c);
	if (!q->quiet)
		printf("Warning: Image size mismatch!\n");
	c->from = common;
	c->to = longer;
	return compare_part(q, c);
}

static int compare_chains(const struct request *q, struct chain *const side[2])
{
	struct compare c = {
		.side = {side[0], side[1]},
		.strict = q->strict,
		.threads = args_threads(),
	};
	uint64_t a = round_up(blk_size(&side[0]->blk), SECTOR);
	uint64_t b = round_up(blk_size(&side[1]->blk), SECTOR);
	int rc;

	progress_signals();
	c.progress = progress_new(q->style, MAX(a, b));
	if (q->strict && a != b) {
		if (!q->quiet)
			printf("Strict mode: Image size mismatch!\n");
		rc = DIFFERENT;
	} else {
		rc = compare_sizes(q, &c, MIN(a, b), MAX(a, b));
	}
	end_bar(q, &c);
	if (rc == SAME && !q->quiet)
		printf("Images are identical.\n");
	progress_free(c.progress, false);
	return rc;
}

static struct chain *open_side(const struct opts *o, const char *name, const char *format)
{
	struct stack_request r;

	args_source(o, name, &r);
	r.format = opts_get(o, format);
	if (r.image_opts && opts_has(o, "a-format")) {
		cmd_error("--image-opts and --format are mutually exclusive");
		return NULL;
	}
	r.cache = opts_get(o, "cache");
	return args_open(&r);
}

static int compare_images(const struct opts *o, char **name)
{
	struct request q = {
		.name = (const char *const *)name,
		.strict = opts_has(o, "strict"),
		.quiet = opts_has(o, "quiet"),
		.style = args_progress(o),
	};
	struct chain *side[2];
	struct err err;
	int rc = NOT_OPEN;

	if (args_object(o) || args_cache(opts_get(o, "cache"), "source cache"))
		return NOT_OPEN;
	side[0] = open_side(o, name[0], "a-format");
	if (!side[0])
		return NOT_OPEN;
	side[1] = open_side(o, name[1], "b-format");
	if (side[1]) {
		rc = compare_chains(&q, side);
		blk_close(&side[1]->blk, &err); /* nothing was written */
	}
	blk_close(&side[0]->blk, &err);
	return rc;
}

static int run_compare(int argc, char **argv)
{
	struct opts *o;
	int npos, done;

	o = cmd_parse(&cmd_compare, argc, argv, &npos, &done);
	if (!o)
		return done;
	done = npos == 2 ? compare_images(o, argv + 1)
			 : cmd_usage("Expecting two image file names");
	opts_free(o);
	return done;
}

const struct command cmd_compare = {
	.name = "compare",
	.synopsis = "FILENAME1 FILENAME2",
	.summary = "Compare the contents of two images",
	.opts = compare_opts,
	.run = run_compare,
};
