/* codes.h -- vectors as one signed byte a coordinate, and what distances those bytes give.
 *
 * A vector is rotated (but for Manhattan, which no rotation keeps) and divided by its own scale, so
 * that its largest coordinate becomes 127. Distances of codes steer searches; beside each code
 * lies the length of its rounding error, from which codes_bounds derives between what values the
 * true distance lies. That is how a scan of codes is exact.
 *
 * A space is immutable: any thread. Queries are scratch memory of one thread.
 */
#ifndef CODES_H
#define CODES_H

#include "index/distance.h"
#include "index/rotation.h"

enum {
    CODES_BATCH_MAX = 256, /* rows measured in one call */
};

enum code_metric {
    CODE_METRIC_DOT, /* -<q,v> */
    CODE_METRIC_L2,  /* |q-v|^2 */
    CODE_METRIC_L1,
};

struct code_space {
    enum code_metric metric;
    size_t dimension;
    size_t width; /* bytes of a code: dimension rounded up to a multiple of 64 */
    const struct kernels *kernels;
    struct rotation rotation; /* not used for CODE_METRIC_L1 */
};

/* Beside each code; together, for both are wanted with it. */
struct code_meta {
    float scale;  /* vector ~ scale * (code - 128); 0 for a vector that has no code */
    float length; /* L2 length of scale * (code - 128) */
};

/* A vector that codes are compared with: distance = base + square_weight * length^2 + scale *
 * factor
 * * dot. */
struct code_query {
    struct kernel_query kernel; /* its arrays are owned; width_max numbers each */
    size_t width_max;
    float base, square_weight, factor;
    float scale;                    /* vector ~ scale * codes */
    struct kernel_edge_query edges; /* set by codes_query_edges; its array is owned */
    /* Set by codes_query_bound, for codes_floors and codes_bounds. */
    double length; /* of the vector: L2, or L1 for CODE_METRIC_L1 */
    double error;  /* L2 length of its own rounding error */
    /* What the floor of a row lies below its distance: see codes_floors. */
    float floor_error, floor_length, floor_value, floor_base;
};

struct code_bounds {
    float lower, upper;
};

bool codes_space_init(struct code_space *space, enum distance distance, size_t dimension);
void codes_space_free(struct code_space *space);

/* Makes room for a width; false when memory ends. A zeroed query may be reserved and freed. */
bool codes_query_reserve(struct code_query *query, size_t width);
void codes_query_free(struct code_query *query);

/* Where an encoded vector goes. */
struct code_row {
    uint8_t *code; /* width bytes */
    struct code_meta *meta;
    float *error; /* at least the length of the rounding error: L2, or L1 for CODE_METRIC_L1;
                     infinite where the numbers leave f32 */
};

/* Encodes `dimension` numbers. work: memory for one query. */
void codes_encode(const struct code_space *space, const float *vector, struct code_query *work,
                  struct code_row *row);

void codes_query_vector(const struct code_space *space, const float *vector,
                        struct code_query *query);
/* Measures what codes_floors and codes_bounds need: walks do without. After codes_query_vector. */
void codes_query_bound(const struct code_space *space, struct code_query *query);
/* Measures what estimates by edges need (edges.h). After codes_query_vector or
 * _mixture. */
void codes_query_edges(const struct code_space *space, struct code_query *query);
/* The query is the vector that a code stands for; codes_bounds does not apply to it. */
void codes_query_row(const struct code_space *space, const uint8_t *code, struct code_meta meta,
                     struct code_query *query);

/* The query is a mixture of such vectors: `share` of the second, the rest of the first. */
void codes_query_mixture(const struct code_space *space, const struct code_row *first,
                         const struct code_row *second, float share, struct code_query *query);

/* Rows to measure, and what came out. */
struct code_batch {
    size_t count; /* at most CODES_BATCH_MAX */
    uint32_t slots[CODES_BATCH_MAX];
    const uint8_t *rows[CODES_BATCH_MAX];
    const struct code_meta *metas[CODES_BATCH_MAX];
    float scales[CODES_BATCH_MAX], lengths[CODES_BATCH_MAX]; /* from metas, by codes_distances */
    float distances[CODES_BATCH_MAX];                        /* finite or -infinity, never NaN */
    int32_t dots[CODES_BATCH_MAX];
};

/* Fills in batch->scales, lengths and distances. */
void codes_distances(const struct code_space *space, const struct code_query *query,
                     struct code_batch *batch);

/* The distance of a single row. */
float codes_distance(const struct code_space *space, const struct code_query *query,
                     const uint8_t *row, struct code_meta meta);

/* Lower bounds of the true distances of a measured batch, from the rows' errors: not above those of
 * codes_bounds, and cheaper. */
void codes_floors(const struct code_space *space, const struct code_query *query,
                  const struct code_batch *batch, const float *errors, float *floors);

/* Where the f32 distance of the vectors lies, given that of the codes and the row's error. */
struct code_bounds codes_bounds(const struct code_space *space, const struct code_query *query,
                                float distance, struct code_meta meta, float error);

#endif
