/* The graph: recall against the exact scan, what is found when, and what must not hide. */
#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS = FIXTURE_GRAPH_ROWS,
    DIMENSION = 96,
    QUERIES = 60,
};

static const struct index_query plain = {.operation = 1};

static void build(struct fixture *fixture, enum distance distance, int builders) {
    const struct vector_index_options options = {.dimension = DIMENSION, .distance = distance};
    fixture_create(fixture, &options, ROWS + 1000);
    fixture_fill_clusters(fixture, 0, ROWS + 1000, 11);
    fixture_put(fixture, 0, ROWS, 1);
    fixture_link(fixture, builders);
}

START_TEST(finds_97_of_100_with_the_default_ef) {
    struct fixture fixture;
    build(&fixture, (enum distance)(_i / 2), _i % 2 + 1);
    fixture_check(&fixture);
    struct vector_index_info info;
    vector_index_info(fixture.index, &info);
    ck_assert_uint_eq(info.linked_count, ROWS);
    ck_assert_uint_eq(info.waiting_count, 0);
    /* ef given: then the plan does not fall back on an exact scan without need */
    double recall = fixture_mean_recall(&fixture, &plain, 11, QUERIES, 10);
    ck_assert_msg(recall >= 0.97, "recall %.4f", recall);
    fixture_free(&fixture);
}
END_TEST

static const char *const sets[] = {"scalar", "avx2", "avx512", "neon"};

/* The kernels are chosen at their first use, and each test has its own process. */
START_TEST(finds_97_of_100_with_each_instruction_set) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = (enum distance)(_i / 4)};
    setenv("NIGH__INDEX__ISA", sets[_i % 4], 1);
    fixture_create(&fixture, &options, ROWS / 2);
    fixture_fill_clusters(&fixture, 0, ROWS / 2, 11);
    fixture_put(&fixture, 0, ROWS / 2, 1);
    fixture_link(&fixture, 2);
    struct index_query query = {.ef = 96, .operation = 1};
    double recall = fixture_mean_recall(&fixture, &query, 11, QUERIES, 10);
    ck_assert_msg(recall >= 0.97, "recall %.4f", recall);
    query.exact = true;
    ck_assert_double_eq(fixture_mean_recall(&fixture, &query, 11, QUERIES, 10), 1);
    fixture_free(&fixture);
}
END_TEST

/* Two builders must not leave holes that no ef can close. */
START_TEST(two_builders_leave_no_holes) {
    struct fixture fixture;
    struct index_query query = plain;
    query.ef = 512;
    build(&fixture, DISTANCE_EUCLID, 2);
    double recall = fixture_mean_recall(&fixture, &query, 11, QUERIES, 10);
    ck_assert_msg(recall >= 0.995, "recall %.4f", recall);
    fixture_free(&fixture);
}
END_TEST

START_TEST(finds_a_slot_before_it_is_linked) {
    struct fixture fixture;
    build(&fixture, DISTANCE_COSINE, 2);
    fixture_put(&fixture, ROWS, 300, 1);
    for (uint32_t row = ROWS; row < ROWS + 300; row += 7) {
        struct index_query query = {.vector = fixture_row(&fixture, row), .k = 3, .operation = 1};
        ck_assert_uint_eq(fixture_search(&fixture, &query).hits[0].slot, row);
        query.indexed_only = true;
        struct index_answer answer = fixture_search(&fixture, &query);
        for (size_t i = 0; i < answer.count; i++)
            ck_assert_uint_lt(answer.hits[i].slot, ROWS);
    }
    fixture_free(&fixture);
}
END_TEST

START_TEST(gives_k_hits_however_many_have_died) {
    struct fixture fixture;
    build(&fixture, DISTANCE_DOT, 2);
    for (uint32_t slot = 0; slot < ROWS; slot++) {
        if (slot % 100 >= 3)
            slots_died(fixture.slots, slot, 2);
    }
    const uint32_t left = ROWS / 100 * 3;
    for (uint32_t k = 1; k <= 400; k = k * 2 + 1) {
        struct index_query query = {.vector = fixture_row(&fixture, ROWS), .k = k, .operation = 2};
        ck_assert_uint_eq(fixture_search(&fixture, &query).count, k < left ? k : left);
        query.operation = 1; /* a reader from before sees them all */
        ck_assert_uint_eq(fixture_search(&fixture, &query).count, k);
    }
    struct index_query query = {.operation = 2};
    double recall = fixture_mean_recall(&fixture, &query, 11, QUERIES, 10);
    ck_assert_msg(recall >= 0.97, "recall %.4f", recall);
    fixture_free(&fixture);
}
END_TEST

/* Single points far from all, between five clusters so tight that codes cannot tell their members
 * apart. */
enum {
    TIGHT_ROWS = 3000,
    TIGHT_DIMENSION = 64,
    OUTLIERS = 30,
};

static bool is_outlier(uint32_t row) {
    return row % (TIGHT_ROWS / OUTLIERS) == 50;
}

static void build_outliers(struct fixture *fixture, enum distance distance, double spread,
                           int builders, bool come_first) {
    uint64_t state = 5;
    uint32_t next = come_first ? OUTLIERS : 0, next_outlier = 0;
    const struct vector_index_options options = {.dimension = TIGHT_DIMENSION,
                                                 .distance = distance};
    fixture_create(fixture, &options, TIGHT_ROWS);
    for (uint32_t row = 0; row < TIGHT_ROWS; row++) {
        float *vector = fixture_row(fixture, row);
        double wide = is_outlier(row) ? 500 : spread;
        for (uint32_t i = 0; i < TIGHT_DIMENSION; i++)
            vector[i] = (float)(wide * (fixture_random(&state) - 0.5) + (row % 5 == i ? 100 : 0));
        if (distance == DISTANCE_COSINE)
            distance_normalise(vector, TIGHT_DIMENSION);
    }
    for (uint32_t row = 0; row < TIGHT_ROWS; row++)
        fixture_put_into(fixture, come_first && is_outlier(row) ? next_outlier++ : next++, row, 1);
    fixture_link(fixture, builders);
    fixture_check(fixture);
}

/* Each outlier that lives at `operation` is found by itself and from close by, and by the walk. */
static void must_find_outliers(struct fixture *fixture, uint64_t operation) {
    static const uint32_t efs[] = {0, 64};
    float beside[TIGHT_DIMENSION];
    uint64_t state = 6;
    for (uint32_t slot = 0; slot < TIGHT_ROWS; slot++) {
        const float *vector = fixture_row(fixture, fixture->row_of[slot]);
        if (!is_outlier(fixture->row_of[slot]) || !slots_visible(fixture->slots, slot, operation))
            continue;
        for (uint32_t i = 0; i < TIGHT_DIMENSION; i++)
            beside[i] = vector[i] * (float)(1 + 0.02 * (fixture_random(&state) - 0.5));
        for (int i = 0; i < 4; i++) {
            struct index_query query = {.vector = i < 2 ? vector : beside,
                                        .k = 1,
                                        .ef = efs[i % 2],
                                        .operation = operation};
            /* By default a scan costs about as much here, so that the plan may choose either. */
            query.plan = query.ef == 0 ? INDEX_PLAN_CHEAPEST : INDEX_PLAN_GRAPH;
            struct index_answer answer = fixture_search(fixture, &query);
            ck_assert_msg(answer.hits[0].slot == slot, "slot %u, ef %u: found %u", slot, query.ef,
                          answer.hits[0].slot);
        }
    }
}

static const double spreads[] = {0.001, 0.1, 1};

START_TEST(outliers_are_found) {
    struct fixture fixture;
    build_outliers(&fixture, (enum distance)(_i / 6 ? DISTANCE_MANHATTAN : DISTANCE_EUCLID),
                   spreads[_i / 2 % 3], _i % 2 + 1, false);
    must_find_outliers(&fixture, 1);
    fixture_free(&fixture);
}
END_TEST

/* Not by cosine: there outliers may lie nearer to each other than to any cluster, and one in some
 * thirty that came before the clusters is still missed. */
START_TEST(outliers_that_were_there_first_are_found) {
    struct fixture fixture;
    build_outliers(&fixture, (enum distance)_i, 0.001, 2, true);
    must_find_outliers(&fixture, 1);
    fixture_free(&fixture);
}
END_TEST

/* Half of the outliers and of the clusters go, among them what led to the outliers that stay; then
 * they come back into other slots. */
START_TEST(outliers_are_found_after_repairs) {
    struct fixture fixture;
    uint32_t dead[TIGHT_ROWS], rows[TIGHT_ROWS], count = 0;
    build_outliers(&fixture, DISTANCE_EUCLID, 0.001, 2, false);
    for (uint32_t slot = 0; slot < TIGHT_ROWS; slot++) {
        if (is_outlier(slot) ? slot / 100 % 2 == 0 : slot % 7 < 4) {
            slots_died(fixture.slots, slot, 2);
            rows[count] = slot;
            dead[count++] = slot;
        }
    }
    ck_assert_int_eq(
        vector_index_repair(fixture.index, dead, count, fixture.scratch, &fixture.error),
        STATUS_OK);
    fixture_check(&fixture);
    must_find_outliers(&fixture, 2);
    uint64_t epoch = vector_index_epoch_advance(fixture.index);
    ck_assert(vector_index_epoch_passed(fixture.index, epoch));
    for (uint32_t i = 0; i < count; i++)
        fixture_put_into(&fixture, dead[i], rows[count - 1 - i], 3);
    fixture_link(&fixture, 2);
    fixture_check(&fixture);
    must_find_outliers(&fixture, 3);
    fixture_free(&fixture);
}
END_TEST

START_TEST(outliers_are_found_after_loading) {
    struct fixture fixture;
    build_outliers(&fixture, DISTANCE_EUCLID, 0.001, 2, false);
    struct image_bytes image = image_file_save(fixture.index);
    vector_index_free(fixture.index);
    ck_assert_int_eq(
        vector_index_create(&fixture.options, fixture.slots, &fixture.index, &fixture.error),
        STATUS_OK);
    ck_assert_int_eq(image_file_load(fixture.index, &image, &fixture.error), STATUS_OK);
    fixture_check(&fixture);
    must_find_outliers(&fixture, 1);
    free(image.data);
    fixture_free(&fixture);
}
END_TEST

START_TEST(one_builder_builds_the_same_graph_twice) {
    struct fixture a, b;
    build(&a, DISTANCE_COSINE, 1);
    build(&b, DISTANCE_COSINE, 1);
    struct image_bytes first = image_file_save(a.index), second = image_file_save(b.index);
    ck_assert_uint_eq(first.length, second.length);
    ck_assert(memcmp(first.data, second.data, first.length) == 0);
    free(first.data);
    free(second.data);
    fixture_free(&a);
    fixture_free(&b);
}
END_TEST

/* An owner's vectors, and how many of them were asked for. */
struct asked {
    const struct fixture *fixture;
    int count;
};

static const float *ask(void *context, uint32_t slot) {
    struct asked *asked = context;
    asked->count++;
    return fixture_row(asked->fixture, asked->fixture->row_of[slot]);
}

START_TEST(few_vectors_are_asked_for_beyond_k) {
    struct fixture fixture;
    struct asked asked = {.fixture = &fixture};
    float vector[DIMENSION];
    build(&fixture, (enum distance)_i, 1);
    fixture.owner = (struct vector_owner){.vector = ask, .context = &asked};
    double found = 0;
    for (uint32_t i = 0; i < QUERIES; i++) {
        const struct index_query query = {
            .vector = vector, .k = 10, .ef = 200, .operation = 1, .plan = INDEX_PLAN_GRAPH};
        fixture_make_query(&fixture, 12, i, vector);
        struct index_answer answer = fixture_search(&fixture, &query);
        found += fixture_recall(&fixture, &query, &answer) / QUERIES;
    }
    ck_assert_msg(found >= 0.98, "recall %.4f", found);
    /* Nothing is known of how Manhattan distances err. */
    bool is_cut = _i != DISTANCE_MANHATTAN;
    ck_assert_msg(is_cut ? asked.count < 15 * QUERIES : asked.count == 20 * QUERIES, "%d asked",
                  asked.count);
    fixture_free(&fixture);
}
END_TEST

START_TEST(stops_when_cancelled_or_late) {
    struct fixture fixture;
    atomic_bool cancelled = true;
    struct index_answer answer;
    build(&fixture, DISTANCE_COSINE, 2);
    struct index_query query = {.vector = fixture_row(&fixture, 0),
                                .k = 10,
                                .operation = 1,
                                .exact = _i % 2 == 0,
                                .cancelled = _i < 2 ? &cancelled : NULL,
                                .deadline_ns = _i < 2 ? 0 : 1};
    ck_assert_int_eq(vector_index_search(fixture.index, &query, &fixture.owner, fixture.scratch,
                                         &answer, &fixture.error),
                     _i < 2 ? STATUS_CANCELLED : STATUS_TIMEOUT);
    fixture_free(&fixture);
}
END_TEST

/* Lists that fill a part of a block of edges, one, and several up to the most there are; with edges
 * and without. */
START_TEST(lists_of_any_length_are_walked) {
    static const uint32_t lengths[] = {4, 20, VECTOR_INDEX_M_MAX};
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = DISTANCE_EUCLID,
                                                 .profile = _i % 2 ? INDEX_PROFILE_LEAN
                                                                   : INDEX_PROFILE_AUTO,
                                                 .m = lengths[_i / 2]};
    fixture_create(&fixture, &options, ROWS / 3);
    fixture_fill_clusters(&fixture, 0, ROWS / 3, 11);
    fixture_put(&fixture, 0, ROWS / 3, 1);
    fixture_link(&fixture, 2);
    fixture_check(&fixture);
    struct index_query query = {.ef = 256, .operation = 1};
    double recall = fixture_mean_recall(&fixture, &query, 11, QUERIES, 10);
    ck_assert_msg(recall >= 0.97, "m %u: recall %.4f", lengths[_i / 2], recall);
    fixture_free(&fixture);
}
END_TEST

/* So many places and so few common neighbours that what is expanded together must not be more than
 * a batch holds. */
START_TEST(long_lists_fill_a_batch) {
    struct fixture fixture;
    uint64_t state = 5;
    float vector[DIMENSION];
    const struct vector_index_options options = {.dimension = DIMENSION,
                                                 .distance = DISTANCE_EUCLID,
                                                 .profile = INDEX_PROFILE_LEAN,
                                                 .m = VECTOR_INDEX_M_MAX};
    fixture_create(&fixture, &options, ROWS);
    for (size_t i = 0; i < (size_t)ROWS * DIMENSION; i++)
        fixture_row(&fixture, 0)[i] = (float)fixture_random(&state);
    fixture_put(&fixture, 0, ROWS, 1);
    fixture_link(&fixture, 2);
    for (int round = 0; round < QUERIES; round++) {
        struct index_query query = {
            .vector = vector, .k = 10, .ef = 256, .operation = 1, .plan = INDEX_PLAN_GRAPH};
        for (size_t i = 0; i < DIMENSION; i++)
            vector[i] = (float)fixture_random(&state);
        struct index_answer answer = fixture_search(&fixture, &query);
        ck_assert_uint_eq(answer.count, 10);
        ck_assert_int_eq(answer.plan, INDEX_PLAN_GRAPH);
    }
    fixture_free(&fixture);
}
END_TEST

/* What `auto` and each profile make of a dimension: 0 for lean, else the bits of edges. */
static const struct {
    enum index_profile profile;
    enum distance distance;
    uint32_t dimension, edge_bits;
} choices[] = {
    {INDEX_PROFILE_AUTO, DISTANCE_COSINE, 15, 0},
    {INDEX_PROFILE_AUTO, DISTANCE_COSINE, 16, 2},
    {INDEX_PROFILE_AUTO, DISTANCE_EUCLID, 256, 2},
    {INDEX_PROFILE_AUTO, DISTANCE_DOT, 257, 1},
    {INDEX_PROFILE_AUTO, DISTANCE_MANHATTAN, 192, 0},
    {INDEX_PROFILE_LEAN, DISTANCE_DOT, 768, 0},
    {INDEX_PROFILE_TURBO, DISTANCE_DOT, 15, 0},
    {INDEX_PROFILE_TURBO, DISTANCE_DOT, 256, 2},
    {INDEX_PROFILE_TURBO, DISTANCE_DOT, 257, 1},
    {INDEX_PROFILE_TURBO, DISTANCE_MANHATTAN, 768, 0},
    {INDEX_PROFILE_TURBO_1_BIT, DISTANCE_DOT, 64, 1},
    {INDEX_PROFILE_TURBO_2_BITS, DISTANCE_EUCLID, 768, 2},
    {INDEX_PROFILE_TURBO_4_BITS, DISTANCE_COSINE, 768, 4},
    {INDEX_PROFILE_TURBO_4_BITS, DISTANCE_COSINE, 15, 0},
    {INDEX_PROFILE_TURBO_4_BITS, DISTANCE_MANHATTAN, 768, 0},
};

START_TEST(profiles_choose_bits_by_dimension_unless_told) {
    const struct vector_index_options options = {.dimension = choices[_i].dimension,
                                                 .profile = choices[_i].profile,
                                                 .distance = choices[_i].distance};
    struct slots *slots;
    struct vector_index *index;
    struct vector_index_info info;
    struct error error;
    ck_assert_int_eq(slots_create(&slots, &error), STATUS_OK);
    ck_assert_int_eq(vector_index_create(&options, slots, &index, &error), STATUS_OK);
    vector_index_info(index, &info);
    ck_assert_uint_eq(info.edge_bits, choices[_i].edge_bits);
    ck_assert_str_eq(index_profile_name(info.profile),
                     choices[_i].edge_bits > 0 ? "turbo" : "lean");
    vector_index_free(index);
    slots_free(slots);
}
END_TEST

START_TEST(edges_of_any_number_of_bits_are_walked) {
    static const enum index_profile profiles[] = {
        INDEX_PROFILE_TURBO_1_BIT, INDEX_PROFILE_TURBO_2_BITS, INDEX_PROFILE_TURBO_4_BITS};
    static const uint32_t lengths[DISTANCE_MANHATTAN] = {16, 100, 250};
    struct fixture fixture;
    struct vector_index_info info;
    const struct vector_index_options options = {.dimension = lengths[_i / 3],
                                                 .distance = (enum distance)(_i / 3),
                                                 .profile = profiles[_i % 3]};
    fixture_create(&fixture, &options, ROWS);
    fixture_fill_clusters(&fixture, 0, ROWS, 11);
    fixture_put(&fixture, 0, ROWS, 1);
    fixture_link(&fixture, 2);
    fixture_check(&fixture);
    vector_index_info(fixture.index, &info);
    ck_assert_uint_eq(info.edge_bits, 1u << _i % 3);
    struct index_query query = {.ef = 128, .operation = 1};
    double recall = fixture_mean_recall(&fixture, &query, 11, QUERIES, 10);
    ck_assert_msg(recall >= 0.97, "%u bits: recall %.4f", info.edge_bits, recall);
    fixture_free(&fixture);
}
END_TEST

static void use_turbo(void) {
    fixture_profile = INDEX_PROFILE_TURBO;
}

static void add_tests(Suite *suite, TCase *tcase) {
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, finds_97_of_100_with_the_default_ef, 0, 2 * DISTANCE_COUNT);
    tcase_add_loop_test(tcase, finds_97_of_100_with_each_instruction_set, 0, 4 * DISTANCE_COUNT);
    tcase_add_loop_test(tcase, lists_of_any_length_are_walked, 0, 6);
    tcase_add_test(tcase, long_lists_fill_a_batch);
    tcase_add_test(tcase, two_builders_leave_no_holes);
    tcase_add_test(tcase, finds_a_slot_before_it_is_linked);
    tcase_add_test(tcase, gives_k_hits_however_many_have_died);
    tcase_add_loop_test(tcase, outliers_are_found, 0, 12);
    tcase_add_loop_test(tcase, outliers_that_were_there_first_are_found, DISTANCE_EUCLID,
                        DISTANCE_COUNT);
    tcase_add_test(tcase, outliers_are_found_after_repairs);
    tcase_add_test(tcase, outliers_are_found_after_loading);
    tcase_add_test(tcase, one_builder_builds_the_same_graph_twice);
    tcase_add_loop_test(tcase, few_vectors_are_asked_for_beyond_k, 0, DISTANCE_COUNT);
    tcase_add_loop_test(tcase, stops_when_cancelled_or_late, 0, 4);
    suite_add_tcase(suite, tcase);
}

Suite *test_suite(void) {
    Suite *suite = suite_create("hnsw");
    TCase *lean = tcase_create("lean"), *turbo = tcase_create("turbo");
    TCase *choice = tcase_create("choice");
    tcase_add_checked_fixture(turbo, use_turbo, NULL);
    add_tests(suite, lean);
    add_tests(suite, turbo);
    tcase_set_timeout(choice, 240);
    tcase_add_loop_test(choice, profiles_choose_bits_by_dimension_unless_told, 0,
                        (int)(sizeof(choices) / sizeof(choices[0])));
    tcase_add_loop_test(choice, edges_of_any_number_of_bits_are_walked, 0, 3 * DISTANCE_MANHATTAN);
    suite_add_tcase(suite, choice);
    return suite;
}
