/*
 * Many threads on one image, with a shadow of the disk beside it. Each has places of its own,
 * knows what is in them and looks often; they lie between those of the others, mostly in the
 * same clusters. A part of the disk is everybody's, under locks: there requests are long.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/qcow2/qcow2.h"
#include "lib/chain.h"
#include "lib/dirty.h"
#include "lib/filter/pass.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "lib/pack.h"
#include "tests/lib/stamp.h"

#define SECTOR	 512u
#define SECTORS	 6144u
#define THREADS	 64u
#define STRIPE	 96u /* sectors under one lock */
#define LONG_MAX 300u

struct kind {
	const char *create, *open;
	bool backing, data, snapshot;
	enum chain_detect detect;
	bool bitmap;
};

static const struct kind kinds[] = {
	{"cluster_size=4k", NULL, true, false, true, DETECT_OFF},
	{"cluster_size=512", "cache-size=4k", true, false, true, DETECT_OFF},
	{"cluster_size=64k", NULL, false, false, true, DETECT_UNMAP},
	{"cluster_size=16k,extended_l2=on", NULL, true, false, true, DETECT_OFF},
	{"cluster_size=32k,extended_l2=on,compression_type=zstd", "cache-size=128k", false,
	 false, false, DETECT_ZEROES},
	{"cluster_size=4k,lazy_refcounts=on", NULL, false, false, false, DETECT_OFF, true},
	{"cluster_size=2k,compat=0.10", NULL, false, false, true, DETECT_OFF},
	{"cluster_size=4k,data_file=data,data_file_raw=on", NULL, false, true, false,
	 DETECT_OFF},
	{"cluster_size=4k,data_file=data", NULL, true, true, false, DETECT_OFF, true},
};

/* The disk: units of one sector, then units of UNIT sectors, then what is shared. */
enum { UNIT = 20, SINGLES = 2048, SHARED = SINGLES + 2048 };

static struct {
	const struct kind *kind;
	struct blk *file, *data;
	struct chain *chain;
	uint32_t shadow[SECTORS], snap[SECTORS];
	pthread_rwlock_t stripe[SECTORS / STRIPE + 1];
	unsigned rounds;
	const char *failed; /* by a thread: it may not end the test */
	struct err why;
	pthread_mutex_t lock; /* of these two */
} m;

struct worker {
	pthread_t thread;
	unsigned number, seed, stamp;
	uint8_t *buf;
};

static unsigned rnd(struct worker *w, unsigned n)
{
	return dice(&w->seed) % n;
}

static void complain(const char *what, const struct err *err)
{
	pthread_mutex_lock(&m.lock);
	if (!m.failed) {
		m.failed = what;
		m.why = *err;
	}
	pthread_mutex_unlock(&m.lock);
}

static bool failed(void)
{
	bool yes;

	pthread_mutex_lock(&m.lock);
	yes = m.failed != NULL;
	pthread_mutex_unlock(&m.lock);
	return yes;
}

/* ---- requests: [sector, +n) is this thread's for the time being --------------------- */

static void look(struct worker *w, unsigned sector, unsigned n, bool discarded)
{
	struct err err;

	if (blk_pread(&m.chain->blk, w->buf, n * SECTOR, sector * UINT64_C(512), &err)) {
		complain("a read", &err);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		uint32_t got = stamp_of(w->buf + i * SECTOR);

		if (discarded && got == 0)
			m.shadow[sector + i] = 0;
		if (got == m.shadow[sector + i])
			continue;
		err_set(&err, 1, "sector %u is %x, not %x", sector + i, got,
			m.shadow[sector + i]);
		complain("contents", &err);
	}
}

static void change(struct worker *w, unsigned sector, unsigned n)
{
	static const unsigned flags[] = {0, BLK_UNMAP, BLK_UNMAP | BLK_ADVISE};
	unsigned what = rnd(w, 10), which = rnd(w, 3);
	uint64_t off = sector * UINT64_C(512), len = n * UINT64_C(512);
	uint32_t stamp = what < 7 ? ++w->stamp : 0;
	struct err err;
	int rc;

	if (what < 8) { /* at times of zeros */
		stamp_fill(w->buf, stamp, n);
		rc = blk_pwrite(&m.chain->blk, w->buf, len, off, 0, &err);
	} else {
		rc = blk_zero(&m.chain->blk, off, len, flags[which], &err);
	}
	if (rc)
		complain("a write", &err);
	if (what >= 8 && (flags[which] & BLK_ADVISE)) {
		look(w, sector, n, true);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		m.shadow[sector + i] = stamp;
}

static void work(struct worker *w, unsigned sector, unsigned n, bool write)
{
	if (write)
		change(w, sector, n);
	else
		look(w, sector, n, false);
}

/* One of the sectors that are this thread's alone, or a part of one of its units. */
static void own_place(struct worker *w)
{
	unsigned sector, n = 1;

	if (rnd(w, 2)) {
		sector = rnd(w, SINGLES / THREADS) * THREADS + w->number;
	} else {
		unsigned units = (SHARED - SINGLES) / UNIT / THREADS;
		unsigned unit = rnd(w, units) * THREADS + w->number, in = rnd(w, UNIT);

		sector = SINGLES + unit * UNIT + in;
		n = 1 + rnd(w, UNIT - in);
	}
	work(w, sector, n, rnd(w, 3) != 0);
}

static void shared_place(struct worker *w)
{
	unsigned sector = SHARED + rnd(w, SECTORS - SHARED);
	unsigned n = 1 + rnd(w, MIN(LONG_MAX, SECTORS - sector));
	unsigned first = sector / STRIPE, last = (sector + n - 1) / STRIPE;
	bool write = rnd(w, 2);

	for (unsigned i = first; i <= last; i++)
		if (write)
			pthread_rwlock_wrlock(&m.stripe[i]);
		else
			pthread_rwlock_rdlock(&m.stripe[i]);
	work(w, sector, n, write);
	for (unsigned i = first; i <= last; i++)
		pthread_rwlock_unlock(&m.stripe[i]);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	struct err err;

	for (unsigned i = 0; i < m.rounds && !failed(); i++) {
		unsigned what = rnd(w, 40);

		if (what == 0 && blk_flush(&m.chain->blk, &err))
			complain("a flush", &err);
		else if (what < 8)
			shared_place(w);
		else
			own_place(w);
	}
	return NULL;
}

/* ---- the image -------------------------------------------------------------------- */

static void good(int rc)
{
	if (rc)
		print_error("%s: %s\n", m.kind->create, m.why.text);
	assert_int_equal(rc, 0);
}

static uint32_t base_stamp(unsigned sector)
{
	return m.kind->backing && sector < 5000 && sector % 11 < 6 ? 0x80000000u + sector : 0;
}

static struct blk *base(void)
{
	AUTO_FREE uint8_t *data = malloc(5000 * SECTOR);
	struct blk *blk;

	assert_non_null(data);
	for (unsigned i = 0; i < 5000; i++)
		stamp_fill(data + i * SECTOR, base_stamp(i), 1);
	blk = io_mem_new(data, 5000 * SECTOR, &m.why);
	assert_non_null(blk);
	return blk;
}

static void open_image(unsigned flags)
{
	struct opts *opts = opts_new(&m.why);
	struct image *image;

	assert_non_null(opts);
	if (m.kind->open)
		good(opts_parse(opts, m.kind->open, NULL, &m.why));
	good(qcow2_open(pass_borrow(m.file, &m.why), opts, flags, &image, &m.why));
	if (m.data)
		image->data = pass_borrow(m.data, &m.why);
	opts_free(opts);
	m.chain = chain_new(&image->blk, &m.why);
	assert_non_null(m.chain);
	m.chain->detect = m.kind->detect;
	if (m.kind->backing)
		good(chain_append(m.chain, base(), &m.why));
}

static void close_image(void)
{
	good(blk_close(&m.chain->blk, &m.why));
	m.chain = NULL;
}

/* Some grains, compressed. */
static void pack_some(unsigned first, unsigned end)
{
	struct blk *top = m.chain->layer[0];
	unsigned per = top->grain / SECTOR;
	AUTO_FREE uint8_t *in = malloc(top->grain), *out = malloc(top->grain);

	assert_true(in && out);
	for (unsigned i = (unsigned)round_up(first, per); i + per <= end; i += 3 * per) {
		uint32_t stamp = 0x40000000u + i;
		struct claim c = {.off = i * UINT64_C(512), .len = top->grain};
		uint32_t packed;
		size_t n = top->grain;

		stamp_fill(in, stamp, per);
		good(top->ops->pack(top, in, top->grain, out, &n, &m.why));
		packed = (uint32_t)n;
		c.packed = &packed;
		good(blk_claim(top, &c, &m.why));
		good(blk_pwrite(c.home, out, n, c.run[0].host, 0, &m.why));
		good(blk_settle(top, &c, &m.why));
		for (unsigned k = i; k < i + per; k++)
			m.shadow[k] = stamp;
	}
}

static void write_some(void)
{
	uint8_t buf[7 * SECTOR];

	for (unsigned i = 0; i < SECTORS - 7; i += 61) {
		stamp_fill(buf, 0x20000000u + i, 7);
		good(blk_pwrite(&m.chain->blk, buf, sizeof(buf), i * UINT64_C(512), 0, &m.why));
		for (unsigned k = i; k < i + 7; k++)
			m.shadow[k] = 0x20000000u + i;
	}
}

static void create_image(const struct kind *kind)
{
	struct opts *opts = opts_new(&m.why);
	struct create c = {.opts = opts, .size = SECTORS * SECTOR};
	struct snapshot_info info = {.name = (char[]){"snap"}, .icount = -1};

	assert_non_null(opts);
	m.kind = kind;
	good(opts_parse(opts, kind->create, NULL, &m.why));
	if (kind->backing) {
		good(opts_set(opts, "backing_file", "base", &m.why));
		good(opts_set(opts, "backing_fmt", "raw", &m.why));
	}
	m.file = io_mem_new(NULL, 0, &m.why);
	m.data = kind->data ? io_mem_new(NULL, 0, &m.why) : NULL;
	assert_true(m.file && (m.data || !kind->data));
	c.lower = m.file;
	c.file = &m.data;
	c.nfile = m.data ? 1 : 0;
	good(qcow2_create(&c, &m.why));
	opts_free(opts);
	for (unsigned i = 0; i < SECTORS; i++)
		m.shadow[i] = base_stamp(i);
	open_image(IMAGE_WRITE);
	write_some();
	if (!kind->data && pack_has(m.chain->blk.codec))
		pack_some(SINGLES / 2, SECTORS - 800);
	memcpy(m.snap, m.shadow, sizeof(m.snap));
	if (m.kind->snapshot)
		good(format_qcow2.snapshot->create((struct image *)m.chain->layer[0], &info,
						   &m.why));
	if (kind->bitmap)
		good(format_qcow2.bitmap->add((struct image *)m.chain->layer[0], "b", 1024,
					      true, &m.why));
	close_image();
	open_image(IMAGE_WRITE);
}

/* The bitmap tells of all that is not what it was. */
static void check_bitmap(void)
{
	struct dirty *bits;

	good(format_qcow2.bitmap->read((struct image *)m.chain->layer[0], "b", &bits, &m.why));
	for (unsigned i = 0; i < SECTORS; i++)
		assert_true(m.shadow[i] == m.snap[i] || dirty_test(bits, i * UINT64_C(512)));
	dirty_free(bits);
}

static void compare(const uint32_t *want)
{
	AUTO_FREE uint8_t *buf = malloc(SECTORS * SECTOR);

	assert_non_null(buf);
	good(blk_pread(&m.chain->blk, buf, SECTORS * SECTOR, 0, &m.why));
	for (unsigned i = 0; i < SECTORS; i++) {
		uint32_t got = stamp_of(buf + i * SECTOR);

		if (got != want[i])
			print_error("%s: sector %u is %x, not %x\n", m.kind->create, i, got,
				    want[i]);
		assert_int_equal(got, want[i]);
	}
}

static void hear(void *arg, const char *line)
{
	print_error("%s: %s\n", m.kind->create, line);
}

static void check_image(void)
{
	struct check c = {.report = hear};
	struct image *image;

	good(qcow2_open(pass_borrow(m.file, &m.why), NULL, IMAGE_CHECK, &image, &m.why));
	good(qcow2_check(image, &c, &m.why));
	assert_int_equal(c.errors + c.leaks + c.check_errors, 0);
	good(blk_close(&image->blk, &m.why));
}

/* ---- threads ---------------------------------------------------------------------- */

static void work_together(void)
{
	struct worker *w = calloc(THREADS, sizeof(*w));

	assert_non_null(w);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){
			.number = i, .seed = i * 7919 + 1, .stamp = (i + 1) << 16};
		w[i].buf = malloc(LONG_MAX * SECTOR);
		assert_non_null(w[i].buf);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, run, &w[i]), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		free(w[i].buf);
	}
	free(w);
	if (m.failed)
		print_error("%s: %s: %s\n", m.kind->create, m.failed, m.why.text);
	assert_null(m.failed);
}

static void play(const struct kind *kind)
{
	create_image(kind);
	work_together();
	compare(m.shadow);
	close_image();
	check_image();
	open_image(0);
	compare(m.shadow);
	if (kind->bitmap)
		check_bitmap();
	if (m.kind->snapshot) {
		good(format_qcow2.snapshot->load((struct image *)m.chain->layer[0], 0, &m.why));
		compare(m.snap);
	}
	close_image();
	good(blk_close(m.file, &m.why));
	good(blk_close(m.data, &m.why));
}

static void test_threads(void **state)
{
	const char *rounds = getenv("THREADS_ROUNDS");

	m.rounds = rounds ? (unsigned)atoi(rounds) : 150;
	pthread_mutex_init(&m.lock, NULL);
	for (size_t i = 0; i < ARRAY_LEN(m.stripe); i++)
		pthread_rwlock_init(&m.stripe[i], NULL);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (pack_has(CODEC_ZSTD) || !strstr(kinds[i].create, "zstd"))
			play(&kinds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
