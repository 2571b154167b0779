/*
 * convert: convert.c what was asked for, convert_target.c where it goes, convert_bitmaps.c
 * what goes along, and lib/copy.c, which moves the data.
 */
#ifndef CMD_CONVERT_H
#define CMD_CONVERT_H

#include "cmd/newimage.h"
#include "cmd/stack.h"
#include "lib/copy.h"

struct for_target;
struct for_format;

/* What the target is, as a file. */
enum convert_pack { CONVERT_PLAIN, CONVERT_OVA, CONVERT_TAR_GZ };

struct convert {
	const struct opts *o;
	char **source; /* names */
	unsigned nsource;
	const char *target;
	struct copy_source *in; /* nsource of them, open */
	uint64_t size;		/* of all of them */
	struct newimage image;	/* the target, unless -n */
	struct copy copy;
	const struct for_target *to; /* --for, or NULL; then what for_choose() chose: */
	const struct for_format *as;
	enum convert_pack pack;
};

/* -p, and the signals that ask. */
struct progress *convert_progress(const struct convert *c);
/* The texts of options that have two letters: the one that was given last, or NULL. */
const char *convert_backing(const struct opts *o);

/* --bitmaps, in convert_bitmaps.c; each does nothing without it, or prints its error and
 * returns 1. Can the source's bitmaps be copied? Before the target is touched. */
int convert_bitmaps_check(const struct convert *c);
/* Can the open target have some? */
int convert_bitmaps_accept(const struct convert *c, struct chain *target);
/* Copies them, after the data. */
int convert_bitmaps(const struct convert *c, struct chain *target);

/* Makes the target, copies, and publishes it or throws it away. Each prints its errors
 * and returns the exit code. */
int convert_to_new(struct convert *c);
/* Copies into an image that is there (-n). */
int convert_to_existing(struct convert *c);
/* -t, or the default. */
const char *convert_cache(const struct opts *o);

#endif
