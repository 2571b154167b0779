/*
 * resize: makes a disk larger or smaller.
 *
 * The size is the last word and may begin with a minus: it is taken before options are
 * looked for. Under our own name it may stand anywhere, since an option never begins with
 * a digit.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "lib/mem.h"

static const struct opt resize_opts[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"preallocation", 0, OPT_STR, 0, "MODE", "off|metadata|falloc|full",
	 "What to prepare of what is new"},
	{"shrink", 0, OPT_FLAG, 0, NULL, NULL,
	 "Allow the disk to become smaller: what was behind its new end is lost"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

struct resizing {
	const struct opts *o;
	const char *name;
	int sign; /* 1, -1: relative */
	uint64_t size;
	enum blk_prealloc prealloc;
};

static int take_prealloc(struct resizing *r)
{
	static const enum blk_prealloc kind[] = {PREALLOC_OFF, PREALLOC_METADATA,
						 PREALLOC_FALLOC, PREALLOC_FULL};
	struct err err;
	int i = 0;

	if (opts_choice(r->o, "preallocation", "off|metadata|falloc|full", &i, &err)) {
		cmd_error("Invalid preallocation mode '%s'", opts_get(r->o, "preallocation"));
		return 1;
	}
	r->prealloc = kind[i];
	return 0;
}

static int take_size(struct resizing *r, const char *text)
{
	struct opts *keys;
	struct err err;
	int rc;

	r->sign = text[0] == '+' ? 1 : text[0] == '-' ? -1 : 0;
	keys = opts_new(&err);
	rc = !keys || opts_set(keys, "size", text + (r->sign != 0), &err) ||
	     opts_size(keys, "size", &r->size, &err);
	opts_free(keys);
	if (rc)
		cmd_err(&err);
	return rc;
}

/* The new size, or 1 and it has been said. */
static int new_size(const struct resizing *r, uint64_t old, uint64_t *size)
{
	*size = r->sign > 0 ? old + r->size : r->sign < 0 ? old - r->size : r->size;
	if ((r->sign < 0 && r->size > old) || *size == 0 || *size > INT64_MAX) {
		cmd_error("New image size must be positive");
		return 1;
	}
	if (*size <= old && r->prealloc != PREALLOC_OFF) {
		cmd_error("Preallocation can only be used for growing images");
		return 1;
	}
	if (*size >= old || opts_has(r->o, "shrink"))
		return 0;
	cmd_error("Use the --shrink option to perform a shrink operation.");
	cmd_warn("Shrinking an image will delete all data beyond the shrunken image's end. "
		 "Before performing such an operation, make sure there is no important data "
		 "there.");
	return 1;
}

static int resize_chain(const struct resizing *r, struct chain *chain)
{
	uint64_t size;
	struct err err;

	if (new_size(r, blk_size(&chain->blk), &size))
		return 1;
	if (chain_resize(chain, size, r->prealloc, &err)) {
		cmd_err(&err);
		return 1;
	}
	return 0;
}

static int resize_image(const struct resizing *r)
{
	struct stack_request request;
	struct chain *chain;
	int rc;

	if (args_source(r->o, r->name, &request) || args_object(r->o))
		return 1;
	request.write = request.resize = true;
	/* the peer lets others write a raw image meanwhile */
	request.alone = cmd_persona == PERSONA_PLATTER;
	chain = args_open(&request);
	if (!chain)
		return 1;
	rc = resize_chain(r, chain);
	rc = args_close(chain, rc);
	if (rc == 0 && !opts_has(r->o, "quiet"))
		puts("Image resized.");
	return rc;
}

/* The place in argv of the word that is the size though it may look like an option; 0: it
 * is a positional like others. */
static int find_size(int argc, char **argv)
{
	if (cmd_persona == PERSONA_QEMU_IMG)
		return argc > 2 ? argc - 1 : 0;
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (argv[i][0] == '-' && isdigit((unsigned char)argv[i][1]))
			return i;
	return 0;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int run_resize(int argc, char **argv)
{
	struct resizing r = {0};
	struct opts *o;
	const char *size = NULL;
	int npos, rc = 1, at = asks_for_help(argc, argv) ? 0 : find_size(argc, argv);

	if (at) {
		size = argv[at];
		memmove(&argv[at], &argv[at + 1], (size_t)(argc - at) * sizeof(*argv));
		argc--;
	}
	o = cmd_parse(&cmd_resize, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	if (!size && npos > 1)
		size = argv[npos--];
	r.o = o;
	r.name = argv[1];
	if (!size)
		rc = cmd_usage("Not enough arguments");
	else if (take_prealloc(&r))
		rc = 1;
	else if (npos != 1)
		rc = cmd_usage("Expecting image file name and size");
	else
		rc = take_size(&r, size) || resize_image(&r) ? 1 : 0;
	opts_free(o);
	return rc;
}

const struct command cmd_resize = {
	.name = "resize",
	.synopsis = "FILENAME [+|-]SIZE",
	.summary = "Make a disk larger or smaller",
	.opts = resize_opts,
	.run = run_resize,
};
