/*
 * LZFSE: "LZFSE compressed data format" in the format documentation of keramics. A stream is
 * blocks up to "bvx$"; those are stored, LZVN, or a list of (L, M, D) - L literals, then M
 * bytes from D bytes ago, or from as many as before if D is 0 - and the literals, all coded
 * by finite state entropy (tANS).
 *
 * Such a coder has a table of states. A state gives a symbol, and with k bits more the next
 * state. A symbol that occurs in f of the states takes k = log2(states / f) bits, rounded up
 * for the first of them and down for the others, so that all states are reached. Bits are
 * read backwards, from the end of the stream.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/dmg/unpack.h"
#include "lib/bytes.h"
#include "lib/mem.h"

#define MAGIC(a) (0x00787662u | (uint32_t)(a) << 24) /* "bvx" and a letter */

#define V1_LEN	  772 /* with two bytes that nobody uses */
#define V1_TABLES 50
#define V2_LEN	  32

#define SYMBOLS	 360   /* of all four tables, in the order of `kinds` */
#define LITERALS 40000 /* of a block, at most */
#define MATCHES	 10000

enum { CODE_L, CODE_M, CODE_D, CODE_LIT, CODES };

static const struct {
	uint16_t states, symbols, first; /* first: of its frequencies in the list */
} kinds[CODES] = {{64, 20, 0}, {64, 20, 20}, {256, 64, 40}, {1024, 256, 104}};

/* A value is the base of its symbol and some bits more. */
static const uint8_t l_bits[20] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 5, 8};
static const uint8_t m_bits[20] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 5, 8, 11};

struct state {
	uint8_t bits;  /* that the next state takes */
	uint8_t extra; /* and the value, below them */
	uint16_t next; /* state, without its bits */
	uint32_t base; /* of the value; the literal */
};

struct lzfse {
	const uint8_t *in;
	size_t n; /* of the whole stream, for messages */
	uint8_t *out;
	size_t outn, pos;

	/* of the block at hand */
	uint32_t raw, literals, matches, literal_bytes, match_bytes;
	int literal_pad, match_pad; /* bits of the last byte that are not used: -7 to 0 */
	uint16_t start[CODES + 3];  /* L, M, D and four of literals */
	uint16_t freq[SYMBOLS];
	struct state l[64], m[64], d[256], lit[1024];
	uint8_t literal[LITERALS + 4];
};

static int broken(const struct lzfse *z, struct err *err)
{
	return unpack_broken("LZFSE", z->n, err);
}

/* ---- bits ---------------------------------------------------------------------------- */

struct bits {
	const uint8_t *from;
	int64_t left;
};

/* pad: -7 to 0. What is padding has to be zero. */
static int bits_start(struct bits *b, const uint8_t *from, uint32_t bytes, int pad)
{
	*b = (struct bits){from, 8 * (int64_t)bytes + pad};
	if (b->left < 0)
		return -1;
	return pad < 0 && from[bytes - 1] >> (8 + pad) ? -1 : 0;
}

/* At most 32. The input has UNPACK_PAD bytes behind it. Less than are left: zeros, and `left`
 * is negative. */
static inline uint32_t bits_get(struct bits *b, unsigned n)
{
	b->left -= n;
	if (b->left < 0)
		return 0;
	return (uint32_t)(get_le64(b->from + (b->left >> 3)) >> (b->left & 7) &
			  ((UINT64_C(1) << n) - 1));
}

/* ---- tables -------------------------------------------------------------------------- */

static unsigned extra_bits(int code, unsigned symbol)
{
	switch (code) {
	case CODE_L:
		return l_bits[symbol];
	case CODE_M:
		return m_bits[symbol];
	case CODE_D:
		return symbol / 4;
	default:
		return 0;
	}
}

static int make_table(const struct lzfse *z, int code, struct state *t)
{
	const uint16_t *freq = z->freq + kinds[code].first;
	unsigned states = kinds[code].states, filled = 0;
	uint32_t base = 0;

	for (unsigned s = 0; s < kinds[code].symbols; s++) {
		unsigned f = freq[s], extra = extra_bits(code, s), k, wide;

		if (f > states - filled)
			return -1;
		if (f > 0) {
			k = (unsigned)(__builtin_clz(f) - __builtin_clz(states));
			wide = (2 * states >> k) - f; /* that take k bits */
			for (unsigned i = 0; i < f; i++)
				t[filled + i] = (struct state){
					.bits = (uint8_t)(i < wide ? k : k - 1),
					.extra = (uint8_t)extra,
					.next = (uint16_t)(i < wide ? ((f + i) << k) - states
								    : (i - wide) << (k - 1)),
					.base = code == CODE_LIT ? s : base,
				};
		}
		filled += f;
		base += UINT32_C(1) << extra;
	}
	/* a table that is not full has states that lead nowhere */
	for (unsigned i = filled; i < states; i++)
		t[i] = (struct state){.next = UINT16_MAX};
	return 0;
}

static int make_tables(struct lzfse *z)
{
	return make_table(z, CODE_L, z->l) || make_table(z, CODE_M, z->m) ||
			       make_table(z, CODE_D, z->d) || make_table(z, CODE_LIT, z->lit)
		       ? -1
		       : 0;
}

/*
 * Frequencies as a stream of bits, lowest first: 0 to 7 by a prefix code of 2 to 5 bits,
 * ...0111 and 4 bits: 8 and more; ...1111 and 10 bits: 24 and more.
 */
static int read_frequencies(struct lzfse *z, const uint8_t *p, size_t n)
{
	static const uint8_t len[16] = {2, 3, 2, 5, 2, 3, 2, 8, 2, 3, 2, 5, 2, 3, 2, 14};
	static const uint8_t value[16] = {0, 2, 1, 4, 0, 3, 1, 0, 0, 2, 1, 5, 0, 3, 1, 0};
	uint32_t have = 0, bits = 0;
	size_t at = 0;

	for (unsigned i = 0; i < SYMBOLS; i++) {
		unsigned take;

		while (have < 14 && at < n) {
			bits |= (uint32_t)p[at++] << have;
			have += 8;
		}
		take = len[bits & 15];
		if (take > have)
			return -1;
		if (take == 8)
			z->freq[i] = (uint16_t)(8 + (bits >> 4 & 15));
		else if (take == 14)
			z->freq[i] = (uint16_t)(24 + (bits >> 4 & 0x3ff));
		else
			z->freq[i] =
				(uint16_t)(value[bits & 15] + (take == 5 && bits & 16 ? 2 : 0));
		bits >>= take;
		have -= take;
	}
	return at == n && have < 8 ? 0 : -1;
}

/* ---- headers -------------------------------------------------------------------------- */

/* Bytes of the header; 0: it is wrong. */
static size_t read_v1(struct lzfse *z, const uint8_t *p, size_t n)
{
	if (n < V1_LEN)
		return 0;
	z->raw = get_le32(p + 4);
	z->literals = get_le32(p + 12);
	z->matches = get_le32(p + 16);
	z->literal_bytes = get_le32(p + 20);
	z->match_bytes = get_le32(p + 24);
	z->literal_pad = (int32_t)get_le32(p + 28);
	for (int i = 0; i < 4; i++)
		z->start[CODE_LIT + i] = get_le16(p + 32 + 2 * i);
	z->match_pad = (int32_t)get_le32(p + 40);
	for (int i = 0; i < 3; i++)
		z->start[i] = get_le16(p + 44 + 2 * i);
	for (int i = 0; i < SYMBOLS; i++)
		z->freq[i] = get_le16(p + V1_TABLES + 2 * i);
	return V1_LEN;
}

static uint32_t field(uint64_t v, unsigned at, unsigned n)
{
	return (uint32_t)(v >> at & ((UINT64_C(1) << n) - 1));
}

static size_t read_v2(struct lzfse *z, const uint8_t *p, size_t n)
{
	uint64_t a, b, c;
	uint32_t len;

	if (n < V2_LEN)
		return 0;
	a = get_le64(p + 8);
	b = get_le64(p + 16);
	c = get_le64(p + 24);
	z->raw = get_le32(p + 4);
	z->literals = field(a, 0, 20);
	z->literal_bytes = field(a, 20, 20);
	z->matches = field(a, 40, 20);
	z->literal_pad = (int)field(a, 60, 3) - 7;
	for (unsigned i = 0; i < 4; i++)
		z->start[CODE_LIT + i] = (uint16_t)field(b, 10 * i, 10);
	z->match_bytes = field(b, 40, 20);
	z->match_pad = (int)field(b, 60, 3) - 7;
	len = field(c, 0, 32);
	for (unsigned i = 0; i < 3; i++)
		z->start[i] = (uint16_t)field(c, 32 + 10 * i, 10);
	if (len < V2_LEN || len > n)
		return 0;
	memset(z->freq, 0, sizeof(z->freq));
	if (len > V2_LEN && read_frequencies(z, p + V2_LEN, len - V2_LEN))
		return 0;
	return len;
}

static bool header_is_sound(const struct lzfse *z, size_t left)
{
	if (z->literals > LITERALS || z->matches > MATCHES || z->literal_bytes > left ||
	    z->match_bytes > left - z->literal_bytes || z->literal_pad < -7 ||
	    z->literal_pad > 0 || z->match_pad < -7 || z->match_pad > 0)
		return false;
	for (int i = 0; i < CODES + 3; i++)
		if (z->start[i] >= kinds[MIN(i, CODE_LIT)].states)
			return false;
	return true;
}

/* ---- blocks ---------------------------------------------------------------------------- */

static int read_literals(struct lzfse *z, const uint8_t *p)
{
	uint16_t s[4];
	struct bits b;

	if (bits_start(&b, p, z->literal_bytes, z->literal_pad))
		return -1;
	memcpy(s, z->start + CODE_LIT, sizeof(s));
	for (uint32_t i = 0; i < z->literals; i += 4) {
		for (unsigned k = 0; k < 4; k++) {
			const struct state *t = &z->lit[s[k]];

			if (t->next == UINT16_MAX)
				return -1;
			z->literal[i + k] = (uint8_t)t->base;
			s[k] = (uint16_t)(t->next + bits_get(&b, t->bits));
		}
		if (b.left < 0)
			return -1;
	}
	return 0;
}

/* A value; UINT32_MAX: there is none. */
static inline uint32_t get_value(const struct state *table, uint16_t *s, struct bits *b)
{
	const struct state *t = &table[*s];
	uint32_t v = bits_get(b, t->bits + t->extra);

	if (t->next == UINT16_MAX || b->left < 0)
		return UINT32_MAX;
	*s = (uint16_t)(t->next + (v >> t->extra));
	return t->base + (v & ((UINT32_C(1) << t->extra) - 1));
}

static int read_matches(struct lzfse *z, const uint8_t *p, struct err *err)
{
	uint16_t l = z->start[CODE_L], m = z->start[CODE_M], d = z->start[CODE_D];
	size_t end = z->pos + z->raw, back = 0, at = 0;
	struct bits b;

	if (bits_start(&b, p, z->match_bytes, z->match_pad))
		return broken(z, err);
	for (uint32_t i = 0; i < z->matches; i++) {
		uint32_t lit = get_value(z->l, &l, &b);
		uint32_t match = get_value(z->m, &m, &b);
		uint32_t dist = get_value(z->d, &d, &b);

		if (lit == UINT32_MAX || match == UINT32_MAX || dist == UINT32_MAX ||
		    lit > z->literals - at)
			return broken(z, err);
		if (lit > end - z->pos || match > end - z->pos - lit)
			return unpack_long("LZFSE", z->raw, err);
		memcpy(z->out + z->pos, z->literal + at, lit);
		z->pos += lit;
		at += lit;
		if (dist)
			back = dist;
		if (match == 0)
			continue;
		if (back == 0 || back > z->pos)
			return broken(z, err);
		unpack_match(z->out + z->pos, back, match);
		z->pos += match;
	}
	return z->pos == end ? 0 : unpack_short("LZFSE", z->pos + z->raw - end, z->raw, err);
}

/* Bytes of the block; 0 with *err set. */
static size_t coded_block(struct lzfse *z, const uint8_t *p, size_t n, bool v2, struct err *err)
{
	size_t head = v2 ? read_v2(z, p, n) : read_v1(z, p, n);

	if (head == 0 || !header_is_sound(z, n - head) || make_tables(z)) {
		broken(z, err);
		return 0;
	}
	if (z->raw > z->outn - z->pos) {
		unpack_long("LZFSE", z->outn, err);
		return 0;
	}
	if (read_literals(z, p + head)) {
		broken(z, err);
		return 0;
	}
	head += z->literal_bytes;
	return read_matches(z, p + head, err) ? 0 : head + z->match_bytes;
}

static size_t plain_block(struct lzfse *z, const uint8_t *p, size_t n, bool lzvn,
			  struct err *err)
{
	size_t head = lzvn ? 12 : 8, raw, len;

	if (n < head) {
		broken(z, err);
		return 0;
	}
	raw = get_le32(p + 4);
	len = lzvn ? get_le32(p + 8) : raw;
	if (len > n - head) {
		broken(z, err);
		return 0;
	}
	if (raw > z->outn - z->pos) {
		unpack_long("LZFSE", z->outn, err);
		return 0;
	}
	if (!lzvn)
		memcpy(z->out + z->pos, p + head, raw);
	else if (unpack_lzvn(p + head, len, z->out, z->pos, raw, err))
		return 0;
	z->pos += raw;
	return head + len;
}

int unpack_lzfse(const uint8_t *in, size_t n, uint8_t *out, size_t outn, struct err *err)
{
	AUTO_FREE struct lzfse *z = malloc(sizeof(*z));
	size_t at = 0, used;

	if (!z)
		return err_nomem(err, sizeof(*z), "a decompressor");
	z->in = in;
	z->n = n;
	z->out = out;
	z->outn = outn;
	z->pos = 0;
	while (n - at >= 4) {
		switch (get_le32(in + at)) {
		case MAGIC('$'):
			return z->pos == outn ? 0 : unpack_short("LZFSE", z->pos, outn, err);
		case MAGIC('1'):
		case MAGIC('2'):
			used = coded_block(z, in + at, n - at, in[at + 3] == '2', err);
			break;
		case MAGIC('-'):
		case MAGIC('n'):
			used = plain_block(z, in + at, n - at, in[at + 3] == 'n', err);
			break;
		default:
			return broken(z, err);
		}
		if (!used)
			return -1;
		at += used;
	}
	return broken(z, err);
}
