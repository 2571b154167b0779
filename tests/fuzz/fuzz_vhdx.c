/* vhdx: reading and writing. What has a checksum gets the right one. */
#include "tests/fuzz/image.h"

#include "formats/vhdx/vhdx.h"
#include "lib/crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define MIB (1u << 20)

static void sum(uint8_t *p, size_t n)
{
	put_le32(p + 4, 0);
	put_le32(p + 4, crc32c(0, p, n));
}

/* An entry of the log, which may go round its end. */
static void sum_entry(uint8_t *log, size_t at)
{
	size_t len = get_le32(log + at + 8);
	uint32_t crc = 0;

	if (len % 4096 || len > MIB)
		return;
	put_le32(log + at + 4, 0);
	for (size_t i = 0; i < len; i += 4096)
		crc = crc32c(crc, log + (at + i) % MIB, 4096);
	put_le32(log + at + 4, crc);
}

static void mend(struct blk *blk)
{
	uint8_t *p;
	struct err err;

	fuzz_resize(blk, MAX(round_up(blk->size, MIB), 6 * MIB), PREALLOC_OFF, &err);
	p = ((struct fuzz_file *)blk)->data;
	for (size_t i = 0; i < 2; i++) {
		sum(p + 0x10000 + i * 0x10000, 4096);
		sum(p + 0x30000 + i * 0x10000, 0x10000);
	}
	/* a log is looked at where a header names it */
	for (size_t at = 0; at < MIB && (p[0x10030] | p[0x20030]); at += 4096)
		if (memcmp(p + MIB + at, "loge", 4) == 0)
			sum_entry(p + MIB, at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	fuzz_mend = mend;
	return fuzz_image_read(&format_vhdx, data, n) | fuzz_image_write(&format_vhdx, data, n);
}
