/*
 * convert --for: the format, options and size that a target takes. What the user gave wins, or
 * is refused with the reason; each decision is a line on stderr.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cmd/args.h"
#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "cmd/for.h"
#include "lib/mem.h"
#include "lib/size.h"

static void __attribute__((format(printf, 2, 3)))
tell(const struct convert *c, const char *fmt, ...)
{
	char text[500];
	va_list ap;

	if (opts_has(c->o, "quiet"))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cmd_error("%s: %s", c->to->name, text);
}

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), e = strlen(end);

	return n > e && strcasecmp(name + n - e, end) == 0;
}

const char *for_modes(const struct convert *c)
{
	static const char *const never[][2] = {
		{"no-create", "--for makes a new image: it does not go with -n"},
		{"target-image-opts", "--for does not go with --target-image-opts"},
	};
	/* an archive is written from its beginning to its end, by one who knows nothing else */
	static const char *const stream[][2] = {
		{"compress", "-c: the archive is compressed anyway"},
		{"sparse-size", "-S has no effect on an archive"},
		{"copy-range", "-C does not go with an archive, which is compressed"},
		{"out-of-order", "-W does not go with an archive, which is in order"},
		{"bitmaps", "--bitmaps: an archive holds no bitmaps"},
		{"rate-limit", "-r does not go with an archive"},
		{"salvage", "--salvage does not go with an archive"},
		{"target-options", "-o: an archive has no options"},
	};

	for (size_t i = 0; i < ARRAY_LEN(never); i++)
		if (opts_has(c->o, never[i][0]))
			return never[i][1];
	for (size_t i = 0; (c->to->flags & FOR_TAR_GZ) && i < ARRAY_LEN(stream); i++)
		if (opts_has(c->o, stream[i][0]))
			return stream[i][1];
	if (convert_backing(c->o) && !(c->to->flags & FOR_OVERLAYS))
		return "-B: a target elsewhere does not have the backing file";
	return NULL;
}

static int refuse_format(const struct convert *c, const char *format)
{
	cmd_error("%s: %s takes no %s, but %s", c->to->name, c->to->title, format,
		  c->to->takes);
	return 1;
}

/* What the name's end says of an archive. */
static int choose_archive(struct convert *c)
{
	bool ova = ends_in(c->target, ".ova");
	bool tar_gz = ends_in(c->target, ".tar.gz") || ends_in(c->target, ".tgz");

	c->pack = CONVERT_PLAIN;
	if (c->to->flags & FOR_TAR_GZ) {
		if (!ends_in(c->target, ".tar.gz")) {
			cmd_error("%s: the name of the target has to end in .tar.gz, as in "
				  "disk.tar.gz",
				  c->to->name);
			return 1;
		}
		c->pack = CONVERT_TAR_GZ;
		return 0;
	}
	if (tar_gz)
		return refuse_format(c, ".tar.gz");
	if (ova && !(c->to->flags & FOR_OVA))
		return refuse_format(c, "OVA");
	if (ova)
		c->pack = CONVERT_OVA;
	return 0;
}

/* The row: by -O, else by the name's extension, else the first. */
static const struct for_format *choose_row(struct convert *c, const char *given)
{
	const struct format *named = catalog_by_extension(c->target);
	const struct for_format *row = NULL;

	if (c->pack == CONVERT_OVA)
		return for_format(c->to, given ? given : "vmdk");
	if (given)
		return for_format(c->to, given);
	if (named && c->pack == CONVERT_PLAIN)
		row = for_format(c->to, named->name);
	return row ? row : c->to->format;
}

int for_choose(struct convert *c)
{
	const char *given = opts_get(c->o, "target-format");
	const struct format *format = given ? args_format(given) : NULL;

	if ((given && !format) || choose_archive(c))
		return 1;
	c->as = choose_row(c, given);
	if (!c->as || (c->pack == CONVERT_OVA && strcmp(c->as->format, "vmdk") != 0))
		return refuse_format(c,
				     c->pack == CONVERT_OVA ? "OVA with such a disk" : given);
	format = catalog_format(c->as->format);
	if (!format) {
		cmd_error("%s: %s takes %s, and this build has no %s", c->to->name,
			  c->to->title, c->to->takes, c->as->format);
		return 1;
	}
	c->image.format = format;
	if (c->pack == CONVERT_TAR_GZ)
		tell(c, "a raw disk 'disk.raw' in old GNU tar, compressed by gzip");
	else if (c->pack == CONVERT_OVA)
		tell(c, "an OVA: descriptor, manifest (SHA-256) and a %s disk", format->name);
	else if (!given)
		tell(c, "format %s", format->name);
	return 0;
}

/* In an archive only what can be written from front to back will do. */
static bool fits(const struct convert *c, const struct for_key *k, const char *value)
{
	if (c->pack == CONVERT_OVA && strcmp(k->key, "subformat") == 0)
		return strcasecmp(value, "streamOptimized") == 0;
	return for_value_fits(k, value);
}

static int set_option(struct convert *c, const struct for_key *k)
{
	const char *given = opts_get(c->image.keys, k->key);
	const char *value = k->value;
	struct err err;

	if (given && !fits(c, k, given)) {
		cmd_error("%s: %s=%s will not do, but %s=%s: %s", c->to->name, k->key, given,
			  k->key, value, k->why);
		return 1;
	}
	if (given || (k->unless && opts_has(c->image.keys, k->unless)))
		return 0;
	if (c->pack == CONVERT_OVA && strcmp(k->key, "subformat") == 0)
		value = "streamOptimized";
	if (opts_set(c->image.keys, k->key, value, &err)) {
		cmd_err(&err);
		return 1;
	}
	tell(c, "%s=%s: %s", k->key, value, k->why);
	return 0;
}

int for_options(struct convert *c)
{
	for (size_t i = 0; i < ARRAY_LEN(c->as->key) && c->as->key[i].key; i++)
		if (set_option(c, &c->as->key[i]))
			return 1;
	return 0;
}

int for_pad(struct convert *c)
{
	char have[SIZE_TEXT], want[SIZE_TEXT];
	struct err err;
	uint64_t size;

	if (for_size(c->to, c->as, c->size, &size, &err)) {
		cmd_err(&err);
		return 1;
	}
	if (size == c->size)
		return 0;
	tell(c,
	     "%" PRIu64 " bytes of zeros at the end: %s (%" PRIu64 ") become %s (%" PRIu64
	     "), since %s",
	     size - c->size, size_human(c->size, have), c->size, size_human(size, want), size,
	     c->size < c->as->min ? "it takes no less" : c->as->align_why);
	/* what is read behind the end of a source is zeros */
	c->in[c->nsource - 1].size += size - c->size;
	c->size = size;
	return 0;
}
