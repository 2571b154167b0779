#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/dmg/dmg.h"
#include "lib/bytes.h"
#include "lib/mem.h"

const struct field dmg_trailer_fields[] = {
	BE32(0, struct dmg_trailer, magic),
	BE32(4, struct dmg_trailer, version),
	BE32(8, struct dmg_trailer, len),
	BE32(12, struct dmg_trailer, flags),
	BE64(24, struct dmg_trailer, data_off),
	BE64(32, struct dmg_trailer, data_len),
	BE64(40, struct dmg_trailer, fork_off),
	BE64(48, struct dmg_trailer, fork_len),
	BE32(56, struct dmg_trailer, segment),
	BE32(60, struct dmg_trailer, segments),
	BE32(80, struct dmg_trailer, data_sum_type),
	BE32(88, struct dmg_trailer, data_sum),
	BE64(216, struct dmg_trailer, xml_off),
	BE64(224, struct dmg_trailer, xml_len),
	BE32(352, struct dmg_trailer, sum_type),
	BE32(360, struct dmg_trailer, sum),
	BE64(492, struct dmg_trailer, sectors),
	FIELD_END,
};

static int check_range(const char *what, uint64_t off, uint64_t len, uint64_t max,
		       uint64_t file_size, struct err *err)
{
	if (len == 0)
		return 0;
	if (off > file_size || len > file_size - off)
		return err_set(err, EINVAL,
			       "The %s (%" PRIu64 " bytes at %" PRIu64
			       ") is beyond the end of the file (%" PRIu64 " bytes)",
			       what, len, off, file_size);
	if (len > max)
		return err_set(err, EFBIG, "The %s has %" PRIu64 " bytes, more than %" PRIu64,
			       what, len, max);
	return 0;
}

int dmg_trailer_check(const struct dmg_trailer *h, uint64_t file_size, struct err *err)
{
	if (h->version != DMG_VERSION || h->len != DMG_TRAILER_LEN)
		return err_set(err, ENOTSUP,
			       "unsupported UDIF trailer (version %" PRIu32 ", %" PRIu32
			       " bytes)",
			       h->version, h->len);
	if (h->segment > 1 || h->segments > 1)
		return err_set(err, ENOTSUP,
			       "This is part %" PRIu32 " of %" PRIu32
			       " of an image, which can only be read in one piece",
			       h->segment, h->segments);
	if (h->sectors > DMG_SECTORS_MAX)
		return err_set(err, EFBIG, "%" PRIu64 " sectors are more than a disk can have",
			       h->sectors);
	if (h->data_off > file_size)
		return err_set(err, EINVAL,
			       "The data (from %" PRIu64
			       ") is beyond the end of the file (%" PRIu64 " bytes)",
			       h->data_off, file_size);
	return check_range("property list", h->xml_off, h->xml_len, DMG_XML_MAX, file_size,
			   err) ||
			       check_range("resource fork", h->fork_off, h->fork_len,
					   DMG_FORK_MAX, file_size, err)
		       ? -1
		       : 0;
}

/* Where it begins in the last n bytes; n: there is none. */
static size_t find_magic(const uint8_t *p, size_t n)
{
	for (size_t at = n - DMG_TRAILER_LEN + 1; at-- > 0;)
		if (get_be32(p + at) == DMG_MAGIC)
			return at;
	return n;
}

static int no_trailer(struct err *err)
{
	return err_set(err, EINVAL, "Could not locate UDIF trailer in dmg file");
}

int dmg_trailer_read(struct blk *file, struct dmg_trailer *h, struct err *err)
{
	uint8_t buf[2 * DMG_TRAILER_LEN - 1];
	uint64_t size = blk_size(file);
	size_t n = MIN(size, sizeof(buf)), at;

	if (size == 0)
		return err_set(err, EINVAL, "dmg file must be at least 512 bytes long");
	if (size < DMG_TRAILER_LEN)
		return no_trailer(err);
	if (blk_pread(file, buf, 8, 0, err))
		return -1;
	if (memcmp(buf, "encrcdsa", 8) == 0)
		return err_set(err, ENOTSUP,
			       "The image is encrypted (encrcdsa): it cannot be read");
	if (blk_pread(file, buf, n, size - n, err))
		return -1;
	if (memcmp(buf + n - 8, "cdsaencr", 8) == 0)
		return err_set(err, ENOTSUP,
			       "The image is encrypted (cdsaencr): it cannot be read");
	at = find_magic(buf, n);
	if (at == n)
		return no_trailer(err);
	layout_decode(dmg_trailer_fields, buf + at, h);
	return dmg_trailer_check(h, size, err);
}
