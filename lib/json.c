#include "lib/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Two of json-c's type names are functions of ours. */
#define json_object jsonc_object
#define json_type   jsonc_type
#include <json-c/json.h>
#undef json_object
#undef json_type

#define JSON_DEPTH_MAX 32
#define JSON_TEXT_MAX  (1 << 20)

static struct jsonc_object *in(const struct json *j)
{
	return (struct jsonc_object *)j;
}

static struct json *outof(struct jsonc_object *o)
{
	return (struct json *)o;
}

struct json *json_object(void)
{
	return outof(json_object_new_object());
}

struct json *json_array(void)
{
	return outof(json_object_new_array());
}

struct json *json_string(const char *s)
{
	return outof(json_object_new_string(s));
}

struct json *json_int(int64_t v)
{
	return outof(json_object_new_int64(v));
}

void json_free(struct json *j)
{
	json_object_put(in(j));
}

int json_add(struct json *object, const char *key, struct json *child)
{
	if (!object || !child || json_object_object_add(in(object), key, in(child))) {
		json_free(child);
		return -1;
	}
	return 0;
}

int json_add_str(struct json *object, const char *key, const char *value)
{
	return json_add(object, key, json_string(value));
}

int json_add_int(struct json *object, const char *key, int64_t value)
{
	return json_add(object, key, json_int(value));
}

int json_add_bool(struct json *object, const char *key, bool value)
{
	return json_add(object, key, outof(json_object_new_boolean(value)));
}

int json_push(struct json *array, struct json *child)
{
	if (!array || !child || json_object_array_add(in(array), in(child))) {
		json_free(child);
		return -1;
	}
	return 0;
}

enum json_type json_type(const struct json *j)
{
	switch (json_object_get_type(in(j))) {
	case json_type_boolean:
		return JSON_BOOL;
	case json_type_int:
		return JSON_INT;
	case json_type_double:
		return JSON_DOUBLE;
	case json_type_string:
		return JSON_STRING;
	case json_type_array:
		return JSON_ARRAY;
	case json_type_object:
		return JSON_OBJECT;
	default:
		return JSON_NULL;
	}
}

struct json *json_get(const struct json *object, const char *key)
{
	struct jsonc_object *o = NULL;

	json_object_object_get_ex(in(object), key, &o);
	return outof(o);
}

const char *json_str(const struct json *j)
{
	return json_type(j) == JSON_STRING ? json_object_get_string(in(j)) : "";
}

int64_t json_num(const struct json *j)
{
	return json_object_get_int64(in(j));
}

bool json_true(const struct json *j)
{
	return json_type(j) == JSON_BOOL && json_object_get_boolean(in(j));
}

size_t json_len(const struct json *j)
{
	switch (json_type(j)) {
	case JSON_ARRAY:
		return json_object_array_length(in(j));
	case JSON_OBJECT:
		return (size_t)json_object_object_length(in(j));
	default:
		return 0;
	}
}

struct json *json_at(const struct json *array, size_t i)
{
	if (json_type(array) != JSON_ARRAY)
		return NULL;
	return outof(json_object_array_get_idx(in(array), i));
}

int json_members(const struct json *object,
		 int (*fn)(const char *key, struct json *value, void *arg), void *arg)
{
	struct json_object_iterator i, end;
	int r;

	if (json_type(object) != JSON_OBJECT)
		return 0;
	i = json_object_iter_begin(in(object));
	end = json_object_iter_end(in(object));
	for (; !json_object_iter_equal(&i, &end); json_object_iter_next(&i)) {
		r = fn(json_object_iter_peek_name(&i), outof(json_object_iter_peek_value(&i)),
		       arg);
		if (r)
			return r;
	}
	return 0;
}

struct json *json_parse(const char *text, struct err *err)
{
	size_t n = strnlen(text, JSON_TEXT_MAX + 1);
	struct jsonc_object *o = NULL;
	struct json_tokener *tok;
	enum json_tokener_error e;
	size_t end;

	if (n > JSON_TEXT_MAX) {
		err_set(err, E2BIG, "JSON text is longer than %d bytes", JSON_TEXT_MAX);
		return NULL;
	}
	tok = json_tokener_new_ex(JSON_DEPTH_MAX);
	if (!tok) {
		err_nomem(err, n, "a JSON parser");
		return NULL;
	}
	o = json_tokener_parse_ex(tok, text, (int)n + 1);
	e = json_tokener_get_error(tok);
	end = json_tokener_get_parse_end(tok);
	json_tokener_free(tok);
	if (e == json_tokener_success) {
		end += strspn(text + (end < n ? end : n), " \t\r\n");
		/* The parser counts the final NUL where it had to see it. */
		if (end >= n && o)
			return outof(o);
		json_object_put(o);
		if (end >= n)
			err_set(err, EINVAL, "JSON text is null");
		else
			err_set(err, EINVAL, "JSON text goes on after its end, at byte %zu",
				end);
		return NULL;
	}
	err_set(err, EINVAL, "JSON parse error at byte %zu: %s", end,
		json_tokener_error_desc(e));
	return NULL;
}

/*
 * One code point of (modified) UTF-8 at *s; -1 for a sequence that is none. A bad
 * sequence is as long as its first byte claims and its continuation bytes allow, which
 * is where the peer puts its replacement characters.
 */
static long decode_utf8(const unsigned char **s)
{
	static const long least[] = {0, 0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000};
	unsigned c = *(*s)++;
	unsigned n, have = 1;
	long v;

	if (c < 0x80)
		return (long)c;
	if (c < 0xc0 || c >= 0xfe)
		return -1;
	n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf8 ? 4 : c < 0xfc ? 5 : 6;
	v = (long)(c & (0x7f >> n));
	while (have < n && (**s & 0xc0) == 0x80) {
		v = v << 6 | (*(*s)++ & 0x3f);
		have++;
	}
	if (have < n || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return -1;
	if ((v & 0xfffe) == 0xfffe || (v >= 0xfdd0 && v <= 0xfdef))
		return -1; /* noncharacters */
	if (v < least[n] && !(n == 2 && v == 0))
		return -1; /* overlong, but for C0 80, which means NUL */
	return v;
}

void json_print_string(FILE *to, const char *str)
{
	static const char from[] = "\b\f\n\r\t\"\\", letter[] = "bfnrt\"\\";
	const unsigned char *s = (const unsigned char *)str;

	putc('"', to);
	while (*s) {
		const char *e = strchr(from, *s);
		long v;

		if (e) {
			putc('\\', to);
			putc(letter[e - from], to);
			s++;
			continue;
		}
		v = decode_utf8(&s);
		if (v < 0)
			v = 0xfffd;
		if (v >= 0x10000)
			fprintf(to, "\\u%04lX\\u%04lX", 0xd800 + ((v - 0x10000) >> 10),
				0xdc00 + ((v - 0x10000) & 0x3ff));
		else if (v < 0x20 || v >= 0x7f)
			fprintf(to, "\\u%04lX", v);
		else
			putc((int)v, to);
	}
	putc('"', to);
}

static void newline(FILE *to, int indent)
{
	fprintf(to, "\n%*s", 4 * indent, "");
}

struct printing {
	FILE *to;
	int indent;
	bool more;
};

static int print_member(const char *key, struct json *value, void *arg)
{
	struct printing *p = arg;

	if (p->more)
		putc(',', p->to);
	p->more = true;
	newline(p->to, p->indent);
	json_print_string(p->to, key);
	fputs(": ", p->to);
	json_print(p->to, value, p->indent);
	return 0;
}

void json_print(FILE *to, const struct json *j, int indent)
{
	struct printing p = {to, indent + 1, false};

	switch (json_type(j)) {
	case JSON_NULL:
		fputs("null", to);
		break;
	case JSON_BOOL:
		fputs(json_true(j) ? "true" : "false", to);
		break;
	case JSON_INT:
		fprintf(to, "%" PRId64, json_num(j));
		break;
	case JSON_DOUBLE:
		fprintf(to, "%.17g", json_object_get_double(in(j)));
		break;
	case JSON_STRING:
		json_print_string(to, json_str(j));
		break;
	case JSON_ARRAY:
		putc('[', to);
		for (size_t i = 0; i < json_len(j); i++) {
			if (i)
				putc(',', to);
			newline(to, indent + 1);
			json_print(to, json_at(j, i), indent + 1);
		}
		newline(to, indent);
		putc(']', to);
		break;
	case JSON_OBJECT:
		putc('{', to);
		json_members(j, print_member, &p);
		newline(to, indent);
		putc('}', to);
		break;
	}
}
