#include "formats/parallels/descriptor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/array.h"
#include "lib/mem.h"
#include "lib/xml.h"

#define TOP_GUID    "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
#define SECTORS_MAX (INT64_MAX / 512 - 2048)

struct room {
	size_t storage, part, shot;
};

void prl_descriptor_free(struct prl_descriptor *d)
{
	for (size_t i = 0; i < d->nparts; i++)
		free(d->part[i].file);
	free(d->part);
	free(d->storage);
	free(d->shot);
	memset(d, 0, sizeof(*d));
}

/* ---- values -------------------------------------------------------------------------- */

static int get_text(const struct xml *e, const char *name, const char **out, struct err *err)
{
	const struct xml *child = xml_child(e, name);

	if (!child || !xml_text(child)[0])
		return err_set(err, EINVAL, "<%s> has no <%s>", xml_name(e), name);
	*out = xml_text(child);
	return 0;
}

static int get_number(const struct xml *e, const char *name, uint64_t max, uint64_t *out,
		      struct err *err)
{
	const char *text;
	char *end;

	if (get_text(e, name, &text, err))
		return -1;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || *out > max)
		return err_set(err, EINVAL, "<%s> '%.60s' is not a number up to %" PRIu64, name,
			       text, max);
	return 0;
}

static int get_guid(const struct xml *e, const char *name, uint8_t guid[UUID_LEN],
		    struct err *err)
{
	const char *text;

	return get_text(e, name, &text, err) || uuid_parse(text, guid, err) ? -1 : 0;
}

/* ---- elements ------------------------------------------------------------------------ */

static int read_parameters(const struct xml *root, struct prl_descriptor *d, struct err *err)
{
	const struct xml *e = xml_child(root, "Disk_Parameters");
	const struct xml *padding = xml_child(e, "Padding");
	const struct xml *engine = xml_child(xml_child(e, "Encryption"), "Engine");
	uint8_t guid[UUID_LEN];

	if (!e)
		return err_set(err, EINVAL, "There is no <Disk_Parameters>");
	if (get_number(e, "Disk_size", SECTORS_MAX, &d->sectors, err))
		return -1;
	if (padding && strcmp(xml_text(padding), "0") != 0)
		return err_set(err, ENOTSUP, "A Parallels disk with padding is not supported");
	if (engine && xml_text(engine)[0] &&
	    (uuid_parse(xml_text(engine), guid, err) || !uuid_is_null(guid)))
		return err_set(err, ENOTSUP,
			       "A Parallels disk that is encrypted is not supported");
	return 0;
}

/* Trust: what a disk consists of lies in its folder. */
static int check_file(const char *name, struct err *err)
{
	const char *p = name;
	bool up = false;

	while (*p) {
		size_t n = strcspn(p, "/");

		up |= n == 2 && memcmp(p, "..", 2) == 0;
		p += n;
		p += *p == '/';
	}
	if (name[0] != '/' && !up)
		return 0;
	return err_set(err, EACCES,
		       "The disk names '%.200s' as a part of it: only what lies in its folder "
		       "is opened",
		       name);
}

static int read_image(const struct xml *e, struct prl_descriptor *d, struct room *room,
		      struct err *err)
{
	struct prl_part part = {.storage = d->nstorage - 1};
	const char *type, *file;

	if (d->nparts == PRL_PARTS_MAX)
		return err_set(err, EFBIG, "The disk has more than %d images", PRL_PARTS_MAX);
	if (get_guid(e, "GUID", part.guid, err) || get_text(e, "Type", &type, err) ||
	    get_text(e, "File", &file, err) || check_file(file, err))
		return -1;
	part.plain = strcmp(type, "Plain") == 0;
	if (!part.plain && strcmp(type, "Compressed") != 0)
		return err_set(err, ENOTSUP, "An image of type '%.60s' is not known", type);
	if (array_room(&d->part, &room->part, d->nparts, sizeof(part), "an image", err))
		return -1;
	part.file = strdup(file);
	if (!part.file)
		return err_nomem(err, strlen(file), "a file name");
	d->part[d->nparts++] = part;
	return 0;
}

static int read_storage(const struct xml *e, struct prl_descriptor *d, struct room *room,
			struct err *err)
{
	uint64_t prev = d->nstorage ? d->storage[d->nstorage - 1].end : 0, cluster;
	struct prl_storage s;

	if (d->nstorage == PRL_STORAGES_MAX)
		return err_set(err, EFBIG, "The disk has more than %d storages",
			       PRL_STORAGES_MAX);
	if (get_number(e, "Start", SECTORS_MAX, &s.start, err) ||
	    get_number(e, "End", SECTORS_MAX, &s.end, err) ||
	    get_number(e, "Blocksize", UINT32_MAX, &cluster, err))
		return -1;
	s.cluster = (uint32_t)cluster;
	if (s.start != prev || s.end <= s.start || s.end > d->sectors)
		return err_set(err, EINVAL,
			       "Storage %zu is from sector %" PRIu64 " to %" PRIu64
			       ", where it should begin at %" PRIu64 " of %" PRIu64,
			       d->nstorage, s.start, s.end, prev, d->sectors);
	if (array_room(&d->storage, &room->storage, d->nstorage, sizeof(s), "a storage", err))
		return -1;
	d->storage[d->nstorage++] = s;
	for (e = xml_child(e, "Image"); e; e = xml_next(e, "Image"))
		if (read_image(e, d, room, err))
			return -1;
	return 0;
}

static int read_storages(const struct xml *root, struct prl_descriptor *d, struct room *room,
			 struct err *err)
{
	const struct xml *e = xml_child(xml_child(root, "StorageData"), "Storage");

	if (!e)
		return err_set(err, EINVAL, "There is no <Storage>");
	for (; e; e = xml_next(e, "Storage"))
		if (read_storage(e, d, room, err))
			return -1;
	if (d->storage[d->nstorage - 1].end != d->sectors)
		return err_set(err, EINVAL,
			       "The storages end at sector %" PRIu64 ", the disk at %" PRIu64,
			       d->storage[d->nstorage - 1].end, d->sectors);
	return 0;
}

static const struct prl_shot *find_shot(const struct prl_descriptor *d,
					const uint8_t guid[UUID_LEN])
{
	for (size_t i = 0; i < d->nshots; i++)
		if (memcmp(d->shot[i].guid, guid, UUID_LEN) == 0)
			return &d->shot[i];
	return NULL;
}

static int read_shots(const struct xml *e, struct prl_descriptor *d, struct room *room,
		      struct err *err)
{
	char name[UUID_TEXT];

	for (e = xml_child(e, "Shot"); e; e = xml_next(e, "Shot")) {
		struct prl_shot s;

		if (d->nshots == PRL_SHOTS_MAX)
			return err_set(err, EFBIG, "The disk has more than %d snapshots",
				       PRL_SHOTS_MAX);
		if (get_guid(e, "GUID", s.guid, err) ||
		    get_guid(e, "ParentGUID", s.parent, err))
			return -1;
		if (find_shot(d, s.guid))
			return err_set(err, EINVAL, "Snapshot {%s} is there twice",
				       uuid_text(s.guid, name));
		if (array_room(&d->shot, &room->shot, d->nshots, sizeof(s), "a snapshot", err))
			return -1;
		d->shot[d->nshots++] = s;
	}
	return 0;
}

static bool has_part(const struct prl_descriptor *d, const uint8_t guid[UUID_LEN])
{
	for (size_t i = 0; i < d->nparts; i++)
		if (memcmp(d->part[i].guid, guid, UUID_LEN) == 0)
			return true;
	return false;
}

/* What is named, else the GUID that is known for it, else the only one there is. */
static int find_top(const struct xml *snapshots, struct prl_descriptor *d, struct err *err)
{
	if (xml_child(snapshots, "TopGUID"))
		return get_guid(snapshots, "TopGUID", d->top, err);
	if (uuid_parse(TOP_GUID, d->top, err))
		return -1;
	if (has_part(d, d->top))
		return 0;
	if (d->nparts == 0 || d->nparts != d->nstorage)
		return err_set(err, EINVAL,
			       "Which of the disk's images are the present state is not said");
	memcpy(d->top, d->part[0].guid, UUID_LEN);
	return 0;
}

static int read_all(const struct xml *root, struct prl_descriptor *d, struct err *err)
{
	const struct xml *snapshots = xml_child(root, "Snapshots");
	const char *version = xml_attr(root, "Version");
	struct room room = {0};

	if (strcmp(xml_name(root), "Parallels_disk_image") != 0)
		return err_set(err, EINVAL, "<%.60s> is not <Parallels_disk_image>",
			       xml_name(root));
	if (!version || strcmp(version, "1.0") != 0)
		return err_set(err, ENOTSUP, "Version '%.60s' of a Parallels disk is not 1.0",
			       version ? version : "");
	return read_parameters(root, d, err) || read_storages(root, d, &room, err) ||
			       read_shots(snapshots, d, &room, err) ||
			       find_top(snapshots, d, err)
		       ? -1
		       : 0;
}

int prl_descriptor_parse(const char *text, size_t n, struct prl_descriptor *out,
			 struct err *err)
{
	struct xml *root = xml_parse(text, n, err);
	int rc;

	memset(out, 0, sizeof(*out));
	if (!root)
		return -1;
	rc = read_all(root, out, err);
	xml_free(root);
	if (rc)
		prl_descriptor_free(out);
	return rc;
}

/* ---- what is over what ----------------------------------------------------------------- */

/* The parts of one snapshot, one for each storage, `step` apart in `to`. */
static int find_parts(const struct prl_descriptor *d, const uint8_t guid[UUID_LEN], bool first,
		      size_t *to, size_t step, struct err *err)
{
	char name[UUID_TEXT];
	size_t found = 0;

	for (size_t i = 0; i < d->nparts && found < d->nstorage; i++) {
		const struct prl_part *p = &d->part[i];

		/* they come in the order of the storages */
		if (p->storage != found || memcmp(p->guid, guid, UUID_LEN) != 0)
			continue;
		if (p->plain && !first)
			return err_set(err, EINVAL,
				       "'%.200s' is plain, and yet a difference to another "
				       "image",
				       p->file);
		to[found++ * step] = i;
	}
	if (found == d->nstorage)
		return 0;
	return err_set(err, EINVAL, "Storage %zu has no image {%s}", found,
		       uuid_text(guid, name));
}

/* How many images lie one over the other; 0 with an error. */
static size_t chain_depth(const struct prl_descriptor *d, const uint8_t *guid, struct err *err)
{
	const struct prl_shot *s;
	size_t n = 1;

	for (; (s = find_shot(d, guid)) && !uuid_is_null(s->parent); guid = s->parent) {
		if (n++ > d->nshots) {
			err_set(err, ELOOP, "The disk's snapshots have a loop");
			return 0;
		}
	}
	return n;
}

int prl_descriptor_chain(const struct prl_descriptor *d, const uint8_t guid[UUID_LEN],
			 size_t **parts, size_t *depth, struct err *err)
{
	size_t n = chain_depth(d, guid, err);

	if (n == 0)
		return -1;
	/* every one of them has to have its images: no more than there are */
	if (n > d->nparts / d->nstorage)
		return err_set(err, EINVAL, "The disk has %zu images, and %zu are needed",
			       d->nparts, n * d->nstorage);
	*depth = n;
	*parts = calloc(n * d->nstorage, sizeof(**parts));
	if (!*parts)
		return err_nomem(err, n * d->nstorage * sizeof(**parts), "the images");
	for (size_t i = 0; i < n; i++) {
		const struct prl_shot *s = find_shot(d, guid);

		if (find_parts(d, guid, i == n - 1, *parts + i, n, err)) {
			free(*parts);
			*parts = NULL;
			return -1;
		}
		if (s)
			guid = s->parent;
	}
	return 0;
}
