/* dmg: the golden images of tests/data/dmg, every limit of trailer and tables, checksums. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/dmg/dmg.h"
#include "lib/bytes.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/golden.h"
#include "tests/lib/stamp.h"

#define DISK (83u * 512)

static uint8_t *load(const char *name, size_t *n)
{
	char path[200];
	uint8_t *data = malloc(1 << 16);
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/dmg/%s", name);
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
	if (format_dmg.open(file, NULL, 0, &image, err))
		blk_close(file, &later);
	return image;
}

static struct image *open_golden(const char *name)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load(name, &n);
	struct image *image = open_bytes(data, n, &err);

	if (!image)
		fail_msg("%s", err.text);
	return image;
}

/* Are all kinds of chunks in this build? */
static bool has_all(void)
{
	return unpack_has(UNPACK_BZIP2) && unpack_has(UNPACK_XZ);
}

static void shows(struct image *image, uint32_t size)
{
	uint8_t buf[DISK];
	struct err err;

	assert_int_equal(blk_size(&image->blk), size);
	if (blk_pread(&image->blk, buf, size, 0, &err)) {
		assert_false(has_all());
		assert_non_null(strstr(err.text, "this build has no"));
		return;
	}
	for (uint32_t i = 0; i < size; i++)
		if (buf[i] != golden_byte(i))
			fail_msg("byte %u is %u", i, buf[i]);
}

static void test_golden(void **state)
{
	static const struct {
		const char *name;
		uint32_t size;
	} all[] = {{"mix.dmg", DISK}, {"fork.dmg", DISK}, {"plain.dmg", 17 * 512}};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		struct image *image = open_golden(all[i].name);
		struct err err;

		shows(image, all[i].size);
		assert_int_equal(blk_close(&image->blk, &err), 0);
	}
}

static void test_extents(void **state)
{
	struct image *image = open_golden("mix.dmg");
	bool zero = false, plain = false, packed = false;
	uint64_t off = 0;
	struct extent e;
	struct err err;

	while (off < DISK) {
		assert_int_equal(blk_extent(&image->blk, off, DISK - off, &e, &err), 0);
		assert_true(e.off == off && e.len > 0 && e.len <= DISK - off);
		zero |= e.flags == EXT_ZERO;
		plain |= extent_plain(&e);
		packed |= e.flags == (EXT_DATA | EXT_PACKED);
		off += e.len;
	}
	assert_true(zero && plain && packed);
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

/* Readers whose windows cut chunks, all at once. */
static void *read_windows(void *arg)
{
	struct image *image = arg;
	unsigned seed = (unsigned)(uintptr_t)&seed;
	uint8_t buf[9000];
	struct err err;

	for (int i = 0; i < 300; i++) {
		uint32_t off = dice(&seed) % DISK;
		uint32_t want = 1 + dice(&seed) % (uint32_t)sizeof(buf);
		uint32_t n = MIN(want, DISK - off);

		if (blk_pread(&image->blk, buf, n, off, &err))
			return arg;
		for (uint32_t k = 0; k < n; k++)
			if (buf[k] != golden_byte(off + k))
				return arg;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct image *image = open_golden("fork.dmg");
	pthread_t t[6];
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, read_windows, image), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		void *bad;

		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

/* ---- checksums --------------------------------------------------------------------- */

struct heard {
	char text[4000];
};

static void hear(void *arg, const char *line)
{
	struct heard *h = arg;
	size_t n = strlen(h->text);

	snprintf(h->text + n, sizeof(h->text) - n, "%s\n", line);
}

static uint64_t check_bytes(const uint8_t *data, size_t n, struct heard *h)
{
	struct err err = {0};
	struct image *image = open_bytes(data, n, &err);
	struct check c = {.report = hear, .arg = h};

	h->text[0] = 0;
	if (!image)
		fail_msg("%s", err.text);
	assert_int_equal(format_dmg.check(image, &c, &err), 0);
	assert_int_equal(blk_close(&image->blk, &err), 0);
	return c.errors;
}

static void test_check(void **state)
{
	struct heard h;
	size_t n;
	AUTO_FREE uint8_t *data = load("fork.dmg", &n);
	struct dmg_trailer t;

	layout_decode(dmg_trailer_fields, data + n - 512, &t);
	assert_int_equal(check_bytes(data, n, &h), 0);
	/* the checksum of the data fork, that of all tables */
	data[n - 512 + 88] ^= 1;
	assert_int_equal(check_bytes(data, n, &h), 1);
	assert_non_null(strstr(h.text, "checksum of the data fork"));
	data[n - 512 + 88] ^= 1;
	data[n - 512 + 360] ^= 1;
	assert_int_equal(check_bytes(data, n, &h), 1);
	assert_non_null(strstr(h.text, "checksum of the tables' checksums"));
	data[n - 512 + 360] ^= 1;
	/* a type that nobody verifies */
	data[n - 512 + 83] = 4;
	data[n - 512 + 88] ^= 1;
	assert_int_equal(check_bytes(data, n, &h), 0);
	data[n - 512 + 83] = 2;
	data[n - 512 + 88] ^= 1;
	/* in the middle of the last chunk: the fork, and what it inflates to */
	data[t.data_off + t.data_len - 10] ^= 1;
	assert_int_equal(check_bytes(data, n, &h), 2);
	assert_non_null(strstr(h.text, "of table 2: zlib data"));
	data[t.data_off + t.data_len - 10] ^= 1;
	/* the fork's length */
	put_be64(data + n - 512 + 32, n);
	assert_int_equal(check_bytes(data, n, &h), 1);
	assert_non_null(strstr(h.text, "beyond the end"));
	put_be64(data + n - 512 + 32, t.data_len);
	/* more sectors than the tables have */
	put_be64(data + n - 512 + 492, 90);
	assert_int_equal(check_bytes(data, n, &h), 1);
	assert_non_null(strstr(h.text, "no chunk has the 7 sectors from 83 on"));
}

static void test_gap(void **state)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load("fork.dmg", &n);
	struct image *image;
	uint8_t buf[512];
	struct extent e;

	put_be64(data + n - 512 + 492, 90);
	image = open_bytes(data, n, &err);
	assert_non_null(image);
	assert_int_equal(blk_pread(&image->blk, buf, 512, 82 * 512, &err), 0);
	assert_int_equal(blk_pread(&image->blk, buf, 512, 83 * 512, &err), -1);
	assert_non_null(strstr(err.text, "No chunk has the sectors from 83 on"));
	assert_int_equal(blk_extent(&image->blk, 83 * 512, 7 * 512, &e, &err), 0);
	assert_int_equal(e.len, 7 * 512);
	assert_int_equal(blk_close(&image->blk, &err), 0);
	/* no number of sectors at all: what the tables have */
	put_be64(data + n - 512 + 492, 0);
	image = open_bytes(data, n, &err);
	assert_non_null(image);
	shows(image, DISK);
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

/* ---- limits -------------------------------------------------------------------------- */

static void refused(const uint8_t *data, size_t n, const char *why)
{
	struct err err = {0};
	struct image *image = open_bytes(data, n, &err);

	assert_null(image);
	if (!strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
}

static void test_trailer(void **state)
{
	static const struct {
		unsigned at, bytes;
		uint64_t value;
		const char *why;
	} bad[] = {
		{0, 4, 1, "Could not locate UDIF trailer"},
		{4, 4, 3, "version 3"},
		{8, 4, 511, "511 bytes"},
		{24, 8, 1 << 20, "The data (from 1048576) is beyond"},
		{24, 8, UINT64_MAX, "beyond the end"},
		{40, 8, 1 << 20, "The resource fork"},
		{48, 8, UINT64_MAX, "The resource fork"},
		{48, 8, 0, "has no tables"},
		{56, 4, 2, "part 2 of 1"},
		{60, 4, 3, "part 1 of 3"},
		{216, 8, UINT64_MAX, "The property list"},
		{224, 8, 10, "The property list"},
		{492, 8, (UINT64_C(1) << 54) + 1, "more than a disk can have"},
	};
	size_t n;
	AUTO_FREE uint8_t *data = load("fork.dmg", &n);
	uint8_t *trailer = data + n - 512;
	struct image *image;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		uint8_t was[8];

		memcpy(was, trailer + bad[i].at, 8);
		if (bad[i].at == 216)
			put_be64(trailer + 224, 1);
		if (bad[i].bytes == 4)
			put_be32(trailer + bad[i].at, (uint32_t)bad[i].value);
		else
			put_be64(trailer + bad[i].at, bad[i].value);
		if (bad[i].at == 224)
			put_be64(trailer + 216, UINT64_MAX);
		refused(data, n, bad[i].why);
		memcpy(trailer + bad[i].at, was, 8);
		if (bad[i].at == 216 || bad[i].at == 224)
			memset(trailer + 216, 0, 16);
	}
	refused(data, 511, "Could not locate");
	refused(data, 0, "at least 512");
	refused(data, n - 1, "Could not locate");
	memcpy(trailer + 504, "cdsaencr", 8);
	refused(data, n, "encrypted");
	memset(trailer + 504, 0, 8);
	/* less than a sector behind it does not matter */
	memset(data + n, 0, 512);
	image = open_bytes(data, n + 511, &err);
	assert_non_null(image);
	blk_close(&image->blk, &err);
	refused(data, n + 512, "Could not locate");
	assert_int_equal(format_dmg.probe_tail(trailer, 512, n), 100);
	assert_int_equal(format_dmg.probe_tail(trailer, 511, n), 0);
	trailer[7] = 5;
	assert_int_equal(format_dmg.probe_tail(trailer, 512, n), 0);
	trailer[7] = 4;
	memcpy(data, "encrcdsa", 8);
	refused(data, n, "encrypted");
}

/* A table of two chunks, and the numbers in it. */
struct two {
	uint8_t table[DMG_TABLE_LEN + 2 * DMG_ENTRY_LEN];
};

static void put_entry(struct two *t, int i, uint32_t type, const uint64_t v[4])
{
	uint8_t *p = t->table + DMG_TABLE_LEN + i * DMG_ENTRY_LEN;

	put_be32(p, type);
	for (int k = 0; k < 4; k++)
		put_be64(p + 8 + 8 * k, v[k]);
}

static struct two make_two(void)
{
	struct two t = {{0}};

	memcpy(t.table, "mish\0\0\0\1", 8);
	put_be64(t.table + 8, 100);
	put_be64(t.table + 16, 16);
	put_be32(t.table + 200, 2);
	put_entry(&t, 0, UNPACK_ZLIB, (const uint64_t[4]){0, 8, 0, 100});
	put_entry(&t, 1, DMG_RAW, (const uint64_t[4]){8, 8, 100, 4096});
	return t;
}

/* start, count, offset, length of an entry */
#define AT(...) ((const uint64_t[4]){__VA_ARGS__})

static void table_says(const struct two *two, size_t n, size_t chunks, const char *why)
{
	static const struct dmg_trailer h = {.data_off = 1000};
	struct dmg_tables t = {0};
	struct err err = {0};
	int rc = dmg_table_add(&t, two->table, n, &h, 6000, &err);

	if (rc == 0)
		rc = dmg_tables_sort(&t, &err);
	assert_int_equal(rc, why ? -1 : 0);
	if (why && !strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
	if (!why)
		assert_int_equal(t.nchunk, chunks);
	dmg_tables_free(&t);
}

static void entry_says(uint32_t type, const uint64_t v[4], size_t chunks, const char *why)
{
	struct two t = make_two();

	put_entry(&t, 0, type, v);
	table_says(&t, sizeof(t.table), chunks, why);
}

static void test_table(void **state)
{
	struct two t = make_two();

	table_says(&t, sizeof(t.table), 2, NULL);
	table_says(&t, sizeof(t.table) - 1, 0, "has room for 1 chunks, but says 2");
	table_says(&t, DMG_TABLE_LEN - 1, 0, NULL);
	put_be32(t.table + 200, UINT32_MAX);
	table_says(&t, sizeof(t.table), 0, "but says 4294967295");
	t = make_two();
	put_be64(t.table + 8, UINT64_MAX);
	table_says(&t, sizeof(t.table), 0, "more than a disk can have");
	put_be64(t.table + 8, UINT64_C(1) << 54);
	table_says(&t, sizeof(t.table), 0, "more than a disk can have");
	t = make_two();
	put_be64(t.table + 24, UINT64_MAX - 500);
	table_says(&t, sizeof(t.table), 0, "beyond the end");
	t.table[0] = 'M';
	table_says(&t, sizeof(t.table), 0, NULL);
}

static void test_entries(void **state)
{
	const uint64_t huge = UINT64_C(1) << 54;

	entry_says(DMG_ZERO, AT(0, 8, UINT64_MAX, UINT64_MAX), 2, NULL);
	entry_says(DMG_IGNORE, AT(0, 8, 0, 0), 2, NULL);
	entry_says(DMG_COMMENT, AT(0, 99, UINT64_MAX, UINT64_MAX), 1, NULL);
	entry_says(DMG_END, AT(0, 99, 0, 0), 1, NULL);
	entry_says(UNPACK_ZLIB, AT(0, 0, UINT64_MAX, 9), 1, NULL);
	entry_says(DMG_ZERO, AT(16, huge - 116, 0, 0), 2, NULL);
	entry_says(DMG_ZERO, AT(16, huge - 115, 0, 0), 0, "more than a disk can have");
	entry_says(DMG_ZERO, AT(UINT64_MAX, 8, 0, 0), 0, "more than a disk can have");
	entry_says(DMG_ZERO, AT(0, UINT64_MAX, 0, 0), 0, "more than a disk can have");
	entry_says(DMG_ZERO, AT(0, 9, 0, 0), 0, "Chunk 0 of table 0 overlaps chunk 1");
	entry_says(DMG_ZERO, AT(15, 1, 0, 0), 0, "overlaps");
	entry_says(DMG_ZERO, AT(8, 8, 0, 0), 0, "overlaps");
	entry_says(UNPACK_ADC, AT(0, 8, 4000, 1000), 2, NULL);
	entry_says(UNPACK_ADC, AT(0, 8, 4000, 1001), 0, "beyond the end of the file (6000");
	entry_says(UNPACK_ADC, AT(0, 8, 5001, 0), 0, "beyond the end");
	entry_says(UNPACK_ADC, AT(0, 8, UINT64_MAX, 1), 0, "beyond the end");
	entry_says(UNPACK_ADC, AT(0, 8, 0, UINT64_MAX), 0, "beyond the end");
	entry_says(UNPACK_XZ, AT(16, 131072, 0, 10), 2, NULL);
	entry_says(UNPACK_XZ, AT(16, 131073, 0, 10), 0, "131073 is larger than max (131072)");
	entry_says(DMG_RAW, AT(0, 7, 0, 4096), 0, "4096 bytes are stored of 7 sectors");
	entry_says(DMG_RAW, AT(0, 8, 0, 4095), 0, "4095 bytes are stored of 8 sectors");
	entry_says(3, AT(0, 8, 0, 10), 2, NULL);
}

/* ---- resources ------------------------------------------------------------------------ */

static void plist_says(const char *text, size_t tables, const char *why)
{
	static const struct dmg_trailer h = {0};
	struct dmg_tables t = {0};
	struct err err = {0};
	int rc = dmg_plist_tables(text, strlen(text), &h, 6000, &t, &err);

	assert_int_equal(rc, why ? -1 : 0);
	if (why && !strstr(err.text, why))
		fail_msg("'%s' is not in '%s'", why, err.text);
	if (!why)
		assert_int_equal(t.n, tables);
	dmg_tables_free(&t);
}

#define FORK(x)	 "<plist><dict><key>resource-fork</key><dict>" x "</dict></dict></plist>"
#define BLKX(x)	 FORK("<key>blkx</key><array>" x "</array>")
#define ENTRY(x) BLKX("<dict><key>ID</key><string>0</string>" x "</dict>")

static void test_plist(void **state)
{
	plist_says("", 0, "The property list");
	plist_says("<plist/>", 0, "no tables");
	plist_says("<plist><dict/></plist>", 0, "no tables");
	plist_says(FORK(""), 0, "no tables");
	plist_says(FORK("<key>blkx</key>"), 0, "no tables");
	plist_says(FORK("<key>plst</key><array><dict/></array>"), 0, "no tables");
	plist_says(BLKX(""), 0, NULL);
	plist_says(BLKX("<dict/><string>x</string><dict/>"), 0, NULL);
	plist_says(ENTRY("<key>Data</key>"), 0, NULL);
	plist_says(ENTRY("<key>Data</key><data>bWlz</data>"), 0, NULL);
	plist_says(ENTRY("<key>Data</key><data>bW=lz</data>"), 0, "table 0");
	plist_says(FORK("<key>blkx</key><array><dict>"), 0, "The property list");
}

static void test_fork(void **state)
{
	size_t n;
	AUTO_FREE uint8_t *data = load("fork.dmg", &n);
	struct dmg_trailer t;
	uint8_t *fork, *map;
	uint32_t at;

	layout_decode(dmg_trailer_fields, data + n - 512, &t);
	fork = data + t.fork_off;
	at = get_be32(fork + 4);
	map = fork + at;
	put_be32(fork + 4, (uint32_t)t.fork_len - 29);
	refused(data, n, "map (at");
	put_be32(fork + 4, UINT32_MAX);
	refused(data, n, "map (at");
	put_be32(fork + 4, at);
	put_be32(fork, UINT32_MAX);
	refused(data, n, "table (at");
	put_be32(fork, 256);
	put_be16(map + 24, UINT16_MAX);
	refused(data, n, "list of types");
	put_be16(map + 24, 28);
	put_be16(map + 28, 40000);
	refused(data, n, "list of types");
	put_be16(map + 28, 1);
	put_be16(map + 34, UINT16_MAX);
	refused(data, n, "list of tables");
	put_be16(map + 34, 2);
	put_be16(map + 36, UINT16_MAX);
	refused(data, n, "list of tables");
	put_be64(data + n - 512 + 48, 15);
	refused(data, n, "header");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),	cmocka_unit_test(test_extents),
		cmocka_unit_test(test_threads), cmocka_unit_test(test_check),
		cmocka_unit_test(test_gap),	cmocka_unit_test(test_trailer),
		cmocka_unit_test(test_table),	cmocka_unit_test(test_entries),
		cmocka_unit_test(test_plist),	cmocka_unit_test(test_fork),
	};

	return cmocka_run_group_tests_name("dmg", tests, NULL, NULL);
}
