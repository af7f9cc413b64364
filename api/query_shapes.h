/* query_shapes.h -- the bodies of queries: points/query, points/search and their batches. */
#ifndef QUERY_SHAPES_H
#define QUERY_SHAPES_H

#include "api/payload_select.h"
#include "api/point_json.h"

enum {
    QUERY_BATCH_MAX = 1024, /* searches of one request */
    QUERY_EF_MAX = 10000,
};

enum query_target_kind {
    QUERY_TARGET_NONE, /* no query: points in the order of their ids */
    QUERY_TARGET_VECTOR,
    QUERY_TARGET_ID,
    QUERY_TARGET_EITHER, /* a text that is a valid id and valid base64 of a vector: the dimension
                            decides, a vector if it is exactly that long */
};

/* What is near is asked for. */
struct query_target {
    enum query_target_kind kind;
    struct floats vector;
    struct point_id id;
};

struct query_params {
    uint32_t hnsw_ef; /* 0: default */
    bool exact, indexed_only;
};

/* What all kinds of queries have. */
struct query_request {
    struct query_target query;
    const char *using; /* NULL: the unnamed vector */
    const struct filter *filter;
    struct query_params *params; /* NULL: defaults */
    bool has_score_threshold;
    float score_threshold;
    uint64_t limit, offset;
    struct vector_select with_vector;
    struct payload_select with_payload;
    bool has_prefetch;
};

struct query_batch {
    struct query_request *searches;
    size_t searches_count;
};

extern const struct json_shape query_shapes_query, query_shapes_query_batch;
/* The legacy endpoints read other names into the same struct. */
extern const struct json_shape query_shapes_search, query_shapes_search_batch;

#endif
