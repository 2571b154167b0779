/*
 * New images. Layout and texts are the peer's; a stream has its tables at the end.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vmdk/create.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/uuid.h"

const struct opt vmdk_create_opts[] = {
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.name = "adapter_type",
	 .type = OPT_STR,
	 .arg = "TYPE",
	 .help = "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or "
		 "legacyESX"},
	{.name = "backing_file",
	 .type = OPT_STR,
	 .arg = "FILE",
	 .help = "File name of a base image"},
	{.name = "backing_fmt",
	 .type = OPT_STR,
	 .arg = "FMT",
	 .help = "Must be 'vmdk' if present"},
	{.name = "compat6", .type = OPT_BOOL, .help = "VMDK version 6 image", .initial = "off"},
	{.name = "hwversion",
	 .type = OPT_STR,
	 .arg = "N",
	 .help = "VMDK hardware version",
	 .initial = "undefined"},
	{.name = "toolsversion",
	 .type = OPT_STR,
	 .arg = "N",
	 .help = "VMware guest tools version"},
	{.name = "subformat",
	 .type = OPT_STR,
	 .arg = "NAME",
	 .help = "VMDK flat extent format, can be one of {monolithicSparse (default) | "
		 "monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | "
		 "streamOptimized} "},
	{.name = "zeroed_grain",
	 .type = OPT_BOOL,
	 .help = "Enable efficient zero writes using the zeroed-grain GTE feature"},
	{.name = "cid",
	 .type = OPT_STR,
	 .flags = OPT_OURS,
	 .arg = "HEX",
	 .help = "The content identifier, 8 hexadecimal digits, else a random one"},
	{0},
};

static const char subformats[] = "monolithicSparse|monolithicFlat|twoGbMaxExtentSparse|"
				 "twoGbMaxExtentFlat|streamOptimized";
static const char adapters[] = "ide|lsilogic|buslogic|legacyESX";

static int choice(const struct opts *o, const char *key, const char *words, int *out,
		  struct err *err)
{
	*out = 0;
	if (opts_choice(o, key, words, out, err))
		return err_set(err, EINVAL, "invalid parameter value: %s", opts_get(o, key));
	return 0;
}

/* What stands in the descriptor between quotes, on one line. */
static int check_text(const char *what, const char *text, struct err *err)
{
	if (!text || !strpbrk(text, "\"\r\n"))
		return 0;
	return err_set(err, EINVAL,
		       "%s '%s' has a quote or line end, which no VMDK descriptor can hold",
		       what, text);
}

static int take_cid(const struct opts *o, uint32_t *cid, struct err *err)
{
	const char *text = opts_get(o, "cid");
	uint8_t r[UUID_LEN];
	char *end;

	if (text) {
		*cid = (uint32_t)strtoul(text, &end, 16);
		if (strlen(text) == 8 && *end == '\0' && isxdigit((unsigned char)text[0]) &&
		    *cid < VMDK_NO_CID - 1)
			return 0;
		return err_set(err, EINVAL,
			       "cid '%s' is not of 8 hexadecimal digits, up to fffffffd", text);
	}
	do {
		if (uuid_random(r, err))
			return -1;
		*cid = get_le32(r);
	} while (*cid >= VMDK_NO_CID - 1);
	return 0;
}

int vmdk_settings(const struct opts *o, struct vmdk_settings *s, struct err *err)
{
	bool compat6 = false;
	int sub, adapter;

	*s = (struct vmdk_settings){.hwversion = opts_get(o, "hwversion"),
				    .tools = opts_get(o, "toolsversion"),
				    .parent = opts_get(o, "backing_file")};
	if (choice(o, "adapter_type", adapters, &adapter, err) ||
	    opts_bool(o, "compat6", &compat6, err) ||
	    opts_bool(o, "zeroed_grain", &s->zeroed, err))
		return -1;
	s->adapter = adapter;
	if (s->hwversion && strcmp(s->hwversion, "undefined") == 0)
		s->hwversion = NULL;
	if (compat6 && s->hwversion)
		return err_set(err, EINVAL, "compat6 cannot be enabled with hwversion set");
	if (!s->hwversion)
		s->hwversion = compat6 ? "6" : "4";
	if (!s->tools)
		s->tools = VMDK_TOOLS;
	if (choice(o, "subformat", subformats, &sub, err))
		return -1;
	s->sub = (enum vmdk_sub)sub;
	s->flat = s->sub == SUB_MONOLITHIC_FLAT || s->sub == SUB_SPLIT_FLAT;
	s->split = s->sub == SUB_SPLIT_SPARSE || s->sub == SUB_SPLIT_FLAT;
	if (s->flat && s->parent)
		return err_set(err, ENOTSUP, "Flat image can't have backing file");
	if (s->flat && s->zeroed)
		return err_set(err, ENOTSUP, "Flat image can't enable zeroed grain");
	return check_text("hwversion", s->hwversion, err) ||
			       check_text("toolsversion", s->tools, err) ||
			       check_text("backing_file", s->parent, err) ||
			       take_cid(o, &s->cid, err)
		       ? -1
		       : 0;
}

int vmdk_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	const char *format = opts_get(opts, "backing_fmt");
	struct vmdk_settings s;

	if (vmdk_settings(opts, &s, err))
		return -1;
	if (format && strcmp(format, "vmdk") != 0)
		return err_set(err, EINVAL, "backing_file must be a vmdk image");
	if (*size > VMDK_SIZE_MAX)
		return err_set(err, EFBIG,
			       "A VMDK image cannot have %" PRIu64 " bytes: at most %" PRIu64,
			       *size, (uint64_t)VMDK_SIZE_MAX);
	if (s.split && div_up(*size, VMDK_SPLIT) > VMDK_EXTENTS_MAX)
		return err_set(err, EFBIG, "The image would have more than %d extents",
			       VMDK_EXTENTS_MAX);
	return 0;
}

/* ---- sparse extents ------------------------------------------------------------------------
 */

struct vmdk_header vmdk_new_header(const struct vmdk_settings *s, uint64_t size)
{
	struct vmdk_header h = {
		.magic = VMDK_MAGIC,
		.version = s->zeroed ? 2 : 1,
		.flags = VMDK_F_NEWLINE | VMDK_F_RGD | (s->zeroed ? VMDK_F_ZERO : 0u),
		.capacity = size / VMDK_SECTOR,
		.grain = VMDK_GRAIN / VMDK_SECTOR,
		.desc_at = 1,
		.desc_sectors = VMDK_DESC_ROOM / VMDK_SECTOR,
		.gtes = VMDK_GTES,
		.newline = {'\n', ' ', '\r', '\n'},
	};
	uint64_t gds = vmdk_gds(&h), dir = div_up(4 * gds, VMDK_SECTOR);
	uint64_t tables = gds * (4 * VMDK_GTES / VMDK_SECTOR);

	h.rgd_at = h.desc_at + h.desc_sectors;
	h.gd_at = h.rgd_at + dir + tables;
	h.overhead = round_up(h.gd_at + dir + tables, h.grain);
	if (s->sub == SUB_STREAM) {
		h.version = 3;
		h.flags &= ~(uint32_t)VMDK_F_RGD;
		h.flags |= VMDK_F_PACKED | VMDK_F_MARKERS;
		h.compression = 1;
		if (s->parent)
			h.flags |= VMDK_F_ZERO; /* over what the parent has */
		h.rgd_at = 0;
		h.gd_at = VMDK_GD_AT_END;
		h.overhead = h.grain;
	}
	return h;
}

/* A directory whose tables follow it. */
static int write_directory(struct blk *file, const struct vmdk_header *h, uint64_t at,
			   struct err *err)
{
	const uint64_t gds = vmdk_gds(h), chunk = 1 << 18;
	uint64_t table = at + div_up(4 * gds, VMDK_SECTOR);
	AUTO_FREE uint8_t *buf = calloc(MIN(gds, chunk) + 1, 4);

	if (!buf)
		return err_nomem(err, 4 * MIN(gds, chunk), "a grain directory");
	for (uint64_t i = 0; i < gds; i += chunk) {
		uint64_t n = MIN(chunk, gds - i);

		for (uint64_t k = 0; k < n; k++)
			put_le32(buf + 4 * k,
				 (uint32_t)(table + (i + k) * (4 * VMDK_GTES / VMDK_SECTOR)));
		if (blk_pwrite(file, buf, 4 * n, at * VMDK_SECTOR + 4 * i, 0, err))
			return -1;
	}
	if (file->caps & BLK_ZERO_INIT)
		return 0;
	return blk_zero(file, table * VMDK_SECTOR, gds * 4 * VMDK_GTES, 0, err);
}

static int write_sparse(struct blk *file, const struct vmdk_settings *s, uint64_t size,
			struct err *err)
{
	struct vmdk_header h = vmdk_new_header(s, size);
	uint8_t buf[VMDK_SECTOR] = {0};

	layout_encode(vmdk_fields, &h, buf);
	if (image_new_size(file, h.overhead * VMDK_SECTOR, PREALLOC_OFF, err) ||
	    blk_pwrite(file, buf, sizeof(buf), 0, 0, err))
		return -1;
	if (s->sub == SUB_STREAM)
		return vmdk_stream_create(file, &h, err);
	return write_directory(file, &h, h.rgd_at, err) ||
			       write_directory(file, &h, h.gd_at, err)
		       ? -1
		       : 0;
}

/* ---- the image -----------------------------------------------------------------------------
 */

static int make_extents(const struct create *c, const struct vmdk_settings *s, uint64_t size,
			struct err *err)
{
	uint64_t most = s->split ? VMDK_SPLIT : UINT64_MAX;

	if (!s->flat && !s->split)
		return write_sparse(c->lower, s, size, err);
	if (c->nfile != (s->split ? div_up(size, VMDK_SPLIT) : size ? 1 : 0))
		return err_set(err, EINVAL, "The image's extents are not open");
	for (size_t i = 0; i < c->nfile; i++) {
		uint64_t n = MIN(size, most);

		if (s->flat ? image_new_size(c->file[i], n, PREALLOC_OFF, err)
			    : write_sparse(c->file[i], s, n, err))
			return -1;
		size -= n;
	}
	return 0;
}

static int write_desc(const struct create *c, const struct vmdk_settings *s, uint64_t size,
		      uint32_t parent_cid, struct err *err)
{
	bool inside = !s->flat && !s->split;
	AUTO_FREE char *text = vmdk_new_desc(s, c, size, parent_cid, err);
	uint64_t n = text ? strlen(text) : 0;

	if (!text)
		return -1;
	if (n > (inside ? VMDK_DESC_ROOM : VMDK_DESC_MAX))
		return err_set(err, EFBIG, "A descriptor of %" PRIu64 " bytes is too long", n);
	return blk_pwrite(c->lower, text, n, inside ? VMDK_SECTOR : 0, 0, err);
}

int vmdk_create(const struct create *c, struct err *err)
{
	uint64_t size = round_up(c->size, VMDK_SECTOR), given = c->size;
	uint32_t parent_cid = VMDK_NO_CID;
	struct vmdk_settings s;

	if (vmdk_create_check(c->opts, &given, err) || vmdk_settings(c->opts, &s, err))
		return -1;
	if (s.parent && s.parent[0]) {
		if (!c->backing || c->backing->format != &format_vmdk)
			return err_set(err, EINVAL,
				       "Invalid backing file format: %s. Must be vmdk",
				       c->backing ? c->backing->format->name : "none");
		parent_cid = ((struct vmdk *)c->backing)->desc.cid;
	}
	if (make_extents(c, &s, size, err) || write_desc(c, &s, size, parent_cid, err))
		return -1;
	return 0;
}
