/*
 * Snapshots with a model beside: random writes, compressed clusters, discards, growth, and
 * snapshots taken, applied and removed, with all refcount blocks at hand at once and with
 * few of them. Nothing may leak, ever. tests/lib/crash_rows.c has the crashes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow2/snapshot.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/filter/pass.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "lib/pack.h"
#include "tests/lib/stamp.h"

#define SECTOR	512u
#define SECTORS 4096u /* of the disk, when it is largest */
#define SNAPS	6u

static const struct kind {
	const char *opts;
	unsigned sectors, window, steps; /* window: refcount blocks; 0: as many as by default */
} kinds[] = {
	{"cluster_size=512", 1500, 1, 200},
	{"cluster_size=512", 1500, 0, 200},
	{"cluster_size=512,refcount_bits=64", 1500, 3, 200},
	{"cluster_size=512,refcount_bits=1", 300, 0, 60},
	{"cluster_size=512,refcount_bits=2", 900, 1, 200},
	{"cluster_size=1k,compat=0.10", 2000, 2, 200},
	{"cluster_size=2k,refcount_bits=8", 3000, 1, 200},
	{"cluster_size=4k,lazy_refcounts=on", 3001, 0, 200},
	{"cluster_size=16k,extended_l2=on", 3001, 1, 150},
	{"cluster_size=64k", 4096, 0, 80},
};

struct state {
	char name[16];
	unsigned sectors;
	uint32_t now[SECTORS];
};

static struct {
	const struct kind *kind;
	struct blk *file;
	struct chain *chain;
	struct qcow2 *q;
	struct state disk, snap[SNAPS];
	unsigned nsnap, taken;
	uint32_t stamp;
	unsigned seed;
	struct err err;
} m;

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

/* ---- images ----------------------------------------------------------------------- */

static struct image *open_file(unsigned flags)
{
	struct image *image = NULL;

	good(qcow2_open(pass_borrow(m.file, &m.err), NULL, flags, &image, &m.err));
	return image;
}

static void open_image(void)
{
	struct image *image = open_file(IMAGE_WRITE);

	m.q = qcow2_of(&image->blk);
	if (m.kind->window)
		m.q->tuning.window = m.kind->window * m.q->cluster_size;
	m.chain = chain_new(&image->blk, &m.err);
	assert_non_null(m.chain);
}

static void close_image(void)
{
	good(blk_close(&m.chain->blk, &m.err));
	m.chain = NULL;
}

static void create_image(const struct kind *kind)
{
	struct create c = {.size = kind->sectors * SECTOR};
	struct opts *opts = opts_new(&m.err);

	assert_non_null(opts);
	memset(&m, 0, sizeof(m));
	m.kind = kind;
	good(opts_parse(opts, kind->opts, NULL, &m.err));
	m.file = io_mem_new(NULL, 0, &m.err);
	assert_non_null(m.file);
	c.lower = m.file;
	c.opts = opts;
	good(qcow2_create(&c, &m.err));
	opts_free(opts);
	m.disk.sectors = kind->sectors;
	open_image();
}

static void hear(void *arg, const char *line)
{
	print_error("%s\n", line);
}

static void check_image(void)
{
	struct check c = {.report = hear};
	struct image *image;

	/* what one flush frees, the next one brings to the file */
	good(blk_flush(&m.chain->blk, &m.err));
	good(blk_flush(&m.chain->blk, &m.err));
	image = open_file(IMAGE_CHECK);
	good(qcow2_check(image, &c, &m.err));
	if (c.errors || c.leaks || c.check_errors)
		print_error("%s: seed %u\n", m.kind->opts, m.seed);
	assert_int_equal(c.errors + c.leaks + c.check_errors, 0);
	good(blk_close(&image->blk, &m.err));
}

static void compare(struct blk *blk, const struct state *s)
{
	AUTO_FREE uint8_t *buf = malloc(s->sectors * SECTOR);
	uint8_t want[SECTOR];

	assert_non_null(buf);
	assert_int_equal(blk_size(blk), s->sectors * UINT64_C(512));
	good(blk_pread(blk, buf, s->sectors * SECTOR, 0, &m.err));
	for (unsigned i = 0; i < s->sectors; i++) {
		stamp_fill(want, s->now[i], 1);
		if (memcmp(want, buf + i * SECTOR, SECTOR))
			print_error("%s: seed %u: sector %u of '%s' is %x, not %x\n",
				    m.kind->opts, m.seed, i, s->name,
				    get_le32(buf + i * SECTOR), s->now[i]);
		assert_memory_equal(want, buf + i * SECTOR, SECTOR);
	}
}

static void compare_all(void)
{
	compare(&m.chain->blk, &m.disk);
	for (unsigned i = 0; i < m.nsnap; i++) {
		struct image *image = open_file(0);

		assert_string_equal(qcow2_of(&image->blk)->snapshot[i].info.name,
				    m.snap[i].name);
		good(qcow2_snapshot_load(image, i, &m.err));
		compare(&image->blk, &m.snap[i]);
		good(blk_close(&image->blk, &m.err));
	}
}

/* ---- steps ------------------------------------------------------------------------ */

static void step_write(void)
{
	unsigned from = rnd(m.disk.sectors), n = 1 + rnd(MIN(200, m.disk.sectors - from));
	AUTO_FREE uint8_t *buf = malloc(n * SECTOR);

	assert_non_null(buf);
	m.stamp++;
	for (unsigned i = 0; i < n; i++) {
		stamp_fill(buf + i * SECTOR, m.stamp, 1);
		m.disk.now[from + i] = m.stamp;
	}
	good(blk_pwrite(&m.chain->blk, buf, n * SECTOR, from * UINT64_C(512), 0, &m.err));
}

static void step_zero(void)
{
	unsigned from = rnd(m.disk.sectors), n = 1 + rnd(MIN(300, m.disk.sectors - from));

	good(blk_zero(&m.chain->blk, from * UINT64_C(512), n * UINT64_C(512),
		      rnd(2) ? BLK_UNMAP : 0, &m.err));
	memset(m.disk.now + from, 0, n * sizeof(*m.disk.now));
}

/* Several compressed clusters in a host cluster, which then has a refcount of as many. */
static void step_pack(void)
{
	struct blk *top = m.chain->layer[0];
	unsigned per = top->grain / SECTOR, room = m.disk.sectors / per;
	AUTO_FREE uint8_t *in = malloc(top->grain), *out = malloc(2 * top->grain);
	uint32_t packed[2];
	struct claim c = {.packed = packed};
	size_t at = 0;

	assert_true(in && out);
	if (room < 2 || m.q->h.refcount_order < 2)
		return;
	c.off = (uint64_t)rnd(room - 1) * top->grain;
	c.len = 2 * top->grain;
	m.stamp++;
	for (unsigned i = 0; i < per; i++)
		stamp_fill(in + i * SECTOR, m.stamp, 1);
	for (unsigned i = 0; i < 2; i++) {
		size_t len = top->grain;

		good(top->ops->pack(top, in, top->grain, out + at, &len, &m.err));
		packed[i] = (uint32_t)len;
		at += len;
	}
	good(blk_claim(top, &c, &m.err));
	at = 0;
	for (size_t i = 0; i < c.nrun; i++) {
		good(blk_pwrite(c.home, out + at, c.run[i].len, c.run[i].host, 0, &m.err));
		at += c.run[i].len;
	}
	good(blk_settle(top, &c, &m.err));
	for (unsigned i = 0; i < 2 * per; i++)
		m.disk.now[c.off / SECTOR + i] = m.stamp;
}

static void step_grow(void)
{
	unsigned more = 1 + rnd(300);

	if (m.disk.sectors + more > SECTORS || (m.nsnap && m.q->h.version < 3))
		return;
	memset(m.disk.now + m.disk.sectors, 0, more * sizeof(*m.disk.now));
	m.disk.sectors += more;
	good(chain_resize(m.chain, m.disk.sectors * UINT64_C(512), PREALLOC_OFF, &m.err));
}

/* Refcounts of few bits overflow: then nothing may have changed. */
static void step_create(void)
{
	struct snapshot_info info = {.date_sec = 1, .icount = -1};
	struct state *s = &m.snap[m.nsnap];
	int rc;

	if (m.nsnap == SNAPS)
		return;
	*s = m.disk;
	snprintf(s->name, sizeof(s->name), "s%u", ++m.taken);
	info.name = s->name;
	rc = qcow2_snapshot_create(&m.q->image, &info, &m.err);
	if (rc && m.q->h.refcount_order < 3)
		assert_int_equal(m.err.num, EINVAL);
	else
		good(rc);
	m.nsnap += rc == 0;
}

static void step_apply(void)
{
	unsigned i = m.nsnap ? rnd(m.nsnap) : 0;
	int rc;

	if (m.nsnap == 0)
		return;
	rc = qcow2_snapshot_apply(&m.q->image, i, &m.err);
	if (rc && m.q->h.refcount_order < 3) {
		assert_int_equal(m.err.num, EINVAL);
		return;
	}
	good(rc);
	m.disk = m.snap[i];
	close_image(); /* the chain has another size */
	open_image();
}

static void step_remove(void)
{
	unsigned i = m.nsnap ? rnd(m.nsnap) : 0;

	if (m.nsnap == 0)
		return;
	good(qcow2_snapshot_remove(&m.q->image, i, &m.err));
	m.nsnap--;
	memmove(&m.snap[i], &m.snap[i + 1], (m.nsnap - i) * sizeof(m.snap[0]));
}

static void step(void)
{
	switch (rnd(12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		step_write();
		return;
	case 4:
		step_zero();
		return;
	case 5:
		step_pack();
		return;
	case 6:
		step_grow();
		return;
	case 7:
		close_image();
		open_image();
		return;
	case 8:
	case 9:
		step_create();
		break;
	case 10:
		step_apply();
		break;
	default:
		step_remove();
	}
	check_image();
	compare_all();
}

static void test_model(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		create_image(&kinds[i]);
		m.seed = (unsigned)i + 1;
		for (unsigned k = 0; k < kinds[i].steps; k++)
			step();
		check_image();
		compare_all();
		while (m.nsnap)
			step_remove();
		check_image();
		compare(&m.chain->blk, &m.disk);
		close_image();
		blk_close(m.file, &m.err);
	}
}

/* ---- single things ---------------------------------------------------------------- */

static int take(const char *id, const char *name)
{
	char i[16], *n = strdup(name);
	struct snapshot_info info = {.id = id ? i : NULL, .name = n, .icount = -1};
	int rc;

	assert_non_null(n);
	snprintf(i, sizeof(i), "%s", id ? id : "");
	rc = qcow2_snapshot_create(&m.q->image, &info, &m.err);
	free(n);
	return rc;
}

static const struct kind plain = {"cluster_size=4k", 1000, 0, 0};

static void finish(void)
{
	check_image();
	close_image();
	blk_close(m.file, &m.err);
}

static void test_ids(void **state)
{
	create_image(&plain);
	good(take(NULL, "a"));
	assert_string_equal(m.q->snapshot[0].info.id, "1");
	good(take("7", "a"));
	good(take(NULL, ""));
	assert_string_equal(m.q->snapshot[2].info.id, "8");
	assert_int_equal(take("7", "again"), -1);
	assert_int_equal(m.err.num, EEXIST);
	good(take("word", "b"));
	good(take(NULL, "c"));
	assert_string_equal(m.q->snapshot[4].info.id, "9");
	good(qcow2_snapshot_remove(&m.q->image, 4, &m.err));
	good(qcow2_snapshot_remove(&m.q->image, 2, &m.err));
	good(take(NULL, "d"));
	assert_string_equal(m.q->snapshot[3].info.id, "8");
	close_image();
	open_image();
	assert_int_equal(m.q->nsnapshot, 4);
	assert_string_equal(m.q->snapshot[2].info.id, "word");
	assert_int_equal(qcow2_snapshot_remove(&m.q->image, 4, &m.err), -1);
	assert_int_equal(qcow2_snapshot_apply(&m.q->image, 4, &m.err), -1);
	finish();
}

/* Extra data of an entry: what is unknown stays; what is missing is added. */
static void test_extra(void **state)
{
	uint8_t entry[128];
	uint64_t at;

	create_image(&plain);
	good(take(NULL, "name"));
	at = m.q->h.snapshots_off;
	close_image();
	good(blk_pread(m.file, entry, 40, at, &m.err));
	put_be32(entry + 36, 32);
	memset(entry + 40, 0, 64);
	put_be64(entry + 40, UINT64_C(5) << 32);
	put_be64(entry + 48, 1000 * 512);
	put_be64(entry + 56, 77);
	memcpy(entry + 64, "UNKNOWN!1name", 13);
	good(blk_pwrite(m.file, entry, 80, at, 0, &m.err));
	open_image();
	assert_int_equal(m.q->snapshot[0].info.icount, 77);
	good(take(NULL, "more"));
	good(blk_pread(m.file, entry, 80, m.q->h.snapshots_off, &m.err));
	assert_int_equal(get_be32(entry + 32), 0);
	assert_int_equal(get_be32(entry + 36), 32);
	assert_int_equal(get_be64(entry + 40), UINT64_C(5) << 32);
	assert_memory_equal(entry + 64, "UNKNOWN!1name", 13);

	/* as an old version 2 image has it */
	at = m.q->h.snapshots_off;
	close_image();
	good(blk_pread(m.file, entry, 40, at, &m.err));
	put_be32(entry + 32, 9);
	put_be32(entry + 36, 0);
	memcpy(entry + 40, "1name\0\0", 8);
	good(blk_pread(m.file, entry + 48, 72, at + 80, &m.err));
	good(blk_pwrite(m.file, entry, 48 + 72, at, 0, &m.err));
	open_image();
	assert_string_equal(m.q->snapshot[1].info.name, "more");
	good(take(NULL, "third"));
	good(blk_pread(m.file, entry, 80, m.q->h.snapshots_off, &m.err));
	assert_int_equal(get_be32(entry + 32), 9);
	assert_int_equal(get_be32(entry + 36), 24);
	assert_int_equal(get_be64(entry + 40), 9);
	assert_int_equal(get_be64(entry + 48), 1000 * 512);
	assert_int_equal(get_be64(entry + 56), UINT64_MAX);
	assert_memory_equal(entry + 64, "1name", 5);
	finish();
}

/* Flags that do not matter in a snapshot's tables must not come to matter. */
static void test_stale_flags(void **state)
{
	const uint64_t *l1;
	uint64_t table, v;
	uint8_t entry[8];

	create_image(&plain);
	step_write();
	step_write();
	good(take(NULL, "a"));
	m.snap[0] = m.disk;
	for (unsigned i = 0; i < 1000; i++)
		m.disk.now[i] = 0;
	good(blk_zero(&m.chain->blk, 0, 1000 * 512, BLK_UNMAP, &m.err));
	good(blk_flush(&m.chain->blk, &m.err));
	good(blk_pread(m.file, entry, 8, m.q->snapshot[0].l1_off, &m.err));
	table = get_be64(entry) & QCOW2_OFF_MASK;
	for (unsigned i = 0; i < 125; i++) {
		good(blk_pread(m.file, entry, 8, table + 8 * i, &m.err));
		v = get_be64(entry);
		put_be64(entry, v ? v | QCOW2_COPIED : 0);
		good(blk_pwrite(m.file, entry, 8, table + 8 * i, 0, &m.err));
	}
	check_image();
	good(qcow2_snapshot_apply(&m.q->image, 0, &m.err));
	m.disk = m.snap[0];
	l1 = m.q->l1;
	assert_int_not_equal(l1[0] & QCOW2_OFF_MASK, table);
	check_image();
	compare(m.chain->layer[0], &m.disk);
	step_write();
	check_image();
	compare(m.chain->layer[0], &m.disk);
	finish();
}

/* What a snapshot has of a machine's memory does not come to the disk. */
static void test_vm_state(void **state)
{
	struct snapshot_info info = {.name = (char *)"vm", .icount = -1};
	struct qcow2_snapshot *s;

	create_image(&plain);
	step_write();
	/* 4k: an L1 entry maps 2 MiB: the state is in the second */
	good(chain_resize(m.chain, 4 << 20, PREALLOC_OFF, &m.err));
	good(blk_pwrite(&m.chain->blk, "state", 5, 3 << 20, 0, &m.err));
	good(qcow2_snapshot_create(&m.q->image, &info, &m.err));
	s = &m.q->snapshot[0];
	s->info.disk_size = 1000 * 512;
	s->info.vm_state_size = 5 << 20;
	good(qcow2_snapshot_apply(&m.q->image, 0, &m.err));
	assert_int_equal(m.q->h.l1_size, 1);
	assert_int_equal(m.q->snapshot[0].l1_size, 2);
	close_image();
	open_image();
	assert_int_equal(m.q->snapshot[0].info.vm_state_size, 5 << 20);
	check_image();
	compare(&m.chain->blk, &m.disk);
	good(qcow2_snapshot_remove(&m.q->image, 0, &m.err));
	finish();
}

static void test_exclusive(void **state)
{
	uint64_t bytes[2];

	create_image(&plain);
	good(blk_pwrite(&m.chain->blk, "x", 1, 0, 0, &m.err));
	good(blk_pwrite(&m.chain->blk, "y", 1, 8192, 0, &m.err));
	good(take(NULL, "a"));
	good(qcow2_snapshot_exclusive(&m.q->image, bytes, 1, &m.err));
	assert_int_equal(bytes[0], 4096); /* its L1 table */
	good(blk_pwrite(&m.chain->blk, "z", 1, 8192, 0, &m.err));
	good(blk_flush(&m.chain->blk, &m.err));
	good(qcow2_snapshot_exclusive(&m.q->image, bytes, 1, &m.err));
	assert_int_equal(bytes[0], 3 * 4096); /* an L2 table and the cluster that changed */
	good(take(NULL, "b"));
	good(qcow2_snapshot_exclusive(&m.q->image, bytes, 2, &m.err));
	assert_int_equal(bytes[0], 3 * 4096);
	assert_int_equal(bytes[1], 4096);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),	 cmocka_unit_test(test_ids),
		cmocka_unit_test(test_extra),	 cmocka_unit_test(test_stale_flags),
		cmocka_unit_test(test_vm_state), cmocka_unit_test(test_exclusive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
