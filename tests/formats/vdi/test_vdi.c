/* vdi: the golden images of tests/data/vdi, every limit of the header, differences, repair. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/vdi/vdi.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define DISK 18432u

static uint8_t *load(const char *name, size_t *n)
{
	char path[200];
	uint8_t *data = malloc(1 << 16);
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/vdi/%s", name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_non_null(data);
	*n = fread(data, 1, 1 << 16, f);
	fclose(f);
	return data;
}

static struct image *open_bytes(const uint8_t *data, size_t n, unsigned flags, struct err *err)
{
	struct blk *file = io_mem_new(data, n, err);
	struct image *image = NULL;
	struct err later;

	assert_non_null(file);
	if (format_vdi.open(file, NULL, flags, &image, err))
		blk_close(file, &later);
	return image;
}

static struct image *open_golden(const char *name)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load(name, &n);
	struct image *image = open_bytes(data, n, 0, &err);

	if (!image)
		fail_msg("%s", err.text);
	return image;
}

static void shows(struct chain *chain, const uint8_t *blocks)
{
	uint8_t buf[DISK];
	struct err err;

	assert_int_equal(blk_size(&chain->blk), DISK);
	assert_int_equal(blk_pread(&chain->blk, buf, DISK, 0, &err), 0);
	for (unsigned i = 0; i < DISK; i++)
		assert_int_equal(buf[i], blocks[i / 4096]);
}

static void test_golden(void **state)
{
	static const uint8_t base[] = {0x10, 0, 0x30, 0, 0x50},
			     both[] = {0x10, 0x22, 0, 0, 0x50};
	struct image *diff = open_golden("diff.vdi"), *below = open_golden("base.vdi");
	struct chain *chain = chain_new(&below->blk, &(struct err){0});
	struct err err;

	shows(chain, base);
	assert_int_equal(blk_close(&chain->blk, &err), 0);

	assert_true(diff->needs_backing);
	below = open_golden("base.vdi");
	assert_int_equal(format_vdi.adopt(diff, below, &err), 0);
	assert_int_not_equal(format_vdi.adopt(below, diff, &err), 0);
	chain = chain_new(&diff->blk, &err);
	assert_int_equal(chain_append(chain, &below->blk, &err), 0);
	shows(chain, both);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
}

/* One number of the parent's header is another. */
static void wrong_parent(unsigned at, const char *why)
{
	struct image *diff = open_golden("diff.vdi"), *below;
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vdi", &n);

	data[at] ^= 1;
	below = open_bytes(data, n, 0, &err);
	assert_non_null(below);
	assert_int_not_equal(format_vdi.adopt(diff, below, &err), 0);
	assert_non_null(strstr(err.text, why));
	blk_close(&below->blk, &err);
	blk_close(&diff->blk, &err);
}

static void test_wrong_parent(void **state)
{
	wrong_parent(0x188, "is a difference to one with UUID");
	wrong_parent(0x198, "was changed after");
}

static void test_difference_is_read_only(void **state)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("diff.vdi", &n);

	assert_null(open_bytes(data, n, IMAGE_WRITE, &err));
	assert_int_equal(err.num, EACCES);
}

static void test_limits(void **state)
{
	static const struct {
		unsigned at;
		uint32_t value;
		const char *why;
	} bad[] = {
		{0x40, 0, "bad signature"},
		{0x44, 0x10000, "version 1.0"},
		{0x44, 0x10002, "version 1.2"},
		{0x154, 0, "overlaps"},
		{0x154, 513, "unaligned block map"},
		{0x154, 0x10000, "overlaps"},
		{0x158, 1000, "unaligned data"},
		{0x158, 512, "overlaps"},
		{0x168, 1024, "sector size"},
		{0x170, 20481, "has room for 20480"},
		{0x174, 1, "has room for 20480"},
		{0x178, 0, "block size"},
		{0x178, 2048, "block size"},
		{0x178, 5120, "block size"},
		{0x178, 0x80000000, "block size"},
		{0x17c, 1, "block extra"},
		{0x17c, 0xfffffe00, "block extra"},
		{0x180, 4, "has room for 16384"},
		{0x180, 0x1fffff81, "too many blocks"},
		{0x180, 0x1fffff80, "overlaps"},
	};
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vdi", &n);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		uint32_t was = get_le32(data + bad[i].at);
		struct err err = {0};

		put_le32(data + bad[i].at, bad[i].value);
		if (open_bytes(data, n, 0, &err) || !strstr(err.text, bad[i].why))
			fail_msg("%#x at %#x: %s", bad[i].value, bad[i].at, err.text);
		put_le32(data + bad[i].at, was);
	}
	for (size_t cut = 0; cut < 532; cut += 19) {
		struct err err = {0};

		assert_null(open_bytes(data, cut, 0, &err));
	}
}

/* ---- check -------------------------------------------------------------------------- */

static struct check check_bytes(const uint8_t *data, size_t n, unsigned fix, uint8_t *after)
{
	struct check c = {.fix = fix};
	struct err err = {0};
	struct image *image = open_bytes(data, n, IMAGE_CHECK | (fix ? IMAGE_WRITE : 0), &err);
	size_t len;

	assert_non_null(image);
	assert_int_equal(format_vdi.check(image, &c, &err), 0);
	if (after)
		memcpy(after, io_mem_data(image->blk.lower, &len), n);
	assert_int_equal(blk_close(&image->blk, &err), 0);
	return c;
}

static void test_leaks_are_closed(void **state)
{
	static const uint8_t want[] = {0, 0, 0x30, 0, 0x50};
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vdi", &n), *after = malloc(n);
	struct check c;
	struct image *image;
	struct chain *chain;
	struct err err = {0};

	/* nothing refers to the second place, and the count is one too high */
	put_le32(data + 512, 0xffffffff);
	put_le32(data + 0x184, 4);
	c = check_bytes(data, n, 0, NULL);
	assert_int_equal(c.errors, 0);
	assert_int_equal(c.leaks, 2);
	c = check_bytes(data, n, CHECK_FIX_LEAKS, after);
	assert_int_equal(c.leaks_fixed, 2);
	assert_int_equal(c.leaks, 0);
	assert_int_equal(get_le32(after + 0x184), 2);
	c = check_bytes(after, n, 0, NULL);
	assert_int_equal(c.errors + c.leaks, 0);
	image = open_bytes(after, n, 0, &err);
	assert_non_null(image);
	chain = chain_new(&image->blk, &err);
	shows(chain, want);
	blk_close(&chain->blk, &err);
}

static void test_bad_entries(void **state)
{
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vdi", &n), *after = malloc(n);
	struct check c;

	put_le32(data + 512, 77);     /* no such place */
	put_le32(data + 512 + 4, 4);  /* one behind the end of the file */
	put_le32(data + 512 + 16, 0); /* the same as another */
	c = check_bytes(data, n, 0, NULL);
	assert_true(c.errors >= 3);
	c = check_bytes(data, n, CHECK_FIX_LEAKS | CHECK_FIX_ERRORS | CHECK_FIX_ENTRIES, after);
	assert_int_equal(c.errors_fixed, 2);
	assert_int_equal(get_le32(after + 512), 0xffffffff);
	assert_int_equal(get_le32(after + 512 + 4), 0xffffffff);
	assert_true(c.errors >= 1); /* what two blocks share is nobody's to take away */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_wrong_parent),
		cmocka_unit_test(test_difference_is_read_only),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_leaks_are_closed),
		cmocka_unit_test(test_bad_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
