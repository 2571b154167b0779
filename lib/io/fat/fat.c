/* The protocol vvfat: the parts of the disk in order, and which bytes are where. */
#include "lib/io/fat/fat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/io/io.h"
#include "lib/mem.h"

#define DEFAULT_LABEL "QEMU VVFAT" /* the peer's: guests find the disk by it */

/* What stands between two parts reads as zeros. */
struct part {
	uint64_t off, len;
	enum { PART_BYTES, PART_TABLE, PART_FILE } kind;
	const uint8_t *bytes;
	size_t node; /* of a file */
};

struct fat {
	struct blk blk;
	struct fat_tree tree;
	struct fat_shape shape;
	struct fat_pool pool;
	bool pooled;
	uint8_t *front, *dirs; /* MBR and boot sectors; all directories */
	struct fat_chain *chain;
	size_t nchain;
	struct part *part;
	size_t npart;
	pthread_mutex_t lock; /* of host[] */
	struct blk **host;    /* by node; made when they are asked for */
};

/* The part at off, or the next one. */
static const struct part *part_at(const struct fat *f, uint64_t off)
{
	size_t low = 0, high = f->npart;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (f->part[mid].off + f->part[mid].len <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return &f->part[low];
}

static struct blk *host_of(struct fat *f, size_t node, struct err *err)
{
	struct blk *host;

	pthread_mutex_lock(&f->lock);
	if (!f->host[node])
		f->host[node] = fat_host_new(&f->pool, &f->tree, node, err);
	host = f->host[node];
	pthread_mutex_unlock(&f->lock);
	return host;
}

static int read_part(struct fat *f, const struct part *p, uint8_t *to, size_t n, uint64_t off,
		     struct err *err)
{
	struct blk *host;

	switch (p->kind) {
	case PART_BYTES:
		memcpy(to, p->bytes + (off - p->off), n);
		return 0;
	case PART_TABLE:
		fat_table_put(&f->shape, f->chain, f->nchain, off - p->off, to, n);
		return 0;
	case PART_FILE:
		break;
	}
	host = host_of(f, p->node, err);
	return host ? blk_pread(host, to, n, off - p->off, err) : -1;
}

static int fat_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct fat *f = (struct fat *)blk;
	const struct part *p = part_at(f, off), *end = f->part + f->npart;
	uint8_t *to = buf;

	while (n > 0) {
		size_t gap = p < end && p->off > off ? (size_t)MIN(n, p->off - off) : 0;
		size_t len;

		if (p == end)
			gap = n;
		memset(to, 0, gap);
		to += gap;
		off += gap;
		n -= gap;
		if (n == 0)
			break;
		len = (size_t)MIN(n, p->off + p->len - off);
		if (read_part(f, p, to, len, off, err))
			return -1;
		to += len;
		off += len;
		n -= len;
		p++;
	}
	return 0;
}

static int fat_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		      struct err *err)
{
	struct fat *f = (struct fat *)blk;
	const struct part *p = part_at(f, off);
	struct blk *host;

	out->off = off;
	if (p == f->part + f->npart || p->off > off) {
		out->len = p == f->part + f->npart ? len : MIN(len, p->off - off);
		out->flags = EXT_ZERO;
		return 0;
	}
	len = MIN(len, p->off + p->len - off);
	if (p->kind == PART_FILE) {
		host = host_of(f, p->node, err);
		if (!host || blk_extent(host, off - p->off, len, out, err))
			return -1;
		out->off = off;
		return 0;
	}
	out->len = len;
	out->host = off;
	out->home = blk;
	out->flags = EXT_DATA;
	return 0;
}

static int64_t fat_disk_usage(struct blk *blk)
{
	return -1;
}

static int fat_close(struct blk *blk, struct err *err)
{
	struct fat *f = (struct fat *)blk;
	struct err ignored;

	for (size_t i = 0; f->host && i < f->tree.n; i++)
		blk_close(f->host[i], &ignored);
	free(f->host);
	if (f->pooled) {
		fat_pool_close(&f->pool);
		pthread_mutex_destroy(&f->lock);
	}
	fat_tree_free(&f->tree);
	free(f->front);
	free(f->dirs);
	free(f->chain);
	free(f->part);
	free(f);
	return 0;
}

static const struct blk_ops fat_ops = {
	.name = "vvfat",
	.pread = fat_pread,
	.extent = fat_extent,
	.disk_usage = fat_disk_usage,
	.close = fat_close,
};

static int get_label(const struct opts *opts, struct fat_want *w, struct err *err)
{
	const char *label = opts_get(opts, "label");
	size_t n;

	if (!label || !label[0])
		label = DEFAULT_LABEL;
	n = strlen(label);
	if (n > FAT_LABEL)
		return err_set(err, EINVAL, "vvfat label cannot be longer than %d bytes",
			       FAT_LABEL);
	memset(w->label, ' ', FAT_LABEL);
	for (size_t i = 0; i < n; i++) {
		char c = label[i];

		if (c < ' ' || c > '~' || strchr("\"*+,./:;<=>?[\\]|", c) || label[0] == ' ')
			return err_set(err, EINVAL,
				       "'%s' cannot be the label of a FAT disk: it has letters "
				       "without accents, digits and spaces, not first",
				       label);
		w->label[i] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
	}
	return 0;
}

static int get_want(const struct opts *opts, struct fat_want *w, struct err *err)
{
	uint64_t type = 0;
	bool rw = false;

	w->dir = opts_get(opts, "dir");
	if (!w->dir)
		return err_set(err, EINVAL, "vvfat block driver requires a 'dir' option");
	if (opts_num(opts, "fat-type", UINT32_MAX, &type, err) ||
	    opts_bool(opts, "floppy", &w->floppy, err) || opts_bool(opts, "rw", &rw, err) ||
	    get_label(opts, w, err))
		return -1;
	if (type != 0 && type != 12 && type != 16 && type != 32)
		return err_set(err, EINVAL, "Valid FAT types are only 12, 16 and 32");
	w->type = (unsigned)type;
	if (!rw)
		return 0;
	err_set(err, EACCES, "Unable to set VVFAT to 'rw' when drive is read-only");
	return err_hint(err, "A folder can be read as a disk, but not written: leave out 'rw'");
}

static uint64_t cluster_at(const struct fat *f, uint32_t cluster)
{
	const struct fat_shape *s = &f->shape;

	return (s->start + s->data + (uint64_t)(cluster - 2) * s->per_cluster) * FAT_SECTOR;
}

static void add_part(struct fat *f, struct part p)
{
	if (p.len > 0)
		f->part[f->npart++] = p;
}

static void add_bytes(struct fat *f, uint64_t sector, const uint8_t *bytes, size_t n)
{
	add_part(f, (struct part){sector * FAT_SECTOR, n, PART_BYTES, bytes, 0});
}

/* What comes before the clusters; the directory is the root of FAT12 and FAT16. */
static void add_front(struct fat *f)
{
	const struct fat_shape *s = &f->shape;
	uint64_t used = ((uint64_t)s->used + 2) * s->type;

	if (s->start) {
		fat_mbr_put(s, f->front);
		add_bytes(f, 0, f->front, FAT_SECTOR);
	}
	add_bytes(f, s->start, f->front + FAT_SECTOR, (size_t)s->reserved * FAT_SECTOR);
	for (unsigned i = 0; i < 2; i++)
		add_part(f, (struct part){(s->start + s->reserved + i * s->fat) *
						  (uint64_t)FAT_SECTOR,
					  div_up(used, 8), PART_TABLE, NULL, 0});
}

/* Directories in the order of their places, then files. */
static int add_nodes(struct fat *f, const uint8_t *label, struct err *err)
{
	const struct fat_tree *t = &f->tree;
	const struct fat_shape *s = &f->shape;
	uint8_t *to = f->dirs;

	for (size_t i = 0; i < t->n; i++) {
		const struct fat_node *node = &t->node[i];

		if (!node->folder)
			continue;
		if (fat_dir_put(t, i, label, to, err))
			return -1;
		add_part(f, (struct part){node->cluster ? cluster_at(f, node->cluster)
							: (uint64_t)(s->start + s->reserved +
								     2 * s->fat) *
								  FAT_SECTOR,
					  node->size, PART_BYTES, to, 0});
		to += node->size;
		if (node->cluster)
			f->chain[f->nchain++] = (struct fat_chain){node->cluster,
								   node->nclusters};
	}
	for (size_t i = 0; i < t->n; i++) {
		const struct fat_node *node = &t->node[i];

		if (node->folder || !node->cluster)
			continue;
		add_part(f, (struct part){cluster_at(f, node->cluster), node->size, PART_FILE,
					  NULL, i});
		f->chain[f->nchain++] = (struct fat_chain){node->cluster, node->nclusters};
	}
	return 0;
}

static int lay_down(struct fat *f, const struct fat_want *w, struct err *err)
{
	const uint8_t *label = (const uint8_t *)w->label;
	size_t front = ((size_t)f->shape.reserved + 1) * FAT_SECTOR, dirs = 0;

	for (size_t i = 0; i < f->tree.n; i++)
		dirs += f->tree.node[i].folder ? f->tree.node[i].size : 0;
	f->front = calloc(1, front);
	f->dirs = calloc(1, dirs);
	f->chain = calloc(f->tree.n, sizeof(*f->chain));
	f->part = calloc(f->tree.n + 4, sizeof(*f->part));
	f->host = calloc(f->tree.n, sizeof(struct blk *));
	if (!f->front || !f->dirs || !f->chain || !f->part || !f->host)
		return err_nomem(err, dirs + f->tree.n * sizeof(*f->part),
				 "the directories of a FAT disk");
	fat_boot_put(&f->shape, label, f->front + FAT_SECTOR);
	add_front(f);
	return add_nodes(f, label, err);
}

static int build(struct fat *f, const struct fat_want *w, struct err *err)
{
	if (fat_scan(&f->tree, w->dir, err))
		return -1;
	for (size_t i = 0; i < f->tree.n; i++)
		if (f->tree.node[i].folder && fat_alias(&f->tree, i, err))
			return -1;
	if (fat_dir_sizes(&f->tree, err) || fat_shape_make(&f->shape, &f->tree, w, err) ||
	    lay_down(f, w, err))
		return -1;
	fat_pool_init(&f->pool, f->tree.root);
	pthread_mutex_init(&f->lock, NULL);
	f->pooled = true;
	f->blk.size = (uint64_t)f->shape.disk * FAT_SECTOR;
	return 0;
}

static int fat_open(const struct opts *opts, unsigned flags, struct blk **out, struct err *err)
{
	struct fat_want want = {0};
	AUTO_FREE char *name = NULL;
	struct err ignored;
	struct fat *f;

	if (get_want(opts, &want, err))
		return -1;
	if (flags & IO_WRITE)
		return err_set(err, EACCES, "Image is read-only");
	f = calloc(1, sizeof(*f));
	if (!f || asprintf(&name, "fat:%s", want.dir) < 0) {
		name = NULL;
		free(f);
		return err_nomem(err, sizeof(*f), "a FAT disk");
	}
	f->tree.root = -1;
	if (blk_init(&f->blk, &fat_ops, name, err) || build(f, &want, err)) {
		blk_close(&f->blk, &ignored);
		return -1;
	}
	*out = &f->blk;
	return 0;
}

static const struct opt fat_opts[] = {
	{.name = "dir", .type = OPT_STR, .arg = "DIR", .help = "The folder"},
	{.name = "fat-type", .type = OPT_NUM, .arg = "NUM", .help = "12, 16 or 32; 0: as fits"},
	{.name = "floppy", .type = OPT_BOOL, .help = "A floppy disk, without partitions"},
	{.name = "label",
	 .type = OPT_STR,
	 .arg = "NAME",
	 .help = "Name of the disk, 11 characters at most"},
	{.name = "rw", .type = OPT_BOOL, .help = "Must be off: the folder is not written"},
	{0},
};

const struct protocol io_vvfat = {
	.name = "vvfat",
	.scheme = "fat:",
	.open_opts = fat_opts,
	.parse_name = fat_location,
	.open = fat_open,
};
