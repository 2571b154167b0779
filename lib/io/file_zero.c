/*
 * Zeros and discards without sending bytes: holes in files, write-zeroes and discard of
 * block devices.
 */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/mem.h"

bool file_block_zeroes(const struct stat *st)
{
	/* a partition has no queue of its own, its disk has */
	static const char *const place[] = {"queue", "../queue"};
	char path[128], text[32] = "";

	for (size_t i = 0; i < ARRAY_LEN(place); i++) {
		int fd;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/write_zeroes_max_bytes",
			 major(st->st_rdev), minor(st->st_rdev), place[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, text, sizeof(text) - 1) <= 0)
			text[0] = '0';
		close(fd);
		return text[0] != '0';
	}
	return false;
}

static bool means_unsupported(int num)
{
	return num == EOPNOTSUPP || num == ENOSYS || num == ENOTTY || num == EINVAL ||
	       num == ENODEV;
}

static int unsupported(struct file *f, struct err *err)
{
	return err_set(err, ENOTSUP, "'%s' cannot be zeroed without writing to it",
		       f->blk.name);
}

static int zero_failed(struct file *f, struct err *err)
{
	if (means_unsupported(errno))
		return unsupported(f, err);
	return err_sys(err, "Could not zero a part of '%s'", f->blk.name);
}

static int allocate(struct file *f, int mode, uint64_t off, uint64_t len)
{
	int rc;

	do
		rc = fallocate(f->fd, mode, (off_t)off, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc;
}

/* A file system that cannot do it is asked once. */
static int try_mode(struct file *f, int mode, _Atomic bool *never, uint64_t off, uint64_t len)
{
	int rc;

	if (atomic_load_explicit(never, memory_order_relaxed)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	rc = allocate(f, mode | FALLOC_FL_KEEP_SIZE, off, len);
	if (rc < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		atomic_store_explicit(never, true, memory_order_relaxed);
	return rc;
}

static int punch(struct file *f, uint64_t off, uint64_t len)
{
	return try_mode(f, FALLOC_FL_PUNCH_HOLE, &f->no_punch, off, len);
}

/* Zeros that stay allocated. */
static int zero_range(struct file *f, uint64_t off, uint64_t len)
{
	if (try_mode(f, FALLOC_FL_ZERO_RANGE, &f->no_zero_range, off, len) == 0)
		return 0;
	if (!means_unsupported(errno) || punch(f, off, len))
		return -1;
	return allocate(f, FALLOC_FL_KEEP_SIZE, off, len);
}

/* What is past the end need only be made part of the file. */
static int extend(struct file *f, uint64_t end, struct err *err)
{
	int rc = 0;

	pthread_rwlock_wrlock(&f->grow);
	if (end > file_size(f)) {
		rc = ftruncate(f->fd, (off_t)end);
		if (rc == 0)
			file_size_reaches(f, end);
		else
			err_sys(err, "Could not resize '%s'", f->blk.name);
	}
	pthread_rwlock_unlock(&f->grow);
	return rc;
}

/* The same, with blocks to write into. */
static int extend_allocated(struct file *f, uint64_t off, uint64_t len, struct err *err)
{
	int rc;

	pthread_rwlock_rdlock(&f->grow);
	rc = allocate(f, 0, off, len);
	if (rc == 0)
		file_size_reaches(f, off + len);
	else
		zero_failed(f, err);
	pthread_rwlock_unlock(&f->grow);
	return rc;
}

static int zero_inside(struct file *f, uint64_t off, uint64_t len, unsigned flags)
{
	if (flags & BLK_ADVISE)
		return punch(f, off, len);
	if ((flags & BLK_UNMAP) && punch(f, off, len) == 0)
		return 0;
	return zero_range(f, off, len);
}

static int zero_file(struct file *f, uint64_t off, uint64_t len, unsigned flags,
		     struct err *err)
{
	uint64_t size = file_size(f), end = off + len;
	struct range_hold hold;
	int rc;

	if (flags & BLK_ROOM)
		return extend_allocated(f, off, len, err);
	if (!(flags & BLK_ADVISE) && end > size && extend(f, end, err))
		return -1;
	if (off >= size)
		return 0;
	len = MIN(len, size - off);
	/* not between the reading and the writing of a neighbour's sector */
	if (f->ranges)
		ranges_lock(f->ranges, &hold, off, off + len, false);
	rc = zero_inside(f, off, len, flags);
	if (rc)
		zero_failed(f, err);
	if (f->ranges)
		ranges_unlock(f->ranges, &hold);
	return rc;
}

static int block_command(struct file *f, unsigned flags, uint64_t off, uint64_t len)
{
	uint64_t range[2] = {off, len};

	if (flags & BLK_ADVISE)
		return ioctl(f->fd, BLKDISCARD, range);
	if ((flags & BLK_UNMAP) && punch(f, off, len) == 0)
		return 0;
	if (flags & BLK_CHEAP) {
		/* the kernel would write zeros where the device cannot make them */
		errno = EOPNOTSUPP;
		return -1;
	}
	return ioctl(f->fd, BLKZEROOUT, range);
}

static int write_edge(struct file *f, uint64_t from, uint64_t to, struct err *err)
{
	static const uint8_t zeros[4096];

	while (from < to) {
		size_t n = MIN(to - from, sizeof(zeros));

		if (file_pwrite(&f->blk, zeros, n, from, 0, err))
			return -1;
		from += n;
	}
	return 0;
}

static int zero_block(struct file *f, uint64_t off, uint64_t len, unsigned flags,
		      struct err *err)
{
	uint64_t from, to, end = off + len;
	int sector = 0;

	if (ioctl(f->fd, BLKSSZGET, &sector) < 0 || sector <= 0)
		sector = 4096;
	from = round_up(off, (uint64_t)sector);
	to = round_down(end, (uint64_t)sector);
	if (from < to && block_command(f, flags, from, to - from))
		return zero_failed(f, err);
	if (flags & BLK_ADVISE)
		return 0;
	if (from >= to)
		return write_edge(f, off, end, err);
	return write_edge(f, off, from, err) || write_edge(f, to, end, err) ? -1 : 0;
}

int file_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags, struct err *err)
{
	struct file *f = (struct file *)blk;
	int rc;

	if (!(f->flags & IO_UNMAP)) {
		if (flags & BLK_ADVISE)
			return 0;
		flags &= ~(unsigned)BLK_UNMAP;
	}
	if (f->kind == FILE_CHAR)
		return unsupported(f, err);
	if (f->kind == FILE_BLOCK)
		return zero_block(f, off, len, flags, err);
	rc = zero_file(f, off, len, flags, err);
	atomic_fetch_add_explicit(&f->writes, 1, memory_order_release);
	atomic_fetch_add_explicit(&f->holes, 1, memory_order_release);
	return rc;
}
