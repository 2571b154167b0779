#include "lib/epoch.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

int epoch_now(uint64_t *seconds, struct err *err)
{
	const char *fixed = getenv("SOURCE_DATE_EPOCH");
	unsigned long long n;
	char *end;

	if (!fixed || !fixed[0]) {
		*seconds = (uint64_t)time(NULL);
		return 0;
	}
	errno = 0;
	n = strtoull(fixed, &end, 10);
	if (errno || *end || fixed[0] < '0' || fixed[0] > '9' || n > INT64_MAX)
		return err_set(err, EINVAL,
			       "SOURCE_DATE_EPOCH is '%s', not a number of seconds", fixed);
	*seconds = n;
	return 0;
}
