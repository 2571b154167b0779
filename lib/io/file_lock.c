/*
 * Locks that running virtual machines and the peer's tools see: open-file-description
 * locks on single bytes of the image file, as QEMU places them.
 *
 *	100 + n		held by who uses permission n
 *	200 + n		held by who does not let others use permission n
 *
 *	n: 0 consistent read, 1 write, 2 write unchanged, 3 resize
 *
 * All are read locks, so that any number may hold one; a conflict is found by asking
 * whether a write lock on the opposite byte would be refused. First all is taken, then
 * all is tested: of two who come at once at least one sees the other.
 */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define BYTE_HELD   100
#define BYTE_DENIED 200
#define PERMS	    4

static const char *const perm_name[PERMS] = {"consistent read", "write", "write unchanged",
					     "resize"};

static int ofd(int fd, int cmd, short type, off_t from, off_t len, struct flock *out)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len};
	int rc;

	do
		rc = fcntl(fd, cmd, &l);
	while (rc < 0 && errno == EINTR);
	if (out)
		*out = l;
	return rc;
}

/* Takes or drops base + n for each bit n, neighbours in one call. */
static int set_bytes(int fd, short type, off_t base, unsigned bits, int *bad)
{
	for (int n = 0, run; n < PERMS; n += run) {
		run = 1;
		if (!(bits & (1u << n)))
			continue;
		while (n + run < PERMS && (bits & (1u << (n + run))))
			run++;
		if (ofd(fd, F_OFD_SETLK, type, base + n, run, NULL) < 0) {
			*bad = (int)base + n;
			return -1;
		}
	}
	return 0;
}

/* Would a write lock on [from, to] be refused? Errors count as no: they were told of
 * when the locks were taken. */
static bool taken(int fd, int from, int to)
{
	struct flock l;

	return ofd(fd, F_OFD_GETLK, F_WRLCK, from, to - from + 1, &l) == 0 &&
	       l.l_type != F_UNLCK;
}

/* The two bytes between which all those lie that are tested for (held, denied). */
static void span(unsigned held, unsigned denied, int *from, int *to)
{
	*from = BYTE_DENIED + PERMS;
	*to = -1;
	for (int n = 0; n < PERMS; n++) {
		if (denied & (1u << n)) {
			*from = *from < BYTE_HELD + n ? *from : BYTE_HELD + n;
			*to = *to > BYTE_HELD + n ? *to : BYTE_HELD + n;
		}
	}
	for (int n = 0; n < PERMS; n++) {
		if (held & (1u << n)) {
			*from = *from < BYTE_DENIED + n ? *from : BYTE_DENIED + n;
			*to = BYTE_DENIED + n;
		}
	}
}

static int in_use(int fd, int byte, const char *name, struct err *err)
{
	err_hint(err, "Is another process using the image [%s]?", name);
	return file_hint_holders(fd, byte, err);
}

static int test(int fd, unsigned held, unsigned denied, const char *name, struct err *err)
{
	int from, to, n;

	/* mostly there is nobody: one call tells so */
	span(held, denied, &from, &to);
	if (to < 0 || !taken(fd, from, to))
		return 0;
	for (n = 0; n < PERMS; n++) {
		if ((held & (1u << n)) && taken(fd, BYTE_DENIED + n, BYTE_DENIED + n)) {
			err_set(err, EAGAIN, "Failed to get \"%s\" lock", perm_name[n]);
			return in_use(fd, BYTE_DENIED + n, name, err);
		}
	}
	for (n = 0; n < PERMS; n++) {
		if ((denied & (1u << n)) && taken(fd, BYTE_HELD + n, BYTE_HELD + n)) {
			err_set(err, EAGAIN, "Failed to get shared \"%s\" lock", perm_name[n]);
			return in_use(fd, BYTE_HELD + n, name, err);
		}
	}
	return 0;
}

static void drop(int fd, unsigned held, unsigned denied)
{
	int bad;

	set_bytes(fd, F_UNLCK, BYTE_HELD, held, &bad);
	set_bytes(fd, F_UNLCK, BYTE_DENIED, denied, &bad);
}

/* What F_OFD_SETLK says of another's lock; all else means: no such locks here. */
static bool means_taken(int num)
{
	return num == EAGAIN || num == EACCES;
}

int file_lock_set(int fd, struct file_lock *lock, unsigned held, unsigned denied,
		  const char *name, struct err *err)
{
	unsigned more_held = held & ~lock->held, more_denied = denied & ~lock->denied;
	int bad = 0;

	if (lock->mode == LOCKING_OFF)
		return 0;
	if (set_bytes(fd, F_RDLCK, BYTE_HELD, more_held, &bad) ||
	    set_bytes(fd, F_RDLCK, BYTE_DENIED, more_denied, &bad)) {
		int num = errno;

		drop(fd, more_held, more_denied);
		if (means_taken(num))
			return err_set(err, num, "Failed to lock byte %d", bad);
		if (lock->mode == LOCKING_AUTO) {
			lock->mode = LOCKING_OFF;
			return 0;
		}
		errno = num;
		err_sys(err, "Could not lock '%s': the file system has no locks of this kind",
			name);
		return err_hint(err, "Use locking=off to open it without a lock.");
	}
	if (test(fd, more_held, more_denied, name, err)) {
		drop(fd, more_held, more_denied);
		return -1;
	}
	drop(fd, lock->held & ~held, lock->denied & ~denied);
	lock->held = held;
	lock->denied = denied;
	return 0;
}

void file_lock_wanted(unsigned flags, unsigned *held, unsigned *denied)
{
	*held = 0;
	if (!(flags & IO_NO_IO) || (flags & IO_WRITE))
		*held |= PERM_READ;
	if (flags & IO_WRITE)
		*held |= PERM_WRITE;
	if (flags & IO_RESIZE)
		*held |= PERM_RESIZE;
	*denied = (flags & (IO_ALONE | IO_SHARE)) == IO_ALONE ? PERM_WRITE | PERM_RESIZE : 0;
}

int file_lock_create(int fd, struct file_lock *lock, const char *name, struct err *err)
{
	return file_lock_set(fd, lock, PERM_WRITE | PERM_RESIZE, PERM_RESIZE, name, err);
}
