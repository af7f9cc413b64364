/* The JSON reader: values, paths in errors, strings, arrays of floats in both forms. */
#include "storage/json_reader.h"

#include "tests/support/run_suite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct error error;
static struct json_reader reader;

static void setup(void) {
    arena_init(&arena, 32u << 20);
    error = (struct error){0};
}

static void teardown(void) {
    arena_free(&arena);
}

static void begin(const char *text) {
    json_reader_init(&reader, text, strlen(text), &arena, &error);
}

/* ---- Whole texts ----------------------------------------------------------------------------- */

static enum status read_all(const char *text, size_t length) {
    const char *raw;
    size_t raw_length;
    json_reader_init(&reader, text, length, &arena, &error);
    enum status status = json_read_raw(&reader, &raw, &raw_length);
    return status == STATUS_OK ? json_read_end(&reader) : status;
}

START_TEST(a_raw_value_is_its_exact_text) {
    static const char text[] = " \n{\"a\" : [1.50,\t{\"b\":\"\\u0000]\"}], \"a\":2}  ";
    const char *raw;
    size_t length;
    begin(text);
    ck_assert_int_eq(json_read_raw(&reader, &raw, &length), STATUS_OK);
    ck_assert_ptr_eq(raw, text + 2);
    ck_assert_uint_eq(length, strlen(text) - 4);
    ck_assert_int_eq(json_read_end(&reader), STATUS_OK);
}
END_TEST

/* A text that is cut off anywhere is no JSON, and is never read beyond its end. */
START_TEST(every_prefix_of_an_object_is_refused) {
    static const char text[] =
        "{\"a\":[1,-2.5e3,true,false,null,\"x\\n\\u00e9\\ud83d\\ude00\xc3\xa9\"],\"b\":{}}";
    size_t length = strlen(text);
    ck_assert_int_eq(read_all(text, length), STATUS_OK);
    for (size_t i = 0; i < length; i++) {
        char *cut = malloc(i + 1); /* its own memory, so that a sanitizer sees a read beyond */
        memcpy(cut, text, i);
        ck_assert_int_eq(read_all(cut, i), STATUS_FORMAT);
        free(cut);
    }
}
END_TEST

static size_t nest(char *out, size_t depth, char open, char close) {
    memset(out, open, depth);
    memset(out + depth, close, depth);
    return depth * 2;
}

START_TEST(nesting_has_a_limit) {
    static char text[4 * JSON_DEPTH_MAX];
    ck_assert_int_eq(read_all(text, nest(text, JSON_DEPTH_MAX, '[', ']')), STATUS_OK);
    ck_assert_int_eq(read_all(text, nest(text, JSON_DEPTH_MAX + 1, '[', ']')), STATUS_FORMAT);
    ck_assert_ptr_nonnull(strstr(error.message, "nested deeper than 256"));
}
END_TEST

START_TEST(a_thousand_levels_are_refused_too) {
    static char text[16000];
    size_t used = 0;
    for (int i = 0; i < 1000; i++)
        used += (size_t)sprintf(text + used, "{\"a\":[");
    ck_assert_int_eq(read_all(text, used), STATUS_FORMAT);
}
END_TEST

/* ---- Errors name the path -------------------------------------------------------------------- */

static const struct {
    const char *text;
    const char *message;
} wrong[] = {
    {"", "expected a value (byte 0)"},
    {"[1,2,x]", "[2]: expected a value (byte 5)"},
    {"[1,]", "[1]: trailing comma (byte 3)"},
    {"[1 2]", "[0]: expected ',' or ']' (byte 3)"},
    {"{\"a\":{\"b\":[0,{\"c\":tru}]}}", "a.b[1].c: expected true or false (byte 18)"},
    {"{\"a\":1,}", "trailing comma (byte 7)"},
    {"{\"a\" 1}", "a: expected ':' (byte 5)"},
    {"{a:1}", "expected a string (byte 1)"},
    {"{\"a\":\"\x01\"}", "a: bare control character in a string (byte 6)"},
    {"{\"a\":\"\\x\"}", "a: malformed escape in a string (byte 6)"},
    {"{\"a\":\"\\ud800\"}", "a: malformed escape in a string (byte 6)"},
    {"{\"a\":\"\xff\"}", "a: a string is not valid UTF-8 (byte 6)"},
    {"{\"a\":\"b", "a: unterminated string (byte 7)"},
    {"1 2", "text after the end of the value (byte 2)"},
};

START_TEST(an_error_says_where_and_what) {
    ck_assert_int_eq(read_all(wrong[_i].text, strlen(wrong[_i].text)), STATUS_FORMAT);
    ck_assert_str_eq(error.message, wrong[_i].message);
}
END_TEST

START_TEST(a_long_path_is_cut_not_overrun) {
    static char text[9000];
    size_t used = 0;
    for (int i = 0; i < 40; i++)
        used += (size_t)sprintf(text + used, "{\"%0200d\":", i);
    ck_assert_int_eq(read_all(text, used), STATUS_FORMAT);
    ck_assert_uint_lt(strlen(error.message), 1024);
}
END_TEST

/* ---- Scalars --------------------------------------------------------------------------------- */

START_TEST(scalars_are_read_by_their_kind) {
    uint64_t positive;
    int64_t negative;
    double real;
    float single;
    bool truth;
    begin(" 18446744073709551615 -9223372036854775808 1.5 0.1 true null");
    ck_assert_int_eq(json_read_u64(&reader, &positive), STATUS_OK);
    ck_assert_int_eq(json_read_i64(&reader, &negative), STATUS_OK);
    ck_assert_int_eq(json_read_f64(&reader, &real), STATUS_OK);
    ck_assert_int_eq(json_read_f32(&reader, &single), STATUS_OK);
    ck_assert_int_eq(json_read_bool(&reader, &truth), STATUS_OK);
    ck_assert_int_eq(json_read_null(&reader), STATUS_OK);
    ck_assert_uint_eq(positive, UINT64_MAX);
    ck_assert_int_eq(negative, INT64_MIN);
    ck_assert_double_eq(real, 1.5);
    ck_assert_float_eq(single, 0.1f);
    ck_assert(truth);
}
END_TEST

START_TEST(numbers_out_of_range_are_refused) {
    uint64_t positive;
    double real;
    float single;
    begin("18446744073709551616");
    ck_assert_int_eq(json_read_u64(&reader, &positive), STATUS_FORMAT);
    begin("1.0");
    ck_assert_int_eq(json_read_u64(&reader, &positive), STATUS_FORMAT);
    begin("-1");
    ck_assert_int_eq(json_read_u64(&reader, &positive), STATUS_FORMAT);
    begin("1e400");
    ck_assert_int_eq(json_read_f64(&reader, &real), STATUS_FORMAT);
    begin("1e39");
    ck_assert_int_eq(json_read_f32(&reader, &single), STATUS_FORMAT);
    ck_assert_str_eq(error.message,
                     "expected a number that a 32-bit float can hold, not 1e39 (byte 0)");
}
END_TEST

/* ---- Strings --------------------------------------------------------------------------------- */

static const struct {
    const char *text;
    const char *decoded;
    size_t length;
} strings[] = {
    {"\"\"", "", 0},
    {"\"plain\"", "plain", 5},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
    {"\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10},
    {"\"a\\u0000b\"", "a\0b", 3},
    {"\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\"",
     "\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf", 14},
    {"\"\\uD834\\uDd1e tail that is longer than eight bytes\"",
     "\xf0\x9d\x84\x9e tail that is longer than eight bytes", 41},
};

START_TEST(strings_are_decoded_with_their_length) {
    struct json_text text;
    begin(strings[_i].text);
    ck_assert_int_eq(json_read_text(&reader, &text), STATUS_OK);
    ck_assert_uint_eq(text.length, strings[_i].length);
    ck_assert_mem_eq(text.text, strings[_i].decoded, text.length);
    ck_assert_int_eq(json_read_end(&reader), STATUS_OK);
}
END_TEST

START_TEST(a_name_may_not_hold_nul) {
    const char *name;
    begin("\"a\\u0000b\"");
    ck_assert_int_eq(json_read_string(&reader, &name), STATUS_FORMAT);
}
END_TEST

/* A special byte is seen at each place of the eight that are looked at at once. */
START_TEST(special_bytes_are_found_at_every_offset) {
    static const char *const bad[] = {
        "\x1f", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\\q"};
    char text[64];
    for (size_t b = 0; b < sizeof(bad) / sizeof(bad[0]); b++) {
        for (int before = 0; before < 20; before++) {
            snprintf(text, sizeof(text), "\"%.*s%s123456789\"", before, "abcdefghijklmnopqrst",
                     bad[b]);
            if (read_all(text, strlen(text)) != STATUS_FORMAT)
                ck_abort_msg("accepted %s", text);
            snprintf(text, sizeof(text), "\"%.*s\x7f~ !\"", before, "abcdefghijklmnopqrst");
            if (read_all(text, strlen(text)) != STATUS_OK)
                ck_abort_msg("refused %s", text);
        }
    }
}
END_TEST

/* ---- Arrays of floats ------------------------------------------------------------------------ */

static enum status read_floats(const char *text, size_t max, float **values, size_t *count) {
    begin(text);
    return json_read_floats(&reader, max, values, count);
}

START_TEST(floats_are_read_as_strtof_reads_them) {
    enum {
        COUNT = 20000
    };
    static char text[COUNT * 24];
    static float expected[COUNT];
    size_t used = 0, count;
    float *values;
    srand(3);
    text[used++] = '[';
    for (int i = 0; i < COUNT; i++) {
        char number[32];
        double value = ((double)rand() / RAND_MAX - 0.5) * pow(10, rand() % 20 - 12);
        snprintf(number, sizeof(number), "%.*g", 1 + rand() % 17, value);
        expected[i] = strtof(number, NULL);
        used += (size_t)sprintf(text + used, "%s%s%s", i ? "," : "", rand() % 4 ? "" : " ", number);
    }
    text[used++] = ']';
    json_reader_init(&reader, text, used, &arena, &error);
    ck_assert_int_eq(json_read_floats(&reader, COUNT, &values, &count), STATUS_OK);
    ck_assert_uint_eq(count, COUNT);
    ck_assert_mem_eq(values, expected, sizeof(expected));
}
END_TEST

START_TEST(base64_gives_the_same_floats) {
    /* 1, -2.5, 3.25 and 0.1 as little-endian floats */
    float *values;
    size_t count;
    ck_assert_int_eq(read_floats("\"AACAPwAAIMAAAFBAzczMPQ==\"", 4, &values, &count), STATUS_OK);
    ck_assert_uint_eq(count, 4);
    ck_assert_float_eq(values[0], 1.0f);
    ck_assert_float_eq(values[1], -2.5f);
    ck_assert_float_eq(values[2], 3.25f);
    ck_assert_float_eq(values[3], 0.1f);
    /* A slash may be written with an escape. */
    ck_assert_int_eq(read_floats("\"AACAPwAAIMAAAFBAzczMPQ\\u003d=\"", 4, &values, &count),
                     STATUS_OK);
}
END_TEST

static const struct {
    const char *text;
    size_t count; /* of what is read; SIZE_MAX: refused */
} float_arrays[] = {
    {"[]", 0},
    {"[ ]", 0},
    {" [ 1 , 2 ] ", 2},
    {"[1]", 1},
    {"\"\"", 0},
    {"[1,]", SIZE_MAX},
    {"[,1]", SIZE_MAX},
    {"[1 2]", SIZE_MAX},
    {"[1", SIZE_MAX},
    {"[1,", SIZE_MAX},
    {"[", SIZE_MAX},
    {"[null]", SIZE_MAX},
    {"[true]", SIZE_MAX},
    {"[\"1\"]", SIZE_MAX},
    {"[[1]]", SIZE_MAX},
    {"[01]", SIZE_MAX},
    {"[1e39]", SIZE_MAX},
    {"[-3.5e38]", SIZE_MAX},
    {"[NaN]", SIZE_MAX},
    {"[1.]", SIZE_MAX},
    {"[+1]", SIZE_MAX},
    {"{}", SIZE_MAX},
    {"1", SIZE_MAX},
    {"null", SIZE_MAX},
    {"[1,2,3,4,5]", SIZE_MAX},                      /* one more than allowed */
    {"\"AACAPwAAIMAAAFBAzczMPQAAgD8=\"", SIZE_MAX}, /* the same in base64 */
    {"\"AACAPw=\"", SIZE_MAX},
    {"\"AACAPw\"", SIZE_MAX},
    {"\"AACA Pw=\"", SIZE_MAX},
    {"\"AACAP===\"", SIZE_MAX},
    {"\"AACAPx==\"", SIZE_MAX}, /* bits that mean nothing are set */
    {"\"AAA=\"", SIZE_MAX},     /* two bytes are no float */
    {"\"AADAfw==\"", SIZE_MAX}, /* not a number */
    {"\"AACAfw==\"", SIZE_MAX}, /* infinity */
    {"\"AACA-w==\"", SIZE_MAX}, /* of the other alphabet */
};

START_TEST(arrays_of_floats_are_read_strictly) {
    float *values;
    size_t count;
    enum status status = read_floats(float_arrays[_i].text, 4, &values, &count);
    ck_assert_int_eq(status, float_arrays[_i].count == SIZE_MAX ? STATUS_FORMAT : STATUS_OK);
    if (status == STATUS_OK)
        ck_assert_uint_eq(count, float_arrays[_i].count);
}
END_TEST

START_TEST(a_wrong_number_of_a_vector_is_named) {
    float *values;
    size_t count;
    ck_assert_int_eq(read_floats("[1,2,\"x\"]", 9, &values, &count), STATUS_FORMAT);
    ck_assert_str_eq(error.message, "[2]: expected a number (byte 5)");
}
END_TEST

/* ---- Memory ---------------------------------------------------------------------------------- */

START_TEST(a_full_arena_is_an_error_not_a_crash) {
    static const char text[] = "{\"a\\n\":\"b\\n\",\"v\":[1,2,3,4,5,6,7,8]}";
    for (size_t limit = 0; limit < 40000; limit += 1000) {
        struct arena small;
        struct json_text key, value;
        float *values;
        size_t count;
        bool more;
        arena_init(&small, limit);
        json_reader_init(&reader, text, strlen(text), &small, &error);
        enum status status = json_open_object(&reader);
        ck_assert_int_eq(status, STATUS_OK);
        status = json_next_key(&reader, &key, &more);
        if (status == STATUS_OK)
            status = json_read_text(&reader, &value);
        if (status == STATUS_OK)
            status = json_next_key(&reader, &key, &more);
        if (status == STATUS_OK)
            status = json_read_floats(&reader, 100, &values, &count);
        ck_assert_int_eq(status, limit < 1000 ? STATUS_NO_MEMORY : STATUS_OK);
        arena_free(&small);
    }
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("json_reader");
    TCase *tcase = tcase_create("json_reader");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_raw_value_is_its_exact_text);
    tcase_add_test(tcase, every_prefix_of_an_object_is_refused);
    tcase_add_test(tcase, nesting_has_a_limit);
    tcase_add_test(tcase, a_thousand_levels_are_refused_too);
    tcase_add_loop_test(tcase, an_error_says_where_and_what, 0, COUNT_OF(wrong));
    tcase_add_test(tcase, a_long_path_is_cut_not_overrun);
    tcase_add_test(tcase, scalars_are_read_by_their_kind);
    tcase_add_test(tcase, numbers_out_of_range_are_refused);
    tcase_add_loop_test(tcase, strings_are_decoded_with_their_length, 0, COUNT_OF(strings));
    tcase_add_test(tcase, a_name_may_not_hold_nul);
    tcase_add_test(tcase, special_bytes_are_found_at_every_offset);
    tcase_add_test(tcase, floats_are_read_as_strtof_reads_them);
    tcase_add_test(tcase, base64_gives_the_same_floats);
    tcase_add_loop_test(tcase, arrays_of_floats_are_read_strictly, 0, COUNT_OF(float_arrays));
    tcase_add_test(tcase, a_wrong_number_of_a_vector_is_named);
    tcase_add_test(tcase, a_full_arena_is_an_error_not_a_crash);
    suite_add_tcase(suite, tcase);
    return suite;
}
