/* flat.h -- the exact nearest neighbours by scanning codes.
 *
 * Every row's code gives bounds between which its true distance lies. Rows whose lower bound lies
 * above the k-th smallest upper bound are out; the few that remain are measured with their vectors.
 * So the answer is that of a scan of all vectors in double precision, rounded to f32, ties by the
 * owner's order: the oracle of tests, and the fastest way for some thousand rows.
 */
#ifndef FLAT_H
#define FLAT_H

#include "index/search.h"

enum flat_rows {
    FLAT_ALL,     /* all slots that have a vector */
    FLAT_WAITING, /* those that the graph does not hold yet */
    FLAT_LINKED,  /* those that it holds */
};

/* Offers the k nearest of the rows that are visible and pass to `top`, which is empty. Rows whose
 * vector the owner no longer has are replaced by the next. scratch->query is the search's vector.
 * STATUS_OK, _NO_MEMORY, _CANCELLED or _TIMEOUT. */
MUST_CHECK enum status flat_scan(struct search *search, enum flat_rows rows, struct top_k *top);

#endif
