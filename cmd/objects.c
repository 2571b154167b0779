/*
 * --object: secrets, by the names that options of images refer to.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/args.h"
#include "cmd/cmd.h"
#include "crypto/secret.h"
#include "lib/location.h"
#include "lib/mem.h"

/* The keys of "TYPE,id=..." or of JSON with a qom-type. */
static struct opts *parse(const char *text, struct err *err)
{
	AUTO_FREE char *json = NULL;
	struct opts *def;
	struct location l;

	if (text[0] == '{') {
		if (asprintf(&json, "json:%s", text) < 0) {
			json = NULL;
			err_nomem(err, strlen(text), "an object");
			return NULL;
		}
		if (location_parse(json, &l, err))
			return NULL;
		def = opts_copy(l.opts, err);
		location_free(&l);
		return def;
	}
	def = opts_new(err);
	if (def && opts_parse(def, text, "qom-type", err)) {
		opts_free(def);
		return NULL;
	}
	return def;
}

static int define(const char *text, struct err *err)
{
	struct opts *def = parse(text, err);
	AUTO_FREE char *type = NULL;
	int rc;

	if (!def)
		return -1;
	type = strdup(opts_get(def, "qom-type") ? opts_get(def, "qom-type") : "");
	if (!type)
		rc = err_nomem(err, 20, "an object");
	else if (!type[0])
		rc = err_set(err, EINVAL, "Parameter 'qom-type' is missing");
	else if (strcmp(type, "secret") != 0 && strcmp(type, "secret_keyring") != 0)
		rc = err_set(err, EINVAL, "Parameter 'qom-type' does not accept value '%s'",
			     type);
	else {
		opts_unset(def, "qom-type");
		rc = secret_define(type, def, err);
	}
	opts_free(def);
	return rc;
}

int args_object(const struct opts *o)
{
	struct err err;

	for (size_t i = 0; i < opts_count(o); i++) {
		if (strcmp(opts_key(o, i), "object") != 0)
			continue;
		if (define(opts_value(o, i), &err)) {
			cmd_err(&err);
			return 1;
		}
	}
	return 0;
}
