/*
 * The format's descriptor. The specification is QEMU's docs/interop/qcow2.rst.
 */
#include "formats/qcow2/qcow2.h"
#include "formats/qcow2/snapshot.h"

#include "lib/bytes.h"

static int qcow2_probe(const uint8_t *head, size_t n, uint64_t size)
{
	(void)size;
	if (n < 8 || get_be32(head) != QCOW2_MAGIC)
		return 0;
	return get_be32(head + 4) >= 2 ? 100 : 0;
}

static const char *const extensions[] = {"qcow2", "qc2", NULL};

static const struct snapshot_ops snapshot_ops = {
	.create = qcow2_snapshot_create,
	.apply = qcow2_snapshot_apply,
	.remove = qcow2_snapshot_remove,
	.load = qcow2_snapshot_load,
	.exclusive = qcow2_snapshot_exclusive,
};

const struct format format_qcow2 = {
	.name = "qcow2",
	.summary = "QEMU's image format: snapshots, backing files, compression",
	.extensions = extensions,
	.caps = FORMAT_CREATE | FORMAT_WRITE | FORMAT_BACKING | FORMAT_PACK,
	.open_opts = qcow2_open_opts,
	.create_opts = qcow2_create_opts,
	.probe = qcow2_probe,
	.open = qcow2_open,
	.create = qcow2_create,
	.create_check = qcow2_create_check,
	.create_files = qcow2_create_files,
	.info = qcow2_info,
	.check = qcow2_check,
	.measure = qcow2_measure,
	.snapshot = &snapshot_ops,
	.bitmap = &qcow2_bitmap_ops,
	.amend_opts = qcow2_amend_opts,
	.amend = qcow2_amend,
	.set_backing = qcow2_set_backing,
	.make_empty = qcow2_make_empty,
};
