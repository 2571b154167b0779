#include "lib/base64.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int invalid(struct err *err)
{
	return err_set(err, EINVAL, "Base64 data contains invalid characters");
}

/* The digits of `text` without blanks and padding; -1: it is not base64. */
static long squeeze(const char *text, size_t n, char *to)
{
	size_t len = 0, pad = 0;

	for (size_t i = 0; i < n; i++) {
		if (blank(text[i]))
			continue;
		if (text[i] == '=')
			pad++;
		else if (digit(text[i]) < 0 || pad)
			return -1;
		else
			to[len++] = text[i];
	}
	/* one digit alone says nothing, and padding fills up to four */
	if (len % 4 == 1 || pad > 2 || (pad && (len + pad) % 4 != 0))
		return -1;
	return (long)len;
}

int base64_decode(const char *text, size_t n, uint8_t **out, size_t *outn, struct err *err)
{
	char *digits = malloc(n + 1);
	uint8_t *to = malloc(n + 1);
	unsigned bits = 0, have = 0;
	long len = digits && to ? squeeze(text, n, digits) : 0;

	*outn = 0;
	for (long i = 0; i < len; i++) {
		bits = bits << 6 | (unsigned)digit(digits[i]);
		have += 6;
		if (have >= 8) {
			have -= 8;
			to[(*outn)++] = (uint8_t)(bits >> have);
		}
	}
	free(digits);
	if (!to || !digits || len < 0) {
		free(to);
		return len < 0 ? invalid(err) : err_nomem(err, n + 1, "base64 data");
	}
	to[*outn] = 0;
	*out = to;
	return 0;
}
