/*
 * DiskDescriptor.xml (docs/interop/prl-xml.rst; more elements are in libphdi's document): the
 * storages that a disk is split into, for each the images that it has, one for each snapshot
 * and one for the present state, and how those follow one another.
 *
 * Limits: 4096 storages, 4096 images in all; the storages cover the disk without gaps; a file
 * is named by a relative path that stays inside of the folder. Padding and encryption are
 * not described, and so refused.
 *
 * Pure but for memory. Ownership: prl_descriptor_free() drops what is below one.
 */
#ifndef FORMATS_PARALLELS_DESCRIPTOR_H
#define FORMATS_PARALLELS_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/uuid.h"

enum { PRL_STORAGES_MAX = 4096, PRL_PARTS_MAX = 4096, PRL_SHOTS_MAX = 4096 };

struct prl_storage {
	uint64_t start, end; /* sectors of the disk */
	uint32_t cluster;    /* sectors */
};

/* An image of one storage. */
struct prl_part {
	size_t storage;
	uint8_t guid[UUID_LEN];
	bool plain; /* raw; else an expanding image */
	char *file;
};

struct prl_shot {
	uint8_t guid[UUID_LEN], parent[UUID_LEN]; /* parent: all zeros, the first */
};

struct prl_descriptor {
	uint64_t sectors;
	struct prl_storage *storage; /* in the order of the disk */
	size_t nstorage;
	struct prl_part *part;
	size_t nparts;
	struct prl_shot *shot;
	size_t nshots;
	uint8_t top[UUID_LEN]; /* the present state */
};

int prl_descriptor_parse(const char *text, size_t n, struct prl_descriptor *out,
			 struct err *err);
void prl_descriptor_free(struct prl_descriptor *d);
/*
 * The images that make up what `guid` shows: *parts gets depth * nstorage of them, those of
 * one storage together, the uppermost first. To be freed.
 */
int prl_descriptor_chain(const struct prl_descriptor *d, const uint8_t guid[UUID_LEN],
			 size_t **parts, size_t *depth, struct err *err);

#endif
