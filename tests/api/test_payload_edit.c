/* Payload edits against qdrant-client's local mode, whose rules these are; untouched text stays. */
#include "api/payload_delete.h"
#include "api/payload_edit.h"

#include "tests/support/run_suite.h"

#include <stdio.h>
#include <string.h>

static struct arena arena;
static struct error error;

static void setup(void) {
    arena_init(&arena, 4u << 20);
}

static void teardown(void) {
    arena_free(&arena);
}

static struct payload_path path_of(const char *text) {
    struct payload_path path;
    ck_assert_msg(payload_path_parse(text, strlen(text), &arena, &path, &error) == STATUS_OK, "%s",
                  error.message);
    return path;
}

static struct json_text text_of(const char *text) {
    return (struct json_text){text, strlen(text)};
}

static enum status apply(const struct payload_edit *edit, const char *payload,
                         struct json_text *result) {
    const struct operation operation = {.kind = OPERATION_EDIT_PAYLOAD, .edit_context = edit};
    return payload_edit_apply(&operation, payload, payload ? strlen(payload) : 0, &arena,
                              &result->text, &result->length, &error);
}

static void assert_edit(const struct payload_edit *edit, const char *payload,
                        const char *expected) {
    struct json_text result;
    ck_assert_msg(apply(edit, payload, &result) == STATUS_OK, "%s", error.message);
    ck_assert_msg(result.length == strlen(expected) &&
                      memcmp(result.text, expected, result.length) == 0,
                  "%s becomes %.*s, not %s", payload ? payload : "nothing", (int)result.length,
                  result.text, expected);
}

/* ---- set ------------------------------------------------------------------------------------- */

static const struct {
    const char *payload, *key, *patch, *expected;
} sets[] = {
    {"{}", NULL, "{\"a\":1}", "{\"a\":1}"},
    {NULL, NULL, "{\"a\":1}", "{\"a\":1}"},
    {"{\"a\":1}", NULL, "{}", "{\"a\":1}"},
    {"{\"a\":1.50,\"b\":2}", NULL, "{\"b\":{\"c\":3}}", "{\"a\":1.50,\"b\":{\"c\":3}}"},
    {"{\"a\":1,\"b\":2,\"c\":3}", NULL, "{\"b\":null,\"d\":null}", "{\"a\":1,\"c\":3}"},
    {"{ \"a\" : 1 , \"b\":[ 1, 2 ]}", NULL, "{\"c\": 18446744073709551615}",
     "{\"a\":1,\"b\":[ 1, 2 ],\"c\":18446744073709551615}"},
    {"{\"\\u0061\":1}", NULL, "{\"a\":2}", "{\"\\u0061\":2}"},
    {"{\"a\":1,\"a\":2,\"b\":3}", NULL, "{\"a\":9}", "{\"a\":9,\"b\":3}"},
    {"{\"a\":1,\"a\":2,\"b\":3}", NULL, "{\"b\":9}", "{\"a\":1,\"a\":2,\"b\":9}"},
    {"{\"a\":1}", NULL, "{\"a\":2,\"a\":3}", "{\"a\":3}"},
    {"{\"x\":1}", NULL, "{\"b\":1,\"a\":2}", "{\"x\":1,\"b\":1,\"a\":2}"},
    {"{\"a\":{\"b\":1,\"c\":2}}", "a", "{\"b\":null,\"d\":3}", "{\"a\":{\"c\":2,\"d\":3}}"},
    {"{}", "a.b", "{\"c\":1}", "{\"a\":{\"b\":{\"c\":1}}}"},
    {"{\"a\":5}", "a.b", "{\"c\":1}", "{\"a\":{\"b\":{\"c\":1}}}"},
    {"{\"a\":{\"b\":[1]}}", "a.b", "{\"c\":1}", "{\"a\":{\"b\":{\"c\":1}}}"},
    {"{\"a\":[{\"x\":1},2,{\"y\":3}]}", "a[]", "{\"c\":1}",
     "{\"a\":[{\"x\":1,\"c\":1},{\"c\":1},{\"y\":3,\"c\":1}]}"},
    {"{\"a\":[{\"x\":1},2]}", "a[0]", "{\"c\":1}", "{\"a\":[{\"x\":1,\"c\":1},2]}"},
    {"{\"a\":[{\"x\":1}]}", "a[5]", "{\"c\":1}", "{\"a\":[{\"x\":1}]}"},
    {"{\"a\":{\"x\":1}}", "a[0]", "{\"c\":1}", "{\"a\":[]}"},
    {"{\"b\":1}", "a[]", "{\"c\":1}", "{\"b\":1,\"a\":[]}"},
    {"{\"a\":[{\"b\":[{\"c\":1},{\"c\":2}]}]}", "a[].b[1].d", "{\"e\":1}",
     "{\"a\":[{\"b\":[{\"c\":1},{\"c\":2,\"d\":{\"e\":1}}]}]}"},
    {"{}", "\"a.b\"", "{\"c\":1}", "{\"a.b\":{\"c\":1}}"},
    {"{\"a\":1,\"a\":{\"z\":1}}", "a", "{\"c\":1}", "{\"a\":{\"z\":1,\"c\":1}}"},
    {"{\"a\":{}}", "a", "{\"n\":null}", "{\"a\":{}}"},
};

START_TEST(setting_merges_at_the_top_or_at_a_path) {
    struct payload_edit edit = {.kind = PAYLOAD_EDIT_SET, .document = text_of(sets[_i].patch)};
    edit.has_key = sets[_i].key != NULL;
    if (edit.has_key)
        edit.key = path_of(sets[_i].key);
    assert_edit(&edit, sets[_i].payload, sets[_i].expected);
}
END_TEST

/* ---- delete ---------------------------------------------------------------------------------- */

static const struct {
    const char *payload, *paths[3], *expected;
} deletes[] = {
    {"{\"a\":1,\"b\":2}", {"a"}, "{\"b\":2}"},
    {"{\"a\":1}", {"b"}, "{\"a\":1}"},
    {"{\"a\":1,\"b\":2,\"c\":3}", {"a", "c", "z"}, "{\"b\":2}"},
    {"{\"a\":{\"b\":1,\"c\":2}}", {"a.b"}, "{\"a\":{\"c\":2}}"},
    {"{\"a\":{\"b\":1}}", {"a.b.c"}, "{\"a\":{\"b\":1}}"},
    {"{\"a\":[{\"b\":1,\"c\":2},{\"b\":3},4]}", {"a[].b"}, "{\"a\":[{\"c\":2},{},4]}"},
    {"{\"a\":[{\"b\":1},{\"b\":2}]}", {"a[1].b"}, "{\"a\":[{\"b\":1},{}]}"},
    {"{\"a\":[1,2]}", {"a[]"}, "{\"a\":[]}"},
    {"{\"a\":[1,2]}", {"a[0]"}, "{\"a\":[1,2]}"},
    {"{\"a\":{\"b\":1}}", {"a[]"}, "{\"a\":{\"b\":1}}"},
    {"{\"a.b\":1,\"a\":{\"b\":2}}", {"\"a.b\""}, "{\"a\":{\"b\":2}}"},
    {"{\"a\":1,\"a\":2}", {"a"}, "{}"},
    {"{ \"x\" : 1.50, \"y\":[ 1 ]}", {"z"}, "{\"x\":1.50,\"y\":[ 1 ]}"},
    {"{\"a\":{\"b\":1,\"c\":2}}", {"a.b", "a.b", "a.c.d"}, "{\"a\":{\"c\":2}}"},
    {"{\"a\":{\"b\":1},\"c\":2}", {"a.b", "a", "a.b.c"}, "{\"c\":2}"},
    {"{\"a\":[{\"b\":1,\"c\":2,\"d\":3},{\"b\":1,\"c\":2}]}",
     {"a[].b", "a[0].c", "a[1].d"},
     "{\"a\":[{\"d\":3},{\"c\":2}]}"},
    {"{\"a\":[{\"b\":1},2]}", {"a[0].b", "a[]", "a[1]"}, "{\"a\":[]}"},
    {"{\"a\":[[{\"b\":1},{\"b\":2}],[{\"b\":3}]]}",
     {"a[0][1].b", "a[][0].b"},
     "{\"a\":[[{},{}],[{}]]}"},
};

START_TEST(deleting_removes_what_lies_at_the_paths) {
    struct payload_path paths[3];
    size_t count = 0;
    while (count < 3 && deletes[_i].paths[count]) {
        paths[count] = path_of(deletes[_i].paths[count]);
        count++;
    }
    payload_delete_order(paths, count);
    const struct payload_edit edit = {
        .kind = PAYLOAD_EDIT_DELETE, .paths = paths, .paths_count = count};
    assert_edit(&edit, deletes[_i].payload, deletes[_i].expected);
}
END_TEST

static unsigned draw(unsigned *state, unsigned below) {
    *state = *state * 1103515245u + 12345u;
    return (*state >> 16) % below;
}

/* A random value of keys a to c, nested up to `depth`; returns the end. */
static char *draw_value(unsigned *state, unsigned depth, bool is_object, char *out) {
    if (depth == 0 || (!is_object && draw(state, 4) == 0))
        return out + sprintf(out, "%u", draw(state, 9));
    bool is_array = !is_object && draw(state, 2) == 0;
    unsigned count = draw(state, 4);
    *out++ = is_array ? '[' : '{';
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            *out++ = ',';
        if (!is_array)
            out += sprintf(out, "\"%c\":", 'a' + (int)draw(state, 3));
        out = draw_value(state, depth - 1, false, out);
    }
    *out++ = is_array ? ']' : '}';
    *out = '\0';
    return out;
}

static void draw_path(unsigned *state, char *out) {
    static const char *const steps[] = {".a", ".b", ".c", "[]", "[0]", "[1]"};
    out += sprintf(out, "%c", 'a' + (int)draw(state, 3));
    for (unsigned i = draw(state, 4); i > 0; i--)
        out += sprintf(out, "%s", steps[draw(state, 6)]);
}

/* _i: the seed. */
START_TEST(deleting_at_all_paths_at_once_is_deleting_at_one_after_the_other) {
    enum {
        ROUNDS = 200,
        PATHS = 5
    };
    unsigned state = (unsigned)_i + 1;
    arena.limit = 64u << 20;
    for (int round = 0; round < ROUNDS; round++) {
        char payload[4096], text[64];
        struct payload_path paths[PATHS];
        draw_value(&state, 5, true, payload);
        struct json_text one_by_one = text_of(payload), at_once;
        for (size_t i = 0; i < PATHS; i++) {
            draw_path(&state, text);
            paths[i] = path_of(text);
            ck_assert_int_eq(
                payload_delete_apply(&paths[i], 1, one_by_one, &arena, &one_by_one, &error),
                STATUS_OK);
        }
        payload_delete_order(paths, PATHS);
        ck_assert_int_eq(
            payload_delete_apply(paths, PATHS, text_of(payload), &arena, &at_once, &error),
            STATUS_OK);
        ck_assert_msg(at_once.length == one_by_one.length &&
                          memcmp(at_once.text, one_by_one.text, at_once.length) == 0,
                      "%s becomes %.*s, not %.*s", payload, (int)at_once.length, at_once.text,
                      (int)one_by_one.length, one_by_one.text);
    }
}
END_TEST

/* Memory tells: one walk takes that of one text, and one a path would take that of all. */
START_TEST(many_paths_are_deleted_in_one_walk) {
    enum {
        ITEMS = 20000,
        PATHS = 1000
    };
    static char payload[ITEMS * 3 + 64];
    static struct payload_path paths[PATHS];
    char text[32], *at = payload;
    struct json_text result;
    for (int i = 0; i < PATHS; i++) {
        sprintf(text, "a[].k%d", i);
        paths[i] = path_of(text);
    }
    payload_delete_order(paths, PATHS);
    at += sprintf(at, "{\"a\":[{\"k7\":1,\"k\":2}");
    for (int i = 1; i < ITEMS; i++)
        at += sprintf(at, ",{}");
    strcpy(at, "]}");
    arena.limit = 16u << 20;
    const struct payload_edit edit = {
        .kind = PAYLOAD_EDIT_DELETE, .paths = paths, .paths_count = PATHS};
    ck_assert_msg(apply(&edit, payload, &result) == STATUS_OK, "%s", error.message);
    ck_assert_uint_eq(result.length, strlen(payload) - strlen("\"k7\":1,"));
    ck_assert_mem_eq(result.text, "{\"a\":[{\"k\":2},{}", 16);
}
END_TEST

/* ---- overwrite, clear ------------------------------------------------------------------------ */

START_TEST(overwriting_leaves_only_the_document) {
    const struct payload_edit edit = {.kind = PAYLOAD_EDIT_OVERWRITE,
                                      .document = text_of("{\"n\":null,\"x\":1.0}")};
    assert_edit(&edit, "{\"a\":1}", "{\"n\":null,\"x\":1.0}");
}
END_TEST

START_TEST(clearing_leaves_no_payload) {
    const struct payload_edit edit = {.kind = PAYLOAD_EDIT_CLEAR};
    struct json_text result;
    ck_assert_int_eq(apply(&edit, "{\"a\":1}", &result), STATUS_OK);
    ck_assert_ptr_null(result.text);
}
END_TEST

/* ---- Limits ---------------------------------------------------------------------------------- */

START_TEST(a_payload_cannot_be_nested_deeper_than_it_could_be_read) {
    struct payload_edit edit = {.kind = PAYLOAD_EDIT_SET, .has_key = true, .key = path_of("b.c")};
    char patch[2 * JSON_DEPTH_MAX + 32] = "{\"d\":";
    struct json_text result;
    size_t used = strlen(patch),
           levels = JSON_DEPTH_MAX - 3; /* two of the path, one of the patch */
    memset(patch + used, '[', levels);
    memset(patch + used + levels, ']', levels);
    strcpy(patch + used + 2 * levels, "}");
    edit.document = text_of(patch);
    ck_assert_int_eq(apply(&edit, "{}", &result), STATUS_OK);
    edit.key = path_of("b.c.d");
    ck_assert_int_eq(apply(&edit, "{}", &result), STATUS_INVALID);
    ck_assert_str_eq(error.message, "the payload would be nested deeper than 256");
}
END_TEST

START_TEST(many_keys_merge_quickly_and_in_order) {
    enum {
        KEYS = 20000
    };
    static char payload[KEYS * 20], patch[KEYS * 20], expected[KEYS * 40];
    size_t a = 0, b = 0, c = 0;
    payload[a++] = patch[b++] = expected[c++] = '{';
    for (int i = 0; i < KEYS; i++) {
        a += (size_t)sprintf(payload + a, "%s\"k%d\":1", i ? "," : "", i);
        b += (size_t)sprintf(patch + b, "%s\"k%d\":2", i ? "," : "", KEYS / 2 + i);
    }
    for (int i = 0; i < KEYS + KEYS / 2; i++)
        c += (size_t)sprintf(expected + c, "%s\"k%d\":%d", i ? "," : "", i, i < KEYS / 2 ? 1 : 2);
    strcpy(payload + a, "}");
    strcpy(patch + b, "}");
    strcpy(expected + c, "}");
    arena.limit = 64u << 20;
    const struct payload_edit edit = {.kind = PAYLOAD_EDIT_SET, .document = text_of(patch)};
    assert_edit(&edit, payload, expected);
}
END_TEST

/* The walk takes memory in several places: each of them may be the one that gets none. */
START_TEST(a_full_arena_fails_the_edit) {
    struct payload_edit edit = {.kind = PAYLOAD_EDIT_SET, .document = text_of("{\"b\":2}")};
    struct payload_path key = path_of("a.b");
    const struct operation operation = {.kind = OPERATION_EDIT_PAYLOAD, .edit_context = &edit};
    static const char payload[] = "{\"a\":{\"b\":{\"c\":[1,2,3]}}}";
    size_t failures = 0, successes = 0;
    edit.has_key = true;
    edit.key = key;
    for (size_t limit = 0; limit < 64 * 1024; limit += 64) {
        struct arena small;
        struct json_text result;
        arena_init(&small, limit);
        enum status status = payload_edit_apply(&operation, payload, strlen(payload), &small,
                                                &result.text, &result.length, &error);
        ck_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
        failures += status == STATUS_NO_MEMORY;
        successes += status == STATUS_OK;
        arena_free(&small);
    }
    ck_assert_uint_gt(failures, 10);
    ck_assert_uint_gt(successes, 10);
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("payload_edit");
    TCase *tcase = tcase_create("payload_edit");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, setting_merges_at_the_top_or_at_a_path, 0, COUNT_OF(sets));
    tcase_add_loop_test(tcase, deleting_removes_what_lies_at_the_paths, 0, COUNT_OF(deletes));
    tcase_add_loop_test(tcase, deleting_at_all_paths_at_once_is_deleting_at_one_after_the_other, 0,
                        10);
    tcase_add_test(tcase, many_paths_are_deleted_in_one_walk);
    tcase_add_test(tcase, overwriting_leaves_only_the_document);
    tcase_add_test(tcase, clearing_leaves_no_payload);
    tcase_add_test(tcase, a_payload_cannot_be_nested_deeper_than_it_could_be_read);
    tcase_add_test(tcase, many_keys_merge_quickly_and_in_order);
    tcase_add_test(tcase, a_full_arena_fails_the_edit);
    suite_add_tcase(suite, tcase);
    return suite;
}
