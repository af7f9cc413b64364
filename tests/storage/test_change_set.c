/* What a writer keeps from one group to the next. */
#include "storage/change_set.h"
#include "tests/support/run_suite.h"

enum {
    FEW = 1000,
    MANY = 300000,
    KEPT = 1 << 16,
};

static void fill(struct change_set *set, uint32_t count) {
    struct error error = {0};
    for (uint32_t slot = 0; slot < count; slot++) {
        ck_assert_int_eq(change_set_add_birth(set, slot, 1, slot, &error), STATUS_OK);
        ck_assert_int_eq(change_set_add_vector(set, 0, NULL, &error), STATUS_OK);
    }
    ck_assert_uint_eq(set->slots_count, count);
    ck_assert_uint_eq(set->vectors_count, count);
    ck_assert_uint_eq(set->slots[count - 1].slot, count - 1);
}

START_TEST(the_memory_of_a_large_group_does_not_stay) {
    struct change_set set = {0};
    for (int rounds = 0; rounds < 2; rounds++) {
        fill(&set, MANY);
        change_set_clear(&set);
        ck_assert_uint_le(set.slots_capacity, KEPT);
        ck_assert_uint_le(set.vectors_capacity, KEPT);
    }
    fill(&set, FEW);
    const void *slots = set.slots;
    change_set_clear(&set);
    ck_assert_uint_ge(set.slots_capacity, FEW);
    ck_assert_ptr_eq(set.slots, slots);
    change_set_free(&set);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("change sets");
    TCase *tests = tcase_create("tests");
    tcase_add_test(tests, the_memory_of_a_large_group_does_not_stay);
    suite_add_tcase(suite, tests);
    return suite;
}
