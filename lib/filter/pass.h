/*
 * What filters have in common: a blk that hands everything to another one. A filter
 * takes these for the operations that it does not change.
 *
 * Threads: as blk.
 */
#ifndef LIB_FILTER_PASS_H
#define LIB_FILTER_PASS_H

#include "lib/blk.h"

struct pass {
	struct blk blk;
	struct blk *to; /* blk.lower where the filter owns it */
};

/* Takes size, units and caps over from `to`. */
int pass_init(struct pass *p, const struct blk_ops *ops, struct blk *to, struct err *err);

int pass_pread(struct blk *blk, void *buf, size_t n, uint64_t off, struct err *err);
int pass_pwrite(struct blk *blk, const void *buf, size_t n, uint64_t off, unsigned flags,
		struct err *err);
int pass_zero(struct blk *blk, uint64_t off, uint64_t len, unsigned flags, struct err *err);
int pass_flush(struct blk *blk, struct err *err);
int pass_extent(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		struct err *err);
/* The same with this blk as the home: for a filter that wants to see what is done there. */
int pass_extent_here(struct blk *blk, uint64_t off, uint64_t len, struct extent *out,
		     struct err *err);
int pass_resize(struct blk *blk, uint64_t size, enum blk_prealloc p, struct err *err);
int pass_fd(struct blk *blk, uint64_t *base);
int64_t pass_disk_usage(struct blk *blk);
int pass_close(struct blk *blk, struct err *err);

/* A blk that stands for another one, which stays the caller's: closing it closes
 * nothing else. */
struct blk *pass_borrow(struct blk *blk, struct err *err);

#endif
