#include "lib/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_BYTES ((uint64_t)INT64_MAX)

static const char units[] = "BKMGTPE";

/* The factor of a suffix letter; 0 if it is none. */
static uint64_t unit_of(char c)
{
	const char *u = c ? strchr(units, toupper((unsigned char)c)) : NULL;

	return u ? UINT64_C(1) << 10 * (u - units) : 0;
}

/* Decimal digits; *over is set when they do not fit. */
static uint64_t digits(const char **p, bool *over)
{
	uint64_t v = 0;

	for (; isdigit((unsigned char)**p); (*p)++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
			*over = true;
	}
	return v;
}

static enum size_fault parse_hex(const char *p, uint64_t unit, uint64_t *out)
{
	uint64_t v, mul = unit;
	char *end;

	if (!isxdigit((unsigned char)p[2]))
		return SIZE_SYNTAX;
	errno = 0;
	v = strtoull(p, &end, 16);
	if (*end) { /* B and E are digits here */
		mul = unit_of(*end);
		if (!mul || end[1])
			return SIZE_SYNTAX;
	}
	if (errno || __builtin_mul_overflow(v, mul, &v) || v > SIZE_MAX_BYTES)
		return SIZE_RANGE;
	*out = v;
	return SIZE_OK;
}

/* ".5" and the like, as a share of one; *p moves behind it. */
static double fraction(const char **p)
{
	char *end;
	double f;

	if (!isdigit((unsigned char)(*p)[1])) { /* "1." */
		(*p)++;
		return 0;
	}
	/* strtod would take an exponent: "1.5e" means exabytes, "1.5e3" nothing. */
	for (const char *q = *p + 1;; q++) {
		if (isdigit((unsigned char)*q))
			continue;
		if (tolower((unsigned char)*q) == 'e') {
			char buf[64];
			size_t n = (size_t)(q - *p);

			if (n >= sizeof(buf))
				n = sizeof(buf) - 1;
			memcpy(buf, *p, n);
			buf[n] = '\0';
			f = strtod(buf, NULL);
			*p = q;
			return f;
		}
		break;
	}
	f = strtod(*p, &end);
	*p = end;
	return f;
}

enum size_fault size_parse(const char *text, uint64_t unit, uint64_t *out)
{
	const char *p = text;
	uint64_t v, part, mul = unit;
	bool over = false;
	double f = 0;

	while (isspace((unsigned char)*p))
		p++;
	if (*p == '+')
		p++;
	if (!isdigit((unsigned char)*p))
		return SIZE_SYNTAX;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
		return parse_hex(p, unit, out);
	v = digits(&p, &over);
	if (*p == '.')
		f = fraction(&p);
	if (*p) {
		mul = unit_of(*p++);
		if (!mul || *p)
			return SIZE_SYNTAX;
	}
	if (f > 0 && mul == 1)
		return SIZE_SYNTAX;
	part = (uint64_t)(f * (double)mul + 0.5);
	if (over || __builtin_mul_overflow(v, mul, &v) || __builtin_add_overflow(v, part, &v) ||
	    v > SIZE_MAX_BYTES)
		return SIZE_RANGE;
	*out = v;
	return SIZE_OK;
}

const char *size_human(uint64_t bytes, char out[SIZE_TEXT])
{
	static const char *const suffix[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
	unsigned i = 0;

	/* The next unit begins at 1000 of this one, not at 1024. */
	while (i < 6 && bytes >> 10 * i >= 1000)
		i++;
	snprintf(out, SIZE_TEXT, "%0.3g %sB", (double)bytes / (double)(UINT64_C(1) << 10 * i),
		 suffix[i]);
	return out;
}
