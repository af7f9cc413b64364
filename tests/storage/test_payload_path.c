#include "storage/payload_path.h"

#include "tests/support/run_suite.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static struct arena arena;
static struct error error;

static void setup(void) {
    arena_init(&arena, 1 << 20);
}

static void teardown(void) {
    arena_free(&arena);
}

/* The steps as a text of our own: K(key) I(index) A. */
static void describe(const struct payload_path *path, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < path->count; i++) {
        const struct path_step *step = &path->steps[i];
        if (step->kind == PATH_STEP_KEY)
            used += (size_t)snprintf(out + used, size - used, "K(%.*s)", (int)step->key_length,
                                     step->key);
        else if (step->kind == PATH_STEP_INDEX)
            used += (size_t)snprintf(out + used, size - used, "I(%u)", step->index);
        else
            used += (size_t)snprintf(out + used, size - used, "A");
    }
}

static const struct {
    const char *text, *steps;
} good[] = {
    {"a", "K(a)"},
    {"a.b", "K(a)K(b)"},
    {"a[].b", "K(a)AK(b)"},
    {"a[0]", "K(a)I(0)"},
    {"a[0][1][].b", "K(a)I(0)I(1)AK(b)"},
    {"foo[1][50].bar-baz[].\"qux[.]quux\"", "K(foo)I(1)I(50)K(bar-baz)AK(qux[.]quux)"},
    {"\"a.b\".c", "K(a.b)K(c)"},
    {"\"\"", "K()"},
    {"\"a\\\"b\\\\c\"", "K(a\"b\\c)"},
    {"0", "K(0)"},
    {"_-", "K(_-)"},
    {"\xc3\xa9t\xc3\xa9.\xd0\xba", "K(\xc3\xa9t\xc3\xa9)K(\xd0\xba)"},
    {"a[007]", "K(a)I(7)"},
    {"a[4294967294]", "K(a)I(4294967294)"},
    {"a[99999999999999999999999]", "K(a)I(4294967295)"},
};

START_TEST(reads_the_steps_of_a_path) {
    struct payload_path path;
    char steps[256];
    const char *text = good[_i].text;
    ck_assert_msg(payload_path_parse(text, strlen(text), &arena, &path, &error) == STATUS_OK, "%s",
                  error.message);
    describe(&path, steps, sizeof(steps));
    ck_assert_str_eq(steps, good[_i].steps);
    ck_assert_str_eq(path.text, text);
    ck_assert_uint_eq(path.text_length, strlen(text));
}
END_TEST

static const char *const bad[] = {
    "",       ".",     ".a",    "a.",   "a..b",      "[]",      "[0]",    "a[",    "a[0",
    "a[-1]",  "a[x]",  "a[0]b", "a[]b", "a]",        "a b",     "a,b",    "\"a",   "\"a\"b",
    "a\"b\"", "a.[0]", "a$",    "a[ ]", "\"a\\nb\"", "\"a\\\"", "a[0x1]", "a\xff", "\xed\xa0\x80",
};

START_TEST(refuses_what_is_no_path) {
    struct payload_path path;
    ck_assert_int_eq(payload_path_parse(bad[_i], strlen(bad[_i]), &arena, &path, &error),
                     STATUS_INVALID);
    ck_assert_uint_gt(strlen(error.message), 10);
}
END_TEST

START_TEST(says_where_a_path_goes_wrong) {
    struct payload_path path;
    ck_assert_int_eq(payload_path_parse("a.b[x]", 6, &arena, &path, &error), STATUS_INVALID);
    ck_assert_str_eq(error.message,
                     "invalid payload path `a.b[x]`: expected [], or digits between brackets "
                     "(byte 4)");
}
END_TEST

START_TEST(holds_its_limits) {
    struct payload_path path;
    char text[PAYLOAD_PATH_BYTES_MAX + 2];
    memset(text, 'a', sizeof(text));
    ck_assert_int_eq(payload_path_parse(text, PAYLOAD_PATH_BYTES_MAX, &arena, &path, &error),
                     STATUS_OK);
    ck_assert_int_eq(payload_path_parse(text, PAYLOAD_PATH_BYTES_MAX + 1, &arena, &path, &error),
                     STATUS_INVALID);
    for (size_t i = 1; i < sizeof(text); i += 2)
        text[i] = '.';
    ck_assert_int_eq(
        payload_path_parse(text, 2 * PAYLOAD_PATH_STEPS_MAX - 1, &arena, &path, &error), STATUS_OK);
    ck_assert_uint_eq(path.count, PAYLOAD_PATH_STEPS_MAX);
    ck_assert_int_eq(
        payload_path_parse(text, 2 * PAYLOAD_PATH_STEPS_MAX + 1, &arena, &path, &error),
        STATUS_INVALID);
    ck_assert_int_eq(payload_path_parse("a\0b", 3, &arena, &path, &error), STATUS_INVALID);
}
END_TEST

START_TEST(fails_cleanly_when_the_arena_is_full) {
    struct payload_path path;
    arena.limit = 1;
    ck_assert_int_eq(payload_path_parse("a.b", 3, &arena, &path, &error), STATUS_NO_MEMORY);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("payload_path");
    TCase *tcase = tcase_create("payload_path");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, reads_the_steps_of_a_path, 0, (int)COUNT_OF(good));
    tcase_add_loop_test(tcase, refuses_what_is_no_path, 0, (int)COUNT_OF(bad));
    tcase_add_test(tcase, says_where_a_path_goes_wrong);
    tcase_add_test(tcase, holds_its_limits);
    tcase_add_test(tcase, fails_cleanly_when_the_arena_is_full);
    suite_add_tcase(suite, tcase);
    return suite;
}
