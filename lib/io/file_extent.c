/*
 * Where a file has data and where holes: SEEK_DATA and SEEK_HOLE, one call for most runs,
 * since where a hole ends, data is known to begin.
 *
 * What was asked last is remembered. It is stale once a write (for a hole) or a punched
 * hole (for data) came after the question; the counters, bumped after each change, say
 * so. A run that was asked for while a write was under way may show the time before the
 * write or after; never is one remembered that was asked before a write that returned.
 */
#include "lib/io/file.h"

#include <errno.h>
#include <unistd.h>

#include "lib/mem.h"

static void counters(struct file *f, struct file_run *r)
{
	r->writes = atomic_load_explicit(&f->writes, memory_order_acquire);
	r->holes = atomic_load_explicit(&f->holes, memory_order_acquire);
}

static bool fresh(const struct file_run *known, const struct file_run *now, bool data)
{
	return known->holes == now->holes && (data || known->writes == now->writes);
}

static bool recall(struct file *f, struct file_run *known)
{
	pthread_mutex_lock(&f->run_lock);
	*known = f->run;
	pthread_mutex_unlock(&f->run_lock);
	return known->from < known->to;
}

static void remember(struct file *f, const struct file_run *r)
{
	pthread_mutex_lock(&f->run_lock);
	f->run = *r;
	pthread_mutex_unlock(&f->run_lock);
}

/* r->from is set; fills the rest. Where the file system cannot tell, all is data. */
static void ask(struct file *f, struct file_run *r, bool data_known, uint64_t size)
{
	off_t from = (off_t)r->from, at = from;

	r->data = true;
	r->to = size;
	if (!data_known) {
		at = lseek(f->fd, from, SEEK_DATA);
		if (at < 0 && errno != ENXIO)
			return;
		if (at < 0 || at > from) {
			r->data = false;
			r->to = at < 0 ? size : MIN((uint64_t)at, size);
			return;
		}
	}
	at = lseek(f->fd, from, SEEK_HOLE);
	if (at > from)
		r->to = MIN((uint64_t)at, size);
	else if (at == from && data_known)
		ask(f, r, false, size);
}

int file_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		struct err *err)
{
	struct file *f = (struct file *)blk;
	struct file_run known, now = {.from = off, .to = off + len, .data = true};
	bool have;

	if (f->kind == FILE_REGULAR) {
		counters(f, &now);
		have = recall(f, &known);
		if (have && known.from <= off && off < known.to &&
		    fresh(&known, &now, known.data)) {
			now.to = known.to;
			now.data = known.data;
		} else {
			ask(f, &now,
			    have && !known.data && known.to == off && fresh(&known, &now, true),
			    file_size(f));
			remember(f, &now);
		}
	}
	out->off = off;
	out->len = MIN(len, now.to - off);
	out->host = off;
	out->home = blk;
	out->flags = now.data ? EXT_DATA : EXT_ZERO;
	return 0;
}
