/* plan.h -- which way of searching costs least.
 *
 * Prices are this machine's (prices.h); how many distances a walk takes is learnt from the walks of
 * the index itself. Any thread.
 */
#ifndef PLAN_H
#define PLAN_H

#include "index/vector_index.h"

#include <stdbool.h>

struct plan_question {
    uint64_t rows;        /* slots that have a vector */
    uint64_t candidates;  /* rows that may pass: what an exact scan measures */
    uint64_t passing;     /* rows that are thought to pass */
    size_t ef;            /* as if there were no filter */
    size_t width;         /* bytes of a code */
    uint32_t places;      /* of a level-0 list */
    double scored_per_ef; /* distances that a walk takes for each entry of its pool ... */
    double scored_ns;     /* ... and what one takes; 0: what a code at a random place takes */
    bool has_filter;
    size_t together;        /* queries that would share a scan */
    enum index_plan wanted; /* CHEAPEST, or the only one that is looked at */
};

struct plan_answer {
    enum index_plan plan;
    size_t ef;           /* of the walk */
    double share;        /* of the rows, that may pass */
    uint64_t scored_max; /* distances of a walk that cost nearly as much as the exact scan */
};

struct plan_answer plan_choose(const struct plan_question *question);

#endif
