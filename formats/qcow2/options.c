/*
 * The -o options of a new image: their table, in the order of the peer's "Formatting" line,
 * and what values and combinations are refused, in its words.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "crypto/secret.h"
#include "formats/qcow2/qcow2.h"
#include "lib/mem.h"
#include "lib/pack.h"

/* The largest disk that QEMU's block layer takes. */
#define DISK_MAX (INT64_MAX & ~((INT64_C(1) << 30) - 1))

const struct opt qcow2_create_opts[] = {
	{.name = "encryption",
	 .type = OPT_BOOL,
	 .help = "Encrypt the image with format 'aes'. (Deprecated in favor of "
		 "encrypt.format=aes)"},
	{.name = "encrypt.format",
	 .type = OPT_STR,
	 .help = "Encrypt the image, format choices: 'aes', 'luks'"},
	{.name = "encrypt.key-secret",
	 .type = OPT_STR,
	 .help = "ID of secret providing qcow AES key or LUKS passphrase"},
	{.name = "encrypt.cipher-alg",
	 .type = OPT_STR,
	 .help = "Name of encryption cipher algorithm"},
	{.name = "encrypt.cipher-mode",
	 .type = OPT_STR,
	 .help = "Name of encryption cipher mode"},
	{.name = "encrypt.ivgen-alg",
	 .type = OPT_STR,
	 .help = "Name of IV generator algorithm"},
	{.name = "encrypt.ivgen-hash-alg",
	 .type = OPT_STR,
	 .help = "Name of IV generator hash algorithm"},
	{.name = "encrypt.hash-alg",
	 .type = OPT_STR,
	 .help = "Name of encryption hash algorithm"},
	{.name = "encrypt.iter-time",
	 .type = OPT_NUM,
	 .help = "Time to spend in PBKDF in milliseconds"},
	{.name = "cluster_size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "qcow2 cluster size",
	 .initial = "65536"},
	{.name = "extended_l2",
	 .type = OPT_BOOL,
	 .help = "Extended L2 tables",
	 .initial = "off"},
	{.name = "preallocation",
	 .type = OPT_STR,
	 .arg = "MODE",
	 .choices = "off|metadata|falloc|full",
	 .help = "Preallocation mode (allowed values: off, metadata, falloc, full)"},
	{.name = "compression_type",
	 .type = OPT_STR,
	 .arg = "TYPE",
	 .choices = "zlib|zstd",
	 .help = "Compression method used for image cluster compression",
	 .initial = "zlib"},
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.name = "compat",
	 .type = OPT_STR,
	 .flags = OPT_AMEND,
	 .arg = "LEVEL",
	 .choices = "v2|v3|0.10|1.1",
	 .help = "Compatibility level (v2 [0.10] or v3 [1.1])"},
	{.name = "backing_file",
	 .type = OPT_STR,
	 .flags = OPT_AMEND,
	 .arg = "FILE",
	 .help = "File name of a base image"},
	{.name = "backing_fmt",
	 .type = OPT_STR,
	 .flags = OPT_AMEND,
	 .arg = "FMT",
	 .help = "Image format of the base image"},
	{.name = "data_file",
	 .type = OPT_STR,
	 .flags = OPT_AMEND,
	 .arg = "FILE",
	 .help = "File name of an external data file"},
	{.name = "data_file_raw",
	 .type = OPT_BOOL,
	 .flags = OPT_AMEND,
	 .help = "The external data file must stay valid as a raw image"},
	{.name = "lazy_refcounts",
	 .type = OPT_BOOL,
	 .flags = OPT_AMEND,
	 .help = "Postpone refcount updates",
	 .initial = "off"},
	{.name = "refcount_bits",
	 .type = OPT_NUM,
	 .flags = OPT_AMEND,
	 .arg = "BITS",
	 .help = "Width of a reference count entry in bits",
	 .initial = "16"},
	{.type = OPT_END},
};

/* A key whose values the peer knows under another name. */
static int word(const struct opts *o, const char *key, const char *peer_key,
		const char *choices, int *out, struct err *err)
{
	if (opts_choice(o, key, choices, out, err) == 0)
		return 0;
	return err_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", peer_key,
		       opts_get(o, key));
}

static int encryption(const struct opts *o, struct qcow2_settings *s, struct err *err)
{
	const char *format = opts_get(o, "encrypt.format");
	bool aes = false, any = false;

	if (opts_bool(o, "encryption", &aes, err))
		return -1;
	for (size_t i = 0; i < opts_count(o); i++)
		any |= strncmp(opts_key(o, i), "encrypt.", 8) == 0;
	if (!aes && !any)
		return 0;
	if (aes && format)
		return err_set(err, EINVAL,
			       "'encrypt.format' and its alias 'encryption' can't be used at "
			       "the same time");
	if (!aes && !format)
		return err_set(err, EINVAL, "Parameter 'encrypt.format' is missing");
	if (format && strcmp(format, "aes") != 0 && strcmp(format, "luks") != 0)
		return err_set(err, EINVAL, "Parameter 'format' does not accept value '%s'",
			       format);
	if (format && strcmp(format, "luks") == 0) {
		s->crypt = QCOW2_CRYPT_LUKS;
		return luks1_wish(o, "encrypt.", &s->luks, err);
	}
	for (size_t i = 0; i < opts_count(o); i++) {
		const char *key = opts_key(o, i);

		if (strncmp(key, "encrypt.", 8) == 0 && strcmp(key, "encrypt.format") != 0 &&
		    strcmp(key, "encrypt.key-secret") != 0)
			return err_set(err, EINVAL, "Parameter '%s' is unexpected", key);
	}
	s->crypt = QCOW2_CRYPT_AES;
	s->secret = opts_get(o, "encrypt.key-secret");
	if (!s->secret)
		return err_set(err, EINVAL,
			       "Parameter 'encrypt.key-secret' is required for cipher");
	return secret_find(s->secret, err) ? 0 : -1;
}

static unsigned log2_of(uint64_t v)
{
	return 63 - (unsigned)__builtin_clzll(v);
}

static bool is_power(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

/* What needs no look at the other options. */
static int read_values(const struct opts *o, struct qcow2_settings *s, uint64_t *bits,
		       struct err *err)
{
	static const enum blk_prealloc modes[] = {PREALLOC_OFF, PREALLOC_METADATA,
						  PREALLOC_FALLOC, PREALLOC_FULL};
	uint64_t cluster = 65536;
	int compat = 3, zstd = 0, prealloc = 0;

	*bits = 16;
	if (encryption(o, s, err) || opts_bool(o, "extended_l2", &s->extended_l2, err) ||
	    opts_bool(o, "lazy_refcounts", &s->lazy, err) ||
	    opts_bool(o, "data_file_raw", &s->data_raw, err) ||
	    opts_size(o, "cluster_size", &cluster, err) ||
	    opts_num(o, "refcount_bits", UINT64_MAX, bits, err) ||
	    word(o, "compat", "version", "v2|0.10|v3|1.1", &compat, err) ||
	    word(o, "preallocation", "preallocation", "off|metadata|falloc|full", &prealloc,
		 err) ||
	    word(o, "compression_type", "compression-type", "zlib|zstd", &zstd, err))
		return -1;
	s->version = compat < 2 ? 2 : 3;
	s->prealloc = modes[prealloc];
	s->zstd = zstd;
	s->backing = opts_get(o, "backing_file");
	s->backing_format = opts_get(o, "backing_fmt");
	s->data_file = opts_get(o, "data_file");
	if (!is_power(cluster) || cluster < 1u << QCOW2_CLUSTER_BITS_MIN ||
	    cluster > 1u << QCOW2_CLUSTER_BITS_MAX)
		return err_set(err, EINVAL,
			       "Cluster size must be a power of two between 512 and 2048k");
	s->cluster_bits = log2_of(cluster);
	return 0;
}

static int need_v3(const struct qcow2_settings *s, bool used, const char *what, struct err *err)
{
	if (!used || s->version >= 3)
		return 0;
	return err_set(err, EINVAL,
		       "%s only supported with compatibility level 1.1 and above (use "
		       "version=v3 or greater)",
		       what);
}

static int check_together(const struct qcow2_settings *s, struct err *err)
{
	if (s->prealloc != PREALLOC_OFF && s->backing && !s->extended_l2)
		return err_set(err, EINVAL,
			       "Backing file and preallocation can only be used at the same "
			       "time if extended_l2 is on");
	if (need_v3(s, s->extended_l2, "Extended L2 entries are", err))
		return -1;
	if (s->extended_l2 && s->cluster_bits < 14)
		return err_set(err, EINVAL,
			       "Extended L2 entries are only supported with cluster sizes of "
			       "at least %d bytes",
			       QCOW2_SUBCLUSTERS * QCOW2_SUBCLUSTER_MIN);
	if (s->backing_format && !s->backing)
		return err_set(err, EINVAL,
			       "Backing format cannot be used without backing file");
	return 0;
}

int qcow2_settings(const struct opts *o, struct qcow2_settings *s, struct err *err)
{
	uint64_t bits;

	memset(s, 0, sizeof(*s));
	if (read_values(o, s, &bits, err) || check_together(s, err))
		return -1;
	if (need_v3(s, s->lazy, "Lazy refcounts", err))
		return -1;
	if (!is_power(bits) || bits > 64)
		return err_set(err, EINVAL,
			       "Refcount width must be a power of two and may not exceed 64 "
			       "bits");
	s->refcount_order = log2_of(bits);
	if (s->version < 3 && bits != 16)
		return err_set(err, EINVAL,
			       "Different refcount widths than 16 bits require compatibility "
			       "level 1.1 or above (use version=v3 or greater)");
	if (s->data_raw && !s->data_file)
		return err_set(err, EINVAL, "data-file-raw requires data-file");
	if (s->data_raw && s->backing)
		return err_set(err, EINVAL,
			       "Backing file and data-file-raw cannot be used at the same "
			       "time");
	if (need_v3(s, s->data_file, "External data files are", err))
		return -1;
	if (need_v3(s, s->zstd, "Non-zlib compression type is", err))
		return -1;
	if (s->zstd && !pack_has(CODEC_ZSTD))
		return err_set(err, ENOTSUP, "This build has no zstd");
	return 0;
}

static int check_size(const struct qcow2_settings *s, uint64_t *size, struct err *err)
{
	struct qcow2_header h = {.cluster_bits = s->cluster_bits};
	uint64_t up = round_up(*size, 512);

	if (s->extended_l2)
		h.incompat = QCOW2_INCOMPAT_EXT_L2;
	if (up > (uint64_t)DISK_MAX)
		return err_set(err, EFBIG,
			       "Could not resize image: offset(%" PRIu64
			       ") exceeds maximum(%" PRId64 ")",
			       up, DISK_MAX);
	if (qcow2_l1_needed(&h, up) > QCOW2_L1_MAX / 8)
		return err_set(err, EFBIG,
			       "The image size is too large for file format 'qcow2' (try "
			       "using a larger cluster size)");
	*size = up;
	return 0;
}

int qcow2_create_check(const struct opts *o, uint64_t *size, struct err *err)
{
	struct qcow2_settings s;

	return qcow2_settings(o, &s, err) || check_size(&s, size, err) ? -1 : 0;
}
