/*
 * A folder of this machine as a FAT disk: what the peer calls vvfat. Nothing is copied; the
 * bytes of the disk are made when they are asked for, those of files are read from them.
 *
 * The document is Microsoft's "FAT: General Overview of On-Disk Format" (fatgen103): boot
 * sector and FSInfo, "FAT type determination", directory structure, long names and the
 * "basis-name generation algorithm". The defaults - the size of the disk, the serial number,
 * the label, the first sector of the partition - are the peer's.
 *
 * The disk, all of it laid down at the open:
 *
 *	MBR (not on a floppy), boot sectors, two FATs, root directory (FAT12, FAT16),
 *	directories, files; each of them one run of clusters, in the order of the scan.
 *
 * It is the same for the same folder: names are sorted by their bytes, and the serial number
 * is always the same. With SOURCE_DATE_EPOCH no time is later than that and all are UTC;
 * else they are local times, as FAT wants them.
 *
 * Limits: a file 4 GiB - 1, a directory 65520 entries, a disk 2^32 - 1 sectors; the clusters
 * that each type of FAT can count. What the folder has above them is refused when it is
 * opened. Memory grows with the number of files and the length of their names only.
 */
#ifndef LIB_IO_FAT_FAT_H
#define LIB_IO_FAT_FAT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/blk.h"
#include "lib/opt.h"

#define FAT_SECTOR   512u
#define FAT_ENTRY    32u /* of a directory */
#define FAT_ALIAS    11	 /* a short name: 8 characters and 3, filled with spaces */
#define FAT_LABEL    11
#define FAT_DIR_MAX  65520u	   /* entries of a directory; 16 bits count those of a root */
#define FAT_FILE_MAX 0xffffffffull /* bytes of a file */

/* One file or folder. Its path is found by way of its parents. */
struct fat_node {
	char *name; /* in its folder; of the root: the folder as the user says it */
	uint32_t parent;
	bool folder;
	bool link;     /* reached through a symbolic link */
	bool holes;    /* not all of the file is allocated */
	uint8_t nlong; /* entries of its long name */
	uint8_t alias[FAT_ALIAS];
	uint32_t first, count; /* of a folder: its nodes, which are neighbours */
	uint64_t size;	       /* bytes; of a folder: of its entries */
	int64_t mtime;
	dev_t dev;
	ino_t ino;
	uint32_t cluster, nclusters; /* none: 0, 0 */
};

/* node[0] is the root; a folder comes before what is in it. */
struct fat_tree {
	struct fat_node *node;
	size_t n, room;
	int root; /* descriptor of the folder */
	bool utc;
	int64_t latest; /* no time is later; INT64_MAX without SOURCE_DATE_EPOCH */
};

struct fat_want {
	const char *dir;
	unsigned type; /* 12, 16, 32; 0: as fits */
	bool floppy;
	char label[FAT_LABEL]; /* filled with spaces */
};

/* Sectors of 512 bytes; `start` is from the beginning of the disk, the rest from there. */
struct fat_shape {
	unsigned type;
	uint32_t heads, track; /* sectors of a track */
	uint32_t disk, start, size;
	uint32_t reserved, fat, root_entries, data; /* data: where cluster 2 is */
	uint32_t per_cluster, clusters, used;
	uint8_t media;
};

/* location.c: the keys of a name "fat:[floppy:][12:|16:|32:][label=NAME:][rw:]DIR". */
int fat_location(const char *text, struct opts *out, struct err *err);

/* scan.c: reads the folder. What is neither file nor folder is left out, with a warning. */
int fat_scan(struct fat_tree *t, const char *dir, struct err *err);
void fat_tree_free(struct fat_tree *t);
/* The path of a node, below the folder or (whole) with it; to be freed. */
char *fat_path(const struct fat_tree *t, size_t node, bool whole, struct err *err);

/* alias.c: short names for all that is in a folder. Refuses what has no place on FAT: names
 * with certain characters, names that differ only in case. */
int fat_alias(struct fat_tree *t, size_t folder, struct err *err);
/* fold.c: sorts out names that are the same but for case. */
int fat_same_names(const struct fat_tree *t, size_t folder, struct err *err);

/* shape.c: the type of FAT and all sizes, and a place for each node. */
int fat_shape_make(struct fat_shape *s, struct fat_tree *t, const struct fat_want *want,
		   struct err *err);

/* dir.c: sizes of all directories, before their places are known; and the bytes of one. */
int fat_dir_sizes(struct fat_tree *t, struct err *err);
int fat_dir_put(const struct fat_tree *t, size_t folder, const uint8_t *label, uint8_t *to,
		struct err *err);

/* boot.c: the MBR (512 bytes), and the reserved sectors. */
void fat_mbr_put(const struct fat_shape *s, uint8_t *to);
void fat_boot_put(const struct fat_shape *s, const uint8_t *label, uint8_t *to);

/* table.c: the chains of clusters that are in use, in order, and bytes of the FAT. */
struct fat_chain {
	uint32_t first, n;
};
void fat_table_put(const struct fat_shape *s, const struct fat_chain *chain, size_t n,
		   uint64_t off, uint8_t *to, size_t len);

/*
 * host.c: a file of the folder as a blk. Few of them are open at a time; a read opens the
 * file that it needs. A file that was replaced since the scan is an error; of one that
 * became shorter zeros are read, with a warning.
 */
#define FAT_OPEN 32
struct fat_open {
	struct fat_host *of;
	int fd;
	unsigned users;
	uint64_t used; /* when */
};
struct fat_pool {
	pthread_mutex_t lock;
	struct fat_open slot[FAT_OPEN];
	uint64_t clock;
	unsigned kept; /* large files that stay open, so that the kernel can copy from them */
	int root;
};
void fat_pool_init(struct fat_pool *p, int root);
void fat_pool_close(struct fat_pool *p);
struct blk *fat_host_new(struct fat_pool *p, const struct fat_tree *t, size_t node,
			 struct err *err);

#endif
