/*
 * What a block of bytes looks like to a compressor, told in a fraction of the time
 * that compressing it takes. Pure and deterministic. A wrong guess costs some bytes or
 * some time, never more.
 */
#ifndef LIB_GUESS_H
#define LIB_GUESS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Already compressed, encrypted or random: deflate would save next to nothing (under
 * one byte in a thousand as a mean over real files). Only n of at least 16 KiB is ever
 * called hopeless.
 */
bool guess_hopeless(const void *buf, size_t n);
/* Machine code or tables of numbers, as against text: many short repetitions. n >= 4096. */
bool guess_binary(const void *buf, size_t n);

#endif
