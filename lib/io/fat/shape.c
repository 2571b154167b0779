/*
 * How large the disk is, and how it is divided.
 *
 * The number of clusters decides the type: below 4085 FAT12, below 65525 FAT16. The disk has
 * the peer's size where the folder fits onto it - 504 MiB, with FAT12 31.5 MiB, a floppy 2.88
 * or 1.44 MB - and else as many cylinders as it needs. If no type is asked for it is FAT16
 * on a disk of the peer's size, and FAT32 on a larger one.
 */
#include <errno.h>
#include <inttypes.h>

#include "lib/io/fat/fat.h"
#include "lib/mem.h"

#define TRACK	   63u
#define HEADS	   16u
#define HEADS_MORE 255u /* of a disk with more than 1024 cylinders of 16 heads */
#define CYLINDERS  1024u
#define ROOT	   512u /* entries of a root directory, unless it needs more */
#define PAGE	   8u	/* sectors: files begin where file systems can share their blocks */
#define MANY	   (2u << 20) /* clusters, above which FAT32 gets larger ones */

struct range {
	uint32_t least, most;
};

static struct range limits(unsigned type)
{
	static const struct range r12 = {1, 4084}, r16 = {4085, 65524},
				  r32 = {65525, 0x0ffffff5};

	return type == 12 ? r12 : type == 16 ? r16 : r32;
}

/* Clusters of the whole folder. The root of FAT12 and FAT16 has a place of its own. */
static uint64_t clusters_of(const struct fat_tree *t, unsigned type, uint32_t per_cluster)
{
	uint64_t n = 0;

	for (size_t i = type == 32 ? 0 : 1; i < t->n; i++)
		n += div_up(t->node[i].size, (uint64_t)per_cluster * FAT_SECTOR);
	return n;
}

static uint64_t fat_sectors(unsigned type, uint64_t clusters)
{
	return div_up((clusters + 2) * type, 8u * FAT_SECTOR);
}

static uint32_t root_sectors(const struct fat_shape *s)
{
	return s->root_entries * FAT_ENTRY / FAT_SECTOR;
}

/* Divides s->disk. false: it gives no such FAT. */
static bool divide(struct fat_shape *s)
{
	struct range r = limits(s->type);
	uint32_t size = s->disk - s->start, front;

	s->reserved = s->type == 32 ? 32 : 1;
	front = s->reserved + root_sectors(s);
	if (size <= front)
		return false;
	s->fat = (uint32_t)fat_sectors(s->type, (size - front) / s->per_cluster);
	if (size - front <= 2 * s->fat)
		return false;
	s->fat = (uint32_t)fat_sectors(s->type, (size - front - 2 * s->fat) / s->per_cluster);
	s->data = front + 2 * s->fat;
	if (s->start) {
		uint32_t pad = (PAGE - (s->start + s->data) % PAGE) % PAGE;

		s->reserved += pad;
		s->data += pad;
	}
	if (size <= s->data)
		return false;
	s->clusters = (size - s->data) / s->per_cluster;
	s->clusters = (uint32_t)MIN(s->clusters,
				    (uint64_t)s->fat * FAT_SECTOR * 8 / s->type - 2);
	s->size = size;
	if (s->clusters > r.most) {
		s->clusters = r.most;
		s->size = s->data + s->clusters * s->per_cluster;
	}
	return s->clusters >= r.least;
}

/* Whole cylinders for `need` clusters. false: 32 bits cannot count the sectors. */
static bool grow(struct fat_shape *s, uint64_t need)
{
	uint64_t sectors = s->start + 32u + PAGE + root_sectors(s) +
			   2 * fat_sectors(s->type, need) + need * s->per_cluster;

	if (sectors > CYLINDERS * HEADS * TRACK)
		s->heads = HEADS_MORE;
	sectors = round_up(sectors, s->heads * TRACK);
	if (sectors > UINT32_MAX)
		return false;
	s->disk = (uint32_t)sectors;
	return divide(s);
}

static int too_large(const struct fat_shape *s, const struct fat_tree *t, uint64_t need,
		     struct err *err)
{
	const char *name = t->node[0].name;
	unsigned bytes = s->per_cluster * FAT_SECTOR;

	if (s->type == 32)
		return err_set(err, EFBIG,
			       "'%s' needs %" PRIu64
			       " clusters of %u bytes: a FAT disk with sectors of 512 bytes "
			       "ends at 2 TiB",
			       name, need, bytes);
	err_set(err, EFBIG, "'%s' needs %" PRIu64 " clusters of %u bytes: %s has %u at most",
		name, need, bytes,
		!s->start	? "such a floppy disk"
		: s->type == 12 ? "FAT12"
				: "FAT16",
		s->start ? limits(s->type).most : s->clusters);
	return err_hint(err, "With 'fat:32:' the disk is as large as the folder needs");
}

static int floppy(struct fat_shape *s, const struct fat_tree *t, unsigned type, struct err *err)
{
	uint64_t need;

	if (type == 32)
		return err_set(err, EINVAL,
			       "A floppy disk is too small for FAT32, which has 65525 clusters "
			       "at least");
	/* 1.44 MB if it is to be FAT12, else 2.88 MB: the peer's sizes */
	s->type = type ? type : 12;
	s->track = type == 12 ? 18 : 36;
	s->heads = 2;
	s->disk = 80 * s->heads * s->track;
	s->media = 0xf0;
	s->per_cluster = type ? 1 : 2;
	s->root_entries = (uint32_t)MAX(type == 12 ? 224u : 240u, s->root_entries);
	need = clusters_of(t, s->type, s->per_cluster);
	if (!divide(s) || need > s->clusters)
		return too_large(s, t, need, err);
	return 0;
}

/* The smallest clusters with which the folder fits. */
static int hard_disk(struct fat_shape *s, const struct fat_tree *t, unsigned type,
		     struct err *err)
{
	uint32_t cylinders = type == 12 ? 64 : CYLINDERS;
	uint64_t need, most = type == 32 ? MANY : limits(type).most;

	s->type = type;
	s->track = TRACK;
	s->heads = HEADS;
	s->start = TRACK;
	s->media = 0xf8;
	s->root_entries = type == 32 ? 0 : MAX(ROOT, s->root_entries);
	s->per_cluster = type == 32 ? 8 : 16;
	while ((need = clusters_of(t, type, s->per_cluster)) > most && s->per_cluster < 64)
		s->per_cluster *= 2;
	s->disk = cylinders * s->heads * s->track;
	if (divide(s) && need <= s->clusters)
		return 0;
	if (need > limits(type).most || !grow(s, need) || need > s->clusters)
		return too_large(s, t, need, err);
	return 0;
}

/* Does the folder fit onto the disk that the peer makes if no type is asked for? */
static bool usual(struct fat_shape *s, const struct fat_tree *t)
{
	struct fat_shape try = *s;
	struct err ignored;

	return hard_disk(&try, t, 16, &ignored) == 0 && try.disk == CYLINDERS * HEADS * TRACK &&
	       try.per_cluster == 16;
}

/* Folders first: they are read first. */
static void place(struct fat_shape *s, struct fat_tree *t)
{
	for (int folders = 1; folders >= 0; folders--) {
		for (size_t i = s->type == 32 ? 0 : 1; i < t->n; i++) {
			struct fat_node *node = &t->node[i];

			if (node->folder != folders || node->size == 0)
				continue;
			node->cluster = s->used + 2;
			node->nclusters = (uint32_t)div_up(node->size,
							   s->per_cluster * FAT_SECTOR);
			s->used += node->nclusters;
		}
	}
}

int fat_shape_make(struct fat_shape *s, struct fat_tree *t, const struct fat_want *want,
		   struct err *err)
{
	unsigned type = want->type;
	int rc;

	*s = (struct fat_shape){0};
	s->root_entries = (uint32_t)round_up(t->node[0].size / FAT_ENTRY,
					     FAT_SECTOR / FAT_ENTRY);
	if (want->floppy)
		rc = floppy(s, t, type, err);
	else
		rc = hard_disk(s, t, type ? type : usual(s, t) ? 16 : 32, err);
	if (rc == 0)
		place(s, t);
	return rc;
}
