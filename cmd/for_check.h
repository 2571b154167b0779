/*
 * check --for, in two files: for_check.c looks at images and tells, for_archive.c looks into
 * archives.
 */
#ifndef CMD_FOR_CHECK_H
#define CMD_FOR_CHECK_H

#include "cmd/for.h"

#define REASONS_MAX 100

/* One thing for which a target would refuse a file. */
struct for_reason {
	const char *kind; /* a word, for programs */
	char *text, *remedy;
};

struct for_verdict {
	const struct for_target *to;
	const struct opts *o;
	const char *name; /* the file, as the user typed it */
	const char *format;
	uint64_t size; /* of its disk; of several, the last one */
	struct for_reason reason[REASONS_MAX];
	size_t n;
	bool lost; /* memory was short, or there are more */
};

/* remedy: what to do, or NULL for "convert --for". */
void for_refuse(struct for_verdict *v, const char *kind, const char *remedy, const char *fmt,
		...) __attribute__((format(printf, 4, 5)));

/* The same for what could not be read, as `err` says; memory that is short is no reason. */
void for_unread(struct for_verdict *v, const char *kind, const char *what,
		const struct err *err);

/* Looks at an image; NULL of `disk` is the file itself, else it is in an OVA. `bytes`: what
 * the image lies in. */
void for_look(struct for_verdict *v, struct chain *chain, struct blk *bytes, const char *disk);
/* Size, by the row of a format. */
void for_look_size(struct for_verdict *v, const struct for_format *row, uint64_t size);

/* for_archive.c: 1: it is one, and has been looked at. 0: it is none. -1: *err. */
int for_look_archive(struct for_verdict *v, struct blk *bytes, struct err *err);

#endif
