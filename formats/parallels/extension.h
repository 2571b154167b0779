/*
 * The format extension of an expanding image (parallels.rst, "Format Extension"): a cluster
 * of features, of which the specification knows one, dirty bitmaps.
 *
 * It is valid where the image was last closed by a program that knows of it (in_use is
 * PRL_CLOSED). Then bitmaps follow what is written here; what cannot be understood and is
 * neither to be kept (TRANSIT) nor NECESSARY is dropped with the first change.
 *
 * Limits: clusters of 64 MiB, 256 bitmaps of 256 MiB in all; what is more is not used.
 *
 * Threads: as blk; prl_extension_touch may be called by many at once.
 */
#ifndef FORMATS_PARALLELS_EXTENSION_H
#define FORMATS_PARALLELS_EXTENSION_H

#include "formats/parallels/parallels.h"
#include "lib/dirty.h"
#include "lib/uuid.h"

#define PRL_EXT_MAGIC	   UINT64_C(0xab234cef23dcea87)
#define PRL_FEATURE_END	   UINT64_C(0)
#define PRL_FEATURE_BITMAP UINT64_C(0x20385fae252cb34a)

enum {
	PRL_EXT_CLUSTER_MAX = 64 << 20,
	PRL_BITMAP_MAX = 256 << 20, /* bytes of bits */
	PRL_BITMAPS_MAX = 256,
	PRL_EXT_HEAD = 24,
	PRL_FEATURE_HEAD = 24,
	PRL_BITMAP_HEAD = 32,
	PRL_NECESSARY = 1, /* flags of a feature */
	PRL_TRANSIT = 2,
};

struct prl_bitmap {
	uint8_t id[UUID_LEN];
	char name[UUID_TEXT];
	uint64_t flags;
	unsigned bits;	   /* log2 of the granularity's bytes */
	uint64_t bytes;	   /* of bits */
	uint64_t *cluster; /* 0: clear; 1: set; else where, in sectors */
	uint32_t clusters;
	struct dirty *live; /* while the image is written */
};

struct prl_extension {
	uint64_t off; /* bytes */
	struct prl_bitmap *bitmap;
	size_t n;
	uint64_t bytes; /* of the bits of all */
	bool stale;	/* the image was not closed: the bitmaps are not to be trusted */
	bool necessary; /* a feature that has to be understood, and is not */
	bool foreign;	/* features that may have clusters of their own */
	bool started;
	char problem[160]; /* why it, or a part of it, is not used; "" if nothing is wrong */
	/* features to be kept as they are, as they lie in the file */
	uint8_t *kept;
	size_t nkept;
};

/* Sets p->ext; where there is none, or none that is valid, NULL. -1: it cannot be read. */
int prl_extension_load(struct prl *p, struct err *err);
/* NULL is fine. */
void prl_extension_free(struct prl_extension *x);
/* May an image with this be changed? */
int prl_extension_writable(const struct prl_extension *x, struct err *err);
/* Before the first change; for each; and at the end, before the file is flushed. */
int prl_extension_start(struct prl *p, struct err *err);
int prl_extension_touch(struct prl *p, uint64_t off, uint64_t len, struct err *err);
int prl_extension_finish(struct prl *p, struct err *err);
/* Adds the clusters that it takes; `room` has space for prl_extension_count() of them. */
size_t prl_extension_count(const struct prl *p);
void prl_extension_places(const struct prl *p, struct prl_place *room);

int prl_md5(const void *data, size_t n, uint8_t digest[16], struct err *err);

/* In bitmap.c. */
extern const struct bitmap_ops prl_bitmap_ops;

#endif
