/* vmdk: the golden images of tests/data/vmdk, every limit of the header, descriptors. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/vmdk/vmdk.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/io/io.h"
#include "lib/mem.h"

#define DISK  (43u * 512)
#define GRAIN 4096u

static uint8_t *load(const char *name, size_t *n)
{
	char path[200];
	uint8_t *data = malloc(1 << 16);
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/vmdk/%s", name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_non_null(data);
	*n = fread(data, 1, 1 << 16, f);
	fclose(f);
	return data;
}

static struct image *open_bytes(const void *data, size_t n, unsigned flags, struct err *err)
{
	struct blk *file = io_mem_new(data, n, err);
	struct image *image = NULL;
	struct err later;

	assert_non_null(file);
	if (format_vmdk.open(file, NULL, flags, &image, err))
		blk_close(file, &later);
	return image;
}

static struct image *open_golden(const char *name, unsigned flags)
{
	struct err err = {0};
	size_t n;
	AUTO_FREE uint8_t *data = load(name, &n);
	struct image *image = open_bytes(data, n, flags, &err);

	if (!image)
		fail_msg("%s", err.text);
	return image;
}

static void shows(struct chain *chain, const uint8_t *grains)
{
	uint8_t buf[DISK];
	struct err err;

	assert_int_equal(blk_size(&chain->blk), DISK);
	if (blk_pread(&chain->blk, buf, DISK, 0, &err))
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < DISK; i++)
		assert_int_equal(buf[i], grains[i / GRAIN]);
}

static struct chain *chain_of(struct image *image)
{
	struct err err;
	struct chain *chain = chain_new(&image->blk, &err);

	assert_non_null(chain);
	return chain;
}

static void test_golden(void **state)
{
	static const uint8_t sparse[] = {0x10, 0, 0, 0, 0x44, 0},
			     both[] = {0x10, 0x22, 0, 0, 0, 0},
			     stream[] = {0, 0x66, 0, 0, 0, 0x77};
	struct chain *chain = chain_of(open_golden("sparse.vmdk", 0));
	struct image *below, *image;
	struct err err;

	shows(chain, sparse);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
	chain = chain_of(open_golden("stream.vmdk", 0));
	shows(chain, stream);
	assert_int_equal(blk_close(&chain->blk, &err), 0);

	image = open_golden("zeroed.vmdk", 0);
	below = open_golden("sparse.vmdk", 0);
	assert_string_equal(image->backing, "sparse.vmdk");
	assert_string_equal(image->backing_format, "vmdk");
	/* the CID does not fit */
	assert_int_not_equal(format_vmdk.adopt(image, below, &err), 0);
	((struct vmdk *)below)->desc.cid = 0x12345678;
	assert_int_equal(format_vmdk.adopt(image, below, &err), 0);
	assert_int_not_equal(format_vmdk.adopt(below, image, &err), 0);
	chain = chain_of(image);
	assert_int_equal(chain_append(chain, &below->blk, &err), 0);
	shows(chain, both);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
}

/* Both copies of the table, and the CID. */
static void test_write(void **state)
{
	static const uint8_t want[] = {0x10, 0, 0, 0x99, 0x44, 0};
	struct chain *chain = chain_of(open_golden("sparse.vmdk", IMAGE_WRITE));
	struct vmdk *v = (struct vmdk *)chain->layer[0];
	struct vmdk_extent *x = &v->extent[0];
	uint64_t first, second;
	uint8_t buf[GRAIN];
	struct check c = {0};
	struct err err;

	memset(buf, 0x99, sizeof(buf));
	assert_int_equal(blk_pwrite(&chain->blk, buf, GRAIN, 3 * GRAIN, 0, &err), 0);
	shows(chain, want);
	assert_int_equal(vmdk_sparse_get(x, x->gd, 3, &first, &err), 0);
	assert_int_equal(vmdk_sparse_get(x, x->rgd, 3, &second, &err), 0);
	assert_int_equal(first, second);
	assert_true(first > 1);
	assert_int_not_equal(v->desc.cid, 0x0badcafe);
	assert_int_equal(blk_flush(&chain->blk, &err), 0);
	assert_int_equal(format_vmdk.check(&v->image, &c, &err), 0);
	assert_int_equal(c.errors + c.leaks, 0);
	assert_int_equal(blk_close(&chain->blk, &err), 0);
}

static void test_stream_with_data_is_read_only(void **state)
{
	size_t n;
	AUTO_FREE uint8_t *data = load("stream.vmdk", &n);
	struct err err = {0};

	assert_null(open_bytes(data, n, IMAGE_WRITE, &err));
	assert_int_equal(err.num, EACCES);
	/* without its last sector there is no footer */
	assert_null(open_bytes(data, n - 512, 0, &err));
	assert_non_null(strstr(err.text, "cut off"));
}

static void test_limits(void **state)
{
	static const struct {
		const char *name;
		struct vmdk_header h;
		const char *why;
	} t[] = {
		{"magic", {.magic = 5}, "not in VMDK format"},
		{"version 0", {.version = 0}, "version 0"},
		{"version 4", {.version = 4}, "version 4"},
		{"compression", {.compression = 2}, "method 2"},
		{"grain 0", {.grain = 0}, "L1 entry size is invalid"},
		{"grain 4", {.grain = 4}, "granularity"},
		{"grain 12", {.grain = 12}, "granularity"},
		{"grain 8192", {.grain = 8192}, "granularity"},
		{"gtes 0", {.gtes = 0}, "L1 entry size is invalid"},
		{"gtes 513", {.gtes = 513}, "L2 table size too big"},
		{"capacity", {.capacity = INT64_MAX / 512 + 1}, "L1 size too big"},
		{"directory", {.capacity = (1ull << 27) * 512 * 128 + 1}, "L1 size too big"},
		{"gd far", {.gd_at = 2048}, "beyond the end"},
		{"gd wraps", {.gd_at = 1ull << 55}, "beyond the end"},
		{"gd 0", {.gd_at = 0}, "overlaps the header"},
		{"gd at end", {.gd_at = UINT64_MAX}, "cut off"},
		{"rgd far", {.rgd_at = 2048}, "redundant grain directory"},
	};
	const struct vmdk_header good = {.magic = VMDK_MAGIC,
					 .version = 1,
					 .flags = VMDK_F_RGD,
					 .capacity = 65536,
					 .grain = 128,
					 .gtes = 512,
					 .rgd_at = 21,
					 .gd_at = 26};
	struct err err;

	assert_int_equal(vmdk_header_check(&good, 1 << 20, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct vmdk_header h = good;

		/* only the member that the row names */
		if (strstr(t[i].name, "magic"))
			h.magic = t[i].h.magic;
		else if (strstr(t[i].name, "version"))
			h.version = t[i].h.version;
		else if (strstr(t[i].name, "compression"))
			h.compression = t[i].h.compression;
		else if (strstr(t[i].name, "grain"))
			h.grain = t[i].h.grain;
		else if (strstr(t[i].name, "gtes"))
			h.gtes = t[i].h.gtes;
		else if (strstr(t[i].name, "rgd"))
			h.rgd_at = t[i].h.rgd_at;
		else if (strstr(t[i].name, "gd"))
			h.gd_at = t[i].h.gd_at;
		else
			h.capacity = t[i].h.capacity;
		assert_int_not_equal(vmdk_header_check(&h, 1 << 20, &err), 0);
		if (!strstr(err.text, t[i].why))
			fail_msg("%s: %s", t[i].name, err.text);
	}
}

static int parse(const char *text, struct vmdk_desc *d, struct err *err)
{
	return vmdk_desc_parse(d, strdup(text), err);
}

static void test_descriptor(void **state)
{
	static const char *const bad[] = {
		"version=1\n",
		"createType=\"x",
		"createType=\"x\"\nRW 5 FLAT \"a\"\n",
		"createType=\"x\"\nRW 5 FLAT \"a\" -1\n",
		"createType=\"x\"\nRW 5 FLAT \"\" 0\n",
		"createType=\"x\"\nRW 5 FLAT a 0\n",
		"createType=\"x\"\nRW 5 VMFS \"a\" 0\n",
		"createType=\"x\"\nRW 5 OTHER \"a\"\n",
		"createType=\"x\"\nRW 9223372036854775807 SPARSE \"a\"\n",
		"createType=\"x\"\nRW 5 FLAT \"a\" 99999999999999999999\n",
	};
	struct vmdk_desc d;
	size_t at, digits;
	struct err err;

	assert_int_equal(parse("# c\nversion=1\nCID=12ab\nparentCID=0000000f\n"
			       "createType=\"custom\"\nparentFileNameHint=\"../p q\"\n"
			       "#RW 1 ZERO\nRW 5 FLAT \"a b\" 7\r\nRDONLY 6 ZERO\n"
			       "NOACCESS 7 SPARSE \"c\"\nXX 8 ZERO\nRW 0 ZERO\nRW -3 ZERO\n",
			       &d, &err),
			 0);
	assert_int_equal(d.cid, 0x12ab);
	assert_int_equal(d.parent_cid, 15);
	assert_string_equal(d.type, "custom");
	assert_string_equal(d.parent, "../p q");
	assert_int_equal(d.n, 3);
	assert_string_equal(d.line[0].name, "a b");
	assert_int_equal(d.line[0].offset, 7);
	assert_int_equal(d.line[0].access, VMDK_RW);
	assert_int_equal(d.line[1].access, VMDK_RDONLY);
	assert_null(d.line[1].name);
	assert_int_equal(d.line[2].sectors, 7);
	assert_true(vmdk_desc_cid(d.text, &at, &digits));
	assert_int_equal(at, 18);
	assert_int_equal(digits, 4);
	vmdk_desc_free(&d);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_not_equal(parse(bad[i], &d, &err), 0);
		vmdk_desc_free(&d);
	}
}

static void test_probe(void **state)
{
	static const char *const yes[] = {"version=1\n", "# x\n#\n \nversion=2\n",
					  "version=3\r\n"},
				 *const no[] = {"version=4\n",	  "# x",
						" version=1\n",	  "",
						"#\nVersion=1\n", "version=1"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_true(vmdk_desc_probe((const uint8_t *)yes[i], strlen(yes[i])));
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(vmdk_desc_probe((const uint8_t *)no[i], strlen(no[i])));
}

/* Whatever a grain is: packed, in its wrapping, it comes back. */
static void test_packed(void **state)
{
	struct blk *file;
	struct opts *opts;
	struct err err;
	struct create c = {.size = 1 << 20};
	struct image *image = NULL;
	AUTO_FREE uint8_t *in = malloc(65536), *out = malloc(65536 + 1024);
	uint32_t x = 1;

	opts = opts_new(&err);
	file = io_mem_new(NULL, 0, &err);
	assert_true(in && out && opts && file);
	assert_int_equal(opts_set(opts, "subformat", "streamOptimized", &err), 0);
	c.opts = opts;
	c.lower = file;
	assert_int_equal(vmdk_create(&c, &err), 0);
	opts_free(opts);
	assert_int_equal(format_vmdk.open(file, NULL, IMAGE_WRITE, &image, &err), 0);
	for (int kind = 0; kind < 3; kind++) {
		struct blk *blk = &image->blk;
		uint8_t *stream = out + blk->pack_head;
		size_t n = 65536 + blk->pack_room - blk->pack_head, used, len;
		uint8_t *back = malloc(65536);

		for (unsigned i = 0; i < 65536; i++) {
			x = x * 1664525 + 1013904223;
			in[i] = kind == 0   ? 0
				: kind == 1 ? (uint8_t)(x >> 24)
					    : (uint8_t)(i / 99);
		}
		assert_int_equal(blk->ops->pack(blk, in, 65536, stream, &n, &err), 0);
		assert_in_range(n, 1, 65536 + 100);
		len = n;
		assert_int_equal(blk->ops->wrap(blk, 65536, in, out, &len, &err), 0);
		assert_int_equal(len % 512, 0);
		assert_in_range(len, n + 18, n + 18 + 511);
		assert_int_equal(get_le64(out), 128);
		assert_int_equal(get_le32(out + 8), n + 6);
		assert_non_null(back);
		assert_int_equal(blk->ops->unpack(blk, stream, n + 4, back, &used, &err), 0);
		assert_int_equal(used, n);
		assert_memory_equal(in, back, 65536);
		free(back);
	}
	assert_int_equal(blk_close(&image->blk, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_stream_with_data_is_read_only),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_descriptor),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
