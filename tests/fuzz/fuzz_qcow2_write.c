/* qcow2: writing, zeroing and discarding in an image whose metadata is whatever it is, and
 * changing its bitmaps. */
#include "tests/fuzz/image.h"

#include "formats/qcow2/qcow2.h"
#include "lib/dirty.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void act_on_bitmap(struct image *image, unsigned what)
{
	const struct bitmap_ops *ops = format_qcow2.bitmap;
	struct bitmap_info *list;
	struct dirty *bits;
	struct err err;
	size_t n;

	if (what % 7 == 0)
		ops->add(image, "new", 512, what % 2, &err);
	if (ops->list(image, &list, &n, &err))
		return;
	if (n > 0) {
		const char *name = list[what / 7 % n].name;

		if (what % 7 == 1) {
			ops->remove(image, name, &err);
		} else if (what % 7 == 2) {
			ops->clear(image, name, &err);
		} else if (what % 7 < 5) {
			ops->enable(image, name, what & 1, &err);
		} else if (ops->read(image, name, &bits, &err) == 0) {
			ops->merge(image, name, bits, &err);
			dirty_free(bits);
		}
	}
	free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct image *image;
	struct err err;

	fuzz_image_write(&format_qcow2, data, n);
	image = n < 64 || n > 1 << 20 ? NULL : fuzz_open(&format_qcow2, data, n, IMAGE_WRITE);
	if (!image)
		return 0;
	for (size_t at = n - 8; at < n; at++)
		act_on_bitmap(image, data[at]);
	blk_close(&image->blk, &err);
	return 0;
}
