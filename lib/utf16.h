/*
 * UTF-16 as Microsoft's formats store it, and UTF-8 as we do. What is no character (a lone
 * surrogate, a bad sequence) becomes U+FFFD: names of files decide what is opened, so they
 * are never guessed at.
 *
 * Pure but for memory.
 */
#ifndef LIB_UTF16_H
#define LIB_UTF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* n bytes (an odd last one is ignored), up to a NUL; to be freed. *lossy (may be NULL): some
 * of it was no character. */
char *utf16_to_utf8(const uint8_t *from, size_t n, bool big, bool *lossy, struct err *err);
/* Without a final NUL; to be freed. *n gets the bytes. */
uint8_t *utf8_to_utf16(const char *from, bool big, size_t *n, bool *lossy, struct err *err);
/* Writes one character, at most four bytes; returns what comes after it. */
char *utf8_put(char *to, uint32_t c);

#endif
