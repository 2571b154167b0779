/*
 * What people read of an option table: --help, -o help, the manual's OPTIONS.
 */
#include "lib/opt.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH  80
#define COLUMN 28 /* where the text of --help begins */

static bool shown(const struct opt *t, unsigned without)
{
	return !(t->flags & (OPT_HIDDEN | without));
}

/* Words of text from column `at`, each new line at COLUMN. */
static void print_wrapped(FILE *to, const char *text, int at)
{
	while (*text) {
		int n = (int)strcspn(text, " ");

		if (at > COLUMN && at + 1 + n > WIDTH) {
			fprintf(to, "\n%*s", COLUMN, "");
			at = COLUMN;
		} else if (at > COLUMN) {
			putc(' ', to);
			at++;
		}
		fprintf(to, "%.*s", n, text);
		at += n;
		text += n + strspn(text + n, " ");
	}
	putc('\n', to);
}

void opt_help(FILE *to, const struct opt *table, unsigned without)
{
	for (const struct opt *t = table; t->type != OPT_END; t++) {
		char left[WIDTH];
		int n;

		if (!shown(t, without))
			continue;
		n = snprintf(left, sizeof(left), "  %c%c%s%s%s%s%s", t->letter ? '-' : ' ',
			     t->letter ? t->letter : ' ',
			     t->letter && t->name ? ", "
			     : t->name		  ? "  "
						  : "",
			     t->name ? "--" : "", t->name ? t->name : "", t->arg ? " " : "",
			     t->arg ? t->arg : "");
		if (n + 2 > COLUMN)
			fprintf(to, "%s\n%*s", left, COLUMN, "");
		else
			fprintf(to, "%-*s", COLUMN, left);
		print_wrapped(to, t->help ? t->help : "", COLUMN);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct opt *const *)a)->name,
		      (*(const struct opt *const *)b)->name);
}

static const char *type_name(const struct opt *t)
{
	switch (t->type) {
	case OPT_BOOL:
	case OPT_FLAG:
		return "bool (on/off)";
	case OPT_SIZE:
		return "size";
	case OPT_NUM:
		return "num";
	default:
		return "str";
	}
}

void opt_help_keys(FILE *to, const struct opt *const tables[], unsigned only, unsigned without)
{
	const struct opt **row;
	size_t n = 0, room = 0;

	for (size_t i = 0; tables[i]; i++) {
		for (const struct opt *t = tables[i]; t->type != OPT_END; t++)
			room++;
	}
	row = calloc(room + 1, sizeof(const struct opt *));
	if (!row)
		return;
	for (size_t i = 0; tables[i]; i++) {
		for (const struct opt *t = tables[i]; t->type != OPT_END; t++) {
			if (t->name && shown(t, without) && (t->flags & only) == only)
				row[n++] = t;
		}
	}
	qsort(row, n, sizeof(const struct opt *), by_name);
	for (size_t i = 0; i < n; i++) {
		char left[WIDTH];

		if (i && strcmp(row[i]->name, row[i - 1]->name) == 0)
			continue; /* format and protocol both take it */
		snprintf(left, sizeof(left), "%s=<%s>", row[i]->name, type_name(row[i]));
		if (row[i]->help)
			fprintf(to, "  %-22s - %s\n", left, row[i]->help);
		else
			fprintf(to, "  %s\n", left);
	}
	free(row);
}

/* Text in which mdoc would see a request, an escape or a macro. */
static void print_roff(FILE *to, const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", to);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", to);
		else if (*text == '-')
			fputs("\\-", to);
		else
			putc(*text, to);
	}
}

static void mdoc_text(FILE *to, const struct opt *t)
{
	if (t->help) {
		print_roff(to, t->help);
		fputs(t->help[0] && t->help[strlen(t->help) - 1] == '.' ? "\n" : ".\n", to);
	}
	if (t->choices) {
		fputs("One of", to);
		for (const char *c = t->choices; *c;) {
			size_t n = strcspn(c, "|");

			fprintf(to, "\n.Cm %.*s%s", (int)n, c, c[n] ? " ," : " .");
			c += n + (c[n] == '|');
		}
		putc('\n', to);
	}
	if (t->initial)
		fprintf(to, "Default:\n.Cm %s .\n", t->initial);
}

void opt_mdoc(FILE *to, const struct opt *table)
{
	fputs(".Bl -tag -width Ds\n", to);
	for (const struct opt *t = table; t->type != OPT_END; t++) {
		if (!shown(t, 0))
			continue;
		fputs(".It", to);
		if (t->letter)
			fprintf(to, " Fl %c%s", t->letter, t->name ? " ," : "");
		if (t->name)
			fprintf(to, " Fl \\-%s", t->name);
		if (t->arg)
			fprintf(to, " Ar %s", t->arg);
		putc('\n', to);
		mdoc_text(to, t);
	}
	fputs(".El\n", to);
}

void opt_mdoc_keys(FILE *to, const struct opt *table)
{
	fputs(".Bl -tag -width Ds\n", to);
	for (const struct opt *t = table; t->type != OPT_END; t++) {
		if (!shown(t, 0) || !t->name)
			continue;
		fprintf(to, ".It Cm %s Ns = Ns Ar %s\n", t->name,
			t->type == OPT_BOOL || t->type == OPT_FLAG ? "on|off" : type_name(t));
		mdoc_text(to, t);
	}
	fputs(".El\n", to);
}
