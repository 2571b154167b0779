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

/* convert -B: what is not written shows the backing file, named as it will be found. */
static void test_backing(void **state)
{
	struct stack_create c = request("sub/top", "qcow2", MIB);
	struct stack_target t;
	FILE *f;

	(void)state;
	assert_int_equal(mkdir("sub", 0777), 0);
	f = fopen("sub/base", "w");
	assert_non_null(f);
	assert_int_equal(fputs("base", f) < 0, 0);
	fclose(f);
	set("backing_file", "base");
	set("backing_fmt", "raw");
	c.backing_open = true;
	opened(&c, &t);
	assert_int_equal(t.chain->n, 2);
	put(&t, 5, 70000, 1);
	finished(&t);
	assert_int_equal(byte_in(&(struct stack_request){.name = "sub/top"}, 0), 'b');
	assert_int_equal(byte_in(&(struct stack_request){.name = "sub/top"}, 70000), 5);

	c.name = "sub/other"; /* not looked at where it is not asked for */
	set("backing_file", "gone");
	c.backing_open = false;
	opened(&c, &t);
	assert_int_equal(t.chain->n, 1);
	stack_target_abandon(&t);
}

static void test_backing_missing(void **state)
{
	struct stack_create c = request("top", "qcow2", MIB);
	struct stack_target t;
	struct err err;

	(void)state;
	set("backing_file", "foo:x");
	c.backing_open = true;
	created(&c, &t);
	assert_int_equal(stack_target_open(&c, &t, &err), -1);
	assert_string_equal(err.text, "Could not open 'top': Could not open backing file: "
				      "Unknown protocol 'foo'");
	set("backing_file", "gone");
	set("backing_fmt", "raw");
	created(&c, &t);
	assert_int_equal(stack_target_open(&c, &t, &err), -1);
	assert_string_equal(err.text, "Could not open 'top': Could not open backing file: "
				      "Could not open 'gone': No such file or directory");
	assert_null(t.file);
	assert_int_equal(files(), 0);
}

/* The words on the command line are the user's own: any location will do. */
static void test_backing_location(void **state)
{
	struct stack_create c = request("top", "qcow2", MIB);
	struct stack_target t;

	(void)state;
	set("backing_file", "null-co://");
	c.backing_open = true;
	opened(&c, &t);
	assert_int_equal(t.chain->n, 2);
	stack_target_abandon(&t);
	set("backing_file", "json:{\"driver\":\"null-co\",\"size\":512}");
	c.backing_open = true;
	opened(&c, &t);
	assert_int_equal(t.chain->n, 2);
	stack_target_abandon(&t);
	assert_int_equal(files(), 0);
}

/* Two files come into being, or none. */
static void test_data_file(void **state)
{
	struct stack_create c = request("top", "qcow2", MIB);
	struct stack_target t;

	(void)state;
	set("data_file", "data");
	set("data_file_raw", "on");
	opened(&c, &t);
	put(&t, 5, 1000, 3);
	assert_int_equal(files(), 0);
	stack_target_abandon(&t);
	assert_int_equal(files(), 0);
	opened(&c, &t);
	put(&t, 6, 1000, 3);
	finished(&t);
	assert_int_equal(files(), 2);
	assert_int_equal(size_of("data"), MIB);
	assert_int_equal(byte_in(&(struct stack_request){.name = "top"}, 1002), 6);
	assert_int_equal(
		byte_in(&(struct stack_request){.name = "data", .format = "raw"}, 1002), 6);
}

/* And four, over whose borders is written. */
static void test_extents(void **state)
{
	struct stack_create c = request("sub/x.vmdk", "vmdk", 5120ull * MIB);
	struct stack_request r = {.name = "sub/x.vmdk"};
	struct stack_target t;

	(void)state;
	assert_int_equal(mkdir("sub", 0777), 0);
	set("subformat", "twoGbMaxExtentSparse");
	opened(&c, &t);
	put(&t, 5, 2048ull * MIB - 3, 7);
	stack_target_abandon(&t);
	assert_int_equal(rmdir("sub"), 0);
	assert_int_equal(mkdir("sub", 0777), 0);
	opened(&c, &t);
	put(&t, 6, 4096ull * MIB - 3, 7);
	finished(&t);
	assert_true(size_of("sub/x-s001.vmdk") > 0 && size_of("sub/x-s003.vmdk") > 0);
	assert_int_equal(byte_in(&r, 4096ull * MIB - 3), 6);
	assert_int_equal(byte_in(&r, 4096ull * MIB + 3), 6);
	assert_int_equal(byte_in(&r, 4096ull * MIB + 4), 0);
}

static void test_data_file_refused(void **state)
{
	struct stack_create c = request("top", "qcow2", MIB);

	(void)state;
	set("data_file", "nbd://x");
	refuse(&c, "data_file 'nbd://x' must be the plain path of a local file");
	set("data_file", "./top");
	refuse(&c, "data_file './top' is the image itself");
	set("data_file", "no/x");
	refuse(&c, "Could not create 'no/x': No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_finish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_abandon, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prealloc, setup, teardown),
		cmocka_unit_test_setup_teardown(test_backing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_backing_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_backing_location, setup, teardown),
		cmocka_unit_test_setup_teardown(test_data_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_extents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_data_file_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
