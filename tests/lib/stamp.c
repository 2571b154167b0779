#include "tests/lib/stamp.h"

#include <string.h>

#include "lib/bytes.h"

#define SECTOR 512u

unsigned dice(unsigned *seed)
{
	*seed = *seed * 1103515245u + 12345u;
	return *seed >> 8;
}

void stamp_fill(uint8_t *buf, uint32_t stamp, unsigned n)
{
	for (unsigned i = 0; i < n * SECTOR; i += 4)
		put_le32(buf + i, stamp);
}

uint32_t stamp_of(const uint8_t *sector)
{
	uint32_t stamp = get_le32(sector);

	return memcmp(sector, sector + 4, SECTOR - 4) == 0 ? stamp : UINT32_MAX;
}
