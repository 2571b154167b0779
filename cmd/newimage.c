#include "cmd/newimage.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/args.h"
#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "cmd/suggest.h"
#include "lib/location.h"
#include "lib/mem.h"

#define SECTOR 512 /* all formats round up to that */

const struct format *newimage_format(const char *given, char letter, const char *name,
				     bool quiet)
{
	const struct format *format;
	const char *foreign, *advice;

	if (given || cmd_persona == PERSONA_QEMU_IMG || !name)
		return args_format(given ? given : "raw");
	format = catalog_by_extension(name);
	foreign = catalog_foreign_extension(name, &advice);
	if (foreign) {
		cmd_error(
			"%s: this version cannot write .%s files; -%c FMT chooses a format%s%s",
			name, foreign, letter, advice ? ", " : "", advice ? advice : "");
		return NULL;
	}
	if (!quiet)
		cmd_error("writing %s, %s (-%c to choose)", format ? format->name : "raw",
			  format ? "from the name's extension"
				 : "since the name's extension tells nothing",
			  letter);
	return format ? format : catalog_format("raw");
}

const struct protocol *newimage_protocol(const char *name, struct err *err)
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
		p = catalog_scheme(driver);
	else if (path && stat(path, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)))
		p = &io_host_device;
	if (!p)
		err_set(err, EINVAL, "Unknown protocol '%s'", driver);
	location_free(&l);
	return p;
}

int newimage_help(const struct format *format, const char *name)
{
	const struct opt *tables[3] = {format->create_opts};
	const struct protocol *p;
	unsigned without = cmd_persona == PERSONA_QEMU_IMG ? OPT_OURS : 0;
	struct err err;

	if (!name) {
		printf("Supported %s options:\n", format->name);
		opt_help_keys(stdout, tables, 0, without);
		puts("\nThe protocol level may support further options.\n"
		     "Specify the target filename to include those options.");
		return 0;
	}
	p = newimage_protocol(name, &err);
	if (!p) {
		cmd_err(&err);
		return 1;
	}
	tables[1] = p->create_opts;
	puts("Supported options:");
	opt_help_keys(stdout, tables, 0, without);
	return 0;
}

/* Under the peer's name there are only the keys that it has. */
static bool is_offered(const struct opt *t)
{
	return cmd_persona != PERSONA_QEMU_IMG || !(t->flags & OPT_OURS);
}

const struct opt *newimage_row(const struct newimage *n, const char *key)
{
	const struct opt *const tables[] = {n->format->create_opts, n->protocol->create_opts};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		for (const struct opt *t = tables[i]; t && t->type != OPT_END; t++) {
			if (strcmp(t->name, key) == 0 && is_offered(t))
				return t;
		}
	}
	return NULL;
}

bool newimage_same(const char *a, const char *b)
{
	struct stat sa, sb;

	return strcmp(a, b) == 0 || (stat(a, &sa) == 0 && stat(b, &sb) == 0 &&
				     sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino);
}

int newimage_not_below(const struct newimage *n, struct err *err)
{
	const char *backing = opts_get(n->keys, "backing_file");
	AUTO_FREE char *path = NULL;

	if (!backing)
		return 0;
	if (strcmp(backing, n->name) && backing[0]) {
		path = location_relative(n->name, backing, err);
		if (!path)
			return -1;
	}
	if (strcmp(backing, n->name) && !(path && newimage_same(path, n->name)))
		return 0;
	return err_set(err, EINVAL,
		       "Error: Trying to create an image with the same filename as the "
		       "backing file");
}

/* A data file is emptied: it must not be another file of the image. */
static int check_data_file(const struct newimage *n, struct err *err)
{
	const char *data = opts_get(n->keys, "data_file");
	const char *backing = opts_get(n->keys, "backing_file");
	AUTO_FREE char *path = NULL;

	if (!data)
		return 0;
	if (newimage_same(data, n->name))
		return err_set(err, EINVAL, "The data file '%s' is the new image itself", data);
	if (!backing)
		return 0;
	path = location_relative(n->name, backing, err);
	if (!path)
		return -1;
	if (newimage_same(data, path))
		return err_set(err, EINVAL, "The data file '%s' is the backing file", data);
	return 0;
}

/* "Invalid parameter 'cluster_sise'", and under our own name the nearest that is valid. */
static int unknown_key(const struct newimage *n, const char *key, struct err *err)
{
	const struct opt *const tables[] = {n->format->create_opts, n->protocol->create_opts};
	struct suggest near;

	err_set(err, EINVAL, "Invalid parameter '%s'", key);
	suggest_begin(&near, key);
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		for (const struct opt *t = tables[i]; t && t->type != OPT_END; t++) {
			if (!(t->flags & OPT_HIDDEN))
				suggest_offer(&near, t->name);
		}
	}
	if (near.best && cmd_persona == PERSONA_PLATTER)
		err_hint(err, "did you mean '%s'?", near.best);
	return -1;
}

int newimage_check(const struct newimage *n, struct err *err)
{
	for (size_t i = 0; i < opts_count(n->keys); i++) {
		const char *key = opts_key(n->keys, i);
		const struct opt *t = newimage_row(n, key);
		uint64_t num;
		bool b;

		if (!t)
			return unknown_key(n, key, err);
		if ((t->type == OPT_SIZE && opts_size(n->keys, key, &num, err)) ||
		    (t->type == OPT_NUM && opts_num(n->keys, key, UINT64_MAX, &num, err)) ||
		    ((t->type == OPT_BOOL || t->type == OPT_FLAG) &&
		     opts_bool(n->keys, key, &b, err)))
			return -1;
	}
	return 0;
}

int newimage_backing(const struct newimage *n, const char *file, const char *format,
		     struct err *err)
{
	const struct {
		const char *key, *value, *what;
	} t[] = {
		{"backing_file", file, "Backing file"},
		{"backing_fmt", format, "Backing file format"},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		if (!t[i].value)
			continue;
		if (!newimage_row(n, t[i].key))
			return err_set(err, ENOTSUP, "%s not supported for file format '%s'",
				       t[i].what, n->format->name);
		if (opts_set(n->keys, t[i].key, t[i].value, err))
			return -1;
	}
	return check_data_file(n, err);
}

void newimage_tell_size(const char *name, const struct format *format, uint64_t asked,
			uint64_t got)
{
	if (cmd_persona == PERSONA_QEMU_IMG || got == round_up(asked, SECTOR))
		return;
	cmd_warn("%s: the disk has %" PRIu64 " bytes, not %" PRIu64 ": %s rounds sizes%s", name,
		 got, asked, format->name,
		 opts_row(format->create_opts, "force_size")
			 ? "; create and convert keep them with -o force_size=on"
			 : "");
}
