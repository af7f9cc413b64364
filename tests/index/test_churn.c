/* Points that come and go: the graph stays as good as one that was built from what is left. */
#include "tests/support/index_fixture.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROWS = FIXTURE_GRAPH_ROWS,
    DIMENSION = 96,
    QUERIES = 120,
    ROUNDS = 20,
    ROUND_ROWS = ROWS / ROUNDS,
};

static void build(struct fixture *fixture, enum distance distance, int builders) {
    const struct vector_index_options options = {.dimension = DIMENSION, .distance = distance};
    fixture_create(fixture, &options, 2 * ROWS);
    fixture_fill_clusters(fixture, 0, 2 * ROWS, 11);
    fixture_put(fixture, 0, ROWS, 1);
    fixture_link(fixture, builders);
}

/* Deletes the slots and gives them to other rows, as the owner does. */
static void replace(struct fixture *fixture, const uint32_t *dead, uint32_t count,
                    uint64_t operation, uint32_t first_row) {
    for (uint32_t i = 0; i < count; i++)
        slots_died(fixture->slots, dead[i], operation);
    ck_assert_int_eq(
        vector_index_repair(fixture->index, dead, count, fixture->scratch, &fixture->error),
        STATUS_OK);
    fixture_check(fixture);
    uint64_t epoch = vector_index_epoch_advance(fixture->index);
    ck_assert(vector_index_epoch_passed(fixture->index, epoch));
    for (uint32_t i = 0; i < count; i++) {
        ck_assert(!vector_index_has(fixture->index, dead[i]));
        fixture_put_into(fixture, dead[i], (first_row + i) % fixture->capacity, operation);
    }
    fixture_link(fixture, 1);
}

/* Rows by their distance from the first: what is near one another goes together. */
struct place {
    uint32_t slot;
    float distance;
};

static int compare_places(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return (x->distance > y->distance) - (x->distance < y->distance);
}

/* The order in which slots go: scattered, or neighbourhood by neighbourhood. */
static void order_slots(const struct fixture *fixture, bool is_by_neighbourhood, uint32_t *order) {
    static struct place places[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) {
        const float *row = fixture_row(fixture, i), *first = fixture_row(fixture, 0);
        float dot = 0;
        for (uint32_t j = 0; j < DIMENSION; j++)
            dot += row[j] * first[j];
        places[i] = (struct place){i, is_by_neighbourhood ? -dot : (float)(i * 2657 % ROWS)};
    }
    qsort(places, ROWS, sizeof(places[0]), compare_places);
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = places[i].slot;
}

static double fresh_recall(const struct fixture *churned, const struct index_query *query) {
    struct fixture fresh;
    fixture_create(&fresh, &churned->options, 2 * ROWS);
    fixture_fill_clusters(&fresh, 0, 2 * ROWS, 11);
    for (uint32_t slot = 0; slot < ROWS; slot++)
        fixture_put_into(&fresh, slot, churned->row_of[slot], 1);
    fixture_link(&fresh, 1);
    double recall = fixture_mean_recall(&fresh, query, 11, QUERIES, 10);
    fixture_free(&fresh);
    return recall;
}

/* 20 rounds of 5 %, after which none of the first rows is left. */
START_TEST(churn_keeps_the_recall) {
    struct fixture churned;
    static uint32_t order[ROWS];
    const struct index_query query = {.ef = 64, .operation = 1000};
    build(&churned, DISTANCE_COSINE, 1);
    order_slots(&churned, _i == 1, order);
    for (uint32_t round = 0; round < ROUNDS; round++)
        replace(&churned, order + (size_t)round * ROUND_ROWS, ROUND_ROWS, 2 + round,
                ROWS + round * ROUND_ROWS);
    fixture_check(&churned);
    for (uint32_t slot = 0; slot < ROWS; slot++)
        ck_assert_uint_ge(churned.row_of[slot], ROWS);
    double after = fixture_mean_recall(&churned, &query, 11, QUERIES, 10);
    double fresh = fresh_recall(&churned, &query);
    ck_assert_msg(after >= fresh - 0.003, "recall %.4f after churn, %.4f fresh", after, fresh);
    fixture_free(&churned);
}
END_TEST

START_TEST(whole_clusters_can_go_at_once) {
    struct fixture fixture;
    float vector[DIMENSION];
    uint32_t dead[ROWS], count = 0;
    build(&fixture, DISTANCE_EUCLID, 2);
    /* The thousand nearest of a query, and everything that leads there. */
    fixture_make_query(&fixture, 11, 3, vector);
    struct index_query near = {.vector = vector, .k = 1000, .operation = 1, .exact = true};
    struct index_answer answer = fixture_search(&fixture, &near);
    for (size_t i = 0; i < answer.count; i++)
        dead[count++] = answer.hits[i].slot;
    replace(&fixture, dead, count, 2, ROWS);
    fixture_check(&fixture);
    struct index_query query = {.ef = 64, .operation = 2};
    double recall = fixture_mean_recall(&fixture, &query, 11, QUERIES, 10);
    ck_assert_msg(recall >= 0.97, "recall %.4f", recall);
    fixture_free(&fixture);
}
END_TEST

START_TEST(all_may_die_and_come_back) {
    struct fixture fixture;
    uint32_t dead[ROWS];
    build(&fixture, DISTANCE_EUCLID, 1);
    for (uint32_t slot = 0; slot < ROWS; slot++)
        dead[slot] = slot;
    replace(&fixture, dead, ROWS, 2, 100);
    fixture_check(&fixture);
    struct index_query query = {.ef = 64, .operation = 2};
    double recall = fixture_mean_recall(&fixture, &query, 11, QUERIES, 10);
    ck_assert_msg(recall >= 0.97, "recall %.4f", recall);
    fixture_free(&fixture);
}
END_TEST

/* Whoever is offered the core begins a repair at times, of another slot each time. */
struct visitor {
    struct fixture *fixture;
    struct index_scratch *scratch;
    uint32_t dead; /* the last one; they go down */
    uint32_t visits;
};

static void begin_repair(void *context) {
    struct visitor *visitor = context;
    struct fixture *fixture = visitor->fixture;
    if (visitor->visits++ % 16 != 0)
        return;
    visitor->dead--;
    slots_died(fixture->slots, visitor->dead, 2);
    ck_assert_int_eq(
        vector_index_repair(fixture->index, &visitor->dead, 1, visitor->scratch, &fixture->error),
        STATUS_OK);
}

/* Linking the 1,024th slot sets the default ef anew, and when none waits all slots are looked at
 * for what lies alone: both take long, and a repair that waits for the builder must not. */
START_TEST(a_repair_begins_within_long_work) {
    const uint32_t power = 1024;
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = 32, .distance = DISTANCE_EUCLID};
    uint32_t linked;
    fixture_create(&fixture, &options, power);
    fixture_fill_clusters(&fixture, 0, power, 13);
    fixture_put(&fixture, 0, power - 1, 1);
    ck_assert_int_eq(
        vector_index_link(fixture.index, power - 1, fixture.scratch, &linked, &fixture.error),
        STATUS_OK);
    fixture_put(&fixture, power - 1, 1, 1);
    struct visitor visitor = {.fixture = &fixture, .dead = power / 2};
    ck_assert_int_eq(index_scratch_create(&visitor.scratch, &fixture.error), STATUS_OK);
    index_scratch_set_offer(fixture.scratch, begin_repair, &visitor);
    ck_assert_int_eq(vector_index_link(fixture.index, 1, fixture.scratch, &linked, &fixture.error),
                     STATUS_OK);
    ck_assert_uint_eq(linked, 1);
    uint32_t calibrated = visitor.dead;
    visitor.visits = 0;
    ck_assert_uint_lt(calibrated, power / 2);
    ck_assert_int_eq(vector_index_link(fixture.index, 1, fixture.scratch, &linked, &fixture.error),
                     STATUS_OK);
    ck_assert_uint_eq(linked, 0);
    ck_assert_uint_lt(visitor.dead, calibrated);
    index_scratch_set_offer(fixture.scratch, NULL, NULL);
    fixture_link(&fixture, 1);
    fixture_check(&fixture);
    const struct index_query plain = {.operation = 3, .plan = INDEX_PLAN_GRAPH};
    ck_assert(fixture_mean_recall(&fixture, &plain, 13, 30, 10) >= 0.97);
    index_scratch_free(visitor.scratch);
    fixture_free(&fixture);
}
END_TEST

static void use_turbo(void) {
    fixture_profile = INDEX_PROFILE_TURBO;
}

static void add_tests(Suite *suite, TCase *tcase) {
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, churn_keeps_the_recall, 0, 2);
    tcase_add_test(tcase, whole_clusters_can_go_at_once);
    tcase_add_test(tcase, all_may_die_and_come_back);
    tcase_add_test(tcase, a_repair_begins_within_long_work);
    suite_add_tcase(suite, tcase);
}

Suite *test_suite(void) {
    Suite *suite = suite_create("churn");
    TCase *lean = tcase_create("lean"), *turbo = tcase_create("turbo");
    tcase_add_checked_fixture(turbo, use_turbo, NULL);
    add_tests(suite, lean);
    add_tests(suite, turbo);
    return suite;
}
