/*
 * Options: one table type for the flags of a command, the -o options of a driver, the
 * keys of --image-opts and json:. From the table come the parser, --help, -o help,
 * shell completion and the OPTIONS section of the manual.
 *
 * The rows of a driver's create_opts, "size" among them, stand in the order in which the
 * peer's "Formatting ..." line shows them. A row with the letter of an earlier row is
 * another spelling of it: what it is given is stored under the earlier row's name.
 *
 * A parsed set is a `struct opts`: keys and string values in the order given. Typed
 * getters check the value when it is asked for and name the key in the error. The
 * last of a repeated key wins.
 *
 * Ownership: opts_free drops a set; strings returned are borrowed from it.
 * Threads: none; a set belongs to one thread.
 */
#ifndef LIB_OPT_H
#define LIB_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/err.h"

enum opt_type {
	OPT_END,  /* the table's last row (zeroed) */
	OPT_FLAG, /* present or not; as a key: on/off */
	OPT_BOOL, /* on/off (also yes/no, true/false, y/n as the peer takes them) */
	OPT_STR,
	OPT_SIZE, /* bytes with suffix, see lib/size.h */
	OPT_NUM,  /* an unsigned number, decimal or 0x */
};

enum {
	OPT_HIDDEN = 1,	 /* parsed, not shown (aliases, the peer's old spellings) */
	OPT_MANY = 2,	 /* every occurrence counts: opts_each (-o, --object) */
	OPT_OURS = 4,	 /* unknown to the peer: not offered under its name */
	OPT_PROTO = 8,	 /* belongs to the protocol below (-o help shows it with a file) */
	OPT_AMEND = 16,	 /* also an option of amend */
	OPT_PREFIX = 32, /* name ends in '.': any key below it is taken */
};

struct opt {
	const char *name; /* long option without dashes, or key; NULL if only a letter */
	char letter;	  /* short option; 0 for none */
	enum opt_type type;
	unsigned flags;
	const char *arg; /* metavariable in help: "FMT" */
	const char
		*choices; /* "off|metadata|falloc|full": checked, completed, shown; or NULL */
	const char *help; /* one line */
	/* Value of a key that is not given, as it would be typed; NULL: none. */
	const char *initial;
};

struct opts;

struct opts *opts_new(struct err *err);
struct opts *opts_copy(const struct opts *o, struct err *err);
void opts_free(struct opts *o);
/* Appends; a later value of the key wins. value NULL means the flag is given ("on"). */
int opts_set(struct opts *o, const char *key, const char *value, struct err *err);
void opts_unset(struct opts *o, const char *key);

/* "a=b,c=d,flag": ",," stands for a comma; "noflag" is flag=off. If `implied` is not
 * NULL, a first item without '=' is the value of that key. */
int opts_parse(struct opts *o, const char *text, const char *implied, struct err *err);
/* -1 with "Invalid parameter 'x'" unless every key is in one of the tables. */
int opts_check(const struct opts *o, const struct opt *const tables[], struct err *err);
/* The row of a key in one table; NULL: it has none. */
const struct opt *opts_row(const struct opt *table, const char *key);
/* -1 unless the value of a switch, size or number is one. */
int opts_check_value(const struct opts *o, const struct opt *row, struct err *err);
/* The same for all keys that the table has. */
int opts_check_values(const struct opts *o, const struct opt *table, struct err *err);

const char *opts_get(const struct opts *o, const char *key); /* NULL: not given */
bool opts_has(const struct opts *o, const char *key);
/* Each leaves *out alone (the default) where the key is not given. */
int opts_bool(const struct opts *o, const char *key, bool *out, struct err *err);
int opts_size(const struct opts *o, const char *key, uint64_t *out, struct err *err);
int opts_num(const struct opts *o, const char *key, uint64_t max, uint64_t *out,
	     struct err *err);
/* Index of the value in "a|b|c"; -1 with an error that lists them. */
int opts_choice(const struct opts *o, const char *key, const char *choices, int *out,
		struct err *err);

/* The set of keys "PREFIX.rest", as a new set of "rest". */
struct opts *opts_below(const struct opts *o, const char *prefix, struct err *err);
size_t opts_count(const struct opts *o);
const char *opts_key(const struct opts *o, size_t i);
const char *opts_value(const struct opts *o, size_t i);

/*
 * The command line of one command: fills `o` by the table, under each option's long
 * name (or its letter where it has none), and moves positionals, in order, to the
 * front of argv from argv[1]; *npos says how many. Options may stand anywhere; "--"
 * ends them. Errors have getopt's wording.
 */
int opts_argv(struct opts *o, const struct opt *table, int argc, char **argv, int *npos,
	      struct err *err);

/* Help of a table: "  -f, --format FMT    text" lines, wrapped at 80. Rows with one of
 * the flags in `without` are left out, here and below. */
void opt_help(FILE *to, const struct opt *table, unsigned without);
/* The "  size=<size>            - Virtual disk size" lines of -o help: all rows of the
 * tables (NULL-terminated) that have the flags `only`, sorted. */
void opt_help_keys(FILE *to, const struct opt *const tables[], unsigned only, unsigned without);
/* mdoc(7) list of a table of flags, or of keys, for the manual. */
void opt_mdoc(FILE *to, const struct opt *table);
void opt_mdoc_keys(FILE *to, const struct opt *table);

#endif
