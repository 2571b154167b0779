/* qed: reading, writing, repair. What was repaired has no leaks and can be written. */
#include "tests/fuzz/image.h"

#include "formats/qed/qed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void repair(const uint8_t *data, size_t n)
{
	struct image *image = fuzz_open(&format_qed, data, n, IMAGE_WRITE | IMAGE_CHECK);
	struct check fix = {.fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS}, again = {0};
	uint8_t byte;
	struct err err;

	if (!image)
		return;
	blk_pread(&image->blk, &byte, 1, 0, &err);
	if (qed_check(image, &fix, &err) == 0 && fix.errors == 0 &&
	    (qed_check(image, &again, &err) || again.errors || again.leaks != fix.leaks))
		abort();
	blk_close(&image->blk, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 64)
		return 0;
	repair(data, n);
	return fuzz_image_read(&format_qed, data, n) | fuzz_image_write(&format_qed, data, n);
}
