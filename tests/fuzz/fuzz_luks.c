/* luks: the header, and info of it. */
#include "tests/fuzz/image.h"

#include "formats/luks/luks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	return fuzz_image_read(&format_luks, data, n);
}
