/* qcow, version 1: reading and writing. */
#include "tests/fuzz/image.h"

#include "formats/qcow/qcow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void drop_all(const uint8_t *data, size_t n)
{
	struct image *image = n % 8 ? NULL : fuzz_open(&format_qcow, data, n, IMAGE_WRITE);
	struct err err;

	if (!image)
		return;
	qcow_make_empty(image, &err);
	blk_close(&image->blk, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 64)
		return 0;
	drop_all(data, n);
	return fuzz_image_read(&format_qcow, data, n) | fuzz_image_write(&format_qcow, data, n);
}
