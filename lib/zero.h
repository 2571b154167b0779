/*
 * Zero scans: as fast as memory can be read. Pure.
 */
#ifndef LIB_ZERO_H
#define LIB_ZERO_H

#include <stdbool.h>
#include <stddef.h>

bool zero_is(const void *buf, size_t n);
/*
 * How many bytes from the start of buf are alike in being zero or not, told in whole
 * units (`unit` a power of two >= 512; the last unit may be short). *zero says which.
 * n > 0.
 */
size_t zero_run(const void *buf, size_t n, size_t unit, bool *zero);
/* The offset of the first byte in which a and b differ; n if they are equal. */
size_t zero_diff(const void *a, const void *b, size_t n);

#endif
