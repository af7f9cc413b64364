/* The exact scan against a scan in double precision. */
#include "tests/support/index_fixture.h"
#include "tests/support/run_suite.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 700,
    QUERIES = 12,
};

static void must_be_the_oracles(struct fixture *fixture, const struct index_query *query) {
    struct hit *truth = calloc(fixture->capacity + 1, sizeof(*truth));
    struct index_answer answer = fixture_search(fixture, query);
    size_t count = fixture_oracle(fixture, query, truth);
    count = count < query->k ? count : query->k;
    ck_assert_uint_eq(answer.count, count);
    ck_assert_int_eq(answer.plan, INDEX_PLAN_EXACT);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(answer.hits[i].slot, truth[i].slot);
        ck_assert_float_eq(answer.hits[i].distance, truth[i].distance);
    }
    free(truth);
}

static const uint32_t dimensions[] = {1, 3, 64, 100, 384};
static const uint32_t ks[] = {1, 10, 100, ROWS, ROWS + 1, UINT32_MAX};

enum {
    DIMENSIONS = sizeof(dimensions) / sizeof(dimensions[0]),
    KS = sizeof(ks) / sizeof(ks[0]),
};

START_TEST(finds_what_a_scan_in_double_precision_finds) {
    struct fixture fixture;
    float vector[384];
    const struct vector_index_options options = {
        .dimension = dimensions[_i % DIMENSIONS],
        .distance = (enum distance)(_i / DIMENSIONS % DISTANCE_COUNT)};
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 1);
    fixture_put(&fixture, 0, ROWS, 1);
    for (uint64_t i = 0; i < QUERIES; i++) {
        struct index_query query = {
            .vector = vector, .k = ks[i % KS], .operation = 1, .exact = true};
        fixture_make_query(&fixture, 1, i, vector);
        must_be_the_oracles(&fixture, &query);
    }
    fixture_free(&fixture);
}
END_TEST

/* Ids fall as slots rise. */
static int higher_slot_first(void *context, uint32_t a, uint32_t b) {
    (void)context;
    return a > b ? -1 : a < b;
}

START_TEST(breaks_ties_by_the_owners_order) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = 8, .distance = (enum distance)_i};
    fixture_create(&fixture, &options, 300);
    fixture.owner.compare = higher_slot_first;
    for (uint32_t row = 0; row < 300; row++) /* five different vectors */
        fixture_make_query(&fixture, 5, row % 5, fixture_row(&fixture, row));
    fixture_put(&fixture, 0, 300, 1);
    for (uint32_t k = 1; k < 300; k += 29) {
        struct index_query query = {
            .vector = fixture_row(&fixture, 0), .k = k, .operation = 1, .exact = true};
        must_be_the_oracles(&fixture, &query);
    }
    fixture_free(&fixture);
}
END_TEST

START_TEST(sees_what_the_readers_operation_sees) {
    struct fixture fixture;
    float vector[16];
    const struct vector_index_options options = {.dimension = 16, .distance = DISTANCE_EUCLID};
    fixture_create(&fixture, &options, 200);
    fixture_fill_clusters(&fixture, 0, 200, 3);
    for (uint32_t row = 0; row < 200; row++)
        fixture_put(&fixture, row, 1, 10 + row);
    for (uint32_t row = 0; row < 200; row += 3)
        slots_died(fixture.slots, row, 300 + row);
    fixture_make_query(&fixture, 3, 0, vector);
    for (uint64_t operation = 0; operation < 520; operation += 13) {
        struct index_query query = {
            .vector = vector, .k = 50, .operation = operation, .exact = true};
        must_be_the_oracles(&fixture, &query);
    }
    fixture_free(&fixture);
}
END_TEST

struct question {
    uint32_t asked[ROWS]; /* how often about each slot */
};

static bool even_thirds(void *context, uint32_t slot) {
    struct question *question = context;
    question->asked[slot]++;
    return slot % 3 == 0;
}

START_TEST(asks_a_lazy_filter_at_most_once_about_a_slot) {
    struct fixture fixture;
    float vector[32];
    uint64_t words[ROWS / 64 + 1];
    struct question question = {{0}}, other = {{0}};
    const struct vector_index_options options = {.dimension = 32, .distance = DISTANCE_COSINE};
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 4);
    fixture_put(&fixture, 0, ROWS, 1);
    memset(words, 0x55, sizeof(words)); /* even slots */
    struct slot_filter filter = {.words = words,
                                 .slot_end = 601,
                                 .count = 301,
                                 .estimate = 100,
                                 .matches = even_thirds,
                                 .context = &question};
    fixture_make_query(&fixture, 4, 0, vector);
    struct index_query query = {
        .vector = vector, .k = 20, .operation = 1, .exact = true, .filter = &filter};
    struct index_answer answer = fixture_search(&fixture, &query);
    ck_assert_uint_eq(answer.count, 20);
    for (uint32_t slot = 0; slot < ROWS; slot++)
        ck_assert_uint_le(question.asked[slot], 1);
    filter.context = &other;
    must_be_the_oracles(&fixture, &query);
    fixture_free(&fixture);
}
END_TEST

static const float *forgetful(void *context, uint32_t slot) {
    struct fixture *fixture = context;
    return slot % 4 == 1 ? NULL : fixture_row(fixture, slot);
}

START_TEST(replaces_rows_that_the_owner_no_longer_has) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = 20, .distance = DISTANCE_EUCLID};
    fixture_create(&fixture, &options, 400);
    fixture_fill_clusters(&fixture, 0, 400, 2);
    fixture_put(&fixture, 0, 400, 1);
    fixture.owner.vector = forgetful;
    for (uint32_t k = 1; k <= 500; k += 49) {
        struct index_query query = {
            .vector = fixture_row(&fixture, 1), .k = k, .operation = 1, .exact = true};
        struct index_answer answer = fixture_search(&fixture, &query);
        ck_assert_uint_eq(answer.count, k < 300 ? k : 300);
        for (size_t i = 0; i < answer.count; i++)
            ck_assert_uint_ne(answer.hits[i].slot % 4, 1);
    }
    fixture_free(&fixture);
}
END_TEST

START_TEST(survives_numbers_that_leave_f32) {
    struct fixture fixture;
    static const float sizes[] = {0, 1e-45f, 1e-38f, 1, 1e19f, 1e30f, FLT_MAX};
    const struct vector_index_options options = {.dimension = 70, .distance = (enum distance)_i};
    fixture_create(&fixture, &options, 70);
    for (uint32_t row = 0; row < 70; row++) {
        for (uint32_t i = 0; i < 70; i++)
            fixture_row(&fixture, row)[i] = sizes[row % 7] * ((row + i) % 3 == 0 ? -1.0f : 1.0f);
    }
    fixture_put(&fixture, 0, 70, 1);
    fixture_link(&fixture, 1);
    for (uint32_t row = 0; row < 7; row++) {
        struct index_query query = {
            .vector = fixture_row(&fixture, row), .k = 70, .operation = 1, .exact = true};
        struct index_answer answer = fixture_search(&fixture, &query);
        ck_assert_uint_eq(answer.count, 70);
        for (size_t i = 0; i < 70; i++) {
            ck_assert_float_le(answer.hits[i].distance, FLT_MAX);
            ck_assert_float_ge(answer.hits[i].distance, -FLT_MAX);
            ck_assert(i == 0 || answer.hits[i - 1].distance <= answer.hits[i].distance);
        }
        query.exact = false;
        ck_assert_uint_eq(fixture_search(&fixture, &query).count, 70);
    }
    fixture_free(&fixture);
}
END_TEST

START_TEST(scans_65536_dimensions) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = VECTOR_DIMENSION_MAX,
                                                 .distance = (enum distance)_i};
    fixture_create(&fixture, &options, 12);
    fixture_fill_clusters(&fixture, 0, 12, 6);
    fixture_put(&fixture, 0, 11, 1);
    struct index_query query = {
        .vector = fixture_row(&fixture, 11), .k = 5, .operation = 1, .exact = true};
    must_be_the_oracles(&fixture, &query);
    fixture_free(&fixture);
}
END_TEST

START_TEST(refuses_a_dimension_out_of_range) {
    static const uint32_t wrong[] = {0, VECTOR_DIMENSION_MAX + 1, UINT32_MAX};
    struct vector_index *index;
    struct slots *slots;
    struct error error;
    const struct vector_index_options options = {.dimension = wrong[_i]};
    ck_assert_int_eq(slots_create(&slots, &error), STATUS_OK);
    ck_assert_int_eq(vector_index_create(&options, slots, &index, &error), STATUS_INVALID);
    slots_free(slots);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("flat");
    TCase *tcase = tcase_create("flat");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, finds_what_a_scan_in_double_precision_finds, 0,
                        DIMENSIONS * DISTANCE_COUNT);
    tcase_add_loop_test(tcase, breaks_ties_by_the_owners_order, 0, DISTANCE_COUNT);
    tcase_add_test(tcase, sees_what_the_readers_operation_sees);
    tcase_add_test(tcase, asks_a_lazy_filter_at_most_once_about_a_slot);
    tcase_add_test(tcase, replaces_rows_that_the_owner_no_longer_has);
    tcase_add_loop_test(tcase, survives_numbers_that_leave_f32, 0, DISTANCE_COUNT);
    tcase_add_loop_test(tcase, scans_65536_dimensions, 0, DISTANCE_COUNT);
    tcase_add_loop_test(tcase, refuses_a_dimension_out_of_range, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
