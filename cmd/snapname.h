/*
 * Which snapshot of an image is meant by what a user typed.
 */
#ifndef CMD_SNAPNAME_H
#define CMD_SNAPNAME_H

#include "formats/format.h"

/* Is the text of -l well-formed? "snapshot.id=ID,snapshot.name=NAME", of which one may be
 * missing (keyed), or any other text, an ID or a name. */
int snapname_check(const char *text, struct err *err);
bool snapname_keyed(const char *text);
/* The place in the list; -1: not there. The text is one that snapname_check let pass. */
int snapname_find(const struct snapshot_info *list, size_t n, const char *text, size_t *i);
/* The same for an ID or a name: the ID wins. */
int snapname_either(const struct snapshot_info *list, size_t n, const char *text, size_t *i);
/* The first of this name. */
int snapname_named(const struct snapshot_info *list, size_t n, const char *name, size_t *i);
/* The image, just opened to be read, shows the snapshot from now on. */
int snapname_load(struct image *image, const char *text, struct err *err);

#endif
