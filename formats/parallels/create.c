/*
 * New images: with the magic whose entries count clusters, as QEMU makes them.
 */
#include <errno.h>
#include <string.h>

#include "formats/parallels/parallels.h"
#include "lib/mem.h"

/* What the guest is told; QEMU's. */
enum { HEADS = 16, TRACK_SECTORS = 32 };

#define CLUSTER_LIMIT (UINT64_C(1) << 31) /* QEMU's */

const struct opt prl_create_opts[] = {
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.name = "cluster_size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Parallels image cluster size",
	 .initial = "1048576"},
	{.name = "preallocation",
	 .type = OPT_STR,
	 .flags = OPT_HIDDEN,
	 .arg = "MODE",
	 .choices = "off|metadata|falloc|full",
	 .help = "How the file's space is taken"},
	{0},
};

static const char modes[] = "off|metadata|falloc|full";

static int cluster_option(const struct opts *opts, uint64_t *cluster, struct err *err)
{
	*cluster = PRL_CLUSTER;
	if (opts_size(opts, "cluster_size", cluster, err))
		return -1;
	*cluster = round_up(*cluster, PRL_SECTOR);
	return 0;
}

int prl_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	uint64_t cluster;
	int mode = 0;

	if (cluster_option(opts, &cluster, err))
		return -1;
	if (cluster >= CLUSTER_LIMIT)
		return err_set(err, E2BIG, "Cluster size is too large");
	if (*size >> 32 >= cluster)
		return err_set(err, E2BIG, "Image size is too large for this cluster size");
	if (cluster > PRL_TRACKS_MAX * (uint64_t)PRL_SECTOR)
		return err_set(err, E2BIG, "Cluster size is too large: nobody could open it");
	if (div_up(*size, cluster) > PRL_ENTRIES_MAX)
		return err_set(err, E2BIG,
			       "Image size is too large for this cluster size: nobody could "
			       "open it");
	if (opts_choice(opts, "preallocation", modes, &mode, err))
		return err_set(err, EINVAL, "invalid parameter value: %s",
			       opts_get(opts, "preallocation"));
	return 0;
}

static void make_header(uint64_t size, uint64_t cluster, struct prl_header *h)
{
	*h = (struct prl_header){
		.version = PRL_VERSION,
		.heads = HEADS,
		.cylinders = (uint32_t)(size / PRL_SECTOR / HEADS / TRACK_SECTORS),
		.tracks = (uint32_t)(cluster / PRL_SECTOR),
		.entries = (uint32_t)div_up(size, cluster),
		.sectors = div_up(size, PRL_SECTOR),
	};
	memcpy(h->magic, PRL_MAGIC_CLUSTERS, PRL_MAGIC_LEN);
	h->data_off = (uint32_t)(round_up(prl_bat_end(h), cluster) / PRL_SECTOR);
}

int prl_create(const struct create *c, struct err *err)
{
	static const enum blk_prealloc kind[] = {PREALLOC_OFF, PREALLOC_METADATA,
						 PREALLOC_FALLOC, PREALLOC_FULL};
	uint64_t size = c->size, cluster;
	uint8_t buf[PRL_HEADER_LEN] = {0};
	struct prl_header h;
	int mode = 0;

	if (prl_create_check(c->opts, &size, err) || cluster_option(c->opts, &cluster, err) ||
	    opts_choice(c->opts, "preallocation", modes, &mode, err))
		return -1;
	if (kind[mode] == PREALLOC_METADATA)
		return err_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
	make_header(size, cluster, &h);
	layout_encode(prl_fields, &h, buf);
	if (image_new_size(c->lower, h.data_off * (uint64_t)PRL_SECTOR, kind[mode], err) ||
	    /* a device has something there */
	    blk_zero(c->lower, 0, prl_bat_end(&h), 0, err))
		return -1;
	return blk_pwrite(c->lower, buf, sizeof(buf), 0, 0, err);
}
