/*
 * Sizes as people write and read them. 1024-based. Pure.
 */
#ifndef LIB_SIZE_H
#define LIB_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define SIZE_TEXT 32

enum size_fault { SIZE_OK, SIZE_SYNTAX, SIZE_RANGE };

/*
 * "10G", "1.5T", "0x1000", "512b": a number and one of B K M G T P E in either case; a
 * bare number counts `unit` bytes (1 mostly). Fractions as the peer takes them
 * (suffix needed). The upper bound is 2^63 - 1.
 */
enum size_fault size_parse(const char *text, uint64_t unit, uint64_t *out);
/* "1 GiB", "196 KiB", "4.5 MiB", "0 B": three significant digits, as info prints. */
const char *size_human(uint64_t bytes, char out[SIZE_TEXT]);

#endif
