/* What must be true of an image after a crash. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/filter/pass.h"
#include "lib/mem.h"
#include "tests/lib/crash.h"
#include "tests/lib/stamp.h"

#define SECTOR 512u

/* The last flush that returned before. */
static size_t flushed(const struct crash *c)
{
	size_t last = 0;
	bool found = false;

	for (size_t i = 0; i < c->nevent; i++) {
		const struct crash_event *e = &c->event[i];

		if (e->kind != EVENT_FLUSH || e->failed || (found && e->to > c->step))
			continue;
		last = i;
		found = true;
	}
	assert_true(found);
	return last;
}

/* Had it begun? */
static bool begun(const struct crash *c, const struct crash_event *e)
{
	return e->from < c->step || e->to <= c->step;
}

uint64_t crash_state_expects(struct crash *c, size_t step)
{
	uint64_t n = 0;

	c->step = step;
	for (size_t i = 0; i < c->nevent; i++)
		n += begun(c, &c->event[i]);
	return n * ARRAY_LEN(c->event) + flushed(c);
}

/* May this be what a sector holds? */
static bool possible(const struct crash *c, size_t base, unsigned s, uint32_t value)
{
	if (value == c->event[base].view->value[s])
		return true;
	for (size_t i = 0; i < c->nevent; i++) {
		const struct crash_event *e = &c->event[i];

		if ((i < base && !e->failed) || !begun(c, e) || e->kind != EVENT_CHANGE)
			continue;
		if (value == e->view->value[s] && (!e->failed || value != e->before->value[s]))
			return true;
	}
	return false;
}

static bool possible_size(const struct crash *c, size_t base, unsigned sectors)
{
	if (sectors == c->event[base].view->sectors)
		return true;
	for (size_t i = 0; i < c->nevent; i++) {
		const struct crash_event *e = &c->event[i];

		if ((i >= base || e->failed) && begun(c, e) && sectors == e->view->sectors)
			return true;
	}
	return false;
}

static void complain(const struct crash *c, const char *what, unsigned sector, uint32_t got,
		     uint32_t want)
{
	print_error("%s %s: log at %zu: %s: sector %u is %x, not %x\n", c->kind->create,
		    c->row->name, c->step, what, sector, got, want);
}

static uint8_t *read_all(struct crash *c, struct chain *chain, unsigned *sectors)
{
	uint8_t *buf;

	*sectors = (unsigned)(blk_size(&chain->blk) / SECTOR);
	buf = malloc(*sectors * SECTOR + 1);
	assert_non_null(buf);
	crash_good(c, blk_pread(&chain->blk, buf, *sectors * SECTOR, 0, &c->err));
	return buf;
}

static void compare(struct crash *c, struct chain *chain, bool exact)
{
	size_t base = flushed(c);
	unsigned sectors;
	AUTO_FREE uint8_t *buf = read_all(c, chain, &sectors);

	if (exact)
		assert_int_equal(sectors, c->now->sectors);
	if (!possible_size(c, base, sectors))
		complain(c, "size", 0, sectors, c->event[base].view->sectors);
	assert_true(possible_size(c, base, sectors));
	for (unsigned i = 0; i < sectors; i++) {
		uint32_t got = stamp_of(buf + i * SECTOR);
		bool good = exact ? got == c->now->value[i] : possible(c, base, i, got);

		if (!good)
			complain(c, exact ? "now" : "flushed", i, got,
				 exact ? c->now->value[i] : c->event[base].view->value[i]);
		assert_true(good);
	}
}

/* ---- snapshots -------------------------------------------------------------------- */

/* It must be what the disk was. */
static void compare_snapshot(struct crash *c, struct blk *const *file, size_t i,
			     const struct crash_event *e)
{
	struct chain *chain = crash_chain(c, file, 0);
	struct image *image;
	unsigned sectors;
	uint8_t *buf;

	crash_good(c, chain ? 0 : -1);
	image = (struct image *)chain->layer[0];
	crash_good(c, c->kind->format->snapshot->load(image, i, &c->err));
	chain->blk.size = blk_size(chain->layer[0]);
	buf = read_all(c, chain, &sectors);
	assert_int_equal(sectors, e->view->sectors);
	for (unsigned s = 0; s < sectors; s++) {
		uint32_t got = stamp_of(buf + s * SECTOR);

		if (got != e->view->value[s])
			complain(c, e->name, s, got, e->view->value[s]);
		assert_int_equal(got, e->view->value[s]);
	}
	free(buf);
	crash_good(c, blk_close(&chain->blk, &c->err));
}

static const struct crash_event *event_of(const struct crash *c, int kind, const char *name)
{
	for (size_t i = 0; i < c->nevent; i++)
		if ((int)c->event[i].kind == kind && strcmp(c->event[i].name, name) == 0)
			return &c->event[i];
	return NULL;
}

static bool listed(const struct info *info, const char *name)
{
	for (size_t i = 0; i < info->nsnapshot; i++)
		if (strcmp(info->snapshot[i].name, name) == 0)
			return true;
	return false;
}

/* All that must be there are, and those that are there are right. */
static void check_snapshots(struct crash *c, struct blk *const *file, const struct info *info)
{
	size_t base = flushed(c);

	for (size_t i = 0; i < info->nsnapshot; i++) {
		const char *name = info->snapshot[i].name;
		const struct crash_event *e = event_of(c, EVENT_SNAPSHOT, name);
		const struct crash_event *gone = event_of(c, EVENT_FORGET, name);

		assert_true(e && begun(c, e));
		if (gone && !gone->failed)
			assert_true(gone >= &c->event[base]);
		compare_snapshot(c, file, i, e);
	}
	for (size_t i = 0; i < base; i++) {
		const struct crash_event *e = &c->event[i], *gone;

		if (e->kind != EVENT_SNAPSHOT || e->failed)
			continue;
		gone = event_of(c, EVENT_FORGET, e->name);
		if ((!gone || !begun(c, gone)) && !listed(info, e->name))
			print_error("%s %s: log at %zu: snapshot %s is lost\n", c->kind->create,
				    c->row->name, c->step, e->name);
		assert_true((gone && begun(c, gone)) || listed(info, e->name));
	}
}

/* ---- checks ----------------------------------------------------------------------- */

static void hear(void *arg, const char *line)
{
	if (strncmp(line, "Leaked", 6) != 0)
		print_error("# %s\n", line);
}

static struct image *open_for_check(struct crash *c, struct blk *file, unsigned flags)
{
	struct image *image = NULL;

	crash_good(c, c->kind->format->open(pass_borrow(file, &c->err), NULL,
					    IMAGE_CHECK | flags, &image, &c->err));
	return image;
}

static void check_file(struct crash *c, struct blk *file, bool leaks)
{
	struct check check = {.report = hear};
	struct info info = {0};
	struct image *image;

	if (!c->kind->format->check)
		return;
	image = open_for_check(c, file, 0);
	/* counts may be too low where the image says so */
	crash_good(c, c->kind->format->info(image, &info, &c->err));
	if (info.dirty)
		check.report = NULL;
	crash_good(c, c->kind->format->check(image, &check, &c->err));
	crash_good(c, blk_close(&image->blk, &c->err));
	if (check.check_errors || (check.errors && !info.dirty) || (check.leaks && !leaks))
		print_error("%s %s: log at %zu: %u errors, %u leaks\n", c->kind->create,
			    c->row->name, c->step, (unsigned)check.errors,
			    (unsigned)check.leaks);
	if (!info.dirty)
		assert_int_equal(check.errors, 0);
	assert_int_equal(check.check_errors, 0);
	if (!leaks)
		assert_int_equal(check.leaks, 0);
	info_free(&info);
}

/* False: this format cannot. */
static bool repair_file(struct crash *c, struct blk *file)
{
	struct check check = {.fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS};
	struct image *image;
	struct err later;
	int rc, num;

	/* nothing to put right, or nothing that could */
	if (!c->kind->format->check)
		return true;
	image = open_for_check(c, file, IMAGE_WRITE);
	rc = c->kind->format->check(image, &check, &c->err);
	num = c->err.num;
	if (rc && num == ENOTSUP) {
		blk_close(&image->blk, &later);
		return false;
	}
	crash_good(c, rc);
	crash_good(c, blk_close(&image->blk, &c->err));
	/* a format without a list of what is free may have to leave leaks, but says so */
	check_file(c, file, check.leaks > 0);
	return true;
}

static void check_contents(struct crash *c, struct blk *const *file, bool exact)
{
	struct chain *chain = crash_chain(c, file, 0);
	struct info info = {0};
	struct image *image;

	crash_good(c, chain ? 0 : -1);
	compare(c, chain, exact);
	image = (struct image *)chain->layer[0];
	if (c->row->verify)
		c->row->verify(c, chain);
	crash_good(c, c->kind->format->info(image, &info, &c->err));
	crash_good(c, blk_close(&chain->blk, &c->err));
	check_snapshots(c, file, &info);
	info_free(&info);
}

/* Some more is written, and stays. */
static void check_writable(struct crash *c, struct blk *const *file)
{
	struct chain *chain = crash_chain(c, file, IMAGE_WRITE);
	uint8_t buf[SECTOR], got[SECTOR];
	uint64_t off[3];

	crash_good(c, chain ? 0 : -1);
	off[0] = 0;
	off[1] = round_down(blk_size(&chain->blk) / 2, SECTOR);
	off[2] = blk_size(&chain->blk) - SECTOR;
	stamp_fill(buf, 0x77777777, 1);
	for (size_t i = 0; i < ARRAY_LEN(off); i++)
		crash_good(c, blk_pwrite(&chain->blk, buf, SECTOR, off[i], 0, &c->err));
	crash_good(c, blk_close(&chain->blk, &c->err));
	chain = crash_chain(c, file, 0);
	crash_good(c, chain ? 0 : -1);
	for (size_t i = 0; i < ARRAY_LEN(off); i++) {
		crash_good(c, blk_pread(&chain->blk, got, SECTOR, off[i], &c->err));
		assert_memory_equal(got, buf, SECTOR);
	}
	crash_good(c, blk_close(&chain->blk, &c->err));
}

void crash_state_check(struct crash *c, struct blk *const *file, size_t step, unsigned what)
{
	bool exact = what & STATE_LEAKS_TOO;
	unsigned images = c->kind->below == BELOW_IMAGE ? 2 : 1;
	bool repaired = true;

	c->step = step;
	for (unsigned i = 0; i < images; i++)
		check_file(c, file[i], !exact);
	check_contents(c, file, exact);
	for (unsigned i = 0; (what & STATE_REPAIR) && i < images; i++)
		repaired = repaired && repair_file(c, file[i]);
	if ((what & STATE_REPAIR) && repaired)
		check_contents(c, file, exact);
	if (!(what & STATE_WRITE) || !repaired)
		return;
	check_writable(c, file);
	/* counts past the end of the file are no leaks before it reaches there */
	for (unsigned i = 0; i < images; i++)
		check_file(c, file[i], true);
}
