#include "cmd/catalog.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "formats/raw.h"

/* A format is a line here and a line in the table. */
extern const struct format format_qcow2, format_vdi, format_vhdx, format_vpc;
extern const struct format format_parallels;
extern const struct format format_bochs, format_cloop, format_dmg, format_luks;
extern const struct format format_qed, format_qcow;
extern const struct format format_vmdk;

/* clang-format off */
const struct format *const catalog_formats[] = {
	&format_qcow2,
	&format_qed,
	&format_qcow,
	&format_vdi,
	&format_vpc,
	&format_vhdx,
	&format_vmdk,
	&format_parallels,
	&format_bochs,
	&format_cloop,
	&format_dmg,
	&format_luks,
	&format_raw,
	NULL,
};
/* clang-format on */

const struct protocol *const catalog_protocols[] = {
	&io_file, &io_host_device, &io_null_co, &io_null_aio, &io_ova, &io_vvfat, NULL,
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

/* What people call a format, and what it is called here; and with an option, where the name
 * is that of a kind of it. */
#define TRY(typed, name)                                                                       \
	{                                                                                      \
		typed, name, "did you mean '" name "'?"                                        \
	}
#define KIND(typed, name, option)                                                              \
	{                                                                                      \
		typed, name, "did you mean '" name "' with -o " option "?"                     \
	}
#define STREAM	    "subformat=streamOptimized"
#define ARCHIVE_OVA "convert --for vsphere (esxi, virtualbox, aws) writes an .ova"
#define ARCHIVE_GCP "convert --for gcp writes the .tar.gz that Compute Engine takes"

static const char *const tries[][3] = {
	TRY("qcow2", "qcow2"),
	TRY("qcow3", "qcow2"),
	TRY("qcow2v3", "qcow2"),
	TRY("qcow2c", "qcow2"),
	TRY("qemu", "qcow2"),
	TRY("kvm", "qcow2"),
	TRY("libvirt", "qcow2"),
	TRY("openstack", "qcow2"),
	TRY("qcow1", "qcow"),
	TRY("cow", "qcow2"),
	TRY("raw", "raw"),
	TRY("img", "raw"),
	TRY("image", "raw"),
	TRY("iso", "raw"),
	TRY("bin", "raw"),
	TRY("dd", "raw"),
	TRY("flat", "raw"),
	TRY("disk", "raw"),
	TRY("block", "raw"),
	TRY("device", "raw"),
	TRY("ami", "raw"),
	TRY("aws", "raw"),
	TRY("ec2", "raw"),
	TRY("vhd", "vpc"),
	TRY("avhd", "vpc"),
	TRY("vpcvhd", "vpc"),
	TRY("virtualpc", "vpc"),
	TRY("xen", "vpc"),
	TRY("xenserver", "vpc"),
	KIND("vhdfixed", "vpc", "subformat=fixed"),
	KIND("fixedvhd", "vpc", "subformat=fixed"),
	KIND("vhddynamic", "vpc", "subformat=dynamic"),
	KIND("azure", "vpc", "subformat=fixed,force_size"),
	TRY("avhdx", "vhdx"),
	TRY("vhd2", "vhdx"),
	TRY("hyperv", "vhdx"),
	KIND("vhdxfixed", "vhdx", "subformat=fixed"),
	KIND("vhdxdynamic", "vhdx", "subformat=dynamic"),
	KIND("vmdkstream", "vmdk", STREAM),
	KIND("vmdkstreamoptimized", "vmdk", STREAM),
	KIND("streamoptimized", "vmdk", STREAM),
	KIND("streamvmdk", "vmdk", STREAM),
	KIND("vsphere", "vmdk", STREAM),
	KIND("esx", "vmdk", STREAM),
	KIND("esxi", "vmdk", STREAM),
	KIND("vcenter", "vmdk", STREAM),
	KIND("monolithicsparse", "vmdk", "subformat=monolithicSparse"),
	KIND("vmdksparse", "vmdk", "subformat=monolithicSparse"),
	KIND("monolithicflat", "vmdk", "subformat=monolithicFlat"),
	KIND("vmdkflat", "vmdk", "subformat=monolithicFlat"),
	KIND("vmfs", "vmdk", "subformat=monolithicFlat"),
	KIND("twogbmaxextentsparse", "vmdk", "subformat=twoGbMaxExtentSparse"),
	KIND("twogbmaxextentflat", "vmdk", "subformat=twoGbMaxExtentFlat"),
	TRY("vmware", "vmdk"),
	TRY("vmware4", "vmdk"),
	TRY("vmdk3", "vmdk"),
	TRY("vmdk4", "vmdk"),
	TRY("workstation", "vmdk"),
	TRY("fusion", "vmdk"),
	{"ova", "raw", ARCHIVE_OVA},
	{"ovf", "raw", ARCHIVE_OVA},
	{"gcp", "raw", ARCHIVE_GCP},
	{"gce", "raw", ARCHIVE_GCP},
	{"targz", "raw", ARCHIVE_GCP},
	{"tgz", "raw", ARCHIVE_GCP},
	TRY("virtualbox", "vdi"),
	TRY("vbox", "vdi"),
	KIND("vdifixed", "vdi", "static=on"),
	KIND("vdistatic", "vdi", "static=on"),
	TRY("hdd", "parallels"),
	TRY("hds", "parallels"),
	TRY("prl", "parallels"),
	TRY("pvm", "parallels"),
	TRY("udif", "dmg"),
	TRY("mac", "dmg"),
	TRY("loop", "cloop"),
	TRY("vfat", "vvfat"),
	TRY("fat", "vvfat"),
};

/* In either case; "vmdk-stream", "vmdk_stream" and "VMDK stream" are one. */
static bool same_name(const char *plain, const char *typed)
{
	for (;; plain++, typed++) {
		while (*typed && strchr("-_. ", *typed))
			typed++;
		if (tolower((unsigned char)*typed) != *plain)
			return false;
		if (!*plain)
			return true;
	}
}

/* Only what this build has. */
const char *catalog_suggest(const char *name)
{
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
		if (same_name(tries[i][0], name) &&
		    (catalog_format(tries[i][1]) || catalog_protocol(tries[i][1])))
			return tries[i][2];
	return NULL;
}

/* Of files that are no raw disks, and what to do to get one. */
static const struct {
	const char *extension, *advice;
} foreign[] = {
	{"vmdk"},
	{"vdi"},
	{"vhd"},
	{"vhdx"},
	{"avhd"},
	{"avhdx"},
	{"vpc"},
	{"qed"},
	{"qcow"},
	{"qcow2"},
	{"parallels"},
	{"hdd"},
	{"hds"},
	{"luks"},
	{"bochs"},
	{"cloop"},
	{"dmg"},
	{"vma"},
	{"wim"},
	{"e01"},
	{"aff"},
	{"zip"},
	{"7z"},
	{"xz"},
	{"zst"},
	{"bz2"},
	{"ova", ARCHIVE_OVA},
	{"ovf", ARCHIVE_OVA},
	{"gz", ARCHIVE_GCP},
	{"tgz", ARCHIVE_GCP},
	{"tar", ARCHIVE_GCP},
};

const char *catalog_foreign_extension(const char *path, const char **advice)
{
	const char *dot = strrchr(path, '.');

	*advice = NULL;
	if (!dot || strchr(dot, '/') || catalog_by_extension(path))
		return NULL;
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		if (strcasecmp(dot + 1, foreign[i].extension) != 0)
			continue;
		*advice = foreign[i].advice;
		return foreign[i].extension;
	}
	return NULL;
}
