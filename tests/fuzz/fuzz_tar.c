/* Tar archives: the list of what is in one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/io/io.h"
#include "lib/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Checksums are put right, or hardly any input would get far. */
static void repair(uint8_t *file, size_t n)
{
	for (size_t at = 0; at + TAR_BLOCK <= n; at += TAR_BLOCK) {
		unsigned sum = 8 * ' ';

		if (memcmp(file + at + 257, "ustar", 5) != 0)
			continue;
		for (size_t i = 0; i < TAR_BLOCK; i++)
			sum += i >= 148 && i < 156 ? 0 : file[at + i];
		snprintf((char *)file + at + 148, 8, "%06o", sum);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n + 1);
	struct blk *blk;
	struct tar tar;
	struct err err;

	if (!copy)
		return 0;
	memcpy(copy, data, n);
	repair(copy, n);
	blk = io_mem_new(copy, n, &err);
	free(copy);
	if (!blk)
		return 0;
	(void)tar_list(blk, &tar, &err);
	for (size_t i = 0; i < tar.n; i++)
		if (tar.member[i].off > n || tar.member[i].size > n - tar.member[i].off)
			abort();
	tar_free(&tar);
	(void)io_ova_refuse(blk, &err);
	blk_close(blk, &err);
	return 0;
}
