/* Limits, deadlines, overload and stopping, as a client sees them. */
#include "tests/server/wire_fixture.h"

#define GATE "POST /gate HTTP/1.1\r\n" WIRE_HOST "\r\n"

static void set_up(void) {
    config_init(&wire_config);
    wire_config.max_workers = 2;
}

static void reset(int fd) {
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
}

/* ---- Clients that leave --------------------------------------------------------------------- */

START_TEST(a_client_that_closed_its_sending_side_still_gets_its_answer) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "POST /sleep/300 HTTP/1.1\r\n" WIRE_HOST "\r\n"
                  "GET /echo/second HTTP/1.1\r\n" WIRE_HOST "\r\n");
    shutdown(fd, SHUT_WR);
    wire_expect_end(fd);
    ck_assert_ptr_nonnull(strstr(wire_text, "\r\n\r\nslept"));
    ck_assert_ptr_nonnull(strstr(wire_text, "\r\n\r\nsecond"));
    ck_assert_int_eq(double_cancelled, 0);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_request_whose_client_left_is_cancelled) {
    wire_start();
    for (int is_reset = 0; is_reset <= 1; is_reset++) {
        int fd = wire_connect();
        wire_send(fd, "POST /sleep/20000 HTTP/1.1\r\n" WIRE_HOST "\r\n");
        wire_wait_for(&double_running, 1);
        uint64_t left = wire_now_ms();
        if (is_reset)
            reset(fd);
        else
            close(fd);
        wire_wait_for(&double_cancelled, is_reset + 1);
        ck_assert_uint_le(wire_now_ms() - left, 5000);
    }
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(clients_that_leave_at_any_point_leave_nothing_behind) {
    static const char request[] =
        "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 20\r\n\r\n0123456789012345678";
    wire_start();
    for (size_t cut = 0; cut < sizeof(request); cut++) {
        int fd = wire_connect();
        wire_send_bytes(fd, request, cut);
        if (cut % 2)
            reset(fd);
        else
            close(fd);
    }
    int fd = wire_connect();
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    do {
        wire_send(fd, "GET /metrics HTTP/1.1\r\n" WIRE_HOST "\r\n");
        wire_expect(fd, "memory_resident_bytes ");
        ck_assert_uint_lt(wire_now_ms(), until);
    } while (!strstr(wire_text, "\nnigh_connections 1\n") ||
             !strstr(wire_text, "\nnigh_body_bytes 0\n") || !strstr(wire_text, "\nnigh_jobs 1\n"));
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* ---- Overload ------------------------------------------------------------------------------- */

START_TEST(answers_503_at_once_when_the_queue_is_full_and_health_all_the_same) {
    enum {
        QUEUE = 3,
        WORKERS = 2
    };
    int waiting[WORKERS + QUEUE];
    wire_config.max_queue = QUEUE;
    wire_start();
    for (int i = 0; i < WORKERS; i++) {
        waiting[i] = wire_connect();
        wire_send(waiting[i], GATE);
    }
    wire_wait_for(&double_running, WORKERS);
    for (int i = WORKERS; i < WORKERS + QUEUE; i++) {
        waiting[i] = wire_connect();
        wire_send(waiting[i], GATE);
    }
    while (workers_queue_length(wire_server->workers) < QUEUE)
        sleep_ms(1);

    int fd = wire_connect();
    for (int i = 0; i < 3; i++) { /* the connection survives being refused */
        wire_send(fd, GATE);
        wire_expect(fd, "\r\n\r\n");
        ck_assert_ptr_nonnull(strstr(wire_text, "HTTP/1.1 503 "));
        ck_assert_ptr_nonnull(strstr(wire_text, "Retry-After: 1\r\n"));
    }
    wire_send(fd, "GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(fd, "healthz check passed");

    atomic_store(&double_gate_is_open, true);
    for (int i = 0; i < WORKERS + QUEUE; i++) {
        wire_expect(waiting[i], "\r\n\r\nopen");
        close(waiting[i]);
    }
    wire_send(fd, GATE);
    wire_expect(fd, "\r\n\r\nopen");
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(turns_away_one_connection_too_many) {
    wire_config.max_connections = 2;
    wire_start();
    int first = wire_connect(), second = wire_connect();
    wire_send(first, "GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_send(second, "GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(first, "passed");
    wire_expect(second, "passed");
    int third = wire_connect();
    wire_expect_end(third);
    ck_assert_msg(strncmp(wire_text, "HTTP/1.1 503 ", 13) == 0, "%s", wire_text);
    ck_assert_ptr_nonnull(strstr(wire_text, "\"time\":0.0}"));
    close(third);
    close(first);
    for (int tries = 0;; tries++) {
        ck_assert_int_lt(tries, 1000);
        third = wire_connect();
        wire_send(third, "GET /echo/in HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n\r\n");
        if (wire_read_until(third, "\r\n\r\nin", WIRE_WAIT_MS) > 0)
            break;
        close(third);
        sleep_ms(10);
    }
    close(third);
    close(second);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(refuses_a_body_when_the_memory_for_all_is_spent) {
    static char most[1048575];
    wire_config.max_request_size_mb = 1;
    wire_config.body_budget_mb = 1;
    wire_start();
    int first = wire_connect(), second = wire_connect();
    wire_send(first, "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 1048576\r\n\r\n");
    sleep_ms(50);
    ck_assert_uint_eq(atomic_load(&wire_server->totals.body_bytes), 0); /* a promise is free */
    wire_send_bytes(first, most, sizeof(most));
    while (atomic_load(&wire_server->totals.body_bytes) < 1048576)
        sleep_ms(1);
    wire_send(second, "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 1\r\n\r\nx");
    wire_expect_end(second);
    ck_assert_msg(strncmp(wire_text, "HTTP/1.1 503 ", 13) == 0, "%s", wire_text);
    close(second);
    second = wire_connect();
    wire_send(second,
              "POST /echo HTTP/1.1\r\n" WIRE_HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    wire_expect_end(second);
    ck_assert_msg(strncmp(wire_text, "HTTP/1.1 503 ", 13) == 0, "%s", wire_text);
    close(second);
    wire_send(first, "x");
    wire_expect(first, "HTTP/1.1 200 OK");
    close(first);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* The deadline of a body in progress, brought forward. */
static void expire_only_connection(struct server *server) {
    connection_expire(&server->connections->timer);
}

static uint64_t received;

static void look_at_received(struct server *server) {
    received = server->connections ? server->connections->received : 0;
}

static void wait_for_body(size_t length) {
    do
        wire_on_loop(look_at_received);
    while (received < length);
    ck_assert_uint_eq(received, length);
}

START_TEST(a_body_that_stalls_is_answered_408_and_one_that_flows_is_not) {
    static char window[CONNECTION_BODY_WINDOW_BYTES];
    for (int is_flowing = 0; is_flowing <= 1; is_flowing++) {
        config_init(&wire_config);
        wire_start();
        int fd = wire_connect();
        wire_send(fd, "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 100000\r\n\r\n");
        wire_send_bytes(fd, window, sizeof(window) - (is_flowing ? 0 : 1));
        wait_for_body(sizeof(window) - (is_flowing ? 0 : 1));
        wire_on_loop(expire_only_connection);
        if (is_flowing) {
            wire_send_bytes(fd, window, 100000 - sizeof(window));
            wire_expect(fd, "HTTP/1.1 200 OK");
        } else {
            wire_expect_end(fd);
            ck_assert_msg(strncmp(wire_text, "HTTP/1.1 408 ", 13) == 0, "%s", wire_text);
        }
        close(fd);
        ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
    }
}
END_TEST

START_TEST(an_answer_that_needs_too_much_memory_is_an_error_and_no_more) {
    wire_config.request_memory_mb = 1;
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "GET /bytes/2000000 HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(fd, "HTTP/1.1 500 ");
    wire_send(fd, "GET /echo/a HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(fd, "\r\n\r\na");
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* ---- Deadlines ------------------------------------------------------------------------------ */

START_TEST(a_head_that_takes_too_long_is_answered_408) {
    wire_config.head_timeout_s = 1;
    wire_start();
    int fd = wire_connect();
    uint64_t begin = wire_now_ms();
    wire_send(fd, "GET / HTTP/1.1\r\nX: ");
    for (int i = 0; i < 6; i++) { /* bytes now and then do not put it off */
        sleep_ms(200);
        if (send(fd, "a", 1, MSG_NOSIGNAL) < 0)
            break;
    }
    wire_expect_end(fd);
    ck_assert_msg(strncmp(wire_text, "HTTP/1.1 408 ", 13) == 0, "%s", wire_text);
    ck_assert_uint_ge(wire_now_ms() - begin, 1000);
    ck_assert_uint_le(wire_now_ms() - begin, 10000);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(an_idle_connection_is_closed_without_a_word) {
    wire_config.keep_alive_s = 1;
    wire_start();
    int fresh = wire_connect(), used = wire_connect();
    wire_send(used, "GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(used, "passed");
    uint64_t begin = wire_now_ms();
    wire_expect_end(used);
    ck_assert_str_eq(wire_text, "");
    wire_expect_end(fresh);
    ck_assert_str_eq(wire_text, "");
    ck_assert_uint_ge(wire_now_ms() - begin, 900);
    close(used);
    close(fresh);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_client_that_takes_nothing_of_its_answer_is_cut_off) {
    wire_config.write_timeout_s = 1;
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "GET /bytes/100000000 HTTP/1.1\r\n" WIRE_HOST "\r\n");
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    while (atomic_load(&wire_server->totals.jobs) == 0)
        sleep_ms(1);
    while (atomic_load(&wire_server->totals.jobs) > 0) {
        ck_assert_uint_lt(wire_now_ms(), until);
        sleep_ms(10);
    }
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_client_that_takes_its_answer_slowly_gets_all_of_it) {
    enum {
        BYTES = 30000000
    };
    static char bytes[1000000];
    wire_config.write_timeout_s = 1;
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "GET /bytes/30000000 HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n\r\n");
    size_t total = 0;
    ssize_t got;
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        total += (size_t)got;
        sleep_ms(50); /* longer in all than the deadline, which is for no progress */
    }
    ck_assert_int_eq(got, 0);
    ck_assert_uint_gt(total, BYTES);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_connection_ends_after_10000_requests) {
    static const char request[] = "GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n";
    enum {
        BATCH = 100
    };
    wire_start();
    int fd = wire_connect();
    for (int sent = 0; sent < CONNECTION_REQUESTS_MAX; sent += BATCH) {
        for (int i = 0; i < BATCH; i++)
            wire_send(fd, request);
        bool is_last = sent + BATCH == CONNECTION_REQUESTS_MAX;
        size_t answers = 0, length = 0;
        while (answers < BATCH) {
            ssize_t got = recv(fd, wire_text + length, WIRE_TEXT_MAX - 1 - length, 0);
            ck_assert_int_gt(got, 0);
            length += (size_t)got;
            wire_text[length] = '\0';
            answers = wire_count("healthz check passed");
        }
        ck_assert_uint_eq(wire_count("Connection: close\r\n"), is_last ? 1 : 0);
    }
    wire_expect_end(fd);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* ---- Stopping ------------------------------------------------------------------------------- */

START_TEST(a_stop_waits_for_requests_and_closes_idle_connections) {
    wire_start();
    int idle = wire_connect(), busy = wire_connect();
    wire_send(idle, "GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(idle, "passed");
    wire_send(busy, GATE);
    wire_wait_for(&double_running, 1);
    kill(getpid(), SIGTERM);
    wire_expect_end(idle);
    ck_assert_str_eq(wire_text, "");
    atomic_store(&double_gate_is_open, true);
    wire_expect_end(busy);
    ck_assert_ptr_nonnull(strstr(wire_text, "Connection: close\r\n"));
    ck_assert_ptr_nonnull(strstr(wire_text, "\r\n\r\nopen"));
    pthread_join(wire_thread, NULL);
    ck_assert_int_eq(wire_exit_status, EXIT_SUCCESS);
    alarm(0);
    server_free(wire_server);
    api_free(wire_api);
    close(idle);
    close(busy);
}
END_TEST

START_TEST(a_server_that_stops_is_not_ready) {
    wire_start();
    int busy = wire_connect(), asking = wire_connect();
    wire_send(asking, "GET /readyz HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(asking, "HTTP/1.1 200 ");
    wire_send(busy, GATE);
    wire_wait_for(&double_running, 1);
    wire_send(asking, "GET /readyz"); /* begun, so not idle */
    sleep_ms(50);
    kill(getpid(), SIGTERM);
    sleep_ms(50);
    wire_send(asking, " HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect_end(asking);
    ck_assert_msg(strncmp(wire_text, "HTTP/1.1 503 ", 13) == 0, "%s", wire_text);
    atomic_store(&double_gate_is_open, true);
    wire_expect_end(busy);
    pthread_join(wire_thread, NULL);
    ck_assert_int_eq(wire_exit_status, EXIT_SUCCESS);
    alarm(0);
    server_free(wire_server);
    api_free(wire_api);
}
END_TEST

START_TEST(a_stop_gives_up_when_its_time_is_over) {
    wire_config.stop_timeout_s = 2;
    wire_start();
    int busy = wire_connect();
    wire_send(busy, GATE);
    wire_wait_for(&double_running, 1);
    uint64_t begin = wire_now_ms();
    ck_assert_int_eq(wire_stop(), EXIT_FAILURE);
    ck_assert_uint_le(wire_now_ms() - begin, 2500);
    close(busy);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("wire_limits");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, a_client_that_closed_its_sending_side_still_gets_its_answer);
    tcase_add_test(tests, a_request_whose_client_left_is_cancelled);
    tcase_add_test(tests, clients_that_leave_at_any_point_leave_nothing_behind);
    tcase_add_test(tests, answers_503_at_once_when_the_queue_is_full_and_health_all_the_same);
    tcase_add_test(tests, turns_away_one_connection_too_many);
    tcase_add_test(tests, refuses_a_body_when_the_memory_for_all_is_spent);
    tcase_add_test(tests, a_body_that_stalls_is_answered_408_and_one_that_flows_is_not);
    tcase_add_test(tests, an_answer_that_needs_too_much_memory_is_an_error_and_no_more);
    tcase_add_test(tests, a_head_that_takes_too_long_is_answered_408);
    tcase_add_test(tests, an_idle_connection_is_closed_without_a_word);
    tcase_add_test(tests, a_client_that_takes_nothing_of_its_answer_is_cut_off);
    tcase_add_test(tests, a_client_that_takes_its_answer_slowly_gets_all_of_it);
    tcase_add_test(tests, a_connection_ends_after_10000_requests);
    tcase_add_test(tests, a_stop_waits_for_requests_and_closes_idle_connections);
    tcase_add_test(tests, a_server_that_stops_is_not_ready);
    tcase_add_test(tests, a_stop_gives_up_when_its_time_is_over);
    suite_add_tcase(suite, tests);
    return suite;
}
