/* The FAT: each entry names the next cluster of its file. All files are in one piece. */
#include <string.h>

#include "lib/io/fat/fat.h"

#define END_OF_FILE 0x0fffffffu

/* The chain that cluster c is in, or n. */
static size_t find(const struct fat_chain *chain, size_t n, uint32_t c)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (chain[mid].first + chain[mid].n <= c)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void fat_table_put(const struct fat_shape *s, const struct fat_chain *chain, size_t n,
		   uint64_t off, uint8_t *to, size_t len)
{
	uint64_t entry = off * 8 / s->type, end = ((off + len) * 8 + s->type - 1) / s->type;
	size_t at = find(chain, n, (uint32_t)entry);

	memset(to, 0, len);
	for (; entry < end; entry++) {
		uint64_t bit = entry * s->type, byte = bit / 8, value = 0;

		while (at < n && entry >= chain[at].first + chain[at].n)
			at++;
		if (entry == 0)
			value = (END_OF_FILE & ~0xffu) | s->media;
		else if (entry == 1)
			value = END_OF_FILE;
		else if (at < n && entry >= chain[at].first)
			value = entry + 1 < chain[at].first + chain[at].n ? entry + 1
									  : END_OF_FILE;
		value &= s->type == 32 ? END_OF_FILE : (1u << s->type) - 1;
		value <<= bit % 8;
		for (; value; value >>= 8, byte++)
			if (byte >= off && byte - off < len)
				to[byte - off] |= (uint8_t)value;
	}
}
