#include "lib/uuid.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int uuid_random(uint8_t uuid[UUID_LEN], struct err *err)
{
	if (getrandom(uuid, UUID_LEN, 0) != UUID_LEN)
		return err_sys(err, "Could not get random bytes");
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	return 0;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int uuid_parse(const char *text, uint8_t uuid[UUID_LEN], struct err *err)
{
	const char *p = text;
	bool brace = *p == '{';

	p += brace;
	for (unsigned i = 0; i < UUID_LEN; i++) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && *p++ != '-')
			return err_set(err, EINVAL, "'%s' is not a UUID", text);
		if (digit(p[0]) < 0 || digit(p[1]) < 0)
			return err_set(err, EINVAL, "'%s' is not a UUID", text);
		uuid[i] = (uint8_t)(digit(p[0]) << 4 | digit(p[1]));
		p += 2;
	}
	if (strcmp(p, brace ? "}" : "") != 0)
		return err_set(err, EINVAL, "'%s' is not a UUID", text);
	return 0;
}

const char *uuid_text(const uint8_t uuid[UUID_LEN], char out[UUID_TEXT])
{
	char *to = out;

	for (unsigned i = 0; i < UUID_LEN; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		to += snprintf(to, 3, "%02x", uuid[i]);
	}
	return out;
}

bool uuid_is_null(const uint8_t uuid[UUID_LEN])
{
	static const uint8_t null[UUID_LEN];

	return memcmp(uuid, null, UUID_LEN) == 0;
}

int uuid_option(const struct opts *opts, const char *key, uint8_t uuid[UUID_LEN],
		struct err *err)
{
	const char *text = opts_get(opts, key);

	return text ? uuid_parse(text, uuid, err) : uuid_random(uuid, err);
}

void uuid_swap(const uint8_t from[UUID_LEN], uint8_t to[UUID_LEN])
{
	static const uint8_t order[UUID_LEN] = {3, 2, 1,  0,  5,  4,  7,  6,
						8, 9, 10, 11, 12, 13, 14, 15};
	uint8_t was[UUID_LEN];

	memcpy(was, from, UUID_LEN);
	for (unsigned i = 0; i < UUID_LEN; i++)
		to[i] = was[order[i]];
}
