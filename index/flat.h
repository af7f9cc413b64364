/* flat.h -- the exact nearest neighbours by scanning codes.
 *
 * Every row's code gives bounds between which its true distance lies. Rows whose lower bound lies
 * above the k-th smallest upper bound are out; the few that remain are measured with their vectors.
 * So the answer is that of a scan of all vectors in double precision, rounded to f32, ties by the
 * owner's order: the oracle of tests, and the fastest way for some thousand rows.
 *
 * Several queries share one pass: rows are read once, in blocks that the second level of cache
 * holds, and each line of a row is multiplied with KERNELS_QUERIES queries while it is in
 * registers.
 */
#ifndef FLAT_H
#define FLAT_H

#include "index/search.h"

enum flat_rows {
    FLAT_ALL,     /* all slots that have a vector */
    FLAT_WAITING, /* those that the graph does not hold yet */
    FLAT_LINKED,  /* those that it holds */
};

/* A query of a scan. */
struct flat_lane {
    const struct index_query *query; /* what queries of one scan may differ in: vector and k */
    struct code_query *code;         /* of its vector, by codes_query_vector */
    struct scratch_hits *rows;       /* memory for rows that are not excluded, with their floors */
    struct scratch_hits *heap;       /* ... and for the smallest ceilings */
    struct top_k *top;               /* what is found; empty */
    uint64_t scored;                 /* distances of codes and vectors */
    /* The scan's own. */
    struct top_k ceilings; /* the smallest: k, and one for each vector that was missing */
    size_t rows_count;     /* rows that were not excluded when they were met */
    size_t extra;          /* vectors that the owner did not have */
    float threshold;       /* no row whose floor lies above can be among the nearest */
};

/* The lane of the only query of a search, in the scratch's memory. scratch->query is that of its
 * vector. */
struct flat_lane flat_lane_of(struct search *search, struct top_k *top);

/* Offers the k nearest of the rows that are visible and pass to each lane's top. Rows whose vector
 * the owner no longer has are replaced by the next. search->query is any of the lanes'.
 * STATUS_OK, _NO_MEMORY, _CANCELLED or _TIMEOUT. */
MUST_CHECK enum status flat_scan(struct search *search, enum flat_rows rows,
                                 struct flat_lane *lanes, size_t count);

#endif
