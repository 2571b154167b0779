/*
 * check: is the image's own bookkeeping consistent?
 */
#include "cmd/args.h"
#include "cmd/cmd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What the exit code says. */
enum { CHECK_OK = 0, CHECK_FAILED = 1, CHECK_CORRUPT = 2, CHECK_LEAKS = 3, CHECK_NONE = 63 };

static const struct opt check_opts[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"output", 0, OPT_STR, 0, "OFMT", "human|json", "The form of the output"},
	{"repair", 'r', OPT_STR, 0, "WHAT", "leaks|all",
	 "Repair leaked clusters, or all errors"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"cache", 'T', OPT_STR, 0, "CACHE", NULL, "The cache mode to open the image with"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the image"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

static void report_line(void *arg, const char *line)
{
	fflush(stdout);
	fprintf(stderr, "%s\n", line);
}

static double percent(uint64_t part, uint64_t of)
{
	return (double)part * 100 / (double)of;
}

static void print_human(const struct check *c)
{
	if (!c->errors && !c->leaks && !c->check_errors)
		printf("No errors were found on the image.\n");
	if (c->errors)
		printf("\n%" PRIu64 " errors were found on the image.\n"
		       "Data may be corrupted, or further writes to the image may corrupt "
		       "it.\n",
		       c->errors);
	if (c->leaks)
		printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
		       "This means waste of disk space, but no harm to data.\n",
		       c->leaks);
	if (c->check_errors)
		printf("\n%" PRIu64 " internal errors have occurred during the check.\n",
		       c->check_errors);
	if (c->total_clusters && c->allocated_clusters)
		printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, "
		       "%0.2f%% compressed clusters\n",
		       c->allocated_clusters, c->total_clusters,
		       percent(c->allocated_clusters, c->total_clusters),
		       percent(c->fragmented_clusters, c->allocated_clusters),
		       percent(c->compressed_clusters, c->allocated_clusters));
	if (c->image_end)
		printf("Image end offset: %" PRIu64 "\n", c->image_end);
}

static int add_count(struct json *j, const char *key, uint64_t n)
{
	return n ? json_add_int(j, key, (int64_t)n) : 0;
}

/* The keys in the peer's order; a count of none is left out, but for check-errors. */
static int print_json(const char *name, const char *format, const struct check *c)
{
	struct json *j = json_object();
	int bad = !j;

	bad |= add_count(j, "image-end-offset", c->image_end);
	bad |= add_count(j, "compressed-clusters", c->compressed_clusters);
	bad |= add_count(j, "total-clusters", c->total_clusters);
	bad |= add_count(j, "corruptions", c->errors);
	bad |= json_add_int(j, "check-errors", (int64_t)c->check_errors);
	bad |= add_count(j, "leaks", c->leaks);
	bad |= add_count(j, "allocated-clusters", c->allocated_clusters);
	bad |= json_add_str(j, "filename", name);
	bad |= json_add_str(j, "format", format);
	bad |= add_count(j, "fragmented-clusters", c->fragmented_clusters);
	if (!bad) {
		json_print(stdout, j, 0);
		putchar('\n');
	} else {
		cmd_error("Out of memory");
	}
	json_free(j);
	return bad ? CHECK_FAILED : CHECK_OK;
}

static int check_chain(const struct opts *o, const char *name, bool json, struct chain *chain)
{
	struct image *image = (struct image *)chain->layer[0];
	struct check c = {.report = report_line};
	struct err err;

	if (!image->format->check) {
		cmd_error("This image format does not support checks");
		return CHECK_NONE;
	}
	if (image->format->check(image, &c, &err)) {
		cmd_error("Check failed: %s", err.text);
		return CHECK_FAILED;
	}
	if (json && print_json(name, image->format->name, &c))
		return CHECK_FAILED;
	if (!json && !opts_has(o, "quiet"))
		print_human(&c);
	if (c.check_errors) {
		cmd_error("Check failed");
		return CHECK_FAILED;
	}
	return c.errors ? CHECK_CORRUPT : c.leaks ? CHECK_LEAKS : CHECK_OK;
}

/* Repair is refused before anything is opened, so that nothing is changed by halves. */
static int refuse_repair(const char *what)
{
	if (!what)
		return 0;
	if (strcmp(what, "leaks") && strcmp(what, "all"))
		return cmd_usage("Unknown option value for -r (expecting 'leaks' or 'all'): %s",
				 what);
	cmd_error("-r %s: this version cannot repair images; without -r the image is checked",
		  what);
	return CHECK_FAILED;
}

static int check_image(const struct opts *o, const char *name)
{
	struct stack_request r;
	struct chain *chain;
	struct err err;
	bool json;
	int rc;

	if (args_output(o, &json) || args_source(o, name, &r) || args_object(o) ||
	    args_cache(opts_get(o, "cache"), "source cache") ||
	    refuse_repair(opts_get(o, "repair")))
		return CHECK_FAILED;
	r.cache = opts_get(o, "cache");
	r.check = true;
	chain = stack_open(&r, &err);
	if (!chain) {
		cmd_err(&err);
		return CHECK_FAILED;
	}
	rc = check_chain(o, name, json, chain);
	blk_close(&chain->blk, &err); /* nothing was written */
	return rc;
}

static int run_check(int argc, char **argv)
{
	return cmd_with_image(&cmd_check, argc, argv, check_image);
}

const struct command cmd_check = {
	.name = "check",
	.synopsis = "FILENAME",
	.summary = "Check the consistency of an image",
	.opts = check_opts,
	.run = run_check,
};
