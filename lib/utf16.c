#include "lib/utf16.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"

#define REPLACEMENT 0xfffdu

static unsigned unit(const uint8_t *p, bool big)
{
	return big ? get_be16(p) : get_le16(p);
}

char *utf8_put(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
		return to;
	}
	if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*to++ = (char)(0xe0 | c >> 12);
		} else {
			*to++ = (char)(0xf0 | c >> 18);
			*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*to++ = (char)(0x80 | (c & 0x3f));
	return to;
}

char *utf16_to_utf8(const uint8_t *from, size_t n, bool big, bool *lossy, struct err *err)
{
	size_t units = n / 2;
	char *out = malloc(3 * units + 1), *to = out;
	bool lost = false;

	if (!out) {
		err_nomem(err, 3 * units + 1, "a name");
		return NULL;
	}
	for (size_t i = 0; i < units; i++) {
		uint32_t c = unit(from + 2 * i, big);

		if (c == 0)
			break;
		if (c >= 0xd800 && c < 0xdc00 && i + 1 < units) {
			uint32_t low = unit(from + 2 * i + 2, big);

			if (low >= 0xdc00 && low < 0xe000) {
				c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
				i++;
			}
		}
		if (c >= 0xd800 && c < 0xe000) {
			c = REPLACEMENT;
			lost = true;
		}
		to = utf8_put(to, c);
	}
	*to = '\0';
	if (lossy)
		*lossy = lost;
	return out;
}

/* One character; *p is moved past it, at least by one byte. */
static uint32_t get_utf8(const unsigned char **p)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned first = *(*p)++, n;
	uint32_t c;

	if (first < 0x80)
		return first;
	n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
	if (first < 0xc2 || first > 0xf4)
		return REPLACEMENT;
	c = first & (0x7fu >> n);
	for (unsigned i = 1; i < n; i++) {
		if (((*p)[i - 1] & 0xc0) != 0x80)
			return REPLACEMENT;
		c = c << 6 | ((*p)[i - 1] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return REPLACEMENT;
	*p += n - 1;
	return c;
}

static void put_unit(uint8_t *p, uint32_t v, bool big)
{
	big ? put_be16(p, (uint16_t)v) : put_le16(p, (uint16_t)v);
}

uint8_t *utf8_to_utf16(const char *from, bool big, size_t *n, bool *lossy, struct err *err)
{
	const unsigned char *p = (const unsigned char *)from;
	uint8_t *out = malloc(2 * strlen(from) + 2);
	bool lost = false;

	*n = 0;
	if (!out) {
		err_nomem(err, 2 * strlen(from) + 2, "a name");
		return NULL;
	}
	while (*p) {
		const unsigned char *was = p;
		uint32_t c = get_utf8(&p);

		/* the character itself may be in the text */
		lost |= c == REPLACEMENT && (p - was != 3 || *was != 0xef);
		if (c >= 0x10000) {
			put_unit(out + *n, 0xd800 + ((c - 0x10000) >> 10), big);
			*n += 2;
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		put_unit(out + *n, c, big);
		*n += 2;
	}
	if (lossy)
		*lossy = lost;
	return out;
}
