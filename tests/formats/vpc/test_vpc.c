/* vpc: the golden images of tests/data/vpc, every limit, footers that are damaged, sectors of
 * a difference, a parent's names. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/vpc/vpc.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "lib/utf16.h"

#define DISK	 18432u
#define SECTORS	 (DISK / 512)
#define HEADER	 512u
#define NAME	 1536u
#define TABLE	 2048u
#define LOCATORS (HEADER + 576)

static uint8_t *load(const char *name, size_t *n)
{
	char path[200];
	uint8_t *data = calloc(1, 1 << 16);
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/vpc/%s", name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_non_null(data);
	*n = fread(data, 1, 1 << 16, f);
	fclose(f);
	return data;
}

static struct image *open_as(const uint8_t *data, size_t n, unsigned flags, const char *how,
			     struct err *err)
{
	struct blk *file = io_mem_new(data, n, err);
	struct opts *opts = opts_new(err);
	struct image *image = NULL;
	struct err later;

	assert_non_null(file);
	assert_non_null(opts);
	if (how)
		assert_int_equal(opts_set(opts, "force_size_calc", how, err), 0);
	if (format_vpc.open(file, opts, flags, &image, err))
		blk_close(file, &later);
	opts_free(opts);
	return image;
}

static struct image *open_bytes(const uint8_t *data, size_t n, unsigned flags, struct err *err)
{
	return open_as(data, n, flags, NULL, err);
}

static struct image *open_golden(const char *name, unsigned flags)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load(name, &n);
	struct image *image = open_bytes(data, n, flags, &err);

	if (!image)
		fail_msg("%s", err.text);
	return image;
}

/* Footer or header at `at`: its checksum fits again. */
static void sum(uint8_t *at, size_t n, size_t field)
{
	uint32_t s = 0;

	put_be32(at + field, 0);
	for (size_t i = 0; i < n; i++)
		s += at[i];
	put_be32(at + field, ~s);
}

static void sum_footer(uint8_t *at)
{
	sum(at, VPC_FOOTER_LEN, VPC_CHECKSUM_AT);
}

/* ---- what they show ------------------------------------------------------------------ */

static void shows(struct chain *chain, const uint8_t *want)
{
	uint8_t buf[DISK];
	struct err err;

	assert_int_equal(blk_size(&chain->blk), DISK);
	assert_int_equal(blk_pread(&chain->blk, buf, DISK, 0, &err), 0);
	for (unsigned i = 0; i < DISK; i++)
		assert_int_equal(buf[i], want[i / 512]);
}

static void fill(uint8_t *want, unsigned from, unsigned to, uint8_t with)
{
	memset(want + from, with, to - from);
}

static void expect_base(uint8_t want[SECTORS])
{
	memset(want, 0, SECTORS);
	fill(want, 0, 8, 0x10);
	fill(want, 16, 24, 0x30);
	fill(want, 32, 36, 0x50);
}

static void expect_both(uint8_t want[SECTORS])
{
	expect_base(want);
	fill(want, 2, 6, 0xa0);
	fill(want, 8, 16, 0x22);
	fill(want, 32, 33, 0xb0);
}

static struct chain *open_both(unsigned flags)
{
	struct image *diff = open_golden("diff.vhd", flags), *base = open_golden("base.vhd", 0);
	struct chain *chain;
	struct err err;

	assert_true(diff->needs_backing);
	assert_string_equal(diff->backing, "base.vhd");
	assert_string_equal(diff->backing_format, "vpc");
	assert_int_equal(format_vpc.adopt(diff, base, &err), 0);
	assert_int_not_equal(format_vpc.adopt(base, diff, &err), 0);
	chain = chain_new(&diff->blk, &err);
	assert_int_equal(chain_append(chain, &base->blk, &err), 0);
	return chain;
}

static void test_golden(void **state)
{
	uint8_t want[SECTORS], buf[4608];
	struct chain *chain = chain_new(&open_golden("base.vhd", 0)->blk, &(struct err){0});
	struct err err;

	expect_base(want);
	shows(chain, want);
	assert_int_equal(blk_close(&chain->blk, &err), 0);

	expect_both(want);
	chain = open_both(0);
	shows(chain, want);
	assert_int_equal(blk_close(&chain->blk, &err), 0);

	chain = chain_new(&open_golden("fixed.vhd", 0)->blk, &err);
	assert_int_equal(blk_size(&chain->blk), sizeof(buf));
	assert_int_equal(blk_pread(&chain->blk, buf, sizeof(buf), 0, &err), 0);
	assert_true(buf[0] == 'f' && memcmp(buf, buf + 1, sizeof(buf) - 1) == 0);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
}

/* Sectors are written alone, and nothing is copied up that was not. */
static void test_sectors(void **state)
{
	struct chain *chain = open_both(IMAGE_WRITE);
	uint8_t want[SECTORS], buf[1024];
	struct extent e;
	struct err err;

	expect_both(want);
	memset(buf, 0x77, sizeof(buf));
	fill(want, 1, 3, 0x77);	  /* one that is there, one that is not */
	fill(want, 20, 22, 0x77); /* in a block that is not */
	fill(want, 33, 34, 0);
	assert_int_equal(blk_pwrite(&chain->blk, buf, 1024, 512, 0, &err), 0);
	assert_int_equal(blk_pwrite(&chain->blk, buf, 1024, 20 * 512, 0, &err), 0);
	assert_int_equal(blk_zero(&chain->blk, 33 * 512, 512, 0, &err), 0);
	shows(chain, want);
	assert_int_equal(blk_extent(chain->layer[0], 0, DISK, &e, &err), 0);
	assert_true(e.len == 512 && e.flags == EXT_ABSENT);
	assert_int_equal(blk_extent(chain->layer[0], 512, DISK - 512, &e, &err), 0);
	assert_true(e.len == 5 * 512 && e.flags == EXT_DATA);
	assert_int_equal(blk_extent(chain->layer[0], 20 * 512, 4096, &e, &err), 0);
	assert_true(e.len == 1024 && e.flags == EXT_DATA);
	assert_int_equal(blk_extent(chain->layer[0], 22 * 512, 4096, &e, &err), 0);
	assert_true(e.flags == EXT_ABSENT);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
}

static const uint8_t *contents(struct image *image, size_t *n)
{
	return io_mem_data(image->blk.lower, n);
}

/* What is written in a block of a dynamic image is there for those who ask the bitmap. The
 * footer moves behind a new block. */
static void test_bits_and_footer(void **state)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vhd", &n);
	uint8_t byte = 0x66;
	const uint8_t *now;
	struct image *image;
	struct chain *chain;

	data[5 * 512] = 0x80;
	image = open_bytes(data, n, IMAGE_WRITE, &err);
	assert_non_null(image);
	chain = chain_new(&image->blk, &err);
	assert_int_equal(blk_pwrite(&chain->blk, &byte, 1, 10000, 0, &err), 0);
	assert_int_equal(blk_pwrite(&chain->blk, &byte, 1, 5000, 0, &err), 0);
	assert_int_equal(blk_flush(&chain->blk, &err), 0);
	now = contents(image, &n);
	assert_int_equal(n, 16896 + 512 + 4096);
	assert_int_equal(now[5 * 512], 0xff);
	assert_int_equal(get_be32(now + TABLE + 4), 32);
	assert_int_equal(now[32 * 512], 0xff);
	assert_memory_equal(now, now + n - 512, 512);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
}

/* ---- limits -------------------------------------------------------------------------- */

static void test_limits(void **state)
{
	static const struct {
		unsigned at;
		uint32_t value;
		const char *why;
	} bad[] = {
		{16, 0xffffffff, "Error reading dynamic VHD header"},
		{16, 1, "Invalid header magic"},
		{20, 0x8000, "Invalid header magic"},
		{20, 1024, "Invalid header magic"},
		{48, 0x10000, "The disk is larger"},
		{52, 20481, ""},
		{52, 20992, "Page table too small"},
		{60, VPC_TYPE_FIXED, "is that of a fixed image"},
		{HEADER, 0, "Invalid header magic"},
		{HEADER + 16, 1, "beyond the end"},
		{HEADER + 16, 0x80000000, "Error reading pagetable"},
		{HEADER + 16, 0xffffffff, "Error reading pagetable"},
		{HEADER + 20, 0, "overlaps"},
		{HEADER + 20, 1024, "overlaps"},
		{HEADER + 20, 2049, "not at a sector"},
		{HEADER + 20, 0x8000, "beyond the end"},
		{HEADER + 28, 4, "Page table too small"},
		{HEADER + 28, 0x20000000, "Max Table Entries too large"},
		{HEADER + 28, 0x1fffffff, "truncated"},
		{HEADER + 28, 4000, "truncated"},
		{HEADER + 32, 0, "Invalid block size"},
		{HEADER + 32, 256, "Invalid block size"},
		{HEADER + 32, 5120, "Invalid block size"},
		{HEADER + 32, 2048, "Page table too small"},
		{HEADER + 32, 1 << 16, "truncated"},
		{TABLE, 33, "truncated"},
		{TABLE, 0xfffffffe, "truncated"},
	};
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vhd", &n);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO_FREE uint8_t *copy = malloc(n);
		struct err err = {0};
		struct image *image;

		memcpy(copy, data, n);
		put_be32(copy + bad[i].at, bad[i].value);
		sum_footer(copy);
		sum(copy + HEADER, VPC_HEADER_LEN, VPC_HEADER_CHECKSUM_AT);
		image = open_bytes(copy, n, 0, &err);
		if (!bad[i].why[0] && image)
			blk_close(&image->blk, &err);
		else if (image || !strstr(err.text, bad[i].why))
			fail_msg("%#x at %#x: %s", bad[i].value, bad[i].at, err.text);
	}
	for (size_t cut = 0; cut < n - 1024; cut += 331)
		assert_null(open_bytes(data, cut, 0, &(struct err){0}));
}

/* An entry that leads into the tables is complained of when it is read. */
static void test_entry_in_tables(void **state)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vhd", &n);
	struct image *image;
	struct extent e;

	put_be32(data + TABLE, 3);
	image = open_bytes(data, n, 0, &err);
	assert_non_null(image);
	assert_int_not_equal(blk_extent(&image->blk, 0, 512, &e, &err), 0);
	assert_non_null(strstr(err.text, "tables"));
	assert_int_equal(blk_extent(&image->blk, 4096, 512, &e, &err), 0);
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

/* ---- the disk's size ----------------------------------------------------------------- */

static void test_geometry(void **state)
{
	/* as QEMU makes them */
	static const struct {
		uint64_t sectors;
		struct vpc_geometry g;
	} as[] = {
		{0, {0, 0, 0}},
		{1, {1, 4, 17}},
		{2048, {31, 4, 17}},
		{20480, {302, 4, 17}},
		{2097152, {2081, 16, 63}},
		{266338304, {65279, 16, 255}},
		{267382799, {65535, 16, 255}},
		{267382800, {65535, 16, 255}},
		{268435456, {65535, 16, 255}},
	};

	for (size_t i = 0; i < ARRAY_LEN(as); i++) {
		struct vpc_geometry g = vpc_geometry_for(as[i].sectors);

		if (g.cylinders != as[i].g.cylinders || g.heads != as[i].g.heads ||
		    g.track != as[i].g.track)
			fail_msg("%llu: %u/%u/%u", (unsigned long long)as[i].sectors,
				 g.cylinders, g.heads, g.track);
		assert_true(vpc_geometry_sectors(&g) >= MIN(as[i].sectors, VPC_GEOMETRY_MAX));
	}
}

static void test_size(void **state)
{
	static const char by_size[][5] = {"win ", "qem2", "d2v ", "tap"};
	static const char by_chs[][5] = {"vpc ", "vs  ", "vbox", "qemu", "vmm ", "tap ", "d2v"};
	struct vpc_footer f = {
		.current_size = 1000000, .cylinders = 10, .heads = 10, .track = 10};
	uint64_t size;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(by_size); i++) {
		memcpy(f.creator, by_size[i], 4);
		assert_int_equal(vpc_disk_size(&f, NULL, &size, &err), 0);
		assert_int_equal(size, 1000000 / 512 * 512);
		assert_int_equal(vpc_disk_size(&f, "chs", &size, &err), 0);
		assert_int_equal(size, 512000);
	}
	for (size_t i = 0; i < ARRAY_LEN(by_chs); i++) {
		memcpy(f.creator, by_chs[i], 4);
		assert_int_equal(vpc_disk_size(&f, NULL, &size, &err), 0);
		assert_int_equal(size, 512000);
		assert_int_equal(vpc_disk_size(&f, "current_size", &size, &err), 0);
		assert_int_equal(size, 1000000 / 512 * 512);
	}
	assert_int_not_equal(vpc_disk_size(&f, "", &size, &err), 0);
	f.cylinders = 65535;
	f.heads = 16;
	f.track = 255;
	assert_int_equal(vpc_disk_size(&f, "chs", &size, &err), 0);
	assert_int_equal(size, 1000000 / 512 * 512);
	f.current_size = VPC_SIZE_MAX;
	assert_int_equal(vpc_disk_size(&f, NULL, &size, &err), 0);
	f.current_size += 512;
	assert_int_not_equal(vpc_disk_size(&f, NULL, &size, &err), 0);
}

static void test_option(void **state)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("fixed.vhd", &n);
	struct image *image;

	put_be16(data + 4608 + 56, 2); /* two cylinders: more than there is */
	sum_footer(data + 4608);
	assert_null(open_as(data, n, 0, NULL, &err));
	assert_non_null(strstr(err.text, "truncated"));
	image = open_as(data, n, 0, "current_size", &err);
	assert_non_null(image);
	assert_int_equal(blk_size(&image->blk), 4608);
	assert_int_equal(blk_close(&image->blk, &err), 0);
	assert_null(open_as(data, n, 0, "both", &err));
}

/* ---- which footer -------------------------------------------------------------------- */

static int probed(const uint8_t *data, size_t n)
{
	size_t tail = MIN(n, 512);

	return format_vpc.probe_tail(data + n - tail, tail, n);
}

static void test_probe(void **state)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("fixed.vhd", &n);
	struct image *image;

	assert_int_equal(format_vpc.probe(data, 2048, n), 0);
	assert_int_equal(probed(data, n), 100);
	/* as old ones are */
	assert_int_equal(probed(data, n - 1), 100);
	image = open_bytes(data, n - 1, 0, &err);
	assert_non_null(image);
	assert_int_equal(blk_size(&image->blk), 4608);
	blk_close(&image->blk, &err);
	assert_int_equal(probed(data, n - 2), 0);
	/* another size of the file, another sum */
	assert_int_equal(format_vpc.probe_tail(data + 4608, 512, n + 512), 0);
	data[4608 + 80]++;
	assert_int_equal(probed(data, n), 0);
	assert_null(open_bytes(data, n, 0, &err));
	assert_non_null(strstr(err.text, "checksum"));
	/* what names a parent is not found by what a guest can write */
	data[4608 + 80]--;
	data[4608 + 63] = VPC_TYPE_DIFFERENCE;
	sum_footer(data + 4608);
	assert_int_equal(probed(data, n), 0);
	assert_int_equal(probed(data, 100), 0);
}

/* What the guest of a fixed image writes into its first sector changes nothing. */
static void test_guest_writes_footer(void **state)
{
	struct err err = {0};
	size_t n, m;
	AUTO_FREE uint8_t *data = load("fixed.vhd", &n), *other = load("diff.vhd", &m);
	struct image *image;

	memcpy(data, other, 2048);
	image = open_bytes(data, n, 0, &err);
	assert_non_null(image);
	assert_null(image->backing);
	assert_int_equal(blk_size(&image->blk), 4608);
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

/* ---- check --------------------------------------------------------------------------- */

static struct check check_bytes(const uint8_t *data, size_t n, unsigned fix, uint8_t *after)
{
	struct check c = {.fix = fix};
	struct err err = {0};
	struct image *image = open_bytes(data, n, IMAGE_CHECK | (fix ? IMAGE_WRITE : 0), &err);
	size_t len;

	if (!image)
		fail_msg("%s", err.text);
	assert_int_equal(format_vpc.check(image, &c, &err), 0);
	if (after)
		memcpy(after, contents(image, &len), n);
	assert_int_equal(blk_close(&image->blk, &err), 0);
	return c;
}

static void test_repair(void **state)
{
	static const unsigned at[] = {0, 100, HEADER + 1000, 16896 - 512, 16896 - 1};
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vhd", &n);

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		AUTO_FREE uint8_t *bad = malloc(n), *after = malloc(n);
		struct err err = {0};
		struct image *image;

		memcpy(bad, data, n);
		bad[at[i]] ^= 0x10;
		assert_int_equal(check_bytes(bad, n, 0, NULL).errors, 1);
		assert_int_equal(check_bytes(bad, n, CHECK_FIX_LEAKS, NULL).errors, 1);
		/* to be read it is good enough; not to be written while the copy is bad */
		image = open_bytes(bad, n, 0, &err);
		assert_non_null(image);
		blk_close(&image->blk, &err);
		image = open_bytes(bad, n, IMAGE_WRITE, &err);
		assert_true(at[i] < HEADER ? !image && err.num == EUCLEAN : !!image);
		if (image)
			blk_close(&image->blk, &err);
		assert_int_equal(check_bytes(bad, n, CHECK_FIX_ERRORS, after).errors_fixed, 1);
		if (at[i] < HEADER || at[i] > TABLE)
			assert_memory_equal(after, data, n);
		assert_int_equal(check_bytes(after, n, 0, NULL).errors, 0);
	}
	/* the end is missing */
	assert_int_equal(check_bytes(data, n - 512, 0, NULL).errors, 1);
}

static void test_bad_entries(void **state)
{
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vhd", &n), *after = malloc(n);
	struct check c;

	put_be32(data + TABLE, 2);	   /* in the header */
	put_be32(data + TABLE + 4, 22);	   /* overlaps the last one */
	put_be32(data + TABLE + 12, 5000); /* nowhere */
	c = check_bytes(data, n, 0, NULL);
	assert_int_equal(c.errors, 3);
	c = check_bytes(data, n, CHECK_FIX_ERRORS | CHECK_FIX_ENTRIES, after);
	assert_int_equal(c.errors_fixed, 2);
	assert_int_equal(c.errors, 1);
	assert_int_equal(get_be32(after + TABLE), VPC_ENTRY_FREE);
	assert_int_equal(get_be32(after + TABLE + 4), 22);
	assert_int_equal(get_be32(after + TABLE + 12), VPC_ENTRY_FREE);
}

/* ---- a parent's names ---------------------------------------------------------------- */

/* The name that an image with these has: W2ru, W2ku, in the header. "": none. */
static void names(const char *relative, const char *absolute, const char *name,
		  const char *want)
{
	const char *const text[] = {relative, absolute};
	static const char *const code[] = {"W2ru", "W2ku"};
	struct err err = {0};
	size_t n, len;
	AUTO_FREE uint8_t *data = load("diff.vhd", &n);
	AUTO_FREE uint8_t *in_header = utf8_to_utf16(name, true, &len, NULL, &err);
	struct image *image;

	memset(data + HEADER + 64, 0, VPC_NAME_LEN);
	memcpy(data + HEADER + 64, in_header, len);
	memset(data + LOCATORS, 0, 48);
	for (unsigned i = 0; i < 2; i++) {
		AUTO_FREE uint8_t *at = utf8_to_utf16(text[i], false, &len, NULL, &err);
		uint8_t *locator = data + LOCATORS + i * 24, *to = data + NAME + i * 200;

		memcpy(locator, code[i], 4);
		put_be32(locator + 8, (uint32_t)len);
		put_be64(locator + 16, (uint64_t)(to - data));
		memcpy(to, at, len);
	}
	image = open_bytes(data, n, 0, &err);
	assert_non_null(image);
	if (want)
		assert_string_equal(image->backing, want);
	else
		assert_null(image->backing);
	assert_true(image->needs_backing);
	blk_close(&image->blk, &err);
}

static void test_names(void **state)
{
	names(".\\p.vhd", "C:\\vm\\p.vhd", "p.vhd", "p.vhd");
	names("..\\a b\\p.vhd", "", "", "../a b/p.vhd");
	names(".\\.\\p", "", "", "p");
	names("", "C:\\vm\\p.vhd", "q.vhd", "p.vhd");
	names("", "\\\\host\\share\\p.vhd", "", "p.vhd");
	names("", "C:p.vhd", "", "p.vhd");
	names("", "\\srv\\p.vhd", "q.vhd", "/srv/p.vhd");
	names("", "", "D:\\x\\q.vhd", "q.vhd");
	names("", "", "q.vhd", "q.vhd");
	names("nbd://host/x", "", "", "nbd://host/x"); /* who opens it refuses that */
	names("", "", "", NULL);
}

static void test_bad_locators(void **state)
{
	static const uint64_t bad[][2] = {/* length, place */
					  {0, NAME},	   {0xffffffff, NAME}, {40, UINT64_MAX},
					  {40, 16896},	   {2, 16895},	       {16385, 0},
					  {40, 1ull << 40}};
	size_t n;
	AUTO_FREE uint8_t *data = load("diff.vhd", &n);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};
		struct image *image;

		put_be32(data + LOCATORS + 8, (uint32_t)bad[i][0]);
		put_be64(data + LOCATORS + 16, bad[i][1]);
		image = open_bytes(data, n, 0, &err);
		assert_non_null(image);
		assert_string_equal(image->backing, "base.vhd"); /* the header's */
		blk_close(&image->blk, &err);
	}
}

static void test_wrong_parent(void **state)
{
	struct image *diff = open_golden("diff.vhd", 0), *base;
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("base.vhd", &n);

	data[68] ^= 1;
	sum_footer(data);
	base = open_bytes(data, n, 0, &err);
	assert_non_null(base);
	assert_int_not_equal(format_vpc.adopt(diff, base, &err), 0);
	assert_non_null(strstr(err.text, "is a difference to one with UUID"));
	blk_close(&base->blk, &err);
	blk_close(&diff->blk, &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_sectors),
		cmocka_unit_test(test_bits_and_footer),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_entry_in_tables),
		cmocka_unit_test(test_geometry),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_option),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_guest_writes_footer),
		cmocka_unit_test(test_repair),
		cmocka_unit_test(test_bad_entries),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_bad_locators),
		cmocka_unit_test(test_wrong_parent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
