/* HTTP as a client sees it: order, methods, framing, the life of a connection. */
#include "tests/server/wire_fixture.h"

static void set_up(void) {
    config_init(&wire_config);
    wire_config.max_workers = 4;
}

/* Sends on a new connection and reads until the server ends it. */
static void talk(const char *request) {
    int fd = wire_connect();
    wire_send(fd, request);
    wire_expect_end(fd);
    close(fd);
}

START_TEST(answers_and_keeps_the_connection) {
    wire_start();
    int fd = wire_connect();
    for (int i = 0; i < 3; i++) {
        wire_send(fd, "GET /echo/hello HTTP/1.1\r\n" WIRE_HOST "\r\n");
        wire_expect(fd, "\r\n\r\nhello");
        ck_assert_ptr_null(strstr(wire_text, "Connection:"));
    }
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(answers_pipelined_requests_in_order) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "POST /sleep/100 HTTP/1.1\r\n" WIRE_HOST "\r\n"
                  "GET /echo/one HTTP/1.1\r\n" WIRE_HOST "\r\n"
                  "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 3\r\n\r\ntwo"
                  "GET /nope HTTP/1.1\r\n" WIRE_HOST "\r\n"
                  "GET /echo/last HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n\r\n"
                  "GET /echo/never HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect_end(fd);
    const char *slept = strstr(wire_text, "\r\n\r\nslept"), *one = strstr(wire_text, "\r\n\r\none");
    const char *two = strstr(wire_text, "\r\n\r\ntwo"), *nope = strstr(wire_text, "404 Not Found");
    const char *last = strstr(wire_text, "\r\n\r\nlast");
    ck_assert_msg(slept && one && two && nope && last, "%s", wire_text);
    ck_assert(slept < one && one < two && two < nope && nope < last);
    ck_assert_uint_eq(wire_count("HTTP/1.1 "), 5);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* More than the server keeps unread at a time: it must stop reading and go on later. */
START_TEST(answers_what_was_sent_far_ahead) {
    enum {
        REQUESTS = 1500,
        FILL = 400
    };
    static char request[1000], fill[FILL + 1];
    wire_start();
    int fd = wire_connect();
    memset(fill, 'a', FILL);
    wire_send(fd, "POST /sleep/200 HTTP/1.1\r\n" WIRE_HOST "\r\n");
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(request, sizeof(request),
                 "GET /echo/<%d> HTTP/1.1\r\n" WIRE_HOST "X: %s\r\n%s\r\n", i, fill,
                 i == REQUESTS - 1 ? "Connection: close\r\n" : "");
        wire_send(fd, request);
    }
    wire_expect_end(fd);
    const char *at = wire_text;
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(request, sizeof(request), "\r\n\r\n<%d>", i);
        at = strstr(at, request);
        ck_assert_msg(at != NULL, "answer %d is missing or out of order", i);
    }
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(head_is_get_without_its_body) {
    wire_start();
    talk("HEAD /echo/hello HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(wire_text, "Content-Length: 5\r\n"));
    ck_assert_str_eq(strstr(wire_text, "\r\n\r\n"), "\r\n\r\n");
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

static const struct {
    const char *request;
    const char *status; /* and that the connection ends with it */
} refusals[] = {
    {"FOO / HTTP/1.1\r\n" WIRE_HOST "\r\n", "501 "},
    {"CONNECT a:80 HTTP/1.1\r\n" WIRE_HOST "\r\n", "501 "},
    {"GET / HTTP/2.0\r\n" WIRE_HOST "\r\n", "505 "},
    {"GET / HTTP/1.1\r\n\r\n", "400 "},
    {"\x16\x03\x01", "400 "},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 3, 3\r\n\r\nabc", "400 "},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", "501 "},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Transfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n",
     "400 "},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 99999999999999999999\r\n\r\n", "413 "},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 33554433\r\n\r\n", "413 "},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Transfer-Encoding: chunked\r\n\r\n2000001\r\n", "413 "},
    {"GET /healthz HTTP/1.1\r\n" WIRE_HOST "Content-Length: 1048577\r\n\r\n", "413 "},
    {"POST /nope HTTP/1.1\r\n" WIRE_HOST "Content-Length: 1048577\r\n\r\n", "404 "},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Expect: x\r\nContent-Length: 3\r\n\r\n", "417 "},
    {"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421 "},
    {"GET http://evil.example/healthz HTTP/1.1\r\n" WIRE_HOST "\r\n", "421 "},
};

START_TEST(refuses_and_ends_the_connection) {
    wire_start();
    talk(refusals[_i].request);
    ck_assert_msg(strncmp(wire_text, "HTTP/1.1 ", 9) == 0 &&
                      strncmp(wire_text + 9, refusals[_i].status, 4) == 0,
                  "expected %s, got %s", refusals[_i].status, wire_text);
    ck_assert_ptr_nonnull(strstr(wire_text, "Connection: close\r\n"));
    ck_assert_uint_eq(wire_count("HTTP/1.1 "), 1);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(refuses_what_is_too_long) {
    static char request[20000];
    wire_start();
    memset(request, 'a', sizeof(request) - 1);
    memcpy(request, "GET /", 5);
    talk(request);
    ck_assert_ptr_nonnull(strstr(wire_text, "414 URI Too Long"));
    memset(request, 'a', sizeof(request) - 1);
    memcpy(request, "GET / HTTP/1.1\r\nX: ", 19);
    talk(request);
    ck_assert_ptr_nonnull(strstr(wire_text, "431 Request Header Fields Too Large"));
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

static const struct {
    const char *request, *status, *has;
} mild_refusals[] = {
    {"GET /nope HTTP/1.1\r\n" WIRE_HOST "\r\n", "404 ", "Content-Length: 0\r\n"},
    {"POST /nope HTTP/1.1\r\n" WIRE_HOST "Content-Length: 3\r\n\r\nabc", "404 ", ""},
    {"POST /nope HTTP/1.1\r\n" WIRE_HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
     "404 ", ""},
    {"PUT /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 3\r\n\r\nabc", "405 ", "Allow: POST\r\n"},
    {"DELETE /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n", "405 ", "Allow: GET, HEAD\r\n"},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
     "415 ", ""},
    {"POST /echo HTTP/1.1\r\n" WIRE_HOST
     "Content-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
     "200 ", "\r\n\r\nabc"},
    {"GET /healthz HTTP/1.1\r\n" WIRE_HOST "Content-Length: 3\r\n\r\nabc", "200 ", "passed"},
    {"OPTIONS /echo HTTP/1.1\r\n" WIRE_HOST "\r\n", "204 ", "Allow: POST, OPTIONS\r\n"},
    {"OPTIONS * HTTP/1.1\r\n" WIRE_HOST "\r\n", "204 ", "Allow: GET, HEAD, POST, PUT, PATCH"},
    {"OPTIONS /nope HTTP/1.1\r\n" WIRE_HOST "\r\n", "404 ", ""},
    {"GET http://localhost/echo/a HTTP/1.1\r\n" WIRE_HOST "\r\n", "200 ", "\r\n\r\na"},
    {"GET /echo/a HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n", "200 ", "\r\n\r\na"},
    {"GET /echo/a HTTP/1.1\r\n" WIRE_HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "200 ",
     ""},
};

START_TEST(the_connection_is_usable_after_an_answer) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, mild_refusals[_i].request);
    wire_send(fd, "GET /echo/still-there HTTP/1.1\r\n" WIRE_HOST "\r\n");
    wire_expect(fd, "\r\n\r\nstill-there");
    ck_assert_msg(strncmp(wire_text + 9, mild_refusals[_i].status, 4) == 0, "%s", wire_text);
    ck_assert_msg(strstr(wire_text, mild_refusals[_i].has) != NULL, "%s", wire_text);
    ck_assert_uint_eq(wire_count("HTTP/1.1 "), 2);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(closes_after_http_1_0_unless_it_asks_to_stay) {
    wire_start();
    talk("GET /echo/a HTTP/1.0\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(wire_text, "Connection: close\r\n"));
    int fd = wire_connect();
    for (int i = 0; i < 2; i++) {
        wire_send(fd, "GET /echo/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        wire_expect(fd, "\r\n\r\na");
        ck_assert_ptr_nonnull(strstr(wire_text, "Connection: keep-alive\r\n"));
    }
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(tells_a_client_that_asks_to_go_on) {
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "POST /echo HTTP/1.1\r\n" WIRE_HOST
                  "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    wire_expect(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    wire_send(fd, "abc");
    wire_expect(fd, "\r\n\r\nabc");
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

static const char *const not_to_go_on[] = {
    "POST /echo HTTP/1.1\r\n" WIRE_HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    "POST /echo HTTP/1.1\r\n" WIRE_HOST "api-key: k\r\nExpect: 100-continue\r\n"
    "Content-Length: 33554433\r\n\r\n",
    "POST /nope HTTP/1.1\r\n" WIRE_HOST "api-key: k\r\nExpect: 100-continue\r\n"
    "Content-Length: 3\r\n\r\n",
};

START_TEST(does_not_ask_for_a_body_that_it_will_refuse) {
    strcpy(wire_config.api_key, "k");
    wire_start();
    talk(not_to_go_on[_i]);
    ck_assert_uint_eq(wire_count("HTTP/1.1 100"), 0);
    ck_assert_msg(strncmp(wire_text, "HTTP/1.1 4", 10) == 0, "%s", wire_text);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

/* What python's http client does: it sends all of the body before it reads. */
START_TEST(a_client_can_read_why_its_body_was_too_large) {
    enum {
        BODY = 34000059
    };
    char *body = calloc(1, BODY);
    ck_assert_ptr_nonnull(body);
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "POST /echo HTTP/1.1\r\n" WIRE_HOST "Content-Length: 34000059\r\n\r\n");
    wire_send_bytes(fd, body, BODY);
    wire_expect_end(fd);
    ck_assert_msg(strncmp(wire_text, "HTTP/1.1 413 ", 13) == 0, "%s", wire_text);
    close(fd);
    free(body);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

static const size_t body_sizes[] = {0, 1, 16383, 16384, 16385, 65536, 1000000, 33554432};

START_TEST(a_body_of_any_size_arrives_whole_with_a_length_and_in_chunks) {
    size_t size = body_sizes[_i];
    char head[200], *body = malloc(size + 1), *back = malloc(size + 1000);
    ck_assert(body && back);
    for (size_t i = 0; i < size; i++)
        body[i] = (char)('a' + i * 7 % 26);
    wire_config.request_memory_mb = 512;
    wire_start();
    for (int is_chunked = 0; is_chunked <= 1; is_chunked++) {
        int fd = wire_connect();
        snprintf(head, sizeof(head),
                 is_chunked ? "POST /echo HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n"
                            : "POST /echo HTTP/1.1\r\n" WIRE_HOST "Connection: close\r\n"
                              "Content-Length: %zu\r\n\r\n",
                 size);
        wire_send(fd, head);
        for (size_t at = 0; is_chunked && at < size;) {
            size_t here = size - at < 300000 ? size - at : 300000;
            snprintf(head, sizeof(head), "%zx\r\n", here);
            wire_send(fd, head);
            wire_send_bytes(fd, body + at, here);
            wire_send(fd, "\r\n");
            at += here;
        }
        if (is_chunked)
            wire_send(fd, "0\r\n\r\n");
        else
            wire_send_bytes(fd, body, size);
        size_t length = 0;
        ssize_t got;
        while ((got = recv(fd, back + length, size + 999 - length, 0)) > 0)
            length += (size_t)got;
        back[length] = '\0';
        const char *content = strstr(back, "\r\n\r\n");
        ck_assert_msg(content && length - (size_t)(content + 4 - back) == size, "%.300s", back);
        ck_assert(memcmp(content + 4, body, size) == 0);
        close(fd);
    }
    free(body);
    free(back);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_request_that_comes_byte_by_byte_is_understood) {
    static const char request[] = "POST /echo HTTP/1.1\r\n" WIRE_HOST
                                  "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    wire_start();
    int fd = wire_connect();
    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        wire_send_bytes(fd, request + i, 1);
        sleep_ms(1);
    }
    wire_expect(fd, "\r\n\r\nabc");
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

START_TEST(cors_is_off_unless_configured) {
    wire_config.enable_cors = _i == 1;
    strcpy(wire_config.api_key, "k");
    wire_start();
    int fd = wire_connect();
    wire_send(fd, "OPTIONS /echo HTTP/1.1\r\n" WIRE_HOST "Origin: http://a\r\n"
                  "Access-Control-Request-Method: POST\r\n\r\n");
    wire_expect(fd, "\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(wire_text, "204 No Content"));
    ck_assert_int_eq(strstr(wire_text, "Access-Control-Allow-Origin: *") != NULL, _i);
    ck_assert_int_eq(strstr(wire_text, "Access-Control-Allow-Headers: ") != NULL, _i);
    wire_send(fd, "GET /healthz HTTP/1.1\r\n" WIRE_HOST "Origin: http://a\r\n\r\n");
    wire_expect(fd, "passed");
    ck_assert_int_eq(strstr(wire_text, "Access-Control-Allow-Origin: *") != NULL, _i);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

static const struct {
    const char *request, *status;
} rights[] = {
    {"GET /healthz HTTP/1.1\r\n" WIRE_HOST "\r\n", "200 "},
    {"GET /echo/a HTTP/1.1\r\n" WIRE_HOST "\r\n", "401 "},
    {"GET /nope HTTP/1.1\r\n" WIRE_HOST "\r\n", "401 "},
    {"PUT /echo HTTP/1.1\r\n" WIRE_HOST "\r\n", "401 "},
    {"GET /echo/a HTTP/1.1\r\n" WIRE_HOST "api-key: full\r\n\r\n", "200 "},
    {"GET /echo/a HTTP/1.1\r\n" WIRE_HOST "api-key: read\r\n\r\n", "200 "},
    {"GET /echo/a HTTP/1.1\r\n" WIRE_HOST "api-key: wrong\r\n\r\n", "401 "},
    {"GET /echo/a HTTP/1.1\r\n" WIRE_HOST "Authorization: Bearer full\r\n\r\n", "200 "},
    {"DELETE /things/a HTTP/1.1\r\n" WIRE_HOST "api-key: full\r\n\r\n", "200 "},
    {"DELETE /things/a HTTP/1.1\r\n" WIRE_HOST "api-key: read\r\n\r\n", "403 "},
    {"DELETE /things/a HTTP/1.1\r\n" WIRE_HOST "\r\n", "401 "},
    {"GET /nope HTTP/1.1\r\n" WIRE_HOST "api-key: full\r\n\r\n", "404 "},
};

START_TEST(lets_each_key_do_what_it_may) {
    strcpy(wire_config.api_key, "full");
    strcpy(wire_config.read_only_api_key, "read");
    wire_start();
    int fd = wire_connect();
    wire_send(fd, rights[_i].request);
    wire_expect(fd, "\r\n\r\n");
    ck_assert_msg(strncmp(wire_text + 9, rights[_i].status, 4) == 0, "%s", wire_text);
    close(fd);
    ck_assert_int_eq(wire_stop(), EXIT_SUCCESS);
}
END_TEST

#define LOOP(tests, test, rows) \
    tcase_add_loop_test(tests, test, 0, (int)(sizeof(rows) / sizeof((rows)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("wire");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, NULL);
    tcase_add_test(tests, answers_and_keeps_the_connection);
    tcase_add_test(tests, answers_pipelined_requests_in_order);
    tcase_add_test(tests, answers_what_was_sent_far_ahead);
    tcase_add_test(tests, head_is_get_without_its_body);
    LOOP(tests, refuses_and_ends_the_connection, refusals);
    tcase_add_test(tests, refuses_what_is_too_long);
    LOOP(tests, the_connection_is_usable_after_an_answer, mild_refusals);
    tcase_add_test(tests, closes_after_http_1_0_unless_it_asks_to_stay);
    tcase_add_test(tests, tells_a_client_that_asks_to_go_on);
    LOOP(tests, does_not_ask_for_a_body_that_it_will_refuse, not_to_go_on);
    tcase_add_test(tests, a_client_can_read_why_its_body_was_too_large);
    LOOP(tests, a_body_of_any_size_arrives_whole_with_a_length_and_in_chunks, body_sizes);
    tcase_add_test(tests, a_request_that_comes_byte_by_byte_is_understood);
    tcase_add_loop_test(tests, cors_is_off_unless_configured, 0, 2);
    LOOP(tests, lets_each_key_do_what_it_may, rights);
    suite_add_tcase(suite, tests);
    return suite;
}
