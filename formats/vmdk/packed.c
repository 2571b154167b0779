/*
 * Compressed grains: "Virtual Disk Format 5.0", "Compressed Grain". A marker (the sector of
 * the disk, the length of what follows), then deflated data in zlib's wrapping, filled up to
 * a sector.
 *
 * The wrapping is two bytes before and a checksum behind: without it the data is as in qcow2,
 * and can be carried from there and to there.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/vmdk/vmdk.h"
#include "lib/bytes.h"
#include "lib/guess.h"
#include "lib/mem.h"
#include "lib/pack.h"

#define STORED_MAX 65535 /* bytes of one stored block of deflate */

/*
 * The peer's is zlib's default; ours are the fastest that make no more of it. On the
 * benchmark's disk of 1 GiB from /usr (libdeflate 1.14): with 6 for text and 5 for machine code
 * 0.997 of its bytes in 0.145 of its time, with 6 and 4 1.0003, with 5 and 2 1.0055.
 */
#ifdef HAVE_LIBDEFLATE
enum { LEVEL_TEXT = 6, LEVEL_BINARY = 5 };
#else
enum { LEVEL_TEXT = 6, LEVEL_BINARY = 6 };
#endif

/* Some writers' grains are larger than without compression, by little. */
static uint64_t length_max(const struct vmdk_extent *x)
{
	return 2 * x->blocks.block;
}

int vmdk_packed_place(struct vmdk_extent *x, uint64_t i, uint64_t at, struct block *out,
		      struct err *err)
{
	uint64_t size = blk_size(x->file), sector = i * (x->blocks.block / VMDK_SECTOR), len;
	uint8_t marker[VMDK_MARKER];
	uint32_t head = x->markers ? VMDK_MARKER : 0;

	if (at + head + VMDK_ZLIB_HEAD >= size)
		return err_set(err, EIO,
			       "Grain %" PRIu64 " at %#" PRIx64
			       " is beyond the end of the file (%" PRIu64 " bytes)",
			       i, at, size);
	len = MIN(length_max(x), size - at);
	if (x->markers) {
		if (blk_pread(x->file, marker, sizeof(marker), at, err))
			return -1;
		len = get_le32(marker + 8);
		if (get_le64(marker) != sector)
			return err_set(err, EIO,
				       "The grain at %#" PRIx64 " is of sector %" PRIu64
				       ", not of %" PRIu64,
				       at, get_le64(marker), sector);
	}
	if (len <= VMDK_ZLIB_HEAD || len > length_max(x) || len > size - at - head)
		return err_set(err, EIO,
			       "Grain %" PRIu64 " at %#" PRIx64 " cannot have %" PRIu64
			       " compressed bytes",
			       i, at, len);
	out->kind = BLOCK_PACKED;
	out->host = at + head + VMDK_ZLIB_HEAD;
	out->packed = (uint32_t)len - VMDK_ZLIB_HEAD;
	return 0;
}

/* The bytes of one grain, `n` of them or, at the end of the disk, a whole grain. */
static int inflate(const struct vmdk_extent *x, const uint8_t *in, size_t len, uint8_t *out,
		   size_t n, struct err *err)
{
	size_t whole = x->blocks.block;

	if (pack_inflate_zlib(in, len, out, whole, NULL, err) == 0)
		return 0;
	return n == whole ? -1 : pack_inflate_zlib(in, len, out, n, NULL, err);
}

/* The whole grain that e is a part of. */
static int read_grain(struct vmdk_extent *x, const struct extent *e, uint8_t *out,
		      struct err *err)
{
	uint64_t in = round_down(e->off - x->start, x->blocks.block);
	size_t n = MIN(x->blocks.block, x->size - in), len = e->packed + VMDK_ZLIB_HEAD;
	AUTO_FREE uint8_t *packed = mem_alloc(len);

	if (!packed)
		return err_nomem(err, len, "a compressed grain");
	if (blk_pread(e->home, packed, len, e->host - VMDK_ZLIB_HEAD, err))
		return -1;
	if (inflate(x, packed, len, out, n, err))
		return err_prefix(err,
				  "%s: Compressed grain at guest offset %" PRIu64
				  " (file offset %" PRIu64 ")",
				  x->file->name, in + x->start, e->host);
	return 0;
}

static int no_data(const struct vmdk_extent *x, uint64_t off, struct err *err)
{
	if (x->kind == VMDK_FLAT)
		return err_set(err, EIO,
			       "%s: the extent's data for offset %" PRIu64
			       " of the disk is beyond the end of the file (%" PRIu64 " bytes)",
			       x->file->name, off, blk_size(x->file));
	return err_set(err, EACCES,
		       "%s: offset %" PRIu64 " is in an extent that must not be accessed "
		       "(NOACCESS)",
		       x->v->image.blk.name, off);
}

int vmdk_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err)
{
	struct vmdk *v = (struct vmdk *)blk;
	AUTO_FREE uint8_t *whole = NULL;
	uint8_t *to = buf;

	while (n > 0) {
		struct vmdk_extent *x = vmdk_find(v, off);
		uint64_t grain = x->blocks.block, at;
		struct extent e;
		size_t part;

		if (!x->packed)
			return no_data(x, off, err);
		at = (off - x->start) % grain;
		part = MIN(n, grain - at);
		memset(&e, 0, sizeof(e));
		if (blk->ops->extent(blk, off, part, &e, err))
			return -1;
		if (!whole && part < grain && !(whole = mem_alloc(grain)))
			return err_nomem(err, grain, "a grain");
		if (!(e.flags & EXT_PACKED))
			memset(to, 0, part);
		else if (read_grain(x, &e, part == grain ? to : whole, err))
			return -1;
		else if (part < grain)
			memcpy(to, whole + at, part);
		to += part;
		off += part;
		n -= part;
	}
	return 0;
}

/* Deflate's stored blocks: what cannot be made smaller. */
static size_t store(const uint8_t *in, size_t n, uint8_t *out)
{
	uint8_t *to = out;

	while (n > 0) {
		uint16_t part = (uint16_t)MIN(n, STORED_MAX);

		n -= part;
		*to = n == 0;
		put_le16(to + 1, part);
		put_le16(to + 3, (uint16_t)~part);
		memcpy(to + 5, in, part);
		in += part;
		to += 5 + part;
	}
	return (size_t)(to - out);
}

int vmdk_pack(struct blk *blk, const void *in, size_t n, void *out, size_t *outn,
	      struct err *err)
{
	size_t len = 0;

	if (!guess_hopeless(in, n)) {
		len = n;
		if (pack_deflate(CODEC_DEFLATE, guess_binary(in, n) ? LEVEL_BINARY : LEVEL_TEXT,
				 in, n, out, &len, err))
			return -1;
	}
	/* *outn has room for it: pack_room */
	*outn = len ? len : store(in, n, out);
	return 0;
}

int vmdk_unpack(struct blk *blk, const void *packed, size_t n, void *out, size_t *used,
		struct err *err)
{
	return pack_inflate(CODEC_DEFLATE, packed, n, out, blk->grain, used, err);
}

int vmdk_wrap(struct blk *blk, uint64_t off, const void *plain, uint8_t *place, size_t *n,
	      struct err *err)
{
	size_t len = VMDK_ZLIB_HEAD + *n + VMDK_ZLIB_TAIL, end = VMDK_MARKER + len;

	put_le64(place, off / VMDK_SECTOR);
	put_le32(place + 8, (uint32_t)len);
	put_be16(place + VMDK_MARKER, 0x789c); /* deflate, window of 32 KiB, default level */
	put_be32(place + end - VMDK_ZLIB_TAIL, pack_adler32(plain, blk->grain));
	*n = round_up(end, VMDK_SECTOR);
	memset(place + end, 0, *n - end);
	return 0;
}
