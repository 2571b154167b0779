/*
 * The header of a qcow2 file: docs/interop/qcow2.rst, sections "Header", "Additional
 * fields", "Header extensions", "Feature name table", "Bitmaps extension", "Full disk
 * encryption header pointer".
 */
#include "formats/qcow2/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/snapshot.h"
#include "lib/bytes.h"
#include "lib/layout.h"
#include "lib/mem.h"

static const struct field v2_fields[] = {
	BE32(0, struct qcow2_header, magic),
	BE32(4, struct qcow2_header, version),
	BE64(8, struct qcow2_header, backing_off),
	BE32(16, struct qcow2_header, backing_len),
	BE32(20, struct qcow2_header, cluster_bits),
	BE64(24, struct qcow2_header, size),
	BE32(32, struct qcow2_header, crypt),
	BE32(36, struct qcow2_header, l1_size),
	BE64(40, struct qcow2_header, l1_off),
	BE64(48, struct qcow2_header, reftable_off),
	BE32(56, struct qcow2_header, reftable_cl),
	BE32(60, struct qcow2_header, nb_snapshots),
	BE64(64, struct qcow2_header, snapshots_off),
	FIELD_END,
};

static const struct field v3_fields[] = {
	BE64(72, struct qcow2_header, incompat),
	BE64(80, struct qcow2_header, compat),
	BE64(88, struct qcow2_header, autoclear),
	BE32(96, struct qcow2_header, refcount_order),
	BE32(100, struct qcow2_header, header_len),
	FIELD_END,
};

static const struct field additional_fields[] = {
	U8(104, struct qcow2_header, compression),
	FIELD_END,
};

int qcow2_header_decode(const uint8_t *buf, size_t n, struct qcow2_header *h, struct err *err)
{
	memset(h, 0, sizeof(*h));
	if (n < QCOW2_HEAD_V2 || get_be32(buf) != QCOW2_MAGIC)
		return err_set(err, EINVAL, "Image is not in qcow2 format");
	layout_decode(v2_fields, buf, h);
	if (h->version < 2 || h->version > 3)
		return err_set(err, ENOTSUP, "Unsupported qcow2 version %" PRIu32, h->version);
	if (h->version == 2) {
		h->refcount_order = 4;
		h->header_len = QCOW2_HEAD_V2;
		return 0;
	}
	if (n < QCOW2_HEAD_V3)
		return err_set(err, EINVAL, "qcow2 header too short");
	layout_decode(v3_fields, buf, h);
	if (h->header_len > 104 && n > 104)
		layout_decode(additional_fields, buf, h);
	return 0;
}

uint64_t qcow2_l1_needed(const struct qcow2_header *h, uint64_t size)
{
	unsigned entry_bits = h->incompat & QCOW2_INCOMPAT_EXT_L2 ? 4 : 3;
	unsigned shift = 2 * h->cluster_bits - entry_bits;

	return (size >> shift) + ((size & ((UINT64_C(1) << shift) - 1)) != 0);
}

/* A table must be aligned and end below 2^63; with a file size, lie inside the file and
 * past the header. */
static int check_table(const char *what, const char *invalid, uint64_t off, uint64_t len,
		       const struct qcow2_header *h, uint64_t file_size, struct err *err)
{
	uint64_t cluster = UINT64_C(1) << h->cluster_bits;

	if (off % cluster != 0 || off > (uint64_t)INT64_MAX - len)
		return err_set(err, EINVAL, "%s", invalid);
	if (len == 0 || file_size == UINT64_MAX)
		return 0;
	if (off < cluster)
		return err_set(err, EINVAL, "%s at %#" PRIx64 " overlaps the header", what,
			       off);
	if (off > file_size || len > round_up(file_size, cluster) - off)
		return err_set(err, EINVAL,
			       "%s at %#" PRIx64 " (%" PRIu64
			       " bytes) is beyond the end of the file (%" PRIu64 " bytes)",
			       what, off, len, file_size);
	return 0;
}

int qcow2_shape_check(const struct qcow2_header *h, struct err *err)
{
	uint64_t cluster;

	if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
	    h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return err_set(err, EINVAL, "Unsupported cluster size: 2^%" PRIu32,
			       h->cluster_bits);
	cluster = UINT64_C(1) << h->cluster_bits;
	if (h->version >= 3 && h->header_len < QCOW2_HEAD_V3)
		return err_set(err, EINVAL, "qcow2 header too short");
	if (h->header_len > cluster)
		return err_set(err, EINVAL, "qcow2 header exceeds cluster size");
	if (h->backing_off > cluster)
		return err_set(err, EINVAL, "Invalid backing file offset");
	return 0;
}

static int check_features(const struct qcow2_header *h, struct err *err)
{
	bool other = h->incompat & QCOW2_INCOMPAT_COMPRESSION;

	if (h->compression > 1)
		return err_set(err, ENOTSUP, "qcow2: unknown compression type: %u",
			       h->compression);
	if (h->compression != 0 && !other)
		return err_set(err, EINVAL,
			       "qcow2: Compression type incompatible feature bit must be set");
	if (h->compression == 0 && other)
		return err_set(err, EINVAL,
			       "qcow2: Compression type incompatible feature bit must not be "
			       "set");
	if ((h->incompat & QCOW2_INCOMPAT_EXT_L2) &&
	    (1u << h->cluster_bits) / QCOW2_SUBCLUSTERS < QCOW2_SUBCLUSTER_MIN)
		return err_set(err, EINVAL, "Unsupported subcluster size: %u",
			       (1u << h->cluster_bits) / QCOW2_SUBCLUSTERS);
	if (h->refcount_order > 6)
		return err_set(err, EINVAL,
			       "Reference count entry width too large; may not exceed 64 "
			       "bits");
	if (h->crypt > QCOW2_CRYPT_LUKS)
		return err_set(err, ENOTSUP, "Unsupported encryption method %" PRIu32,
			       h->crypt);
	return 0;
}

static int check_tables(const struct qcow2_header *h, uint64_t file_size, struct err *err)
{
	uint64_t cluster = UINT64_C(1) << h->cluster_bits;

	if (h->reftable_cl > (uint32_t)QCOW2_REFTABLE_MAX >> h->cluster_bits)
		return err_set(err, EINVAL, "Reference count table too large");
	if (check_table("Reference count table", "Reference count table offset invalid",
			h->reftable_off, h->reftable_cl * cluster, h, file_size, err) < 0)
		return -1;
	if (h->nb_snapshots > QCOW2_SNAPSHOTS_MAX)
		return err_set(err, EINVAL, "Snapshot table too large");
	if (check_table("Snapshot table", "Snapshot table offset invalid", h->snapshots_off,
			h->nb_snapshots * (uint64_t)QCOW2_SNAPSHOT_HEAD, h, file_size, err) < 0)
		return -1;
	if (h->l1_size > QCOW2_L1_MAX / 8)
		return err_set(err, EFBIG, "Active L1 table too large");
	if (qcow2_l1_needed(h, h->size) > INT_MAX || h->size > INT64_MAX)
		return err_set(err, EFBIG, "Image is too big");
	if (h->l1_size < qcow2_l1_needed(h, h->size))
		return err_set(err, EINVAL, "L1 table is too small");
	return check_table("Active L1 table", "Active L1 table offset invalid", h->l1_off,
			   h->l1_size * UINT64_C(8), h, file_size, err);
}

int qcow2_header_check(const struct qcow2_header *h, uint64_t file_size, struct err *err)
{
	uint64_t cluster;

	if (qcow2_shape_check(h, err) < 0)
		return -1;
	if (check_features(h, err) < 0)
		return -1;
	if (check_tables(h, file_size, err) < 0)
		return -1;
	cluster = UINT64_C(1) << h->cluster_bits;
	if (h->backing_off != 0 &&
	    (h->backing_len > QCOW2_BACKING_MAX || h->backing_len > cluster - h->backing_off))
		return err_set(err, EINVAL, "Backing file name too long");
	return 0;
}

static char *copy_text(const uint8_t *text, size_t n, struct err *err)
{
	char *s = strndup((const char *)text, n);

	if (!s)
		err_nomem(err, n, "the header");
	return s;
}

static int decode_bitmaps(const struct qcow2_header *h, const uint8_t *p, uint32_t len,
			  struct qcow2_extra *x, struct err *err)
{
	const uint64_t max_dir = (uint64_t)QCOW2_BITMAPS_MAX * 1024;

	if (len != 24)
		return err_set(err, EINVAL, "bitmaps_ext: Invalid extension length");
	x->has_bitmaps = true;
	x->nb_bitmaps = get_be32(p);
	x->bitmap_dir_size = get_be64(p + 8);
	x->bitmap_dir_off = get_be64(p + 16);
	if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0; /* inconsistent data: nobody looks at it */
	if (get_be32(p + 4) != 0)
		return err_set(err, EINVAL, "bitmaps_ext: Reserved field is not zero");
	if (x->nb_bitmaps > QCOW2_BITMAPS_MAX)
		return err_set(err, EINVAL,
			       "bitmaps_ext: Image has %" PRIu32 " bitmaps, exceeding the "
			       "QEMU supported maximum of %d",
			       x->nb_bitmaps, QCOW2_BITMAPS_MAX);
	if (x->nb_bitmaps == 0)
		return err_set(err, EINVAL, "found bitmaps extension with zero bitmaps");
	if (x->bitmap_dir_off % (UINT64_C(1) << h->cluster_bits) != 0)
		return err_set(err, EINVAL, "bitmaps_ext: invalid bitmap directory offset");
	if (x->bitmap_dir_size > max_dir)
		return err_set(err, EINVAL,
			       "bitmaps_ext: bitmap directory size (%" PRIu64
			       ") exceeds the maximum supported size (%" PRIu64 ")",
			       x->bitmap_dir_size, max_dir);
	return 0;
}

static int decode_crypt(const struct qcow2_header *h, const uint8_t *p, uint32_t len,
			struct qcow2_extra *x, struct err *err)
{
	uint64_t cluster = UINT64_C(1) << h->cluster_bits;

	if (h->crypt != QCOW2_CRYPT_LUKS)
		return err_set(err, EINVAL,
			       "CRYPTO header extension only expected with LUKS encryption "
			       "method");
	if (len != 16)
		return err_set(err, EINVAL,
			       "CRYPTO header extension size %" PRIu32 ", but expected size 16",
			       len);
	x->has_crypt = true;
	x->crypt_off = get_be64(p);
	x->crypt_len = get_be64(p + 8);
	if (x->crypt_off % cluster != 0)
		return err_set(err, EINVAL,
			       "Encryption header offset '%" PRIu64
			       "' is not a multiple of cluster size '%" PRIu64 "'",
			       x->crypt_off, cluster);
	return 0;
}

static int decode_known(const struct qcow2_header *h, const struct qcow2_ext *e,
			struct qcow2_extra *x, struct err *err)
{
	char **text = NULL;

	switch (e->type) {
	case QCOW2_EXT_BACKING_FORMAT:
		/* the bound is the peer's: it keeps the name in 16 bytes */
		if (e->len >= 16)
			return err_set(err, EINVAL,
				       "ERROR: ext_backing_format: len=%" PRIu32
				       " too large (>=16)",
				       e->len);
		text = &x->backing_format;
		break;
	case QCOW2_EXT_DATA_FILE:
		x->has_data_file = true;
		text = &x->data_file;
		break;
	case QCOW2_EXT_BITMAPS:
		return decode_bitmaps(h, e->data, e->len, x, err);
	case QCOW2_EXT_CRYPT:
		return decode_crypt(h, e->data, e->len, x, err);
	}
	if (!text)
		return 0;
	free(*text);
	*text = copy_text(e->data, e->len, err);
	return *text ? 0 : -1;
}

static int add_ext(struct qcow2_extra *x, uint32_t type, const uint8_t *data, uint32_t len,
		   struct err *err)
{
	struct qcow2_ext *grown = realloc(x->ext, (x->next + 1) * sizeof(*grown));
	struct qcow2_ext *e;

	if (!grown)
		return err_nomem(err, (x->next + 1) * sizeof(*grown), "header extensions");
	x->ext = grown;
	e = &x->ext[x->next];
	e->type = type;
	e->len = len;
	e->data = malloc(len ? len : 1);
	if (!e->data)
		return err_nomem(err, len, "a header extension");
	if (len)
		memcpy(e->data, data, len);
	x->next++;
	return 0;
}

static int decode_exts(const uint8_t *buf, size_t end, const struct qcow2_header *h,
		       struct qcow2_extra *x, struct err *err)
{
	size_t at = h->header_len;

	/* as the peer: an area that ends without an end mark is full, not broken */
	while (at < end && end - at >= 8) {
		uint32_t type = get_be32(buf + at);
		uint32_t len = get_be32(buf + at + 4);

		at += 8;
		if (len > end - at)
			return err_set(err, EINVAL, "Header extension too large");
		if (type == QCOW2_EXT_END)
			return 0;
		if (add_ext(x, type, buf + at, len, err) < 0)
			return -1;
		if (decode_known(h, &x->ext[x->next - 1], x, err) < 0)
			return -1;
		at += round_up(len, 8);
	}
	return 0;
}

int qcow2_extra_decode(const uint8_t *buf, size_t n, const struct qcow2_header *h,
		       struct qcow2_extra *x, struct err *err)
{
	size_t end = MIN(n, (size_t)1 << h->cluster_bits);

	memset(x, 0, sizeof(*x));
	if (h->backing_off != 0 && h->backing_off < end)
		end = h->backing_off;
	if (h->header_len > QCOW2_HEAD_NOW && h->header_len <= n) {
		x->nunknown = h->header_len - QCOW2_HEAD_NOW;
		x->unknown = malloc(x->nunknown);
		if (!x->unknown)
			return err_nomem(err, x->nunknown, "the header");
		memcpy(x->unknown, buf + QCOW2_HEAD_NOW, x->nunknown);
	}
	if (decode_exts(buf, end, h, x, err) < 0)
		return -1;
	if (h->backing_off == 0)
		return 0;
	if (h->backing_off > n || h->backing_len > n - h->backing_off)
		return err_set(err, EINVAL, "Backing file name too long");
	x->backing = copy_text(buf + h->backing_off, h->backing_len, err);
	return x->backing ? 0 : -1;
}

void qcow2_extra_free(struct qcow2_extra *x)
{
	for (size_t i = 0; i < x->next; i++)
		free(x->ext[i].data);
	free(x->ext);
	free(x->unknown);
	free(x->backing);
	free(x->backing_format);
	free(x->data_file);
	memset(x, 0, sizeof(*x));
}

int qcow2_features_check(const struct qcow2_header *h, const struct qcow2_extra *x,
			 struct err *err)
{
	uint64_t left = h->incompat & ~(uint64_t)QCOW2_INCOMPAT_KNOWN;
	const struct qcow2_ext *table = NULL;
	char text[1024];
	int used = 0;

	if (!left)
		return 0;
	for (size_t i = 0; i < x->next; i++)
		if (x->ext[i].type == QCOW2_EXT_FEATURES)
			table = &x->ext[i];
	text[0] = '\0';
	for (uint32_t at = 0; table && at + 48 <= table->len; at += 48) {
		const uint8_t *row = table->data + at;

		if (row[0] != 0 || row[1] > 63 || !(left >> row[1] & 1))
			continue;
		if (used < (int)sizeof(text))
			used += snprintf(text + used, sizeof(text) - (size_t)used, "%s%.46s",
					 used ? ", " : "", (const char *)row + 2);
		left &= ~(UINT64_C(1) << row[1]);
	}
	if (left && used < (int)sizeof(text))
		snprintf(text + used, sizeof(text) - (size_t)used,
			 "%sUnknown incompatible feature: %" PRIx64, used ? ", " : "", left);
	return err_set(err, ENOTSUP, "Unsupported qcow2 feature(s): %s", text);
}

/* ---- encoding --------------------------------------------------------------------- */

struct out {
	uint8_t *buf;
	size_t n, at;
};

static int put_ext(struct out *o, uint32_t type, const void *data, size_t len, struct err *err)
{
	size_t need = 8 + (size_t)round_up(len, 8);

	if (need > o->n - o->at)
		return err_set(err, ENOSPC,
			       "The header and its extensions do not fit into a cluster");
	put_be32(o->buf + o->at, type);
	put_be32(o->buf + o->at + 4, (uint32_t)len);
	if (len)
		memcpy(o->buf + o->at + 8, data, len);
	o->at += need;
	return 0;
}

static int put_features(struct out *o, struct err *err)
{
	static const struct {
		uint8_t kind, bit;
		const char *name;
	} rows[] = {
		{0, 0, "dirty bit"},
		{0, 1, "corrupt bit"},
		{0, 2, "external data file"},
		{0, 3, "compression type"},
		{0, 4, "extended L2 entries"},
		{1, 0, "lazy refcounts"},
		{2, 0, "bitmaps"},
		{2, 1, "raw external data"},
	};
	uint8_t table[ARRAY_LEN(rows) * 48];

	memset(table, 0, sizeof(table));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		table[i * 48] = rows[i].kind;
		table[i * 48 + 1] = rows[i].bit;
		memcpy(table + i * 48 + 2, rows[i].name, strlen(rows[i].name));
	}
	return put_ext(o, QCOW2_EXT_FEATURES, table, sizeof(table), err);
}

static int put_known(struct out *o, const struct qcow2_extra *x, bool features, struct err *err)
{
	uint8_t data[24] = {0};

	if (x->backing_format && put_ext(o, QCOW2_EXT_BACKING_FORMAT, x->backing_format,
					 strlen(x->backing_format), err) < 0)
		return -1;
	if (x->has_data_file &&
	    put_ext(o, QCOW2_EXT_DATA_FILE, x->data_file ? x->data_file : "",
		    x->data_file ? strlen(x->data_file) : 0, err) < 0)
		return -1;
	if (x->has_crypt) {
		put_be64(data, x->crypt_off);
		put_be64(data + 8, x->crypt_len);
		if (put_ext(o, QCOW2_EXT_CRYPT, data, 16, err) < 0)
			return -1;
	}
	/* the peer's rule: where it would not crowd out a backing file's name */
	if (features && o->n - o->at >= 4096 && put_features(o, err) < 0)
		return -1;
	if (x->has_bitmaps) {
		put_be32(data, x->nb_bitmaps);
		put_be32(data + 4, 0);
		put_be64(data + 8, x->bitmap_dir_size);
		put_be64(data + 16, x->bitmap_dir_off);
		if (put_ext(o, QCOW2_EXT_BITMAPS, data, 24, err) < 0)
			return -1;
	}
	return 0;
}

static bool is_known(uint32_t type)
{
	return type == QCOW2_EXT_BACKING_FORMAT || type == QCOW2_EXT_DATA_FILE ||
	       type == QCOW2_EXT_CRYPT || type == QCOW2_EXT_FEATURES ||
	       type == QCOW2_EXT_BITMAPS;
}

int qcow2_header_encode(struct qcow2_header *h, const struct qcow2_extra *x, bool features,
			uint8_t *buf, size_t n, struct err *err)
{
	struct out o = {buf, n, 0};
	size_t len = x->backing ? strlen(x->backing) : 0;

	h->header_len = h->version == 2 ? QCOW2_HEAD_V2 : QCOW2_HEAD_NOW + x->nunknown;
	if (h->header_len > n)
		return err_set(err, ENOSPC, "The header does not fit into a cluster");
	o.at = h->header_len;
	if (put_known(&o, x, features && h->version >= 3, err) < 0)
		return -1;
	for (size_t i = 0; i < x->next; i++)
		if (!is_known(x->ext[i].type) &&
		    put_ext(&o, x->ext[i].type, x->ext[i].data, x->ext[i].len, err) < 0)
			return -1;
	if (put_ext(&o, QCOW2_EXT_END, NULL, 0, err) < 0)
		return -1;
	if (len > n - o.at)
		return err_set(err, ENOSPC, "Backing file name too long");
	h->backing_off = x->backing ? o.at : 0;
	h->backing_len = (uint32_t)len;
	if (len)
		memcpy(buf + o.at, x->backing, len);
	layout_encode(v2_fields, h, buf);
	if (h->version == 2)
		return 0;
	layout_encode(v3_fields, h, buf);
	layout_encode(additional_fields, h, buf);
	if (x->nunknown)
		memcpy(buf + QCOW2_HEAD_NOW, x->unknown, x->nunknown);
	return 0;
}

int qcow2_header_update(struct qcow2 *q, struct err *err)
{
	uint8_t buf[QCOW2_HEAD_V3];
	size_t n = q->h.version == 2 ? QCOW2_HEAD_V2 : QCOW2_HEAD_V3;

	if (qcow2_lost(q, err))
		return -1;
	layout_encode(v2_fields, &q->h, buf);
	if (q->h.version >= 3)
		layout_encode(v3_fields, &q->h, buf);
	if (blk_pwrite(q->image.blk.lower, buf, n, 0, 0, err) == 0)
		return 0;
	qcow2_lose(q);
	return -1;
}
