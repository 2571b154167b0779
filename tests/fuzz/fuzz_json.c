/* JSON and sizes: what is parsed prints as something that parses to the same again. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/size.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Prints a tree, frees it, and reads it back. NULL: too long or too deep with its blanks. */
static struct json *again(struct json *j, char **text)
{
	struct err err;
	size_t n;
	FILE *f = open_memstream(text, &n);

	json_print(f, j, 0);
	fclose(f);
	json_free(j);
	return json_parse(*text, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *once = NULL, *twice = NULL, *thrice = NULL;
	char human[SIZE_TEXT];
	uint64_t bytes = 0;
	struct json *j;
	struct err err;

	memcpy(text, data, size);
	text[size] = '\0';
	if (size_parse(text, 1, &bytes) == SIZE_OK && bytes > INT64_MAX)
		abort();
	size_human(bytes, human);
	j = json_parse(text, &err);
	if (j)
		j = again(j, &once);
	if (j)
		j = again(j, &twice); /* json-c drops a few code points the first time */
	if (j)
		j = again(j, &thrice);
	if (thrice && strcmp(twice, thrice) != 0)
		abort();
	json_free(j);
	free(text);
	free(once);
	free(twice);
	free(thrice);
	return 0;
}
