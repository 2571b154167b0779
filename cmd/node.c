#include "cmd/node.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "cmd/guard.h"
#include "cmd/stack.h"
#include "formats/raw.h"
#include "lib/filter/detect.h"
#include "lib/mem.h"

#define NODE_NAME_MAX 31

/* Keys that every node takes. */
static const struct opt node_opts[] = {
	{.name = "driver", .type = OPT_STR},
	{.name = "node-name", .type = OPT_STR},
	{.name = "read-only", .type = OPT_BOOL},
	{.name = "auto-read-only", .type = OPT_BOOL},
	{.name = "force-share", .type = OPT_BOOL},
	{.name = "cache.direct", .type = OPT_BOOL},
	{.name = "cache.no-flush", .type = OPT_BOOL},
	{.name = "discard", .type = OPT_STR},
	{.name = "detect-zeroes", .type = OPT_STR},
	{0},
};

static bool below(const char *key, const char *child)
{
	size_t n = strlen(child);

	return strncmp(key, child, n) == 0 && (key[n] == '.' || key[n] == '\0');
}

bool node_has_child(const struct opts *def, const char *child)
{
	for (size_t i = 0; i < opts_count(def); i++)
		if (below(opts_key(def, i), child))
			return true;
	return false;
}

const char *node_path(const struct opts *def)
{
	char key[64] = "filename";
	const char *path;

	while (!(path = opts_get(def, key))) {
		char deeper[sizeof(key)];

		if ((size_t)snprintf(deeper, sizeof(deeper), "file.%s", key) >= sizeof(deeper))
			return NULL;
		memcpy(key, deeper, sizeof(key));
	}
	return path;
}

static bool in_table(const struct opt *table, const char *key)
{
	for (; table && (table->name || table->letter); table++) {
		size_t n = table->name ? strlen(table->name) : 0;

		if (!table->name)
			continue;
		if (strcmp(table->name, key) == 0 ||
		    ((table->flags & OPT_PREFIX) && strncmp(table->name, key, n) == 0))
			return true;
	}
	return false;
}

/* The first key that neither every node nor this driver takes; NULL if there is none. */
static const char *unknown_key(const struct opts *def, const struct opt *table,
			       const char *const *child)
{
	for (size_t i = 0; i < opts_count(def); i++) {
		const char *key = opts_key(def, i);
		bool known = in_table(node_opts, key) || in_table(table, key);

		for (size_t c = 0; !known && child[c]; c++)
			known = below(key, child[c]);
		if (!known)
			return key;
	}
	return NULL;
}

static int check_node_name(const char *name, struct err *err)
{
	const char *p = name;

	if (!isalpha((unsigned char)*p))
		return err_set(err, EINVAL, "Invalid node-name: '%s'", name);
	for (; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("-._", *p))
			return err_set(err, EINVAL, "Invalid node-name: '%s'", name);
	if (p - name > NODE_NAME_MAX)
		return err_set(err, EINVAL, "Node name too long");
	return 0;
}

static int parse_discard(const struct opts *def, unsigned *io, struct err *err)
{
	const char *v = opts_get(def, "discard");

	if (!v)
		return 0;
	if (strcmp(v, "unmap") == 0 || strcmp(v, "on") == 0)
		*io |= IO_UNMAP;
	else if (strcmp(v, "ignore") == 0 || strcmp(v, "off") == 0)
		*io &= ~(unsigned)IO_UNMAP;
	else
		return err_set(err, EINVAL, "Invalid discard option");
	return 0;
}

enum chain_detect node_detect(const struct opts *def)
{
	const char *v = opts_get(def, "detect-zeroes");

	if (!v || strcmp(v, "off") == 0)
		return DETECT_OFF;
	return strcmp(v, "unmap") == 0 ? DETECT_UNMAP : DETECT_ZEROES;
}

static int check_detect(const struct opts *def, unsigned io, struct err *err)
{
	const char *v = opts_get(def, "detect-zeroes");

	if (!v || strcmp(v, "off") == 0 || strcmp(v, "on") == 0)
		return 0;
	if (strcmp(v, "unmap") != 0)
		return err_set(err, EINVAL, "invalid parameter value: %s", v);
	if (!(io & IO_UNMAP))
		return err_set(err, EINVAL,
			       "setting detect-zeroes to unmap is not allowed "
			       "without setting discard operation to unmap");
	return 0;
}

static int set_flag(const struct opts *def, const char *key, unsigned bit, unsigned *io,
		    struct err *err)
{
	bool on = *io & bit;

	if (opts_bool(def, key, &on, err))
		return -1;
	*io = on ? *io | bit : *io & ~bit;
	return 0;
}

/* The keys of every node, on top of what came from above. */
static int apply_node_opts(const struct opts *def, struct node_env *env, struct err *err)
{
	bool read_only = false, automatic = false;
	const char *name = opts_get(def, "node-name");

	if (name && check_node_name(name, err))
		return -1;
	if (opts_bool(def, "read-only", &read_only, err) ||
	    opts_bool(def, "auto-read-only", &automatic, err) ||
	    set_flag(def, "force-share", IO_SHARE, &env->io, err) ||
	    set_flag(def, "cache.direct", IO_DIRECT, &env->io, err) ||
	    set_flag(def, "cache.no-flush", IO_NO_FLUSH, &env->io, err) ||
	    parse_discard(def, &env->io, err) || check_detect(def, env->io, err))
		return -1;
	if (read_only && (env->io & IO_WRITE))
		return err_set(err, EACCES, "Block node is read-only");
	if ((env->io & IO_SHARE) && (env->io & IO_WRITE))
		return err_set(err, EINVAL,
			       "force-share=on can only be used with read-only images");
	return 0;
}

/* The keys that the protocol makes of the name, in its place. */
static int put_name_keys(struct opts *def, const char *at, const struct protocol *p,
			 const char *name, struct err *err)
{
	struct opts *own = opts_new(err);
	int rc = own ? p->parse_name(name, own, err) : -1;

	if (rc == 0)
		rc = opts_set(own, "driver", p->name, err);
	for (size_t i = 0; rc == 0 && i < opts_count(own); i++) {
		AUTO_FREE char *key = NULL;

		if (asprintf(&key, "%s%s", at, opts_key(own, i)) < 0) {
			key = NULL;
			rc = err_nomem(err, strlen(at), "a key");
		} else {
			rc = opts_set(def, key, opts_value(own, i), err);
		}
	}
	opts_free(own);
	return rc;
}

int node_settle_name(struct opts *def, const char *at, struct err *err)
{
	char driver[64], filename[64];
	const struct protocol *p;
	const char *word, *name;

	snprintf(driver, sizeof(driver), "%sdriver", at);
	snprintf(filename, sizeof(filename), "%sfilename", at);
	word = opts_get(def, driver);
	name = opts_get(def, filename);
	if (!word || !name)
		return 0;
	p = catalog_scheme(word);
	if (!p)
		p = catalog_protocol(word);
	if (!p)
		return err_set(err, EINVAL, "Unknown protocol '%s'", word);
	if (p->parse_name) {
		if (put_name_keys(def, at, p, name, err))
			return -1;
		opts_unset(def, filename);
		return 0;
	}
	if (!p->scheme || in_table(p->open_opts, "filename"))
		return 0;
	if (strcmp(name, p->scheme) != 0)
		return err_set(err, EINVAL, "The only allowed filename for this driver is '%s'",
			       p->scheme);
	opts_unset(def, filename);
	return 0;
}

/* The driver of a file by its name: a local one. */
static const struct protocol *protocol_of(const struct opts *def)
{
	const char *path = opts_get(def, "filename");
	struct stat st;

	if (path && stat(path, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)))
		return &io_host_device;
	return &io_file;
}

static struct blk *open_protocol(const struct protocol *p, const struct opts *def,
				 const struct node_env *env, struct err *err)
{
	static const char *const no_child[] = {NULL};
	const char *key = unknown_key(def, p->open_opts, no_child);
	struct blk *blk = NULL;

	if (key) {
		err_set(err, EINVAL, "Block protocol '%s' doesn't support the option '%s'",
			p->name, key);
		return NULL;
	}
	if (p == &io_file && opts_has(def, "driver") && protocol_of(def) != p) {
		err_set(err, EINVAL, "'file' driver requires '%s' to be a regular file",
			opts_get(def, "filename"));
		return NULL;
	}
	return p->open(def, env->io, &blk, err) ? NULL : blk;
}

const char *node_driver(const struct opts *def)
{
	const char *driver = opts_get(def, "driver");

	return driver ? driver : protocol_of(def)->name;
}

/* An image as the file of another one: what a guest would see in it, so its data is
 * needed also where only the other one's metadata is. */
static struct blk *open_nested(const struct opts *def, const struct node_env *above,
			       struct err *err)
{
	struct node_env env = *above;
	struct image *image;
	struct chain *chain;

	env.io &= ~(unsigned)IO_NO_IO;
	env.image &= ~(unsigned)IMAGE_NO_IO;
	env.no_backing = false;
	env.base = NULL;
	image = node_open(def, &env, err);
	if (!image)
		return NULL;
	if (image->blk.ops->pwrite && !image->backing && !node_detect(def))
		return &image->blk;
	chain = stack_chain(def, image, &env, err);
	return chain ? &chain->blk : NULL;
}

static struct blk *open_below(const struct opts *def, const struct node_env *above,
			      struct err *err)
{
	const char *driver = opts_get(def, "driver");
	const struct protocol *p = driver ? catalog_protocol(driver) : protocol_of(def);
	struct node_env env = *above;
	struct blk *blk;

	if (!driver && !opts_has(def, "filename")) {
		err_set(err, EINVAL, "Must specify either driver or file");
		return NULL;
	}
	/* Discards end here only if this node says so: the one above asked for them. */
	env.io |= IO_UNMAP;
	if (!p && catalog_format(driver))
		return open_nested(def, &env, err);
	if (!p) {
		err_set(err, ENOENT, "Unknown driver '%s'", driver);
		return NULL;
	}
	if (apply_node_opts(def, &env, err))
		return NULL;
	blk = open_protocol(p, def, &env, err);
	if (!blk || !(env.io & IO_WRITE) || node_detect(def) == DETECT_OFF)
		return blk;
	return detect_new(blk, node_detect(def) == DETECT_UNMAP, err);
}

struct blk *node_open_child(const struct opts *def, const char *child,
			    const struct node_env *env, struct err *err)
{
	const char *reference = opts_get(def, child);
	struct opts *own;
	struct blk *blk;

	if (reference) {
		err_set(err, ENODEV, "Cannot find device='%s' nor node-name='%s'", reference,
			reference);
		return NULL;
	}
	if (!node_has_child(def, child)) {
		err_set(err, EINVAL, "A block device must be specified for \"%s\"", child);
		return NULL;
	}
	own = opts_below(def, child, err);
	if (!own)
		return NULL;
	blk = open_below(own, env, err);
	opts_free(own);
	return blk;
}

static struct image *open_as_protocol(const struct protocol *p, const struct opts *def,
				      const struct node_env *env, struct err *err)
{
	struct blk *blk = open_protocol(p, def, env, err);
	struct image *image;
	struct err later;

	if (!blk)
		return NULL;
	image = raw_wrap(blk, catalog_protocol_format(p), err);
	if (!image)
		blk_close(blk, &later);
	return image;
}

static int attach_data(const struct opts *def, struct image *image, const struct node_env *env,
		       struct err *err)
{
	if (!image->needs_data) {
		if (node_has_child(def, "data-file"))
			return err_set(err, EINVAL,
				       "'data-file' can only be set for images "
				       "with an external data file");
		return 0;
	}
	if (env->image & IMAGE_NO_IO)
		return 0;
	image->data = stack_data_file(def, image, env, err);
	return image->data ? 0 : -1;
}

/* How the file below is opened and locked. All formats but raw keep tables in it: nobody
 * else may write them, and a writer moves the end of the file. Until the format is known
 * it is opened as for raw. */
static unsigned lower_io(const struct node_env *env, const struct format *format)
{
	unsigned io = env->io;

	if (!format || (format->caps & FORMAT_ANY))
		return io;
	return io & IO_WRITE ? io | IO_ALONE | IO_RESIZE : io | IO_ALONE;
}

/* The format of an open file by its content. Puts a guard over a file that is taken for
 * raw and written. NULL: *lower may be closed already. */
static const struct format *probe(struct blk **lower, const struct node_env *env,
				  struct err *err)
{
	const struct format *format = stack_probe(*lower, err);
	struct blk *file = *lower;

	if (!format)
		return NULL;
	while (file->lower)
		file = file->lower;
	if (!(format->caps & FORMAT_ANY))
		return io_file_lock(file, lower_io(env, format), err) ? NULL : format;
	if (cmd_persona == PERSONA_PLATTER && file == *lower && io_ova_refuse(file, err))
		return NULL;
	if (env->io & IO_WRITE)
		*lower = guard_new(*lower, !env->base, err); /* as the peer: not of a base */
	return *lower ? format : NULL;
}

/* The peer ends such a warning without a newline. */
static void tell_warning(const struct image *image)
{
	if (image->warning && cmd_persona == PERSONA_QEMU_IMG)
		fprintf(stderr, "%s: warning: %s", cmd_name, image->warning);
	else if (image->warning)
		cmd_warn("%s", image->warning);
	if (image->note && cmd_persona == PERSONA_PLATTER)
		cmd_warn("%s: %s", image->blk.name, image->note);
}

/* Before an image that was not closed cleanly is written, its own books are put in order. */
static int repair_dirty(const struct format *format, struct blk *lower, const struct opts *def,
			struct err *err)
{
	struct check c = {.fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, .report = cmd_report_line};
	struct image *image;
	struct err later;
	int rc;

	if (format->open(lower, def, IMAGE_WRITE | IMAGE_CHECK, &image, err))
		return -1;
	rc = format->check(image, &c, err);
	if (rc == 0 && c.check_errors)
		rc = err_set(err, EIO, "%s", strerror(EIO));
	image->blk.lower = NULL; /* stays the caller's */
	if (blk_close(&image->blk, rc ? &later : err))
		rc = -1;
	return rc ? err_prefix(err, "Could not repair dirty image") : 0;
}

static int open_clean(const struct opts *def, const struct format *format, struct blk *lower,
		      unsigned flags, struct image **image, struct err *err)
{
	if (format->open(lower, def, flags, image, err) == 0)
		return 0;
	if (err->num != EUCLEAN || !(flags & IMAGE_WRITE) || !format->check)
		return -1;
	if (repair_dirty(format, lower, def, err))
		return -1;
	return format->open(lower, def, flags, image, err);
}

static struct image *open_format(const struct opts *def, const struct format *format,
				 struct blk **lower, const struct node_env *env,
				 struct err *err)
{
	const char *child[5] = {"file"};
	size_t n = 1;
	unsigned flags = env->image | (env->io & IO_WRITE ? IMAGE_WRITE : 0);
	struct image *image = NULL;
	const char *key;

	if (format->caps & (FORMAT_BACKING | FORMAT_PARENT)) {
		child[n++] = "backing";
		child[n++] = "data-file";
	}
	if (format->attached)
		child[n++] = "extents"; /* which of them, is seen when they are opened */
	key = unknown_key(def, format->open_opts, child);
	if (key) {
		err_set(err, EINVAL, "Block format '%s' does not support the option '%s'",
			format->name, key);
		return NULL;
	}
	if ((flags & IMAGE_WRITE) && !(format->caps & FORMAT_WRITE)) {
		if (cmd_persona == PERSONA_QEMU_IMG)
			err_set(err, EACCES, "Image is read-only");
		else
			err_set(err, EACCES, "Format '%s' can only be read", format->name);
		return NULL;
	}
	if (open_clean(def, format, *lower, flags, &image, err))
		return NULL;
	*lower = NULL;
	tell_warning(image);
	if (!(env->io & IO_UNMAP))
		image->blk.caps |= BLK_NO_UNMAP;
	return image;
}

static struct image *open_image(const struct opts *def, const struct format *format,
				struct node_env *env, struct err *err)
{
	struct node_env under = *env;
	struct image *image = NULL;
	struct blk *lower;
	struct err later;

	under.io = lower_io(env, format);
	lower = node_open_child(def, "file", &under, err);
	if (!lower)
		return NULL;
	if (!format) {
		env->image |= IMAGE_PROBED;
		format = probe(&lower, env, err);
	}
	if (format)
		image = open_format(def, format, &lower, env, err);
	blk_close(lower, &later);
	if (image &&
	    (stack_attach_files(def, image, env, err) || attach_data(def, image, env, err))) {
		blk_close(&image->blk, &later);
		return NULL;
	}
	return image;
}

struct image *node_open(const struct opts *def, const struct node_env *above, struct err *err)
{
	const char *driver = opts_get(def, "driver");
	const struct format *format = driver ? catalog_format(driver) : NULL;
	const struct protocol *p = driver ? catalog_protocol(driver) : NULL;
	struct node_env env = *above;

	if (driver && !format && !p) {
		err_set(err, ENOENT, "Unknown driver '%s'", driver);
		return NULL;
	}
	if (!driver && !node_has_child(def, "file")) {
		err_set(err, EINVAL, "Must specify either driver or file");
		return NULL;
	}
	if (apply_node_opts(def, &env, err))
		return NULL;
	return p ? open_as_protocol(p, def, &env, err) : open_image(def, format, &env, err);
}
