/*
 * New qed images: the header, room for the L1 table, nothing else.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/qed/qed.h"
#include "lib/mem.h"

const struct opt qed_create_opts[] = {
	{.name = "size", .type = OPT_SIZE, .arg = "SIZE", .help = "Virtual disk size"},
	{.name = "backing_file",
	 .type = OPT_STR,
	 .arg = "FILE",
	 .help = "File name of a base image"},
	{.name = "backing_fmt",
	 .type = OPT_STR,
	 .arg = "FMT",
	 .help = "Image format of the base image"},
	{.name = "cluster_size",
	 .type = OPT_SIZE,
	 .arg = "SIZE",
	 .help = "Cluster size (in bytes)",
	 .initial = "65536"},
	{.name = "table_size",
	 .type = OPT_SIZE,
	 .arg = "CLUSTERS",
	 .help = "L1/L2 table size (in clusters)"},
	{0},
};

static bool is_power(uint64_t v, uint64_t min, uint64_t max)
{
	return v >= min && v <= max && (v & (v - 1)) == 0;
}

/* What the options say; *h is left alone where they are wrong. */
static int read_options(const struct opts *opts, struct qed_header *h, struct err *err)
{
	uint64_t cluster = QED_CLUSTER, table = QED_TABLE;
	const char *backing = opts_get(opts, "backing_file");

	if (opts_size(opts, "cluster_size", &cluster, err) ||
	    opts_size(opts, "table_size", &table, err))
		return -1;
	if (!is_power(cluster, QED_CLUSTER_MIN, QED_CLUSTER_MAX))
		return err_set(err, EINVAL,
			       "QED cluster size must be within range [%d, %d] and power of 2",
			       QED_CLUSTER_MIN, QED_CLUSTER_MAX);
	if (!is_power(table, 1, QED_TABLE_MAX))
		return err_set(err, EINVAL,
			       "QED table size must be within range [1, %d] and power of 2",
			       QED_TABLE_MAX);
	if (backing && strlen(backing) > QED_BACKING_MAX)
		return err_set(err, EINVAL,
			       "The backing file's name has %zu bytes, %d are possible",
			       strlen(backing), QED_BACKING_MAX);
	*h = (struct qed_header){
		.magic = QED_MAGIC,
		.cluster_size = (uint32_t)cluster,
		.table_size = (uint32_t)table,
		.header_size = 1,
		.l1_off = cluster,
	};
	return 0;
}

int qed_create_check(const struct opts *opts, uint64_t *size, struct err *err)
{
	struct qed_header h;

	if (read_options(opts, &h, err) || image_new_prealloc(opts, err))
		return -1;
	if (*size > qed_size_max(&h))
		return err_set(err, EINVAL,
			       "QED image size must be a non-zero multiple of cluster size "
			       "and less than %" PRIu64 " bytes",
			       qed_size_max(&h));
	return 0;
}

static int write_table(struct blk *file, const struct qed_header *h, struct err *err)
{
	uint64_t table = (uint64_t)h->table_size * h->cluster_size;

	if (image_new_size(file, h->l1_off + table, PREALLOC_OFF, err))
		return -1;
	/* nobody knows what is on a device */
	return file->caps & BLK_CAN_GROW ? 0 : blk_zero(file, h->l1_off, table, 0, err);
}

int qed_create(const struct create *c, struct err *err)
{
	uint8_t buf[QED_HEADER_LEN + QED_BACKING_MAX + 1] = {0};
	const char *backing = opts_get(c->opts, "backing_file");
	const char *format = opts_get(c->opts, "backing_fmt");
	uint64_t size = c->size;
	struct qed_header h;

	if (qed_create_check(c->opts, &size, err) || read_options(c->opts, &h, err))
		return -1;
	h.size = round_up(size, 512);
	if (backing && backing[0]) {
		h.features = QED_BACKING;
		if (format && strcmp(format, "raw") == 0)
			h.features |= QED_NO_PROBE;
		h.backing_off = QED_HEADER_LEN;
		h.backing_len = (uint32_t)strlen(backing);
		memcpy(buf + QED_HEADER_LEN, backing, h.backing_len);
	}
	layout_encode(qed_fields, &h, buf);
	if (write_table(c->lower, &h, err))
		return -1;
	return blk_pwrite(c->lower, buf, sizeof(buf), 0, 0, err);
}
