/* Plays rows on kinds: all prefixes and many subsets of their logs, and all failures. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/crash.h"

/* How thorough. */
struct effort {
	unsigned random;     /* subsets for each entry of the log */
	unsigned lose_one;   /* of a flush's entries, each of the last so many alone is lost */
	unsigned write_each; /* every so many states are written on */
	unsigned fault_step; /* every so many operations fail */
};

static const struct effort some = {4, 16, 8, 3}, much = {24, 1000, 2, 1};

static struct {
	uint64_t plays, prefixes, subsets, same, faults;
	uint64_t seen[1u << 16]; /* hashes of states, by their low bits */
} count;

static bool full(void)
{
	const char *s = getenv("CRASH_FULL");

	return s && *s && strcmp(s, "0") != 0;
}

static bool wanted(const struct crash_kind *kind, const struct crash_row *row)
{
	const char *only = getenv("CRASH_ONLY");
	char name[300];

	if (row->fits && !row->fits(kind))
		return false;
	snprintf(name, sizeof(name), "%s %s", kind->create, row->name);
	if (only)
		return strstr(name, only) != NULL;
	return full() || kind->quick;
}

static void tell(const char *what)
{
	if (full() || getenv("CRASH_COUNTS"))
		print_message("# %s: %llu plays, %llu prefixes, %llu subsets (%llu more were "
			      "alike), %llu failures injected\n",
			      what, (unsigned long long)count.plays,
			      (unsigned long long)count.prefixes,
			      (unsigned long long)count.subsets, (unsigned long long)count.same,
			      (unsigned long long)count.faults);
	memset(&count, 0, sizeof(count));
}

/* ---- replay ----------------------------------------------------------------------- */

static uint64_t hash(struct blk *blk)
{
	size_t n;
	const uint8_t *p = io_mem_data(blk, &n);
	uint64_t h = n + 1, word;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 32;
	}
	return h * 31 + n;
}

/* Was this state looked at with the same expectations? */
static bool known(struct crash *c, struct blk *const *file, size_t n)
{
	uint64_t h = (crash_state_expects(c, n) << 20) + count.plays, *slot;

	for (unsigned i = 0; i < c->nfile; i++)
		h = h * 31 + hash(file[i]);
	slot = &count.seen[h & (ARRAY_LEN(count.seen) - 1)];
	if (*slot == h)
		return true;
	*slot = h;
	return false;
}

static void look(struct crash *c, size_t n, const struct log_loss *loss, unsigned what)
{
	struct blk *file[CRASH_FILES] = {NULL, NULL};

	for (unsigned i = 0; i < c->nfile; i++) {
		file[i] = log_state(c->log, i, n, loss, &c->err);
		assert_non_null(file[i]);
	}
	if (known(c, file, n)) {
		count.same++;
	} else {
		*(loss->kind == LOSE_NOTHING ? &count.prefixes : &count.subsets) += 1;
		crash_state_check(c, file, n, what);
	}
	for (unsigned i = 0; i < c->nfile; i++)
		crash_good(c, blk_close(file[i], &c->err));
}

static void look_at(struct crash *c, size_t n, const struct effort *effort)
{
	uint64_t turn = count.prefixes + count.subsets;
	unsigned what = STATE_REPAIR | (turn % effort->write_each == 0 ? STATE_WRITE : 0);
	size_t stable = n;

	look(c, n, &(struct log_loss){LOSE_NOTHING, 0}, what);
	if (n == 0)
		return;
	for (unsigned i = 0; i < c->nfile; i++)
		stable = MIN(stable, log_stable(c->log, n, i));
	if (log_entry(c->log, n - 1)->kind != LOG_FLUSH) {
		look(c, n, &(struct log_loss){LOSE_ALL_BUT_ONE, n - 1}, what);
		look(c, n, &(struct log_loss){LOSE_TAIL, n - 1}, what);
		look(c, n, &(struct log_loss){LOSE_HEAD, n - 1}, what);
	}
	if (n == log_count(c->log) || log_entry(c->log, n)->kind == LOG_FLUSH)
		for (size_t i = MAX(stable, n - MIN(n, effort->lose_one)); i < n; i++)
			look(c, n, &(struct log_loss){LOSE_ONE, i}, what);
	if (n - stable < 2)
		return;
	for (unsigned i = 0; i < effort->random; i++)
		look(c, n,
		     &(struct log_loss){i % 2 ? LOSE_RANDOM_PARTS : LOSE_RANDOM,
					n * 1000 + i + 1},
		     what);
}

/* The image of a row, with its pattern still to come. */
static void prepare(struct crash *c, const struct crash_kind *kind, const struct crash_row *row)
{
	crash_create(c, kind, row);
	crash_good(c, crash_open(c));
	if (row->setup)
		crash_good(c, row->setup(c));
	crash_good(c, crash_close(c));
	crash_start_log(c);
}

static int run(struct crash *c)
{
	struct err later;

	if (crash_open(c))
		return -1;
	if (c->row->run(c) == 0)
		return crash_close(c);
	later = c->err;
	/* whoever holds the image may go on; what a flush then says is so */
	if (c->chain && crash_write(c, 3, 9) == 0 && crash_flush(c) == 0 &&
	    crash_zero(c, 50, 60, BLK_UNMAP) == 0 &&
	    crash_write(c, c->now->sectors - 30, 30) == 0)
		crash_flush(c);
	crash_close(c);
	c->err = later;
	return -1;
}

static void play_log(const struct crash_kind *kind, const struct crash_row *row)
{
	const struct effort *effort = full() ? &much : &some;
	struct crash *c = malloc(sizeof(*c));

	assert_non_null(c);
	count.plays++;
	prepare(c, kind, row);
	crash_good(c, run(c));
	crash_state_check(c, c->file, log_count(c->log), STATE_LEAKS_TOO);
	for (size_t n = 0; n <= log_count(c->log); n++)
		look_at(c, n, effort);
	crash_free(c);
	free(c);
}

void crash_play_logs(const struct crash_kind *kinds, const struct crash_row *rows)
{
	for (const struct crash_kind *k = kinds; k->format; k++)
		for (const struct crash_row *r = rows; r->name; r++)
			if (wanted(k, r))
				play_log(k, r);
	tell("logs");
}

/* ---- failures --------------------------------------------------------------------- */

struct failure {
	unsigned ops;
	int error;
	bool lasting, half;
};

static const struct failure failures[] = {
	{FAULT_WRITE, EIO, false, true},
	{FAULT_WRITE | FAULT_ZERO | FAULT_RESIZE, EIO, true, false},
	/* a file tells of every flush after the one that failed that it failed, too */
	{FAULT_FLUSH, EIO, true, false},
	{FAULT_FLUSH, EIO, false, false},
	{FAULT_GROW, ENOSPC, true, false},
	{FAULT_GROW, ENOSPC, false, true},
	{FAULT_ZERO | FAULT_RESIZE, EIO, false, false},
	{FAULT_READ, EIO, false, false},
};

/* Whatever failed, the process went on to its end; then the power may fail, too. */
static void after_failure(struct crash *c)
{
	size_t n = log_count(c->log);
	unsigned all = STATE_REPAIR | STATE_WRITE;

	look(c, n, &(struct log_loss){LOSE_NOTHING, 0}, all);
	look(c, n, &(struct log_loss){LOSE_RANDOM, n + 1}, all);
	look(c, n, &(struct log_loss){LOSE_RANDOM_PARTS, n + 2}, all);
}

/* False: there is no nth operation that could fail. */
static bool play_failure(const struct crash_kind *kind, const struct crash_row *row,
			 const struct failure *f, unsigned nth)
{
	struct fault fault = {.ops = f->ops,
			      .nth = nth,
			      .lasting = f->lasting,
			      .half = f->half,
			      .error = f->error};
	struct crash *c = malloc(sizeof(*c));
	int rc;

	assert_non_null(c);
	count.plays++;
	prepare(c, kind, row);
	c->fault = &fault;
	strcpy(c->err.text, "");
	rc = run(c);
	if (fault.fired == 0) {
		crash_good(c, rc);
	} else {
		count.faults++;
		if (rc)
			assert_true(c->err.num && c->err.text[0]);
		c->fault = NULL;
		after_failure(c);
	}
	crash_free(c);
	free(c);
	return fault.fired > 0;
}

static void play_failures(const struct crash_kind *kind, const struct crash_row *row)
{
	unsigned step = full() ? much.fault_step : some.fault_step;

	for (unsigned f = 0; f < ARRAY_LEN(failures); f++)
		for (unsigned n = 1 + f % step; play_failure(kind, row, &failures[f], n);)
			n += step;
}

void crash_play_faults(const struct crash_kind *kinds, const struct crash_row *rows)
{
	for (const struct crash_kind *k = kinds; k->format; k++)
		for (const struct crash_row *r = rows; r->name; r++)
			if (wanted(k, r))
				play_failures(k, r);
	tell("faults");
}
