/* Rotation and codes: what they keep, and the bounds that make the exact scan exact. */
#include "index/codes.h"

#include "tests/support/run_suite.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAIRS = 60,
    DIMENSION_MAX = 1000,
};

static double uniform(void) {
    return (double)rand() / RAND_MAX - 0.5;
}

/* Vectors as embeddings are, with outlier coordinates, sparse, and of extreme lengths. */
static void make_vector(float *vector, size_t dimension, int kind) {
    static const double lengths[] = {1, 1, 1, 1e-30, 1e15, 1e-42};
    for (size_t i = 0; i < dimension; i++) {
        double x = uniform() * lengths[kind % 6];
        if (kind % 6 == 1 && i % 97 == 3)
            x *= 20;
        if (kind % 6 == 2 && i % 5 != 0)
            x = 0;
        vector[i] = (float)x;
    }
}

static const size_t dimensions[] = {1, 2, 63, 64, 65, 100, 300, 384, DIMENSION_MAX};

enum {
    DIMENSIONS = sizeof(dimensions) / sizeof(dimensions[0]),
};

START_TEST(rotation_keeps_lengths_and_products) {
    size_t dimension = dimensions[_i];
    struct rotation rotation;
    float a[DIMENSION_MAX], b[DIMENSION_MAX], x[1024], y[1024];
    ck_assert(rotation_init(&rotation, dimension));
    srand((unsigned)_i);
    for (int kind = 0; kind < 3; kind++) {
        make_vector(a, dimension, kind);
        make_vector(b, dimension, kind);
        rotation_apply(&rotation, kernels_get(), a, x);
        rotation_apply(&rotation, kernels_get(), b, y);
        double before = kernels_scalar.dot(a, b, dimension, a);
        double after = kernels_scalar.dot(x, y, rotation.width, x);
        double lengths = sqrt(kernels_scalar.dot(a, a, dimension, a)) *
                         sqrt(kernels_scalar.dot(b, b, dimension, b));
        ck_assert(fabs(before - after) <= (2 * rotation.error + 1e-7) * lengths);
    }
    rotation_free(&rotation);
}
END_TEST

/* A few coordinates twenty times larger must end up spread over all. */
START_TEST(rotation_spreads_outlier_coordinates) {
    size_t dimension = dimensions[_i];
    struct rotation rotation;
    float vector[DIMENSION_MAX] = {0}, rotated[1024];
    ck_assert(rotation_init(&rotation, dimension));
    for (size_t place = 0; place < dimension; place += dimension / 3 + 1) {
        memset(vector, 0, sizeof(vector));
        vector[place] = 1;
        rotation_apply(&rotation, kernels_get(), vector, rotated);
        float max = kernels_scalar.max_abs(rotated, rotation.width);
        ck_assert_msg(max <= 6 / sqrtf((float)rotation.width), "%f", (double)max);
    }
    rotation_free(&rotation);
}
END_TEST

struct coded {
    _Alignas(64) uint8_t code[1024];
    struct code_meta meta;
    float error;
};

/* Every second time of codes that are split. */
START_TEST(bounds_hold_the_true_distance) {
    enum distance distance = (enum distance)(_i / 2 % DISTANCE_COUNT);
    size_t dimension = dimensions[_i / 2 / DISTANCE_COUNT];
    struct code_space space;
    struct code_query query = {0}, work = {0};
    static struct coded row;
    static struct code_batch batch;
    static struct code_block block = {.count = 1};
    const struct code_query *queries[] = {&query};
    float a[DIMENSION_MAX], b[DIMENSION_MAX];
    ck_assert(codes_space_init(&space, distance, dimension));
    if (_i % 2)
        codes_space_split(&space);
    ck_assert(codes_query_reserve(&query, space.width));
    ck_assert(codes_query_reserve(&work, space.width));
    srand((unsigned)_i);
    for (int pair = 0; pair < PAIRS; pair++) {
        make_vector(a, dimension, pair);
        make_vector(b, dimension, pair / 6);
        if (pair % 7 == 0)
            memcpy(b, a, sizeof(a));
        struct code_row to = {.code = row.code, .meta = &row.meta, .error = &row.error};
        codes_encode(&space, b, &work, &to);
        codes_query_vector(&space, a, &query);
        codes_query_bound(&space, &query);
        batch.count = 1;
        batch.rows[0] = row.code;
        batch.metas[0] = &row.meta;
        codes_distances(&space, &query, &batch);
        block.rows[0] = row.code;
        block.scales[0] = row.meta.scale;
        block.lengths[0] = row.meta.length;
        block.errors[0] = row.error;
        codes_scan(&space, queries, 1, &block);
        codes_floors(&space, queries, 1, &block);
        ck_assert_float_eq(block.distances[0], batch.distances[0]);
        float floor = block.floors[0];
        float ceiling = codes_ceiling(&query, &block, 0, 0);
        float truth = distance_between(distance, a, b, dimension);
        ck_assert_msg(!(floor > truth) && !(ceiling < truth), "pair %d: %g <= %g <= %g", pair,
                      (double)floor, (double)truth, (double)ceiling);
        /* And they are of use: for ordinary vectors a few per cent of what they could be. */
        if (pair % 7 != 0 && pair % 6 < 2 && pair / 6 < 2 && dimension >= 64 &&
            distance != DISTANCE_EUCLID) {
            double scale = distance == DISTANCE_MANHATTAN
                               ? (double)truth
                               : sqrt(kernels_scalar.dot(a, a, dimension, a) *
                                      kernels_scalar.dot(b, b, dimension, b));
            ck_assert_double_le((double)ceiling - (double)floor, 0.2 * scale + 1e-6);
        }
    }
    codes_query_free(&query);
    codes_query_free(&work);
    codes_space_free(&space);
}
END_TEST

/* Of pairs near and far, the errors of how many lie beyond the slack, its double and its third. */
START_TEST(slack_is_three_deviations) {
    static const enum distance distances[] = {DISTANCE_COSINE, DISTANCE_EUCLID};
    enum {
        DIMENSION = 320,
        ROUNDS = 4000
    };
    enum distance distance = distances[_i % 2];
    const float size = _i < 2 ? 1 : 1e-12f;
    struct code_space space;
    struct code_query query = {0}, work = {0};
    static struct coded row;
    float a[DIMENSION], b[DIMENSION];
    int beyond = 0, beyond_third = 0;
    ck_assert(codes_space_init(&space, distance, DIMENSION));
    ck_assert(codes_query_reserve(&query, space.width));
    ck_assert(codes_query_reserve(&work, space.width));
    srand(7);
    for (int round = 0; round < ROUNDS; round++) {
        float share = (float)(round % 5) / 8; /* 0: the same vector */
        make_vector(a, DIMENSION, round % 3);
        make_vector(b, DIMENSION, round / 3 % 3);
        for (size_t i = 0; i < DIMENSION; i++) {
            a[i] *= size;
            b[i] = a[i] + share * (size * b[i] - a[i]);
        }
        struct code_row to = {.code = row.code, .meta = &row.meta, .error = &row.error};
        codes_encode(&space, b, &work, &to);
        codes_query_vector(&space, a, &query);
        float coded = codes_distance(&space, &query, row.code, row.meta);
        float slack = codes_slack(&space, &query, row.meta, coded);
        float error = fabsf(coded - distance_between(distance, a, b, DIMENSION));
        ck_assert_msg(error <= 2 * slack, "%d: %g > 2 * %g", round, (double)error, (double)slack);
        beyond += error > slack;
        beyond_third += error > slack / 3;
    }
    ck_assert_int_le(beyond, ROUNDS / 100);
    ck_assert_int_ge(beyond_third, ROUNDS / 10);
    codes_query_free(&query);
    codes_query_free(&work);
    codes_space_free(&space);
}
END_TEST

/* One space whose codes are split and one whose are not: `dimension` and distance alike. */
struct both {
    struct code_space space[2];
    struct code_query query[2], work[2];
    struct coded rows[2][2];
};

static void make_both(struct both *both, enum distance distance, size_t dimension) {
    memset(both, 0, sizeof(*both));
    for (int i = 0; i < 2; i++) {
        ck_assert(codes_space_init(&both->space[i], distance, dimension));
        if (i == 1)
            codes_space_split(&both->space[i]);
        ck_assert(codes_query_reserve(&both->query[i], both->space[i].width));
        ck_assert(codes_query_reserve(&both->work[i], both->space[i].width));
    }
}

static void free_both(struct both *both) {
    for (int i = 0; i < 2; i++) {
        codes_query_free(&both->query[i]);
        codes_query_free(&both->work[i]);
        codes_space_free(&both->space[i]);
    }
}

static float distance_to(const struct both *both, int i, const struct coded *row) {
    return codes_distance(&both->space[i], &both->query[i], row->code, row->meta);
}

START_TEST(split_codes_stand_for_the_same_numbers) {
    static struct both both;
    float vector[DIMENSION_MAX];
    static float values[2][1024];
    enum distance distance = (enum distance)(_i % DISTANCE_COUNT);
    size_t dimension = dimensions[_i / DISTANCE_COUNT];
    make_both(&both, distance, dimension);
    size_t width = both.space[0].width;
    ck_assert_uint_eq(both.space[1].pairs, distance == DISTANCE_MANHATTAN ? 0 : width / 128);
    srand((unsigned)_i);
    for (int row = 0; row < 2; row++) {
        make_vector(vector, dimension, row);
        for (int i = 0; i < 2; i++) {
            struct coded *to = &both.rows[i][row];
            struct code_row place = {.code = to->code, .meta = &to->meta, .error = &to->error};
            codes_encode(&both.space[i], vector, &both.work[i], &place);
            codes_values(&both.space[i], to->code, to->meta, values[i]);
            codes_add_values(&both.space[i], to->code, to->meta, values[i]);
        }
        ck_assert(memcmp(values[0], values[1], width * sizeof(float)) == 0);
        ck_assert_float_eq(both.rows[0][row].meta.scale, both.rows[1][row].meta.scale);
        ck_assert_float_eq(both.rows[0][row].meta.length, both.rows[1][row].meta.length);
        ck_assert_float_eq(both.rows[0][row].error, both.rows[1][row].error);
    }
    make_vector(vector, dimension, 3);
    for (int kind = 0; kind < 3; kind++) {
        for (int i = 0; i < 2; i++) {
            struct coded *first = &both.rows[i][0], *second = &both.rows[i][1];
            struct code_row a = {.code = first->code, .meta = &first->meta};
            struct code_row b = {.code = second->code, .meta = &second->meta};
            if (kind == 0)
                codes_query_vector(&both.space[i], vector, &both.query[i]);
            else if (kind == 1)
                codes_query_row(&both.space[i], second->code, second->meta, &both.query[i]);
            else
                codes_query_mixture(&both.space[i], &a, &b, 0.25f, &both.query[i]);
        }
        ck_assert_float_eq(distance_to(&both, 0, &both.rows[0][0]),
                           distance_to(&both, 1, &both.rows[1][0]));
        const struct kernel_query *kernel = &both.query[1].kernel;
        int32_t sum = 0;
        for (size_t j = width % 128; j < width && kernel->pairs > 0; j++)
            sum += kernel->codes[j];
        ck_assert_int_eq(kernel->pairs_sum, sum);
    }
    free_both(&both);
}
END_TEST

/* Vectors around the query, some near: what codes_distances_below says is the distance, or that it
 * does not lie below; it tells the most of what is far without the whole code. */
START_TEST(half_of_a_code_tells_what_is_far) {
    enum {
        DIMENSION = 832, /* with a block that is not split */
        BATCH = 200,
        ROUNDS = 100,
    };
    static struct both both;
    static struct coded rows[BATCH];
    static struct code_batch batch;
    static float query[DIMENSION], vector[DIMENSION], expected[BATCH];
    int below = 0, missed = 0, beyond = 0, told = 0;
    enum distance distance = (enum distance)(_i / 2);
    bool is_row = _i % 2;
    make_both(&both, distance, DIMENSION);
    struct code_query *asked = &both.query[1];
    srand((unsigned)_i);
    for (int round = 0; round < ROUNDS; round++) {
        make_vector(query, DIMENSION, 0);
        for (size_t i = 0; i < BATCH; i++) {
            float share = (float)i / BATCH;
            make_vector(vector, DIMENSION, 0);
            for (size_t j = 0; j < DIMENSION; j++)
                vector[j] = query[j] + share * (vector[j] - query[j]);
            struct code_row to = {rows[i].code, &rows[i].meta, &rows[i].error};
            codes_encode(&both.space[1], vector, &both.work[1], &to);
            batch.rows[i] = rows[i].code;
            batch.metas[i] = &rows[i].meta;
        }
        batch.count = BATCH;
        codes_query_vector(&both.space[1], query, asked);
        if (is_row)
            codes_query_row(&both.space[1], rows[0].code, rows[0].meta, asked);
        codes_distances(&both.space[1], asked, &batch);
        memcpy(expected, batch.distances, sizeof(expected));
        float limit = expected[BATCH / 4];
        codes_distances_below(&both.space[1], asked, &batch, limit);
        for (size_t i = 0; i < BATCH; i++) {
            ck_assert(isinf(batch.distances[i]) || batch.distances[i] == expected[i]);
            below += expected[i] < limit;
            missed += expected[i] < limit && isinf(batch.distances[i]);
            beyond += expected[i] >= limit;
            told += isinf(batch.distances[i]);
        }
        codes_distances_below(&both.space[1], asked, &batch, INFINITY);
        ck_assert(memcmp(batch.distances, expected, sizeof(expected)) == 0);
    }
    /* Lengths beyond f32 tell nothing of a row without a code. */
    const struct code_meta none = {0};
    batch.metas[0] = &none;
    codes_distances(&both.space[1], asked, &batch);
    float zero = batch.distances[0];
    asked->code_length = INFINITY;
    codes_distances_below(&both.space[1], asked, &batch, FLT_MAX);
    ck_assert_float_eq(batch.distances[0], zero);
    ck_assert_int_ge(below, ROUNDS * BATCH / 8);
    ck_assert_int_le(missed, 1);
    if (distance == DISTANCE_MANHATTAN)
        ck_assert_int_eq(told, 0);
    else
        ck_assert_int_ge(told, beyond * 3 / 4);
    free_both(&both);
}
END_TEST

START_TEST(slack_is_infinite_where_nothing_is_known) {
    static const float tiny[] = {1e-42f, 1e-42f, 0, 1e-43f}, some[] = {1, 2, -3, 0.5f};
    static struct coded row;
    for (int i = 0; i < DISTANCE_COUNT; i++) {
        struct code_space space;
        struct code_query query = {0}, work = {0};
        struct code_row to = {.code = row.code, .meta = &row.meta, .error = &row.error};
        ck_assert(codes_space_init(&space, (enum distance)i, 4));
        ck_assert(codes_query_reserve(&query, space.width));
        ck_assert(codes_query_reserve(&work, space.width));
        codes_query_vector(&space, some, &query);
        codes_encode(&space, tiny, &work, &to);
        ck_assert(isinf(codes_slack(&space, &query, row.meta, 1)));
        codes_encode(&space, some, &work, &to);
        ck_assert_int_eq(!isinf(codes_slack(&space, &query, row.meta, 1)), i != DISTANCE_MANHATTAN);
        codes_query_vector(&space, tiny, &query);
        ck_assert(isinf(codes_slack(&space, &query, row.meta, 1)));
        codes_query_free(&query);
        codes_query_free(&work);
        codes_space_free(&space);
    }
}
END_TEST

START_TEST(a_row_as_query_is_its_decoded_vector) {
    enum distance distance = (enum distance)_i;
    struct code_space space;
    struct code_query query = {0}, work = {0};
    static struct coded rows[2];
    static struct code_batch batch;
    float vector[2][100], decoded[2][128];
    ck_assert(codes_space_init(&space, distance, 100));
    ck_assert(codes_query_reserve(&query, space.width));
    ck_assert(codes_query_reserve(&work, space.width));
    for (int i = 0; i < 2; i++) {
        make_vector(vector[i], 100, 0);
        struct code_row to = {.code = rows[i].code, .meta = &rows[i].meta, .error = &rows[i].error};
        codes_encode(&space, vector[i], &work, &to);
        for (size_t j = 0; j < 128; j++)
            decoded[i][j] = rows[i].meta.scale * (float)(rows[i].code[j] - 128);
    }
    codes_query_row(&space, rows[0].code, rows[0].meta, &query);
    batch.count = 1;
    batch.rows[0] = rows[1].code;
    batch.metas[0] = &rows[1].meta;
    codes_distances(&space, &query, &batch);
    float expected = distance_between(distance, decoded[0], decoded[1], 128);
    ck_assert_float_eq_tol(batch.distances[0], expected, 1e-3f * fabsf(expected) + 1e-4f);
    codes_query_free(&query);
    codes_query_free(&work);
    codes_space_free(&space);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("codes");
    TCase *tcase = tcase_create("codes");
    tcase_add_loop_test(tcase, rotation_keeps_lengths_and_products, 0, DIMENSIONS);
    tcase_add_loop_test(tcase, rotation_spreads_outlier_coordinates, 2, DIMENSIONS);
    tcase_add_loop_test(tcase, bounds_hold_the_true_distance, 0, 2 * DIMENSIONS * DISTANCE_COUNT);
    tcase_add_loop_test(tcase, split_codes_stand_for_the_same_numbers, 0,
                        DIMENSIONS * DISTANCE_COUNT);
    tcase_add_loop_test(tcase, half_of_a_code_tells_what_is_far, 0, 2 * DISTANCE_COUNT);
    tcase_add_loop_test(tcase, slack_is_three_deviations, 0, 4);
    tcase_add_test(tcase, slack_is_infinite_where_nothing_is_known);
    tcase_add_loop_test(tcase, a_row_as_query_is_its_decoded_vector, 0, DISTANCE_COUNT);
    suite_add_tcase(suite, tcase);
    return suite;
}
