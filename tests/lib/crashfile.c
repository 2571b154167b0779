#include "tests/lib/crashfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

struct pending {
	uint64_t off, len;
	uint8_t *bytes; /* NULL: nothing but the file's new length, off + len */
};

struct crashfile {
	struct blk blk;
	size_t max;
	uint8_t *now, *stable;
	uint64_t stable_size;
	struct pending *pending;
	size_t n;
	void (*hook)(void *arg);
	void *arg;
};

static int add(struct crashfile *f, const void *buf, uint64_t off, uint64_t len,
	       struct err *err)
{
	struct pending *grown = realloc(f->pending, (f->n + 1) * sizeof(*grown));
	uint8_t *bytes = buf ? malloc(len) : NULL;

	if (grown)
		f->pending = grown;
	if (!grown || (buf && !bytes)) {
		free(bytes);
		return err_nomem(err, len, "a write");
	}
	if (buf)
		memcpy(bytes, buf, len);
	f->pending[f->n++] = (struct pending){off, len, bytes};
	return 0;
}

static int crash_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct crashfile *f = (struct crashfile *)blk;

	memcpy(buf, f->now + off, n);
	return 0;
}

static int crash_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off,
			unsigned flags, struct err *err)
{
	struct crashfile *f = (struct crashfile *)blk;

	if (f->hook)
		f->hook(f->arg);
	if (off + n > f->max)
		return err_set(err, ENOSPC, "no room");
	memcpy(f->now + off, buf, n);
	if (off + n > blk->size)
		blk->size = off + n;
	return add(f, buf, off, n, err);
}

static int crash_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err)
{
	struct crashfile *f = (struct crashfile *)blk;

	if (size > f->max || size < blk->size)
		return err_set(err, ENOSPC, "no room");
	blk->size = size;
	return add(f, NULL, 0, size, err);
}

static void apply(uint8_t *to, const struct pending *p, uint64_t from, uint64_t len,
		  uint64_t *size)
{
	if (p->bytes)
		memcpy(to + p->off + from, p->bytes + from, len);
	if (p->off + from + len > *size)
		*size = p->off + from + len;
}

static int crash_flush(struct blk *blk, struct err *err)
{
	struct crashfile *f = (struct crashfile *)blk;

	if (f->hook)
		f->hook(f->arg);
	for (size_t i = 0; i < f->n; i++) {
		apply(f->stable, &f->pending[i], 0, f->pending[i].len, &f->stable_size);
		free(f->pending[i].bytes);
	}
	f->n = 0;
	return 0;
}

static int crash_close(struct blk *blk, struct err *err)
{
	struct crashfile *f = (struct crashfile *)blk;

	for (size_t i = 0; i < f->n; i++)
		free(f->pending[i].bytes);
	free(f->pending);
	free(f->now);
	free(f->stable);
	free(f);
	return 0;
}

static const struct blk_ops crash_ops = {
	.name = "crashfile",
	.pread = crash_pread,
	.pwrite = crash_pwrite,
	.flush = crash_flush,
	.resize = crash_resize,
	.close = crash_close,
};

struct blk *crashfile_new(size_t max, struct err *err)
{
	struct crashfile *f = calloc(1, sizeof(*f));

	if (!f || blk_init(&f->blk, &crash_ops, "crashfile", err)) {
		free(f);
		return NULL;
	}
	f->blk.caps = BLK_CAN_WRITE | BLK_CAN_GROW | BLK_ZERO_INIT;
	f->max = max;
	f->now = calloc(1, max);
	f->stable = calloc(1, max);
	if (!f->now || !f->stable) {
		blk_close(&f->blk, err);
		err_nomem(err, max, "a file");
		return NULL;
	}
	return &f->blk;
}

const void *crashfile_data(struct blk *blk)
{
	return ((struct crashfile *)blk)->now;
}

void crashfile_hook(struct blk *blk, void (*hook)(void *arg), void *arg)
{
	struct crashfile *f = (struct crashfile *)blk;

	f->hook = hook;
	f->arg = arg;
}

static unsigned next(unsigned *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 16;
}

size_t crashfile_crash(struct blk *blk, unsigned seed, void *buf)
{
	struct crashfile *f = (struct crashfile *)blk;
	unsigned odds = next(&seed) % 5; /* of four: from nothing to everything */
	uint64_t size = f->stable_size;

	memcpy(buf, f->stable, f->max);
	for (size_t i = 0; i < f->n; i++) {
		const struct pending *p = &f->pending[i];
		bool torn = next(&seed) % 4 == 0;

		if (!torn && next(&seed) % 4 < odds)
			apply(buf, p, 0, p->len, &size);
		for (uint64_t at = 0; torn && at < p->len;) {
			uint64_t part = SECTOR - (p->off + at) % SECTOR;

			if (part > p->len - at)
				part = p->len - at;
			if (next(&seed) % 4 < odds)
				apply(buf, p, at, part, &size);
			at += part;
		}
	}
	return size;
}
