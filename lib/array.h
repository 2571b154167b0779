/*
 * Arrays that grow: room doubles, so that adding one element after the other costs
 * little.
 */
#ifndef LIB_ARRAY_H
#define LIB_ARRAY_H

#include <stddef.h>

#include "lib/err.h"

/*
 * Sees to it that the array at *(type **)array has room for element n, of `size` bytes;
 * *room counts elements. The caller frees it. what: "a copy job", for the error.
 */
int array_room(void *array, size_t *room, size_t n, size_t size, const char *what,
	       struct err *err);

#endif
