/*
 * LZVN: "LZVN compressed data format" in the format documentation of keramics. L literal bytes
 * follow an opcode, and then M bytes from D bytes ago:
 *
 *	LLMMMDDD DDDDDDDD		M + 3, small distance
 *	101LLMMM DDDDDDMM DDDDDDDD	M + 3, little-endian from the second byte on
 *	LLMMM111 DDDDDDDD DDDDDDDD	M + 3, little-endian
 *	LLMMM110			M + 3, the distance of before
 *	1110LLLL, 11100000 LLLLLLLL	literals only, L or L + 16
 *	1111MMMM, 11110000 MMMMMMMM	the distance of before, M or M + 16
 *	00000110			the end
 *	00001110, 00010110		nothing
 */
#include <string.h>

#include "formats/dmg/unpack.h"
#include "lib/bytes.h"

#define LZVN_END 0x06

/* What an opcode says. back 0: as before. */
struct step {
	size_t head, lit, match, back;
};

static bool is_unknown(uint8_t code)
{
	uint8_t high = code >> 4;

	return high == 7 || high == 0xd || (code < 0x40 && (code & 7) == 6 && code > 0x16);
}

/* in: 3 bytes can be read. */
static struct step decode(const uint8_t *in)
{
	uint8_t code = in[0];
	size_t lit = code >> 6, match = (code >> 3 & 7) + 3u;
	uint16_t pair = get_le16(in + 1);

	if (code >> 4 == 0xe)
		return code & 15 ? (struct step){1, code & 15u, 0, 0}
				 : (struct step){2, in[1] + 16u, 0, 0};
	if (code >> 4 == 0xf)
		return code & 15 ? (struct step){1, 0, code & 15u, 0}
				 : (struct step){2, 0, in[1] + 16u, 0};
	if (code >> 5 == 5)
		return (struct step){3, code >> 3 & 3, ((code & 7u) << 2 | (pair & 3u)) + 3,
				     pair >> 2};
	if (code == 0x0e || code == 0x16)
		return (struct step){1, 0, 0, 0};
	if ((code & 7) == 6)
		return (struct step){1, lit, match, 0};
	if ((code & 7) == 7)
		return (struct step){3, lit, match, pair};
	return (struct step){2, lit, match, (code & 7u) << 8 | in[1]};
}

int unpack_lzvn(const uint8_t *in, size_t n, uint8_t *out, size_t have, size_t want,
		struct err *err)
{
	size_t at = 0, pos = have, end = have + want, back = 0;

	while (at < n && in[at] != LZVN_END) {
		struct step s = decode(in + at);

		if (is_unknown(in[at]) || s.head > n - at || s.lit > n - at - s.head)
			return unpack_broken("LZVN", n, err);
		if (s.lit > end - pos || s.match > end - pos - s.lit)
			return unpack_long("LZVN", want, err);
		memcpy(out + pos, in + at + s.head, s.lit);
		pos += s.lit;
		at += s.head + s.lit;
		if (s.back)
			back = s.back;
		if (!s.match)
			continue;
		if (back == 0 || back > pos)
			return unpack_broken("LZVN", n, err);
		unpack_match(out + pos, back, s.match);
		pos += s.match;
	}
	if (at >= n)
		return unpack_broken("LZVN", n, err);
	return pos == end ? 0 : unpack_short("LZVN", pos - have, want, err);
}
