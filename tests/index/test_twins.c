/* Slots with the same vector: what they must not hide, and what holds them when others leave. */
#include "index/store.h"
#include "tests/support/index_fixture.h"
#include "tests/support/run_suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* A thousand equal vectors, zero or not, in the midst of others. */
START_TEST(equal_vectors_do_not_hide_others) {
    struct fixture fixture;
    const struct index_query plain = {.operation = 1};
    const struct vector_index_options options = {
        .dimension = 32, .distance = (enum distance)(_i / 2 % DISTANCE_COUNT)};
    fixture_create(&fixture, &options, 4000);
    fixture_fill_clusters(&fixture, 0, 4000, 21);
    for (uint32_t row = 500; row < 1500; row++) {
        if (_i % 2)
            memset(fixture_row(&fixture, row), 0, 32 * sizeof(float));
        else
            memcpy(fixture_row(&fixture, row), fixture_row(&fixture, 7), 32 * sizeof(float));
    }
    fixture_put(&fixture, 0, 4000, 1);
    fixture_link(&fixture, 1);
    fixture_check(&fixture);
    struct index_query near = {.vector = fixture_row(&fixture, 7), .k = 30, .operation = 1};
    struct index_answer answer = fixture_search(&fixture, &near);
    ck_assert_uint_eq(answer.count, 30);
    ck_assert(fixture_recall(&fixture, &near, &answer) >= 0.95);
    double recall = fixture_mean_recall(&fixture, &plain, 21, 60, 10);
    ck_assert_msg(recall >= 0.97, "recall %.4f", recall);
    fixture_free(&fixture);
}
END_TEST

START_TEST(twins_survive_the_slot_they_hang_on) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = 24, .distance = DISTANCE_EUCLID};
    fixture_create(&fixture, &options, 3000);
    fixture_fill_clusters(&fixture, 0, 3000, 31);
    for (uint32_t row = 100; row < 400; row++)
        memcpy(fixture_row(&fixture, row), fixture_row(&fixture, 100), 24 * sizeof(float));
    fixture_put(&fixture, 0, 3000, 1);
    fixture_link(&fixture, 1);
    for (uint32_t first = 100; first < 399; first += 60) {
        uint32_t dead[60];
        for (uint32_t i = 0; i < 59; i++) {
            dead[i] = first + i;
            slots_died(fixture.slots, dead[i], first);
        }
        ck_assert_int_eq(
            vector_index_repair(fixture.index, dead, 59, fixture.scratch, &fixture.error),
            STATUS_OK);
        struct index_query query = {
            .vector = fixture_row(&fixture, 399), .k = 20, .ef = 64, .operation = first};
        for (int linked = 0; linked < 2; linked++) {
            struct index_answer answer = fixture_search(&fixture, &query);
            ck_assert(fixture_recall(&fixture, &query, &answer) >= 0.95);
            fixture_link(&fixture, 1);
            fixture_check(&fixture);
        }
    }
    fixture_free(&fixture);
}
END_TEST

static void set_row(struct fixture *fixture, uint32_t row, float x, float y) {
    float *values = fixture_row(fixture, row);
    memset(values, 0, fixture->options.dimension * sizeof(values[0]));
    values[0] = x;
    values[1] = y;
    values[2] = 5;
}

/* A twin's list says in its third place on which slot it hangs. When another vector has that slot
 * by the time that the twin is linked, as its third neighbour, there is no edge to it yet. */
START_TEST(a_twin_that_is_linked_has_all_its_edges) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = 64, .distance = DISTANCE_EUCLID};
    const uint32_t leader = 0, near = 1, opposite = 2, twin = 3;
    fixture_create(&fixture, &options, 8);
    set_row(&fixture, leader, 0, 0);
    set_row(&fixture, near, 1, 0);
    set_row(&fixture, opposite, -1.1f, 0);
    set_row(&fixture, twin, 0, 0);
    set_row(&fixture, 4, 0, 1.5f); /* the next vector in the leader's slot */
    fixture_put(&fixture, 0, 4, 1);
    fixture_link(&fixture, 1);
    slots_died(fixture.slots, leader, 2);
    ck_assert_int_eq(
        vector_index_repair(fixture.index, &leader, 1, fixture.scratch, &fixture.error), STATUS_OK);
    fixture_put_into(&fixture, leader, 4, 3);
    uint32_t linked;
    ck_assert_int_eq(vector_index_link(fixture.index, 2, fixture.scratch, &linked, &fixture.error),
                     STATUS_OK);
    ck_assert_uint_eq(linked, 2);
    fixture_check(&fixture); /* compares each edge that counts as written */
    fixture_free(&fixture);
}
END_TEST

static void repair(struct fixture *fixture, uint32_t slot, uint64_t operation) {
    slots_died(fixture->slots, slot, operation);
    ck_assert_int_eq(
        vector_index_repair(fixture->index, &slot, 1, fixture->scratch, &fixture->error),
        STATUS_OK);
}

/* Nothing but equal vectors is linked, so that the one on which they hang leaves an empty graph. */
START_TEST(twins_begin_the_graph_anew) {
    struct fixture fixture;
    const struct vector_index_options options = {.dimension = 32, .distance = DISTANCE_EUCLID};
    const uint32_t count = 2000;
    fixture_create(&fixture, &options, count);
    fixture_fill_clusters(&fixture, 0, count, 41);
    for (uint32_t row = 1; row < 4; row++)
        memcpy(fixture_row(&fixture, row), fixture_row(&fixture, 0), 32 * sizeof(float));
    fixture_put(&fixture, 0, 3, 1);
    fixture_link(&fixture, 1);
    repair(&fixture, 0, 2);
    fixture_link(&fixture, 1);
    fixture_check(&fixture);
    fixture_put_into(&fixture, 0, 3, 3); /* hangs on the one that came first */
    fixture_link(&fixture, 1);
    fixture_check(&fixture);
    fixture_put(&fixture, 4, count - 4, 4);
    fixture_link(&fixture, 1);
    for (uint32_t slot = 1; slot < 3; slot++) {
        repair(&fixture, slot, 4 + slot);
        fixture_link(&fixture, 1);
        fixture_check(&fixture);
    }
    struct index_query query = {
        .vector = fixture_row(&fixture, 3), .k = 5, .operation = 9, .plan = INDEX_PLAN_GRAPH};
    struct index_answer answer = fixture_search(&fixture, &query);
    ck_assert_uint_eq(answer.hits[0].slot, 0);
    ck_assert(fixture_recall(&fixture, &query, &answer) >= 0.8);
    fixture_free(&fixture);
}
END_TEST

/* More equal vectors than a search follows, of which few are hits: those that were there first. */
static void fill_with_many_twins(struct fixture *fixture, uint32_t twins, uint32_t count) {
    const struct vector_index_options options = {.dimension = 16, .distance = DISTANCE_EUCLID};
    fixture_create(fixture, &options, count);
    fixture_fill_clusters(fixture, 0, count, 51);
    for (uint32_t row = 1; row < twins; row++)
        memcpy(fixture_row(fixture, row), fixture_row(fixture, 0), 16 * sizeof(float));
    fixture_put(fixture, 0, count, 1);
    fixture_link(fixture, 1);
}

static void expect_all_of_ten(struct fixture *fixture, const struct index_query *query) {
    struct index_answer answer = fixture_search(fixture, query);
    ck_assert_uint_eq(answer.count, 10);
    ck_assert_double_eq(fixture_recall(fixture, query, &answer), 1);
}

START_TEST(few_of_many_twins_are_found) {
    enum {
        TWINS = 5000,
        COUNT = 6500,
        FEW = 100
    };
    struct fixture fixture;
    fill_with_many_twins(&fixture, TWINS, COUNT);
    uint64_t words[COUNT / 64 + 1] = {0};
    struct slot_filter filter = {.words = words, .slot_end = COUNT};
    for (uint32_t slot = 0; slot < COUNT; slot++) {
        if (slot < FEW || slot >= TWINS) {
            words[slot / 64] |= UINT64_C(1) << slot % 64;
            filter.count++;
        }
    }
    filter.estimate = filter.count;
    for (int plan = 0; plan <= INDEX_PLAN_FILTERED_GRAPH; plan++) {
        const struct index_query query = {.vector = fixture_row(&fixture, 0),
                                          .k = 10,
                                          .operation = 1,
                                          .plan = (enum index_plan)plan,
                                          .filter = &filter};
        expect_all_of_ten(&fixture, &query);
    }
    for (uint32_t slot = FEW; slot < TWINS; slot++)
        slots_died(fixture.slots, slot, 2);
    const struct index_query query = {
        .vector = fixture_row(&fixture, 0), .k = 10, .operation = 2, .plan = INDEX_PLAN_GRAPH};
    expect_all_of_ten(&fixture, &query);
    fixture_free(&fixture);
}
END_TEST

/* Repairs a slot when the search asks for its first vector: when it has scanned what waits and not
 * walked yet. */
struct ambush {
    struct fixture fixture;
    struct index_scratch *scratch; /* of whoever repairs */
    uint32_t slot;
    bool is_over;
};

static const float *ambush_row(void *context, uint32_t slot) {
    struct ambush *ambush = context;
    struct fixture *fixture = &ambush->fixture;
    if (!ambush->is_over)
        ck_assert_int_eq(
            vector_index_repair(fixture->index, &ambush->slot, 1, ambush->scratch, &fixture->error),
            STATUS_OK);
    ambush->is_over = true;
    return fixture_row(fixture, slot);
}

START_TEST(twins_are_found_while_they_leave_the_graph) {
    const uint32_t count = 6200, twins = 200;
    struct ambush ambush = {.slot = 0};
    struct fixture *fixture = &ambush.fixture;
    fill_with_many_twins(fixture, twins, count);
    ck_assert_int_eq(index_scratch_create(&ambush.scratch, &fixture->error), STATUS_OK);
    repair(fixture, count - 1, 2);
    fixture_put_into(fixture, count - 1, count - 1, 3); /* one waits */
    slots_died(fixture->slots, ambush.slot, 3);
    const struct index_query query = {
        .vector = fixture_row(fixture, 0), .k = 10, .operation = 3, .plan = INDEX_PLAN_GRAPH};
    const struct vector_owner owner = {.vector = ambush_row, .context = &ambush};
    struct index_answer answer;
    ck_assert_int_eq(vector_index_search(fixture->index, &query, &owner, fixture->scratch, &answer,
                                         &fixture->error),
                     STATUS_OK);
    ck_assert(ambush.is_over);
    ck_assert_uint_eq(answer.count, 10);
    ck_assert_double_eq(fixture_recall(fixture, &query, &answer), 1);
    index_scratch_free(ambush.scratch);
    fixture_free(fixture);
}
END_TEST

/* Links all that waits, and says when. */
struct linking {
    struct fixture *fixture;
    atomic_bool is_done;
};

static void *link_aside(void *context) {
    struct linking *linking = context;
    fixture_link(linking->fixture, 1);
    atomic_store(&linking->is_done, true);
    return NULL;
}

/* Hardly any of them hangs in the graph itself: who samples what does, for the default ef, looks up
 * to the end of the slots, which moves on while it looks. */
START_TEST(equal_vectors_are_linked_while_room_is_made) {
    enum {
        ROUNDS = 3,
        ROWS = 2048,
        CHUNKS_MAX = 60
    };
    for (int round = 0; round < ROUNDS; round++) {
        struct fixture fixture;
        struct linking linking = {.fixture = &fixture};
        pthread_t builder;
        const struct vector_index_options options = {.dimension = 4, .distance = DISTANCE_DOT};
        fixture_create(&fixture, &options, ROWS);
        for (uint32_t row = 0; row < ROWS; row++)
            *fixture_row(&fixture, row) = 1;
        fixture_put(&fixture, 0, ROWS, 1);
        ck_assert_int_eq(pthread_create(&builder, NULL, link_aside, &linking), 0);
        for (uint32_t chunks = 2; !atomic_load(&linking.is_done); chunks++) {
            if (chunks <= CHUNKS_MAX)
                ck_assert_int_eq(
                    vector_index_reserve(fixture.index, chunks * STORE_CHUNK, &fixture.error),
                    STATUS_OK);
            usleep(100);
        }
        pthread_join(builder, NULL);
        fixture_check(&fixture);
        fixture_free(&fixture);
    }
}
END_TEST

static void use_turbo(void) {
    fixture_profile = INDEX_PROFILE_TURBO;
}

static void add_tests(Suite *suite, TCase *tcase) {
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, equal_vectors_do_not_hide_others, 0, 2 * DISTANCE_COUNT);
    tcase_add_test(tcase, twins_survive_the_slot_they_hang_on);
    tcase_add_test(tcase, a_twin_that_is_linked_has_all_its_edges);
    tcase_add_test(tcase, twins_begin_the_graph_anew);
    tcase_add_test(tcase, few_of_many_twins_are_found);
    tcase_add_test(tcase, twins_are_found_while_they_leave_the_graph);
    tcase_add_test(tcase, equal_vectors_are_linked_while_room_is_made);
    suite_add_tcase(suite, tcase);
}

Suite *test_suite(void) {
    Suite *suite = suite_create("twins");
    TCase *lean = tcase_create("lean"), *turbo = tcase_create("turbo");
    tcase_add_checked_fixture(turbo, use_turbo, NULL);
    add_tests(suite, lean);
    add_tests(suite, turbo);
    return suite;
}
