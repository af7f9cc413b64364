/* Free and dead slots against an array that says what each slot is. */
#include "index/slots.h"
#include "storage/slot_pool.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>

enum {
    SLOTS = 2000,
    STEPS = 30000,
};

START_TEST(a_slot_is_given_out_only_while_it_is_free) {
    static bool is_free[SLOTS];
    struct slot_pool pool;
    struct error error = {0};
    const uint32_t group = (uint32_t[]){1, 3, 21, 1024}[_i];
    size_t free_count = 0;
    for (size_t i = 0; i < SLOTS; i++)
        is_free[i] = false;
    ck_assert_int_eq(slot_pool_init(&pool, group, &error), STATUS_OK);
    ck_assert_int_eq(slot_pool_reserve(&pool, SLOTS, 0, &error), STATUS_OK);
    ck_assert_uint_eq(slot_pool_take(&pool), SLOT_NONE);
    srand((unsigned)_i);
    for (int step = 0; step < STEPS; step++) {
        uint32_t slot = (uint32_t)rand() % SLOTS;
        if (rand() % 2 == 0 && !is_free[slot]) {
            slot_pool_give(&pool, slot);
            is_free[slot] = true;
            free_count++;
        } else if ((slot = slot_pool_take(&pool)) != SLOT_NONE) {
            ck_assert(is_free[slot]);
            is_free[slot] = false;
            free_count--;
        }
    }
    /* Whatever is kept back is less than a sixteenth of each group. */
    while (slot_pool_take(&pool) != SLOT_NONE)
        free_count--;
    ck_assert_uint_le(free_count, (SLOTS / group + 1) * ((group - 1) / 16));
    slot_pool_destroy(&pool);
}
END_TEST

START_TEST(a_group_is_refilled_only_when_a_sixteenth_of_it_is_free) {
    struct slot_pool pool;
    struct error error = {0};
    ck_assert_int_eq(slot_pool_init(&pool, 80, &error), STATUS_OK);
    ck_assert_int_eq(slot_pool_reserve(&pool, 400, 0, &error), STATUS_OK);
    for (uint32_t slot = 160; slot < 164; slot++)
        slot_pool_give(&pool, slot);
    ck_assert_uint_eq(slot_pool_take(&pool), SLOT_NONE);
    slot_pool_give(&pool, 239);
    for (uint32_t slot = 160; slot < 164; slot++)
        ck_assert_uint_eq(slot_pool_take(&pool), slot);
    ck_assert_uint_eq(slot_pool_take(&pool), 239);
    ck_assert_uint_eq(slot_pool_take(&pool), SLOT_NONE);
    slot_pool_destroy(&pool);
}
END_TEST

START_TEST(the_dead_leave_in_the_order_of_their_deaths_and_not_before_the_oldest_reader) {
    struct slot_pool pool;
    struct error error = {0};
    uint32_t slots[8];
    ck_assert_int_eq(slot_pool_init(&pool, 16, &error), STATUS_OK);
    uint32_t next = 0, expected = 0;
    for (uint32_t round = 0; round < 3000; round++) {
        ck_assert_int_eq(slot_pool_reserve(&pool, 16, 5, &error), STATUS_OK);
        for (int i = 0; i < 5; i++, next++)
            slot_pool_add_dead(&pool, next, next / 2 + 1);
        size_t count;
        uint64_t oldest = next > 400 ? (next - 400) / 2 : 0;
        uint32_t leaving = expected + (uint32_t)slot_pool_count_dead_before(&pool, oldest);
        while ((count = slot_pool_take_dead(&pool, oldest, slots, 8)) > 0)
            for (size_t i = 0; i < count; i++, expected++) {
                ck_assert_uint_eq(slots[i], expected);
                ck_assert_uint_le(expected / 2 + 1, oldest);
            }
        ck_assert_uint_eq(expected, leaving);
        ck_assert_uint_eq(slot_pool_dead_count(&pool), next - expected);
    }
    ck_assert_uint_gt(expected, 14000);
    slot_pool_destroy(&pool);
}
END_TEST

/* Takes all dead slots. */
static void take_all(struct slot_pool *pool, size_t count) {
    uint32_t slots[256];
    size_t taken, total = 0;
    while ((taken = slot_pool_take_dead(pool, UINT64_MAX, slots, 256)) > 0)
        for (size_t i = 0; i < taken; i++)
            ck_assert_uint_eq(slots[i], total++);
    ck_assert_uint_eq(total, count);
}

START_TEST(room_for_many_dead_slots_is_given_back_but_for_what_is_reserved) {
    enum {
        MANY = 500000,
        KEPT = 1 << 16,
    };
    struct slot_pool pool;
    struct error error = {0};
    ck_assert_int_eq(slot_pool_init(&pool, 80, &error), STATUS_OK);
    for (int rounds = 0; rounds < 2; rounds++) {
        ck_assert_int_eq(slot_pool_reserve(&pool, 1, MANY, &error), STATUS_OK);
        for (uint32_t slot = 0; slot < MANY; slot++)
            slot_pool_add_dead(&pool, slot, slot);
        ck_assert_int_eq(slot_pool_reserve(&pool, 1, MANY, &error), STATUS_OK);
        take_all(&pool, MANY); /* between a reservation and what it is for */
        ck_assert_uint_ge(pool.dead_capacity, MANY);
        for (uint32_t slot = 0; slot < MANY; slot++)
            slot_pool_add_dead(&pool, slot, slot);
        take_all(&pool, MANY);
        ck_assert_uint_eq(pool.dead_capacity, KEPT);
    }
    slot_pool_destroy(&pool);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("slot pool");
    TCase *tests = tcase_create("tests");
    tcase_add_loop_test(tests, a_slot_is_given_out_only_while_it_is_free, 0, 4);
    tcase_add_test(tests, a_group_is_refilled_only_when_a_sixteenth_of_it_is_free);
    tcase_add_test(tests, room_for_many_dead_slots_is_given_back_but_for_what_is_reserved);
    tcase_add_test(tests,
                   the_dead_leave_in_the_order_of_their_deaths_and_not_before_the_oldest_reader);
    suite_add_tcase(suite, tests);
    return suite;
}
