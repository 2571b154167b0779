/*
 * New vpc images.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vpc/vpc.h"
#include "lib/epoch.h"
#include "lib/mem.h"

#define TYPES "fixed|dynamic|differencing" /* in the order of VPC_TYPE_* */

const struct opt vpc_create_opts[] = {
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.name = "subformat",
	 .type = OPT_STR,
	 .arg = "TYPE",
	 .help = "Type of virtual hard disk format. Supported formats are {dynamic (default) | "
		 "fixed} "},
	{.name = "force_size",
	 .type = OPT_BOOL,
	 .help = "Force disk size calculation to use the actual size specified, rather than "
		 "using the nearest CHS-based calculation"},
	{.name = "backing_file",
	 .type = OPT_STR,
	 .flags = OPT_OURS,
	 .arg = "FILE",
	 .help = "The parent, a VHD: makes a differencing image"},
	{.name = "backing_fmt",
	 .type = OPT_STR,
	 .flags = OPT_OURS,
	 .arg = "FMT",
	 .help = "The parent's format: vpc"},
	{.name = "block_size",
	 .type = OPT_SIZE,
	 .flags = OPT_OURS,
	 .arg = "SIZE",
	 .help = "Size of a block, 4k to 256M; Azure and Windows take 512k and 2M only"},
	{.name = "uuid",
	 .type = OPT_STR,
	 .flags = OPT_OURS,
	 .arg = "UUID",
	 .help = "The image's UUID, else a random one"},
	{.name = "timestamp",
	 .type = OPT_NUM,
	 .flags = OPT_OURS,
	 .arg = "SECONDS",
	 .help = "When it was made, in seconds since 1970; else SOURCE_DATE_EPOCH, else now"},
	{0},
};

struct settings {
	uint32_t type;
	bool force;
	uint32_t block_size, timestamp;
	uint8_t uuid[UUID_LEN];
	const char *parent; /* NULL: none */
};

enum { BLOCK_LEAST = 4096, BLOCK_MOST = 256 << 20 };

static int get_type(const struct opts *opts, struct settings *s, struct err *err)
{
	const char *given = opts_get(opts, "subformat");
	int type = VPC_TYPE_DYNAMIC - VPC_TYPE_FIXED;

	if (opts_choice(opts, "subformat", TYPES, &type, err))
		return err_set(err, EINVAL, "Parameter 'subformat' does not accept value '%s'",
			       given);
	s->type = VPC_TYPE_FIXED + (uint32_t)type;
	s->parent = opts_get(opts, "backing_file");
	if (s->parent && !given)
		s->type = VPC_TYPE_DIFFERENCE;
	if (s->parent && s->type != VPC_TYPE_DIFFERENCE)
		return err_set(err, EINVAL,
			       "Only subformat=differencing can have a backing file, not %s",
			       given);
	if (!s->parent && s->type == VPC_TYPE_DIFFERENCE)
		return err_set(err, EINVAL,
			       "Parameter 'subformat' does not accept value '%s' without a "
			       "backing file",
			       given);
	return 0;
}

static int get_timestamp(const struct opts *opts, struct settings *s, struct err *err)
{
	uint64_t t = 0, last = VPC_EPOCH + UINT32_MAX;

	if (opts_has(opts, "timestamp") ? opts_num(opts, "timestamp", last, &t, err)
					: epoch_now(&t, err))
		return -1;
	s->timestamp = t < VPC_EPOCH ? 0 : (uint32_t)(MIN(t, last) - VPC_EPOCH);
	return 0;
}

static int get_settings(const struct opts *opts, struct settings *s, struct err *err)
{
	uint64_t block = VPC_BLOCK;

	*s = (struct settings){0};
	if (get_type(opts, s, err) || opts_bool(opts, "force_size", &s->force, err) ||
	    opts_size(opts, "block_size", &block, err) ||
	    uuid_option(opts, "uuid", s->uuid, err) || get_timestamp(opts, s, err))
		return -1;
	if (block < BLOCK_LEAST || block > BLOCK_MOST || (block & (block - 1)) != 0)
		return err_set(err, EINVAL,
			       "Invalid block_size %" PRIu64
			       ": it must be a power of two from 4k to 256M",
			       block);
	s->block_size = (uint32_t)block;
	return 0;
}

/* The disk that it will be; a difference has its parent's size. */
static int get_size(const struct settings *s, uint64_t *size, struct vpc_geometry *g,
		    struct err *err)
{
	uint64_t sectors = div_up(*size, VPC_SECTOR);

	*g = (struct vpc_geometry){VPC_CYLINDERS, VPC_HEADS, VPC_TRACK};
	if (!s->force && s->type != VPC_TYPE_DIFFERENCE) {
		*g = vpc_geometry_for(sectors);
		if (vpc_geometry_sectors(g) != VPC_GEOMETRY_MAX)
			sectors = vpc_geometry_sectors(g);
	}
	if (sectors > VPC_SIZE_MAX / VPC_SECTOR)
		return err_set(err, EFBIG, "The image size is too large for file format 'vpc'");
	*size = sectors * VPC_SECTOR;
	return 0;
}

int vpc_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	struct vpc_geometry g;
	struct settings s;

	return get_settings(opts, &s, err) || get_size(&s, size, &g, err) ? -1 : 0;
}

static void make_footer(const struct settings *s, uint64_t size, const struct vpc_geometry *g,
			uint8_t *buf)
{
	bool exact = s->force || s->type == VPC_TYPE_DIFFERENCE;
	struct vpc_footer f = {
		.features = 2,
		.version = 0x10000,
		.data_off = s->type == VPC_TYPE_FIXED ? VPC_NOWHERE : VPC_FOOTER_LEN,
		.timestamp = s->timestamp,
		.creator_version = 0x50003,
		.creator_os = 0x5769326b, /* Wi2k */
		.original_size = size,
		.current_size = size,
		.cylinders = g->cylinders,
		.heads = g->heads,
		.track = g->track,
		.type = s->type,
	};

	memcpy(f.cookie, VPC_FOOTER_COOKIE, sizeof(f.cookie));
	/* what tells other programs which of the sizes is meant */
	memcpy(f.creator, exact ? "qem2" : "qemu", sizeof(f.creator));
	memcpy(f.uuid, s->uuid, UUID_LEN);
	memset(buf, 0, VPC_FOOTER_LEN);
	vpc_footer_encode(&f, buf);
}

/* A device's is at its end, whatever the disk's size. */
static uint64_t footer_place(const struct blk *file, uint64_t end)
{
	if (file->caps & BLK_CAN_GROW)
		return end;
	return round_down(blk_size(file), VPC_SECTOR) - VPC_FOOTER_LEN;
}

static int create_fixed(const struct create *c, const struct settings *s, uint64_t size,
			const struct vpc_geometry *g, struct err *err)
{
	uint8_t footer[VPC_FOOTER_LEN];

	make_footer(s, size, g, footer);
	if (image_new_size(c->lower, size + VPC_FOOTER_LEN, PREALLOC_OFF, err))
		return -1;
	return blk_pwrite(c->lower, footer, sizeof(footer), footer_place(c->lower, size), 0,
			  err);
}

/* No block has a place. */
static int write_table(struct blk *file, uint64_t at, uint64_t len, struct err *err)
{
	uint64_t chunk = MIN(len, 1u << 20);
	AUTO_FREE uint8_t *buf = mem_alloc(chunk);

	if (!buf)
		return err_nomem(err, chunk, "a block allocation table");
	memset(buf, 0xff, chunk);
	for (uint64_t done = 0; done < len; done += chunk) {
		chunk = MIN(chunk, len - done);
		if (blk_pwrite(file, buf, chunk, at + done, 0, err))
			return -1;
	}
	return 0;
}

/* What makes it a difference; *names: n bytes to be written at `at`. */
static int take_parent(const struct create *c, const struct settings *s, uint64_t size,
		       struct vpc_header *h, struct vpc_geometry *g, uint64_t at,
		       uint8_t **names, size_t *n, struct err *err)
{
	const struct vpc *p = (const struct vpc *)c->backing;

	if (!p)
		return err_set(err, EINVAL, "The parent '%s' is not open", s->parent);
	if (c->backing->format != &format_vpc)
		return err_set(err, EINVAL, "The parent of a VHD is one, not %s",
			       c->backing->format->name);
	if (blk_size(&p->b.image.blk) != size)
		return err_set(err, EINVAL,
			       "The image has to be as large as its parent, %" PRIu64
			       " bytes, not %" PRIu64,
			       blk_size(&p->b.image.blk), size);
	*g = (struct vpc_geometry){p->f.cylinders, p->f.heads, p->f.track};
	memcpy(h->parent_uuid, p->f.uuid, UUID_LEN);
	h->parent_timestamp = p->f.timestamp;
	return vpc_parent_name(h, s->parent, at, names, n, err);
}

static int create_dynamic(const struct create *c, const struct settings *s, uint64_t size,
			  struct vpc_geometry *g, struct err *err)
{
	uint8_t footer[VPC_FOOTER_LEN], header[VPC_HEADER_LEN];
	AUTO_FREE uint8_t *names = NULL;
	size_t nnames = 0;
	struct vpc_header h = {
		.next = VPC_NOWHERE,
		.table_off = VPC_FOOTER_LEN + VPC_HEADER_LEN,
		.version = 0x10000,
		.entries = (uint32_t)div_up(size, s->block_size),
		.block_size = s->block_size,
	};
	uint64_t table = round_up(4 * (uint64_t)h.entries, VPC_SECTOR);
	uint64_t end = h.table_off + table;

	memcpy(h.cookie, VPC_HEADER_COOKIE, sizeof(h.cookie));
	if (div_up(size, s->block_size) > VPC_ENTRIES_MAX)
		return err_set(err, EFBIG, "Too many blocks: block_size has to be larger");
	if (s->type == VPC_TYPE_DIFFERENCE &&
	    take_parent(c, s, size, &h, g, end, &names, &nnames, err))
		return -1;
	make_footer(s, size, g, footer);
	vpc_header_encode(&h, header);
	if (image_new_size(c->lower, end + nnames + VPC_FOOTER_LEN, PREALLOC_OFF, err) ||
	    blk_pwrite(c->lower, footer, sizeof(footer), 0, 0, err) ||
	    blk_pwrite(c->lower, header, sizeof(header), VPC_FOOTER_LEN, 0, err) ||
	    (table && write_table(c->lower, h.table_off, table, err)) ||
	    (nnames && blk_pwrite(c->lower, names, nnames, end, 0, err)))
		return -1;
	return blk_pwrite(c->lower, footer, sizeof(footer),
			  footer_place(c->lower, end + nnames), 0, err);
}

int vpc_create(const struct create *c, struct err *err)
{
	uint64_t size = c->size;
	struct vpc_geometry g;
	struct settings s;

	if (get_settings(c->opts, &s, err) || get_size(&s, &size, &g, err))
		return -1;
	return s.type == VPC_TYPE_FIXED ? create_fixed(c, &s, size, &g, err)
					: create_dynamic(c, &s, size, &g, err);
}
