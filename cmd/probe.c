#include "cmd/probe.h"

#include <string.h>

#include "cmd/catalog.h"
#include "cmd/stack.h"
#include "lib/mem.h"

const struct format *probe_head(const uint8_t *head, size_t n, uint64_t size)
{
	const struct format *best = NULL;
	int most = 0;

	for (size_t i = 0; catalog_formats[i]; i++) {
		const struct format *f = catalog_formats[i];
		int score = f->probe ? f->probe(head, n, size) : 0;

		if (score > most) {
			most = score;
			best = f;
		}
	}
	return best;
}

const struct format *probe_tail(const uint8_t *tail, size_t n, uint64_t size)
{
	for (size_t i = 0; catalog_formats[i]; i++) {
		const struct format *f = catalog_formats[i];

		if (f->probe_tail && f->probe_tail(tail, n, size) > 0)
			return f;
	}
	return NULL;
}

const struct format *stack_probe(struct blk *file, struct err *err)
{
	uint8_t head[PROBE_BYTES], tail[PROBE_TAIL];
	uint64_t size = blk_size(file);
	size_t n = MIN(size, sizeof(head));
	const struct format *format, *by_tail;

	if (n > 0 && blk_pread(file, head, n, 0, err))
		return NULL;
	format = probe_head(head, n, size);
	if (!(format->caps & FORMAT_ANY))
		return format;
	n = MIN(size, sizeof(tail));
	if (n > 0 && blk_pread(file, tail, n, size - n, err))
		return NULL;
	by_tail = probe_tail(tail, n, size);
	return by_tail ? by_tail : format;
}

#define MAGIC(name, off, bytes)                                                                \
	{                                                                                      \
		name, bytes, off, sizeof(bytes) - 1                                            \
	}
static const struct {
	const char *name, *bytes;
	size_t off, n;
} foreign[] = {
	MAGIC("qcow", 0, "QFI\xfb"),
	MAGIC("qed", 0, "QED\0"),
	MAGIC("vmdk", 0, "KDMV"),
	MAGIC("vmdk", 0, "COWD"),
	MAGIC("vmdk", 0, "# Disk DescriptorFile"),
	MAGIC("vpc", 0, "conectix"),
	MAGIC("vhdx", 0, "vhdxfile"),
	MAGIC("vdi", 64, "\x7f\x10\xda\xbe"),
	MAGIC("luks", 0, "LUKS\xba\xbe"),
	MAGIC("parallels", 0, "WithoutFreeSpace"),
	MAGIC("parallels", 0, "WithouFreSpacExt"),
	MAGIC("bochs", 0, "Bochs Virtual HD Image"),
	MAGIC("cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),
};

const char *probe_name(const uint8_t *head, size_t n, uint64_t size)
{
	const struct format *f = probe_head(head, n, size);

	if (!(f->caps & FORMAT_ANY))
		return f->name;
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (n >= foreign[i].off + foreign[i].n &&
		    memcmp(head + foreign[i].off, foreign[i].bytes, foreign[i].n) == 0)
			return foreign[i].name;
	return f->name;
}
