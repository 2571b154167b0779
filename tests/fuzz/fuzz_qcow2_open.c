/* qcow2: the header and what follows it, extents, reads, info, check, measure, bitmaps. */
#include "tests/fuzz/image.h"

#include "formats/qcow2/qcow2.h"
#include "lib/dirty.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_bitmaps(struct image *image)
{
	const struct bitmap_ops *ops = format_qcow2.bitmap;
	struct bitmap_info *list;
	struct dirty *bits;
	struct err err;
	size_t n;

	if (ops->list(image, &list, &n, &err))
		return;
	for (size_t i = 0; i < n && i < 10; i++)
		if (ops->read(image, list[i].name, &bits, &err) == 0)
			dirty_free(bits);
	free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct image *image;
	struct err err;

	fuzz_image_read(&format_qcow2, data, n);
	image = n < 8 || n > 1 << 20 ? NULL : fuzz_open(&format_qcow2, data, n, 0);
	if (!image)
		return 0;
	read_bitmaps(image);
	blk_close(&image->blk, &err);
	return 0;
}
