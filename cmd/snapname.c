#include "cmd/snapname.h"

#include <errno.h>
#include <string.h>

#include "lib/opt.h"

#define FORM "snapshot." /* how the form with keys begins */

static const struct opt keys[] = {
	{"snapshot.id", 0, OPT_STR},
	{"snapshot.name", 0, OPT_STR},
	{.type = OPT_END},
};

static struct opts *parse(const char *text, struct err *err)
{
	static const struct opt *const tables[] = {keys, NULL};
	struct opts *o = opts_new(err);

	if (o && (opts_parse(o, text, NULL, err) || opts_check(o, tables, err))) {
		opts_free(o);
		return NULL;
	}
	return o;
}

bool snapname_keyed(const char *text)
{
	return strncmp(text, FORM, strlen(FORM)) == 0;
}

int snapname_check(const char *text, struct err *err)
{
	struct opts *o;

	if (!snapname_keyed(text))
		return 0;
	o = parse(text, err);
	opts_free(o);
	return o ? 0 : -1;
}

/* The first that has this ID and this name; NULL: any. */
static int find(const struct snapshot_info *list, size_t n, const char *id, const char *name,
		size_t *i)
{
	for (*i = 0; *i < n; ++*i) {
		if ((!id || strcmp(list[*i].id, id) == 0) &&
		    (!name || strcmp(list[*i].name, name) == 0))
			return 0;
	}
	return -1;
}

int snapname_named(const struct snapshot_info *list, size_t n, const char *name, size_t *i)
{
	return find(list, n, NULL, name, i);
}

int snapname_either(const struct snapshot_info *list, size_t n, const char *text, size_t *i)
{
	return find(list, n, text, NULL, i) ? find(list, n, NULL, text, i) : 0;
}

int snapname_find(const struct snapshot_info *list, size_t n, const char *text, size_t *i)
{
	const char *id, *name;
	struct err ignored;
	struct opts *o;
	int rc = -1;

	if (!snapname_keyed(text))
		return snapname_either(list, n, text, i);
	o = parse(text, &ignored);
	if (!o)
		return -1;
	id = opts_get(o, "snapshot.id");
	name = opts_get(o, "snapshot.name");
	if (id || name)
		rc = find(list, n, id, name, i);
	opts_free(o);
	return rc;
}

static int load(struct image *image, const char *text, struct err *err)
{
	const struct snapshot_ops *ops = image->format->snapshot;
	struct info info = {0};
	size_t i;
	int rc = -1;

	if (!ops || !ops->load)
		return err_set(err, ENOTSUP,
			       "Block format '%s' used by device '' does not support "
			       "temporarily loading internal snapshots",
			       image->format->name);
	if (image->format->info(image, &info, err) == 0) {
		if (snapname_find(info.snapshot, info.nsnapshot, text, &i))
			err_set(err, ENOENT, "Can't find snapshot");
		else
			rc = ops->load(image, i, err);
	}
	info_free(&info);
	return rc;
}

int snapname_load(struct image *image, const char *text, struct err *err)
{
	return load(image, text, err) ? err_prefix(err, "Failed to load snapshot") : 0;
}
