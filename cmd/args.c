#include "cmd/args.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "cmd/snapname.h"
#include "cmd/suggest.h"
#include "lib/size.h"

int args_output(const struct opts *o, bool *json)
{
	const char *v = opts_get(o, "output");

	if (v && strcmp(v, "json") && strcmp(v, "human")) {
		cmd_error("--output must be used with human or json as argument.");
		return 1;
	}
	*json = v && v[0] == 'j';
	return 0;
}

/* The peer takes no empty list and no empty item at either end. */
static bool valid_list(const char *text)
{
	size_t n = strlen(text), commas = 0;

	while (commas < n && text[n - 1 - commas] == ',')
		commas++;
	return n && text[0] != ',' && commas % 2 == 0;
}

static bool wants_help(const char *text)
{
	while (*text) {
		size_t n = 0;

		while (text[n] && (text[n] != ',' || text[n + 1] == ','))
			n += text[n] == ',' ? 2 : 1;
		if ((n == 4 && memcmp(text, "help", 4) == 0) || (n == 1 && *text == '?'))
			return true;
		text += n + (text[n] == ',');
	}
	return false;
}

int args_keys(const struct opts *o, const char *name, struct opts *out, bool *help)
{
	struct err err;

	*help = false;
	for (size_t i = 0; i < opts_count(o); i++) {
		const char *text = opts_value(o, i);

		if (strcmp(opts_key(o, i), name))
			continue;
		if (!valid_list(text)) {
			cmd_error("Invalid option list: %s", text);
			return 1;
		}
		*help |= wants_help(text);
	}
	for (size_t i = 0; i < opts_count(o) && !*help; i++) {
		if (strcmp(opts_key(o, i), name) == 0 &&
		    opts_parse(out, opts_value(o, i), NULL, &err)) {
			cmd_err(&err);
			return 1;
		}
	}
	return 0;
}

int args_range(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *out)
{
	enum size_fault fault = size_parse(text, 1, out);

	if (fault == SIZE_OK && (*out < min || *out > max))
		fault = SIZE_RANGE;
	switch (fault) {
	case SIZE_OK:
		return 0;
	case SIZE_RANGE:
		cmd_error("Invalid %s specified. Must be between %" PRIu64 " and %" PRIu64 ".",
			  what, min, max);
		return 1;
	default:
		cmd_error("Invalid %s specified. You may use k, M, G, T, P or E suffixes for",
			  what);
		cmd_error(
			"kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.");
		return 1;
	}
}

int args_bytes(const char *text, const char *what, uint64_t *out)
{
	return args_range(text, what, 0, INT64_MAX, out);
}

int args_size(const char *text, uint64_t *out)
{
	return args_bytes(text, "image size", out);
}

int args_cache(const char *mode, const char *what)
{
	unsigned flags;
	bool through;
	struct err err;

	if (!mode || stack_cache_mode(mode, &flags, &through, &err) == 0)
		return 0;
	cmd_error("Invalid %s option: %s", what, mode);
	return 1;
}

int args_snapshot(const struct opts *o)
{
	const char *text = opts_get(o, "snapshot");
	struct err err;

	if (!text || snapname_check(text, &err) == 0)
		return 0;
	cmd_err(&err);
	cmd_error("Failed in parsing snapshot param '%s'", text);
	return 1;
}

struct chain *args_open(const struct stack_request *r)
{
	struct err err;
	struct chain *chain = stack_open(r, &err);

	if (!chain)
		cmd_err(&err);
	return chain;
}

int args_close(struct chain *chain, int rc)
{
	struct err err;

	if (blk_close(&chain->blk, &err) == 0 || rc)
		return rc;
	cmd_err(&err);
	return 1;
}

int args_source(const struct opts *o, const char *name, struct stack_request *r)
{
	memset(r, 0, sizeof(*r));
	r->name = name;
	r->image_opts = opts_has(o, "image-opts");
	r->format = opts_get(o, "format");
	r->share = opts_has(o, "force-share");
	if (!r->image_opts || !r->format)
		return 0;
	cmd_error("--image-opts and --format are mutually exclusive");
	return 1;
}

unsigned args_threads(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 2;

	return n < 1 ? 1 : n > 16 ? 16 : (unsigned)n;
}

enum progress_style args_progress(const struct opts *o)
{
	if (opts_has(o, "quiet"))
		return PROGRESS_QUIET;
	if (!opts_has(o, "progress"))
		return PROGRESS_SIGNAL;
	if (cmd_persona == PERSONA_PLATTER && isatty(STDOUT_FILENO))
		return PROGRESS_BAR;
	return PROGRESS_PEER;
}

const struct format *args_format_for(const char *name, const char *file)
{
	const struct format *f = catalog_format(name);
	const char *hint = f ? NULL : catalog_suggest(name);
	struct suggest near;

	if (f)
		return f;
	if (catalog_protocol(name))
		return catalog_protocol_format(catalog_protocol(name));
	suggest_begin(&near, name);
	for (size_t i = 0; catalog_formats[i]; i++)
		suggest_offer(&near, catalog_formats[i]->name);
	cmd_error("%s%sUnknown file format '%s'", file ? file : "", file ? ": " : "", name);
	if (cmd_persona == PERSONA_QEMU_IMG)
		return NULL;
	if (hint)
		cmd_error("%s", hint);
	else if (near.best)
		cmd_error("did you mean '%s'?", near.best);
	return NULL;
}

const struct format *args_format(const char *name)
{
	return args_format_for(name, NULL);
}
