/*
 * New luks images: their options, in the peer's order and words, and their size.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "crypto/keymem.h"
#include "formats/luks/luks.h"
#include "lib/mem.h"
#include "lib/uuid.h"

static const char prealloc_modes[] = "off|metadata|falloc|full";

const struct opt luks_create_opts[] = {
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.name = "key-secret",
	 .type = OPT_STR,
	 .arg = "ID",
	 .help = "ID of the secret that provides the keyslot passphrase"},
	{.name = "cipher-alg", .type = OPT_STR, .help = "Name of encryption cipher algorithm"},
	{.name = "cipher-mode", .type = OPT_STR, .help = "Name of encryption cipher mode"},
	{.name = "ivgen-alg", .type = OPT_STR, .help = "Name of IV generator algorithm"},
	{.name = "ivgen-hash-alg",
	 .type = OPT_STR,
	 .help = "Name of IV generator hash algorithm"},
	{.name = "hash-alg", .type = OPT_STR, .help = "Name of encryption hash algorithm"},
	{.name = "iter-time",
	 .type = OPT_NUM,
	 .help = "Time to spend in PBKDF in milliseconds"},
	{.name = "preallocation",
	 .type = OPT_STR,
	 .flags = OPT_HIDDEN,
	 .arg = "MODE",
	 .choices = prealloc_modes,
	 .help = "How the file's space is taken"},
	{.name = "uuid",
	 .type = OPT_STR,
	 .flags = OPT_OURS,
	 .arg = "UUID",
	 .help = "The image's UUID, else a random one"},
	{0},
};

int luks_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	uint8_t uuid[UUID_LEN];
	struct luks1_wish w;
	int mode = 0;

	if (*size > INT64_MAX - (UINT64_C(1) << 30))
		return err_set(err, EFBIG, "The requested file size is too large");
	if (opts_choice(opts, "preallocation", prealloc_modes, &mode, err))
		return err_set(err, EINVAL, "invalid parameter value: %s",
			       opts_get(opts, "preallocation"));
	if (opts_has(opts, "uuid") && uuid_parse(opts_get(opts, "uuid"), uuid, err))
		return -1;
	return luks1_wish(opts, "", &w, err);
}

int luks_create(const struct create *c, struct err *err)
{
	static const enum blk_prealloc kind[] = {PREALLOC_OFF, PREALLOC_OFF, PREALLOC_FALLOC,
						 PREALLOC_FULL};
	uint64_t size = c->size, head;
	uint8_t uuid[UUID_LEN], *key;
	struct luks1_header h;
	struct luks1_wish w;
	int mode = 0;

	if (luks_create_check(c->opts, &size, err) || luks1_wish(c->opts, "", &w, err) ||
	    opts_choice(c->opts, "preallocation", prealloc_modes, &mode, err) ||
	    uuid_option(c->opts, "uuid", uuid, err))
		return -1;
	head = luks1_payload_of(sector_key_size(&w.spec));
	if (image_new_size(c->lower, head + c->size, kind[mode], err) ||
	    luks1_make(c->lower, 0, &w, uuid, &h, &key, err))
		return -1;
	key_free(key);
	return 0;
}

int luks_measure(const struct opts *opts, uint64_t size, struct blk *src, struct measure *out,
		 struct err *err)
{
	uint64_t disk = src ? blk_size(src) : size, check = disk;
	struct luks1_wish w;

	if (luks_create_check(opts, &check, err) || luks1_wish(opts, "", &w, err))
		return -1;
	out->required = luks1_payload_of(sector_key_size(&w.spec)) +
			round_up(disk, SECTOR_SIZE);
	out->fully_allocated = out->required;
	return 0;
}
