/*
 * man: fills in a manual page. The page is written by hand but for what the tables know;
 * `make` pipes man/NAME.1.in through this. Lines that it replaces:
 *
 *	.\" OPTIONS			the options of the command
 *	.\" KEYS FORMAT			the -o options of a format
 *	.\" COMMANDS			a list of all commands
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "cmd/help.h"
#include "lib/mem.h"

static void print_commands(void)
{
	puts(".Bl -tag -width Ds");
	for (size_t i = 0; commands[i]; i++) {
		if (!(commands[i]->flags & CMD_HIDDEN))
			printf(".It Xr platter-%s 1\n%s.\n", commands[i]->name,
			       commands[i]->summary);
	}
	puts(".El");
}

/* A line that asks for something. */
static int fill_in(const char *line, const struct command *about)
{
	const struct format *f;

	if (strcmp(line, "COMMANDS") == 0) {
		print_commands();
		return 0;
	}
	if (strcmp(line, "OPTIONS") == 0 && about) {
		opt_mdoc(stdout, about->opts);
		return 0;
	}
	f = strncmp(line, "KEYS ", 5) == 0 ? catalog_format(line + 5) : NULL;
	if (f) {
		if (f->create_opts)
			opt_mdoc_keys(stdout, f->create_opts);
		return 0;
	}
	f = strncmp(line, "OPEN ", 5) == 0 ? catalog_format(line + 5) : NULL;
	if (f) {
		if (f->open_opts)
			opt_mdoc_keys(stdout, f->open_opts);
		return 0;
	}
	cmd_error("man: nothing to put for '.\\\" %s'", line);
	return 1;
}

static int fill(const struct command *about)
{
	static const char mark[] = ".\\\" ";
	AUTO_FREE char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int rc = 0;

	while (!rc && (n = getline(&line, &room, stdin)) > 0) {
		const char *word = line + sizeof(mark) - 1;

		if (strncmp(line, mark, sizeof(mark) - 1) == 0 &&
		    (strncmp(word, "OPTIONS\n", 8) == 0 || strncmp(word, "KEYS ", 5) == 0 ||
		     strncmp(word, "OPEN ", 5) == 0 || strncmp(word, "COMMANDS\n", 9) == 0)) {
			line[n - 1] = '\0';
			rc = fill_in(word, about);
		} else {
			fputs(line, stdout);
		}
	}
	if (!rc && ferror(stdin)) {
		cmd_error("man: cannot read the page: %m");
		rc = 1;
	}
	return rc;
}

static const struct opt man_opts[] = {{.type = OPT_END}};

static int run_man(int argc, char **argv)
{
	const struct command *about = NULL;
	struct opts *o;
	int npos, rc;

	o = cmd_parse(&cmd_man, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	opts_free(o);
	if (npos > 1)
		return cmd_usage("Expecting at most one command");
	if (npos == 1) {
		about = help_find(argv[1]);
		if (!about)
			return cmd_unknown(argv[1]);
	}
	return fill(about);
}

const struct command cmd_man = {
	.name = "man",
	.synopsis = "[COMMAND] <PAGE.in",
	.summary = "Fill in a manual page",
	.opts = man_opts,
	.run = run_man,
	.flags = CMD_OURS | CMD_HIDDEN,
};
