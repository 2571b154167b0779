/* qcow: the golden image of tests/data/qcow, every limit of the header, what is wrong in
 * tables, compressed clusters, encryption, an image that is emptied. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow/qcow.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define CLUSTER	 512u
#define CLUSTERS 67u
#define DISK	 (CLUSTERS * CLUSTER)
#define L1_AT	 56u

static uint8_t bytes[4096];
static size_t nbytes;
static struct err err;

static int load(void **state)
{
	FILE *f = fopen("tests/data/qcow/over.qcow", "rb");

	assert_non_null(f);
	nbytes = fread(bytes, 1, sizeof(bytes), f);
	assert_in_range(nbytes, 5 * CLUSTER, sizeof(bytes) - 1);
	fclose(f);
	return 0;
}

static struct image *open_bytes(unsigned flags)
{
	struct blk *file = io_mem_new(bytes, nbytes, &err);
	struct image *image = NULL;
	struct err later;

	assert_non_null(file);
	if (format_qcow.open(file, NULL, flags, &image, &err))
		blk_close(file, &later);
	return image;
}

static void fine(int rc)
{
	if (rc)
		fail_msg("%s", err.text);
}

static struct chain *over_sevens(unsigned flags)
{
	struct image *image = open_bytes(flags);
	struct chain *chain;
	uint8_t below[DISK];

	assert_non_null(image);
	chain = chain_new(&image->blk, &err);
	memset(below, 0x77, sizeof(below));
	fine(chain_append(chain, io_mem_new(below, sizeof(below), &err), &err));
	return chain;
}

static uint8_t golden(unsigned at)
{
	switch (at / CLUSTER) {
	case 0:
		return 0x11;
	case 2:
		return 0x33;
	case 3:
		return (uint8_t)at;
	case 66:
		return 0x22;
	default:
		return 0x77;
	}
}

static void test_golden(void **state)
{
	struct chain *chain = over_sevens(0);
	struct image *image = (struct image *)chain->layer[0];
	struct info info = {0};
	uint8_t buf[DISK];

	assert_string_equal(image->backing, "base");
	assert_null(image->backing_format);
	fine(format_qcow.info(image, &info, &err));
	assert_int_equal(info.cluster_size, CLUSTER);
	assert_false(info.encrypted);
	info_free(&info);
	assert_int_equal(blk_size(&chain->blk), DISK);
	fine(blk_pread(&chain->blk, buf, DISK, 0, &err));
	for (unsigned i = 0; i < DISK; i++)
		assert_int_equal(buf[i], golden(i));
	/* parts of compressed clusters */
	fine(blk_pread(&chain->blk, buf, 700, 1100, &err));
	for (unsigned i = 0; i < 700; i++)
		assert_int_equal(buf[i], golden(1100 + i));
	fine(blk_close(&chain->blk, &err));
}

static void put(unsigned at, unsigned width, uint64_t value)
{
	if (width == 1)
		bytes[at] = (uint8_t)value;
	else if (width == 4)
		put_be32(bytes + at, (uint32_t)value);
	else
		put_be64(bytes + at, value);
}

static void test_limits(void **state)
{
	static const struct {
		unsigned at, width;
		uint64_t value;
		const char *why;
	} bad[] = {
		{0, 4, 0, "not in qcow format"},
		{4, 4, 0, "version 0"},
		{4, 4, 2, "Try the 'qcow2' driver"},
		{8, 8, 4000, "beyond the end of the file"},
		{8, 8, UINT64_MAX, "beyond the end of the file"},
		{16, 4, 1024, "too long"},
		{16, 4, 0xffffffff, "too long"},
		{24, 8, 0, "too small"},
		{24, 8, 1, "too small"},
		{24, 8, 512 * 64 * CLUSTER, "is not in the file"},
		{24, 8, UINT64_C(32768) * QCOW_L1_ENTRIES + 1, "Image too large"},
		{24, 8, UINT64_MAX, "Image too large"},
		{32, 1, 8, "Cluster size"},
		{32, 1, 17, "Cluster size"},
		{32, 1, 255, "Cluster size"},
		{33, 1, 5, "L2 table size"},
		{33, 1, 14, "L2 table size"},
		{36, 4, 2, "encryption method"},
		{40, 8, 0, "is not in the file"},
		{40, 8, 57, "aligned to 8"},
		{40, 8, 4096, "is not in the file"},
		{40, 8, UINT64_MAX - 7, "is not in the file"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		load(state);
		put(bad[i].at, bad[i].width, bad[i].value);
		assert_null(open_bytes(0));
		if (!strstr(err.text, bad[i].why))
			fail_msg("%zu: %s", i, err.text);
	}
}

static void test_tables(void **state)
{
	static const struct {
		unsigned at;
		uint64_t value;
	} wrong[] = {
		{L1_AT, 4096},
		{L1_AT, 47},
		{L1_AT, 1025},
		{L1_AT, UINT64_MAX - 7},
		{1024, 4096},
		{1024, 40},
		{1024, INT64_MAX},
		/* compressed: no bytes, somewhere, broken */
		{1024, QCOW_PACKED | 1536},
		{1024, QCOW_PACKED | UINT64_C(9) << 54 | 4096},
		{1024, QCOW_PACKED | UINT64_C(511) << 54 | 2560},
		{1024, QCOW_PACKED | UINT64_C(100) << 54 | 1536},
	};
	uint8_t byte;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct chain *chain;

		load(state);
		put(wrong[i].at, 8, wrong[i].value);
		chain = over_sevens(0);
		if (blk_pread(&chain->blk, &byte, 1, 0, &err) == 0)
			fail_msg("%zu is read", i);
		fine(blk_close(&chain->blk, &err));
	}
}

/* Over a compressed cluster, over a part of one, over nothing; where a table cannot be written
 * nothing is. */
static void test_write(void **state)
{
	struct chain *chain = over_sevens(IMAGE_WRITE);
	uint8_t buf[CLUSTER];

	fine(blk_pwrite(&chain->blk, "abc", 3, 3 * CLUSTER + 5, 0, &err));
	fine(blk_pwrite(&chain->blk, "def", 3, 9 * CLUSTER, 0, &err));
	fine(blk_zero(&chain->blk, 2 * CLUSTER, CLUSTER, 0, &err));
	fine(blk_pread(&chain->blk, buf, CLUSTER, 3 * CLUSTER, &err));
	assert_memory_equal(buf, "\0\1\2\3\4abc\10", 9);
	fine(blk_pread(&chain->blk, buf, CLUSTER, 9 * CLUSTER, &err));
	assert_memory_equal(buf, "defwww", 6);
	fine(blk_pread(&chain->blk, buf, CLUSTER, 2 * CLUSTER, &err));
	assert_int_equal(buf[0] | buf[CLUSTER - 1], 0);
	fine(blk_close(&chain->blk, &err));

	put(L1_AT, 8, 1024 + 8);
	put(1024 + 8, 8, 0);
	chain = over_sevens(IMAGE_WRITE);
	assert_int_not_equal(blk_pwrite(&chain->blk, "x", 1, 0, 0, &err), 0);
	assert_non_null(strstr(err.text, "can only be read"));
	fine(blk_close(&chain->blk, &err));
}

static void test_encrypted(void **state)
{
	struct chain *chain;
	uint8_t byte;

	put(36, 4, 1);
	chain = over_sevens(IMAGE_WRITE | IMAGE_NO_KEY);
	fine(blk_pread(&chain->blk, &byte, 1, CLUSTER, &err));
	assert_int_equal(byte, 0x77);
	assert_int_not_equal(blk_pread(&chain->blk, &byte, 1, 0, &err), 0);
	assert_non_null(strstr(err.text, "key-secret"));
	fine(blk_pread(&chain->blk, &byte, 1, 2 * CLUSTER,
		       &err)); /* packed: is not encrypted */
	for (unsigned i = 0; i < 3; i += 2)
		assert_int_not_equal(blk_pwrite(&chain->blk, "x", 1, i * CLUSTER, 0, &err), 0);
	assert_int_not_equal(blk_pwrite(&chain->blk, "x", 1, CLUSTER, 0, &err), 0);
	assert_non_null(strstr(err.text, "key-secret"));
	assert_int_not_equal(format_qcow.make_empty((struct image *)chain->layer[0], &err), 0);
	fine(blk_close(&chain->blk, &err));
}

/* A table in the place of an older one does not show what that held. */
static void test_empty(void **state)
{
	struct chain *chain = over_sevens(IMAGE_WRITE);
	struct image *image = (struct image *)chain->layer[0];
	uint8_t buf[DISK];

	for (unsigned round = 0; round < 3; round++) {
		fine(format_qcow.make_empty(image, &err));
		assert_int_equal(blk_size(image->blk.lower), L1_AT + 16);
		fine(blk_pread(&chain->blk, buf, DISK, 0, &err));
		for (unsigned i = 0; i < DISK; i++)
			assert_int_equal(buf[i], 0x77);
		fine(blk_pwrite(&chain->blk, "x", 1, (10 + round) * CLUSTER, 0, &err));
		fine(blk_pread(&chain->blk, buf, DISK, 0, &err));
		for (unsigned i = 0; i < DISK; i++)
			assert_int_equal(buf[i], i == (10 + round) * CLUSTER ? 'x' : 0x77);
		fine(blk_flush(&chain->blk, &err));
	}
	fine(blk_close(&chain->blk, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_golden, load),
		cmocka_unit_test_setup(test_limits, load),
		cmocka_unit_test_setup(test_tables, load),
		cmocka_unit_test_setup(test_write, load),
		cmocka_unit_test_setup(test_encrypted, load),
		cmocka_unit_test_setup(test_empty, load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
