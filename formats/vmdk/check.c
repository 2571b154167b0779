/*
 * check.
 */
#include "formats/vmdk/vmdk.h"

int vmdk_check(struct image *image, struct check *c, struct err *err)
{
	return 0;
}
