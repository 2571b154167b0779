#include "cmd/dd.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "cmd/args.h"
#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "cmd/newimage.h"
#include "lib/copy.h"
#include "lib/filter/pass.h"
#include "lib/mem.h"

#define SECTOR 512
#define SPARSE 4096

static const struct opt dd_opts[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The input's format, if it should not be guessed"},
	{"output-format", 'O', OPT_STR, 0, "FMT", NULL,
	 "The output's format; without it, the name's extension tells (as qemu-img: raw)"},
	{"no-create", 'n', OPT_FLAG, OPT_OURS, NULL, NULL, "Write into an output that exists"},
	{"snapshot", 'l', OPT_STR, OPT_OURS, "SNAPSHOT", NULL,
	 "Copy this snapshot of the input"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "The input's name is a list of options"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the input"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

struct dd {
	const struct opts *o;
	const char *in, *out; /* NULL: standard input, output */
	bool has_in, has_out; /* named, if only by "-" */
	uint64_t bs, count, skip, osize;
	bool has_count, has_osize;
	struct chain *source; /* NULL: a stream */
	uint64_t from, n;     /* what is copied of it */
	uint64_t size;	      /* of the output */
};

static const char *stream_or(const char *name)
{
	return strcmp(name, "-") ? name : NULL;
}

/* KEY=VALUE. The name of an unknown one is told as the peer tells it: up to the '='. */
static int take_operand(struct dd *d, const char *text)
{
	size_t n = strcspn(text, "=");
	const char *value = text + n + 1;
	char key[8] = "";

	if (n < sizeof(key) && text[n])
		memcpy(key, text, n);
	if (strcmp(key, "if") == 0) {
		d->in = stream_or(value);
		d->has_in = true;
	} else if (strcmp(key, "of") == 0) {
		d->out = stream_or(value);
		d->has_out = true;
	} else if (strcmp(key, "bs") == 0) {
		return args_range(value, "bs", 1, INT_MAX, &d->bs);
	} else if (strcmp(key, "count") == 0) {
		d->has_count = true;
		return args_bytes(value, "count", &d->count);
	} else if (strcmp(key, "skip") == 0) {
		return args_bytes(value, "skip", &d->skip);
	} else if (strcmp(key, "osize") == 0) {
		d->has_osize = true;
		return args_bytes(value, "osize", &d->osize);
	} else {
		cmd_error("unrecognized operand %.*s", (int)n, text);
		return 1;
	}
	return 0;
}

/*
 * Which of both is a stream? The peer has none; there it is a mistake that callers may count
 * on, unless they speak the dialect that has them.
 */
static int check_ends(const struct dd *d)
{
	bool dialect = d->has_osize || opts_has(d->o, "no-create") ||
		       opts_has(d->o, "snapshot") || cmd_persona == PERSONA_PLATTER;

	if ((!d->in && !d->out) || ((!d->has_in || !d->has_out) && !dialect)) {
		cmd_error("Must specify both input and output files");
		return 1;
	}
	if (!d->in && (opts_has(d->o, "snapshot") || opts_has(d->o, "image-opts"))) {
		cmd_error("-l and --image-opts need the name of an input: if=INPUT");
		return 1;
	}
	if (!d->out && opts_has(d->o, "no-create")) {
		cmd_error("-n needs the name of an output: of=OUTPUT");
		return 1;
	}
	if (!d->out && isatty(STDOUT_FILENO)) {
		cmd_error("Standard output is a terminal: it is not for disks");
		return 1;
	}
	return 0;
}

/* A stream can only be raw. */
static int check_raw(const char *format, const char *stream)
{
	if (!format || strcmp(format, "raw") == 0)
		return 0;
	cmd_error("Standard %s can only be raw, not %s", stream, format);
	return 1;
}

static int open_source(struct dd *d)
{
	struct stack_request r;

	if (args_source(d->o, d->in, &r))
		return 1;
	r.snapshot = opts_get(d->o, "snapshot");
	d->source = args_open(&r);
	return d->source ? 0 : 1;
}

/* What there is to copy: known of an image and of a file; else what osize= says. */
static int input_size(const struct dd *d, uint64_t *size)
{
	if (d->source) {
		*size = round_up(blk_size(&d->source->blk), SECTOR);
		return 0;
	}
	if (dd_stream_size(size))
		return 0;
	if (d->has_osize) {
		*size = INT64_MAX;
		return 0;
	}
	cmd_error("Standard input does not tell its size: osize=SIZE is needed");
	return 1;
}

/* As the peer counts: `count` from the beginning of the input, skipped blocks among them. */
static int choose_window(struct dd *d)
{
	uint64_t size, limit;

	if (input_size(d, &size))
		return 1;
	if (d->has_count && !__builtin_mul_overflow(d->count, d->bs, &limit))
		size = MIN(size, limit);
	if (__builtin_mul_overflow(d->skip, d->bs, &d->from) || d->from > size) {
		cmd_error("%s: cannot skip to specified offset",
			  d->in ? d->in : "standard input");
		d->from = size;
	}
	d->n = size - d->from;
	if (d->has_osize)
		d->n = MIN(d->n, d->osize);
	d->size = d->has_osize ? d->osize : d->n;
	return 0;
}

/* The part of the source that is copied, as a chain of its own. */
static struct chain *window(const struct dd *d, struct err *err)
{
	uint64_t whole = blk_size(&d->source->blk), from = MIN(d->from, whole);
	struct blk *all = pass_borrow(&d->source->blk, err);
	struct blk *part;
	struct err later;

	if (!all)
		return NULL;
	part = region_new(all, from, MIN(d->n, whole - from), err);
	if (!part) {
		blk_close(all, &later);
		return NULL;
	}
	return chain_new(part, err);
}

/* An output that is there keeps what follows the n bytes, which a new one fills up. */
static int copy_source(const struct dd *d, struct chain *target, bool zero, uint64_t n,
		       struct err *err)
{
	struct copy_source from = {.chain = window(d, err), .size = n};
	struct copy copy = {
		.source = &from,
		.nsource = 1,
		.target = target,
		.threads = args_threads(),
		.sparse = cmd_persona == PERSONA_PLATTER ? SPARSE : 0,
		.target_zero = zero,
	};
	struct err ignored;
	int rc;

	if (!from.chain)
		return -1;
	rc = copy_run(&copy, err);
	blk_close(&from.chain->blk, &ignored); /* nothing was written */
	return rc;
}

static int copy_to(const struct dd *d, struct chain *target, bool zero, uint64_t n,
		   struct err *err)
{
	bool reached;

	if (n == 0)
		return 0;
	if (d->source)
		return copy_source(d, target, zero, n, err);
	if (dd_read_stream(&target->blk, d->from, d->n, zero, &reached, err))
		return -1;
	if (!reached)
		cmd_error("standard input: cannot skip to specified offset");
	return 0;
}

/* The format of the output; NULL: it has been said. */
static const struct format *output_format(const struct dd *d)
{
	const char *given = opts_get(d->o, "output-format");

	if (cmd_persona == PERSONA_PLATTER || !given || catalog_format(given) ||
	    catalog_protocol(given))
		return newimage_format(given, 'O', d->out, false);
	cmd_error("Unknown file format");
	return NULL;
}

static void tell_create(const struct dd *d, const struct err *err)
{
	if (strncmp(err->text, "Unknown protocol", 16) == 0)
		cmd_err(err);
	else
		cmd_error("%s: error while creating output image: %s", d->out, err->text);
}

static int fill_new(const struct dd *d, struct stack_target *t)
{
	bool zero = t->chain->layer[0]->caps & BLK_ZERO_INIT;
	struct err err;

	if (copy_to(d, t->chain, zero, MIN(round_up(d->n, SECTOR), blk_size(&t->chain->blk)),
		    &err)) {
		cmd_err(&err);
		stack_target_abandon(t);
		return 1;
	}
	if (stack_target_finish(t, &err)) {
		cmd_err(&err);
		return 1;
	}
	return 0;
}

static int to_new(const struct dd *d, const struct format *format, const struct opts *none)
{
	struct stack_create create = {
		.name = d->out,
		.format = format,
		.opts = none,
		.size = d->size,
		.in_place = cmd_persona == PERSONA_QEMU_IMG,
	};
	struct stack_target t;
	struct err err;

	if (!(format->caps & FORMAT_CREATE)) {
		cmd_error("Format driver '%s' does not support image creation", format->name);
		return 1;
	}
	if (d->in && newimage_same(d->in, d->out)) {
		cmd_error("%s: the output is the input: it would be emptied before it is read",
			  d->out);
		return 1;
	}
	if (stack_target_create(&create, &t, &err)) {
		tell_create(d, &err);
		return 1;
	}
	newimage_tell_size(d->out, format, d->size, t.size);
	if (stack_target_open(&create, &t, &err)) {
		cmd_err(&err);
		return 1;
	}
	return fill_new(d, &t);
}

static int to_existing(const struct dd *d, const struct format *format)
{
	struct stack_request r = {.name = d->out, .format = format->name, .write = true};
	struct chain *target;
	struct err err;
	int rc;

	target = args_open(&r);
	if (!target)
		return 1;
	if (d->source && blk_size(&target->blk) < d->n) {
		cmd_error("output file is smaller than input file");
		blk_close(&target->blk, &err);
		return 1;
	}
	rc = copy_to(d, target, false, d->n, &err) || blk_flush(&target->blk, &err);
	if (rc)
		cmd_err(&err);
	return args_close(target, rc);
}

static int to_stream(const struct dd *d)
{
	struct err err;
	struct chain *from;
	int rc;

	if (check_raw(opts_get(d->o, "output-format"), "output"))
		return 1;
	from = window(d, &err);
	rc = !from || dd_write_stream(&from->blk, d->n, d->size, &err);
	if (rc)
		cmd_err(&err);
	blk_close(from ? &from->blk : NULL, &err);
	return rc;
}

static int copy_all(struct dd *d)
{
	const struct format *format;
	struct opts *none;
	struct err err;
	int rc;

	if (!d->out)
		return choose_window(d) || to_stream(d);
	format = output_format(d);
	if (!format || choose_window(d))
		return 1;
	if (opts_has(d->o, "no-create"))
		return to_existing(d, format);
	none = opts_new(&err);
	if (!none) {
		cmd_err(&err);
		return 1;
	}
	rc = to_new(d, format, none);
	opts_free(none);
	return rc;
}

static int dd_with(struct dd *d, int npos, char **argv)
{
	struct err ignored;
	int rc;

	for (int i = 1; i <= npos; i++)
		if (take_operand(d, argv[i]))
			return 1;
	if (check_ends(d) || args_object(d->o) || args_snapshot(d->o))
		return 1;
	rc = d->in ? open_source(d) : check_raw(opts_get(d->o, "format"), "input");
	if (rc == 0)
		rc = copy_all(d);
	blk_close(d->source ? &d->source->blk : NULL, &ignored); /* nothing was written */
	return rc;
}

static int run_dd(int argc, char **argv)
{
	struct dd d = {.bs = SECTOR};
	struct opts *o;
	int npos, rc;

	o = cmd_parse(&cmd_dd, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	d.o = o;
	rc = dd_with(&d, npos, argv);
	opts_free(o);
	return rc;
}

const struct command cmd_dd = {
	.name = "dd",
	.synopsis = "[bs=S] [count=N] [skip=N] [osize=S] if=IN of=OUT",
	.summary = "Copy a part of a disk into an image",
	.opts = dd_opts,
	.run = run_dd,
};
