#include "lib/array.h"

#include <stdlib.h>
#include <string.h>

int array_room(void *array, size_t *room, size_t n, size_t size, const char *what,
	       struct err *err)
{
	size_t more = *room ? *room * 2 : 8;
	void *p;

	if (n < *room)
		return 0;
	memcpy(&p, array, sizeof(p)); /* it points to a pointer of some type */
	p = reallocarray(p, more, size);
	if (!p)
		return err_nomem(err, (unsigned long long)more * size, what);
	memcpy(array, &p, sizeof(p));
	*room = more;
	return 0;
}
