/*
 * What chunks of a dmg are compressed by, each behind the same call.
 *
 * Chunks are inflated as a whole. Data that is broken, or that inflates to more or less than
 * it should, is an error (EIO); so is what needs a library that the build does not have
 * (ENOTSUP). Memory beyond the buffers is bounded: see UNPACK_XZ_MEMORY.
 *
 * Threads: no state; may be called from many.
 */
#ifndef FORMATS_DMG_UNPACK_H
#define FORMATS_DMG_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* The types of chunks that are compressed, as they are stored. */
#define UNPACK_ADC   UINT32_C(0x80000004) /* UDCO */
#define UNPACK_ZLIB  UINT32_C(0x80000005) /* UDZO */
#define UNPACK_BZIP2 UINT32_C(0x80000006) /* UDBZ */
#define UNPACK_LZFSE UINT32_C(0x80000007) /* ULFO */
#define UNPACK_XZ    UINT32_C(0x80000008) /* ULMO */

#define UNPACK_PAD	 8u	      /* bytes behind the input that may be read */
#define UNPACK_XZ_MEMORY (160u << 20) /* xz -9 with its 64 MiB of dictionary fits */

/* "bzip2"; NULL: no such type. */
const char *unpack_name(uint32_t type);
/* Is it in this build? */
bool unpack_has(uint32_t type);
/* in: n bytes and UNPACK_PAD; out: exactly outn bytes. */
int unpack(uint32_t type, const uint8_t *in, size_t n, uint8_t *out, size_t outn,
	   struct err *err);

/* One of them each: adc.c, lzfse.c, lzvn.c. */
int unpack_adc(const uint8_t *in, size_t n, uint8_t *out, size_t outn, struct err *err);
int unpack_lzfse(const uint8_t *in, size_t n, uint8_t *out, size_t outn, struct err *err);
/* Inflates n bytes behind the `have` that are at `out` already (matches may reach there), to
 * `want` more. */
int unpack_lzvn(const uint8_t *in, size_t n, uint8_t *out, size_t have, size_t want,
		struct err *err);

/* The ways in which data can be wrong. */
int unpack_broken(const char *what, size_t n, struct err *err);
int unpack_short(const char *what, size_t got, size_t want, struct err *err);
int unpack_long(const char *what, size_t want, struct err *err);

/* Copies a match of n bytes to `to` from `back` bytes before it; the bytes may overlap. */
static inline void unpack_match(uint8_t *to, size_t back, size_t n)
{
	const uint8_t *from = to - back;

	if (back >= n) {
		__builtin_memcpy(to, from, n);
		return;
	}
	while (n-- > 0)
		*to++ = *from++;
}

#endif
