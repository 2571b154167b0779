/*
 * Protocols: the lowest blk of every stack. A protocol is its file, a line in
 * cmd/catalog.c, its tests and its paragraph in the manual.
 *
 * file	a regular file, or a host block or character device (driver names file,
 *		host_device). Page cache or O_DIRECT, locks, holes, reflinks.
 * mem		a buffer in memory: tests and fuzzing.
 * null		null-co, null-aio: a disk that forgets.
 * ova		a disk inside of an OVA, read in place.
 * fat		vvfat: a folder as a FAT disk, made while it is read.
 *
 * Threads: as blk. Errors: text begins with what failed, as the peer words it:
 * "Could not open 'NAME': No such file or directory".
 */
#ifndef LIB_IO_IO_H
#define LIB_IO_IO_H

#include "lib/blk.h"
#include "lib/opt.h"

/* open flags */
enum {
	IO_WRITE = 1,
	IO_DIRECT = 2,	   /* cache.direct: O_DIRECT, bounced to the probed alignment */
	IO_NO_FLUSH = 4,   /* cache.no-flush: flush does nothing */
	IO_DSYNC = 8,	   /* writethrough: every write is stable when it returns */
	IO_SHARE = 16,	   /* -U: read beside a writer */
	IO_UNMAP = 32,	   /* discard=unmap; without it BLK_UNMAP and BLK_ADVISE do nothing */
	IO_RESIZE = 64,	   /* the file will be grown or cut: asks for that lock too */
	IO_NO_IO = 128,	   /* info: size and metadata only */
	IO_ALONE = 256,	   /* locks: nobody else may write or resize it meanwhile */
	IO_IN_PLACE = 512, /* io_file_new: empty an existing file rather than replace it */
};

struct protocol {
	const char *name;   /* driver= */
	const char *scheme; /* "file:", "null-co://"; NULL: by driver name only */
	const struct opt *open_opts, *create_opts;
	/* The keys of a name that the user typed, scheme and all. NULL: the name is the key
	 * `filename`, or nothing but the scheme. */
	int (*parse_name)(const char *name, struct opts *out, struct err *err);
	/* opts without the "file." prefix: filename, locking ... */
	int (*open)(const struct opts *opts, unsigned flags, struct blk **out, struct err *err);
	/* Makes or empties what open will open. NULL: cannot create. */
	int (*create)(const struct opts *opts, uint64_t size, enum blk_prealloc prealloc,
		      struct err *err);
};

extern const struct protocol io_file, io_host_device, io_null_co, io_null_aio, io_ova, io_vvfat;

/*
 * Locks, as the peer takes them (lib/io/file_lock.c says which bytes). Raw images and the
 * time before the format is known:
 *	0		readers		IO_NO_IO	nothing (info)
 *	IO_WRITE	writers, who let others write (resize: | IO_RESIZE)
 * Any other format, and the source of a convert, adds IO_ALONE; a writer of any other
 * format has IO_WRITE | IO_RESIZE | IO_ALONE. IO_SHARE (-U) takes IO_ALONE back.
 *
 * Changes the locks of an open file to those of `flags` (the other flags are ignored):
 * after probing, say. On failure those it had are kept. Not a file: does nothing.
 */
int io_file_lock(struct blk *blk, unsigned flags, struct err *err);
/* From now on errors of locks say who holds them, as far as the system tells. */
void io_file_tell_holders(bool on);

/* Applies nocow and extent_size_hint of create_opts to an empty file (io_file_new). */
int io_file_prepare(struct blk *file, const struct opts *opts, struct err *err);

/* A file that has no name yet (O_TMPFILE, or a hidden name beside it where the file
 * system cannot), in the folder of `path`: it is locked for writing, empty and counts
 * as new. Closing it unpublished removes it. Where `path` exists and may not be replaced
 * (a device, more than one link, no write permission in the folder) the file itself is
 * opened and emptied instead, and publishing does nothing. An existing file is locked
 * first, so that nobody's open image is replaced under them. */
int io_file_new(const char *path, unsigned flags, struct blk **out, struct err *err);
/* Syncs the file, gives it its name (replacing what is there, mode and owner kept),
 * syncs the folder. */
int io_file_publish(struct blk *file, struct err *err);
/* Removes all new files that have a hidden name. Only for the handler of a signal that
 * ends the program: what the files' owners do after it is of no use. */
void io_file_drop_hidden(void);
/* Is this blk one of ours? */
bool io_is_file(const struct blk *blk);

/* 0, or -1 where this is an OVA, not an image: the error tells its disks and how to name
 * one of them. */
int io_ova_refuse(struct blk *file, struct err *err);

/* A blk over a copy of buf, growing on writes. */
struct blk *io_mem_new(const void *buf, size_t n, struct err *err);
/* Its present contents; borrowed. */
const void *io_mem_data(const struct blk *blk, size_t *n);

/* A window [off, off + size) of lower, taken over on success. size UINT64_MAX: to the end. */
struct blk *region_new(struct blk *lower, uint64_t off, uint64_t size, struct err *err);

#endif
