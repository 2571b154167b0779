#include "tests/lib/crash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/filter/pass.h"
#include "lib/io/io.h"
#include "lib/mem.h"
#include "tests/lib/stamp.h"

#define SECTOR	      512u
#define BELOW_SECTORS 300u /* of the raw files below */

void crash_good(struct crash *c, int rc)
{
	if (rc)
		print_error("%s %s: log at %zu: %s\n", c->kind->create, c->row->name, c->step,
			    c->err.text);
	assert_int_equal(rc, 0);
}

unsigned crash_rnd(struct crash *c, unsigned n)
{
	return dice(&c->seed) % n;
}

/* ---- contents --------------------------------------------------------------------- */

uint32_t crash_below_stamp(const char *name, unsigned sector)
{
	uint32_t which = strcmp(name, "other.raw") == 0 ? 0x90000000u : 0x80000000u;

	/* shorter than the disk, with holes; the two have some sectors in common */
	if (sector >= BELOW_SECTORS || sector % 7 >= 4)
		return 0;
	return (sector % 5 == 0 ? 0x80000000u : which) + sector;
}

static struct blk *raw_below(struct crash *c, const char *name)
{
	AUTO_FREE uint8_t *data = malloc(BELOW_SECTORS * SECTOR);
	struct blk *blk;

	assert_non_null(data);
	for (unsigned i = 0; i < BELOW_SECTORS; i++)
		stamp_fill(data + i * SECTOR, crash_below_stamp(name, i), 1);
	blk = io_mem_new(data, BELOW_SECTORS * SECTOR, &c->err);
	assert_non_null(blk);
	return blk;
}

struct chain *crash_source(struct crash *c, const struct crash_view *view)
{
	size_t n = view->sectors * SECTOR;
	AUTO_FREE uint8_t *data = malloc(n);
	struct chain *chain;

	assert_non_null(data);
	for (unsigned i = 0; i < view->sectors; i++)
		stamp_fill(data + i * SECTOR, view->value[i], 1);
	chain = chain_new(io_mem_new(data, n, &c->err), &c->err);
	assert_non_null(chain);
	return chain;
}

/* ---- images ----------------------------------------------------------------------- */

static struct opts *parse(struct crash *c, const char *text)
{
	struct opts *opts = opts_new(&c->err);

	assert_non_null(opts);
	if (text)
		crash_good(c, opts_parse(opts, text, NULL, &c->err));
	return opts;
}

static struct blk *new_file(struct crash *c)
{
	struct blk *blk = io_mem_new(NULL, 0, &c->err);

	assert_non_null(blk);
	assert_true(c->nfile < CRASH_FILES);
	c->file[c->nfile++] = blk;
	return blk;
}

/* An image below, as full as the raw file would be. */
static void create_below(struct crash *c)
{
	AUTO_FREE uint8_t *buf = malloc(BELOW_SECTORS * SECTOR);
	struct opts *opts = parse(c, c->kind->create);
	struct create create = {.opts = opts, .size = c->kind->sectors * SECTOR};
	struct chain *chain;
	struct blk *blk;

	assert_non_null(buf);
	create.lower = new_file(c);
	crash_good(c, c->kind->format->create(&create, &c->err));
	opts_free(opts);
	blk = crash_open_below(c, c->file, "below.image", IMAGE_WRITE);
	chain = chain_new(blk, &c->err);
	assert_non_null(chain);
	for (unsigned i = 0; i < BELOW_SECTORS; i++) {
		uint32_t stamp = crash_below_stamp("below.image", i);

		stamp_fill(buf, stamp, 1);
		if (stamp)
			crash_good(c, blk_pwrite(&chain->blk, buf, SECTOR, i * SECTOR, 0,
						 &c->err));
	}
	crash_good(c, blk_close(&chain->blk, &c->err));
}

void crash_create(struct crash *c, const struct crash_kind *kind, const struct crash_row *row)
{
	struct opts *opts;
	struct blk *data;
	struct create create = {.size = kind->sectors * SECTOR};

	memset(c, 0, sizeof(*c));
	c->kind = kind;
	c->row = row;
	c->seed = 1;
	c->now = calloc(1, sizeof(*c->now));
	assert_non_null(c->now);
	opts = parse(c, kind->create);
	create.opts = opts;
	create.lower = new_file(c);
	c->now->sectors = kind->sectors;
	if (kind->below != BELOW_NOTHING && kind->below != BELOW_DATA) {
		const char *name = kind->below == BELOW_IMAGE ? "below.image" : "below.raw";

		crash_good(c, opts_set(opts, "backing_file", name, &c->err));
		crash_good(c, opts_set(opts, "backing_fmt",
				       kind->below == BELOW_IMAGE ? kind->format->name : "raw",
				       &c->err));
		for (unsigned i = 0; i < kind->sectors; i++)
			c->now->value[i] = crash_below_stamp(name, i);
	}
	if (kind->below == BELOW_IMAGE)
		create_below(c);
	if (crash_has_data(kind)) {
		crash_good(c, opts_set(opts, "data_file", "data", &c->err));
		data = new_file(c);
		create.file = &data;
		create.nfile = 1;
	}
	if (kind->below == BELOW_IMAGE && (kind->format->caps & FORMAT_READS_BACKING))
		create.backing = (struct image *)crash_open_below(c, c->file, "below.image", 0);
	crash_good(c, kind->format->create(&create, &c->err));
	if (create.backing)
		crash_good(c, blk_close(&create.backing->blk, &c->err));
	opts_free(opts);
}

static void drop_events(struct crash *c)
{
	for (size_t i = 0; i < c->nevent; i++) {
		free(c->event[i].before);
		free(c->event[i].view);
	}
	c->nevent = 0;
}

void crash_free(struct crash *c)
{
	struct err later;

	drop_events(c);
	log_free(c->log);
	for (unsigned i = 0; i < c->nfile; i++)
		blk_close(c->file[i], &later);
	free(c->now);
}

static struct image *open_image(struct crash *c, struct blk *lower, unsigned flags)
{
	struct opts *opts = parse(c, c->kind->open);
	struct image *image = NULL;
	struct err later;

	if (c->kind->format->open(lower, opts, flags, &image, &c->err))
		blk_close(lower, &later);
	opts_free(opts);
	return image;
}

struct blk *crash_open_below(struct crash *c, struct blk *const *file, const char *name,
			     unsigned flags)
{
	struct image *image;
	struct blk *blk;

	if (strstr(name, ".raw"))
		return raw_below(c, name);
	if (strcmp(name, "below.image") != 0) {
		err_set(&c->err, ENOENT, "A file '%s' is below", name);
		return NULL;
	}
	blk = pass_borrow(file[1], &c->err);
	assert_non_null(blk);
	image = open_image(c, blk, flags);
	return image ? &image->blk : NULL;
}

struct chain *crash_chain(struct crash *c, struct blk *const *file, unsigned flags)
{
	struct image *image = open_image(c, pass_borrow(file[0], &c->err), flags);
	struct chain *chain;
	struct blk *below;

	if (!image)
		return NULL;
	if (image->needs_data)
		image->data = pass_borrow(file[1], &c->err);
	chain = chain_new(&image->blk, &c->err);
	if (!chain || !image->backing)
		return chain;
	below = crash_open_below(c, file, image->backing, 0);
	if (below && chain_append(chain, below, &c->err) == 0)
		return chain;
	blk_close(&chain->blk, &(struct err){0});
	return NULL;
}

struct image *crash_image(const struct crash *c)
{
	return (struct image *)c->chain->layer[0];
}

/* ---- the log ---------------------------------------------------------------------- */

static struct crash_view *view_copy(const struct crash_view *view)
{
	struct crash_view *copy = malloc(sizeof(*copy));

	assert_non_null(copy);
	memcpy(copy, view, sizeof(*copy));
	return copy;
}

struct crash_event *crash_event_begin(struct crash *c, int kind)
{
	struct crash_event *e = &c->event[c->nevent];

	assert_true(c->nevent < ARRAY_LEN(c->event));
	assert_false(c->writing);
	c->writing = true;
	memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->from = c->log ? log_count(c->log) : 0;
	e->before = view_copy(c->now);
	return e;
}

int crash_event_end(struct crash *c, int rc)
{
	struct crash_event *e = &c->event[c->nevent++];

	e->to = c->log ? log_count(c->log) : 0;
	e->failed = rc != 0;
	e->view = view_copy(c->now);
	if (rc)
		*c->now = *e->before;
	c->writing = false;
	return rc;
}

void crash_start_log(struct crash *c)
{
	/* snapshots stay events of the time before */
	for (size_t i = 0; i < c->nevent; i++)
		c->event[i].from = c->event[i].to = 0;
	c->log = log_new(&c->err);
	assert_non_null(c->log);
	for (unsigned i = 0; i < c->nfile; i++)
		crash_good(c, log_add_file(c->log, c->file[i], &c->err));
	crash_event_begin(c, EVENT_FLUSH);
	crash_event_end(c, 0);
}

/* A file as the pattern sees it: what it does is logged, and may fail. */
static struct blk *file_of(struct crash *c, unsigned i)
{
	struct blk *blk = c->log ? log_open(c->log, i, &c->err)
				 : pass_borrow(c->file[i], &c->err);

	assert_non_null(blk);
	if (!c->fault)
		return blk;
	blk = fault_over(c->fault, blk, &c->err);
	assert_non_null(blk);
	return blk;
}

int crash_open(struct crash *c)
{
	struct blk *file[CRASH_FILES] = {NULL, NULL};

	for (unsigned i = 0; i < c->nfile; i++)
		file[i] = file_of(c, i);
	c->chain = crash_chain(c, file, IMAGE_WRITE);
	/* the image has borrowed them, and goes on through our eyes */
	for (unsigned i = 0; i < c->nfile; i++)
		c->through[i] = file[i];
	if (c->chain)
		return 0;
	crash_close(c);
	return -1;
}

int crash_close(struct crash *c)
{
	struct err later;
	int rc = 0;

	if (c->chain && blk_close(&c->chain->blk, &c->err))
		rc = -1;
	c->chain = NULL;
	for (unsigned i = 0; i < c->nfile; i++) {
		blk_close(c->through[i], &later);
		c->through[i] = NULL;
	}
	return rc;
}

int crash_reopen(struct crash *c)
{
	int rc = crash_close(c);

	return rc ? rc : crash_open(c);
}

struct chain *crash_open_file(struct crash *c, unsigned file)
{
	struct image *image;
	struct chain *chain;

	c->through[file] = file_of(c, file);
	image = open_image(c, pass_borrow(c->through[file], &c->err), IMAGE_WRITE);
	chain = image ? chain_new(&image->blk, &c->err) : NULL;
	if (!chain)
		crash_close_file(c, file, NULL);
	return chain;
}

int crash_close_file(struct crash *c, unsigned file, struct chain *chain)
{
	int rc = chain ? blk_close(&chain->blk, &c->err) : 0;
	struct err later;

	blk_close(c->through[file], &later);
	c->through[file] = NULL;
	return rc;
}

/* ---- repair ----------------------------------------------------------------------- */

static int repair(struct crash *c, struct blk *lower)
{
	struct check check = {.fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS};
	struct image *image = NULL;
	struct err later;
	int rc;

	if (c->kind->format->open(lower, NULL, IMAGE_CHECK | IMAGE_WRITE, &image, &c->err)) {
		blk_close(lower, &later);
		return -1;
	}
	rc = c->kind->format->check(image, &check, &c->err);
	return blk_close(&image->blk, rc ? &later : &c->err) || rc ? -1 : 0;
}

int crash_repair(struct crash *c)
{
	int rc;

	c->through[0] = file_of(c, 0);
	rc = repair(c, pass_borrow(c->through[0], &c->err));
	return crash_close_file(c, 0, NULL) || rc ? -1 : 0;
}

bool crash_can_repair(const struct crash_kind *kind)
{
	static const struct format *asked;
	static bool can;
	struct crash c;

	if (!kind->format->check)
		return false;
	if (kind->format != asked) {
		crash_create(&c, kind, &(struct crash_row){.name = "repair"});
		can = repair(&c, pass_borrow(c.file[0], &c.err)) == 0;
		crash_free(&c);
		asked = kind->format;
	}
	return can;
}
