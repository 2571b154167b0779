#include "cmd/convert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/for.h"

static void tell_unreadable(void *arg, uint64_t off, uint64_t len, const struct err *why)
{
	cmd_warn("error while reading offset %" PRIu64 ": %s", off, strerror(why->num));
}

struct progress *convert_progress(const struct convert *c)
{
	progress_signals();
	return progress_new(args_progress(c->o), c->size);
}

/* Copies with progress; the error is printed. */
static int copy_data(struct convert *c)
{
	struct copy *copy = &c->copy;
	struct err err;
	int rc;

	if (!opts_has(c->o, "quiet"))
		copy->unreadable = tell_unreadable;
	copy->progress = convert_progress(c);
	rc = copy_run(copy, &err);
	progress_free(copy->progress, rc == 0);
	clearerr(stdout); /* lost progress is no failure of the work */
	if (rc)
		cmd_err(&err);
	return rc ? 1 : 0;
}

/* The peer promises no more than that the kernel has the data; under our own name a target
 * that has its name is on the disk. */
const char *convert_cache(const struct opts *o)
{
	const char *mode = opts_get(o, "target-cache");

	if (mode)
		return mode;
	return cmd_persona == PERSONA_QEMU_IMG ? "unsafe" : "writeback";
}

/* Whatever can be said without touching the target: a text, or NULL. */
static const char *check_new(const struct convert *c)
{
	const struct opts *keys = c->image.keys;
	const char *prealloc = opts_get(keys, "preallocation");

	if (opts_has(keys, "backing_file") && c->nsource > 1)
		return "Having a backing file for the target makes no sense when "
		       "concatenating multiple input images";
	if (opts_has(keys, "backing_file") && !opts_has(keys, "backing_fmt"))
		return "Use of backing file requires explicit backing format";
	if (!c->copy.compress)
		return NULL;
	if (!(c->image.format->caps & FORMAT_PACK))
		return "Compression not supported for this file format";
	if (prealloc && strcmp(prealloc, "off"))
		return "Compression and preallocation not supported at the same time";
	if (opts_has(keys, "data_file"))
		return "Compression and an external data file are not supported at the same "
		       "time";
	return NULL;
}

static int choose_format(struct convert *c)
{
	c->image.format = newimage_format(opts_get(c->o, "target-format"), 'O', c->target,
					  opts_has(c->o, "quiet"));
	return c->image.format ? 0 : 1;
}

static int prepare_new(struct convert *c)
{
	struct newimage *n = &c->image;
	const char *clash;
	struct err err;

	n->name = c->target;
	if (c->to ? for_choose(c) : choose_format(c))
		return 1;
	if (!(n->format->caps & FORMAT_CREATE)) {
		cmd_error("Format driver '%s' does not support image creation",
			  n->format->name);
		return 1;
	}
	n->protocol = newimage_protocol(n->name, &err);
	if (!n->protocol || newimage_check(n, &err) ||
	    newimage_backing(n, convert_backing(c->o), opts_get(c->o, "backing-format"),
			     &err)) {
		cmd_err(&err);
		return 1;
	}
	opts_unset(n->keys, "size"); /* it is the sources', as in the peer */
	if (c->to && (for_options(c) || for_pad(c)))
		return 1;
	clash = check_new(c);
	if (clash)
		cmd_error("%s", clash);
	if (!clash && newimage_not_below(n, &err)) {
		cmd_err(&err);
		return 1;
	}
	return clash || args_cache(convert_cache(c->o), "cache") ? 1 : 0;
}

/* What the peer says of a failed creation; of some, it says nothing before them. */
static void tell_create(const struct convert *c, const struct err *err)
{
	if (strncmp(err->text, "Protocol driver", 15) == 0 ||
	    strncmp(err->text, "Unknown protocol", 16) == 0)
		cmd_err(err);
	else
		cmd_error("%s: error while converting %s: %s", c->target, c->image.format->name,
			  err->text);
}

/* An image that is compressed as a whole is, asked or not; in others of the same format
 * there is no compression, which the peer passes over. */
static int settle_compress(struct convert *c, const struct chain *target)
{
	const struct blk *top = target->layer[0];

	if (top->caps & BLK_WHOLE_PACK)
		c->copy.compress = true;
	if (c->copy.compress && !top->ops->pack) {
		if (cmd_persona == PERSONA_PLATTER) {
			cmd_error("%s: this kind of %s image cannot be compressed", c->target,
				  ((const struct image *)top)->format->name);
			return 1;
		}
		c->copy.compress = false;
	}
	if (c->copy.compress && blk_codes(top)) {
		cmd_error("Compression and encryption not supported at the same time");
		return 1;
	}
	if (c->copy.compress)
		c->copy.unordered = false;
	return 0;
}

static int fill_new(struct convert *c, const struct stack_create *create,
		    struct stack_target *t)
{
	c->copy.target = t->chain;
	c->copy.target_backed = create->backing_open;
	c->copy.target_zero = create->backing_open ||
			      (t->chain->layer[0]->caps & BLK_ZERO_INIT);
	return settle_compress(c, t->chain) || convert_bitmaps_accept(c, t->chain) ||
			       copy_data(c) || convert_bitmaps(c, t->chain)
		       ? 1
		       : 0;
}

/* ova: the archive that the image is the disk of, or NULL. */
static int make_new(struct convert *c, const struct stack_create *create, struct ova *ova)
{
	struct stack_target t;
	struct err err;

	if (stack_target_create(create, &t, &err)) {
		tell_create(c, &err);
		return 1;
	}
	if (!opts_has(c->o, "quiet"))
		newimage_tell_size(create->name, create->format, create->size, t.size);
	if (stack_target_open(create, &t, &err)) {
		cmd_err(&err);
		return 1;
	}
	if (fill_new(c, create, &t)) {
		stack_target_abandon(&t);
		return 1;
	}
	if (ova && (stack_target_close(&t, &err) || ova_seal(ova, t.file, &err))) {
		cmd_err(&err);
		stack_target_abandon(&t);
		return 1;
	}
	if (stack_target_finish(&t, &err)) {
		cmd_err(&err);
		return 1;
	}
	return 0;
}

int convert_to_new(struct convert *c)
{
	struct stack_create create = {
		.name = c->target,
		.opts = c->image.keys,
		.cache = convert_cache(c->o),
		.in_place = cmd_persona == PERSONA_QEMU_IMG,
	};
	struct ova *ova = NULL;
	struct err err;
	int rc;

	if (prepare_new(c) || convert_bitmaps_check(c))
		return 1;
	if (c->pack == CONVERT_TAR_GZ)
		return gcp_convert(c);
	create.format = c->image.format;
	create.size = c->size;
	create.backing_open = opts_has(c->image.keys, "backing_file");
	if (c->pack == CONVERT_OVA) {
		ova = ova_new(c, &err);
		if (!ova) {
			cmd_err(&err);
			return 1;
		}
		create.head = ova_head(ova);
		create.inner = ova_disk_name(ova);
	}
	rc = make_new(c, &create, ova);
	ova_free(ova);
	return rc;
}

/* A text if the open target cannot take what it should. */
static const char *check_existing(const struct convert *c, const struct chain *target)
{
	const struct image *image = (const struct image *)target->layer[0];

	if (opts_has(c->o, "target-is-zero") && (target->n > 1 || image->backing))
		return "Cannot use --target-is-zero when the destination image has a backing "
		       "file";
	if (c->copy.compress && !image->blk.ops->pack)
		return "Compression not supported for this file format";
	if (c->copy.compress && image->needs_data)
		return "Compression and an external data file are not supported at the same "
		       "time";
	if (blk_size(&target->blk) < c->size)
		return "output file is smaller than input file";
	return NULL;
}

#define DETECT_UNIT 4096

static int fill_existing(struct convert *c, struct chain *target)
{
	const char *clash = check_existing(c, target);
	struct err err;

	if (clash) {
		cmd_error("%s", clash);
		return 1;
	}
	if (settle_compress(c, target) || convert_bitmaps_accept(c, target))
		return 1;
	c->copy.target = target;
	c->copy.target_zero = opts_has(c->o, "target-is-zero");
	c->copy.target_backed = convert_backing(c->o) != NULL;
	/* detect-zeroes: the places of a format are claimed past the chain, which would do it
	 */
	if (target->detect != DETECT_OFF && !target->layer[0]->ops->pwrite && !c->copy.sparse)
		c->copy.sparse = DETECT_UNIT;
	if (copy_data(c))
		return 1;
	if (blk_flush(&target->blk, &err)) {
		cmd_err(&err);
		return 1;
	}
	return convert_bitmaps(c, target);
}

int convert_to_existing(struct convert *c)
{
	struct stack_request r = {
		.name = c->target,
		.image_opts = opts_has(c->o, "target-image-opts"),
		.cache = convert_cache(c->o),
		.write = true,
	};
	struct chain *target;
	int rc;

	if (args_cache(r.cache, "cache"))
		return 1;
	if (!r.image_opts)
		r.format = opts_get(c->o, "target-format");
	if (!r.image_opts && !r.format) {
		const struct format *f = newimage_format(NULL, 'O', c->target,
							 opts_has(c->o, "quiet"));

		if (!f)
			return 1;
		r.format = f->name;
	}
	if (convert_bitmaps_check(c))
		return 1;
	target = args_open(&r);
	if (!target)
		return 1;
	rc = fill_existing(c, target);
	return args_close(target, rc);
}
