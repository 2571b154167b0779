#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/raw.h"
#include "lib/io/io.h"

#define OPTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct opts *set(const char *const *kv)
{
	struct err err;
	struct opts *o = opts_new(&err);

	assert_non_null(o);
	for (; kv && *kv; kv += 2)
		assert_int_equal(opts_set(o, kv[0], kv[1], &err), 0);
	return o;
}

/* A raw image over n bytes 1, 2, 3 ... 250, 1, ... */
static struct blk *file_of(size_t n)
{
	uint8_t *bytes = malloc(n + 1);
	struct err err;
	struct blk *blk;

	assert_non_null(bytes);
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(i % 250 + 1);
	blk = io_mem_new(bytes, n, &err);
	assert_non_null(blk);
	free(bytes);
	return blk;
}

static struct image *open_raw(size_t n, const char *const *kv)
{
	struct opts *o = set(kv);
	struct image *image = NULL;
	struct err err;

	if (format_raw.open(file_of(n), o, IMAGE_WRITE, &image, &err))
		fail_msg("%s", err.text);
	opts_free(o);
	return image;
}

static void close_raw(struct image *image)
{
	struct err err;

	assert_int_equal(blk_close(&image->blk, &err), 0);
}

static void refused(size_t n, const char *const *kv, const char *want)
{
	struct opts *o = set(kv);
	struct blk *file = file_of(n);
	struct image *image = NULL;
	struct err err;

	assert_int_equal(format_raw.open(file, o, 0, &image, &err), -1);
	assert_string_equal(err.text, want);
	opts_free(o);
	assert_int_equal(blk_close(file, &err), 0); /* lower was left to us */
}

static uint8_t byte_at(struct image *image, uint64_t off)
{
	struct err err;
	uint8_t b = 0;

	assert_int_equal(blk_pread(&image->blk, &b, 1, off, &err), 0);
	return b;
}

static void test_sizes(void **state)
{
	static const size_t from[] = {0, 1, 511, 512, 513, 1000, 4096};
	static const size_t to[] = {0, 512, 512, 512, 1024, 1024, 4096};

	(void)state;
	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		struct image *image = open_raw(from[i], NULL);

		assert_int_equal(image->blk.size, to[i]);
		if (from[i] > 0)
			assert_int_equal(byte_at(image, from[i] - 1), (from[i] - 1) % 250 + 1);
		if (to[i] > from[i])
			assert_int_equal(byte_at(image, to[i] - 1), 0);
		assert_ptr_equal(image->format, &format_raw);
		close_raw(image);
	}
}

/* All extents have the file as their home; the tail is a hole that goes on. */
static void test_extents(void **state)
{
	struct image *image = open_raw(1000, NULL);
	struct blk *file = image->blk.lower;
	struct extent e;
	struct err err;

	(void)state;
	assert_int_equal(blk_extent(&image->blk, 10, 5000, &e, &err), 0);
	assert_int_equal(e.off, 10);
	assert_int_equal(e.len, 990);
	assert_int_equal(e.host, 10);
	assert_int_equal(e.flags, EXT_DATA);
	assert_ptr_equal(e.home, file);
	assert_int_equal(blk_extent(&image->blk, 1001, 5000, &e, &err), 0);
	assert_int_equal(e.len, 23);
	assert_int_equal(e.host, 1001);
	assert_int_equal(e.flags, EXT_ZERO);
	assert_ptr_equal(e.home, file);
	close_raw(image);
}

static void test_claim(void **state)
{
	struct image *image = open_raw(4096, NULL);
	struct claim c = {.off = 512, .len = 1024};
	uint32_t packed = 7;
	struct err err;

	(void)state;
	assert_int_equal(blk_claim(&image->blk, &c, &err), 0);
	assert_ptr_equal(c.home, image->blk.lower);
	assert_int_equal(c.nrun, 1);
	assert_int_equal(c.run[0].off, 512);
	assert_int_equal(c.run[0].host, 512);
	assert_int_equal(c.run[0].len, 1024);
	assert_false(c.run[0].fresh); /* there may be old data */
	assert_int_equal(blk_settle(&image->blk, &c, &err), 0);
	c = (struct claim){.off = 0, .len = 1, .packed = &packed};
	assert_int_equal(blk_claim(&image->blk, &c, &err), -1);
	assert_int_equal(err.num, ENOTSUP);
	close_raw(image);
}

static void test_write_grows(void **state)
{
	struct image *image = open_raw(1000, NULL);
	struct err err;

	(void)state;
	assert_int_equal(blk_pwrite(&image->blk, "abc", 3, 1021, 0, &err), 0);
	assert_int_equal(image->blk.size, 1024);
	assert_int_equal(image->blk.lower->size, 1024);
	assert_int_equal(byte_at(image, 1000), 0);
	assert_int_equal(byte_at(image, 1023), 'c');
	assert_int_equal(blk_zero(&image->blk, 0, 512, 0, &err), 0);
	assert_int_equal(byte_at(image, 511), 0);
	assert_int_equal(byte_at(image, 512), 512 % 250 + 1);
	assert_int_equal(blk_resize(&image->blk, 700, PREALLOC_OFF, &err), 0);
	assert_int_equal(image->blk.size, 1024);
	assert_int_equal(image->blk.lower->size, 700);
	close_raw(image);
}

static void test_window(void **state)
{
	struct image *image = open_raw(4096, OPTS("offset", "100", "size", "1k"));
	struct extent e;
	struct err err;

	(void)state;
	assert_int_equal(image->blk.size, 1024);
	assert_int_equal(byte_at(image, 0), 101);
	assert_int_equal(blk_extent(&image->blk, 0, 1024, &e, &err), 0);
	assert_int_equal(e.host, 100);
	assert_int_equal(e.len, 1024);
	assert_int_equal(blk_pwrite(&image->blk, "x", 1, 1023, 0, &err), 0);
	assert_int_equal(blk_pwrite(&image->blk, "xy", 2, 1023, 0, &err), -1);
	assert_int_equal(blk_resize(&image->blk, 2048, PREALLOC_OFF, &err), -1);
	assert_string_equal(err.text, "Cannot resize fixed-size raw disks");
	close_raw(image);

	image = open_raw(4096, OPTS("offset", "4096"));
	assert_int_equal(image->blk.size, 0);
	close_raw(image);
	image = open_raw(4096, OPTS("offset", "1"));
	assert_int_equal(image->blk.size, 4096);
	assert_int_equal(byte_at(image, 4095), 0);
	close_raw(image);
	/* in the last sector, of which the file has only the beginning */
	image = open_raw(3000, OPTS("offset", "1000"));
	assert_int_equal(image->blk.size, 2560);
	assert_int_equal(byte_at(image, 1999), 2999 % 250 + 1);
	assert_int_equal(byte_at(image, 2000), 0);
	close_raw(image);
	image = open_raw(1000, OPTS("offset", "1010", "size", "0"));
	assert_int_equal(image->blk.size, 0);
	close_raw(image);
	image = open_raw(1000, OPTS("offset", "512", "size", "512"));
	assert_int_equal(byte_at(image, 487), 999 % 250 + 1);
	assert_int_equal(byte_at(image, 511), 0);
	close_raw(image);
	image = open_raw(4096, OPTS("size", "0"));
	assert_int_equal(image->blk.size, 0);
	close_raw(image);
}

/* The peer's words, 7.2.22. */
static void test_bad_windows(void **state)
{
	(void)state;
	refused(1024, OPTS("offset", "1025"),
		"Offset (1025) cannot be greater than size of the containing file (1024)");
	refused(1024, OPTS("offset", "7E"),
		"Offset (8070450532247928832) cannot be greater than size of the containing "
		"file (1024)");
	refused(1024, OPTS("size", "1025"),
		"The sum of offset (0) and size (1025) has to be smaller or equal to the  "
		"actual size of the containing file (1024)");
	refused(1024, OPTS("offset", "512", "size", "9223372036854775296"),
		"The sum of offset (512) and size (9223372036854775296) has to be smaller or "
		"equal to the  actual size of the containing file (1024)");
	refused(1024, OPTS("size", "100"), "Specified size is not multiple of 512");
}

static void test_create(void **state)
{
	struct create c = {.size = 1000};
	struct opts *o = set(NULL);
	struct measure m;
	uint64_t size = UINT64_MAX;
	struct err err;

	(void)state;
	c.opts = o;
	c.lower = file_of(0);
	assert_int_equal(format_raw.create(&c, &err), 0);
	assert_int_equal(c.lower->size, 1024);
	assert_int_equal(blk_close(c.lower, &err), 0);
	assert_int_equal(format_raw.create_check(o, &size, &err), -1);
	assert_int_equal(err.num, EINVAL);
	assert_int_equal(format_raw.measure(o, 1, NULL, &m, &err), 0);
	assert_int_equal(m.required, 512);
	assert_int_equal(m.fully_allocated, 512);
	opts_free(o);
}

/* Whole sectors are shown; what is new is zero, also of the last one. */
static void test_resize(void **state)
{
	struct image *image = open_raw(2000, NULL);
	uint8_t buf[512];
	struct err err;

	assert_int_equal(image->blk.size, 2048);
	assert_int_equal(blk_resize(&image->blk, 700, PREALLOC_OFF, &err), 0);
	assert_int_equal(image->blk.size, 1024);
	assert_int_equal(blk_size(image->blk.lower), 700);
	assert_int_equal(blk_resize(&image->blk, 5000, PREALLOC_OFF, &err), 0);
	assert_int_equal(image->blk.size, 5120);
	assert_int_equal(blk_pread(&image->blk, buf, 512, 512, &err), 0);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(buf[i], i < 700 - 512 ? (512 + i) % 250 + 1 : 0);
	assert_int_equal(blk_resize(&image->blk, 0, PREALLOC_OFF, &err), 0);
	assert_int_equal(image->blk.size, 0);
	close_raw(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),  cmocka_unit_test(test_extents),
		cmocka_unit_test(test_claim),  cmocka_unit_test(test_write_grows),
		cmocka_unit_test(test_window), cmocka_unit_test(test_bad_windows),
		cmocka_unit_test(test_create), cmocka_unit_test(test_resize),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
