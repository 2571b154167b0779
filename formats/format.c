#include "formats/format.h"

#include <stdlib.h>
#include <string.h>

void info_free(struct info *info)
{
	for (size_t i = 0; i < info->nsnapshot; i++) {
		free(info->snapshot[i].id);
		free(info->snapshot[i].name);
	}
	free(info->snapshot);
	json_free(info->specific);
	memset(info, 0, sizeof(*info));
}
