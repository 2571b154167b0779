#include "cmd/help.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/catalog.h"
#include "cmd/suggest.h"
#include "lib/mem.h"

static bool exists(const struct command *cmd)
{
	return cmd_persona == PERSONA_PLATTER || !(cmd->flags & CMD_OURS);
}

/* Options that are not spoken of under the name we were called by. */
static unsigned unspoken(void)
{
	return cmd_persona == PERSONA_QEMU_IMG ? OPT_OURS : 0;
}

const struct command *help_find(const char *name)
{
	for (size_t i = 0; commands[i]; i++) {
		if (exists(commands[i]) && strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

const char *help_nearest(const char *name)
{
	struct suggest s;

	suggest_begin(&s, name);
	for (size_t i = 0; commands[i]; i++) {
		if (exists(commands[i]) && !(commands[i]->flags & CMD_HIDDEN))
			suggest_offer(&s, commands[i]->name);
	}
	return s.best;
}

/* "  info [-f FMT] [-U] FILENAME" on one line: callers search it for options. */
static void print_syntax(FILE *to, const struct command *cmd)
{
	fprintf(to, "  %s", cmd->name);
	for (const struct opt *t = cmd->opts; t->type != OPT_END; t++) {
		if (t->flags & (OPT_HIDDEN | OPT_OURS))
			continue;
		fputs(" [", to);
		if (t->letter)
			fprintf(to, "-%c%s", t->letter, t->name ? "|" : "");
		if (t->name)
			fprintf(to, "--%s", t->name);
		if (t->arg)
			fprintf(to, " %s", t->arg);
		putc(']', to);
	}
	fprintf(to, " %s\n", cmd->synopsis);
}

static int by_word(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Formats and protocols, sorted; in one line, as programs look for it, or in several. */
static void print_formats(FILE *to, unsigned width)
{
	static const char title[] = "Supported formats:";
	const char *name[64];
	size_t n = 0, at = strlen(title);

	for (size_t i = 0; catalog_formats[i] && n < ARRAY_LEN(name); i++)
		name[n++] = catalog_formats[i]->name;
	for (size_t i = 0; catalog_protocols[i] && n < ARRAY_LEN(name); i++)
		name[n++] = catalog_protocols[i]->name;
	qsort(name, n, sizeof(name[0]), by_word);
	fputs(title, to);
	for (size_t i = 0; i < n; i++) {
		if (width && at + 1 + strlen(name[i]) > width)
			at = (size_t)fprintf(to, "\n ") - 1;
		at += (size_t)fprintf(to, " %s", name[i]);
	}
	putc('\n', to);
}

static void help_qemu_img(FILE *to)
{
	cmd_version(to);
	fputs("usage: qemu-img [-h | -V | -T PATTERN] COMMAND [OPTIONS] ...\n\n"
	      "  -h, --help           print this and exit\n"
	      "  -V, --version        print the version and exit\n"
	      "  -T, --trace PATTERN  name trace events (there are none)\n\n"
	      "Commands:\n",
	      to);
	for (size_t i = 0; commands[i]; i++) {
		if (exists(commands[i]))
			print_syntax(to, commands[i]);
	}
	fputs("\nSizes count bytes; a suffix k, M, G, T, P or E multiplies by powers of 1024.\n"
	      "Cache modes: none, writeback, writethrough, directsync, unsafe.\n"
	      "-o help lists the options of a format. COMMAND --help explains a command.\n\n",
	      to);
	print_formats(to, 0);
}

static void help_platter(FILE *to)
{
	fputs("Usage: platter COMMAND [OPTIONS] ...\n\n", to);
	for (size_t i = 0; commands[i]; i++) {
		if (!(commands[i]->flags & CMD_HIDDEN))
			fprintf(to, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
	}
	putc('\n', to);
	print_formats(to, 80);
	fputs("'platter help COMMAND' tells a command's options, 'platter --version' what is\n"
	      "in this build. Called through a link named qemu-img, this is qemu-img.\n",
	      to);
}

void help_all(FILE *to)
{
	if (cmd_persona == PERSONA_QEMU_IMG)
		help_qemu_img(to);
	else
		help_platter(to);
}

void help_command(FILE *to, const struct command *cmd)
{
	if (cmd_persona == PERSONA_QEMU_IMG) {
		cmd_version(to);
		fputs("usage:\n", to);
		print_syntax(to, cmd);
	} else {
		fprintf(to, "Usage: platter %s [OPTIONS] %s\n\n%s.\n", cmd->name, cmd->synopsis,
			cmd->summary);
	}
	if (cmd->opts->type != OPT_END) {
		fputs("\nOptions:\n", to);
		opt_help(to, cmd->opts, unspoken());
	}
}

static const struct opt help_opts[] = {{.type = OPT_END}};

static int run_help(int argc, char **argv)
{
	const struct command *about;
	struct opts *o;
	int npos, done;

	o = cmd_parse(&cmd_help, argc, argv, &npos, &done);
	if (!o)
		return done;
	opts_free(o);
	if (npos == 0) {
		help_all(stdout);
		return 0;
	}
	about = help_find(argv[1]);
	if (!about)
		return cmd_unknown(argv[1]);
	help_command(stdout, about);
	return 0;
}

const struct command cmd_help = {
	.name = "help",
	.synopsis = "[COMMAND]",
	.summary = "Explain a command, or list them all",
	.opts = help_opts,
	.run = run_help,
	.flags = CMD_OURS,
};
