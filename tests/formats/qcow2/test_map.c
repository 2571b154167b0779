/* Extents of qcow2 images that are made by hand, entry by entry. */
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
#include "lib/io/io.h"
#include "lib/mem.h"

#define C    QCOW2_COPIED
#define Z    QCOW2_ZERO
#define P    QCOW2_COMPRESSED
#define L2S  4 /* tables of the image */
#define MAXC 64

static struct {
	uint8_t *file;
	unsigned bits, entry;
	uint32_t cl;
	struct image *image;
	struct blk *blk;
	struct extent e;
	struct err err;
} m;

/* Header, refcount table, block, L1, then L2S tables at clusters 4 to 7: all unused. */
static void make(unsigned bits, uint32_t version, uint64_t incompat)
{
	free(m.file);
	m.bits = bits;
	m.cl = 1u << bits;
	m.entry = incompat & QCOW2_INCOMPAT_EXT_L2 ? 16 : 8;
	m.file = calloc(MAXC, m.cl);
	assert_non_null(m.file);
	put_be32(m.file, QCOW2_MAGIC);
	put_be32(m.file + 4, version);
	put_be32(m.file + 20, bits);
	put_be64(m.file + 24, L2S * (m.cl / m.entry) * (uint64_t)m.cl);
	put_be32(m.file + 36, L2S);
	put_be64(m.file + 40, 3 * m.cl);
	put_be64(m.file + 48, m.cl);
	put_be32(m.file + 56, 1);
	if (version > 2) {
		put_be64(m.file + 72, incompat);
		put_be32(m.file + 96, 4);
		put_be32(m.file + 100, 104);
	}
}

static uint64_t at(unsigned cl)
{
	return (uint64_t)cl << m.bits;
}

static void set_l1(unsigned i, uint64_t v)
{
	put_be64(m.file + at(3) + 8 * i, v);
}

/* Entry i of the disk; its table comes into being. */
static void set(unsigned i, uint64_t v)
{
	unsigned per = m.cl / m.entry;

	set_l1(i / per, at(4 + i / per) | C);
	put_be64(m.file + at(4 + i / per) + i % per * m.entry, v);
}

static void set_sub(unsigned i, uint64_t v, uint64_t bitmap)
{
	unsigned per = m.cl / m.entry;

	set(i, v);
	put_be64(m.file + at(4 + i / per) + i % per * m.entry + 8, bitmap);
}

static void shut(void)
{
	if (m.image)
		assert_int_equal(blk_close(&m.image->blk, &m.err), 0);
	m.image = NULL;
}

static void open_it(void)
{
	struct blk *file = io_mem_new(m.file, MAXC * (size_t)m.cl, &m.err);

	shut();
	assert_non_null(file);
	if (qcow2_open(file, NULL, IMAGE_NO_KEY, &m.image, &m.err))
		fail_msg("%s", m.err.text);
	m.blk = &m.image->blk;
	if (m.image->needs_data)
		m.image->data = io_mem_new("", 0, &m.err);
}

/* The run at off, off + len at most, must be this; host 0: none. */
static void expect_in(uint64_t off, uint64_t max, uint64_t len, unsigned flags, uint64_t host)
{
	if (blk_extent(m.blk, off, max, &m.e, &m.err))
		fail_msg("%s", m.err.text);
	assert_int_equal(m.e.off, off);
	assert_int_equal(m.e.len, len);
	assert_int_equal(m.e.flags, flags);
	assert_int_equal(m.e.host, host);
	assert_ptr_equal(m.e.home, host ? m.blk->lower : NULL);
}

static void expect(uint64_t off, uint64_t len, unsigned flags, uint64_t host)
{
	expect_in(off, UINT64_MAX >> 2, len, flags, host);
}

static void expect_error(uint64_t off, const char *text)
{
	assert_int_equal(blk_extent(m.blk, off, 1, &m.e, &m.err), -1);
	assert_int_equal(m.err.num, EIO);
	assert_non_null(strstr(m.err.text, text)); /* behind the file's name */
}

static void test_kinds(void **state)
{
	uint32_t k = 4096;

	make(12, 3, 0);
	set(0, at(20) | C);
	set(1, at(21) | C);
	set(2, at(22)); /* shared */
	set(3, at(24) | C);
	set(4, Z);
	set(5, Z);
	set(6, at(25) | C | Z);
	set(7, at(26) | C | Z);
	set(8, P | (at(30) + 100) | UINT64_C(2) << (62 - 4));
	set(9, P | (at(31) + 100));
	open_it();
	expect(0, 2 * k, EXT_DATA, at(20));
	expect(100, 2 * k - 100, EXT_DATA, at(20) + 100);
	expect_in(100, 50, 50, EXT_DATA, at(20) + 100);
	expect_in(k - 1, 2, 2, EXT_DATA, at(21) - 1);
	expect(2 * k, k, EXT_DATA | EXT_SHARED, at(22));
	expect(3 * k, k, EXT_DATA, at(24));
	expect(4 * k, 2 * k, EXT_ZERO, 0);
	expect(6 * k, 2 * k, EXT_ZERO, at(25));
	expect(8 * k, k, EXT_DATA | EXT_PACKED, at(30) + 100);
	assert_int_equal(m.e.packed, 3 * 512 - 100);
	expect(8 * k + 7, k - 7, EXT_DATA | EXT_PACKED, at(30) + 100);
	expect(9 * k, k, EXT_DATA | EXT_PACKED, at(31) + 100);
	assert_int_equal(m.e.packed, 412);
	expect(10 * k, m.blk->size - 10 * k, EXT_ABSENT, 0);
	/* past the end there is nothing */
	assert_int_equal(blk_extent(m.blk, m.blk->size, 5, &m.e, &m.err), 0);
	assert_int_equal(m.e.flags, EXT_ZERO);
}

/* Runs go on from table to table; tables that are not there are skipped at once. */
static void test_across_tables(void **state)
{
	unsigned per = 512;
	uint64_t k = 4096, far = UINT64_C(1) << 30;

	make(12, 3, 0);
	for (unsigned i = 0; i < 2 * per; i++)
		set(i, far + i * k + C);
	set(3 * per, Z);
	open_it();
	expect(0, 2 * per * k, EXT_DATA, far);
	expect(k * (per - 1), (per + 1) * k, EXT_DATA, far + k * (per - 1));
	expect(2 * per * k, per * k, EXT_ABSENT, 0);
	expect(3 * per * k, k, EXT_ZERO, 0);
	/* what is unreadable further on does not stop who asks for what is before */
	set_l1(1, at(5) + 512 + C);
	open_it();
	expect(0, per * k, EXT_DATA, far);
	expect_error(per * k, "qcow2: Image is corrupt: L2 table offset 0x5200 unaligned (L1 "
			      "index: 0x1)");
	/* reserved bits say nothing */
	set_l1(1, at(5) + C);
	set(3, far + 3 * k + C + (UINT64_C(1) << 58) + 4);
	open_it();
	expect(0, 2 * per * k, EXT_DATA, far);
}

static void test_bad_entries(void **state)
{
	make(16, 3, 0);
	set(3, at(9) + 512 + C);
	set(4, at(9) + 512 + C + Z);
	set(5, (at(9) + 512) | C);
	open_it();
	expect_error(3 << 16, "qcow2: Image is corrupt: Cluster allocation offset 0x90200 "
			      "unaligned (L2 offset: 0x40000, L2 index: 0x3)");
	expect_error((5 << 16) + 7,
		     "qcow2: Image is corrupt: Cluster allocation offset 0x90200 "
		     "unaligned (L2 offset: 0x40000, L2 index: 0x5)");
	make(16, 2, 0);
	set(0, Z);
	open_it();
	expect_error(0, "qcow2: Image is corrupt: Zero cluster entry found in pre-v3 image (L2 "
			"offset: 0x40000, L2 index: 0)");
	make(16, 3, QCOW2_INCOMPAT_EXT_L2);
	set_sub(0, at(9) | C, UINT64_C(0x100000001));
	set_sub(1, 0, 1);
	open_it();
	expect_error(0, "qcow2: Image is corrupt: Invalid cluster entry found  (L2 offset: "
			"0x40000, L2 index: 0)");
	expect_error(1 << 16, "qcow2: Image is corrupt: Invalid cluster entry found  (L2 "
			      "offset: 0x40000, L2 index: 0x1)");
}

static void test_subclusters(void **state)
{
	uint32_t k = 16384, s = 512;

	make(14, 3, QCOW2_INCOMPAT_EXT_L2);
	set_sub(0, at(20) | C, 0x0000000f);		      /* 4 written */
	set_sub(1, at(21) | C, UINT64_C(0x00000003fffffff0)); /* 2 zero, 2 absent */
	set_sub(2, at(22) | C, UINT32_MAX);
	set_sub(3, at(23) | C, UINT32_MAX);
	set_sub(4, at(24) | C, 1);
	set_sub(5, 0, ~(uint64_t)UINT32_MAX);
	set_sub(6, 0, UINT64_C(0x00000001) << 32);
	set_sub(7, at(30), 0x80000000); /* shared */
	set_sub(8, P | (at(31) + 3), 0);
	open_it();
	assert_int_equal(m.blk->part, s);
	expect(0, 4 * s, EXT_DATA, at(20));
	expect(3 * s + 5, s - 5, EXT_DATA, at(20) + 3 * s + 5);
	expect(4 * s, 28 * s, EXT_ABSENT, at(20) + 4 * s);
	expect(k, 2 * s, EXT_ZERO, at(21));
	expect(k + 2 * s, 2 * s, EXT_ABSENT, at(21) + 2 * s);
	expect(k + 4 * s, 28 * s + 2 * k + s, EXT_DATA, at(21) + 4 * s);
	expect(4 * k + s, 31 * s, EXT_ABSENT, at(24) + s);
	expect(5 * k, k + s, EXT_ZERO, 0);
	expect(6 * k + s, 31 * s, EXT_ABSENT, 0);
	expect(7 * k, 31 * s, EXT_ABSENT | EXT_SHARED, at(30));
	expect(7 * k + 31 * s, s, EXT_DATA | EXT_SHARED, at(30) + 31 * s);
	expect(8 * k + 9, k - 9, EXT_DATA | EXT_PACKED, at(31) + 3);
	expect(9 * k, m.blk->size - 9 * k, EXT_ABSENT, 0);
}

static void test_data_file(void **state)
{
	uint32_t k = 65536;

	make(16, 3, QCOW2_INCOMPAT_DATA_FILE);
	set(0, C);
	set(1, at(1) | C);
	set(2, at(2)); /* the flag is for those that are counted */
	set(3, at(4) | C);
	set(4, P | at(5));
	open_it();
	assert_int_equal(blk_extent(m.blk, 0, 9 * k, &m.e, &m.err), 0);
	assert_int_equal(m.e.len, 3 * k);
	assert_int_equal(m.e.flags, EXT_DATA);
	assert_ptr_equal(m.e.home, m.image->data);
	expect_error(3 * k, "qcow2: Image is corrupt: External data file host cluster offset "
			    "0x40000 does not match guest cluster offset: 0x30000, L2 index: "
			    "0x3)");
	expect_error(4 * k, "qcow2: Image is corrupt: Compressed cluster entry found in image "
			    "with external data file (L2 offset: 0x40000, L2 index: 0x4)");
}

/* Data of an encrypted image has a place, but its bytes are not the guest's. */
static void test_encrypted(void **state)
{
	uint8_t buf[10];

	make(16, 3, 0);
	put_be32(m.file + 32, QCOW2_CRYPT_AES);
	set(0, at(20) | C);
	open_it();
	expect(0, 65536, EXT_DATA | EXT_CODED, at(20));
	assert_int_equal(blk_pread(m.blk, buf, sizeof(buf), 0, &m.err), -1);
	assert_int_equal(m.err.num, EACCES);
}

static int done(void **state)
{
	shut();
	free(m.file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),	    cmocka_unit_test(test_across_tables),
		cmocka_unit_test(test_bad_entries), cmocka_unit_test(test_subclusters),
		cmocka_unit_test(test_data_file),   cmocka_unit_test(test_encrypted),
	};

	return cmocka_run_group_tests(tests, NULL, done);
}
