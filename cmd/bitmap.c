/*
 * bitmap: changes of one of an image's persistent dirty bitmaps.
 */
#include "cmd/args.h"
#include "cmd/cmd.h"
#include "lib/dirty.h"

#include <errno.h>
#include <string.h>

static const struct opt bitmap_opts[] = {
	{"add", 0, OPT_FLAG, OPT_MANY, NULL, NULL,
	 "Make the bitmap; it follows what is written"},
	{"remove", 0, OPT_FLAG, OPT_MANY, NULL, NULL, "Remove it"},
	{"clear", 0, OPT_FLAG, OPT_MANY, NULL, NULL, "Clear all bits"},
	{"enable", 0, OPT_FLAG, OPT_MANY, NULL, NULL, "From now on it follows what is written"},
	{"disable", 0, OPT_FLAG, OPT_MANY, NULL, NULL, "From now on it stays as it is"},
	{"merge", 0, OPT_STR, OPT_MANY, "SOURCE", NULL,
	 "Set what is set in the bitmap SOURCE, of this image or that of -b"},
	{"source-file", 'b', OPT_STR, 0, "FILE", NULL,
	 "The image that has the bitmaps of --merge"},
	{"source-format", 'F', OPT_STR, 0, "FMT", NULL, "Its format"},
	{"granularity", 'g', OPT_SIZE, 0, "N", NULL,
	 "With --add: bytes of the disk for each bit, a power of two"},
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

struct target {
	const struct opts *o;
	struct image *image;
	const struct bitmap_ops *ops; /* NULL: the format knows no bitmaps */
	const char *name;	      /* of the bitmap */
	uint64_t granularity;
};

static int not_found(const char *name, struct err *err)
{
	return err_set(err, ENOENT, "Dirty bitmap '%s' not found", name);
}

static int add(const struct target *t, struct err *err)
{
	uint64_t g = t->granularity;

	if (t->ops)
		return t->ops->add(t->image, t->name, g, true, err);
	if (t->name[0] == '\0')
		return err_set(err, EINVAL, "Bitmap name cannot be empty");
	if (g && ((g & (g - 1)) || g < 512 || g > UINT64_C(1) << 31))
		return err_set(err, EINVAL, "Granularity must be power of 2 and at least 512");
	return err_set(err, ENOTSUP, "Can't store persistent bitmaps to %s: %s",
		       t->image->blk.name, "Operation not supported");
}

/* The bits of `source` in an image. */
static int read_source(struct image *image, const char *source, struct dirty **bits,
		       struct err *err)
{
	const struct bitmap_ops *ops = image->format->bitmap;

	*bits = NULL;
	return ops ? ops->read(image, source, bits, err) : not_found(source, err);
}

static int merge(const struct target *t, const char *source, struct image *from,
		 struct err *err)
{
	struct dirty *bits;
	int rc;

	/* the peer looks at the bitmap before it looks at the source */
	if (!t->ops)
		return not_found(t->name, err);
	if (t->ops->find(t->image, t->name, err) || read_source(from, source, &bits, err))
		return -1;
	rc = t->ops->merge(t->image, t->name, bits, err);
	dirty_free(bits);
	return rc;
}

/* Opens the image of -b for one merge. 1: it has been said. */
static int merge_from(const struct target *t, const char *source, struct err *err)
{
	struct stack_request r = {
		.name = opts_get(t->o, "source-file"),
		.format = opts_get(t->o, "source-format"),
		.no_backing = true,
	};
	struct err later;
	struct chain *chain;
	int rc;

	if (!r.name)
		return merge(t, source, t->image, err);
	chain = stack_open(&r, err);
	if (!chain) {
		cmd_err(err);
		return 1;
	}
	rc = merge(t, source, (struct image *)chain->layer[0], err);
	blk_close(&chain->blk, &later); /* nothing was written */
	return rc;
}

/* An option that is an action; 1: it is none, or failed and it has been said. */
static int act(const struct target *t, const char *key, const char *value, struct err *err)
{
	if (strcmp(key, "add") == 0)
		return add(t, err);
	if (strcmp(key, "merge") == 0)
		return merge_from(t, value, err);
	if (!t->ops)
		return not_found(t->name, err);
	if (strcmp(key, "remove") == 0)
		return t->ops->remove(t->image, t->name, err);
	if (strcmp(key, "clear") == 0)
		return t->ops->clear(t->image, t->name, err);
	return t->ops->enable(t->image, t->name, strcmp(key, "enable") == 0, err);
}

static bool is_action(const char *key)
{
	static const char *const actions[] = {"add",	 "remove", "clear", "enable",
					      "disable", "merge",  NULL};

	for (size_t i = 0; actions[i]; i++)
		if (strcmp(key, actions[i]) == 0)
			return true;
	return false;
}

/* The actions in the order in which they were given, up to the first that fails. */
static int act_all(const struct target *t)
{
	struct err err;

	for (size_t i = 0; i < opts_count(t->o); i++) {
		const char *key = opts_key(t->o, i);
		int rc = is_action(key) ? act(t, key, opts_value(t->o, i), &err) : 0;

		if (rc < 0)
			cmd_error("Operation %s on bitmap %s failed: %s", key, t->name,
				  err.text);
		if (rc)
			return 1;
	}
	return 0;
}

static int bitmap_in(const struct opts *o, const char *name, struct target *t)
{
	struct stack_request r;
	struct chain *chain;
	int rc;

	if (args_source(o, name, &r) || args_object(o))
		return 1;
	r.write = true;
	r.no_backing = true;
	chain = args_open(&r);
	if (!chain)
		return 1;
	t->image = (struct image *)chain->layer[0];
	t->ops = t->image->format->bitmap;
	rc = act_all(t);
	return args_close(chain, rc);
}

/* A text if the options do not go together. */
static const char *check_usage(const struct opts *o, int npos)
{
	bool any = false;

	for (size_t i = 0; i < opts_count(o); i++)
		any |= is_action(opts_key(o, i));
	if (!any)
		return "Need at least one of --add, --remove, --clear, --enable, --disable, or "
		       "--merge";
	if (opts_has(o, "granularity") && !opts_has(o, "add"))
		return "granularity only supported with --add";
	if (opts_has(o, "source-format") && !opts_has(o, "source-file"))
		return "-F only supported with -b";
	if (opts_has(o, "source-file") && !opts_has(o, "merge"))
		return "Merge bitmap source file only supported with --merge";
	return npos == 2 ? NULL : "Expecting filename and bitmap name";
}

static int run_bitmap(int argc, char **argv)
{
	struct target t = {0};
	const char *g, *bad;
	struct opts *o;
	int npos, rc = 1;

	o = cmd_parse(&cmd_bitmap, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	rc = 1;
	g = opts_get(o, "granularity");
	bad = check_usage(o, npos);
	if (g && args_bytes(g, "granularity", &t.granularity)) {
		rc = 1;
	} else if (bad) {
		cmd_error("%s", bad);
	} else {
		t.o = o;
		t.name = argv[2];
		rc = bitmap_in(o, argv[1], &t);
	}
	opts_free(o);
	return rc;
}

const struct command cmd_bitmap = {
	.name = "bitmap",
	.synopsis = "FILENAME BITMAP",
	.summary = "Change a persistent dirty bitmap of an image",
	.opts = bitmap_opts,
	.run = run_bitmap,
};
