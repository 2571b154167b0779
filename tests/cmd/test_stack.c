#include <errno.h>
#include <fcntl.h>
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
#include "cmd/probe.h"
#include "cmd/stack.h"
#include "lib/bytes.h"

#define CLUSTER 65536u
#define MIB	1048576u

static char dir[] = "/tmp/platter-stack.XXXXXX";

/* Each test works in an empty folder. */
static int setup(void **state)
{
	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	char cmd[100];

	(void)state;
	snprintf(cmd, sizeof(cmd), "cd / && rm -rf %s", dir);
	return chdir("/") == 0 && system(cmd) == 0 ? 0 : -1;
}

static void write_file(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void make_raw(const char *path, size_t n, int byte)
{
	uint8_t *bytes = malloc(n + 1);

	assert_non_null(bytes);
	memset(bytes, byte, n);
	write_file(path, bytes, n);
	free(bytes);
}

/* An empty version 3 image of 1 MiB: header, refcount table and block, L1 table. */
static void make_qcow2(const char *path, const char *backing, const char *format)
{
	static uint8_t b[4 * CLUSTER];
	uint8_t *ext = b + 104;

	memset(b, 0, sizeof(b));
	memcpy(b, "QFI\xfb", 4);
	put_be32(b + 4, 3);
	put_be32(b + 20, 16);
	put_be64(b + 24, MIB);
	put_be32(b + 36, 1);
	put_be64(b + 40, 3 * CLUSTER);
	put_be64(b + 48, CLUSTER);
	put_be32(b + 56, 1);
	put_be32(b + 96, 4);
	put_be32(b + 100, 104);
	if (format) {
		put_be32(ext, 0xe2792aca);
		put_be32(ext + 4, (uint32_t)strlen(format));
		memcpy(ext + 8, format, strlen(format));
	}
	if (backing) {
		put_be64(b + 8, 512);
		put_be32(b + 16, (uint32_t)strlen(backing));
		memcpy(b + 512, backing, strlen(backing));
	}
	put_be64(b + CLUSTER, 2 * CLUSTER);
	for (size_t i = 0; i < 4; i++)
		put_be16(b + 2 * CLUSTER + 2 * i, 1);
	write_file(path, b, sizeof(b));
}

static struct chain *opened(const struct stack_request *r)
{
	struct err err;
	struct chain *c = stack_open(r, &err);

	if (!c)
		fail_msg("%s", err.text);
	return c;
}

static struct chain *open_name(const char *name)
{
	return opened(&(struct stack_request){.name = name});
}

static struct chain *open_opts(const char *name, bool write)
{
	return opened(
		&(struct stack_request){.name = name, .image_opts = true, .write = write});
}

static void closed(struct chain *c)
{
	struct err err;

	if (blk_close(&c->blk, &err))
		fail_msg("%s", err.text);
}

static const struct format *format_of(const struct chain *c)
{
	return ((struct image *)c->layer[0])->format;
}

static void refuse(const struct stack_request *r, const char *want)
{
	struct err err;
	char full[2000];
	struct chain *c = stack_open(r, &err);

	if (c)
		fail_msg("%s was opened", r->name);
	snprintf(full, sizeof(full), "Could not open '%s': %s", r->name, want);
	assert_string_equal(err.text, full);
}

static void refuse_name(const char *name, const char *want)
{
	refuse(&(struct stack_request){.name = name}, want);
}

static void refuse_opts(const char *name, const char *want)
{
	refuse(&(struct stack_request){.name = name, .image_opts = true}, want);
}

/* want stands somewhere in the message. */
static void refuse_with(const char *name, const char *want)
{
	struct err err;
	struct chain *c = stack_open(&(struct stack_request){.name = name}, &err);

	assert_null(c);
	if (!strstr(err.text, want))
		fail_msg("%s", err.text);
}

static void expect_byte(struct chain *c, uint64_t off, int want)
{
	struct err err;
	uint8_t b;

	assert_int_equal(blk_pread(&c->blk, &b, 1, off, &err), 0);
	assert_int_equal(b, want);
}

static void test_names(void **state)
{
	struct chain *c;

	(void)state;
	make_raw("r", 1000, 7);
	make_raw("a:b", 512, 8);
	c = open_name("r");
	assert_int_equal(c->blk.size, 1024);
	assert_string_equal(format_of(c)->name, "raw");
	expect_byte(c, 999, 7);
	expect_byte(c, 1000, 0);
	closed(c);
	c = open_name("./a:b");
	closed(c);
	c = open_name("file:a:b");
	assert_string_equal(c->blk.name, "a:b");
	closed(c);
	c = open_name("null-co://");
	assert_int_equal(c->blk.size, 1u << 30);
	assert_string_equal(format_of(c)->name, "raw");
	closed(c);
	refuse_name("a:b", "Unknown protocol 'a'");
	refuse_name("raw:r", "Unknown protocol 'raw'");
	refuse_name("nope", "Could not open 'nope': No such file or directory");
	refuse_name("", "The 'file' block driver requires a file name");
	refuse_name(".", "'file' driver requires '.' to be a regular file");
	refuse_name("null-co://x", "The only allowed filename for this driver is 'null-co://'");
	refuse_name("json:{}", "Must specify either driver or file");
}

static void test_format(void **state)
{
	struct chain *c;

	(void)state;
	make_raw("r", 512, 7);
	make_qcow2("q", NULL, NULL);
	c = open_name("q");
	assert_string_equal(format_of(c)->name, "qcow2");
	assert_int_equal(c->blk.size, MIB);
	closed(c);
	c = opened(&(struct stack_request){.name = "q", .format = "raw"});
	assert_int_equal(c->blk.size, 4 * CLUSTER);
	closed(c);
	c = opened(&(struct stack_request){.name = "r", .format = "file"});
	assert_string_equal(format_of(c)->name, "file");
	closed(c);
	c = opened(&(struct stack_request){
		.name = "json:{\"driver\":\"raw\",\"file.filename\":\"q\"}",
		.format = "qcow2"});
	assert_string_equal(format_of(c)->name, "qcow2");
	closed(c);
	refuse(&(struct stack_request){.name = "r", .format = "foo"}, "Unknown driver 'foo'");
	refuse(&(struct stack_request){.name = "r", .format = "qcow2"},
	       "Image is not in qcow2 format");
	refuse(&(struct stack_request){.name = "r", .format = "null-co"},
	       "The only allowed filename for this driver is 'null-co://'");
}

/* Texts of 7.2.22. */
static void test_definitions(void **state)
{
	static const struct {
		const char *opts, *want;
	} bad[] = {
		{"filename=r", "Must specify either driver or file"},
		{"r", "Cannot find device='r' nor node-name='r'"},
		{"driver=raw,file=r", "Cannot find device='r' nor node-name='r'"},
		{"driver=raw", "A block device must be specified for \"file\""},
		{"driver=file", "The 'file' block driver requires a file name"},
		{"driver=foo,file.filename=r", "Unknown driver 'foo'"},
		{"driver=raw,file.driver=foo,file.filename=r", "Unknown driver 'foo'"},
		{"driver=raw,file.filename=r,foo=1",
		 "Block format 'raw' does not support the option 'foo'"},
		{"driver=raw,file.filename=r,backing.driver=raw",
		 "Block format 'raw' does not support the option 'backing.driver'"},
		{"driver=qcow2,file.filename=q,cache=none",
		 "Block format 'qcow2' does not support the option 'cache'"},
		{"driver=raw,file.filename=r,file.foo=1",
		 "Block protocol 'file' doesn't support the option 'foo'"},
		{"driver=null-co,filename=null-co://",
		 "Block protocol 'null-co' doesn't support the option 'filename'"},
		{"driver=raw,file.filename=file:r",
		 "Could not open 'file:r': No such file or directory"},
		{"file.filename=r,discard=foo", "Invalid discard option"},
		{"file.filename=r,detect-zeroes=foo", "invalid parameter value: foo"},
		{"file.filename=r,detect-zeroes=unmap",
		 "setting detect-zeroes to unmap is not allowed without setting discard "
		 "operation to unmap"},
		{"file.filename=r,read-only=x", "Parameter 'read-only' expects 'on' or 'off'"},
		{"file.filename=r,cache.direct=x",
		 "Parameter 'cache.direct' expects 'on' or 'off'"},
		{"file.filename=r,node-name=1", "Invalid node-name: '1'"},
		{"file.filename=r,node-name=", "Invalid node-name: ''"},
		{"file.filename=r,node-name=aaaaaaaaaabbbbbbbbbbccccccccccdd",
		 "Node name too long"},
		{"driver=qcow2,file.filename=q,data-file.filename=r",
		 "'data-file' can only be set for images with an external data file"},
	};
	struct chain *c;

	(void)state;
	make_raw("r", 4096, 7);
	make_qcow2("q", NULL, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse_opts(bad[i].opts, bad[i].want);
	c = open_opts("driver=raw,file.filename=r,file.locking=off,discard=unmap,"
		      "detect-zeroes=unmap,node-name=a.b-c_1,cache.no-flush=on,"
		      "auto-read-only=on,force-share=on,read-only=on",
		      false);
	closed(c);
	c = open_opts("driver=qcow2,file.driver=raw,file.size=262144,file.file.filename=q",
		      false);
	assert_int_equal(c->blk.size, MIB);
	closed(c);
	c = open_opts("driver=raw,offset=512,file.driver=qcow2,file.file.filename=q", false);
	assert_int_equal(c->blk.size, MIB - 512);
	closed(c);
}

static void test_writable(void **state)
{
	(void)state;
	make_raw("r", 4096, 7);
	refuse(&(struct stack_request){.name = "file.filename=r,read-only=on",
				       .image_opts = true,
				       .write = true},
	       "Block node is read-only");
	refuse(&(struct stack_request){.name = "driver=raw,file.filename=r,file.read-only=on",
				       .image_opts = true,
				       .write = true},
	       "Block node is read-only");
	refuse(&(struct stack_request){.name = "r", .share = true, .write = true},
	       "force-share=on can only be used with read-only images");
}

static void test_titles(void **state)
{
	static const struct {
		const char *opts, *want;
	} name[] = {
		{"driver=raw,file.filename=r,file.locking=off", "r"},
		{"driver=file,filename=r", "r"},
		{"file.driver=null-co", "null-co://"},
		{"driver=null-co,size=1M", "json:{\"driver\": \"null-co\", \"size\": \"1M\"}"},
		{"driver=raw,size=512,offset=1k,file.filename=r",
		 "json:{\"offset\": \"1k\", \"driver\": \"raw\", \"size\": \"512\", \"file\": "
		 "{\"driver\": \"file\", \"filename\": \"r\"}}"},
		{"driver=raw,file.driver=raw,file.file.filename=r",
		 "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"raw\", \"file\": "
		 "{\"driver\": \"file\", \"filename\": \"r\"}}}"},
	};
	struct chain *c;

	(void)state;
	make_raw("r", 4096, 7);
	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		c = open_opts(name[i].opts, false);
		assert_string_equal(c->blk.name, name[i].want);
		closed(c);
	}
	c = open_name("json:{\"size\":512,\"file\":{\"filename\":\"r\"}}");
	assert_string_equal(c->blk.name, "json:{\"driver\": \"raw\", \"size\": 512, \"file\": "
					 "{\"driver\": \"file\", \"filename\": \"r\"}}");
	closed(c);
}

static void test_chain(void **state)
{
	struct chain *c;
	struct extent e;
	struct err err;

	(void)state;
	assert_int_equal(mkdir("sub", 0777), 0);
	make_raw("sub/base", MIB, 9);
	make_qcow2("sub/mid", "base", "raw");
	make_qcow2("top", "sub/mid", NULL);
	c = open_name("top");
	assert_int_equal(c->n, 3);
	expect_byte(c, MIB - 1, 9);
	assert_int_equal(blk_extent(&c->blk, 0, MIB, &e, &err), 0);
	assert_int_equal(e.depth, 2);
	assert_string_equal(e.home->name, "sub/base");
	closed(c);
	c = opened(&(struct stack_request){.name = "top", .no_backing = true});
	assert_int_equal(c->n, 1);
	assert_string_equal(((struct image *)c->layer[0])->backing, "sub/mid");
	closed(c);
	c = opened(&(struct stack_request){.name = "top", .no_io = true});
	assert_int_equal(c->n, 1);
	closed(c);

	assert_int_equal(unlink("sub/base"), 0);
	refuse_name("top", "Could not open backing file: Could not open backing file: "
			   "Could not open 'sub/base': No such file or directory");
	make_qcow2("top", "sub/mid", "fox");
	refuse_name("top", "Could not open backing file: Unknown driver 'fox'");
	make_qcow2("top", "sub/mid", "raw"); /* the recorded format counts */
	c = open_name("top");
	assert_int_equal(c->n, 2);
	expect_byte(c, 0, 'Q');
	closed(c);
}

static void test_backing_override(void **state)
{
	struct chain *c;

	(void)state;
	make_raw("base", MIB, 9);
	make_raw("other", MIB, 5);
	make_qcow2("top", "base", "raw");
	make_qcow2("far", "json:{\"driver\":\"null-co\"}", NULL);
	c = open_name(
		"json:{\"driver\":\"qcow2\",\"file\":{\"filename\":\"top\"},\"backing\":null}");
	assert_int_equal(c->n, 1);
	closed(c);
	c = open_opts("driver=qcow2,file.filename=top,backing.file.filename=other", false);
	expect_byte(c, 0, 5);
	closed(c);
	c = open_opts("driver=qcow2,file.filename=top,backing.offset=1048064", false);
	expect_byte(c, 511, 9);
	expect_byte(c, 512, 0);
	closed(c);
	c = open_opts("driver=qcow2,file.filename=far,backing.driver=null-co", false);
	assert_int_equal(c->n, 2);
	closed(c);
	refuse_opts("driver=qcow2,file.filename=top,backing=x",
		    "Could not open backing file: Cannot find device='x' nor node-name='x'");
	refuse_opts("driver=qcow2,file.filename=top,backing.foo=x",
		    "Could not open backing file: Block format 'raw' does not support the "
		    "option 'foo'");
}

/* A name in an image is a path and nothing else. */
static void test_trust(void **state)
{
	static const char *const name[] = {"json:{\"driver\":\"null-co\"}",
					   "nbd://localhost/x",
					   "file:base",
					   "null-co://",
					   "fd:0",
					   ":x"};

	(void)state;
	make_raw("base", 512, 9);
	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++) {
		make_qcow2("top", name[i], "raw");
		refuse_with("top", "only plain paths of local files are followed");
		refuse_with("top", "backing.driver=");
	}
	make_qcow2("top", "driver=null-co,size=1", "raw");
	refuse_with("top", "No such file or directory");
	make_qcow2("top", "./json:{}", "raw");
	make_raw("json:{}", MIB, 3);
	closed(open_name("top"));
}

static void test_loops(void **state)
{
	char a[20], b[20];
	struct chain *c;

	(void)state;
	make_qcow2("self", "self", "qcow2");
	refuse_with("self", "The backing chain has a loop: 'self' is in it already");
	make_qcow2("a", "./b", "qcow2");
	make_qcow2("b", "c", "qcow2");
	assert_int_equal(symlink("a", "c"), 0);
	refuse_with("a", "The backing chain has a loop: './c' is in it already");
	make_qcow2("n0", NULL, NULL);
	for (unsigned i = 1; i <= CHAIN_MAX; i++) {
		snprintf(a, sizeof(a), "n%u", i);
		snprintf(b, sizeof(b), "n%u", i - 1);
		make_qcow2(a, b, "qcow2");
	}
	c = open_name("n199");
	assert_int_equal(c->n, CHAIN_MAX);
	closed(c);
	refuse_with("n200", "The backing chain is deeper than 200 images: 'n0' is one more");
}

static int try_write(struct chain *c, const void *buf, size_t n, uint64_t off)
{
	struct err err;
	int rc = blk_pwrite(&c->blk, buf, n, off, 0, &err);

	return rc ? err.num : 0;
}

/* Keeps the warning of a probed raw image out of the test's output. */
static struct chain *open_quiet(const char *name)
{
	int keep = dup(2), null = open("/dev/null", O_WRONLY);
	struct chain *c;

	dup2(null, 2);
	c = opened(&(struct stack_request){.name = name, .write = true});
	dup2(keep, 2);
	close(keep);
	close(null);
	return c;
}

static void test_guard(void **state)
{
	uint8_t head[1024] = "QFI\xfb\0\0\0\3";
	uint8_t vmdk[512] = "KDMV";
	struct extent e;
	struct chain *c;
	struct err err;
	uint64_t base;

	(void)state;
	make_raw("r", 8192, 'Q');
	c = open_quiet("r");
	assert_int_equal(try_write(c, head, 512, 0), EPERM);
	assert_int_equal(try_write(c, head, 1024, 0), EPERM);
	assert_int_equal(try_write(c, vmdk, 512, 0), EPERM);
	assert_int_equal(try_write(c, head + 1, 7, 1), EPERM); /* with the Q that is there */
	assert_int_equal(try_write(c, head, 512, 512), 0);
	assert_int_equal(try_write(c, head + 8, 512, 0), 0);
	assert_int_equal(try_write(c, head, 512, 4096), 0);
	expect_byte(c, 4096, 'Q');
	expect_byte(c, 0, 0);
	/* in place and by the kernel it cannot be gone round */
	assert_int_equal(blk_extent(&c->blk, 0, 8192, &e, &err), 0);
	assert_true(e.len <= PROBE_BYTES);
	assert_int_equal(blk_pwrite(e.home, head, 512, e.host, 0, &err), -1);
	assert_int_equal(blk_fd(&c->blk, &base), -1);
	closed(c);

	c = opened(&(struct stack_request){.name = "r", .format = "raw", .write = true});
	assert_int_equal(try_write(c, head, 512, 0), 0);
	closed(c);
	c = open_quiet("null-co://");
	closed(c);
}

/* The footer of a fixed VHD of 4096 bytes. */
static void make_footer(uint8_t *to)
{
	uint32_t sum = 0;

	memset(to, 0, 512);
	memcpy(to, "conectix", 8);
	to[54] = 4096 >> 8;
	to[63] = 2;
	for (size_t i = 0; i < 512; i++)
		sum += to[i];
	sum = ~sum;
	for (size_t i = 0; i < 4; i++)
		to[64 + i] = (uint8_t)(sum >> (24 - 8 * i));
}

/* A file is not made one that is known by its end, neither in place nor by growing. */
static void test_guard_end(void **state)
{
	uint8_t buf[1024] = {0}, *footer = buf + 512;
	struct extent e;
	struct chain *c;
	struct err err;

	(void)state;
	make_footer(footer);
	make_raw("g", 4608, 'Q');
	c = open_quiet("g");
	assert_int_equal(try_write(c, footer, 512, 4096), EPERM);
	assert_int_equal(try_write(c, buf, 1024, 4096 - 512), EPERM);
	assert_int_equal(try_write(c, footer, 100, 4096), 0);
	assert_int_equal(try_write(c, footer + 100, 412, 4196), EPERM);
	assert_int_equal(try_write(c, footer, 512, 3584), 0);
	assert_int_equal(blk_extent(&c->blk, 4096, 512, &e, &err), 0);
	assert_int_equal(blk_pwrite(e.home, footer, 512, e.host, 0, &err), -1);
	closed(c);
	make_raw("g", 4096, 'Q');
	c = open_quiet("g");
	assert_int_equal(try_write(c, footer, 512, 4096), EPERM);
	closed(c);
	c = opened(&(struct stack_request){.name = "g", .format = "raw", .write = true});
	assert_int_equal(try_write(c, footer, 512, 4096), 0);
	closed(c);
	c = opened(&(struct stack_request){.name = "g"});
	assert_string_equal(((struct image *)c->layer[0])->format->name, "vpc");
	assert_int_equal(blk_size(&c->blk), 0); /* by a geometry of none */
	closed(c);
}

static void test_probe(void **state)
{
	uint8_t head[PROBE_BYTES] = "QFI\xfb\0\0\0\2";

	(void)state;
	assert_string_equal(probe_head(head, sizeof(head), 1 << 20)->name, "qcow2");
	assert_string_equal(probe_head(head, 4, 4)->name, "raw");
	assert_string_equal(probe_head(head, 0, 0)->name, "raw");
	head[7] = 1;
	assert_string_equal(probe_name(head, sizeof(head), 1 << 20), "qcow");
	memcpy(head, "LUKS\xba\xbe", 6);
	head[6] = 0;
	head[7] = 2;
	assert_string_equal(probe_head(head, sizeof(head), 1 << 20)->name, "raw");
	head[7] = 1;
	assert_string_equal(probe_head(head, sizeof(head), 1 << 20)->name, "luks");
	memcpy(head, "conectix", 8);
	assert_string_equal(probe_name(head, sizeof(head), 1 << 20), "vpc");
	assert_string_equal(probe_name(head, 7, 7), "raw");
}

static long blocks(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (long)st.st_blocks;
}

static void test_zeroes(void **state)
{
	static const char *const on[] = {
		"driver=raw,file.filename=r,detect-zeroes=unmap,discard=unmap",
		"driver=raw,file.filename=r,file.detect-zeroes=unmap"};
	uint8_t *zeros = calloc(1, MIB);
	struct chain *c;
	struct err err;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		make_raw("r", MIB, 1);
		c = open_opts(on[i], true);
		assert_int_equal(try_write(c, zeros, MIB, 0), 0);
		expect_byte(c, 100, 0);
		closed(c);
		assert_true(blocks("r") < 8);
	}
	make_raw("r", MIB, 1);
	c = open_opts("driver=raw,file.filename=r,discard=ignore", true);
	assert_int_equal(blk_zero(&c->blk, 0, MIB, BLK_ADVISE | BLK_UNMAP, &err), 0);
	expect_byte(c, 0, 1); /* a discard may do nothing, and here it must */
	closed(c);
	free(zeros);
}

static void test_cache_modes(void **state)
{
	bool through;
	unsigned io;
	struct err err;

	(void)state;
	assert_int_equal(stack_cache_mode(NULL, &io, &through, &err), 0);
	assert_int_equal(io, 0);
	assert_int_equal(stack_cache_mode("none", &io, &through, &err), 0);
	assert_int_equal(io, IO_DIRECT);
	assert_int_equal(stack_cache_mode("directsync", &io, &through, &err), 0);
	assert_int_equal(io, IO_DIRECT | IO_DSYNC);
	assert_true(through);
	assert_int_equal(stack_cache_mode("unsafe", &io, &through, &err), 0);
	assert_int_equal(io, IO_NO_FLUSH);
	assert_int_equal(stack_cache_mode("foo", &io, &through, &err), -1);
	assert_string_equal(err.text, "Invalid cache option: foo");
}

static void test_catalog(void **state)
{
	(void)state;
	assert_string_equal(catalog_by_extension("a/b.QCOW2")->name, "qcow2");
	assert_string_equal(catalog_by_extension("x.img")->name, "raw");
	assert_null(catalog_by_extension("a.qcow2/b"));
	assert_null(catalog_by_extension("qcow2"));
	assert_null(catalog_format("file"));
	assert_non_null(catalog_protocol("file"));
	assert_string_equal(catalog_suggest("QCOW3"), "did you mean 'qcow2'?");
	assert_null(catalog_suggest("foo"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_format, setup, teardown),
		cmocka_unit_test_setup_teardown(test_definitions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_titles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_chain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_backing_override, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trust, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loops, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guard, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guard_end, setup, teardown),
		cmocka_unit_test(test_probe),
		cmocka_unit_test_setup_teardown(test_zeroes, setup, teardown),
		cmocka_unit_test(test_cache_modes),
		cmocka_unit_test(test_catalog),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
