#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/compare.h"
#include "lib/mem.h"

#define END UINT64_MAX

/* A disk made of runs, whose data bytes are a function of the offset. */
struct fake {
	struct blk blk;
	struct {
		uint64_t len;
		unsigned flags; /* EXT_*; PLACE: with a home */
	} run[8];
	uint64_t differs[4];	       /* offsets of bytes that are not as elsewhere; END */
	uint64_t bad_read, bad_extent; /* what reaches these fails; END: nothing does */
	bool hollow;
};

enum { PLACE = 1 << 20 };

static uint8_t byte_at(const struct fake *f, uint64_t off)
{
	uint8_t v = (uint8_t)(off % 251 + 1);

	for (size_t i = 0; i < ARRAY_LEN(f->differs); i++)
		v ^= off == f->differs[i];
	return v;
}

static int fake_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct fake *f = (struct fake *)blk;

	if (f->bad_read >= off && f->bad_read - off < n)
		return err_set(err, EIO, "bad at %llu", (unsigned long long)f->bad_read);
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = byte_at(f, off + i);
	return 0;
}

static int fake_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	struct fake *f = (struct fake *)blk;
	uint64_t at = 0;

	if (off >= f->bad_extent)
		return err_set(err, EIO, "no table");
	for (size_t i = 0; i < ARRAY_LEN(f->run); i++) {
		if (off < at + f->run[i].len) {
			out->off = off;
			out->len = MIN(len, at + f->run[i].len - off);
			out->flags = f->run[i].flags & ~(unsigned)PLACE;
			out->home = f->run[i].flags & PLACE ? blk : NULL;
			out->host = off;
			return 0;
		}
		at += f->run[i].len;
	}
	return err_set(err, EINVAL, "runs are too short");
}

static bool fake_hollow(struct blk *blk)
{
	return ((struct fake *)blk)->hollow;
}

static int fake_close(struct blk *blk, struct err *err)
{
	return 0;
}

static const struct blk_ops fake_ops = {
	.name = "fake",
	.pread = fake_pread,
	.extent = fake_extent,
	.hollow = fake_hollow,
	.close = fake_close,
};

/* Runs from `text`: "d64k" data, "z" zeros, "Z" zeros with a place, "a" absent, "p" data
 * without a place; lengths in KiB. */
static struct chain *disk(struct fake *f, const char *text)
{
	struct err err;
	size_t n = 0;

	memset(f, 0, sizeof(*f));
	assert_int_equal(blk_init(&f->blk, &fake_ops, "fake", &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(f->differs); i++)
		f->differs[i] = END;
	f->bad_read = f->bad_extent = END;
	while (*text) {
		char kind = *text++;

		f->run[n].len = strtoull(text, (char **)&text, 10) << 10;
		f->blk.size += f->run[n].len;
		f->run[n++].flags = kind == 'd'	  ? EXT_DATA | PLACE
				    : kind == 'p' ? EXT_DATA
				    : kind == 'z' ? EXT_ZERO
				    : kind == 'Z' ? EXT_ZERO | PLACE
						  : EXT_ABSENT;
		text += *text == ' ';
	}
	f->blk.align = 1;
	return chain_new(&f->blk, &err);
}

static void drop(struct chain *c)
{
	struct err err;

	assert_int_equal(blk_close(&c->blk, &err), 0);
}

/* The same answer with any number of threads. */
static void expect(struct chain *a, struct chain *b, bool strict, enum compare_found found,
		   unsigned which, uint64_t off)
{
	static const unsigned threads[] = {0, 1, 2, 7};

	for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
		struct compare c = {
			.side = {a, b},
			.to = MAX(a->blk.size, b->blk.size),
			.strict = strict,
			.threads = threads[i],
		};
		struct err err = {0};
		int rc = compare_run(&c, &err);

		assert_int_equal(c.found, found);
		assert_int_equal(
			rc, found == COMPARE_NO_READ || found == COMPARE_NO_STATUS ? -1 : 0);
		if (found == COMPARE_NO_READ || found == COMPARE_NO_STATUS) {
			assert_int_equal(c.which, which);
			assert_int_equal(err.num, EIO);
		}
		if (found != COMPARE_SAME && found != COMPARE_NO_STATUS)
			assert_int_equal(c.off, off);
	}
}

static void test_same(void **state)
{
	struct fake fa, fb;
	struct chain *a = disk(&fa, "d3000 z9007199254740992 d100");
	struct chain *b = disk(&fb, "d1000 d2000 z5000 Z9007199254735992 d100");

	expect(a, b, false, COMPARE_SAME, 0, 0);
	drop(b);
	b = disk(&fb, "d3000 a9007199254740992 d100");
	expect(a, b, false, COMPARE_SAME, 0, 0);
	drop(a);
	drop(b);
}

static void test_first_difference(void **state)
{
	struct fake fa, fb;
	struct chain *a = disk(&fa, "d5000 z100 d5000");
	struct chain *b = disk(&fb, "d5000 z100 d5000");

	fb.differs[0] = 4000000;
	fb.differs[1] = 3999999;
	fb.differs[2] = 300000;
	fb.differs[3] = 9000000;
	expect(a, b, false, COMPARE_CONTENT, 0, 300000 / 512 * 512);
	expect(b, a, false, COMPARE_CONTENT, 0, 300000 / 512 * 512);
	fb.differs[2] = END;
	expect(a, b, false, COMPARE_CONTENT, 0, 3999999 / 512 * 512);
	fb.differs[0] = fb.differs[1] = END;
	expect(a, b, false, COMPARE_CONTENT, 0, 9000000 / 512 * 512);
	fb.differs[3] = END;
	expect(a, b, false, COMPARE_SAME, 0, 0);
	drop(a);
	drop(b);
}

static void test_data_and_zeros(void **state)
{
	struct fake fa, fb;
	struct chain *a = disk(&fa, "z700 d10 z300");
	struct chain *b = disk(&fb, "z1010");

	expect(a, b, false, COMPARE_CONTENT, 0, 700 << 10);
	drop(b);
	/* the end of one is like zeros of the other */
	b = disk(&fb, "z700 d10");
	expect(a, b, false, COMPARE_SAME, 0, 0);
	drop(b);
	b = disk(&fb, "z700 d8");
	expect(a, b, false, COMPARE_CONTENT, 0, 708 << 10);
	drop(a);
	drop(b);
}

static void test_errors_in_order(void **state)
{
	struct fake fa, fb;
	struct chain *a = disk(&fa, "d3000 d3000");
	struct chain *b = disk(&fb, "d3000 d3000");

	fb.bad_read = 2000000;
	expect(a, b, false, COMPARE_NO_READ, 1, 2000000 / 262144 * 262144);
	expect(b, a, false, COMPARE_NO_READ, 0, 2000000 / 262144 * 262144);
	/* what comes first counts */
	fa.differs[0] = 1000000;
	expect(a, b, false, COMPARE_CONTENT, 0, 1000000 / 512 * 512);
	fa.differs[0] = 5000000;
	expect(a, b, false, COMPARE_NO_READ, 1, 2000000 / 262144 * 262144);
	fb.bad_read = END;
	fb.bad_extent = 3000 << 10;
	expect(a, b, false, COMPARE_NO_STATUS, 1, 0);
	fa.differs[0] = 2999999;
	expect(a, b, false, COMPARE_CONTENT, 0, 2999999 / 512 * 512);
	drop(a);
	drop(b);
}

static void test_strict(void **state)
{
	struct fake fa, fb;
	struct chain *a = disk(&fa, "d1000 z1000 d1000");
	struct chain *b = disk(&fb, "d500 d500 z1000 d1000");

	expect(a, b, true, COMPARE_SAME, 0, 0);
	drop(b);
	b = disk(&fb, "d1000 z500 a500 d1000");
	expect(a, b, true, COMPARE_STATUS, 0, 1500 << 10);
	drop(b);
	b = disk(&fb, "d1000 Z1000 d1000");
	expect(a, b, true, COMPARE_STATUS, 0, 1000 << 10);
	drop(b);
	b = disk(&fb, "d1000 z1000 p1000");
	expect(a, b, true, COMPARE_STATUS, 0, 2000 << 10);
	/* a difference in front of it comes first */
	fa.differs[0] = 700000;
	expect(a, b, true, COMPARE_CONTENT, 0, 700000 / 512 * 512);
	drop(b);
	drop(a);
	/* that a run reaches to the end is told of its beginning, as the peer has it */
	a = disk(&fa, "d1000 z2000");
	b = disk(&fb, "d1000 z1000 d1000");
	expect(a, b, true, COMPARE_STATUS, 0, 1000 << 10);
	fb.bad_extent = 2000 << 10;
	expect(a, b, true, COMPARE_NO_STATUS, 1, 0);
	drop(a);
	drop(b);
}

static void test_walk_tells_the_layer(void **state)
{
	struct fake top, low;
	struct chain *c = disk(&top, "d10 a20");
	struct chain *below = disk(&low, "a15");
	struct extent e;
	struct err err;
	struct walk *w;

	assert_int_equal(chain_append(c, below->layer[0], &err), 0);
	w = walk_new(c, 0, &err);
	assert_non_null(w);
	assert_int_equal(walk_next(w, 0, 30 << 10, &e, &err), 0);
	assert_int_equal(e.len, 10 << 10);
	assert_int_equal(e.depth, 0);
	assert_int_equal(walk_next(w, 10 << 10, 20 << 10, &e, &err), 0);
	assert_int_equal(e.len, 5 << 10);
	assert_int_equal(e.flags, EXT_ABSENT);
	assert_int_equal(e.depth, 1);
	/* behind the end of the lower one it is the upper one that says nothing */
	assert_int_equal(walk_next(w, 15 << 10, 15 << 10, &e, &err), 0);
	assert_int_equal(e.len, 15 << 10);
	assert_int_equal(e.flags, EXT_ABSENT);
	assert_int_equal(e.depth, 0);
	walk_free(w);
	below->n = 0;
	drop(below);
	drop(c);
}

/* A disk whose data lies in another, at the same offsets. */
static int over_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	*out = (struct extent){
		.off = off, .len = len, .host = off, .home = blk->lower, .flags = EXT_DATA};
	return 0;
}

static bool over_hollow(struct blk *blk)
{
	return blk->grain == 1;
}

static int over_close(struct blk *blk, struct err *err)
{
	return 0;
}

static void test_walk_looks_for_holes(void **state)
{
	static const struct blk_ops ops = {
		.name = "over",
		.by_extent = true,
		.extent = over_extent,
		.hollow = over_hollow,
		.close = over_close,
	};
	struct fake file;
	struct chain *holder = disk(&file, "d4 Z8 d4"), *c;
	struct blk over;
	struct extent e;
	struct err err;
	struct walk *w;

	for (uint32_t grain = 1; grain <= 2; grain++) {
		assert_int_equal(blk_init(&over, &ops, "over", &err), 0);
		over.grain = grain; /* 1: hollow */
		over.size = 16 << 10;
		over.lower = &file.blk;
		c = chain_new(&over, &err);
		w = walk_new(c, 0, &err);
		walk_holes(w);
		assert_int_equal(walk_next(w, 0, 16 << 10, &e, &err), 0);
		assert_int_equal(e.flags, EXT_DATA);
		assert_int_equal(e.len, grain == 1 ? 4 << 10 : 16 << 10);
		assert_int_equal(walk_next(w, 4 << 10, 12 << 10, &e, &err), 0);
		assert_int_equal(e.flags, grain == 1 ? EXT_DATA | EXT_ZERO : EXT_DATA);
		assert_int_equal(e.len, grain == 1 ? 8 << 10 : 12 << 10);
		walk_free(w);
		over.lower = NULL;
		drop(c);
	}
	drop(holder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_first_difference),
		cmocka_unit_test(test_data_and_zeros),
		cmocka_unit_test(test_errors_in_order),
		cmocka_unit_test(test_strict),
		cmocka_unit_test(test_walk_tells_the_layer),
		cmocka_unit_test(test_walk_looks_for_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
