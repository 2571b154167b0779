/*
 * Counted references: a tree over the host's clusters whose leaves come into being when a
 * cluster in them is referenced. So a sparse file of any size costs what is used of it.
 */
#include "formats/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

enum {
	LEAF_BITS = 9,
	NODE_BITS = 9,
	ROOT_SHIFT = LEAF_BITS + 3 * NODE_BITS,
	NODE = 1 << NODE_BITS,
	SLAB = 64,	/* leaves in one */
	ROOM = 1 << 20, /* clusters past the end of the file, for what repair writes there */
};

/* ---- numbers by number ------------------------------------------------------------ */

static size_t place(const struct map *m, uint64_t key)
{
	uint64_t h = (key + 1) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(h >> 20) & (m->room - 1);

	while (m->key[i] != 0 && m->key[i] != key + 1)
		i = (i + 1) & (m->room - 1);
	return i;
}

static bool map_grow(struct map *m)
{
	struct map more = {.room = m->room ? m->room * 2 : 64, .n = m->n};

	more.key = calloc(more.room, sizeof(*more.key));
	more.val = malloc(more.room * sizeof(*more.val));
	if (!more.key || !more.val) {
		map_free(&more);
		return false;
	}
	for (size_t i = 0; i < m->room; i++) {
		size_t to;

		if (!m->key[i])
			continue;
		to = place(&more, m->key[i] - 1);
		more.key[to] = m->key[i];
		more.val[to] = m->val[i];
	}
	map_free(m);
	*m = more;
	return true;
}

uint64_t *map_at(struct map *m, uint64_t key, bool *fresh)
{
	size_t i;

	if (m->n >= m->room / 2 && !map_grow(m))
		return NULL;
	i = place(m, key);
	if (fresh)
		*fresh = !m->key[i];
	if (!m->key[i]) {
		m->key[i] = key + 1;
		m->val[i] = 0;
		m->n++;
	}
	return &m->val[i];
}

const uint64_t *map_find(const struct map *m, uint64_t key)
{
	size_t i;

	if (!m->n)
		return NULL;
	i = place(m, key);
	return m->key[i] ? &m->val[i] : NULL;
}

void map_free(struct map *m)
{
	free(m->key);
	free(m->val);
	memset(m, 0, sizeof(*m));
}

/* ---- the tree --------------------------------------------------------------------- */

int counts_init(struct counts *c, uint64_t clusters, unsigned refcount_order, struct err *err)
{
	memset(c, 0, sizeof(*c));
	c->nroot = (size_t)((clusters + ROOM) >> ROOT_SHIFT) + 1;
	c->root = calloc(c->nroot, sizeof(void *));
	if (!c->root)
		return err_nomem(err, c->nroot * sizeof(void *), "reference counts");
	c->max = qcow2_ref_max(refcount_order);
	c->last_key = UINT64_MAX;
	return 0;
}

static void free_node(void **node, unsigned depth)
{
	if (depth > 0)
		for (int i = 0; i < NODE; i++)
			if (node[i])
				free_node(node[i], depth - 1);
	free(node);
}

void counts_free(struct counts *c)
{
	for (size_t i = 0; c->root && i < c->nroot; i++)
		if (c->root[i])
			free_node(c->root[i], 2);
	free(c->root);
	for (size_t i = 0; i < c->nslab; i++)
		free(c->slab[i]);
	free(c->slab);
	map_free(&c->many);
	memset(c, 0, sizeof(*c));
}

/* Of the node `depth` steps above the leaves: which of its places leads to cl. */
static unsigned way(uint64_t cl, unsigned depth)
{
	return (cl >> (LEAF_BITS + depth * NODE_BITS)) & (NODE - 1);
}

const uint16_t *counts_leaf(const struct counts *c, uint64_t cl)
{
	void *const *node;

	if (cl >> ROOT_SHIFT >= c->nroot)
		return NULL;
	node = c->root[cl >> ROOT_SHIFT];
	for (unsigned depth = 2; node && depth > 0; depth--)
		node = node[way(cl, depth)];
	return node ? node[way(cl, 0)] : NULL;
}

static uint16_t *new_leaf(struct counts *c)
{
	if (c->nslab == 0 || c->used == SLAB) {
		void **more = realloc(c->slab, (c->nslab + 1) * sizeof(void *));

		if (!more)
			return NULL;
		c->slab = more;
		more[c->nslab] = calloc(SLAB, CELLS * sizeof(uint16_t));
		if (!more[c->nslab])
			return NULL;
		c->nslab++;
		c->used = 0;
	}
	return (uint16_t *)c->slab[c->nslab - 1] + CELLS * c->used++;
}

/* The node over cl's leaf, made if need be. */
static void **leaf_node(struct counts *c, uint64_t cl)
{
	void **at;

	if (cl >> (LEAF_BITS + NODE_BITS) == c->last_key)
		return c->last;
	at = &c->root[cl >> ROOT_SHIFT];
	for (unsigned depth = 3; depth-- > 0;) {
		if (!*at)
			*at = calloc(NODE, sizeof(void *));
		if (!*at)
			return NULL;
		if (depth > 0)
			at = (void **)*at + way(cl, depth);
	}
	c->last_key = cl >> (LEAF_BITS + NODE_BITS);
	c->last = *at;
	return c->last;
}

static uint16_t *make_leaf(struct counts *c, uint64_t cl)
{
	void **node = leaf_node(c, cl);

	if (!node)
		return NULL;
	node += way(cl, 0);
	if (!*node)
		*node = new_leaf(c);
	return *node;
}

static uint64_t next_below(void *const *node, unsigned depth, uint64_t base, uint64_t cl)
{
	unsigned first = cl > base ? way(cl, depth) : 0;

	for (unsigned i = first; i < NODE; i++) {
		uint64_t from = base + ((uint64_t)i << (LEAF_BITS + depth * NODE_BITS));
		uint64_t found;

		if (!node[i])
			continue;
		found = depth ? next_below(node[i], depth - 1, from, MAX(cl, from)) : from;
		if (found != UINT64_MAX)
			return MAX(found, cl);
	}
	return UINT64_MAX;
}

uint64_t counts_next(const struct counts *c, uint64_t cl)
{
	for (uint64_t i = cl >> ROOT_SHIFT; i < c->nroot; i++) {
		uint64_t base = i << ROOT_SHIFT;
		uint64_t found = UINT64_MAX;

		if (c->root[i])
			found = next_below(c->root[i], 2, base, MAX(cl, base));
		if (found != UINT64_MAX)
			return found;
	}
	return UINT64_MAX;
}

static uint64_t full_count(const struct counts *c, uint64_t cl, uint16_t cell)
{
	const uint64_t *many;

	if ((cell & CELL_COUNT) < CELL_COUNT)
		return cell & CELL_COUNT;
	many = map_find(&c->many, cl);
	return many ? *many : CELL_COUNT;
}

uint64_t counts_get(const struct counts *c, uint64_t cl)
{
	const uint16_t *leaf = counts_leaf(c, cl);

	return leaf ? full_count(c, cl, leaf[cl % CELLS]) : 0;
}

uint64_t counts_unused(const struct counts *c, uint64_t cl, uint64_t n)
{
	uint64_t first = cl;

	for (; cl < first + n; cl++) {
		const uint16_t *leaf = counts_leaf(c, cl);

		if (!leaf)
			cl |= CELLS - 1; /* to the end of the leaf */
		else if (leaf[cl % CELLS] & CELL_COUNT)
			first = cl + 1;
	}
	return first;
}

bool counts_reach(const struct counts *c, uint64_t cl)
{
	return cl >> ROOT_SHIFT < c->nroot;
}

void counts_drop(struct counts *c, uint64_t cl)
{
	uint16_t *leaf = (uint16_t *)counts_leaf(c, cl);

	if (leaf)
		leaf[cl % CELLS] = 0;
}

/* Past what a cell or a refcount can say. */
static int add_many(struct checker *k, uint16_t *cell, uint64_t cl, uint64_t times,
		    unsigned flags, struct err *err)
{
	struct counts *c = &k->counts;
	uint64_t now = full_count(c, cl, *cell), more = MIN(times, c->max - now);
	uint64_t *many;

	if (!k->mute)
		k->c->errors += times - more;
	if (more < times) {
		uint64_t off = cl << k->bits;

		check_problem(k, "refcount-width", &off, false);
	}
	for (uint64_t i = more; i < times && check_heard(k); i++) {
		check_say(k, "ERROR: overflow cluster offset=0x%" PRIx64, cl << k->bits);
		check_say(k, "Use qemu-img amend to increase the refcount entry width or "
			     "qemu-img convert to create a clean copy if the image cannot be "
			     "opened for writing");
	}
	now += more;
	*cell = (uint16_t)((*cell & ~CELL_COUNT) | flags | MIN(now, CELL_COUNT));
	if (now < CELL_COUNT)
		return 0;
	many = map_at(&c->many, cl, NULL);
	if (!many)
		return err_nomem(err, c->many.room * 32, "reference counts");
	*many = now;
	return 0;
}

static int add_in_leaf(struct checker *k, uint16_t *cell, uint64_t cl, unsigned n,
		       uint64_t times, unsigned flags, struct err *err)
{
	uint64_t max = MIN(k->counts.max, CELL_COUNT - 1);

	for (unsigned i = 0; i < n; i++) {
		uint64_t now = (cell[i] & CELL_COUNT) + times;

		if (now <= max)
			cell[i] = (uint16_t)((cell[i] & ~CELL_COUNT) | flags | now);
		else if (add_many(k, &cell[i], cl + i, times, flags, err) < 0)
			return -1;
	}
	return 0;
}

int check_clusters(struct checker *k, uint64_t cl, uint64_t n, uint64_t times, unsigned flags,
		   struct err *err)
{
	if (!counts_reach(&k->counts, cl + n - 1))
		return err_set(err, EFBIG,
			       "Cluster %" PRIu64 " is far past the end of the file",
			       cl + n - 1);
	if (cl + n > k->nb_cl)
		k->nb_cl = cl + n;
	while (n > 0) {
		unsigned at = cl % CELLS, part = (unsigned)MIN(n, CELLS - at);
		uint16_t *leaf = make_leaf(&k->counts, cl);

		if (!leaf)
			return err_nomem(err, CELLS * 2, "reference counts");
		if (add_in_leaf(k, leaf + at, cl, part, times, flags, err) < 0)
			return -1;
		cl += part;
		n -= part;
	}
	return 0;
}

bool check_outside(const struct checker *k, uint64_t off, uint64_t len)
{
	uint64_t end;

	if (__builtin_add_overflow(off, len, &end))
		return true;
	return end > k->file_size && end - k->file_size >= k->cluster;
}

int check_region(struct checker *k, uint64_t off, uint64_t len, uint64_t times, unsigned flags,
		 struct err *err)
{
	uint64_t first = off >> k->bits;

	if (len == 0)
		return 0;
	if (!check_outside(k, off, len))
		return check_clusters(k, first, ((off + len - 1) >> k->bits) - first + 1, times,
				      flags, err);
	k->c->errors += times;
	check_problem(k, "outside", &off, false);
	for (uint64_t i = 0; i < times && check_heard(k); i++)
		check_say(k,
			  "ERROR: counting reference for region exceeding the end of the "
			  "file by one cluster or more: offset 0x%" PRIx64 " size 0x%" PRIx64,
			  off, len);
	return 0;
}
