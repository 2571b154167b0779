/*
 * The program that ends itself, as by kill -9, before the n-th call that changes a file
 * (Makefile: those calls are wrapped): n is in KILL_AT. With none, or when there are fewer
 * calls, it runs to its end; KILL_COUNT names a file that gets their number then.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static unsigned long at, seen;

static void count(void)
{
	if (__atomic_add_fetch(&seen, 1, __ATOMIC_RELAXED) == at)
		kill(getpid(), SIGKILL);
}

#define WRAP(type, name, params, ...)                                                          \
	type __real_##name params;                                                             \
	type __wrap_##name params;                                                             \
	type __wrap_##name params                                                              \
	{                                                                                      \
		count();                                                                       \
		return __real_##name(__VA_ARGS__);                                             \
	}

WRAP(ssize_t, pwrite64, (int fd, const void *buf, size_t n, off64_t off), fd, buf, n, off)
WRAP(int, ftruncate64, (int fd, off64_t size), fd, size)
WRAP(int, fallocate64, (int fd, int mode, off64_t off, off64_t n), fd, mode, off, n)
WRAP(int, posix_fallocate64, (int fd, off64_t off, off64_t n), fd, off, n)
WRAP(ssize_t, copy_file_range,
     (int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags), in, from, out, to,
     n, flags)
WRAP(int, fdatasync, (int fd), fd)
WRAP(int, fsync, (int fd), fd)

static __attribute__((constructor)) void begin(void)
{
	const char *s = getenv("KILL_AT");

	at = s ? strtoul(s, NULL, 10) : 0;
}

static __attribute__((destructor)) void end(void)
{
	const char *name = getenv("KILL_COUNT");
	FILE *f = name ? fopen(name, "w") : NULL;

	if (!f)
		return;
	fprintf(f, "%lu\n", seen);
	fclose(f);
}
