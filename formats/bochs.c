/*
 * Growing disk images of Bochs: "Harddisk Images based on redologs" in Bochs' development
 * guide (2.11).
 *
 *	0	header_size	the header, little-endian as all that follows
 *	then	4 each		the catalog: which extent of the file is that of the disk
 *	then			extents: a bitmap of their sectors, and their sectors
 *
 * A sector that is not in its bitmap was never written: it is zero.
 */
#include "formats/bochs.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "formats/format.h"
#include "lib/bytes.h"
#include "lib/cache.h"
#include "lib/mem.h"

#define PIECE	   4096u /* of the catalog and the bitmaps, read at once */
#define PIECES	   64
#define RUN_BLOCKS 4096u /* entries of the catalog that are looked at for one answer */

struct bochs {
	struct image image;
	struct bochs_header h;
	uint64_t first, step; /* where extents begin, and from one to the next */
	uint32_t head;	      /* bytes of the bitmap, up to a sector */
	struct cache *cache;
	pthread_mutex_t lock; /* of the cache */
	bool lock_made;
};

/* ---- the header -------------------------------------------------------------------- */

static const struct field v1_fields[] = {
	BYTES(0, struct bochs_header, magic),	    BYTES(32, struct bochs_header, type),
	BYTES(48, struct bochs_header, subtype),    LE32(64, struct bochs_header, version),
	LE32(68, struct bochs_header, header_size), LE32(72, struct bochs_header, catalog),
	LE32(76, struct bochs_header, bitmap),	    LE32(80, struct bochs_header, extent),
	LE64(84, struct bochs_header, disk),	    FIELD_END,
};

/* Version 2 has a time stamp before the size. */
static const struct field v2_disk[] = {LE64(88, struct bochs_header, disk), FIELD_END};

void bochs_decode(const uint8_t *disk, struct bochs_header *h)
{
	layout_decode(v1_fields, disk, h);
	if (h->version != BOCHS_V1)
		layout_decode(v2_disk, disk, h);
}

static bool says(const uint8_t *field, size_t n, const char *text)
{
	size_t len = strlen(text) + 1;

	return len <= n && memcmp(field, text, len) == 0;
}

static bool is_bochs(const struct bochs_header *h)
{
	return says(h->magic, sizeof(h->magic), BOCHS_MAGIC) &&
	       says(h->type, sizeof(h->type), "Redolog") &&
	       says(h->subtype, sizeof(h->subtype), "Growing") &&
	       (h->version == BOCHS_V1 || h->version == BOCHS_V2);
}

int bochs_header_check(const struct bochs_header *h, struct err *err)
{
	if (!is_bochs(h))
		return err_set(err, EINVAL, "Image not in Bochs format");
	if (h->catalog > BOCHS_CATALOG_MAX)
		return err_set(err, EFBIG, "Catalog size is too large");
	if (h->extent < BOCHS_SECTOR)
		return err_set(err, EINVAL, "Extent size must be at least 512");
	if (h->extent & (h->extent - 1))
		return err_set(err, EINVAL, "Extent size %" PRIu32 " is not a power of two",
			       h->extent);
	if (h->extent > BOCHS_EXTENT_MAX)
		return err_set(err, EINVAL, "Extent size %" PRIu32 " is too large", h->extent);
	if (h->disk / BOCHS_SECTOR > (uint64_t)h->catalog * h->extent / BOCHS_SECTOR)
		return err_set(err, EINVAL, "Catalog size is too small for this disk size");
	if (h->bitmap > BOCHS_EXTENT_MAX)
		return err_set(err, EINVAL, "Bitmap size %" PRIu32 " is too large", h->bitmap);
	if (h->disk >= BOCHS_SECTOR && h->bitmap < div_up(h->extent / BOCHS_SECTOR, 8))
		return err_set(err, EINVAL,
			       "A bitmap of %" PRIu32
			       " bytes is too small for an extent of %" PRIu32,
			       h->bitmap, h->extent);
	if (h->disk >= BOCHS_SECTOR && h->header_size < BOCHS_HEADER_LEN)
		return err_set(err, EINVAL, "Header size %" PRIu32 " is less than %d",
			       h->header_size, BOCHS_HEADER_LEN);
	return 0;
}

static int bochs_probe(const uint8_t *head, size_t n, uint64_t size)
{
	struct bochs_header h;

	if (n < BOCHS_HEADER_LEN)
		return 0;
	bochs_decode(head, &h);
	return is_bochs(&h) ? 100 : 0;
}

/* ---- where sectors are ------------------------------------------------------------- */

static int get_bytes(struct bochs *b, uint64_t off, void *to, size_t n, struct err *err)
{
	uint8_t *out = to;

	while (n > 0) {
		uint32_t in = (uint32_t)(off % PIECE);
		size_t part = MIN(n, PIECE - in);
		uint8_t *p = cache_get(b->cache, off - in, err);

		if (!p)
			return -1;
		memcpy(out, p + in, part);
		cache_put(b->cache, p);
		out += part;
		off += part;
		n -= part;
	}
	return 0;
}

/* Extent i of the disk; *at is where its bitmap begins, 0: it has none. */
static int find_extent(struct bochs *b, uint64_t i, uint64_t *at, struct err *err)
{
	uint64_t size = blk_size(b->image.blk.lower);
	uint8_t buf[4];
	uint32_t entry;

	if (get_bytes(b, b->h.header_size + 4 * i, buf, sizeof(buf), err))
		return -1;
	entry = get_le32(buf);
	*at = 0;
	if (entry == BOCHS_FREE)
		return 0;
	*at = b->first + entry * b->step; /* 2^32 times 2^33 at most */
	if (*at >= size || b->head > size - *at)
		return err_set(err, EIO,
			       "%s: Extent %" PRIu64 " of the disk is extent %" PRIu32
			       " of the file, which is beyond its end (%" PRIu64 " bytes)",
			       b->image.blk.name, i, entry, size);
	return 0;
}

/* How many extents from i on have nothing, at most n. */
static uint64_t count_free(struct bochs *b, uint64_t i, uint64_t n)
{
	struct err later;
	uint64_t k = 1, at = 0;

	n = MIN(n, RUN_BLOCKS);
	while (k < n && find_extent(b, i + k, &at, &later) == 0 && at == 0)
		k++;
	return k;
}

/* Sectors from `first` on, at most n, that are as the first one is: written or not. */
static int count_sectors(struct bochs *b, uint64_t bitmap, uint32_t first, uint32_t n,
			 bool *written, uint32_t *count, struct err *err)
{
	uint8_t bits[256];
	uint32_t k = 0;

	while (k < n) {
		uint32_t s = first + k, in = s % (8 * sizeof(bits));

		if (k == 0 || in == 0) {
			uint32_t from = (s - in) / 8;
			size_t len = MIN(sizeof(bits), b->h.bitmap - from);

			if (get_bytes(b, bitmap + from, bits, len, err))
				return -1;
		}
		if (k == 0)
			*written = bits[in / 8] >> in % 8 & 1;
		else if ((bits[in / 8] >> in % 8 & 1) != *written)
			break;
		k++;
	}
	*count = k;
	return 0;
}

static int look(struct bochs *b, uint64_t off, uint64_t len, struct extent *out,
		struct err *err)
{
	uint32_t in = (uint32_t)(off % b->h.extent), n;
	uint64_t i = off / b->h.extent, at;
	bool written;

	if (find_extent(b, i, &at, err))
		return -1;
	out->flags = EXT_ZERO;
	if (at == 0) {
		out->len =
			MIN(len,
			    count_free(b, i, div_up(in + len, b->h.extent)) * b->h.extent - in);
		return 0;
	}
	len = MIN(len, b->h.extent - in);
	if (count_sectors(b, at, in / BOCHS_SECTOR,
			  (uint32_t)div_up(in % BOCHS_SECTOR + len, BOCHS_SECTOR), &written, &n,
			  err))
		return -1;
	out->len = MIN(len, (uint64_t)n * BOCHS_SECTOR - in % BOCHS_SECTOR);
	if (!written)
		return 0;
	out->flags = EXT_DATA;
	out->home = b->image.blk.lower;
	out->host = at + b->head + in;
	return 0;
}

static int bochs_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
			struct err *err)
{
	struct bochs *b = (struct bochs *)blk;
	int rc;

	pthread_mutex_lock(&b->lock);
	rc = look(b, off, len, out, err);
	pthread_mutex_unlock(&b->lock);
	return rc;
}

/* ---- open and close ---------------------------------------------------------------- */

static int bochs_close(struct blk *blk, struct err *err)
{
	struct bochs *b = (struct bochs *)blk;

	cache_free(b->cache);
	if (b->lock_made)
		pthread_mutex_destroy(&b->lock);
	free(b);
	return 0;
}

static const struct blk_ops bochs_ops = {
	.name = "bochs",
	.by_extent = true,
	.extent = bochs_extent,
	.close = bochs_close,
};

static int prepare(struct bochs *b, struct err *err)
{
	struct blk *blk = &b->image.blk;
	uint8_t buf[BOCHS_HEADER_LEN];
	uint64_t end;
	int rc;

	if (blk_pread(blk->lower, buf, sizeof(buf), 0, err))
		return -1;
	bochs_decode(buf, &b->h);
	if (bochs_header_check(&b->h, err))
		return -1;
	blk->size = round_down(b->h.disk, BOCHS_SECTOR);
	blk->grain = b->h.extent;
	b->head = (uint32_t)round_up(b->h.bitmap, BOCHS_SECTOR);
	b->first = b->h.header_size + 4 * (uint64_t)b->h.catalog;
	b->step = (uint64_t)b->head + b->h.extent;
	end = b->h.header_size + 4 * div_up(blk->size, b->h.extent);
	if (blk->size && end > blk_size(blk->lower))
		return err_set(err, EINVAL,
			       "The catalog (to %" PRIu64
			       ") is beyond the end of the file (%" PRIu64 " bytes)",
			       end, blk_size(blk->lower));
	rc = pthread_mutex_init(&b->lock, NULL);
	if (rc) {
		errno = rc;
		return err_sys(err, "Could not make a lock");
	}
	b->lock_made = true;
	b->cache = cache_new(blk->lower, PIECE, PIECES, err);
	if (!b->cache)
		return -1;
	cache_short_end(b->cache);
	return 0;
}

static int bochs_open(struct blk *lower, const struct opts *opts, unsigned flags,
		      struct image **out, struct err *err)
{
	struct bochs *b = image_new(sizeof(*b), &bochs_ops, &format_bochs, lower, err);

	if (!b)
		return -1;
	if (prepare(b, err))
		return image_give_up(&b->image);
	*out = &b->image;
	return 0;
}

static int bochs_info(struct image *image, struct info *out, struct err *err)
{
	return 0;
}

const struct format format_bochs = {
	.name = "bochs",
	.summary = "Growing disk image of Bochs",
	.caps = FORMAT_OPAQUE | FORMAT_INFO_OURS,
	.probe = bochs_probe,
	.open = bochs_open,
	.info = bochs_info,
};
