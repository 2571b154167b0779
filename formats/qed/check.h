/* What the parts of qed's check share. */
#ifndef FORMATS_QED_CHECK_H
#define FORMATS_QED_CHECK_H

#include "formats/qed/qed.h"

/*
 * used: a bit for each of so many clusters of the file, to none of which two entries refer,
 * and QED_TABLE_MAX more. Moves clusters so that fewer are unused; *clusters and the bits say
 * what there is now.
 */
int qed_compact(struct qed *q, uint8_t *used, uint64_t *clusters, struct err *err);

#endif
