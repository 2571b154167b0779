/*
 * The command line by a table: what getopt_long does, with options and positionals in
 * any order. The wording of the errors is the peer's; the whole word is named, since
 * that is what the user typed.
 */
#include "lib/opt.h"

#include <errno.h>
#include <string.h>

static const struct opt help_row = {"help", 'h', OPT_FLAG};

struct line {
	struct opts *o;
	const struct opt *table;
	int argc, i; /* i: the word at hand */
	char **argv;
	bool help; /* -h was seen: the rest does not matter */
};

static int unknown(const struct line *l, struct err *err)
{
	return err_set(err, EINVAL, "unrecognized option '%s'", l->argv[l->i]);
}

static const struct opt *by_letter(const struct opt *table, char c)
{
	for (const struct opt *t = table; t->type != OPT_END; t++) {
		if (t->letter == c)
			return t;
	}
	return c == help_row.letter ? &help_row : NULL;
}

/* The row whose name a value is stored under: the first one with the letter. */
static const struct opt *principal(const struct opt *table, const struct opt *row)
{
	return row->letter ? by_letter(table, row->letter) : row;
}

/* Do two rows stand for one option? It may have two letters. */
static bool same(const struct opt *a, const struct opt *b)
{
	return a == b || (a->name && b->name && strcmp(a->name, b->name) == 0);
}

/* A whole name, or a beginning that only one option has. What the peer does not know
 * is set aside when that leaves one, so that its callers' abbreviations still work. */
static const struct opt *by_name(const struct opt *table, const char *name, size_t n)
{
	const struct opt *found = NULL, *theirs = NULL;
	bool many = false, many_theirs = false;

	for (const struct opt *t = table;; t++) {
		if (t->type == OPT_END)
			t = &help_row;
		if (t->name && strncmp(t->name, name, n) == 0) {
			const struct opt *p = principal(table, t);

			if (t->name[n] == '\0')
				return p;
			many |= found && !same(found, p);
			found = p;
			if (!(t->flags & (OPT_OURS | OPT_HIDDEN))) {
				many_theirs |= theirs && !same(theirs, p);
				theirs = p;
			}
		}
		if (t == &help_row)
			break;
	}
	return !many ? found : !many_theirs ? theirs : NULL;
}

/* Stores what the row got. value NULL: it must be the next word, or it is a flag. */
static int store(struct line *l, const struct opt *row, const char *value, struct err *err)
{
	char letter[2] = {row->letter, '\0'};

	if (row->type != OPT_FLAG && !value) {
		if (l->i + 1 >= l->argc)
			return err_set(err, EINVAL, "missing argument for option '%s'",
				       l->argv[l->i]);
		value = l->argv[++l->i];
	}
	if (row == &help_row)
		l->help = true;
	return opts_set(l->o, row->name ? row->name : letter, value, err);
}

static int long_option(struct line *l, struct err *err)
{
	const char *name = l->argv[l->i] + 2;
	size_t n = strcspn(name, "=");
	const struct opt *row = by_name(l->table, name, n);

	if (!row || (row->type == OPT_FLAG && name[n] == '='))
		return unknown(l, err);
	return store(l, row, name[n] == '=' ? name + n + 1 : NULL, err);
}

static int short_options(struct line *l, struct err *err)
{
	for (const char *p = l->argv[l->i] + 1; *p && !l->help; p++) {
		const struct opt *row = by_letter(l->table, *p);

		if (!row)
			return unknown(l, err);
		if (row->type != OPT_FLAG)
			return store(l, row, p[1] ? p + 1 : NULL, err);
		if (store(l, row, NULL, err))
			return -1;
	}
	return 0;
}

int opts_argv(struct opts *o, const struct opt *table, int argc, char **argv, int *npos,
	      struct err *err)
{
	struct line l = {o, table, argc, 1, argv, false};
	int r = 0;

	*npos = 0;
	for (; l.i < argc && !r && !l.help; l.i++) {
		char *word = argv[l.i];

		if (strcmp(word, "--") == 0) {
			while (++l.i < argc)
				argv[++*npos] = argv[l.i];
			break;
		}
		if (word[0] != '-' || !word[1])
			argv[++*npos] = word; /* "-" alone is a name */
		else if (word[1] == '-')
			r = long_option(&l, err);
		else
			r = short_options(&l, err);
	}
	return r;
}
