/*
 * Dirty bitmaps, for any format that has them: a bitmap that is there and not broken tells of
 * every sector that is not what it was when the bitmap was made or cleared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/dirty.h"
#include "lib/mem.h"
#include "tests/lib/crash.h"
#include "tests/lib/stamp.h"

enum what { ADD, ADD_DISABLED, CLEAR, REMOVE, DISABLE, ENABLE };

/* What was done to bitmaps: the disk as it was then, and when. */
static struct {
	enum what what;
	char name;
	size_t from, to;
	struct crash_view view;
} done[24];
static size_t ndone;

static bool fits(const struct crash_kind *k)
{
	return k->format->bitmap && !strstr(k->create, "compat=0.10");
}

static int change(struct crash *c, enum what what, char name)
{
	const struct bitmap_ops *ops = c->kind->format->bitmap;
	const char text[] = {name, '\0'};
	struct image *image = crash_image(c);
	int rc = 0;

	/* what it tells changes against is there to stay */
	TRY(crash_flush(c));
	assert_true(ndone < ARRAY_LEN(done));
	done[ndone].what = what;
	done[ndone].name = name;
	done[ndone].view = *c->now;
	done[ndone].from = c->log ? log_count(c->log) : 0;
	switch (what) {
	case ADD:
	case ADD_DISABLED:
		rc = ops->add(image, text, 512, what == ADD, &c->err);
		break;
	case CLEAR:
		rc = ops->clear(image, text, &c->err);
		break;
	case REMOVE:
		rc = ops->remove(image, text, &c->err);
		break;
	case ENABLE:
	case DISABLE:
		rc = ops->enable(image, text, what == ENABLE, &c->err);
		break;
	}
	done[ndone].to = rc ? SIZE_MAX : c->log ? log_count(c->log) : 0;
	ndone++;
	return rc;
}

static int setup(struct crash *c)
{
	ndone = 0;
	TRY(crash_fill_disk(c));
	TRY(change(c, ADD, 'a'));
	TRY(change(c, ADD_DISABLED, 'b'));
	TRY(change(c, ADD, 'c'));
	return crash_write_some(c, 3, 30);
}

/* What the setup did is not in the log. */
static size_t start(const struct crash *c)
{
	size_t n = ndone;

	for (size_t i = 0; i < ndone; i++)
		if (done[i].what == ADD && done[i].name == 'c')
			n = i + 1;
	for (size_t i = 0; i < n; i++)
		done[i].from = done[i].to = 0;
	return n;
}

static int run(struct crash *c)
{
	ndone = start(c);
	TRY(crash_write_some(c, 3, 30));
	TRY(crash_reopen(c));
	TRY(change(c, ADD, 'd'));
	TRY(crash_write(c, 10, 20));
	TRY(crash_zero(c, 100, 50, BLK_UNMAP));
	TRY(change(c, CLEAR, 'a'));
	TRY(crash_write(c, 40, 20));
	TRY(crash_reopen(c));
	TRY(change(c, REMOVE, 'c'));
	TRY(crash_write(c, 60, 20));
	TRY(crash_flush(c));
	TRY(change(c, ENABLE, 'b'));
	TRY(change(c, DISABLE, 'd'));
	TRY(crash_write(c, 80, 7));
	TRY(crash_reopen(c));
	TRY(change(c, CLEAR, 'b'));
	TRY(change(c, REMOVE, 'a'));
	return crash_write(c, 7, 7);
}

/* Must bits be there for what is unlike this? NULL: it follows nothing. A failure to enable
 * it may have done so. */
static const struct crash_view *reference(const struct crash *c, char name, bool enabled)
{
	const struct crash_view *view = NULL;

	for (size_t i = 0; i < ndone; i++) {
		if (done[i].name != name || (done[i].from >= c->step && done[i].to > c->step))
			continue;
		switch (done[i].what) {
		case ADD:
		case ENABLE:
			view = done[i].to == SIZE_MAX && !enabled ? NULL : &done[i].view;
			break;
		case CLEAR:
			view = view ? &done[i].view : NULL;
			break;
		default:
			view = NULL;
		}
	}
	return view;
}

/* 1: it must be there. -1: it must not. */
static int expected(const struct crash *c, char name)
{
	int there = -1;

	for (size_t i = 0; i < ndone; i++) {
		if (done[i].name != name || (done[i].from >= c->step && done[i].to > c->step))
			continue;
		if (done[i].what == ADD || done[i].what == ADD_DISABLED)
			there = done[i].to <= c->step;
		else if (done[i].what == REMOVE)
			there = done[i].to <= c->step ? -1 : 0;
	}
	return there;
}

static void check_bits(struct crash *c, struct chain *chain, const struct bitmap_info *bitmap)
{
	const char *name = bitmap->name;
	const struct crash_view *view = reference(c, *name, bitmap->enabled);
	struct image *image = (struct image *)chain->layer[0];
	struct dirty *bits = NULL;
	uint8_t sector[512];

	if (!view)
		return;
	crash_good(c, c->kind->format->bitmap->read(image, name, &bits, &c->err));
	for (unsigned i = 0; i < view->sectors; i++) {
		crash_good(c, blk_pread(&chain->blk, sector, 512, i * UINT64_C(512), &c->err));
		if (stamp_of(sector) == view->value[i] || dirty_test(bits, i * UINT64_C(512)))
			continue;
		print_error("%s %s: log at %zu: bitmap %s: sector %u changed\n",
			    c->kind->create, c->row->name, c->step, name, i);
		fail();
	}
	dirty_free(bits);
}

static void verify(struct crash *c, struct chain *chain)
{
	struct image *image = (struct image *)chain->layer[0];
	struct bitmap_info *list;
	size_t n;

	crash_good(c, c->kind->format->bitmap->list(image, &list, &n, &c->err));
	for (char name = 'a'; name <= 'd'; name++) {
		bool there = false;

		for (size_t i = 0; i < n; i++) {
			if (list[i].name[0] != name)
				continue;
			there = true;
			if (!list[i].broken)
				check_bits(c, chain, &list[i]);
		}
		if (expected(c, name) == (there ? -1 : 1))
			print_error("%s %s: log at %zu: bitmap %c is %sthere\n",
				    c->kind->create, c->row->name, c->step, name,
				    there ? "" : "not ");
		assert_true(expected(c, name) != (there ? -1 : 1));
	}
	free(list);
}

const struct crash_row crash_rows_bitmap[] = {
	{.name = "bitmaps", .setup = setup, .run = run, .fits = fits, .verify = verify},
	{0},
};
