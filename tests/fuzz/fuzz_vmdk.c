/* vmdk: reading and writing; what has the magic of ESX's extents is one, behind a descriptor.
 */
#include "tests/fuzz/image.h"

#include <stdio.h>

#include "formats/vmdk/vmdk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void fuzz_extent(const char *type, const uint8_t *data, size_t n)
{
	char text[200];
	int len = snprintf(text, sizeof(text),
			   "# Disk DescriptorFile\nversion=1\ncreateType=\"vmfsSparse\"\n"
			   "RW 40960 %s \"x\"\nRW 100 ZERO\n",
			   type);
	struct image *image = NULL;
	struct check c = {0};
	struct opts *none;
	struct blk *file = fuzz_new((size_t)len);
	struct err err;

	memcpy(((struct fuzz_file *)file)->data, text, (size_t)len);
	none = opts_new(&err);
	if (!none || format_vmdk.open(file, none, IMAGE_CHECK, &image, &err))
		abort();
	opts_free(none);
	image->file[0].blk = fuzz_new(n);
	memcpy(((struct fuzz_file *)image->file[0].blk)->data, data, n);
	if (format_vmdk.attached(image, &err) == 0) {
		fuzz_look(&image->blk, 0);
		fuzz_look(&image->blk, image->blk.size / 2);
		format_vmdk.check(image, &c, &err);
	}
	blk_close(&image->blk, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n >= 512 && n <= 1 << 20 && get_le32(data) == COWD_MAGIC)
		fuzz_extent("VMFSSPARSE", data, n);
	if (n >= 512 && n <= 1 << 20 && get_le64(data) == SESPARSE_MAGIC)
		fuzz_extent("SESPARSE", data, n);
	return fuzz_image_read(&format_vmdk, data, n) | fuzz_image_write(&format_vmdk, data, n);
}
