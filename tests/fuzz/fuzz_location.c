/* What a user may type to name an image: paths, json:, --image-opts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/location.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const before[] = {"", "json:", "json:{\"driver\":\"raw\",\"file\":"};
	struct location l;
	struct err err;
	char *text, *full;

	if (n < 1)
		return 0;
	text = malloc(n + 64);
	if (!text)
		return 0;
	strcpy(text, before[data[0] % 3]);
	full = text + strlen(text);
	memcpy(full, data + 1, n - 1);
	full[n - 1] = '\0';
	if (location_parse(text, &l, &err) == 0) {
		(void)location_path(&l);
		location_free(&l);
	}
	if (location_parse_opts(full, &l, &err) == 0) {
		(void)location_path(&l);
		location_free(&l);
	}
	full = location_relative(text, full, &err);
	free(full);
	free(text);
	return 0;
}
