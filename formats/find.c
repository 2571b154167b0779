#include <stdarg.h>
#include <stdio.h>

#include "formats/format.h"

void check_find(struct check *c, const struct check_problem *p, const char *fmt, ...)
{
	char line[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (c->report)
		c->report(c->arg, line);
	if (c->problem && p->kind)
		c->problem(c->arg, p);
}
