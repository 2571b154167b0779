#include "cmd/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/catalog.h"
#include "cmd/node.h"
#include "cmd/snapname.h"
#include "lib/location.h"
#include "lib/mem.h"

#define LEVELS_TOLD 8 /* "Could not open backing file: " in one message */

/* A file of the chain, to notice when it comes again. */
struct seen {
	dev_t dev;
	ino_t ino;
};

struct climb {
	struct chain *chain;
	struct seen seen[CHAIN_MAX];
	unsigned nseen;
};

int stack_cache_mode(const char *mode, unsigned *io_flags, bool *writethrough, struct err *err)
{
	static const struct {
		const char *name;
		unsigned io;
		bool through;
	} modes[] = {
		{"writeback", 0, false},
		{"none", IO_DIRECT, false},
		{"off", IO_DIRECT, false},
		{"writethrough", IO_DSYNC, true},
		{"directsync", IO_DIRECT | IO_DSYNC, true},
		{"unsafe", IO_NO_FLUSH, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		if (strcmp(modes[i].name, mode ? mode : "writeback") != 0)
			continue;
		*io_flags = modes[i].io;
		*writethrough = modes[i].through;
		return 0;
	}
	return err_set(err, EINVAL, "Invalid cache option: %s", mode);
}

/*
 * Trust: an image's word for another file is a path of this machine and nothing else. A
 * name with a scheme could read a host's device, a socket or the network.
 */
static char *trusted_path(const struct opts *def, const char *name, const char *what,
			  const char *key, struct err *err)
{
	const char *image = node_path(def), *file = opts_get(def, "file.driver");
	bool archive = file && strcmp(file, io_ova.name) == 0;

	/* what comes in an archive comes from elsewhere, and has all that it needs with it */
	if (archive || location_has_scheme(name)) {
		err_set(err, EACCES, "The image names '%s' as its %s: %s", name, what,
			archive ? "what is in an archive may not name files outside of it"
				: "only plain paths of local files are followed");
		err_hint(err,
			 "To open it all the same, say so yourself: --image-opts "
			 "driver=...,file.filename=...,%s.driver=...",
			 key);
		return NULL;
	}
	return location_relative(image ? image : "", name, err);
}

static int remember(struct climb *c, const struct opts *def, struct err *err)
{
	const char *path = node_path(def);
	struct stat st;

	if (!path || stat(path, &st))
		return 0; /* opening it says why */
	for (unsigned i = 0; i < c->nseen; i++)
		if (c->seen[i].dev == st.st_dev && c->seen[i].ino == st.st_ino)
			return err_set(err, ELOOP,
				       "The backing chain has a loop: '%s' is in it already",
				       path);
	c->seen[c->nseen++] = (struct seen){.dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

/* Adds what the image recorded to what the user said of its backing file. */
static int add_recorded(struct opts *below, const struct opts *def, const struct image *image,
			struct err *err)
{
	const char *driver = opts_get(below, "driver");
	bool whole = node_has_child(below, "file") || (driver && catalog_protocol(driver));
	AUTO_FREE char *path = NULL;

	if (!whole && image->backing && image->backing[0]) {
		path = trusted_path(def, image->backing, "backing file", "backing", err);
		if (!path || opts_set(below, "file.filename", path, err))
			return -1;
	}
	if (!driver && image->backing_format && image->backing_format[0])
		return opts_set(below, "driver", image->backing_format, err);
	return 0;
}

static int no_parent(const struct opts *def, const struct image *image, struct err *err)
{
	const char *path = node_path(def);

	err_set(err, ENOENT,
		"'%s' is a difference to another image, and does not say where that is",
		path ? path : image->blk.name);
	return err_hint(err,
			"Name it: --image-opts driver=%s,file.filename=%s,"
			"backing.driver=%s,backing.file.filename=PARENT",
			image->format->name, path ? path : "...", image->format->name);
}

/* The definition of an image's backing file: *out is NULL where there is none. */
static int backing_of(const struct opts *def, const struct image *image, struct opts **out,
		      struct err *err)
{
	const char *reference = opts_get(def, "backing");
	struct opts *below;

	*out = NULL;
	if (reference && reference[0] == '\0')
		return 0;
	if (reference)
		return err_set(err, ENODEV, "Cannot find device='%s' nor node-name='%s'",
			       reference, reference);
	below = opts_below(def, "backing", err);
	if (!below)
		return -1;
	if (opts_count(below) == 0 && !(image->backing && image->backing[0])) {
		opts_free(below);
		return image->needs_backing ? no_parent(def, image, err) : 0;
	}
	if (add_recorded(below, def, image, err)) {
		opts_free(below);
		return -1;
	}
	*out = below;
	return 0;
}

/* Before the next one is opened. */
static int check_depth(const struct climb *c, const struct opts *below, struct err *err)
{
	const char *path = node_path(below);

	if (c->chain->n < CHAIN_MAX)
		return 0;
	return err_set(err, ELOOP,
		       "The backing chain is deeper than %d images: '%s' is one more",
		       CHAIN_MAX, path ? path : "the next");
}

/* As the peer, once a level; but what went wrong must still fit in. */
static int backing_failed(const struct node_env *env, unsigned level, struct err *err)
{
	if (env->base && env->base->failed)
		return -1;
	return level <= LEVELS_TOLD ? err_prefix(err, "Could not open backing file") : -1;
}

static bool same_path(const char *a, const char *b)
{
	struct stat x, y;

	return a && b && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* Is `below` the file that the user names? He may say it as the image does, or by a path
 * from the image's folder. */
static int is_base(const struct node_base *base, const struct opts *def,
		   const struct image *image, const struct opts *below, bool *is,
		   struct err *err)
{
	const char *above = node_path(def);
	AUTO_FREE char *path = NULL;

	*is = !base->found && !base->name;
	if (*is || base->found || !base->name[0])
		return 0;
	*is = image->backing && strcmp(image->backing, base->name) == 0;
	if (*is || location_has_scheme(base->name))
		return 0;
	path = location_relative(above ? above : "", base->name, err);
	if (!path)
		return -1;
	*is = same_path(path, node_path(below));
	return 0;
}

/* The backing file at `below`; for writing where it is the base of a commit. Whether it can
 * be opened at all is told as of any other. */
static struct image *open_below(const struct opts *def, const struct image *image,
				const struct opts *below, const struct node_env *env,
				struct err *err)
{
	struct node_env own = *env;
	struct image *next, *reader;
	struct err later;
	bool base = false;

	if (env->base && is_base(env->base, def, image, below, &base, err))
		return NULL;
	if (!base)
		return node_open(below, env, err);
	env->base->found = true;
	own.io |= IO_WRITE | IO_RESIZE | IO_UNMAP;
	next = node_open(below, &own, err);
	if (next)
		return next;
	reader = node_open(below, env, &later);
	env->base->failed = reader != NULL;
	if (reader)
		blk_close(&reader->blk, &later);
	else
		*err = later;
	return NULL;
}

/* Appends the backing files of `image`, the lowest one so far. */
static int climb_down(struct climb *c, const struct opts *def, struct image *image,
		      const struct node_env *env, struct err *err)
{
	struct opts *below;
	struct image *next = NULL;
	unsigned level = c->chain->n;
	int rc = 0;

	if (remember(c, def, err))
		return -1;
	if (backing_of(def, image, &below, err))
		return backing_failed(env, level, err);
	if (!below)
		return 0;
	if (check_depth(c, below, err) == 0)
		next = open_below(def, image, below, env, err);
	if (!next || chain_append(c->chain, &next->blk, err) ||
	    (image->format->adopt && image->format->adopt(image, next, err)) ||
	    climb_down(c, below, next, env, err))
		rc = backing_failed(env, level, err);
	opts_free(below);
	return rc;
}

struct chain *stack_chain(const struct opts *def, struct image *image,
			  const struct node_env *env, struct err *err)
{
	struct climb c = {.chain = chain_new(&image->blk, err)};
	struct node_env under = *env;
	struct err later;

	if (!c.chain)
		return NULL;
	c.chain->detect = node_detect(def);
	if (env->no_backing)
		return c.chain;
	under.io &= ~(unsigned)(IO_WRITE | IO_RESIZE | IO_UNMAP);
	under.image = env->image & IMAGE_NO_KEY;
	if (climb_down(&c, def, image, &under, err)) {
		blk_close(&c.chain->blk, &later);
		return NULL;
	}
	return c.chain;
}

/* Beside the image; else where the name leads from here, which is where the peer looks. */
static char *data_path(const struct opts *def, const char *name, struct err *err)
{
	char *path = trusted_path(def, name, "data file", "data-file", err);

	if (!path || access(path, F_OK) == 0 || access(name, F_OK) != 0)
		return path;
	free(path);
	path = strdup(name);
	if (!path)
		err_nomem(err, strlen(name) + 1, "a file name");
	return path;
}

struct blk *stack_data_file(const struct opts *def, const struct image *image,
			    const struct node_env *env, struct err *err)
{
	AUTO_FREE char *path = NULL;
	struct node_env own = *env;
	struct opts *recorded;
	struct blk *blk = NULL;

	if (own.io & IO_WRITE)
		own.io |= IO_RESIZE;
	if (node_has_child(def, "data-file"))
		return node_open_child(def, "data-file", &own, err);
	if (!image->data_file || !image->data_file[0]) {
		err_set(err, EINVAL, "'data-file' is required for this image");
		return NULL;
	}
	path = data_path(def, image->data_file, err);
	recorded = opts_new(err);
	if (path && recorded && opts_set(recorded, "file.filename", path, err) == 0)
		blk = node_open_child(recorded, "file", &own, err);
	opts_free(recorded);
	return blk;
}

/* What has no size of its own is no part of a disk. */
static int check_kind(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) || S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
		return 0; /* opening it says why */
	return err_set(err, EACCES,
		       "The image names '%s' as an extent, which is neither a regular file nor "
		       "a block device",
		       path);
}

/* One of the image's other files: as the user says, else as the image does. */
static struct blk *open_file(const struct opts *def, const struct image_file *f,
			     const struct node_env *env, struct err *err)
{
	struct node_env own = *env;
	AUTO_FREE char *path = NULL;
	struct opts *recorded;
	struct blk *blk = NULL;

	own.io &= ~(unsigned)IO_NO_IO;
	own.io |= IO_ALONE; /* the image's tables are in it, or know what is */
	if (f->read_only)
		own.io &= ~(unsigned)(IO_WRITE | IO_UNMAP);
	if (own.io & IO_WRITE)
		own.io |= IO_RESIZE;
	if (f->key && node_has_child(def, f->key))
		return node_open_child(def, f->key, &own, err);
	path = trusted_path(def, f->name, "extent", f->key ? f->key : "file", err);
	if (path && check_kind(path, err))
		return NULL;
	recorded = path ? opts_new(err) : NULL;
	if (recorded && opts_set(recorded, "file.filename", path, err) == 0)
		blk = node_open_child(recorded, "file", &own, err);
	opts_free(recorded);
	return blk;
}

/* "extents.7" of an image that has no such. */
static int check_extent_keys(const struct opts *def, const struct image *image, struct err *err)
{
	for (size_t i = 0; i < opts_count(def); i++) {
		const char *key = opts_key(def, i);
		size_t k = 0, n = 0;

		if (strncmp(key, "extents", 7) != 0 || (key[7] != '.' && key[7] != '\0'))
			continue;
		for (; k < image->nfile; k++) {
			n = image->file[k].key ? strlen(image->file[k].key) : 0;
			if (n && strncmp(key, image->file[k].key, n) == 0 &&
			    (key[n] == '.' || key[n] == '\0'))
				break;
		}
		if (k == image->nfile)
			return err_set(err, EINVAL,
				       "Block format '%s' does not support the option '%s'",
				       image->format->name, key);
	}
	return 0;
}

/* Each file takes up to three descriptors. */
void stack_expect_files(size_t files)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur / 4 > files)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int stack_attach_files(const struct opts *def, struct image *image, const struct node_env *env,
		       struct err *err)
{
	if (check_extent_keys(def, image, err))
		return -1;
	stack_expect_files(image->nfile);
	for (size_t i = 0; i < image->nfile; i++) {
		image->file[i].blk = open_file(def, &image->file[i], env, err);
		if (!image->file[i].blk)
			return -1;
	}
	return image->format->attached ? image->format->attached(image, err) : 0;
}

/* A folder that is a disk (parallels) stands for the file that describes it. */
static int settle_folder(struct opts *opts, struct err *err)
{
	const char *path = opts_get(opts, "file.filename");
	AUTO_FREE char *inside = NULL;
	struct stat st;

	if (!path || opts_has(opts, "file.driver") || stat(path, &st) || !S_ISDIR(st.st_mode))
		return 0;
	if (asprintf(&inside, "%s/DiskDescriptor.xml", path) < 0) {
		inside = NULL;
		return err_nomem(err, strlen(path), "a file name");
	}
	if (stat(inside, &st) || !S_ISREG(st.st_mode))
		return 0;
	return opts_set(opts, "file.filename", inside, err);
}

/* -f wins over a driver among the keys; a protocol there is what the name is opened with. */
static int settle(struct location *l, const char *format, struct err *err)
{
	bool whole = format && !l->explicit_ && catalog_protocol(format);
	struct opts *own;

	if (whole) {
		own = opts_below(l->opts, "file", err);
		if (!own)
			return -1;
		opts_free(l->opts);
		l->opts = own;
	}
	if (format && opts_set(l->opts, "driver", format, err))
		return -1;
	if (l->explicit_)
		return 0;
	if (node_settle_name(l->opts, whole ? "" : "file.", err))
		return -1;
	return settle_folder(l->opts, err);
}

static int make_env(const struct stack_request *r, struct node_env *env, struct err *err)
{
	bool through;

	memset(env, 0, sizeof(*env));
	if (stack_cache_mode(r->cache, &env->io, &through, err))
		return -1;
	env->io |= (r->write ? IO_WRITE | IO_UNMAP : 0) |
		   (r->write && r->resize ? IO_RESIZE : 0) | (r->share ? IO_SHARE : 0) |
		   (r->alone ? IO_ALONE : 0) | (r->no_io ? IO_NO_IO : 0);
	env->image = (r->no_io ? IMAGE_NO_IO : 0) | (r->no_key ? IMAGE_NO_KEY : 0) |
		     (r->check ? IMAGE_CHECK : 0);
	env->no_backing = r->no_backing || r->no_io;
	return 0;
}

static struct chain *open_location(const struct stack_request *r, struct location *l,
				   struct node_base *base, struct err *err)
{
	struct node_env env;
	struct image *image;
	struct err later;

	if (make_env(r, &env, err) || settle(l, r->format, err))
		return NULL;
	image = node_open(l->opts, &env, err);
	if (!image)
		return NULL;
	env.base = base;
	if (node_title(l->opts, image, !r->image_opts, err)) {
		blk_close(&image->blk, &later);
		return NULL;
	}
	return stack_chain(l->opts, image, &env, err);
}

/* The chain is as long as the snapshot then is. */
static struct chain *show_snapshot(struct chain *chain, const char *text, struct err *err)
{
	struct image *image = (struct image *)chain->layer[0];
	struct err later;

	if (snapname_load(image, text, err)) {
		blk_close(&chain->blk, &later);
		return NULL;
	}
	chain->blk.size = blk_size(&image->blk);
	return chain;
}

struct chain *stack_open(const struct stack_request *r, struct err *err)
{
	struct node_base base = {.name = r->base};
	struct chain *chain = NULL;
	struct location l;
	int rc;

	rc = r->image_opts ? location_parse_opts(r->name, &l, err)
			   : location_parse(r->name, &l, err);
	if (rc == 0) {
		chain = open_location(r, &l, r->commit ? &base : NULL, err);
		location_free(&l);
	}
	if (!chain && !r->bare && !base.failed)
		err_prefix(err, "Could not open '%s'", r->name);
	return chain && r->snapshot ? show_snapshot(chain, r->snapshot, err) : chain;
}
