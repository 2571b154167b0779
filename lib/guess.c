#include "lib/guess.h"

#include <stdint.h>
#include <string.h>

#define PAGE	4096
#define PIECE	65536
#define ANCHORS 4096

/*
 * The sum of the squared counts of the 256 byte values in a page. Random bytes give
 * 69376 +- 360, compressed ones up to 80000 (Huffman codes would save about 1 %), text
 * several 100000.
 */
#define FLAT_MAX 80000
/* Repetitions among the anchors of a piece: more, and matches would save something. */
#define REPEATS_MAX 24

static bool page_is_flat(const uint8_t *p)
{
	/* four tables, since neighbours are often equal and would wait for each other */
	uint16_t count[4][256] = {0};
	uint32_t sum = 0;

	for (int i = 0; i < PAGE; i += 4)
		for (int k = 0; k < 4; k++)
			count[k][p[i + k]]++;
	for (int i = 0; i < 256; i++) {
		uint32_t c = count[0][i] + count[1][i] + count[2][i] + count[3][i];

		sum += c * c;
	}
	return sum <= FLAT_MAX;
}

/*
 * Looks for strings of 8 bytes that come again within a piece. Only those are kept
 * whose hash ends in five zero bits, one in 32 wherever they lie, so that a repetition
 * at any distance has its anchors too.
 */
static bool piece_repeats(const uint8_t *p, size_t n)
{
	uint16_t last[ANCHORS] = {0};
	unsigned hits = 0;

	for (size_t i = 0; i + 8 <= n; i++) {
		uint32_t v, hash;
		uint16_t *slot;

		memcpy(&v, p + i, 4);
		hash = v * 2654435761u;
		if ((hash >> 15) & 31)
			continue;
		slot = &last[hash >> 20];
		if (!memcmp(p + i, p + *slot, 8) && *slot < i && ++hits > REPEATS_MAX)
			return true;
		*slot = (uint16_t)i;
	}
	return false;
}

bool guess_hopeless(const void *buf, size_t n)
{
	const uint8_t *p = buf;

	if (n < 4 * PAGE || n % PAGE)
		return false;
	for (size_t i = 0; i < n; i += PAGE)
		if (!page_is_flat(p + i))
			return false;
	for (size_t i = 0; i < n; i += PIECE)
		if (piece_repeats(p + i, n - i < PIECE ? n - i : PIECE))
			return false;
	return true;
}

bool guess_binary(const void *buf, size_t n)
{
	const uint8_t *p = buf;
	size_t step = n / 32;
	unsigned small = 0;

	/* 32 samples of 64 bytes: a quarter of them zeros and other small numbers */
	for (int k = 0; k < 32; k++)
		for (int i = 0; i < 64; i++)
			small += p[k * step + i] < 8;
	return small >= 512;
}
