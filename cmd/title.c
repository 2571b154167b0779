/*
 * What an opened definition is called, in the peer's words: its file's name where that
 * and the format say it all, else "json:{...}" with the keys that change what is seen.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/node.h"
#include "lib/json.h"

/* In the peer's order, around "driver". */
static const char *const before[] = {"offset",	 "read-zeroes", "encrypt.key-secret",
				     "fat-type", "dir",		NULL};
static const char *const after[] = {"size", "floppy", "label", "rw", NULL};

static bool has_any(const struct opts *def, const char *const *key)
{
	for (; *key; key++)
		if (opts_has(def, *key))
			return true;
	return false;
}

/* Does the file's name say it all? Not if one format lies in another. -1: no memory. */
static int plain(const struct opts *def, unsigned depth, struct err *err)
{
	struct opts *below;
	int rc;

	if (has_any(def, before) || has_any(def, after))
		return 0;
	if (!node_has_child(def, "file"))
		return 1;
	if (depth > 0)
		return 0;
	below = opts_below(def, "file", err);
	rc = below ? plain(below, depth + 1, err) : -1;
	opts_free(below);
	return rc;
}

static bool is_number(const char *s)
{
	s += *s == '-';
	return isdigit((unsigned char)*s) && s[strspn(s, "0123456789")] == '\0';
}

static void put_value(FILE *to, const char *v, bool typed)
{
	if (typed && is_number(v))
		fputs(v, to);
	else if (typed && (strcmp(v, "on") == 0 || strcmp(v, "off") == 0))
		fputs(strcmp(v, "on") == 0 ? "true" : "false", to);
	else
		json_print_string(to, v);
}

/* "key": with what stands between it and the one before. */
static void put_key(FILE *to, const char *key, bool *first)
{
	fprintf(to, "%s\"%s\": ", *first ? "" : ", ", key);
	*first = false;
}

static void put_keys(FILE *to, const struct opts *def, const char *const *key, bool typed,
		     bool *first)
{
	for (; *key; key++) {
		if (!opts_has(def, *key))
			continue;
		put_key(to, *key, first);
		put_value(to, opts_get(def, *key), typed);
	}
}

static int put_def(FILE *to, const struct opts *def, const char *driver, bool typed,
		   struct err *err)
{
	struct opts *below = NULL;
	bool first = true;
	int rc = 0;

	if (node_has_child(def, "file")) {
		below = opts_below(def, "file", err);
		if (!below)
			return -1;
	}
	fputs("{", to);
	put_keys(to, def, before, typed, &first);
	put_key(to, "driver", &first);
	json_print_string(to, driver);
	put_keys(to, def, after, typed, &first);
	if (below) {
		put_key(to, "file", &first);
		rc = put_def(to, below, node_driver(below), typed, err);
	} else if (opts_has(def, "filename")) {
		put_key(to, "filename", &first);
		json_print_string(to, opts_get(def, "filename"));
	}
	fputs("}", to);
	opts_free(below);
	return rc;
}

int node_title(const struct opts *def, struct image *image, bool typed, struct err *err)
{
	int rc = plain(def, 0, err);
	char *text = NULL;
	size_t n;
	FILE *to;

	if (rc)
		return rc < 0 ? -1 : 0;
	to = open_memstream(&text, &n);
	if (!to)
		return err_nomem(err, 0, "a name");
	fputs("json:", to);
	rc = put_def(to, def, image->format->name, typed, err);
	if (fclose(to) && rc == 0)
		rc = err_nomem(err, n, "a name");
	if (rc) {
		free(text);
		return -1;
	}
	free(image->blk.name);
	image->blk.name = text;
	return 0;
}
