/*
 * A file that replaces another takes over what its owner has set on it: owner, mode,
 * ACLs and other extended attributes, and flags like btrfs's nocow.
 */
#include "lib/io/file.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/mem.h"

#define FLAGS_KEPT (FS_NOCOW_FL | FS_COMPR_FL | FS_NOCOMP_FL | FS_NODUMP_FL | FS_NOATIME_FL)

static int copy_owner(const struct stat *from, int to)
{
	struct stat st;

	if (fstat(to, &st) < 0)
		return -1;
	if ((st.st_uid != from->st_uid || st.st_gid != from->st_gid) &&
	    fchown(to, from->st_uid, from->st_gid) < 0)
		return -1;
	if ((st.st_mode & 07777) == (from->st_mode & 07777))
		return 0;
	return fchmod(to, from->st_mode & 07777);
}

static int copy_flags(int from, int to)
{
	int a, b;

	if (ioctl(from, FS_IOC_GETFLAGS, &a) < 0 || ioctl(to, FS_IOC_GETFLAGS, &b) < 0)
		return 0; /* the file system has none */
	if (((a ^ b) & FLAGS_KEPT) == 0)
		return 0;
	b = (b & ~FLAGS_KEPT) | (a & FLAGS_KEPT);
	return ioctl(to, FS_IOC_SETFLAGS, &b);
}

/* The names of all attributes, each with its '\0'; *n of them in bytes. */
static char *list(int fd, size_t *n)
{
	char *names = malloc(XATTR_LIST_MAX);
	ssize_t r = names ? flistxattr(fd, names, XATTR_LIST_MAX) : -1;

	if (!names)
		return NULL;
	if (r < 0 && errno != ENOTSUP) {
		free(names);
		return NULL;
	}
	*n = r > 0 ? (size_t)r : 0;
	return names;
}

static int copy_xattr(int from, int to, const char *name, uint8_t *value, uint8_t *other)
{
	ssize_t n = fgetxattr(from, name, value, XATTR_SIZE_MAX);

	if (n < 0)
		return -1;
	/* set by the system on both alike (SELinux): no right to set it is needed */
	if (fgetxattr(to, name, other, XATTR_SIZE_MAX) == n &&
	    memcmp(value, other, (size_t)n) == 0)
		return 0;
	return fsetxattr(to, name, value, (size_t)n, 0);
}

static bool has(const char *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i += strlen(names + i) + 1)
		if (strcmp(names + i, name) == 0)
			return true;
	return false;
}

static int copy_xattrs(int from, int to)
{
	size_t na = 0, nb = 0;
	AUTO_FREE char *a = list(from, &na);
	AUTO_FREE char *b = list(to, &nb);
	AUTO_FREE uint8_t *value = NULL;

	if (!a || !b)
		return -1;
	if (na + nb == 0)
		return 0;
	value = malloc(2 * (size_t)XATTR_SIZE_MAX);
	if (!value)
		return -1;
	for (size_t i = 0; i < na; i += strlen(a + i) + 1)
		if (copy_xattr(from, to, a + i, value, value + XATTR_SIZE_MAX))
			return -1;
	/* what the new one got from its folder: default ACLs */
	for (size_t i = 0; i < nb; i += strlen(b + i) + 1)
		if (!has(a, na, b + i) && fremovexattr(to, b + i) < 0)
			return -1;
	return 0;
}

int file_attr_copy(int from, const struct stat *st, int to)
{
	return copy_owner(st, to) || copy_xattrs(from, to) || copy_flags(from, to) ? -1 : 0;
}
