/* parallels: the golden images of tests/data/parallels, every limit of the header and of the
 * BAT, the extension's bitmaps, what in_use says, repair. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/parallels/extension.h"
#include "formats/parallels/parallels.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/dirty.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define ROOM (1u << 17)

static uint8_t data[ROOM];
static size_t len;

static void load(const char *name)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/parallels/%s", name);
	f = fopen(path, "rb");
	assert_non_null(f);
	len = fread(data, 1, sizeof(data), f);
	fclose(f);
}

static struct image *open_data(unsigned flags, struct err *err)
{
	struct blk *file = io_mem_new(data, len, err);
	struct image *image = NULL;
	struct err later;

	assert_non_null(file);
	if (format_parallels.open(file, NULL, flags, &image, err))
		blk_close(file, &later);
	return image;
}

static struct chain *open_good(unsigned flags)
{
	struct err err = {0};
	struct image *image = open_data(flags, &err);
	struct chain *chain;

	if (!image)
		fail_msg("%s", err.text);
	chain = chain_new(&image->blk, &err);
	assert_non_null(chain);
	return chain;
}

static void close_good(struct chain *chain)
{
	struct err err;

	assert_int_equal(blk_close(&chain->blk, &err), 0);
}

static void copy_file(const struct blk *file)
{
	const void *now = io_mem_data(file, &len);

	assert_true(len <= ROOM);
	memcpy(data, now, len);
}

/* What the file has now: for what is closed later. */
static void keep(struct chain *chain)
{
	copy_file(chain->layer[0]->lower);
}

static void refused(unsigned flags, int num, const char *says)
{
	struct err err = {0};

	assert_null(open_data(flags, &err));
	if (err.num != num || !strstr(err.text, says))
		fail_msg("%d, %s", err.num, err.text);
}

static void reads(struct chain *chain, uint64_t off, const char *want)
{
	struct err err = {0};
	char buf[9] = "";

	if (blk_pread(&chain->blk, buf, strlen(want), off, &err))
		fail_msg("%s", err.text);
	assert_string_equal(buf, want);
}

static void test_golden(void **state)
{
	struct chain *chain;

	load("clusters.hds");
	chain = open_good(0);
	assert_int_equal(blk_size(&chain->blk), 7 * 512);
	reads(chain, 0, "00000002");
	reads(chain, 512, "00000003");
	reads(chain, 1024, "00000004");
	reads(chain, 2048, "");
	reads(chain, 3072, "00000006");
	close_good(chain);

	load("sectors.hds");
	chain = open_good(0);
	assert_int_equal(blk_size(&chain->blk), 20 * 512);
	assert_int_equal(chain->layer[0]->grain, 512);
	reads(chain, 0, "63");
	reads(chain, 20 * 512 - 3, "end");
	close_good(chain);
}

static void test_header(void **state)
{
	static const struct {
		unsigned at, width;
		uint64_t value;
		int num;
		const char *says;
	} rows[] = {
		{0, 1, 'w', EINVAL, "not in Parallels format"},
		{15, 1, 'u', EINVAL, "not in Parallels format"},
		{16, 4, 1, EINVAL, "not in Parallels format"},
		{16, 4, 3, EINVAL, "not in Parallels format"},
		{28, 4, 0, EFBIG, "Zero sectors per track"},
		{28, 4, PRL_TRACKS_MAX + 1, EFBIG, "Too big cluster"},
		{28, 4, UINT32_MAX, EFBIG, "Too big cluster"},
		{32, 4, PRL_ENTRIES_MAX + 1, EFBIG, "Catalog too large"},
		{32, 4, PRL_ENTRIES_MAX, EIO, "beyond the end of the file"},
		{32, 4, 1009, EIO, "beyond the end of the file"},
		{36, 8, UINT64_MAX, EFBIG, "total sector count"},
		{36, 8, UINT64_C(1) << 54, EFBIG, "total sector count"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t value[8];

		load("clusters.hds");
		put_le64(value, rows[i].value);
		memcpy(data + rows[i].at, value, rows[i].width);
		refused(0, rows[i].num, rows[i].says);
	}
	load("clusters.hds");
	len = 63; /* its sector is there, for the peer */
	close_good(open_good(0));
	put_le32(data + 32, 113);
	refused(0, EIO, "beyond the end");
	len = 0;
	refused(0, EINVAL, "not in Parallels format");
}

/* The bound of the sectors is that of 2^63 - 2^30 bytes; of the old magic only 32 bits count.
 */
static void test_sectors(void **state)
{
	struct chain *chain;

	load("clusters.hds");
	put_le64(data + 36, (INT64_MAX >> 30 << 30) / 512);
	chain = open_good(0);
	assert_int_equal(blk_size(&chain->blk), INT64_MAX >> 30 << 30);
	reads(chain, 0, "00000002");
	reads(chain, 4096, "");
	close_good(chain);
	refused(IMAGE_WRITE, EACCES, "BAT has room for 8");
	put_le64(data + 36, (INT64_MAX >> 30 << 30) / 512 + 1);
	refused(0, EFBIG, "sector count");

	load("sectors.hds");
	put_le64(data + 36, UINT64_C(0x100000007));
	chain = open_good(0);
	assert_int_equal(blk_size(&chain->blk), 7 * 512);
	close_good(chain);
}

static void test_entries(void **state)
{
	static const struct {
		uint32_t entry;
		const char *says;
	} rows[] = {
		{4, "is outside image"},
		{UINT32_MAX, "is outside image"},
	};
	struct err err = {0};
	struct chain *chain;
	char buf[8];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		load("clusters.hds");
		put_le32(data + 64 + 4, rows[i].entry);
		chain = open_good(0);
		reads(chain, 0, "00000002");
		assert_int_equal(blk_pread(&chain->blk, buf, 8, 1024, &err), -1);
		assert_int_equal(err.num, EIO);
		assert_non_null(strstr(err.text, rows[i].says));
		close_good(chain);
		refused(IMAGE_WRITE, EINVAL, "check -r all");
	}
	/* the last cluster has one sector of the disk: no more has to be there */
	load("clusters.hds");
	len -= 512;
	close_good(open_good(IMAGE_WRITE));
	len -= 1;
	close_good(open_good(IMAGE_WRITE)); /* of a sector that began */
	len -= 511;
	refused(IMAGE_WRITE, EINVAL, "is outside image");
	load("sectors.hds");
	put_le32(data + 64, 0); /* free */
	put_le32(data + 64 + 4, 1);
	put_le32(data + 32, 200); /* the BAT reaches over it */
	refused(IMAGE_WRITE, EINVAL, "in the header or the BAT");
}

/* ---- writing ------------------------------------------------------------------------- */

static void write_at(struct chain *chain, const char *text, uint64_t off)
{
	struct err err = {0};

	if (blk_pwrite(&chain->blk, text, strlen(text), off, 0, &err))
		fail_msg("%s", err.text);
}

static void test_in_use(void **state)
{
	struct chain *chain;
	struct err err;

	load("clusters.hds");
	put_le32(data + 52, PRL_EMPTY | 2);
	chain = open_good(IMAGE_WRITE);
	keep(chain);
	assert_int_equal(get_le32(data + 44), 0);
	write_at(chain, "new", 2048);
	keep(chain);
	assert_int_equal(get_le32(data + 44), PRL_IN_USE);
	assert_int_equal(get_le32(data + 52), 2); /* it is not empty any more */
	assert_int_equal(blk_flush(&chain->blk, &err), 0);
	keep(chain);
	close_good(chain);
	assert_int_equal(get_le32(data + 64 + 8), 4); /* at the end */
	refused(IMAGE_WRITE, EACCES, "not closed correctly; cannot be opened read/write");
	chain = open_good(0);
	reads(chain, 2048, "new");
	close_good(chain);
}

/* Room that nothing refers to is used before new room is taken, and reads as zeros. */
static void test_holes(void **state)
{
	struct chain *chain;
	struct err err;

	load("clusters.hds");
	put_le32(data + 64, 0);
	put_le32(data + 64 + 4, 0);
	chain = open_good(IMAGE_WRITE);
	for (unsigned i = 0; i < 3; i++) {
		write_at(chain, "new", 1024 * i + 100);
		reads(chain, 1024 * i, "");
		reads(chain, 1024 * i + 100, "new");
		reads(chain, 1024 * i + 103, "");
	}
	assert_int_equal(blk_flush(&chain->blk, &err), 0);
	keep(chain);
	close_good(chain);
	assert_int_equal(get_le32(data + 64) + get_le32(data + 68), 1 + 2);
	assert_int_equal(get_le32(data + 72), 4);
	assert_int_equal(len, 5 * 1024);
}

/* ---- the extension -------------------------------------------------------------------- */

#define NAME "00010203-0405-0607-0809-0a0b0c0d0e0f"

static uint64_t bits_of(struct chain *chain)
{
	struct image *image = (struct image *)chain->layer[0];
	struct dirty *bits;
	struct err err = {0};
	uint64_t all = 0;

	if (format_parallels.bitmap->read(image, NAME, &bits, &err))
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < 8; i++)
		all |= (uint64_t)dirty_test(bits, i * UINT64_C(1024)) << i;
	dirty_free(bits);
	return all;
}

static void test_bitmap(void **state)
{
	const struct bitmap_ops *ops = format_parallels.bitmap;
	struct bitmap_info *list;
	struct image *image;
	struct chain *chain;
	struct err err;
	size_t n;

	load("bitmap.hds");
	chain = open_good(IMAGE_WRITE);
	image = (struct image *)chain->layer[0];
	assert_true(ops->usable(image));
	assert_int_equal(ops->list(image, &list, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_string_equal(list->name, NAME);
	assert_int_equal(list->granularity, 1024);
	assert_false(list->broken);
	free(list);
	assert_int_equal(bits_of(chain), 0x14);
	assert_int_equal(ops->find(image, "x", &err), -1);
	assert_int_equal(err.num, ENOENT);
	assert_int_equal(ops->add(image, "x", 0, true, &err), -1);
	assert_int_equal(ops->remove(image, NAME, &err), -1);
	assert_int_equal(err.num, ENOTSUP);
	write_at(chain, "new", 7 * 1024);
	assert_int_equal(blk_flush(&chain->blk, &err), 0);
	keep(chain);
	close_good(chain);
	/* so far: as after a crash */
	chain = open_good(0);
	assert_int_equal(ops->find((struct image *)chain->layer[0], NAME, &err), -1);
	assert_non_null(strstr(err.text, "inconsistent"));
	close_good(chain);
}

/* Closes the image, and has the file after that. */
static void close_and_keep(struct chain *chain)
{
	struct blk *file = chain->layer[0]->lower;
	struct err err;

	chain->layer[0]->lower = NULL;
	close_good(chain);
	copy_file(file);
	blk_close(file, &err);
}

static void test_bitmap_follows(void **state)
{
	struct chain *chain;

	load("bitmap.hds");
	chain = open_good(IMAGE_WRITE);
	write_at(chain, "new", 7 * 1024);
	close_and_keep(chain);
	assert_int_equal(get_le32(data + 44), PRL_CLOSED);
	chain = open_good(0);
	assert_int_equal(bits_of(chain), 0x94);
	reads(chain, 7 * 1024, "new");
	close_good(chain);
}

static void problem(const char *says)
{
	struct chain *chain = open_good(0);
	const struct prl *p = (struct prl *)chain->layer[0];

	assert_non_null(p->ext);
	if (!strstr(p->ext->problem, says))
		fail_msg("%s", p->ext->problem);
	reads(chain, 0, "00000002");
	close_good(chain);
}

static void test_extension_bad(void **state)
{
	size_t ext;

	load("bitmap.hds");
	ext = get_le32(data + 56) * 512;
	data[ext]++;
	problem("magic");
	load("bitmap.hds");
	data[ext + 8]++;
	problem("checksum");
	load("bitmap.hds");
	data[ext + 1023]++;
	problem("checksum");
	load("bitmap.hds");
	put_le64(data + 56, 1);
	problem("outside");
	put_le64(data + 56, len / 512);
	problem("outside");
	put_le64(data + 56, UINT64_MAX);
	problem("outside");
	load("bitmap.hds");
	put_le32(data + 44, 0); /* closed by a program that knows nothing of it */
	data[ext]++;
	close_good(open_good(0));
}

/* ---- check ---------------------------------------------------------------------------- */

static struct check repair(unsigned fix)
{
	struct chain *chain = open_good(IMAGE_WRITE | IMAGE_CHECK);
	struct check c = {.fix = fix};
	struct err err = {0};

	if (format_parallels.check((struct image *)chain->layer[0], &c, &err))
		fail_msg("%s", err.text);
	close_and_keep(chain);
	return c;
}

static void test_check(void **state)
{
	struct check c;

	load("clusters.hds");
	c = repair(0);
	assert_int_equal(c.errors + c.leaks + c.check_errors, 0);
	assert_int_equal(c.allocated_clusters, 3);
	assert_int_equal(c.total_clusters, 4);
	assert_int_equal(c.image_end, 4096);

	put_le32(data + 44, PRL_IN_USE);
	put_le32(data + 48, 1);	     /* data_off */
	put_le32(data + 64 + 8, 2);  /* twice */
	put_le32(data + 64 + 4, 77); /* outside */
	len += 3000;
	c = repair(0);
	assert_int_equal(c.errors, 3);
	c = repair(CHECK_FIX_LEAKS | CHECK_FIX_ERRORS);
	assert_int_equal(c.errors, 0);
	assert_int_equal(c.errors_fixed, 3);
	assert_int_equal(c.leaks_fixed, 3);
	put_le32(data + 64 + 4, 2); /* now it is used twice */
	c = repair(CHECK_FIX_LEAKS | CHECK_FIX_ERRORS);
	assert_int_equal(c.errors_fixed, 1);
	c = repair(0);
	assert_int_equal(c.errors + c.leaks, 0);
	assert_int_equal(get_le32(data + 44), 0);
	assert_int_equal(get_le32(data + 48), 2);
	assert_int_equal(get_le32(data + 64 + 8), 4);
	assert_int_equal(len, 5 * 1024);
	assert_memory_equal(data + 2048, data + 4096, 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),	      cmocka_unit_test(test_header),
		cmocka_unit_test(test_sectors),	      cmocka_unit_test(test_entries),
		cmocka_unit_test(test_in_use),	      cmocka_unit_test(test_holes),
		cmocka_unit_test(test_bitmap),	      cmocka_unit_test(test_bitmap_follows),
		cmocka_unit_test(test_extension_bad), cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
