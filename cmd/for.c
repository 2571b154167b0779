/*
 * What each target takes. The numbers come from the documents named beside them, as they were
 * in 2025; where a target changes its mind, its rows are all there is to change.
 */
#include "cmd/for.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd/cmd.h"
#include "cmd/suggest.h"
#include "lib/mem.h"
#include "lib/size.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

#define EXACT_VHD                                                                              \
	{                                                                                      \
		.key = "force_size", .value = "on",                                            \
		.why = "the size stays what it is, and is not rounded to a geometry"           \
	}

/* VHD specification 1.0, "Dynamic Disk Header": sector numbers of 32 bits, 2040 GiB. */
#define VHD_MAX	    (2040 * GIB)
#define VHD_MAX_WHY "a VHD holds no more"
/* MS-VHDX 2.2: the virtual disk size is 64 TiB at most. */
#define VHDX_MAX     (64 * TIB)
#define VHDX_MAX_WHY "a VHDX holds no more"
/* VMware Virtual Disks, Virtual Disk Format 1.1, "Hosted Sparse Extent Header": the capacity
 * should be a multiple of the grain size, which is 64 KiB. */
#define GRAIN	  (64 * KIB)
#define GRAIN_WHY "a sparse VMDK holds whole grains of 64 KiB"

/*
 * Azure: learn.microsoft.com, "Prepare Linux for imaging in Azure": VHD and not VHDX, fixed,
 * a virtual size that is a multiple of 1 MiB; qemu-img with subformat=fixed,force_size. REST
 * API, Disks, CreationData.uploadSizeBytes: 20 MiB to 32 TiB, and 512 bytes for the footer.
 */
static const struct for_format azure[] = {
	{
		.format = "vpc",
		.key = {{.key = "subformat",
			 .value = "fixed",
			 .why = "Azure takes fixed disks only"},
			EXACT_VHD},
		.align = MIB,
		.align_why = "Azure takes whole MiB",
		.min = 20 * MIB,
		.max = 32 * TIB,
		.max_why = "Azure takes no larger upload",
		.subformat = "fixed",
	},
	{0},
};

/*
 * Hyper-V: learn.microsoft.com, "Plan for Hyper-V scalability in Windows Server": 64 TB for
 * VHDX, 2040 GB for VHD. Generation 2 machines take VHDX only.
 */
static const struct for_format hyperv[] = {
	{
		.format = "vhdx",
		.key = {{.key = "subformat",
			 .value = "dynamic",
			 .also = "fixed",
			 .why = "it grows with what is written"}},
		.align = 1,
		.max = VHDX_MAX,
		.max_why = VHDX_MAX_WHY,
	},
	{
		.format = "vpc",
		.key = {{.key = "subformat",
			 .value = "dynamic",
			 .also = "fixed",
			 .why = "it grows with what is written"},
			EXACT_VHD},
		.align = 1,
		.max = VHD_MAX,
		.max_why = VHD_MAX_WHY,
	},
	{0},
};

/*
 * VMware: "Configuration Maximums", vSphere 8: virtual disks of 62 TB. KB 1003746 and the OVF
 * tool's guide: streamOptimized is what is imported; a disk of a hosted product is not run by
 * ESXi before "vmkfstools -i". KB 2007240: hardware version 13 is that of ESXi 6.5, and later
 * ones run it.
 */
#define VMW_KEYS                                                                               \
	{.key = "adapter_type",                                                                \
	 .value = "lsilogic",                                                                  \
	 .also = "ide|buslogic",                                                               \
	 .why = "the controller that every ESXi has"},                                         \
	{                                                                                      \
		.key = "hwversion", .value = "13", .unless = "compat6",                        \
		.also = "4|6|7|8|9|10|11|12|14|15|16|17|18|19|20|21",                          \
		.why = "ESXi 6.5 and later run it"                                             \
	}
#define VMW_MAX	    (62 * TIB)
#define VMW_MAX_WHY "vSphere has no larger disks"

static const struct for_format esxi[] = {
	{
		.format = "vmdk",
		.key = {{.key = "subformat",
			 .value = "streamOptimized",
			 .also = "monolithicFlat",
			 .why = "that is what ESXi imports"},
			VMW_KEYS},
		.align = GRAIN,
		.align_why = GRAIN_WHY,
		.max = VMW_MAX,
		.max_why = VMW_MAX_WHY,
		.subformat = "streamOptimized|monolithicFlat|vmfs",
	},
	{0},
};

static const struct for_format vsphere[] = {
	{
		.format = "vmdk",
		.key = {{.key = "subformat",
			 .value = "streamOptimized",
			 .why = "that is what vSphere imports"},
			VMW_KEYS},
		.align = GRAIN,
		.align_why = GRAIN_WHY,
		.max = VMW_MAX,
		.max_why = VMW_MAX_WHY,
		.subformat = "streamOptimized",
	},
	{0},
};

/*
 * VirtualBox: user manual, "Disk Image Files (VDI, VMDK, VHD, HDD)": VDI is its own, VMDK and
 * VHD are read and written.
 */
static const struct for_format virtualbox[] = {
	{.format = "vdi", .align = 1, .max = INT64_MAX},
	{
		.format = "vmdk",
		.key = {{.key = "subformat",
			 .value = "monolithicSparse",
			 .also = "streamOptimized|monolithicFlat|twoGbMaxExtentSparse|"
				 "twoGbMaxExtentFlat",
			 .why = "it grows with what is written"}},
		.align = GRAIN,
		.align_why = GRAIN_WHY,
		.max = INT64_MAX,
	},
	{
		.format = "vpc",
		.key = {{.key = "subformat",
			 .value = "dynamic",
			 .also = "fixed",
			 .why = "it grows with what is written"},
			EXACT_VHD},
		.align = 1,
		.max = VHD_MAX,
		.max_why = VHD_MAX_WHY,
	},
	{0},
};

/*
 * AWS: VM Import/Export User Guide, "System requirements, Image formats": OVA, streamOptimized
 * VMDK, fixed and dynamic VHD and VHDX, raw. EBS User Guide, "Amazon EBS volume constraints":
 * 64 TiB.
 */
#define AWS_MAX	    (64 * TIB)
#define AWS_MAX_WHY "EBS has no larger volumes"

static const struct for_format aws[] = {
	{.format = "raw", .align = 1, .max = AWS_MAX, .max_why = AWS_MAX_WHY},
	{
		.format = "vmdk",
		.key = {{.key = "subformat",
			 .value = "streamOptimized",
			 .why = "VM Import takes no other VMDK"},
			{.key = "adapter_type",
			 .value = "lsilogic",
			 .also = "ide|buslogic",
			 .why = "as ESXi writes it"}},
		.align = GRAIN,
		.align_why = GRAIN_WHY,
		.max = AWS_MAX,
		.max_why = AWS_MAX_WHY,
		.subformat = "streamOptimized",
	},
	{
		.format = "vpc",
		.key = {{.key = "subformat",
			 .value = "dynamic",
			 .also = "fixed",
			 .why = "there is less to upload"},
			EXACT_VHD},
		.align = 1,
		.max = VHD_MAX,
		.max_why = VHD_MAX_WHY,
	},
	{
		.format = "vhdx",
		.key = {{.key = "subformat",
			 .value = "dynamic",
			 .also = "fixed",
			 .why = "there is less to upload"}},
		.align = 1,
		.max = VHDX_MAX,
		.max_why = VHDX_MAX_WHY,
	},
	{0},
};

/*
 * GCP: cloud.google.com, "Import boot disk images to Compute Engine manually": the disk is a
 * file disk.raw of whole GiB, in a .tar.gz of tar --format=oldgnu. "Persistent Disk": 64 TiB.
 */
static const struct for_format gcp[] = {
	{
		.format = "raw",
		.align = GIB,
		.align_why = "Compute Engine takes whole GiB",
		.min = GIB,
		.max = 64 * TIB,
		.max_why = "Compute Engine has no larger disks",
	},
	{0},
};

static const struct for_format kvm[] = {
	{.format = "qcow2", .align = 1, .max = INT64_MAX},
	{.format = "raw", .align = 1, .max = INT64_MAX},
	{0},
};

static const struct for_target targets[] = {
	{"azure", "Azure", azure, 0, "fixed VHDs only (-O vpc)"},
	{"hyperv", "Hyper-V", hyperv, 0, "VHDX and VHD (-O vhdx, -O vpc)"},
	{"esxi", "ESXi", esxi, FOR_OVA, "VMDK (-O vmdk)"},
	{"vsphere", "vSphere", vsphere, FOR_OVA, "VMDK (-O vmdk), best in an .ova"},
	{"virtualbox", "VirtualBox", virtualbox, FOR_OVA,
	 "VDI, VMDK and VHD (-O vdi, -O vmdk, -O vpc)"},
	{"aws", "VM Import", aws, FOR_OVA, "raw, VMDK, VHD and VHDX (-O raw, vmdk, vpc, vhdx)"},
	{"gcp", "Compute Engine", gcp, FOR_TAR_GZ, "a raw disk in a .tar.gz"},
	{"kvm", "KVM", kvm, FOR_OVERLAYS | FOR_ENCRYPTED, "qcow2 and raw (-O qcow2, -O raw)"},
};

const struct for_target *for_find(const char *name)
{
	struct suggest near;

	if (cmd_persona == PERSONA_QEMU_IMG) {
		cmd_usage("unrecognized option '--for'");
		return NULL;
	}
	suggest_begin(&near, name);
	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		if (strcmp(targets[i].name, name) == 0)
			return &targets[i];
		suggest_offer(&near, targets[i].name);
	}
	if (near.best)
		cmd_error("--for: '%s' is unknown; did you mean '%s'?", name, near.best);
	else
		cmd_error("--for: '%s' is unknown; there are azure, hyperv, esxi, vsphere, "
			  "virtualbox, aws, gcp and kvm",
			  name);
	return NULL;
}

const struct for_format *for_format(const struct for_target *to, const char *format)
{
	for (const struct for_format *f = to->format; f->format; f++)
		if (strcmp(f->format, format) == 0)
			return f;
	return NULL;
}

static bool same_word(const char *a, size_t n, const char *b)
{
	return strlen(b) == n && strncasecmp(a, b, n) == 0;
}

static bool is_on(const char *value)
{
	static const char *const on[] = {"on", "yes", "true", "y"};

	for (size_t i = 0; i < ARRAY_LEN(on); i++)
		if (strcmp(value, on[i]) == 0)
			return true;
	return false;
}

bool for_value_fits(const struct for_key *key, const char *value)
{
	if (strcmp(key->value, "on") == 0)
		return is_on(value);
	if (strcasecmp(key->value, value) == 0)
		return true;
	for (const char *w = key->also; w && *w;) {
		size_t n = strcspn(w, "|");

		if (same_word(w, n, value))
			return true;
		w += n + (w[n] == '|');
	}
	return false;
}

int for_size(const struct for_target *to, const struct for_format *as, uint64_t size,
	     uint64_t *out, struct err *err)
{
	char have[SIZE_TEXT], most[SIZE_TEXT];
	uint64_t up = round_up(MAX(size, as->min), as->align);

	if (up > as->max)
		return err_set(
			err, EFBIG,
			"%s: the disk has %s (%" PRIu64 " bytes), and %s is the most: %s",
			to->name, size_human(size, have), size, size_human(as->max, most),
			as->max_why ? as->max_why : "a disk has no more");
	*out = up;
	return 0;
}

int64_t for_mtime(void)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	char *end;
	long long v;

	if (!text || !*text)
		return 0;
	errno = 0;
	v = strtoll(text, &end, 10);
	return errno || *end || v < 0 ? 0 : v;
}
