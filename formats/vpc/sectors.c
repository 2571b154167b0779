/*
 * The bitmaps: a bit for each sector of a block, the first one the highest of its byte.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/vpc/vpc.h"
#include "lib/mem.h"

#define PIECE_SPAN                                                                             \
	((uint64_t)VPC_SECTOR * 8 * VPC_SECTOR) /* bytes that a sector of bits is for */

int vpc_bits_init(struct vpc *v, struct err *err)
{
	v->bits = cache_new(v->b.image.blk.lower, VPC_SECTOR, VPC_BITS_PIECES, err);
	if (!v->bits)
		return -1;
	cache_relax(v->bits, v->flags & IMAGE_NEW);
	return 0;
}

int vpc_bits_new(struct vpc *v, uint64_t host, struct err *err)
{
	uint64_t len = v->b.blocks.head;
	AUTO_FREE uint8_t *bits = malloc(len);

	if (!bits)
		return err_nomem(err, len, "a bitmap of sectors");
	memset(bits, v->b.blocks.below ? 0 : 0xff, len);
	for (uint64_t at = host - len; at < host; at += VPC_SECTOR)
		cache_forget(v->bits, at);
	return blk_pwrite(v->b.image.blk.lower, bits, len, host - len, 0, err);
}

/* The sector of the bitmap for the byte `in` of the block at host. */
static uint8_t *get_piece(struct vpc *v, uint64_t host, uint64_t in, struct err *err)
{
	uint64_t at = host - v->b.blocks.head + in / PIECE_SPAN * VPC_SECTOR;

	return cache_get(v->bits, at, err);
}

static bool all_ones(const uint8_t *piece)
{
	return piece[0] == 0xff && memcmp(piece, piece + 1, VPC_SECTOR - 1) == 0;
}

static bool has(const uint8_t *piece, unsigned bit)
{
	return piece[bit / 8] & (0x80u >> bit % 8);
}

/* The bits from..to of a piece. True: some were not. */
static bool set_bits(uint8_t *piece, unsigned from, unsigned to)
{
	bool changed = false;

	if (all_ones(piece))
		return false;
	while (from < to) {
		uint8_t mask = from % 8 == 0 && to - from >= 8 ? 0xff
							       : (uint8_t)(0x80u >> from % 8);

		changed |= (piece[from / 8] & mask) != mask;
		piece[from / 8] |= mask;
		from += mask == 0xff ? 8 : 1;
	}
	return changed;
}

int vpc_bits_set(struct vpc *v, uint64_t host, uint64_t in, uint64_t n, struct err *err)
{
	uint64_t end = in + n;

	while (in < end) {
		uint64_t start = round_down(in, PIECE_SPAN), to = MIN(end, start + PIECE_SPAN);
		uint8_t *piece = get_piece(v, host, in, err);

		if (!piece)
			return -1;
		if (set_bits(piece, (unsigned)((in - start) / VPC_SECTOR),
			     (unsigned)div_up(to - start, VPC_SECTOR)))
			cache_dirty(v->bits, piece);
		cache_put(v->bits, piece);
		in = to;
	}
	return 0;
}

/* From bit `from` on, at most to `to`, how many are as the first one. */
static unsigned count_bits(const uint8_t *piece, unsigned from, unsigned to, bool there)
{
	uint8_t whole = there ? 0xff : 0;
	unsigned i = from;

	while (i < to) {
		if (i % 8 == 0 && to - i >= 8 && piece[i / 8] == whole)
			i += 8;
		else if (has(piece, i) == there)
			i++;
		else
			break;
	}
	return i - from;
}

int vpc_bits_run(struct vpc *v, uint64_t host, uint64_t in, uint64_t n, bool *there,
		 uint64_t *len, struct err *err)
{
	uint64_t at = in, end = in + n;

	while (at < end) {
		uint64_t start = round_down(at, PIECE_SPAN), to = MIN(end, start + PIECE_SPAN);
		unsigned from = (unsigned)((at - start) / VPC_SECTOR), k;
		unsigned stop = (unsigned)div_up(to - start, VPC_SECTOR);
		uint8_t *piece = get_piece(v, host, at, err);

		if (!piece)
			return -1;
		if (at == in)
			*there = has(piece, from);
		k = count_bits(piece, from, stop, *there);
		cache_put(v->bits, piece);
		at = start + ((uint64_t)from + k) * VPC_SECTOR;
		if (from + k < stop)
			break;
	}
	*len = MIN(at, end) - in;
	return 0;
}
