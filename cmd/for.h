/*
 * convert --for and check --for: what clouds and hypervisors take. for.c is the table, with
 * the documents that say so; for_convert.c makes an image by it, for_check.c looks at one;
 * for_ova.c and for_gcp.c write the two kinds of archives.
 */
#ifndef CMD_FOR_H
#define CMD_FOR_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/convert.h"

#define FOR_NAMES "azure|hyperv|esxi|vsphere|virtualbox|aws|gcp|kvm"

/* An option of the format. */
struct for_key {
	const char *key;
	const char *value;  /* taken unless the user gives another one */
	const char *also;   /* "a|b": those that he may give; NULL: none */
	const char *unless; /* a key that stands for this one where it is given; or NULL */
	const char *why;
};

/* A format that a target takes, in one row of its list; the first is the usual one. */
struct for_format {
	const char *format; /* NULL: end of the list */
	struct for_key key[4];
	uint64_t align, min, max; /* bytes of the disk; align 1: any size */
	const char *align_why, *max_why;
	/* What check wants: "|fixed|", and how the file calls it; NULL: any. */
	const char *subformat;
};

enum {
	FOR_OVA = 1,	   /* it imports OVAs */
	FOR_TAR_GZ = 2,	   /* it takes nothing but GCP's archive */
	FOR_OVERLAYS = 4,  /* images with a backing file make sense there */
	FOR_ENCRYPTED = 8, /* and encrypted ones */
};

struct for_target {
	const char *name;
	const char *title; /* as it is called in sentences */
	const struct for_format *format;
	unsigned flags;
	const char *takes; /* "fixed VHDs": what one reads where another format is given */
};

/* NULL: unknown, which has been said. */
const struct for_target *for_find(const char *name);
/* The row of a format by its name in the catalog; NULL: the target does not take it. */
const struct for_format *for_format(const struct for_target *to, const char *format);
/* Is `value` the one of the row, or one that is also taken? A switch's in any spelling. */
bool for_value_fits(const struct for_key *key, const char *value);
/* What a size becomes; err: too large. */
int for_size(const struct for_target *to, const struct for_format *as, uint64_t size,
	     uint64_t *out, struct err *err);

/* ---- for_convert.c: each prints its errors and returns the exit code -------------------- */

/* What goes with --for: a text where something does not, or NULL. */
const char *for_modes(const struct convert *c);
/* The format, by -O, the target's name, or as is usual. */
int for_choose(struct convert *c);
/* Sets the options that are not given; refuses those that will not do. */
int for_options(struct convert *c);
/* Makes the disk as long as it has to be. */
int for_pad(struct convert *c);

/* ---- archives ------------------------------------------------------------------------- */

/* for_ova.c: where the disk begins in the archive, and its name there. */
struct ova;
struct ova *ova_new(const struct convert *c, struct err *err);
void ova_free(struct ova *ova);
uint64_t ova_head(const struct ova *ova);
const char *ova_disk_name(const struct ova *ova);
/* Writes all but the disk, which is complete: it begins at ova_head() and ends the file. */
int ova_seal(struct ova *ova, struct blk *file, struct err *err);

/* for_gcp.c: all of it. Prints its errors and returns the exit code. */
int gcp_convert(struct convert *c);

/* SOURCE_DATE_EPOCH, or 0. */
int64_t for_mtime(void);

/* ---- for_check.c ---------------------------------------------------------------------- */

/* check --for: its exit code. */
int for_check(const struct opts *o, const char *name);

#endif
