/* Connections that workers serve by themselves, in time: they rest, take long, are left by their
 * clients at any moment, meet a full queue and a stop; and nothing is left behind. */
#include "tests/server/wire_fixture.h"

#include <sched.h>

static void set_up(void) {
    config_init(&wire_config);
    wire_config.max_workers = 2;
}

/* ---- Time ----------------------------------------------------------------------------------- */

START_TEST(a_connection_on_which_nothing_happens_is_the_loops) {
    wire_config.keep_alive_s = 1;
    int fd = wire_connect_in_lane();
    uint64_t begin = wire_now_ms();
    wire_wait_for_state(CONNECTION_IDLE);
    wire_expect_end(fd);
    ck_assert_uint_ge(wire_now_ms() - begin, 1000);
    ck_assert_uint_le(wire_now_ms() - begin, 10000);
    wire_finish(fd);
}
END_TEST

START_TEST(a_connection_that_goes_on_stays_in_it) {
    int fd = wire_connect_in_lane();
    for (int i = 0; i < 40; i++) {
        wire_send(fd, WIRE_SAY("a"));
        wire_expect(fd, "\r\n\r\na");
        sleep_ms(25);
        wire_on_loop(wire_look);
        ck_assert_int_eq(wire_seen_state, CONNECTION_LANED);
    }
    wire_finish(fd);
}
END_TEST

static bool wait_for_cancelled(void) {
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    while (atomic_load(&double_cancelled) == 0 && wire_now_ms() < until)
        sleep_ms(5);
    return atomic_load(&double_cancelled) > 0;
}

/* By an end, by a reset, and by one of its two sides. */
START_TEST(a_long_request_whose_client_leaves_is_cancelled) {
    int fd = wire_connect_in_lane();
    wire_send(fd, "POST /sleep/60000 HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_wait_for(&double_running, 1);
    if (_i == 1)
        sleep_ms(4 * CONNECTION_LOOK_MS); /* it was recalled meanwhile */
    if (_i == 2)
        wire_reset(fd);
    else if (_i == 3)
        shutdown(fd, SHUT_WR);
    else
        close(fd);
    ck_assert(wait_for_cancelled());
    if (_i == 3) {
        wire_expect_end(fd);
        close(fd);
    }
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_long_request_is_answered_though_it_was_recalled) {
    int fd = wire_connect_in_lane();
    for (int round = 0; round < 2; round++) {
        wire_send(fd, "POST /sleep/1200 HTTP/1.1\r\n" WIRE_HOST "\r\n");
        if (_i == 1) {
            sleep_ms(4 * CONNECTION_LOOK_MS);
            wire_send(fd, WIRE_SAY("next")); /* read by the loop, and kept */
            wire_expect(fd, "\r\n\r\nnext");
            ck_assert_ptr_nonnull(strstr(wire_text, "\r\n\r\nslept"));
        } else {
            wire_expect(fd, "\r\n\r\nslept");
        }
        wire_enter_lane(fd);
    }
    wire_finish(fd);
}
END_TEST

/* ---- Too much -------------------------------------------------------------------------------- */

START_TEST(a_full_queue_refuses_the_request_that_would_lead_into_it) {
    wire_config.max_workers = 1;
    wire_config.max_queue = 1;
    wire_start();
    int holds = wire_connect(), waits = wire_connect(), fd = wire_connect();
    for (int i = 0; i < CONNECTION_LANE_AFTER; i++) {
        wire_send(fd, WIRE_SAY("a"));
        wire_expect(fd, "\r\n\r\na");
    }
    wire_send(holds, "POST /hold HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_wait_for(&double_running, 1);
    wire_send(waits, WIRE_SAY("b"));
    while (workers_queue_length(wire_server->workers) == 0)
        sleep_ms(1);
    wire_send(fd, WIRE_SAY("c"));
    wire_expect(fd, "HTTP/1.1 503 ");
    atomic_store(&double_gate_is_open, true);
    wire_expect(waits, "\r\n\r\nb");
    wire_send(fd, WIRE_SAY("d"));
    wire_expect(fd, "\r\n\r\nd");
    close(holds);
    close(waits);
    wire_finish(fd);
}
END_TEST

/* On one core a client's next request is there before the worker has got to its end, and another
 * client must have its turn. */
START_TEST(clients_that_share_a_core_with_the_server_get_their_answers) {
    enum {
        CLIENTS = 2,
        REQUESTS = 3000
    };
    int fds[CLIENTS];
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0); /* of all threads to come */
    wire_start();
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = wire_connect();
    for (int i = 0; i < REQUESTS; i++) {
        char request[128], expected[32];
        int fd = fds[i % 100 == 0 ? 1 : 0];
        snprintf(request, sizeof(request), "GET /echo/<%d> HTTP/1.1\r\n" WIRE_HOST "\r\n", i);
        snprintf(expected, sizeof(expected), "\r\n\r\n<%d>", i);
        wire_send(fd, request);
        wire_expect(fd, expected);
        ck_assert_uint_eq(wire_count("HTTP/1.1"), 1);
    }
    close(fds[1]);
    wire_finish(fds[0]);
}
END_TEST

/* ---- Stopping -------------------------------------------------------------------------------- */

START_TEST(a_stop_ends_a_connection_that_rests) {
    int fd = wire_connect_in_lane();
    uint64_t begin = wire_now_ms();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
    ck_assert_uint_le(wire_now_ms() - begin, 5000);
    wire_expect_end(fd);
    ck_assert_str_eq(wire_text, "");
    close(fd);
}
END_TEST

START_TEST(a_stop_lets_a_worker_finish_and_then_ends_the_connection) {
    int fd = wire_connect_in_lane();
    wire_send(fd, "POST /gate HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_wait_for(&double_running, 1);
    kill(getpid(), SIGTERM);
    sleep_ms(100);
    atomic_store(&double_gate_is_open, true);
    wire_expect_end(fd);
    ck_assert_ptr_nonnull(strstr(wire_text, "\r\n\r\nopen"));
    pthread_join(wire_thread, NULL);
    ck_assert_int_eq(wire_exit_status, EXIT_SUCCESS);
    alarm(0);
    server_free(wire_server);
    api_free(wire_api);
    close(fd);
}
END_TEST

START_TEST(a_stop_that_is_in_a_hurry_cancels_what_runs) {
    wire_config.stop_timeout_s = 1;
    int fd = wire_connect_in_lane();
    wire_send(fd, "POST /sleep/60000 HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_wait_for(&double_running, 1);
    ck_assert_int_eq(wire_stop(), EXIT_FAILURE);
    ck_assert_int_eq(double_cancelled, 1);
    close(fd);
}
END_TEST

/* ---- Many at once ---------------------------------------------------------------------------- */

static const char *come_and_go(unsigned seed) {
    int fd = wire_connect();
    for (int requests = rand_r(&seed) % 20; requests >= 0; requests--) {
        char request[256], expected[64];
        const char *complaint, *path = rand_r(&seed) % 8 ? "GET /echo/" : "DELETE /things/";
        int name = rand_r(&seed);
        snprintf(request, sizeof(request), "%s<%d> HTTP/1.1\r\n" WIRE_HOST "\r\n", path, name);
        snprintf(expected, sizeof(expected), "\r\n\r\n<%d>", name);
        size_t length = strlen(request), cut = length;
        if (rand_r(&seed) % 4 == 0)
            cut = (size_t)rand_r(&seed) % length;
        if (send(fd, request, cut, MSG_NOSIGNAL) < 0)
            return "the connection was closed";
        if (rand_r(&seed) % 30 == 0)
            break; /* leaves without its answer */
        if (cut < length && rand_r(&seed) % 20 == 0)
            sleep_ms(CONNECTION_LOOK_MS + rand_r(&seed) % 100);
        if (send(fd, request + cut, length - cut, MSG_NOSIGNAL) < 0)
            return "the connection was closed";
        if ((complaint = wire_one_answer(fd, expected)))
            return complaint;
    }
    wire_leave(fd, &seed);
    return NULL;
}

static void *come_and_go_often(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument * 1000;
    const char *complaint = NULL;
    for (int i = 0; i < 60 && !complaint; i++)
        complaint = come_and_go(seed++ * 7919);
    return (void *)(uintptr_t)complaint;
}

START_TEST(nobody_gets_the_answer_of_another_however_they_come_and_go) {
    wire_start();
    wire_run_clients(come_and_go_often);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("wire_lane_time");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, a_connection_on_which_nothing_happens_is_the_loops);
    tcase_add_test(tests, a_connection_that_goes_on_stays_in_it);
    tcase_add_loop_test(tests, a_long_request_whose_client_leaves_is_cancelled, 0, 4);
    tcase_add_loop_test(tests, a_long_request_is_answered_though_it_was_recalled, 0, 2);
    tcase_add_test(tests, a_full_queue_refuses_the_request_that_would_lead_into_it);
    tcase_add_test(tests, clients_that_share_a_core_with_the_server_get_their_answers);
    tcase_add_test(tests, a_stop_ends_a_connection_that_rests);
    tcase_add_test(tests, a_stop_lets_a_worker_finish_and_then_ends_the_connection);
    tcase_add_test(tests, a_stop_that_is_in_a_hurry_cancels_what_runs);
    tcase_add_test(tests, nobody_gets_the_answer_of_another_however_they_come_and_go);
    suite_add_tcase(suite, tests);
    return suite;
}
