/*
 * The folder, read level by level: all of one folder's names are neighbours in the tree.
 *
 * Nothing outside of the folder gets onto the disk: folders are opened without following
 * symbolic links and must be the ones that were seen in their parents; a link is followed
 * only to a file that lies in the folder, too. (The peer follows all of them.)
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/io/fat/fat.h"
#include "lib/array.h"
#include "lib/mem.h"

#define TOLD 5 /* names of what is left out, before they are only counted */

struct scan {
	struct fat_tree *t;
	size_t left_out;
};

char *fat_path(const struct fat_tree *t, size_t node, bool whole, struct err *err)
{
	size_t n = 1;
	char *path, *p;

	for (size_t i = node; i != 0; i = t->node[i].parent)
		n += strlen(t->node[i].name) + 1;
	if (whole)
		n += strlen(t->node[0].name);
	path = malloc(n);
	if (!path) {
		err_nomem(err, n, "a path");
		return NULL;
	}
	p = path + n - 1;
	*p = '\0';
	for (size_t i = node; i != 0; i = t->node[i].parent) {
		size_t len = strlen(t->node[i].name);

		if (*p)
			*--p = '/';
		p -= len;
		memcpy(p, t->node[i].name, len);
	}
	if (whole) {
		size_t len = strlen(t->node[0].name);

		if (*p && (len == 0 || t->node[0].name[len - 1] != '/'))
			*--p = '/';
		p -= len;
		memcpy(p, t->node[0].name, len);
	}
	memmove(path, p, strlen(p) + 1);
	return path;
}

static int failed(const struct scan *s, size_t node, const char *what, int num, struct err *err)
{
	AUTO_FREE char *path = fat_path(s->t, node, true, err);

	if (!path)
		return -1;
	return err_set(err, num, "Could not read %s %s: %s", what, path, strerror(num));
}

static void leave_out(struct scan *s, size_t node, const char *why)
{
	struct err ignored;
	AUTO_FREE char *path = fat_path(s->t, node, true, &ignored);

	if (s->left_out++ < TOLD && path)
		err_warn("'%s' is left out: it is %s", path, why);
}

/* A link may lead to a file in the folder. Fills st with what it is. */
static bool followed(const struct scan *s, size_t node, struct stat *st)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	struct err ignored;
	AUTO_FREE char *path = fat_path(s->t, node, false, &ignored);
	long fd = -1;
	bool is;

	if (path)
		fd = syscall(SYS_openat2, s->t->root, path, &how, sizeof(how));
	if (fd < 0)
		return false;
	is = fstat((int)fd, st) == 0 && S_ISREG(st->st_mode);
	close((int)fd);
	return is;
}

/* What a node is. *keep: it goes onto the disk. */
static int describe(struct scan *s, size_t at, int dir, bool *keep, struct err *err)
{
	struct fat_node *node = &s->t->node[at];
	struct stat st;

	*keep = false;
	if (fstatat(dir, node->name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			return 0; /* just removed */
		return failed(s, at, "file", errno, err);
	}
	node->link = S_ISLNK(st.st_mode);
	if (node->link && !followed(s, at, &st)) {
		leave_out(s, at, "a symbolic link that leads to no file in the folder");
		return 0;
	}
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		leave_out(s, at, "neither a file nor a folder");
		return 0;
	}
	/* mostly the mode says so, which saves a call for each file */
	if (S_ISREG(st.st_mode) && (st.st_mode & 0444) != 0444 &&
	    faccessat(dir, node->name, R_OK, AT_EACCESS))
		return failed(s, at, "file", errno, err);
	node->folder = S_ISDIR(st.st_mode);
	node->size = node->folder ? 0 : (uint64_t)st.st_size;
	node->holes = (uint64_t)st.st_blocks * 512 < node->size;
	node->mtime = MIN((int64_t)st.st_mtime, s->t->latest);
	node->dev = st.st_dev;
	node->ino = st.st_ino;
	*keep = true;
	return 0;
}

static int check_size(struct scan *s, size_t at, struct err *err)
{
	AUTO_FREE char *path = NULL;

	if (s->t->node[at].size <= FAT_FILE_MAX)
		return 0;
	path = fat_path(s->t, at, true, err);
	if (!path)
		return -1;
	return err_set(err, EFBIG,
		       "'%s' has %" PRIu64
		       " bytes: a file on a FAT disk can have 4 GiB - 1 at most",
		       path, s->t->node[at].size);
}

/* A name, of which nothing else is known yet. */
static int add(struct fat_tree *t, size_t parent, const char *name, struct err *err)
{
	if (t->n >= UINT32_MAX)
		return err_set(err, EFBIG, "'%s' has too many files", t->node[0].name);
	if (array_room(&t->node, &t->room, t->n, sizeof(*t->node), "the names of a folder",
		       err))
		return -1;
	memset(&t->node[t->n], 0, sizeof(*t->node));
	t->node[t->n].parent = (uint32_t)parent;
	t->node[t->n].name = strdup(name);
	if (!t->node[t->n].name)
		return err_nomem(err, strlen(name) + 1, "a file name");
	t->n++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct fat_node *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static int read_names(struct scan *s, size_t folder, DIR *dir, struct err *err)
{
	struct fat_tree *t = s->t;
	size_t first = t->n;
	const struct dirent *e;

	for (;;) {
		errno = 0;
		e = readdir(dir);
		if (!e)
			break;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (add(t, folder, e->d_name, err))
			return -1;
	}
	if (errno)
		return failed(s, folder, "directory", errno, err);
	if (t->n - first > 1)
		qsort(t->node + first, t->n - first, sizeof(*t->node), by_name);
	return 0;
}

/* Learns what the names are, and drops those that have no place on the disk. */
static int describe_all(struct scan *s, size_t first, int dir, struct err *err)
{
	struct fat_tree *t = s->t;
	size_t kept = first;
	int rc = 0;

	for (size_t i = first; i < t->n; i++) {
		bool keep = true;

		if (rc == 0)
			rc = describe(s, i, dir, &keep, err);
		if (rc == 0 && keep)
			rc = check_size(s, i, err);
		if (keep)
			t->node[kept++] = t->node[i];
		else
			free(t->node[i].name);
	}
	t->n = kept;
	return rc;
}

static int open_folder(struct scan *s, size_t folder, struct err *err)
{
	const struct fat_node *node = &s->t->node[folder];
	AUTO_FREE char *path = fat_path(s->t, folder, false, err);
	struct stat st;
	int fd;

	if (!path)
		return -1;
	fd = openat(s->t->root, path[0] ? path : ".",
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return failed(s, folder, "directory", errno, err);
	if (fstat(fd, &st) || st.st_dev != node->dev || st.st_ino != node->ino) {
		close(fd);
		return failed(s, folder, "directory", ESTALE, err);
	}
	return fd;
}

static int scan_folder(struct scan *s, size_t folder, struct err *err)
{
	struct fat_tree *t = s->t;
	int fd = open_folder(s, folder, err), rc;
	size_t first;
	DIR *dir;

	if (fd < 0)
		return -1;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return failed(s, folder, "directory", errno, err);
	}
	first = t->n;
	rc = read_names(s, folder, dir, err);
	if (rc == 0)
		rc = describe_all(s, first, dirfd(dir), err);
	closedir(dir);
	t->node[folder].first = (uint32_t)first;
	t->node[folder].count = (uint32_t)(t->n - first);
	return rc;
}

static int read_epoch(struct fat_tree *t, struct err *err)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	char *end;

	t->latest = INT64_MAX;
	if (!text || !text[0])
		return 0;
	errno = 0;
	t->latest = strtoll(text, &end, 10);
	t->utc = true;
	if (errno || *end || t->latest < 0)
		return err_set(err, EINVAL,
			       "SOURCE_DATE_EPOCH is '%s': it should be seconds since 1970",
			       text);
	return 0;
}

static int add_root(struct scan *s, const char *dir, struct err *err)
{
	struct fat_tree *t = s->t;
	struct stat st;

	if (array_room(&t->node, &t->room, 0, sizeof(*t->node), "the names of a folder", err))
		return -1;
	memset(t->node, 0, sizeof(*t->node));
	t->node[0].folder = true;
	t->node[0].name = strdup(dir);
	if (!t->node[0].name)
		return err_nomem(err, strlen(dir) + 1, "a file name");
	t->n = 1;
	t->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->root < 0 || fstat(t->root, &st))
		return failed(s, 0, "directory", errno, err);
	t->node[0].mtime = MIN((int64_t)st.st_mtime, t->latest);
	t->node[0].dev = st.st_dev;
	t->node[0].ino = st.st_ino;
	return 0;
}

int fat_scan(struct fat_tree *t, const char *dir, struct err *err)
{
	struct scan s = {.t = t};

	if (read_epoch(t, err) || add_root(&s, dir, err))
		return -1;
	for (size_t i = 0; i < t->n; i++)
		if (t->node[i].folder && scan_folder(&s, i, err))
			return -1;
	if (s.left_out > TOLD)
		err_warn("'%s': %zu more are left out", dir, s.left_out - TOLD);
	return 0;
}

void fat_tree_free(struct fat_tree *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->node[i].name);
	free(t->node);
	if (t->root >= 0)
		close(t->root);
	memset(t, 0, sizeof(*t));
	t->root = -1;
}
