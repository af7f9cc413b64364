/* What a walk has met, against a plain array; also when more is marked than is remembered. */
#include "index/visited.h"

#include "tests/support/run_suite.h"

#include <stdlib.h>

enum {
    SLOTS = 50000,
    WALKS = 6,
};

static const uint32_t marks[WALKS] = {
    0, 1, 500, VISITED_MARKED_MAX - 1, VISITED_MARKED_MAX, 3 * VISITED_MARKED_MAX};

enum state {
    NEW,
    VISITED,
    EXPANDED,
};

static void mark(struct visited *visited, uint8_t *states, uint32_t slot) {
    if (rand() % 2) {
        ck_assert_int_eq(visited_add(visited, slot), states[slot] == NEW);
        states[slot] = states[slot] == NEW ? VISITED : states[slot];
    } else {
        ck_assert_int_eq(visited_expand(visited, slot), states[slot] != EXPANDED);
        states[slot] = EXPANDED;
    }
}

START_TEST(tells_what_was_marked_in_this_walk) {
    struct visited visited = {0};
    srand((unsigned)_i);
    ck_assert(visited_reserve(&visited, SLOTS));
    /* A walk of each length after one of any other. */
    for (uint32_t walk = 0; walk < 2; walk++) {
        uint32_t count = marks[walk == 0 ? _i % WALKS : _i / WALKS];
        uint8_t *states = calloc(SLOTS, 1);
        visited_begin(&visited);
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            ck_assert(visited_is_new(&visited, slot));
        for (uint32_t i = 0; i < count; i++)
            mark(&visited, states, (uint32_t)rand() % SLOTS);
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            ck_assert_int_eq(visited_is_new(&visited, slot), states[slot] == NEW);
        free(states);
    }
    visited_free(&visited);
}
END_TEST

/* Slots that were born after the room was made. */
START_TEST(beyond_the_capacity_nothing_is_new) {
    struct visited visited = {0};
    ck_assert(visited_reserve(&visited, 100));
    visited_begin(&visited);
    ck_assert(visited_is_new(&visited, visited.capacity - 1));
    ck_assert(!visited_is_new(&visited, visited.capacity));
    ck_assert(!visited_add(&visited, visited.capacity));
    ck_assert(!visited_is_new(&visited, UINT32_MAX));
    visited_free(&visited);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("visited");
    TCase *tcase = tcase_create("visited");
    tcase_add_loop_test(tcase, tells_what_was_marked_in_this_walk, 0, WALKS * WALKS);
    tcase_add_test(tcase, beyond_the_capacity_nothing_is_new);
    suite_add_tcase(suite, tcase);
    return suite;
}
