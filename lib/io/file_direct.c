/*
 * O_DIRECT: what is not aligned goes through a bounce buffer; the edges of a write that
 * cover a part of a sector are read, changed and written back. Meanwhile nobody else may
 * write that sector: edges hold it alone, whole sectors are held shared, readers need
 * nothing, as the bytes that are not written keep their contents.
 *
 * A file may end inside of a sector. That one is written whole, which makes the file too
 * long for a moment, and then cut to its length; nobody else may let it grow meanwhile.
 */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/mem.h"

#define BOUNCE	   (1u << 20)
#define SECTOR_MAX 65536u

static bool usable(uint32_t unit)
{
	return unit > 0 && unit <= SECTOR_MAX && (unit & (unit - 1)) == 0;
}

/* Tries reads until one is taken. Nothing to read: no way to know, so play it safe. */
static uint32_t try_sectors(struct file *f, void *buf)
{
	for (uint32_t unit = 512; unit <= SECTOR_MAX; unit *= 2) {
		ssize_t r = pread(f->fd, buf, unit, 0);

		if (r > 0)
			return unit;
		if (r == 0 || errno != EINVAL)
			break;
	}
	return MEM_ALIGN;
}

int file_direct_probe(struct file *f, const struct stat *st, struct err *err)
{
	AUTO_FREE void *buf = NULL;
	int sector = 0;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
	    (sx.stx_mask & STATX_DIOALIGN) && usable(sx.stx_dio_offset_align) &&
	    usable(sx.stx_dio_mem_align)) {
		f->sector = sx.stx_dio_offset_align;
		f->mem_align = sx.stx_dio_mem_align;
	}
#endif
	if (f->sector == 1 && f->kind == FILE_BLOCK && ioctl(f->fd, BLKSSZGET, &sector) == 0 &&
	    usable((uint32_t)sector))
		f->sector = f->mem_align = (uint32_t)sector;
	if (f->sector == 1) {
		buf = mem_alloc(SECTOR_MAX);
		if (!buf)
			return err_nomem(err, SECTOR_MAX, "probing O_DIRECT");
		f->sector = f->mem_align = try_sectors(f, buf);
	}
	f->sector = MAX(f->sector, 512u);
	f->blk.align = f->blk.grain = f->sector;
	if (!(f->flags & IO_WRITE))
		return 0;
	f->ranges = ranges_new(err);
	return f->ranges ? 0 : -1;
}

static bool aligned(const struct file *f, const void *buf, size_t n, uint64_t off)
{
	return ((off | n) & (f->sector - 1)) == 0 && ((uintptr_t)buf & (f->mem_align - 1)) == 0;
}

static void *bounce_new(struct file *f, size_t n, uint64_t off, size_t *room, struct err *err)
{
	uint64_t span = round_up(off + n, f->sector) - round_down(off, f->sector);
	void *buf;

	*room = MIN(span, BOUNCE);
	/* mem_alloc aligns to 4096; more than that in memory is asked for by nobody */
	buf = mem_alloc(*room);
	if (!buf)
		err_nomem(err, *room, "a bounce buffer");
	return buf;
}

int file_direct_pread(struct file *f, void *buf, size_t n, uint64_t off, struct err *err)
{
	AUTO_FREE uint8_t *bounce = NULL;
	uint8_t *to = buf;
	size_t room, got;

	if (aligned(f, buf, n, off)) {
		if (file_read_all(f, buf, n, off, &got, err))
			return -1;
		memset(to + got, 0, n - got);
		return 0;
	}
	bounce = bounce_new(f, n, off, &room, err);
	if (!bounce)
		return -1;
	while (n > 0) {
		uint64_t from = round_down(off, f->sector);
		size_t skip = (size_t)(off - from), part = MIN(n, room - skip);
		size_t whole = round_up(skip + part, f->sector);

		if (file_read_all(f, bounce, whole, from, &got, err))
			return -1;
		memset(bounce + got, 0, whole - got);
		memcpy(to, bounce + skip, part);
		to += part;
		off += part;
		n -= part;
	}
	return 0;
}

/* Reads one sector for the part of it that is not written. */
static int read_edge(struct file *f, uint8_t *buf, uint64_t at, struct err *err)
{
	size_t got;

	if (file_read_all(f, buf, f->sector, at, &got, err))
		return -1;
	memset(buf + got, 0, f->sector - got);
	return 0;
}

static int write_bounced(struct file *f, const void *buf, size_t n, uint64_t off,
			 struct err *err)
{
	const uint8_t *data = buf;
	AUTO_FREE uint8_t *bounce = NULL;
	size_t room;

	if (aligned(f, buf, n, off))
		return file_write_all(f, buf, n, off, err);
	bounce = bounce_new(f, n, off, &room, err);
	if (!bounce)
		return -1;
	while (n > 0) {
		uint64_t from = round_down(off, f->sector);
		size_t skip = (size_t)(off - from), part = MIN(n, room - skip);
		size_t whole = round_up(skip + part, f->sector), last = whole - f->sector;

		if (skip > 0 && read_edge(f, bounce, from, err))
			return -1;
		if (skip + part < whole && (last > 0 || skip == 0) &&
		    read_edge(f, bounce + last, from + last, err))
			return -1;
		memcpy(bounce + skip, data, part);
		if (file_write_all(f, bounce, whole, from, err))
			return -1;
		data += part;
		off += part;
		n -= part;
	}
	return 0;
}

static int write_held(struct file *f, const void *buf, size_t n, uint64_t off, struct err *err)
{
	bool whole = ((off | n) & (f->sector - 1)) == 0;
	struct range_hold hold;
	int rc;

	ranges_lock(f->ranges, &hold, round_down(off, f->sector), round_up(off + n, f->sector),
		    !whole);
	rc = write_bounced(f, buf, n, off, err);
	ranges_unlock(f->ranges, &hold);
	return rc;
}

/* The write ends in the last, partial sector of the file, or makes one. */
static int write_tail(struct file *f, const void *buf, size_t n, uint64_t off, struct err *err)
{
	uint64_t end = off + n;
	int rc;

	pthread_rwlock_wrlock(&f->grow);
	rc = write_held(f, buf, n, off, err);
	if (rc == 0)
		file_size_reaches(f, end);
	if (file_size(f) < round_up(end, f->sector) &&
	    ftruncate(f->fd, (off_t)file_size(f)) < 0 && rc == 0)
		rc = err_sys(err, "Could not resize '%s'", f->blk.name);
	pthread_rwlock_unlock(&f->grow);
	return rc;
}

int file_direct_pwrite(struct file *f, const void *buf, size_t n, uint64_t off, struct err *err)
{
	uint64_t end = off + n, size = file_size(f);
	struct stat st;
	int rc;

	if (f->kind == FILE_REGULAR && (end & (f->sector - 1)) &&
	    round_up(end, f->sector) > size)
		return write_tail(f, buf, n, off, err);
	if (end <= size)
		return write_held(f, buf, n, off, err);
	pthread_rwlock_rdlock(&f->grow);
	rc = write_held(f, buf, n, off, err);
	if (rc == 0)
		file_size_reaches(f, end);
	else if (f->kind == FILE_REGULAR && fstat(f->fd, &st) == 0)
		file_size_reaches(f, (uint64_t)st.st_size);
	pthread_rwlock_unlock(&f->grow);
	return rc;
}
