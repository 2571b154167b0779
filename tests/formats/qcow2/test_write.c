/*
 * Writing qcow2 images, with a model beside: random writes, zeros, compressed clusters,
 * snapshots, growth, flushes and closes, on every kind of image. Then again with crashes
 * in between: what was flushed must be there, what was not may be, and the checker may
 * find nothing worse than leaks.
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

#include "formats/qcow2/qcow2.h"
#include "lib/bytes.h"
#include "lib/chain.h"
#include "lib/filter/log.h"
#include "lib/filter/pass.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "lib/pack.h"
#include "tests/lib/stamp.h"

#define SECTOR	512u
#define SECTORS 8192u /* of the disk, when it is largest */
#define HISTORY 12

struct kind {
	const char *opts;
	unsigned sectors; /* of the disk */
	bool backing, snapshots;
	unsigned rounds;
};

static const struct kind kinds[] = {
	{"cluster_size=512", 700, false, true, 400},
	{"cluster_size=512,refcount_bits=64", 1500, true, true, 400},
	{"cluster_size=512,refcount_bits=1", 700, true, false, 300},
	{"cluster_size=512,compat=0.10", 701, false, true, 300},
	{"cluster_size=1k,compat=0.10", 999, true, true, 300},
	{"cluster_size=4k", 4001, true, true, 400},
	{"cluster_size=4k,refcount_bits=8", 4001, false, true, 300},
	{"cluster_size=4k,refcount_bits=2,lazy_refcounts=on", 3001, true, false, 300},
	{"cluster_size=16k,extended_l2=on", 3001, true, true, 400},
	{"cluster_size=16k,extended_l2=on,compression_type=zstd", 3001, false, true, 300},
	{"cluster_size=64k", 4096, true, false, 150},
	{"cluster_size=512,data_file=data", 1500, true, false, 400},
	{"cluster_size=4k,data_file=data,data_file_raw=on", 4001, false, false, 300},
};

/* What the guest should see. A stamp stands for a sector's bytes; 0: zeros. */
static struct {
	const struct kind *kind;
	struct blk *file, *data; /* in memory; data: external or NULL */
	struct log *log;	 /* of both: files 0 and 1 */
	struct chain *chain;
	struct qcow2 *q;
	unsigned sectors;
	uint32_t now[SECTORS], flushed[SECTORS], snap[SECTORS];
	uint32_t history[SECTORS][HISTORY];
	unsigned nhistory[SECTORS];
	bool has_snap;
	unsigned snap_sectors;
	uint32_t stamp;
	unsigned seed;
	bool crashes;
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

static uint32_t base_stamp(unsigned sector)
{
	/* shorter than the disk, with holes */
	return sector < 500 && sector % 7 < 4 ? 0x80000000u + sector : 0;
}

static struct blk *base_blk(void)
{
	AUTO_FREE uint8_t *data = calloc(600, SECTOR);

	assert_non_null(data);
	for (unsigned i = 0; i < 600; i++)
		stamp_fill(data + i * SECTOR, base_stamp(i), 1);
	return io_mem_new(data, 600 * SECTOR, &m.err);
}

/* Takes both files over. */
static struct chain *open_chain(struct blk *lower, struct blk *data, unsigned flags)
{
	struct image *image = NULL;
	struct chain *chain;

	good(qcow2_open(lower, NULL, flags, &image, &m.err));
	image->data = data;
	chain = chain_new(&image->blk, &m.err);
	assert_non_null(chain);
	if (m.kind->backing)
		good(chain_append(chain, base_blk(), &m.err));
	return chain;
}

static void open_image(void)
{
	struct blk *lower = log_open(m.log, 0, &m.err);

	assert_non_null(lower);
	m.chain = open_chain(lower, m.data ? log_open(m.log, 1, &m.err) : NULL, IMAGE_WRITE);
	m.q = qcow2_of(m.chain->layer[0]);
	if (rnd(2))
		return;
	/* so little room that tables are written at any time */
	cache_free(m.q->l2_cache);
	m.q->l2_cache = cache_new(lower, m.q->cluster_size, 2, &m.err);
	assert_non_null(m.q->l2_cache);
	cache_free(m.q->ref_cache);
	m.q->ref_cache = cache_new(lower, m.q->cluster_size, 2, &m.err);
	assert_non_null(m.q->ref_cache);
}

static void create_image(const struct kind *kind)
{
	struct create c = {.size = kind->sectors * SECTOR};
	struct opts *opts = opts_new(&m.err);

	assert_non_null(opts);
	m.kind = kind;
	good(opts_parse(opts, kind->opts, NULL, &m.err));
	if (kind->backing) {
		good(opts_set(opts, "backing_file", "base", &m.err));
		good(opts_set(opts, "backing_fmt", "raw", &m.err));
	}
	m.file = io_mem_new(NULL, 0, &m.err);
	assert_non_null(m.file);
	m.data = NULL;
	if (strstr(kind->opts, "data_file")) {
		m.data = io_mem_new(NULL, 0, &m.err);
		assert_non_null(m.data);
	}
	c.lower = m.file;
	c.file = &m.data;
	c.nfile = m.data ? 1 : 0;
	c.opts = opts;
	good(qcow2_create(&c, &m.err));
	opts_free(opts);
	m.log = log_new(&m.err);
	assert_non_null(m.log);
	log_forget_stable(m.log);
	good(log_add_file(m.log, m.file, &m.err));
	if (m.data)
		good(log_add_file(m.log, m.data, &m.err));
	m.sectors = kind->sectors;
	m.has_snap = false;
	m.stamp = 0;
	for (unsigned i = 0; i < SECTORS; i++) {
		m.now[i] = m.flushed[i] = kind->backing ? base_stamp(i) : 0;
		m.nhistory[i] = 0;
	}
	open_image();
}

static void close_image(void)
{
	good(blk_close(&m.chain->blk, &m.err));
	m.chain = NULL;
	good(log_restart(m.log, &m.err));
}

static void hear(void *arg, const char *line)
{
	if (strncmp(line, "Leaked", 6) != 0)
		print_error("%s\n", line);
}

/* errors are never there; leaks only where allowed */
static void check_file(struct blk *lower, bool leaks)
{
	struct check c = {.report = hear};
	struct image *image = NULL;

	good(qcow2_open(lower, NULL, IMAGE_CHECK, &image, &m.err));
	good(qcow2_check(image, &c, &m.err));
	if (c.errors || c.check_errors || (c.leaks && !leaks))
		print_error("%s: seed %u: %u errors, %u leaks\n", m.kind->opts, m.seed,
			    (unsigned)c.errors, (unsigned)c.leaks);
	/* with the dirty bit, counts may be too low */
	if (!(qcow2_of(&image->blk)->h.incompat & QCOW2_INCOMPAT_DIRTY))
		assert_int_equal(c.errors, 0);
	assert_int_equal(c.check_errors, 0);
	if (!leaks)
		assert_int_equal(c.leaks, 0);
	good(blk_close(&image->blk, &m.err));
}

/* ---- comparisons ------------------------------------------------------------------ */

static void compare_now(struct chain *chain)
{
	AUTO_FREE uint8_t *buf = malloc(m.sectors * SECTOR);

	assert_non_null(buf);
	good(blk_pread(&chain->blk, buf, m.sectors * SECTOR, 0, &m.err));
	for (unsigned i = 0; i < m.sectors; i++) {
		if (stamp_of(buf + i * SECTOR) != m.now[i])
			print_error("%s: seed %u: sector %u is %x, not %x\n", m.kind->opts,
				    m.seed, i, stamp_of(buf + i * SECTOR), m.now[i]);
		assert_int_equal(stamp_of(buf + i * SECTOR), m.now[i]);
	}
}

/* The disk as the snapshot has it: its L1 table in the place of the active one. */
static void compare_snapshot(struct blk *blk)
{
	size_t n;
	const void *data = io_mem_data(blk, &n);
	AUTO_FREE uint8_t *file = malloc(n);
	AUTO_FREE uint8_t *buf = malloc(m.snap_sectors * SECTOR);
	struct chain *chain;
	uint64_t table;

	assert_true(file && buf);
	memcpy(file, data, n);
	table = get_be64(file + 64);
	assert_true(table > 0 && table + 72 <= n);
	memcpy(file + 40, file + table, 8);		     /* l1_off */
	memcpy(file + 36, file + table + 8, 4);		     /* l1_size */
	put_be64(file + 24, m.snap_sectors * UINT64_C(512)); /* size */
	chain = open_chain(io_mem_new(file, n, &m.err), NULL, 0);
	good(blk_pread(&chain->blk, buf, m.snap_sectors * SECTOR, 0, &m.err));
	for (unsigned i = 0; i < m.snap_sectors; i++)
		assert_int_equal(stamp_of(buf + i * SECTOR), m.snap[i]);
	good(blk_close(&chain->blk, &m.err));
}

static bool possible(unsigned sector, uint32_t stamp)
{
	if (stamp == m.flushed[sector])
		return true;
	for (unsigned i = 0; i < m.nhistory[sector]; i++)
		if (stamp == m.history[sector][i])
			return true;
	return false;
}

/* The file as a crash leaves it. */
static struct blk *lost(unsigned file)
{
	const struct log_loss loss = {LOSE_RANDOM_PARTS, rnd(1u << 20)};
	struct blk *blk = log_state(m.log, file, log_count(m.log), &loss, &m.err);

	assert_non_null(blk);
	return blk;
}

/* A hook of the log: some of the moments are enough. */
static void crash(void *arg)
{
	struct blk *file;
	AUTO_FREE uint8_t *buf = NULL;
	unsigned sectors;
	struct chain *chain;

	if (rnd(20) != 0)
		return;
	file = lost(0);
	buf = malloc(SECTORS * SECTOR);
	assert_non_null(buf);
	check_file(pass_borrow(file, &m.err), true);
	chain = open_chain(pass_borrow(file, &m.err), m.data ? lost(1) : NULL, 0);
	sectors = (unsigned)(blk_size(&chain->blk) / SECTOR);
	good(blk_pread(&chain->blk, buf, sectors * SECTOR, 0, &m.err));
	for (unsigned i = 0; i < sectors; i++) {
		uint32_t stamp = stamp_of(buf + i * SECTOR);

		if (!possible(i, stamp))
			print_error("%s: seed %u: sector %u is %x, flushed %x\n", m.kind->opts,
				    m.seed, i, stamp, m.flushed[i]);
		assert_true(possible(i, stamp));
	}
	good(blk_close(&chain->blk, &m.err));
	if (m.has_snap)
		compare_snapshot(file);
	good(blk_close(file, &m.err));
}

/* ---- steps ------------------------------------------------------------------------ */

static void flushed(void)
{
	memcpy(m.flushed, m.now, sizeof(m.flushed));
	memset(m.nhistory, 0, sizeof(m.nhistory));
}

static void flush_image(void)
{
	good(blk_flush(&m.chain->blk, &m.err));
	flushed();
}

/* From now on these sectors may have changed. */
static void begin(unsigned sector, unsigned n, uint32_t stamp)
{
	for (unsigned i = sector; i < sector + n; i++)
		if (m.nhistory[i] == HISTORY) {
			flush_image();
			break;
		}
	for (unsigned i = sector; i < sector + n; i++)
		m.history[i][m.nhistory[i]++] = stamp;
}

static void wrote(unsigned sector, unsigned n, uint32_t stamp)
{
	for (unsigned i = sector; i < sector + n; i++)
		m.now[i] = stamp;
}

static void pick(unsigned *sector, unsigned *n, unsigned max)
{
	*sector = rnd(m.sectors);
	*n = 1 + rnd(MIN(max, m.sectors - *sector));
}

static void step_write(void)
{
	unsigned sector, n;
	AUTO_FREE uint8_t *buf = NULL;

	pick(&sector, &n, rnd(4) ? 20 : 300);
	buf = malloc(n * SECTOR);
	assert_non_null(buf);
	m.stamp++;
	for (unsigned i = 0; i < n; i++)
		stamp_fill(buf + i * SECTOR, m.stamp, 1);
	begin(sector, n, m.stamp);
	good(blk_pwrite(&m.chain->blk, buf, n * SECTOR, sector * UINT64_C(512), 0, &m.err));
	wrote(sector, n, m.stamp);
}

static void step_zero(void)
{
	unsigned sector, n;

	pick(&sector, &n, rnd(4) ? 40 : 600);
	begin(sector, n, 0);
	good(blk_zero(&m.chain->blk, sector * UINT64_C(512), n * UINT64_C(512),
		      rnd(2) ? BLK_UNMAP : 0, &m.err));
	wrote(sector, n, 0);
}

/* Some adjacent clusters, compressed. */
static void step_pack(void)
{
	struct blk *top = m.chain->layer[0];
	unsigned per = top->grain / SECTOR, first, n;
	AUTO_FREE uint8_t *in = malloc(top->grain), *out = malloc(8 * top->grain);
	uint32_t packed[8];
	struct claim c = {.packed = packed};
	size_t at = 0;

	assert_true(in && out);
	if (!pack_has(top->codec) || m.data)
		return;
	first = rnd(m.sectors / per);
	n = 1 + rnd(MIN(8, m.sectors / per - first));
	m.stamp++;
	for (unsigned i = 0; i < per; i++)
		stamp_fill(in + i * SECTOR, m.stamp, 1);
	for (unsigned i = 0; i < n; i++) {
		size_t len = top->grain;

		good(top->ops->pack(top, in, top->grain, out + at, &len, &m.err));
		assert_int_not_equal(len, 0);
		packed[i] = (uint32_t)len;
		at += len;
	}
	c.off = (uint64_t)first * top->grain;
	c.len = (uint64_t)n * top->grain;
	good(blk_claim(top, &c, &m.err));
	at = 0;
	for (size_t i = 0; i < c.nrun; i++) {
		good(blk_pwrite(c.home, out + at, c.run[i].len, c.run[i].host, 0, &m.err));
		at += c.run[i].len;
	}
	if (rnd(5) == 0) {
		blk_drop(top, &c);
		return;
	}
	begin(first * per, n * per, m.stamp);
	good(blk_settle(top, &c, &m.err));
	wrote(first * per, n * per, m.stamp);
}

/* Claimed, written, thought better of. */
static void step_drop(void)
{
	struct blk *top = m.chain->layer[0];
	unsigned per = top->grain / SECTOR, first = rnd(m.sectors / per);
	struct claim c = {.off = (uint64_t)first * top->grain, .len = top->grain};
	struct extent e;

	good(blk_extent(top, c.off, c.len, &e, &m.err));
	if (e.flags == EXT_DATA)
		return; /* would be written in place */
	good(blk_claim(top, &c, &m.err));
	blk_drop(top, &c);
}

static void step_grow(void)
{
	unsigned more = rnd(300);

	/* a larger disk would show more of the backing file: that is not the driver's */
	if (m.sectors + more > SECTORS || m.sectors < 600 || (m.has_snap && m.q->h.version < 3))
		return;
	m.sectors += more;
	good(chain_resize(m.chain, m.sectors * UINT64_C(512), PREALLOC_OFF, &m.err));
	flush_image();
}

/* Bit 63 of all entries of the L2 table at L1 index i away, a reference to each more. */
static void share_l2(struct qcow2 *q, uint64_t i)
{
	uint8_t *table;

	good(qcow2_l2_get(q, i, &table, &m.err));
	for (uint64_t k = 0; k < UINT64_C(1) << q->l2_bits; k++) {
		uint64_t e = get_be64(table + k * q->l2_entry), off = e & QCOW2_OFF_MASK;
		uint32_t len = q->cluster_size;
		uint64_t first;

		if (e & QCOW2_COMPRESSED)
			qcow2_packed_place(q, e, &off, &len);
		else if (!off)
			continue;
		put_be64(table + k * q->l2_entry, e & ~QCOW2_COPIED);
		first = off >> q->h.cluster_bits;
		good(qcow2_ref_change(q, first,
				      ((off + len - 1) >> q->h.cluster_bits) - first + 1, true,
				      &m.err));
	}
	cache_dirty(q->l2_cache, table);
	cache_put(q->l2_cache, table);
	good(qcow2_ref_change(q, (q->l1[i] & QCOW2_OFF_MASK) >> q->h.cluster_bits, 1, true,
			      &m.err));
	qcow2_l1_set(q, i, q->l1[i] & ~QCOW2_COPIED);
}

/* The only snapshot, made with what the driver has. Then all is closed and opened. */
static void step_snapshot(void)
{
	struct qcow2 *q = m.q;
	uint64_t l1_off, table_off, got, l1_len = q->h.l1_size * UINT64_C(8);
	AUTO_FREE uint8_t *l1 = calloc(1, l1_len);
	uint8_t entry[72] = {0};
	bool fresh;

	if (m.has_snap)
		return;
	assert_non_null(l1);
	log_hook(m.log, NULL, NULL);
	good(qcow2_start(q, &m.err));
	good(qcow2_alloc(q, div_up(l1_len, q->cluster_size), true, &l1_off, &got, &fresh,
			 &m.err));
	good(qcow2_alloc(q, 1, true, &table_off, &got, &fresh, &m.err));
	for (uint64_t i = 0; i < q->h.l1_size; i++) {
		if (q->l1[i])
			share_l2(q, i);
		put_be64(l1 + 8 * i, q->l1[i]);
	}
	put_be64(entry, l1_off);
	put_be32(entry + 8, q->h.l1_size);
	put_be16(entry + 12, 1);
	put_be16(entry + 14, 1);
	put_be32(entry + 36, 24);
	put_be64(entry + 48, q->h.size);
	memcpy(entry + 64, "1s", 2);
	good(blk_pwrite(q->image.blk.lower, l1, l1_len, l1_off, 0, &m.err));
	good(blk_pwrite(q->image.blk.lower, entry, sizeof(entry), table_off, 0, &m.err));
	flush_image();
	q->h.nb_snapshots = 1;
	q->h.snapshots_off = table_off;
	good(qcow2_header_update(q, &m.err));
	flush_image();
	memcpy(m.snap, m.now, sizeof(m.snap));
	m.has_snap = true;
	m.snap_sectors = m.sectors;
	close_image();
	open_image();
	log_hook(m.log, m.crashes ? crash : NULL, NULL);
}

static void step_reopen(void)
{
	close_image();
	flushed();
	check_file(pass_borrow(m.file, &m.err), false);
	open_image();
	compare_now(m.chain);
}

static void step(void)
{
	unsigned what = rnd(100);

	if (what < 45)
		step_write();
	else if (what < 60)
		step_zero();
	else if (what < 80)
		step_pack();
	else if (what < 84)
		step_drop();
	else if (what < 86)
		step_grow();
	else if (what < 90)
		step_reopen();
	else if (what < 95)
		flush_image();
	else if (m.kind->snapshots && what < 96)
		step_snapshot();
}

static void play(bool crashes)
{
	m.crashes = crashes;
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		if (strstr(kinds[k].opts, "zstd") && !pack_has(CODEC_ZSTD))
			continue;
		m.seed = 1 + (unsigned)k + (crashes ? 1000 : 0);
		create_image(&kinds[k]);
		log_hook(m.log, crashes ? crash : NULL, NULL);
		for (unsigned i = 0; i < kinds[k].rounds; i++)
			step();
		step_reopen();
		close_image();
		if (m.has_snap)
			compare_snapshot(m.file);
		log_free(m.log);
		good(blk_close(m.file, &m.err));
		good(blk_close(m.data, &m.err));
	}
}

static void test_model(void **state)
{
	play(false);
}

static void test_crashes(void **state)
{
	play(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
