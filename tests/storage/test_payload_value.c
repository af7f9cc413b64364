#include "storage/payload_value.h"

#include "storage/arena.h"
#include "tests/support/run_suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct arena arena;

static void setup(void) {
    arena_init(&arena, 1 << 20);
}

static void teardown(void) {
    arena_free(&arena);
}

static struct payload_path path_of(const char *text) {
    struct payload_path path;
    struct error error;
    ck_assert_msg(payload_path_parse(text, strlen(text), &arena, &path, &error) == STATUS_OK, "%s",
                  error.message);
    return path;
}

struct seen {
    char texts[512];
    size_t used;
    size_t stop_after;
};

static bool visit(void *context, const struct payload_value *value) {
    struct seen *seen = context;
    seen->used +=
        (size_t)snprintf(seen->texts + seen->used, sizeof(seen->texts) - seen->used, "%s%.*s",
                         seen->used ? " | " : "", (int)value->length, value->text);
    return seen->stop_after && --seen->stop_after == 0;
}

static const struct {
    const char *payload, *path, *values, *elements;
} walks[] = {
    {"{\"a\":1}", "a", "1", "1"},
    {"{\"a\":1}", "b", "", ""},
    {"{}", "a", "", ""},
    {" { \"a\" : 1 , \"b\" : [ ] } ", "a", "1", "1"},
    {" { \"a\" : 1 , \"b\" : [ ] } ", "b", "[ ]", ""},
    {"{\"a\":[1,[2,3],\"x\"]}", "a", "[1,[2,3],\"x\"]", "1 | [2,3] | \"x\""},
    {"{\"a\":[1,[2,3]]}", "a[]", "1 | [2,3]", "1 | 2 | 3"},
    {"{\"a\":[1,[2,3]]}", "a[][]", "2 | 3", "2 | 3"},
    {"{\"a\":[1,[2,3]]}", "a[1]", "[2,3]", "2 | 3"},
    {"{\"a\":[1,[2,3]]}", "a[1][0]", "2", "2"},
    {"{\"a\":[1]}", "a[1]", "", ""},
    {"{\"a\":[]}", "a[0]", "", ""},
    {"{\"a\":{\"b\":{\"c\":true}}}", "a.b.c", "true", "true"},
    {"{\"a\":{\"b\":{\"c\":true}}}", "a.b.c.d", "", ""},
    {"{\"a\":[{\"b\":1},{\"c\":2},{\"b\":[3,4]}]}", "a[].b", "1 | [3,4]", "1 | 3 | 4"},
    {"{\"a\":[{\"b\":1}]}", "a.b", "", ""},
    {"{\"a\":{\"b\":1}}", "a[].b", "", ""},
    {"{\"a\":1,\"a\":2}", "a", "2", "2"},
    {"{\"a\":{\"b\":1},\"a\":{\"c\":2}}", "a.b", "", ""},
    {"{\"\\u0061\":1}", "a", "1", "1"},
    {"{\"a\":\"}\\\"{\",\"b\":2}", "b", "2", "2"},
    {"{\"a\":\"\\\\\",\"b\":2}", "b", "2", "2"},
    {"{\"a\":{\"x\":\"]}\",\"y\":[{}]},\"b\":-1.5e+3}", "b", "-1.5e+3", "-1.5e+3"},
    {"{\"a.b\":1,\"a\":{\"b\":2}}", "\"a.b\"", "1", "1"},
    {"{\"\":1}", "\"\"", "1", "1"},
    {"{\"a\":null}", "a", "null", "null"},
    {"{\"aa\":1,\"a\":2}", "a", "2", "2"},
    {"{\"a\\\"\":1}", "\"a\\\"\"", "1", "1"},
    {"{\"\xc3\xa9\":1}", "\xc3\xa9", "1", "1"},
    {"{\"\\u00e9\":1}", "\xc3\xa9", "1", "1"},
    {"{\"a\":[1,2,3],\"b\":\"\"}", "b", "\"\"", "\"\""},
    {"[1,2]", "a", "", ""},
    {"{\"a\":[\n[\t1 ,2 ] ,\r{ } ]}", "a[]", "[\t1 ,2 ] | { }", "1 | 2 | { }"},
};

START_TEST(finds_the_values_at_a_path) {
    struct payload_path path = path_of(walks[_i].path);
    struct seen seen = {.used = 0};
    const char *payload = walks[_i].payload;
    ck_assert(!payload_each(payload, strlen(payload), &path, visit, &seen));
    ck_assert_str_eq(seen.texts, walks[_i].values);
    memset(&seen, 0, sizeof(seen));
    ck_assert(!payload_each_element(payload, strlen(payload), &path, visit, &seen));
    ck_assert_str_eq(seen.texts, walks[_i].elements);
}
END_TEST

START_TEST(stops_when_the_visitor_has_seen_enough) {
    static const char payload[] = "{\"a\":[{\"b\":[1,2]},{\"b\":[3,4]}]}";
    struct payload_path path = path_of("a[].b");
    struct seen seen = {.stop_after = 3};
    ck_assert(payload_each_element(payload, strlen(payload), &path, visit, &seen));
    ck_assert_str_eq(seen.texts, "1 | 2 | 3");
}
END_TEST

/* A text that is no JSON may give nonsense, but nothing outside of it is read: the memory checker
 * of the sanitizer build sees to that, as each part is a block of its own. */
START_TEST(stays_inside_of_a_text_that_is_cut_anywhere) {
    static const char payload[] =
        "{\"a\":[{\"b\":\"x\\\\\"},{\"\\u0062\":[1,{\"c\":\"\\\"\"}]}],\"a\":{\"b\":2.5}}";
    struct payload_path path = path_of("a[].b");
    for (size_t length = 0; length <= strlen(payload); length++) {
        char *part = malloc(length ? length : 1);
        struct seen seen = {.used = 0};
        memcpy(part, payload, length);
        payload_each_element(part, length, &path, visit, &seen);
        free(part);
    }
}
END_TEST

static const struct {
    const char *json, *bytes;
    size_t length;
} strings[] = {
    {"\"\"", "", 0},
    {"\"abc\"", "abc", 3},
    {"\"a\\nb\\t\\r\\b\\f\"", "a\nb\t\r\b\f", 7},
    {"\"\\\"\\\\\\/\"", "\"\\/", 3},
    {"\"\\u0041\\u00e9\\u20AC\"", "A\xc3\xa9\xe2\x82\xac", 6},
    {"\"\\ud83d\\ude00!\"", "\xf0\x9f\x98\x80!", 5},
    {"\"a\\u0000b\"", "a\0b", 3},
    {"\"\xf0\x9f\x98\x80\"", "\xf0\x9f\x98\x80", 4},
    {"\"a\\\\n\"", "a\\n", 3},
};

START_TEST(decodes_strings) {
    char decoded[64];
    const char *json = strings[_i].json;
    struct payload_value value = payload_value_at(json, strlen(json));
    ck_assert_int_eq(value.type, PAYLOAD_STRING);
    ck_assert_uint_eq(value.length, strlen(json));
    ck_assert_uint_eq(payload_string_decode(&value, decoded), strings[_i].length);
    ck_assert_mem_eq(decoded, strings[_i].bytes, strings[_i].length);
    for (size_t i = 0; i < COUNT_OF(strings); i++) {
        const struct payload_scalar scalar = {
            .type = PAYLOAD_STRING, .string = strings[i].bytes, .string_length = strings[i].length};
        bool is_same = strings[i].length == strings[_i].length &&
                       memcmp(strings[i].bytes, decoded, strings[i].length) == 0;
        ck_assert_int_eq(payload_string_equals(&value, scalar.string, scalar.string_length),
                         is_same);
        ck_assert_int_eq(payload_value_equals(&value, &scalar), is_same);
        ck_assert_int_eq(payload_value_compare(&value, &scalar) == 0, is_same);
    }
}
END_TEST

START_TEST(a_raw_text_with_an_escape_is_not_what_it_looks_like) {
    struct payload_value value = payload_value_at("\"a\\n\"", 5);
    ck_assert(!payload_string_equals(&value, "a\\n", 3));
    ck_assert(payload_string_equals(&value, "a\n", 2));
}
END_TEST

static const char *const ordered[] = {"false", "true",  "-3",           "1.5",    "2",    "\"\"",
                                      "\"A\"", "\"a\"", "\"a\\u0000\"", "\"ab\"", "\"b\""};

static struct payload_scalar scalar_of(const char *json) {
    struct payload_value value = payload_value_at(json, strlen(json));
    struct payload_scalar scalar = {.type = value.type, .boolean = *json == 't'};
    if (value.type == PAYLOAD_NUMBER)
        scalar.number = payload_number_from_text(json, strlen(json));
    if (value.type == PAYLOAD_STRING) {
        char *bytes = arena_alloc(&arena, strlen(json));
        scalar.string_length = payload_string_decode(&value, bytes);
        scalar.string = bytes;
    }
    return scalar;
}

START_TEST(values_and_scalars_have_one_order) {
    for (size_t i = 0; i < COUNT_OF(ordered); i++) {
        struct payload_scalar a = scalar_of(ordered[i]);
        struct payload_value value = payload_value_at(ordered[i], strlen(ordered[i]));
        for (size_t j = 0; j < COUNT_OF(ordered); j++) {
            struct payload_scalar b = scalar_of(ordered[j]);
            int by_value = payload_value_compare(&value, &b),
                by_scalar = payload_scalar_compare(&a, &b);
            ck_assert_int_eq((by_value > 0) - (by_value < 0), (i > j) - (i < j));
            ck_assert_int_eq((by_scalar > 0) - (by_scalar < 0), (i > j) - (i < j));
        }
    }
}
END_TEST

static const struct {
    const char *value, *scalar;
    bool is_equal;
} equals[] = {
    {"5", "5", true},
    {"5.0", "5", false},
    {"5", "5.0", false},
    {"5.0", "5.0", false},
    {"-0", "0", true},
    {"\"5\"", "5", false},
    {"true", "true", true},
    {"false", "true", false},
    {"1", "true", false},
    {"null", "false", false},
    {"[5]", "5", false},
    {"{}", "5", false},
    {"9007199254740993", "9007199254740993", true},
    {"9007199254740992", "9007199254740993", false},
    {"18446744073709551615", "18446744073709551615", true},
    {"9223372036854775808", "9223372036854775807", false},
};

START_TEST(equality_is_of_type_and_value) {
    struct payload_value value = payload_value_at(equals[_i].value, strlen(equals[_i].value));
    struct payload_scalar scalar = scalar_of(equals[_i].scalar);
    ck_assert_int_eq(payload_value_equals(&value, &scalar), equals[_i].is_equal);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("payload_value");
    TCase *tcase = tcase_create("payload_value");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, finds_the_values_at_a_path, 0, (int)COUNT_OF(walks));
    tcase_add_test(tcase, stops_when_the_visitor_has_seen_enough);
    tcase_add_test(tcase, stays_inside_of_a_text_that_is_cut_anywhere);
    tcase_add_loop_test(tcase, decodes_strings, 0, (int)COUNT_OF(strings));
    tcase_add_test(tcase, a_raw_text_with_an_escape_is_not_what_it_looks_like);
    tcase_add_test(tcase, values_and_scalars_have_one_order);
    tcase_add_loop_test(tcase, equality_is_of_type_and_value, 0, (int)COUNT_OF(equals));
    suite_add_tcase(suite, tcase);
    return suite;
}
