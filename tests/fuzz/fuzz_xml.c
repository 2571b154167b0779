/* XML: whatever it is, it ends, and the tree can be walked within its limits. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Counts the bytes of names and texts: none can be more than the file had. */
static size_t walk(const struct xml *e, unsigned depth)
{
	size_t n = strlen(xml_name(e)) + strlen(xml_text(e));

	if (depth >= 64)
		abort();
	if (xml_attr(e, "a"))
		n += strlen(xml_attr(e, "a"));
	for (const struct xml *c = xml_child(e, NULL); c; c = xml_next(c, NULL))
		n += walk(c, depth + 1);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	struct xml *e = xml_parse((const char *)data, size, &err);

	if (e && walk(e, 0) > size)
		abort();
	if (!e && (err.num == 0 || !err.text[0]))
		abort();
	xml_free(e);
	return 0;
}
