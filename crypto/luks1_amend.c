/*
 * Key slots are set and ended: what is asked for, and what is refused. Never is the last key
 * lost without force.
 */
#include "crypto/luks1_options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crypto/hash.h"
#include "crypto/iv.h"
#include "crypto/keymem.h"
#include "crypto/secret.h"
#include "lib/mem.h"

struct change {
	const struct luks1_volume *v;
	const struct opts *opts;
	const char *prefix;
	bool force;
	int slot; /* -1: not said */
	unsigned iter_time;
};

static bool active(const struct change *c, unsigned i)
{
	return c->v->h->slot[i].active == LUKS1_ENABLED;
}

static unsigned count_active(const struct change *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LUKS1_SLOTS; i++)
		n += active(c, i);
	return n;
}

/* ---- a new key --------------------------------------------------------------------------- */

static int free_slot(const struct change *c, struct err *err)
{
	for (unsigned i = 0; i < LUKS1_SLOTS; i++)
		if (!active(c, i))
			return (int)i;
	return err_set(err, ENOSPC, "Can't add a keyslot - all keyslots are in use");
}

static int activate(struct change *c, struct err *err)
{
	const char *id = luks1_value(c->opts, c->prefix, "new-secret");
	const struct secret *s;
	int i = c->slot;

	if (!id)
		return err_set(err, EINVAL, "'new-secret' is required to activate a keyslot");
	if (luks1_value(c->opts, c->prefix, "old-secret"))
		return err_set(err, EINVAL,
			       "'old-secret' must not be given when activating keyslots");
	s = secret_find(id, err);
	if (!s)
		return -1;
	if (i >= 0 && active(c, (unsigned)i) && !c->force)
		return err_set(err, EINVAL,
			       "Refusing to overwrite active keyslot %d - please erase it "
			       "first",
			       i);
	if (i < 0)
		i = free_slot(c, err);
	if (i < 0)
		return -1;
	return luks1_set_slot(c->v->file, c->v->base, c->v->h, (unsigned)i, c->v->key,
			      (struct luks1_secret){s->bytes, s->n}, c->iter_time, err);
}

/* ---- an end ------------------------------------------------------------------------------ */

/* Which slots open with this secret. */
static int match(struct change *c, const struct secret *s, bool fits[LUKS1_SLOTS],
		 struct err *err)
{
	uint8_t *key = key_alloc(c->v->h->key_bytes, err);
	int rc = 0;

	if (!key)
		return -1;
	for (unsigned i = 0; i < LUKS1_SLOTS && rc == 0; i++) {
		fits[i] = false;
		if (!active(c, i))
			continue;
		rc = luks1_unlock(c->v->file, c->v->base, c->v->h,
				  (struct luks1_secret){s->bytes, s->n}, (int)i, key, NULL,
				  err);
		fits[i] = rc == 0;
		if (rc && err->num == EACCES)
			rc = 0;
	}
	key_free(key);
	return rc;
}

static int end_slot(struct change *c, const char *old, struct err *err)
{
	unsigned i = (unsigned)c->slot;
	const struct secret *s = old ? secret_find(old, err) : NULL;
	bool fits[LUKS1_SLOTS];

	if (old && (!s || match(c, s, fits, err)))
		return -1;
	if (!active(c, i))
		return err_set(err, EINVAL, "Given keyslot %u is already erased (inactive) ",
			       i);
	if (old && !fits[i])
		return err_set(err, EINVAL,
			       "Given keyslot %u doesn't contain the given old password for "
			       "erase operation",
			       i);
	if (count_active(c) == 1 && !c->force)
		return err_set(err, EPERM,
			       "Attempt to erase the only active keyslot %u which will erase "
			       "all the data in the image irreversibly - refusing operation",
			       i);
	return luks1_drop_slot(c->v->file, c->v->base, c->v->h, i, err);
}

static int end_matching(struct change *c, const char *id, struct err *err)
{
	const struct secret *s = secret_find(id, err);
	bool fits[LUKS1_SLOTS];
	unsigned n = 0;

	if (!s || match(c, s, fits, err))
		return -1;
	for (unsigned i = 0; i < LUKS1_SLOTS; i++)
		n += fits[i];
	if (n == 0)
		return err_set(err, EINVAL,
			       "No keyslots match given (old) password for erase "
			       "operation");
	if (n == count_active(c) && !c->force)
		return err_set(err, EPERM,
			       "All the active keyslots match the (old) password that was "
			       "given and erasing them will erase all the data in the image "
			       "irreversibly - refusing operation");
	for (unsigned i = 0; i < LUKS1_SLOTS; i++)
		if (fits[i] && luks1_drop_slot(c->v->file, c->v->base, c->v->h, i, err))
			return -1;
	return 0;
}

static int deactivate(struct change *c, struct err *err)
{
	const char *old = luks1_value(c->opts, c->prefix, "old-secret");

	if (luks1_value(c->opts, c->prefix, "new-secret"))
		return err_set(err, EINVAL,
			       "'new-secret' must not be given when erasing keyslots");
	if (luks1_value(c->opts, c->prefix, "iter-time"))
		return err_set(err, EINVAL,
			       "'iter-time' must not be given when erasing keyslots");
	if (c->slot >= 0)
		return end_slot(c, old, err);
	if (old)
		return end_matching(c, old, err);
	return err_set(err, EINVAL,
		       "To erase keyslot(s), either explicit keyslot index or the password "
		       "currently contained in them must be given");
}

static int read_numbers(struct change *c, struct err *err)
{
	uint64_t slot = 0, ms = LUKS1_ITER_TIME;

	if (luks1_number(c->opts, c->prefix, "keyslot", INT64_MAX, &slot, err) ||
	    luks1_number(c->opts, c->prefix, "iter-time", UINT32_MAX, &ms, err))
		return -1;
	if (slot >= LUKS1_SLOTS)
		return err_set(err, EINVAL,
			       "Invalid keyslot %" PRIu64 " specified, must be between 0 and "
			       "%d",
			       slot, LUKS1_SLOTS - 1);
	c->slot = luks1_value(c->opts, c->prefix, "keyslot") ? (int)slot : -1;
	c->iter_time = (unsigned)ms;
	return 0;
}

int luks1_amend(const struct luks1_volume *v, const struct opts *o, const char *prefix,
		bool force, struct err *err)
{
	struct change c = {.v = v, .opts = o, .prefix = prefix, .force = force};
	const char *state = luks1_value(o, prefix, "state");

	if (!state)
		return err_set(err, EINVAL, "Parameter 'state' is missing");
	if (strcmp(state, "active") != 0 && strcmp(state, "inactive") != 0)
		return err_set(err, EINVAL, "Parameter 'state' does not accept value '%s'",
			       state);
	if (read_numbers(&c, err))
		return -1;
	return strcmp(state, "active") == 0 ? activate(&c, err) : deactivate(&c, err);
}
