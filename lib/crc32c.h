/*
 * CRC-32C (Castagnoli; RFC 3720, appendix B.4). Pure.
 */
#ifndef LIB_CRC32C_H
#define LIB_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of n more bytes after those that gave `crc`; 0 at the beginning. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);
/* The same without the processor's help. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t n);

#endif
