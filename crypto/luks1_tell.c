#include <errno.h>

#include "crypto/luks1_options.h"

static struct json *slot_json(const struct luks1_slot *s)
{
	struct json *j = json_object();
	bool on = s->active == LUKS1_ENABLED;

	if (j && json_add_bool(j, "active", on) == 0 &&
	    (!on || json_add_int(j, "iters", s->iterations) == 0) &&
	    json_add_int(j, "key-offset", (int64_t)s->key_off * SECTOR_SIZE) == 0 &&
	    (!on || json_add_int(j, "stripes", s->stripes) == 0))
		return j;
	json_free(j);
	return NULL;
}

static int add_slots(const struct luks1_header *h, struct json *d)
{
	struct json *all = json_array();

	for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
		if (!all || json_push(all, slot_json(&h->slot[i]))) {
			json_free(all);
			return -1;
		}
	}
	return json_add(d, "slots", all);
}

static int add_all(const struct luks1_header *h, const struct luks1_spec *s, const char *format,
		   struct json *d)
{
	if (s->spec.iv && json_add_str(d, "ivgen-alg", s->spec.iv))
		return -1;
	if (json_add_str(d, "hash-alg", h->hash) ||
	    json_add_str(d, "cipher-alg", s->spec.cipher) || json_add_str(d, "uuid", h->uuid))
		return -1;
	if (s->spec.iv_hash && json_add_str(d, "ivgen-hash-alg", s->spec.iv_hash))
		return -1;
	if (format && json_add_str(d, "format", format))
		return -1;
	if (json_add_str(d, "cipher-mode", s->spec.mode) || add_slots(h, d) ||
	    json_add_int(d, "payload-offset", (int64_t)luks1_payload(h)) ||
	    json_add_int(d, "master-key-iters", h->digest_iterations))
		return -1;
	return 0;
}

int luks1_tell(const struct luks1_header *h, const char *format, struct json *d,
	       struct err *err)
{
	struct luks1_spec spec;

	if (luks1_translate(h, &spec, err))
		return -1;
	return add_all(h, &spec, format, d) ? err_nomem(err, 1000, "info") : 0;
}
