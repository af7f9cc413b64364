/* codes.h -- vectors as one signed byte a coordinate, and what distances those bytes give.
 *
 * A vector is rotated (but for Manhattan, which no rotation keeps) and divided by its own scale, so
 * that its largest coordinate becomes 127. Distances of codes steer searches; beside each code
 * lies the length of its rounding error, from which codes_floors derives below what value the
 * true distance does not lie, and codes_ceiling above what. That is how a scan of codes is exact.
 *
 * A space is immutable: any thread. Queries are scratch memory of one thread.
 */
#ifndef CODES_H
#define CODES_H

#include "index/distance.h"
#include "index/kernels.h"
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
    size_t width;     /* bytes of a code: dimension rounded up to a multiple of 64 */
    size_t edge_bits; /* a coordinate of an edge (edges.h), 0 .. KERNELS_EDGE_BITS_MAX; 0: no edges.
                         Set once, after codes_space_init */
    size_t pairs; /* of blocks, that codes are split into (kernels.h): 0 or all there are. Set once,
                     by codes_space_split */
    const struct kernels *kernels;
    struct rotation rotation; /* not used for CODE_METRIC_L1 */
};

/* Beside each code; together, for both are wanted with it. */
struct code_meta {
    float scale;  /* vector ~ scale * (code - 128); 0 for a vector that has no code */
    float length; /* L2 length of scale * (code - 128) */
};

/* A vector that codes are compared with. */
struct code_query {
    struct kernel_query kernel; /* its arrays are owned; width_max numbers each */
    size_t width_max;
    struct kernel_weights weights;  /* those of floors are set by codes_query_bound */
    float scale;                    /* vector ~ scale * codes */
    float code_length;              /* L2 length of scale * codes; not set for CODE_METRIC_L1 */
    struct kernel_edge_query edges; /* set by codes_query_edges; its array is owned */
    /* Set by codes_query_bound, for codes_floors and codes_ceiling. */
    double length; /* of the vector: L2, or L1 for CODE_METRIC_L1 */
    double error;  /* L2 length of its own rounding error */
};

bool codes_space_init(struct code_space *space, enum distance distance, size_t dimension);
void codes_space_free(struct code_space *space);
/* Codes are to be split, so that codes_distances_below reads half of most. Not those of Manhattan,
 * whose rounding is not random since nothing rotates them. Before the first code or query. */
void codes_space_split(struct code_space *space);

/* Makes room for a width; false when memory ends. A zeroed query may be reserved and freed. */
bool codes_query_reserve(struct code_query *query, size_t width);
void codes_query_free(struct code_query *query);
/* Lends a zeroed query memory for its codes, KERNELS_BLOCK-aligned. It serves codes_query_row and
 * codes_scan where no code is of CODE_METRIC_L1, and is not to be freed. */
void codes_query_lend(struct code_query *query, int8_t *codes, size_t width);

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

/* The same for numbers as codes stand for them, rotated already. codes: width bytes of memory. */
void codes_encode_values(const struct code_space *space, const float *values, int8_t *codes,
                         struct code_row *row);
/* The numbers that a code stands for, `width` of them. */
void codes_values(const struct code_space *space, const uint8_t *code, struct code_meta meta,
                  float *values);
/* Adds them to `sums`. */
void codes_add_values(const struct code_space *space, const uint8_t *code, struct code_meta meta,
                      float *sums);

void codes_query_vector(const struct code_space *space, const float *vector,
                        struct code_query *query);
/* Measures what codes_floors and codes_ceiling need: others do without it. After
 * codes_query_vector. */
void codes_query_bound(const struct code_space *space, struct code_query *query);
/* Measures what estimates by edges need (edges.h). After codes_query_vector or
 * _mixture. */
void codes_query_edges(const struct code_space *space, struct code_query *query);
/* The query is the vector that a code stands for; its bounds are not known. */
void codes_query_row(const struct code_space *space, const uint8_t *code, struct code_meta meta,
                     struct code_query *query);

/* The same for codes_query_edges. After codes_query_row. */
void codes_query_row_edges(const struct code_space *space, const uint8_t *code,
                           struct code_meta meta, struct code_query *query);

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
    float distances[CODES_BATCH_MAX]; /* never NaN; +infinity from codes_distances_below alone */
    int32_t dots[CODES_BATCH_MAX];
    const uint8_t *near_rows[CODES_BATCH_MAX]; /* those that may lie below a limit, and ... */
    uint32_t near[CODES_BATCH_MAX];            /* ... their places */
};

/* Fills in batch->scales, lengths and distances. */
void codes_distances(const struct code_space *space, const struct code_query *query,
                     struct code_batch *batch);

/* The same, but distances that do not lie below the limit may be infinite: of split rows as good as
 * all of these, seen from their upper halves. One of some hundred thousand rows is taken for one of
 * them though it lies below. Returns how many rows were told by their upper halves. */
size_t codes_distances_below(const struct code_space *space, const struct code_query *query,
                             struct code_batch *batch, float limit);

/* The distance of a single row. */
float codes_distance(const struct code_space *space, const struct code_query *query,
                     const uint8_t *row, struct code_meta meta);

/* How far the true distance of a row may lie from `distance`, that of its code, where rounding is
 * random: which it is behind a rotation. One row in 400 lies beyond, none twice as far. Infinite
 * where nothing is known: CODE_METRIC_L1, and numbers that have no code. After codes_query_vector.
 */
float codes_slack(const struct code_space *space, const struct code_query *query,
                  struct code_meta meta, float distance);

/* Rows of a scan, and what several queries have to do with them. */
struct code_block {
    size_t count; /* at most CODES_BATCH_MAX */
    uint32_t slots[CODES_BATCH_MAX];
    const uint8_t *rows[CODES_BATCH_MAX]; /* in the order of memory */
    float scales[CODES_BATCH_MAX], lengths[CODES_BATCH_MAX], errors[CODES_BATCH_MAX];
    int32_t dots[KERNELS_QUERIES * CODES_BATCH_MAX];
    float distances[KERNELS_QUERIES *
                    CODES_BATCH_MAX]; /* those of query q begin at q * CODES_BATCH_MAX */
    float floors[KERNELS_QUERIES * CODES_BATCH_MAX]; /* likewise */
};

/* Fills in the distances of at most KERNELS_QUERIES queries. */
void codes_scan(const struct code_space *space, const struct code_query *const *queries,
                size_t count, struct code_block *block);

/* Fills in the floors too, of a block that was just scanned. A floor is a lower bound of the f32
 * distance of the vectors. It may be no number: then there is none. */
void codes_floors(const struct code_space *space, const struct code_query *const *queries,
                  size_t count, struct code_block *block);

/* An upper bound of the true distance of row i of a scanned block to query `number` of the scan. It
 * may be no number: then there is none. */
float codes_ceiling(const struct code_query *query, const struct code_block *block, size_t number,
                    size_t i);

#endif
