/*
 * Integers in byte buffers, little and big endian. No alignment is asked for; a
 * buffer is never cast to a struct. Pure functions.
 */
#ifndef LIB_BYTES_H
#define LIB_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_DEFINE(order, bits)                                                              \
	static inline uint##bits##_t get_##order##bits(const void *p)                          \
	{                                                                                      \
		uint##bits##_t v;                                                              \
		memcpy(&v, p, sizeof(v));                                                      \
		return order##bits##toh(v);                                                    \
	}                                                                                      \
	static inline void put_##order##bits(void *p, uint##bits##_t v)                        \
	{                                                                                      \
		v = hto##order##bits(v);                                                       \
		memcpy(p, &v, sizeof(v));                                                      \
	}

BYTES_DEFINE(be, 16)
BYTES_DEFINE(be, 32)
BYTES_DEFINE(be, 64)
BYTES_DEFINE(le, 16)
BYTES_DEFINE(le, 32)
BYTES_DEFINE(le, 64)
#undef BYTES_DEFINE

#endif
