/*
 * A disk of several files, as DiskDescriptor.xml says: read-only.
 *
 * A storage's images lie one over the other. What the uppermost has not is asked of the next;
 * what none has is zeros. Snapshots are all the images but the present state's; each can be
 * shown instead of it. They are called by their GUIDs: names are in a file that is described
 * nowhere.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/parallels/descriptor.h"
#include "formats/parallels/parallels.h"
#include "lib/mem.h"

#define TEXT_MAX (1 << 20) /* bytes of a DiskDescriptor.xml: they have a few thousand */
#define ROOT	 "<Parallels_disk_image"

struct disk {
	struct image image; /* file[i] is of d.part[i] */
	struct prl_descriptor d;
	size_t *layer; /* parts: see prl_descriptor_chain() */
	size_t depth;
	unsigned flags;
};

bool prl_disk_probe(const uint8_t *head, size_t n, uint64_t size)
{
	size_t at = n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	while (at < n && strchr(" \t\r\n", head[at]) && head[at])
		at++;
	return size <= TEXT_MAX && at < n && head[at] == '<' &&
	       memmem(head, n, ROOT, strlen(ROOT));
}

/* ---- reading ------------------------------------------------------------------------- */

/* The storage that the byte is in. */
static size_t find_storage(const struct disk *k, uint64_t off)
{
	size_t low = 0, high = k->d.nstorage;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (k->d.storage[mid].start * PRL_SECTOR <= off)
			low = mid;
		else
			high = mid;
	}
	return low;
}

static int disk_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	struct disk *k = (struct disk *)blk;
	size_t i = find_storage(k, off);
	uint64_t start = k->d.storage[i].start * PRL_SECTOR;

	len = MIN(len, k->d.storage[i].end * PRL_SECTOR - off);
	for (size_t n = 0; n < k->depth; n++) {
		const struct image_file *f = &k->image.file[k->layer[i * k->depth + n]];

		if (blk_extent(f->blk, off - start, len, out, err))
			return err_prefix(err, "%s", f->name);
		len = out->len;
		if (out->flags & EXT_ABSENT)
			continue;
		out->off = off;
		return 0;
	}
	*out = (struct extent){.off = off, .len = len, .flags = EXT_ZERO};
	return 0;
}

static int64_t disk_usage(struct blk *blk)
{
	struct disk *k = (struct disk *)blk;
	int64_t sum = blk_disk_usage(blk->lower);

	for (size_t i = 0; i < k->image.nfile && sum >= 0; i++) {
		int64_t n = blk_disk_usage(k->image.file[i].blk);

		sum = n < 0 ? -1 : sum + n;
	}
	return sum;
}

static int disk_close(struct blk *blk, struct err *err)
{
	struct disk *k = (struct disk *)blk;
	int rc = image_files_free(&k->image, err);

	prl_descriptor_free(&k->d);
	free(k->layer);
	free(k);
	return rc;
}

static const struct blk_ops disk_ops = {
	.name = "parallels",
	.by_extent = true,
	.extent = disk_extent,
	.disk_usage = disk_usage,
	.close = disk_close,
};

/* ---- open -------------------------------------------------------------------------- */

static int read_descriptor(struct disk *k, struct err *err)
{
	struct blk *lower = k->image.blk.lower;
	size_t n = (size_t)blk_size(lower);
	AUTO_FREE char *text = malloc(n + 1);

	if (!text)
		return err_nomem(err, n, "a disk's description");
	if (blk_pread(lower, text, n, 0, err) || prl_descriptor_parse(text, n, &k->d, err))
		return -1;
	for (size_t i = 0; i < k->d.nparts; i++) {
		char key[32];

		snprintf(key, sizeof(key), "extents.%zu", i);
		if (image_file_add(&k->image, k->d.part[i].file, key, true, err))
			return -1;
	}
	k->image.blk.size = k->d.sectors * PRL_SECTOR;
	k->image.blk.align = lower->align;
	k->image.blk.grain = PRL_SECTOR;
	return prl_descriptor_chain(&k->d, k->d.top, &k->layer, &k->depth, err);
}

int prl_disk_open(struct blk *lower, unsigned flags, struct image **out, struct err *err)
{
	struct disk *k;

	if (flags & IMAGE_WRITE)
		return err_set(err, EACCES,
			       "A Parallels disk in a folder can only be read; its .hds files "
			       "can be written one by one");
	k = image_new(sizeof(*k), &disk_ops, &format_parallels, lower, err);
	if (!k)
		return -1;
	k->flags = flags;
	if (read_descriptor(k, err))
		return image_give_up(&k->image);
	*out = &k->image;
	return 0;
}

/* An expanding image takes the place of its file. */
static int open_part(struct disk *k, size_t i, struct err *err)
{
	const struct prl_part *part = &k->d.part[i];
	const struct prl_storage *s = &k->d.storage[part->storage];
	struct image_file *f = &k->image.file[i];
	struct image *inner;

	if (!part->plain) {
		if (prl_image_open(f->blk, NULL, k->flags, true, &inner, err))
			return -1;
		f->blk = &inner->blk;
	}
	if (blk_size(f->blk) < (s->end - s->start) * PRL_SECTOR)
		return err_set(err, EINVAL, "It has %" PRIu64 " bytes of a storage of %" PRIu64,
			       blk_size(f->blk), (s->end - s->start) * PRL_SECTOR);
	return 0;
}

int prl_disk_attached(struct image *image, struct err *err)
{
	struct disk *k = (struct disk *)image;

	for (size_t i = 0; i < image->nfile; i++)
		if (open_part(k, i, err))
			return err_prefix(err, "Could not open '%s'", image->file[i].name);
	return 0;
}

/* ---- snapshots ----------------------------------------------------------------------- */

static bool is_top(const struct disk *k, const struct prl_shot *s)
{
	return memcmp(s->guid, k->d.top, UUID_LEN) == 0;
}

static int list_snapshots(const struct disk *k, struct info *out, struct err *err)
{
	out->snapshot = calloc(k->d.nshots + 1, sizeof(*out->snapshot));
	if (!out->snapshot)
		return err_nomem(err, k->d.nshots * sizeof(*out->snapshot), "snapshots");
	for (size_t i = 0; i < k->d.nshots; i++) {
		struct snapshot_info *to = &out->snapshot[out->nsnapshot];
		char name[UUID_TEXT];

		if (is_top(k, &k->d.shot[i]))
			continue;
		uuid_text(k->d.shot[i].guid, name);
		*to = (struct snapshot_info){.disk_size = k->image.blk.size, .icount = -1};
		out->nsnapshot++;
		if (asprintf(&to->id, "%zu", out->nsnapshot) < 0)
			to->id = NULL;
		if (asprintf(&to->name, "{%s}", name) < 0)
			to->name = NULL;
		if (!to->id || !to->name)
			return err_nomem(err, 100, "snapshots");
	}
	return 0;
}

int prl_disk_load(struct image *image, size_t i, struct err *err)
{
	struct disk *k = (struct disk *)image;
	size_t *layer, depth;

	if (prl_is_image(image))
		return err_set(err, ENOTSUP, "A single Parallels image has no snapshots");
	for (size_t at = 0; at < k->d.nshots; at++) {
		if (is_top(k, &k->d.shot[at]) || i-- > 0)
			continue;
		if (prl_descriptor_chain(&k->d, k->d.shot[at].guid, &layer, &depth, err))
			return -1;
		free(k->layer);
		k->layer = layer;
		k->depth = depth;
		return 0;
	}
	return err_set(err, ENOENT, "Can't find snapshot");
}

/* ---- info and check -------------------------------------------------------------------- */

static struct json *files_json(const struct disk *k)
{
	struct json *all = json_array();
	int bad = !all;

	for (size_t i = 0; !bad && i < k->d.nparts; i++) {
		const struct prl_part *p = &k->d.part[i];
		struct json *j = json_object();
		char name[UUID_TEXT];

		uuid_text(p->guid, name);
		bad |= json_add_str(j, "filename", p->file);
		bad |= json_add_str(j, "type", p->plain ? "plain" : "expanding");
		bad |= json_add_str(j, "guid", name);
		bad |= json_add_int(j, "start",
				    (int64_t)(k->d.storage[p->storage].start * PRL_SECTOR));
		bad |= json_push(all, j);
	}
	if (!bad)
		return all;
	json_free(all);
	return NULL;
}

int prl_disk_info(struct image *image, struct info *out, struct err *err)
{
	const struct disk *k = (const struct disk *)image;

	out->cluster_size = k->d.storage[0].cluster * (uint64_t)PRL_SECTOR;
	out->specific = json_object();
	if (!out->specific || json_add(out->specific, "extents", files_json(k)))
		return err_nomem(err, 1000, "info");
	return list_snapshots(k, out, err);
}

/* Of each expanding image; the lines tell their clusters only where there is one. */
int prl_disk_check(struct image *image, struct check *c, struct err *err)
{
	struct disk *k = (struct disk *)image;

	if (c->fix)
		return err_set(err, EACCES,
			       "A Parallels disk in a folder can only be read: repair its .hds "
			       "files one by one");
	for (size_t i = 0; i < image->nfile; i++) {
		struct check one = {.report = c->report, .problem = c->problem, .arg = c->arg};

		if (k->d.part[i].plain)
			continue;
		if (prl_check((struct image *)image->file[i].blk, &one, err))
			return err_prefix(err, "%s", image->file[i].name);
		if ((one.errors || one.leaks) && image->nfile > 1)
			check_find(c, &(struct check_problem){0}, "That is in '%.200s'",
				   image->file[i].name);
		c->errors += one.errors;
		c->leaks += one.leaks;
		c->check_errors += one.check_errors;
		c->total_clusters += one.total_clusters;
		c->allocated_clusters += one.allocated_clusters;
		c->fragmented_clusters += one.fragmented_clusters;
	}
	return 0;
}
