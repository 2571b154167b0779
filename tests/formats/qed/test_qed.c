/* qed: the golden image of tests/data/qed, every limit of the header, what is wrong in tables,
 * the need-check bit, other backing files, growth. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qed/qed.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define CLUSTER 4096u
#define DISK	12800u
#define GOLDEN	(4 * CLUSTER)

static uint8_t bytes[GOLDEN];
static struct err err;

static int load(void **state)
{
	FILE *f = fopen("tests/data/qed/over.qed", "rb");

	assert_non_null(f);
	assert_int_equal(fread(bytes, 1, sizeof(bytes), f), sizeof(bytes));
	fclose(f);
	return 0;
}

static struct image *open_with(struct blk *file, unsigned flags)
{
	struct image *image = NULL;
	struct err later;

	assert_non_null(file);
	if (format_qed.open(file, NULL, flags, &image, &err))
		blk_close(file, &later);
	return image;
}

static struct image *open_bytes(unsigned flags)
{
	return open_with(io_mem_new(bytes, sizeof(bytes), &err), flags);
}

static void fine(int rc)
{
	if (rc)
		fail_msg("%s", err.text);
}

/* The file below an image that goes on after it. */
static struct image *open_new(struct blk **file, const char *options, uint64_t size)
{
	struct opts *opts = opts_new(&err);
	struct create c = {.size = size, .opts = opts};
	struct image *image;

	*file = c.lower = io_mem_new(NULL, 0, &err);
	assert_non_null(*file);
	fine(opts_parse(opts, options, NULL, &err));
	fine(format_qed.create(&c, &err));
	opts_free(opts);
	image = open_with(*file, IMAGE_WRITE);
	assert_non_null(image);
	return image;
}

static uint64_t features_of(struct blk *file)
{
	uint8_t buf[8];

	fine(blk_pread(file, buf, 8, 16, &err));
	return get_le64(buf);
}

static void test_golden(void **state)
{
	struct image *image = open_bytes(0);
	struct info info = {0};
	struct chain *chain;
	uint8_t below[3 * CLUSTER], buf[DISK];

	assert_non_null(image);
	assert_string_equal(image->backing, "base");
	assert_string_equal(image->backing_format, "raw");
	fine(format_qed.info(image, &info, &err));
	assert_int_equal(info.cluster_size, CLUSTER);
	info_free(&info);
	chain = chain_new(&image->blk, &err);
	memset(below, 0x77, sizeof(below));
	fine(chain_append(chain, io_mem_new(below, sizeof(below), &err), &err));
	fine(blk_pread(&chain->blk, buf, DISK, 0, &err));
	for (unsigned i = 0; i < DISK; i++)
		assert_int_equal(buf[i], i < CLUSTER ? 0x11 : i / CLUSTER % 2 ? 0 : 0x77);
	fine(blk_close(&chain->blk, &err));
}

static const struct {
	unsigned at, width;
	uint64_t value;
	const char *why;
} bad[] = {
	{0, 4, 0, "not in QED format"},
	{4, 4, 0, "cluster size"},
	{4, 4, 2048, "cluster size"},
	{4, 4, 5000, "cluster size"},
	{4, 4, 128 << 20, "cluster size"},
	{4, 4, 8192, "table offset"},
	{8, 4, 0, "table size"},
	{8, 4, 3, "table size"},
	{8, 4, 32, "table size"},
	{8, 4, 4, "table offset"},
	{12, 4, 0, "backing filename"},
	{12, 4, 2, "table offset"},
	{12, 4, 0xffffffff, "table offset"},
	{16, 8, 8, "features: 8"},
	{16, 8, 1 | UINT64_C(1) << 63, "features: 8000000000000000"},
	{40, 8, 0, "table offset"},
	{40, 8, 4097, "table offset"},
	{40, 8, 4 * CLUSTER, "table offset"},
	{40, 8, UINT64_MAX & ~(uint64_t)4095, "table offset"},
	{48, 8, 513, "image size"},
	{48, 8, (UINT64_C(1) << 30) + 512, "image size"},
	{48, 8, UINT64_MAX & ~UINT64_C(511), "image size"},
	{56, 4, 4093, "backing filename"},
	{60, 4, 3997, "backing filename"},
	{56, 4, 0xffffffff, "backing filename"},
	{60, 4, 0xffffffff, "backing filename"},
};

static void put(unsigned at, unsigned width, uint64_t value)
{
	width == 4 ? put_le32(bytes + at, (uint32_t)value) : put_le64(bytes + at, value);
}

static void test_limits(void **state)
{
	struct image *image;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		load(state);
		put(bad[i].at, bad[i].width, bad[i].value);
		assert_null(open_bytes(0));
		if (!strstr(err.text, bad[i].why))
			fail_msg("%zu: %s", i, err.text);
	}
	load(state);
	put(16, 8, 0);
	put(12, 4, 0);
	assert_null(open_bytes(0));
	assert_non_null(strstr(err.text, "header size"));
	/* the largest disk */
	load(state);
	put(48, 8, UINT64_C(1) << 30);
	image = open_bytes(0);
	assert_non_null(image);
	fine(blk_close(&image->blk, &err));
	/* a name that is longer than any */
	memset(bytes + 100, 'x', 1024);
	put(60, 4, 1024);
	assert_null(open_bytes(0));
	put(60, 4, 1023);
	image = open_bytes(0);
	assert_int_equal(strlen(image->backing), 1023);
	fine(blk_close(&image->blk, &err));
}

/* Each entry that points nowhere is an error of who reads it, and dropped by a repair. */
static void test_tables(void **state)
{
	static const struct {
		unsigned at;
		uint64_t value;
	} wrong[] = {
		{CLUSTER, 1},
		{CLUSTER, 4 * CLUSTER},
		{CLUSTER, UINT64_MAX},
		{CLUSTER, UINT64_MAX & ~(uint64_t)4095},
		{CLUSTER, 2 * CLUSTER + 8},
		{2 * CLUSTER, 2},
		{2 * CLUSTER, 3 * CLUSTER + 512},
		{2 * CLUSTER, 4 * CLUSTER},
		{2 * CLUSTER, UINT64_MAX & ~(uint64_t)4095},
	};
	uint8_t byte;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct check c = {0}, fix = {.fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS},
			     again = {0};
		struct image *image;

		load(state);
		put(wrong[i].at, 8, wrong[i].value);
		image = open_bytes(IMAGE_CHECK | IMAGE_WRITE);
		assert_int_not_equal(blk_pread(&image->blk, &byte, 1, 0, &err), 0);
		fine(format_qed.check(image, &c, &err));
		assert_int_equal(c.errors, 1);
		fine(format_qed.check(image, &fix, &err));
		assert_int_equal(fix.errors, 0);
		assert_int_equal(fix.errors_fixed, 1);
		assert_int_equal(fix.leaks_fixed, c.leaks);
		fine(format_qed.check(image, &again, &err));
		assert_int_equal(again.errors + again.leaks, 0);
		fine(blk_pread(&image->blk, &byte, 1, 0, &err));
		fine(blk_close(&image->blk, &err));
	}
}

/* What two entries share is no place to write to, and stays marked. */
static void test_shared(void **state)
{
	struct check fix = {.fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS};
	struct image *image;

	put(2 * CLUSTER + 8, 8, 3 * CLUSTER);
	put(16, 8, QED_BACKING | QED_NEED_CHECK);
	assert_null(open_bytes(IMAGE_WRITE));
	assert_int_equal(err.num, EUCLEAN);
	image = open_bytes(IMAGE_WRITE | IMAGE_CHECK);
	fine(format_qed.check(image, &fix, &err));
	assert_int_equal(fix.errors, 1);
	assert_int_equal(features_of(image->blk.lower), QED_BACKING | QED_NEED_CHECK);
	fine(blk_close(&image->blk, &err));
}

/* On before the first change, off at the end; what others keep track of is no longer valid. */
static void test_need_check(void **state)
{
	struct image *image = open_bytes(IMAGE_WRITE);
	struct blk *file = image->blk.lower;
	struct chain *chain = chain_new(&image->blk, &err);
	uint8_t buf[8];

	fine(chain_append(chain, io_mem_new(bytes, sizeof(bytes), &err), &err));
	assert_int_equal(features_of(file), QED_BACKING | QED_NO_PROBE);
	fine(blk_pwrite(&chain->blk, "x", 1, 8192, 0, &err));
	assert_int_equal(features_of(file), QED_BACKING | QED_NO_PROBE | QED_NEED_CHECK);
	fine(blk_pread(file, buf, 8, 24, &err));
	assert_int_equal(get_le64(buf), UINT64_C(1) << 40);
	fine(blk_pread(file, buf, 8, 32, &err));
	assert_int_equal(get_le64(buf), 0);
	fine(blk_close(&chain->blk, &err));
}

static void is_over(struct blk *file, const char *name, const char *format)
{
	struct qed q = {.b.image.blk.lower = file};

	fine(qed_header_read(&q, &err));
	if (!name)
		assert_null(q.b.image.backing);
	else
		assert_string_equal(q.b.image.backing, name);
	assert_int_equal(!format, !q.b.image.backing_format);
	free(q.b.image.backing);
	free(q.b.image.backing_format);
}

static void test_backing(void **state)
{
	struct blk *file;
	struct image *image = open_new(&file, "cluster_size=4k", 1 << 20);
	char name[QED_BACKING_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	assert_int_not_equal(format_qed.set_backing(image, name, "raw", &err), 0);
	is_over(file, NULL, NULL);
	/* each in the other's place */
	for (size_t n = 440; n <= QED_BACKING_MAX; n++) {
		name[n] = 0;
		fine(format_qed.set_backing(image, name, n % 2 ? "raw" : "qed", &err));
		is_over(file, name, n % 2 ? "raw" : NULL);
		name[n] = 'n';
	}
	fine(format_qed.set_backing(image, "short", NULL, &err));
	is_over(file, "short", NULL);
	fine(format_qed.set_backing(image, NULL, NULL, &err));
	is_over(file, NULL, NULL);
	fine(blk_close(&image->blk, &err));
}

static void test_resize(void **state)
{
	struct blk *file;
	struct image *image = open_new(&file, "cluster_size=4k,table_size=1", 5000);
	struct blk *blk = &image->blk;

	assert_int_equal(blk_size(blk), 5120);
	fine(blk_resize(blk, UINT64_C(1) << 30, PREALLOC_OFF, &err));
	assert_int_equal(blk_size(blk), UINT64_C(1) << 30);
	assert_int_not_equal(blk_resize(blk, (UINT64_C(1) << 30) + 512, PREALLOC_OFF, &err), 0);
	assert_int_not_equal(blk_resize(blk, 5120, PREALLOC_OFF, &err), 0);
	assert_int_not_equal(blk_resize(blk, (UINT64_C(1) << 30) - 1, PREALLOC_OFF, &err), 0);
	assert_int_not_equal(blk_resize(blk, UINT64_C(1) << 30, PREALLOC_FULL, &err), 0);
	fine(blk_close(blk, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_golden, load),
		cmocka_unit_test_setup(test_limits, load),
		cmocka_unit_test_setup(test_tables, load),
		cmocka_unit_test_setup(test_shared, load),
		cmocka_unit_test_setup(test_need_check, load),
		cmocka_unit_test(test_backing),
		cmocka_unit_test(test_resize),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
