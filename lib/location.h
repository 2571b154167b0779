/*
 * What the user typed to name an image: a path, "file:...", "json:{...}", a URI, or
 * (under --image-opts) a list of options. All become one set of flat keys, the way
 * QEMU's block options are spelled: driver, file.driver, file.filename, backing.driver
 * ... Nothing is opened here. Names that images contain never come through here.
 */
#ifndef LIB_LOCATION_H
#define LIB_LOCATION_H

#include <stdbool.h>

#include "lib/opt.h"

struct location {
	char *name;	   /* as given: for messages */
	struct opts *opts; /* flat keys */
	bool explicit_;	   /* json: or --image-opts: `driver` names the format or protocol */
};

/* Plain text: a path unless it begins with a known scheme. */
int location_parse(const char *text, struct location *out, struct err *err);
/* The text of --image-opts. */
int location_parse_opts(const char *text, struct location *out, struct err *err);
void location_free(struct location *l);

/* The local path in it, or NULL if it is something else. Borrowed. */
const char *location_path(const struct location *l);
/*
 * A name found in an image (backing file, extent), relative to the folder of the image
 * at `image`: the full path (owned by the caller). Absolute names and names with a
 * scheme come back as they are.
 */
char *location_relative(const char *image, const char *name, struct err *err);
/* Does it begin with "scheme:" as the peer understands it? */
bool location_has_scheme(const char *name);

#endif
