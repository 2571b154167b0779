/*
 * What names a new image's files have, and the descriptor that tells them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/vmdk/create.h"
#include "lib/mem.h"

/* "dir/disk.vmdk" -> "dir/disk-s001.vmdk" */
static char *extent_path(const struct vmdk_settings *s, const char *path, uint64_t i)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	const char *dot = strrchr(name, '.');
	int stem = (int)((dot ? dot : name + strlen(name)) - path);
	char *out;
	int n;

	if (!dot)
		dot = "";
	if (!s->split)
		n = asprintf(&out, "%.*s-flat%s", stem, path, dot);
	else
		n = asprintf(&out, "%.*s-%c%03" PRIu64 "%s", stem, path, s->flat ? 'f' : 's',
			     i + 1, dot);
	return n < 0 ? NULL : out;
}

int vmdk_create_files(const struct opts *opts, uint64_t size, const char *path,
		      struct file_names *out, struct err *err)
{
	struct vmdk_settings s;
	uint64_t n;

	if (vmdk_settings(opts, &s, err))
		return -1;
	if (strpbrk(path, "\"\r\n"))
		return err_set(err, EINVAL,
			       "'%s' has a quote or line end, which no VMDK descriptor can "
			       "hold",
			       path);
	n = s.split ? div_up(size, VMDK_SPLIT) : s.flat && size ? 1 : 0;
	for (uint64_t i = 0; i < n; i++) {
		AUTO_FREE char *name = extent_path(&s, path, i);

		if (!name)
			return err_nomem(err, strlen(path), "a file name");
		if (file_names_add(out, name, err))
			return -1;
	}
	return 0;
}

/* ---- the descriptor -------------------------------------------------------------------------
 */

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void put_extents(FILE *f, const struct vmdk_settings *s, const struct create *c,
			uint64_t size)
{
	uint64_t most = s->split ? VMDK_SPLIT : UINT64_MAX;
	const char *type = s->flat ? "FLAT" : "SPARSE", *at = s->flat ? " 0" : "";

	if (!s->flat && !s->split)
		fprintf(f, "RW %" PRIu64 " %s \"%s\"\n", size / VMDK_SECTOR, type,
			base(c->lower->name));
	for (size_t i = 0; i < c->nfile; i++) {
		uint64_t n = MIN(size, most);

		fprintf(f, "RW %" PRIu64 " %s \"%s\"%s\n", n / VMDK_SECTOR, type,
			base(c->file[i]->name), at);
		size -= n;
	}
}

char *vmdk_new_desc(const struct vmdk_settings *s, const struct create *c, uint64_t size,
		    uint32_t parent_cid, struct err *err)
{
	static const char *const type[] = {"monolithicSparse", "monolithicFlat",
					   "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
					   "streamOptimized"};
	static const char *const adapter[] = {"ide", "lsilogic", "buslogic", "legacyESX"};
	const uint64_t heads = s->adapter ? 255 : 16, track = 63;
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	if (!f) {
		err_nomem(err, VMDK_SECTOR, "a descriptor");
		return NULL;
	}
	fprintf(f,
		"# Disk DescriptorFile\nversion=1\nCID=%08" PRIx32 "\nparentCID=%08" PRIx32
		"\ncreateType=\"%s\"\n",
		s->cid, parent_cid, type[s->sub]);
	if (s->parent && s->parent[0])
		fprintf(f, "parentFileNameHint=\"%s\"", s->parent);
	fputs("\n# Extent description\n", f);
	put_extents(f, s, c, size);
	fprintf(f,
		"\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"%s\"\n"
		"ddb.geometry.cylinders = \"%" PRIu64 "\"\nddb.geometry.heads = \"%" PRIu64
		"\"\nddb.geometry.sectors = \"%" PRIu64 "\"\nddb.adapterType = \"%s\"\n"
		"ddb.toolsVersion = \"%s\"\n",
		s->hwversion, size / VMDK_SECTOR / (heads * track), heads, track,
		adapter[s->adapter], s->tools);
	if (fclose(f) == 0)
		return text;
	free(text);
	err_nomem(err, VMDK_SECTOR, "a descriptor");
	return NULL;
}
