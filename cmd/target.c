/*
 * Targets: created beside their name, filled through a chain, then published or thrown
 * away. The new files are borrowed by the chain, so that its image is complete (closed)
 * before they get their names.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/catalog.h"
#include "cmd/node.h"
#include "cmd/stack.h"
#include "lib/filter/pass.h"
#include "lib/location.h"
#include "lib/mem.h"

static int make_file(const struct stack_create *c, const char *path, struct blk **out,
		     struct err *err)
{
	unsigned io;
	bool through;
	struct err later;

	if (stack_cache_mode(c->cache, &io, &through, err))
		return -1;
	if (c->in_place)
		io |= IO_IN_PLACE;
	if (io_file_new(path, io | IO_WRITE | IO_RESIZE | IO_UNMAP, out, err))
		return -1;
	if (io_file_prepare(*out, c->opts, err)) {
		blk_close(*out, &later);
		*out = NULL;
		return -1;
	}
	return 0;
}

/* The path of a target; only local files can be created. */
static int target_path(const char *name, char **out, struct err *err)
{
	const struct protocol *p;
	const char *driver, *path;
	struct location l;
	int rc = -1;

	if (strncmp(name, "json:", 5) == 0)
		return err_set(err, EINVAL, "Unknown protocol 'json'");
	if (location_parse(name, &l, err))
		return -1;
	driver = opts_get(l.opts, "file.driver");
	path = location_path(&l);
	p = driver ? catalog_scheme(driver) : &io_file;
	if (!p)
		err_set(err, EINVAL, "Unknown protocol '%s'", driver);
	else if (!path)
		err_set(err, ENOTSUP, "Protocol driver '%s' does not support image creation",
			p->name);
	else if (!(*out = strdup(path)))
		err_nomem(err, strlen(path) + 1, "a file name");
	else
		rc = 0;
	location_free(&l);
	return rc;
}

/* -O host_device: what is there must open as that. */
static int check_protocol(const struct stack_create *c, const char *path, struct err *err)
{
	const struct protocol *p = catalog_protocol(c->format->name);
	struct node_env env = {.io = IO_WRITE};
	struct image *image = NULL;
	struct opts *def;
	struct err later;

	if (!p || p == &io_file)
		return 0;
	def = opts_new(err);
	if (def && opts_set(def, "driver", p->name, err) == 0 &&
	    opts_set(def, "filename", path, err) == 0)
		image = node_open(def, &env, err);
	opts_free(def);
	blk_close(image ? &image->blk : NULL, &later);
	if (image)
		return 0;
	return err_prefix(
		err,
		"Protocol driver '%s' does not support image creation, and opening the "
		"image failed",
		p->name);
}

/* Before anything is created. */
static int check(const struct stack_create *c, uint64_t *size, struct err *err)
{
	const char *format = opts_get(c->opts, "backing_fmt");

	if (format && !catalog_format(format) && !catalog_protocol(format))
		return err_set(err, EINVAL,
			       "Parameter 'backing-fmt' does not accept value '%s'", format);
	if (c->format->create_check && c->format->create_check(c->opts, size, err))
		return -1;
	return 0;
}

/* Would two new files get the same name? */
static bool same_place(const char *a, const char *b)
{
	const char *last_a = strrchr(a, '/'), *last_b = strrchr(b, '/');
	AUTO_FREE char *dir_a = strndup(a, last_a ? (size_t)(last_a - a) + 1 : 0);
	AUTO_FREE char *dir_b = strndup(b, last_b ? (size_t)(last_b - b) + 1 : 0);
	struct stat sa, sb;

	if (stat(a, &sa) == 0 && stat(b, &sb) == 0)
		return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
	if (strcmp(last_a ? last_a + 1 : a, last_b ? last_b + 1 : b) != 0)
		return false;
	return dir_a && dir_b && stat(dir_a[0] ? dir_a : ".", &sa) == 0 &&
	       stat(dir_b[0] ? dir_b : ".", &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

static int make_more(const struct stack_create *c, struct stack_target *t,
		     const struct file_names *names, struct err *err)
{
	if (names->n == 0)
		return 0;
	stack_expect_files(names->n);
	t->more = calloc(names->n, sizeof(struct blk *));
	if (!t->more)
		return err_nomem(err, names->n * sizeof(struct blk *), "the image's files");
	for (size_t i = 0; i < names->n; i++) {
		if (same_place(names->name[i], t->path))
			return err_set(err, EINVAL, "%s'%s' is the image itself",
				       opts_has(c->opts, "data_file") ? "data_file " : "",
				       names->name[i]);
		if (make_file(c, names->name[i], &t->more[i], err))
			return -1;
		t->nmore++;
	}
	return 0;
}

static int make_files(const struct stack_create *c, struct stack_target *t, uint64_t size,
		      struct err *err)
{
	struct file_names names = {0};
	int rc = 0;

	if (make_file(c, t->path, &t->file, err))
		return -1;
	if (c->format->create_files)
		rc = c->format->create_files(c->opts, size, t->path, &names, err);
	if (rc == 0)
		rc = make_more(c, t, &names, err);
	file_names_free(&names);
	return rc;
}

/* For formats that record what they are made over. Whatever it is: the format knows. */
static int open_backing(const struct stack_create *c, const char *path, struct chain **out,
			struct err *err)
{
	const char *name = opts_get(c->opts, "backing_file");
	struct stack_request r = {.share = true, .no_backing = true, .bare = true};
	AUTO_FREE char *full = NULL;

	if (!name || !name[0] || !(c->format->caps & FORMAT_READS_BACKING))
		return 0;
	full = location_relative(path, name, err);
	if (!full)
		return -1;
	r.name = full;
	*out = stack_open(&r, err);
	return *out ? 0 : -1;
}

static void on_end(int sig)
{
	io_file_drop_hidden();
	raise(sig); /* blocked until we return; SA_RESETHAND makes it end the program */
}

/* Who is ended while a target is in the making leaves nothing of it behind. */
static void catch_end(void)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU};
	struct sigaction sa = {.sa_handler = on_end, .sa_flags = SA_RESETHAND}, old;

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(ends[i], &sa, NULL);
	}
}

/* The place of the image in its file; to be closed. */
static struct blk *place_of(const struct stack_create *c, const struct stack_target *t,
			    struct err *err)
{
	struct blk *file = pass_borrow(t->file, err), *part;
	struct err later;

	if (!file || !c->head)
		return file;
	part = region_new(file, c->head, UINT64_MAX, err);
	if (!part) {
		blk_close(file, &later);
		return NULL;
	}
	free(part->name);
	part->name = strdup(c->inner);
	if (part->name)
		return part;
	err_nomem(err, strlen(c->inner) + 1, "a file name");
	blk_close(part, &later);
	return NULL;
}

/* Room for what is to be before the image. */
static int make_head(const struct stack_create *c, struct stack_target *t, struct err *err)
{
	if (!c->head)
		return 0;
	if (!(t->file->caps & BLK_CAN_GROW))
		return err_set(err, ENOTSUP, "An archive is written into a regular file");
	return blk_resize(t->file, c->head, PREALLOC_OFF, err);
}

static int create_in(const struct stack_create *c, struct stack_target *t,
		     struct create *create, struct err *err)
{
	struct blk *place;
	struct err later;
	int rc;

	if (make_head(c, t, err))
		return -1;
	place = c->head ? place_of(c, t, err) : t->file;
	if (!place)
		return -1;
	create->lower = place;
	create->file = t->more;
	create->nfile = t->nmore;
	rc = c->format->create(create, err);
	if (place != t->file && blk_close(place, rc ? &later : err))
		rc = -1;
	return rc;
}

int stack_target_create(const struct stack_create *c, struct stack_target *t, struct err *err)
{
	struct create create = {.opts = c->opts, .size = c->size};
	struct chain *below = NULL;
	struct err later;
	int rc;

	memset(t, 0, sizeof(*t));
	catch_end();
	if (target_path(c->name, &t->path, err))
		return -1;
	if (check(c, &create.size, err) || check_protocol(c, t->path, err) ||
	    open_backing(c, t->path, &below, err))
		goto fail;
	t->size = create.size;
	create.backing = below ? (struct image *)below->layer[0] : NULL;
	rc = make_files(c, t, create.size, err);
	if (rc == 0)
		rc = create_in(c, t, &create, err);
	blk_close(below ? &below->blk : NULL, &later);
	if (rc)
		goto fail;
	return 0;
fail:
	stack_target_abandon(t);
	return -1;
}

/* The image's other files, borrowed as its own. */
static int lend_files(const struct stack_target *t, struct image *image, struct err *err)
{
	if (image->nfile + (image->needs_data ? 1 : 0) != t->nmore)
		return err_set(err, EINVAL,
			       "The new image names %zu more files, but it has %zu",
			       image->nfile, t->nmore);
	for (size_t i = 0; i < t->nmore; i++) {
		struct blk *file = pass_borrow(t->more[i], err);

		if (!file)
			return -1;
		if (image->needs_data)
			image->data = file;
		else
			image->file[i].blk = file;
	}
	return 0;
}

/* What a new image is opened with: by whose key. */
static struct opts *open_opts(const struct stack_create *c, struct err *err)
{
	static const char *const keys[] = {"key-secret", "encrypt.key-secret"};
	struct opts *o = opts_new(err);

	for (size_t i = 0; o && i < ARRAY_LEN(keys); i++) {
		const char *value = opts_get(c->opts, keys[i]);

		if (value && opts_set(o, keys[i], value, err)) {
			opts_free(o);
			return NULL;
		}
	}
	return o;
}

static struct image *open_new(const struct stack_create *c, const struct stack_target *t,
			      struct err *err)
{
	struct opts *none = open_opts(c, err);
	struct blk *file = none ? place_of(c, t, err) : NULL;
	struct image *image = NULL;
	struct err later;
	int rc;

	if (file && c->format->open(file, none, IMAGE_WRITE | IMAGE_NEW, &image, err))
		blk_close(file, &later);
	opts_free(none);
	if (!image)
		return NULL;
	rc = lend_files(t, image, err);
	if (rc == 0 && c->format->attached)
		rc = c->format->attached(image, err);
	if (rc == 0)
		return image;
	blk_close(&image->blk, &later);
	return NULL;
}

/* The backing file's definition: the user's own words, so any location will do. */
static int define_backing(const struct stack_create *c, const char *path, struct opts *def,
			  struct err *err)
{
	const char *name = opts_get(c->opts, "backing_file");
	const char *format = opts_get(c->opts, "backing_fmt");
	AUTO_FREE char *full = location_relative(path, name, err);
	struct location l;
	int rc = 0;

	if (!full || location_parse(full, &l, err))
		return -1;
	for (size_t i = 0; rc == 0 && i < opts_count(l.opts); i++) {
		AUTO_FREE char *key = NULL;

		if (asprintf(&key, "backing.%s", opts_key(l.opts, i)) < 0) {
			key = NULL;
			rc = err_nomem(err, strlen(full), "a key");
		} else {
			rc = opts_set(def, key, opts_value(l.opts, i), err);
		}
	}
	if (rc == 0 && !l.explicit_ && node_settle_name(def, "backing.file.", err))
		rc = err_prefix(err, "Could not open backing file");
	location_free(&l);
	if (rc == 0 && format)
		rc = opts_set(def, "backing.driver", format, err);
	return rc;
}

static struct chain *chain_of(const struct stack_create *c, const struct stack_target *t,
			      struct image *image, struct err *err)
{
	struct node_env env = {.no_backing = !c->backing_open};
	struct opts *def = opts_new(err);
	struct chain *chain = NULL;
	bool through;
	struct err later;

	if (!def || stack_cache_mode(c->cache, &env.io, &through, err) ||
	    (c->backing_open && opts_has(c->opts, "backing_file") &&
	     define_backing(c, t->path, def, err)))
		blk_close(&image->blk, &later);
	else
		chain = stack_chain(def, image, &env, err);
	opts_free(def);
	return chain;
}

int stack_target_open(const struct stack_create *c, struct stack_target *t, struct err *err)
{
	struct image *image = open_new(c, t, err);

	if (image)
		t->chain = chain_of(c, t, image, err);
	if (t->chain)
		return 0;
	err_prefix(err, "Could not open '%s'", c->name);
	stack_target_abandon(t);
	return -1;
}

static void forget(struct stack_target *t)
{
	free(t->more);
	free(t->path);
	memset(t, 0, sizeof(*t));
}

int stack_target_close(struct stack_target *t, struct err *err)
{
	struct err later;
	int rc = 0;

	if (!t->chain)
		return 0;
	rc = blk_flush(&t->chain->blk, err);
	if (blk_close(&t->chain->blk, rc ? &later : err))
		rc = -1;
	t->chain = NULL;
	return rc;
}

int stack_target_finish(struct stack_target *t, struct err *err)
{
	struct err later;
	int rc = stack_target_close(t, err);

	/* The image last: what it needs is there when it appears. */
	for (size_t i = 0; rc == 0 && i < t->nmore; i++)
		rc = io_file_publish(t->more[i], err);
	if (rc == 0)
		rc = io_file_publish(t->file, err);
	for (size_t i = 0; i < t->nmore; i++)
		if (blk_close(t->more[i], rc ? &later : err))
			rc = -1;
	if (blk_close(t->file, rc ? &later : err))
		rc = -1;
	forget(t);
	return rc;
}

void stack_target_abandon(struct stack_target *t)
{
	struct err ignored;

	blk_close(t->chain ? &t->chain->blk : NULL, &ignored);
	for (size_t i = 0; i < t->nmore; i++)
		blk_close(t->more[i], &ignored);
	blk_close(t->file, &ignored);
	forget(t);
}
