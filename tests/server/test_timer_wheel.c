#include "server/timer_wheel.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>

enum {
    ENTRIES = 200,
    START_MS = 123456,
};

static struct timer_wheel wheel;
static struct timer_entry entries[ENTRIES];

static void set_up(void) {
    memset(entries, 0, sizeof(entries));
    timer_wheel_init(&wheel, START_MS);
}

START_TEST(fires_at_its_deadline_and_at_most_two_ticks_later) {
    uint64_t deadline = START_MS + (uint64_t)_i * 37, now;
    timer_wheel_set(&wheel, &entries[0], deadline);
    for (now = START_MS;; now++) {
        struct timer_entry *fired = timer_wheel_expire(&wheel, now);
        if (fired) {
            ck_assert_ptr_eq(fired, &entries[0]);
            break;
        }
        if (now > deadline + 2 * TIMER_WHEEL_TICK_MS)
            ck_abort_msg("did not fire");
    }
    ck_assert_uint_ge(now, deadline);
    ck_assert_ptr_null(timer_wheel_expire(&wheel, now + 1000000));
}
END_TEST

START_TEST(a_deadline_that_was_put_off_fires_later) {
    timer_wheel_set(&wheel, &entries[0], START_MS + 1000);
    timer_wheel_set(&wheel, &entries[0], START_MS + 60000);
    ck_assert_ptr_null(timer_wheel_expire(&wheel, START_MS + 59999));
    ck_assert_ptr_eq(timer_wheel_expire(&wheel, START_MS + 60500), &entries[0]);
}
END_TEST

START_TEST(a_deadline_that_was_brought_forward_fires_earlier) {
    timer_wheel_set(&wheel, &entries[0], START_MS + 60000);
    timer_wheel_set(&wheel, &entries[0], START_MS + 1000);
    ck_assert_ptr_eq(timer_wheel_expire(&wheel, START_MS + 1500), &entries[0]);
}
END_TEST

START_TEST(a_deadline_beyond_a_round_waits_for_its_round) {
    uint64_t far = START_MS + (uint64_t)TIMER_WHEEL_SLOTS * TIMER_WHEEL_TICK_MS * 3;
    timer_wheel_set(&wheel, &entries[0], far);
    for (uint64_t now = START_MS; now < far; now += TIMER_WHEEL_TICK_MS)
        ck_assert_ptr_null(timer_wheel_expire(&wheel, now));
    ck_assert_ptr_eq(timer_wheel_expire(&wheel, far + 500), &entries[0]);
}
END_TEST

START_TEST(an_entry_without_deadline_or_taken_out_never_fires) {
    timer_wheel_set(&wheel, &entries[0], START_MS + 100);
    timer_wheel_set(&wheel, &entries[0], UINT64_MAX);
    timer_wheel_set(&wheel, &entries[1], START_MS + 100);
    timer_wheel_remove(&entries[1]);
    timer_wheel_remove(&entries[1]);
    ck_assert_ptr_null(timer_wheel_expire(&wheel, START_MS + 1000000));
}
END_TEST

/* The oracle: a plain list of deadlines. */
START_TEST(agrees_with_a_list_of_deadlines) {
    srand((unsigned)_i);
    uint64_t now = START_MS, deadlines[ENTRIES];
    for (size_t i = 0; i < ENTRIES; i++) {
        deadlines[i] = now + (uint64_t)(rand() % 200000);
        timer_wheel_set(&wheel, &entries[i], deadlines[i]);
    }
    for (int step = 0; step < 2000; step++) {
        now += (uint64_t)(rand() % 700);
        struct timer_entry *fired;
        while ((fired = timer_wheel_expire(&wheel, now))) {
            size_t i = (size_t)(fired - entries);
            ck_assert_uint_le(deadlines[i], now);
            deadlines[i] = now + 1 + (uint64_t)(rand() % 200000);
            timer_wheel_set(&wheel, fired, deadlines[i]);
        }
        uint64_t earliest = UINT64_MAX;
        for (size_t i = 0; i < ENTRIES; i++)
            earliest = deadlines[i] < earliest ? deadlines[i] : earliest;
        ck_assert_uint_gt(earliest + 2 * TIMER_WHEEL_TICK_MS, now); /* nothing was forgotten */
        size_t moved = (size_t)rand() % ENTRIES;
        deadlines[moved] = now + 1 + (uint64_t)(rand() % 100000);
        timer_wheel_set(&wheel, &entries[moved], deadlines[moved]);
    }
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("timer_wheel");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_loop_test(tests, fires_at_its_deadline_and_at_most_two_ticks_later, 0, 30);
    tcase_add_test(tests, a_deadline_that_was_put_off_fires_later);
    tcase_add_test(tests, a_deadline_that_was_brought_forward_fires_earlier);
    tcase_add_test(tests, a_deadline_beyond_a_round_waits_for_its_round);
    tcase_add_test(tests, an_entry_without_deadline_or_taken_out_never_fires);
    tcase_add_loop_test(tests, agrees_with_a_list_of_deadlines, 0, 20);
    suite_add_tcase(suite, tests);
    return suite;
}
