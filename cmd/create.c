/*
 * create: makes a new, empty image.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/newimage.h"
#include "lib/location.h"
#include "lib/mem.h"

static const struct opt create_opts[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The new image's format; without it, the name's extension tells"},
	{"backing", 'b', OPT_STR, 0, "FILE", NULL,
	 "Make an overlay: what is not written in it is read from FILE"},
	{"backing-format", 'F', OPT_STR, 0, "FMT", NULL, "The backing file's format"},
	{"backing-format", 'B', OPT_STR, OPT_HIDDEN, "FMT"},
	{"backing-unsafe", 'u', OPT_FLAG, 0, NULL, NULL,
	 "Do not open the backing file; needs a SIZE"},
	{"options", 'o', OPT_STR, OPT_MANY, "KEY=VALUE,...", NULL,
	 "Options of the format; -o help lists them"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

struct making {
	struct newimage image; /* its keys: -o, -b and -F */
	uint64_t size;
	bool has_size, quiet;
};

/* The size may be told by an argument or by a key, once. */
static int take_size(struct making *m, struct err *err)
{
	if (!opts_has(m->image.keys, "size"))
		return 0;
	if (m->has_size)
		return err_set(err, EINVAL, "The image size must be specified only once");
	m->has_size = true;
	if (opts_size(m->image.keys, "size", &m->size, err))
		return -1;
	opts_unset(m->image.keys, "size");
	return 0;
}

/* The backing file must open with all that is below it, and its size is ours if no other
 * was given. Others may be writing it: only its metadata counts. */
static int open_backing(struct making *m, const char *path, struct err *err)
{
	const char *format = opts_get(m->image.keys, "backing_fmt");
	struct stack_request r = {.name = path, .format = format, .share = true, .bare = true};
	struct chain *chain = stack_open(&r, err);
	struct err later;
	int rc = 0;

	if (!chain)
		return err_hint(err, "Could not open backing image.");
	if (!format) {
		err_set(err, EINVAL, "Backing file specified without backing format");
		rc = err_hint(err, "Detected format of %s.",
			      ((struct image *)chain->layer[0])->format->name);
	}
	if (!m->has_size) {
		m->size = blk_size(&chain->blk);
		m->has_size = true;
	}
	blk_close(&chain->blk, &later); /* nothing was written */
	return rc;
}

static int check_backing(struct making *m, bool unsafe, struct err *err)
{
	const char *backing = opts_get(m->image.keys, "backing_file");
	AUTO_FREE char *path = NULL;

	if (!backing)
		return 0;
	if (newimage_not_below(&m->image, err))
		return -1;
	if (!backing[0])
		return err_set(err, EINVAL, "Expected backing file name, got empty string");
	path = location_relative(m->image.name, backing, err);
	if (!path)
		return -1;
	if (!unsafe)
		return open_backing(m, path, err);
	if (!opts_has(m->image.keys, "backing_fmt"))
		return err_set(err, EINVAL, "Backing file specified without backing format");
	return 0;
}

/* A value as one would have to type it again. */
static void print_value(const struct making *m, const struct opt *t, const char *value)
{
	uint64_t n = 0;
	struct err err;

	/* These were checked; what is not given is printed as the table has it. */
	if (value != t->initial && (t->type == OPT_SIZE || t->type == OPT_NUM)) {
		if (t->type == OPT_SIZE)
			opts_size(m->image.keys, t->name, &n, &err);
		else
			opts_num(m->image.keys, t->name, UINT64_MAX, &n, &err);
		printf("%" PRIu64, n);
		return;
	}
	for (; *value; value++) {
		if (*value == ',')
			putchar(',');
		putchar(*value);
	}
}

static void print_keys(const struct making *m, const struct opt *table)
{
	for (const struct opt *t = table; t && t->type != OPT_END; t++) {
		const char *value = opts_get(m->image.keys, t->name);

		if (newimage_row(&m->image, t->name) != t)
			continue; /* the protocol's, and the format has it too */
		if (strcmp(t->name, "size") == 0) {
			printf(" size=%" PRIu64, m->size);
			continue;
		}
		if (!value)
			value = t->initial;
		if (!value)
			continue;
		printf(" %s=", t->name);
		print_value(m, t, value);
	}
}

static int make(const struct making *m, struct err *err)
{
	struct stack_create c = {.name = m->image.name,
				 .format = m->image.format,
				 .opts = m->image.keys,
				 .size = m->size,
				 .in_place = cmd_persona == PERSONA_QEMU_IMG};
	struct stack_target t;

	if (!m->quiet) {
		printf("Formatting '%s', fmt=%s", m->image.name, m->image.format->name);
		print_keys(m, m->image.format->create_opts);
		print_keys(m, m->image.protocol->create_opts);
		putchar('\n');
		fflush(stdout);	  /* the making may take its time */
		clearerr(stdout); /* who lost this line has the image all the same */
	}
	if (stack_target_create(&c, &t, err))
		return -1;
	if (!m->quiet)
		newimage_tell_size(c.name, c.format, c.size, t.size);
	return stack_target_finish(&t, err);
}

static int create(struct making *m, const struct opts *o, struct err *err)
{
	if (!(m->image.format->caps & FORMAT_CREATE))
		return err_set(err, ENOTSUP,
			       "Format driver '%s' does not support image creation",
			       m->image.format->name);
	m->image.protocol = newimage_protocol(m->image.name, err);
	if (m->image.protocol && !m->image.protocol->create_opts)
		return err_set(err, ENOTSUP,
			       "Protocol driver '%s' does not support image creation",
			       m->image.protocol->name);
	if (!m->image.protocol || newimage_check(&m->image, err) || take_size(m, err) ||
	    newimage_backing(&m->image, opts_get(o, "backing"), opts_get(o, "backing-format"),
			     err) ||
	    check_backing(m, opts_has(o, "backing-unsafe"), err))
		return -1;
	if (!m->has_size)
		return err_set(err, EINVAL, "Image creation needs a size parameter");
	return make(m, err);
}

/* -f, or under our own name what the new name says. */
static const struct format *choose_format(const struct opts *o, const char *name, bool help)
{
	const char *f = opts_get(o, "format");

	if (f || cmd_persona == PERSONA_QEMU_IMG || !name)
		return args_format_for(f ? f : "raw", help ? NULL : name);
	return newimage_format(NULL, 'f', name, opts_has(o, "quiet") || help);
}

static int create_with(const struct opts *o, int npos, char **argv, struct opts *keys)
{
	struct making m = {.image = {.keys = keys}, .quiet = opts_has(o, "quiet")};
	struct err err;
	bool help;

	m.image.name = npos ? argv[1] : NULL;
	if (args_keys(o, "options", keys, &help))
		return 1;
	if (!help && !m.image.name)
		return cmd_usage("Expecting image file name");
	if (!help && npos > 1) {
		if (args_size(argv[2], &m.size))
			return 1;
		m.has_size = true;
	}
	if (!help && npos > 2)
		return cmd_usage("Unexpected argument: %s", argv[3]);
	if (args_object(o))
		return 1;
	m.image.format = choose_format(o, m.image.name, help);
	if (!m.image.format)
		return 1;
	if (help && (m.image.format->caps & FORMAT_CREATE))
		return newimage_help(m.image.format, m.image.name);
	if (help) {
		cmd_error("Format driver '%s' does not support image creation",
			  m.image.format->name);
		return 1;
	}
	if (create(&m, o, &err)) {
		cmd_error("%s: %s", m.image.name, err.text);
		return 1;
	}
	return 0;
}

static int run_create(int argc, char **argv)
{
	struct opts *o, *keys;
	struct err err;
	int npos, rc = 1;

	o = cmd_parse(&cmd_create, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	keys = opts_new(&err);
	if (keys)
		rc = create_with(o, npos, argv, keys);
	else
		cmd_err(&err);
	opts_free(keys);
	opts_free(o);
	return rc;
}

const struct command cmd_create = {
	.name = "create",
	.synopsis = "FILENAME [SIZE]",
	.summary = "Make a new, empty image",
	.opts = create_opts,
	.run = run_create,
};
