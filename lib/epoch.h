/*
 * What time it is, for what is recorded in a new image. SOURCE_DATE_EPOCH in the environment
 * (reproducible-builds.org) stops the clock, so that an image can be made again bit for bit.
 */
#ifndef LIB_EPOCH_H
#define LIB_EPOCH_H

#include <stdint.h>

#include "lib/err.h"

/* Seconds since 1970. */
int epoch_now(uint64_t *seconds, struct err *err);

#endif
