/*
 * UUIDs (RFC 9562) and Microsoft's GUIDs, which have the first three fields little-endian.
 * 16 bytes in the order of the text.
 */
#ifndef LIB_UUID_H
#define LIB_UUID_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/opt.h"

#define UUID_LEN  16
#define UUID_TEXT 37 /* with the final NUL */

/* Version 4: random. */
int uuid_random(uint8_t uuid[UUID_LEN], struct err *err);
/* "d7ff3511-abb6-c44c-b6a9-64443eb4249c", with or without braces, in either case. */
int uuid_parse(const char *text, uint8_t uuid[UUID_LEN], struct err *err);
const char *uuid_text(const uint8_t uuid[UUID_LEN], char out[UUID_TEXT]);
bool uuid_is_null(const uint8_t uuid[UUID_LEN]);
/* The value of a key, else a random one: so that an image can be made again, bit for bit. */
int uuid_option(const struct opts *opts, const char *key, uint8_t uuid[UUID_LEN],
		struct err *err);
/* To and from the order in which Microsoft's formats (and vdi) store it. Its own inverse. */
void uuid_swap(const uint8_t from[UUID_LEN], uint8_t to[UUID_LEN]);

#endif
