/* check of what is around the guest's clusters; files with holes; threads. */
#include <errno.h>

#include "lib/mem.h"
#include "tests/formats/qcow2/craft.h"

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

/* It cannot even be opened. */
static void refused(const char *why)
{
	struct blk *file = io_mem_new(img.p, (size_t)img.size * img.cl, &res.err);
	struct image *image;
	struct err later;

	assert_non_null(file);
	assert_int_equal(qcow2_open(file, NULL, IMAGE_CHECK, &image, &res.err), -1);
	assert_string_equal(res.err.text, why);
	blk_close(file, &later);
}

static void test_bitmaps(void **state)
{
	make_bitmap();
	expect(0, 0, "");
	put(9, 0, 1);
	expect(0, 1, "Leaked cluster 10 refcount=1 reference=0\n");
	put(9, 0, at(10) | 1);
	refused("Could not read bitmap_table table from image for bitmap 'b': Invalid "
		"argument");
	put_be32(img.p + 8 * img.cl + 12, 1); /* in use */
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
	refused("Bitmap 'b' doesn't satisfy the constraints");
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
	assert_int_equal(err.num, EACCES); /* it is open for reading */
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
		cmocka_unit_test(test_snapshots), cmocka_unit_test(test_bitmaps),
		cmocka_unit_test(test_crypt),	  cmocka_unit_test(test_fix),
		cmocka_unit_test(test_sparse),	  cmocka_unit_test(test_threads),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	free(img.p);
	return rc;
}
