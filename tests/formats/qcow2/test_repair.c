/*
 * check -r: what it says and leaves behind for single damages; random damage, where what was
 * not hit must read back and the image must be sound afterwards; and every state that a power
 * failure in the middle of a repair can leave.
 */
#include "tests/formats/qcow2/craft.h"

#include <errno.h>

#include "lib/chain.h"
#include "lib/filter/fault.h"
#include "lib/filter/log.h"
#include "lib/mem.h"
#include "tests/lib/stamp.h"

#define ALL   (CHECK_FIX_LEAKS | CHECK_FIX_ERRORS)
#define MEND  (ALL | CHECK_FIX_ENTRIES)
#define GUEST 16u /* clusters */

static unsigned seed;

static unsigned rnd(unsigned n)
{
	return dice(&seed) % n;
}

/* ---- images ----------------------------------------------------------------------- */

/* Each data cluster says which it is. */
static void stamp(unsigned cl)
{
	memset(img.p + at(cl), 0x80 + (int)cl, img.cl);
}

/* All of the guest's clusters but 1, which is zeros, have data. */
static void make_full(unsigned bits, unsigned order, uint64_t incompat)
{
	make_as(bits, order, incompat);
	set_l2(1, img.entry == 8 ? QCOW2_ZERO : 0);
	for (unsigned i = 4; i < GUEST; i++) {
		set_l2(i, at(img.size) | COPIED);
		set_ref(img.size++, 1);
	}
	for (unsigned cl = DATA; cl < img.size; cl++)
		stamp(cl);
	for (unsigned i = 0; img.entry == 16 && i < GUEST; i++)
		put_be64(img.p + L2 * img.cl + i * 16 + 8,
			 i == 1 ? (uint64_t)UINT32_MAX << 32 : UINT32_MAX);
}

static struct blk *mem(void)
{
	struct err err;
	struct blk *file = io_mem_new(img.p, (size_t)img.size * img.cl, &err);

	assert_non_null(file);
	return file;
}

/* Of a file in memory: another one with the same contents. */
static struct blk *copy_of(struct blk *file)
{
	struct err err;
	size_t n;
	const void *p = io_mem_data(file, &n);
	struct blk *copy = io_mem_new(p, n, &err);

	assert_non_null(copy);
	return copy;
}

/* Checks `file` (not taken over) with this fix -> res. False: it could not be opened. */
static bool run(struct blk *file, unsigned fix)
{
	struct image *image;
	struct err later;

	memset(&res, 0, sizeof(res));
	res.c.report = hear;
	res.c.fix = fix;
	if (qcow2_open(file, NULL, IMAGE_CHECK | (fix ? IMAGE_WRITE : 0), &image, &res.err))
		return false;
	res.rc = qcow2_check(image, &res.c, &res.err);
	image->blk.lower = NULL;
	assert_int_equal(blk_close(&image->blk, &later), 0);
	return true;
}

/* What the guest sees: for each cluster its byte, -1 for a mixture, -2 where it fails. */
static bool look(struct blk *file, int *view)
{
	struct blk *copy = copy_of(file);
	AUTO_FREE uint8_t *buf = malloc(img.cl);
	struct image *image;
	struct chain *chain;
	struct err err;

	assert_non_null(buf);
	if (qcow2_open(copy, NULL, 0, &image, &err)) {
		blk_close(copy, &err);
		return false;
	}
	chain = chain_new(&image->blk, &err);
	assert_non_null(chain);
	for (unsigned i = 0; i < GUEST; i++) {
		view[i] = -2;
		if (blk_pread(&chain->blk, buf, img.cl, i * (uint64_t)img.cl, &err))
			continue;
		view[i] = buf[0];
		if (memcmp(buf, buf + 1, img.cl - 1) != 0)
			view[i] = -1;
	}
	blk_close(&chain->blk, &err);
	return true;
}

static void expect_clean(struct blk *file)
{
	assert_true(run(file, 0));
	if (res.rc || res.c.errors || res.c.leaks || res.c.check_errors)
		print_error("seed %u: %s%s\n", seed, res.rc ? res.err.text : "", res.text);
	assert_int_equal(res.rc, 0);
	assert_int_equal(res.c.errors, 0);
	assert_int_equal(res.c.leaks, 0);
	assert_int_equal(res.c.check_errors, 0);
}

/* ---- one damage at a time ---------------------------------------------------------- */

static void repaired(unsigned fix, uint64_t errors, uint64_t leaks, const char *text)
{
	struct blk *file = mem();
	struct err err;

	assert_true(run(file, fix));
	if (res.rc)
		print_error("%s\n", res.err.text);
	assert_string_equal(res.text, text);
	assert_int_equal(res.rc, 0);
	assert_int_equal(res.c.errors_fixed, errors);
	assert_int_equal(res.c.leaks_fixed, leaks);
	assert_int_equal(res.c.errors + res.c.leaks, 0);
	expect_clean(file);
	blk_close(file, &err);
}

static void test_counts(void **state)
{
	make();
	set_ref(6, 3);
	repaired(CHECK_FIX_LEAKS, 0, 1,
		 "Leaked cluster 6 refcount=3 reference=1\n"
		 "Repairing cluster 6 refcount=3 reference=1\n");
	make();
	set_l2(5, at(DATA) | COPIED);
	repaired(ALL, 3, 0,
		 "ERROR cluster 5 refcount=1 reference=2\n"
		 "Repairing cluster 5 refcount=1 reference=2\n"
		 "Repairing OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=2\n"
		 "Repairing OFLAG_COPIED data cluster: l2_entry=8000000000050000 refcount=2\n");
	make();
	set_l2(0, at(DATA));
	put(L1, 0, at(L2));
	repaired(CHECK_FIX_LEAKS, 2, 0,
		 "Repairing OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=40000 refcount=1\n"
		 "Repairing OFLAG_COPIED data cluster: l2_entry=50000 refcount=1\n");
}

static void test_rebuild(void **state)
{
	make();
	set_ref(5, 0);
	repaired(ALL, 1, 0,
		 "ERROR cluster 5 refcount=0 reference=1\n"
		 "Rebuilding refcount structure\n"
		 "Repairing cluster 1 refcount=1 reference=0\n"
		 "Repairing cluster 2 refcount=1 reference=0\n");
	make();
	put(TABLE, 0, at(BLOCK) | 1);
	repaired(ALL, 1, 1,
		 "ERROR refcount table entry 0 has reserved bits set\n"
		 "Leaked cluster 2 refcount=1 reference=0\n"
		 "Rebuilding refcount structure\n"
		 "Repairing cluster 1 refcount=1 reference=0\n");
	make();
	put(TABLE, 1, UINT64_C(1) << 40);
	repaired(ALL, 2, 0,
		 "Repairing refcount block 1 is outside image\n"
		 "ERROR cluster 16777216 refcount=0 reference=1\n"
		 "Rebuilding refcount structure\n"
		 "Repairing cluster 1 refcount=1 reference=0\n"
		 "Repairing cluster 2 refcount=1 reference=0\n"
		 "Repairing cluster 16777216 refcount=1 reference=0\n");
}

/* Nothing is touched where leaks alone may be repaired and more would have to be. */
static void test_refuse(void **state)
{
	struct blk *file;
	struct err err;
	size_t n;

	make();
	set_ref(5, 0);
	set_ref(6, 2);
	file = mem();
	assert_true(run(file, CHECK_FIX_LEAKS));
	assert_int_equal(res.rc, -1);
	assert_int_equal(res.err.num, EIO);
	assert_non_null(strstr(res.text, "ERROR need to rebuild refcount structures\n"));
	assert_memory_equal(io_mem_data(file, &n), img.p, (size_t)img.size * img.cl);
	blk_close(file, &err);
}

static void test_entries(void **state)
{
	make();
	set_l2(0, (at(DATA) + 512) | COPIED | QCOW2_ZERO);
	repaired(ALL, 1, 1,
		 "Repairing offset=50200: Preallocated cluster is not properly aligned; L2 "
		 "entry corrupted.\n"
		 "Leaked cluster 5 refcount=1 reference=0\n"
		 "Repairing cluster 5 refcount=1 reference=0\n");
	make();
	set_l2(0, UINT64_C(1) << 40 | COPIED);
	set_l2(2, at(DATA + 1) | COPIED | 8);
	repaired(MEND, 2, 1,
		 "Repairing offset=10000000000: cluster past the end of the file; it reads as "
		 "zeros from now on\n"
		 "Repairing found l2 entry with reserved bits set: 8000000000060008\n"
		 "Leaked cluster 5 refcount=1 reference=0\n"
		 "Repairing cluster 5 refcount=1 reference=0\n");
}

static void test_overlap(void **state)
{
	static const uint64_t place[] = {0, L1, TABLE};
	struct blk *file;
	struct err err;

	for (unsigned i = 0; i < ARRAY_LEN(place); i++) {
		make();
		put(L1, 0, at((unsigned)place[i]) | COPIED);
		file = mem();
		assert_true(run(file, MEND));
		assert_int_equal(res.rc, 0);
		assert_int_equal(res.c.errors_fixed, 1);
		assert_non_null(strstr(res.text, "Table in the place of other metadata"));
		expect_clean(file);
		blk_close(file, &err);
	}
	make();
	put(L1, 0, at(L1) | COPIED);
	file = mem();
	assert_true(run(file, ALL)); /* as the peer: it stops there */
	assert_int_equal(res.rc, -1);
	assert_int_equal(res.err.num, EIO);
	blk_close(file, &err);
}

static void test_bits(void **state)
{
	struct blk *file;
	struct err err;
	size_t n;

	make_as(16, 4, 3);
	set_l2(0, at(DATA) | COPIED | 8);
	file = mem();
	assert_true(run(file, ALL)); /* the peer leaves that, and so do we: still corrupt */
	assert_int_equal(res.c.errors, 1);
	assert_int_equal(get_be64((const uint8_t *)io_mem_data(file, &n) + 72), 2);
	assert_true(run(file, MEND));
	assert_int_equal(get_be64((const uint8_t *)io_mem_data(file, &n) + 72), 0);
	blk_close(file, &err);
}

/* A snapshot whose entry lacks the extra data of version 3. */
static void add_snapshot(void)
{
	unsigned l1 = img.size++, table = img.size++;
	uint8_t *e = img.p + at(table);

	set_ref(l1, 1);
	set_ref(table, 1);
	set_ref(L2, 2);
	put(L1, 0, at(L2));
	put(l1, 0, at(L2));
	for (unsigned i = 0, cl = DATA; i < GUEST; i++) {
		if (i == 1)
			continue;
		set_l2(i, at(cl)); /* in make_full's order */
		set_ref(cl++, 2);
	}
	put_be64(e, at(l1));
	put_be32(e + 8, 1);
	put_be16(e + 12, 1);
	put_be16(e + 14, 1);
	memcpy(e + 40, "1a", 2);
	put_be32(img.p + 60, 1);
	put_be64(img.p + 64, at(table));
}

/* The snapshot table has to move, and the refcount block has no entry for a new place. */
static void test_no_room(void **state)
{
	make_full(9, 6, 0);
	put_be64(img.p + 24, 64 * (uint64_t)img.cl);
	add_snapshot();
	for (unsigned i = GUEST; img.size < 64; i++) {
		set_l2(i, at(img.size));
		set_ref(img.size++, 2);
	}
	repaired(ALL, 1, 0, "Repairing snapshot table entry 0 is incomplete\n");
}

/* ---- random damage ----------------------------------------------------------------- */

static void damage(void)
{
	unsigned cl = TABLE + rnd(L2 - TABLE + 1), word = rnd(img.cl / 8);
	uint8_t *p;

	if (rnd(3)) /* mostly where something is */
		word = rnd(cl == L2 ? GUEST * img.entry / 8 : cl == BLOCK ? 8 : 2);
	p = img.p + at(cl) + word * 8;
	switch (rnd(6)) {
	case 0:
		p[rnd(8)] ^= (uint8_t)(1 << rnd(8));
		break;
	case 1:
		memset(p, 0, 8);
		break;
	case 2:
		for (unsigned i = 0; i < 8; i++)
			p[i] = (uint8_t)rnd(256);
		break;
	case 3: /* some other place, mostly a cluster */
		put_be64(p, at(rnd(img.size + 2)) | (rnd(2) ? COPIED : 0) | (rnd(4) ? 0 : 512));
		break;
	case 4:
		memset(img.p + at(cl), rnd(2) ? 0 : 0xff, rnd(8) ? 64 : img.cl);
		break;
	case 5:
		img.size -= rnd(3);
		break;
	}
}

/* Is there anything that no repair of ours can put right? Tables in one place. */
static bool hopeless(void)
{
	return strstr(res.text, "overflow cluster") != NULL;
}

static void one_round(unsigned *sound)
{
	static const uint64_t wide[] = {0, 0, QCOW2_INCOMPAT_EXT_L2};
	uint64_t incompat = wide[rnd(3)];
	int before[GUEST], after[GUEST];
	struct blk *file;
	struct err err;
	bool open;

	make_full(incompat ? 14 : 9 + rnd(4), 3 + rnd(4), incompat);
	for (unsigned n = 1 + rnd(4); n > 0; n--)
		damage();
	file = mem();
	open = look(file, before);
	if (!run(file, MEND))
		goto out; /* the header, by its places: refused */
	if (res.rc == 0 && !hopeless()) {
		run(file, 0);
		*sound += !res.c.errors && !res.c.leaks && !res.c.check_errors;
	}
	if (!open)
		goto out;
	assert_true(look(file, after));
	for (unsigned i = 0; i < GUEST; i++) {
		/* what shows metadata as data may change with it */
		if (before[i] < 0x80 || before[i] == after[i])
			continue;
		print_error("seed %u: guest cluster %u was %d and is %d\n%s", seed, i,
			    before[i], after[i], res.text);
		fail();
	}
out:
	blk_close(file, &err);
}

static void test_random(void **state)
{
	const unsigned rounds = 6000;
	unsigned sound = 0;

	for (unsigned i = 0; i < rounds; i++) {
		seed = i;
		one_round(&sound);
	}
	print_message("%u of %u sound after repair\n", sound, rounds);
	assert_true(sound >= rounds * 99 / 100);
}

/* ---- power failures ---------------------------------------------------------------- */

static void state_of_crash(struct log *log, size_t n, const struct log_loss *loss,
			   const int *before)
{
	struct err err;
	struct blk *file = log_state(log, 0, n, loss, &err);
	int view[GUEST];

	assert_non_null(file);
	for (unsigned i = 0; i < GUEST; i++)
		view[i] = before[i];
	assert_true(look(file, view) || before[0] == -3);
	for (unsigned i = 0; i < GUEST; i++)
		assert_true(before[i] < 0 || before[i] == view[i]);
	assert_true(run(file, MEND));
	assert_int_equal(res.rc, 0);
	expect_clean(file);
	assert_true(look(file, view));
	for (unsigned i = 0; i < GUEST; i++)
		assert_true(before[i] < 0 || before[i] == view[i]);
	blk_close(file, &err);
}

/* Repairs what img is, and then looks at all that could have become of it. */
static void crash_everywhere(unsigned fix)
{
	struct blk *file = mem(), *logged;
	struct err err;
	struct log *log = log_new(&err);
	int before[GUEST];

	assert_non_null(log);
	assert_int_equal(log_add_file(log, file, &err), 0);
	if (!look(file, before)) /* not before the repair */
		for (unsigned i = 0; i < GUEST; i++)
			before[i] = -3;
	logged = log_open(log, 0, &err);
	assert_non_null(logged);
	assert_true(run(logged, fix));
	assert_int_equal(res.rc, 0);
	blk_close(logged, &err);
	assert_true(log_count(log) > 0);
	for (size_t n = 0; n <= log_count(log); n++) {
		struct log_loss loss = {LOSE_NOTHING, 0};

		state_of_crash(log, n, &loss, before);
		for (size_t i = log_stable(log, n, 0); i < n; i++) {
			loss = (struct log_loss){LOSE_ALL_BUT_ONE, i};
			state_of_crash(log, n, &loss, before);
			loss.kind = LOSE_ONE;
			state_of_crash(log, n, &loss, before);
		}
		for (unsigned i = 0; i < 4; i++) {
			loss = (struct log_loss){LOSE_RANDOM_PARTS, n * 4 + i};
			state_of_crash(log, n, &loss, before);
		}
	}
	log_free(log);
	blk_close(file, &err);
}

/* ---- errors of the file ------------------------------------------------------------ */

/* The n-th read, write or flush fails: no data is lost by it, and another repair is all that
 * is needed. False: there were not so many. */
static bool fail_once(unsigned fix, unsigned ops, uint64_t n, bool lasting)
{
	struct fault plan = {.ops = ops, .nth = n, .lasting = lasting, .error = EIO};
	struct blk *file = mem(), *through;
	int before[GUEST], view[GUEST];
	struct err err;
	bool open = look(file, before);

	through = fault_open(&plan, file, &err);
	assert_non_null(through);
	/* what cannot be read may be told of and nothing else; what cannot be written stops it
	 */
	if (run(through, fix) && plan.fired && ops != FAULT_READ)
		assert_int_equal(res.rc, -1);
	blk_close(through, &err);
	assert_true(look(file, view) || !open);
	for (unsigned i = 0; open && i < GUEST; i++)
		assert_true(before[i] < 0x80 || before[i] == view[i]);
	assert_true(run(file, MEND));
	assert_int_equal(res.rc, 0);
	expect_clean(file);
	if (open)
		assert_true(look(file, view));
	for (unsigned i = 0; open && i < GUEST; i++)
		assert_true(before[i] < 0x80 || before[i] == view[i]);
	blk_close(file, &err);
	return plan.fired > 0;
}

static void fail_everywhere(unsigned fix)
{
	static const unsigned ops[] = {FAULT_READ, FAULT_WRITE, FAULT_FLUSH};

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++)
		for (unsigned lasting = 0; lasting < 2; lasting++)
			for (uint64_t n = 1; fail_once(fix, ops[i], n, lasting); n++)
				;
}

static void each_damage(void (*fn)(unsigned fix))
{
	for (unsigned i = 0; i < 14; i++) {
		make_full(i < 7 ? 9 : 12, 4, i % 2 ? 3 : 1);
		switch (i % 7) {
		case 0:
			set_ref(DATA, 0);
			set_ref(DATA + 1, 2);
			break;
		case 1:
			put(TABLE, 0, 0);
			break;
		case 2:
			set_l2(0, at(DATA + 1) | COPIED);
			set_l2(5, at(DATA + 1));
			break;
		case 3:
			put(TABLE, 0, at(BLOCK) | 2);
			set_l2(4, UINT64_C(1) << 40);
			break;
		case 4:
			put(L1, 0, at(L2) | 2);
			set_l2(4, 0);
			set_l2(6, (at(DATA + 3) + 512) | QCOW2_ZERO);
			break;
		case 5:
			put_be64(img.p + 48, at(MAX - 1));
			break;
		case 6:
			add_snapshot();
			break;
		}
		fn(MEND);
	}
}

static void test_crash(void **state)
{
	each_damage(crash_everywhere);
}

static void test_fail(void **state)
{
	each_damage(fail_everywhere);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),	cmocka_unit_test(test_rebuild),
		cmocka_unit_test(test_refuse),	cmocka_unit_test(test_entries),
		cmocka_unit_test(test_overlap), cmocka_unit_test(test_bits),
		cmocka_unit_test(test_no_room), cmocka_unit_test(test_random),
		cmocka_unit_test(test_crash),	cmocka_unit_test(test_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
