#include "crypto/keymem.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAD 64 /* before the caller's bytes: keeps them aligned */

struct head {
	size_t mapped;
};

void *key_alloc(size_t n, struct err *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), all;
	uint8_t *p = MAP_FAILED;

	if (!__builtin_add_overflow(n, HEAD + page - 1, &all)) {
		all &= ~(page - 1);
		p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	if (p == MAP_FAILED) {
		err_nomem(err, n, "a key");
		return NULL;
	}
	/* Best effort: a limit on locked memory must not keep anybody from his disk. */
	(void)!mlock(p, all);
	madvise(p, all, MADV_DONTDUMP);
	madvise(p, all, MADV_WIPEONFORK);
	((struct head *)(void *)p)->mapped = all;
	return p + HEAD;
}

void key_free(void *p)
{
	uint8_t *base;
	size_t all;

	if (!p)
		return;
	base = (uint8_t *)p - HEAD;
	all = ((struct head *)(void *)base)->mapped;
	explicit_bzero(base, all);
	munmap(base, all);
}
