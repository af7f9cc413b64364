/* What is written is JSON, and reads back as what was meant. */
#include "api/float_text.h"
#include "api/json_writer.h"

#include "tests/support/run_suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct json_writer writer;
static uint64_t state = 88172645463325252u;

static void setup(void) {
    arena_init(&arena, 16u << 20);
    json_writer_init(&writer, &arena);
}

static void teardown(void) {
    arena_free(&arena);
}

static uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void assert_written(const char *expected) {
    ck_assert_int_eq(json_writer_finish(&writer), STATUS_OK);
    ck_assert_msg(writer.length == strlen(expected) &&
                      memcmp(writer.text, expected, writer.length) == 0,
                  "%.*s, not %s", (int)writer.length, writer.text, expected);
}

/* ---- Floats ---------------------------------------------------------------------------------- */

/* Significant digits of a text. */
static int count_digits(const char *text) {
    char digits[64];
    int count = 0, first = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text >= '0' && *text <= '9')
            digits[count++] = *text;
    }
    while (first < count && digits[first] == '0')
        first++;
    while (count > first && digits[count - 1] == '0')
        count--;
    return count - first;
}

/* The fewest digits that read back, found by trying. */
static int fewest_digits(float value) {
    char text[64];
    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, (double)value);
        if (strtof(text, NULL) == value)
            return digits;
    }
    return 9;
}

static void check_float(uint32_t bits) {
    float value;
    char text[FLOAT_TEXT_MAX + 1];
    memcpy(&value, &bits, sizeof(value));
    if (!isfinite(value))
        return;
    text[float_text_write(value, text)] = '\0';
    float again = strtof(text, NULL);
    if (memcmp(&again, &value, sizeof(value)) != 0)
        ck_abort_msg("%a is written as %s", (double)value, text);
    if (value != 0 && count_digits(text) > fewest_digits(value))
        ck_abort_msg("%s has %d digits, %d are enough", text, count_digits(text),
                     fewest_digits(value));
}

START_TEST(random_floats_read_back_from_the_fewest_digits) {
    state += (uint64_t)_i * 104729;
    for (int i = 0; i < 250000; i++)
        check_float((uint32_t)(next_random() >> 16));
}
END_TEST

/* Powers of two, where the neighbours are unequally far, and both of these. */
START_TEST(floats_at_every_exponent_read_back) {
    for (uint32_t exponent = 0; exponent < 255; exponent++) {
        for (uint32_t mantissa = 0; mantissa < 64; mantissa++) {
            check_float(exponent << 23 | mantissa);
            check_float((exponent << 23 | 0x7fffff) - mantissa);
            check_float(0x80000000u | exponent << 23 | mantissa);
        }
    }
}
END_TEST

static const struct {
    float value;
    const char *text;
} floats[] = {
    {0.0f, "0.0"},
    {-0.0f, "-0.0"},
    {1.0f, "1.0"},
    {-1.5f, "-1.5"},
    {0.1f, "0.1"},
    {4.358899f, "4.358899"},
    {100.0f, "100.0"},
    {16777216.0f, "16777216.0"},
    {123456790.0f, "123456790.0"},
    {1e15f, "1000000000000000.0"},
    {1e16f, "1e16"},
    {1.5e-6f, "0.0000015"},
    {1e-7f, "1e-7"},
    {3.4028235e38f, "3.4028235e38"},
    {1.1754944e-38f, "1.1754944e-38"},
    {1e-45f, "1e-45"},
    {0.33333334f, "0.33333334"},
};

START_TEST(floats_have_their_usual_form) {
    json_write_f32(&writer, floats[_i].value);
    assert_written(floats[_i].text);
}
END_TEST

START_TEST(doubles_read_back) {
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = next_random();
        double value;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        json_writer_init(&writer, &arena);
        json_write_f64(&writer, value);
        json_write_text(&writer, "%c", '\0');
        ck_assert_int_eq(json_writer_finish(&writer), STATUS_OK);
        if (strtod(writer.text, NULL) != value)
            ck_abort_msg("%a is written as %s", value, writer.text);
        arena_free(&arena);
    }
}
END_TEST

START_TEST(whole_numbers_are_written_in_full) {
    json_write_u64(&writer, 0);
    json_write_u64(&writer, 10);
    json_write_u64(&writer, UINT64_MAX);
    json_write_i64(&writer, INT64_MIN);
    json_write_i64(&writer, -1);
    json_write_i64(&writer, INT64_MAX);
    assert_written("0,10,18446744073709551615,-9223372036854775808,-1,9223372036854775807");
}
END_TEST

START_TEST(billionths_end_without_zeros) {
    json_write_billionths(&writer, 0);
    json_write_billionths(&writer, 1);
    json_write_billionths(&writer, 52837000);
    json_write_billionths(&writer, 12000000000);
    json_write_billionths(&writer, UINT64_MAX);
    assert_written("0.0,0.000000001,0.052837,12.0,18446744073.709551615");
}
END_TEST

START_TEST(what_is_not_finite_is_null) {
    const float values[] = {NAN, INFINITY, 1.0f, -INFINITY};
    json_write_floats(&writer, values, 4);
    json_write_f32(&writer, NAN);
    json_write_f64(&writer, -INFINITY);
    assert_written("[null,null,1.0,null],null,null");
}
END_TEST

/* ---- Structure and strings ------------------------------------------------------------------- */

START_TEST(commas_stand_between_members_and_nowhere_else) {
    json_write_open(&writer, '{');
    json_write_key(&writer, "a");
    json_write_open(&writer, '[');
    json_write_close(&writer, ']');
    json_write_key(&writer, "b");
    json_write_open(&writer, '[');
    json_write_u64(&writer, UINT64_MAX);
    json_write_i64(&writer, INT64_MIN);
    json_write_bool(&writer, false);
    json_write_null(&writer);
    json_write_close(&writer, ']');
    json_write_raw_key(&writer, "\"c\"", 3);
    json_write_raw(&writer, "{}", 2);
    json_write_close(&writer, '}');
    assert_written("{\"a\":[],\"b\":[18446744073709551615,-9223372036854775808,false,null],"
                   "\"c\":{}}");
}
END_TEST

static const struct {
    const char *bytes;
    size_t length;
    const char *text;
} strings[] = {
    {"", 0, "\"\""},
    {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
    {"\n\t\r\b\f\x01\x1f", 7, "\"\\n\\t\\r\\b\\f\\u0001\\u001f\""},
    {"a\0b", 3, "\"a\\u0000b\""},
    {"plain for long, then \"not\" \x7f", 28, "\"plain for long, then \\\"not\\\" \x7f\""},
    {"eight of\xc3\xa9 and \\ eight", 22, "\"eight of\xc3\xa9 and \\\\ eight\""},
    {"\xc3\xa9\x7f", 3, "\"\xc3\xa9\x7f\""},
    {"a\xff\xc3", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
};

START_TEST(strings_are_escaped_and_always_utf8) {
    json_write_bytes(&writer, strings[_i].bytes, strings[_i].length);
    assert_written(strings[_i].text);
}
END_TEST

START_TEST(text_is_appended_as_it_is) {
    json_write_text(&writer, "a %d\n", 5);
    json_write_text(&writer, "%s", "b\n");
    assert_written("a 5\nb\n");
}
END_TEST

/* Twice what is written fits everywhere, less than that nowhere; between, either is right. */
START_TEST(a_full_arena_makes_the_writer_fail_once_and_for_all) {
    for (size_t limit = 0; limit < 200000; limit += 3000) {
        struct arena small;
        arena_init(&small, limit);
        json_writer_init(&writer, &small);
        json_write_open(&writer, '[');
        for (int i = 0; i < 5000; i++)
            json_write_u64(&writer, 1000000);
        json_write_close(&writer, ']');
        enum status status = json_writer_finish(&writer);
        if (limit < 40001)
            ck_assert_int_eq(status, STATUS_NO_MEMORY);
        if (limit > 100000)
            ck_assert_int_eq(status, STATUS_OK);
        if (status == STATUS_OK)
            ck_assert_uint_eq(writer.length, 40001);
        ck_assert_uint_le(small.total, limit);
        arena_free(&small);
    }
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("json_writer");
    TCase *tcase = tcase_create("json_writer");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, random_floats_read_back_from_the_fewest_digits, 0, 4);
    tcase_add_test(tcase, floats_at_every_exponent_read_back);
    tcase_add_loop_test(tcase, floats_have_their_usual_form, 0, COUNT_OF(floats));
    tcase_add_test(tcase, doubles_read_back);
    tcase_add_test(tcase, whole_numbers_are_written_in_full);
    tcase_add_test(tcase, billionths_end_without_zeros);
    tcase_add_test(tcase, what_is_not_finite_is_null);
    tcase_add_test(tcase, commas_stand_between_members_and_nowhere_else);
    tcase_add_loop_test(tcase, strings_are_escaped_and_always_utf8, 0, COUNT_OF(strings));
    tcase_add_test(tcase, text_is_appended_as_it_is);
    tcase_add_test(tcase, a_full_arena_makes_the_writer_fail_once_and_for_all);
    suite_add_tcase(suite, tcase);
    return suite;
}
