#include "cmd/catalog.h"

#include <string.h>
#include <strings.h>

#include "formats/raw.h"

/* A format is a line here and a line in the table. */
extern const struct format format_qcow2, format_vdi, format_vhdx, format_vpc;
extern const struct format format_bochs, format_cloop;
extern const struct protocol fat_protocol;

/* clang-format off */
const struct format *const catalog_formats[] = {
	&format_qcow2,
	&format_vdi,
	&format_vpc,
	&format_vhdx,
	&format_bochs,
	&format_cloop,
	&format_raw,
	NULL,
};
/* clang-format on */

const struct protocol *const catalog_protocols[] = {
	&io_file, &io_host_device, &io_null_co, &io_null_aio, &io_ova, &fat_protocol, NULL,
};

const struct format *catalog_format(const char *name)
{
	for (size_t i = 0; catalog_formats[i]; i++)
		if (strcmp(catalog_formats[i]->name, name) == 0)
			return catalog_formats[i];
	return NULL;
}

const struct protocol *catalog_protocol(const char *name)
{
	for (size_t i = 0; catalog_protocols[i]; i++)
		if (strcmp(catalog_protocols[i]->name, name) == 0)
			return catalog_protocols[i];
	return NULL;
}

const struct protocol *catalog_scheme(const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; catalog_protocols[i]; i++) {
		const char *scheme = catalog_protocols[i]->scheme;

		if (scheme && strncmp(scheme, word, n) == 0 && scheme[n] == ':')
			return catalog_protocols[i];
	}
	return NULL;
}

const struct format *catalog_protocol_format(const struct protocol *p)
{
	/* raw in all but name; filled in when asked for, always with the same */
	static struct format as[sizeof(catalog_protocols) / sizeof(catalog_protocols[0])];
	size_t i = 0;

	while (catalog_protocols[i] != p)
		i++;
	if (!as[i].name) {
		as[i] = format_raw;
		as[i].name = p->name;
		as[i].open_opts = NULL;
		as[i].measure = NULL;
		if (!p->create_opts) {
			as[i].create = NULL;
			as[i].caps &= ~(unsigned)FORMAT_CREATE;
		}
	}
	return &as[i];
}

const struct format *catalog_by_extension(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash + 1 : path, '.');

	if (!dot)
		return NULL;
	for (size_t i = 0; catalog_formats[i]; i++) {
		const char *const *ext = catalog_formats[i]->extensions;

		for (; ext && *ext; ext++)
			if (strcasecmp(*ext, dot + 1) == 0)
				return catalog_formats[i];
	}
	return NULL;
}

/* What people call a format, and what it is called here. */
#define TRY(typed, name)                                                                       \
	{                                                                                      \
		typed, name, "did you mean '" name "'?"                                        \
	}
static const char *const tries[][3] = {
	TRY("qcow2", "qcow2"),
	TRY("qcow3", "qcow2"),
	TRY("qemu", "qcow2"),
	TRY("kvm", "qcow2"),
	TRY("raw", "raw"),
	TRY("img", "raw"),
	TRY("iso", "raw"),
	TRY("bin", "raw"),
	TRY("dd", "raw"),
	TRY("flat", "raw"),
	TRY("disk", "raw"),
	TRY("ami", "raw"),
	TRY("vhd", "vpc"),
	TRY("avhd", "vpc"),
	TRY("azure", "vpc"),
	TRY("avhdx", "vhdx"),
	TRY("hyperv", "vhdx"),
	TRY("vmdk-stream", "vmdk"),
	TRY("streamoptimized", "vmdk"),
	TRY("vmware", "vmdk"),
	TRY("esx", "vmdk"),
	TRY("ova", "vmdk"),
	TRY("ovf", "vmdk"),
	TRY("virtualbox", "vdi"),
	TRY("vbox", "vdi"),
	TRY("hdd", "parallels"),
	TRY("hds", "parallels"),
};

/* Only what this build has. */
const char *catalog_suggest(const char *name)
{
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
		if (strcasecmp(tries[i][0], name) == 0 && catalog_format(tries[i][1]))
			return tries[i][2];
	return NULL;
}

const char *catalog_foreign_extension(const char *path)
{
	static const char *const known[] = {
		"vmdk", "vdi",	 "vhd",	  "vhdx", "vpc", "qed", "qcow", "parallels", "hdd",
		"luks", "bochs", "cloop", "dmg",  "ova", "vma", "wim",	"e01",	     "aff"};
	const char *dot = strrchr(path, '.');

	if (!dot || strchr(dot, '/') || catalog_by_extension(path))
		return NULL;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcasecmp(dot + 1, known[i]) == 0)
			return known[i];
	return NULL;
}
