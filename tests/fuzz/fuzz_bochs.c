/* bochs: reading. */
#include "tests/fuzz/image.h"

#include "formats/bochs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	return fuzz_image_read(&format_bochs, data, n);
}
