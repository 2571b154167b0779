/*
 * Extents: from a line of the descriptor, or from a file that needs none.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/vmdk/vmdk.h"
#include "lib/mem.h"

struct vmdk_extent *vmdk_find(struct vmdk *v, uint64_t off)
{
	size_t low = 0, high = v->n;

	while (low + 1 < high) {
		size_t mid = (low + high) / 2;

		if (v->extent[mid].start <= off)
			low = mid;
		else
			high = mid;
	}
	return &v->extent[low];
}

static bool is(const struct vmdk_line *l, const char *type)
{
	return strcmp(l->type, type) == 0;
}

static int open_line(struct vmdk_extent *x, struct err *err)
{
	const struct vmdk_line *l = x->line;

	x->size = l->sectors * VMDK_SECTOR;
	x->read_only = l->access != VMDK_RW;
	if (l->access == VMDK_NOACCESS) {
		x->kind = VMDK_LOCKED;
		return 0;
	}
	if (is(l, "ZERO")) {
		x->kind = VMDK_ZERO;
		return 0;
	}
	if (is(l, "SPARSE"))
		return vmdk_sparse_open(x, err);
	if (is(l, "VMFSSPARSE"))
		return vmdk_cowd_open(x, err);
	if (is(l, "SESPARSE"))
		return vmdk_sesparse_open(x, err);
	x->kind = VMDK_FLAT;
	x->host = l->offset * VMDK_SECTOR;
	return 0;
}

int vmdk_extent_open(struct vmdk_extent *x, struct err *err)
{
	if (x->line ? open_line(x, err) : vmdk_sparse_open(x, err))
		return -1;
	if (!(x->v->flags & IMAGE_WRITE) || x->kind < VMDK_COWD || x->kind > VMDK_SESPARSE)
		return 0;
	return err_set(err, EACCES, "A VMDK image with %s extents can only be read",
		       x->kind == VMDK_COWD ? "COWD" : "seSparse");
}

void vmdk_extent_close(struct vmdk_extent *x)
{
	vmdk_stream_free(x);
	blocks_free(&x->blocks);
	entries_free(&x->tables);
}
