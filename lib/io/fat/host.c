/*
 * A file of the folder. Descriptors are few and files are many: a slot of the pool holds the
 * file that was read last, until another one needs it. A large file, for which it pays to
 * let the kernel copy, is opened a second time and stays open; these are counted, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io/fat/fat.h"
#include "lib/mem.h"

#define KEPT_MAX 64
#define LARGE	 (1u << 20)

struct fat_host {
	struct blk blk; /* named by its whole path */
	struct fat_pool *pool;
	char *path; /* below the folder */
	dev_t dev;
	ino_t ino;
	bool link, holes;
	_Atomic bool told; /* that it changed */
	int kept;	   /* descriptor for the kernel; -1: not yet, -2: none */
};

void fat_pool_init(struct fat_pool *p, int root)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->root = root;
	for (size_t i = 0; i < FAT_OPEN; i++)
		p->slot[i].fd = -1;
}

void fat_pool_close(struct fat_pool *p)
{
	for (size_t i = 0; i < FAT_OPEN; i++)
		if (p->slot[i].fd >= 0)
			close(p->slot[i].fd);
	pthread_mutex_destroy(&p->lock);
}

static void tell_changed(struct fat_host *h, const char *how)
{
	if (!atomic_exchange(&h->told, true))
		err_warn("'%s' %s while it was read: on the disk it has the size that it had",
			 h->blk.name, how);
}

/* Only ever the file that the scan saw. */
static int open_host(struct fat_host *h, struct err *err)
{
	int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (h->link ? 0 : O_NOFOLLOW);
	int fd = openat(h->pool->root, h->path, flags);
	struct stat st;

	if (fd < 0 && errno == ELOOP)
		errno = ESTALE;
	if (fd < 0)
		return err_sys(err, "Could not open '%s'", h->blk.name);
	/* what is new may have the number of what is gone */
	if (fstat(fd, &st) || st.st_dev != h->dev || st.st_ino != h->ino ||
	    !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, ESTALE,
			       "'%s' was replaced by another file while it was read",
			       h->blk.name);
	}
	if ((uint64_t)st.st_size > h->blk.size)
		tell_changed(h, "grew");
	return fd;
}

/* A slot that nobody uses, preferably the file's own; NULL: there is none. */
static struct fat_open *choose(struct fat_pool *p, const struct fat_host *h)
{
	struct fat_open *best = NULL;

	for (size_t i = 0; i < FAT_OPEN; i++) {
		struct fat_open *s = &p->slot[i];

		if (s->fd >= 0 && s->of == h)
			return s;
		if (s->users == 0 && (!best || s->used < best->used))
			best = s;
	}
	return best;
}

/* Where the process has no descriptor left: another file's. */
static bool close_idle(struct fat_pool *p)
{
	for (size_t i = 0; i < FAT_OPEN; i++) {
		struct fat_open *s = &p->slot[i];

		if (s->fd < 0 || s->users)
			continue;
		close(s->fd);
		s->fd = -1;
		return true;
	}
	return false;
}

static int open_in_slot(struct fat_host *h, struct fat_open *s, struct err *err)
{
	int fd;

	do
		fd = open_host(h, err);
	while (fd < 0 && err->num == EMFILE && close_idle(h->pool));
	if (fd < 0)
		return -1;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = fd;
	s->of = h;
	return fd;
}

/* *slot NULL: the descriptor is the caller's own, to be closed. */
static int take(struct fat_host *h, struct fat_open **slot, struct err *err)
{
	struct fat_pool *p = h->pool;
	struct fat_open *s;
	int fd = -1;

	pthread_mutex_lock(&p->lock);
	s = choose(p, h);
	*slot = s;
	if (s)
		fd = s->fd >= 0 && s->of == h ? s->fd : open_in_slot(h, s, err);
	if (fd >= 0) {
		s->users++;
		s->used = ++p->clock;
	}
	pthread_mutex_unlock(&p->lock);
	return s ? fd : open_host(h, err);
}

static void give(struct fat_host *h, struct fat_open *slot, int fd)
{
	if (!slot) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&h->pool->lock);
	slot->users--;
	pthread_mutex_unlock(&h->pool->lock);
}

static int host_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct fat_host *h = (struct fat_host *)blk;
	struct fat_open *slot;
	int fd = take(h, &slot, err), rc = 0;
	uint8_t *to = buf;

	if (fd < 0)
		return -1;
	while (n > 0) {
		ssize_t got = pread(fd, to, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			rc = err_sys(err, "Could not read '%s' at offset %" PRIu64, blk->name,
				     off);
		if (got <= 0)
			break;
		to += got;
		off += (uint64_t)got;
		n -= (size_t)got;
	}
	if (rc == 0 && n > 0) {
		memset(to, 0, n);
		tell_changed(h, "became shorter");
	}
	give(h, slot, fd);
	return rc;
}

static int host_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		       struct err *err)
{
	struct fat_host *h = (struct fat_host *)blk;
	struct fat_open *slot;
	off_t at;
	int fd;

	out->len = len;
	out->host = off;
	out->home = blk;
	out->flags = EXT_DATA;
	if (!h->holes)
		return 0;
	fd = take(h, &slot, err);
	if (fd < 0)
		return -1;
	at = lseek(fd, (off_t)off, SEEK_DATA);
	if (at > (off_t)off || (at < 0 && errno == ENXIO)) {
		out->flags = EXT_ZERO;
		out->len = at < 0 ? len : MIN(len, (uint64_t)at - off);
	} else {
		at = lseek(fd, (off_t)off, SEEK_HOLE);
		if (at > (off_t)off)
			out->len = MIN(len, (uint64_t)at - off);
	}
	give(h, slot, fd);
	return 0;
}

static int host_fd(struct blk *blk, uint64_t *base)
{
	struct fat_host *h = (struct fat_host *)blk;
	struct err ignored;
	int fd;

	if (blk->size < LARGE)
		return -1;
	pthread_mutex_lock(&h->pool->lock);
	if (h->kept == -1) {
		h->kept = h->pool->kept < KEPT_MAX ? open_host(h, &ignored) : -1;
		if (h->kept < 0)
			h->kept = -2;
		else
			h->pool->kept++;
	}
	fd = h->kept;
	pthread_mutex_unlock(&h->pool->lock);
	return fd < 0 ? -1 : fd;
}

static int host_close(struct blk *blk, struct err *err)
{
	struct fat_host *h = (struct fat_host *)blk;

	if (h->kept >= 0)
		close(h->kept);
	free(h->path);
	free(h);
	return 0;
}

static const struct blk_ops host_ops = {
	.name = "file",
	.pread = host_pread,
	.extent = host_extent,
	.fd = host_fd,
	.close = host_close,
};

struct blk *fat_host_new(struct fat_pool *p, const struct fat_tree *t, size_t node,
			 struct err *err)
{
	const struct fat_node *from = &t->node[node];
	AUTO_FREE char *whole = fat_path(t, node, true, err);
	struct fat_host *h = whole ? calloc(1, sizeof(*h)) : NULL;
	struct err ignored;

	if (!h) {
		if (whole)
			err_nomem(err, sizeof(*h), "a file");
		return NULL;
	}
	h->kept = -1;
	if (blk_init(&h->blk, &host_ops, whole, err) ||
	    !(h->path = fat_path(t, node, false, err))) {
		blk_close(&h->blk, &ignored);
		return NULL;
	}
	h->blk.size = from->size;
	h->pool = p;
	h->dev = from->dev;
	h->ino = from->ino;
	h->link = from->link;
	h->holes = from->holes;
	return &h->blk;
}
