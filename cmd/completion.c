/*
 * completion: scripts for the shells, from the option tables. A shell script asks
 * nothing back: all that it knows is printed here.
 */
#include <stdio.h>
#include <string.h>

#include "cmd/catalog.h"
#include "cmd/cmd.h"
#include "lib/mem.h"

/* What may stand after an option. */
enum value { VALUE_NONE, VALUE_WORDS, VALUE_FORMATS, VALUE_FILE, VALUE_KEYS, VALUE_TEXT };

static enum value value_of(const struct opt *t)
{
	if (t->type == OPT_FLAG)
		return VALUE_NONE;
	if (t->choices)
		return VALUE_WORDS;
	if (t->arg && (strcmp(t->arg, "FMT") == 0))
		return VALUE_FORMATS;
	if (t->arg && strstr(t->arg, "FILE"))
		return VALUE_FILE;
	return t->letter == 'o' ? VALUE_KEYS : VALUE_TEXT;
}

static bool shown(const struct opt *t)
{
	return !(t->flags & OPT_HIDDEN);
}

/* "a|b|c" with another separator. */
static void print_words(const char *words, char between)
{
	for (; *words; words++)
		putchar(*words == '|' ? between : *words);
}

static void print_formats(const char *between)
{
	for (size_t i = 0; catalog_formats[i]; i++)
		printf("%s%s", i ? between : "", catalog_formats[i]->name);
}

/* Text inside single quotes; `more` are characters that the place gives a meaning. */
static void print_quoted(const char *text, const char *more)
{
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", stdout);
		else if (strchr(more, *text))
			printf("\\%c", *text);
		else
			putchar(*text);
	}
}

/* --- bash --- */

static const char bash_head[] = "# bash completion for platter\n"
				"# . <(platter completion bash)\n"
				"_platter_words() {\n"
				"\tlocal IFS=$' \\t\\n'\n"
				"\tmapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$2\")\n"
				"\tcase ${COMPREPLY[0]-} in *=) compopt -o nospace ;; esac\n"
				"}\n"
				"_platter_files() {\n"
				"\tcompopt -o filenames\n"
				"\tmapfile -t COMPREPLY < <(compgen -f -- \"$1\")\n"
				"}\n";

/* $words: the line cut at blanks only; "--name=" is cut off $cur into $pre. */
static const char bash_tail[] =
	"_platter() {\n"
	"\tlocal line=${COMP_LINE:0:COMP_POINT} words cur pre= opt= i\n"
	"\tread -r -a words <<<\"$line\"\n"
	"\tcase $line in *[[:space:]]) words+=('') ;; esac\n"
	"\tlocal n=$((${#words[@]} - 1)) cmd=${words[1]-} fmt=\n"
	"\tCOMPREPLY=()\n"
	"\tcur=${words[n]}\n"
	"\tif ((n == 1)); then\n"
	"\t\t_platter_words \"$_platter_commands\" \"$cur\"\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tcase ${words[n - 1]} in -*) opt=${words[n - 1]} ;; esac\n"
	"\tcase $cur in --*=*) opt=${cur%%=*} pre=$opt= cur=${cur#*=} ;; esac\n"
	"\tfor ((i = 2; i < n; i++)); do\n"
	"\t\tcase ${words[i]} in -f | -O | --format | --target-format) fmt=${words[i + 1]-} ;; "
	"esac\n"
	"\tdone\n"
	"\t_platter_value \"$cmd\" \"$opt\"\n"
	"\tcase $? in\n"
	"\t1)\n"
	"\t\tcase $cur in\n"
	"\t\t-*) _platter_words \"$(_platter_options \"$cmd\")\" \"$cur\" ;;\n"
	"\t\t*)\n"
	"\t\t\tcase $cmd in\n"
	"\t\t\thelp) _platter_words \"$_platter_commands\" \"$cur\" ;;\n"
	"\t\t\tcompletion) _platter_words 'bash zsh fish' \"$cur\" ;;\n"
	"\t\t\t*) _platter_files \"$cur\" ;;\n"
	"\t\t\tesac\n"
	"\t\t\t;;\n"
	"\t\tesac\n"
	"\t\t;;\n"
	"\tesac\n"
	"\t# readline replaces only what follows the last = or : of the word\n"
	"\tcase $COMP_WORDBREAKS in\n"
	"\t*=*)\n"
	"\t\tlocal word=$cur cut\n"
	"\t\tcut=${word%\"${word##*[=:]}\"}\n"
	"\t\tfor i in \"${!COMPREPLY[@]}\"; do COMPREPLY[i]=${COMPREPLY[i]#\"$cut\"}; done\n"
	"\t\t;;\n"
	"\t*) COMPREPLY=(\"${COMPREPLY[@]/#/$pre}\") ;;\n"
	"\tesac\n"
	"}\n"
	"complete -F _platter platter\n";

static void print_commands(void)
{
	bool more = false;

	for (size_t i = 0; commands[i]; i++) {
		if (commands[i]->flags & CMD_HIDDEN)
			continue;
		printf("%s%s", more ? " " : "", commands[i]->name);
		more = true;
	}
}

static void bash_options(const struct command *cmd)
{
	printf("\t%s) echo '", cmd->name);
	for (const struct opt *t = cmd->opts; t->type != OPT_END; t++) {
		if (!shown(t))
			continue;
		if (t->letter)
			printf("-%c ", t->letter);
		if (t->name)
			printf("--%s ", t->name);
	}
	puts("-h --help' ;;");
}

/* The pattern "CMD:-x | CMD:--name". */
static void bash_pattern(const struct command *cmd, const struct opt *t)
{
	putchar('\t');
	if (t->letter)
		printf("%s:-%c", cmd->name, t->letter);
	if (t->letter && t->name)
		fputs(" | ", stdout);
	if (t->name)
		printf("%s:--%s", cmd->name, t->name);
	putchar(')');
}

static void bash_values(const struct command *cmd)
{
	for (const struct opt *t = cmd->opts; t->type != OPT_END; t++) {
		enum value v = value_of(t);

		if (v == VALUE_NONE)
			continue;
		bash_pattern(cmd, t);
		if (v == VALUE_WORDS) {
			fputs(" _platter_words '", stdout);
			print_words(t->choices, ' ');
			fputs("' \"$cur\"", stdout);
		} else if (v == VALUE_FORMATS) {
			fputs(" _platter_words '", stdout);
			print_formats(" ");
			fputs("' \"$cur\"", stdout);
		} else if (v == VALUE_FILE) {
			fputs(" _platter_files \"$cur\"", stdout);
		} else if (v == VALUE_KEYS) {
			fputs(" _platter_keys \"$cur\"", stdout);
		} else {
			fputs(" :", stdout);
		}
		puts(" ;;");
	}
}

/* "key=a key=b " for a key with few values. */
static void bash_key_values(const char *format, const struct opt *t)
{
	const char *words = t->choices ? t->choices : "on|off";

	if (!shown(t) || (!t->choices && t->type != OPT_BOOL))
		return;
	printf("\t%s:%s=*) w='", format, t->name);
	for (size_t n; *words; words += n + (words[n] == '|')) {
		n = strcspn(words, "|");
		printf("%s=%.*s ", t->name, (int)n, words);
	}
	puts("' ;;");
}

static void bash_format_keys(const struct format *f)
{
	const struct opt *const tables[] = {f->create_opts, io_file.create_opts};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		for (const struct opt *t = tables[i]; t && t->type != OPT_END; t++)
			bash_key_values(f->name, t);
	}
	printf("\t%s:*) w='", f->name);
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		for (const struct opt *t = tables[i]; t && t->type != OPT_END; t++) {
			if (shown(t) && (i == 0 || strcmp(t->name, "size")))
				printf("%s= ", t->name);
		}
	}
	puts("help' ;;");
}

/* After -o: the last item of the list, "key=" or "key=value". */
static void bash_keys(void)
{
	puts("_platter_keys() {\n"
	     "\tlocal list= item=$1 w\n"
	     "\tcase $item in *,*) list=${item%,*}, item=${item##*,} ;; esac\n"
	     "\tcase ${fmt:-raw}:$item in");
	for (size_t i = 0; catalog_formats[i]; i++)
		bash_format_keys(catalog_formats[i]);
	puts("\t*) w=help ;;\n"
	     "\tesac\n"
	     "\t_platter_words \"$w\" \"$item\"\n"
	     "\tCOMPREPLY=(\"${COMPREPLY[@]/#/$list}\")\n"
	     "}");
}

static void print_bash(void)
{
	fputs(bash_head, stdout);
	fputs("_platter_commands='", stdout);
	print_commands();
	puts("'\n_platter_options() {\n\tcase $1 in");
	for (size_t i = 0; commands[i]; i++) {
		if (!(commands[i]->flags & CMD_HIDDEN))
			bash_options(commands[i]);
	}
	puts("\tesac\n}");
	bash_keys();
	puts("# Completes the value of option $2 of command $1; 1: it takes none.\n"
	     "_platter_value() {\n\tcase $1:$2 in");
	for (size_t i = 0; commands[i]; i++)
		bash_values(commands[i]);
	puts("\t*) return 1 ;;\n\tesac\n\treturn 0\n}");
	fputs(bash_tail, stdout);
}

/* --- zsh --- */

static void zsh_option(const struct opt *t)
{
	fputs("\t\t\t'", stdout);
	if (t->flags & OPT_MANY)
		putchar('*');
	if (t->letter && t->name)
		printf("'{-%c,--%s%s}'", t->letter, t->name, t->type == OPT_FLAG ? "" : "=");
	else if (t->letter)
		printf("-%c", t->letter);
	else
		printf("--%s%s", t->name, t->type == OPT_FLAG ? "" : "=");
	putchar('[');
	print_quoted(t->help ? t->help : "", "[]:\\");
	putchar(']');
	if (value_of(t) != VALUE_NONE) {
		putchar(':');
		print_quoted(t->arg ? t->arg : "value", "[]:\\");
		putchar(':');
	}
	if (value_of(t) == VALUE_WORDS) {
		putchar('(');
		print_words(t->choices, ' ');
		putchar(')');
	} else if (value_of(t) == VALUE_FORMATS) {
		putchar('(');
		print_formats(" ");
		putchar(')');
	} else if (value_of(t) == VALUE_FILE) {
		fputs("_files", stdout);
	}
	puts("' \\");
}

static void print_zsh(void)
{
	puts("#compdef platter\n"
	     "_platter() {\n"
	     "\tlocal -a commands\n"
	     "\tcommands=(");
	for (size_t i = 0; commands[i]; i++) {
		if (commands[i]->flags & CMD_HIDDEN)
			continue;
		printf("\t\t'%s:", commands[i]->name);
		print_quoted(commands[i]->summary, ":\\");
		puts("'");
	}
	puts("\t)\n"
	     "\tif ((CURRENT == 2)); then\n"
	     "\t\t_describe command commands\n"
	     "\t\treturn\n"
	     "\tfi\n"
	     "\tlocal cmd=$words[2]\n"
	     "\tshift words\n"
	     "\t((CURRENT--))\n"
	     "\tcase $cmd in");
	for (size_t i = 0; commands[i]; i++) {
		const struct command *cmd = commands[i];

		if (cmd->flags & CMD_HIDDEN)
			continue;
		printf("\t%s)\n\t\t_arguments \\\n", cmd->name);
		for (const struct opt *t = cmd->opts; t->type != OPT_END; t++) {
			if (shown(t))
				zsh_option(t);
		}
		if (cmd == &cmd_help)
			puts("\t\t\t'*:command:{_describe command commands}'");
		else if (cmd == &cmd_completion)
			puts("\t\t\t'*:shell:(bash zsh fish)'");
		else
			puts("\t\t\t'*:file:_files'");
		puts("\t\t;;");
	}
	puts("\tesac\n"
	     "}\n"
	     "if [ \"$funcstack[1]\" = _platter ]; then _platter \"$@\"; "
	     "else compdef _platter platter; fi");
}

/* --- fish --- */

static void fish_option(const struct command *cmd, const struct opt *t)
{
	enum value v = value_of(t);

	printf("complete -c platter -n '__fish_seen_subcommand_from %s'", cmd->name);
	if (t->letter)
		printf(" -s %c", t->letter);
	if (t->name)
		printf(" -l %s", t->name);
	if (v == VALUE_FILE)
		fputs(" -r -F", stdout);
	else if (v != VALUE_NONE)
		fputs(" -x", stdout);
	if (v == VALUE_WORDS) {
		fputs(" -a '", stdout);
		print_words(t->choices, ' ');
		putchar('\'');
	} else if (v == VALUE_FORMATS) {
		fputs(" -a '", stdout);
		print_formats(" ");
		putchar('\'');
	}
	fputs(" -d '", stdout);
	for (const char *s = t->help ? t->help : ""; *s; s++)
		printf(*s == '\'' || *s == '\\' ? "\\%c" : "%c", *s);
	puts("'");
}

static void print_fish(void)
{
	for (size_t i = 0; commands[i]; i++) {
		const struct command *cmd = commands[i];

		if (cmd->flags & CMD_HIDDEN)
			continue;
		printf("complete -c platter -f -n __fish_use_subcommand -a %s -d '%s'\n",
		       cmd->name, cmd->summary);
		for (const struct opt *t = cmd->opts; t->type != OPT_END; t++) {
			if (shown(t))
				fish_option(cmd, t);
		}
	}
	fputs("complete -c platter -f -n '__fish_seen_subcommand_from help' -a '", stdout);
	print_commands();
	puts("'\ncomplete -c platter -f -n '__fish_seen_subcommand_from completion' "
	     "-a 'bash zsh fish'");
}

static const struct opt completion_opts[] = {{.type = OPT_END}};

static int run_completion(int argc, char **argv)
{
	static const struct {
		const char *shell;
		void (*print)(void);
	} t[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
	struct opts *o;
	int npos, rc;

	o = cmd_parse(&cmd_completion, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	opts_free(o);
	if (npos != 1)
		return cmd_usage("Expecting the name of a shell: bash, zsh or fish");
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		if (strcmp(argv[1], t[i].shell) == 0) {
			t[i].print();
			return 0;
		}
	}
	return cmd_usage("No completion for shell '%s': there is bash, zsh and fish", argv[1]);
}

const struct command cmd_completion = {
	.name = "completion",
	.synopsis = "bash|zsh|fish",
	.summary = "Print a completion script for a shell",
	.opts = completion_opts,
	.run = run_completion,
	.flags = CMD_OURS,
};
