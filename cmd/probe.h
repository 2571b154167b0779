/*
 * Which format a file is in, by its first bytes, or else its last. (stack_probe in stack.h
 * asks for an open file.)
 */
#ifndef CMD_PROBE_H
#define CMD_PROBE_H

#include "formats/format.h"

#define PROBE_BYTES 2048
#define PROBE_TAIL  512

/* n: PROBE_BYTES or the whole file. Never NULL: raw takes the rest. */
const struct format *probe_head(const uint8_t *head, size_t n, uint64_t size);
/* The format that is known by its last bytes: n is PROBE_TAIL or the whole file. NULL: none. */
const struct format *probe_tail(const uint8_t *tail, size_t n, uint64_t size);
/* Its name; also of formats that other programs would find there and we do not read. */
const char *probe_name(const uint8_t *head, size_t n, uint64_t size);

#endif
