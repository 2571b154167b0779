/*
 * The program with memory that runs out: linked with all of it, and with every function that
 * takes memory wrapped (Makefile). Called as platter would be, it runs the command again and
 * again in children: in the n-th the n-th request for memory fails, once and then also all
 * after it, until a run gets by with fewer. Each must end with an error message and
 * exit code, or do all that was asked for.
 *
 * NOMEM_TARGET: a file that the command makes, and that must not be there after a failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct shared {
	unsigned long seen, fired;
};

static struct shared *shared; /* with the child */
static unsigned long nth;     /* 0: none fails */
static bool lasting;

static bool fails(void)
{
	unsigned long n;

	if (!shared || nth == 0)
		return false;
	n = __atomic_add_fetch(&shared->seen, 1, __ATOMIC_RELAXED);
	if (lasting ? n < nth : n != nth)
		return false;
	__atomic_add_fetch(&shared->fired, 1, __ATOMIC_RELAXED);
	errno = ENOMEM;
	return true;
}

#define WRAP(type, name, params, ...)                                                          \
	type __real_##name params;                                                             \
	type __wrap_##name params;                                                             \
	type __wrap_##name params                                                              \
	{                                                                                      \
		return fails() ? NULL : __real_##name(__VA_ARGS__);                            \
	}

WRAP(void *, malloc, (size_t n), n)
WRAP(void *, calloc, (size_t n, size_t size), n, size)
WRAP(void *, realloc, (void *p, size_t n), p, n)
WRAP(void *, reallocarray, (void *p, size_t n, size_t size), p, n, size)
WRAP(void *, aligned_alloc, (size_t align, size_t n), align, n)
WRAP(char *, strdup, (const char *s), s)
WRAP(char *, strndup, (const char *s, size_t n), s, n)
WRAP(FILE *, open_memstream, (char **p, size_t *n), p, n)
struct json_object;
WRAP(struct json_object *, json_object_new_object, (void), )
WRAP(struct json_object *, json_object_new_array, (void), )
WRAP(struct json_object *, json_object_new_string, (const char *s), s)
WRAP(struct json_object *, json_object_new_int64, (int64_t v), v)
WRAP(struct json_object *, json_object_new_boolean, (int v), v)
struct json_tokener;
WRAP(struct json_tokener *, json_tokener_new_ex, (int depth), depth)

int __real_posix_memalign(void **p, size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n);
int __wrap_posix_memalign(void **p, size_t align, size_t n)
{
	return fails() ? ENOMEM : __real_posix_memalign(p, align, n);
}

int __real_json_object_object_add(struct json_object *o, const char *key,
				  struct json_object *v);
int __wrap_json_object_object_add(struct json_object *o, const char *key,
				  struct json_object *v);
int __wrap_json_object_object_add(struct json_object *o, const char *key, struct json_object *v)
{
	return fails() ? -1 : __real_json_object_object_add(o, key, v);
}

int __real_json_object_array_add(struct json_object *o, struct json_object *v);
int __wrap_json_object_array_add(struct json_object *o, struct json_object *v);
int __wrap_json_object_array_add(struct json_object *o, struct json_object *v)
{
	return fails() ? -1 : __real_json_object_array_add(o, v);
}

int __wrap_asprintf(char **p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **p, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (fails())
		return -1;
	va_start(ap, fmt);
	n = vasprintf(p, fmt, ap);
	va_end(ap);
	return n;
}

/* ---- the loop --------------------------------------------------------------------- */

#define TEXT 65536

struct result {
	int status;
	size_t out_n, err_n;
	char out[TEXT], err[TEXT];
};

static struct result want, got;

static void die(const char *what)
{
	perror(what);
	_exit(99);
}

static size_t slurp(int fd, char *buf)
{
	ssize_t n = pread(fd, buf, TEXT - 1, 0);

	if (n < 0)
		die("nomem: reading what was printed");
	buf[n] = '\0';
	return (size_t)n;
}

/* In the child it returns false: the program goes on to its main(). */
static bool once(struct result *r)
{
	int out = memfd_create("out", 0), err = memfd_create("err", 0);
	pid_t pid;

	memset(shared, 0, sizeof(*shared));
	fflush(stdout);
	pid = out < 0 || err < 0 ? -1 : fork();
	if (pid < 0)
		die("nomem: fork");
	if (pid == 0) {
		if (dup2(out, 1) < 0 || dup2(err, 2) < 0)
			die("nomem: dup2");
		close(out);
		close(err);
		return false;
	}
	if (waitpid(pid, &r->status, 0) < 0)
		die("nomem: wait");
	r->out_n = slurp(out, r->out);
	r->err_n = slurp(err, r->err);
	close(out);
	close(err);
	return true;
}

static bool good(const struct result *r)
{
	const char *target = getenv("NOMEM_TARGET");

	if (!WIFEXITED(r->status))
		return false;
	if (WEXITSTATUS(r->status) == WEXITSTATUS(want.status) && r->out_n == want.out_n &&
	    memcmp(r->out, want.out, r->out_n) == 0)
		return true; /* could do without */
	if (WEXITSTATUS(r->status) == 0 || WEXITSTATUS(r->status) >= 99 || r->err_n == 0)
		return false;
	return !target || access(target, F_OK) != 0;
}

static void clean(void)
{
	const char *target = getenv("NOMEM_TARGET");

	if (target && unlink(target) && errno != ENOENT)
		die("nomem: unlink");
}

static __attribute__((constructor)) void nomem(void)
{
	unsigned long runs = 0, bad = 0;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		die("nomem: mmap");
	if (!once(&want))
		return;
	for (int k = 0; k < 2; k++) {
		lasting = k;
		for (nth = 1;; nth++) {
			clean();
			if (!once(&got))
				return;
			if (shared->fired == 0)
				break;
			runs++;
			if (good(&got))
				continue;
			bad++;
			printf("request %lu%s: status %#x: %s%.60s\n", nth,
			       lasting ? " and all after it" : "", (unsigned)got.status,
			       got.err, got.out);
		}
	}
	printf("%lu runs, %lu bad\n", runs, bad);
	fflush(stdout);
	_exit(bad || WEXITSTATUS(want.status) != 0 || runs < 10 ? 1 : 0);
}
