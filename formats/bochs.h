/* Inside of the Bochs driver, for its tests: what its header may say. See bochs.c. */
#ifndef FORMATS_BOCHS_H
#define FORMATS_BOCHS_H

#include <stdint.h>

#include "lib/layout.h"
#include "lib/err.h"

#define BOCHS_MAGIC	  "Bochs Virtual HD Image"
#define BOCHS_V1	  UINT32_C(0x00010000)
#define BOCHS_V2	  UINT32_C(0x00020000)
#define BOCHS_HEADER_LEN  512
#define BOCHS_SECTOR	  512
#define BOCHS_CATALOG_MAX (1u << 20) /* the peer's */
#define BOCHS_EXTENT_MAX  (8u << 20) /* the peer's */
#define BOCHS_FREE	  UINT32_MAX /* entry of the catalog: nothing was written there */

struct bochs_header {
	uint8_t magic[32], type[16], subtype[16];
	uint32_t version, header_size;
	uint32_t catalog, bitmap, extent; /* entries; bytes of each */
	uint64_t disk;
};

extern const struct format format_bochs;

/* `disk` is where the version has it: by bochs_decode(). */
void bochs_decode(const uint8_t *disk, struct bochs_header *h);
int bochs_header_check(const struct bochs_header *h, struct err *err);

#endif
