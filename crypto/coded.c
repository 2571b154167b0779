#include "crypto/coded.h"

#include <string.h>

#include "lib/mem.h"

static int read_whole(const struct sector *s, struct blk *home, uint64_t host, uint64_t number,
		      uint8_t *buf, size_t n, struct err *err)
{
	if (blk_pread(home, buf, n, host, err))
		return -1;
	sector_decrypt(s, number, buf, n);
	return 0;
}

int coded_read(const struct sector *s, struct blk *home, uint64_t host, uint64_t number,
	       size_t in, void *to, size_t n, struct err *err)
{
	uint8_t sector[SECTOR_SIZE], *buf = to;
	int rc = 0;

	while (rc == 0 && n > 0) {
		size_t now = n - n % SECTOR_SIZE;

		if (in || now == 0) {
			now = MIN(n, SECTOR_SIZE - in);
			rc = read_whole(s, home, host - in, number, sector, SECTOR_SIZE, err);
			if (rc == 0)
				memcpy(buf, sector + in, now);
		} else {
			rc = read_whole(s, home, host, number, buf, now, err);
		}
		number += (in + now) / SECTOR_SIZE;
		in = (in + now) % SECTOR_SIZE;
		buf += now;
		host += now;
		n -= now;
	}
	explicit_bzero(sector, sizeof(sector));
	return rc;
}
