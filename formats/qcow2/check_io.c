/*
 * Reading the tables: in large requests, without their holes, and not past the file.
 */
#include "formats/qcow2/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/mem.h"

enum {
	CHUNK = 256 << 10,
	THREADS_MAX = 8,
	WORTH_THREADS = 4 << 20, /* bytes: below it threads cost more than they give */
};

unsigned check_threads(uint64_t bytes)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (bytes < WORTH_THREADS || n < 2)
		return 0;
	return (unsigned)MIN(n, THREADS_MAX);
}

/* ---- entries ---------------------------------------------------------------------- */

/* How much of [off, off + len) there is to read: *skip bytes of holes, then what is
 * returned. Whole entries both. */
static size_t stretch(struct checker *k, uint64_t off, uint64_t len, uint64_t *skip)
{
	struct extent e;
	struct err err;

	*skip = 0;
	/* a small table is read before a hole in it is looked for */
	if (len <= k->cluster || blk_extent(k->file, off, len, &e, &err) < 0 || e.len < 8)
		return (size_t)MIN(len, CHUNK);
	if (!(e.flags & EXT_ZERO))
		return (size_t)MIN(round_up(e.len, 8), CHUNK);
	*skip = round_down(e.len, 8);
	return 0;
}

int check_entries(struct checker *k, const char *what, uint64_t off, uint64_t n, bool again,
		  int (*fn)(struct checker *, void *arg, uint64_t first, const uint8_t *entries,
			    size_t n, struct err *),
		  void *arg, struct err *err)
{
	AUTO_FREE uint8_t *buf = NULL;
	uint64_t at = 0, end;

	if (off >= k->file_size)
		return 0;
	end = MIN(n * 8, round_up(k->file_size - off, 8));
	buf = mem_alloc(MIN(end, CHUNK));
	if (!buf)
		return err_nomem(err, CHUNK, what);
	while (at < end) {
		uint64_t skip;
		size_t len = (size_t)MIN(stretch(k, off + at, end - at, &skip), end - at);
		struct err io;

		at += MIN(skip, end - at);
		if (len == 0)
			continue;
		if (again && !check_spend(k, len))
			return 0;
		if (blk_pread(k->file, buf, len, off + at, &io) < 0) {
			check_say(k, "ERROR: I/O error in %s at 0x%" PRIx64 ": %s", what,
				  off + at, io.text);
			k->c->check_errors++;
			k->blind = true;
			check_problem(k, "unreadable", &(uint64_t){off + at}, false);
		} else if (fn(k, arg, at / 8, buf, len / 8, err) < 0) {
			return -1;
		}
		at += len;
	}
	return 0;
}

/* ---- clusters --------------------------------------------------------------------- */

static bool is_hole(const struct checker *k, uint64_t off, uint64_t len)
{
	struct extent e;
	struct err err;

	return blk_extent(k->file, off, len, &e, &err) == 0 && (e.flags & EXT_ZERO) &&
	       e.len >= len;
}

void check_read_clusters(const struct checker *k, const uint64_t *off, size_t n, bool holes,
			 uint8_t *data, int *errors)
{
	memset(errors, 0, n * sizeof(*errors));
	for (size_t i = 0, more; i < n; i += more) {
		uint8_t *to = data + (i << k->bits);
		struct err err;

		more = 1;
		if (off[i] >= k->file_size ||
		    (holes && is_hole(k, off[i], MIN(k->cluster, k->file_size - off[i])))) {
			memset(to, 0, k->cluster);
			continue;
		}
		while (!holes && i + more < n && off[i + more] == off[i] + more * k->cluster &&
		       off[i + more] < k->file_size)
			more++;
		if (blk_pread(k->file, to, more << k->bits, off[i], &err) == 0)
			continue;
		/* one by one, to find which */
		for (size_t j = i; j < i + more; j++) {
			if (blk_pread(k->file, data + (j << k->bits), k->cluster, off[j],
				      &err) < 0)
				errors[j] = err.num ? err.num : EIO;
		}
	}
}

/* ---- memory ----------------------------------------------------------------------- */

void check_bufs_init(struct check_bufs *b, size_t data, size_t more)
{
	pthread_mutex_init(&b->lock, NULL);
	b->spare = NULL;
	b->data = data;
	b->more = more;
}

static void buf_free(struct check_buf *buf)
{
	free(buf->data);
	free(buf->more);
	free(buf);
}

void check_bufs_free(struct check_bufs *b)
{
	while (b->spare) {
		struct check_buf *buf = b->spare;

		b->spare = buf->next;
		buf_free(buf);
	}
	pthread_mutex_destroy(&b->lock);
}

struct check_buf *check_buf_take(struct check_bufs *b, struct err *err)
{
	struct check_buf *buf;

	pthread_mutex_lock(&b->lock);
	buf = b->spare;
	if (buf)
		b->spare = buf->next;
	pthread_mutex_unlock(&b->lock);
	if (buf)
		return buf;
	buf = calloc(1, sizeof(*buf));
	if (buf) {
		buf->data = mem_alloc(b->data);
		buf->more = malloc(b->more);
		if (buf->data && buf->more)
			return buf;
		buf_free(buf);
	}
	err_nomem(err, b->data + b->more, "the check's tables");
	return NULL;
}

void check_buf_give(struct check_bufs *b, struct check_buf *buf)
{
	pthread_mutex_lock(&b->lock);
	buf->next = b->spare;
	b->spare = buf;
	pthread_mutex_unlock(&b->lock);
}
