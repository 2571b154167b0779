/* New qcow2 images: options that are refused (the words of qemu-img 7.2.22), growth with
 * preallocation, and what happens where counts or tables are at their end. */
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
#include "lib/chain.h"
#include "lib/io/io.h"
#include "lib/mem.h"

static struct err err;

static void good(int rc)
{
	if (rc)
		fail_msg("%s", err.text);
}

static struct opts *options(const char *text)
{
	struct opts *o = opts_new(&err);

	assert_non_null(o);
	if (*text)
		good(opts_parse(o, text, NULL, &err));
	return o;
}

static const struct {
	const char *opts;
	uint64_t size;
	const char *text; /* NULL: fine */
} cases[] = {
	{"", 0, NULL},
	{"cluster_size=512", UINT64_C(128) << 30, NULL},
	{"cluster_size=512", (UINT64_C(128) << 30) + 1,
	 "The image size is too large for file format 'qcow2' (try using a larger cluster "
	 "size)"},
	{"cluster_size=2M", UINT64_C(1) << 60, NULL},
	{"cluster_size=2M,extended_l2=on", UINT64_C(1) << 59, NULL},
	{"", UINT64_C(9223372036854775295),
	 "Could not resize image: offset(9223372036854775296) exceeds "
	 "maximum(9223372035781033984)"},
	{"cluster_size=1000", 1, "Cluster size must be a power of two between 512 and 2048k"},
	{"cluster_size=4M", 1, "Cluster size must be a power of two between 512 and 2048k"},
	{"refcount_bits=3", 1,
	 "Refcount width must be a power of two and may not exceed 64 bits"},
	{"refcount_bits=128", 1,
	 "Refcount width must be a power of two and may not exceed 64 bits"},
	{"compat=0.10,refcount_bits=8", 1,
	 "Different refcount widths than 16 bits require compatibility level 1.1 or above (use "
	 "version=v3 or greater)"},
	{"compat=0.10,lazy_refcounts=on", 1,
	 "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 "
	 "or greater)"},
	{"compat=v2,extended_l2=on", 1,
	 "Extended L2 entries are only supported with compatibility level 1.1 and above (use "
	 "version=v3 or greater)"},
	{"compat=v2,compression_type=zstd", 1,
	 "Non-zlib compression type is only supported with compatibility level 1.1 and above "
	 "(use version=v3 or greater)"},
	{"compat=v2,data_file=x", 1,
	 "External data files are only supported with compatibility level 1.1 and above (use "
	 "version=v3 or greater)"},
	{"compat=v2,compression_type=zlib,lazy_refcounts=off,refcount_bits=16", 1, NULL},
	{"extended_l2=on,cluster_size=8k", 1,
	 "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes"},
	{"data_file_raw=on", 1, "data-file-raw requires data-file"},
	{"data_file_raw=on,data_file=x,backing_file=y,backing_fmt=raw", 1,
	 "Backing file and data-file-raw cannot be used at the same time"},
	{"backing_fmt=raw", 1, "Backing format cannot be used without backing file"},
	{"preallocation=full,backing_file=y,backing_fmt=raw", 1,
	 "Backing file and preallocation can only be used at the same time if extended_l2 is "
	 "on"},
	{"preallocation=metadata,extended_l2=on,backing_file=y,backing_fmt=raw", 1, NULL},
	{"preallocation=bogus", 1, "Parameter 'preallocation' does not accept value 'bogus'"},
	{"compat=9", 1, "Parameter 'version' does not accept value '9'"},
	{"compression_type=lzo", 1, "Parameter 'compression-type' does not accept value 'lzo'"},
	{"encryption=off", 1, NULL},
	{"encryption=on", 1, "Parameter 'encrypt.key-secret' is required for cipher"},
	{"encrypt.iter-time=3", 1, "Parameter 'encrypt.format' is missing"},
	{"encrypt.format=x", 1, "Parameter 'format' does not accept value 'x'"},
};

static void test_options(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct opts *o = options(cases[i].opts);
		uint64_t size = cases[i].size;
		int rc = qcow2_create_check(o, &size, &err);

		if (cases[i].text) {
			assert_int_equal(rc, -1);
			assert_string_equal(err.text, cases[i].text);
		} else {
			good(rc);
			assert_int_equal(size, round_up(cases[i].size, 512));
		}
		opts_free(o);
	}
}

/* ---- images ----------------------------------------------------------------------- */

static struct blk *file;

static struct chain *make(const char *text, uint64_t size)
{
	struct opts *o = options(text);
	struct create c = {.opts = o, .size = size};
	struct image *image = NULL;
	struct chain *chain;

	file = io_mem_new("", 0, &err);
	assert_non_null(file);
	c.lower = file;
	good(qcow2_create(&c, &err));
	opts_free(o);
	good(qcow2_open(file, NULL, IMAGE_WRITE, &image, &err));
	chain = chain_new(&image->blk, &err);
	assert_non_null(chain);
	return chain;
}

static void hear(void *arg, const char *line)
{
	print_error("%s\n", line);
}

/* What is in the file now is sound, but for `leaks`. */
static void check(struct chain *chain, uint64_t leaks)
{
	struct check c = {.report = hear};
	struct image *image = NULL;
	const void *bytes;
	struct blk *copy;
	size_t n;

	good(blk_flush(&chain->blk, &err));
	/* counts that were freed behind the tables are written with the next flush */
	good(blk_flush(&chain->blk, &err));
	bytes = io_mem_data(file, &n);
	copy = io_mem_new(bytes, n, &err);
	assert_non_null(copy);
	good(qcow2_open(copy, NULL, IMAGE_CHECK, &image, &err));
	good(qcow2_check(image, &c, &err));
	assert_int_equal(c.errors, 0);
	assert_int_equal(c.check_errors, 0);
	assert_int_equal(c.leaks, leaks);
	good(blk_close(&image->blk, &err));
}

static void expect_bytes(struct chain *chain, uint64_t off, size_t n, uint8_t byte)
{
	AUTO_FREE uint8_t *buf = malloc(n);

	assert_non_null(buf);
	good(blk_pread(&chain->blk, buf, n, off, &err));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(buf[i], byte);
}

static void write_bytes(struct chain *chain, uint64_t off, size_t n, uint8_t byte)
{
	AUTO_FREE uint8_t *buf = malloc(n);

	assert_non_null(buf);
	memset(buf, byte, n);
	good(blk_pwrite(&chain->blk, buf, n, off, 0, &err));
}

static void test_grow(void **state)
{
	static const char *const kinds[] = {"cluster_size=512", "cluster_size=4k,compat=0.10",
					    "cluster_size=16k,extended_l2=on",
					    "cluster_size=512,refcount_bits=64"};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct chain *chain = make(kinds[i], 100 * 512);
		uint64_t size = 100 * 512;

		write_bytes(chain, 50, size - 100, 1);
		for (int p = PREALLOC_OFF; p <= PREALLOC_FULL; p++) {
			size += 1234 * 512;
			good(chain_resize(chain, size, (enum blk_prealloc)p, &err));
			assert_int_equal(blk_size(&chain->blk), size);
			check(chain, 0);
			expect_bytes(chain, size - 1234 * 512, 1234 * 512, 0);
			write_bytes(chain, size - 700 * 512, 500, 2);
			expect_bytes(chain, size - 701 * 512, 512, 0);
			write_bytes(chain, size - 700 * 512, 500, 0);
		}
		expect_bytes(chain, 50, 100 * 512 - 100, 1);
		expect_bytes(chain, 100 * 512, size - 100 * 512, 0);
		check(chain, 0);
		good(chain_resize(chain, size - 512, PREALLOC_OFF, &err));
		check(chain, 0);
		assert_int_equal(chain_resize(chain, size + 1, PREALLOC_OFF, &err), -1);
		assert_string_equal(err.text, "The new size must be a multiple of 512");
		good(blk_close(&chain->blk, &err));
	}
}

/* The refcount table outgrows its cluster more than once. */
static void test_reftable(void **state)
{
	struct chain *chain = make("cluster_size=512,refcount_bits=64", 12 << 20);
	struct qcow2 *q = qcow2_of(chain->layer[0]);

	for (uint64_t off = 0; off < 40 * 300 * 1024; off += 300 * 1024)
		write_bytes(chain, off, 300 * 1024 - 700, 7);
	assert_true(q->h.reftable_cl > 2);
	check(chain, 0);
	expect_bytes(chain, 30 * 300 * 1024, 300 * 1024 - 700, 7);
	good(blk_close(&chain->blk, &err));
}

/* A count that cannot become larger is an error, not a small number. */
static void test_count_overflow(void **state)
{
	struct chain *chain = make("refcount_bits=1", 1 << 20);
	struct qcow2 *q = qcow2_of(chain->layer[0]);
	uint64_t refs;

	write_bytes(chain, 0, 10, 1);
	assert_int_equal(qcow2_ref_change(q, 3, 1, true, &err), -1);
	assert_string_equal(err.text,
			    "The refcount of the cluster at 0x30000 would exceed 1, which is "
			    "the most that 1 refcount bits hold");
	good(qcow2_ref_of(q, 3, &refs, &err));
	assert_int_equal(refs, 1);
	good(blk_close(&chain->blk, &err));
}

/* Counts of all widths, neighbours untouched. */
static void test_widths(void **state)
{
	uint8_t block[64];

	for (unsigned order = 0; order <= 6; order++) {
		uint64_t max = order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << order)) - 1;

		assert_int_equal(qcow2_ref_max(order), max);
		memset(block, 0xff, sizeof(block));
		qcow2_ref_put(order, block, 3, 0);
		assert_int_equal(qcow2_ref_get(order, block, 3), 0);
		assert_int_equal(qcow2_ref_get(order, block, 2), max);
		assert_int_equal(qcow2_ref_get(order, block, 4), max);
		qcow2_ref_put(order, block, 3, max / 2 + 1);
		assert_int_equal(qcow2_ref_get(order, block, 3), max / 2 + 1);
	}
	memset(block, 0, sizeof(block));
	qcow2_ref_put(0, block, 1, 1); /* the second lowest bit of the first byte */
	assert_int_equal(block[0], 2);
}

/* What was freed is used before the file grows. */
static void test_reclaim(void **state)
{
	struct chain *chain = make("cluster_size=64k", 8 << 20);
	uint64_t size;

	write_bytes(chain, 0, 8 << 20, 1);
	good(blk_flush(&chain->blk, &err));
	size = blk_size(file);
	good(blk_zero(&chain->blk, 0, 8 << 20, BLK_UNMAP, &err));
	write_bytes(chain, 0, 8 << 20, 2);
	check(chain, 0);
	assert_true(blk_size(file) <= size + 65536);
	expect_bytes(chain, 0, 8 << 20, 2);
	good(blk_close(&chain->blk, &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),	 cmocka_unit_test(test_grow),
		cmocka_unit_test(test_reftable), cmocka_unit_test(test_count_overflow),
		cmocka_unit_test(test_widths),	 cmocka_unit_test(test_reclaim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
