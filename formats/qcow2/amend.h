/*
 * What the parts of amend share.
 *
 *	amend.c      the options, what is refused, the order of the steps
 *	width.c      another width of the reference counts
 *	downgrade.c  what version 2 cannot say is said otherwise
 */
#ifndef FORMATS_QCOW2_AMEND_H
#define FORMATS_QCOW2_AMEND_H

#include "formats/qcow2/qcow2.h"

/* How far a step is. */
struct amend_progress {
	void (*tell)(void *arg, uint64_t done, uint64_t total); /* or NULL */
	void *arg;
};

/* All under the lock, after qcow2_start(). */

/* Counts of 2^order bits. Refused where one is too large for that. */
int qcow2_width_change(struct qcow2 *q, unsigned order, const struct amend_progress *p,
		       struct err *err);
/* -1 where it has compressed clusters. */
int qcow2_downgrade_packed(struct qcow2 *q, struct err *err);
/* No zero clusters any more, neither of the disk nor of a snapshot. */
int qcow2_downgrade_zeros(struct qcow2 *q, const struct amend_progress *p, struct err *err);

#endif
