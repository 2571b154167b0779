/*
 * The parts of the file protocol, for lib/io/file_*.c only.
 *
 * Order of locks: grow, then ranges, then run_lock.
 */
#ifndef LIB_IO_FILE_H
#define LIB_IO_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "lib/io/io.h"
#include "lib/ranges.h"

enum file_kind { FILE_REGULAR, FILE_BLOCK, FILE_CHAR };
enum file_locking { LOCKING_AUTO, LOCKING_ON, LOCKING_OFF };

/* The locks of one open file: bit n is permission n of file_lock.c. */
struct file_lock {
	enum file_locking mode;
	unsigned held;	 /* what we do */
	unsigned denied; /* what nobody else may do */
};

enum { PERM_READ = 1, PERM_WRITE = 2, PERM_RESIZE = 8 };

/* What is known of one run of the file, and of what follows it. */
struct file_run {
	uint64_t from, to;
	bool data; /* the run is data, and at `to` begins a hole or the end; else reverse */
	uint64_t writes; /* counters as they were before the file system was asked */
	uint64_t holes;
};

struct file {
	struct blk blk;
	int fd;
	unsigned flags; /* IO_* */
	enum file_kind kind;
	struct file_lock lock;

	uint32_t sector;       /* unit of offsets and lengths on fd; 1 without O_DIRECT */
	uint32_t mem_align;    /* of buffers */
	struct ranges *ranges; /* O_DIRECT for writing: edges against whole sectors */

	/* Writes past the end hold it shared, who sets the length by ftruncate alone: or a
	 * length computed before another's write would cut that off. */
	pthread_rwlock_t grow;

	_Atomic int flush_error; /* the first failed sync: what it lost stays lost */
	_Atomic bool no_punch, no_zero_range;

	/* Bumped after a change was made: what was asked before it is stale. */
	_Atomic uint64_t writes; /* holes may have become data */
	_Atomic uint64_t holes;	 /* data may have become holes */
	pthread_mutex_t run_lock;
	struct file_run run;

	struct file_target *target; /* a new file without its name yet, or NULL */
};

/* file.c */
/* A blk over an open descriptor. Takes fd over, also on failure. */
int file_from_fd(int fd, const struct stat *st, const char *name, unsigned flags,
		 struct file **out, struct err *err);
/* Refuses what is not a file or a disk: directories, FIFOs, sockets, terminals. */
int file_check_kind(int fd, const struct stat *st, const char *name, enum file_kind *kind,
		    struct err *err);
/* openat for IO_* flags and `more` of O_*. Does not hang on what is no file. */
int file_open_at(int dir, const char *name, unsigned flags, int more);
/* "'file' driver requires 'NAME' to be a regular file", with the reason. */
int file_bad_kind(mode_t mode, const char *name, struct err *err);
/* Reads the locking option. */
int file_get_locking(const struct opts *opts, enum file_locking *out, struct err *err);

static inline uint64_t file_size(const struct file *f)
{
	return __atomic_load_n(&f->blk.size, __ATOMIC_ACQUIRE);
}

/* Only ever up: the end of a write. */
static inline void file_size_reaches(struct file *f, uint64_t end)
{
	uint64_t size = file_size(f);

	while (size < end && !__atomic_compare_exchange_n(&f->blk.size, &size, end, true,
							  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

/* file_rw.c: all of [off, off + n), whatever the kernel returns in between. */
int file_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err);
int file_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		struct err *err);
int file_flush(struct blk *blk, struct err *err);
/* *got < n: the file ends there. */
int file_read_all(struct file *f, void *buf, size_t n, uint64_t off, size_t *got,
		  struct err *err);
int file_write_all(struct file *f, const void *buf, size_t n, uint64_t off, struct err *err);

/* file_direct.c */
int file_direct_probe(struct file *f, const struct stat *st, struct err *err);
int file_direct_pread(struct file *f, void *buf, size_t n, uint64_t off, struct err *err);
int file_direct_pwrite(struct file *f, const void *buf, size_t n, uint64_t off,
		       struct err *err);

/* file_extent.c */
int file_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		struct err *err);

/* file_zero.c */
int file_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags, struct err *err);
/* Can the device write zeros without being sent them? */
bool file_block_zeroes(const struct stat *st);

/* file_size.c */
int file_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err);

/* file_lock.c */
/* Takes, tests and drops what it takes to hold exactly (held, denied). */
int file_lock_set(int fd, struct file_lock *lock, unsigned held, unsigned denied,
		  const char *name, struct err *err);
/* The locks of an open with these IO_* flags. */
void file_lock_wanted(unsigned flags, unsigned *held, unsigned *denied);
/* Those of somebody who is about to empty the file. */
int file_lock_create(int fd, struct file_lock *lock, const char *name, struct err *err);

/* file_holders.c */
/* Adds who has the file open, with a lock on that byte if that can be seen, where
 * io_file_tell_holders() asked for it. -1. */
int file_hint_holders(int fd, int byte, struct err *err);

/* file_create.c */
extern const struct opt file_create_opts[], host_device_create_opts[];
int file_create(const struct opts *opts, uint64_t size, enum blk_prealloc prealloc,
		struct err *err);
/* nocow and extent_size_hint. opts NULL: the defaults. */
int file_prepare(int fd, const struct opts *opts, struct err *err);

/* file_attr.c */
/* Owner, mode, extended attributes, flags. -1: not all of it could be taken over. */
int file_attr_copy(int from, const struct stat *st, int to);

/* file_new.c */
/* Removes an unpublished file. */
void file_target_free(struct file *f);

/* file_hidden.c */
/* Call add before the name exists, and del when it is gone. */
void file_hidden_add(int dir, const char *name);
void file_hidden_del(int dir, const char *name);

#endif
