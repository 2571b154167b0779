/*
 * Another backing file: docs/interop/qcow2.rst, sections "Header" (backing_file_offset) and
 * "Header extensions" (backing file format name).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/qcow2.h"
#include "lib/mem.h"

static int check_name(const struct qcow2 *q, const char *file, struct err *err)
{
	if (file && q->image.data_raw)
		return err_set(
			err, EINVAL,
			"An external data file that is valid as a raw image leaves nothing "
			"to a backing file");
	if (file && strlen(file) > QCOW2_BACKING_MAX)
		return err_set(err, EINVAL,
			       "The backing file's name has %zu bytes, %d are possible",
			       strlen(file), QCOW2_BACKING_MAX);
	return 0;
}

/* An empty name is none. */
static int copy_name(const char *name, char **out, struct err *err)
{
	*out = name && name[0] ? strdup(name) : NULL;
	if (name && name[0] && !*out)
		return err_nomem(err, strlen(name) + 1, "a file name");
	return 0;
}

static void swap_names(struct image *image, char **file, char **format)
{
	char *old_file = image->backing, *old_format = image->backing_format;

	image->backing = *file;
	image->backing_format = *format;
	*file = old_file;
	*format = old_format;
}

void qcow2_set_caps(struct qcow2 *q)
{
	unsigned *caps = &q->image.blk.caps;

	*caps &= ~(unsigned)BLK_CAN_ZERO;
	if (q->h.version >= 3 || !q->h.backing_off)
		*caps |= BLK_CAN_ZERO;
}

int qcow2_set_backing(struct image *image, const char *file, const char *format,
		      struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	AUTO_FREE char *new_file = NULL;
	AUTO_FREE char *new_format = NULL;
	int rc;

	if (check_name(q, file, err) || copy_name(file, &new_file, err) ||
	    copy_name(format, &new_format, err))
		return -1;
	pthread_mutex_lock(&q->lock);
	/* what the image has of its own must be there before it loses what was below */
	rc = qcow2_sync(q, true, err);
	if (rc == 0) {
		swap_names(image, &new_file, &new_format);
		rc = qcow2_header_rewrite(q, err);
		if (rc)
			swap_names(image, &new_file, &new_format);
		else
			qcow2_set_caps(q);
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}
