/* check on images made by hand. The texts are those of qemu-img 7.2.22 on the same images
 * (tests/interop/check.t compares many more with it). */
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

#define COPIED QCOW2_COPIED
#define PACKED QCOW2_COMPRESSED

/* header, refcount table, refcount block, L1, L2, then three data clusters: 0, 2 and 3 of
 * the guest's sixteen */
enum { TABLE = 1, BLOCK, L1, L2, DATA, END = DATA + 3, MAX = 64 };

static struct {
	uint8_t *p;
	unsigned bits, order, entry;
	uint32_t cl, size; /* of a cluster, of the file in clusters */
} img;

static struct {
	char text[8000];
	struct check c;
	struct err err;
	int rc;
} res;

static void put(unsigned cl, unsigned at, uint64_t v)
{
	put_be64(img.p + cl * img.cl + at * 8, v);
}

static void set_l2(unsigned at, uint64_t v)
{
	put_be64(img.p + L2 * img.cl + at * img.entry, v);
}

static void set_ref(unsigned cl, uint64_t v)
{
	uint8_t *b = img.p + BLOCK * img.cl;
	unsigned width = 1u << img.order;

	switch (img.order) {
	case 3:
		b[cl] = (uint8_t)v;
		return;
	case 4:
		put_be16(b + 2 * cl, (uint16_t)v);
		return;
	case 5:
		put_be32(b + 4 * cl, (uint32_t)v);
		return;
	case 6:
		put_be64(b + 8 * cl, v);
		return;
	}
	b[cl * width / 8] &= (uint8_t) ~(((1u << width) - 1) << (cl * width % 8));
	b[cl * width / 8] |= (uint8_t)(v << (cl * width % 8));
}

static uint64_t at(unsigned cl)
{
	return (uint64_t)cl << img.bits;
}

static void make_as(unsigned bits, unsigned order, uint64_t incompat)
{
	free(img.p);
	img.bits = bits;
	img.order = order;
	img.cl = 1u << bits;
	img.size = END;
	img.entry = incompat & QCOW2_INCOMPAT_EXT_L2 ? 16 : 8;
	img.p = calloc(MAX, img.cl);
	assert_non_null(img.p);
	put_be32(img.p, QCOW2_MAGIC);
	put_be32(img.p + 4, 3);
	put_be32(img.p + 20, bits);
	put_be64(img.p + 24, 16 * (uint64_t)img.cl);
	put_be32(img.p + 36, 1);
	put_be64(img.p + 40, at(L1));
	put_be64(img.p + 48, at(TABLE));
	put_be32(img.p + 56, 1);
	put_be64(img.p + 72, incompat);
	put_be32(img.p + 96, order);
	put_be32(img.p + 100, 104);
	put(TABLE, 0, at(BLOCK));
	put(L1, 0, at(L2) | COPIED);
	set_l2(0, at(DATA) | COPIED);
	set_l2(2, at(DATA + 1) | COPIED);
	set_l2(3, at(DATA + 2) | COPIED);
	for (unsigned i = 0; i < END; i++)
		set_ref(i, 1);
}

static void make(void)
{
	make_as(16, 4, 0);
}

static void hear(void *arg, const char *line)
{
	size_t n = strlen(res.text);

	snprintf(res.text + n, sizeof(res.text) - n, "%s\n", line);
}

static void check_blk(struct blk *file)
{
	struct image *image;
	struct err later;

	memset(&res, 0, sizeof(res));
	res.c.report = hear;
	if (qcow2_open(file, NULL, IMAGE_CHECK, &image, &res.err)) {
		fprintf(stderr, "open: %s\n", res.err.text);
		fail();
	}
	res.rc = qcow2_check(image, &res.c, &res.err);
	assert_int_equal(blk_close(&image->blk, &later), 0);
}

static void check(void)
{
	struct err err;
	struct blk *file = io_mem_new(img.p, (size_t)img.size * img.cl, &err);

	assert_non_null(file);
	check_blk(file);
}

static void expect(uint64_t errors, uint64_t leaks, const char *text)
{
	check();
	assert_int_equal(res.rc, 0);
	assert_string_equal(res.text, text);
	assert_int_equal(res.c.errors, errors);
	assert_int_equal(res.c.leaks, leaks);
	assert_int_equal(res.c.check_errors, 0);
}

static void test_clean(void **state)
{
	for (unsigned bits = 9; bits <= 18; bits++) {
		for (unsigned order = 0; order <= 6; order++) {
			make_as(bits, order, 0);
			expect(0, 0, "");
			assert_int_equal(res.c.total_clusters, 16);
			assert_int_equal(res.c.allocated_clusters, 3);
			assert_int_equal(res.c.fragmented_clusters, 0);
			assert_int_equal(res.c.image_end, at(END));
		}
	}
}

static void test_refcounts(void **state)
{
	make();
	set_ref(5, 2);
	expect(1, 1,
	       "Leaked cluster 5 refcount=2 reference=1\n"
	       "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=2\n");
	make();
	set_ref(5, 0);
	expect(2, 0,
	       "ERROR cluster 5 refcount=0 reference=1\n"
	       "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=0\n");
	/* past the end of the file nothing is compared, and then it is */
	make();
	set_ref(9, 3);
	set_ref(1000, 3);
	expect(0, 0, "");
	img.size = 10;
	expect(0, 1, "Leaked cluster 9 refcount=3 reference=0\n");
	assert_int_equal(res.c.image_end, at(10));
	for (unsigned order = 0; order <= 6; order++) {
		make_as(16, order, 0);
		set_ref(6, 0);
		set_l2(2, 0);
		expect(0, 0, "");
		set_ref(6, 1);
		expect(0, 1, "Leaked cluster 6 refcount=1 reference=0\n");
	}
	make_as(9, 6, 0);
	img.size = 60;
	set_ref(7, UINT64_MAX);
	set_ref(50, UINT64_C(1) << 63);
	expect(1, 2,
	       "Leaked cluster 7 refcount=18446744073709551615 reference=1\n"
	       "Leaked cluster 50 refcount=9223372036854775808 reference=0\n"
	       "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000000e00 "
	       "refcount=18446744073709551615\n");
}

static void test_copied(void **state)
{
	make();
	set_l2(0, at(DATA));
	expect(1, 0, "ERROR OFLAG_COPIED data cluster: l2_entry=50000 refcount=1\n");
	make();
	put(L1, 0, at(L2));
	expect(1, 0, "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=40000 refcount=1\n");
	make();
	set_l2(0, at(DATA) | 1); /* a zero cluster with a place */
	expect(1, 0, "ERROR OFLAG_COPIED data cluster: l2_entry=50001 refcount=1\n");
	make();
	set_l2(1, COPIED | 1);
	expect(0, 0, "");
}

static void test_entries(void **state)
{
	make();
	set_l2(0, (at(DATA) + 512) | COPIED);
	expect(2, 0,
	       "ERROR offset=50200: Data cluster is not properly aligned; L2 entry corrupted.\n"
	       "ERROR cluster 6 refcount=1 reference=2\n");
	assert_int_equal(res.c.fragmented_clusters, 1);
	make();
	set_l2(0, (at(DATA) + 512) | COPIED | 1);
	expect(2, 0,
	       "ERROR offset=50200: Preallocated cluster is not properly aligned; L2 entry "
	       "corrupted.\n"
	       "ERROR cluster 6 refcount=1 reference=2\n");
	make();
	set_l2(0, UINT64_C(1) << 40 | COPIED);
	expect(2, 1,
	       "ERROR: counting reference for region exceeding the end of the file by one "
	       "cluster or more: offset 0x10000000000 size 0x10000\n"
	       "Leaked cluster 5 refcount=1 reference=0\n"
	       "ERROR OFLAG_COPIED data cluster: l2_entry=8000010000000000 refcount=0\n");
	make();
	set_l2(0, at(DATA) | COPIED | 2);
	expect(1, 0, "ERROR found l2 entry with reserved bits set: 8000000000050002\n");
	make();
	set_l2(0, at(DATA + 1) | COPIED);
	expect(1, 1,
	       "Leaked cluster 5 refcount=1 reference=0\n"
	       "ERROR cluster 6 refcount=1 reference=2\n");
	make();
	set_l2(0, at(L1) | COPIED);
	expect(1, 1,
	       "ERROR cluster 3 refcount=1 reference=2\n"
	       "Leaked cluster 5 refcount=1 reference=0\n");
}

static void test_l1(void **state)
{
	make();
	put(L1, 0, at(L2) | COPIED | UINT64_C(1) << 58);
	expect(1, 0, "ERROR found L1 entry with reserved bits set: 8400000000040000\n");
	make();
	put(L1, 0, UINT64_C(1) << 40 | COPIED);
	expect(2, 4,
	       "ERROR: counting reference for region exceeding the end of the file by one "
	       "cluster or more: offset 0x10000000000 size 0x10000\n"
	       "Leaked cluster 4 refcount=1 reference=0\n"
	       "Leaked cluster 5 refcount=1 reference=0\n"
	       "Leaked cluster 6 refcount=1 reference=0\n"
	       "Leaked cluster 7 refcount=1 reference=0\n"
	       "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=8000010000000000 "
	       "refcount=0\n");
	make();
	put_be64(img.p + 24, UINT64_C(1) << 30); /* a second L2 table, which is the first */
	put_be32(img.p + 36, 2);
	put(L1, 1, at(L2) | COPIED);
	expect(4, 0,
	       "ERROR cluster 4 refcount=1 reference=2\n"
	       "ERROR cluster 5 refcount=1 reference=2\n"
	       "ERROR cluster 6 refcount=1 reference=2\n"
	       "ERROR cluster 7 refcount=1 reference=2\n");
	assert_int_equal(res.c.allocated_clusters, 6);
	make();
	img.size = DATA;
	expect(3, 0,
	       "ERROR: counting reference for region exceeding the end of the file by one "
	       "cluster or more: offset 0x50000 size 0x10000\n"
	       "ERROR: counting reference for region exceeding the end of the file by one "
	       "cluster or more: offset 0x60000 size 0x10000\n"
	       "ERROR: counting reference for region exceeding the end of the file by one "
	       "cluster or more: offset 0x70000 size 0x10000\n");
}

static void test_reftable(void **state)
{
	make();
	put(TABLE, 0, at(BLOCK) | 1);
	expect(1, 1,
	       "ERROR refcount table entry 0 has reserved bits set\n"
	       "Leaked cluster 2 refcount=1 reference=0\n");
	make();
	put(TABLE, 1, at(BLOCK));
	expect(2, 0,
	       "ERROR refcount block 1 refcount=2\n"
	       "ERROR cluster 2 refcount=1 reference=2\n");
	make();
	put(TABLE, 1, at(END));
	expect(1, 0, "ERROR refcount block 1 is outside image\n");
	make();
	put(TABLE, 0, at(BLOCK) + 512);
	check();
	assert_int_equal(res.rc, 0);
	assert_string_equal(
		res.text,
		"ERROR refcount block 0 is not cluster aligned; refcount table entry "
		"corrupted\n"
		"qcow2: Image is corrupt: Refblock offset 0x20200 unaligned (reftable index: "
		"0); further non-fatal corruption events will be suppressed\n"
		"Can't get refcount for cluster 0: Input/output error\n"
		"Can't get refcount for cluster 1: Input/output error\n"
		"Can't get refcount for cluster 2: Input/output error\n"
		"Can't get refcount for cluster 3: Input/output error\n"
		"Can't get refcount for cluster 4: Input/output error\n"
		"Can't get refcount for cluster 5: Input/output error\n"
		"Can't get refcount for cluster 6: Input/output error\n"
		"Can't get refcount for cluster 7: Input/output error\n");
	assert_int_equal(res.c.errors, 1);
	assert_int_equal(res.c.check_errors, 8);
	assert_int_equal(res.c.image_end, at(1));
}

static uint64_t packed(uint64_t off, uint64_t sectors)
{
	return PACKED | (sectors - 1) << (62 - (img.bits - 8)) | off;
}

static void test_packed(void **state)
{
	make();
	for (unsigned i = 0; i < 16; i++)
		set_l2(i, packed(at(DATA) + i * 4100, 9));
	set_ref(DATA, 16);
	set_ref(DATA + 1, 1);
	set_ref(DATA + 2, 0);
	img.size = DATA + 2;
	expect(0, 0, "");
	assert_int_equal(res.c.compressed_clusters, 16);
	assert_int_equal(res.c.fragmented_clusters, 16);
	assert_int_equal(res.c.allocated_clusters, 16);
	set_l2(0, packed(at(DATA), 8) | COPIED);
	expect(1, 0,
	       "ERROR: coffset=0x50000: copied flag must never be set for compressed "
	       "clusters\n");
	set_l2(0, packed(at(DATA), 256)); /* 128 KiB, to the end of the file */
	set_ref(DATA + 1, 2);
	expect(0, 0, "");
	set_ref(DATA + 1, 1);
	set_l2(0, packed(at(DATA + 3), 1));
	expect(1, 1,
	       "ERROR: counting reference for region exceeding the end of the file by one "
	       "cluster or more: offset 0x80000 size 0x200\n"
	       "Leaked cluster 5 refcount=16 reference=15\n");
}

static void test_overflow(void **state)
{
	make_as(16, 1, 0);
	for (unsigned i = 0; i < 5; i++)
		set_l2(i, at(DATA) | COPIED);
	check();
	assert_int_equal(res.c.errors, 2 + 1); /* two too many, and 1 on disk */
	assert_non_null(strstr(res.text, "ERROR: overflow cluster offset=0x50000\nUse "));
	assert_non_null(strstr(res.text, "ERROR cluster 5 refcount=1 reference=3\n"));
	/* more than a cell holds, all the same right */
	make_as(16, 4, 0);
	put_be64(img.p + 24, UINT64_C(3) << 30);
	put_be32(img.p + 36, 6);
	for (unsigned i = 0; i < 6; i++)
		put(L1, i, at(L2));
	for (unsigned i = 0; i < 8192; i++)
		set_l2(i, at(DATA));
	set_ref(L2, 6);
	set_ref(DATA, 6 * 8192);
	set_ref(DATA + 1, 0);
	set_ref(DATA + 2, 0);
	expect(0, 0, "");
	assert_int_equal(res.c.allocated_clusters, 6 * 8192);
	set_ref(DATA, 6 * 8192 + 1);
	check();
	assert_string_equal(res.text, "Leaked cluster 5 refcount=49153 reference=49152\n");
}

static void test_subclusters(void **state)
{
	make_as(16, 4, QCOW2_INCOMPAT_EXT_L2);
	put(L2, 1, 0xf0000000f);
	put(L2, 3, 1);
	put(L2, 9, UINT64_C(1) << 40);
	expect(2, 0,
	       "ERROR offset=50000: Allocated cluster has corrupted subcluster allocation "
	       "bitmap\n"
	       "ERROR: Unallocated cluster has non-zero subcluster allocation map\n");
	assert_int_equal(res.c.allocated_clusters, 3);
	put(L2, 1, 0xf00000000f0);
	put(L2, 3, UINT64_C(1) << 63);
	expect(0, 0, "");
	set_l2(4, packed(at(DATA), 1));
	put(L2, 9, 1);
	expect(1, 0,
	       "ERROR compressed cluster 4 with non-zero subcluster allocation bitmap, "
	       "entry=0x4000000000050000\n");
}

static void test_data_file(void **state)
{
	make_as(16, 4, QCOW2_INCOMPAT_DATA_FILE);
	img.size = DATA;
	for (unsigned i = 0; i < 3; i++)
		set_ref(DATA + i, 0);
	set_l2(0, COPIED);
	set_l2(2, at(2) | COPIED);
	set_l2(3, at(3) | COPIED);
	expect(0, 0, "");
	assert_int_equal(res.c.allocated_clusters, 3);
	assert_int_equal(res.c.fragmented_clusters, 1);
	set_l2(2, at(2));
	expect(1, 0, "ERROR OFLAG_COPIED data cluster: l2_entry=20000 refcount=1\n");
	set_l2(2, packed(at(2), 1));
	expect(1, 0, "ERROR compressed cluster 2 with data file, entry=0x4000000000020000\n");
	set_l2(2, at(5) | COPIED);
	expect(1, 0,
	       "ERROR offset=50000: Cluster of an external data file is not at its guest "
	       "offset "
	       "20000\n");
}

static void make_snapshots(void)
{
	uint8_t *t;

	make();
	img.size = 12;
	t = img.p + 8 * img.cl;
	put_be32(img.p + 60, 2);
	put_be64(img.p + 64, at(8));
	for (unsigned i = 0; i < 2; i++) {
		put_be64(t + 64 * i, at(9 + i));
		put_be32(t + 64 * i + 8, 1);
		put_be32(t + 64 * i + 12, 0x10004);
		put_be32(t + 64 * i + 36, 16);
		memcpy(t + 64 * i + 56, "1snap", 5);
		put(9 + i, 0, at(11));
		set_ref(9 + i, 1);
	}
	memcpy(img.p + 11 * img.cl, img.p + L2 * img.cl, img.cl);
	set_ref(8, 1);
	set_ref(11, 2);
	for (unsigned i = 0; i < 3; i++)
		set_ref(DATA + i, 3);
	set_l2(0, at(DATA));
	set_l2(2, at(DATA + 1));
	set_l2(3, at(DATA + 2));
}

static void test_snapshots(void **state)
{
	uint8_t *t;

	make_snapshots();
	expect(0, 0, "");
	assert_int_equal(res.c.allocated_clusters, 3);
	put(9, 0, 0);
	expect(0, 4,
	       "Leaked cluster 5 refcount=3 reference=2\n"
	       "Leaked cluster 6 refcount=3 reference=2\n"
	       "Leaked cluster 7 refcount=3 reference=2\n"
	       "Leaked cluster 11 refcount=2 reference=1\n");
	make_snapshots();
	t = img.p + 8 * img.cl;
	put_be64(t, at(9) + 512);
	put_be32(t + 64 + 8, 1 << 30);
	check();
	assert_int_equal(res.c.errors, 2);
	assert_int_equal(res.c.leaks, 6);
	assert_memory_equal(
		res.text,
		"ERROR snapshot 1 (snap) l1_offset=0x90200: L1 table is not cluster aligned; "
		"snapshot table entry corrupted\n"
		"ERROR snapshot 1 (snap) l1_size=0x40000000: L1 table is too large; "
		"snapshot table entry corrupted\n",
		100);
	make_snapshots();
	t = img.p + 8 * img.cl;
	put_be32(t + 64 + 36, 8);
	memcpy(t + 64 + 48, "1snap", 5);
	expect(1, 0, "ERROR snapshot table entry 1 is incomplete\n");
	put_be32(t + 64 + 36, 1025);
	check();
	assert_int_equal(res.rc, -1);
	assert_int_equal(res.err.num, EFBIG);
}

static void make_bitmap(void)
{
	uint8_t *ext = NULL, *dir;

	make();
	img.size = 11;
	for (unsigned i = 8; i < 11; i++)
		set_ref(i, 1);
	put_be64(img.p + 88, QCOW2_AUTOCLEAR_BITMAPS);
	ext = img.p + 104;
	put_be32(ext, QCOW2_EXT_BITMAPS);
	put_be32(ext + 4, 24);
	put_be32(ext + 8, 1);
	put_be64(ext + 16, 32);
	put_be64(ext + 24, at(8));
	dir = img.p + 8 * img.cl;
	put_be64(dir, at(9));
	put_be32(dir + 8, 1);
	put_be32(dir + 12, 2);
	dir[16] = 1;
	dir[17] = 16;
	put_be16(dir + 18, 1);
	dir[24] = 'b';
	put(9, 0, at(10));
}

static void test_bitmaps(void **state)
{
	make_bitmap();
	expect(0, 0, "");
	put(9, 0, 1);
	expect(0, 1, "Leaked cluster 10 refcount=1 reference=0\n");
	put(9, 0, at(10) | 1);
	check();
	assert_int_equal(res.rc, -1);
	make_bitmap();
	put_be64(img.p + 88, 0);
	expect(0, 3,
	       "Leaked cluster 8 refcount=1 reference=0\n"
	       "Leaked cluster 9 refcount=1 reference=0\n"
	       "Leaked cluster 10 refcount=1 reference=0\n");
	make_bitmap();
	img.p[8 * img.cl + 17] = 8;
	check();
	assert_int_equal(res.rc, -1);
	assert_string_equal(res.err.text, "Bitmap 'b' doesn't satisfy the constraints");
}

static void test_crypt(void **state)
{
	make();
	put_be32(img.p + 32, QCOW2_CRYPT_LUKS);
	put_be32(img.p + 104, QCOW2_EXT_CRYPT);
	put_be32(img.p + 108, 16);
	put_be64(img.p + 112, at(8));
	put_be64(img.p + 120, 2 * img.cl - 5);
	img.size = 10;
	set_ref(8, 1);
	set_ref(9, 1);
	expect(0, 0, "");
	put_be64(img.p + 120, img.cl);
	expect(0, 1, "Leaked cluster 9 refcount=1 reference=0\n");
}

static void test_fix(void **state)
{
	struct image *image;
	struct check c = {.fix = CHECK_FIX_LEAKS};
	struct err err;
	struct blk *file;

	make();
	file = io_mem_new(img.p, (size_t)img.size * img.cl, &err);
	assert_int_equal(qcow2_open(file, NULL, IMAGE_CHECK, &image, &err), 0);
	assert_int_equal(qcow2_check(image, &c, &err), -1);
	assert_int_equal(err.num, ENOTSUP);
	blk_close(&image->blk, &err);
}

/* ---- a file of 4 EiB, of which nearly nothing is there ----------------------------- */

#define FAR (UINT64_C(1) << 55)

static int sparse_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	uint8_t *to = buf;
	uint64_t have = (uint64_t)img.size * img.cl;

	memset(to, 0, n);
	if (off < have)
		memcpy(to, img.p + off, MIN(n, have - off));
	return 0;
}

static int sparse_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			 struct err *err)
{
	uint64_t have = (uint64_t)img.size * img.cl;

	*out = (struct extent){.off = off, .len = len, .flags = EXT_ZERO};
	if (off < have) {
		out->flags = EXT_DATA;
		out->len = MIN(len, have - off);
	}
	return 0;
}

static int64_t sparse_usage(struct blk *blk)
{
	return (int64_t)img.size * img.cl;
}

static const struct blk_ops sparse_ops = {
	.name = "sparse",
	.pread = sparse_pread,
	.extent = sparse_extent,
	.disk_usage = sparse_usage,
};

static void test_sparse(void **state)
{
	struct blk *file = calloc(1, sizeof(*file));
	struct err err;

	make();
	set_l2(2, FAR | COPIED);
	for (unsigned i = 1; i < 8192; i++)
		put(TABLE, i, FAR + at(i));
	assert_int_equal(blk_init(file, &sparse_ops, "sparse", &err), 0);
	file->size = UINT64_C(1) << 62;
	check_blk(file);
	assert_int_equal(res.rc, 0);
	assert_int_equal(res.c.leaks, 1);
	assert_int_equal(res.c.image_end, FAR + 8192 * at(1));
	assert_non_null(
		strstr(res.text, "ERROR cluster 549755813888 refcount=0 reference=1\n"));
}

/* Enough tables for threads: each maps one cluster of its own, and one that all share. */
static void test_threads(void **state)
{
	enum { TABLES = 150, FIRST = 8 };
	struct blk *file = calloc(1, sizeof(*file));
	struct err err;

	make();
	free(img.p);
	img.size = FIRST + 2 * TABLES;
	img.p = calloc(img.size, img.cl);
	assert_non_null(img.p);
	put_be32(img.p, QCOW2_MAGIC);
	put_be32(img.p + 4, 3);
	put_be32(img.p + 20, img.bits);
	put_be64(img.p + 24, (uint64_t)TABLES << 29);
	put_be32(img.p + 36, TABLES);
	put_be64(img.p + 40, at(L1));
	put_be64(img.p + 48, at(TABLE));
	put_be32(img.p + 56, 1);
	put_be32(img.p + 96, 4);
	put_be32(img.p + 100, 104);
	put(TABLE, 0, at(BLOCK));
	for (unsigned i = 0; i < img.size; i++)
		set_ref(i, i < 4 || i >= FIRST);
	set_ref(4, TABLES);
	for (unsigned i = 0; i < TABLES; i++) {
		put(L1, i, at(FIRST + i) | COPIED);
		put(FIRST + i, 7 * i, at(FIRST + TABLES + i) | COPIED);
		put(FIRST + i, 7 * i + 1, at(4));
	}
	assert_int_equal(blk_init(file, &sparse_ops, "sparse", &err), 0);
	file->size = (uint64_t)img.size * img.cl;
	check_blk(file);
	assert_int_equal(res.rc, 0);
	assert_string_equal(res.text, "");
	assert_int_equal(res.c.allocated_clusters, 2 * TABLES);
	assert_int_equal(res.c.fragmented_clusters, TABLES);
	assert_int_equal(res.c.image_end, (uint64_t)img.size * img.cl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),	    cmocka_unit_test(test_refcounts),
		cmocka_unit_test(test_copied),	    cmocka_unit_test(test_entries),
		cmocka_unit_test(test_l1),	    cmocka_unit_test(test_reftable),
		cmocka_unit_test(test_packed),	    cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_subclusters), cmocka_unit_test(test_data_file),
		cmocka_unit_test(test_snapshots),   cmocka_unit_test(test_bitmaps),
		cmocka_unit_test(test_crypt),	    cmocka_unit_test(test_fix),
		cmocka_unit_test(test_sparse),	    cmocka_unit_test(test_threads),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	free(img.p);
	return rc;
}
