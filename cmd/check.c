/*
 * check: is the image's own bookkeeping consistent?
 */
#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/for.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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
	{"for", 0, OPT_STR, OPT_OURS, "TARGET", FOR_NAMES,
	 "Tell what of the image TARGET would refuse"},
	{.type = OPT_END},
};

/* ---- what was found, for programs -------------------------------------------------- */

#define PROBLEMS_MAX 1000 /* that are listed; the rest is counted */

struct problems {
	struct check_problem *list;
	size_t n, room;
	uint64_t more;
};

static void problems_add(void *arg, const struct check_problem *p)
{
	struct problems *l = arg;

	if (l->n < PROBLEMS_MAX && l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct check_problem *grown = realloc(l->list, room * sizeof(*grown));

		if (grown) {
			l->list = grown;
			l->room = room;
		}
	}
	if (l->n < PROBLEMS_MAX && l->n < l->room)
		l->list[l->n++] = *p;
	else
		l->more++;
}

/* What was found and is still there is found again by the second check. */
static void problems_keep_fixed(struct problems *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (l->list[i].fixed)
			l->list[n++] = l->list[i];
	l->n = n;
}

static void problems_free(struct problems *l)
{
	free(l->list);
}

static int problem_json(struct json *to, const struct check_problem *p)
{
	struct json *j = json_object();
	int bad = !j;

	if (!bad) {
		bad |= json_add_str(j, "kind", p->kind);
		if (p->has_guest && p->guest <= INT64_MAX)
			bad |= json_add_int(j, "guest-offset", (int64_t)p->guest);
		if (p->has_host && p->host <= INT64_MAX)
			bad |= json_add_int(j, "host-offset", (int64_t)p->host);
		bad |= json_add_bool(j, "fixed", p->fixed);
	}
	return bad | json_push(to, j);
}

static int problems_json(struct json *j, const struct problems *l)
{
	struct json *a = json_array();
	int bad = !a;

	for (size_t i = 0; i < l->n && !bad; i++)
		bad |= problem_json(a, &l->list[i]);
	bad |= json_add(j, "problems", a);
	return bad | json_add_int(j, "problems-left-out", (int64_t)l->more);
}

/* ---- the report -------------------------------------------------------------------- */

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
static int print_json(const char *name, const char *format, const struct check *c,
		      const struct problems *list)
{
	struct json *j = json_object();
	int bad = !j;

	bad |= add_count(j, "image-end-offset", c->image_end);
	bad |= add_count(j, "compressed-clusters", c->compressed_clusters);
	bad |= add_count(j, "total-clusters", c->total_clusters);
	bad |= add_count(j, "corruptions", c->errors);
	bad |= add_count(j, "corruptions-fixed", c->errors_fixed);
	bad |= json_add_int(j, "check-errors", (int64_t)c->check_errors);
	bad |= add_count(j, "leaks", c->leaks);
	bad |= add_count(j, "leaks-fixed", c->leaks_fixed);
	bad |= add_count(j, "allocated-clusters", c->allocated_clusters);
	bad |= json_add_str(j, "filename", name);
	bad |= json_add_str(j, "format", format);
	bad |= add_count(j, "fragmented-clusters", c->fragmented_clusters);
	if (list)
		bad |= problems_json(j, list);
	if (!bad) {
		json_print(stdout, j, 0);
		putchar('\n');
	} else {
		cmd_error("Out of memory");
	}
	json_free(j);
	return bad ? CHECK_FAILED : CHECK_OK;
}

static int run_once(struct image *image, struct check *c)
{
	struct err err;

	if (image->format->check(image, c, &err) == 0)
		return 0;
	cmd_error("Check failed: %s", err.text);
	return -1;
}

/* Checks; after a repair once more, to see what is left. */
static int run_twice(const struct opts *o, struct image *image, bool json, unsigned fix,
		     struct check *c, struct problems *list)
{
	struct check first;

	c->fix = fix;
	if (run_once(image, c))
		return -1;
	if (!c->errors_fixed && !c->leaks_fixed)
		return 0;
	first = *c;
	if (!json && !opts_has(o, "quiet"))
		printf("The following inconsistencies were found and repaired:\n\n"
		       "    %" PRIu64 " leaked clusters\n"
		       "    %" PRIu64 " corruptions\n\n"
		       "Double checking the fixed image now...\n",
		       c->leaks_fixed, c->errors_fixed);
	problems_keep_fixed(list);
	*c = (struct check){.report = c->report, .problem = c->problem, .arg = c->arg};
	if (run_once(image, c))
		return -1;
	c->leaks_fixed = first.leaks_fixed;
	c->errors_fixed = first.errors_fixed;
	return 0;
}

static int check_chain(const struct opts *o, const char *name, bool json, unsigned fix,
		       struct chain *chain)
{
	struct image *image = (struct image *)chain->layer[0];
	bool ours = json && cmd_persona == PERSONA_PLATTER;
	struct problems list = {0};
	struct check c = {
		.report = cmd_report_line, .problem = ours ? problems_add : NULL, .arg = &list};
	int rc;

	if (!image->format->check ||
	    (cmd_persona == PERSONA_QEMU_IMG && (image->format->caps & FORMAT_CHECK_OURS))) {
		cmd_error("This image format does not support checks");
		return CHECK_NONE;
	}
	rc = run_twice(o, image, json, fix, &c, &list);
	if (rc == 0 && json && !opts_has(o, "quiet"))
		rc = print_json(name, image->format->name, &c, ours ? &list : NULL);
	problems_free(&list);
	if (rc)
		return CHECK_FAILED;
	if (!json && !opts_has(o, "quiet"))
		print_human(&c);
	if (c.check_errors) {
		cmd_error("Check failed");
		return CHECK_FAILED;
	}
	return c.errors ? CHECK_CORRUPT : c.leaks ? CHECK_LEAKS : CHECK_OK;
}

/* -r -> what to repair. Under qemu-img's name only what that repairs. */
static int parse_repair(const char *what, unsigned *fix)
{
	*fix = 0;
	if (!what)
		return 0;
	if (strcmp(what, "leaks") == 0)
		*fix = CHECK_FIX_LEAKS;
	else if (strcmp(what, "all") == 0)
		*fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS;
	else
		return cmd_usage("Unknown option value for -r (expecting 'leaks' or 'all'): %s",
				 what);
	if (cmd_persona == PERSONA_PLATTER && (*fix & CHECK_FIX_ERRORS))
		*fix |= CHECK_FIX_ENTRIES;
	return 0;
}

static int check_image(const struct opts *o, const char *name)
{
	struct stack_request r;
	struct chain *chain;
	struct err err;
	unsigned fix;
	bool json;
	int rc;

	if (opts_has(o, "for"))
		return for_check(o, name);
	if (args_output(o, &json) || args_source(o, name, &r) || args_object(o) ||
	    args_cache(opts_get(o, "cache"), "source cache") ||
	    parse_repair(opts_get(o, "repair"), &fix))
		return CHECK_FAILED;
	r.cache = opts_get(o, "cache");
	r.check = true;
	r.write = fix != 0;
	chain = args_open(&r);
	if (!chain)
		return CHECK_FAILED;
	rc = check_chain(o, name, json, fix, chain);
	if (blk_close(&chain->blk, &err) && fix) {
		cmd_err(&err);
		return CHECK_FAILED;
	}
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
