/* A folder of its own for each test program of lib/io, and short ways to open things. */
#ifndef TESTS_LIB_IO_SCRATCH_H
#define TESTS_LIB_IO_SCRATCH_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/io/io.h"
#include "lib/mem.h"

static char scratch_dir[200];
static struct err err; /* of the last call that failed */

static inline int scratch_enter(void **state)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(scratch_dir, sizeof(scratch_dir), "%s/platter-io.XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(scratch_dir) && chdir(scratch_dir) == 0 ? 0 : -1;
}

static inline int scratch_leave(void **state)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", scratch_dir);
	return chdir("/") || system(cmd) ? -1 : 0;
}

static inline int scratch_empty(void **state)
{
	return system("rm -rf -- * .[!.]*");
}

/* "key=value" pairs after the name, up to NULL */
static inline struct blk *scratch_open(const struct protocol *p, const char *name,
				       unsigned flags, const char *more)
{
	struct opts *o = opts_new(&err);
	struct blk *blk = NULL;

	assert_non_null(o);
	if (name)
		assert_int_equal(opts_set(o, "filename", name, &err), 0);
	if (more)
		assert_int_equal(opts_parse(o, more, NULL, &err), 0);
	if (p->open(o, flags, &blk, &err))
		blk = NULL;
	opts_free(o);
	return blk;
}

static inline struct blk *open_file(const char *name, unsigned flags)
{
	return scratch_open(&io_file, name, flags, NULL);
}

static inline void put_file(const char *name, const void *data, size_t n)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
}

static inline void make_file(const char *name, uint64_t size)
{
	put_file(name, "", 0);
	assert_int_equal(truncate(name, (off_t)size), 0);
}

static inline uint64_t size_of(const char *name)
{
	struct stat st;

	assert_int_equal(stat(name, &st), 0);
	return (uint64_t)st.st_size;
}

/* n bytes at off, as another program sees them */
static inline void check_bytes(const char *name, uint64_t off, const void *want, size_t n)
{
	uint8_t *got = malloc(n + 1);
	int fd = open(name, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, got, n, (off_t)off), n);
	assert_memory_equal(got, want, n);
	close(fd);
	free(got);
}

static inline void close_ok(struct blk *blk)
{
	assert_int_equal(blk_close(blk, &err), 0);
}

#endif
