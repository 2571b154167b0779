#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/catalog.h"
#include "cmd/stack.h"

#define MIB 1048576u

static char dir[] = "/tmp/platter-target.XXXXXX";
static struct opts *opts;

static int setup(void **state)
{
	struct err err;

	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	opts = opts_new(&err);
	return opts && mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[100];

	(void)state;
	opts_free(opts);
	snprintf(cmd, sizeof(cmd), "cd / && rm -rf %s", dir);
	return chdir("/") == 0 && system(cmd) == 0 ? 0 : -1;
}

static void set(const char *key, const char *value)
{
	struct err err;

	assert_int_equal(opts_set(opts, key, value, &err), 0);
}

static struct stack_create request(const char *name, const char *format, uint64_t size)
{
	return (struct stack_create){
		.name = name, .format = catalog_format(format), .opts = opts, .size = size};
}

static void created(const struct stack_create *c, struct stack_target *t)
{
	struct err err;

	if (stack_target_create(c, t, &err))
		fail_msg("%s", err.text);
}

static void opened(const struct stack_create *c, struct stack_target *t)
{
	struct err err;

	created(c, t);
	if (stack_target_open(c, t, &err))
		fail_msg("%s", err.text);
}

static void finished(struct stack_target *t)
{
	struct err err;

	if (stack_target_finish(t, &err))
		fail_msg("%s", err.text);
	assert_null(t->file);
	assert_null(t->chain);
}

static long size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) ? -1 : (long)st.st_size;
}

static unsigned files(void)
{
	DIR *d = opendir(".");
	unsigned n = 0;

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static void put(struct stack_target *t, int byte, uint64_t off, size_t n)
{
	uint8_t *buf = malloc(n);
	struct err err;

	assert_non_null(buf);
	memset(buf, byte, n);
	if (blk_pwrite(&t->chain->blk, buf, n, off, 0, &err))
		fail_msg("%s", err.text);
	free(buf);
}

static int byte_in(const struct stack_request *r, uint64_t off)
{
	struct err err;
	struct chain *c = stack_open(r, &err);
	uint8_t b = 0;

	if (!c)
		fail_msg("%s", err.text);
	assert_int_equal(blk_pread(&c->blk, &b, 1, off, &err), 0);
	assert_int_equal(blk_close(&c->blk, &err), 0);
	return b;
}

/* Until it is finished there is nothing, and then all. */
static void test_finish(void **state)
{
	struct stack_create c = request("file:x.raw", "raw", 1000);
	struct stack_target t;

	(void)state;
	created(&c, &t);
	assert_int_equal(size_of("x.raw"), -1);
	finished(&t);
	assert_int_equal(size_of("x.raw"), 1024);

	c = request("x.raw", "raw", MIB);
	opened(&c, &t);
	put(&t, 5, MIB - 1, 1);
	assert_int_equal(size_of("x.raw"), 1024);
	finished(&t);
	assert_int_equal(size_of("x.raw"), MIB);
	assert_int_equal(byte_in(&(struct stack_request){.name = "x.raw"}, MIB - 1), 5);
	assert_int_equal(files(), 1);
}

static void test_abandon(void **state)
{
	struct stack_create c = request("x", "raw", 512);
	struct stack_target t;

	(void)state;
	created(&c, &t);
	finished(&t);
	c.size = MIB;
	created(&c, &t);
	stack_target_abandon(&t);
	opened(&c, &t);
	put(&t, 5, 0, 512);
	stack_target_abandon(&t);
	assert_int_equal(size_of("x"), 512);
	assert_int_equal(byte_in(&(struct stack_request){.name = "x"}, 0), 0);
	assert_int_equal(files(), 1);
}

static void refuse(const struct stack_create *c, const char *want)
{
	struct stack_target t;
	struct err err;

	assert_int_equal(stack_target_create(c, &t, &err), -1);
	assert_string_equal(err.text, want);
	assert_null(t.file);
	assert_null(t.path);
	assert_int_equal(files(), 0);
}

/* Texts of 7.2.22. */
static void test_refused(void **state)
{
	struct stack_create c = request("json:{\"driver\":\"file\"}", "raw", 512);

	(void)state;
	refuse(&c, "Unknown protocol 'json'");
	c.name = "foo:bar";
	refuse(&c, "Unknown protocol 'foo'");
	c.name = "null-co://";
	refuse(&c, "Protocol driver 'null-co' does not support image creation");
	c.name = "no/x";
	refuse(&c, "Could not create 'no/x': No such file or directory");
	c.name = "";
	refuse(&c, "Could not create '': No such file or directory");
	c.name = ".";
	refuse(&c, "Could not create '.': Is a directory");
	c.name = "x";
	c.cache = "foo";
	refuse(&c, "Invalid cache option: foo");
	c.cache = NULL;
	c.size = UINT64_MAX;
	refuse(&c, "Could not resize file: Invalid argument");
	c.size = 512;
	set("preallocation", "foo");
	refuse(&c, "invalid parameter value: foo");
	set("backing_fmt", "foo");
	refuse(&c, "Parameter 'backing-fmt' does not accept value 'foo'");
}

static void test_prealloc(void **state)
{
	struct stack_create c = request("x", "raw", MIB);
	struct stack_target t;
	struct stat st;

	(void)state;
	set("preallocation", "full");
	created(&c, &t);
	finished(&t);
	assert_int_equal(stat("x", &st), 0);
	assert_true(st.st_blocks * 512 >= MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_finish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abandon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prealloc, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
