/*
 * Arguments that several commands share. Each prints its own message and then returns
 * what the command should return (mostly 1), or 0.
 */
#ifndef CMD_ARGS_H
#define CMD_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/stack.h"
#include "formats/format.h"
#include "lib/opt.h"
#include "lib/progress.h"

/* --output human|json */
int args_output(const struct opts *o, bool *json);
/* --object, each of them: secrets. */
int args_object(const struct opts *o);
/* All texts of option `name` (-o) as one list, joined in order. *help is set where one of
 * the items is "help" or "?"; then nothing is parsed into out. */
int args_keys(const struct opts *o, const char *name, struct opts *out, bool *help);
/* A format by name, with a hint where the name is nearly one. NULL: it has been said,
 * by the second one after "FILE: " if file is not NULL. */
const struct format *args_format(const char *name);
const struct format *args_format_for(const char *name, const char *file);
/* A size argument in bytes: *out. */
int args_size(const char *text, uint64_t *out);
/* The same for another thing than an "image size": "start offset". */
int args_bytes(const char *text, const char *what, uint64_t *out);
int args_range(const char *text, const char *what, uint64_t min, uint64_t max, uint64_t *out);
/* A cache mode, or NULL; what: "cache" or "source cache". */
int args_cache(const char *mode, const char *what);
/* -l of commands that read a snapshot: its form. */
int args_snapshot(const struct opts *o);
/* A request to read `name`, from -f, --image-opts and -U. */
int args_source(const struct opts *o, const char *name, struct stack_request *r);
/* stack_open; NULL: it has been said why. */
struct chain *args_open(const struct stack_request *r);
/* Closes what was written. The command's exit code, which was rc so far. */
int args_close(struct chain *chain, int rc);
/* Threads for work on data: as many as there are processors for us, 16 at most. */
unsigned args_threads(void);
/* -p and -q -> how progress is shown. */
enum progress_style args_progress(const struct opts *o);

#endif
