#include "index/codes.h"

#include "index/code_row.h"
#include "index/kernels_weigh.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDING  0x1p-24                  /* relative error of one f32 operation */
#define F32_SLACK ((float)(16 * ROUNDING)) /* of a distance's own sums in f32 */
#define DENORMAL \
    0x1p-134 /* more than a denormal errs, summed over a rotation or times a code's dot */

enum {
    SLACK_DEVIATIONS = 3,  /* of a distance's rounding */
    COARSE_DEVIATIONS = 3, /* ... where lower halves of codes are not read */
};

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

void codes_space_split(struct code_space *space) {
    if (space->metric != CODE_METRIC_L1)
        space->pairs = space->width / (2 * KERNELS_BLOCK);
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
    uint8_t *sums = aligned_alloc(KERNELS_BLOCK, 4 * width);
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

void codes_query_lend(struct code_query *query, int8_t *codes, size_t width) {
    query->kernel.codes = codes;
    query->width_max = width;
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

void codes_encode_values(const struct code_space *space, const float *values, int8_t *codes,
                         struct code_row *row) {
    float scale = quantise(space, values, codes);
    code_row_write(codes, space->width, space->pairs, row->code);
    *row->meta = (struct code_meta){
        .scale = scale, .length = code_length(scale, sum_codes(codes, space->width).squares)};
    *row->error = round_up(measure(space, values, codes, scale).error);
}

void codes_encode(const struct code_space *space, const float *vector, struct code_query *work,
                  struct code_row *row) {
    assert(work->width_max >= space->width);
    spread(space, vector, values_of(work));
    codes_encode_values(space, values_of(work), codes_of(work), row);
}

void codes_add_values(const struct code_space *space, const uint8_t *code, struct code_meta meta,
                      float *sums) {
    int8_t codes[KERNELS_BLOCK];
    for (size_t i = 0; i < space->width; i += KERNELS_BLOCK) {
        code_row_read(code, space->width, space->pairs, i, codes);
        for (size_t j = 0; j < KERNELS_BLOCK; j++)
            sums[i + j] += meta.scale * (float)codes[j];
    }
}

/* Turns the sums of codes into distances; see struct code_query. */
static void set_weights(const struct code_space *space, struct code_query *query, float scale,
                        float length) {
    bool is_l2 = space->metric == CODE_METRIC_L2;
    query->scale = scale;
    query->code_length = length;
    query->weights.base = is_l2 ? length * length : 0;
    query->weights.square = is_l2 ? 1 : 0;
    query->weights.factor = is_l2 ? -2 * scale : -scale;
}

/* As a float that is surely above, also after the sums of kernels_floor. */
static float above(double value) {
    return (float)(value * (1 + 64 * ROUNDING));
}

/* How far a true distance may lie from that of the codes, as weights of the row's error, length and
 * distance. With x' the vector that the code of x stands for, e its error |x - x'|:
 *
 *   dot   <q,x> - <q',x'> = <q,x-x'> + <q-q',x'>, so at most |q| e + |q-q'| |x'| (Cauchy-Schwarz)
 *   L2    ||q-x| - |q'-x'|| <= |q-q'| + e (triangle). The squared distance of the codes is a
 *         difference of larger numbers, so its own rounding is absolute
 *   L1    likewise, of sums in lanes of at least four, and products that are rounded before
 *
 * and beside that what rotating and adding up in f32 loses. */
static void set_floors(const struct code_space *space, struct code_query *query) {
    struct kernel_weights *weights = &query->weights;
    double tiny = DENORMAL * (double)space->width;
    double rounding = 2 * space->rotation.error + 16 * ROUNDING;
    if (space->metric == CODE_METRIC_L1) {
        weights->floor_error = above(1);
        weights->floor_length = 0;
        weights->floor_value = above(((double)space->width / 4 + 48) * ROUNDING);
        weights->floor_base = above(2 * ROUNDING * query->length + tiny);
        return;
    }
    bool is_l2 = space->metric == CODE_METRIC_L2;
    double length = is_l2 ? 1 : query->length;
    weights->floor_error = above(length * (1 + rounding));
    weights->floor_length = above((is_l2 ? 0 : query->error) + length * rounding + tiny);
    weights->floor_value = above(8 * ROUNDING);
    weights->floor_base = above(is_l2 ? query->error + rounding * query->length + sqrt(tiny)
                                      : tiny * (query->length + 1));
}

/* After the codes, whose sum is given. */
static void set_offset(const struct code_space *space, struct code_query *query, int32_t sum) {
    size_t at = kernels_split_at(space->width, space->pairs);
    int32_t before = 0;
    for (size_t i = 0; i < at && space->pairs > 0; i++)
        before += query->kernel.codes[i];
    query->kernel.bytes = space->width;
    query->kernel.pairs = space->pairs;
    query->kernel.offset = 128 * sum;
    query->kernel.pairs_sum = space->pairs > 0 ? sum - before : 0;
}

/* Makes codes of the values that are there. */
static void finish_query(const struct code_space *space, struct code_query *query) {
    int8_t *codes = codes_of(query);
    float scale = quantise(space, query->kernel.values, codes);
    struct code_sums sums = sum_codes(codes, space->width);
    set_weights(space, query, scale, code_length(scale, sums.squares));
    set_offset(space, query, sums.sum);
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
    int8_t codes[KERNELS_BLOCK];
    codes_values(space, first->code, *first->meta, values);
    for (size_t i = 0; i < space->width; i += KERNELS_BLOCK) {
        code_row_read(second->code, space->width, space->pairs, i, codes);
        for (size_t j = 0; j < KERNELS_BLOCK; j++) {
            float b = second->meta->scale * (float)codes[j];
            values[i + j] += share * (b - values[i + j]);
        }
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

void codes_values(const struct code_space *space, const uint8_t *code, struct code_meta meta,
                  float *values) {
    int8_t codes[KERNELS_BLOCK];
    for (size_t i = 0; i < space->width; i += KERNELS_BLOCK) {
        code_row_read(code, space->width, space->pairs, i, codes);
        for (size_t j = 0; j < KERNELS_BLOCK; j++)
            values[i + j] = meta.scale * (float)codes[j];
    }
}

void codes_query_row(const struct code_space *space, const uint8_t *code, struct code_meta meta,
                     struct code_query *query) {
    int8_t *codes = codes_of(query);
    assert(query->width_max >= space->width);
    if (space->metric == CODE_METRIC_L1) {
        query->kernel.bytes = space->width;
        query->kernel.pairs = 0;
        codes_values(space, code, meta, values_of(query));
        return;
    }
    set_offset(space, query, space->kernels->decode(code, space->pairs, codes, space->width));
    set_weights(space, query, meta.scale, meta.length);
}

void codes_query_edges(const struct code_space *space, struct code_query *query) {
    query->edges.width = space->width;
    query->edges.bits = space->edge_bits;
    query->edges.step =
        space->kernels->edge_sums(query->kernel.values, space->width, (uint8_t *)query->edges.sums);
}

void codes_query_row_edges(const struct code_space *space, const uint8_t *code,
                           struct code_meta meta, struct code_query *query) {
    codes_values(space, code, meta, values_of(query));
    codes_query_edges(space, query);
}

static void load_metas(struct code_batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        batch->scales[i] = batch->metas[i]->scale;
        batch->lengths[i] = batch->metas[i]->length;
    }
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
    return kernels_weigh(&query->weights, meta.scale, meta.length, dot);
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
    for (size_t i = 0; i < count; i++)
        batch->distances[i] =
            kernels_weigh(&query->weights, batch->scales[i], batch->lengths[i], batch->dots[i]);
}

size_t codes_distances_below(const struct code_space *space, const struct code_query *query,
                             struct code_batch *batch, float limit) {
    size_t count = batch->count, near_count = 0;
    if (space->pairs == 0 || !(limit < INFINITY)) {
        codes_distances(space, query, batch);
        return 0;
    }
    assert(count <= CODES_BATCH_MAX);
    /* A lower half is one of 16 numbers, all as likely: it deviates by 16 / sqrt(12) from 7.5. */
    float per_scale = COARSE_DEVIATIONS * 16 / sqrtf(12) * query->code_length *
                      (space->metric == CODE_METRIC_L2 ? 2 : 1);
    space->kernels->coarse_rows(&query->kernel, batch->rows, count, batch->dots);
    load_metas(batch);
    for (uint32_t i = 0; i < count; i++) {
        float distance =
            kernels_weigh(&query->weights, batch->scales[i], batch->lengths[i], batch->dots[i]);
        batch->near[near_count] = i;
        batch->near_rows[near_count] = batch->rows[i];
        /* What is no number is measured. */
        near_count += !(distance - batch->scales[i] * per_scale >= limit);
        batch->distances[i] = INFINITY;
    }
    space->kernels->dot_rows(&query->kernel, batch->near_rows, near_count, batch->dots);
    for (size_t i = 0; i < near_count; i++) {
        uint32_t at = batch->near[i];
        batch->distances[at] =
            kernels_weigh(&query->weights, batch->scales[at], batch->lengths[at], batch->dots[i]);
    }
    return count - near_count;
}

/* Rounding to multiples of a scale errs by scale / sqrt(12) a coordinate, evenly. With e and g the
 * errors of x' and q':
 *
 *   dot   <q,x> - <q',x'> = <q',e> + <g,x'> + <g,e>
 *   L2    |q-x|^2 - |q'-x'|^2 = 2 <q'-x', g-e> + |g-e|^2
 *
 * The first terms deviate as said below; the last is no larger than if the errors were the same, or
 * opposite. */
float codes_slack(const struct code_space *space, const struct code_query *query,
                  struct code_meta meta, float distance) {
    /* Squares of small numbers are none in f32. */
    double x = (double)meta.scale, q = (double)query->scale, width = (double)space->width;
    double length = (double)meta.length, own = (double)query->code_length;
    if (space->metric == CODE_METRIC_L1 || !(x > 0 && q > 0))
        return INFINITY;
    if (space->metric == CODE_METRIC_DOT) {
        double along = x * own, across = q * length;
        double deviation = sqrt((along * along + across * across) / 12);
        return (float)(SLACK_DEVIATIONS * deviation + width * x * q / 12) +
               F32_SLACK * fabsf(distance);
    }
    double square = distance > 0 ? (double)distance : 0;
    double deviation = 2 * sqrt(square * (x * x + q * q) / 12);
    double lengths = (double)query->weights.base + length * length;
    return (float)(SLACK_DEVIATIONS * deviation + width * (x + q) * (x + q) / 12 +
                   (double)F32_SLACK * lengths);
}

static void scan_l1(const struct code_space *space, const struct code_query *query,
                    const struct code_block *block, float *distances) {
    space->kernels->l1_rows(&query->kernel, block->rows, block->scales, block->count, distances);
    for (size_t i = 0; i < block->count; i++)
        distances[i] = distances[i] < FLT_MAX ? distances[i] : FLT_MAX;
}

static struct kernel_rows rows_of(const struct code_block *block) {
    return (struct kernel_rows){block->scales, block->lengths, block->errors, block->count};
}

void codes_scan(const struct code_space *space, const struct code_query *const *queries,
                size_t count, struct code_block *block) {
    assert(count >= 1 && count <= KERNELS_QUERIES);
    assert(block->count <= CODES_BATCH_MAX);
    size_t together = count == 1 ? 1 : KERNELS_QUERIES; /* kernels know nothing between */
    struct kernel_scan scan = {.queries_count = together,
                               .rows = block->rows,
                               .count = block->count,
                               .dots = block->dots,
                               .stride = CODES_BATCH_MAX};
    const struct kernel_rows rows = rows_of(block);
    for (size_t q = 0; q < together; q++)
        scan.queries[q] = &queries[q < count ? q : 0]->kernel;
    if (space->metric != CODE_METRIC_L1)
        space->kernels->scan_rows(&scan);
    for (size_t q = 0; q < count; q++) {
        size_t at = q * CODES_BATCH_MAX;
        if (space->metric == CODE_METRIC_L1)
            scan_l1(space, queries[q], block, block->distances + at);
        else
            space->kernels->weigh_rows(&queries[q]->weights, &rows, block->dots + at,
                                       block->distances + at);
    }
}

void codes_floors(const struct code_space *space, const struct code_query *const *queries,
                  size_t count, struct code_block *block) {
    const struct kernel_rows rows = rows_of(block);
    for (size_t at = 0; at < count * CODES_BATCH_MAX; at += CODES_BATCH_MAX)
        space->kernels->floor_rows(&queries[at / CODES_BATCH_MAX]->weights, &rows,
                                   block->distances + at, block->floors + at);
}

float codes_ceiling(const struct code_query *query, const struct code_block *block, size_t number,
                    size_t i) {
    return kernels_ceiling(&query->weights, block->distances[number * CODES_BATCH_MAX + i],
                           block->lengths[i], block->errors[i]);
}
