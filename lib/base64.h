/*
 * Base64 (RFC 4648) to bytes. Blanks and newlines are passed over; anything else that is no
 * digit, or padding that does not fit, is an error.
 */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* n characters of text -> *out, to be freed, with *outn bytes (and a NUL behind them). */
int base64_decode(const char *text, size_t n, uint8_t **out, size_t *outn, struct err *err);

#endif
