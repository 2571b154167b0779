/*
 * A command: its table row. One file per command; main.c holds the list.
 */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include <stdarg.h>

#include "lib/err.h"
#include "lib/opt.h"

struct command {
	const char *name;
	const char *synopsis; /* positionals: "FILENAME [SIZE]" */
	const char *summary;  /* one line */
	const struct opt *opts;
	/* argv[0] is the command's word; returns the exit code. */
	int (*run)(int argc, char **argv);
	unsigned flags; /* CMD_* */
};

enum {
	CMD_OURS = 1,	/* not one of qemu-img's: unknown under that name */
	CMD_HIDDEN = 2, /* works, but help does not speak of it */
};

extern const struct command *const commands[]; /* NULL-terminated, in help's order */

extern const struct command cmd_create, cmd_convert, cmd_info, cmd_map, cmd_check, cmd_compare,
	cmd_measure, cmd_snapshot, cmd_bitmap, cmd_resize, cmd_amend, cmd_rebase, cmd_commit,
	cmd_dd, cmd_bench, cmd_help, cmd_completion, cmd_man;

/* How we were called. */
enum persona { PERSONA_PLATTER, PERSONA_QEMU_IMG };
extern enum persona cmd_persona;
extern const char *cmd_name; /* "platter" or "qemu-img": begins every message */

/* "NAME: text\n" on stderr. */
void cmd_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cmd_verror(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
void cmd_err(const struct err *err);
void cmd_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, then "Try 'NAME --help' for more information". Returns 1. */
int cmd_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "Command not found: WORD", likewise. Returns 1. */
int cmd_unknown(const char *word);
/* A line of a check's report, for struct check. */
void cmd_report_line(void *arg, const char *line);
/* The version lines. */
void cmd_version(FILE *to);

/*
 * Parses the command's options. Handles -h/--help (prints, *done = 0). On a mistake it
 * has printed it and *done is 1. Returns NULL when the command should return *done.
 */
struct opts *cmd_parse(const struct command *cmd, int argc, char **argv, int *npos, int *done);
/* run() of a command that takes one image file and nothing else. */
int cmd_with_image(const struct command *cmd, int argc, char **argv,
		   int (*fn)(const struct opts *o, const char *name));

#endif
