/*
 * amend: key slots, see crypto/luks1_options.h.
 */
#include "formats/luks/luks.h"

const struct opt luks_amend_opts[] = {
	{.name = "state",
	 .type = OPT_STR,
	 .flags = OPT_AMEND,
	 .help = "Select new state of affected keyslots (active/inactive)"},
	{.name = "new-secret",
	 .type = OPT_STR,
	 .flags = OPT_AMEND,
	 .arg = "ID",
	 .help = "New secret to set in the matching keyslots. Empty string to erase"},
	{.name = "old-secret",
	 .type = OPT_STR,
	 .flags = OPT_AMEND,
	 .arg = "ID",
	 .help = "Select all keyslots that match this password"},
	{.name = "keyslot",
	 .type = OPT_NUM,
	 .flags = OPT_AMEND,
	 .help = "Select a single keyslot to modify explicitly"},
	{.name = "iter-time",
	 .type = OPT_NUM,
	 .flags = OPT_AMEND,
	 .help = "Time to spend in PBKDF in milliseconds"},
	{0},
};

int luks_amend(struct image *image, const struct amend *a, struct err *err)
{
	struct luks *l = (struct luks *)image;
	struct luks1_volume v = {
		.file = image->blk.lower, .base = 0, .h = &l->h, .key = l->key};

	return luks1_amend(&v, a->opts, "", a->force_said, err);
}
