/* A command line, a word per line, and the values in it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/opt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct opt table[] = {
	{"flag", 'f', OPT_FLAG, 0, NULL, NULL, "a flag"},
	{"bool", 'b', OPT_BOOL, 0, NULL, NULL, "on or off"},
	{"text", 't', OPT_STR, OPT_MANY, "TEXT", NULL, "text"},
	{"size", 's', OPT_SIZE, 0, "SIZE", NULL, "a size"},
	{"num", 0, OPT_NUM, 0, "N", NULL, "a number"},
	{"kind", 'k', OPT_STR, 0, "KIND", "off|metadata|full", "one of some"},
	{"file.", 0, OPT_STR, OPT_PREFIX, NULL, NULL, "keys below"},
	{.type = OPT_END},
};

static void get(const struct opts *o)
{
	static const struct opt *const tables[] = {table, NULL};
	struct opts *below;
	struct err err;
	uint64_t v = 0;
	bool b = false;
	int i = 0;

	opts_check(o, tables, &err);
	opts_bool(o, "bool", &b, &err);
	opts_size(o, "size", &v, &err);
	opts_num(o, "num", 1000, &v, &err);
	opts_choice(o, "kind", "off|metadata|full", &i, &err);
	below = opts_below(o, "file", &err);
	opts_free(below);
	below = opts_copy(o, &err);
	opts_free(below);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char command[] = "command", *argv[32] = {command}, *text = malloc(n + 1);
	int argc = 1, npos;
	struct opts *o;
	struct err err;

	if (!text)
		abort();
	memcpy(text, data, n);
	text[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (text[i] == '\n')
			text[i] = '\0';
	for (size_t at = 0; at < n && argc < 31; at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	argv[argc] = NULL;
	o = opts_new(&err);
	if (o && opts_argv(o, table, argc, argv, &npos, &err) == 0)
		get(o);
	opts_free(o);
	free(text);
	return 0;
}
