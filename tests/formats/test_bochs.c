/* bochs: the golden images of both versions, every limit of the header, entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/bochs.h"
#include "formats/format.h"
#include "lib/bytes.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/golden.h"

static uint8_t *load(const char *name, size_t *n)
{
	char path[200];
	uint8_t *data = malloc(1 << 16);
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/bochs/%s", name);
	f = fopen(path, "rb");
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
	if (format_bochs.open(file, NULL, 0, &image, err))
		blk_close(file, &later);
	return image;
}

static void shows(const char *name, uint32_t size)
{
	size_t n;
	AUTO_FREE uint8_t *data = load(name, &n), *buf = malloc(size);
	struct err err = {0};
	struct image *image = open_bytes(data, n, &err);
	uint64_t off = 0, zeros = 0;
	struct extent e;

	assert_non_null(image);
	assert_non_null(buf);
	assert_int_equal(format_bochs.probe(data, n, n), 100);
	assert_int_equal(format_bochs.probe(data, 511, n), 0);
	assert_int_equal(blk_size(&image->blk), size);
	assert_int_equal(blk_pread(&image->blk, buf, size, 0, &err), 0);
	for (uint32_t i = 0; i < size; i++)
		if (buf[i] != golden_byte(i))
			fail_msg("byte %u is %u", i, buf[i]);
	for (; off < size; off += e.len) {
		assert_int_equal(blk_extent(&image->blk, off, size - off, &e, &err), 0);
		assert_true(e.off == off && e.len > 0 && e.len <= size - off);
		zeros += e.flags == EXT_ZERO ? e.len : 0;
	}
	/* from within a sector */
	assert_int_equal(blk_extent(&image->blk, 100, 300, &e, &err), 0);
	assert_true(e.off == 100 && e.len == 300);
	for (uint32_t s = 0; s < size / 512; s++)
		zeros -= s / 4 % 5 == 3 ? 512 : 0;
	assert_int_equal(zeros, 0);
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

static void test_golden(void **state)
{
	shows("v1.bochs", 35 * 512);
	shows("v2.bochs", 17 * 512);
}

static struct bochs_header good(void)
{
	return (struct bochs_header){
		.magic = BOCHS_MAGIC,
		.type = "Redolog",
		.subtype = "Growing",
		.version = BOCHS_V2,
		.header_size = 512,
		.catalog = 10,
		.bitmap = 512,
		.extent = 1 << 20,
		.disk = 10 << 20,
	};
}

static void is(const struct bochs_header *h, const char *why)
{
	struct err err = {0};
	int rc = bochs_header_check(h, &err);

	assert_int_equal(rc, why ? -1 : 0);
	if (why && !strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
}

#define SAYS(field, value, why)                                                                \
	do {                                                                                   \
		struct bochs_header h_ = good();                                               \
		h_.field = (value);                                                            \
		is(&h_, why);                                                                  \
	} while (0)

static void test_header(void **state)
{
	SAYS(disk, 10 << 20, NULL);
	SAYS(version, BOCHS_V1, NULL);
	SAYS(version, 0x30000, "not in Bochs format");
	SAYS(magic[3], 'x', "not in Bochs format");
	SAYS(magic[22], 'x', "not in Bochs format");
	SAYS(type[0], 'x', "not in Bochs format");
	SAYS(subtype[7], 'x', "not in Bochs format");
	SAYS(catalog, (1 << 20) + 1, "Catalog size is too large");
	SAYS(catalog, UINT32_MAX, "Catalog size is too large");
	SAYS(catalog, 1 << 20, NULL);
	SAYS(catalog, 9, "too small for this disk");
	SAYS(disk, (10 << 20) + 512, "too small for this disk");
	SAYS(disk, (10 << 20) + 511, NULL);
	SAYS(disk, UINT64_MAX, "too small for this disk");
	SAYS(extent, 256, "at least 512");
	SAYS(extent, 0, "at least 512");
	SAYS(extent, 1000, "not a power of two");
	SAYS(extent, 16 << 20, "is too large");
	SAYS(extent, 1u << 31, "is too large");
	SAYS(bitmap, 256, NULL);
	SAYS(bitmap, 255, "too small for an extent");
	SAYS(bitmap, 0, "too small for an extent");
	SAYS(bitmap, UINT32_MAX, "too large");
	SAYS(header_size, 511, "less than 512");
	SAYS(header_size, 0, "less than 512");
}

/* Entry 0 of the catalog is another. */
static void entry_says(uint32_t value, const char *why)
{
	size_t n;
	AUTO_FREE uint8_t *data = load("v1.bochs", &n);
	struct err err = {0};
	struct image *image;
	uint8_t buf[512];

	put_le32(data + 512, value);
	image = open_bytes(data, n, &err);
	assert_non_null(image);
	assert_int_equal(blk_pread(&image->blk, buf, 512, 0, &err), why ? -1 : 0);
	if (why && !strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
	blk_close(&image->blk, &err);
}

static void test_entries(void **state)
{
	size_t n;
	AUTO_FREE uint8_t *data = load("v1.bochs", &n);
	struct err err = {0};

	entry_says(BOCHS_FREE, NULL);
	entry_says(0, NULL);
	entry_says(1000, "is extent 1000 of the file, which is beyond its end");
	entry_says(BOCHS_FREE - 1, "beyond its end");
	assert_null(open_bytes(data, 512 + 8 * 4, &err));
	assert_non_null(strstr(err.text, "The catalog (to 548) is beyond the end"));
	assert_null(open_bytes(data, 0, &err));
	assert_non_null(strstr(err.text, "not in Bochs format"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_entries),
	};

	return cmocka_run_group_tests_name("bochs", tests, NULL, NULL);
}
