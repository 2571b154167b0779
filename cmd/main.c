/*
 * Dispatch: by the name we were called with, then by the command's word.
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/help.h"
#include "cmd/suggest.h"
#include "lib/io/io.h"
#include "lib/pack.h"

const struct command *const commands[] = {
	&cmd_create,  &cmd_convert,    &cmd_info,     &cmd_map,	   &cmd_check,
	&cmd_compare, &cmd_measure,    &cmd_snapshot, &cmd_bitmap, &cmd_resize,
	&cmd_amend,   &cmd_commit,     &cmd_rebase,   &cmd_dd,	   &cmd_bench,
	&cmd_help,    &cmd_completion, &cmd_man,      NULL,
};

/* The command at work, for the "Try ..." line; NULL: none yet. */
static const struct command *current;

/* As the peer's, without its name, and apart from the error, which then says less. Under
 * our own name all is in the one line of the error. */
static void say_notice(const char *text)
{
	fflush(stdout);
	fprintf(stderr, "%s\n", text);
}

static void say_warning(const char *text)
{
	cmd_warn("%s", text);
}

static void say_try(void)
{
	if (current && cmd_persona == PERSONA_PLATTER)
		fprintf(stderr, "Try 'platter %s --help' for more information\n",
			current->name);
	else
		fprintf(stderr, "Try '%s --help' for more information\n", cmd_name);
}

int cmd_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	cmd_verror(fmt, ap);
	va_end(ap);
	say_try();
	return 1;
}

int cmd_unknown(const char *word)
{
	const char *near = help_nearest(word);

	current = NULL;
	if (cmd_persona == PERSONA_PLATTER && near)
		return cmd_usage("Command not found: %s; did you mean '%s'?", word, near);
	return cmd_usage("Command not found: %s", word);
}

/* "unrecognized option '--fromat'", and the nearest one under our own name. */
static void say_bad_option(const struct command *cmd, const struct err *err)
{
	const char *name = strstr(err->text, "'--");
	char word[64];
	struct suggest s;
	size_t n;

	if (cmd_persona == PERSONA_QEMU_IMG || !name || strncmp(err->text, "unrec", 5))
		goto plain;
	n = strcspn(name + 3, "='");
	if (n >= sizeof(word))
		goto plain;
	memcpy(word, name + 3, n);
	word[n] = '\0';
	suggest_begin(&s, word);
	for (const struct opt *t = cmd->opts; t->type != OPT_END; t++) {
		if (t->name && !(t->flags & OPT_HIDDEN))
			suggest_offer(&s, t->name);
	}
	if (s.best) {
		cmd_usage("%s; did you mean '--%s'?", err->text, s.best);
		return;
	}
plain:
	cmd_usage("%s", err->text);
}

struct opts *cmd_parse(const struct command *cmd, int argc, char **argv, int *npos, int *done)
{
	struct opts *o;
	struct err err;

	*done = 1;
	current = cmd;
	o = opts_new(&err);
	if (!o) {
		cmd_err(&err);
		return NULL;
	}
	if (opts_argv(o, cmd->opts, argc, argv, npos, &err)) {
		say_bad_option(cmd, &err);
		opts_free(o);
		return NULL;
	}
	if (opts_has(o, "help")) {
		help_command(stdout, cmd);
		*done = 0;
		opts_free(o);
		return NULL;
	}
	return o;
}

int cmd_with_image(const struct command *cmd, int argc, char **argv,
		   int (*fn)(const struct opts *o, const char *name))
{
	struct opts *o;
	int npos, rc;

	o = cmd_parse(cmd, argc, argv, &npos, &rc);
	if (!o)
		return rc;
	rc = npos == 1 ? fn(o, argv[1]) : cmd_usage("Expecting one image file name");
	opts_free(o);
	return rc;
}

/* What formats/dmg has of them. */
#ifdef HAVE_BZIP2
#define HAS_BZIP2 true
#else
#define HAS_BZIP2 false
#endif
#ifdef HAVE_LIBLZMA
#define HAS_XZ true
#else
#define HAS_XZ false
#endif

static const char *with(bool has)
{
	return has ? "with" : "without";
}

void cmd_version(FILE *to)
{
	/* The peer's callers look for a version of the peer's. */
	if (cmd_persona == PERSONA_QEMU_IMG)
		fputs("qemu-img version 7.2.22 (Platter " PLATTER_VERSION ")\n", to);
	else
		fputs("platter " PLATTER_VERSION "\n", to);
	fprintf(to, "Deflate by %s, %s zstd, %s bzip2, %s xz\n", pack_deflate_library(),
		with(pack_has(CODEC_ZSTD)), with(HAS_BZIP2), with(HAS_XZ));
}

/* The standard options, which stand before the command. -1: go on; else the exit code. */
static int standard_options(int *argc, char ***argv)
{
	static const struct opt table[] = {
		{"help", 'h', OPT_FLAG},
		{"version", 'V', OPT_FLAG},
		{"trace", 'T', OPT_STR},
		{.type = OPT_END},
	};
	struct opts *o;
	struct err err;
	int n = 1, npos, r = -1;

	/* Up to the first word that is neither an option nor an option's argument. */
	while (n < *argc && (*argv)[n][0] == '-' && strcmp((*argv)[n], "--")) {
		bool takes = strcmp((*argv)[n], "-T") == 0 ||
			     strcmp((*argv)[n], "--trace") == 0;

		n += takes && n + 1 < *argc ? 2 : 1;
	}
	o = opts_new(&err);
	if (!o || opts_argv(o, table, n, *argv, &npos, &err)) {
		opts_free(o);
		return cmd_usage("%s", err.text);
	}
	if (opts_has(o, "help")) {
		help_all(stdout);
		r = 0;
	} else if (opts_has(o, "version")) {
		cmd_version(stdout);
		r = 0;
	} else if (opts_has(o, "trace") && strcmp(opts_get(o, "trace"), "help") == 0) {
		r = 0; /* the list of events is empty */
	} else if (opts_has(o, "trace")) {
		cmd_warn("trace event '%s' does not exist", opts_get(o, "trace"));
	}
	opts_free(o);
	if (n < *argc && strcmp((*argv)[n], "--") == 0)
		n++;
	*argv += n;
	*argc -= n;
	return r;
}

/* The output is a pipe or socket that nobody reads any more. */
static bool reader_left(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
}

/* Lost output is a failure: a full disk must not pass for success. */
static int finish(int r)
{
	int num = fflush(stdout) ? errno : 0; /* 0: an earlier write failed, why is forgotten */

	if (num == 0 && !ferror(stdout))
		return r;
	if (!reader_left()) /* one such as head has what it wants */
		fprintf(stderr, "%s: cannot write to standard output%s%s\n", cmd_name,
			num ? ": " : "", num ? strerror(num) : "");
	return r ? r : 1;
}

/*
 * A standard stream that we were started without must not become an image's descriptor:
 * what is printed would go there. In its place comes one that fails as the closed one would.
 */
static void occupy_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			continue;
		/* the lowest free number is fd */
		if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			_exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *base = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const struct command *cmd;
	int r;

	base = base ? base + 1 : argc > 0 ? argv[0] : "";
	if (strcmp(base, "qemu-img") == 0) {
		cmd_persona = PERSONA_QEMU_IMG;
		cmd_name = "qemu-img";
		err_notice_to(say_notice);
	}
	err_warn_to(say_warning);
	io_file_tell_holders(cmd_persona == PERSONA_PLATTER);
	occupy_streams();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* the write fails, and says so */
	r = argc > 0 ? standard_options(&argc, &argv) : -1;
	if (r >= 0)
		return finish(r);
	if (argc < 1 || !argv[0])
		return cmd_usage("Not enough arguments");
	cmd = help_find(argv[0]);
	if (!cmd)
		return cmd_unknown(argv[0]);
	return finish(cmd->run(argc, argv));
}
