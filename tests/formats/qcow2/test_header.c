/* The qcow2 header: every limit, with the words of qemu-img 7.2.22, and what survives
 * reading and writing. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define CLUSTER 65536u
#define FILE_SZ (4 * CLUSTER)

static uint8_t head[CLUSTER];
static struct qcow2_header h;
static struct qcow2_extra x;
static struct err err;

/* A sound header of a 64 MiB disk: reftable, refblock, L1 in clusters 1 to 3. */
static void sound(uint32_t version)
{
	memset(head, 0, sizeof(head));
	put_be32(head, QCOW2_MAGIC);
	put_be32(head + 4, version);
	put_be32(head + 20, 16);
	put_be64(head + 24, 64 << 20);
	put_be32(head + 36, 1);
	put_be64(head + 40, 3 * CLUSTER);
	put_be64(head + 48, CLUSTER);
	put_be32(head + 56, 1);
	if (version < 3)
		return;
	put_be32(head + 96, 4);
	put_be32(head + 100, 112);
}

/* All that an open checks of it. */
static int parse(uint64_t file_size)
{
	qcow2_extra_free(&x);
	if (qcow2_header_decode(head, sizeof(head), &h, &err) || qcow2_shape_check(&h, &err) ||
	    qcow2_extra_decode(head, sizeof(head), &h, &x, &err) ||
	    qcow2_features_check(&h, &x, &err))
		return -1;
	return qcow2_header_check(&h, file_size, &err);
}

static void test_sound(void **state)
{
	sound(3);
	assert_int_equal(parse(FILE_SZ), 0);
	assert_int_equal(h.size, 64 << 20);
	assert_int_equal(h.l1_off, 3 * CLUSTER);
	assert_int_equal(h.refcount_order, 4);
	assert_int_equal(parse(3 * CLUSTER + 8), 0); /* as the peer leaves a new image */
	sound(2);
	put_be64(head + 80, UINT64_MAX); /* not there in version 2 */
	put_be32(head + 96, 99);
	assert_int_equal(parse(FILE_SZ), 0);
	assert_int_equal(h.incompat, 0);
	assert_int_equal(h.refcount_order, 4);
	assert_int_equal(h.header_len, 72);
}

struct bad {
	unsigned at, width;
	uint64_t value;
	const char *text;
	bool by_file; /* wrong only beside the file's size */
};

static const struct bad bads[] = {
	{0, 4, 1, "Image is not in qcow2 format", false},
	{4, 4, 1, "Unsupported qcow2 version 1", false},
	{4, 4, 4, "Unsupported qcow2 version 4", false},
	{8, 8, CLUSTER + 1, "Invalid backing file offset", false},
	{20, 4, 8, "Unsupported cluster size: 2^8", false},
	{20, 4, 22, "Unsupported cluster size: 2^22", false},
	{20, 4, UINT32_MAX, "Unsupported cluster size: 2^4294967295", false},
	{24, 8, UINT64_C(1) << 60, "Image is too big", false},
	{24, 8, UINT64_C(1) << 59, "L1 table is too small", false},
	{24, 8, (UINT64_C(1) << 29) + 1, "L1 table is too small", false},
	{32, 4, 3, "Unsupported encryption method 3", false},
	{36, 4, 0, "L1 table is too small", false},
	{36, 4, (4 << 20) + 1, "Active L1 table too large", false},
	{36, 4, 4 << 20,
	 "Active L1 table at 0x30000 (33554432 bytes) is beyond the end of the file (262144 "
	 "bytes)",
	 true},
	{40, 8, 3 * CLUSTER + 8, "Active L1 table offset invalid", false},
	{40, 8, UINT64_C(1) << 63, "Active L1 table offset invalid", false},
	{40, 8, 0, "Active L1 table at 0 overlaps the header", true},
	{40, 8, FILE_SZ,
	 "Active L1 table at 0x40000 (8 bytes) is beyond the end of the file (262144 bytes)",
	 true},
	{48, 8, CLUSTER + 8, "Reference count table offset invalid", false},
	{48, 8, UINT64_C(1) << 63, "Reference count table offset invalid", false},
	{48, 8, 0, "Reference count table at 0 overlaps the header", true},
	{48, 8, UINT64_C(1) << 40,
	 "Reference count table at 0x10000000000 (65536 bytes) is beyond the end of the file "
	 "(262144 bytes)",
	 true},
	{56, 4, 129, "Reference count table too large", false},
	{56, 4, UINT32_MAX, "Reference count table too large", false},
	{60, 4, 65537, "Snapshot table too large", false},
	{72, 8, 0x20, "Unsupported qcow2 feature(s): Unknown incompatible feature: 20", false},
	{72, 8, UINT64_C(1) << 63,
	 "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000000", false},
	{72, 8, 8, "qcow2: Compression type incompatible feature bit must not be set", false},
	{96, 4, 7, "Reference count entry width too large; may not exceed 64 bits", false},
	{100, 4, 103, "qcow2 header too short", false},
	{100, 4, CLUSTER + 8, "qcow2 header exceeds cluster size", false},
	{104, 1, 1, "qcow2: Compression type incompatible feature bit must be set", false},
	{104, 1, 2, "qcow2: unknown compression type: 2", false},
};

static void test_limits(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
		const struct bad *b = &bads[i];

		sound(3);
		if (b->width == 8)
			put_be64(head + b->at, b->value);
		else if (b->width == 4)
			put_be32(head + b->at, (uint32_t)b->value);
		else
			head[b->at] = (uint8_t)b->value;
		assert_int_equal(parse(FILE_SZ), -1);
		assert_string_equal(err.text, b->text);
		/* info and check look at what others refuse */
		assert_int_equal(parse(UINT64_MAX), b->by_file ? 0 : -1);
	}
}

static void test_together(void **state)
{
	sound(3);
	put_be32(head + 60, 1);
	put_be64(head + 64, CLUSTER + 1);
	assert_int_equal(parse(FILE_SZ), -1);
	assert_string_equal(err.text, "Snapshot table offset invalid");
	put_be64(head + 64, 0);
	assert_int_equal(parse(FILE_SZ), -1);
	assert_string_equal(err.text, "Snapshot table at 0 overlaps the header");

	sound(3);
	put_be32(head + 20, 13);
	put_be64(head + 72, QCOW2_INCOMPAT_EXT_L2);
	assert_int_equal(parse(FILE_SZ), -1);
	assert_string_equal(err.text, "Unsupported subcluster size: 256");

	sound(3);
	put_be64(head + 8, CLUSTER - 6);
	put_be32(head + 16, 9);
	assert_int_equal(parse(FILE_SZ), -1);
	assert_string_equal(err.text, "Backing file name too long");
	put_be64(head + 8, 4096);
	put_be32(head + 16, 1024);
	assert_int_equal(parse(FILE_SZ), -1);
	assert_string_equal(err.text, "Backing file name too long");
	put_be32(head + 16, 1023);
	memset(head + 4096, 'n', 1023);
	assert_int_equal(parse(FILE_SZ), 0);
	assert_int_equal(strlen(x.backing), 1023);
	assert_int_equal(qcow2_header_decode(head, 71, &h, &err), -1);
	assert_int_equal(qcow2_header_decode(head, 103, &h, &err), -1);
}

static size_t put_ext(size_t at, uint32_t type, uint32_t len, const void *data, size_t n)
{
	put_be32(head + at, type);
	put_be32(head + at + 4, len);
	memcpy(head + at + 8, data, n);
	return at + 8 + round_up(n, 8);
}

static void test_extensions(void **state)
{
	static const struct {
		uint32_t type, len;
		const char *text;
	} wrong[] = {
		{QCOW2_EXT_BACKING_FORMAT, 16,
		 "ERROR: ext_backing_format: len=16 too large (>=16)"},
		{QCOW2_EXT_BITMAPS, 5, "bitmaps_ext: Invalid extension length"},
		{QCOW2_EXT_CRYPT, 16,
		 "CRYPTO header extension only expected with LUKS encryption method"},
		{77, CLUSTER, "Header extension too large"},
		{77, UINT32_MAX, "Header extension too large"},
	};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		sound(3);
		put_ext(112, wrong[i].type, wrong[i].len, "1234567890123456", 16);
		assert_int_equal(parse(FILE_SZ), -1);
		assert_string_equal(err.text, wrong[i].text);
	}
	/* an area that is full needs no end mark */
	sound(3);
	put_ext(112, 9, CLUSTER - 120, "", 0);
	assert_int_equal(parse(FILE_SZ), 0);
	assert_int_equal(x.next, 1);
	/* nor may it reach into the backing file's name */
	put_be64(head + 8, 4096);
	put_be32(head + 16, 1);
	assert_int_equal(parse(FILE_SZ), -1);
	assert_string_equal(err.text, "Header extension too large");
}

static void test_feature_names(void **state)
{
	uint8_t table[5 * 48] = {0};

	table[1] = 5;
	memcpy(table + 2, "hello", 5);
	table[48 + 1] = 7;
	memset(table + 48 + 2, 'w', 46); /* not terminated */
	table[2 * 48] = 1;		 /* of a compatible feature */
	table[2 * 48 + 1] = 6;
	table[3 * 48 + 1] = 200; /* there is no such bit */
	sound(3);
	put_ext(112, QCOW2_EXT_FEATURES, sizeof(table) - 7, table, sizeof(table));
	put_be64(head + 72, 0x20);
	assert_int_equal(parse(FILE_SZ), -1);
	assert_string_equal(err.text, "Unsupported qcow2 feature(s): hello");
	put_be64(head + 72, 0xe0);
	assert_int_equal(parse(FILE_SZ), -1);
	assert_string_equal(err.text, "Unsupported qcow2 feature(s): hello, "
				      "wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww, "
				      "Unknown incompatible feature: 40");
}

/* What is read is written again, also what nobody here knows. */
static void test_round_trip(void **state)
{
	static uint8_t again[CLUSTER];
	size_t at;

	sound(3);
	put_be32(head + 100, 120);
	memset(head + 112, 0xab, 8);
	put_be64(head + 80, UINT64_C(6) << 40);
	put_be64(head + 88, 1);
	at = put_ext(120, QCOW2_EXT_BACKING_FORMAT, 3, "raw", 3);
	put_be32(head + at + 8, 2); /* bitmaps */
	put_be64(head + at + 16, 64);
	put_be64(head + at + 24, 5 * CLUSTER);
	put_be32(head + at, QCOW2_EXT_BITMAPS);
	put_be32(head + at + 4, 24);
	at = put_ext(at + 32, 77, 5, "hello", 5);
	at = put_ext(at, 78, 0, "", 0) + 8;
	put_be64(head + 8, at);
	put_be32(head + 16, 4);
	memcpy(head + at, "base", 4);
	assert_int_equal(parse(FILE_SZ), 0);
	assert_string_equal(x.backing, "base");
	assert_string_equal(x.backing_format, "raw");
	assert_true(x.has_bitmaps);
	assert_int_equal(x.nb_bitmaps, 2);
	assert_int_equal(qcow2_header_encode(&h, &x, false, again, sizeof(again), &err), 0);
	assert_memory_equal(again, head, CLUSTER);
	/* no room */
	assert_int_equal(qcow2_header_encode(&h, &x, true, again, 150, &err), -1);
	assert_int_equal(err.num, ENOSPC);
}

static void test_l1_needed(void **state)
{
	struct qcow2_header g = {.cluster_bits = 16};

	assert_int_equal(qcow2_l1_needed(&g, 0), 0);
	assert_int_equal(qcow2_l1_needed(&g, 1), 1);
	assert_int_equal(qcow2_l1_needed(&g, 512 << 20), 1);
	assert_int_equal(qcow2_l1_needed(&g, (512 << 20) + 1), 2);
	g.incompat = QCOW2_INCOMPAT_EXT_L2;
	assert_int_equal(qcow2_l1_needed(&g, 512 << 20), 2);
	g = (struct qcow2_header){.cluster_bits = 9};
	assert_int_equal(qcow2_l1_needed(&g, UINT64_C(128) << 30), QCOW2_L1_MAX / 8);
	assert_int_equal(qcow2_l1_needed(&g, UINT64_MAX), UINT64_C(1) << 49);
}

static int done(void **state)
{
	qcow2_extra_free(&x);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),	      cmocka_unit_test(test_limits),
		cmocka_unit_test(test_together),      cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_feature_names), cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_l1_needed),
	};

	return cmocka_run_group_tests(tests, NULL, done);
}
