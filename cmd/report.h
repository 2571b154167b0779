/*
 * Pieces of output that several commands share.
 */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include <stdio.h>

#include "formats/format.h"
#include "lib/json.h"

/* A name or other text out of an image. Under our own name, bytes that could steer a
 * terminal are shown as \xNN; the peer prints them as they are. */
void report_text(FILE *to, const char *text);

/* The same, and blanks up to a column's width in bytes of the text. */
void report_cell(FILE *to, const char *text, int width);

/* The table of `info` and `snapshot -l`, with its heading. */
void report_snapshots(FILE *to, const struct snapshot_info *s, size_t n);
/* The same for JSON; NULL: no memory. */
struct json *report_snapshots_json(const struct snapshot_info *s, size_t n);

/* A tree of JSON for people: "key: value" lines, four blanks for each level. */
void report_tree(FILE *to, const struct json *tree, int indent);

#endif
