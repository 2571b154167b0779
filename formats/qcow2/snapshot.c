/*
 * The snapshot table: docs/interop/qcow2.rst, section "Snapshots".
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/qcow2/snapshot.h"
#include "lib/bytes.h"
#include "lib/layout.h"
#include "lib/mem.h"

struct entry {
	uint64_t l1_off;
	uint32_t l1_size;
	uint16_t id_len, name_len;
	uint32_t date_sec, date_nsec;
	uint64_t vm_clock_nsec;
	uint32_t vm_state_size;
	uint32_t extra_size;
};

static const struct field entry_fields[] = {
	BE64(0, struct entry, l1_off),	       BE32(8, struct entry, l1_size),
	BE16(12, struct entry, id_len),	       BE16(14, struct entry, name_len),
	BE32(16, struct entry, date_sec),      BE32(20, struct entry, date_nsec),
	BE64(24, struct entry, vm_clock_nsec), BE32(32, struct entry, vm_state_size),
	BE32(36, struct entry, extra_size),    FIELD_END,
};

static char *read_text(struct qcow2 *q, uint64_t off, size_t n, struct err *err)
{
	char *s = malloc(n + 1);

	if (!s) {
		err_nomem(err, n + 1, "a snapshot's name");
		return NULL;
	}
	s[n] = '\0';
	if (blk_pread(q->image.blk.lower, s, n, off, err)) {
		free(s);
		return NULL;
	}
	return s;
}

/* The parts that follow the fixed one. Extra data may be missing: what it tells then has
 * the value that the specification, or an older version of it, implies. */
static int read_variable(struct qcow2 *q, const struct entry *e, uint64_t off,
			 struct qcow2_snapshot *s, struct err *err)
{
	uint8_t extra[QCOW2_SNAPSHOT_EXTRA] = {0};
	uint64_t ids = off + QCOW2_SNAPSHOT_HEAD + e->extra_size;

	if (blk_pread(q->image.blk.lower, extra, MIN(e->extra_size, sizeof(extra)),
		      off + QCOW2_SNAPSHOT_HEAD, err))
		return -1;
	s->l1_off = e->l1_off;
	s->l1_size = e->l1_size;
	s->extra_size = e->extra_size;
	s->info.date_sec = e->date_sec;
	s->info.date_nsec = e->date_nsec;
	s->info.vm_clock_nsec = e->vm_clock_nsec;
	s->info.vm_state_size = e->extra_size >= 8 ? get_be64(extra) : e->vm_state_size;
	s->info.disk_size = e->extra_size >= 16 ? get_be64(extra + 8) : q->h.size;
	s->info.icount = e->extra_size >= 24 ? (int64_t)get_be64(extra + 16) : -1;
	if (e->extra_size > sizeof(extra)) {
		s->unknown = (uint8_t *)read_text(q, off + QCOW2_SNAPSHOT_HEAD + sizeof(extra),
						  e->extra_size - sizeof(extra), err);
		if (!s->unknown)
			return -1;
	}
	s->info.id = read_text(q, ids, e->id_len, err);
	if (!s->info.id)
		return -1;
	s->info.name = read_text(q, ids + e->id_len, e->name_len, err);
	return s->info.name ? 0 : -1;
}

static int read_entry(struct qcow2 *q, uint32_t i, uint64_t *off, struct qcow2_snapshot *s,
		      struct err *err)
{
	uint8_t head[QCOW2_SNAPSHOT_HEAD];
	struct entry e;
	uint64_t len;

	if (blk_pread(q->image.blk.lower, head, sizeof(head), *off, err))
		return -1;
	layout_decode(entry_fields, head, &e);
	if (e.extra_size > QCOW2_SNAPSHOT_EXTRA_MAX) {
		err_set(err, EFBIG, "Too much extra metadata in snapshot table entry %" PRIu32,
			i);
		return err_hint(err, "You can force-remove this extra metadata with "
				     "qemu-img check -r all");
	}
	if (read_variable(q, &e, *off, s, err))
		return -1;
	len = QCOW2_SNAPSHOT_HEAD + e.extra_size + e.id_len + e.name_len;
	q->snapshot_table_len = *off + len - q->h.snapshots_off;
	if (q->snapshot_table_len > QCOW2_SNAPSHOT_TABLE_MAX)
		return err_set(err, EFBIG, "Snapshot table is too large");
	*off = round_up(*off + len, 8);
	return 0;
}

int qcow2_snapshots_read(struct qcow2 *q, struct err *err)
{
	uint64_t off = q->h.snapshots_off;
	uint32_t room = 0;

	for (uint32_t i = 0; i < q->h.nb_snapshots && off < q->file_size; i++) {
		if (q->nsnapshot == room) {
			struct qcow2_snapshot *grown;

			room = room ? 2 * room : 8;
			grown = realloc(q->snapshot, room * sizeof(*grown));
			if (!grown)
				return err_nomem(err, room * sizeof(*grown), "snapshots");
			q->snapshot = grown;
		}
		memset(&q->snapshot[i], 0, sizeof(q->snapshot[i]));
		q->nsnapshot++;
		if (read_entry(q, i, &off, &q->snapshot[i], err))
			return -1;
	}
	return 0;
}

void qcow2_snapshots_free(struct qcow2 *q)
{
	for (uint32_t i = 0; i < q->nsnapshot; i++) {
		free(q->snapshot[i].info.id);
		free(q->snapshot[i].info.name);
		free(q->snapshot[i].unknown);
	}
	free(q->snapshot);
	q->snapshot = NULL;
	q->nsnapshot = 0;
}
