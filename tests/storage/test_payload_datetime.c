#include "storage/payload_value.h"

#include "tests/support/run_suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *text;
    int64_t microseconds;
} good[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"1970-01-01", 0},
    {"1970-01-01 00:00", 0},
    {"1970-01-01T00:00:00.000001Z", 1},
    {"1969-12-31T23:59:59.999999Z", -1},
    {"1970-01-01T00:00:00.123456789Z", 123456},
    {"1969-12-31T23:59:59.9999999Z", -1},
    {"1970-01-01T00:00:00.1Z", 100000},
    {"1970-01-01T00:00:01+00:00", 1000000},
    {"1970-01-01T01:00:00+01:00", 0},
    {"1970-01-01T01:00:00+0100", 0},
    {"1970-01-01T01:00:00+01", 0},
    {"1969-12-31T18:30:00-05:30", 0},
    {"1970-01-01 01:00:00+01:00", 0},
    {"1970-01-01t00:00:00z", 0},
    {"1970-01-01 00:00:00 UTC", 0},
    {"1970-01-01 00:00:00 +00:00", 0},
    {"1970-01-01 00:00:00.5 Z", 500000},
    {"  1970-01-01", 0},
    {"1970-1-1", 0},
    {"1970-01-01T1:2:3", 3723000000},
    {"2000-02-29", INT64_C(951782400000000)},
    {"2024-02-29T12:30:45", INT64_C(1709209845000000)},
    {"2100-02-28T23:59:59Z", INT64_C(4107542399000000)},
    {"1900-02-28", INT64_C(-2203977600000000)},
    {"1600-02-29", INT64_C(-11670998400000000)},
    {"9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999)},
    {"0000-01-01", INT64_C(-62167219200000000)},
    {"2016-12-31T23:59:60Z", INT64_C(1483228800000000)},
    {"2015-05-01T12:00:00", INT64_C(1430481600000000)},
    {"2015-05-01T12:00", INT64_C(1430481600000000)},
};

START_TEST(reads_dates_in_all_their_forms) {
    int64_t microseconds;
    ck_assert_msg(payload_datetime_parse(good[_i].text, strlen(good[_i].text), &microseconds), "%s",
                  good[_i].text);
    ck_assert_int_eq(microseconds, good[_i].microseconds);
}
END_TEST

static const char *const bad[] = {
    "",
    " ",
    "x",
    "1970",
    "1970-01",
    "1970-01-",
    "1970-13-01",
    "1970-00-01",
    "1970-01-00",
    "1970-01-32",
    "1970-04-31",
    "1970-02-29",
    "1900-02-29",
    "2100-02-29",
    "70-01-01",
    "19700-01-01",
    "-1970-01-01",
    "+1970-01-01",
    "1970-01-01T",
    "1970-01-01T00",
    "1970-01-01T24:00:00",
    "1970-01-01T00:60:00",
    "1970-01-01T00:00:61",
    "1970-01-01T00:00:00.",
    "1970-01-01T00:00:00.Z",
    "1970-01-01T00:00:00,5",
    "1970-01-01T00:00Z",
    "1970-01-01Z",
    "1970-01-01T00:00:00+24:00",
    "1970-01-01T00:00:00+01:60",
    "1970-01-01T00:00:00+1",
    "1970-01-01T00:00:00+01:",
    "1970-01-01T00:00:00+01:0",
    "1970-01-01T00:00:00Z ",
    "1970-01-01T00:00:00ZZ",
    "1970-01-01T00:00:00 GMT",
    "1970-01-01T00:00:00UTC",
    "1970-01-01T00:00:00+01:00:00",
    "1970/01/01",
    "1970-01-01_00:00:00",
    "01-01-1970",
};

START_TEST(refuses_what_is_no_date) {
    int64_t microseconds;
    ck_assert_msg(!payload_datetime_parse(bad[_i], strlen(bad[_i]), &microseconds), "%s", bad[_i]);
}
END_TEST

START_TEST(agrees_with_the_calendar_of_the_c_library) {
    for (int64_t day = -719528; day < 2932896; day += 13) { /* years 0 to 9999 */
        time_t seconds = (time_t)(day * 86400 + rand() % 86400);
        struct tm tm;
        char text[40];
        int64_t microseconds;
        ck_assert_ptr_nonnull(gmtime_r(&seconds, &tm));
        snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        ck_assert_msg(payload_datetime_parse(text, strlen(text), &microseconds), "%s", text);
        ck_assert_int_eq(microseconds, (int64_t)seconds * 1000000);
    }
}
END_TEST

START_TEST(reads_a_string_value_with_escapes) {
    static const char plain[] = "\"1970-01-01T00:00:01Z\"", escaped[] = "\"1970\\u002d01-01\"";
    struct payload_value value = payload_value_at(plain, strlen(plain));
    int64_t microseconds;
    ck_assert(payload_value_datetime(&value, &microseconds));
    ck_assert_int_eq(microseconds, 1000000);
    value = payload_value_at(escaped, strlen(escaped));
    ck_assert(payload_value_datetime(&value, &microseconds));
    ck_assert_int_eq(microseconds, 0);
    value = payload_value_at("1970", 4);
    ck_assert(!payload_value_datetime(&value, &microseconds));
    char long_text[400] = "\"\\u0031970-01-01T00:00:00.";
    size_t used = strlen(long_text);
    memset(long_text + used, '0', 300);
    strcpy(long_text + used + 300, "Z\"");
    value = payload_value_at(long_text, strlen(long_text));
    ck_assert(!payload_value_datetime(&value, &microseconds)); /* too long with an escape */
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("payload_datetime");
    TCase *tcase = tcase_create("payload_datetime");
    tcase_add_loop_test(tcase, reads_dates_in_all_their_forms, 0, (int)COUNT_OF(good));
    tcase_add_loop_test(tcase, refuses_what_is_no_date, 0, (int)COUNT_OF(bad));
    tcase_add_test(tcase, agrees_with_the_calendar_of_the_c_library);
    tcase_add_test(tcase, reads_a_string_value_with_escapes);
    suite_add_tcase(suite, tcase);
    return suite;
}
