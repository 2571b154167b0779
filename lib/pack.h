/*
 * Compression and decompression of single clusters.
 *
 * Deflate is raw (RFC 1951, no zlib header), as qcow2 and its relatives store it.
 * libdeflate does the work where the build has it, zlib else; zstd needs libzstd.
 *
 * Threads: every function may be called from many threads; compressors are kept per
 * thread and freed at its end.
 */
#ifndef LIB_PACK_H
#define LIB_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/blk.h"
#include "lib/err.h"

#define PACK_LEVEL_DEFAULT (-1)

/* Is the codec in this build? */
bool pack_has(enum codec codec);
/* "zlib", "zstd": what options and messages call it. */
const char *pack_name(enum codec codec);
/* Which library does deflate here, for --version: "libdeflate 1.14". */
const char *pack_deflate_library(void);

/* Compresses n bytes into at most *outn; on success *outn is the length, 0 if the
 * result would not fit. level PACK_LEVEL_DEFAULT or the codec's own scale. */
int pack_deflate(enum codec codec, int level, const void *in, size_t n, void *out, size_t *outn,
		 struct err *err);
/* Decompresses at most n bytes of input into exactly outn bytes. Short, long or broken
 * input is an error (EIO). used (may be NULL) gets the number of input bytes consumed. */
int pack_inflate(enum codec codec, const void *in, size_t n, void *out, size_t outn,
		 size_t *used, struct err *err);
/* The same of deflate in its zlib wrapping (RFC 1950): the checksum must fit, too. */
int pack_inflate_zlib(const void *in, size_t n, void *out, size_t outn, size_t *used,
		      struct err *err);
/* CRC-32 as zlib and PNG have it, continued from `crc`; 0 at first. */
uint32_t pack_crc32(uint32_t crc, const void *p, size_t n);
/* The same for n bytes of zeros, however many. */
uint32_t pack_crc32_zeros(uint32_t crc, uint64_t n);
/* The checksum of zlib's wrapping (RFC 1950). */
uint32_t pack_adler32(const void *in, size_t n);

#endif
