/*
 * What new images are to be like.
 */
#ifndef FORMATS_VMDK_CREATE_H
#define FORMATS_VMDK_CREATE_H

#include "formats/vmdk/vmdk.h"

#define VMDK_SPLIT    (2ull << 30) /* of twoGbMaxExtent... */
#define VMDK_SIZE_MAX (1ull << 50) /* tables of more would not leave room in 2 TiB */

/* In the order of the option's words. */
enum vmdk_sub {
	SUB_MONOLITHIC_SPARSE,
	SUB_MONOLITHIC_FLAT,
	SUB_SPLIT_SPARSE,
	SUB_SPLIT_FLAT,
	SUB_STREAM,
};

struct vmdk_settings {
	enum vmdk_sub sub;
	bool flat, split, zeroed;
	int adapter; /* 0: ide */
	const char *hwversion, *tools, *parent;
	uint32_t cid;
};

/* The options, checked. */
int vmdk_settings(const struct opts *o, struct vmdk_settings *s, struct err *err);
struct vmdk_header vmdk_new_header(const struct vmdk_settings *s, uint64_t size);
/* The descriptor's text, to be freed. */
char *vmdk_new_desc(const struct vmdk_settings *s, const struct create *c, uint64_t size,
		    uint32_t parent_cid, struct err *err);

#endif
