/*
 * Bitmaps of qcow2 images against a model: random writes, zeros and discards through a chain,
 * with what users do to bitmaps in between. After each close the bits are exactly those of
 * the model, and the checker finds nothing at all. What crashes leave: test_crash.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow2/bitmap.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/filter/pass.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/stamp.h"

#define SECTOR	512u
#define SECTORS 40000u /* of the disk, at most */
#define BITMAPS 6

static const struct kind {
	const char *opts;
	unsigned sectors, rounds;
} kinds[] = {
	{"cluster_size=512", 9000, 60},
	{"cluster_size=512,refcount_bits=64", 1, 20},
	{"cluster_size=4k,lazy_refcounts=on", 33000, 60},
	{"cluster_size=16k,extended_l2=on", 5001, 60},
	{"cluster_size=64k,preallocation=metadata", 30000, 60},
	{"cluster_size=4k,data_file=data", 9000, 60},
};

struct model {
	bool there, enabled;
	unsigned granules; /* of how many sectors */
	uint8_t bit[SECTORS];
};

static struct {
	const struct kind *kind;
	struct blk *file, *data;
	struct chain *chain;
	struct image *image;
	unsigned sectors, seed;
	struct model bitmap[BITMAPS];
	struct err err;
} m;

static const struct bitmap_ops *const ops = &qcow2_bitmap_ops;

static unsigned rnd(unsigned n)
{
	return dice(&m.seed) % n;
}

static void good(int rc)
{
	if (rc)
		print_error("%s: seed %u: %s\n", m.kind->opts, m.seed, m.err.text);
	assert_int_equal(rc, 0);
}

static const char *name_of(unsigned i)
{
	static const char *const names[BITMAPS] = {"a", "bb", "ccc", "a name", "\xc3\xa4", "0"};

	return names[i];
}

/* ---- images ----------------------------------------------------------------------- */

static void open_image(unsigned flags)
{
	struct blk *lower = pass_borrow(m.file, &m.err);

	assert_non_null(lower);
	good(qcow2_open(lower, NULL, flags, &m.image, &m.err));
	if (m.data)
		m.image->data = pass_borrow(m.data, &m.err);
	m.chain = chain_new(&m.image->blk, &m.err);
	assert_non_null(m.chain);
}

static void close_image(void)
{
	good(blk_close(&m.chain->blk, &m.err));
}

static void create_image(const struct kind *kind)
{
	struct create c = {.size = (uint64_t)kind->sectors * SECTOR};
	struct opts *opts = opts_new(&m.err);

	m.kind = kind;
	m.sectors = kind->sectors;
	memset(m.bitmap, 0, sizeof(m.bitmap));
	assert_non_null(opts);
	good(opts_parse(opts, kind->opts, NULL, &m.err));
	c.lower = m.file = io_mem_new(NULL, 0, &m.err);
	m.data = strstr(kind->opts, "data_file") ? io_mem_new(NULL, 0, &m.err) : NULL;
	c.file = &m.data;
	c.nfile = m.data ? 1 : 0;
	c.opts = opts;
	good(qcow2_create(&c, &m.err));
	opts_free(opts);
	open_image(IMAGE_WRITE);
}

static void drop_image(void)
{
	close_image();
	good(blk_close(m.file, &m.err));
	good(blk_close(m.data, &m.err));
}

static void hear(void *arg, const char *line)
{
	print_error("%s\n", line);
}

static void check_image(void)
{
	struct check c = {.report = hear};

	open_image(IMAGE_CHECK);
	good(qcow2_check(m.image, &c, &m.err));
	close_image();
	assert_int_equal(c.errors + c.leaks + c.check_errors, 0);
}

/* ---- the model -------------------------------------------------------------------- */

static void mark(struct model *b, unsigned from, unsigned to)
{
	from -= from % b->granules;
	to = MIN((unsigned)round_up(to, b->granules), m.sectors);
	memset(b->bit + from, 1, to - from);
}

static void mark_all(unsigned from, unsigned n)
{
	for (unsigned i = 0; i < BITMAPS; i++)
		if (m.bitmap[i].there && m.bitmap[i].enabled)
			mark(&m.bitmap[i], from, from + n);
}

static void compare_bits(unsigned i)
{
	struct dirty *bits;

	good(ops->read(m.image, name_of(i), &bits, &m.err));
	assert_int_equal(dirty_size(bits), (uint64_t)m.sectors * SECTOR);
	for (unsigned s = 0; s < m.sectors; s++) {
		if (dirty_test(bits, (uint64_t)s * SECTOR) != m.bitmap[i].bit[s])
			print_error("%s: seed %u: bitmap %u, sector %u: not %u\n", m.kind->opts,
				    m.seed, i, s, m.bitmap[i].bit[s]);
		assert_int_equal(dirty_test(bits, (uint64_t)s * SECTOR), m.bitmap[i].bit[s]);
	}
	dirty_free(bits);
}

static void compare_all(void)
{
	struct bitmap_info *list;
	size_t n, there = 0;

	good(ops->list(m.image, &list, &n, &m.err));
	for (unsigned i = 0; i < BITMAPS; i++) {
		if (!m.bitmap[i].there)
			continue;
		there++;
		compare_bits(i);
		for (size_t k = 0; k < n; k++) {
			if (strcmp(list[k].name, name_of(i)))
				continue;
			assert_int_equal(list[k].enabled, m.bitmap[i].enabled);
			assert_int_equal(list[k].granularity, m.bitmap[i].granules * SECTOR);
			assert_false(list[k].broken);
		}
	}
	assert_int_equal(n, there);
	free(list);
}

/* ---- steps ------------------------------------------------------------------------ */

static void write_some(void)
{
	static uint8_t buf[300 * SECTOR];
	unsigned from = rnd(m.sectors), n = rnd(rnd(4) ? 20 : 300) + 1;

	n = MIN(n, m.sectors - from);
	memset(buf, (int)rnd(256), n * SECTOR);
	good(blk_pwrite(&m.chain->blk, buf, n * SECTOR, (uint64_t)from * SECTOR, 0, &m.err));
	mark_all(from, n);
}

static void zero_some(unsigned flags)
{
	unsigned from = rnd(m.sectors), n = rnd(5000) + 1;

	n = MIN(n, m.sectors - from);
	good(blk_zero(&m.chain->blk, (uint64_t)from * SECTOR, (uint64_t)n * SECTOR, flags,
		      &m.err));
	mark_all(from, n);
}

static void add_or_remove(void)
{
	unsigned i = rnd(BITMAPS);
	struct model *b = &m.bitmap[i];

	if (!b->there) {
		*b = (struct model){.there = true, .enabled = rnd(3), .granules = 1u << rnd(8)};
		good(ops->add(m.image, name_of(i), b->granules * SECTOR, b->enabled, &m.err));
		assert_int_equal(ops->add(m.image, name_of(i), 0, true, &m.err), -1);
	} else if (rnd(3) == 0) {
		b->there = false;
		good(ops->remove(m.image, name_of(i), &m.err));
		assert_int_equal(ops->find(m.image, name_of(i), &m.err), -1);
	}
}

static void change_some(void)
{
	unsigned i = rnd(BITMAPS);
	struct model *b = &m.bitmap[i];

	if (!b->there)
		return;
	if (rnd(3) == 0) {
		memset(b->bit, 0, sizeof(b->bit));
		good(ops->clear(m.image, name_of(i), &m.err));
	} else {
		b->enabled = rnd(2);
		good(ops->enable(m.image, name_of(i), b->enabled, &m.err));
	}
}

static void merge_some(void)
{
	unsigned i = rnd(BITMAPS), k = rnd(BITMAPS);
	struct model *to = &m.bitmap[i], *from = &m.bitmap[k];
	struct dirty *bits;

	if (!to->there || !from->there)
		return;
	good(ops->read(m.image, name_of(k), &bits, &m.err));
	good(ops->merge(m.image, name_of(i), bits, &m.err));
	dirty_free(bits);
	for (unsigned s = 0; s < m.sectors; s++)
		if (from->bit[s])
			mark(to, s, s + 1);
}

static void grow(void)
{
	unsigned old = m.sectors, more = rnd(old + 1);

	m.sectors = MIN(old + more, SECTORS);
	good(chain_resize(m.chain, (uint64_t)m.sectors * SECTOR, PREALLOC_OFF, &m.err));
	/* the last granule may have become longer */
	for (unsigned i = 0; i < BITMAPS; i++)
		if (m.bitmap[i].there && old < m.sectors && m.bitmap[i].bit[old - 1])
			mark(&m.bitmap[i], old - 1, old);
}

static void reopen(void)
{
	close_image();
	check_image();
	open_image(rnd(2) ? IMAGE_WRITE : 0);
	compare_all();
	close_image();
	open_image(IMAGE_WRITE);
}

static void step(void)
{
	switch (rnd(20)) {
	case 0:
	case 1:
		add_or_remove();
		return;
	case 2:
		change_some();
		return;
	case 3:
		merge_some();
		return;
	case 4:
		reopen();
		return;
	case 5:
		zero_some(rnd(2) ? BLK_UNMAP : 0);
		return;
	case 6:
		zero_some(BLK_UNMAP | BLK_ADVISE);
		return;
	case 7:
		good(blk_flush(&m.chain->blk, &m.err));
		return;
	case 8:
		if (rnd(4) == 0)
			grow();
		return;
	default:
		write_some();
	}
}

static void test_model(void **state)
{
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		for (unsigned round = 0; round < 4; round++) {
			m.seed = round * 77 + (unsigned)k;
			create_image(&kinds[k]);
			for (unsigned i = 0; i < kinds[k].rounds; i++)
				step();
			reopen();
			drop_image();
		}
	}
}

/* ---- on disk ---------------------------------------------------------------------- */

/* The flags of the first bitmap as they are in the file. */
static uint32_t flags_on_disk(void)
{
	const struct qcow2 *q = (const struct qcow2 *)m.image;
	uint8_t flags[4];

	good(blk_pread(m.file, flags, 4, q->extra.bitmap_dir_off + 12, &m.err));
	return get_be32(flags);
}

static uint64_t entry_on_disk(unsigned i)
{
	uint8_t entry[8];

	good(blk_pread(m.file, entry, 8, ((struct qcow2 *)m.image)->bitmap[0].table_off + 8 * i,
		       &m.err));
	return get_be64(entry);
}

static void test_in_use(void **state)
{
	uint8_t buf[1000] = {1};

	create_image(&kinds[0]);
	good(ops->add(m.image, "a", 512, true, &m.err));
	assert_int_equal(flags_on_disk(), BITMAP_AUTO);
	good(blk_pread(&m.chain->blk, buf, 1000, 0, &m.err));
	assert_int_equal(flags_on_disk(), BITMAP_AUTO);
	good(blk_pwrite(&m.chain->blk, buf, 1000, 5000, 0, &m.err));
	assert_int_equal(flags_on_disk(), BITMAP_AUTO | BITMAP_IN_USE);
	good(ops->enable(m.image, "a", false, &m.err));
	assert_int_equal(flags_on_disk(), BITMAP_IN_USE);
	good(blk_flush(&m.chain->blk, &m.err));
	close_image();
	open_image(IMAGE_WRITE);
	assert_int_equal(flags_on_disk(), 0);
	good(blk_pwrite(&m.chain->blk, buf, 1000, 0, 0, &m.err));
	assert_int_equal(flags_on_disk(), 0);
	drop_image();
}

/* Found in use, it can only be removed. */
static void test_broken(void **state)
{
	struct dirty *bits;
	uint8_t buf[4];

	create_image(&kinds[0]);
	good(ops->add(m.image, "a", 512, true, &m.err));
	put_be32(buf, 3);
	good(blk_pwrite(m.file, buf, 4, ((struct qcow2 *)m.image)->extra.bitmap_dir_off + 12, 0,
			&m.err));
	close_image();
	open_image(IMAGE_WRITE);
	assert_int_equal(ops->read(m.image, "a", &bits, &m.err), -1);
	assert_int_equal(ops->clear(m.image, "a", &m.err), -1);
	assert_int_equal(ops->enable(m.image, "a", true, &m.err), -1);
	assert_string_equal(m.err.text, "Bitmap 'a' is inconsistent and cannot be used\n"
					"Try block-dirty-bitmap-remove to delete this bitmap "
					"from disk");
	assert_int_equal(chain_resize(m.chain, 1 << 20, PREALLOC_OFF, &m.err), -1);
	good(blk_pwrite(&m.chain->blk, buf, 4, 0, 0, &m.err));
	close_image();
	open_image(IMAGE_WRITE);
	assert_true(((struct qcow2 *)m.image)->bitmap[0].broken);
	good(ops->remove(m.image, "a", &m.err));
	close_image();
	check_image();
	open_image(0);
	assert_int_equal(((struct qcow2 *)m.image)->nbitmap, 0);
	assert_false(((struct qcow2 *)m.image)->extra.has_bitmaps);
	drop_image();
}

/* Clusters of bits that are alike take no room, but for the last with its clear tail. */
static void test_alike(void **state)
{
	static const struct kind kind = {"cluster_size=512", 3 * 4096 + 1, 0};
	uint8_t tail[512];

	create_image(&kind);
	good(ops->add(m.image, "a", 512, true, &m.err));
	good(blk_zero(&m.chain->blk, 4096 * SECTOR, (2 * 4096 + 1) * SECTOR, 0, &m.err));
	close_image();
	open_image(IMAGE_WRITE);
	assert_int_equal(entry_on_disk(0), 0);
	assert_int_equal(entry_on_disk(1), BITMAP_ALL_SET);
	assert_int_equal(entry_on_disk(2), BITMAP_ALL_SET);
	assert_true(entry_on_disk(3) > 1);
	good(blk_pread(m.file, tail, 512, entry_on_disk(3), &m.err));
	assert_int_equal(tail[0], 1);
	assert_int_equal(tail[1], 0);
	good(ops->clear(m.image, "a", &m.err));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(entry_on_disk(i), 0);
	close_image();
	check_image();
	open_image(0);
	drop_image();
}

static void *write_in_thread(void *arg)
{
	unsigned start = *(unsigned *)arg;
	uint8_t buf[SECTOR] = {7};
	struct err err;

	for (unsigned s = start; s < 9000; s += 8)
		assert_int_equal(blk_pwrite(&m.chain->blk, buf, SECTOR, s * SECTOR, 0, &err),
				 0);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t thread[4];
	unsigned start[4];

	create_image(&kinds[0]);
	for (unsigned i = 0; i < 2; i++) {
		m.bitmap[i] = (struct model){true, true, 1u << i, {0}};
		good(ops->add(m.image, name_of(i), 512u << i, true, &m.err));
	}
	for (unsigned i = 0; i < 4; i++) {
		start[i] = i * 2;
		pthread_create(&thread[i], NULL, write_in_thread, &start[i]);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	for (unsigned s = 0; s < 9000; s += 2)
		mark_all(s, 1);
	reopen();
	drop_image();
}

/* Many, added and removed: a directory of several clusters. */
static void test_many(void **state)
{
	char name[20];

	create_image(&kinds[0]);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "bitmap %u", i);
		good(ops->add(m.image, name, 1u << (9 + i % 20), i % 2, &m.err));
	}
	write_some();
	close_image();
	check_image();
	open_image(IMAGE_WRITE);
	assert_int_equal(((struct qcow2 *)m.image)->nbitmap, 100);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "bitmap %u", i * 37 % 100);
		good(ops->remove(m.image, name, &m.err));
	}
	close_image();
	check_image();
	open_image(0);
	drop_image();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),	cmocka_unit_test(test_in_use),
		cmocka_unit_test(test_broken),	cmocka_unit_test(test_alike),
		cmocka_unit_test(test_threads), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
