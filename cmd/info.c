/*
 * info: what an image says of itself. Only metadata is read; neither a backing file nor
 * a data file is opened for the image itself, and with --backing-chain each image is
 * opened and closed on its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "cmd/report.h"
#include "lib/location.h"
#include "lib/mem.h"
#include "lib/size.h"

static const struct opt info_opts[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL,
	 "The image's format, if it should not be guessed"},
	{"image-opts", 0, OPT_FLAG, 0, NULL, NULL, "FILENAME is a list of options"},
	{"backing-chain", 0, OPT_FLAG, 0, NULL, NULL,
	 "Tell of all the backing files below, too"},
	{"output", 0, OPT_STR, 0, "OFMT", "human|json", "The form of the output", "human"},
	{"limits", 0, OPT_FLAG, 0, NULL, NULL,
	 "Tell the sizes and alignments of requests that suit the image"},
	{"force-share", 'U', OPT_FLAG, 0, NULL, NULL,
	 "Read beside a program that writes the image"},
	{"object", 0, OPT_STR, OPT_MANY, "OBJECTDEF", NULL,
	 "Define an object, such as a secret"},
	{.type = OPT_END},
};

/* The file that an image lies in. */
struct file_facts {
	char *name;
	const char *driver;
	uint64_t size;
	int64_t usage;
	bool local; /* a file or a device of this machine */
};

/* One image; all strings are its own. */
struct facts {
	char *name;
	const struct format *format;
	uint64_t size;
	int64_t usage; /* -1: not known */
	char *backing, *backing_format;
	char *full;	     /* the path that backing leads to; NULL: none */
	struct json *limits; /* NULL: not asked for */
	struct info info;
	struct file_facts file;
	dev_t dev; /* of the file, to notice a loop */
	ino_t ino;
};

struct list {
	struct facts *at;
	size_t n;
};

static void list_free(struct list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct facts *f = &l->at[i];

		free(f->name);
		free(f->backing);
		free(f->backing_format);
		free(f->full);
		free(f->file.name);
		info_free(&f->info);
		json_free(f->limits);
	}
	free(l->at);
}

/* A copy of a string that may be absent: *out. */
static int keep(char **out, const char *s, struct err *err)
{
	if (!s)
		return 0;
	*out = strdup(s);
	return *out ? 0 : err_nomem(err, strlen(s), "a name");
}

static int gather_file(struct facts *f, const struct image *image, struct err *err)
{
	struct blk *b = image->blk.lower;
	struct stat st;

	while (b && b->lower)
		b = b->lower; /* through filters and windows */
	if (!b)
		return 0;
	f->file.driver = b->ops->name;
	f->file.size = b->size;
	f->file.usage = blk_disk_usage(b);
	if (stat(b->name, &st) == 0) {
		f->dev = st.st_dev;
		f->ino = st.st_ino;
	}
	f->file.local = io_is_file(b);
	/* What is a file keeps a dirty flag, if only to say no. */
	f->info.has_dirty |= f->file.local;
	return keep(&f->file.name, b->name, err);
}

/* What the peer's driver of the format does not tell. */
static void hide_ours(struct facts *f)
{
	if (cmd_persona != PERSONA_QEMU_IMG)
		return;
	if (f->info.dirty_ours)
		f->info.dirty = false;
	if (!(f->format->caps & FORMAT_INFO_OURS))
		return;
	f->info.cluster_size = 0;
	f->info.has_dirty = f->info.dirty = false;
	json_free(f->info.specific);
	f->info.specific = NULL;
}

static int gather(struct facts *f, struct image *image, struct err *err)
{
	f->format = image->format;
	f->size = blk_size(&image->blk);
	f->usage = blk_disk_usage(&image->blk);
	if (keep(&f->name, image->blk.name, err) || keep(&f->backing, image->backing, err) ||
	    keep(&f->backing_format, image->backing_format, err) ||
	    (f->format->info && f->format->info(image, &f->info, err)) ||
	    gather_file(f, image, err))
		return -1;
	hide_ours(f);
	if (!f->backing || !f->backing[0])
		return 0;
	f->full = location_relative(f->name, f->backing, err);
	return f->full ? 0 : -1;
}

/* The keys of QEMU's QAPI type BlockLimitsInfo, without those for which there is no limit. */
static struct json *limits_of(const struct blk *blk)
{
	struct json *j = json_object();
	int bad = !j;

	bad |= json_add_int(j, "request-alignment", blk->align);
	if (blk->grain > blk->align)
		bad |= json_add_int(j, "discard-alignment", blk->grain);
	if (blk->grain > blk->align)
		bad |= json_add_int(j, "write-zeroes-alignment",
				    blk->part ? blk->part : blk->grain);
	bad |= json_add_int(j, "max-iov", IOV_MAX);
	bad |= json_add_int(j, "min-mem-alignment", blk->align);
	bad |= json_add_int(j, "opt-mem-alignment", MEM_ALIGN);
	if (!bad)
		return j;
	json_free(j);
	return NULL;
}

/* Opens an image, adds it to the list and closes it. */
static int add(struct list *l, const struct stack_request *r, bool limits, struct err *err)
{
	struct facts *more = reallocarray(l->at, l->n + 1, sizeof(*more));
	struct chain *chain;
	struct err later;
	int rc;

	if (!more)
		return err_nomem(err, sizeof(*more), "an image");
	l->at = more;
	chain = stack_open(r, err);
	if (!chain)
		return -1;
	memset(&l->at[l->n], 0, sizeof(*l->at));
	rc = gather(&l->at[l->n++], (struct image *)chain->layer[0], err);
	if (rc == 0 && limits) {
		l->at[l->n - 1].limits = limits_of(chain->layer[0]);
		if (!l->at[l->n - 1].limits)
			rc = err_nomem(err, sizeof(*more), "the limits");
	}
	blk_close(&chain->blk, &later); /* nothing was written */
	return rc;
}

/* Is the last image one that is in the list before? */
static bool loops(const struct list *l)
{
	const struct facts *last = &l->at[l->n - 1];

	for (size_t i = 0; i + 1 < l->n; i++) {
		if (last->ino ? l->at[i].ino == last->ino && l->at[i].dev == last->dev
			      : strcmp(l->at[i].name, last->name) == 0)
			return true;
	}
	return false;
}

/* The images below the first. What an image names is followed as a plain path only. */
static int add_chain(struct list *l, const struct stack_request *top, bool limits,
		     struct err *err)
{
	struct stack_request r = *top;
	const struct facts *last = l->at;

	r.image_opts = false;
	while (last->full) {
		if (location_has_scheme(last->full))
			return err_set(err, EACCES,
				       "'%s' names '%s' as its backing file: only plain paths "
				       "of local files are followed",
				       last->name, last->backing);
		r.name = last->full;
		r.format = last->backing_format && last->backing_format[0]
				   ? last->backing_format
				   : NULL;
		if (add(l, &r, limits, err))
			return -1;
		last = &l->at[l->n - 1];
		if (loops(l))
			return err_set(err, ELOOP,
				       "Backing file '%s' creates an infinite loop.",
				       last->name);
		if (l->n > CHAIN_MAX)
			return err_set(err, ELOOP,
				       "The backing chain is deeper than %d images: '%s'",
				       CHAIN_MAX, last->name);
	}
	return 0;
}

/* Takes data. */
static int add_specific(struct json *j, const char *type, struct json *data)
{
	struct json *s = json_object();
	int bad = json_add_str(s, "type", type);

	bad |= json_add(s, "data", data);
	return bad | json_add(j, "format-specific", s);
}

/* "children", as newer versions of the peer have it. */
static int add_children(struct json *j, const struct file_facts *f)
{
	struct json *info = json_object(), *child = json_object(), *list = json_array();
	int bad = 0;

	if (!f->name) {
		json_free(info);
		json_free(child);
		return json_add(j, "children", list);
	}
	bad |= json_add(info, "children", json_array());
	bad |= json_add_int(info, "virtual-size", (int64_t)f->size);
	bad |= json_add_str(info, "filename", f->name);
	bad |= json_add_str(info, "format", f->driver);
	if (f->usage >= 0)
		bad |= json_add_int(info, "actual-size", f->usage);
	if (strcmp(f->driver, io_file.name) == 0)
		bad |= add_specific(info, f->driver, json_object());
	if (f->local)
		bad |= json_add_bool(info, "dirty-flag", false);
	bad |= json_add_str(child, "name", "file");
	bad |= json_add(child, "info", info);
	bad |= json_push(list, child);
	return bad | json_add(j, "children", list);
}

/* Keys in the peer's order, which is that of its hash table. Takes f->info.specific and
 * f->limits. */
static struct json *facts_json(struct facts *f)
{
	const char *type = f->format->type ? f->format->type : f->format->name;
	struct json *j = json_object();
	int bad = 0;

	if (cmd_persona == PERSONA_PLATTER)
		bad |= add_children(j, &f->file);
	if (f->backing_format && f->full)
		bad |= json_add_str(j, "backing-filename-format", f->backing_format);
	if (f->info.nsnapshot)
		bad |= json_add(j, "snapshots",
				report_snapshots_json(f->info.snapshot, f->info.nsnapshot));
	bad |= json_add_int(j, "virtual-size", (int64_t)f->size);
	bad |= json_add_str(j, "filename", f->name);
	if (f->info.cluster_size)
		bad |= json_add_int(j, "cluster-size", (int64_t)f->info.cluster_size);
	bad |= json_add_str(j, "format", f->format->name);
	if (f->usage >= 0)
		bad |= json_add_int(j, "actual-size", f->usage);
	if (f->limits)
		bad |= json_add(j, "limits", f->limits);
	f->limits = NULL;
	if (f->info.specific) {
		bad |= add_specific(j, type, f->info.specific);
		f->info.specific = NULL;
	}
	if (f->full)
		bad |= json_add_str(j, "full-backing-filename", f->full);
	if (f->info.encrypted)
		bad |= json_add_bool(j, "encrypted", true);
	if (f->full)
		bad |= json_add_str(j, "backing-filename", f->backing);
	if (f->info.has_dirty)
		bad |= json_add_bool(j, "dirty-flag", f->info.dirty);
	if (!bad)
		return j;
	json_free(j);
	return NULL;
}

static int print_json(struct list *l, bool chain)
{
	struct json *j = chain ? json_array() : facts_json(&l->at[0]);
	int bad = !j;

	for (size_t i = 0; i < l->n && chain; i++)
		bad |= json_push(j, facts_json(&l->at[i]));
	if (bad) {
		cmd_error("Cannot allocate memory for the output");
	} else {
		json_print(stdout, j, 0);
		putchar('\n');
	}
	json_free(j);
	return bad ? 1 : 0;
}

static void print_name(const char *key, const char *name)
{
	printf("%s: ", key);
	report_text(stdout, name);
	putchar('\n');
}

static void print_usage(const char *indent, int64_t usage)
{
	char text[SIZE_TEXT];

	printf("%sdisk size: %s\n", indent,
	       usage < 0 ? "unavailable" : size_human((uint64_t)usage, text));
}

static void print_child(const struct file_facts *f)
{
	char text[SIZE_TEXT];

	puts("Child node '/file':");
	print_name("    filename", f->name);
	printf("    protocol type: %s\n", f->driver);
	printf("    file length: %s (%" PRIu64 " bytes)\n", size_human(f->size, text), f->size);
	print_usage("    ", f->usage);
}

static void print_backing(const struct facts *f)
{
	fputs("backing file: ", stdout);
	report_text(stdout, f->backing);
	if (strcmp(f->backing, f->full)) {
		fputs(" (actual path: ", stdout);
		report_text(stdout, f->full);
		putchar(')');
	}
	putchar('\n');
	if (f->backing_format)
		print_name("backing file format", f->backing_format);
}

static void print_human(const struct facts *f)
{
	char text[SIZE_TEXT];

	print_name("image", f->name);
	printf("file format: %s\n", f->format->name);
	printf("virtual size: %s (%" PRIu64 " bytes)\n", size_human(f->size, text), f->size);
	print_usage("", f->usage);
	if (f->info.encrypted)
		puts("encrypted: yes");
	if (f->info.cluster_size)
		printf("cluster_size: %" PRIu64 "\n", f->info.cluster_size);
	if (f->info.dirty)
		puts("cleanly shut down: no");
	if (f->full)
		print_backing(f);
	if (f->info.nsnapshot)
		report_snapshots(stdout, f->info.snapshot, f->info.nsnapshot);
	if (f->info.specific) {
		puts("Format specific information:");
		report_tree(stdout, f->info.specific, 1);
	}
	if (f->limits) {
		puts("Block limits:");
		report_tree(stdout, f->limits, 1);
	}
	if (cmd_persona == PERSONA_PLATTER && f->file.name)
		print_child(&f->file);
}

static int info_of(const struct opts *o, const char *name)
{
	bool json, chain = opts_has(o, "backing-chain"), limits = opts_has(o, "limits");
	struct stack_request r;
	struct list l = {0};
	struct err err;
	int rc = 1;

	if (args_output(o, &json) || args_object(o) || args_source(o, name, &r))
		return 1;
	r.no_io = true;
	if (add(&l, &r, limits, &err) || (chain && add_chain(&l, &r, limits, &err))) {
		cmd_err(&err);
	} else if (json) {
		rc = print_json(&l, chain);
	} else {
		for (size_t i = 0; i < l.n; i++) {
			if (i)
				putchar('\n');
			print_human(&l.at[i]);
		}
		rc = 0;
	}
	list_free(&l);
	return rc;
}

static int run_info(int argc, char **argv)
{
	return cmd_with_image(&cmd_info, argc, argv, info_of);
}

const struct command cmd_info = {
	.name = "info",
	.synopsis = "FILENAME",
	.summary = "Tell what an image is",
	.opts = info_opts,
	.run = run_info,
};
