#include "lib/pack_gzip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "lib/bytes.h"
#include "lib/mem.h"

#define WINDOW	    15
#define RAW	    (-WINDOW)	  /* deflate without a wrapping */
#define GZIP_WINDOW (WINDOW + 16) /* with gzip's */
#define MEMORY	    8
#define FLUSH_ROOM  16 /* an empty stored block at a byte's border */

void gzip_head(uint8_t out[GZIP_HEAD])
{
	/* deflate, no flags, no time, no word on the effort, system unknown */
	static const uint8_t head[GZIP_HEAD] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};

	memcpy(out, head, GZIP_HEAD);
}

size_t gzip_bound(size_t n)
{
	return compressBound(n) + FLUSH_ROOM;
}

int gzip_piece(const void *in, size_t n, void *out, size_t *outn, uint32_t *crc,
	       struct err *err)
{
	z_stream z = {
		.next_in = (Bytef *)(uintptr_t)in,
		.avail_in = (uInt)n,
		.next_out = out,
		.avail_out = (uInt)gzip_bound(n),
	};
	int rc = deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, RAW, MEMORY,
			      Z_DEFAULT_STRATEGY);

	if (rc != Z_OK)
		return err_nomem(err, 1u << (WINDOW + 3), "compression");
	rc = deflate(&z, Z_SYNC_FLUSH);
	*outn = z.total_out;
	*crc = (uint32_t)crc32(0, in, (uInt)n);
	deflateEnd(&z);
	if (rc != Z_OK || z.avail_in || z.avail_out == 0)
		return err_set(err, EIO, "Compression failed (zlib says %d)", rc);
	return 0;
}

uint32_t gzip_crc_join(uint32_t a, uint32_t b, uint64_t len)
{
	return (uint32_t)crc32_combine(a, b, (z_off_t)len);
}

void gzip_tail(uint8_t out[GZIP_TAIL], uint32_t crc, uint64_t size)
{
	out[0] = 3; /* the last block: of fixed codes, and empty */
	out[1] = 0;
	put_le32(out + 2, crc);
	put_le32(out + 6, (uint32_t)size);
}

/* ---- reading --------------------------------------------------------------------------- */

struct gzip_reader {
	z_stream z;
	gzip_more *more;
	void *arg;
	bool file_end, between; /* between: no member is open */
};

struct gzip_reader *gzip_open(gzip_more *more, void *arg, struct err *err)
{
	struct gzip_reader *r = calloc(1, sizeof(*r));

	if (!r || inflateInit2(&r->z, GZIP_WINDOW) != Z_OK) {
		free(r);
		err_nomem(err, sizeof(*r), "decompression");
		return NULL;
	}
	r->more = more;
	r->arg = arg;
	r->between = true;
	return r;
}

static int refill(struct gzip_reader *r, struct err *err)
{
	const uint8_t *data;
	size_t n;

	if (r->z.avail_in || r->file_end)
		return 0;
	if (r->more(r->arg, &data, &n, err))
		return -1;
	r->z.next_in = (Bytef *)(uintptr_t)data;
	r->z.avail_in = (uInt)n;
	r->file_end = n == 0;
	return 0;
}

int gzip_read(struct gzip_reader *r, void *buf, size_t n, size_t *got, struct err *err)
{
	r->z.next_out = buf;
	r->z.avail_out = (uInt)n;
	while (r->z.avail_out) {
		int rc;

		if (refill(r, err))
			return -1;
		if (r->file_end && r->between)
			break;
		if (r->file_end)
			return err_set(err, EIO, "The gzip stream is cut off");
		r->between = false;
		rc = inflate(&r->z, Z_NO_FLUSH);
		if (rc == Z_STREAM_END) {
			r->between = true;
			rc = inflateReset(&r->z);
		}
		if (rc != Z_OK && rc != Z_BUF_ERROR)
			return err_set(err, EIO, "The gzip stream is damaged%s%s",
				       r->z.msg ? ": " : "", r->z.msg ? r->z.msg : "");
	}
	*got = n - r->z.avail_out;
	return 0;
}

void gzip_close(struct gzip_reader *r)
{
	if (!r)
		return;
	inflateEnd(&r->z);
	free(r);
}
