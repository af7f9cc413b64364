/* Answers that workers send themselves: whatever the client does meanwhile, it gets them whole and
 * in order, and nothing is left behind. */
#include "tests/server/wire_fixture.h"

#define GATE "POST /gate HTTP/1.1\r\n" WIRE_HOST "\r\n"

static void set_up(void) {
    config_init(&wire_config);
    wire_config.max_workers = 2;
}

START_TEST(the_worker_sends_and_the_loop_learns_of_it_at_a_tick) {
    bool is_seen = false;
    wire_start();
    int fd = wire_connect();
    for (int tries = 0; !is_seen && tries < 20; tries++) { /* a tick may come in between */
        wire_send(fd, "GET /echo/a HTTP/1.1\r\n" WIRE_HOST "\r\n");
        wire_expect(fd, "\r\n\r\na");
        wire_on_loop(wire_look);
        /* The worker may still be on its way out of the system call. */
        is_seen = wire_seen_state == CONNECTION_RUNNING &&
                  (wire_seen_stage == REPLY_SENT || wire_seen_stage == REPLY_UNDERWAY);
    }
    ck_assert_msg(is_seen, "state %d, stage %d", wire_seen_state, wire_seen_stage);
    wire_wait_for_state(CONNECTION_IDLE);
    close(fd);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

static const char *const kept[] = {
    "GET /echo/a HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n\r\n",
    "GET /echo/a HTTP/1.0\r\n\r\n",
    "GET /echo/a HTTP/1.1\r\n" WIRE_HOST "\r\nGET /echo/b HTTP/1.1\r\n" WIRE_HOST
    "Connection: close\r\n\r\n",
};

START_TEST(answers_that_leave_something_to_do_are_the_loops) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, kept[_i]);
    wire_expect_end(fd);
    ck_assert_uint_eq(wire_count("Connection: close\r\n"), 1);
    ck_assert_uint_eq(wire_count("HTTP/1.1 200 OK\r\n"), _i == 2 ? 2 : 1);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(whoever_has_an_answer_finds_it_counted) {
    static const char row[] = "rest_responses_total{method=\"GET\",endpoint=\"/echo/{text}\","
                              "status=\"200\"} %d\n";
    wire_start();
    int asks = wire_connect(), counts = wire_connect();
    for (int i = 1; i <= 200; i++) {
        char expected[128];
        wire_send(asks, "GET /echo/a HTTP/1.1\r\n" WIRE_HOST "\r\n");
        wire_expect(asks, "\r\n\r\na");
        wire_send(counts, WIRE_METRICS);
        wire_expect(counts, "memory_resident_bytes ");
        snprintf(expected, sizeof(expected), row, i);
        ck_assert_msg(strstr(wire_text, expected) != NULL, "no %s in %s", expected, wire_text);
    }
    close(asks);
    close(counts);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* ---- Clients that read slowly, or not at all ------------------------------------------------- */

/* How many requests of /echo/{text} had the stage clocked, by the figures in wire_text. */
static int clocked(const char *stage) {
    char row[128];
    int count = 0;
    snprintf(row, sizeof(row),
             "nigh_stage_cpu_seconds_count{method=\"GET\",endpoint=\"/echo/{text}\",stage=\"%s\"} ",
             stage);
    const char *at = strstr(wire_text, row);
    if (at)
        count = atoi(at + strlen(row));
    return count;
}

/* The last stage is counted when it is over, which may be after the client has the answer. Of the
 * jobs that a thread creates the first of 16 is clocked. */
START_TEST(a_sample_of_requests_is_clocked_sending_included) {
    enum {
        CLOCKED = 10,
        CREATORS = 3 /* the loop and two workers */
    };
    wire_start();
    int fd = wire_connect();
    for (int i = 0; i < CLOCKED * JOB_CLOCKED_EVERY; i++) {
        wire_send(fd, "GET /echo/a HTTP/1.1\r\n" WIRE_HOST "\r\n");
        wire_expect(fd, "\r\n\r\na");
    }
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    do {
        ck_assert_msg(wire_now_ms() < until, "%s", wire_text);
        sleep_ms(5);
        wire_send(fd, WIRE_METRICS);
        wire_expect(fd, "memory_resident_bytes ");
    } while (clocked("send") < CLOCKED || clocked("send") != clocked("parse"));
    ck_assert_int_le(clocked("send"), CLOCKED + CREATORS);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_large_answer_is_sent_on_by_the_loop_and_the_connection_stays) {
    wire_start();
    int fd = wire_connect();
    for (int round = 0; round < 3; round++)
        wire_expect_much(fd);
    wire_send(fd, "GET /echo/after HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(fd, "\r\n\r\nafter");
    close(fd);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_cut_off) {
    wire_config.write_timeout_s = 1;
    wire_start();
    int fd = wire_connect();
    wire_ask_for_much(fd);
    wire_expect_nothing_left();
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* ---- Clients that leave ---------------------------------------------------------------------- */

START_TEST(a_client_that_leaves_while_a_worker_sends_keeps_its_socket_until_then) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "POST /hold HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_wait_for(&double_running, 1);
    wire_on_loop(wire_claim);
    if (_i == 0)
        wire_reset(fd);
    else
        close(fd);
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    do {
        wire_on_loop(wire_look);
        ck_assert_uint_lt(wire_now_ms(), until);
        ck_assert_int_eq(wire_seen_state, CONNECTION_RUNNING);
    } while (wire_seen_stage != REPLY_AWAITED);
    sleep_ms(50);
    wire_on_loop(wire_look);
    ck_assert_int_eq(wire_seen_state, CONNECTION_RUNNING); /* open, though the client is gone */
    atomic_store(&double_gate_is_open, true);
    wire_wait_for_state(-1);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* Clients come and go at every moment of a request, descriptors are used again at once, and nobody
 * ever gets another's answer. */
static void *come_and_go(void *argument) {
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 300; i++) {
        char request[128], expected[64];
        const char *complaint = NULL;
        int name = rand_r(&seed), fd = wire_connect();
        snprintf(request, sizeof(request), "GET /echo/<%d> HTTP/1.1\r\n" WIRE_HOST "\r\n", name);
        snprintf(expected, sizeof(expected), "\r\n\r\n<%d>", name);
        for (int requests = rand_r(&seed) % 4; requests >= 0 && !complaint; requests--) {
            if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 || rand_r(&seed) % 5 == 0)
                break; /* leaves without its answer */
            complaint = wire_one_answer(fd, expected);
        }
        wire_leave(fd, &seed);
        if (complaint)
            return (void *)(uintptr_t)complaint;
    }
    return NULL;
}

START_TEST(nobody_gets_the_answer_of_one_who_left) {
    wire_start();
    wire_run_clients(come_and_go);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* ---- Clients that do not wait for their answer ----------------------------------------------- */

START_TEST(requests_sent_at_any_moment_are_answered_in_order) {
    enum {
        REQUESTS = 3000
    };
    static char answers[REQUESTS * 300];
    size_t length = 0;
    unsigned seed = 11;
    wire_start();
    int fd = wire_connect();
    for (int sent = 0; sent < REQUESTS; sent++) {
        char request[128];
        snprintf(request, sizeof(request), "GET /echo/<%d> HTTP/1.1\r\n" WIRE_HOST "\r\n", sent);
        size_t cut = (size_t)rand_r(&seed) % strlen(request);
        wire_send_bytes(fd, request, cut);
        if (rand_r(&seed) % 4 == 0)
            for (int spins = rand_r(&seed) % 20000; spins > 0; spins--)
                atomic_load(&wire_seen_state);
        wire_send(fd, request + cut);
        ssize_t got = recv(fd, answers + length, sizeof(answers) - 1 - length,
                           rand_r(&seed) % 3 ? MSG_DONTWAIT : 0);
        length += got > 0 ? (size_t)got : 0;
        if (rand_r(&seed) % 3 == 0)
            sched_yield();
    }
    shutdown(fd, SHUT_WR);
    for (ssize_t got; (got = recv(fd, answers + length, sizeof(answers) - 1 - length, 0)) > 0;)
        length += (size_t)got;
    const char *at = answers;
    for (int i = 0; i < REQUESTS; i++) {
        char expected[32];
        snprintf(expected, sizeof(expected), "\r\n\r\n<%d>", i);
        const char *next = strstr(at, "\r\n\r\n");
        ck_assert_msg(next && strncmp(next, expected, strlen(expected)) == 0, "answer %d", i);
        at = next + 4;
    }
    close(fd);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* ---- Deadlines and stopping ------------------------------------------------------------------ */

START_TEST(a_connection_is_idle_from_its_last_answer_on) {
    wire_config.keep_alive_s = 1;
    wire_start();
    int fd = wire_connect();
    uint64_t begin = wire_now_ms();
    wire_send(fd, "GET /echo/a HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(fd, "\r\n\r\na");
    wire_expect_end(fd);
    ck_assert_uint_ge(wire_now_ms() - begin, 1000);
    ck_assert_uint_le(wire_now_ms() - begin, 10000);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_stop_ends_a_connection_whose_answer_was_sent_without_the_loop) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "GET /echo/a HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(fd, "\r\n\r\na");
    uint64_t begin = wire_now_ms();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS); /* at once: well before the time to stop is up */
    ck_assert_uint_le(wire_now_ms() - begin, 5000);
    wire_expect_end(fd);
    ck_assert_str_eq(wire_text, "");
    close(fd);
}
END_TEST

START_TEST(a_stop_lets_a_worker_finish_and_then_ends_the_connection) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, GATE);
    wire_wait_for(&double_running, 1);
    kill(getpid(), SIGTERM);
    sleep_ms(100);
    atomic_store(&double_gate_is_open, true);
    wire_expect_end(fd);
    ck_assert_ptr_nonnull(strstr(wire_text, "Connection: close\r\n"));
    ck_assert_ptr_nonnull(strstr(wire_text, "\r\n\r\nopen"));
    pthread_join(wire_thread, NULL);
    ck_assert_int_eq(wire_exit_status, EXIT_SUCCESS);
    alarm(0);
    server_free(wire_server);
    api_free(wire_api);
    close(fd);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("wire_delegated");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, the_worker_sends_and_the_loop_learns_of_it_at_a_tick);
    tcase_add_loop_test(tests, answers_that_leave_something_to_do_are_the_loops, 0,
                        (int)(sizeof(kept) / sizeof(kept[0])));
    tcase_add_test(tests, whoever_has_an_answer_finds_it_counted);
    tcase_add_test(tests, a_sample_of_requests_is_clocked_sending_included);
    tcase_add_test(tests, a_large_answer_is_sent_on_by_the_loop_and_the_connection_stays);
    tcase_add_test(tests, a_client_that_does_not_read_is_cut_off);
    tcase_add_loop_test(
        tests, a_client_that_leaves_while_a_worker_sends_keeps_its_socket_until_then, 0, 2);
    tcase_add_test(tests, nobody_gets_the_answer_of_one_who_left);
    tcase_add_test(tests, requests_sent_at_any_moment_are_answered_in_order);
    tcase_add_test(tests, a_connection_is_idle_from_its_last_answer_on);
    tcase_add_test(tests, a_stop_ends_a_connection_whose_answer_was_sent_without_the_loop);
    tcase_add_test(tests, a_stop_lets_a_worker_finish_and_then_ends_the_connection);
    suite_add_tcase(suite, tests);
    return suite;
}
