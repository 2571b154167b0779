#include "lib/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int num, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	err->num = num;
	return -1;
}

static void append(struct err *err, const char *s)
{
	size_t n = strlen(err->text);

	snprintf(err->text + n, sizeof(err->text) - n, "%s", s);
}

int err_sys(struct err *err, const char *fmt, ...)
{
	int num = errno;
	char buf[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	err->num = num;
	append(err, ": ");
	append(err, strerror_r(num, buf, sizeof(buf)));
	return -1;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
	char old[ERR_TEXT_MAX];
	va_list ap;

	memcpy(old, err->text, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	append(err, ": ");
	append(err, old);
	return -1;
}

int err_hint(struct err *err, const char *fmt, ...)
{
	char hint[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(hint, sizeof(hint), fmt, ap);
	va_end(ap);
	append(err, "\n");
	append(err, hint);
	return -1;
}

int err_nomem(struct err *err, unsigned long long bytes, const char *what)
{
	return err_set(err, ENOMEM, "Cannot allocate %llu bytes for %s", bytes, what);
}

static void (*teller)(const char *text);

void err_notice_to(void (*tell)(const char *text))
{
	teller = tell;
}

bool err_has_notice(void)
{
	return teller;
}

bool err_notice(const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	if (!teller)
		return false;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	teller(text);
	return true;
}

static void (*warner)(const char *text);

void err_warn_to(void (*tell)(const char *text))
{
	warner = tell;
}

void err_warn(const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	if (!warner)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	warner(text);
}
