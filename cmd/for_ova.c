/*
 * An OVA: one tar archive with a descriptor, a manifest and the disk, in that order.
 *
 * DMTF DSP0243, Open Virtualization Format Specification 1.1 (which every program that imports
 * OVF reads; 2.1 has the same here): 5.2 the manifest's lines, 5.3 the order and ustar, 7 and 8
 * and Annex the descriptor's elements. Sizes over 8 GiB are in base 256, as ovftool does.
 *
 * The disk comes last, so that it can be written where it will stay; what is before it has a
 * length that is known, and is written when the disk is.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd/cmd.h"
#include "cmd/for.h"
#include "crypto/hash.h"
#include "lib/mem.h"
#include "lib/tar.h"

#define BASE_MAX    80 /* bytes of the names: ustar has room for 100 */
#define NAME_ROOM   (BASE_MAX + 16)
#define HASH	    "sha256"
#define HASH_TITLE  "SHA256"
#define HASH_DIGITS 64
#define PIECE	    (1u << 20)

struct ova {
	char base[BASE_MAX + 1];
	char ovf_name[NAME_ROOM], mf_name[NAME_ROOM], disk_name[NAME_ROOM];
	const char *adapter;
	uint64_t size; /* of the disk */
	size_t ovf_len, mf_len;
};

/* ---- the descriptor ---------------------------------------------------------------------- */

static const char ovf_text[] =
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	"<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\""
	" xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\""
	" xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
	"CIM_ResourceAllocationSettingData\""
	" xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
	"CIM_VirtualSystemSettingData\">\n"
	"  <References>\n"
	"    <File ovf:id=\"file1\" ovf:href=\"%1$s-disk1.vmdk\" ovf:size=\"%2$" PRIu64
	"\"%3$*4$s/>\n"
	"  </References>\n"
	"  <DiskSection>\n"
	"    <Info>The disks of the machine</Info>\n"
	"    <Disk ovf:diskId=\"disk1\" ovf:fileRef=\"file1\" ovf:capacity=\"%5$" PRIu64
	"\" ovf:capacityAllocationUnits=\"byte\" ovf:format=\""
	"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized\"/>\n"
	"  </DiskSection>\n"
	"  <VirtualSystem ovf:id=\"%1$s\">\n"
	"    <Info>A virtual machine</Info>\n"
	"    <Name>%1$s</Name>\n"
	"    <OperatingSystemSection ovf:id=\"102\">\n"
	"      <Info>Any of 64 bits</Info>\n"
	"    </OperatingSystemSection>\n"
	"    <VirtualHardwareSection>\n"
	"      <Info>What the machine has</Info>\n"
	"      <System>\n"
	"        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>\n"
	"        <vssd:InstanceID>0</vssd:InstanceID>\n"
	"        <vssd:VirtualSystemIdentifier>%1$s</vssd:VirtualSystemIdentifier>\n"
	"        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>\n"
	"      </System>\n"
	"      <Item>\n"
	"        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>\n"
	"        <rasd:ElementName>1 virtual CPU</rasd:ElementName>\n"
	"        <rasd:InstanceID>1</rasd:InstanceID>\n"
	"        <rasd:ResourceType>3</rasd:ResourceType>\n"
	"        <rasd:VirtualQuantity>1</rasd:VirtualQuantity>\n"
	"      </Item>\n"
	"      <Item>\n"
	"        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>\n"
	"        <rasd:ElementName>1024 MB of memory</rasd:ElementName>\n"
	"        <rasd:InstanceID>2</rasd:InstanceID>\n"
	"        <rasd:ResourceType>4</rasd:ResourceType>\n"
	"        <rasd:VirtualQuantity>1024</rasd:VirtualQuantity>\n"
	"      </Item>\n"
	"      <Item>\n"
	"        <rasd:Address>0</rasd:Address>\n"
	"        <rasd:ElementName>Controller 0</rasd:ElementName>\n"
	"        <rasd:InstanceID>3</rasd:InstanceID>\n"
	"%6$s"
	"      </Item>\n"
	"      <Item>\n"
	"        <rasd:AddressOnParent>0</rasd:AddressOnParent>\n"
	"        <rasd:ElementName>Disk 1</rasd:ElementName>\n"
	"        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>\n"
	"        <rasd:InstanceID>4</rasd:InstanceID>\n"
	"        <rasd:Parent>3</rasd:Parent>\n"
	"        <rasd:ResourceType>17</rasd:ResourceType>\n"
	"      </Item>\n"
	"    </VirtualHardwareSection>\n"
	"  </VirtualSystem>\n"
	"</Envelope>\n";

/* CIM_ResourceAllocationSettingData: 5 is an IDE controller, 6 a parallel SCSI HBA. */
static const char *controller(const char *adapter)
{
	if (strcasecmp(adapter, "ide") == 0)
		return "        <rasd:ResourceType>5</rasd:ResourceType>\n";
	if (strcasecmp(adapter, "buslogic") == 0)
		return "        <rasd:ResourceSubType>buslogic</rasd:ResourceSubType>\n"
		       "        <rasd:ResourceType>6</rasd:ResourceType>\n";
	return "        <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>\n"
	       "        <rasd:ResourceType>6</rasd:ResourceType>\n";
}

/* As long for any number of bytes in the disk's file: blanks before the tag's end. */
static char *descriptor(const struct ova *ova, uint64_t file_size, size_t *len, struct err *err)
{
	char digits[24], *text;
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, file_size);

	n = asprintf(&text, ovf_text, ova->base, file_size, "", 20 - n, ova->size,
		     controller(ova->adapter));
	if (n < 0) {
		err_nomem(err, sizeof(ovf_text), "a descriptor");
		return NULL;
	}
	*len = (size_t)n;
	return text;
}

/* ---- the places -------------------------------------------------------------------------- */

/* The file's name without .ova; what has a meaning in XML, a shell or a path becomes '_'. */
static void take_base(struct ova *ova, const char *target)
{
	const char *slash = strrchr(target, '/');
	const char *name = slash ? slash + 1 : target;
	size_t n = strlen(name);

	n = n > 4 ? n - 4 : 0;
	n = MIN(n, BASE_MAX);
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)name[i];

		ova->base[i] = (char)((ch < 128 && isalnum(ch)) || (ch == '.' && i) ||
						      ch == '_' || (ch == '-' && i)
					      ? ch
					      : '_');
	}
	if (n == 0)
		ova->base[n++] = '_';
	ova->base[n] = '\0';
}

struct ova *ova_new(const struct convert *c, struct err *err)
{
	const char *adapter = opts_get(c->image.keys, "adapter_type");
	struct ova *ova = calloc(1, sizeof(*ova));
	char *text;

	if (!ova) {
		err_nomem(err, sizeof(*ova), "an archive");
		return NULL;
	}
	take_base(ova, c->target);
	snprintf(ova->ovf_name, sizeof(ova->ovf_name), "%s.ovf", ova->base);
	snprintf(ova->mf_name, sizeof(ova->mf_name), "%s.mf", ova->base);
	snprintf(ova->disk_name, sizeof(ova->disk_name), "%s-disk1.vmdk", ova->base);
	ova->adapter = adapter ? adapter : "lsilogic";
	ova->size = c->size;
	text = descriptor(ova, 0, &ova->ovf_len, err);
	if (!text) {
		free(ova);
		return NULL;
	}
	free(text);
	ova->mf_len = 2 * (strlen(HASH_TITLE "()= \n") + HASH_DIGITS) + strlen(ova->ovf_name) +
		      strlen(ova->disk_name);
	return ova;
}

void ova_free(struct ova *ova)
{
	free(ova);
}

/* Of a member: its header and its data in whole blocks. */
static uint64_t room(uint64_t len)
{
	return TAR_BLOCK + round_up(len, TAR_BLOCK);
}

uint64_t ova_head(const struct ova *ova)
{
	return room(ova->ovf_len) + room(ova->mf_len) + TAR_BLOCK;
}

const char *ova_disk_name(const struct ova *ova)
{
	return ova->disk_name;
}

/* ---- the rest, when the disk is complete ------------------------------------------------ */

static int hash_text(const void *text, size_t n, char hex[HASH_HEX], struct err *err)
{
	struct hash *h = hash_new(HASH, err);

	if (!h)
		return -1;
	hash_update(h, text, n);
	hash_final_hex(h, hex);
	hash_free(h);
	return 0;
}

static int hash_disk(struct blk *file, uint64_t from, uint64_t size, char hex[HASH_HEX],
		     struct err *err)
{
	AUTO_FREE uint8_t *buf = mem_alloc(PIECE);
	struct hash *h = buf ? hash_new(HASH, err) : NULL;
	int rc = 0;

	if (!buf)
		return err_nomem(err, PIECE, "a manifest");
	if (!h)
		return -1;
	for (uint64_t done = 0; rc == 0 && done < size;) {
		size_t n = MIN(PIECE, size - done);

		rc = blk_pread(file, buf, n, from + done, err);
		hash_update(h, buf, n);
		done += n;
	}
	hash_final_hex(h, hex);
	hash_free(h);
	return rc;
}

/* One member at *at, which moves on. */
static int put_member(struct blk *file, const char *name, const char *text, size_t len,
		      uint64_t *at, struct err *err)
{
	AUTO_FREE uint8_t *buf = calloc(1, room(len));

	if (!buf)
		return err_nomem(err, room(len), "an archive");
	tar_encode(buf, name, len, for_mtime(), false);
	memcpy(buf + TAR_BLOCK, text, len);
	if (blk_pwrite(file, buf, room(len), *at, 0, err))
		return -1;
	*at += room(len);
	return 0;
}

static int put_end(struct blk *file, uint64_t disk_end, struct err *err)
{
	static const uint8_t zeros[3 * TAR_BLOCK];
	uint64_t end = round_up(disk_end, TAR_BLOCK) + 2 * TAR_BLOCK;

	return blk_pwrite(file, zeros, end - disk_end, disk_end, 0, err);
}

int ova_seal(struct ova *ova, struct blk *file, struct err *err)
{
	uint64_t head = ova_head(ova), end = blk_size(file), at = 0;
	char ovf_hex[HASH_HEX], disk_hex[HASH_HEX];
	AUTO_FREE char *ovf = NULL, *mf = NULL;
	uint8_t header[TAR_BLOCK];
	size_t len;

	ovf = descriptor(ova, end - head, &len, err);
	if (!ovf)
		return -1;
	if (len != ova->ovf_len)
		return err_set(err, EINVAL, "The descriptor has another length than planned");
	if (hash_text(ovf, len, ovf_hex, err) ||
	    hash_disk(file, head, end - head, disk_hex, err))
		return -1;
	if (asprintf(&mf, HASH_TITLE "(%s)= %s\n" HASH_TITLE "(%s)= %s\n", ova->ovf_name,
		     ovf_hex, ova->disk_name, disk_hex) < 0) {
		mf = NULL;
		return err_nomem(err, ova->mf_len, "a manifest");
	}
	tar_encode(header, ova->disk_name, end - head, for_mtime(), false);
	if (put_member(file, ova->ovf_name, ovf, len, &at, err) ||
	    put_member(file, ova->mf_name, mf, ova->mf_len, &at, err) ||
	    blk_pwrite(file, header, sizeof(header), at, 0, err))
		return -1;
	return put_end(file, end, err);
}
