/* qcow2: the header and what follows it, extents, reads, info, check, measure. */
#include "tests/fuzz/qcow2.h"

#include "lib/chain.h"
#include "lib/dirty.h"
#include "lib/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void look(struct blk *blk, uint64_t off)
{
	uint64_t size = blk_size(blk);
	uint8_t buf[5000];
	struct extent e;
	struct err err;

	for (int i = 0; i < 40 && off < size; i++) {
		if (blk_extent(blk, off, size - off, &e, &err))
			return;
		if (e.off != off || e.len == 0 || e.len > size - off)
			abort();
		blk_read_extent(blk, &e, buf, MIN(e.len, sizeof(buf)), off, &err);
		off += e.len;
	}
}

static void info(const uint8_t *data, size_t n)
{
	struct image *image = fuzz_open(data, n, IMAGE_NO_IO);
	struct info found = {0};
	struct err err;

	if (!image)
		return;
	format_qcow2.info(image, &found, &err);
	info_free(&found);
	blk_close(&image->blk, &err);
}

static void hear(void *arg, const char *line)
{
	*(size_t *)arg += strlen(line);
}

static void check(const uint8_t *data, size_t n)
{
	struct image *image = fuzz_open(data, n, IMAGE_CHECK);
	size_t heard = 0;
	struct check c = {.report = hear, .arg = &heard};
	struct err err;

	if (!image)
		return;
	if (n % 4)
		c.report = NULL; /* faster: a small file can say much */
	format_qcow2.check(image, &c, &err);
	blk_close(&image->blk, &err);
}

static void read_bitmaps(struct image *image)
{
	const struct bitmap_ops *ops = format_qcow2.bitmap;
	struct bitmap_info *list;
	struct dirty *bits;
	struct err err;
	size_t n;

	if (ops->list(image, &list, &n, &err))
		return;
	for (size_t i = 0; i < n && i < 10; i++)
		if (ops->read(image, list[i].name, &bits, &err) == 0)
			dirty_free(bits);
	free(list);
}

static void read_and_measure(const uint8_t *data, size_t n)
{
	struct image *image = fuzz_open(data, n, 0);
	struct measure m;
	struct chain *chain;
	struct opts *opts;
	struct err err;

	if (!image)
		return;
	read_bitmaps(image);
	chain = chain_new(&image->blk, &err);
	if (!chain)
		return;
	look(&chain->blk, 0);
	look(&chain->blk, get_be64(data + n - 8));
	look(&chain->blk, chain->blk.size / 2);
	opts = opts_new(&err);
	/* the whole of it is only walked where that is not long */
	if (opts && chain->blk.size < 1 << 30)
		format_qcow2.measure(opts, 0, &chain->blk, &m, &err);
	opts_free(opts);
	blk_close(&chain->blk, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 8 || n > 1 << 20)
		return 0;
	info(data, n);
	check(data, n);
	read_and_measure(data, n);
	return 0;
}
