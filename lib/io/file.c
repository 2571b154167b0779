/*
 * file and host_device: opening, and what all parts share. Reading and writing is in
 * file_rw.c (page cache) and file_direct.c (O_DIRECT).
 */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/mem.h"

static const struct blk_ops file_ops, device_ops;

int file_open_at(int dir, const char *name, unsigned flags, int more)
{
	int o = O_CLOEXEC | O_NOCTTY | (flags & IO_WRITE ? O_RDWR : O_RDONLY) | more, fd;

	if (flags & IO_DIRECT)
		o |= O_DIRECT;
	if ((flags & (IO_DSYNC | IO_WRITE)) == (IO_DSYNC | IO_WRITE))
		o |= O_DSYNC;
	/* A FIFO would wait for its other end. To files it means only that somebody's lease
	 * (a file server's) is not waited for. */
	fd = openat(dir, name, o | O_NONBLOCK, 0644);
	return fd < 0 && errno == EAGAIN ? openat(dir, name, o, 0644) : fd;
}

int file_bad_kind(mode_t mode, const char *name, struct err *err)
{
	const char *what = S_ISFIFO(mode)   ? ", not a FIFO"
			   : S_ISSOCK(mode) ? ", not a socket"
			   : S_ISCHR(mode)  ? ", not a terminal"
					    : "";

	return err_set(err, EINVAL, "'file' driver requires '%s' to be a regular file%s", name,
		       what);
}

int file_check_kind(int fd, const struct stat *st, const char *name, enum file_kind *kind,
		    struct err *err)
{
	if (S_ISREG(st->st_mode)) {
		*kind = FILE_REGULAR;
		return 0;
	}
	if (S_ISBLK(st->st_mode)) {
		*kind = FILE_BLOCK;
		return 0;
	}
	if (S_ISCHR(st->st_mode) && !isatty(fd)) {
		*kind = FILE_CHAR;
		return 0;
	}
	return file_bad_kind(st->st_mode, name, err);
}

static int get_size(struct file *f, const struct stat *st, struct err *err)
{
	uint64_t size = 0;

	if (f->kind == FILE_REGULAR)
		size = (uint64_t)st->st_size;
	else if (f->kind == FILE_BLOCK && ioctl(f->fd, BLKGETSIZE64, &size) < 0)
		return err_sys(err, "Could not get the size of '%s'", f->blk.name);
	if (size > INT64_MAX)
		return err_set(err, EFBIG, "'%s' has an impossible size of %" PRIu64 " bytes",
			       f->blk.name, size);
	f->blk.size = size;
	return 0;
}

static void set_caps(struct file *f, const struct stat *st)
{
	unsigned caps = BLK_IS_HOST;

	if (f->kind == FILE_REGULAR && st->st_size == 0)
		caps |= BLK_ZERO_INIT;
	if (f->flags & IO_WRITE) {
		caps |= BLK_CAN_WRITE;
		if (f->kind == FILE_REGULAR)
			caps |= BLK_CAN_GROW | BLK_CAN_ZERO | BLK_CAN_UNMAP;
		else if (f->kind == FILE_BLOCK && file_block_zeroes(st))
			caps |= BLK_CAN_ZERO | BLK_CAN_UNMAP;
	}
	f->blk.caps = caps;
}

int file_from_fd(int fd, const struct stat *st, const char *name, unsigned flags,
		 struct file **out, struct err *err)
{
	struct file *f = calloc(1, sizeof(*f));
	struct err ignored;

	if (!f) {
		close(fd);
		return err_nomem(err, sizeof(*f), "an open file");
	}
	f->fd = fd;
	f->flags = flags;
	f->sector = 1;
	f->mem_align = 1;
	pthread_mutex_init(&f->run_lock, NULL);
	pthread_rwlock_init(&f->grow, NULL);
	if (blk_init(&f->blk, S_ISREG(st->st_mode) ? &file_ops : &device_ops, name, err) ||
	    file_check_kind(fd, st, name, &f->kind, err) || get_size(f, st, err))
		goto fail;
	set_caps(f, st);
	if ((flags & IO_DIRECT) && f->kind != FILE_CHAR && file_direct_probe(f, st, err))
		goto fail;
	*out = f;
	return 0;
fail:
	blk_close(&f->blk, &ignored);
	return -1;
}

/* As opts_choice, in the words that the peer has for drivers' options. */
static int choice(const struct opts *opts, const char *key, const char *choices, int *out,
		  struct err *err)
{
	if (opts_choice(opts, key, choices, out, err))
		return err_set(err, EINVAL, "invalid parameter value: %s", opts_get(opts, key));
	return 0;
}

int file_get_locking(const struct opts *opts, enum file_locking *out, struct err *err)
{
	int i = LOCKING_AUTO;

	if (choice(opts, "locking", "auto|on|off", &i, err))
		return -1;
	*out = (enum file_locking)i;
	return 0;
}

static int get_aio(const struct opts *opts, unsigned flags, struct err *err)
{
	int i = 0;

	if (choice(opts, "aio", "threads|native|io_uring", &i, err))
		return -1;
	if (i == 1 && !(flags & IO_DIRECT))
		return err_set(err, EINVAL,
			       "aio=native was specified, but it requires cache.direct=on, "
			       "which was not specified.");
	return 0;
}

static int open_failed(const char *name, unsigned flags, struct err *err)
{
	int num = errno;
	struct stat st;

	if (num == ENXIO && stat(name, &st) == 0 && S_ISSOCK(st.st_mode))
		return file_bad_kind(st.st_mode, name, err);
	if (num == EISDIR)
		return file_bad_kind(S_IFDIR, name, err);
	if (num == EINVAL && (flags & IO_DIRECT))
		return err_set(err, EINVAL,
			       "Could not open '%s': filesystem does not support O_DIRECT",
			       name);
	errno = num;
	return err_sys(err, "Could not open '%s'", name);
}

static int open_any(const struct opts *opts, unsigned flags, struct file **out, struct err *err)
{
	const char *name = opts_get(opts, "filename");
	struct file_lock lock = {0};
	unsigned held, denied;
	struct stat st;
	struct err ignored;
	int fd;

	if (!name || !name[0])
		return err_set(err, EINVAL, "The 'file' block driver requires a file name");
	if (file_get_locking(opts, &lock.mode, err) || get_aio(opts, flags, err))
		return -1;
	fd = file_open_at(AT_FDCWD, name, flags, 0);
	if (fd < 0)
		return open_failed(name, flags, err);
	if (fstat(fd, &st) < 0) {
		err_sys(err, "Could not stat '%s'", name);
		close(fd);
		return -1;
	}
	if (file_from_fd(fd, &st, name, flags, out, err))
		return -1;
	(*out)->lock = lock;
	file_lock_wanted(flags, &held, &denied);
	if (file_lock_set(fd, &(*out)->lock, held, denied, name, err)) {
		blk_close(&(*out)->blk, &ignored);
		return -1;
	}
	return 0;
}

static int open_file(const struct opts *opts, unsigned flags, struct blk **out, struct err *err)
{
	struct file *f;

	if (open_any(opts, flags, &f, err))
		return -1;
	*out = &f->blk;
	return 0;
}

static int open_host_device(const struct opts *opts, unsigned flags, struct blk **out,
			    struct err *err)
{
	struct file *f;
	struct err ignored;

	if (open_any(opts, flags, &f, err))
		return -1;
	if (f->kind == FILE_REGULAR) {
		err_set(err, EINVAL,
			"'host_device' driver requires '%s' to be either a character or "
			"block device",
			f->blk.name);
		blk_close(&f->blk, &ignored);
		return -1;
	}
	*out = &f->blk;
	return 0;
}

static int file_fd(struct blk *blk, uint64_t *base)
{
	struct file *f = (struct file *)blk;

	*base = 0;
	return f->kind == FILE_CHAR ? -1 : f->fd;
}

static int64_t file_disk_usage(struct blk *blk)
{
	struct stat st;

	if (fstat(((struct file *)blk)->fd, &st) < 0)
		return -1;
	return (int64_t)st.st_blocks * 512;
}

static int file_close(struct blk *blk, struct err *err)
{
	struct file *f = (struct file *)blk;
	int rc = 0;

	file_target_free(f);
	/* errors of earlier writes may come only now (NFS, quota) */
	if (f->fd >= 0 && close(f->fd) < 0 && errno != EINTR)
		rc = err_sys(err, "Could not close '%s'", blk->name);
	ranges_free(f->ranges);
	pthread_mutex_destroy(&f->run_lock);
	pthread_rwlock_destroy(&f->grow);
	free(f);
	return rc;
}

bool io_is_file(const struct blk *blk)
{
	return blk->ops == &file_ops || blk->ops == &device_ops;
}

int io_file_lock(struct blk *blk, unsigned flags, struct err *err)
{
	struct file *f = (struct file *)blk;
	unsigned held, denied;

	if (!io_is_file(blk))
		return 0;
	file_lock_wanted(flags, &held, &denied);
	return file_lock_set(f->fd, &f->lock, held, denied, blk->name, err);
}

#define FILE_OPS(driver)                                                                       \
	{                                                                                      \
		.name = (driver), .pread = file_pread, .pwrite = file_pwrite,                  \
		.zero = file_zero, .flush = file_flush, .extent = file_extent,                 \
		.resize = file_resize, .fd = file_fd, .disk_usage = file_disk_usage,           \
		.close = file_close,                                                           \
	}

static const struct blk_ops file_ops = FILE_OPS("file");
static const struct blk_ops device_ops = FILE_OPS("host_device");
static const struct opt file_open_opts[] = {
	{.name = "filename", .type = OPT_STR, .arg = "str", .help = "Path of the file"},
	{.name = "locking",
	 .type = OPT_STR,
	 .choices = "auto|on|off",
	 .help = "Lock the file against other programs; auto: where the file system can"},
	{.name = "aio",
	 .type = OPT_STR,
	 .choices = "threads|native|io_uring",
	 .help = "Kind of asynchronous I/O; threads are used for all of them"},
	{0},
};

const struct protocol io_file = {
	.name = "file",
	.scheme = "file:",
	.open_opts = file_open_opts,
	.create_opts = file_create_opts,
	.open = open_file,
	.create = file_create,
};

const struct protocol io_host_device = {
	.name = "host_device",
	.open_opts = file_open_opts,
	.create_opts = host_device_create_opts,
	.open = open_host_device,
	.create = file_create,
};
