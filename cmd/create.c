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
#include "cmd/catalog.h"
#include "cmd/cmd.h"
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
	const char *name;
	const struct format *format;
	const struct protocol *protocol;
	struct opts *keys; /* -o, -b and -F */
	uint64_t size;
	bool has_size, quiet;
};

/* Where the new image goes: decides which protocol's options are taken. */
static const struct protocol *protocol_of(const char *name, struct err *err)
{
	const struct protocol *p = &io_file;
	const char *driver, *path;
	struct location l;
	struct stat st;

	if (strncmp(name, "json:", 5) == 0) {
		err_set(err, EINVAL, "Unknown protocol 'json'");
		return NULL;
	}
	if (location_parse(name, &l, err))
		return NULL;
	driver = opts_get(l.opts, "file.driver");
	path = location_path(&l);
	if (driver)
		p = catalog_protocol(driver);
	else if (path && stat(path, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)))
		p = &io_host_device;
	if (!p)
		err_set(err, EINVAL, "Unknown protocol '%s'", driver);
	location_free(&l);
	return p;
}

static int help_keys(const struct format *f, const char *name)
{
	const struct opt *tables[3] = {f->create_opts};
	const struct protocol *p;
	unsigned without = cmd_persona == PERSONA_QEMU_IMG ? OPT_OURS : 0;
	struct err err;

	if (!name) {
		printf("Supported %s options:\n", f->name);
		opt_help_keys(stdout, tables, 0, without);
		puts("\nThe protocol level may support further options.\n"
		     "Specify the target filename to include those options.");
		return 0;
	}
	p = protocol_of(name, &err);
	if (!p) {
		cmd_err(&err);
		return 1;
	}
	tables[1] = p->create_opts;
	puts("Supported options:");
	opt_help_keys(stdout, tables, 0, without);
	return 0;
}

static const struct opt *row_of(const struct making *m, const char *key)
{
	const struct opt *const tables[] = {m->format->create_opts, m->protocol->create_opts};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		for (const struct opt *t = tables[i]; t && t->type != OPT_END; t++) {
			if (strcmp(t->name, key) == 0)
				return t;
		}
	}
	return NULL;
}

/* Each value must be of its row's type, before anything else is looked at. */
static int check_types(const struct making *m, struct err *err)
{
	for (size_t i = 0; i < opts_count(m->keys); i++) {
		const char *key = opts_key(m->keys, i);
		const struct opt *t = row_of(m, key);
		uint64_t n;
		bool b;

		if (!t)
			return err_set(err, EINVAL, "Invalid parameter '%s'", key);
		if ((t->type == OPT_SIZE && opts_size(m->keys, key, &n, err)) ||
		    (t->type == OPT_NUM && opts_num(m->keys, key, UINT64_MAX, &n, err)) ||
		    ((t->type == OPT_BOOL || t->type == OPT_FLAG) &&
		     opts_bool(m->keys, key, &b, err)))
			return -1;
	}
	return 0;
}

/* The size may be told by an argument or by a key, once. */
static int take_size(struct making *m, struct err *err)
{
	if (!opts_has(m->keys, "size"))
		return 0;
	if (m->has_size)
		return err_set(err, EINVAL, "The image size must be specified only once");
	m->has_size = true;
	if (opts_size(m->keys, "size", &m->size, err))
		return -1;
	opts_unset(m->keys, "size");
	return 0;
}

static int take_backing(const struct making *m, const struct opts *o, struct err *err)
{
	static const struct {
		const char *option, *key, *what;
	} t[] = {
		{"backing", "backing_file", "Backing file"},
		{"backing-format", "backing_fmt", "Backing file format"},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		const char *value = opts_get(o, t[i].option);

		if (!value)
			continue;
		if (!row_of(m, t[i].key))
			return err_set(err, ENOTSUP, "%s not supported for file format '%s'",
				       t[i].what, m->format->name);
		if (opts_set(m->keys, t[i].key, value, err))
			return -1;
	}
	return 0;
}

/* Is the backing file the file that will be replaced? */
static bool same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	return strcmp(a, b) == 0 || (stat(a, &sa) == 0 && stat(b, &sb) == 0 &&
				     sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
}

/* Takes the words that stack_open puts first away again: here the peer has none. */
static void unprefix(struct err *err, const char *name)
{
	char prefix[ERR_TEXT_MAX];
	int n = snprintf(prefix, sizeof(prefix), "Could not open '%s': ", name);

	if (n > 0 && (size_t)n < sizeof(prefix) && strncmp(err->text, prefix, (size_t)n) == 0)
		memmove(err->text, err->text + n, strlen(err->text + n) + 1);
}

/* The backing file must open with all that is below it, and its size is ours if no other
 * was given. Others may be writing it: only its metadata counts. */
static int open_backing(struct making *m, const char *path, struct err *err)
{
	const char *format = opts_get(m->keys, "backing_fmt");
	struct stack_request r = {.name = path, .format = format, .share = true};
	struct chain *chain = stack_open(&r, err);
	struct err later;
	int rc = 0;

	if (!chain) {
		unprefix(err, path);
		return err_hint(err, "Could not open backing image.");
	}
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
	const char *backing = opts_get(m->keys, "backing_file");
	AUTO_FREE char *path = NULL;

	if (!backing)
		return 0;
	if (strcmp(backing, m->name) == 0)
		goto same;
	if (!backing[0])
		return err_set(err, EINVAL, "Expected backing file name, got empty string");
	path = location_relative(m->name, backing, err);
	if (!path)
		return -1;
	if (same_file(path, m->name))
		goto same;
	if (!unsafe)
		return open_backing(m, path, err);
	if (!opts_has(m->keys, "backing_fmt"))
		return err_set(err, EINVAL, "Backing file specified without backing format");
	return 0;
same:
	return err_set(err, EINVAL,
		       "Error: Trying to create an image with the same filename as the "
		       "backing file");
}

/* A value as one would have to type it again. */
static void print_value(const struct making *m, const struct opt *t, const char *value)
{
	uint64_t n = 0;
	struct err err;

	/* These were checked; what is not given is printed as the table has it. */
	if (value != t->initial && (t->type == OPT_SIZE || t->type == OPT_NUM)) {
		if (t->type == OPT_SIZE)
			opts_size(m->keys, t->name, &n, &err);
		else
			opts_num(m->keys, t->name, UINT64_MAX, &n, &err);
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
		const char *value = opts_get(m->keys, t->name);

		if (row_of(m, t->name) != t)
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
	struct stack_create c = {
		.name = m->name, .format = m->format, .opts = m->keys, .size = m->size};
	struct stack_target t;

	if (!m->quiet) {
		printf("Formatting '%s', fmt=%s", m->name, m->format->name);
		print_keys(m, m->format->create_opts);
		print_keys(m, m->protocol->create_opts);
		putchar('\n');
	}
	if (stack_target_create(&c, &t, err))
		return -1;
	return stack_target_finish(&t, err);
}

static int create(struct making *m, const struct opts *o, struct err *err)
{
	if (!(m->format->caps & FORMAT_CREATE))
		return err_set(err, ENOTSUP,
			       "Format driver '%s' does not support image creation",
			       m->format->name);
	m->protocol = protocol_of(m->name, err);
	if (!m->protocol || check_types(m, err) || take_size(m, err) ||
	    take_backing(m, o, err) || check_backing(m, opts_has(o, "backing-unsafe"), err))
		return -1;
	if (!m->has_size)
		return err_set(err, EINVAL, "Image creation needs a size parameter");
	return make(m, err);
}

/* -f, or under our own name what the new name says. */
static const struct format *choose_format(const struct opts *o, const char *name, bool help)
{
	const char *f = opts_get(o, "format");
	const struct format *format = NULL;

	if (f || cmd_persona == PERSONA_QEMU_IMG || !name)
		return args_format_for(f ? f : "raw", help ? NULL : name);
	format = catalog_by_extension(name);
	if (!opts_has(o, "quiet") && !help)
		cmd_error("writing %s, %s (-f to choose)", format ? format->name : "raw",
			  format ? "from the name's extension"
				 : "since the name's extension tells nothing");
	return format ? format : catalog_format("raw");
}

static int create_with(const struct opts *o, int npos, char **argv, struct opts *keys)
{
	struct making m = {.keys = keys, .quiet = opts_has(o, "quiet")};
	struct err err;
	bool help;

	m.name = npos ? argv[1] : NULL;
	if (args_keys(o, "options", keys, &help))
		return 1;
	if (!help && !m.name)
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
	m.format = choose_format(o, m.name, help);
	if (!m.format)
		return 1;
	if (help)
		return help_keys(m.format, m.name);
	if (create(&m, o, &err)) {
		cmd_error("%s: %s", m.name, err.text);
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
