/*
 * Targets: a new file is filled without a name and gets its name when it is complete, so
 * that nobody finds half an image under it. See io_file_new in io.h.
 */
#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "lib/mem.h"

#define TRIES	  100
#define LINKS_MAX 40

struct file_target {
	int dir;      /* the folder */
	char *name;   /* final name in it */
	char *hidden; /* the name it has for now; NULL: none */
	int old;      /* the file under the final name, locked; -1: none */
};

static void target_free(struct file_target *t)
{
	if (!t)
		return;
	if (t->hidden) {
		unlinkat(t->dir, t->hidden, 0);
		file_hidden_del(t->dir, t->hidden);
	}
	if (t->dir >= 0)
		close(t->dir);
	if (t->old >= 0)
		close(t->old);
	free(t->hidden);
	free(t->name);
	free(t);
}

void file_target_free(struct file *f)
{
	target_free(f->target);
	f->target = NULL;
}

/* Where the last name of path leads to if it is a symbolic link. */
static char *follow(const char *path)
{
	char *at = strdup(path), link[PATH_MAX];

	for (int i = 0; at && i < LINKS_MAX; i++) {
		ssize_t n = readlink(at, link, sizeof(link) - 1);
		const char *slash = strrchr(at, '/');
		char *next;

		if (n < 0)
			return at;
		link[n] = '\0';
		if (link[0] == '/' || !slash)
			next = strdup(link);
		else if (asprintf(&next, "%.*s%s", (int)(slash + 1 - at), at, link) < 0)
			next = NULL;
		free(at);
		at = next;
	}
	return at;
}

static int open_folder(const char *path, const char *slash)
{
	AUTO_FREE char *dir = NULL;
	int fd;

	if (!slash)
		dir = strdup(".");
	else
		dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	if (!dir)
		return -1;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == EACCES)
		fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd;
}

/* errno tells why it failed. */
static struct file_target *target_new(const char *path)
{
	AUTO_FREE char *real = follow(path);
	struct file_target *t = calloc(1, sizeof(*t));
	const char *slash;

	if (!real || !t) {
		free(t);
		errno = ENOMEM;
		return NULL;
	}
	slash = strrchr(real, '/');
	t->old = -1;
	t->dir = -1;
	t->name = strdup(slash ? slash + 1 : real);
	errno = t->name ? EISDIR : ENOMEM;
	if (t->name && t->name[0])
		t->dir = open_folder(real, slash);
	if (t->dir < 0) {
		int num = errno;

		target_free(t);
		errno = num;
		return NULL;
	}
	return t;
}

/* ".NAME.platter-XXXXXX", owned by the caller */
static char *hidden_name(const char *name)
{
	static const char digit[] = "0123456789abcdefghijklmnopqrstuv";
	const int room = NAME_MAX - (int)sizeof("..platter-XXXXXX") + 1;
	uint8_t r[6] = {0};
	char x[7], *out;

	if (getrandom(r, sizeof(r), 0) < 0)
		return NULL;
	for (int i = 0; i < 6; i++)
		x[i] = digit[r[i] % 32];
	x[6] = '\0';
	return asprintf(&out, ".%.*s.platter-%s", room, name, x) < 0 ? NULL : out;
}

/* Opens the new file: nameless, or under a hidden name where that is not to be had. */
static int open_new(struct file_target *t, unsigned flags)
{
	int fd = -1;

	flags |= IO_WRITE;
	/* without /proc it could not be given a name later */
	if (access("/proc/self/fd", F_OK) == 0)
		fd = file_open_at(t->dir, ".", flags, O_TMPFILE);
	for (int i = 0; fd < 0 && i < TRIES; i++) {
		char *name = hidden_name(t->name);

		if (!name)
			return -1;
		file_hidden_add(t->dir, name);
		fd = file_open_at(t->dir, name, flags, O_CREAT | O_EXCL);
		if (fd >= 0) {
			t->hidden = name;
		} else {
			int num = errno;

			file_hidden_del(t->dir, name);
			free(name);
			errno = num;
			if (num != EEXIST)
				return -1;
		}
	}
	return fd;
}

static int create_failed(const char *path, unsigned flags, struct err *err)
{
	if (errno == EINVAL && (flags & IO_DIRECT))
		return err_set(err, EINVAL,
			       "Could not open '%s': filesystem does not support O_DIRECT",
			       path);
	return err_sys(err, "Could not create '%s'", path);
}

/* Is the open file what the target's name stands for, and may that be replaced? */
static bool replaceable(const struct file_target *t, struct file *old, const struct stat *st)
{
	struct statx sx;
	struct err ignored;

	if (st->st_nlink != 1)
		return false;
	/* who writes to it now, or could soon, would write to a file without a name */
	if (file_lock_set(old->fd, &old->lock, PERM_WRITE | PERM_RESIZE,
			  PERM_WRITE | PERM_RESIZE, t->name, &ignored))
		return false;
	if (statx(t->dir, t->name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &sx) < 0)
		return false;
	/* a file that is mounted on (containers do that) cannot be renamed over */
	return sx.stx_ino == st->st_ino && S_ISREG(sx.stx_mode) &&
	       !(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* A new file that is to stand in for `old`; -1: work in place. */
static int open_beside(struct file_target *t, struct file *old, const struct stat *st,
		       unsigned flags)
{
	int fd;

	if (!replaceable(t, old, st))
		return -1;
	fd = open_new(t, flags);
	if (fd >= 0 && file_attr_copy(old->fd, st, fd)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* A blk over the new file. Takes t and fd over, also on failure. */
static int wrap(struct file_target *t, int fd, const char *path, unsigned flags,
		struct blk **out, struct err *err)
{
	unsigned held, denied;
	struct err ignored;
	struct file *f;
	struct stat st;

	if (fstat(fd, &st) < 0) {
		err_sys(err, "Could not stat '%s'", path);
		close(fd);
		target_free(t);
		return -1;
	}
	if (file_from_fd(fd, &st, path, flags | IO_WRITE, &f, err)) {
		target_free(t);
		return -1;
	}
	f->target = t;
	file_lock_wanted(IO_WRITE | IO_RESIZE | IO_ALONE, &held, &denied);
	if (file_lock_set(fd, &f->lock, held, denied, path, err) ||
	    file_prepare(fd, NULL, err)) {
		blk_close(&f->blk, &ignored);
		return -1;
	}
	*out = &f->blk;
	return 0;
}

/* Empties the file that is there and goes on with it. */
static int in_place(struct file *old, struct blk **out, struct err *err)
{
	if (old->kind == FILE_REGULAR &&
	    (blk_resize(&old->blk, 0, PREALLOC_OFF, err) || file_prepare(old->fd, NULL, err)))
		return -1;
	if (old->kind == FILE_REGULAR)
		old->blk.caps |= BLK_ZERO_INIT;
	*out = &old->blk;
	return 0;
}

static int over_existing(int fd, const char *path, unsigned flags, struct blk **out,
			 struct err *err)
{
	struct file_target *t = NULL;
	struct err ignored;
	struct file *old;
	struct stat st;
	int beside = -1, rc;

	if (fstat(fd, &st) < 0) {
		err_sys(err, "Could not stat '%s'", path);
		close(fd);
		return -1;
	}
	if (file_from_fd(fd, &st, path, flags | IO_WRITE, &old, err))
		return -1;
	rc = file_lock_create(fd, &old->lock, path, err);
	if (rc == 0 && old->kind == FILE_REGULAR && !(flags & IO_IN_PLACE)) {
		t = target_new(path);
		if (t)
			beside = open_beside(t, old, &st, flags);
	}
	if (beside >= 0) {
		t->old = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		rc = wrap(t, beside, path, flags, out, err);
	} else {
		target_free(t);
		if (rc == 0)
			rc = in_place(old, out, err);
	}
	if (rc || beside >= 0)
		blk_close(&old->blk, &ignored);
	return rc;
}

int io_file_new(const char *path, unsigned flags, struct blk **out, struct err *err)
{
	struct file_target *t;
	int fd = file_open_at(AT_FDCWD, path, flags | IO_WRITE, 0);

	if (fd >= 0)
		return over_existing(fd, path, flags, out, err);
	if (errno != ENOENT || !path[0])
		return create_failed(path, flags, err);
	t = target_new(path);
	if (!t)
		return create_failed(path, flags, err);
	fd = open_new(t, flags);
	if (fd < 0) {
		create_failed(path, flags, err);
		target_free(t);
		return -1;
	}
	return wrap(t, fd, path, flags, out, err);
}

static int link_as(const struct file *f, const char *name)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	return linkat(AT_FDCWD, self, f->target->dir, name, AT_SYMLINK_FOLLOW);
}

/* Gives the nameless file a hidden name, from which it can be moved over another. */
static int link_hidden(struct file *f)
{
	for (int i = 0; i < TRIES; i++) {
		char *name = hidden_name(f->target->name);
		int num;

		if (!name)
			return -1;
		file_hidden_add(f->target->dir, name);
		if (link_as(f, name) == 0) {
			f->target->hidden = name;
			return 0;
		}
		num = errno;
		file_hidden_del(f->target->dir, name);
		free(name);
		errno = num;
		if (num != EEXIST)
			return -1;
	}
	return -1;
}

static int give_name(struct file *f)
{
	struct file_target *t = f->target;

	if (!t->hidden && t->old < 0) {
		if (link_as(f, t->name) == 0)
			return 0;
		if (errno != EEXIST)
			return -1;
	}
	if (!t->hidden && link_hidden(f))
		return -1;
	if (renameat(t->dir, t->hidden, t->dir, t->name) < 0)
		return -1;
	file_hidden_del(t->dir, t->hidden);
	free(t->hidden);
	t->hidden = NULL;
	return 0;
}

int io_file_publish(struct blk *blk, struct err *err)
{
	struct file *f = (struct file *)blk;
	bool sync = !(f->flags & IO_NO_FLUSH);
	int rc = 0;

	if (file_flush(blk, err))
		return -1;
	if (!f->target)
		return 0;
	/* the name must not be stable before the file's length and mode are */
	if (sync && fsync(f->fd) < 0)
		return err_sys(err, "Could not sync '%s'", blk->name);
	if (give_name(f))
		return err_sys(err, "Could not give '%s' its name", blk->name);
	if (sync && fsync(f->target->dir) < 0 && errno != EINVAL && errno != EBADF)
		rc = err_sys(err, "Could not sync the folder of '%s'", blk->name);
	file_target_free(f);
	return rc;
}
