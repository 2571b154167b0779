#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/opt.h"

static struct opts *parsed(const char *text, const char *implied)
{
	struct err err;
	struct opts *o = opts_new(&err);

	assert_non_null(o);
	assert_int_equal(opts_parse(o, text, implied, &err), 0);
	return o;
}

/* "key=value|key=value" in order. */
static const char *flat(const struct opts *o)
{
	static char text[500];

	text[0] = '\0';
	for (size_t i = 0; i < opts_count(o); i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s=%s",
			 i ? "|" : "", opts_key(o, i), opts_value(o, i));
	return text;
}

static void lists(void **state)
{
	static const struct {
		const char *text, *implied, *flat;
	} t[] = {
		{"", NULL, ""},
		{"a=b", NULL, "a=b"},
		{"a=b,c=d", NULL, "a=b|c=d"},
		{"a=b,,c,d=e", NULL, "a=b,c|d=e"},
		{"a=,,,b=c", NULL, "a=,|b=c"},
		{"a=b,,", NULL, "a=b,"},
		{"a=b,", NULL, "a=b"},
		{"a=", NULL, "a="},
		{"a=b=c", NULL, "a=b=c"},
		{"flag", NULL, "flag=on"},
		{"noflag", NULL, "flag=off"},
		{"no", NULL, "=off"},
		{"no-flag", NULL, "-flag=off"},
		{"nope=1", NULL, "nope=1"},
		{"=x", NULL, "=x"},
		{",a", NULL, "=on|a=on"},
		{"a,,b", NULL, "a=on|=on|b=on"},
		{"x.img,a=b", "file", "file=x.img|a=b"},
		{"x,,y.img", "file", "file=x,y.img"},
		{"nox", "file", "file=nox"},
		{"a=b,x", "file", "a=b|x=on"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		struct opts *o = parsed(t[i].text, t[i].implied);

		assert_string_equal(flat(o), t[i].flat);
		opts_free(o);
	}
}

static void last_wins(void **state)
{
	struct opts *o = parsed("a=1,b=2,a=3", NULL), *copy, *below;
	struct err err;

	assert_string_equal(opts_get(o, "a"), "3");
	assert_null(opts_get(o, "c"));
	assert_true(opts_has(o, "b"));
	copy = opts_copy(o, &err);
	opts_unset(o, "a");
	assert_string_equal(flat(o), "b=2");
	opts_free(o);
	assert_string_equal(flat(copy), "a=1|b=2|a=3");
	opts_free(copy);

	o = parsed("file.driver=raw,file=x,file.file.filename=y,filed.a=1", NULL);
	below = opts_below(o, "file", &err);
	assert_string_equal(flat(below), "driver=raw|file.filename=y");
	opts_free(below);
	opts_free(o);
}

static void bools(void **state)
{
	static const char *const bad[] = {"f=ON", "f=1", "f=", "f=True", "f=onn", "f=o"};
	struct opts *o = parsed("a=on,b=yes,c=true,d=y,e=off,f=no,g=false,h=n,nox", NULL);
	struct err err;

	for (const char *k = "abcdefghx"; *k; k++) {
		char key[2] = {*k, '\0'};
		bool v = *k > 'd';

		assert_int_equal(opts_bool(o, key, &v, &err), 0);
		assert_int_equal(v, *k <= 'd');
	}
	opts_free(o);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		bool v = true;

		o = parsed(bad[i], NULL);
		assert_int_equal(opts_bool(o, "f", &v, &err), -1);
		assert_string_equal(err.text, "Parameter 'f' expects 'on' or 'off'");
		opts_free(o);
	}
}

static void numbers(void **state)
{
	struct opts *o = parsed("a=16,b=0x10,c=010,d=16k,e=-1,f=,g=99999999999999999999,h=1.5k,"
				"i=8E",
				NULL);
	uint64_t v = 5;
	struct err err;

	assert_int_equal(opts_num(o, "z", 100, &v, &err), 0);
	assert_int_equal(opts_size(o, "z", &v, &err), 0);
	assert_int_equal(v, 5);
	assert_int_equal(opts_num(o, "a", 100, &v, &err), 0);
	assert_int_equal(v, 16);
	assert_int_equal(opts_num(o, "b", 100, &v, &err), 0);
	assert_int_equal(v, 16);
	assert_int_equal(opts_num(o, "c", 100, &v, &err), 0);
	assert_int_equal(v, 8);
	for (const char *k = "def"; *k; k++) {
		char key[2] = {*k, '\0'}, want[80];

		snprintf(want, sizeof(want), "Parameter '%s' expects a number", key);
		assert_int_equal(opts_num(o, key, 100, &v, &err), -1);
		assert_string_equal(err.text, want);
	}
	assert_int_equal(opts_num(o, "g", UINT64_MAX, &v, &err), -1);
	assert_string_equal(err.text,
			    "Value '99999999999999999999' is too large for parameter 'g'");
	assert_int_equal(opts_num(o, "a", 15, &v, &err), -1);
	assert_string_equal(err.text, "Value '16' is too large for parameter 'a'");
	assert_int_equal(v, 8);

	assert_int_equal(opts_size(o, "d", &v, &err), 0);
	assert_int_equal(v, 16384);
	assert_int_equal(opts_size(o, "h", &v, &err), 0);
	assert_int_equal(v, 1536);
	assert_int_equal(opts_size(o, "i", &v, &err), -1);
	assert_string_equal(err.text, "Value '8E' is out of range for parameter 'i'");
	assert_int_equal(opts_size(o, "e", &v, &err), -1);
	assert_string_equal(err.text,
			    "Parameter 'e' expects a non-negative number below 2^64\n"
			    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, "
			    "tera-, peta-\nand exabytes, respectively.");
	opts_free(o);
}

static void choices(void **state)
{
	struct opts *o = parsed("p=full,q=ful,r=", NULL);
	struct err err;
	int i = 7;

	assert_int_equal(opts_choice(o, "z", "off|full", &i, &err), 0);
	assert_int_equal(i, 7);
	assert_int_equal(opts_choice(o, "p", "off|metadata|full", &i, &err), 0);
	assert_int_equal(i, 2);
	assert_int_equal(opts_choice(o, "q", "off|full", &i, &err), -1);
	assert_string_equal(err.text, "Parameter 'q' does not accept value 'ful'");
	assert_int_equal(opts_choice(o, "r", "off|full", &i, &err), -1);
	opts_free(o);
}

static void checks(void **state)
{
	static const struct opt a[] = {
		{"one", 0, OPT_STR}, {"deep.", 0, OPT_STR, OPT_PREFIX}, {.type = OPT_END}};
	static const struct opt b[] = {{"two", 0, OPT_STR}, {NULL, 'x', OPT_FLAG}, {0}};
	const struct opt *const tables[] = {a, b, NULL};
	struct opts *o = parsed("one=1,two=2,deep.er.still=3", NULL);
	struct err err;

	assert_int_equal(opts_check(o, tables, &err), 0);
	assert_int_equal(opts_set(o, "three", NULL, &err), 0);
	assert_int_equal(opts_check(o, tables, &err), -1);
	assert_string_equal(err.text, "Invalid parameter 'three'");
	opts_free(o);
}

static const struct opt table[] = {
	{"format", 'f', OPT_STR, 0, "FMT", NULL, "format of the image"},
	{"target-format", 'f', OPT_STR, OPT_HIDDEN, "FMT"},
	{NULL, 'p', OPT_FLAG, 0, NULL, NULL, "show progress"},
	{"quiet", 'q', OPT_FLAG},
	{"output", 0, OPT_STR, 0, "OFMT", "human|json", "how to print"},
	{"options", 'o', OPT_STR, OPT_MANY, "KEYS"},
	{"force-share", 'U', OPT_FLAG},
	{"force", 0, OPT_FLAG},
	{"outer", 0, OPT_FLAG, OPT_OURS},
	{.type = OPT_END},
};

/* The line cut at blanks; the result as "key=value|...: positionals" or the error. */
static const char *line(const char *words)
{
	static char text[2000], copy[500];
	char *argv[32] = {(char *)"cmd"};
	struct err err;
	struct opts *o = opts_new(&err);
	int argc = 1, npos;

	snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
		argv[argc++] = strcmp(w, "''") ? w : (char *)"";
	if (opts_argv(o, table, argc, argv, &npos, &err)) {
		snprintf(text, sizeof(text), "%s", err.text);
	} else {
		snprintf(text, sizeof(text), "%s:", flat(o));
		for (int i = 1; i <= npos; i++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), " %s",
				 argv[i]);
	}
	opts_free(o);
	return text;
}

static void command_lines(void **state)
{
	static const char *const t[][2] = {
		{"", ":"},
		{"a b", ": a b"},
		{"-pq a", "p=on|quiet=on: a"},
		{"-fqcow2 a", "format=qcow2: a"},
		{"-f qcow2 a", "format=qcow2: a"},
		{"-pqf qcow2 a", "p=on|quiet=on|format=qcow2: a"},
		{"-pfq a", "p=on|format=q: a"},
		{"--format=qcow2 a", "format=qcow2: a"},
		{"--format qcow2 a", "format=qcow2: a"},
		{"--form qcow2 a", "format=qcow2: a"},
		{"--target-format x", "format=x:"},
		{"--format=", "format=:"},
		{"--force a", "force=on: a"},
		{"--force-s a", "force-share=on: a"},
		{"--forc a", "unrecognized option '--forc'"},
		{"--out x", "output=x:"}, /* "outer" is not the peer's */
		{"--oute", "outer=on:"},
		{"-o a -o b=c,d", "options=a|options=b=c,d:"},
		{"-f a -f b", "format=a|format=b:"},
		{"a -q b -f x c", "quiet=on|format=x: a b c"},
		{"-q -- -p b", "quiet=on: -p b"},
		{"a -- b", ": a b"},
		{"-- --", ": --"},
		{"- -q", "quiet=on: -"},
		{"-f -q", "format=-q:"},
		{"-f -- a", "format=--: a"},
		{"'' -q", "quiet=on: "},
		{"-x a", "unrecognized option '-x'"},
		{"-qx a", "unrecognized option '-qx'"},
		{"--foo", "unrecognized option '--foo'"},
		{"--foo=bar", "unrecognized option '--foo=bar'"},
		{"--quiet=yes", "unrecognized option '--quiet=yes'"},
		{"a -f", "missing argument for option '-f'"},
		{"-qf", "missing argument for option '-qf'"},
		{"--format", "missing argument for option '--format'"},
		{"-h --rubbish", "help=on:"},
		{"a --help", "help=on: a"},
		{"--he", "help=on:"},
		{"-qh", "quiet=on|help=on:"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		assert_string_equal(line(t[i][0]), t[i][1]);
}

static void help(void **state)
{
	static const struct opt keys[] = {
		{"size", 0, OPT_SIZE, 0, NULL, NULL, "Virtual disk size"},
		{"compression_type", 0, OPT_STR, 0, NULL, NULL, "Method"},
		{"refcount_bits", 0, OPT_NUM, OPT_AMEND},
		{"hidden", 0, OPT_STR, OPT_HIDDEN},
		{"ours", 0, OPT_STR, OPT_OURS, NULL, NULL, "New"},
		{0},
	};
	static const struct opt more[] = {{"nocow", 0, OPT_BOOL, 0, NULL, NULL, "Off"},
					  {"size", 0, OPT_SIZE, 0, NULL, NULL, "Again"},
					  {0}};
	const struct opt *const tables[] = {keys, more, NULL}, *const one[] = {keys, NULL};
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	opt_help_keys(f, tables, 0, OPT_OURS);
	fflush(f);
	assert_string_equal(text, "  compression_type=<str> - Method\n"
				  "  nocow=<bool (on/off)>  - Off\n"
				  "  refcount_bits=<num>\n"
				  "  size=<size>            - Virtual disk size\n");
	fclose(f);
	free(text);

	f = open_memstream(&text, &n);
	opt_help_keys(f, one, OPT_AMEND, 0);
	opt_help(f, table, OPT_OURS);
	fclose(f);
	assert_string_equal(text, "  refcount_bits=<num>\n"
				  "  -f, --format FMT          format of the image\n"
				  "  -p                        show progress\n"
				  "  -q, --quiet               \n"
				  "      --output OFMT         how to print\n"
				  "  -o, --options KEYS        \n"
				  "  -U, --force-share         \n"
				  "      --force               \n");
	free(text);
}

static void manual(void **state)
{
	static const struct opt rows[] = {
		{"format", 'f', OPT_STR, 0, "FMT", NULL, "it's a back\\slash - and 1-2"},
		{"", 'p', OPT_FLAG, OPT_HIDDEN},
		{NULL, 'q', OPT_FLAG, 0, NULL, NULL, ".dot."},
		{"how", 0, OPT_STR, 0, "HOW", "a|b", "Way", "b"},
		{0},
	};
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	opt_mdoc(f, rows);
	fflush(f);
	assert_string_equal(text, ".Bl -tag -width Ds\n"
				  ".It Fl f , Fl \\-format Ar FMT\n"
				  "it's a back\\eslash \\- and 1\\-2.\n"
				  ".It Fl q\n"
				  "\\&.dot.\n"
				  ".It Fl \\-how Ar HOW\n"
				  "Way.\n"
				  "One of\n.Cm a ,\n.Cm b .\n"
				  "Default:\n.Cm b .\n"
				  ".El\n");
	fclose(f);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),   cmocka_unit_test(last_wins),
		cmocka_unit_test(bools),   cmocka_unit_test(numbers),
		cmocka_unit_test(choices), cmocka_unit_test(checks),
		cmocka_unit_test(help),	   cmocka_unit_test(command_lines),
		cmocka_unit_test(manual),
	};

	return cmocka_run_group_tests_name("opt", tests, NULL, NULL);
}
