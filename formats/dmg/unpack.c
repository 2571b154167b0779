#include "formats/dmg/unpack.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "lib/mem.h"
#include "lib/pack.h"

#ifdef HAVE_BZIP2
#include <bzlib.h>
#endif
#ifdef HAVE_LIBLZMA
#include <lzma.h>
#endif

int unpack_broken(const char *what, size_t n, struct err *err)
{
	return err_set(err, EIO, "%s data (%zu bytes) is broken or cut off", what, n);
}

int unpack_short(const char *what, size_t got, size_t want, struct err *err)
{
	return err_set(err, EIO, "%s data inflates to %zu bytes instead of %zu", what, got,
		       want);
}

int unpack_long(const char *what, size_t want, struct err *err)
{
	return err_set(err, EIO, "%s data inflates to more than %zu bytes", what, want);
}

static int unpack_zlib(const uint8_t *in, size_t n, uint8_t *out, size_t outn, struct err *err)
{
	return pack_inflate_zlib(in, n, out, outn, NULL, err);
}

#ifdef HAVE_BZIP2
static int unpack_bzip2(const uint8_t *in, size_t n, uint8_t *out, size_t outn, struct err *err)
{
	unsigned got = (unsigned)outn;

	if (n > UINT_MAX || outn > UINT_MAX)
		return err_set(err, EINVAL, "%zu bytes are too many for one chunk",
			       MAX(n, outn));
	switch (BZ2_bzBuffToBuffDecompress((char *)out, &got, (char *)(uintptr_t)in,
					   (unsigned)n, 0, 0)) {
	case BZ_OK:
		return got == outn ? 0 : unpack_short("bzip2", got, outn, err);
	case BZ_OUTBUFF_FULL:
		return unpack_long("bzip2", outn, err);
	case BZ_MEM_ERROR:
		return err_set(err, ENOMEM, "Cannot allocate a decompressor");
	default:
		return unpack_broken("bzip2", n, err);
	}
}
#endif

#ifdef HAVE_LIBLZMA
static int unpack_xz(const uint8_t *in, size_t n, uint8_t *out, size_t outn, struct err *err)
{
	lzma_stream z = LZMA_STREAM_INIT;
	lzma_ret rc = lzma_stream_decoder(&z, UNPACK_XZ_MEMORY, 0);
	uint64_t wants;

	z.next_in = in;
	z.avail_in = n;
	z.next_out = out;
	z.avail_out = outn;
	while (rc == LZMA_OK) /* until it ends, or gets no further */
		rc = lzma_code(&z, LZMA_FINISH);
	wants = lzma_memusage(&z);
	lzma_end(&z);
	switch (rc) {
	case LZMA_STREAM_END:
		return z.avail_out ? unpack_short("xz", outn - z.avail_out, outn, err) : 0;
	case LZMA_BUF_ERROR:
		return z.avail_out ? unpack_broken("xz", n, err) : unpack_long("xz", outn, err);
	case LZMA_MEM_ERROR:
		return err_set(err, ENOMEM, "Cannot allocate a decompressor");
	case LZMA_MEMLIMIT_ERROR:
		return err_set(err, EIO,
			       "xz data wants %" PRIu64 " bytes of memory, more than %u", wants,
			       UNPACK_XZ_MEMORY);
	default:
		return unpack_broken("xz", n, err);
	}
}
#endif

static const struct {
	uint32_t type;
	const char *name;
	int (*unpack)(const uint8_t *in, size_t n, uint8_t *out, size_t outn, struct err *err);
} kinds[] = {
	{UNPACK_ADC, "ADC", unpack_adc},       {UNPACK_ZLIB, "zlib", unpack_zlib},
#ifdef HAVE_BZIP2
	{UNPACK_BZIP2, "bzip2", unpack_bzip2},
#else
	{UNPACK_BZIP2, "bzip2", NULL},
#endif
	{UNPACK_LZFSE, "LZFSE", unpack_lzfse},
#ifdef HAVE_LIBLZMA
	{UNPACK_XZ, "xz", unpack_xz},
#else
	{UNPACK_XZ, "xz", NULL},
#endif
};

const char *unpack_name(uint32_t type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].type == type)
			return kinds[i].name;
	return NULL;
}

bool unpack_has(uint32_t type)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].type == type)
			return kinds[i].unpack != NULL;
	return false;
}

int unpack(uint32_t type, const uint8_t *in, size_t n, uint8_t *out, size_t outn,
	   struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (kinds[i].type != type)
			continue;
		if (!kinds[i].unpack)
			return err_set(err, ENOTSUP, "this build has no %s", kinds[i].name);
		return kinds[i].unpack(in, n, out, outn, err);
	}
	return err_set(err, ENOTSUP, "chunks of type %#x are not known", (unsigned)type);
}
