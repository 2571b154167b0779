/*
 * ova: a disk inside of an OVA, read in place. An OVA is a tar archive with an OVF descriptor,
 * perhaps a manifest, and disks (DMTF DSP0243, Open Virtualization Format Specification 2.1,
 * section 5.3 "OVF package as a single file"). A disk is told by its name's extension: the
 * descriptor need not be understood for that.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/io/io.h"
#include "lib/mem.h"
#include "lib/size.h"
#include "lib/tar.h"

#define SCHEME	  "ova:"
#define TOLD_MAX  8  /* disks that a message lists */
#define NAME_TOLD 80 /* bytes of a name in it */

static bool ends_in(const char *name, const char *const ext[], size_t n)
{
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < n; i++)
		if (strcasecmp(dot + 1, ext[i]) == 0)
			return true;
	return false;
}

static bool is_disk(const struct tar_member *m)
{
	static const char *const ext[] = {"vmdk", "vhd", "vhdx", "vdi", "qcow2",
					  "qcow", "qed", "img",	 "raw", "hdd"};

	return ends_in(m->name, ext, ARRAY_LEN(ext));
}

static bool is_packed(const struct tar_member *m)
{
	static const char *const ext[] = {"gz", "bz2", "xz", "zst"};

	return ends_in(m->name, ext, ARRAY_LEN(ext));
}

static const char *bare(const char *name)
{
	return strncmp(name, "./", 2) == 0 ? name + 2 : name;
}

/* A name from the archive, fit for a terminal. */
static const char *shown(const char *name, char out[NAME_TOLD + 1])
{
	size_t n = 0;

	for (name = bare(name); *name && n < NAME_TOLD; name++)
		out[n++] = isprint((unsigned char)*name) ? *name : '?';
	out[n] = '\0';
	return out;
}

/* "1: disk1.vmdk (12 MiB), 2: ..."; how many there are. */
static size_t list_disks(const struct tar *tar, char *to, size_t room)
{
	size_t n = 0, at = 0;

	to[0] = '\0';
	for (size_t i = 0; i < tar->n; i++) {
		char name[NAME_TOLD + 1], size[SIZE_TEXT];
		int len;

		if (!is_disk(&tar->member[i]) || n++ >= TOLD_MAX)
			continue;
		len = snprintf(to + at, room - at, "%s%zu: %s (%s)", at ? ", " : "", n,
			       shown(tar->member[i].name, name),
			       size_human(tar->member[i].size, size));
		at += len > 0 ? MIN((size_t)len, room - at - 1) : 0;
	}
	if (n > TOLD_MAX)
		snprintf(to + at, room - at, ", and %zu more", n - TOLD_MAX);
	return n;
}

/* The first disk whose name can be shown as it is: for an example. */
static const char *example(const struct tar *tar, char name[NAME_TOLD + 1])
{
	for (size_t i = 0; i < tar->n; i++)
		if (is_disk(&tar->member[i]))
			return shown(tar->member[i].name, name);
	return "DISK";
}

static int tell_disks(const struct tar *tar, const char *file, struct err *err)
{
	char list[900], name[NAME_TOLD + 1];
	size_t n = list_disks(tar, list, sizeof(list));

	if (n == 0)
		return err_hint(err, "No member of it has a disk's name");
	return err_hint(err, "Its disk%s: %s\nName one: ova:%s#%s", n == 1 ? " is" : "s are",
			list, file, example(tar, name));
}

static const struct tar_member *by_number(const struct tar *tar, const char *disk)
{
	char *end;
	unsigned long n = strtoul(disk, &end, 10);

	if (!isdigit((unsigned char)disk[0]) || *end || n == 0)
		return NULL;
	for (size_t i = 0; i < tar->n; i++)
		if (is_disk(&tar->member[i]) && --n == 0)
			return &tar->member[i];
	return NULL;
}

static const struct tar_member *by_name(const struct tar *tar, const char *disk)
{
	for (size_t i = 0; i < tar->n; i++)
		if (strcmp(bare(tar->member[i].name), bare(disk)) == 0)
			return &tar->member[i];
	return by_number(tar, disk);
}

static const struct tar_member *only_one(const struct tar *tar)
{
	const struct tar_member *found = NULL;

	for (size_t i = 0; i < tar->n; i++) {
		if (!is_disk(&tar->member[i]))
			continue;
		if (found)
			return NULL;
		found = &tar->member[i];
	}
	return found;
}

static bool has_disk(const struct tar *tar)
{
	for (size_t i = 0; i < tar->n; i++)
		if (is_disk(&tar->member[i]))
			return true;
	return false;
}

static const struct tar_member *choose(const struct tar *tar, const char *file,
				       const char *disk, struct err *err)
{
	const struct tar_member *m = disk ? by_name(tar, disk) : only_one(tar);
	char name[NAME_TOLD + 1];

	if (!m && disk)
		err_set(err, ENOENT, "There is no disk '%s' in it", disk);
	else if (!m)
		err_set(err, EINVAL,
			has_disk(tar) ? "Which of its disks is not said"
				      : "There is no disk in it");
	if (!m) {
		tell_disks(tar, file, err);
		return NULL;
	}
	if (!m->plain || is_packed(m)) {
		err_set(err, ENOTSUP, "'%s' is %s in the archive: unpack it first",
			shown(m->name, name), m->plain ? "compressed" : "not in one piece");
		return NULL;
	}
	return m;
}

/* ---- the protocol ---------------------------------------------------------------------- */

/* "FILE#DISK"; the whole where there is a file of that name. */
static int split(const struct opts *opts, char **file, char **disk, struct err *err)
{
	const char *name = opts_get(opts, "filename"), *given = opts_get(opts, "disk");
	const char *hash;

	*file = *disk = NULL;
	if (name && strncmp(name, SCHEME, strlen(SCHEME)) == 0)
		name += strlen(SCHEME);
	hash = name ? strrchr(name, '#') : NULL;
	if (!name || !name[0])
		return err_set(err, EINVAL, "The name of an OVA is missing: ova:FILE#DISK");
	if (given || (hash && access(name, F_OK) == 0))
		hash = NULL;
	*file = strndup(name, hash ? (size_t)(hash - name) : strlen(name));
	if (hash && hash[1])
		given = hash + 1;
	if (given)
		*disk = strdup(given);
	if (!*file || (given && !*disk))
		return err_nomem(err, strlen(name) + 1, "a file name");
	return 0;
}

static struct blk *open_archive(const struct opts *opts, const char *file, unsigned flags,
				struct err *err)
{
	const char *locking = opts_get(opts, "locking");
	struct opts *own = opts_new(err);
	struct blk *archive = NULL;

	if (own && opts_set(own, "filename", file, err) == 0 &&
	    (!locking || opts_set(own, "locking", locking, err) == 0))
		io_file.open(own, flags & ~(unsigned)IO_NO_IO, &archive, err);
	opts_free(own);
	return archive;
}

/* Takes the archive over, also on failure. */
static struct blk *window(struct blk *archive, const char *file, const char *disk,
			  struct err *err)
{
	const struct tar_member *m = NULL;
	struct blk *part = NULL;
	struct tar tar;
	struct err later;
	char *name;

	if (tar_list(archive, &tar, err) == 0)
		m = choose(&tar, file, disk, err);
	if (m)
		part = region_new(archive, m->off, m->size, err);
	if (!part) {
		blk_close(archive, &later);
	} else if (asprintf(&name, "ova:%s#%s", file, m->name) < 0) {
		err_nomem(err, strlen(file) + strlen(m->name) + 6, "a file name");
		blk_close(part, &later);
		part = NULL;
	} else {
		free(part->name);
		part->name = name;
	}
	tar_free(&tar);
	return part;
}

static int ova_open(const struct opts *opts, unsigned flags, struct blk **out, struct err *err)
{
	AUTO_FREE char *file = NULL, *disk = NULL;
	struct blk *archive;

	if (flags & IO_WRITE)
		return err_set(err, EACCES, "A disk inside of an OVA can only be read");
	if (split(opts, &file, &disk, err))
		return -1;
	archive = open_archive(opts, file, flags, err);
	if (!archive)
		return -1;
	*out = window(archive, file, disk, err);
	return *out ? 0 : -1;
}

static const struct opt ova_open_opts[] = {
	{.name = "filename", .type = OPT_STR, .arg = "str", .help = "FILE or FILE#DISK"},
	{.name = "disk",
	 .type = OPT_STR,
	 .arg = "str",
	 .help = "Name or number of the disk; the only one if absent"},
	{.name = "locking",
	 .type = OPT_STR,
	 .choices = "auto|on|off",
	 .help = "Lock the file against other programs; auto: where the file system can"},
	{0},
};

const struct protocol io_ova = {
	.name = "ova",
	.scheme = SCHEME,
	.open_opts = ova_open_opts,
	.open = ova_open,
};

/* ---- an OVA where an image was expected ----------------------------------------------- */

/* Is the first member a descriptor? It has to be. */
static bool is_ova(const struct tar *tar)
{
	static const char *const ext[] = {"ovf"};

	return tar->n > 0 && ends_in(tar->member[0].name, ext, 1);
}

int io_ova_refuse(struct blk *file, struct err *err)
{
	uint8_t head[TAR_BLOCK];
	struct tar tar;
	struct err ignored;
	int rc = 0;

	if (blk_size(file) < TAR_BLOCK || blk_pread(file, head, sizeof(head), 0, &ignored) ||
	    !tar_probe(head, sizeof(head)))
		return 0;
	if (tar_list(file, &tar, &ignored) == 0 && is_ova(&tar)) {
		rc = err_set(err, EINVAL, "This is an OVA, an archive with disks inside");
		tell_disks(&tar, file->name, err);
	}
	tar_free(&tar);
	return rc;
}
