#include <errno.h>

#include "formats/luks/luks.h"

int luks_info(struct image *image, struct info *out, struct err *err)
{
	const struct luks *l = (const struct luks *)image;

	out->encrypted = true;
	out->specific = json_object();
	if (!out->specific)
		return err_nomem(err, 1000, "info");
	return luks1_tell(&l->h, NULL, out->specific, err);
}
