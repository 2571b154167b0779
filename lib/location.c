#include "lib/location.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/mem.h"

#define JSON_PREFIX "json:"

bool location_has_scheme(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

/* "backing": null says that there is none; any other null is as if it were not there. */
static int put_null(struct opts *opts, const char *key, struct err *err)
{
	const char *last = strrchr(key, '.');

	if (strcmp(last ? last + 1 : key, "backing") != 0)
		return 0;
	return opts_set(opts, key, "", err);
}

struct flatten {
	struct opts *opts;
	const char *prefix; /* with its dot, or "" */
	struct err *err;
};

static int flatten_member(const char *key, struct json *value, void *arg);

static int flatten(struct opts *opts, const char *key, struct json *j, struct err *err)
{
	AUTO_FREE char *prefix = NULL;
	char text[40];
	struct flatten f = {.opts = opts, .err = err};

	switch (json_type(j)) {
	case JSON_NULL:
		return put_null(opts, key, err);
	case JSON_BOOL:
		return opts_set(opts, key, json_true(j) ? "on" : "off", err);
	case JSON_INT:
		snprintf(text, sizeof(text), "%" PRId64, json_num(j));
		return opts_set(opts, key, text, err);
	case JSON_DOUBLE:
		return err_set(err, EINVAL, "Parameter '%s' must not be a fraction", key);
	case JSON_STRING:
		return opts_set(opts, key, json_str(j), err);
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	if (asprintf(&prefix, "%s.", key) < 0) {
		prefix = NULL;
		return err_nomem(err, strlen(key) + 2, "a JSON key");
	}
	f.prefix = prefix;
	if (json_type(j) == JSON_OBJECT)
		return json_members(j, flatten_member, &f);
	for (size_t i = 0; i < json_len(j); i++) {
		snprintf(text, sizeof(text), "%zu", i);
		if (flatten_member(text, json_at(j, i), &f))
			return -1;
	}
	return 0;
}

static int flatten_member(const char *key, struct json *value, void *arg)
{
	struct flatten *f = arg;
	AUTO_FREE char *full = NULL;

	if (asprintf(&full, "%s%s", f->prefix, key) < 0) {
		full = NULL;
		return err_nomem(f->err, strlen(f->prefix) + strlen(key) + 1, "a JSON key");
	}
	return flatten(f->opts, full, value, f->err);
}

static int parse_json(const char *text, struct opts *opts, struct err *err)
{
	struct flatten f = {.opts = opts, .prefix = "", .err = err};
	struct json *j = json_parse(text, err);
	int rc;

	if (!j)
		return err_prefix(err, "Could not parse the JSON options");
	if (json_type(j) == JSON_OBJECT)
		rc = json_members(j, flatten_member, &f);
	else
		rc = err_set(err, EINVAL, "Invalid JSON object given");
	json_free(j);
	return rc;
}

/* "file:x" and "host_device:x" are the local path x; other schemes keep their text. */
static int parse_plain(const char *text, struct opts *opts, struct err *err)
{
	size_t n = strcspn(text, ":");
	AUTO_FREE char *scheme = NULL;

	if (!location_has_scheme(text))
		return opts_set(opts, "file.filename", text, err);
	scheme = strndup(text, n);
	if (!scheme)
		return err_nomem(err, n + 1, "a file name");
	if (strcmp(scheme, "file") == 0 || strcmp(scheme, "host_device") == 0)
		text += n + 1;
	if (opts_set(opts, "file.driver", scheme, err))
		return -1;
	return opts_set(opts, "file.filename", text, err);
}

static int begin(const char *text, struct location *out, struct err *err)
{
	memset(out, 0, sizeof(*out));
	out->name = strdup(text);
	if (!out->name)
		return err_nomem(err, strlen(text) + 1, "a file name");
	out->opts = opts_new(err);
	return out->opts ? 0 : -1;
}

int location_parse(const char *text, struct location *out, struct err *err)
{
	bool json = strncmp(text, JSON_PREFIX, strlen(JSON_PREFIX)) == 0;
	int rc = begin(text, out, err);

	if (rc == 0 && json)
		rc = parse_json(text + strlen(JSON_PREFIX), out->opts, err);
	else if (rc == 0)
		rc = parse_plain(text, out->opts, err);
	if (rc)
		location_free(out);
	else
		out->explicit_ = json;
	return rc;
}

int location_parse_opts(const char *text, struct location *out, struct err *err)
{
	/* A lone word would refer to a node by name, as "file=NODE" does. */
	if (begin(text, out, err) || opts_parse(out->opts, text, "file", err)) {
		location_free(out);
		return -1;
	}
	out->explicit_ = true;
	return 0;
}

void location_free(struct location *l)
{
	free(l->name);
	opts_free(l->opts);
	memset(l, 0, sizeof(*l));
}

const char *location_path(const struct location *l)
{
	const char *driver = opts_get(l->opts, "file.driver");
	const char *path = opts_get(l->opts, "file.filename");

	if (!path) {
		driver = opts_get(l->opts, "driver");
		path = opts_get(l->opts, "filename");
	}
	if (driver && strcmp(driver, "file") != 0 && strcmp(driver, "host_device") != 0)
		return NULL;
	return path;
}

char *location_relative(const char *image, const char *name, struct err *err)
{
	const char *slash = strrchr(image, '/');
	size_t folder = slash ? (size_t)(slash - image) + 1 : 0;
	char *full;

	if (name[0] == '/' || location_has_scheme(name))
		folder = 0;
	if (asprintf(&full, "%.*s%s", (int)folder, image, name) < 0) {
		err_nomem(err, folder + strlen(name) + 1, "a file name");
		return NULL;
	}
	return full;
}
