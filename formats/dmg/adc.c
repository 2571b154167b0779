/*
 * Apple Data Compression: "Apple Data Compression (ADC) data format" in the format
 * documentation of keramics.
 *
 *	1LLLLLLL			L + 1 bytes follow as they are
 *	00LLLLDD DDDDDDDD		L + 3 bytes from D + 1 bytes ago
 *	01LLLLLL DDDDDDDD DDDDDDDD	L + 4 bytes from D + 1 bytes ago
 */
#include <string.h>

#include "formats/dmg/unpack.h"
#include "lib/bytes.h"

int unpack_adc(const uint8_t *in, size_t n, uint8_t *out, size_t outn, struct err *err)
{
	size_t at = 0, pos = 0;

	while (at < n && pos < outn) {
		uint8_t code = in[at];
		size_t head = code & 0x80 ? 1 : code & 0x40 ? 3 : 2, len, back = 0;

		if (head > n - at)
			return unpack_broken("ADC", n, err);
		if (code & 0x80) {
			len = (code & 0x7fu) + 1;
		} else if (code & 0x40) {
			len = (code & 0x3fu) + 4;
			back = get_be16(in + at + 1) + 1u;
		} else {
			len = (code >> 2) + 3u;
			back = (get_be16(in + at) & 0x3ffu) + 1;
		}
		at += head;
		if (len > outn - pos)
			return unpack_long("ADC", outn, err);
		if (back > pos || (!back && len > n - at))
			return unpack_broken("ADC", n, err);
		if (back) {
			unpack_match(out + pos, back, len);
		} else {
			memcpy(out + pos, in + at, len);
			at += len;
		}
		pos += len;
	}
	/* the last chunk may be filled up to a sector */
	return pos == outn ? 0 : unpack_short("ADC", pos, outn, err);
}
