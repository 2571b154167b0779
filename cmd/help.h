/*
 * The help texts, all from the tables.
 */
#ifndef CMD_HELP_H
#define CMD_HELP_H

#include <stdio.h>

#include "cmd/cmd.h"

/* What --help prints: a screen of our own, or the long text that callers of the peer
 * search. */
void help_all(FILE *to);
void help_command(FILE *to, const struct command *cmd);
/* The command of that name that exists under the name we were called by; NULL: none. */
const struct command *help_find(const char *name);
/* "; did you mean 'convert'?" on stderr is ours alone: the nearest command or NULL. */
const char *help_nearest(const char *name);

#endif
