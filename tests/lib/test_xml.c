#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mem.h"
#include "lib/xml.h"

static struct xml *good(const char *text)
{
	struct err err;
	struct xml *e = xml_parse(text, strlen(text), &err);

	if (!e)
		print_error("%s\n", err.text);
	assert_non_null(e);
	return e;
}

static void bad(const char *text, size_t n, const char *says)
{
	struct err err;

	assert_null(xml_parse(text, n, &err));
	if (!strstr(err.text, says))
		print_error("%s\n", err.text);
	assert_non_null(strstr(err.text, says));
}

static void test_tree(void **state)
{
	struct xml *e = good("\xef\xbb\xbf<?xml version='1.0' encoding=\"UTF-8\"?>\n"
			     "<!DOCTYPE plist PUBLIC \"-//A//[x]>\" 'http://a/b'>\n"
			     "<!-- <no> -->\n"
			     "<a one='1' two = \"2 &lt;\n&#9;'\" >\n"
			     "  <b/><c>x</c>\n"
			     "  <b z=''>second</b >\n"
			     "</a>\n<!-- end --> \n");
	const struct xml *c;

	assert_string_equal(xml_name(e), "a");
	assert_string_equal(xml_attr(e, "one"), "1");
	assert_string_equal(xml_attr(e, "two"), "2 < \t'");
	assert_null(xml_attr(e, "three"));
	assert_string_equal(xml_text(e), "");
	c = xml_child(e, NULL);
	assert_string_equal(xml_name(c), "b");
	c = xml_next(c, NULL);
	assert_string_equal(xml_name(c), "c");
	assert_string_equal(xml_text(c), "x");
	c = xml_next(xml_child(e, "b"), "b");
	assert_string_equal(xml_text(c), "second");
	assert_string_equal(xml_attr(c, "z"), "");
	assert_null(xml_next(c, NULL));
	assert_null(xml_child(e, "d"));
	assert_null(xml_child(xml_child(e, "d"), "e"));
	xml_free(e);
	xml_free(NULL);
}

static void test_text(void **state)
{
	static const char *const rows[][2] = {
		{"<a/>", ""},
		{"<a></a>", ""},
		{"<a> \n </a>", ""},
		{"<a> x\r\ny\rz </a>", "x\ny\nz"},
		{"<a>&lt;&gt;&amp;&quot;&apos;</a>", "<>&\"'"},
		{"<a>&#65;&#x42;&#xe9;&#x20aC;&#128512;</a>",
		 "AB\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"<a>one <b>no</b> two<!-- no --> three</a>", "one  two three"},
		{"<a>x<![CDATA[<b>&amp;]]]]>y</a>", "x<b>&amp;]]y"},
		{"<a><![CDATA[]]></a>", ""},
		{"<a>\xc3\xa9</a>", "\xc3\xa9"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct xml *e = good(rows[i][0]);

		assert_string_equal(xml_text(e), rows[i][1]);
		xml_free(e);
	}
}

static void test_bad(void **state)
{
	static const char *const rows[][2] = {
		{"", "line 1: there is no element"},
		{"\n\nx", "line 3: text outside"},
		{"<a>", "<a> has no end"},
		{"<a", "<a has no end"},
		{"<a></b>", "</b> ends nothing"},
		{"</a>", "</a> ends nothing"},
		{"<a/><b/>", "more after the last"},
		{"<a/></a>", "ends nothing"},
		{"<a/>x", "text outside"},
		{"<a></a x>", "a stray byte in the tag </a"},
		{"<>", "a name is expected"},
		{"<1/>", "a name is expected"},
		{"<a b/>", "without a value"},
		{"<a b=c/>", "not in quotes"},
		{"<a b='c/>", "has no end"},
		{"<a b='c'd='e'/>", "a stray byte in the tag <a"},
		{"<a b='c' b='e'/>", "twice"},
		{"<a b='<'/>", "'<' in the value"},
		{"<a>&x;</a>", "'&x;' that is not defined"},
		{"<a>&</a>", "'&' without"},
		{"<a>&lt</a>;", "'&' without"},
		{"<a b='&l'>t;</a>", "'&' without"},
		{"<a>&#;</a>", "empty character"},
		{"<a>&#x;</a>", "empty character"},
		{"<a>&#1a;</a>", "bad character"},
		{"<a>&#x110000;</a>", "beyond"},
		{"<a>&#99999999999;</a>", "'&' without"},
		{"<a>&#0;</a>", "0"},
		{"<a>&#xd800;</a>", "0xd800"},
		{"<a>\x01</a>", "0x1"},
		{"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "definitions"},
		{"<!DOCTYPE a", "DOCTYPE has no end"},
		{"<a/><!DOCTYPE a>", "after the first"},
		{"<a><!-- </a>", "a comment has no end"},
		{"<?xml ", "a declaration has no end"},
		{"<a><![CDATA[ </a>", "CDATA section has no end"},
		{"<![CDATA[x]]><a/>", "a name is expected"},
		{"<a><!ELEMENT b></a>", "a name is expected"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		bad(rows[i][0], strlen(rows[i][0]), rows[i][1]);
	bad("<a>\0</a>", 8, "a byte 0");
	bad("\xff\xfe<\0a\0/\0>", 10, "outside");
}

/* Every prefix and every changed byte of a text: never a crash, never more than one answer. */
static void test_prefixes(void **state)
{
	static const char text[] = "<?xml?><!DOCTYPE a><a b='&#65;'><!--c--><d>&lt;</d>"
				   "<![CDATA[e]]><f/></a>";
	struct err err;

	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		char *copy = malloc(n + 1); /* exactly so much: the sanitizer looks on */

		memcpy(copy, text, n);
		assert_null(xml_parse(copy, n, &err));
		free(copy);
	}
}

static void test_limits(void **state)
{
	char *text = malloc(5 << 20), *to = text;
	struct xml *e;

	for (int i = 0; i < 64; i++)
		to = stpcpy(to, "<a>");
	for (int i = 0; i < 64; i++)
		to = stpcpy(to, "</a>");
	xml_free(good(text));
	to = text;
	for (int i = 0; i < 100000; i++)
		to = stpcpy(to, "<a>");
	bad(text, strlen(text), "64 levels");

	to = stpcpy(text, "<a");
	for (int i = 0; i < 64; i++)
		to += sprintf(to, " a%d=''", i);
	strcpy(to, "/>");
	xml_free(good(text));
	strcpy(to, " b=''/>");
	bad(text, strlen(text), "64 attributes");

	to = stpcpy(text, "<a>");
	for (int i = 0; i < (1 << 20) - 1; i++)
		to = stpcpy(to, "<b/>");
	strcpy(to, "</a>");
	e = good(text);
	xml_free(e);
	strcpy(to, "<b/></a>");
	bad(text, strlen(text), "1048576 elements");

	bad(text, (64 << 20) + 1, "at most"); /* not looked at */
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),   cmocka_unit_test(test_text),
		cmocka_unit_test(test_bad),    cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
