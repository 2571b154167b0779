/* The length of a file, and space for it in advance. */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"

#define FULL_CHUNK (1u << 20)

static const char *const prealloc_name[] = {"off", "metadata", "falloc", "full"};

static int grow_falloc(struct file *f, uint64_t from, uint64_t to, struct err *err)
{
	int num;

	do
		num = posix_fallocate(f->fd, (off_t)from, (off_t)(to - from));
	while (num == EINTR);
	if (num == 0)
		return 0;
	errno = num;
	return err_sys(err, "Could not preallocate new data");
}

static int grow_full(struct file *f, uint64_t from, uint64_t to, struct err *err)
{
	AUTO_FREE uint8_t *zeros = mem_alloc(FULL_CHUNK);
	struct err why;

	if (!zeros)
		return err_nomem(err, FULL_CHUNK, "zeros");
	memset(zeros, 0, FULL_CHUNK);
	while (from < to) {
		size_t n = MIN(to - from, FULL_CHUNK);

		if (file_pwrite(&f->blk, zeros, n, from, 0, &why)) {
			errno = why.num;
			return err_sys(err, "Could not write zeros for preallocation");
		}
		from += n;
	}
	if (!(f->flags & IO_NO_FLUSH) && fsync(f->fd) < 0)
		return err_sys(err, "Could not flush file to disk");
	return 0;
}

static int grow(struct file *f, uint64_t from, uint64_t to, enum blk_prealloc p,
		struct err *err)
{
	if (p == PREALLOC_FALLOC)
		return grow_falloc(f, from, to, err);
	if (p == PREALLOC_FULL)
		return grow_full(f, from, to, err);
	return ftruncate(f->fd, (off_t)to) < 0 ? err_sys(err, "Could not resize file") : 0;
}

int file_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct file *f = (struct file *)blk;
	uint64_t old = file_size(f);
	int rc;

	if (f->kind != FILE_REGULAR && p != PREALLOC_OFF)
		return err_set(err, ENOTSUP,
			       "Preallocation mode '%s' unsupported for this non-regular file",
			       prealloc_name[p]);
	if (p == PREALLOC_METADATA)
		return err_set(err, ENOTSUP, "Unsupported preallocation mode '%s'",
			       prealloc_name[p]);
	if (size == old)
		return 0;
	if (f->kind != FILE_REGULAR)
		return err_set(err, ENOTSUP, "Cannot resize device files");
	if (size > INT64_MAX)
		return err_set(err, EFBIG, "Could not resize file: %s", strerror(EFBIG));
	if (size < old && p != PREALLOC_OFF)
		return err_set(err, EINVAL, "Preallocation can't be used for shrinking files");
	if (size < old)
		rc = grow(f, old, size, PREALLOC_OFF, err);
	else
		rc = grow(f, old, size, p, err);
	if (rc && ftruncate(f->fd, (off_t)old) < 0)
		err_hint(err, "and its old length could not be restored: %s", strerror(errno));
	__atomic_store_n(&blk->size, rc ? old : size, __ATOMIC_RELEASE);
	atomic_fetch_add(&f->writes, 1);
	atomic_fetch_add(&f->holes, 1);
	return rc;
}
