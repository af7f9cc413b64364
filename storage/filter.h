/* filter.h -- conditions on points: the parsed form, and its meaning on one point.
 *
 * filter_matches() defines what a filter means. Payload indexes only ever propose: whatever plan
 * answers a query, the set of points is the one that filter_matches() accepts. All memory of a
 * filter is its request's arena.
 *
 * A new kind of condition is one row of FILTER_CONDITION_TABLE, one function in filter.c (what it
 * means), one row in filter_json.c (how it is written) and, if an index can serve it, one function
 * in filter_plan.c.
 */
#ifndef FILTER_H
#define FILTER_H

#include "index/status.h"
#include "storage/payload_path.h"
#include "storage/payload_value.h"
#include "storage/point_id.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FILTER_DEPTH_MAX = 32,        /* filters within filters, nested included */
    FILTER_CONDITIONS_MAX = 4096, /* in a whole request */
    FILTER_VALUES_MAX = 65536,    /* in one match any/except or has_id */
};

#define FILTER_CONDITION_TABLE(X)                                                   \
    X(MATCH)        /* value equals any of values */                                \
    X(MATCH_EXCEPT) /* some non-null value equals none of values */                 \
    X(RANGE)        /* number within bounds */                                      \
    X(DATETIME)     /* date string within bounds, microseconds since 1970 */        \
    X(VALUES_COUNT) /* how many values lie at the path */                           \
    X(IS_EMPTY)     /* missing, null or [] (or not, if expected is false) */        \
    X(IS_NULL)      /* null, or an array that holds null (or not) */                \
    X(HAS_ID)                                                                       \
    X(HAS_VECTOR)                                                                   \
    X(NESTED) /* one element of the array at the path satisfies the whole filter */ \
    X(FILTER) /* a filter used as a condition */

enum condition_kind {
#define FILTER_CONDITION_ENUM(name) CONDITION_##name,
    FILTER_CONDITION_TABLE(FILTER_CONDITION_ENUM)
#undef FILTER_CONDITION_ENUM
};

struct filter;

/* A bound that is absent has has_* false. Numbers compare exactly (see payload_value.h). */
struct filter_range {
    bool has_lt, has_gt, has_lte, has_gte;
    struct payload_number lt, gt, lte, gte;
};

struct condition {
    enum condition_kind kind;
    struct payload_path path;            /* all that look at the payload */
    const struct payload_scalar *values; /* MATCH, MATCH_EXCEPT */
    size_t values_count;
    bool values_sorted; /* values were through filter_sort_values(): long lists are searched fast */
    struct filter_range range;  /* RANGE, DATETIME (as whole microseconds), VALUES_COUNT */
    bool expected;              /* IS_EMPTY, IS_NULL */
    const struct point_id *ids; /* HAS_ID; sorted by filter_json */
    size_t ids_count;
    const char *vector_name;     /* HAS_VECTOR */
    const struct filter *filter; /* NESTED, FILTER */
};

struct condition_list {
    struct condition *items;
    size_t count;
};

/* All clauses that are present hold (ANDed). An empty must, should or must_not says nothing;
 * min_should without conditions cannot hold (min_count >= 1). */
struct filter {
    struct condition_list must, should, must_not;
    struct condition_list min_should; /* at least min_count of these hold */
    size_t min_count;
    bool has_min_should;
};

/* The point that a filter is asked about. Borrows everything. */
struct filter_subject {
    const struct point_id *id;
    const char *payload; /* JSON object text that was validated when it was stored */
    size_t payload_length;
    /* True if the point has a vector of this name. */
    bool (*has_vector)(const void *context, const char *name);
    const void *context;
};

/* No allocation; recursion is bounded by FILTER_DEPTH_MAX, which is the reader's to check. */
bool filter_matches(const struct filter *filter, const struct filter_subject *subject);

/* Orders the values of a MATCH or MATCH_EXCEPT; to be told by values_sorted. */
void filter_sort_values(struct payload_scalar *values, size_t count);

/* What conditions say about one number or value, for those who post or plan. */
bool filter_range_holds(const struct filter_range *range, const struct payload_number *number);
bool filter_value_is_empty(const struct payload_value *value); /* null or [] */
bool filter_value_is_null(const struct payload_value *value);  /* null or an array with null */

#endif
