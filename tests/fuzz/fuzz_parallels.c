/* parallels: reading and writing of an image, of a disk whose parts are empty, and of its
 * description. */
#include "tests/fuzz/image.h"

#include "formats/parallels/descriptor.h"
#include "formats/parallels/parallels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void describe(const uint8_t *data, size_t n)
{
	struct prl_descriptor d;
	size_t *parts, depth;
	struct err err;

	if (prl_descriptor_parse((const char *)data, n, &d, &err))
		return;
	if (prl_descriptor_chain(&d, d.top, &parts, &depth, &err) == 0) {
		for (size_t i = 0; i < depth * d.nstorage; i++)
			if (parts[i] >= d.nparts || d.part[parts[i]].storage != i / depth)
				abort();
		free(parts);
	}
	prl_descriptor_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n > 0 && n < 1 << 16)
		describe(data, n);
	return fuzz_image_read(&format_parallels, data, n) |
	       fuzz_image_write(&format_parallels, data, n);
}
