/* vpc: reading and writing. The checksums of both footers are made to fit, or few inputs would
 * get any further; an input that only ends in a footer is a file, too. */
#include "tests/fuzz/image.h"

#include "formats/vpc/vpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool has_cookie(const uint8_t *at)
{
	return memcmp(at, VPC_FOOTER_COOKIE, 8) == 0;
}

static int probe_both_ends(const uint8_t *head, size_t n, uint64_t size)
{
	return n >= VPC_FOOTER_LEN &&
			       (has_cookie(head) || has_cookie(head + n - VPC_FOOTER_LEN))
		       ? 100
		       : 0;
}

static void mend(uint8_t *at)
{
	uint32_t sum = 0;

	if (!has_cookie(at))
		return;
	put_be32(at + VPC_CHECKSUM_AT, 0);
	for (unsigned i = 0; i < VPC_FOOTER_LEN; i++)
		sum += at[i];
	put_be32(at + VPC_CHECKSUM_AT, ~sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct format format = format_vpc;
	AUTO_FREE uint8_t *copy = malloc(n + 1);

	if (!copy || n < 64)
		return 0;
	format.probe = probe_both_ends;
	memcpy(copy, data, n);
	if (n >= VPC_FOOTER_LEN && n % 16) { /* some stay as they are */
		mend(copy + n - VPC_FOOTER_LEN);
		mend(copy);
	}
	return fuzz_image_read(&format, copy, n) | fuzz_image_write(&format, copy, n);
}
