/*
 * The driver: an expanding image, or the description of a disk, by what the file begins with.
 */
#include <string.h>

#include "formats/parallels/extension.h"
#include "formats/parallels/parallels.h"

static bool is_expanding(const uint8_t *head, size_t n)
{
	return n >= PRL_MAGIC_LEN && (memcmp(head, PRL_MAGIC_SECTORS, PRL_MAGIC_LEN) == 0 ||
				      memcmp(head, PRL_MAGIC_CLUSTERS, PRL_MAGIC_LEN) == 0);
}

static int probe(const uint8_t *head, size_t n, uint64_t size)
{
	struct prl_header h;

	if (!is_expanding(head, n))
		return prl_disk_probe(head, n, size) ? 100 : 0;
	if (n < PRL_HEADER_LEN)
		return 0;
	layout_decode(prl_fields, head, &h);
	return h.version == PRL_VERSION ? 100 : 0;
}

static int open_either(struct blk *lower, const struct opts *opts, unsigned flags,
		       struct image **out, struct err *err)
{
	uint8_t head[2048];
	uint64_t size = blk_size(lower);
	size_t n = size < sizeof(head) ? (size_t)size : sizeof(head);

	if (n > 0 && blk_pread(lower, head, n, 0, err))
		return -1;
	if (prl_disk_probe(head, n, size))
		return prl_disk_open(lower, flags, out, err);
	return prl_image_open(lower, opts, flags, false, out, err);
}

static int attached(struct image *image, struct err *err)
{
	return prl_is_image(image) ? 0 : prl_disk_attached(image, err);
}

static int info(struct image *image, struct info *out, struct err *err)
{
	return prl_is_image(image) ? prl_image_info(image, out, err)
				   : prl_disk_info(image, out, err);
}

static int check(struct image *image, struct check *c, struct err *err)
{
	return prl_is_image(image) ? prl_check(image, c, err) : prl_disk_check(image, c, err);
}

static const struct opt open_opts[] = {
	{.name = "prealloc-mode",
	 .type = OPT_STR,
	 .choices = "falloc|truncate",
	 .help = "How the file's space is taken ahead"},
	{.name = "prealloc-size",
	 .type = OPT_SIZE,
	 .help = "How much of it is taken ahead, while the image is written"},
	{0},
};

static const struct snapshot_ops snapshots = {.load = prl_disk_load};

static const char *const extensions[] = {"hdd", "hds", NULL};

const struct format format_parallels = {
	.name = "parallels",
	.summary = "Parallels' expanding disk image, and its disks in a folder",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_INFO_OURS,
	.open_opts = open_opts,
	.create_opts = prl_create_opts,
	.probe = probe,
	.open = open_either,
	.attached = attached,
	.create = prl_create,
	.create_check = prl_create_check,
	.info = info,
	.check = check,
	.snapshot = &snapshots,
	.bitmap = &prl_bitmap_ops,
};
