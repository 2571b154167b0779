/*
 * Random numbers that a seed repeats, and sectors that say what was written there: a stamp,
 * again and again. A stamp of 0 is zeros.
 */
#ifndef TESTS_LIB_STAMP_H
#define TESTS_LIB_STAMP_H

#include <stdint.h>

/* 24 bits. */
unsigned dice(unsigned *seed);
/* n sectors of 512 bytes. */
void stamp_fill(uint8_t *buf, uint32_t stamp, unsigned n);
/* UINT32_MAX: a mixture. */
uint32_t stamp_of(const uint8_t *sector);

#endif
