/* Option lists, and what the getters make of their values. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/opt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A list as it would be typed: with commas in values doubled, it is the same set again. */
static char *retype(const struct opts *o, size_t room)
{
	char *text = malloc(2 * room + 16 * opts_count(o) + 1), *p = text;

	for (size_t i = 0; i < opts_count(o); i++) {
		p += sprintf(p, "%s%s=", i ? "," : "", opts_key(o, i));
		for (const char *v = opts_value(o, i); *v; v++) {
			if (*v == ',')
				*p++ = ',';
			*p++ = *v;
		}
	}
	*p = '\0';
	return text;
}

static void get(const struct opts *o)
{
	struct err err;

	for (size_t i = 0; i < opts_count(o); i++) {
		uint64_t n;
		bool b;
		int c;

		opts_bool(o, opts_key(o, i), &b, &err);
		opts_size(o, opts_key(o, i), &n, &err);
		opts_num(o, opts_key(o, i), UINT32_MAX, &n, &err);
		opts_choice(o, opts_key(o, i), "off|on|auto", &c, &err);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *again;
	struct err err;
	struct opts *o = opts_new(&err), *p = opts_new(&err);

	memcpy(text, data, size);
	text[size] = '\0';
	if (opts_parse(o, text, size % 2 ? "file" : NULL, &err))
		abort();
	get(o);
	again = retype(o, size);
	if (opts_parse(p, again, NULL, &err) || opts_count(o) != opts_count(p))
		abort();
	for (size_t i = 0; i < opts_count(o); i++) {
		if (strcmp(opts_key(o, i), opts_key(p, i)) != 0 ||
		    strcmp(opts_value(o, i), opts_value(p, i)) != 0)
			abort();
	}
	free(again);
	free(text);
	opts_free(o);
	opts_free(p);
	return 0;
}
