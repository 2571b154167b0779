/* Making a file: `create`, and the options that only an empty file can take. */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/mem.h"

/* The peer's default: what is written in small pieces (qcow2) stays in few extents. */
#define EXTENT_SIZE_HINT (1u << 20)

/* In the order in which the peer's create tells them. */
const struct opt file_create_opts[] = {
	{"size", 0, OPT_SIZE, OPT_PROTO, NULL, NULL, "Virtual disk size"},
	{"nocow", 0, OPT_BOOL, OPT_PROTO, NULL, NULL,
	 "Turn off copy-on-write (valid only on btrfs)"},
	{"preallocation", 0, OPT_STR, OPT_PROTO, NULL, "off|falloc|full",
	 "Preallocation mode (allowed values: off, falloc, full)"},
	{"extent_size_hint", 0, OPT_SIZE, OPT_PROTO, NULL, NULL,
	 "Extent size hint for the image file, 0 to disable"},
	{.type = OPT_END},
};

const struct opt host_device_create_opts[] = {
	{"size", 0, OPT_SIZE, OPT_PROTO, NULL, NULL, "Virtual disk size"},
	{"preallocation", 0, OPT_STR, OPT_PROTO, NULL, "off",
	 "Preallocation mode (allowed values: off)"},
	{.type = OPT_END},
};

static void set_nocow(int fd)
{
	int attr;

	if (ioctl(fd, FS_IOC_GETFLAGS, &attr) == 0 && !(attr & FS_NOCOW_FL)) {
		attr |= FS_NOCOW_FL;
		/* means nothing elsewhere than on btrfs, as its help says */
		(void)!ioctl(fd, FS_IOC_SETFLAGS, &attr);
	}
}

static int set_extent_size(int fd, uint32_t hint)
{
	struct fsxattr x;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &x) < 0)
		return -1;
	if (hint)
		x.fsx_xflags |= FS_XFLAG_EXTSIZE;
	else
		x.fsx_xflags &= ~(uint32_t)FS_XFLAG_EXTSIZE;
	if (x.fsx_extsize == hint)
		return 0;
	x.fsx_extsize = hint;
	return ioctl(fd, FS_IOC_FSSETXATTR, &x);
}

int file_prepare(int fd, const struct opts *opts, struct err *err)
{
	uint64_t hint = EXTENT_SIZE_HINT;
	bool nocow = false;

	if (opts && (opts_bool(opts, "nocow", &nocow, err) ||
		     opts_size(opts, "extent_size_hint", &hint, err)))
		return -1;
	if (hint > UINT32_MAX)
		return err_set(err, EINVAL, "Extent size hint is too large");
	if (nocow)
		set_nocow(fd);
	if (set_extent_size(fd, (uint32_t)hint) < 0 && errno == EINVAL && opts &&
	    opts_has(opts, "extent_size_hint"))
		return err_sys(err, "Failed to set extent size hint");
	return 0;
}

int io_file_prepare(struct blk *blk, const struct opts *opts, struct err *err)
{
	struct file *f = (struct file *)blk;

	if (!io_is_file(blk) || f->kind != FILE_REGULAR)
		return 0;
	return file_prepare(f->fd, opts, err);
}

static int create_device(struct file *f, uint64_t size, enum blk_prealloc p, struct err *err)
{
	if (p != PREALLOC_OFF)
		return err_set(err, ENOTSUP, "Unsupported preallocation mode '%s'",
			       p == PREALLOC_FULL     ? "full"
			       : p == PREALLOC_FALLOC ? "falloc"
						      : "metadata");
	if (size > file_size(f))
		return err_set(err, EINVAL, "Cannot grow device files");
	return 0;
}

/* Locks first: an image that somebody uses must not lose its contents. */
static int create_regular(struct file *f, const struct opts *opts, uint64_t size,
			  enum blk_prealloc p, struct err *err)
{
	if (file_lock_create(f->fd, &f->lock, f->blk.name, err))
		return -1;
	if (blk_resize(&f->blk, 0, PREALLOC_OFF, err) || file_prepare(f->fd, opts, err))
		return -1;
	return blk_resize(&f->blk, size, p, err);
}

int file_create(const struct opts *opts, uint64_t size, enum blk_prealloc prealloc,
		struct err *err)
{
	const char *name = opts_get(opts, "filename");
	enum file_locking locking;
	struct err ignored;
	struct file *f;
	struct stat st;
	int fd, rc;

	if (!name || !name[0])
		return err_set(err, EINVAL, "The 'file' block driver requires a file name");
	if (file_get_locking(opts, &locking, err))
		return -1;
	fd = file_open_at(AT_FDCWD, name, IO_WRITE, O_CREAT);
	if (fd < 0)
		return err_sys(err, "Could not create '%s'", name);
	if (fstat(fd, &st) < 0) {
		err_sys(err, "Could not stat '%s'", name);
		close(fd);
		return -1;
	}
	if (file_from_fd(fd, &st, name, IO_WRITE, &f, err))
		return -1;
	f->lock.mode = locking;
	if (f->kind == FILE_REGULAR)
		rc = create_regular(f, opts, size, prealloc, err);
	else
		rc = create_device(f, size, prealloc, err);
	if (blk_close(&f->blk, rc ? &ignored : err))
		rc = -1;
	return rc;
}
