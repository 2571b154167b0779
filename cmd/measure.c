/*
 * measure: how large a file would a new or converted image need?
 */
#include "cmd/args.h"
#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "lib/mem.h"

#include <inttypes.h>
#include <stdio.h>

#define SECTOR 512

static const struct opt measure_opts[] = {
	{"target-format", 'O', OPT_STR, 0, "FMT", NULL, "The format of the new image (raw)"},
	{"options", 'o', OPT_STR, OPT_MANY, "KEY=VALUE,...", NULL, "Options of the new image"},
	{"size", 's', OPT_SIZE, 0, "N", NULL, "Measure a new image of this size"},
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The source's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"snapshot", 'l', OPT_STR, 0, "SNAPSHOT", NULL, "Measure this snapshot of the source"},
	{"output", 0, OPT_STR, 0, "OFMT", "human|json", "The form of the output"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the source"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

struct request {
	const struct format *format;
	const struct opts *keys; /* -o */
	uint64_t size;
	struct chain *source; /* or NULL */
	bool json;
};

static int print_json(const struct measure *m)
{
	struct json *j = json_object();
	int bad = !j;

	if (m->has_bitmaps)
		bad |= json_add_int(j, "bitmaps", (int64_t)m->bitmaps);
	bad |= json_add_int(j, "required", (int64_t)m->required);
	bad |= json_add_int(j, "fully-allocated", (int64_t)m->fully_allocated);
	if (!bad) {
		json_print(stdout, j, 0);
		putchar('\n');
	} else {
		cmd_error("Out of memory");
	}
	json_free(j);
	return bad ? 1 : 0;
}

static void print_human(const struct measure *m)
{
	printf("required size: %" PRIu64 "\n", m->required);
	printf("fully allocated size: %" PRIu64 "\n", m->fully_allocated);
	if (m->has_bitmaps)
		printf("bitmaps size: %" PRIu64 "\n", m->bitmaps);
}

/* What the peer takes for data from end to end. */
static bool opaque_source(const struct request *q)
{
	return cmd_persona == PERSONA_QEMU_IMG && q->source &&
	       (((struct image *)q->source->layer[0])->format->caps & FORMAT_OPAQUE);
}

static int measure_format(const struct request *q)
{
	struct measure m = {0};
	struct err err;

	if (!q->format->measure) {
		cmd_error("Block driver '%s' does not support size measurement",
			  q->format->name);
		return 1;
	}
	if (q->format->measure(q->keys, q->size, q->source ? &q->source->blk : NULL, &m,
			       &err)) {
		cmd_err(&err);
		return 1;
	}
	if (opaque_source(q))
		m.required = m.fully_allocated;
	if (q->json)
		return print_json(&m);
	print_human(&m);
	return 0;
}

static int check_keys(const struct format *f, const struct opts *keys)
{
	const struct opt *const tables[] = {f->create_opts, io_file.create_opts, NULL};
	struct err err;

	if (opts_check(keys, tables, &err) == 0 &&
	    opts_check_values(keys, f->create_opts, &err) == 0)
		return 0;
	cmd_err(&err);
	cmd_error("Invalid options for file format '%s'", f->name);
	return 1;
}

/* The peer's rules for what goes with what. */
static int check_usage(const struct opts *o, int npos)
{
	if (npos > 1)
		cmd_error("At most one filename argument is allowed.");
	else if (npos == 0 && (opts_has(o, "image-opts") || opts_has(o, "format") ||
			       opts_has(o, "snapshot")))
		cmd_error("--image-opts, -f, and -l require a filename argument.");
	else if (npos == 0 && !opts_has(o, "size"))
		cmd_error("Either --size N or one filename must be specified.");
	else if (npos == 1 && opts_has(o, "size"))
		cmd_error("--size N cannot be used together with a filename.");
	else
		return 0;
	return 1;
}

static int open_source(const struct opts *o, const char *name, struct request *q)
{
	struct stack_request r;

	if (args_source(o, name, &r))
		return 1;
	r.snapshot = opts_get(o, "snapshot");
	q->source = args_open(&r);
	if (!q->source)
		return 1;
	q->size = blk_size(&q->source->blk);
	return 0;
}

/* What the image would be, once the source is open. */
static int measure_as(const struct opts *o, struct request *q, bool help)
{
	const char *format = opts_get(o, "target-format");

	q->format = args_format(format ? format : "raw");
	if (!q->format)
		return 1;
	if (help && cmd_persona == PERSONA_QEMU_IMG) {
		cmd_error("Invalid parameter 'help'"); /* as there */
		cmd_error("Invalid options for file format '%s'", q->format->name);
		return 1;
	}
	if (help) {
		const struct opt *const tables[] = {q->format->create_opts, NULL};

		printf("Supported %s options:\n", q->format->name);
		opt_help_keys(stdout, tables, 0, OPT_PROTO);
		return 0;
	}
	if (!(q->format->caps & FORMAT_CREATE)) {
		cmd_error("Format driver '%s' does not support image creation",
			  q->format->name);
		return 1;
	}
	if (check_keys(q->format, q->keys))
		return 1;
	q->size = round_up(q->size, SECTOR);
	return measure_format(q);
}

static int measure_with(const struct opts *o, int npos, char **argv, struct opts *keys)
{
	struct request q = {.keys = keys};
	struct err err;
	bool help;
	int rc;

	if (args_output(o, &q.json) || args_snapshot(o) || args_object(o) ||
	    (opts_has(o, "size") && args_size(opts_get(o, "size"), &q.size)) ||
	    check_usage(o, npos) || args_keys(o, "options", keys, &help) ||
	    (npos && open_source(o, argv[1], &q)))
		return 1;
	rc = measure_as(o, &q, help);
	blk_close(q.source ? &q.source->blk : NULL, &err); /* nothing was written */
	return rc;
}

static int run_measure(int argc, char **argv)
{
	struct opts *o, *keys;
	struct err err;
	int npos, done;

	o = cmd_parse(&cmd_measure, argc, argv, &npos, &done);
	if (!o)
		return done;
	keys = opts_new(&err);
	if (keys) {
		done = measure_with(o, npos, argv, keys);
	} else {
		cmd_err(&err);
		done = 1;
	}
	opts_free(keys);
	opts_free(o);
	return done;
}

const struct command cmd_measure = {
	.name = "measure",
	.synopsis = "[FILENAME]",
	.summary = "Tell how large a file an image would need",
	.opts = measure_opts,
	.run = run_measure,
};
