#include "index/codes.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDING 0x1p-24  /* relative error of one f32 operation */
#define DENORMAL 0x1p-140 /* more than its absolute error, also summed over a rotation */

bool codes_space_init(struct code_space *space, enum distance distance, size_t dimension) {
    static const enum code_metric metrics[DISTANCE_COUNT] = {
        [DISTANCE_COSINE] = CODE_METRIC_DOT,
        [DISTANCE_EUCLID] = CODE_METRIC_L2,
        [DISTANCE_DOT] = CODE_METRIC_DOT,
        [DISTANCE_MANHATTAN] = CODE_METRIC_L1,
    };
    *space = (struct code_space){.metric = metrics[distance],
                                 .dimension = dimension,
                                 .width = rotation_width(dimension),
                                 .kernels = kernels_get()};
    return rotation_init(&space->rotation, dimension);
}

void codes_space_free(struct code_space *space) {
    rotation_free(&space->rotation);
}

bool codes_query_reserve(struct code_query *query, size_t width) {
    if (width <= query->width_max)
        return true;
    codes_query_free(query);
    int8_t *codes = aligned_alloc(KERNELS_BLOCK, width);
    float *values = aligned_alloc(KERNELS_BLOCK, width * sizeof(*values));
    int8_t *sums = aligned_alloc(KERNELS_BLOCK, 4 * width);
    query->kernel.codes = codes;
    query->kernel.values = values;
    query->edges.sums = sums;
    if (!codes || !values || !sums) {
        codes_query_free(query);
        return false;
    }
    query->width_max = width;
    return true;
}

void codes_query_free(struct code_query *query) {
    free((void *)query->kernel.codes);
    free((void *)query->kernel.values);
    free((void *)query->edges.sums);
    *query = (struct code_query){0};
}

/* The query's own arrays, for writing. */
static float *values_of(struct code_query *query) {
    return (float *)query->kernel.values;
}

static int8_t *codes_of(struct code_query *query) {
    return (int8_t *)query->kernel.codes;
}

/* Rotates the vector into values; Manhattan only copies it. */
static void spread(const struct code_space *space, const float *vector, float *values) {
    if (space->metric != CODE_METRIC_L1) {
        rotation_apply(&space->rotation, space->kernels, vector, values);
        return;
    }
    memcpy(values, vector, space->dimension * sizeof(values[0]));
    memset(values + space->dimension, 0, (space->width - space->dimension) * sizeof(values[0]));
}

/* Divides values into codes and returns the scale. Values that overflowed in the rotation, or that
 * are too small to be divided, get codes of 0 and scale 0: their whole length is rounding error. */
static float quantise(const struct code_space *space, const float *values, int8_t *codes) {
    float max = space->kernels->max_abs(values, space->width);
    float scale = max / 127;
    if (scale >= FLT_MIN && scale <= FLT_MAX) {
        space->kernels->quantise(values, 127 / max, codes, space->width);
        return scale;
    }
    memset(codes, 0, space->width);
    return 0;
}

struct code_sums {
    int32_t sum;
    int32_t squares; /* at most 65,536 * 127^2 */
};

static struct code_sums sum_codes(const int8_t *codes, size_t width) {
    struct code_sums sums = {0};
    for (size_t i = 0; i < width; i++) {
        sums.sum += codes[i];
        sums.squares += codes[i] * codes[i];
    }
    return sums;
}

/* The lengths of the values, and of what the codes lose of them: L1 or L2, as the metric is. */
struct code_lengths {
    double values, error;
};

static struct code_lengths measure(const struct code_space *space, const float *values,
                                   const int8_t *codes, float scale) {
    double squares = 0, absolutes = 0, error_squares = 0, error_absolutes = 0;
    for (size_t i = 0; i < space->width; i++) {
        double value = (double)values[i], error = value - (double)scale * codes[i];
        squares += value * value;
        absolutes += fabs(value);
        error_squares += error * error;
        error_absolutes += fabs(error);
    }
    if (space->metric == CODE_METRIC_L1)
        return (struct code_lengths){.values = absolutes, .error = error_absolutes};
    return (struct code_lengths){.values = sqrt(squares), .error = sqrt(error_squares)};
}

/* L2 length of scale * code. */
static float code_length(float scale, int32_t squares) {
    return scale * (float)sqrt((double)squares);
}

/* As a float that is not below it; what is no number becomes infinite. */
static float round_up(double value) {
    double up = value * (1 + 4 * ROUNDING);
    return up <= (double)FLT_MAX ? (float)up : INFINITY;
}

void codes_encode(const struct code_space *space, const float *vector, struct code_query *work,
                  struct code_row *row) {
    float *values = values_of(work);
    int8_t *codes = codes_of(work);
    assert(work->width_max >= space->width);
    spread(space, vector, values);
    float scale = quantise(space, values, codes);
    for (size_t i = 0; i < space->width; i++)
        row->code[i] = (uint8_t)(codes[i] + 128);
    *row->meta = (struct code_meta){
        .scale = scale, .length = code_length(scale, sum_codes(codes, space->width).squares)};
    *row->error = round_up(measure(space, values, codes, scale).error);
}

/* Turns the sums of codes into distances; see struct code_query. */
static void set_weights(const struct code_space *space, struct code_query *query, float scale,
                        float length) {
    bool is_l2 = space->metric == CODE_METRIC_L2;
    query->base = is_l2 ? length * length : 0;
    query->square_weight = is_l2 ? 1 : 0;
    query->factor = is_l2 ? -2 * scale : -scale;
}

/* As a float that is surely above, also after the sums of codes_floors. */
static float above(double value) {
    return (float)(value * (1 + 64 * ROUNDING));
}

/* The terms of codes_bounds, as weights of a row's error, length and distance. */
static void set_floors(const struct code_space *space, struct code_query *query) {
    double tiny = DENORMAL * (double)space->width;
    double rounding = 2 * space->rotation.error + 16 * ROUNDING;
    if (space->metric == CODE_METRIC_L1) {
        query->floor_error = above(1);
        query->floor_length = 0;
        query->floor_value = above(((double)space->width / 4 + 48) * ROUNDING);
        query->floor_base = above(2 * ROUNDING * query->length + tiny);
        return;
    }
    bool is_l2 = space->metric == CODE_METRIC_L2;
    double length = is_l2 ? 1 : query->length;
    query->floor_error = above(length * (1 + rounding));
    query->floor_length = above((is_l2 ? 0 : query->error) + length * rounding + tiny);
    query->floor_value = above(8 * ROUNDING);
    query->floor_base = above(is_l2 ? query->error + rounding * query->length + sqrt(tiny)
                                    : tiny * (query->length + 1));
}

/* Makes codes of the values that are there. */
static void finish_query(const struct code_space *space, struct code_query *query) {
    int8_t *codes = codes_of(query);
    query->scale = quantise(space, query->kernel.values, codes);
    struct code_sums sums = sum_codes(codes, space->width);
    set_weights(space, query, query->scale, code_length(query->scale, sums.squares));
    query->kernel.bytes = space->width;
    query->kernel.offset = 128 * sums.sum;
}

void codes_query_vector(const struct code_space *space, const float *vector,
                        struct code_query *query) {
    assert(query->width_max >= space->width);
    spread(space, vector, values_of(query));
    finish_query(space, query);
}

void codes_query_mixture(const struct code_space *space, const struct code_row *first,
                         const struct code_row *second, float share, struct code_query *query) {
    float *values = values_of(query);
    assert(query->width_max >= space->width);
    for (size_t i = 0; i < space->width; i++) {
        float a = first->meta->scale * (float)(first->code[i] - 128);
        float b = second->meta->scale * (float)(second->code[i] - 128);
        values[i] = a + share * (b - a);
    }
    finish_query(space, query);
}

void codes_query_bound(const struct code_space *space, struct code_query *query) {
    struct code_lengths lengths =
        measure(space, query->kernel.values, query->kernel.codes, query->scale);
    query->length = lengths.values;
    query->error = lengths.error;
    set_floors(space, query);
}

void codes_query_row(const struct code_space *space, const uint8_t *code, struct code_meta meta,
                     struct code_query *query) {
    int8_t *codes = codes_of(query);
    assert(query->width_max >= space->width);
    query->kernel.bytes = space->width;
    if (space->metric == CODE_METRIC_L1) {
        float *values = values_of(query);
        for (size_t i = 0; i < space->width; i++)
            values[i] = meta.scale * (float)(code[i] - 128);
        return;
    }
    query->kernel.offset = 128 * space->kernels->decode(code, codes, space->width);
    set_weights(space, query, meta.scale, meta.length);
}

void codes_query_edges(const struct code_space *space, struct code_query *query) {
    query->edges.width = space->width;
    query->edges.step =
        space->kernels->edge_sums(query->kernel.values, space->width, (int8_t *)query->edges.sums);
}

static void load_metas(struct code_batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        batch->scales[i] = batch->metas[i]->scale;
        batch->lengths[i] = batch->metas[i]->length;
    }
}

static inline float weigh(const struct code_query *query, struct code_meta meta, int32_t dot) {
    float distance = query->base + query->square_weight * meta.length * meta.length +
                     meta.scale * query->factor * (float)dot;
    /* Sums beyond f32 may be infinite or no number at all: they sort last. */
    return distance < FLT_MAX ? distance : FLT_MAX;
}

float codes_distance(const struct code_space *space, const struct code_query *query,
                     const uint8_t *row, struct code_meta meta) {
    int32_t dot;
    float sum;
    if (space->metric == CODE_METRIC_L1) {
        space->kernels->l1_rows(&query->kernel, &row, &meta.scale, 1, &sum);
        return sum < FLT_MAX ? sum : FLT_MAX;
    }
    space->kernels->dot_rows(&query->kernel, &row, 1, &dot);
    return weigh(query, meta, dot);
}

void codes_distances(const struct code_space *space, const struct code_query *query,
                     struct code_batch *batch) {
    size_t count = batch->count;
    assert(count <= CODES_BATCH_MAX);
    if (count == 0)
        return;
    if (space->metric == CODE_METRIC_L1) {
        load_metas(batch);
        space->kernels->l1_rows(&query->kernel, batch->rows, batch->scales, count,
                                batch->distances);
        for (size_t i = 0; i < count; i++)
            batch->distances[i] = batch->distances[i] < FLT_MAX ? batch->distances[i] : FLT_MAX;
        return;
    }
    space->kernels->dot_rows(&query->kernel, batch->rows, count, batch->dots);
    load_metas(batch); /* after the rows, while which they had time to come from memory */
    for (size_t i = 0; i < count; i++) {
        const struct code_meta meta = {batch->scales[i], batch->lengths[i]};
        batch->distances[i] = weigh(query, meta, batch->dots[i]);
    }
}

void codes_floors(const struct code_space *space, const struct code_query *query,
                  const struct code_batch *batch, const float *errors, float *floors) {
    for (size_t i = 0; i < batch->count; i++) {
        float distance = batch->distances[i], length = batch->lengths[i];
        float slack =
            query->floor_base + query->floor_error * errors[i] + query->floor_length * length;
        if (space->metric != CODE_METRIC_L2) {
            floors[i] = distance - slack - query->floor_value * fabsf(distance);
            continue;
        }
        float square = distance - query->floor_value * (query->base + length * length);
        float near = sqrtf(square > 0 ? square : 0) * (1 - query->floor_value) - slack;
        floors[i] = near > 0 ? near * near * (1 - query->floor_value) : 0;
    }
}

/* Widened to floats by a rounding step. NaN, from numbers beyond f32, widens to everything. */
static struct code_bounds bounds_around(double lower, double upper) {
    float low = (float)(lower - fabs(lower) * 2 * ROUNDING);
    float high = (float)(upper + fabs(upper) * 2 * ROUNDING);
    if (!(high <= FLT_MAX) || !(low >= -FLT_MAX))
        return (struct code_bounds){.lower = -INFINITY, .upper = INFINITY};
    return (struct code_bounds){.lower = low, .upper = high};
}

struct code_bounds codes_bounds(const struct code_space *space, const struct code_query *query,
                                float distance, struct code_meta meta, float row_error) {
    double error = (double)row_error, value = (double)distance;
    double tiny = DENORMAL * (double)space->width;
    if (space->metric == CODE_METRIC_L1) {
        /* A sum in lanes of at least four, and the products that are rounded before it. */
        double slack = error + ((double)space->width / 4 + 40) * ROUNDING * value +
                       2 * ROUNDING * query->length + tiny;
        return bounds_around(value - slack, value + slack);
    }
    double code_length = (double)meta.length, length = code_length + error;
    double rounding = 2 * space->rotation.error + 16 * ROUNDING;
    if (space->metric == CODE_METRIC_DOT) {
        /* <q,x> - <q',x'> = <q,x-x'> + <q-q',x'>, then Cauchy-Schwarz. */
        double slack = query->length * error + query->error * code_length +
                       rounding * query->length * length + tiny * (query->length + length + 1);
        return bounds_around(value - slack, value + slack);
    }
    /* Triangle: ||q-x| - |q'-x'|| <= |q-q'| + |x-x'|. The squared distance of the codes is a
     * difference of larger numbers, so its own rounding is absolute. */
    double absolute = 8 * ROUNDING * ((double)query->base + code_length * code_length) + tiny;
    double slack = query->error + error + rounding * (query->length + length) + tiny;
    double near = sqrt(fmax(value - absolute, 0)) - slack;
    double far = sqrt(fmax(value + absolute, 0)) + slack;
    return bounds_around(near > 0 ? near * near : 0, far * far);
}
