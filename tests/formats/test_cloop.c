/* cloop: the golden image, every limit of the header and of the table, damaged blocks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/cloop.h"
#include "formats/format.h"
#include "lib/bytes.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/golden.h"

#define BLOCK 4096u
#define DISK  (11 * BLOCK)

static uint8_t *load(size_t *n)
{
	uint8_t *data = malloc(1 << 16);
	FILE *f = fopen("tests/data/cloop/blocks.cloop", "rb");

	assert_non_null(f);
	assert_non_null(data);
	*n = fread(data, 1, 1 << 16, f);
	fclose(f);
	return data;
}

static struct image *open_bytes(const uint8_t *data, size_t n, struct err *err)
{
	struct blk *file = io_mem_new(data, n, err);
	struct image *image = NULL;
	struct err later;

	assert_non_null(file);
	if (format_cloop.open(file, NULL, 0, &image, err))
		blk_close(file, &later);
	return image;
}

static void test_golden(void **state)
{
	size_t n;
	AUTO_FREE uint8_t *data = load(&n);
	uint8_t buf[DISK];
	struct err err = {0};
	struct image *image = open_bytes(data, n, &err);
	struct check c = {0};
	struct extent e;

	assert_non_null(image);
	assert_int_equal(format_cloop.probe(data, n, n), 100);
	assert_int_equal(format_cloop.probe(data, 80, n), 0);
	assert_int_equal(blk_size(&image->blk), DISK);
	assert_int_equal(blk_pread(&image->blk, buf, DISK, 0, &err), 0);
	for (uint32_t i = 0; i < 83 * 512; i++)
		assert_int_equal(buf[i], golden_byte(i));
	for (uint32_t i = 83 * 512; i < DISK; i++)
		assert_int_equal(buf[i], 0);
	assert_int_equal(blk_pread(&image->blk, buf, 5000, 3000, &err), 0);
	for (uint32_t i = 0; i < 5000; i++)
		assert_int_equal(buf[i], golden_byte(3000 + i));
	assert_int_equal(blk_extent(&image->blk, 5000, 9000, &e, &err), 0);
	assert_true(e.off == 5000 && e.len == 2 * BLOCK - 5000);
	assert_int_equal(e.flags, EXT_DATA | EXT_PACKED);
	assert_int_equal(format_cloop.check(image, &c, &err), 0);
	assert_int_equal(c.errors, 0);
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

static void header_says(uint32_t block, uint32_t blocks, uint64_t size, const char *why)
{
	const struct cloop_header h = {block, blocks};
	struct err err = {0};
	int rc = cloop_header_check(&h, size, &err);

	assert_int_equal(rc, why ? -1 : 0);
	if (why && !strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
}

static void test_header(void **state)
{
	header_says(512, 1, 152, NULL);
	header_says(64 << 20, 1, 152, NULL);
	header_says(512, 0, 100, NULL);
	header_says(512, (64u << 20) - 1, 1 << 30, NULL);
	header_says(0, 1, 1000, "cannot be zero");
	header_says(513, 1, 1000, "multiple of 512");
	header_says((64 << 20) + 512, 1, 1000, "64 MB or less");
	header_says(UINT32_MAX - 511, 1, 1000, "64 MB or less");
	header_says(512, 1, 151, "beyond the end");
	header_says(512, 1, 0, "beyond the end");
	header_says(512, 64u << 20, UINT64_MAX, "too many offsets");
	header_says(512, CLOOP_BLOCKS_MAX, UINT64_MAX, "too many offsets");
	header_says(512, CLOOP_BLOCKS_MAX + 1, UINT64_MAX, "536870911 or less");
	header_says(512, UINT32_MAX, UINT64_MAX, "536870911 or less");
}

/* Offset i of the table is another. */
static void table_says(unsigned i, uint64_t value, const char *open, const char *read)
{
	size_t n;
	AUTO_FREE uint8_t *data = load(&n);
	uint8_t buf[BLOCK];
	struct err err = {0};
	struct image *image;
	struct check c = {0};

	put_be64(data + 136 + 8 * i, value);
	image = open_bytes(data, n, &err);
	if (open) {
		assert_null(image);
		if (!strstr(err.text, open))
			fail_msg("'%s' is not in '%s'", open, err.text);
		return;
	}
	assert_non_null(image);
	assert_int_equal(
		blk_pread(&image->blk, buf, BLOCK, (uint64_t)(i ? i - 1 : 0) * BLOCK, &err),
		-1);
	if (!strstr(err.text, read))
		fail_msg("'%s' is not in '%s'", read, err.text);
	assert_int_equal(format_cloop.check(image, &c, &err), 0);
	assert_true(c.errors > 0);
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

static void test_table(void **state)
{
	table_says(0, 0, NULL, "Block 0: zlib data");
	table_says(0, 1 << 20, "index 1", NULL);
	table_says(5, 0, "not monotonically increasing at index 5", NULL);
	table_says(5, UINT64_MAX, "invalid compressed block size at index 5", NULL);
	table_says(11, UINT64_MAX, "invalid compressed block size at index 11", NULL);
	table_says(11, 2 * (64 << 20), NULL, "Block 10: it is beyond the end of the file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests_name("cloop", tests, NULL, NULL);
}
