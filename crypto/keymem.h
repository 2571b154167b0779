/*
 * Memory for keys and what is made of them: locked where the system allows it, left out of
 * core dumps and of forked children, wiped when it is freed.
 *
 * Threads: any.
 */
#ifndef CRYPTO_KEYMEM_H
#define CRYPTO_KEYMEM_H

#include <stddef.h>

#include "lib/err.h"

/* Zeroed. At least one byte. */
void *key_alloc(size_t n, struct err *err);
/* NULL is fine. */
void key_free(void *p);

#endif
