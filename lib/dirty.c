#include "lib/dirty.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/mem.h"

#define PIECE	   32768u /* bytes */
#define PIECE_BITS (PIECE * 8u)

/* A piece that is all set; NULL is one that is all clear. */
static uint8_t full_piece;
#define FULL (&full_piece)

struct dirty {
	pthread_mutex_t lock;
	uint64_t size;
	unsigned shift; /* log2 of the granularity */
	uint64_t bits;
	uint64_t npiece;
	uint8_t **piece;
};

/* ---- bits of one piece ------------------------------------------------------------ */

/* Sets or clears the bits [from, to) of p. */
static void fill_bits(uint8_t *p, uint32_t from, uint32_t to, bool set)
{
	uint32_t first = from / 8, last = to / 8;
	uint8_t head = (uint8_t)(0xff << from % 8), tail = (uint8_t)((1u << to % 8) - 1);

	if (first == last) {
		head &= tail;
		p[first] = (uint8_t)(set ? p[first] | head : p[first] & ~head);
		return;
	}
	p[first] = (uint8_t)(set ? p[first] | head : p[first] & ~head);
	memset(p + first + 1, set ? 0xff : 0, last - first - 1);
	if (tail)
		p[last] = (uint8_t)(set ? p[last] | tail : p[last] & ~tail);
}

/* The first bit in [from, to) of p that is `set`; to if there is none. */
static uint32_t find_bit(const uint8_t *p, uint32_t from, uint32_t to, bool set)
{
	uint64_t flip = set ? 0 : UINT64_MAX;

	while (from < to) {
		uint64_t word = (get_le64(p + from / 64 * 8) ^ flip) >> from % 64;

		if (word)
			return MIN(from + (uint32_t)__builtin_ctzll(word), to);
		from = from / 64 * 64 + 64;
	}
	return to;
}

static bool is_all(const uint8_t *p, size_t n, uint8_t v)
{
	return n == 0 || (p[0] == v && memcmp(p, p + 1, n - 1) == 0);
}

/* ---- pieces ----------------------------------------------------------------------- */

/* The bits that piece i has: the last may be short. */
static uint32_t piece_bits(const struct dirty *d, uint64_t i)
{
	return (uint32_t)MIN(d->bits - i * PIECE_BITS, PIECE_BITS);
}

static void drop(uint8_t *p)
{
	if (p != FULL)
		free(p);
}

/* A piece with bytes of its own. */
static uint8_t *own(struct dirty *d, uint64_t i, struct err *err)
{
	uint8_t *old = d->piece[i], *p;

	if (old && old != FULL)
		return old;
	p = calloc(1, PIECE);
	if (!p) {
		err_nomem(err, PIECE, "a bitmap");
		return NULL;
	}
	if (old)
		fill_bits(p, 0, piece_bits(d, i), true);
	d->piece[i] = p;
	return p;
}

/* The bits [from, to) of piece i. */
static int change(struct dirty *d, uint64_t i, uint32_t from, uint32_t to, bool set,
		  struct err *err)
{
	uint8_t *p = d->piece[i];

	if (p == (set ? FULL : NULL))
		return 0;
	if (from == 0 && to == piece_bits(d, i)) {
		drop(p);
		d->piece[i] = set ? FULL : NULL;
		return 0;
	}
	p = own(d, i, err);
	if (!p)
		return -1;
	fill_bits(p, from, to, set);
	return 0;
}

static int change_range(struct dirty *d, uint64_t off, uint64_t len, bool set, struct err *err)
{
	uint64_t from, to;
	int rc = 0;

	pthread_mutex_lock(&d->lock);
	if (off < d->size && len > 0) {
		len = MIN(len, d->size - off);
		from = off >> d->shift;
		to = ((off + len - 1) >> d->shift) + 1;
		while (rc == 0 && from < to) {
			uint64_t i = from / PIECE_BITS, start = i * PIECE_BITS;
			uint64_t end = MIN(to, start + PIECE_BITS);

			rc = change(d, i, (uint32_t)(from - start), (uint32_t)(end - start),
				    set, err);
			from = end;
		}
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

int dirty_set(struct dirty *d, uint64_t off, uint64_t len, struct err *err)
{
	return change_range(d, off, len, true, err);
}

int dirty_clear(struct dirty *d, uint64_t off, uint64_t len, struct err *err)
{
	return change_range(d, off, len, false, err);
}

/* ---- reading ---------------------------------------------------------------------- */

/* The first bit from `from` on that is `set`; d->bits if there is none. */
static uint64_t find(const struct dirty *d, uint64_t from, bool set)
{
	while (from < d->bits) {
		uint64_t i = from / PIECE_BITS, start = i * PIECE_BITS;
		uint32_t n = piece_bits(d, i), at;
		const uint8_t *p = d->piece[i];

		if (!p || p == FULL) {
			if ((p == FULL) == set)
				return from;
		} else {
			at = find_bit(p, (uint32_t)(from - start), n, set);
			if (at < n)
				return start + at;
		}
		from = start + n;
	}
	return d->bits;
}

static bool test_held(const struct dirty *d, uint64_t bit)
{
	const uint8_t *p = d->piece[bit / PIECE_BITS];
	uint32_t in = (uint32_t)(bit % PIECE_BITS);

	return p == FULL || (p && (p[in / 8] >> in % 8 & 1));
}

bool dirty_test(struct dirty *d, uint64_t off)
{
	bool set;

	pthread_mutex_lock(&d->lock);
	set = off < d->size && test_held(d, off >> d->shift);
	pthread_mutex_unlock(&d->lock);
	return set;
}

/* Where bit `bit` begins on the disk. */
static uint64_t byte_of(const struct dirty *d, uint64_t bit)
{
	return bit >= d->bits ? d->size : bit << d->shift;
}

uint64_t dirty_run(struct dirty *d, uint64_t off, uint64_t len, bool *set)
{
	uint64_t end;

	pthread_mutex_lock(&d->lock);
	*set = test_held(d, off >> d->shift);
	end = byte_of(d, find(d, off >> d->shift, !*set));
	pthread_mutex_unlock(&d->lock);
	return MIN(end - off, len);
}

bool dirty_next(struct dirty *d, uint64_t *off, uint64_t *len)
{
	uint64_t bit, from;
	bool found;

	pthread_mutex_lock(&d->lock);
	found = *off < d->size;
	if (found) {
		bit = find(d, *off >> d->shift, true);
		found = bit < d->bits;
		if (found) {
			from = MAX(*off, byte_of(d, bit));
			*len = byte_of(d, find(d, bit, false)) - from;
			*off = from;
		}
	}
	pthread_mutex_unlock(&d->lock);
	return found;
}

uint64_t dirty_count(struct dirty *d)
{
	uint64_t n = 0;

	pthread_mutex_lock(&d->lock);
	for (uint64_t i = 0; i < d->npiece; i++) {
		const uint8_t *p = d->piece[i];

		if (p == FULL)
			n += piece_bits(d, i);
		for (size_t k = 0; p && p != FULL && k < PIECE; k += 8)
			n += (uint64_t)__builtin_popcountll(get_le64(p + k));
	}
	pthread_mutex_unlock(&d->lock);
	return n;
}

/* ---- merging ---------------------------------------------------------------------- */

static int merge_piece(struct dirty *to, uint64_t i, const uint8_t *from, struct err *err)
{
	uint8_t *p;

	if (!from || to->piece[i] == FULL)
		return 0;
	if (from == FULL)
		return change(to, i, 0, piece_bits(to, i), true, err);
	p = own(to, i, err);
	if (!p)
		return -1;
	for (size_t k = 0; k < PIECE; k++)
		p[k] |= from[k];
	return 0;
}

int dirty_merge(struct dirty *to, struct dirty *from, struct err *err)
{
	uint64_t off = 0, len;
	int rc = 0;

	if (to->size != from->size)
		return err_set(err, EINVAL, "The bitmaps are of disks of different sizes");
	if (to == from)
		return 0;
	if (to->shift == from->shift) {
		pthread_mutex_lock(&to->lock);
		for (uint64_t i = 0; rc == 0 && i < to->npiece; i++)
			rc = merge_piece(to, i, from->piece[i], err);
		pthread_mutex_unlock(&to->lock);
		return rc;
	}
	for (; dirty_next(from, &off, &len); off += len)
		if (dirty_set(to, off, len, err))
			return -1;
	return 0;
}

/* ---- data ------------------------------------------------------------------------- */

uint64_t dirty_bytes(const struct dirty *d)
{
	return div_up(d->bits, 8);
}

/* n bytes of piece i from byte `at` on. */
static enum dirty_kind get_part(const struct dirty *d, uint64_t i, size_t at, size_t n,
				uint8_t *buf)
{
	const uint8_t *p = i < d->npiece ? d->piece[i] : NULL;

	if (p == FULL) {
		uint32_t bits = piece_bits(d, i), from = (uint32_t)at * 8;
		uint32_t to = from + (uint32_t)n * 8;

		memset(buf, 0, n);
		if (from < bits)
			fill_bits(buf, 0, MIN(to, bits) - from, true);
		return to <= bits ? DIRTY_FULL : from < bits ? DIRTY_MIXED : DIRTY_CLEAR;
	}
	if (!p || is_all(p + at, n, 0)) {
		memset(buf, 0, n);
		return DIRTY_CLEAR;
	}
	memcpy(buf, p + at, n);
	return is_all(buf, n, 0xff) ? DIRTY_FULL : DIRTY_MIXED;
}

/* Are the n bytes at `at` in pieces that take no memory, since they are clear? */
static bool lies_clear(const struct dirty *d, uint64_t at, size_t n)
{
	for (uint64_t i = at / PIECE; i <= (at + n - 1) / PIECE && i < d->npiece; i++)
		if (d->piece[i])
			return false;
	return true;
}

enum dirty_kind dirty_get(struct dirty *d, uint64_t at, size_t n, uint8_t *buf, bool lazy)
{
	bool clear = true, full = true;

	if (n == 0)
		return DIRTY_CLEAR;
	pthread_mutex_lock(&d->lock);
	if (lazy && lies_clear(d, at, n)) {
		pthread_mutex_unlock(&d->lock);
		return DIRTY_CLEAR;
	}
	while (n > 0) {
		size_t in = (size_t)(at % PIECE), part = MIN(n, PIECE - in);
		enum dirty_kind kind = get_part(d, at / PIECE, in, part, buf);

		clear &= kind == DIRTY_CLEAR;
		full &= kind == DIRTY_FULL;
		buf += part;
		at += part;
		n -= part;
	}
	pthread_mutex_unlock(&d->lock);
	return clear ? DIRTY_CLEAR : full ? DIRTY_FULL : DIRTY_MIXED;
}

static int put_part(struct dirty *d, uint64_t i, size_t at, size_t n, const uint8_t *buf,
		    struct err *err)
{
	uint32_t bits = piece_bits(d, i), from = (uint32_t)at * 8;
	uint32_t to = MIN(from + (uint32_t)n * 8, bits);
	uint8_t *p;

	if (from >= bits)
		return 0;
	if (is_all(buf, n, 0) || (to % 8 == 0 && is_all(buf, (to - from) / 8, 0xff)))
		return change(d, i, from, to, buf[0] != 0, err);
	p = own(d, i, err);
	if (!p)
		return -1;
	n = div_up(to - from, 8);
	memcpy(p + at, buf, n);
	if (to % 8)
		p[at + n - 1] &= (uint8_t)((1u << to % 8) - 1);
	return 0;
}

int dirty_put(struct dirty *d, uint64_t at, const uint8_t *buf, size_t n, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&d->lock);
	while (rc == 0 && n > 0 && at / PIECE < d->npiece) {
		size_t in = (size_t)(at % PIECE), part = MIN(n, PIECE - in);

		rc = put_part(d, at / PIECE, in, part, buf, err);
		buf += part;
		at += part;
		n -= part;
	}
	pthread_mutex_unlock(&d->lock);
	return rc;
}

/* ---- life ------------------------------------------------------------------------- */

static uint64_t bits_of(uint64_t size, unsigned shift)
{
	return size == 0 ? 0 : ((size - 1) >> shift) + 1;
}

int dirty_resize(struct dirty *d, uint64_t size, struct err *err)
{
	uint64_t bits = bits_of(size, d->shift), n = div_up(bits, PIECE_BITS);
	uint64_t last = MIN(bits, d->bits);
	uint8_t **piece;

	/* a short last piece that is FULL would mean more bits, or less, from now on */
	if (d->npiece && bits != d->bits && d->piece[d->npiece - 1] == FULL &&
	    piece_bits(d, d->npiece - 1) != PIECE_BITS && !own(d, d->npiece - 1, err))
		return -1;
	if (n != d->npiece) {
		piece = calloc(n ? n : 1, sizeof(*piece));
		if (!piece)
			return err_nomem(err, n * sizeof(*piece), "a bitmap");
		memcpy(piece, d->piece, MIN(n, d->npiece) * sizeof(*piece));
		for (uint64_t i = n; i < d->npiece; i++)
			drop(d->piece[i]);
		free(d->piece);
		d->piece = piece;
		d->npiece = n;
	}
	d->size = size;
	d->bits = bits;
	if (last % PIECE_BITS && last == bits && d->piece[n - 1]) {
		/* cut: what is past the end is clear */
		uint8_t *p = d->piece[n - 1];

		if (p == FULL)
			return 0; /* short from now on */
		fill_bits(p, (uint32_t)(last % PIECE_BITS), PIECE_BITS, false);
	}
	return 0;
}

struct dirty *dirty_new(uint64_t size, unsigned granularity_bits, struct err *err)
{
	struct dirty *d = calloc(1, sizeof(*d));

	if (!d) {
		err_nomem(err, sizeof(*d), "a bitmap");
		return NULL;
	}
	pthread_mutex_init(&d->lock, NULL);
	d->size = size;
	d->shift = granularity_bits;
	d->bits = bits_of(size, granularity_bits);
	d->npiece = div_up(d->bits, PIECE_BITS);
	d->piece = calloc(d->npiece ? d->npiece : 1, sizeof(*d->piece));
	if (!d->piece) {
		err_nomem(err, d->npiece * sizeof(*d->piece), "a bitmap");
		dirty_free(d);
		return NULL;
	}
	return d;
}

void dirty_free(struct dirty *d)
{
	if (!d)
		return;
	for (uint64_t i = 0; d->piece && i < d->npiece; i++)
		drop(d->piece[i]);
	free(d->piece);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

uint64_t dirty_size(const struct dirty *d)
{
	return d->size;
}

unsigned dirty_granularity_bits(const struct dirty *d)
{
	return d->shift;
}
