#include "formats/entries.h"

#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"
#include "lib/zero.h"

int entries_init(struct entries *e, struct blk *file, uint32_t piece, unsigned pieces,
		 unsigned width, bool big, bool relaxed, struct err *err)
{
	*e = (struct entries){.piece = piece, .width = width, .big = big};
	e->cache = cache_new(file, piece, pieces, err);
	if (!e->cache)
		return -1;
	cache_write_unit(e->cache, width);
	cache_relax(e->cache, relaxed);
	cache_short_end(e->cache);
	return 0;
}

void entries_free(struct entries *e)
{
	cache_free(e->cache);
	e->cache = NULL;
}

int entries_get(struct entries *e, uint64_t off, uint64_t *value, struct err *err)
{
	uint32_t in = (uint32_t)(off % e->piece);
	uint8_t *p = cache_get(e->cache, off - in, err);

	if (!p)
		return -1;
	if (e->width == 4)
		*value = e->big ? get_be32(p + in) : get_le32(p + in);
	else
		*value = e->big ? get_be64(p + in) : get_le64(p + in);
	cache_put(e->cache, p);
	return 0;
}

int entries_set(struct entries *e, uint64_t off, uint64_t value, struct err *err)
{
	uint32_t in = (uint32_t)(off % e->piece);
	uint8_t *p = cache_get(e->cache, off - in, err);

	if (!p)
		return -1;
	if (e->width == 4)
		e->big ? put_be32(p + in, (uint32_t)value) : put_le32(p + in, (uint32_t)value);
	else
		e->big ? put_be64(p + in, value) : put_le64(p + in, value);
	cache_dirty_part(e->cache, p, in, e->width);
	cache_put(e->cache, p);
	return 0;
}

uint64_t entries_none(struct entries *e, struct blk *file, uint64_t off, uint64_t n)
{
	struct extent hole;
	struct err later;
	uint64_t k = 0;

	if (file && n > 0 && blk_extent(file, off, n * e->width, &hole, &later) == 0 &&
	    (hole.flags & EXT_ZERO))
		k = hole.len / e->width;
	while (k < n) {
		uint32_t in = (uint32_t)((off + k * e->width) % e->piece);
		uint64_t some = MIN(n - k, (e->piece - in) / e->width);
		uint8_t *p = cache_get(e->cache, off + k * e->width - in, &later);
		bool none = p && zero_is(p + in, some * e->width);

		if (p)
			cache_put(e->cache, p);
		if (!none)
			break;
		k += some;
	}
	return k;
}

void entries_data_written(struct entries *e)
{
	cache_data_written(e->cache);
}

void entries_depend(struct entries *e, struct entries *on)
{
	cache_depend(e->cache, on->cache);
}

int entries_flush(struct entries *e, struct err *err)
{
	return cache_flush(e->cache, err);
}
