/* Seats of the lane: one holder at a time, whatever the loop and the workers do. */
#include "server/job.h"
#include "server/lane.h"
#include "tests/support/run_suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct wait_set set;
static struct lane *lane;
static struct job job;
static int ends[2]; /* the server's and the client's */
static atomic_int wakes;

static struct connection *const somebody = (struct connection *)&wakes; /* never looked into */

static void wake(void *context) {
    ck_assert_ptr_eq(context, &wakes);
    atomic_fetch_add(&wakes, 1);
}

static void set_up(void) {
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ck_assert_int_eq(wait_set_open(&set, NULL), STATUS_OK);
    ck_assert_int_eq(lane_create(&set, wake, &wakes, &lane, NULL), STATUS_OK);
}

static void tear_down(void) {
    lane_free(lane);
    wait_set_close(&set);
    close(ends[0]);
    close(ends[1]);
}

static void say(void) {
    ck_assert_int_eq(write(ends[1], "x", 1), 1);
}

static struct lane_seat *enter(void) {
    struct lane_seat *seat = lane_enter(lane, somebody, ends[0], &job, 100);
    ck_assert_ptr_nonnull(seat);
    return seat;
}

/* The first job is answered, and bytes of the next request come. */
static uint64_t rest_and_be_named(struct lane_seat *seat) {
    atomic_store(&seat->running, NULL);
    ck_assert_int_eq(lane_rest(lane, seat), LANE_RESTS);
    say();
    uint64_t key = wait_set_peek(&set);
    ck_assert_uint_ne(key, WAIT_SET_NONE);
    return key;
}

START_TEST(a_seat_goes_to_the_worker_that_is_named_its_bytes) {
    struct lane_seat *seat = enter();
    ck_assert_ptr_eq(job.seat, seat);
    ck_assert(lane_is_running(seat));
    uint64_t key = rest_and_be_named(seat);
    ck_assert(!lane_is_running(seat));
    ck_assert_ptr_eq(lane_take(lane, key), seat);
    ck_assert_ptr_null(lane_take(lane, key));              /* another notes that there is more, */
    ck_assert_int_eq(lane_rest(lane, seat), LANE_GOES_ON); /* and the first looks once more */
    ck_assert_int_eq(lane_rest(lane, seat), LANE_RESTS);
    ck_assert(lane_recall(seat));
    lane_leave(lane, seat);
}
END_TEST

START_TEST(what_rests_is_the_loops_at_once_and_nobody_elses) {
    struct lane_seat *seat = enter();
    uint64_t key = rest_and_be_named(seat);
    ck_assert(lane_recall(seat));
    ck_assert_ptr_null(lane_take(lane, key));
    lane_leave(lane, seat);
    ck_assert_ptr_null(lane_take(lane, key));
    struct lane_seat *next = enter(); /* the same one; news of who left mean nothing to it */
    ck_assert_ptr_eq(next, seat);
    ck_assert_ptr_null(lane_take(lane, key));
    ck_assert_int_eq(lane_rest(lane, next), LANE_RESTS);
    ck_assert(lane_recall(next));
    lane_leave(lane, next);
    ck_assert_int_eq(wakes, 0);
}
END_TEST

START_TEST(what_a_worker_holds_comes_back_when_it_is_done) {
    struct lane_seat *seat = enter();
    if (_i == 1)
        ck_assert_ptr_eq(lane_take(lane, rest_and_be_named(seat)), seat);
    if (_i == 2) {
        ck_assert_ptr_eq(lane_take(lane, rest_and_be_named(seat)), seat);
        say();
        ck_assert_ptr_null(lane_take(lane, wait_set_peek(&set)));
    }
    ck_assert(!lane_recall(seat));
    ck_assert(!lane_recall(seat));
    ck_assert_int_eq(lane_cancel(seat), _i == 0);
    ck_assert_int_eq(atomic_load(&job.call.is_cancelled), _i == 0);
    ck_assert_int_eq(lane_rest(lane, seat), LANE_IS_ASKED);
    ck_assert_ptr_null(lane_take_returned(lane));
    lane_give_back(lane, seat);
    ck_assert_int_eq(wakes, 1);
    ck_assert_ptr_eq(lane_take_returned(lane), seat);
    ck_assert_ptr_null(lane_take_returned(lane));
    lane_leave(lane, seat);
}
END_TEST

START_TEST(what_was_given_back_is_not_the_callers_when_it_is_recalled) {
    struct lane_seat *seat = enter();
    lane_give_back(lane, seat);
    ck_assert(!lane_recall(seat));
    ck_assert_ptr_eq(lane_take_returned(lane), seat);
    lane_leave(lane, seat);
}
END_TEST

START_TEST(a_socket_that_cannot_be_watched_is_given_back) {
    struct lane_seat *seat = lane_enter(lane, somebody, -1, &job, 100);
    ck_assert_int_eq(lane_rest(lane, seat), LANE_IS_ASKED);
    lane_give_back(lane, seat);
    ck_assert_ptr_eq(lane_take_returned(lane), seat);
    lane_leave(lane, seat);
}
END_TEST

START_TEST(there_are_so_many_seats_and_each_is_given_out_again) {
    static struct lane_seat *seats[LANE_SEATS];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < LANE_SEATS; i++) {
            seats[i] = enter();
            ck_assert(i == 0 || seats[i] != seats[i - 1]);
        }
        ck_assert_ptr_null(lane_enter(lane, somebody, ends[0], &job, 100));
        for (int i = 0; i < LANE_SEATS; i++)
            lane_leave(lane, seats[i]);
    }
}
END_TEST

/* ---- All at once ---------------------------------------------------------------------------- */

enum {
    ROUNDS = 3000,
};

static atomic_int holders; /* of the one seat: never more than one */
static atomic_int turns;
static atomic_bool is_over;

static bool has_none(void *context) {
    (void)context;
    return atomic_load(&is_over);
}

static void hold(struct lane_seat *seat) {
    enum lane_verdict verdict = LANE_GOES_ON;
    while (verdict == LANE_GOES_ON) {
        char bytes[64];
        ck_assert_int_eq(atomic_fetch_add(&holders, 1), 0);
        (void)recv(seat->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        atomic_fetch_add(&turns, 1);
        atomic_fetch_sub(&holders, 1);
        verdict = lane_rest(lane, seat);
    }
    if (verdict == LANE_IS_ASKED)
        lane_give_back(lane, seat);
}

static void *work(void *argument) {
    (void)argument;
    while (!atomic_load(&is_over)) {
        uint64_t key = wait_set_sleep(&set, has_none, NULL);
        struct lane_seat *seat = key == WAIT_SET_NONE ? NULL : lane_take(lane, key);
        if (seat)
            hold(seat);
    }
    return NULL;
}

/* A client that speaks all the time, workers, and a loop that takes the connection back at any
 * moment and gives it away again: nobody is alone with it while another is, and no byte is left
 * lying when it rests. */
START_TEST(a_seat_has_one_holder_and_no_byte_is_missed) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, NULL), 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct lane_seat *seat = enter();
        atomic_store(&seat->running, NULL);
        hold(seat); /* as the worker that has answered the first request */
        for (int i = 0; i < round % 5; i++)
            say();
        for (int spins = rand() % 3000; spins > 0; spins--)
            atomic_load(&turns);
        bool is_ours = lane_recall(seat);
        while (!is_ours)
            is_ours = lane_take_returned(lane) == seat;
        ck_assert_int_eq(atomic_load(&holders), 0);
        lane_leave(lane, seat);
    }
    struct lane_seat *seat = enter();
    hold(seat);
    say();
    char byte;
    while (recv(ends[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
        sched_yield(); /* for ever, if nobody was told */
    atomic_store(&is_over, true);
    while (wait_set_call(&set))
        ;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    ck_assert(lane_recall(seat));
    lane_leave(lane, seat);
    ck_assert_int_gt(turns, ROUNDS);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("lane");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_seat_goes_to_the_worker_that_is_named_its_bytes);
    tcase_add_test(tests, what_rests_is_the_loops_at_once_and_nobody_elses);
    tcase_add_loop_test(tests, what_a_worker_holds_comes_back_when_it_is_done, 0, 3);
    tcase_add_test(tests, what_was_given_back_is_not_the_callers_when_it_is_recalled);
    tcase_add_test(tests, a_socket_that_cannot_be_watched_is_given_back);
    tcase_add_test(tests, there_are_so_many_seats_and_each_is_given_out_again);
    tcase_add_test(tests, a_seat_has_one_holder_and_no_byte_is_missed);
    suite_add_tcase(suite, tests);
    return suite;
}
