/*
 * What all formats need to open and create: the image itself, the files that it names beside
 * itself (struct image_file), the length of new ones.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/format.h"

void *image_new(size_t n, const struct blk_ops *ops, const struct format *format,
		struct blk *lower, struct err *err)
{
	struct image *image = calloc(1, n);

	if (!image) {
		err_nomem(err, n, "an image");
		return NULL;
	}
	if (blk_init(&image->blk, ops, lower->name, err)) {
		free(image);
		return NULL;
	}
	image->format = format;
	image->blk.lower = lower;
	return image;
}

int image_give_up(struct image *image)
{
	struct err later;

	image->blk.lower = NULL;
	blk_close(&image->blk, &later);
	return -1;
}

int image_file_add(struct image *image, const char *name, const char *key, bool read_only,
		   struct err *err)
{
	struct image_file *more = realloc(image->file,
					  (image->nfile + 1) * sizeof(*image->file));
	struct image_file *f;

	if (!more)
		return err_nomem(err, (image->nfile + 1) * sizeof(*more), "the image's files");
	image->file = more;
	f = &more[image->nfile];
	*f = (struct image_file){.read_only = read_only, .name = strdup(name)};
	if (key)
		f->key = strdup(key);
	image->nfile++;
	if (!f->name || (key && !f->key))
		return err_nomem(err, strlen(name) + 1, "a file name");
	return 0;
}

int image_files_free(struct image *image, struct err *err)
{
	struct err later;
	int rc = 0;

	for (size_t i = 0; i < image->nfile; i++) {
		if (blk_close(image->file[i].blk, rc ? &later : err))
			rc = -1;
		free(image->file[i].name);
		free(image->file[i].key);
	}
	free(image->file);
	image->file = NULL;
	image->nfile = 0;
	return rc;
}

int file_names_add(struct file_names *names, const char *name, struct err *err)
{
	char **more = reallocarray(names->name, names->n + 1, sizeof(*more));

	if (!more)
		return err_nomem(err, (names->n + 1) * sizeof(*more), "file names");
	names->name = more;
	more[names->n] = strdup(name);
	if (!more[names->n])
		return err_nomem(err, strlen(name) + 1, "a file name");
	names->n++;
	return 0;
}

void file_names_free(struct file_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct file_names){0};
}

int image_new_size(struct blk *file, uint64_t size, enum blk_prealloc p, struct err *err)
{
	if (file->caps & BLK_CAN_GROW)
		return blk_resize(file, size, p, err);
	if (size <= blk_size(file))
		return 0;
	return err_set(err, ENOSPC,
		       "The image needs %" PRIu64 " bytes, but the device has %" PRIu64, size,
		       blk_size(file));
}

int image_new_prealloc(const struct opts *opts, struct err *err)
{
	int mode = 0;

	if (opts_choice(opts, "preallocation", "off|falloc|full|metadata", &mode, err))
		return err_set(err, EINVAL, "invalid parameter value: %s",
			       opts_get(opts, "preallocation"));
	if (mode == 3)
		return err_set(err, ENOTSUP, "Unsupported preallocation mode: metadata");
	return 0;
}
