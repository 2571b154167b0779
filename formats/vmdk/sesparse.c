#include <errno.h>

#include "formats/vmdk/vmdk.h"

int vmdk_sesparse_open(struct vmdk_extent *x, struct err *err)
{
	return err_set(err, ENOTSUP, "seSparse is not supported");
}
