/* vdi: reading and writing. */
#include "tests/fuzz/image.h"

#include "formats/vdi/vdi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	return fuzz_image_read(&format_vdi, data, n) | fuzz_image_write(&format_vdi, data, n);
}
