/*
 * Who we are, and what we say on stderr.
 */
#include "cmd/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum persona cmd_persona = PERSONA_PLATTER;
const char *cmd_name = "platter";

static void __attribute__((format(printf, 2, 0)))
say(const char *kind, const char *fmt, va_list ap)
{
	fflush(stdout);
	fprintf(stderr, "%s: %s", cmd_name, kind);
	vfprintf(stderr, fmt, ap);
	putc('\n', stderr);
}

void cmd_verror(const char *fmt, va_list ap)
{
	say("", fmt, ap);
}

void cmd_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("", fmt, ap);
	va_end(ap);
}

void cmd_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("warning: ", fmt, ap);
	va_end(ap);
}

void cmd_err(const struct err *err)
{
	cmd_error("%s", err->text);
}

void cmd_report_line(void *arg, const char *line)
{
	/* with the peer that is no line of the report, but a message of its own */
	bool message = strncmp(line, "ERROR failed to read", 20) == 0 ||
		       strncmp(line, "ERROR snapshot table too", 24) == 0;

	fflush(stdout);
	fprintf(stderr, "%s%s%s\n", message ? cmd_name : "", message ? ": " : "", line);
}
