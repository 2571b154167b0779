/* The numbers are those of qemu-img measure 7.2.22 -O qcow2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow2/qcow2.h"
#include "lib/chain.h"
#include "lib/mem.h"

static struct measure m;
static struct err err;

static int measure(uint64_t size, const char *text, struct blk *src)
{
	struct opts *o = opts_new(&err);
	int rc;

	assert_non_null(o);
	assert_int_equal(opts_parse(o, text, NULL, &err), 0);
	rc = qcow2_measure(o, size, src, &m, &err);
	opts_free(o);
	return rc;
}

static void test_sizes(void **state)
{
	static const struct {
		uint64_t size;
		const char *opts;
		uint64_t required, full;
	} t[] = {
		{0, "", 196608, 196608},
		{1, "", 327680, 393216},
		{512, "", 327680, 393216},
		{1 << 20, "", 327680, 1376256},
		{UINT64_C(10) << 30, "", 1900544, 10739318784},
		{UINT64_C(1) << 40, "", 168034304, 1099679662080},
		{UINT64_C(1099511628287), "", 168099840, 1099679793152},
		{UINT64_C(64) << 40, "", 10739253248, 70379483430912},
		{0, "cluster_size=512", 1536, 1536},
		{1, "cluster_size=2M", 10485760, 12582912},
		{UINT64_C(10) << 30, "cluster_size=512", 213841408, 10951259648},
		{UINT64_C(10) << 30, "refcount_bits=1", 1572864, 10738991104},
		{UINT64_C(10) << 30, "refcount_bits=64", 2883584, 10740301824},
		{UINT64_C(10) << 30, "extended_l2=on", 3211264, 10740629504},
		{UINT64_C(10) << 30, "extended_l2=on,cluster_size=16k", 11862016, 10749280256},
		{UINT64_C(10) << 30, "preallocation=falloc", 10739318784, 10739318784},
		{UINT64_C(10) << 30, "preallocation=metadata", 1900544, 10739318784},
		{UINT64_C(1) << 61, "cluster_size=2M", 10995174998016, 2305854004388691968},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(measure(t[i].size, t[i].opts, NULL), 0);
		assert_int_equal(m.required, t[i].required);
		assert_int_equal(m.fully_allocated, t[i].full);
		assert_false(m.has_bitmaps);
	}
}

static void test_errors(void **state)
{
	static const struct {
		uint64_t size;
		const char *opts, *text;
	} t[] = {
		{1, "cluster_size=1000",
		 "Cluster size must be a power of two between 512 and 2048k"},
		{1, "cluster_size=4M",
		 "Cluster size must be a power of two between 512 and 2048k"},
		{1, "cluster_size=4k,extended_l2=on",
		 "Extended L2 entries are only supported with cluster sizes of at least 16384 "
		 "bytes"},
		{1, "refcount_bits=3",
		 "Refcount width must be a power of two and may not exceed 64 bits"},
		{1, "refcount_bits=128",
		 "Refcount width must be a power of two and may not exceed 64 bits"},
		{1, "refcount_bits=8,compat=0.10",
		 "Different refcount widths than 16 bits require compatibility level 1.1 or "
		 "above (use compat=1.1 or greater)"},
		{1, "compat=9", "Invalid compatibility level: '9'"},
		{1, "preallocation=foo", "invalid parameter value: foo"},
		{UINT64_C(64) << 40, "cluster_size=512",
		 "The image size is too large (try using a larger cluster size)"},
		{(UINT64_C(1) << 61) + 1, "cluster_size=2M",
		 "The image size is too large (try using a larger cluster size)"},
		{UINT64_C(1) << 63, "",
		 "The image size is too large (try using a larger cluster size)"},
		{UINT64_MAX, "cluster_size=2M",
		 "The image size is too large (try using a larger cluster size)"},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(measure(t[i].size, t[i].opts, NULL), -1);
		assert_string_equal(err.text, t[i].text);
	}
}

/* ---- a source with data where `from` and `to` say ---------------------------------- */

static const uint64_t *runs; /* pairs, ascending; the last is 0, 0 */
static unsigned run_flags;

static int runs_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *e)
{
	*out = (struct extent){.off = off, .len = len, .flags = EXT_ZERO};
	for (const uint64_t *r = runs; r[1]; r += 2) {
		if (off >= r[1])
			continue;
		if (off < r[0]) {
			out->len = MIN(len, r[0] - off);
			return 0;
		}
		out->len = MIN(len, r[1] - off);
		out->flags = run_flags;
		return 0;
	}
	return 0;
}

static const struct blk_ops runs_ops = {.name = "runs", .extent = runs_extent};

static uint64_t measure_runs(const uint64_t *r, unsigned flags, uint64_t size, const char *opts)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	struct chain *chain;

	assert_non_null(blk);
	runs = r;
	run_flags = flags;
	assert_int_equal(blk_init(blk, &runs_ops, "runs", &err), 0);
	blk->size = size;
	chain = chain_new(blk, &err);
	assert_non_null(chain);
	assert_int_equal(measure(0, opts, &chain->blk), 0);
	assert_false(m.has_bitmaps);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
	return m.required;
}

#define KIB UINT64_C(1024)

static void test_source(void **state)
{
	static const uint64_t none[] = {0, 0};
	static const uint64_t one[] = {0, 4 * KIB, 8 * KIB, 12 * KIB, 32 * KIB, 36 * KIB, 0, 0};
	static const uint64_t two[] = {0, 4 * KIB, 60 * KIB, 68 * KIB, 0, 0};
	static const uint64_t tail[] = {64 * KIB, 70000, 0, 0};
	static const uint64_t all[] = {0, 1024 * KIB, 0, 0};

	assert_int_equal(measure_runs(none, EXT_DATA, 1 << 20, ""), 327680);
	assert_int_equal(measure_runs(one, EXT_DATA, 1 << 20, ""), 393216);
	assert_int_equal(measure_runs(two, EXT_DATA, 1 << 20, ""), 458752);
	assert_int_equal(measure_runs(tail, EXT_DATA, 70000, ""), 393216);
	assert_int_equal(m.fully_allocated, 458752);
	assert_int_equal(measure_runs(all, EXT_DATA, 1 << 20, ""), 1376256);
	assert_int_equal(measure_runs(all, EXT_DATA | EXT_PACKED, 1 << 20, ""), 1376256);
	assert_int_equal(measure_runs(all, EXT_DATA | EXT_ZERO, 1 << 20, ""), 327680);
	assert_int_equal(measure_runs(all, EXT_ABSENT, 1 << 20, ""), 327680);
	assert_int_equal(measure_runs(one, EXT_DATA, 1 << 20, "preallocation=full"), 1376256);
	assert_int_equal(measure_runs(one, EXT_DATA, 1 << 20, "backing_file=x"), 1376256);
	assert_int_equal(measure_runs(none, EXT_DATA, 0, ""), 196608);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
