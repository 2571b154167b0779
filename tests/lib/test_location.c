#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/location.h"

struct pair {
	const char *key, *value;
};

/* The set has these keys and no other. */
static void has(const struct opts *o, const struct pair *p)
{
	size_t n = 0;

	for (; p[n].key; n++) {
		const char *v = opts_get(o, p[n].key);

		if (!v)
			fail_msg("key '%s' is missing", p[n].key);
		assert_string_equal(v, p[n].value);
	}
	assert_int_equal(opts_count(o), n);
}

#define PARSED(fn, given, ...)                                                                 \
	do {                                                                                   \
		struct err err;                                                                \
		struct location l;                                                             \
		if (fn(given, &l, &err))                                                       \
			fail_msg("%s: %s", given, err.text);                                   \
		assert_string_equal(l.name, given);                                            \
		has(l.opts, (const struct pair[]){__VA_ARGS__, {NULL, NULL}});                 \
		location_free(&l);                                                             \
	} while (0)

#define REFUSED(fn, given, want)                                                               \
	do {                                                                                   \
		struct err err;                                                                \
		struct location l;                                                             \
		assert_int_equal(fn(given, &l, &err), -1);                                     \
		assert_non_null(strstr(err.text, want));                                       \
	} while (0)

static void test_plain(void **state)
{
	(void)state;
	PARSED(location_parse, "a.img", {"file.filename", "a.img"});
	PARSED(location_parse, "", {"file.filename", ""});
	PARSED(location_parse, "./a:b", {"file.filename", "./a:b"});
	PARSED(location_parse, "/dev/x:y", {"file.filename", "/dev/x:y"});
	PARSED(location_parse, "dir,x=1/a", {"file.filename", "dir,x=1/a"});
}

static void test_scheme(void **state)
{
	(void)state;
	PARSED(location_parse, "file:a:b", {"file.driver", "file"}, {"file.filename", "a:b"});
	PARSED(location_parse, "host_device:/dev/x", {"file.driver", "host_device"},
	       {"file.filename", "/dev/x"});
	PARSED(location_parse, "null-co://", {"file.driver", "null-co"},
	       {"file.filename", "null-co://"});
	PARSED(location_parse, ":x", {"file.driver", ""}, {"file.filename", ":x"});
	PARSED(location_parse, "c:\\a/b", {"file.driver", "c"}, {"file.filename", "c:\\a/b"});
}

static void test_json(void **state)
{
	(void)state;
	PARSED(location_parse, "json:{\"driver\":\"raw\",\"file\":{\"filename\":\"x\"}}",
	       {"driver", "raw"}, {"file.filename", "x"});
	PARSED(location_parse,
	       "json: {\"a\":{\"b\":[7,{\"c\":true},false]},\"s\":-9223372036854775808}",
	       {"a.b.0", "7"}, {"a.b.1.c", "on"}, {"a.b.2", "off"},
	       {"s", "-9223372036854775808"});
	PARSED(location_parse, "json:{\"file.filename\":\"a,b=c\"}",
	       {"file.filename", "a,b=c"});
	/* null: no backing file; elsewhere as if it were not there */
	PARSED(location_parse, "json:{\"backing\":null,\"size\":null,\"e\":{},\"f\":[]}",
	       {"backing", ""});
	PARSED(location_parse, "json:{\"file\":{\"backing\":null}}", {"file.backing", ""});
}

static void test_json_bad(void **state)
{
	char deep[3000] = "json:";

	(void)state;
	REFUSED(location_parse, "json:", "Could not parse the JSON options: ");
	REFUSED(location_parse, "json:{", "Could not parse the JSON options: ");
	REFUSED(location_parse, "json:{\"a\":1} x", "Could not parse the JSON options: ");
	REFUSED(location_parse, "json:[]", "Invalid JSON object given");
	REFUSED(location_parse, "json:1", "Invalid JSON object given");
	REFUSED(location_parse, "json:{\"size\":1.5}", "'size'");
	for (size_t i = 0; i < 400; i++)
		strcat(deep, "{\"a\":");
	REFUSED(location_parse, deep, "JSON");
}

static void test_image_opts(void **state)
{
	(void)state;
	PARSED(location_parse_opts,
	       "driver=qcow2,file.filename=a,,b,backing=", {"driver", "qcow2"},
	       {"file.filename", "a,b"}, {"backing", ""});
	PARSED(location_parse_opts, "node", {"file", "node"});
	PARSED(location_parse_opts, "file.filename=json:{},file.filename=b",
	       {"file.filename", "b"}, {"file.filename", "b"});
}

static const char *path_of(const char *text, bool opts)
{
	static char kept[200];
	struct err err;
	struct location l;
	const char *p;

	assert_int_equal((opts ? location_parse_opts : location_parse)(text, &l, &err), 0);
	p = location_path(&l);
	strcpy(kept, p ? p : "(none)");
	location_free(&l);
	return kept;
}

static void test_path(void **state)
{
	(void)state;
	assert_string_equal(path_of("a/b", false), "a/b");
	assert_string_equal(path_of("file:b", false), "b");
	assert_string_equal(path_of("null-co://", false), "(none)");
	assert_string_equal(path_of("driver=qcow2,file.filename=x", true), "x");
	assert_string_equal(path_of("driver=file,filename=x", true), "x");
	assert_string_equal(path_of("driver=null-co,size=1", true), "(none)");
	assert_string_equal(path_of("driver=raw,file.driver=nbd,file.filename=x", true),
			    "(none)");
}

static void relative(const char *image, const char *name, const char *want)
{
	struct err err;
	char *got = location_relative(image, name, &err);

	assert_non_null(got);
	assert_string_equal(got, want);
	free(got);
}

static void test_relative(void **state)
{
	(void)state;
	relative("a.qcow2", "b.raw", "b.raw");
	relative("dir/a.qcow2", "b.raw", "dir/b.raw");
	relative("/d/e/a", "../b", "/d/e/../b");
	relative("/d/a", "/b", "/b");
	relative("d/a", "nbd://h/b", "nbd://h/b");
	relative("d/a", "./n:b", "d/./n:b");
	relative("", "b", "b");
}

static void test_has_scheme(void **state)
{
	(void)state;
	assert_true(location_has_scheme("nbd:x"));
	assert_true(location_has_scheme("json:{}"));
	assert_true(location_has_scheme(":x"));
	assert_false(location_has_scheme("./nbd:x"));
	assert_false(location_has_scheme("/nbd:x"));
	assert_false(location_has_scheme("x"));
	assert_false(location_has_scheme(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),	   cmocka_unit_test(test_scheme),
		cmocka_unit_test(test_json),	   cmocka_unit_test(test_json_bad),
		cmocka_unit_test(test_image_opts), cmocka_unit_test(test_path),
		cmocka_unit_test(test_relative),   cmocka_unit_test(test_has_scheme),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
