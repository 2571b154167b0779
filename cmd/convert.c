#include "cmd/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/for.h"
#include "cmd/snapname.h"
#include "lib/mem.h"

#define SECTOR	    512
#define SPARSE	    4096 /* -S */
#define SPARSE_MAX  (16u << 20)
#define THREADS_MAX 16

static const struct opt convert_opts[] = {
	{"source-format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The sources' format, if it should not be guessed"},
	{"target-format", 'O', OPT_STR, 0, "FMT", NULL,
	 "The target's format; without it, the name's extension tells"},
	{"target-options", 'o', OPT_STR, OPT_MANY, "KEY=VALUE,...", NULL,
	 "Options of the target's format; -o help lists them"},
	{"compress", 'c', OPT_FLAG, 0, NULL, NULL, "Compress the target"},
	{"trust-compressed", 0, OPT_FLAG, OPT_OURS, NULL, NULL,
	 "Carry compressed clusters over without inflating them once to prove them sound"},
	{"progress", 'p', OPT_FLAG, 0, NULL, NULL, "Show progress"},
	{"quiet", 'q', OPT_FLAG, 0, NULL, NULL, "Print errors only"},
	{"no-create", 'n', OPT_FLAG, 0, NULL, NULL, "Write into a target that exists"},
	{"target-is-zero", 0, OPT_FLAG, 0, NULL, NULL, "The existing target reads as zeros"},
	{"target-cache", 't', OPT_STR, 0, "CACHE", NULL,
	 "The cache mode of the target (writeback; as qemu-img: unsafe)"},
	{"source-cache", 'T', OPT_STR, 0, "CACHE", NULL,
	 "The cache mode of the sources (writeback)"},
	{"sparse-size", 'S', OPT_SIZE, 0, "SIZE", NULL,
	 "Leave out zeros of this length (4k); 0 writes all"},
	{"parallel", 'm', OPT_NUM, 0, "N", NULL, "Work with N threads"},
	{"out-of-order", 'W', OPT_FLAG, 0, NULL, NULL, "Write out of order"},
	{"copy-range", 'C', OPT_FLAG, 0, NULL, NULL,
	 "Let the kernel copy, without looking for zeros"},
	{"rate-limit", 'r', OPT_SIZE, 0, "RATE", NULL, "Copy RATE bytes a second at most"},
	{"backing", 'B', OPT_STR, 0, "FILE", NULL,
	 "The target is an overlay of FILE, which has what the sources' backing file has"},
	{"backing-format", 'F', OPT_STR, 0, "FMT", NULL, "The backing file's format"},
	{"snapshot", 'l', OPT_STR, 0, "SNAPSHOT", NULL, "Convert this snapshot of the source"},
	{"salvage", 0, OPT_FLAG, 0, NULL, NULL, "Take what cannot be read for zeros"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "The sources' names are lists of options"},
	{"target-image-opts", 0, OPT_FLAG, 0, NULL, NULL,
	 "The target's name is a list of options"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the sources"},
	{"bitmaps", 0, OPT_FLAG, 0, NULL, NULL, "Copy persistent bitmaps, too"},
	{"skip-broken-bitmaps", 0, OPT_FLAG, 0, NULL, NULL,
	 "With --bitmaps, leave out inconsistent ones"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{"for", 0, OPT_STR, OPT_OURS, "TARGET", FOR_NAMES,
	 "Make what TARGET takes: format, options and size; see platter-convert(1)"},
	{NULL, 'b', OPT_STR, OPT_HIDDEN, "FILE"},
	{"oob", 'W', OPT_FLAG, OPT_HIDDEN},
	{"copy-range-offloading", 'C', OPT_FLAG, OPT_HIDDEN},
	{"target-format-options", 'o', OPT_STR, OPT_HIDDEN, "KEY=VALUE,..."},
	{"options", 'o', OPT_STR, OPT_HIDDEN, "KEY=VALUE,..."},
	{"rate", 'r', OPT_SIZE, OPT_HIDDEN, "RATE"},
	{"format", 'f', OPT_STR, OPT_HIDDEN, "FMT"},
	{.type = OPT_END},
};

const char *convert_backing(const struct opts *o)
{
	const char *last = NULL;

	for (size_t i = 0; i < opts_count(o); i++) {
		const char *key = opts_key(o, i);

		if (strcmp(key, "backing") == 0 || strcmp(key, "b") == 0)
			last = opts_value(o, i);
	}
	return last;
}

static int take_sparse(struct convert *c)
{
	const char *text = opts_get(c->o, "sparse-size");

	c->copy.sparse = SPARSE;
	c->copy.sparse_exact = text;
	if (!text)
		return 0;
	if (args_bytes(text, "buffer size for sparse output", &c->copy.sparse))
		return 1;
	if (c->copy.sparse % SECTOR == 0 && c->copy.sparse <= SPARSE_MAX)
		return 0;
	cmd_error("Invalid buffer size for sparse output specified. Valid sizes are multiples "
		  "of %d up to %u. Select 0 to disable sparse detection (fully allocates "
		  "output).",
		  SECTOR, SPARSE_MAX);
	return 1;
}

static int take_threads(struct convert *c)
{
	uint64_t n = args_threads();
	struct err err;

	if (opts_num(c->o, "parallel", THREADS_MAX, &n, &err) || n < 1) {
		cmd_error("Invalid number of coroutines. Allowed number of coroutines is "
			  "between 1 and %d",
			  THREADS_MAX);
		return 1;
	}
	c->copy.threads = (unsigned)n;
	return 0;
}

/* The values of options, each by itself. */
static int take_values(struct convert *c)
{
	const char *rate = opts_get(c->o, "rate-limit");

	if (take_sparse(c) || take_threads(c) ||
	    (rate && args_bytes(rate, "rate limit", &c->copy.rate)))
		return 1;
	c->copy.compress = opts_has(c->o, "compress");
	c->copy.trust_packed = opts_has(c->o, "trust-compressed");
	c->copy.offload = opts_has(c->o, "copy-range");
	c->copy.unordered = opts_has(c->o, "out-of-order") && !c->copy.compress;
	c->copy.salvage = opts_has(c->o, "salvage");
	return 0;
}

/* What goes with what: a text if it does not. */
static const char *check_modes(const struct opts *o)
{
	bool keep = opts_has(o, "no-create"), offload = opts_has(o, "copy-range");

	if (opts_has(o, "skip-broken-bitmaps") && !opts_has(o, "bitmaps"))
		return "Use of --skip-broken-bitmaps requires --bitmaps";
	if (offload && opts_has(o, "compress"))
		return "Cannot enable copy offloading when -c is used";
	if (offload && opts_has(o, "sparse-size"))
		return "Cannot enable copy offloading when -S is used";
	if (offload && opts_has(o, "salvage"))
		return "Cannot use copy offloading in salvaging mode";
	if (opts_has(o, "target-image-opts") && !keep)
		return "--target-image-opts requires use of -n flag";
	if (opts_has(o, "target-is-zero") && !keep)
		return "--target-is-zero requires use of -n flag";
	if (opts_has(o, "target-options") && keep)
		return "-o has no effect when skipping image creation";
	if ((opts_has(o, "image-opts") && opts_has(o, "source-format")) ||
	    (opts_has(o, "target-image-opts") && opts_has(o, "target-format")))
		return "--image-opts and --format are mutually exclusive";
	return NULL;
}

/* The peer takes the form with keys for the first source only, and an ID or name only where
 * there is no other source. */
static bool several_snapshots(const struct opts *o)
{
	const char *text = opts_get(o, "snapshot");

	return text && !snapname_keyed(text);
}

static int open_source(struct convert *c, unsigned i)
{
	struct stack_request r = {
		.name = c->source[i],
		.image_opts = opts_has(c->o, "image-opts"),
		.format = opts_get(c->o, "source-format"),
		.cache = opts_get(c->o, "source-cache"),
		.share = opts_has(c->o, "force-share"),
		.alone = true,
	};

	if (i == 0 && !(c->nsource > 1 && several_snapshots(c->o)))
		r.snapshot = opts_get(c->o, "snapshot");
	c->in[i].chain = args_open(&r);
	if (!c->in[i].chain)
		return 1;
	c->in[i].size = round_up(blk_size(&c->in[i].chain->blk), SECTOR);
	if (__builtin_add_overflow(c->size, c->in[i].size, &c->size) || c->size > INT64_MAX) {
		cmd_error("%s: the sources are too large together", c->source[i]);
		return 1;
	}
	return 0;
}

static int convert_all(struct convert *c)
{
	int rc = 0;

	c->in = calloc(c->nsource, sizeof(*c->in));
	if (!c->in) {
		cmd_error("Out of memory");
		return 1;
	}
	c->copy.source = c->in;
	c->copy.nsource = c->nsource;
	for (unsigned i = 0; rc == 0 && i < c->nsource; i++)
		rc = open_source(c, i);
	if (rc == 0 && c->nsource > 1 && several_snapshots(c->o)) {
		cmd_error("No support for concatenating multiple snapshot");
		rc = 1;
	}
	if (rc == 0)
		rc = opts_has(c->o, "no-create") ? convert_to_existing(c) : convert_to_new(c);
	for (unsigned i = 0; i < c->nsource; i++) {
		struct err ignored; /* nothing was written */

		blk_close(c->in[i].chain ? &c->in[i].chain->blk : NULL, &ignored);
	}
	free(c->in);
	return rc;
}

static int convert_with(const struct opts *o, int npos, char **argv, struct opts *keys)
{
	struct convert c = {.o = o, .source = argv + 1, .image = {.keys = keys}};
	const char *clash;
	bool help;

	if (take_values(&c) || args_snapshot(o) || args_keys(o, "target-options", keys, &help))
		return 1;
	if (opts_has(o, "for") && !(c.to = for_find(opts_get(o, "for"))))
		return 1;
	clash = check_modes(o);
	if (!clash && c.to)
		clash = for_modes(&c);
	if (clash) {
		cmd_error("%s", clash);
		return 1;
	}
	c.target = npos ? argv[npos] : NULL;
	if (help) {
		c.image.format = newimage_format(opts_get(o, "target-format"), 'O', c.target,
						 true);
		return c.image.format ? newimage_help(c.image.format, c.target) : 1;
	}
	if (npos < 2) {
		cmd_error("Must specify image file name");
		return 1;
	}
	c.nsource = (unsigned)npos - 1;
	if (args_cache(opts_get(o, "source-cache"), "source cache") || args_object(o))
		return 1;
	if (convert_backing(o) && opts_has(o, "target-is-zero")) {
		cmd_error("Cannot use --target-is-zero when the destination image has a "
			  "backing file");
		return 1;
	}
	return convert_all(&c);
}

static int run_convert(int argc, char **argv)
{
	struct opts *o, *keys;
	struct err err;
	int npos, done;

	o = cmd_parse(&cmd_convert, argc, argv, &npos, &done);
	if (!o)
		return done;
	done = 1;
	keys = opts_new(&err);
	if (keys)
		done = convert_with(o, npos, argv, keys);
	else
		cmd_err(&err);
	opts_free(keys);
	opts_free(o);
	return done;
}

const struct command cmd_convert = {
	.name = "convert",
	.synopsis = "FILENAME [FILENAME2 ...] OUTPUT_FILENAME",
	.summary = "Copy disks into an image of any format",
	.opts = convert_opts,
	.run = run_convert,
};
