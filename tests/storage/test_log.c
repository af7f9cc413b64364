/* Lines of the log: nothing in a value can look like another line or end a string. */
#include "storage/log.h"
#include "tests/support/run_suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *text;
    size_t length;
    const char *escaped;
} cases[] = {
    {"plain text", 10, "plain text"},
    {"a\nb\rc\td", 7, "a\\u000ab\\u000dc\\u0009d"},
    {"say \"no\" \\", 10, "say \\\"no\\\" \\\\"},
    {"\x1b[31m", 5, "\\u001b[31m"},
    {"a\0b", 3, "a\\u0000b"},
    {"\x7f", 1, "\\u007f"},
    {"\xC3\xA9", 2, "\xC3\xA9"},                             /* e with acute */
    {"\xF0\x9F\x90\x85", 4, "\xF0\x9F\x90\x85"},             /* a tiger */
    {"\xC3", 1, "\\u00c3"},                                  /* cut */
    {"\xC0\xAF", 2, "\\u00c0\\u00af"},                       /* overlong */
    {"\xED\xA0\x80", 3, "\\u00ed\\u00a0\\u0080"},            /* a surrogate */
    {"\xF4\x90\x80\x80", 4, "\\u00f4\\u0090\\u0080\\u0080"}, /* beyond U+10FFFF */
    {"", 0, ""},
};

START_TEST(bytes_that_are_not_text_are_escaped) {
    char out[64];
    log_escape(cases[_i].text, cases[_i].length, out, sizeof(out));
    ck_assert_str_eq(out, cases[_i].escaped);
}
END_TEST

START_TEST(an_escape_is_never_cut_in_two) {
    char out[16];
    for (size_t size = 1; size <= sizeof(out); size++) {
        log_escape("\n\n\"\xC3\xA9x", 6, out, size);
        size_t length = strlen(out);
        ck_assert_uint_lt(length, size);
        static const size_t ends[] = {0, 6, 12, 14, 16, 17};
        bool is_end = false;
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
            is_end |= ends[i] == length;
        ck_assert_msg(is_end, "cut at %zu", length);
    }
}
END_TEST

/* Writes one event into a pipe in place of standard output. */
static void capture(char *line, size_t size, enum log_level level, const char *value) {
    int ends[2], saved = dup(STDOUT_FILENO);
    ck_assert_int_eq(pipe(ends), 0);
    fflush(stdout);
    dup2(ends[1], STDOUT_FILENO);
    log_event(level, "value %s", value);
    dup2(saved, STDOUT_FILENO);
    close(ends[1]);
    close(saved);
    ssize_t n = read(ends[0], line, size - 1);
    line[n > 0 ? n : 0] = '\0';
    close(ends[0]);
}

START_TEST(an_event_is_one_line_whatever_it_says) {
    char line[LOG_LINE_MAX], value[3000];
    log_configure(LOG_LEVEL_INFO, _i == 1);
    memset(value, '\n', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    capture(line, sizeof(line), LOG_LEVEL_WARN, value);
    ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
    ck_assert_ptr_nonnull(strstr(line, "warn"));
    capture(line, sizeof(line), LOG_LEVEL_ERROR, "\"quoted\"");
    ck_assert_ptr_nonnull(strstr(line, "value \\\"quoted\\\""));
    ck_assert_int_eq(line[0] == '{', _i == 1);
    capture(line, sizeof(line), LOG_LEVEL_DEBUG, "below the level");
    ck_assert_str_eq(line, "");
    ck_assert(!log_is_on(LOG_LEVEL_DEBUG));
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("log");
    TCase *tests = tcase_create("tests");
    tcase_add_loop_test(tests, bytes_that_are_not_text_are_escaped, 0,
                        sizeof(cases) / sizeof(cases[0]));
    tcase_add_test(tests, an_escape_is_never_cut_in_two);
    tcase_add_loop_test(tests, an_event_is_one_line_whatever_it_says, 0, 2);
    suite_add_tcase(suite, tests);
    return suite;
}
