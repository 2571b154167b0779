/* The options of an open: what is refused, and what each does. */
#include <errno.h>

#include "lib/chain.h"
#include "lib/filter/pass.h"
#include "lib/mem.h"
#include "tests/formats/qcow2/craft.h"

static struct err err;

static struct opts *parse(const char *text)
{
	struct opts *o = opts_new(&err);

	assert_non_null(o);
	assert_int_equal(opts_parse(o, text, NULL, &err), 0);
	return o;
}

static int tune(const char *text, uint32_t version, uint64_t size, struct qcow2_tuning *t)
{
	struct qcow2_header h = {
		.version = version,
		.cluster_bits = 16,
		.size = size,
	};
	struct opts *o = parse(text);
	int rc;

	/* every key has its row */
	assert_int_equal(opts_check(o, (const struct opt *[]){qcow2_open_opts, NULL}, &err), 0);
	rc = qcow2_tuning(o, &h, true, t, &err);
	opts_free(o);
	return rc;
}

static void refused(const char *text, const char *want)
{
	struct qcow2_tuning t;

	assert_int_equal(tune(text, 3, 1 << 30, &t), -1);
	assert_string_equal(err.text, want);
}

#define ENTRY_SIZE                                                                             \
	"L2 cache entry size must be a power of two between 512 and the cluster size (65536)"
#define OVERLAP_VALUE                                                                          \
	"' for qcow2 option 'overlap-check'. Allowed are any of the following: none, "         \
	"constant, cached, all"

static void test_refused(void **state)
{
	struct qcow2_tuning t;

	refused("cache-size=1M,l2-cache-size=1,refcount-cache-size=1",
		"cache-size, l2-cache-size and refcount-cache-size may not be set at the same "
		"time");
	refused("cache-size=1M,l2-cache-size=1048577",
		"l2-cache-size may not exceed cache-size");
	refused("cache-size=1M,refcount-cache-size=2M",
		"refcount-cache-size may not exceed cache-size");
	refused("l2-cache-entry-size=0", ENTRY_SIZE);
	refused("l2-cache-entry-size=256", ENTRY_SIZE);
	refused("l2-cache-entry-size=3k", ENTRY_SIZE);
	refused("l2-cache-entry-size=128k", ENTRY_SIZE);
	refused("refcount-cache-size=128T", "Refcount cache size too big");
	refused("cache-size=1E", "Refcount cache size too big");
	refused("cache-clean-interval=4294967296", "Cache clean interval too big");
	refused("cache-clean-interval=-1", "Cache clean interval too big");
	refused("cache-clean-interval=1k", "Parameter 'cache-clean-interval' expects a number");
	refused("lazy-refcounts=1", "Parameter 'lazy-refcounts' expects 'on' or 'off'");
	refused("pass-discard-other=1", "Parameter 'pass-discard-other' expects 'on' or 'off'");
	refused("overlap-check=few", "Unsupported value 'few" OVERLAP_VALUE);
	refused("overlap-check.template=", "Unsupported value '" OVERLAP_VALUE);
	refused("overlap-check=all,overlap-check.template=none",
		"Conflicting values for qcow2 options 'overlap-check' ('all') and "
		"'overlap-check.template' ('none')");
	refused("overlap-check.active-l1=few",
		"Parameter 'overlap-check.active-l1' expects 'on' or 'off'");
	assert_int_equal(tune("lazy-refcounts=on", 2, 1, &t), -1);
	assert_string_equal(err.text, "Lazy refcounts require a qcow2 image with at least qemu "
				      "1.1 compatibility level");
	assert_int_equal(tune("discard-no-unref=on", 2, 1, &t), -1);
}

static void test_taken(void **state)
{
	struct qcow2_tuning t;

	assert_int_equal(tune("", 3, 1 << 30, &t), 0);
	assert_int_equal(t.overlap, QCOW2_META_CACHED);
	assert_int_equal(t.pass_request, QCOW2_PASS_AS_DISCARD);
	assert_int_equal(t.pass_snapshot, QCOW2_PASS_AS_DISCARD);
	assert_int_equal(t.pass_other, QCOW2_PASS_OFF);
	assert_int_equal(tune("l2-cache-size=0,refcount-cache-size=0", 3, 1 << 30, &t), 0);
	assert_int_equal(tune("cache-size=0", 3, 1 << 30, &t), 0);
	/* the L2 tables get what they need, 128 KiB; then the refcount blocks */
	assert_int_equal(tune("cache-size=1M", 3, 1 << 30, &t), 0);
	assert_int_equal(t.l2_cache, 128 << 10);
	assert_int_equal(t.ref_cache, (1 << 20) - (128 << 10));
	/* four refcount blocks at least */
	assert_int_equal(tune("cache-size=320k", 3, UINT64_C(1) << 40, &t), 0);
	assert_int_equal(t.l2_cache, 64 << 10);
	assert_int_equal(tune("cache-size=1M,l2-cache-size=1M", 3, 1 << 30, &t), 0);
	assert_int_equal(t.ref_cache, 0);
	assert_int_equal(tune("cache-size=1M,refcount-cache-size=256k", 3, 1 << 30, &t), 0);
	assert_int_equal(t.l2_cache, 768 << 10);
	assert_int_equal(tune("cache-clean-interval=4294967295", 3, 1, &t), 0);
	assert_true(t.clean == UINT32_MAX);
	assert_int_equal(tune("overlap-check=all,overlap-check.template=all,"
			      "overlap-check.active-l1=off",
			      3, 1, &t),
			 0);
	assert_int_equal(t.overlap, QCOW2_META_ALL & ~QCOW2_META_ACTIVE_L1);
	assert_int_equal(
		tune("overlap-check.template=constant,overlap-check.inactive-l2=on", 3, 1, &t),
		0);
	assert_int_equal(t.overlap, QCOW2_META_CONSTANT | QCOW2_META_INACTIVE_L2);
}

/* ---- discards ---------------------------------------------------------------------------- */

/* Guest clusters 2 and 3 are discarded, with those options. */
static void discard(const char *options, unsigned caps, bool kept, bool punched)
{
	struct opts *o = parse(options);
	struct blk *file, *lower;
	struct image *image;
	struct chain *chain;
	uint64_t entry, refs;
	uint8_t *table, buf[8];

	make();
	memset(img.p + at(DATA), 0x55, 3 * img.cl);
	file = io_mem_new(img.p, (size_t)img.size * img.cl, &err);
	lower = pass_borrow(file, &err);
	assert_non_null(lower);
	assert_int_equal(qcow2_open(lower, o, IMAGE_WRITE, &image, &err), 0);
	opts_free(o);
	image->blk.caps |= caps;
	chain = chain_new(&image->blk, &err);
	assert_non_null(chain);
	assert_int_equal(
		blk_zero(&chain->blk, 2 * img.cl, 2 * img.cl, BLK_UNMAP | BLK_ADVISE, &err), 0);
	assert_int_equal(blk_flush(&chain->blk, &err), 0);
	assert_int_equal(qcow2_l2_get((struct qcow2 *)image, 0, &table, &err), 0);
	entry = get_be64(table + 8 * 3);
	cache_put(((struct qcow2 *)image)->l2_cache, table);
	assert_int_equal(qcow2_ref_of((struct qcow2 *)image, DATA + 2, &refs, &err), 0);
	if (caps & BLK_NO_UNMAP)
		assert_int_equal(entry, at(DATA + 2) | COPIED); /* ignored */
	else
		assert_int_equal(entry, kept ? at(DATA + 2) | COPIED | 1 : 1);
	assert_int_equal(refs, kept);
	assert_int_equal(blk_pread(file, buf, 8, at(DATA + 2) + 5000, &err), 0);
	assert_int_equal(buf[0], punched ? 0 : 0x55);
	assert_int_equal(blk_pread(file, buf, 8, at(DATA) + 5000, &err), 0);
	assert_int_equal(buf[0], 0x55);
	assert_int_equal(blk_pread(&chain->blk, buf, 8, 3 * img.cl, &err), 0);
	assert_int_equal(buf[0], caps & BLK_NO_UNMAP ? 0x55 : 0);
	/* what was discarded is written again, in its old place where that was kept */
	assert_int_equal(blk_pwrite(&chain->blk, "x", 1, 3 * img.cl + 5000, 0, &err), 0);
	assert_int_equal(blk_flush(&chain->blk, &err), 0);
	assert_int_equal(blk_pread(&chain->blk, buf, 2, 3 * img.cl + 4999, &err), 0);
	assert_int_equal(buf[1], 'x');
	assert_int_equal(buf[0], caps & BLK_NO_UNMAP ? 0x55 : 0);
	if (kept)
		assert_int_equal(blk_size(file), at(END));
	assert_int_equal(blk_close(&chain->blk, &err), 0);
	blk_close(file, &err);
}

static void test_discard(void **state)
{
	discard("", 0, false, true);
	discard("", BLK_NO_UNMAP, true, false);
	discard("pass-discard-request=off", 0, false, false);
	discard("pass-discard-request=on", 0, false, true);
	discard("pass-discard-request=on", BLK_NO_UNMAP, true, false);
	discard("pass-discard-snapshot=off,pass-discard-other=off", 0, false, true);
	discard("discard-no-unref=on", 0, true, true);
	discard("discard-no-unref=on,pass-discard-request=off", 0, true, false);
}

/* With a snapshot of the same cluster, no-unref must leave its data alone. */
static void test_no_unref_shared(void **state)
{
	struct opts *o = parse("discard-no-unref=on");
	struct blk *file, *lower;
	struct image *image;
	struct chain *chain;
	uint8_t c;

	make();
	memset(img.p + at(DATA), 0x55, 3 * img.cl);
	set_ref(DATA + 2, 2);
	set_l2(3, at(DATA + 2));
	file = io_mem_new(img.p, (size_t)img.size * img.cl, &err);
	lower = pass_borrow(file, &err);
	assert_non_null(lower);
	assert_int_equal(qcow2_open(lower, o, IMAGE_WRITE, &image, &err), 0);
	opts_free(o);
	chain = chain_new(&image->blk, &err);
	assert_non_null(chain);
	assert_int_equal(
		blk_zero(&chain->blk, 3 * img.cl, img.cl, BLK_UNMAP | BLK_ADVISE, &err), 0);
	assert_int_equal(blk_flush(&chain->blk, &err), 0);
	assert_int_equal(blk_pread(file, &c, 1, at(DATA + 2), &err), 0);
	assert_int_equal(c, 0x55);
	assert_int_equal(blk_pread(&chain->blk, &c, 1, 3 * img.cl, &err), 0);
	assert_int_equal(c, 0);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
	blk_close(file, &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_discard),
		cmocka_unit_test(test_no_unref_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
