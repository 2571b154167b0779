/* vhdx: the golden images of tests/data/vhdx, every limit, differences, the log, repair. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/vhdx/vhdx.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/crc32c.h"
#include "lib/filter/log.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define MIB  (1u << 20)
#define DISK (5 * MIB + 4096)
#define ROOM (8u * MIB)
#define HEAD 0x10000u
#define REGS 0x30000u
#define LOG  MIB
#define BAT  (2 * MIB)
#define META (3 * MIB)
#define ITEM (META + 0x10000)

/* ---- files --------------------------------------------------------------------------- */

/* Records, see make.py. */
static uint8_t *load(const char *name, size_t *n)
{
	uint8_t *data = calloc(1, ROOM), record[516];
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/vhdx/%s", name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_non_null(data);
	assert_int_equal(fread(record, 1, 4, f), 4);
	*n = (size_t)get_be32(record) * MIB;
	assert_true(*n <= ROOM);
	while (fread(record, 1, sizeof(record), f) == sizeof(record))
		memcpy(data + (size_t)get_be32(record) * 512, record + 4, 512);
	fclose(f);
	return data;
}

static void put_sum(uint8_t *p, size_t n)
{
	put_le32(p + 4, 0);
	put_le32(p + 4, crc32c(0, p, n));
}

/* What has a checksum has the right one again. */
static void sum_all(uint8_t *data)
{
	for (unsigned i = 0; i < 2; i++) {
		put_sum(data + HEAD + 0x10000 * i, 4096);
		put_sum(data + REGS + 0x10000 * i, 0x10000);
	}
}

static struct image *open_bytes(const uint8_t *data, size_t n, unsigned flags, struct err *err)
{
	struct blk *file = io_mem_new(data, n, err);
	struct image *image = NULL;
	struct err later;

	assert_non_null(file);
	if (format_vhdx.open(file, NULL, flags, &image, err))
		blk_close(file, &later);
	return image;
}

static struct image *good(struct image *image, const struct err *err)
{
	if (!image)
		fail_msg("%s", err->text);
	return image;
}

static struct image *open_golden(const char *name, unsigned flags)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load(name, &n);

	return good(open_bytes(data, n, flags, &err), &err);
}

static struct chain *chain_of(struct image *image)
{
	struct err err;
	struct chain *chain = chain_new(&image->blk, &err);

	assert_non_null(chain);
	return chain;
}

static void close_chain(struct chain *chain)
{
	struct err err = {0};

	if (blk_close(&chain->blk, &err))
		fail_msg("%s", err.text);
}

/* ---- what they show ------------------------------------------------------------------ */

struct part {
	uint32_t off, len;
	uint8_t value;
};

static const struct part base[] = {
	{0, 512, 0x10},	      {512, 512, 0x11},	     {MIB - 512, 512, 0x12},
	{2 * MIB, 512, 0x20}, {5 * MIB, 4096, 0x50}, {0},
};
static const struct part both[] = {
	{0, 512, 0x10},		{512, 512, 0x81}, {9 * 512, 512, 0x89},	 {31 * 512, 512, 0x8f},
	{MIB - 512, 512, 0x8e}, {MIB, 512, 0x91}, {5 * MIB, 4096, 0x50}, {0},
};

static void shows(struct chain *chain, const struct part *part)
{
	AUTO_FREE uint8_t *want = calloc(1, DISK), *have = malloc(DISK);
	struct err err = {0};

	assert_non_null(want);
	assert_non_null(have);
	for (; part->len; part++)
		memset(want + part->off, part->value, part->len);
	assert_int_equal(blk_size(&chain->blk), DISK);
	if (blk_pread(&chain->blk, have, DISK, 0, &err))
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < DISK; i++)
		if (have[i] != want[i])
			fail_msg("%#x at %#x, not %#x", have[i], i, want[i]);
}

static void test_golden(void **state)
{
	struct image *diff = open_golden("diff", 0), *below = open_golden("base", 0);
	struct chain *chain = chain_of(below);
	struct err err = {0};

	shows(chain, base);
	close_chain(chain);
	assert_string_equal(diff->backing, "base.vhdx");
	assert_string_equal(diff->backing_format, "vhdx");
	below = open_golden("base", 0);
	if (format_vhdx.adopt(diff, below, &err))
		fail_msg("%s", err.text);
	assert_int_not_equal(format_vhdx.adopt(below, diff, &err), 0);
	chain = chain_of(diff);
	assert_int_equal(chain_append(chain, &below->blk, &err), 0);
	shows(chain, both);
	close_chain(chain);
}

static void test_large_sectors(void **state)
{
	struct chain *chain = chain_of(open_golden("large", 0));
	uint64_t far = UINT64_C(32768) * MIB;
	uint8_t buf[4096];
	struct err err;

	assert_int_equal(blk_size(&chain->blk), UINT64_C(40000) * MIB);
	blk_pread(&chain->blk, buf, 4096, 0, &err);
	assert_int_equal(buf[4095], 1);
	blk_pread(&chain->blk, buf, 4096, far, &err);
	assert_int_equal(buf[0], 2);
	blk_pread(&chain->blk, buf, 4096, far + 2 * MIB - 4096, &err);
	assert_int_equal(buf[0], 3);
	blk_pread(&chain->blk, buf, 4096, far - 4096, &err);
	assert_int_equal(buf[0], 0);
	close_chain(chain);
}

/* ---- the log ------------------------------------------------------------------------- */

static void test_replay(void **state)
{
	struct image *image = open_golden("log", 0);
	struct info info = {0};
	struct chain *chain;
	struct err err;
	size_t n;
	AUTO_FREE uint8_t *want = load("base", &n);
	const uint8_t *file;

	assert_int_equal(format_vhdx.info(image, &info, &err), 0);
	assert_true(info.has_dirty && info.dirty);
	chain = chain_of(image);
	shows(chain, base);
	close_chain(chain);

	image = open_golden("log", IMAGE_WRITE);
	assert_int_equal(format_vhdx.info(image, &info, &err), 0);
	assert_false(info.dirty);
	file = io_mem_data(image->blk.lower, &n);
	assert_memory_equal(file + BAT, want + BAT, n - BAT);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(uuid_is_null(file + HEAD + 0x10000 * i + 48));
		/* the file was written, its contents are what they were */
		assert_memory_not_equal(file + HEAD + 0x10000 * i + 16, want + HEAD + 16, 16);
		assert_memory_equal(file + HEAD + 0x10000 * i + 32, want + HEAD + 32, 16);
	}
	chain = chain_of(image);
	shows(chain, base);
	close_chain(chain);
}

/* Pokes a 32-bit number into the newest whole entry of "log" and expects an error. */
static void bad_log(unsigned at, uint32_t value, const char *why)
{
	unsigned entry = LOG + MIB - 4096, len;
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("log", &n), *flat = NULL;

	/* it goes round the end of the log */
	len = get_le32(data + entry + 8);
	flat = malloc(len);
	assert_non_null(flat);
	memcpy(flat, data + entry, 4096);
	memcpy(flat + 4096, data + LOG, len - 4096);
	put_le32(flat + at, value);
	put_sum(flat, len);
	memcpy(data + entry, flat, 4096);
	if (open_bytes(data, n, 0, &err) || !strstr(err.text, why))
		fail_msg("%#x at %#x: %s", value, at, err.text);
}

static void test_bad_log(void **state)
{
	bad_log(48, 9 * MIB, "was cut off");
	bad_log(60, 0x80000000, "says that the file has");
	bad_log(64 + 16, 4096, "must not");	 /* a header */
	bad_log(64 + 16, LOG, "must not");	 /* the log */
	bad_log(64 + 16, BAT + 512, "must not"); /* no page */
	bad_log(64 + 20, 1, "must not");	 /* far behind the end */
}

/* What is not whole does not count; then an older one, alone, does. */
static void test_torn(void **state)
{
	struct err err = {0};
	struct image *image;
	struct chain *chain;
	size_t n;
	AUTO_FREE uint8_t *data = load("log", &n);
	static const struct part nothing[] = {{0}};

	data[LOG + 4096 + 2000] ^= 1;
	image = good(open_bytes(data, n, 0, &err), &err);
	chain = chain_of(image);
	shows(chain, nothing); /* its BAT is all zeros */
	close_chain(chain);
	/* none is whole: nothing was to be done */
	memset(data + LOG, 0xff, MIB);
	memset(data + BAT, 0, 4096);
	image = good(open_bytes(data, n, 0, &err), &err);
	blk_close(&image->blk, &err);
}

/* ---- limits -------------------------------------------------------------------------- */

static void test_limits(void **state)
{
	static const struct {
		unsigned at;
		uint32_t value;
		const char *why;
	} bad[] = {
		{0, 0, "bad signature"},
		{HEAD + 0x10000 + 66, 2, "version"},
		{HEAD + 0x10000 + 68, MIB + 4096, "log ("},
		{HEAD + 0x10000 + 68, 8 * MIB, "beyond the end"},
		{HEAD + 0x10000 + 68, 2 * MIB, "overlaps the log"},
		{HEAD + 0x10000 + 72, 0, "log ("},
		{HEAD + 0x10000 + 76, 0xffffffff, "beyond the end"},
		{REGS + 8, 2048, "2048 entries"},
		{REGS + 8, 1, "no region for the metadata"},
		{REGS + 8, 3, "is empty or not aligned"},
		{REGS + 16, 0, "unknown kind, but required"},
		{REGS + 16 + 16, 512, "not aligned"},
		{REGS + 16 + 16, 0, "header section"},
		{REGS + 16 + 16, META, "overlaps another"},
		{REGS + 16 + 20, 1, "beyond the end"},
		{REGS + 16 + 24, 0, "is empty"},
		{META, 0, "bad signature"},
		{META + 8, 0x08000000, "more than 2047"},
		{META + 8, 0x00040000, "no physical sector size"},
		{META + 32 + 12, 0, "unknown kind, but required"},
		{META + 32 + 16, 0xfffc, "inside"},
		{META + 32 + 16, 0xfffff, "inside"},
		{META + 32 + 16, 0xfffffffc, "inside"},
		{META + 32 + 20, 9, "wrong length"},
		{META + 32 + 24, 5, "unknown kind, but required"},
		{ITEM, MIB / 2, "block size"},
		{ITEM, 3 * MIB, "block size"},
		{ITEM, 512 * MIB, "block size"},
		{ITEM + 4, 2, "no parent locator"},
		{ITEM + 8, 5 * MIB + 1, "whole sectors"},
		{ITEM + 12, 0x4001, "64 TiB"},
		{ITEM + 12, 0x1000, "has no room"},
		{ITEM + 32, 1024, "logical sector"},
		{ITEM + 36, 0, "physical sector"},
	};
	size_t n;
	AUTO_FREE uint8_t *data = load("base", &n), *copy = malloc(ROOM);

	assert_non_null(copy);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = {0};

		memcpy(copy, data, n);
		put_le32(copy + bad[i].at, bad[i].value);
		sum_all(copy);
		if (open_bytes(copy, n, 0, &err) || !strstr(err.text, bad[i].why))
			fail_msg("%#x at %#x: %s", bad[i].value, bad[i].at, err.text);
	}
	for (size_t cut = 0; cut < 4 * MIB; cut += 99991) {
		struct err err = {0};

		assert_null(open_bytes(data, cut, 0, &err));
	}
}

static void test_locator_limits(void **state)
{
	static const struct {
		unsigned at;
		uint32_t value;
		const char *why;
	} bad[] = {
		{0, 0, "known way"},	     {16, 0xffff0000, "cut off"}, /* entries */
		{20, 0xffffff00, "cut off"}, {28, 0xffff, "cut off"},
		{24, 0x10000, "cut off"},    {56, 0xd800, "not UTF-16"},
	};
	const unsigned item = ITEM + 40;
	size_t n;
	AUTO_FREE uint8_t *data = load("diff", &n);

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		uint32_t was = get_le32(data + item + bad[i].at);
		struct err err = {0};

		put_le32(data + item + bad[i].at, bad[i].value);
		if (open_bytes(data, n, 0, &err) || !strstr(err.text, bad[i].why))
			fail_msg("%#x at %#x: %s", bad[i].value, bad[i].at, err.text);
		put_le32(data + item + bad[i].at, was);
	}
}

/* ---- differences --------------------------------------------------------------------- */

static void test_wrong_parent(void **state)
{
	struct image *diff = open_golden("diff", 0), *below;
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("base", &n);

	data[HEAD + 0x10000 + 32] ^= 1;
	sum_all(data);
	below = good(open_bytes(data, n, 0, &err), &err);
	assert_int_not_equal(format_vhdx.adopt(diff, below, &err), 0);
	assert_non_null(strstr(err.text, "is another one, or was written since"));
	blk_close(&below->blk, &err);
	below = open_golden("large", 0);
	assert_int_not_equal(format_vhdx.adopt(diff, below, &err), 0);
	assert_non_null(strstr(err.text, "sectors of 4096"));
	blk_close(&below->blk, &err);
	blk_close(&diff->blk, &err);
}

static void test_difference_is_read_only(void **state)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("diff", &n);

	assert_null(open_bytes(data, n, IMAGE_WRITE, &err));
	assert_int_equal(err.num, EACCES);
}

static void check_parent(const char *relative, const char *absolute, const char *want)
{
	struct vhdx_meta m = {.relative_path = (char *)relative,
			      .absolute_path = (char *)absolute};
	AUTO_FREE char *path = NULL;
	struct err err;

	assert_int_equal(vhdx_parent_path(&m, &path, &err), 0);
	if (!want)
		assert_null(path);
	else
		assert_string_equal(path, want);
}

static void test_parent_path(void **state)
{
	check_parent(".\\a b.vhdx", "C:\\x\\c.vhdx", "a b.vhdx");
	check_parent("..\\up\\a.vhdx", NULL, "../up/a.vhdx");
	check_parent("", "\\\\?\\C:\\x\\c.vhdx", "c.vhdx");
	check_parent(NULL, "c.vhdx", "c.vhdx");
	check_parent(NULL, "C:\\", NULL);
	check_parent(NULL, NULL, NULL);
}

/* ---- check --------------------------------------------------------------------------- */

/* The file is changed as the repair changes it. */
static struct check check_bytes(uint8_t *data, size_t n, unsigned fix)
{
	struct check c = {.fix = fix};
	struct err err = {0};
	struct blk *file = io_mem_new(data, n, &err);
	struct log *log = log_new(&err); /* does not close it with the image */
	struct image *image = NULL;
	size_t len;

	assert_non_null(file);
	assert_non_null(log);
	assert_int_equal(log_add_file(log, file, &err), 0);
	if (format_vhdx.open(log_open(log, 0, &err), NULL,
			     IMAGE_CHECK | (fix ? IMAGE_WRITE : 0), &image, &err) ||
	    format_vhdx.check(image, &c, &err) || blk_close(&image->blk, &err))
		fail_msg("%s", err.text);
	memcpy(data, io_mem_data(file, &len), n);
	assert_int_equal(len, n);
	log_free(log);
	blk_close(file, &err);
	return c;
}

static void test_copies(void **state)
{
	static const unsigned place[] = {HEAD, HEAD + 0x10000, REGS, REGS + 0x10000};
	const unsigned fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS;
	size_t n;
	AUTO_FREE uint8_t *data = load("base", &n), *copy = malloc(ROOM);
	struct err err = {0};

	assert_non_null(copy);
	for (size_t i = 0; i < ARRAY_LEN(place); i++) {
		memcpy(copy, data, n);
		copy[place[i] + 100] ^= 1;
		assert_int_equal(check_bytes(copy, n, 0).errors, 0);
		assert_int_equal(check_bytes(copy, n, fix).errors_fixed, 1);
		assert_int_equal(check_bytes(copy, n, fix).errors_fixed, 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(place); i += 2) {
		memcpy(copy, data, n);
		copy[place[i]] ^= 1;
		copy[place[i + 1]] ^= 1;
		assert_null(open_bytes(copy, n, 0, &err));
		assert_non_null(strstr(err.text, "Both copies"));
	}
	/* the same number, but other contents */
	memcpy(copy, data, n);
	copy[HEAD + 8] = copy[HEAD + 0x10000 + 8];
	sum_all(copy);
	blk_close(&good(open_bytes(copy, n, 0, &err), &err)->blk, &err);
	copy[HEAD + 32] ^= 1;
	sum_all(copy);
	assert_null(open_bytes(copy, n, 0, &err));
	assert_non_null(strstr(err.text, "they differ"));
	/* the log's changes */
	free(data);
	data = load("log", &n);
	assert_int_equal(check_bytes(data, n, 0).errors, 0);
	assert_int_equal(check_bytes(data, n, fix).errors_fixed, 1);
	assert_int_equal(check_bytes(data, n, fix).errors_fixed, 0);
}

static void test_bad_entries(void **state)
{
	static const struct {
		uint64_t entry;
		unsigned errors, dropped;
	} bad[] = {
		{0x400006, 1, 0},	    /* another one has it */
		{0x800006, 1, 1},	    /* behind the end */
		{0xfffffffffff00006, 1, 1}, /* far behind */
		{0x000006, 1, 1},	    /* the headers */
		{0x100006, 1, 1},	    /* the log */
		{0x200006, 1, 1},	    /* the table */
		{0x300006, 1, 1},	    /* the metadata */
		{0x500007, 1, 0},	    /* partial, of nothing */
		{0x500004, 1, 1},	    /* no state */
		{0x700001, 0, 0},	    /* undefined */
	};
	const unsigned fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS | CHECK_FIX_ENTRIES;
	size_t n;
	AUTO_FREE uint8_t *data = load("base", &n);
	struct check c;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put_le64(data + BAT, bad[i].entry);
		c = check_bytes(data, n, 0);
		if (c.errors != bad[i].errors)
			fail_msg("%u errors of entry %zu", (unsigned)c.errors, i);
		c = check_bytes(data, n, fix);
		assert_int_equal(c.errors_fixed, bad[i].dropped);
		assert_int_equal(c.errors, bad[i].errors - bad[i].dropped);
		assert_int_equal(get_le64(data + BAT), bad[i].dropped ? 2 : bad[i].entry);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_large_sectors),
		cmocka_unit_test(test_replay),
		cmocka_unit_test(test_bad_log),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_locator_limits),
		cmocka_unit_test(test_wrong_parent),
		cmocka_unit_test(test_difference_is_read_only),
		cmocka_unit_test(test_parent_path),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_bad_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
