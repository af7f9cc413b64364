/* Who sees a slot, in all its lives; and when its memory may be used again. */
#include "index/epoch.h"
#include "index/slots.h"

#include "tests/support/run_suite.h"

static struct slots *slots;
static struct error error;

static void setup(void) {
    ck_assert_int_eq(slots_create(&slots, &error), STATUS_OK);
}

static void teardown(void) {
    slots_free(slots);
}

START_TEST(a_slot_is_seen_from_its_birth_to_its_death) {
    ck_assert_int_eq(slots_reserve(slots, 100, &error), STATUS_OK);
    ck_assert_uint_eq(slots_end(slots), 0);
    slots_born(slots, 7, 10);
    ck_assert_uint_eq(slots_end(slots), 8);
    ck_assert_uint_eq(slots_live_count(slots), 1);
    slots_died(slots, 7, 20);
    ck_assert_uint_eq(slots_died_at(slots, 7), 20);
    ck_assert_uint_eq(slots_live_count(slots), 0);
    for (uint64_t operation = 0; operation < 40; operation++)
        ck_assert_int_eq(slots_visible(slots, 7, operation), operation >= 10 && operation < 20);
    slots_born(slots, 7, 30); /* another point */
    for (uint64_t operation = 0; operation < 40; operation++)
        ck_assert_int_eq(slots_visible(slots, 7, operation), operation >= 30);
    ck_assert_uint_eq(slots_died_at(slots, 7), 0);
    ck_assert_uint_eq(slots_end(slots), 8);
}
END_TEST

START_TEST(any_number_may_be_asked_about) {
    ck_assert_int_eq(slots_reserve(slots, 1, &error), STATUS_OK);
    static const uint32_t numbers[] = {0, 1, SLOTS_CHUNK, SLOT_MAX, SLOT_MAX + 1, SLOT_NONE};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        ck_assert(!slots_visible(slots, numbers[i], UINT64_MAX));
        ck_assert_uint_eq(slots_died_at(slots, numbers[i]), 0);
    }
}
END_TEST

START_TEST(more_slots_than_the_limit_are_refused) {
    ck_assert_int_eq(slots_reserve(slots, SLOT_MAX + 1, &error), STATUS_TOO_LARGE);
    ck_assert_int_eq(slots_reserve(slots, 3 * SLOTS_CHUNK, &error), STATUS_OK);
    slots_born(slots, 3 * SLOTS_CHUNK - 1, 1);
    ck_assert(slots_visible(slots, 3 * SLOTS_CHUNK - 1, 1));
}
END_TEST

START_TEST(an_epoch_passes_when_those_inside_have_left) {
    struct epoch epoch;
    epoch_init(&epoch);
    uint64_t first = epoch_advance(&epoch);
    ck_assert(epoch_passed(&epoch, first)); /* nobody was inside */
    uint32_t early = epoch_enter(&epoch);
    uint64_t second = epoch_advance(&epoch);
    uint32_t late = epoch_enter(&epoch);
    ck_assert(epoch_passed(&epoch, first));
    ck_assert(!epoch_passed(&epoch, second));
    epoch_leave(&epoch, early);
    ck_assert(epoch_passed(&epoch, second)); /* the late one came after */
    uint64_t third = epoch_advance(&epoch);
    ck_assert(!epoch_passed(&epoch, third));
    epoch_leave(&epoch, late);
    ck_assert(epoch_passed(&epoch, third));
}
END_TEST

START_TEST(as_many_may_be_inside_as_there_are_places) {
    struct epoch epoch;
    uint32_t places[EPOCH_READERS_MAX];
    epoch_init(&epoch);
    for (int i = 0; i < EPOCH_READERS_MAX; i++)
        places[i] = epoch_enter(&epoch);
    uint64_t ended = epoch_advance(&epoch);
    for (int i = 0; i < EPOCH_READERS_MAX; i++) {
        ck_assert(!epoch_passed(&epoch, ended));
        epoch_leave(&epoch, places[i]);
    }
    ck_assert(epoch_passed(&epoch, ended));
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("slots");
    TCase *tcase = tcase_create("slots");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_slot_is_seen_from_its_birth_to_its_death);
    tcase_add_test(tcase, any_number_may_be_asked_about);
    tcase_add_test(tcase, more_slots_than_the_limit_are_refused);
    tcase_add_test(tcase, an_epoch_passes_when_those_inside_have_left);
    tcase_add_test(tcase, as_many_may_be_inside_as_there_are_places);
    suite_add_tcase(suite, tcase);
    return suite;
}
