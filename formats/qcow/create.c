/*
 * New qcow images, laid out as the peer lays them out: the header, the backing file's name,
 * the L1 table. Over a backing file clusters are single sectors, so that a write never has to
 * read.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "crypto/secret.h"
#include "formats/qcow/qcow.h"
#include "lib/mem.h"

const struct opt qcow_create_opts[] = {
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.name = "backing_file",
	 .type = OPT_STR,
	 .arg = "FILE",
	 .help = "File name of a base image"},
	{.name = "backing_fmt",
	 .type = OPT_STR,
	 .arg = "FMT",
	 .help = "Format of the backing image"},
	{.name = "encryption",
	 .type = OPT_BOOL,
	 .help = "Encrypt the image with format 'aes'. (Deprecated in favor of "
		 "encrypt.format=aes)"},
	{.name = "encrypt.format",
	 .type = OPT_STR,
	 .help = "Encrypt the image, format choices: 'aes'"},
	{.name = "encrypt.key-secret",
	 .type = OPT_STR,
	 .help = "ID of the secret that provides the AES encryption key"},
	{0},
};

/* *secret: NULL where there is none. */
static int encryption(const struct opts *o, const char **secret, struct err *err)
{
	const char *format = opts_get(o, "encrypt.format");
	bool aes = false;

	*secret = NULL;
	if (opts_bool(o, "encryption", &aes, err))
		return -1;
	if (aes && format)
		return err_set(err, EINVAL,
			       "'encrypt.format' and its alias 'encryption' can't be used at "
			       "the same time");
	if (!aes && !format && !opts_has(o, "encrypt.key-secret"))
		return 0;
	if (!aes && !format)
		return err_set(err, EINVAL, "Parameter 'encrypt.format' is missing");
	if (format && strcmp(format, "aes") != 0)
		return err_set(err, ENOTSUP, "Unsupported encryption format");
	*secret = opts_get(o, "encrypt.key-secret");
	if (!*secret)
		return qcow_need_key(err);
	return secret_find(*secret, err) ? 0 : -1;
}

static void make_header(const struct opts *opts, uint64_t size, struct qcow_header *h)
{
	const char *backing = opts_get(opts, "backing_file");

	*h = (struct qcow_header){
		.magic = QCOW_MAGIC,
		.version = 1,
		.size = round_up(size, 512),
		.cluster_bits = 12,
		.l2_bits = 9,
		.l1_off = QCOW_HEADER_LEN,
	};
	if (!backing || !backing[0])
		return;
	h->cluster_bits = 9;
	h->l2_bits = 12;
	h->backing_off = QCOW_HEADER_LEN;
	h->backing_len = (uint32_t)strlen(backing);
	h->l1_off = round_up(QCOW_HEADER_LEN + h->backing_len, 8);
}

int qcow_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	const char *backing = opts_get(opts, "backing_file"), *secret;
	struct qcow_header h;

	if (*size == 0)
		return err_set(err, EINVAL, "Image size is too small, cannot be zero length");
	if (encryption(opts, &secret, err) || image_new_prealloc(opts, err))
		return -1;
	if (backing && strlen(backing) > QCOW_BACKING_MAX)
		return err_set(err, EINVAL, "Backing file name too long");
	make_header(opts, *size, &h);
	if (qcow_l1_size(&h) > QCOW_L1_ENTRIES)
		return err_set(err, EFBIG, "Image too large");
	return 0;
}

int qcow_create(const struct create *c, struct err *err)
{
	uint8_t buf[QCOW_HEADER_LEN + QCOW_BACKING_MAX + 8] = {0};
	uint64_t size = c->size, l1;
	struct qcow_header h;

	if (qcow_create_check(c->opts, &size, err))
		return -1;
	make_header(c->opts, size, &h);
	if (opts_has(c->opts, "encrypt.key-secret"))
		h.crypt = QCOW_CRYPT_AES;
	layout_encode(qcow_fields, &h, buf);
	if (h.backing_off)
		memcpy(buf + h.backing_off, opts_get(c->opts, "backing_file"), h.backing_len);
	/* as much as the peer writes */
	l1 = round_up(8 * qcow_l1_size(&h), 512);
	if (image_new_size(c->lower, h.l1_off + l1, PREALLOC_OFF, err))
		return -1;
	/* nobody knows what is on a device */
	if (!(c->lower->caps & BLK_CAN_GROW) && blk_zero(c->lower, h.l1_off, l1, 0, err))
		return -1;
	return blk_pwrite(c->lower, buf, h.l1_off, 0, 0, err);
}
