/*
 * New vhdx images: headers, log, block allocation table and metadata one after the other,
 * where the peer puts them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vhdx/vhdx.h"
#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/utf16.h"

#define CREATOR	   "Platter"
#define CREATOR_AT 8
#define GAP	   (4 * VHDX_MIB) /* before the data, as the peer leaves it */

const struct opt vhdx_create_opts[] = {
	{.name = "size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Virtual disk size; max of 64TB."},
	{.name = "log_size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Log size; min 1MB.",
	 .initial = "1048576"},
	{.name = "block_size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.",
	 .initial = "0"},
	{.name = "subformat",
	 .type = OPT_STR,
	 .arg = "TYPE",
	 .help = "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."},
	{.name = "block_state_zero",
	 .type = OPT_BOOL,
	 .help = "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do "
		 "not set to 'off' when using 'qemu-img convert' with subformat=dynamic."},
	{.name = "preallocation",
	 .type = OPT_STR,
	 .flags = OPT_HIDDEN,
	 .arg = "MODE",
	 .choices = "off|metadata|falloc|full",
	 .help = "How the file's space is taken"},
	{.name = "logical_sector_size",
	 .type = OPT_NUM,
	 .flags = OPT_OURS,
	 .arg = "BYTES",
	 .help = "What the guest takes for a sector: 512 or 4096"},
	{.name = "physical_sector_size",
	 .type = OPT_NUM,
	 .flags = OPT_OURS,
	 .arg = "BYTES",
	 .help = "What the guest takes for a sector of the medium: 512 or 4096"},
	{.name = "uuid",
	 .type = OPT_STR,
	 .flags = OPT_OURS,
	 .arg = "UUID",
	 .help = "The disk's identifier, also of its first contents, else random ones"},
	{0},
};

static const char subformats[] = "dynamic|fixed";
static const char modes[] = "off|metadata|falloc|full";

/* What an image is to be. */
struct plan {
	struct vhdx_header h;
	struct vhdx_meta m;
	struct vhdx_region region[2]; /* BAT, metadata */
	uint64_t data, end;
	bool state_zero;
	int mode; /* of preallocation */
};

/* ---- what is asked for ---------------------------------------------------------------- */

/* By what the peer takes for disks of that size. */
static uint32_t usual_block(uint64_t size)
{
	if (size > UINT64_C(32) << 40)
		return 64 << 20;
	if (size > UINT64_C(100) << 30)
		return 32 << 20;
	return size > UINT64_C(1) << 30 ? 16 << 20 : 8 << 20;
}

static int read_block_size(const struct opts *opts, uint64_t size, uint32_t *out,
			   struct err *err)
{
	uint64_t block = 0;

	if (opts_size(opts, "block_size", &block, err))
		return -1;
	if (block == 0)
		block = usual_block(size);
	block = MIN(MAX(block, VHDX_BLOCK_MIN), VHDX_BLOCK_MAX);
	if (block & (block - 1))
		return err_set(err, EINVAL, "Block size must be a power of two");
	*out = (uint32_t)block;
	return 0;
}

static int read_log_size(const struct opts *opts, uint32_t *out, struct err *err)
{
	uint64_t size = VHDX_MIB;

	if (opts_size(opts, "log_size", &size, err))
		return -1;
	if (size == 0)
		return err_set(err, EINVAL, "Log size must be a multiple of 1 MB");
	size = round_up(size, VHDX_MIB);
	if (size > UINT32_MAX)
		return err_set(err, EINVAL, "Log size must be smaller than 4 GB");
	*out = (uint32_t)size;
	return 0;
}

static int read_sector_size(const struct opts *opts, const char *key, uint32_t *out,
			    struct err *err)
{
	uint64_t size = 512;

	if (opts_num(opts, key, UINT32_MAX, &size, err))
		return -1;
	if (size != 512 && size != 4096)
		return err_set(err, EINVAL, "Invalid %s %" PRIu64 ": it must be 512 or 4096",
			       key, size);
	*out = (uint32_t)size;
	return 0;
}

static int read_plan(const struct opts *opts, uint64_t size, struct plan *p, struct err *err)
{
	uint8_t uuid[UUID_LEN];
	int subformat = 0;

	*p = (struct plan){.state_zero = true};
	if (opts_choice(opts, "preallocation", modes, &p->mode, err))
		return err_set(err, EINVAL, "invalid parameter value: %s",
			       opts_get(opts, "preallocation"));
	if (opts_choice(opts, "subformat", subformats, &subformat, err))
		return err_set(err, EINVAL, "Parameter 'subformat' does not accept value '%s'",
			       opts_get(opts, "subformat"));
	if (size > VHDX_SIZE_MAX)
		return err_set(err, EINVAL, "Image size too large; max of 64TB");
	if (read_log_size(opts, &p->h.log_len, err) ||
	    read_block_size(opts, size, &p->m.block, err) ||
	    read_sector_size(opts, "logical_sector_size", &p->m.logical, err) ||
	    read_sector_size(opts, "physical_sector_size", &p->m.physical, err) ||
	    opts_bool(opts, "block_state_zero", &p->state_zero, err))
		return -1;
	if (opts_has(opts, "uuid") && uuid_parse(opts_get(opts, "uuid"), uuid, err))
		return -1;
	p->m.fixed = subformat == 1;
	p->m.size = round_up(size, p->m.logical);
	return 0;
}

int vhdx_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	struct plan p;

	return read_plan(opts, *size, &p, err);
}

/* ---- where things go ----------------------------------------------------------------- */

static void place(struct plan *p)
{
	uint64_t ratio = VHDX_BITMAP_SECTORS * (uint64_t)p->m.logical / p->m.block;
	/* QEMU reckons that a disk of no bytes has so many, and opens no image without */
	uint64_t entries = p->m.size ? vhdx_entries(&p->m) : UINT32_MAX / ratio;
	uint64_t bat = round_up(entries * 8, VHDX_MIB);
	uint64_t blocks = div_up(p->m.size, p->m.block);

	p->h.version = VHDX_VERSION;
	p->h.log_off = VHDX_MIB;
	p->h.sequence = 1;
	memcpy(p->region[0].id, vhdx_id_bat, UUID_LEN);
	p->region[0].off = p->h.log_off + p->h.log_len;
	p->region[0].len = (uint32_t)bat;
	memcpy(p->region[1].id, vhdx_id_metadata, UUID_LEN);
	p->region[1].off = p->region[0].off + bat;
	p->region[1].len = VHDX_MIB;
	p->region[0].required = p->region[1].required = 1;
	p->data = p->region[1].off + VHDX_MIB + GAP;
	p->end = p->data + (p->m.fixed ? blocks * p->m.block : 0);
}

static int take_uuids(const struct opts *opts, struct plan *p, struct err *err)
{
	uint8_t id[UUID_LEN];
	uint8_t *to[] = {p->m.disk_id, p->h.file_write, p->h.data_write};

	for (size_t i = 0; i < ARRAY_LEN(to); i++) {
		if (uuid_option(opts, "uuid", id, err))
			return -1;
		uuid_swap(id, to[i]);
	}
	return 0;
}

/* ---- writing it ---------------------------------------------------------------------- */

static int write_first_mib(struct blk *file, struct plan *p, struct err *err)
{
	AUTO_FREE uint8_t *buf = calloc(1, VHDX_TABLE_LEN);
	AUTO_FREE uint8_t *creator = NULL;
	size_t n;

	if (!buf)
		return err_nomem(err, VHDX_TABLE_LEN, "the headers");
	creator = utf8_to_utf16(CREATOR, false, &n, NULL, err);
	if (!creator)
		return -1;
	memcpy(buf, VHDX_TEXT, strlen(VHDX_TEXT));
	memcpy(buf + CREATOR_AT, creator, n);
	if (blk_pwrite(file, buf, VHDX_PAGE, 0, 0, err))
		return -1;
	for (unsigned i = 0; i < 2; i++, p->h.sequence++) {
		vhdx_header_encode(&p->h, buf);
		if (blk_pwrite(file, buf, VHDX_HEADER_LEN, VHDX_HEADER_AT + i * VHDX_COPY, 0,
			       err))
			return -1;
	}
	vhdx_regions_encode(p->region, 2, buf);
	return blk_pwrite(file, buf, VHDX_TABLE_LEN, VHDX_REGIONS_AT, 0, err) ||
			       blk_pwrite(file, buf, VHDX_TABLE_LEN,
					  VHDX_REGIONS_AT + VHDX_COPY, 0, err)
		       ? -1
		       : 0;
}

/* The entry at `at` of the table; those of sector bitmaps are 0. */
static uint64_t entry_at(const struct plan *p, uint64_t ratio, uint64_t at)
{
	uint64_t chunk = at / (ratio + 1), in = at % (ratio + 1);

	if (in == ratio)
		return VHDX_NOT_PRESENT;
	if (p->m.fixed)
		return (p->data + (chunk * ratio + in) * p->m.block) | VHDX_PRESENT;
	return VHDX_ZERO;
}

static int write_bat(struct blk *file, const struct plan *p, struct err *err)
{
	const uint64_t piece = 1 << 17;
	uint64_t n = vhdx_entries(&p->m);
	uint64_t ratio = VHDX_BITMAP_SECTORS * (uint64_t)p->m.logical / p->m.block;
	AUTO_FREE uint8_t *buf = NULL;

	if (!p->m.fixed && !p->state_zero)
		return 0;
	buf = calloc(piece, 8);
	if (!buf)
		return err_nomem(err, piece * 8, "a block allocation table");
	for (uint64_t i = 0; i < n; i += piece) {
		uint64_t some = MIN(piece, n - i);

		for (uint64_t k = 0; k < some; k++)
			put_le64(buf + 8 * k, entry_at(p, ratio, i + k));
		if (blk_pwrite(file, buf, some * 8, p->region[0].off + 8 * i, 0, err))
			return -1;
	}
	return 0;
}

static int write_metadata(struct blk *file, const struct plan *p, struct err *err)
{
	const size_t n = VHDX_TABLE_LEN + VHDX_PAGE;
	AUTO_FREE uint8_t *buf = malloc(n);

	if (!buf)
		return err_nomem(err, n, "the metadata");
	vhdx_meta_encode(&p->m, buf);
	return blk_pwrite(file, buf, n, p->region[1].off, 0, err);
}

int vhdx_create(const struct create *c, struct err *err)
{
	static const enum blk_prealloc kind[] = {PREALLOC_OFF, PREALLOC_METADATA,
						 PREALLOC_FALLOC, PREALLOC_FULL};
	struct plan p;

	if (read_plan(c->opts, c->size, &p, err) || take_uuids(c->opts, &p, err))
		return -1;
	if (kind[p.mode] == PREALLOC_METADATA && p.m.fixed)
		return err_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
	place(&p);
	if (image_new_size(c->lower, p.end, p.m.fixed ? kind[p.mode] : PREALLOC_OFF, err))
		return -1;
	return write_first_mib(c->lower, &p, err) || write_bat(c->lower, &p, err) ||
			       write_metadata(c->lower, &p, err)
		       ? -1
		       : 0;
}
