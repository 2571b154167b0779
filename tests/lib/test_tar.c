#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/bytes.h"
#include "lib/io/io.h"
#include "lib/tar.h"

static struct err err;
static uint8_t file[64 * TAR_BLOCK];
static size_t at;

static uint8_t *put(const char *name, uint64_t size, bool gnu)
{
	tar_encode(file + at, name, size, 0, gnu);
	at += TAR_BLOCK;
	return file + at - TAR_BLOCK;
}

static void resum(uint8_t *block)
{
	unsigned sum = 0;

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	snprintf((char *)block + 148, 8, "%06o", sum);
}

static int list(struct tar *tar, size_t n)
{
	struct blk *blk = io_mem_new(file, n, &err);
	int rc;

	assert_non_null(blk);
	rc = tar_list(blk, tar, &err);
	assert_int_equal(blk_close(blk, &(struct err){0}), 0);
	return rc;
}

static void begin(void)
{
	memset(file, 0, sizeof(file));
	at = 0;
}

static void found(void **state)
{
	struct tar tar;

	begin();
	put("a.ovf", 700, false);
	at += 2 * TAR_BLOCK;
	put("disk.vmdk", 512, false);
	at += TAR_BLOCK;
	assert_int_equal(list(&tar, at + 2 * TAR_BLOCK), 0);
	assert_int_equal(tar.n, 2);
	assert_true(tar.ustar);
	assert_string_equal(tar.member[1].name, "disk.vmdk");
	assert_int_equal(tar.member[0].off, 512);
	assert_int_equal(tar.member[0].size, 700);
	assert_int_equal(tar.member[1].off, 4 * 512);
	assert_true(tar.member[1].plain);
	tar_free(&tar);
	/* no end, or a last block that is cut off: what is there is there */
	assert_int_equal(list(&tar, at), 0);
	assert_int_equal(tar.n, 2);
	tar_free(&tar);
	/* nothing at all */
	assert_int_equal(list(&tar, 0), 0);
	assert_int_equal(tar.n, 0);
	tar_free(&tar);
}

static void long_names(void **state)
{
	char name[150];
	struct tar tar;
	uint8_t *h;

	memset(name, 'n', sizeof(name));
	begin();
	h = put("././@LongLink", sizeof(name), true);
	h[156] = 'L';
	resum(h);
	memcpy(file + at, name, sizeof(name));
	at += TAR_BLOCK;
	put("short", 3, true);
	at += TAR_BLOCK;
	h = put("pax", 0, false);
	h[156] = 'x';
	h[124 + 9] = '2', h[124 + 10] = '7'; /* 027 = 23 bytes */
	resum(h);
	memcpy(file + at, "14 path=x.img\n9 size=5\n", 23);
	at += TAR_BLOCK;
	put("old", 1, false);
	at += TAR_BLOCK;
	h = put("name", 0, false);
	memcpy(h + 345, "folder", 6);
	resum(h);
	assert_int_equal(list(&tar, at), 0);
	assert_int_equal(tar.n, 3);
	assert_false(tar.ustar);
	assert_int_equal(strlen(tar.member[0].name), 150);
	assert_string_equal(tar.member[1].name, "x.img");
	assert_int_equal(tar.member[1].size, 5);
	assert_string_equal(tar.member[2].name, "folder/name");
	tar_free(&tar);
}

static void refused(const char *what)
{
	struct tar tar;

	assert_int_equal(list(&tar, at), -1);
	if (!strstr(err.text, what))
		fail_msg("'%s' does not say '%s'", err.text, what);
	tar_free(&tar);
}

static void hostile(void **state)
{
	uint8_t *h;

	begin();
	put("big", 513, false);
	at += TAR_BLOCK;
	refused("reaches past the end");
	begin();
	put("huge", INT64_MAX, true);
	refused("reaches past the end");
	begin();
	h = put("negative", 0, true);
	memset(h + 124, 0xff, 12);
	resum(h);
	refused("cannot be read");
	begin();
	h = put("octal", 0, true);
	h[126] = 'x';
	resum(h);
	refused("cannot be read");
	begin();
	put("first", 0, true);
	memset(file + at, 'x', TAR_BLOCK);
	at += TAR_BLOCK;
	refused("damaged at 512: not a header");
	begin();
	h = put("pax", 4, false);
	h[156] = 'x';
	resum(h);
	memcpy(file + at, "9 a\n", 4);
	at += TAR_BLOCK;
	refused("extended header cannot be read");
	begin();
	h = put("map", 0, true);
	h[156] = 'S';
	h[482] = 1;
	resum(h);
	memset(file + at, 0xff, 4 * TAR_BLOCK); /* more follow, and the file ends */
	at += 4 * TAR_BLOCK;
	{
		struct tar tar;

		assert_int_equal(list(&tar, at), 0);
		assert_false(tar.member[0].plain);
		tar_free(&tar);
	}
}

/* Sizes at the border of 11 octal digits, written and read. */
static void sizes(void **state)
{
	static const uint64_t t[] = {0, 1, 077777777777, 0100000000000, INT64_MAX};
	uint8_t block[TAR_BLOCK];
	struct tar_header h;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (int gnu = 0; gnu < 2; gnu++) {
			tar_encode(block, "x", t[i], 1, gnu);
			assert_int_equal(tar_decode(block, &h, &err), 1);
			assert_int_equal(h.size, t[i]);
			assert_int_equal(h.gnu, gnu);
			assert_int_equal(h.type, '0');
		}
	}
	memset(block, 0, sizeof(block));
	assert_int_equal(tar_decode(block, &h, &err), 0);
	assert_false(tar_probe(block, sizeof(block)));
}

static uint8_t map[8 * TAR_BLOCK];
static size_t nmap;

static int keep(void *arg, const uint8_t block[TAR_BLOCK], struct err *e)
{
	memcpy(map + nmap, block, TAR_BLOCK);
	nmap += TAR_BLOCK;
	return 0;
}

/* As many headers as the entries need, and each says whether one follows. */
static void sparse(void **state)
{
	static const struct {
		unsigned entries, blocks;
	} t[] = {{1, 1}, {4, 1}, {5, 2}, {25, 2}, {26, 3}, {46, 3}, {47, 4}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct tar_sparse s = {.write = keep};
		struct tar_header h;

		nmap = 0;
		tar_sparse_begin(&s, "disk.raw", 512, 1ull << 40, t[i].entries, 0);
		for (unsigned k = 0; k < t[i].entries; k++)
			assert_int_equal(tar_sparse_add(&s, k * 1024, 512, &err), 0);
		assert_int_equal(tar_sparse_end(&s, &err), 0);
		assert_int_equal(nmap, t[i].blocks * TAR_BLOCK);
		assert_int_equal(tar_decode(map, &h, &err), 1);
		assert_int_equal(h.type, 'S');
		assert_int_equal(h.real, 1ull << 40);
		assert_int_equal(h.extended, t[i].blocks > 1);
		for (unsigned b = 1; b < t[i].blocks; b++)
			assert_int_equal(tar_sparse_more(map + b * TAR_BLOCK),
					 b + 1 < t[i].blocks);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found),   cmocka_unit_test(long_names),
		cmocka_unit_test(hostile), cmocka_unit_test(sizes),
		cmocka_unit_test(sparse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
