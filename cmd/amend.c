/*
 * amend: changes options of an image that is there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/args.h"
#include "cmd/cmd.h"

static const struct opt amend_opts[] = {
	{"options", 'o', OPT_STR, OPT_MANY, "KEY=VALUE,...", NULL,
	 "What to change; -o help lists what can be"},
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"cache", 't', OPT_STR, 0, "CACHE", NULL, "The cache mode to open the image with"},
	{"force", 0, OPT_FLAG, 0, NULL, NULL,
	 "Do also what loses data: a smaller disk, bitmaps"},
	{"progress", 'p', OPT_FLAG, 0, NULL, NULL, "Show progress"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

static int no_amend(const struct format *format)
{
	cmd_error("Format driver '%s' does not support option amendment", format->name);
	return 1;
}

static int show_help(const struct format *format)
{
	const struct opt *const tables[] = {format->amend_opts, NULL};

	if (!format->amend)
		return no_amend(format);
	printf("Amend options for '%s':\n", format->name);
	opt_help_keys(stdout, tables, 0, cmd_persona == PERSONA_QEMU_IMG ? OPT_OURS : 0);
	return 0;
}

/* Each key must be one of amend's, each value of its type. */
static int check_keys(const struct format *format, const struct opts *keys, struct err *err)
{
	for (size_t i = 0; i < opts_count(keys); i++) {
		const char *key = opts_key(keys, i);
		const struct opt *row = opts_row(format->amend_opts, key);

		if (row && opts_check_value(keys, row, err))
			return -1;
		if (row)
			continue;
		err_set(err, EINVAL, "Invalid parameter '%s'", key);
		if (opts_row(format->create_opts, key))
			err_hint(err, "This option is only supported for image creation");
		return -1;
	}
	return 0;
}

static bool differ(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) != 0 : a != b;
}

/* Only what it is already: rebase is for the rest. */
static int check_backing(const struct image *image, const struct opts *keys, struct err *err)
{
	const char *file = opts_get(keys, "backing_file"), *fmt = opts_get(keys, "backing_fmt");

	if ((!file && !fmt) ||
	    (!differ(file, image->backing) && !differ(fmt, image->backing_format)))
		return 0;
	err_set(err, EINVAL, "Cannot amend the backing file");
	return err_hint(err, "You can use '%s rebase' instead.", cmd_name);
}

/* How far the work is, of steps that each begin at nothing. */
struct meter {
	struct progress *progress;
	uint64_t shown; /* of METER_ALL */
};

#define METER_ALL 10000u

static void tell(void *arg, uint64_t done, uint64_t total)
{
	struct meter *m = arg;
	uint64_t now = total ? (uint64_t)((double)done * METER_ALL / (double)total) : 0;

	if (now > METER_ALL)
		now = METER_ALL;
	if (now <= m->shown)
		return;
	progress_add(m->progress, now - m->shown);
	m->shown = now;
}

static int amend_chain(const struct opts *o, const struct opts *keys, struct chain *chain)
{
	struct image *image = (struct image *)chain->layer[0];
	struct meter meter = {0};
	struct amend a = {.opts = keys,
			  .disk = &chain->blk,
			  .progress = tell,
			  .arg = &meter,
			  /* the peer asks nobody */
			  .force = opts_has(o, "force") || cmd_persona == PERSONA_QEMU_IMG,
			  .force_said = opts_has(o, "force")};
	struct err err;
	int rc;

	if (!image->format->amend)
		return no_amend(image->format);
	if (check_keys(image->format, keys, &err) || check_backing(image, keys, &err)) {
		cmd_err(&err);
		return 1;
	}
	progress_signals();
	meter.progress = progress_new(args_progress(o), METER_ALL);
	rc = image->format->amend(image, &a, &err);
	if (rc == 0)
		rc = blk_flush(&chain->blk, &err);
	progress_free(meter.progress, rc == 0);
	clearerr(stdout); /* lost progress is no failure of the work */
	if (rc)
		cmd_err(&err);
	return rc ? 1 : 0;
}

static struct chain *open_chain(const struct opts *o, const char *name)
{
	struct stack_request r;

	if (args_source(o, name, &r) || args_object(o) ||
	    args_cache(opts_get(o, "cache"), "cache"))
		return NULL;
	r.cache = opts_get(o, "cache");
	r.write = r.resize = true;
	/* the peer lets others write a raw image meanwhile */
	r.alone = cmd_persona == PERSONA_PLATTER;
	return args_open(&r);
}

static int amend_image(const struct opts *o, const char *name, const struct opts *keys,
		       bool help)
{
	struct chain *chain = open_chain(o, name);
	int rc;

	if (!chain)
		return 1;
	rc = help ? show_help(((struct image *)chain->layer[0])->format)
		  : amend_chain(o, keys, chain);
	return args_close(chain, rc);
}

static int amend_with(const struct opts *o, int npos, char **argv, struct opts *keys)
{
	const char *f = opts_get(o, "format");
	const struct format *format;
	bool help;

	if (!opts_has(o, "options"))
		return cmd_usage("Must specify options (-o)");
	if (args_keys(o, "options", keys, &help))
		return 1;
	if (help && f) {
		format = args_format(f);
		return format ? show_help(format) : 1;
	}
	if (npos != 1) {
		cmd_error("Expecting one image file name");
		return 1;
	}
	return amend_image(o, argv[1], keys, help);
}

static int run_amend(int argc, char **argv)
{
	struct opts *o, *keys;
	struct err err;
	int npos, rc = 1;

	o = cmd_parse(&cmd_amend, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	keys = opts_new(&err);
	if (keys)
		rc = amend_with(o, npos, argv, keys);
	else
		cmd_err(&err);
	opts_free(keys);
	opts_free(o);
	return rc;
}

const struct command cmd_amend = {
	.name = "amend",
	.synopsis = "FILENAME",
	.summary = "Change options of an image",
	.opts = amend_opts,
	.run = run_amend,
};
