/*
 * Images whose reference counts or tables lie, so that a write would go over metadata: each
 * kind of it, with each template and each single flag, as new data, as data in place, as a
 * new table, and as a table that lies where it must not.
 */
#include <errno.h>

#include "lib/chain.h"
#include "lib/filter/pass.h"
#include "lib/mem.h"
#include "tests/formats/qcow2/craft.h"

/* What else is in the image, behind craft.h's. */
enum { SNAPS = END, OLD_L1, OLD_L2, DIR, BITMAP, FREE };

static const struct kind {
	const char *flag, *name;
	unsigned cl;	/* a cluster of this kind */
	unsigned least; /* 1: already in the template "constant", 2: cached, 3: all */
} kinds[] = {
	{"main-header", "qcow2_header", 0, 1},
	{"active-l1", "active L1 table", L1, 1},
	{"active-l2", "active L2 table", L2, 2},
	{"refcount-table", "refcount table", TABLE, 1},
	{"refcount-block", "refcount block", BLOCK, 2},
	{"snapshot-table", "snapshot table", SNAPS, 1},
	{"inactive-l1", "inactive L1 table", OLD_L1, 2},
	{"inactive-l2", "inactive L2 table", OLD_L2, 3},
	{"bitmap-directory", "bitmap directory", DIR, 1},
};

static const char *const templates[] = {"none", "constant", "cached", "all"};

static struct {
	struct blk *file;
	struct chain *chain;
	struct qcow2 *q;
	char told[400];
	unsigned ntold;
	struct err err;
} t;

static void hear_notice(const char *text)
{
	snprintf(t.told, sizeof(t.told), "%s", text);
	t.ntold++;
}

/* 1 GiB of guest, two L1 entries, one snapshot. */
static void craft(void)
{
	uint8_t *s;

	make();
	put_be64(img.p + 24, 1 << 30);
	put_be32(img.p + 36, 2);
	put_be32(img.p + 60, 1);
	put_be64(img.p + 64, at(SNAPS));
	s = img.p + at(SNAPS);
	put_be64(s, at(OLD_L1));
	put_be32(s + 8, 1);
	put_be16(s + 12, 1);
	put_be16(s + 14, 1);
	put_be32(s + 36, 16);
	put_be64(s + 48, 1 << 30);
	memcpy(s + 56, "1a", 2);
	put(OLD_L1, 0, at(OLD_L2));
	img.size = FREE;
	for (unsigned i = END; i < FREE; i++)
		set_ref(i, 1);
}

/* One empty bitmap. */
static void add_bitmap(void)
{
	uint8_t *ext = img.p + 104, *entry = img.p + at(DIR);

	put_be64(img.p + 88, QCOW2_AUTOCLEAR_BITMAPS);
	put_be32(ext, QCOW2_EXT_BITMAPS);
	put_be32(ext + 4, 24);
	put_be32(ext + 8, 1);
	put_be64(ext + 16, 32);
	put_be64(ext + 24, at(DIR));
	put_be64(entry, at(BITMAP));
	put_be32(entry + 8, 1);
	entry[16] = 1;
	entry[17] = 16;
	put_be16(entry + 18, 1);
	entry[24] = 'b';
}

static void craft_for(const struct kind *k)
{
	craft();
	if (k->cl == DIR)
		add_bitmap();
}

static struct opts *parse(const char *text)
{
	struct opts *o = opts_new(&t.err);

	assert_non_null(o);
	assert_int_equal(opts_parse(o, text, NULL, &t.err), 0);
	return o;
}

static void open_as(const char *options, unsigned flags)
{
	struct opts *o = parse(options);
	struct image *image;
	struct blk *lower;

	memset(&t, 0, sizeof(t));
	err_notice_to(hear_notice);
	t.file = io_mem_new(img.p, (size_t)img.size * img.cl, &t.err);
	assert_non_null(t.file);
	lower = pass_borrow(t.file, &t.err);
	assert_non_null(lower);
	if (qcow2_open(lower, o, flags, &image, &t.err)) {
		fprintf(stderr, "%s: %s\n", options, t.err.text);
		fail();
	}
	opts_free(o);
	t.q = (struct qcow2 *)image;
	t.chain = chain_new(&image->blk, &t.err);
	assert_non_null(t.chain);
}

static int close_all(void)
{
	struct err later;
	int rc = blk_close(&t.chain->blk, &later);

	blk_close(t.file, &later);
	err_notice_to(NULL);
	return rc;
}

static int write_at(uint64_t guest)
{
	return blk_pwrite(&t.chain->blk, "hello", 5, guest, 0, &t.err);
}

static uint64_t incompat(void)
{
	uint8_t head[8];

	assert_int_equal(blk_pread(t.file, head, 8, 72, &t.err), 0);
	return get_be64(head);
}

static void expect_event(const char *reason)
{
	char want[300];

	snprintf(want, sizeof(want),
		 "qcow2: Marking image as corrupt: %s; further corruption events will be "
		 "suppressed",
		 reason);
	assert_string_equal(t.told, want);
	assert_int_equal(t.ntold, 1);
	assert_int_equal(t.err.num, EIO);
	assert_string_equal(t.err.text, "Input/output error");
}

/* The write to `guest` (and the flush) hit that kind; after it all is over. */
static void expect_hit(uint64_t guest, const char *what)
{
	char reason[200];

	if (write_at(guest) == 0)
		assert_int_equal(blk_flush(&t.chain->blk, &t.err), -1);
	snprintf(reason, sizeof(reason),
		 "Preventing invalid write on metadata (overlaps with %s)", what);
	expect_event(reason);
	assert_int_equal(incompat(), QCOW2_INCOMPAT_CORRUPT);
	assert_int_equal(write_at(guest), -1);
	assert_int_equal(write_at(2 * img.cl), -1); /* in place, and quite sound */
	assert_int_equal(blk_zero(&t.chain->blk, 0, img.cl, BLK_UNMAP, &t.err), -1);
	assert_int_equal(blk_flush(&t.chain->blk, &t.err), -1);
	assert_int_equal(t.ntold, 1);
	assert_int_equal(close_all(), -1);
}

static void expect_no_hit(uint64_t guest)
{
	assert_int_equal(write_at(guest), 0);
	assert_int_equal(t.ntold, 0);
	t.q->flags &= ~(unsigned)IMAGE_WRITE; /* what would be flushed is nonsense by now */
	assert_int_equal(close_all(), 0);
}

/* ---- each kind, each template, each flag ------------------------------------------- */

static void new_data(const struct kind *k, const char *options, bool hit)
{
	craft_for(k);
	set_ref(k->cl, 0);
	open_as(options, IMAGE_WRITE);
	if (hit || k->cl == 0) /* cluster 0 is never given away */
		expect_hit(5 * img.cl, k->name);
	else
		expect_no_hit(5 * img.cl);
}

static void data_in_place(const struct kind *k, const char *options, bool hit)
{
	if (k->cl == 0)
		return; /* an entry cannot name it */
	craft_for(k);
	set_l2(0, at(k->cl) | COPIED);
	open_as(options, IMAGE_WRITE);
	if (hit)
		expect_hit(0, k->name);
	else
		expect_no_hit(0);
}

static void test_templates(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		for (unsigned n = 0; n < ARRAY_LEN(templates); n++) {
			char options[200];

			snprintf(options, sizeof(options), "overlap-check=%s", templates[n]);
			new_data(&kinds[i], options, n >= kinds[i].least);
			snprintf(options, sizeof(options), "overlap-check.template=%s",
				 templates[n]);
			data_in_place(&kinds[i], options, n >= kinds[i].least);
		}
		new_data(&kinds[i], "cache-size=1M", kinds[i].least <= 2);
	}
}

static void test_flags(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		for (size_t n = 0; n < ARRAY_LEN(kinds); n++) {
			char options[200];

			snprintf(options, sizeof(options),
				 "overlap-check=none,overlap-check.%s=on", kinds[n].flag);
			new_data(&kinds[i], options, i == n);
			data_in_place(&kinds[i], options, i == n);
			snprintf(options, sizeof(options),
				 "overlap-check=all,overlap-check.%s=off", kinds[n].flag);
			new_data(&kinds[i], options, i != n);
			data_in_place(&kinds[i], options, i != n);
		}
	}
}

static void test_new_table(void **state)
{
	const uint64_t far = 1 << 29; /* behind the second L1 entry */

	for (size_t i = 1; i < ARRAY_LEN(kinds); i++) {
		craft_for(&kinds[i]);
		set_ref(kinds[i].cl, 0);
		open_as("overlap-check=all", IMAGE_WRITE);
		expect_hit(far, kinds[i].name);
	}
	craft();
	set_ref(0, 0);
	open_as("overlap-check=none", IMAGE_WRITE);
	assert_int_equal(write_at(far), -1);
	expect_event("Preventing invalid allocation of L2 table at offset 0");
	assert_int_equal(close_all(), -1);
}

static void test_tables_in_the_wrong_place(void **state)
{
	/* an L2 table on what is something else: found when it is brought to the file */
	for (size_t i = 1; i < ARRAY_LEN(kinds); i++) {
		bool block = kinds[i].cl == BLOCK;

		if (kinds[i].cl == L2 || kinds[i].cl == DIR)
			continue; /* that is written before */
		craft();
		put(L1, 0, at(kinds[i].cl) | COPIED);
		open_as("overlap-check=all", IMAGE_WRITE);
		/* the refcount block, which is there too, goes first */
		expect_hit(100 * img.cl, block ? "active L2 table" : kinds[i].name);
	}
	/* a refcount block that says that nothing is in use */
	craft();
	put(TABLE, 0, at(OLD_L1));
	open_as("", IMAGE_WRITE);
	expect_hit(5 * img.cl, "qcow2_header");
	/* one that is sound, but lies on a table */
	craft();
	put(TABLE, 0, at(OLD_L1));
	for (unsigned i = 0; i < FREE; i++)
		put_be16(img.p + at(OLD_L1) + 2 * i, 1);
	open_as("", IMAGE_WRITE);
	expect_hit(5 * img.cl, "inactive L1 table");
}

/* ---- what is known keeps up --------------------------------------------------------- */

static void test_tables_come_and_go(void **state)
{
	uint64_t place, old = at(L2);
	const char *what;

	craft();
	open_as("", IMAGE_WRITE);
	assert_int_equal(write_at(5 * img.cl), 0);
	assert_int_equal(write_at(1 << 29), 0);
	place = t.q->l1[1] & QCOW2_OFF_MASK;
	assert_int_equal(qcow2_overlap_find(t.q, 0, place, 512, &what, &t.err), 0);
	assert_string_equal(what, "active L2 table");
	assert_int_equal(
		qcow2_overlap_find(t.q, QCOW2_META_ACTIVE_L2, place, 512, &what, &t.err), 0);
	assert_null(what);
	/* far and wide: the set is gone through instead of the clusters */
	assert_int_equal(qcow2_overlap_find(t.q, 0, place, UINT64_C(1) << 50, &what, &t.err),
			 0);
	assert_string_equal(what, "active L2 table");
	assert_int_equal(
		qcow2_overlap_find(t.q, 0, place + img.cl, UINT64_C(1) << 50, &what, &t.err),
		0);
	assert_null(what);
	qcow2_l1_set(t.q, 1, 0);
	assert_int_equal(qcow2_overlap_find(t.q, 0, place, 512, &what, &t.err), 0);
	assert_null(what);
	/* behind two entries: one less leaves the other */
	qcow2_l1_set(t.q, 1, old | COPIED);
	qcow2_l1_set(t.q, 0, 0);
	assert_int_equal(qcow2_overlap_find(t.q, 0, old, 512, &what, &t.err), 0);
	assert_string_equal(what, "active L2 table");
	/* changed behind its back: what seems to be there is looked at again */
	qcow2_overlap_reset(t.q);
	assert_int_equal(qcow2_overlap_find(t.q, 0, UINT64_C(1) << 40, 512, &what, &t.err), 0);
	assert_null(what);
	t.q->l1[1] = 0;
	assert_int_equal(qcow2_overlap_find(t.q, 0, old, 512, &what, &t.err), 0);
	assert_null(what);
	t.q->flags &= ~(unsigned)IMAGE_WRITE;
	assert_int_equal(close_all(), 0);
}

/* Thousands of tables, all over the file, against a plain list. */
static void test_many_tables(void **state)
{
	enum { N = 4096, CLUSTERS = 1 << 20 };
	static bool used[CLUSTERS];
	const char *what;
	uint64_t *l1 = calloc(N, 8), *plain;
	unsigned seed = 1;

	craft();
	open_as("", IMAGE_WRITE);
	assert_non_null(l1);
	plain = t.q->l1;
	t.q->l1 = l1;
	t.q->h.l1_size = N;
	free(t.q->l1_dirty);
	t.q->l1_dirty = calloc(1, N / 8);
	qcow2_overlap_reset(t.q);
	memset(used, 0, sizeof(used));
	for (unsigned i = 0; i < 5 * N; i++) {
		uint64_t cl, k = i % N, n;
		bool want = false;

		seed = seed * 1103515245u + 12345u;
		cl = 100 + (seed >> 8) % (CLUSTERS - 200);
		if (used[cl])
			continue;
		if (l1[k])
			used[l1[k] >> 16] = false;
		used[cl] = true;
		qcow2_l1_set(t.q, k, cl << 16);
		cl = 100 + (seed >> 4) % (CLUSTERS - 200);
		n = 1 + seed % (i % 2 ? 3 : 90);
		for (uint64_t c = cl; c < cl + n; c++)
			want |= used[c];
		assert_int_equal(qcow2_overlap_find(t.q, 0, cl << 16, n << 16, &what, &t.err),
				 0);
		assert_int_equal(what != NULL, want);
	}
	t.q->l1 = plain;
	free(l1);
	t.q->flags &= ~(unsigned)IMAGE_WRITE;
	assert_int_equal(close_all(), 0);
}

/* ---- corruption that is not an overlap ----------------------------------------------- */

static void test_read_only(void **state)
{
	char c;

	craft();
	set_l2(0, (at(DATA) + 512) | COPIED);
	set_l2(2, (at(DATA + 1) + 512) | COPIED);
	open_as("", 0);
	assert_int_equal(blk_pread(&t.chain->blk, &c, 1, 0, &t.err), -1);
	assert_string_equal(t.told,
			    "qcow2: Image is corrupt: Cluster allocation offset 0x50200 "
			    "unaligned (L2 offset: 0x40000, L2 index: 0); further "
			    "non-fatal corruption events will be suppressed");
	assert_int_equal(blk_pread(&t.chain->blk, &c, 1, 2 * img.cl, &t.err), -1);
	assert_int_equal(t.ntold, 1);
	assert_int_equal(blk_pread(&t.chain->blk, &c, 1, 3 * img.cl, &t.err), 0);
	assert_int_equal(incompat(), 0);
	assert_null(t.q->guard); /* nothing is made for readers */
	assert_int_equal(close_all(), 0);
}

static void test_version_2(void **state)
{
	craft();
	put_be32(img.p + 4, 2);
	memset(img.p + 72, 0, 32);
	set_ref(L1, 0);
	open_as("", IMAGE_WRITE);
	assert_int_equal(write_at(5 * img.cl), -1);
	expect_event("Preventing invalid write on metadata (overlaps with active L1 table)");
	assert_int_equal(incompat(), 0); /* it has no such bit */
	assert_int_equal(write_at(5 * img.cl), -1);
	assert_int_equal(close_all(), -1);
}

static void test_nobody_listens(void **state)
{
	craft();
	set_ref(L1, 0);
	open_as("", IMAGE_WRITE);
	err_notice_to(NULL);
	assert_int_equal(write_at(5 * img.cl), -1);
	assert_non_null(strstr(t.err.text,
			       "qcow2: Image is corrupt: Preventing invalid write on "
			       "metadata (overlaps with active L1 table)"));
	assert_int_equal(incompat(), QCOW2_INCOMPAT_CORRUPT);
	assert_int_equal(close_all(), -1);
}

/* A discard does not punch out what a lie made free. */
static void test_punch(void **state)
{
	uint8_t buf[8];

	craft();
	set_l2(0, at(OLD_L1) | COPIED);
	open_as("pass-discard-request=on", IMAGE_WRITE);
	assert_int_equal(blk_zero(&t.chain->blk, 0, img.cl, BLK_UNMAP, &t.err), 0);
	blk_flush(&t.chain->blk, &t.err);
	assert_int_equal(t.ntold, 1);
	assert_int_equal(blk_pread(t.file, buf, 8, at(OLD_L1), &t.err), 0);
	assert_int_equal(get_be64(buf), at(OLD_L2));
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_templates),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_new_table),
		cmocka_unit_test(test_tables_in_the_wrong_place),
		cmocka_unit_test(test_tables_come_and_go),
		cmocka_unit_test(test_many_tables),
		cmocka_unit_test(test_read_only),
		cmocka_unit_test(test_version_2),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_punch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
