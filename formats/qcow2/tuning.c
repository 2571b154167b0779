/*
 * The options of opening a qcow2 image: how it is used, not what it is. The names are those
 * of QEMU's blockdev options; what is refused, and in which words, was found by trying.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/mem.h"

/* 256 GiB of guest with 64 KiB clusters. What is only read may be one of 200 backing files,
 * and is mostly read from front to back: there a little is enough. */
#define L2_CACHE_DEFAULT  (UINT64_C(32) << 20)
#define L2_CACHE_READER	  (UINT64_C(2) << 20)
#define REF_CACHE_DEFAULT (UINT64_C(4) << 20)
#define REF_BLOCKS_MIN	  4 /* what refcount blocks get where both share cache-size */
#define L2_ENTRY_DEFAULT  4096
#define CLEAN_DEFAULT	  600
#define WINDOW		  (256u << 20) /* refcounts of 8 TiB with 64 KiB clusters */

#define OVERLAP "overlap-check"

const struct opt qcow2_open_opts[] = {
	{.name = "encrypt.key-secret",
	 .type = OPT_STR,
	 .arg = "ID",
	 .help = "Secret with the passphrase of an encrypted image"},
	{.name = "encrypt.format",
	 .type = OPT_STR,
	 .choices = "aes|luks",
	 .help = "How the image has to be encrypted"},
	{.name = "cache-size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Most memory for L2 tables and refcount blocks"},
	{.name = "l2-cache-size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Most memory for L2 tables"},
	{.name = "l2-cache-entry-size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Unit in which changes of an L2 table are written (default: 4 KiB)"},
	{.name = "refcount-cache-size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Most memory for refcount blocks"},
	{.name = "cache-clean-interval",
	 .type = OPT_NUM,
	 .arg = "SECONDS",
	 .help = "Drop tables from memory that were not used for so long; 0: never",
	 .initial = "600"},
	{.name = "lazy-refcounts",
	 .type = OPT_BOOL,
	 .help = "Postpone refcount updates, whatever the image says"},
	{.name = "pass-discard-request",
	 .type = OPT_BOOL,
	 .help = "Give the space of discarded clusters back (default: with discard=unmap)"},
	{.name = "pass-discard-snapshot",
	 .type = OPT_BOOL,
	 .help = "Give the space back that snapshots leave (default: with discard=unmap)"},
	{.name = "pass-discard-other",
	 .type = OPT_BOOL,
	 .help = "Give the space back of what is freed otherwise",
	 .initial = "off"},
	{.name = "discard-no-unref",
	 .type = OPT_BOOL,
	 .help = "Discarded clusters keep their place in the file",
	 .initial = "off"},
	{.name = OVERLAP,
	 .type = OPT_STR,
	 .arg = "TEMPLATE",
	 .choices = "none|constant|cached|all",
	 .help = "What metadata is kept from being written over",
	 .initial = "cached"},
	{.name = OVERLAP ".template",
	 .type = OPT_STR,
	 .arg = "TEMPLATE",
	 .choices = "none|constant|cached|all",
	 .help = "The same, with single kinds changed by the following"},
	{.name = OVERLAP ".main-header", .type = OPT_BOOL, .help = "The header"},
	{.name = OVERLAP ".active-l1", .type = OPT_BOOL, .help = "The L1 table"},
	{.name = OVERLAP ".active-l2", .type = OPT_BOOL, .help = "L2 tables"},
	{.name = OVERLAP ".refcount-table", .type = OPT_BOOL, .help = "The refcount table"},
	{.name = OVERLAP ".refcount-block", .type = OPT_BOOL, .help = "Refcount blocks"},
	{.name = OVERLAP ".snapshot-table", .type = OPT_BOOL, .help = "The snapshot table"},
	{.name = OVERLAP ".inactive-l1", .type = OPT_BOOL, .help = "L1 tables of snapshots"},
	{.name = OVERLAP ".inactive-l2", .type = OPT_BOOL, .help = "L2 tables of snapshots"},
	{.name = OVERLAP ".bitmap-directory",
	 .type = OPT_BOOL,
	 .help = "The directory of bitmaps"},
	{.type = OPT_END},
};

/* ---- what each value means by itself ----------------------------------------------------- */

static int pass(const struct opts *o, const char *key, enum qcow2_pass *out, struct err *err)
{
	bool on;

	if (!opts_has(o, key))
		return 0;
	if (opts_bool(o, key, &on, err))
		return -1;
	*out = on ? QCOW2_PASS_ON : QCOW2_PASS_OFF;
	return 0;
}

/* The peer takes a negative number for a very large one. */
static int read_interval(const struct opts *o, uint64_t *seconds, struct err *err)
{
	const char *key = "cache-clean-interval", *v = opts_get(o, key);

	if (v && v[0] == '-' && v[1] >= '0' && v[1] <= '9') {
		*seconds = UINT64_MAX;
		return 0;
	}
	return opts_num(o, key, UINT64_MAX, seconds, err);
}

/* ---- caches ------------------------------------------------------------------------------ */

/* All L2 tables of the disk. */
static uint64_t l2_of_disk(const struct qcow2_header *h)
{
	uint64_t cluster = UINT64_C(1) << h->cluster_bits;
	uint64_t entry = h->incompat & QCOW2_INCOMPAT_EXT_L2 ? 16 : 8;

	return round_up(div_up(h->size, cluster) * entry, cluster);
}

struct cache_sizes {
	bool all_set, l2_set, ref_set;
	uint64_t all, l2, ref, entry;
};

static int share(const struct qcow2_header *h, struct cache_sizes *c, struct err *err)
{
	uint64_t least = (uint64_t)REF_BLOCKS_MIN << h->cluster_bits;

	if (c->l2_set && c->ref_set)
		return err_set(err, EINVAL,
			       "cache-size, l2-cache-size and refcount-cache-size may not be "
			       "set at the same time");
	if (c->l2_set && c->l2 > c->all)
		return err_set(err, EINVAL, "l2-cache-size may not exceed cache-size");
	if (c->ref_set && c->ref > c->all)
		return err_set(err, EINVAL, "refcount-cache-size may not exceed cache-size");
	if (c->l2_set) {
		c->ref = c->all - c->l2;
	} else if (c->ref_set) {
		c->l2 = c->all - c->ref;
	} else {
		c->l2 = MIN(l2_of_disk(h), c->all - MIN(c->all, least));
		c->ref = c->all - c->l2;
	}
	return 0;
}

static int check_caches(const struct qcow2_header *h, const struct cache_sizes *c,
			struct err *err)
{
	uint64_t cluster = UINT64_C(1) << h->cluster_bits;

	if (c->entry < 512 || c->entry > cluster || (c->entry & (c->entry - 1)))
		return err_set(err, EINVAL,
			       "L2 cache entry size must be a power of two between 512 and the "
			       "cluster size (%" PRIu64 ")",
			       cluster);
	if (MIN(c->l2, l2_of_disk(h)) / c->entry > INT_MAX)
		return err_set(err, EINVAL, "L2 cache size too big");
	if (c->ref / cluster > INT_MAX)
		return err_set(err, EINVAL, "Refcount cache size too big");
	return 0;
}

static int settle_caches(const struct opts *o, const struct qcow2_header *h,
			 struct cache_sizes *c, struct qcow2_tuning *t, struct err *err)
{
	if ((c->all_set && share(h, c, err)) || check_caches(h, c, err))
		return -1;
	t->l2_cache = c->l2;
	t->ref_cache = c->ref;
	t->l2_entry = (uint32_t)c->entry;
	return 0;
}

static int read_caches(const struct opts *o, struct cache_sizes *c, struct err *err)
{
	c->all_set = opts_has(o, "cache-size");
	c->l2_set = opts_has(o, "l2-cache-size");
	c->ref_set = opts_has(o, "refcount-cache-size");
	return opts_size(o, "cache-size", &c->all, err) ||
			       opts_size(o, "l2-cache-size", &c->l2, err) ||
			       opts_size(o, "l2-cache-entry-size", &c->entry, err) ||
			       opts_size(o, "refcount-cache-size", &c->ref, err)
		       ? -1
		       : 0;
}

/* ---- overlap checks -----------------------------------------------------------------------
 */

static int template_bits(const char *name, unsigned *bits, struct err *err)
{
	static const struct {
		const char *name;
		unsigned bits;
	} all[] = {
		{"none", 0},
		{"constant", QCOW2_META_CONSTANT},
		{"cached", QCOW2_META_CACHED},
		{"all", QCOW2_META_ALL},
	};

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		if (strcmp(all[i].name, name) == 0) {
			*bits = all[i].bits;
			return 0;
		}
	}
	return err_set(err, EINVAL,
		       "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are "
		       "any of the following: none, constant, cached, all",
		       name);
}

static int overlap_template(const struct opts *o, unsigned *bits, struct err *err)
{
	const char *brief = opts_get(o, OVERLAP), *full = opts_get(o, OVERLAP ".template");

	if (brief && full && strcmp(brief, full) != 0)
		return err_set(err, EINVAL,
			       "Conflicting values for qcow2 options 'overlap-check' ('%s') "
			       "and 'overlap-check.template' ('%s')",
			       brief, full);
	if (!brief && !full)
		return 0;
	return template_bits(brief ? brief : full, bits, err);
}

static const struct {
	const char *key;
	unsigned bit;
} kinds[] = {
	{OVERLAP ".main-header", QCOW2_META_HEADER},
	{OVERLAP ".active-l1", QCOW2_META_ACTIVE_L1},
	{OVERLAP ".active-l2", QCOW2_META_ACTIVE_L2},
	{OVERLAP ".refcount-table", QCOW2_META_REFTABLE},
	{OVERLAP ".refcount-block", QCOW2_META_REFBLOCK},
	{OVERLAP ".snapshot-table", QCOW2_META_SNAPSHOT_TABLE},
	{OVERLAP ".inactive-l1", QCOW2_META_INACTIVE_L1},
	{OVERLAP ".inactive-l2", QCOW2_META_INACTIVE_L2},
	{OVERLAP ".bitmap-directory", QCOW2_META_BITMAP_DIR},
};

static int read_kinds(const struct opts *o, unsigned *on, unsigned *off, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		bool v;

		if (!opts_has(o, kinds[i].key))
			continue;
		if (opts_bool(o, kinds[i].key, &v, err))
			return -1;
		*(v ? on : off) |= kinds[i].bit;
	}
	return 0;
}

/* ---- all of them ----------------------------------------------------------------------------
 */

/* Values first, then what they mean together: the peer's order. */
static int apply(const struct opts *o, const struct qcow2_header *h, struct cache_sizes *c,
		 struct qcow2_tuning *t, struct err *err)
{
	uint64_t interval = CLEAN_DEFAULT;
	unsigned on = 0, off = 0;

	if (opts_bool(o, "lazy-refcounts", &t->lazy, err) ||
	    pass(o, "pass-discard-request", &t->pass_request, err) ||
	    pass(o, "pass-discard-snapshot", &t->pass_snapshot, err) ||
	    pass(o, "pass-discard-other", &t->pass_other, err) ||
	    opts_bool(o, "discard-no-unref", &t->no_unref, err) ||
	    read_kinds(o, &on, &off, err) || read_caches(o, c, err) ||
	    read_interval(o, &interval, err))
		return -1;
	if (settle_caches(o, h, c, t, err))
		return -1;
	if (interval > UINT_MAX)
		return err_set(err, EINVAL, "Cache clean interval too big");
	t->clean = (unsigned)interval;
	if (t->lazy && h->version < 3)
		return err_set(err, EINVAL,
			       "Lazy refcounts require a qcow2 image with at least qemu 1.1 "
			       "compatibility level");
	if (t->no_unref && h->version < 3)
		return err_set(err, EINVAL,
			       "discard-no-unref requires a qcow2 image with at least qemu 1.1 "
			       "compatibility level");
	if (overlap_template(o, &t->overlap, err))
		return -1;
	t->overlap = (t->overlap | on) & ~off;
	return 0;
}

int qcow2_tuning(const struct opts *o, const struct qcow2_header *h, bool write,
		 struct qcow2_tuning *t, struct err *err)
{
	struct cache_sizes c = {
		.l2 = write ? L2_CACHE_DEFAULT : L2_CACHE_READER,
		.ref = REF_CACHE_DEFAULT,
		.entry = MIN(UINT64_C(1) << h->cluster_bits, L2_ENTRY_DEFAULT),
	};

	*t = (struct qcow2_tuning){
		.l2_cache = c.l2,
		.ref_cache = c.ref,
		.l2_entry = (uint32_t)c.entry,
		.clean = CLEAN_DEFAULT,
		.lazy = h->compat & QCOW2_COMPAT_LAZY,
		.overlap = QCOW2_META_CACHED,
		.pass_other = QCOW2_PASS_OFF,
		.window = WINDOW,
	};
	return o ? apply(o, h, &c, t, err) : 0;
}
