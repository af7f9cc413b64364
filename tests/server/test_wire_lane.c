/* Connections that workers serve by themselves: whatever a client sends, its answers come whole and
 * in order, as if the loop had read it all. */
#include "server/lane_serve.h"
#include "tests/server/wire_fixture.h"

static void set_up(void) {
    config_init(&wire_config);
    wire_config.max_workers = 2;
}

START_TEST(usual_requests_are_answered_in_order) {
    int fd = wire_connect_in_lane();
    for (int i = 0; i < 3000; i++) {
        char request[128], expected[32];
        snprintf(request, sizeof(request),
                 "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 8\r\n\r\n%08d", i);
        snprintf(expected, sizeof(expected), "\r\n\r\n%08d", i);
        wire_send(fd, request);
        wire_expect(fd, expected);
        ck_assert_uint_eq(wire_count("HTTP/1.1"), 1);
    }
    wire_finish(fd);
}
END_TEST

START_TEST(only_reads_lead_into_it) {
    wire_start();
    int fd = wire_connect();
    for (int i = 0; i < 10; i++) {
        wire_send(fd, "DELETE /things/a HTTP/1.1\r\n" WIRE_HOST "\r\n");
        wire_expect(fd, "\r\n\r\na");
        wire_on_loop(wire_look);
        ck_assert_int_ne(wire_seen_state, CONNECTION_LANED);
    }
    wire_enter_lane(fd);
    wire_finish(fd);
}
END_TEST

/* What is for the loop; each with what its answer holds, and what follows it. */
enum after {
    STAYS, /* for the next request */
    WAITS, /* for the rest of one that has begun */
    ENDS,
};

static const struct {
    const char *request, *answer;
    enum after after;
} unusual[] = {
    {"DELETE /things/a HTTP/1.1\r\n" WIRE_HOST "\r\n", "\r\n\r\na", STAYS},
    {"GET /nowhere HTTP/1.1\r\n" WIRE_HOST "\r\n", "HTTP/1.1 404 ", STAYS},
    {"PUT /echo HTTP/1.1\r\n" WIRE_HOST "\r\n", "HTTP/1.1 405 ", STAYS},
    {"GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n", "healthz check passed", STAYS},
    {"OPTIONS /echo HTTP/1.1\r\n" WIRE_HOST "\r\n", "Allow: ", STAYS},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Transfer-Encoding: chunked\r\n\r\n1\r\ne\r\n0\r\n\r\n",
     "\r\n\r\ne", STAYS},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nf",
     "\r\n\r\nf", STAYS},
    {WIRE_SAY("one") WIRE_SAY("two"), "\r\n\r\ntwo", STAYS},
    {WIRE_SAY("one") "GET /ec", "\r\n\r\none", WAITS},
    {"GET /echo/d HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n\r\n", "\r\n\r\nd", ENDS},
    {"GET /echo/d HTTP/1.0\r\n\r\n", "\r\n\r\nd", ENDS},
    {"NONSENSE\r\n\r\n", "HTTP/1.1 400 ", ENDS},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
     "HTTP/1.1 400 ", ENDS},
};

START_TEST(what_is_not_usual_is_the_loops) {
    int fd = wire_connect_in_lane();
    wire_send(fd, unusual[_i].request);
    if (unusual[_i].after == ENDS) {
        wire_expect_end(fd);
        ck_assert_uint_eq(wire_count("Connection: close\r\n"), 1);
        ck_assert_ptr_nonnull(strstr(wire_text, unusual[_i].answer));
    } else {
        wire_expect(fd, unusual[_i].answer);
    }
    if (unusual[_i].after == STAYS)
        wire_enter_lane(fd);
    wire_finish(fd);
}
END_TEST

START_TEST(unusual_requests_keep_it_out_longer_and_longer) {
    int fd = wire_connect_in_lane();
    int laned = 0;
    for (int i = 0; i < 400; i++) {
        wire_send(fd,
                  i % 8 == 7 ? "DELETE /things/a HTTP/1.1\r\n" WIRE_HOST "\r\n" : WIRE_SAY("a"));
        wire_expect(fd, "\r\n\r\na");
        wire_on_loop(wire_look);
        laned += wire_seen_state == CONNECTION_LANED;
    }
    ck_assert_int_gt(laned, 0);
    ck_assert_int_lt(laned, 100);
    wire_finish(fd);
}
END_TEST

static void send_in_pieces(int fd, const char *text, size_t piece, long pause_ms) {
    for (size_t at = 0; at < strlen(text); at += piece) {
        size_t left = strlen(text) - at;
        wire_send_bytes(fd, text + at, left < piece ? left : piece);
        sleep_ms(pause_ms);
    }
}

START_TEST(a_request_may_come_in_pieces) {
    static const char request[] =
        "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 12\r\n\r\nin 12 pieces";
    int fd = wire_connect_in_lane();
    for (int round = 0; round < 3; round++) {
        send_in_pieces(fd, request, (size_t)_i + 1, 1);
        wire_expect(fd, "\r\n\r\nin 12 pieces");
    }
    wire_finish(fd);
}
END_TEST

START_TEST(pieces_that_come_slowly_are_taken_over_by_the_loop) {
    static const char request[] =
        "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 12\r\n\r\nin two parts";
    size_t cut = _i == 0 ? 10 : strlen(request) - 5;
    int fd = wire_connect_in_lane();
    wire_send_bytes(fd, request, cut);
    wire_wait_for_state(_i == 0 ? CONNECTION_HEAD : CONNECTION_BODY);
    wire_send(fd, request + cut);
    wire_expect(fd, "\r\n\r\nin two parts");
    wire_finish(fd);
}
END_TEST

static const size_t sizes[] = {LANE_REQUEST_BYTES_MAX - 200, LANE_REQUEST_BYTES_MAX - 80,
                               LANE_REQUEST_BYTES_MAX, LANE_REQUEST_BYTES_MAX + 1, 300000};

/* Around the size of a worker's buffer, and of what a socket takes at once. */
START_TEST(bodies_of_any_size_are_whole) {
    char head[128];
    char *body = malloc(sizes[_i] + 1);
    ck_assert_ptr_nonnull(body);
    int fd = wire_connect_in_lane();
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizes[_i]; i++)
            body[i] = (char)('a' + (i * 7 + (size_t)round) % 26);
        memcpy(body + sizes[_i] - 4, ".END", 5);
        snprintf(head, sizeof(head),
                 "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: %zu\r\n\r\n", sizes[_i]);
        wire_send(fd, head);
        wire_send(fd, body);
        wire_expect(fd, ".END");
        const char *answer = strstr(wire_text, "\r\n\r\n");
        ck_assert_ptr_nonnull(answer);
        ck_assert(strcmp(answer + 4, body) == 0);
    }
    free(body);
    wire_finish(fd);
}
END_TEST

static void leave_no_memory_for_bodies(struct server *server) {
    server->totals.body_bytes_max = 0;
}

/* As the loop would: what has no body is answered, and what has one gets a clear refusal. */
START_TEST(with_the_budget_of_bodies_spent_nobody_is_left_without_an_answer) {
    int fd = wire_connect_in_lane();
    wire_on_loop(leave_no_memory_for_bodies);
    if (_i == 0) {
        wire_send(fd, "GET /ec");
        wire_wait_for_state(CONNECTION_HEAD);
        wire_send(fd, "ho/pieces HTTP/1.1\r\n" WIRE_HOST "\r\n");
        wire_expect(fd, "\r\n\r\npieces");
    } else {
        wire_send(fd, "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 4\r\n\r\nbody");
        wire_expect_end(fd);
        ck_assert_ptr_nonnull(strstr(wire_text, "HTTP/1.1 503 "));
    }
    wire_finish(fd);
}
END_TEST

/* ---- Answers --------------------------------------------------------------------------------- */

START_TEST(an_answer_that_is_not_taken_at_once_is_sent_on_by_the_loop) {
    int fd = wire_connect_in_lane();
    for (int round = 0; round < 3; round++) {
        wire_expect_much(fd);
        wire_enter_lane(fd);
    }
    wire_finish(fd);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_cut_off) {
    wire_config.write_timeout_s = 1;
    int fd = wire_connect_in_lane();
    wire_ask_for_much(fd);
    wire_wait_for_state(-1);
    wire_finish(fd);
}
END_TEST

START_TEST(the_last_request_that_a_connection_may_make_says_so) {
    wire_start();
    int fd = wire_connect(), answers = 0;
    while (answers < CONNECTION_REQUESTS_MAX) {
        wire_send(fd, WIRE_SAY("a"));
        wire_expect(fd, "\r\n\r\na");
        answers++;
        if (wire_count("Connection: close\r\n") > 0)
            break;
    }
    ck_assert_int_eq(answers, CONNECTION_REQUESTS_MAX);
    wire_expect_end(fd);
    wire_finish(fd);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("wire_lane");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, usual_requests_are_answered_in_order);
    tcase_add_test(tests, only_reads_lead_into_it);
    tcase_add_loop_test(tests, what_is_not_usual_is_the_loops, 0,
                        (int)(sizeof(unusual) / sizeof(unusual[0])));
    tcase_add_test(tests, unusual_requests_keep_it_out_longer_and_longer);
    tcase_add_loop_test(tests, a_request_may_come_in_pieces, 0, 12);
    tcase_add_loop_test(tests, pieces_that_come_slowly_are_taken_over_by_the_loop, 0, 2);
    tcase_add_loop_test(tests, bodies_of_any_size_are_whole, 0,
                        (int)(sizeof(sizes) / sizeof(sizes[0])));
    tcase_add_loop_test(tests, with_the_budget_of_bodies_spent_nobody_is_left_without_an_answer, 0,
                        2);
    tcase_add_test(tests, an_answer_that_is_not_taken_at_once_is_sent_on_by_the_loop);
    tcase_add_test(tests, a_client_that_does_not_read_is_cut_off);
    tcase_add_test(tests, the_last_request_that_a_connection_may_make_says_so);
    suite_add_tcase(suite, tests);
    return suite;
}
