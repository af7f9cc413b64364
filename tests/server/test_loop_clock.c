#include "server/loop_clock.h"
#include "tests/support/run_suite.h"

#include <time.h>

enum {
    MS = 1000000,
};

static struct loop_clock loop_watch;

static void set_up(void) {
    loop_clock_init(&loop_watch);
}

static void tear_down(void) {
    loop_clock_close(&loop_watch);
}

static uint64_t now_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

static void block(long ms) {
    nanosleep(&(struct timespec){.tv_nsec = ms * MS}, NULL);
}

static void work(uint64_t ms) {
    uint64_t until = now_ns(CLOCK_THREAD_CPUTIME_ID) + ms * MS;
    while (now_ns(CLOCK_THREAD_CPUTIME_ID) < until)
        ;
}

START_TEST(a_callback_that_blocks_shows) {
    loop_clock_enter(&loop_watch);
    block(20);
    loop_clock_leave(&loop_watch);
    ck_assert_uint_ge(loop_watch.longest_ns, 19 * MS);
    ck_assert_uint_ge(loop_watch.longest_wall_ns, loop_watch.longest_ns);
}
END_TEST

START_TEST(a_callback_that_works_shows_with_its_work_and_not_with_its_waits_for_a_core) {
    loop_clock_enter(&loop_watch);
    work(20);
    loop_clock_leave(&loop_watch);
    ck_assert_uint_ge(loop_watch.longest_ns, 19 * MS);
    /* However busy the machine is: what is left beside the work is not a wait for a core. */
    ck_assert_uint_le(loop_watch.longest_ns, 40 * MS);
}
END_TEST

START_TEST(the_longest_stays) {
    loop_clock_enter(&loop_watch);
    block(20);
    loop_clock_leave(&loop_watch);
    uint64_t longest = loop_watch.longest_ns;
    for (int i = 0; i < 100; i++) {
        loop_clock_enter(&loop_watch);
        loop_clock_leave(&loop_watch);
    }
    ck_assert_uint_eq(loop_watch.longest_ns, longest);
    ck_assert_uint_eq(loop_watch.callbacks, 101);
}
END_TEST

START_TEST(callbacks_within_callbacks_count_as_one) {
    loop_clock_enter(&loop_watch);
    block(5);
    loop_clock_enter(&loop_watch);
    block(5);
    loop_clock_leave(&loop_watch);
    block(5);
    loop_clock_leave(&loop_watch);
    ck_assert_uint_eq(loop_watch.callbacks, 1);
    ck_assert_uint_ge(loop_watch.longest_ns, 14 * MS);
}
END_TEST

START_TEST(time_between_callbacks_is_nobodys) {
    loop_clock_enter(&loop_watch);
    loop_clock_leave(&loop_watch);
    uint64_t longest = loop_watch.longest_ns;
    block(20);
    loop_clock_enter(&loop_watch);
    loop_clock_leave(&loop_watch);
    ck_assert_uint_lt(loop_watch.longest_ns, longest + 10 * MS);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("loop_clock");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_callback_that_blocks_shows);
    tcase_add_test(tests,
                   a_callback_that_works_shows_with_its_work_and_not_with_its_waits_for_a_core);
    tcase_add_test(tests, the_longest_stays);
    tcase_add_test(tests, callbacks_within_callbacks_count_as_one);
    tcase_add_test(tests, time_between_callbacks_is_nobodys);
    suite_add_tcase(suite, tests);
    return suite;
}
