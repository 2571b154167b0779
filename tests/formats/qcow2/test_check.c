/* check on images made by hand. The texts are those of qemu-img 7.2.22 on the same images
 * (tests/interop/damage.t compares many more with it). */
#include "tests/formats/qcow2/craft.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),	    cmocka_unit_test(test_refcounts),
		cmocka_unit_test(test_copied),	    cmocka_unit_test(test_entries),
		cmocka_unit_test(test_l1),	    cmocka_unit_test(test_reftable),
		cmocka_unit_test(test_packed),	    cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_subclusters), cmocka_unit_test(test_data_file),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	free(img.p);
	return rc;
}
