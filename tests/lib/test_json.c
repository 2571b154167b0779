#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/json.h"

static char *text_of(void (*print)(FILE *, const void *), const void *what)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	assert_non_null(f);
	print(f, what);
	fclose(f);
	return text;
}

static void print_tree(FILE *to, const void *j)
{
	json_print(to, j, 0);
}

static void print_string(FILE *to, const void *s)
{
	json_print_string(to, s);
}

static void prints(void **state)
{
	struct json *o = json_object(), *a = json_array(), *in = json_object();
	char *text;

	assert_int_equal(json_add_int(in, "n", -5), 0);
	assert_int_equal(json_push(a, in), 0);
	assert_int_equal(json_push(a, json_string("two")), 0);
	assert_int_equal(json_push(a, json_int(INT64_MAX)), 0);
	assert_int_equal(json_push(a, json_array()), 0);
	assert_int_equal(json_add_str(o, "z", "last letter first"), 0);
	assert_int_equal(json_add(o, "list", a), 0);
	assert_int_equal(json_add(o, "none", json_object()), 0);
	assert_int_equal(json_add_bool(o, "yes", true), 0);
	assert_int_equal(json_add_bool(o, "no", false), 0);
	text = text_of(print_tree, o);
	assert_string_equal(text, "{\n"
				  "    \"z\": \"last letter first\",\n"
				  "    \"list\": [\n"
				  "        {\n"
				  "            \"n\": -5\n"
				  "        },\n"
				  "        \"two\",\n"
				  "        9223372036854775807,\n"
				  "        [\n"
				  "        ]\n"
				  "    ],\n"
				  "    \"none\": {\n"
				  "    },\n"
				  "    \"yes\": true,\n"
				  "    \"no\": false\n"
				  "}");
	free(text);
	json_free(o);
}

/* As qemu-img 7.2.22 prints these as file names. */
static void escapes(void **state)
{
	static const struct {
		const char *bytes, *text;
	} t[] = {
		{"a\"b\\c", "a\\\"b\\\\c"},
		{"\b\f\n\r\t\v", "\\b\\f\\n\\r\\t\\u000B"},
		{"\x01\x1f\x7f", "\\u0001\\u001F\\u007F"},
		{"\xc3\xa9", "\\u00E9"},
		{"\xe2\x82\xac", "\\u20AC"},
		{"\xf0\x9f\x98\x80", "\\uD83D\\uDE00"},
		{"\xf4\x8f\xbf\xbd", "\\uDBFF\\uDFFD"},
		{"bad\xff", "bad\\uFFFD"},
		{"bad\xc3", "bad\\uFFFD"},
		{"\xc0\x80", "\\u0000"},
		{"\xed\xa0\x80", "\\uFFFD"},
		{"\xf4\x90\x80\x80", "\\uFFFD"},
		{"\xe2\x82", "\\uFFFD"},
		{"x\xe2\x82y", "x\\uFFFDy"},
		{"\xf8\x88\x80\x80\x80z", "\\uFFFDz"},
		{"\xfc\x84\x80\x80\x80\x80p", "\\uFFFDp"},
		{"\xef\xbf\xbf", "\\uFFFD"},
		{"\xef\xb7\x90", "\\uFFFD"},
		{"\xf0\x9f\xbf\xbf", "\\uFFFD"},
		{"\xc2\x80\x80\x80", "\\u0080\\uFFFD\\uFFFD"},
		{"\xe0\x80\x80q", "\\uFFFDq"},
		{"\xfe\xff", "\\uFFFD\\uFFFD"},
		{"\xf0\x9f\x98q", "\\uFFFDq"},
		{"<&'>/", "<&'>/"},
		{"", ""},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		char *got = text_of(print_string, t[i].bytes), want[80];

		snprintf(want, sizeof(want), "\"%s\"", t[i].text);
		assert_string_equal(got, want);
		free(got);
	}
}

static int count(const char *key, struct json *value, void *arg)
{
	static const char *const keys[] = {"b", "a", "c"};
	size_t *n = arg;

	assert_string_equal(key, keys[(*n)++]);
	return *n == 3 ? 42 : 0;
}

static void parses(void **state)
{
	struct err err;
	size_t n = 0;
	struct json *j = json_parse(" {\"b\": {\"x\": [1, -2, \"s\\u20ac\"]}, "
				    "\"a\": true, \"c\": null} \n",
				    &err);
	const struct json *list;

	assert_non_null(j);
	assert_int_equal(json_type(j), JSON_OBJECT);
	assert_int_equal(json_len(j), 3);
	assert_int_equal(json_members(j, count, &n), 42);
	list = json_get(json_get(j, "b"), "x");
	assert_int_equal(json_type(list), JSON_ARRAY);
	assert_int_equal(json_len(list), 3);
	assert_int_equal(json_num(json_at(list, 1)), -2);
	assert_string_equal(json_str(json_at(list, 2)), "s\xe2\x82\xac");
	assert_null(json_at(list, 3));
	assert_true(json_true(json_get(j, "a")));
	assert_null(json_get(j, "nobody"));
	assert_string_equal(json_str(list), "");
	json_free(j);
	j = json_parse("{'driver':'raw'}", &err); /* the peer takes these quotes too */
	assert_non_null(j);
	assert_string_equal(json_str(json_get(j, "driver")), "raw");
	json_free(j);
}

static void refuses(void **state)
{
	static const char *const bad[] = {
		"", "{", "{\"a\"", "{\"a\":}", "[1,", "nul", "null", "{} x", "{}{}", "\"a", "]",
	};
	struct err err;
	char deep[200], *big;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		err.text[0] = '\0';
		assert_null(json_parse(bad[i], &err));
		assert_true(err.text[0]);
	}
	memset(deep, '[', 100);
	memset(deep + 100, ']', 99);
	deep[199] = '\0';
	assert_null(json_parse(deep, &err));
	big = malloc((2 << 20) + 1);
	assert_non_null(big);
	memset(big, ' ', 2 << 20);
	big[2 << 20] = '\0';
	assert_null(json_parse(big, &err));
	free(big);
}

static void short_of_children(void **state)
{
	struct json *o = json_object();

	assert_int_equal(json_add(o, "a", NULL), -1);
	assert_int_equal(json_push(NULL, json_int(1)), -1);
	assert_int_equal(json_add(NULL, "a", json_int(1)), -1);
	json_free(o);
	json_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints),
		cmocka_unit_test(escapes),
		cmocka_unit_test(parses),
		cmocka_unit_test(refuses),
		cmocka_unit_test(short_of_children),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
