#include "lib/pack.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/bytes.h"
#include "lib/guess.h"

#include <zlib.h>
#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif
#ifdef HAVE_LIBZSTD
#include <zstd.h>
#include <zstd_errors.h>
#endif

#ifdef HAVE_LIBDEFLATE
#define DEFLATE_LEVEL_MAX 12
#else
#define DEFLATE_LEVEL_MAX 9
#endif

/* What a thread keeps between two calls: to set these up costs more than a cluster. */
struct workshop {
#ifdef HAVE_LIBDEFLATE
	struct libdeflate_compressor *deflate[DEFLATE_LEVEL_MAX + 1]; /* by level */
	struct libdeflate_decompressor *inflate;
#else
	z_stream deflate, inflate;
	int deflate_level; /* of `deflate`; 0: there is none */
	bool has_inflate;
#endif
#ifdef HAVE_LIBZSTD
	ZSTD_CCtx *zstd_pack;
	ZSTD_DCtx *zstd_unpack;
#endif
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int key_error = -1;

static void workshop_free(void *arg)
{
	struct workshop *w = arg;

#ifdef HAVE_LIBDEFLATE
	for (int i = 0; i <= DEFLATE_LEVEL_MAX; i++)
		libdeflate_free_compressor(w->deflate[i]);
	libdeflate_free_decompressor(w->inflate);
#else
	if (w->deflate_level)
		deflateEnd(&w->deflate);
	if (w->has_inflate)
		inflateEnd(&w->inflate);
#endif
#ifdef HAVE_LIBZSTD
	ZSTD_freeCCtx(w->zstd_pack);
	ZSTD_freeDCtx(w->zstd_unpack);
#endif
	free(w);
}

static void key_make(void)
{
	key_error = pthread_key_create(&key, workshop_free);
}

/* The main thread ends without destructors: leak checkers would tell. */
__attribute__((destructor)) static void main_thread_end(void)
{
	struct workshop *w = key_error ? NULL : pthread_getspecific(key);

	if (w && !pthread_setspecific(key, NULL))
		workshop_free(w);
}

static struct workshop *workshop_get(struct err *err)
{
	struct workshop *w;

	pthread_once(&once, key_make);
	if (key_error) {
		err_set(err, key_error, "No thread-specific memory is left for compression");
		return NULL;
	}
	w = pthread_getspecific(key);
	if (w)
		return w;
	w = calloc(1, sizeof(*w));
	if (!w || pthread_setspecific(key, w)) {
		free(w);
		err_nomem(err, sizeof(*w), "compression");
		return NULL;
	}
	return w;
}

bool pack_has(enum codec codec)
{
	switch (codec) {
	case CODEC_DEFLATE:
		return true;
	case CODEC_ZSTD:
#ifdef HAVE_LIBZSTD
		return true;
#else
		return false;
#endif
	case CODEC_NONE:
		break;
	}
	return false;
}

const char *pack_name(enum codec codec)
{
	switch (codec) {
	case CODEC_DEFLATE:
		return "zlib";
	case CODEC_ZSTD:
		return "zstd";
	case CODEC_NONE:
		break;
	}
	return "none";
}

const char *pack_deflate_library(void)
{
#ifdef HAVE_LIBDEFLATE
	return "libdeflate " LIBDEFLATE_VERSION_STRING;
#else
	return "zlib " ZLIB_VERSION;
#endif
}

static int no_codec(enum codec codec, struct err *err)
{
	return err_set(err, ENOTSUP, "this build has no %s compression", pack_name(codec));
}

/* The three ways in which compressed data can be wrong, one text for all codecs. */
static int is_broken(enum codec codec, size_t n, struct err *err)
{
	return err_set(err, EIO, "%s data (at most %zu bytes) is broken or cut off",
		       pack_name(codec), n);
}

static int is_short(enum codec codec, size_t got, size_t want, struct err *err)
{
	return err_set(err, EIO, "%s data inflates to %zu bytes instead of %zu",
		       pack_name(codec), got, want);
}

static int is_long(enum codec codec, size_t want, struct err *err)
{
	return err_set(err, EIO, "%s data inflates to more than %zu bytes", pack_name(codec),
		       want);
}

/*
 * The default levels. The peer of qcow2's world deflates with zlib at level 6 and a
 * window of 4 KiB; ours are the fastest that make less of it. Measured on 1.1 GiB of
 * /usr in clusters of 64 KiB, bytes and time against that (libdeflate 1.14, zlib 1.2.13):
 *
 *	libdeflate 1	0.995	0.27	alone too large for machine code: 1.007
 *	libdeflate 2	0.978	0.34	3-byte matches, which machine code is full of
 *	as below	0.987	0.24	machine code 0.980, C headers 0.960
 *	zlib 4		0.972	0.61	with a window of 32 KiB, as libdeflate has it
 *
 * Small clusters gain nothing from the larger window and need a better search. The
 * format allows the whole window of RFC 1951, and readers that declare 4 KiB read it
 * as well, since they inflate a cluster in one call (tried with qemu-img 7.2).
 */
#ifdef HAVE_LIBDEFLATE
static int deflate_level(const void *in, size_t n)
{
	if (n < 8192)
		return 7; /* 4 KiB: 0.998, level 6 0.999 */
	if (n < 32768)
		return 5; /* 8 KiB: 0.996, 16 KiB: 0.985 */
	if (n < 65536)
		return 2; /* 0.988 */
	return guess_binary(in, n) ? 2 : 1;
}

static int deflate_block(struct workshop *w, int level, const void *in, size_t n, void *out,
			 size_t *outn, struct err *err)
{
	if (!w->deflate[level])
		w->deflate[level] = libdeflate_alloc_compressor(level);
	if (!w->deflate[level])
		return err_set(err, ENOMEM, "Cannot allocate a compressor");
	*outn = libdeflate_deflate_compress(w->deflate[level], in, n, out, *outn);
	return 0;
}

static int inflate_block(struct workshop *w, const void *in, size_t n, void *out, size_t outn,
			 size_t *used, struct err *err)
{
	size_t got = 0;

	if (!w->inflate)
		w->inflate = libdeflate_alloc_decompressor();
	if (!w->inflate)
		return err_set(err, ENOMEM, "Cannot allocate a decompressor");
	switch (libdeflate_deflate_decompress_ex(w->inflate, in, n, out, outn, used, &got)) {
	case LIBDEFLATE_SUCCESS:
		return got == outn ? 0 : is_short(CODEC_DEFLATE, got, outn, err);
	case LIBDEFLATE_INSUFFICIENT_SPACE:
		return is_long(CODEC_DEFLATE, outn, err);
	default:
		return is_broken(CODEC_DEFLATE, n, err);
	}
}
#else
static int deflate_level(const void *in, size_t n)
{
	return n < 8192 ? 6 : n < 16384 ? 5 : 4;
}

/* zlib counts in unsigned int; clusters are far below. */
static unsigned cut(size_t n)
{
	return n < UINT_MAX ? (unsigned)n : UINT_MAX;
}

static int deflate_block(struct workshop *w, int level, const void *in, size_t n, void *out,
			 size_t *outn, struct err *err)
{
	z_stream *z = &w->deflate;

	if (n > UINT_MAX)
		return err_set(err, EINVAL, "%zu bytes are too many for one compressed block",
			       n);
	if (w->deflate_level != level) {
		if (w->deflate_level)
			deflateEnd(z);
		w->deflate_level = 0;
		*z = (z_stream){0};
		if (deflateInit2(z, level, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) != Z_OK)
			return err_set(err, ENOMEM, "Cannot allocate a compressor");
		w->deflate_level = level;
	} else {
		deflateReset(z);
	}
	z->next_in = (unsigned char *)(uintptr_t)in;
	z->avail_in = (unsigned)n;
	z->next_out = out;
	z->avail_out = cut(*outn);
	*outn = deflate(z, Z_FINISH) == Z_STREAM_END ? z->total_out : 0;
	return 0;
}

static int inflate_block(struct workshop *w, const void *in, size_t n, void *out, size_t outn,
			 size_t *used, struct err *err)
{
	z_stream *z = &w->inflate;
	unsigned char none;
	int r;

	if (outn > UINT_MAX)
		return err_set(err, EINVAL, "%zu bytes are too many for one block", outn);
	if (!w->has_inflate) {
		*z = (z_stream){0};
		if (inflateInit2(z, -15) != Z_OK)
			return err_set(err, ENOMEM, "Cannot allocate a decompressor");
		w->has_inflate = true;
	} else {
		inflateReset(z);
	}
	z->next_in = (unsigned char *)(uintptr_t)in;
	z->avail_in = cut(n);
	z->next_out = outn ? out : &none; /* zlib takes no NULL */
	z->avail_out = (unsigned)outn;
	r = inflate(z, Z_FINISH);
	if (r == Z_STREAM_END) {
		*used = z->total_in;
		return !z->avail_out ? 0 : is_short(CODEC_DEFLATE, z->total_out, outn, err);
	}
	if (r == Z_BUF_ERROR && !z->avail_out) {
		/* all may have been read, and yet more is to come: one byte tells */
		z->next_out = &none;
		z->avail_out = 1;
		inflate(z, Z_FINISH);
		if (!z->avail_out)
			return is_long(CODEC_DEFLATE, outn, err);
	}
	return is_broken(CODEC_DEFLATE, n, err);
}
#endif

#ifdef HAVE_LIBZSTD
static int zstd_pack(struct workshop *w, int level, const void *in, size_t n, void *out,
		     size_t *outn, struct err *err)
{
	size_t r;

	if (!w->zstd_pack)
		w->zstd_pack = ZSTD_createCCtx();
	if (!w->zstd_pack)
		return err_set(err, ENOMEM, "Cannot allocate a compressor");
	r = ZSTD_CCtx_setParameter(w->zstd_pack, ZSTD_c_compressionLevel, level);
	if (!ZSTD_isError(r))
		r = ZSTD_compress2(w->zstd_pack, out, *outn, in, n);
	if (!ZSTD_isError(r)) {
		*outn = r;
		return 0;
	}
	*outn = 0;
	if (ZSTD_getErrorCode(r) == ZSTD_error_dstSize_tooSmall)
		return 0;
	return err_set(err, ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation ? ENOMEM : EIO,
		       "zstd cannot compress: %s", ZSTD_getErrorName(r));
}

/*
 * A cluster may be made of several frames, told apart by their own block headers; what
 * follows the one that fills it is not looked at. Whole frames straight into the target
 * need no window buffer, whatever window the frame claims.
 */
static int zstd_unpack(struct workshop *w, const uint8_t *in, size_t n, uint8_t *out,
		       size_t outn, size_t *used, struct err *err)
{
	size_t pos = 0, got = 0;

	if (!w->zstd_unpack)
		w->zstd_unpack = ZSTD_createDCtx();
	if (!w->zstd_unpack)
		return err_set(err, ENOMEM, "Cannot allocate a decompressor");
	do {
		size_t frame = ZSTD_findFrameCompressedSize(in + pos, n - pos), r;

		if (ZSTD_isError(frame)) {
			if (got)
				return is_short(CODEC_ZSTD, got, outn, err);
			return is_broken(CODEC_ZSTD, n, err);
		}
		r = ZSTD_decompressDCtx(w->zstd_unpack, out + got, outn - got, in + pos, frame);
		if (ZSTD_isError(r)) {
			if (ZSTD_getErrorCode(r) == ZSTD_error_dstSize_tooSmall)
				return is_long(CODEC_ZSTD, outn, err);
			return is_broken(CODEC_ZSTD, n, err);
		}
		got += r;
		pos += frame;
	} while (got < outn);
	*used = pos;
	return 0;
}
#endif

/* The peer's is 3. Up to 128 KiB 4 is as fast and makes 0.6 % less; above, slower. */
static int zstd_level(size_t n)
{
	return n > 16384 && n <= 131072 ? 4 : 3;
}

static int level_check(enum codec codec, int level, struct err *err)
{
	int max = DEFLATE_LEVEL_MAX;

#ifdef HAVE_LIBZSTD
	if (codec == CODEC_ZSTD)
		max = ZSTD_maxCLevel();
#endif
	if (level == PACK_LEVEL_DEFAULT || (level >= 1 && level <= max))
		return 0;
	return err_set(err, EINVAL, "%s compression level %d is not between 1 and %d",
		       pack_name(codec), level, max);
}

int pack_deflate(enum codec codec, int level, const void *in, size_t n, void *out, size_t *outn,
		 struct err *err)
{
	struct workshop *w;
	bool zstd = codec == CODEC_ZSTD;

	if (!pack_has(codec))
		return no_codec(codec, err);
	if (level_check(codec, level, err) < 0)
		return -1;
	w = workshop_get(err);
	if (!w)
		return -1;
	if (*outn >= n)
		*outn = n ? n - 1 : 0;
	if (level == PACK_LEVEL_DEFAULT) {
		/* zstd finds out by itself, and as quickly */
		if (!zstd && guess_hopeless(in, n))
			*outn = 0;
		level = zstd ? zstd_level(n) : deflate_level(in, n);
	}
	if (!*outn)
		return 0;
#ifdef HAVE_LIBZSTD
	if (zstd)
		return zstd_pack(w, level, in, n, out, outn, err);
#endif
	return deflate_block(w, level, in, n, out, outn, err);
}

int pack_inflate(enum codec codec, const void *in, size_t n, void *out, size_t outn,
		 size_t *used, struct err *err)
{
	struct workshop *w;
	size_t ignored;

	if (!pack_has(codec))
		return no_codec(codec, err);
	w = workshop_get(err);
	if (!w)
		return -1;
	if (!used)
		used = &ignored;
#ifdef HAVE_LIBZSTD
	if (codec == CODEC_ZSTD)
		return zstd_unpack(w, in, n, out, outn, used, err);
#endif
	return inflate_block(w, in, n, out, outn, used, err);
}

uint32_t pack_adler32(const void *p, size_t n)
{
#ifdef HAVE_LIBDEFLATE
	return libdeflate_adler32(1, p, n);
#else
	return (uint32_t)adler32_z(1, p, n);
#endif
}

int pack_inflate_zlib(const void *in, size_t n, void *out, size_t outn, size_t *used,
		      struct err *err)
{
	const uint8_t *p = in;
	size_t body;

	/* method 8 without a preset dictionary, at most 32 KiB of window, a multiple of 31 */
	if (n < 6 || (p[0] & 15) != 8 || p[0] >> 4 > 7 || (p[1] & 32) || get_be16(p) % 31)
		return is_broken(CODEC_DEFLATE, n, err);
	if (pack_inflate(CODEC_DEFLATE, p + 2, n - 6, out, outn, &body, err))
		return -1;
	if (get_be32(p + 2 + body) != pack_adler32(out, outn))
		return err_set(err, EIO, "zlib data does not have the checksum that it says");
	if (used)
		*used = body + 6;
	return 0;
}

uint32_t pack_crc32(uint32_t crc, const void *p, size_t n)
{
#ifdef HAVE_LIBDEFLATE
	return libdeflate_crc32(crc, p, n);
#else
	return (uint32_t)crc32_z(crc, p, n);
#endif
}

/* By doubling: 2^k zeros have a checksum, and zlib knows that of two runs one after the other.
 */
uint32_t pack_crc32_zeros(uint32_t crc, uint64_t n)
{
	static const uint8_t zero;
	uint32_t run = pack_crc32(0, &zero, 1);

	for (uint64_t len = 1; n > 0; n /= 2, len *= 2) {
		if (n & 1)
			crc = (uint32_t)crc32_combine(crc, run, (z_off_t)len);
		if (n > 1)
			run = (uint32_t)crc32_combine(run, run, (z_off_t)len);
	}
	return crc;
}
