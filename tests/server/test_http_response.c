#include "server/http_response.h"
#include "tests/support/run_suite.h"

#include <string.h>

static char head[HTTP_RESPONSE_HEAD_MAX];

static void write_head(const struct http_response *response) {
    size_t length = http_response_write_head(response, head);
    ck_assert_uint_eq(length, strlen(head));
    ck_assert_uint_lt(length, HTTP_RESPONSE_HEAD_MAX);
    ck_assert_str_eq(head + length - 4, "\r\n\r\n");
}

START_TEST(writes_status_date_type_and_length) {
    write_head(&(struct http_response){
        .http_status = 200, .content_type = "application/json", .length = 12, .now = 784111777});
    ck_assert_str_eq(head, "HTTP/1.1 200 OK\r\n"
                           "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                           "Content-Type: application/json\r\n"
                           "X-Content-Type-Options: nosniff\r\n"
                           "Content-Length: 12\r\n\r\n");
}
END_TEST

START_TEST(the_date_follows_the_clock_forth_and_back) {
    static const struct {
        time_t now;
        const char *date;
    } moments[] = {
        {0, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"},
        {784111777, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
        {784111778, "Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"},
        {784111777, "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"},
        {253402300800, "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n"}, /* there is no year 10000 */
        {INT64_MAX, "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n"},
        {-1, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"},
    };
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        write_head(&(struct http_response){.http_status = 200, .now = moments[i].now});
        ck_assert_msg(strstr(head, moments[i].date) != NULL, "%s", head);
    }
}
END_TEST

static const struct {
    struct http_response response;
    const char *has, *lacks;
} rows[] = {
    {{.http_status = 404}, "Content-Length: 0\r\n", "Content-Type"},
    {{.http_status = 204}, "204 No Content", "Content-Length"},
    {{.http_status = 503, .retry_after_s = 2}, "Retry-After: 2\r\n", "Connection"},
    {{.http_status = 405, .allow = "GET, HEAD"}, "Allow: GET, HEAD\r\n", "Retry-After"},
    {{.http_status = 405, .allow = ""}, "405 Method Not Allowed", "Allow:"},
    {{.http_status = 401}, "WWW-Authenticate: Bearer\r\n", "Allow:"},
    {{.http_status = 200, .is_closing = true}, "Connection: close\r\n", "keep-alive"},
    {{.http_status = 200, .is_closing = true, .is_http_1_0 = true}, "close", "keep-alive"},
    {{.http_status = 200, .is_http_1_0 = true}, "Connection: keep-alive\r\n", "close"},
    {{.http_status = 200}, "200 OK", "Connection"},
    {{.http_status = 200}, "200 OK", "Access-Control"},
    {{.http_status = 200, .has_cors = true}, "Access-Control-Allow-Origin: *\r\n", "Methods"},
    {{.http_status = 204, .has_cors = true, .is_preflight = true},
     "Access-Control-Allow-Headers: *, Authorization, api-key, Content-Type\r\n",
     "Expose"},
    {{.http_status = 299}, "299 Unknown", "OK"},
};

START_TEST(writes_what_belongs_to_the_answer_and_nothing_else) {
    write_head(&rows[_i].response);
    ck_assert_msg(strstr(head, rows[_i].has) != NULL, "%s", head);
    ck_assert_msg(strstr(head, rows[_i].lacks) == NULL, "%s", head);
}
END_TEST

START_TEST(the_longest_head_fits) {
    char allow[96];
    memset(allow, 'A', sizeof(allow) - 1);
    allow[sizeof(allow) - 1] = '\0';
    write_head(&(struct http_response){
        .http_status = 431,
        .content_type = "text/plain; version=0.0.4; charset=utf-8",
        .length = SIZE_MAX,
        .retry_after_s = 4294967295u,
        .allow = allow,
        .is_closing = true,
        .has_cors = true,
        .is_preflight = true,
        .now = 253402300799, /* the last second of the year 9999 */
    });
}
END_TEST

static const unsigned statuses[] = {200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409, 413,
                                    414, 415, 417, 421, 422, 429, 431, 500, 501, 503, 505, 507};

START_TEST(knows_the_reason_of_every_status_in_use) {
    ck_assert_str_ne(http_response_reason(statuses[_i]), "Unknown");
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("http_response");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, writes_status_date_type_and_length);
    tcase_add_test(tests, the_date_follows_the_clock_forth_and_back);
    tcase_add_loop_test(tests, writes_what_belongs_to_the_answer_and_nothing_else, 0,
                        (int)(sizeof(rows) / sizeof(rows[0])));
    tcase_add_test(tests, the_longest_head_fits);
    tcase_add_loop_test(tests, knows_the_reason_of_every_status_in_use, 0,
                        (int)(sizeof(statuses) / sizeof(statuses[0])));
    suite_add_tcase(suite, tests);
    return suite;
}
