/*
 * A new image in the words of the command line: its format, where it goes, the keys that
 * both take (-o), and its backing file. For create and convert.
 */
#ifndef CMD_NEWIMAGE_H
#define CMD_NEWIMAGE_H

#include "formats/format.h"
#include "lib/io/io.h"

struct newimage {
	const char *name; /* what the user typed */
	const struct format *format;
	const struct protocol *protocol;
	struct opts *keys;
};

/* The format `given`, or else what the new name's extension says (under our own name,
 * which is said on stderr unless quiet), or else raw. NULL: the error was printed. */
const struct format *newimage_format(const char *given, char letter, const char *name,
				     bool quiet);
/* Where the name leads: it decides which protocol's keys are taken. */
const struct protocol *newimage_protocol(const char *name, struct err *err);
/* Prints what -o help prints; name NULL: of the format alone. The exit code. */
int newimage_help(const struct format *format, const char *name);
/* The row of a key: the format's or the protocol's. NULL: unknown. */
const struct opt *newimage_row(const struct newimage *n, const char *key);
/* Do two names lead to one file? */
bool newimage_same(const char *a, const char *b);
/* Each key must be known and each value of its row's type. */
int newimage_check(const struct newimage *n, struct err *err);
/* The image must not be its own backing file: it would be emptied. */
int newimage_not_below(const struct newimage *n, struct err *err);
/* Adds the backing file and its format (each may be NULL) to the keys. Then a data file
 * must be neither that nor the image. */
int newimage_backing(const struct newimage *n, const char *file, const char *format,
		     struct err *err);

/* Says, under our own name, that the disk is not as large as was asked for. */
void newimage_tell_size(const char *name, const struct format *format, uint64_t asked,
			uint64_t got);

#endif
