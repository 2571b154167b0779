/* Reading, writing and syncing through the page cache. */
#include "lib/io/file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

int file_read_all(struct file *f, void *buf, size_t n, uint64_t off, size_t *got,
		  struct err *err)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pread(f->fd, (uint8_t *)buf + done, n - done, (off_t)(off + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_sys(err,
				       "Could not read %zu bytes at offset %" PRIu64 " of '%s'",
				       n - done, off + done, f->blk.name);
		done += (size_t)r;
		/* O_DIRECT: a part of a sector is the last one, and there is no going on */
		if (r == 0 || (done & (f->sector - 1)))
			break;
	}
	*got = done;
	return 0;
}

int file_write_all(struct file *f, const void *buf, size_t n, uint64_t off, struct err *err)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pwrite(f->fd, (const uint8_t *)buf + done, n - done,
				   (off_t)(off + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0)
			errno = ENOSPC;
		if (r <= 0)
			return err_sys(
				err, "Could not write %zu bytes at offset %" PRIu64 " of '%s'",
				n - done, off + done, f->blk.name);
		done += (size_t)r;
	}
	return 0;
}

int file_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct file *f = (struct file *)blk;
	size_t got = 0;

	if (f->sector > 1)
		return file_direct_pread(f, buf, n, off, err);
	if (f->kind != FILE_CHAR && file_read_all(f, buf, n, off, &got, err))
		return -1;
	if (got < n)
		memset((uint8_t *)buf + got, 0, n - got);
	return 0;
}

int file_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		struct err *err)
{
	struct file *f = (struct file *)blk;
	struct stat st;
	int rc;

	if (f->sector > 1) {
		rc = file_direct_pwrite(f, buf, n, off, err);
	} else if (off + n <= file_size(f)) {
		rc = file_write_all(f, buf, n, off, err);
	} else {
		pthread_rwlock_rdlock(&f->grow);
		rc = file_write_all(f, buf, n, off, err);
		if (rc == 0)
			file_size_reaches(f, off + n);
		else if (f->kind == FILE_REGULAR && fstat(f->fd, &st) == 0)
			file_size_reaches(f, (uint64_t)st.st_size); /* a part was written */
		pthread_rwlock_unlock(&f->grow);
	}
	atomic_fetch_add_explicit(&f->writes, 1, memory_order_release);
	return rc;
}

int file_flush(struct blk *blk, struct err *err)
{
	struct file *f = (struct file *)blk;
	int num, rc;

	if ((f->flags & IO_NO_FLUSH) || !(f->flags & IO_WRITE) || f->kind == FILE_CHAR)
		return 0;
	num = atomic_load(&f->flush_error);
	if (num == 0) {
		do
			rc = fdatasync(f->fd);
		while (rc < 0 && errno == EINTR);
		if (rc == 0)
			return 0;
		/* the kernel tells of lost writes once and calls the pages clean then */
		num = errno;
		rc = 0;
		if (!atomic_compare_exchange_strong(&f->flush_error, &rc, num))
			num = rc;
	}
	errno = num;
	return err_sys(err, "Could not sync '%s'", f->blk.name);
}
