/* qcow2: writing, zeroing and discarding in an image whose metadata is whatever it is. The
 * last 32 bytes of the input say where. */
#include "tests/fuzz/qcow2.h"

#include "lib/chain.h"
#include "lib/dirty.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void act_on_bitmap(struct image *image, unsigned what)
{
	const struct bitmap_ops *ops = format_qcow2.bitmap;
	struct bitmap_info *list;
	struct dirty *bits;
	struct err err;
	size_t n;

	if (what % 7 == 0)
		ops->add(image, "new", 512, what % 2, &err);
	if (ops->list(image, &list, &n, &err))
		return;
	if (n > 0) {
		const char *name = list[what / 7 % n].name;

		if (what % 7 == 1) {
			ops->remove(image, name, &err);
		} else if (what % 7 == 2) {
			ops->clear(image, name, &err);
		} else if (what % 7 < 5) {
			ops->enable(image, name, what & 1, &err);
		} else if (ops->read(image, name, &bits, &err) == 0) {
			ops->merge(image, name, bits, &err);
			dirty_free(bits);
		}
	}
	free(list);
}

static void act(struct blk *blk, unsigned what, uint64_t off, uint32_t len)
{
	static uint8_t bytes[1 << 18];
	uint64_t size = blk_size(blk);
	struct err err;

	if (size == 0)
		return;
	off %= size;
	len = (uint32_t)MIN(len % sizeof(bytes) + 1, size - off);
	switch (what % 6) {
	case 0:
		blk_pwrite(blk, bytes, len, off, 0, &err);
		return;
	case 1:
		blk_zero(blk, off, len, 0, &err);
		return;
	case 2:
		blk_zero(blk, off, len, BLK_UNMAP | BLK_ADVISE, &err);
		return;
	case 3:
		blk_flush(blk, &err);
		return;
	case 4:
		blk_pread(blk, bytes, len, off, &err);
		return;
	case 5:
		act_on_bitmap((struct image *)chain_from_blk(blk)->layer[0], len);
		return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct image *image;
	struct chain *chain;
	struct err err;

	if (n < 64 || n > 1 << 20)
		return 0;
	image = fuzz_open(data, n, IMAGE_WRITE);
	if (!image)
		return 0;
	chain = chain_new(&image->blk, &err);
	if (!chain)
		return 0;
	for (size_t at = n - 32; at < n; at += 8)
		act(&chain->blk, data[at], get_be32(data + at) & 0xffffff,
		    get_be32(data + at + 4));
	blk_close(&chain->blk, &err);
	return 0;
}
