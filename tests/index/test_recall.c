/* Recall on real vectors: text embeddings of a package catalogue.
 *
 * NIGH_DATA names a folder with the full set (packages.f32, 384 numbers a row); without it the cut
 * in tests/data serves. Queries are texts that are not in the set.
 */
#include "tests/support/index_fixture.h"
#include "tests/support/run_suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DIMENSION = 384,
    QUERIES = 100,
    K = 10,
    CLUSTER_DIMENSION = 64, /* of clusters that are made up */
    SEED = 21,
};

/* Reads a whole file of floats; NULL if there is none. */
static float *read_floats(const char *folder, const char *name, size_t *count) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    *count = (size_t)ftell(file) / sizeof(float);
    rewind(file);
    float *values = malloc(*count * sizeof(float));
    ck_assert_ptr_nonnull(values);
    ck_assert_uint_eq(fread(values, sizeof(float), *count, file), *count);
    fclose(file);
    return values;
}

struct data {
    float *rows, *queries;
    uint32_t rows_count;
};

static void read_data(struct data *data) {
    const char *folder = getenv("NIGH_DATA");
    size_t rows, queries;
    data->rows = folder ? read_floats(folder, "packages.f32", &rows) : NULL;
    data->queries = folder ? read_floats(folder, "packages-queries.f32", &queries) : NULL;
    if (!data->rows) {
        data->rows = read_floats("tests/data", "packages-2k.f32", &rows);
        data->queries = read_floats("tests/data", "packages-2k-queries.f32", &queries);
    }
    ck_assert_ptr_nonnull(data->rows);
    ck_assert_ptr_nonnull(data->queries);
    ck_assert_uint_ge(queries, QUERIES * DIMENSION);
    data->rows_count = (uint32_t)(rows / DIMENSION);
}

static double mean_recall(struct fixture *fixture, const float *queries,
                          const struct index_query *like) {
    double sum = 0;
    for (size_t i = 0; i < QUERIES; i++) {
        struct index_query query = *like;
        query.vector = queries + i * DIMENSION;
        query.k = K;
        struct index_answer answer = fixture_search(fixture, &query);
        sum += fixture_recall(fixture, &query, &answer);
    }
    return sum / QUERIES;
}

START_TEST(finds_97_of_100_of_real_neighbours) {
    struct fixture fixture;
    struct data data;
    read_data(&data);
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = (enum distance)(_i / 2),
                                                 .profile = _i % 2 ? INDEX_PROFILE_TURBO
                                                                   : INDEX_PROFILE_LEAN};
    fixture_create(&fixture, &options, data.rows_count);
    memcpy(fixture.rows, data.rows, (size_t)data.rows_count * DIMENSION * sizeof(float));
    fixture_put(&fixture, 0, data.rows_count, 1);
    fixture_link(&fixture, _i % 2 + 1);
    struct index_query query = {.operation = 1};
    double by_default = mean_recall(&fixture, data.queries, &query);
    ck_assert_msg(by_default >= 0.97, "recall %.4f with the default ef", by_default);
    query.ef = 512;
    double at_best = mean_recall(&fixture, data.queries, &query);
    ck_assert_msg(at_best >= 0.99, "recall %.4f with ef 512", at_best);
    query.exact = true;
    ck_assert_double_eq(mean_recall(&fixture, data.queries, &query), 1);
    fixture_free(&fixture);
    free(data.rows);
    free(data.queries);
}
END_TEST

/* Nodes and codes that a hundred hits take on the average. */
static double work_of(struct fixture *fixture, uint32_t ef) {
    float vector[CLUSTER_DIMENSION];
    double sum = 0;
    for (uint64_t number = 0; number < QUERIES; number++) {
        fixture_make_query(fixture, SEED, number, vector);
        const struct index_query query = {
            .vector = vector, .k = 100, .ef = ef, .operation = 1, .plan = INDEX_PLAN_GRAPH};
        struct index_answer answer = fixture_search(fixture, &query);
        ck_assert_uint_eq(answer.count, 100);
        sum += (double)answer.scored;
    }
    return sum / QUERIES;
}

/* A walk by edges expands half of its pool or less: one that could not hold k is not walked first.
 */
START_TEST(a_short_pool_takes_no_more_work_than_a_long_one) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = CLUSTER_DIMENSION,
                                                 .distance = DISTANCE_COSINE,
                                                 .profile = INDEX_PROFILE_TURBO};
    fixture_create(&fixture, &options, FIXTURE_GRAPH_ROWS);
    fixture_fill_clusters(&fixture, 0, FIXTURE_GRAPH_ROWS, SEED);
    fixture_put(&fixture, 0, FIXTURE_GRAPH_ROWS, 1);
    fixture_link(&fixture, 1);
    double least = work_of(&fixture, 100);
    for (uint32_t ef = 150; ef <= 500; ef += 50) {
        double work = work_of(&fixture, ef);
        ck_assert_msg(least <= 1.05 * work, "%.0f, and %.0f with ef %u", least, work, ef);
    }
    fixture_free(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("recall");
    TCase *tcase = tcase_create("recall");
    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, finds_97_of_100_of_real_neighbours, 0, 2 * DISTANCE_COUNT);
    tcase_add_test(tcase, a_short_pool_takes_no_more_work_than_a_long_one);
    suite_add_tcase(suite, tcase);
    return suite;
}
