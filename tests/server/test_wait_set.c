/* Where workers sleep: each call wakes one, each socket's news reach one, and none are missed. */
#include "server/wait_set.h"
#include "tests/support/run_suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    THREADS = 4,
    ROUNDS = 20000,
    PIPES = 3,
};

static struct wait_set set;
static atomic_int work_left; /* what sleepers look for */
static atomic_int woken;     /* threads that came back from their sleep, so often */
static atomic_bool is_over;

static void set_up(void) {
    ck_assert_int_eq(wait_set_open(&set, NULL), STATUS_OK);
}

static void tear_down(void) {
    wait_set_close(&set);
}

static bool has_none(void *context) {
    (void)context;
    return false;
}

static bool has_work(void *context) {
    (void)context;
    return atomic_load(&work_left) > 0 || atomic_load(&is_over);
}

/* Takes one piece of work at a time, and sleeps when there is none. */
static void *take_work(void *argument) {
    (void)argument;
    while (!atomic_load(&is_over)) {
        int left = atomic_load(&work_left);
        if (left > 0)
            (void)atomic_compare_exchange_strong(&work_left, &left, left - 1);
        else
            ck_assert_uint_eq(wait_set_sleep(&set, has_work, NULL), WAIT_SET_NONE);
    }
    return NULL;
}

static void *sleep_once(void *argument) {
    (void)argument;
    ck_assert_uint_eq(wait_set_sleep(&set, has_none, NULL), WAIT_SET_NONE);
    atomic_fetch_add(&woken, 1);
    return NULL;
}

static void wait_for_sleepers(int count) {
    while (atomic_load(&set.sleepers) != count)
        sched_yield();
}

START_TEST(nobody_is_called_while_nobody_sleeps) {
    ck_assert(!wait_set_call(&set));
    ck_assert_uint_eq(wait_set_peek(&set), WAIT_SET_NONE);
}
END_TEST

START_TEST(each_call_wakes_one) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, sleep_once, NULL), 0);
    wait_for_sleepers(THREADS);
    for (int i = 1; i <= THREADS; i++) {
        usleep(20000);
        ck_assert_int_eq(woken, i - 1);
        ck_assert(wait_set_call(&set));
        while (atomic_load(&woken) < i)
            sched_yield();
    }
    ck_assert(!wait_set_call(&set));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(set.sleepers, 0);
}
END_TEST

/* One may wake for a call that another has answered: then one call less is made, or one is left. */
START_TEST(calls_that_come_together_wake_as_many) {
    for (int round = 0; round < 500; round++) {
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, sleep_once, NULL), 0);
        wait_for_sleepers(THREADS);
        for (int i = 0; i < THREADS; i++)
            (void)wait_set_call(&set);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL); /* none sleeps on */
        ck_assert_int_le(set.sleepers, 0);
        while (atomic_load(&set.sleepers) < 0) /* a call is left, and answered for nothing */
            (void)sleep_once(NULL);
    }
}
END_TEST

START_TEST(no_work_is_left_lying_while_a_thread_sleeps) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_work, NULL), 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int pieces = 1 + round % THREADS; pieces > 0; pieces--) {
            atomic_fetch_add(&work_left, 1);
            (void)wait_set_call(&set);
        }
        while (atomic_load(&work_left) > 0)
            sched_yield();
        for (int spins = round % 300; spins > 0; spins--)
            atomic_load(&work_left);
    }
    atomic_store(&is_over, true);
    while (wait_set_call(&set))
        ;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_le(set.sleepers, 0); /* less calls that nobody needed to answer */
}
END_TEST

/* ---- Sockets -------------------------------------------------------------------------------- */

static int ends[PIPES][2];

static void open_pipes(void) {
    for (int i = 0; i < PIPES; i++) {
        ck_assert_int_eq(pipe(ends[i]), 0);
        ck_assert(wait_set_watch(&set, ends[i][0], (uint64_t)(1000 + i)));
    }
}

static void close_pipes(void) {
    for (int i = 0; i < PIPES; i++) {
        wait_set_forget(&set, ends[i][0]);
        close(ends[i][0]);
        close(ends[i][1]);
    }
}

static void put(int i) {
    ck_assert_int_eq(write(ends[i][1], "x", 1), 1);
}

START_TEST(a_socket_is_named_once_each_time_bytes_come) {
    open_pipes();
    ck_assert_uint_eq(wait_set_peek(&set), WAIT_SET_NONE);
    put(1);
    ck_assert_uint_eq(wait_set_sleep(&set, has_none, NULL), 1001);
    ck_assert_uint_eq(wait_set_peek(&set), WAIT_SET_NONE); /* though the byte is still there */
    put(1);
    ck_assert_uint_eq(wait_set_peek(&set), 1001);
    put(0);
    put(2);
    ck_assert_uint_eq(wait_set_peek(&set), 1000);
    ck_assert_uint_eq(wait_set_peek(&set), 1002);
    ck_assert_uint_eq(wait_set_peek(&set), WAIT_SET_NONE);
    close_pipes();
    ck_assert_int_eq(set.sleepers, 0);
}
END_TEST

START_TEST(bytes_from_before_it_was_watched_are_news) {
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    ck_assert(wait_set_watch(&set, fds[0], 5));
    ck_assert_uint_eq(wait_set_peek(&set), 5);
    wait_set_forget(&set, fds[0]);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(what_cannot_be_watched_is_said) {
    ck_assert(!wait_set_watch(&set, -1, 1));
    ck_assert_int_eq(set.watched, 0);
}
END_TEST

static atomic_uint_fast64_t named;

static void *sleep_for_a_socket(void *argument) {
    (void)argument;
    atomic_store(&named, wait_set_sleep(&set, has_none, NULL));
    return NULL;
}

/* A thread that is called while a socket wakes it takes one of both; the other is not lost. */
START_TEST(a_call_and_a_socket_at_the_same_time_are_both_heard) {
    open_pipes();
    for (int round = 0; round < 2000; round++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, sleep_for_a_socket, NULL), 0);
        wait_for_sleepers(1);
        bool is_called = wait_set_call(&set);
        put(0);
        pthread_join(thread, NULL);
        ck_assert(is_called);
        uint64_t other = wait_set_peek(&set);
        ck_assert_uint_eq(named == WAIT_SET_NONE ? other : named, 1000);
        ck_assert_uint_eq(named == WAIT_SET_NONE ? named : other, WAIT_SET_NONE);
        ck_assert_int_eq(set.sleepers, 0);
    }
    close_pipes();
}
END_TEST

/* A thread is about to sleep when it is called, and a busy one comes by and answers. */
START_TEST(a_call_that_another_answers_leaves_the_sleeper_to_be_called_again) {
    open_pipes();
    atomic_store(&set.sleepers, 1);
    ck_assert(wait_set_call(&set));
    ck_assert(!wait_set_call(&set));
    ck_assert_uint_eq(wait_set_peek(&set), WAIT_SET_NONE);
    ck_assert(wait_set_call(&set));
    close_pipes();
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("wait_set");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, nobody_is_called_while_nobody_sleeps);
    tcase_add_test(tests, each_call_wakes_one);
    tcase_add_test(tests, calls_that_come_together_wake_as_many);
    tcase_add_test(tests, no_work_is_left_lying_while_a_thread_sleeps);
    tcase_add_test(tests, a_socket_is_named_once_each_time_bytes_come);
    tcase_add_test(tests, bytes_from_before_it_was_watched_are_news);
    tcase_add_test(tests, what_cannot_be_watched_is_said);
    tcase_add_test(tests, a_call_and_a_socket_at_the_same_time_are_both_heard);
    tcase_add_test(tests, a_call_that_another_answers_leaves_the_sleeper_to_be_called_again);
    suite_add_tcase(suite, tests);
    return suite;
}
