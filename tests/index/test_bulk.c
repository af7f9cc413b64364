/* Linking in bulk: what may happen between the pass over the cells and the link. */
#include "tests/support/image_file.h"
#include "tests/support/run_suite.h"

#include <math.h>
#include <string.h>

enum {
    ROWS = FIXTURE_GRAPH_ROWS,
    DIMENSION = 64,
    QUERIES = 200,
    K = 10,
    SEED = 11,
    WALKED_MAX = 1024 + 128,     /* slots: before the first batch, and too few for a last one */
    IN_BULK = (ROWS - 1024) / 2, /* at least: of what comes after a graph that is large enough */
};

static struct vector_index_options options = {.dimension = DIMENSION};

static void make(struct fixture *fixture, enum distance distance) {
    options.distance = distance;
    fixture_create(fixture, &options, ROWS);
    fixture_fill_clusters(fixture, 0, ROWS, SEED);
}

static void link_some(struct fixture *fixture, struct index_scratch *scratch, uint32_t count) {
    uint32_t linked;
    ck_assert_int_eq(vector_index_link(fixture->index, count, scratch, &linked, &fixture->error),
                     STATUS_OK);
}

static struct vector_index_info info_of(const struct fixture *fixture) {
    struct vector_index_info info;
    vector_index_info(fixture->index, &info);
    return info;
}

/* All is linked and found. */
static void check(struct fixture *fixture, uint64_t operation) {
    fixture_check(fixture);
    ck_assert_uint_eq(info_of(fixture).waiting_count, 0);
    const struct index_query query = {.operation = operation, .plan = INDEX_PLAN_GRAPH, .ef = 96};
    double recall = fixture_mean_recall(fixture, &query, SEED, QUERIES, K);
    ck_assert_msg(recall >= 0.97, "%.4f", recall);
}

static void scale_rows(struct fixture *fixture, float apart) {
    for (uint32_t row = 0; row < ROWS; row++) {
        float *values = fixture_row(fixture, row), square = 0;
        for (size_t i = 0; i < DIMENSION; i++)
            square += values[i] * values[i];
        float scale = powf(apart, (float)(row % 100) / 100) / sqrtf(square);
        for (size_t i = 0; i < DIMENSION; i++)
            values[i] *= scale;
    }
}

START_TEST(dot_products_need_vectors_of_like_lengths) {
    static const struct {
        float apart;
        uint32_t zero; /* one row in so many is zero; 0: none */
        bool is_bulk;
    } cases[] = {{1, 0, true}, {1.1f, 0, true}, {1.1f, 20, true}, {5, 0, false}};
    struct fixture fixture;
    make(&fixture, DISTANCE_DOT);
    scale_rows(&fixture, cases[_i].apart);
    for (uint32_t row = 0; cases[_i].zero > 0 && row < ROWS; row += cases[_i].zero)
        memset(fixture_row(&fixture, row), 0, DIMENSION * sizeof(float));
    fixture_put(&fixture, 0, ROWS, 1);
    fixture_link(&fixture, 1);
    check(&fixture, 1);
    ck_assert((info_of(&fixture).bulk_count > 0) == cases[_i].is_bulk);
    fixture_free(&fixture);
}
END_TEST

/* Every third slot dies, is repaired and holds another slot's row afterwards: those that were
 * linked, those of a group that is under way, and those that wait for their turn. */
static void change_vectors(struct fixture *fixture, uint64_t operation) {
    static uint32_t dead[ROWS];
    size_t count = 0;
    for (uint32_t slot = 0; slot < ROWS; slot += 3) {
        slots_died(fixture->slots, slot, operation);
        dead[count++] = slot;
    }
    ck_assert_int_eq(
        vector_index_repair(fixture->index, dead, count, fixture->scratch, &fixture->error),
        STATUS_OK);
    for (uint32_t slot = 0; slot < ROWS; slot += 3)
        fixture_put_into(fixture, slot, (slot + ROWS / 2) % ROWS / 3 * 3, operation);
}

START_TEST(vectors_may_change_while_a_group_is_under_way) {
    struct fixture fixture;
    make(&fixture, _i == 0 ? DISTANCE_COSINE : DISTANCE_EUCLID);
    fixture_put(&fixture, 0, ROWS, 1);
    uint64_t operation = 1, before = 0;
    while (info_of(&fixture).waiting_count > ROWS / 8 && operation < 8) {
        link_some(&fixture, fixture.scratch, ROWS / 3 + 7);
        change_vectors(&fixture, ++operation);
    }
    ck_assert_uint_gt(info_of(&fixture).bulk_count, before);
    fixture_link(&fixture, 1);
    check(&fixture, operation);
    fixture_free(&fixture);
}
END_TEST

/* A thread that works for several indexes goes on with the group that it left. */
START_TEST(two_graphs_take_turns) {
    struct fixture first, second;
    make(&first, DISTANCE_COSINE);
    make(&second, DISTANCE_EUCLID);
    fixture_put(&first, 0, ROWS, 1);
    fixture_put(&second, 0, ROWS, 1);
    while (info_of(&first).waiting_count + info_of(&second).waiting_count > 0) {
        link_some(&first, first.scratch, 5);
        link_some(&second, first.scratch, 3);
    }
    check(&first, 1);
    check(&second, 1);
    ck_assert_uint_ge(info_of(&first).bulk_count, IN_BULK);
    ck_assert_uint_ge(info_of(&second).bulk_count, IN_BULK);
    fixture_free(&first);
    fixture_free(&second);
}
END_TEST

/* Once the graph is large enough few slots of a load are walked for: none between two pieces of
 * what comes before, and of what is left in the end less than a 64th of the graph. */
START_TEST(few_slots_of_a_load_are_walked_for) {
    /* Of the second what waits when cells are old is not worth new ones. */
    static const uint32_t counts[] = {ROWS, ROWS / 7 * 6};
    struct fixture fixture;
    make(&fixture, DISTANCE_COSINE);
    fixture_put(&fixture, 0, counts[_i], 1);
    fixture_link(&fixture, 1);
    check(&fixture, 1);
    uint64_t by_walks = counts[_i] - info_of(&fixture).bulk_count;
    ck_assert_msg(by_walks <= WALKED_MAX, "%llu", (unsigned long long)by_walks);
    fixture_free(&fixture);
}
END_TEST

/* What a thread had begun that does not come back is linked by the others. */
START_TEST(a_group_that_was_left_is_taken_over) {
    struct fixture fixture;
    struct index_scratch *other;
    make(&fixture, DISTANCE_COSINE);
    fixture_put(&fixture, 0, ROWS, 1);
    ck_assert_int_eq(index_scratch_create(&other, &fixture.error), STATUS_OK);
    while (info_of(&fixture).bulk_count == 0)
        link_some(&fixture, other, 1);
    fixture_link(&fixture, 1);
    index_scratch_free(other); /* not before: another might get its address */
    check(&fixture, 1);
    ck_assert_uint_ge(info_of(&fixture).bulk_count, IN_BULK);
    fixture_free(&fixture);
}
END_TEST

/* A cell full of one vector must not keep the others from being compared. */
START_TEST(equal_vectors_do_no_harm) {
    struct fixture fixture;
    make(&fixture, DISTANCE_COSINE);
    for (uint32_t row = 0; row < ROWS; row += 2)
        memcpy(fixture_row(&fixture, row), fixture_row(&fixture, 1), DIMENSION * sizeof(float));
    fixture_put(&fixture, 0, ROWS, 1);
    fixture_link(&fixture, 1);
    check(&fixture, 1);
    fixture_free(&fixture);
}
END_TEST

/* Edges of what is linked in bulk are written when cells are made anew and most of the load is
 * linked, and when nothing waits; those of what is linked by itself at once. */
START_TEST(edges_are_written_after_a_load) {
    struct fixture fixture;
    fixture_profile = INDEX_PROFILE_TURBO;
    make(&fixture, _i == 0 ? DISTANCE_COSINE : DISTANCE_EUCLID);
    fixture_profile = INDEX_PROFILE_AUTO;
    fixture_put(&fixture, 0, ROWS - 1, 1);
    while (info_of(&fixture).waiting_count > 0)
        link_some(&fixture, fixture.scratch, 64);
    fixture_check(&fixture);
    double stale = image_file_stale_share(fixture.index);
    /* 0.48 if they were only written in the end. Of fewer rows cells are made only once. */
    ck_assert_msg(stale > 0.05 && (stale < 0.3 || ROWS < 2 * 1024), "%.3f", stale);
    image_file_finish_edges(&fixture, fixture.index);
    ck_assert_double_eq(image_file_stale_share(fixture.index), 0);
    fixture_put(&fixture, ROWS - 1, 1, 1);
    link_some(&fixture, fixture.scratch, 1);
    ck_assert_double_eq(image_file_stale_share(fixture.index), 0);
    check(&fixture, 1);
    fixture_free(&fixture);
}
END_TEST

static void count_offer(void *context) {
    ++*(uint64_t *)context;
}

START_TEST(the_core_is_offered_while_a_group_is_measured) {
    struct fixture fixture;
    uint64_t offers = 0, offers_of_a_call = 0;
    make(&fixture, DISTANCE_COSINE);
    index_scratch_set_offer(fixture.scratch, count_offer, &offers);
    fixture_put(&fixture, 0, ROWS, 1);
    while (info_of(&fixture).waiting_count > 0) {
        uint64_t before = offers;
        link_some(&fixture, fixture.scratch, 1);
        offers_of_a_call = offers - before > offers_of_a_call ? offers - before : offers_of_a_call;
    }
    ck_assert_uint_ge(offers_of_a_call, 50);
    check(&fixture, 1);
    fixture_free(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("bulk");
    TCase *tcase = tcase_create("bulk");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, dot_products_need_vectors_of_like_lengths, 0, 4);
    tcase_add_loop_test(tcase, vectors_may_change_while_a_group_is_under_way, 0, 2);
    tcase_add_loop_test(tcase, few_slots_of_a_load_are_walked_for, 0, 2);
    tcase_add_test(tcase, two_graphs_take_turns);
    tcase_add_test(tcase, a_group_that_was_left_is_taken_over);
    tcase_add_test(tcase, equal_vectors_do_no_harm);
    tcase_add_loop_test(tcase, edges_are_written_after_a_load, 0, 2);
    tcase_add_test(tcase, the_core_is_offered_while_a_group_is_measured);
    suite_add_tcase(suite, tcase);
    return suite;
}
