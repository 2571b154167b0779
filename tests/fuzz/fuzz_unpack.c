/* What chunks of a dmg are compressed by: the first byte says which, the second how much is
 * wanted, in KiB. */
#include <stdlib.h>
#include <string.h>

#include "formats/dmg/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint32_t types[] = {UNPACK_ADC,  UNPACK_LZFSE, UNPACK_LZFSE,
					 UNPACK_ZLIB, UNPACK_BZIP2, UNPACK_XZ};
	uint8_t *in, *out;
	struct err err;
	size_t want;

	if (n < 2)
		return 0;
	want = (size_t)data[1] << 10;
	in = malloc(n - 2 + UNPACK_PAD);
	out = malloc(want ? want : 1);
	if (!in || !out)
		abort();
	memcpy(in, data + 2, n - 2);
	memset(in + n - 2, 0, UNPACK_PAD);
	unpack(types[data[0] % 6], in, n - 2, out, want, &err);
	free(in);
	free(out);
	return 0;
}
