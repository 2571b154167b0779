/*
 * The only file that names every driver. Order is probe order.
 */
#ifndef CMD_CATALOG_H
#define CMD_CATALOG_H

#include "formats/format.h"
#include "lib/io/io.h"

extern const struct format *const catalog_formats[];	 /* NULL-terminated */
extern const struct protocol *const catalog_protocols[]; /* NULL-terminated */

const struct format *catalog_format(const char *name);	   /* NULL: unknown */
const struct protocol *catalog_protocol(const char *name); /* NULL: unknown */
/* By the scheme of a name, "fat" of "fat:DIR"; NULL: unknown. */
const struct protocol *catalog_scheme(const char *word);
/* What an image is called that is opened or made as a protocol alone: `driver=file`. */
const struct format *catalog_protocol_format(const struct protocol *p);
/* By the extension of a file name: "x.qcow2"; NULL if none fits. */
const struct format *catalog_by_extension(const char *path);
/* The extension of a file name where it is that of a format which is not in this build:
 * nobody who writes x.vmdk wants a raw file. Else NULL. *advice: what writes one, or NULL. */
const char *catalog_foreign_extension(const char *path, const char **advice);
/* "did you mean vpc?" for names people try ("vhd"); NULL if there is nothing to say. */
const char *catalog_suggest(const char *name);

#endif
