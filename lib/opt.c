#include "lib/opt.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/size.h"

struct pair {
	char *key, *value;
};

struct opts {
	struct pair *pair;
	size_t n, room;
};

struct opts *opts_new(struct err *err)
{
	struct opts *o = calloc(1, sizeof(*o));

	if (!o)
		err_nomem(err, sizeof(*o), "options");
	return o;
}

struct opts *opts_copy(const struct opts *o, struct err *err)
{
	struct opts *copy = opts_new(err);

	for (size_t i = 0; copy && i < o->n; i++) {
		if (opts_set(copy, o->pair[i].key, o->pair[i].value, err)) {
			opts_free(copy);
			return NULL;
		}
	}
	return copy;
}

void opts_free(struct opts *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->n; i++) {
		free(o->pair[i].key);
		free(o->pair[i].value);
	}
	free(o->pair);
	free(o);
}

int opts_set(struct opts *o, const char *key, const char *value, struct err *err)
{
	struct pair p;

	if (o->n == o->room) {
		size_t room = o->room ? 2 * o->room : 8;
		struct pair *more = reallocarray(o->pair, room, sizeof(*more));

		if (!more)
			return err_nomem(err, room * sizeof(*more), "options");
		o->pair = more;
		o->room = room;
	}
	p.key = strdup(key);
	p.value = strdup(value ? value : "on");
	if (!p.key || !p.value) {
		free(p.key);
		free(p.value);
		return err_nomem(err, strlen(key), "an option");
	}
	o->pair[o->n++] = p;
	return 0;
}

void opts_unset(struct opts *o, const char *key)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->n; i++) {
		if (strcmp(o->pair[i].key, key)) {
			o->pair[kept++] = o->pair[i];
			continue;
		}
		free(o->pair[i].key);
		free(o->pair[i].value);
	}
	o->n = kept;
}

/* Copies *p up to a single comma, which it skips, or the end; ",," becomes ",". */
static void take_value(const char **p, char *out)
{
	const char *s = *p;

	while (*s) {
		if (*s == ',' && *++s != ',')
			break;
		*out++ = *s++;
	}
	*out = '\0';
	*p = s;
}

/* One item of the list at *p; buf holds as much as the whole list. */
static int take_item(struct opts *o, const char **p, char *buf, const char *implied,
		     struct err *err)
{
	size_t n = strcspn(*p, "=,");
	char *value = buf + n + 1;

	if ((*p)[n] != '=' && implied) {
		take_value(p, buf);
		return opts_set(o, implied, buf, err);
	}
	memcpy(buf, *p, n);
	buf[n] = '\0';
	*p += n;
	if (**p == '=') {
		(*p)++;
		take_value(p, value);
		return opts_set(o, buf, value, err);
	}
	if (**p == ',')
		(*p)++;
	if (strncmp(buf, "no", 2) == 0)
		return opts_set(o, buf + 2, "off", err);
	return opts_set(o, buf, "on", err);
}

int opts_parse(struct opts *o, const char *text, const char *implied, struct err *err)
{
	size_t size = strlen(text) + 2;
	char *buf = malloc(size);
	int r = 0;

	if (!buf)
		return err_nomem(err, size, "options");
	while (*text && !r) {
		r = take_item(o, &text, buf, implied, err);
		implied = NULL;
	}
	free(buf);
	return r;
}

static bool known(const struct opt *table, const char *key)
{
	for (const struct opt *t = table; t && t->type != OPT_END; t++) {
		if (!t->name)
			continue;
		if (t->flags & OPT_PREFIX ? strncmp(key, t->name, strlen(t->name)) == 0
					  : strcmp(key, t->name) == 0)
			return true;
	}
	return false;
}

int opts_check(const struct opts *o, const struct opt *const tables[], struct err *err)
{
	for (size_t i = 0; i < o->n; i++) {
		bool ok = false;

		for (size_t t = 0; tables[t] && !ok; t++)
			ok = known(tables[t], o->pair[i].key);
		if (!ok)
			return err_set(err, EINVAL, "Invalid parameter '%s'", o->pair[i].key);
	}
	return 0;
}

const struct opt *opts_row(const struct opt *table, const char *key)
{
	for (; table && table->type != OPT_END; table++)
		if (table->name && strcmp(table->name, key) == 0)
			return table;
	return NULL;
}

int opts_check_value(const struct opts *o, const struct opt *row, struct err *err)
{
	uint64_t n;
	bool b;

	switch (row->type) {
	case OPT_BOOL:
		return opts_bool(o, row->name, &b, err);
	case OPT_SIZE:
		return opts_size(o, row->name, &n, err);
	case OPT_NUM:
		return opts_num(o, row->name, UINT64_MAX, &n, err);
	default:
		return 0;
	}
}

int opts_check_values(const struct opts *o, const struct opt *table, struct err *err)
{
	for (size_t i = 0; i < o->n; i++) {
		const struct opt *row = opts_row(table, o->pair[i].key);

		if (row && opts_check_value(o, row, err))
			return -1;
	}
	return 0;
}

const char *opts_get(const struct opts *o, const char *key)
{
	for (size_t i = o->n; i-- > 0;) {
		if (strcmp(o->pair[i].key, key) == 0)
			return o->pair[i].value;
	}
	return NULL;
}

bool opts_has(const struct opts *o, const char *key)
{
	return opts_get(o, key) != NULL;
}

/* Is s one of the words of "a|b|c"? Its index, or -1. */
static int word_index(const char *words, const char *s)
{
	size_t len = strlen(s);

	for (int i = 0; words; i++) {
		size_t n = strcspn(words, "|");

		if (n == len && memcmp(words, s, n) == 0)
			return i;
		words = words[n] ? words + n + 1 : NULL;
	}
	return -1;
}

int opts_bool(const struct opts *o, const char *key, bool *out, struct err *err)
{
	const char *v = opts_get(o, key);
	int i;

	if (!v)
		return 0;
	i = word_index("on|off|yes|no|true|false|y|n", v);
	if (i < 0)
		return err_set(err, EINVAL, "Parameter '%s' expects 'on' or 'off'", key);
	*out = i % 2 == 0;
	return 0;
}

int opts_size(const struct opts *o, const char *key, uint64_t *out, struct err *err)
{
	const char *v = opts_get(o, key);

	if (!v)
		return 0;
	switch (size_parse(v, 1, out)) {
	case SIZE_OK:
		return 0;
	case SIZE_RANGE:
		return err_set(err, ERANGE, "Value '%s' is out of range for parameter '%s'", v,
			       key);
	default:
		return err_set(err, EINVAL,
			       "Parameter '%s' expects a non-negative number below 2^64\n"
			       "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, "
			       "tera-, peta-\nand exabytes, respectively.",
			       key);
	}
}

int opts_num(const struct opts *o, const char *key, uint64_t max, uint64_t *out,
	     struct err *err)
{
	const char *v = opts_get(o, key);
	unsigned long long n;
	char *end;

	if (!v)
		return 0;
	errno = 0;
	n = strtoull(v, &end, 0);
	if (end == v || *end || strchr(v, '-'))
		return err_set(err, EINVAL, "Parameter '%s' expects a number", key);
	if (errno || n > max)
		return err_set(err, ERANGE, "Value '%s' is too large for parameter '%s'", v,
			       key);
	*out = n;
	return 0;
}

int opts_choice(const struct opts *o, const char *key, const char *choices, int *out,
		struct err *err)
{
	const char *v = opts_get(o, key);
	int i;

	if (!v)
		return 0;
	i = word_index(choices, v);
	if (i < 0)
		return err_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", key,
			       v);
	*out = i;
	return 0;
}

struct opts *opts_below(const struct opts *o, const char *prefix, struct err *err)
{
	struct opts *below = opts_new(err);
	size_t n = strlen(prefix);

	for (size_t i = 0; below && i < o->n; i++) {
		const char *key = o->pair[i].key;

		if (strncmp(key, prefix, n) || key[n] != '.')
			continue;
		if (opts_set(below, key + n + 1, o->pair[i].value, err)) {
			opts_free(below);
			return NULL;
		}
	}
	return below;
}

size_t opts_count(const struct opts *o)
{
	return o->n;
}

const char *opts_key(const struct opts *o, size_t i)
{
	return o->pair[i].key;
}

const char *opts_value(const struct opts *o, size_t i)
{
	return o->pair[i].value;
}
