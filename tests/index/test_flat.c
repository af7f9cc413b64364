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

/* Queries of one pass; what they share is that of `like`. */
struct together {
    float vectors[VECTOR_INDEX_TOGETHER_MAX][384];
    struct index_query queries[VECTOR_INDEX_TOGETHER_MAX];
    struct index_answer answers[VECTOR_INDEX_TOGETHER_MAX];
    size_t count;
};

/* Every third query has the vector of a row, so that it has ties where rows have. */
static void make_together(struct fixture *fixture, const struct index_query *like, size_t count,
                          uint64_t seed, struct together *together) {
    static const uint32_t together_ks[] = {1, 10, 33, 200, ROWS, UINT32_MAX};
    together->count = count;
    for (size_t i = 0; i < count; i++) {
        together->queries[i] = *like;
        together->queries[i].vector = together->vectors[i];
        together->queries[i].k = together_ks[i % (sizeof(together_ks) / sizeof(together_ks[0]))];
        fixture_make_query(fixture, seed, i, together->vectors[i]);
        if (i % 3 == 2)
            memcpy(together->vectors[i], fixture_row(fixture, (uint32_t)i),
                   fixture->options.dimension * sizeof(float));
    }
}

static enum status scan_together(struct fixture *fixture, struct together *together) {
    return vector_index_scan(fixture->index, together->queries, together->count, &fixture->owner,
                             fixture->scratch, together->answers, &fixture->error);
}

/* Each answer is the oracle's, which the single search is held to as well. */
static void must_be_the_oracles_together(struct fixture *fixture, struct together *together) {
    struct hit *truth = calloc(fixture->capacity + 1, sizeof(*truth));
    ck_assert_int_eq(scan_together(fixture, together), STATUS_OK);
    for (size_t q = 0; q < together->count; q++) {
        const struct index_answer *answer = &together->answers[q];
        size_t count = fixture_oracle(fixture, &together->queries[q], truth);
        count = count < together->queries[q].k ? count : together->queries[q].k;
        ck_assert_uint_eq(answer->count, count);
        ck_assert_int_eq(answer->plan, INDEX_PLAN_EXACT);
        for (size_t i = 0; i < count; i++) {
            ck_assert_uint_eq(answer->hits[i].slot, truth[i].slot);
            ck_assert_float_eq(answer->hits[i].distance, truth[i].distance);
        }
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

START_TEST(finds_the_same_for_several_queries_in_one_pass) {
    struct fixture fixture;
    static struct together together;
    const struct vector_index_options options = {
        .dimension = dimensions[_i % DIMENSIONS],
        .distance = (enum distance)(_i / DIMENSIONS % DISTANCE_COUNT)};
    const struct index_query like = {.operation = 1};
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 1);
    fixture_put(&fixture, 0, ROWS, 1);
    for (size_t count = 1; count <= VECTOR_INDEX_TOGETHER_MAX; count++) {
        make_together(&fixture, &like, count, 100 + count, &together);
        must_be_the_oracles_together(&fixture, &together);
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
    static struct together together;
    const struct index_query like = {.operation = 1};
    make_together(&fixture, &like, VECTOR_INDEX_TOGETHER_MAX, 5, &together);
    must_be_the_oracles_together(&fixture, &together);
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
        static struct together together;
        make_together(&fixture, &query, operation % VECTOR_INDEX_TOGETHER_MAX + 1, 3, &together);
        must_be_the_oracles_together(&fixture, &together);
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
    /* Nor about a slot for each of the queries of a pass. */
    static struct together together;
    make_together(&fixture, &query, VECTOR_INDEX_TOGETHER_MAX, 4, &together);
    memset(&question, 0, sizeof(question));
    filter.context = &question;
    ck_assert_int_eq(scan_together(&fixture, &together), STATUS_OK);
    for (uint32_t slot = 0; slot < ROWS; slot++)
        ck_assert_uint_le(question.asked[slot], 1);
    filter.context = &other;
    must_be_the_oracles_together(&fixture, &together);
    fixture_free(&fixture);
}
END_TEST

/* Words whose bits are all set, with holes, and none; rows that died; waiting and linked ones. */
START_TEST(keeps_to_filters_and_lives_also_for_several_queries) {
    struct fixture fixture;
    static struct together together;
    uint64_t words[ROWS / 64 + 1], state = 9;
    const struct vector_index_options options = {.dimension = 48, .distance = (enum distance)_i};
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 7);
    fixture_put(&fixture, 0, ROWS / 2, 1);
    fixture_link(&fixture, 1);
    fixture_put(&fixture, ROWS / 2, ROWS - ROWS / 2, 1);
    for (uint32_t slot = 0; slot < ROWS; slot += 5)
        slots_died(fixture.slots, slot, 2);
    for (int round = 0; round < 6; round++) {
        struct slot_filter filter = {.words = words, .slot_end = (uint32_t)(ROWS - 37 * round)};
        for (size_t i = 0; i < ROWS / 64 + 1; i++) {
            words[i] = i % 3 == 0 ? UINT64_MAX : 0;
            for (uint32_t bit = 0; bit < 64 && i % 3 == 1; bit++)
                words[i] |= (uint64_t)(fixture_random(&state) < 0.7) << bit;
        }
        for (uint32_t slot = 0; slot < filter.slot_end; slot++)
            filter.count += (uint32_t)(words[slot / 64] >> (slot % 64) & 1);
        filter.estimate = filter.count;
        const struct index_query like = {.operation = 2, .exact = true, .filter = &filter};
        make_together(&fixture, &like, 16 - (size_t)round * 3, 7, &together);
        must_be_the_oracles_together(&fixture, &together);
        for (size_t i = 0; i < together.count; i++)
            must_be_the_oracles(&fixture, &together.queries[i]);
    }
    /* Only what is linked. */
    struct index_query linked = {.operation = 2, .indexed_only = true};
    make_together(&fixture, &linked, 7, 7, &together);
    ck_assert_int_eq(scan_together(&fixture, &together), STATUS_OK);
    for (size_t q = 0; q < together.count; q++) {
        ck_assert_uint_gt(together.answers[q].count, 0);
        for (size_t i = 0; i < together.answers[q].count; i++)
            ck_assert_uint_lt(together.answers[q].hits[i].slot, ROWS / 2);
    }
    fixture_free(&fixture);
}
END_TEST

/* Both when it is cancelled from the start and when its time is over. */
START_TEST(stops_when_it_is_cancelled_or_late) {
    struct fixture fixture;
    static struct together together;
    atomic_bool is_cancelled = true;
    const struct vector_index_options options = {.dimension = 64, .distance = DISTANCE_DOT};
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 8);
    fixture_put(&fixture, 0, ROWS, 1);
    struct index_query like = {.operation = 1, .cancelled = &is_cancelled};
    make_together(&fixture, &like, 9, 8, &together);
    ck_assert_int_eq(scan_together(&fixture, &together), STATUS_CANCELLED);
    like = (struct index_query){.operation = 1, .deadline_ns = 1};
    make_together(&fixture, &like, 9, 8, &together);
    ck_assert_int_eq(scan_together(&fixture, &together), STATUS_TIMEOUT);
    like.deadline_ns = UINT64_MAX;
    make_together(&fixture, &like, 9, 8, &together);
    must_be_the_oracles_together(&fixture, &together);
    fixture_free(&fixture);
}
END_TEST

START_TEST(answers_nothing_where_nothing_passes) {
    struct fixture fixture;
    static struct together together;
    const uint64_t words[1] = {0};
    const struct slot_filter filter = {.words = words, .slot_end = 64};
    const struct vector_index_options options = {.dimension = 4, .distance = DISTANCE_DOT};
    fixture_create(&fixture, &options, 64);
    const struct index_query like = {.operation = 1},
                             filtered = {.operation = 1, .filter = &filter};
    make_together(&fixture, &like, 5, 8, &together);
    must_be_the_oracles_together(&fixture, &together);
    fixture_fill_clusters(&fixture, 0, 64, 8);
    fixture_put(&fixture, 0, 64, 1);
    make_together(&fixture, &filtered, 5, 8, &together);
    must_be_the_oracles_together(&fixture, &together);
    fixture_free(&fixture);
}
END_TEST

static const float *forgetful(void *context, uint32_t slot) {
    struct fixture *fixture = context;
    return slot % 4 == 1 ? NULL : fixture_row(fixture, slot);
}

/* Small enough to be scanned whatever it would cost: also of a larger set those that may pass. */
START_TEST(small_sets_are_scanned_also_under_a_filter) {
    struct fixture fixture;
    float vector[16];
    uint64_t words[ROWS / 64 + 1];
    struct slot_filter filter = {.words = words, .slot_end = ROWS};
    const struct vector_index_options options = {
        .dimension = 16, .distance = DISTANCE_EUCLID, .full_scan_rows = _i ? ROWS / 2 : ROWS};
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 3);
    fixture_put(&fixture, 0, ROWS, 1);
    fixture_link(&fixture, 1);
    memset(words, _i ? 0x55 : 0xff, sizeof(words));
    filter.count = filter.estimate = options.full_scan_rows;
    for (uint64_t i = 0; i < 100; i++) {
        fixture_make_query(&fixture, 3, i, vector);
        const struct index_query query = {
            .vector = vector, .k = 1, .ef = 1, .operation = 1, .filter = &filter};
        must_be_the_oracles(&fixture, &query);
    }
    fixture_free(&fixture);
}
END_TEST

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
    static struct together together;
    const struct index_query like = {.operation = 1};
    make_together(&fixture, &like, 11, 2, &together);
    ck_assert_int_eq(scan_together(&fixture, &together), STATUS_OK);
    for (size_t q = 0; q < together.count; q++) {
        struct index_query query = together.queries[q];
        query.exact = true;
        struct index_answer single = fixture_search(&fixture, &query);
        ck_assert_uint_eq(together.answers[q].count, query.k < 300 ? query.k : 300);
        ck_assert_uint_eq(single.count, together.answers[q].count);
        ck_assert(memcmp(single.hits, together.answers[q].hits,
                         single.count * sizeof(single.hits[0])) == 0);
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
    static struct together together;
    const struct index_query like = {.operation = 1};
    make_together(&fixture, &like, 12, 2, &together);
    for (size_t q = 0; q < together.count; q++)
        together.queries[q].vector = fixture_row(&fixture, (uint32_t)q);
    ck_assert_int_eq(scan_together(&fixture, &together), STATUS_OK);
    for (size_t q = 0; q < together.count; q++) {
        struct index_query query = together.queries[q];
        query.exact = true;
        struct index_answer single = fixture_search(&fixture, &query);
        ck_assert_uint_eq(single.count, together.answers[q].count);
        for (size_t i = 0; i < single.count; i++)
            ck_assert_float_eq(single.hits[i].distance, together.answers[q].hits[i].distance);
    }
    fixture_free(&fixture);
}
END_TEST

/* Rows that lie close together, by numbers whose products are hardly any in f32: the bounds have to
 * know. */
static float near_one(uint64_t *state, float size) {
    return size * (float)(1 + 0.3 * (2 * fixture_random(state) - 1));
}

START_TEST(finds_the_nearest_of_tiny_vectors) {
    static const float sizes[] = {1e-21f, 2e-21f, 5e-21f, 2e-20f};
    static const enum distance distances[] = {DISTANCE_DOT, DISTANCE_COSINE, DISTANCE_EUCLID};
    struct fixture fixture;
    float vector[42];
    uint64_t state = (uint64_t)_i + 1;
    const float size = sizes[_i % 4];
    const struct vector_index_options options = {.dimension = 42, .distance = distances[_i / 4]};
    fixture_create(&fixture, &options, ROWS);
    for (uint32_t row = 0; row < ROWS; row++) {
        float length = size * (float)(0.9 + 0.2 * fixture_random(&state));
        for (uint32_t i = 0; i < options.dimension; i++)
            fixture_row(&fixture, row)[i] = near_one(&state, length);
    }
    fixture_put(&fixture, 0, ROWS, 1);
    for (int i = 0; i < 500; i++) {
        for (uint32_t j = 0; j < options.dimension; j++)
            vector[j] = near_one(&state, size);
        struct index_query query = {.vector = vector, .k = 10, .operation = 1, .exact = true};
        must_be_the_oracles(&fixture, &query);
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
    struct index_query queries[5];
    for (uint32_t i = 0; i < 5; i++) {
        queries[i] = query;
        queries[i].vector = fixture_row(&fixture, 7 + i);
    }
    struct index_answer answers[5];
    ck_assert_int_eq(vector_index_scan(fixture.index, queries, 5, &fixture.owner, fixture.scratch,
                                       answers, &fixture.error),
                     STATUS_OK);
    ck_assert_uint_eq(answers[0].hits[0].slot, 7);
    ck_assert_uint_eq(answers[3].hits[0].slot, 10);
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
    tcase_add_loop_test(tcase, finds_the_same_for_several_queries_in_one_pass, 0,
                        DIMENSIONS * DISTANCE_COUNT);
    tcase_add_loop_test(tcase, keeps_to_filters_and_lives_also_for_several_queries, 0,
                        DISTANCE_COUNT);
    tcase_add_test(tcase, stops_when_it_is_cancelled_or_late);
    tcase_add_test(tcase, answers_nothing_where_nothing_passes);
    tcase_add_loop_test(tcase, breaks_ties_by_the_owners_order, 0, DISTANCE_COUNT);
    tcase_add_test(tcase, sees_what_the_readers_operation_sees);
    tcase_add_test(tcase, asks_a_lazy_filter_at_most_once_about_a_slot);
    tcase_add_loop_test(tcase, small_sets_are_scanned_also_under_a_filter, 0, 2);
    tcase_add_test(tcase, replaces_rows_that_the_owner_no_longer_has);
    tcase_add_loop_test(tcase, survives_numbers_that_leave_f32, 0, DISTANCE_COUNT);
    tcase_add_loop_test(tcase, finds_the_nearest_of_tiny_vectors, 0, 12);
    tcase_add_loop_test(tcase, scans_65536_dimensions, 0, DISTANCE_COUNT);
    tcase_add_loop_test(tcase, refuses_a_dimension_out_of_range, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
