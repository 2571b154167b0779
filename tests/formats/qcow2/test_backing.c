/* Another backing file, emptying, and disks that grow over a longer one. The crashes are in
 * test_crash.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow2/qcow2.h"
#include "formats/raw.h"
#include "lib/chain.h"
#include "lib/filter/pass.h"
#include "lib/io/io.h"
#include "lib/mem.h"

static struct blk *file;
static struct err err;

static void good(int rc)
{
	if (rc)
		print_error("%s\n", err.text);
	assert_int_equal(rc, 0);
}

static void create(const char *text, uint64_t size)
{
	struct opts *opts = opts_new(&err);
	struct create c = {.opts = opts, .size = size};

	assert_non_null(opts);
	good(opts_parse(opts, text, NULL, &err));
	file = io_mem_new(NULL, 0, &err);
	assert_non_null(file);
	c.lower = pass_borrow(file, &err);
	good(qcow2_create(&c, &err));
	good(blk_close(c.lower, &err));
	opts_free(opts);
}

static struct image *open_image(unsigned flags)
{
	struct image *image = NULL;

	good(qcow2_open(pass_borrow(file, &err), NULL, flags, &image, &err));
	return image;
}

static void close_image(struct image *image)
{
	good(blk_close(&image->blk, &err));
}

static void done(void)
{
	good(blk_close(file, &err));
}

static void report(void *arg, const char *line)
{
	print_error("%s\n", line);
}

/* Sound, and nothing leaks. The clusters that are in use. */
static uint64_t sound(void)
{
	struct check c = {.report = report};
	struct image *image = open_image(IMAGE_CHECK);

	good(image->format->check(image, &c, &err));
	assert_int_equal(c.errors + c.leaks + c.check_errors, 0);
	close_image(image);
	return c.allocated_clusters;
}

/* ---- the name ----------------------------------------------------------------------- */

static void named(const char *backing, const char *format)
{
	struct image *image = open_image(0);

	assert_int_equal(!image->backing, !backing);
	assert_int_equal(!image->backing_format, !format);
	if (backing)
		assert_string_equal(image->backing, backing);
	if (format)
		assert_string_equal(image->backing_format, format);
	close_image(image);
	sound();
}

static void rename_to(const char *backing, const char *format, int num)
{
	struct image *image = open_image(IMAGE_WRITE);
	int rc = qcow2_set_backing(image, backing, format, &err);

	if (num == 0)
		good(rc);
	else
		assert_int_equal(rc, -1);
	if (num)
		assert_int_equal(err.num, num);
	close_image(image);
}

static void test_names(void **state)
{
	static const char *const kinds[] = {
		"cluster_size=64k", "compat=0.10", "cluster_size=4k,extended_l2=off",
		"cluster_size=16k,extended_l2=on,lazy_refcounts=on"};
	char longest[QCOW2_BACKING_MAX + 2];

	memset(longest, 'n', sizeof(longest));
	longest[QCOW2_BACKING_MAX] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		create(kinds[i], 3 << 20);
		rename_to("base", "raw", 0);
		named("base", "raw");
		rename_to("some/where/else.qcow2", "qcow2", 0);
		named("some/where/else.qcow2", "qcow2");
		rename_to("x", NULL, 0);
		named("x", NULL);
		rename_to(longest, "raw", 0);
		named(longest, "raw");
		longest[QCOW2_BACKING_MAX] = 'n';
		longest[QCOW2_BACKING_MAX + 1] = '\0';
		rename_to(longest, "raw", EINVAL);
		longest[QCOW2_BACKING_MAX] = '\0';
		named(longest, "raw");
		rename_to("", "", 0);
		named(NULL, NULL);
		rename_to("again", "vmdk", 0);
		rename_to(NULL, NULL, 0);
		named(NULL, NULL);
		done();
	}
}

static void test_no_room(void **state)
{
	char name[400];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	create("cluster_size=512", 1 << 20);
	rename_to("base", "raw", 0);
	rename_to(name, "raw", ENOSPC);
	named("base", "raw");
	done();
}

static void test_caps_follow(void **state)
{
	struct image *image;

	create("compat=0.10", 1 << 20);
	image = open_image(IMAGE_WRITE);
	assert_true(image->blk.caps & BLK_CAN_ZERO);
	good(qcow2_set_backing(image, "base", "raw", &err));
	assert_false(image->blk.caps & BLK_CAN_ZERO);
	assert_int_equal(blk_zero(&image->blk, 0, 1 << 20, BLK_CHEAP, &err), -1);
	good(qcow2_set_backing(image, NULL, NULL, &err));
	assert_true(image->blk.caps & BLK_CAN_ZERO);
	close_image(image);
	done();
}

/* ---- all data dropped ----------------------------------------------------------------- */

static void write_some(struct chain *c, unsigned seed)
{
	static uint8_t buf[70000];

	for (unsigned i = 0; i < 60; i++) {
		uint64_t off, n;

		seed = seed * 1103515245u + 12345u;
		off = (seed >> 4) % (blk_size(&c->blk) / 512) * 512;
		n = MIN(sizeof(buf), blk_size(&c->blk) - off);
		memset(buf, (int)i + 1, sizeof(buf));
		good(i % 5 ? blk_pwrite(&c->blk, buf, n, off, 0, &err)
			   : blk_zero(&c->blk, off, n, 0, &err));
	}
}

static void assert_zero(struct chain *c)
{
	uint64_t size = blk_size(&c->blk);
	uint8_t *buf = calloc(2, size);

	assert_non_null(buf);
	good(blk_pread(&c->blk, buf, size, 0, &err));
	assert_memory_equal(buf, buf + size, size);
	free(buf);
}

/* Emptied, written again in the same session and in the next, and emptied again: the file is
 * then as many clusters long as that of a new image, or fewer. */
static void test_empty(void **state)
{
	static const char *const kinds[] = {
		"cluster_size=64k",
		"cluster_size=512",
		"cluster_size=512,refcount_bits=1",
		"cluster_size=1k,refcount_bits=64",
		"cluster_size=2k,compat=0.10",
		"cluster_size=16k,extended_l2=on",
		"cluster_size=4k,lazy_refcounts=on",
		"cluster_size=512,preallocation=metadata",
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		uint64_t fresh;

		create(kinds[i], 5 << 20);
		fresh = blk_size(file);
		for (unsigned round = 0; round < 3; round++) {
			struct chain *c = chain_new(&open_image(IMAGE_WRITE)->blk, &err);

			assert_non_null(c);
			fresh = round_up(fresh, c->blk.grain);
			write_some(c, round);
			good(qcow2_make_empty((struct image *)c->layer[0], &err));
			assert_zero(c);
			if (round == 1) {
				write_some(c, round + 9);
				good(blk_flush(&c->blk, &err));
				good(qcow2_make_empty((struct image *)c->layer[0], &err));
			}
			good(blk_close(&c->blk, &err));
			assert_int_equal(sound(), 0);
			assert_true(blk_size(file) <= fresh);
			c = chain_new(&open_image(0)->blk, &err);
			assert_non_null(c);
			assert_zero(c);
			good(blk_close(&c->blk, &err));
		}
		done();
	}
}

static void test_empty_nothing(void **state)
{
	create("cluster_size=64k", 0);
	for (unsigned i = 0; i < 2; i++) {
		struct image *image = open_image(IMAGE_WRITE);

		good(qcow2_make_empty(image, &err));
		close_image(image);
		assert_int_equal(sound(), 0);
	}
	done();
}

static void test_empty_with_snapshot(void **state)
{
	struct snapshot_info info = {.name = (char *)"kept", .icount = -1};
	struct chain *c;
	struct image *image;
	uint8_t *was, *now;
	uint64_t size = 3 << 20;

	create("cluster_size=4k", size);
	c = chain_new(&open_image(IMAGE_WRITE)->blk, &err);
	assert_non_null(c);
	write_some(c, 3);
	was = malloc(size);
	now = malloc(size);
	assert_true(was && now);
	good(blk_pread(&c->blk, was, size, 0, &err));
	image = (struct image *)c->layer[0];
	good(image->format->snapshot->create(image, &info, &err));
	write_some(c, 4);
	good(qcow2_make_empty(image, &err));
	assert_zero(c);
	good(blk_close(&c->blk, &err));
	assert_int_equal(sound(), 0);
	image = open_image(0);
	good(image->format->snapshot->load(image, 0, &err));
	c = chain_new(&image->blk, &err);
	assert_non_null(c);
	good(blk_pread(&c->blk, now, size, 0, &err));
	assert_memory_equal(was, now, size);
	good(blk_close(&c->blk, &err));
	free(was);
	free(now);
	done();
}

/* ---- longer, over what is longer already ------------------------------------------------ */

static struct blk *raw_below(uint64_t size)
{
	uint8_t *buf = malloc(size);
	struct image *image;
	struct blk *mem;

	assert_non_null(buf);
	memset(buf, 0xbb, size);
	mem = io_mem_new(buf, size, &err);
	assert_non_null(mem);
	image = raw_wrap(mem, &format_raw, &err);
	assert_non_null(image);
	free(buf);
	return &image->blk;
}

static void test_grow_over(void **state)
{
	static const char *const kinds[] = {"cluster_size=64k", "cluster_size=512",
					    "cluster_size=64k,extended_l2=on",
					    "cluster_size=2M"};

	for (size_t i = 0; i < ARRAY_LEN(kinds) * 3; i++) {
		uint64_t old = 700 * 512, size = 3 << 20;
		uint8_t *got = malloc(size), *want = calloc(1, size);
		struct chain *c;

		assert_true(got && want);
		create(kinds[i / 3], old);
		rename_to("below", "raw", 0);
		c = chain_new(&open_image(IMAGE_WRITE)->blk, &err);
		assert_non_null(c);
		good(chain_append(c, raw_below(2 << 20), &err));
		memset(want, 0xbb, old);
		/* the last cluster: not there, copied up, zeros */
		if (i % 3 == 1) {
			good(blk_pwrite(&c->blk, "x", 1, old - 700, 0, &err));
			want[old - 700] = 'x';
		} else if (i % 3 == 2) {
			good(blk_zero(&c->blk, 0, old, 0, &err));
			memset(want, 0, old);
		}
		good(chain_resize(c, size, PREALLOC_OFF, &err));
		assert_int_equal(blk_size(&c->blk), size);
		good(blk_pread(&c->blk, got, size, 0, &err));
		assert_memory_equal(got, want, size);
		good(blk_close(&c->blk, &err));
		sound();
		free(got);
		free(want);
		done();
	}
}

/* Version 2 could not say that there are zeros. */
static void test_grow_over_v2(void **state)
{
	struct chain *c;

	create("compat=0.10", 1 << 20);
	rename_to("below", "raw", 0);
	c = chain_new(&open_image(IMAGE_WRITE)->blk, &err);
	assert_non_null(c);
	good(chain_append(c, raw_below(2 << 20), &err));
	assert_int_equal(chain_resize(c, 3 << 20, PREALLOC_OFF, &err), -1);
	assert_int_equal(err.num, ENOTSUP);
	assert_int_equal(blk_size(&c->blk), 1 << 20);
	good(blk_close(&c->blk, &err));
	sound();
	done();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_caps_follow),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_empty_nothing),
		cmocka_unit_test(test_empty_with_snapshot),
		cmocka_unit_test(test_grow_over),
		cmocka_unit_test(test_grow_over_v2),
	};

	return cmocka_run_group_tests_name("qcow2 backing", tests, NULL, NULL);
}
