/*
 * Memory: cleanup attributes, aligned buffers, checked arithmetic. All may fail;
 * none aborts.
 */
#ifndef LIB_MEM_H
#define LIB_MEM_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MEM_ALIGN 4096 /* what mem_alloc() gives: fits O_DIRECT everywhere we know */

static inline void mem_auto_free(void *p)
{
	void *memory; /* p points to a pointer of any type */

	__builtin_memcpy(&memory, p, sizeof(memory));
	free(memory);
}
#define AUTO_FREE    __attribute__((cleanup(mem_auto_free)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))

/* At least one byte, aligned to MEM_ALIGN, contents undefined; free() releases it. */
static inline void *mem_alloc(size_t n)
{
	size_t up = (n + MEM_ALIGN - 1) & ~(size_t)(MEM_ALIGN - 1);

	if (up < n)
		return NULL;
	return aligned_alloc(MEM_ALIGN, up ? up : MEM_ALIGN);
}

static inline uint64_t round_down(uint64_t v, uint64_t unit)
{
	return v - v % unit;
}

/* Saturates instead of wrapping: callers compare the result with a bound. */
static inline uint64_t round_up(uint64_t v, uint64_t unit)
{
	uint64_t rest = v % unit;

	if (rest == 0)
		return v;
	if (__builtin_add_overflow(v, unit - rest, &v))
		return UINT64_MAX;
	return v;
}

static inline uint64_t div_up(uint64_t v, uint64_t unit)
{
	return v / unit + (v % unit != 0);
}

#endif
