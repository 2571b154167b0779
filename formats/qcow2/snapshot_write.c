/*
 * Snapshots taken, applied and removed: docs/interop/qcow2.rst, section "Snapshots". What
 * that does to tables and counts is swap.h's.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/snapshot.h"
#include "formats/qcow2/swap.h"
#include "lib/bytes.h"
#include "lib/mem.h"

/* ---- the table -------------------------------------------------------------------- */

static size_t entry_len(const struct qcow2_snapshot *s)
{
	return QCOW2_SNAPSHOT_HEAD + MAX(s->extra_size, QCOW2_SNAPSHOT_EXTRA) +
	       strlen(s->info.id) + strlen(s->info.name);
}

static void put_entry(const struct qcow2_snapshot *s, uint8_t *p)
{
	size_t id = strlen(s->info.id), name = strlen(s->info.name), known;
	uint32_t extra = MAX(s->extra_size, QCOW2_SNAPSHOT_EXTRA);

	put_be64(p, s->l1_off);
	put_be32(p + 8, s->l1_size);
	put_be16(p + 12, (uint16_t)id);
	put_be16(p + 14, (uint16_t)name);
	put_be32(p + 16, s->info.date_sec);
	put_be32(p + 20, s->info.date_nsec);
	put_be64(p + 24, s->info.vm_clock_nsec);
	put_be32(p + 32,
		 s->info.vm_state_size > UINT32_MAX ? 0 : (uint32_t)s->info.vm_state_size);
	put_be32(p + 36, extra);
	p += QCOW2_SNAPSHOT_HEAD;
	put_be64(p, s->info.vm_state_size);
	put_be64(p + 8, s->info.disk_size);
	put_be64(p + 16, (uint64_t)s->info.icount);
	known = QCOW2_SNAPSHOT_EXTRA;
	if (s->unknown)
		memcpy(p + known, s->unknown, extra - known);
	memcpy(p + extra, s->info.id, id);
	memcpy(p + extra + id, s->info.name, name);
}

/* The entries of the list but `without`, and `new`, which may be NULL. */
int qcow2_snapshots_encode(const struct qcow2 *q, uint32_t without,
			   const struct qcow2_snapshot *new, uint8_t **out, size_t *len,
			   size_t *last, struct err *err)
{
	uint32_t n = q->nsnapshot + (new != NULL);
	size_t at = 0, end = 0;
	uint8_t *buf;

	for (uint32_t i = 0; i < n; i++)
		if (i != without)
			at = round_up(at, 8) +
			     entry_len(i < q->nsnapshot ? &q->snapshot[i] : new);
	if (n > QCOW2_SNAPSHOTS_MAX)
		return err_set(err, EFBIG, "An image has at most %d snapshots",
			       QCOW2_SNAPSHOTS_MAX);
	if (at > QCOW2_SNAPSHOT_TABLE_MAX)
		return err_set(err, EFBIG, "The snapshot table would exceed %d bytes",
			       QCOW2_SNAPSHOT_TABLE_MAX);
	buf = calloc(1, at + 8);
	if (!buf)
		return err_nomem(err, at, "the snapshot table");
	for (uint32_t i = 0; i < n; i++) {
		const struct qcow2_snapshot *s = i < q->nsnapshot ? &q->snapshot[i] : new;

		if (i == without)
			continue;
		*last = round_up(end, 8);
		put_entry(s, buf + *last);
		end = *last + entry_len(s);
	}
	*out = buf;
	*len = end;
	return 0;
}

/* ---- what all three need ----------------------------------------------------------- */

static int check_image(const struct qcow2 *q, struct err *err)
{
	if (qcow2_external(q))
		return err_set(err, ENOTSUP,
			       "An image with an external data file cannot have snapshots");
	if (q->nsnapshot != q->h.nb_snapshots)
		return err_set(err, EIO,
			       "The snapshot table is beyond the end of the file: check the "
			       "image");
	return 0;
}

static int end(struct qcow2 *q, struct swap *s, uint8_t *list, int rc)
{
	if (rc == 0)
		swap_after(s);
	swap_free(s);
	free(list);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* Nothing of it is kept by the image: a swap of it as it is now. */
static struct swap swap_of(struct qcow2 *q, enum swap_kind kind)
{
	return (struct swap){.q = q,
			     .kind = kind,
			     .nl1 = q->h.l1_size,
			     .disk_size = q->h.size,
			     .nlist = q->nsnapshot};
}

/* ---- create ----------------------------------------------------------------------- */

/* One more than the highest number among the IDs, as the peer chooses it. */
static void next_id(const struct qcow2 *q, char *out, size_t n)
{
	unsigned long long max = 0;

	for (uint32_t i = 0; i < q->nsnapshot; i++) {
		unsigned long long id = strtoull(q->snapshot[i].info.id, NULL, 10);

		max = MAX(max, id);
	}
	snprintf(out, n, "%llu", max + 1);
}

static int new_entry(const struct qcow2 *q, const struct snapshot_info *info,
		     struct qcow2_snapshot *s, struct err *err)
{
	char id[32];

	memset(s, 0, sizeof(*s));
	if (info->id && strlen(info->id) > UINT16_MAX)
		return err_set(err, EINVAL, "The ID of a snapshot has at most 65535 bytes");
	if (strlen(info->name) > UINT16_MAX)
		return err_set(err, EINVAL, "The name of a snapshot has at most 65535 bytes");
	for (uint32_t i = 0; info->id && i < q->nsnapshot; i++)
		if (strcmp(q->snapshot[i].info.id, info->id) == 0)
			return err_set(err, EEXIST, "There is a snapshot with ID '%s' already",
				       info->id);
	next_id(q, id, sizeof(id));
	s->info = *info;
	s->info.disk_size = q->h.size;
	s->info.id = strdup(info->id ? info->id : id);
	s->info.name = strdup(info->name);
	s->l1_size = q->h.l1_size;
	s->extra_size = QCOW2_SNAPSHOT_EXTRA;
	if (s->info.id && s->info.name)
		return 0;
	return err_nomem(err, strlen(info->name), "a snapshot");
}

static int create_held(struct qcow2 *q, struct swap *s, struct qcow2_snapshot *new,
		       uint8_t **list, struct err *err)
{
	struct qcow2_snapshot *more;
	size_t last = 0;

	more = realloc(q->snapshot, (q->nsnapshot + 1) * sizeof(*more));
	if (!more)
		return err_nomem(err, (q->nsnapshot + 1) * sizeof(*more), "snapshots");
	q->snapshot = more;
	if (qcow2_snapshots_encode(q, UINT32_MAX, new, list, &s->list_len, &last, err))
		return -1;
	s->nlist++;
	s->list = *list;
	s->copy_at = *list + last;
	if (swap_do(s, err))
		return -1;
	new->l1_off = s->copy.off;
	q->snapshot[q->nsnapshot++] = *new;
	memset(new, 0, sizeof(*new));
	return 0;
}

int qcow2_snapshot_create(struct image *image, const struct snapshot_info *info,
			  struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	struct qcow2_snapshot new = {0};
	struct swap s;
	uint8_t *list = NULL;
	int rc;

	pthread_mutex_lock(&q->lock);
	s = swap_of(q, SWAP_CREATE);
	rc = check_image(q, err) || qcow2_start(q, err) || new_entry(q, info, &new, err) ||
			     create_held(q, &s, &new, &list, err)
		     ? -1
		     : 0;
	free(new.info.id);
	free(new.info.name);
	return end(q, &s, list, rc);
}

/* ---- apply and remove ------------------------------------------------------------- */

static int begin_with(struct qcow2 *q, size_t i, struct err *err)
{
	if (check_image(q, err))
		return -1;
	if (i >= q->nsnapshot)
		return err_set(err, ENOENT, "The image has no such snapshot");
	return qcow2_start(q, err);
}

/* The disk only: what the snapshot has of a machine's memory stays with it alone. */
static int apply_held(struct qcow2 *q, struct swap *s, size_t i, uint64_t *l1, uint64_t n,
		      uint8_t **list, struct err *err)
{
	size_t last;

	s->disk_size = q->snapshot[i].info.disk_size;
	s->nl1 = MAX(qcow2_l1_needed(&q->h, s->disk_size), 1);
	s->snap_l1 = l1;
	s->nsnap_l1 = MIN(n, s->nl1);
	if (qcow2_snapshots_encode(q, UINT32_MAX, NULL, list, &s->list_len, &last, err))
		return -1;
	s->list = *list;
	return swap_do(s, err);
}

int qcow2_snapshot_apply(struct image *image, size_t i, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	struct swap s;
	uint8_t *list = NULL;
	uint64_t *l1 = NULL, n;
	int rc = -1;

	pthread_mutex_lock(&q->lock);
	s = swap_of(q, SWAP_APPLY);
	/* they would have to tell all that is different then */
	if (q->extra.has_bitmaps && q->extra.nb_bitmaps &&
	    (q->h.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		err_set(err, EBUSY, "Device has active dirty bitmaps");
	else if (begin_with(q, i, err) == 0 &&
		 qcow2_snapshot_l1(q, &q->snapshot[i], &l1, &n, err) == 0)
		rc = apply_held(q, &s, i, l1, n, &list, err);
	free(l1);
	return end(q, &s, list, rc);
}

static void drop_entry(struct qcow2 *q, size_t i)
{
	free(q->snapshot[i].info.id);
	free(q->snapshot[i].info.name);
	free(q->snapshot[i].unknown);
	q->nsnapshot--;
	memmove(&q->snapshot[i], &q->snapshot[i + 1],
		(q->nsnapshot - i) * sizeof(*q->snapshot));
}

static int remove_held(struct qcow2 *q, struct swap *s, size_t i, uint64_t *l1, uint8_t **list,
		       struct err *err)
{
	size_t last;

	s->snap_l1 = l1;
	s->nsnap_l1 = q->snapshot[i].l1_size;
	s->snap_l1_area.off = q->snapshot[i].l1_off;
	s->snap_l1_area.clusters = div_up(s->nsnap_l1 * 8, q->cluster_size);
	s->nlist--;
	if (qcow2_snapshots_encode(q, (uint32_t)i, NULL, list, &s->list_len, &last, err))
		return -1;
	s->list = *list;
	if (swap_do(s, err))
		return -1;
	drop_entry(q, i);
	return 0;
}

int qcow2_snapshot_remove(struct image *image, size_t i, struct err *err)
{
	struct qcow2 *q = (struct qcow2 *)image;
	struct swap s;
	uint8_t *list = NULL;
	uint64_t *l1 = NULL, n;
	int rc = -1;

	pthread_mutex_lock(&q->lock);
	s = swap_of(q, SWAP_REMOVE);
	if (begin_with(q, i, err) == 0 &&
	    qcow2_snapshot_l1(q, &q->snapshot[i], &l1, &n, err) == 0)
		rc = remove_held(q, &s, i, l1, &list, err);
	free(l1);
	return end(q, &s, list, rc);
}
