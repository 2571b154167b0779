/*
 * The header of an expanding image (parallels.rst, "Header").
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/parallels/parallels.h"
#include "lib/mem.h"

/* QEMU's bound on the size of a disk, in sectors. */
#define SECTORS_MAX (INT64_MAX / (1 << 30) * ((1 << 30) / PRL_SECTOR))

const struct field prl_fields[] = {
	BYTES(0, struct prl_header, magic),
	LE32(16, struct prl_header, version),
	LE32(20, struct prl_header, heads),
	LE32(24, struct prl_header, cylinders),
	LE32(28, struct prl_header, tracks),
	LE32(32, struct prl_header, entries),
	LE64(36, struct prl_header, sectors),
	LE32(PRL_IN_USE_AT, struct prl_header, in_use),
	LE32(PRL_DATA_OFF_AT, struct prl_header, data_off),
	LE32(PRL_FLAGS_AT, struct prl_header, flags),
	LE64(PRL_EXT_OFF_AT, struct prl_header, ext_off),
	FIELD_END,
};

bool prl_counts_clusters(const struct prl_header *h)
{
	return memcmp(h->magic, PRL_MAGIC_CLUSTERS, PRL_MAGIC_LEN) == 0;
}

uint64_t prl_bat_end(const struct prl_header *h)
{
	return PRL_HEADER_LEN + 4 * (uint64_t)h->entries;
}

bool prl_data_off_good(const struct prl_header *h)
{
	uint64_t off = (uint64_t)h->data_off * PRL_SECTOR;

	if (!prl_counts_clusters(h))
		return off == 0 || off >= prl_bat_end(h);
	return off >= prl_bat_end(h) && h->data_off % h->tracks == 0;
}

uint64_t prl_first_place(const struct prl_header *h, uint64_t file_size)
{
	uint64_t unit = prl_counts_clusters(h) ? (uint64_t)h->tracks * PRL_SECTOR : PRL_SECTOR;
	uint64_t begin = round_up(prl_bat_end(h), unit);
	uint64_t off = (uint64_t)h->data_off * PRL_SECTOR;

	/* nothing can lie after the end of the file, and nothing should soon */
	if (off == 0 || !prl_data_off_good(h) || off > round_up(file_size, unit))
		return begin;
	return off;
}

int prl_header_check(struct prl_header *h, uint64_t file_size, struct err *err)
{
	if ((!prl_counts_clusters(h) &&
	     memcmp(h->magic, PRL_MAGIC_SECTORS, PRL_MAGIC_LEN) != 0) ||
	    h->version != PRL_VERSION)
		return err_set(err, EINVAL, "Image not in Parallels format");
	if (h->tracks == 0)
		return err_set(err, EFBIG, "Invalid image: Zero sectors per track");
	if (h->tracks > PRL_TRACKS_MAX)
		return err_set(err, EFBIG, "Invalid image: Too big cluster");
	if (h->entries > PRL_ENTRIES_MAX)
		return err_set(err, EFBIG, "Catalog too large");
	if (prl_bat_end(h) > round_up(file_size, PRL_SECTOR))
		return err_set(err, EIO,
			       "The BAT of %" PRIu32 " entries is beyond the end of the file "
			       "(%" PRIu64 " bytes)",
			       h->entries, file_size);
	/* the upper half has no meaning there */
	if (!prl_counts_clusters(h))
		h->sectors &= UINT32_MAX;
	if (h->sectors > SECTORS_MAX)
		return err_set(err, EFBIG, "Could not refresh total sector count: %s",
			       strerror(EFBIG));
	return 0;
}
