/* Requests that come while a worker is still sending the answer before: they follow it, or wait;
 * whatever the client does, its answers come whole and in order, and nothing is left behind. */
#include "tests/server/wire_fixture.h"

#include <sched.h>

static void set_up(void) {
    config_init(&wire_config);
    wire_config.max_workers = 2;
}

#define NEXT "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 4\r\n\r\n"

/* A worker is held back just before it sends, and the client's next bytes are there. */
static int send_ahead(const char *bytes) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "POST /hold HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_wait_for(&double_running, 1);
    wire_on_loop(wire_claim);
    wire_send(fd, bytes);
    return fd;
}

static atomic_bool seen_following;

static void look_for_following(struct server *server) {
    const struct connection *connection = server->connections;
    wire_look(server);
    seen_following = connection && connection->is_following;
}

static void wait_for_following(void) {
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    for (wire_on_loop(look_for_following); !seen_following; wire_on_loop(look_for_following)) {
        ck_assert_uint_lt(wire_now_ms(), until);
        sleep_ms(1);
    }
    ck_assert_int_eq(wire_seen_state, CONNECTION_RUNNING);
    ck_assert_int_eq(wire_seen_stage, REPLY_ALLOWED);
}

static void expect_in_order(int fd, const char *first, const char *second, const char *third) {
    wire_expect(fd, third);
    const char *at = strstr(wire_text, first);
    at = at ? strstr(at, second) : NULL;
    ck_assert_msg(at && strstr(at, third), "%s", wire_text);
    ck_assert_uint_eq(wire_count("HTTP/1.1 200 OK\r\n"), 3);
}

static atomic_bool seen_three;

static void look_whether_three_jobs_are_counted(struct server *server) {
    struct arena arena;
    struct json_writer out;
    arena_init(&arena, 1 << 20);
    json_writer_init(&out, &arena);
    metrics_write(server->metrics, &(struct metrics_moment){.clock = &server->clock}, &out);
    const char *line = "\nnigh_jobs_total 3\n";
    seen_three = json_writer_finish(&out) == STATUS_OK &&
                 memmem(out.text, out.length, line, strlen(line)) != NULL;
    arena_free(&arena);
}

START_TEST(the_next_request_is_answered_after_the_one_it_follows) {
    int fd = send_ahead(NEXT "next");
    wait_for_following();
    wire_send(fd, "GET /echo/third HTTP/1.1\r\n" WIRE_HOST "\r\n"); /* cannot follow, too */
    sleep_ms(20);
    atomic_store(&double_gate_is_open, true);
    expect_in_order(fd, "\r\n\r\nopen", "\r\n\r\nnext", "\r\n\r\nthird");
    wire_on_loop(look_whether_three_jobs_are_counted);
    ck_assert(seen_three); /* the one that came back counts once */
    close(fd);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* What is no whole request of the usual kind waits as ever; one line each. */
static const struct {
    const char *ahead, *rest, *answer;
} unusual[] = {
    {"GET /ech", "o/b HTTP/1.1\r\n" WIRE_HOST "\r\n", "\r\n\r\nb"},
    {NEXT "n", "ext", "\r\n\r\nnext"},
    {NEXT "nextG", "ET /echo/c HTTP/1.1\r\n" WIRE_HOST "\r\n", "\r\n\r\nc"},
    {"GET /nowhere HTTP/1.1\r\n" WIRE_HOST "\r\n", "", "HTTP/1.1 404 "},
    {"GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n", "", "healthz check passed"},
    {"GET /echo/d HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n\r\n", "", "\r\n\r\nd"},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Transfer-Encoding: chunked\r\n\r\n1\r\ne\r\n0\r\n\r\n",
     "", "\r\n\r\ne"},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nf", "",
     "\r\n\r\nf"},
    {"NONSENSE", "\r\n\r\n", "HTTP/1.1 400 "},
};

START_TEST(other_bytes_wait_until_the_answer_is_sent) {
    int fd = send_ahead(unusual[_i].ahead);
    sleep_ms(50);
    wire_on_loop(look_for_following);
    ck_assert(!seen_following);
    ck_assert_int_eq(wire_seen_stage, REPLY_AWAITED);
    wire_send(fd, unusual[_i].rest);
    atomic_store(&double_gate_is_open, true);
    wire_expect(fd, unusual[_i].answer);
    ck_assert_ptr_nonnull(strstr(wire_text, "\r\n\r\nopen"));
    close(fd);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

static struct connection *oldest(struct server *server) {
    struct connection *connection = server->connections;
    while (connection->next)
        connection = connection->next;
    return connection;
}

static void claim_oldest(struct server *server) {
    ck_assert(reply_claim(&oldest(server)->job->reply));
}

static void look_at_oldest(struct server *server) {
    seen_following = oldest(server)->is_following;
    wire_seen_stage = (int)oldest(server)->job->reply.stage;
}

START_TEST(a_request_does_not_follow_while_others_wait) {
    wire_config.max_workers = 1;
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "POST /hold HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_wait_for(&double_running, 1);
    int other = wire_connect();
    wire_send(other, "GET /echo/other HTTP/1.1\r\n" WIRE_HOST "\r\n");
    while (workers_queue_length(wire_server->workers) == 0)
        sleep_ms(1);
    wire_on_loop(claim_oldest);
    wire_send(fd, NEXT "next");
    uint64_t until = wire_now_ms() + WIRE_WAIT_MS;
    do {
        wire_on_loop(look_at_oldest);
        ck_assert_uint_lt(wire_now_ms(), until);
    } while (wire_seen_stage == REPLY_UNDERWAY);
    ck_assert_int_eq(wire_seen_stage, REPLY_AWAITED);
    ck_assert(!seen_following);
    atomic_store(&double_gate_is_open, true);
    wire_expect(other, "\r\n\r\nother");
    wire_expect(fd, "\r\n\r\nnext");
    close(fd);
    close(other);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_client_that_leaves_with_two_requests_keeps_its_socket_until_the_first_is_sent) {
    int fd = send_ahead(NEXT "next");
    wait_for_following();
    if (_i == 0)
        wire_reset(fd);
    else
        close(fd);
    sleep_ms(CONNECTION_GONE_MS + 500); /* its end alone does not say that it does not read */
    wire_on_loop(wire_look);
    ck_assert_int_eq(wire_seen_state, CONNECTION_RUNNING);
    atomic_store(&double_gate_is_open, true);
    wire_wait_for_state(-1);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_stop_answers_the_first_of_two_requests_and_says_that_it_is_the_last) {
    int fd = send_ahead(NEXT "next");
    wait_for_following();
    kill(getpid(), SIGTERM);
    sleep_ms(100);
    atomic_store(&double_gate_is_open, true);
    wire_expect_end(fd);
    ck_assert_uint_eq(wire_count("Connection: close\r\n"), 1);
    ck_assert_uint_eq(wire_count("HTTP/1.1 200 OK\r\n"), 1);
    ck_assert_ptr_nonnull(strstr(wire_text, "\r\n\r\nopen"));
    pthread_join(wire_thread, NULL);
    ck_assert_int_eq(wire_exit_status, EXIT_SUCCESS);
    alarm(0);
    server_free(wire_server);
    api_free(wire_api);
    close(fd);
}
END_TEST

/* On one core the client's next request is there before the worker is, now and then, and follows.
 */
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
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    wire_expect_nothing_left();
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("wire_following");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, the_next_request_is_answered_after_the_one_it_follows);
    tcase_add_loop_test(tests, other_bytes_wait_until_the_answer_is_sent, 0,
                        (int)(sizeof(unusual) / sizeof(unusual[0])));
    tcase_add_test(tests, a_request_does_not_follow_while_others_wait);
    tcase_add_loop_test(
        tests, a_client_that_leaves_with_two_requests_keeps_its_socket_until_the_first_is_sent, 0,
        2);
    tcase_add_test(tests, a_stop_answers_the_first_of_two_requests_and_says_that_it_is_the_last);
    tcase_add_test(tests, clients_that_share_a_core_with_the_server_get_their_answers);
    suite_add_tcase(suite, tests);
    return suite;
}
