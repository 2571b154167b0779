/* qcow2 images made by hand, and check called on them. For the tests of check only. */
#ifndef TESTS_FORMATS_QCOW2_CRAFT_H
#define TESTS_FORMATS_QCOW2_CRAFT_H

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

static inline void put(unsigned cl, unsigned at, uint64_t v)
{
	put_be64(img.p + cl * img.cl + at * 8, v);
}

static inline void set_l2(unsigned at, uint64_t v)
{
	put_be64(img.p + L2 * img.cl + at * img.entry, v);
}

static inline void set_ref(unsigned cl, uint64_t v)
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

static inline uint64_t at(unsigned cl)
{
	return (uint64_t)cl << img.bits;
}

static inline void make_as(unsigned bits, unsigned order, uint64_t incompat)
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

static inline void make(void)
{
	make_as(16, 4, 0);
}

static inline void hear(void *arg, const char *line)
{
	size_t n = strlen(res.text);

	snprintf(res.text + n, sizeof(res.text) - n, "%s\n", line);
}

static inline void check_blk(struct blk *file)
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

static inline void check(void)
{
	struct err err;
	struct blk *file = io_mem_new(img.p, (size_t)img.size * img.cl, &err);

	assert_non_null(file);
	check_blk(file);
}

static inline void expect(uint64_t errors, uint64_t leaks, const char *text)
{
	check();
	assert_int_equal(res.rc, 0);
	assert_string_equal(res.text, text);
	assert_int_equal(res.c.errors, errors);
	assert_int_equal(res.c.leaks, leaks);
	assert_int_equal(res.c.check_errors, 0);
}

static inline uint64_t packed(uint64_t off, uint64_t sectors)
{
	return PACKED | (sectors - 1) << (62 - (img.bits - 8)) | off;
}

#endif
