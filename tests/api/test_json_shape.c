/* Reading and writing structs by their shape.
 *
 * One row of a table is one case; check runs each in its own process and names the row that fails.
 */
#include "api/json_schema.h"
#include "api/json_shape.h"
#include "api/json_writer.h"

#include "tests/support/run_suite.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

struct inner {
    uint32_t depth;
};

static const struct json_field inner_fields[] = {
    {JSON_MEMBER(struct inner, depth), .min = 1, .max = 9},
};
static const struct json_shape inner_shape =
    JSON_SHAPE("Inner", struct inner, inner_fields, .is_strict = true);

struct outer {
    struct floats vector;
    uint64_t limit;
    bool has_threshold;
    float threshold;
    double ratio;
    int64_t shift;
    bool flag;
    uint32_t dimension;
    const char *name;
    struct raw_json any;
    struct inner *inner;
    struct inner *list;
    size_t list_count;
    const char **names;
    size_t names_count;
};

static const struct json_field outer_fields[] = {
    {JSON_MEMBER(struct outer, vector), .required = true, .max = 4},
    {JSON_MEMBER(struct outer, limit), .alias = "top", .min = 1},
    {JSON_OPTIONAL(struct outer, threshold)},
    {JSON_MEMBER(struct outer, ratio), .has_real_bounds = true, .real_min = 0.5, .real_max = 1},
    {JSON_MEMBER(struct outer, shift)},
    {JSON_MEMBER(struct outer, flag)},
    {JSON_MEMBER(struct outer, dimension), .is_nonzero = true, .min = 1, .max = 65536},
    {JSON_MEMBER(struct outer, name), .min = 1, .max = 5},
    {JSON_MEMBER(struct outer, any)},
    {JSON_OBJECT(struct outer, inner, inner_shape)},
    {JSON_LIST(struct outer, list, inner_shape), .one_or_many = true, .max = 3},
    {JSON_LIST_OF(struct outer, names, json_shape_string), .min = 1},
};
static const struct json_shape outer_shape =
    JSON_SHAPE("Outer", struct outer, outer_fields, .inner = "internal",
               .defaults = (&(const struct outer){.limit = 10, .ratio = 0.75}));

static struct arena arena;
static struct error error;
static struct outer outer;

static void setup(void) {
    arena_init(&arena, 1 << 20);
    error = (struct error){0};
}

static void teardown(void) {
    arena_free(&arena);
}

static enum status read_text(const char *text) {
    struct json_reader reader;
    json_reader_init(&reader, text, strlen(text), &arena, &error);
    enum status status = json_shape_read(&reader, &outer_shape, &outer);
    return status == STATUS_OK ? json_read_end(&reader) : status;
}

START_TEST(every_kind_of_member_is_read) {
    ck_assert_int_eq(
        read_text("{\"vector\":[1,-2.5,3e1],\"limit\":18446744073709551615,\"threshold\":0.1,"
                  "\"ratio\":0.5,\"shift\":-9223372036854775808,\"flag\":true,\"dimension\":65536,"
                  "\"name\":\"abc\",\"any\":{\"x\":[1.50]},\"inner\":{\"depth\":9},"
                  "\"list\":[{\"depth\":1},{\"depth\":2}],\"names\":[\"p\",\"q\"]}"),
        STATUS_OK);
    ck_assert_uint_eq(outer.vector.count, 3);
    ck_assert_float_eq(outer.vector.values[1], -2.5f);
    ck_assert_uint_eq(outer.limit, UINT64_MAX);
    ck_assert(outer.has_threshold);
    ck_assert_float_eq(outer.threshold, 0.1f);
    ck_assert_double_eq(outer.ratio, 0.5);
    ck_assert_int_eq(outer.shift, INT64_MIN);
    ck_assert(outer.flag);
    ck_assert_uint_eq(outer.dimension, 65536);
    ck_assert_str_eq(outer.name, "abc");
    ck_assert_mem_eq(outer.any.text, "{\"x\":[1.50]}", outer.any.length);
    ck_assert_uint_eq(outer.inner->depth, 9);
    ck_assert_uint_eq(outer.list_count, 2);
    ck_assert_uint_eq(outer.list[1].depth, 2);
    ck_assert_str_eq(outer.names[1], "q");
}
END_TEST

START_TEST(null_says_the_same_as_leaving_out) {
    ck_assert_int_eq(read_text("{\"vector\":[1],\"limit\":null,\"threshold\":null,\"inner\":null,"
                               "\"list\":null,\"any\":null,\"unknown\":[{\"a\":null}]}"),
                     STATUS_OK);
    ck_assert_uint_eq(outer.limit, 10);
    ck_assert(!outer.has_threshold);
    ck_assert_ptr_null(outer.inner);
    ck_assert_ptr_null(outer.list);
    ck_assert_ptr_null(outer.any.text);
    ck_assert_double_eq(outer.ratio, 0.75);
}
END_TEST

START_TEST(an_alias_and_a_single_item_are_taken) {
    ck_assert_int_eq(read_text("{\"vector\":[1],\"top\":7,\"list\":{\"depth\":3}}"), STATUS_OK);
    ck_assert_uint_eq(outer.limit, 7);
    ck_assert_uint_eq(outer.list_count, 1);
    ck_assert_uint_eq(outer.list[0].depth, 3);
}
END_TEST

static const struct {
    enum status status;
    const char *text;
    const char *message;
} rejected[] = {
    {STATUS_FORMAT, "", "expected an object (byte 0)"},
    {STATUS_FORMAT, "[]", "expected an object (byte 0)"},
    {STATUS_FORMAT, "{}", "missing field `vector` (byte 2)"},
    {STATUS_FORMAT, "{\"vector\":null}", "vector: expected an array (byte 10)"},
    {STATUS_FORMAT, "{\"vector\":1}", "vector: expected an array (byte 10)"},
    {STATUS_FORMAT, "{\"vector\":[1,\"2\"]}", "vector[1]: expected a number (byte 13)"},
    {STATUS_FORMAT, "{\"vector\":[1,2,3,4,5]}", "vector[4]: more than 4 numbers (byte 19)"},
    {STATUS_FORMAT, "{\"vector\":[1],\"limit\":1.5}",
     "limit: expected a whole number from 0 to 2^64-1, not 1.5 (byte 22)"},
    {STATUS_FORMAT, "{\"vector\":[1],\"limit\":\"1\"}", "limit: expected a whole number (byte 22)"},
    {STATUS_VALIDATION, "{\"vector\":[1],\"limit\":0}",
     "internal.limit: value 0 invalid, must be 1 or larger"},
    {STATUS_VALIDATION, "{\"vector\":[1],\"dimension\":65537}",
     "internal.dimension: value 65537 invalid, must be from 1 to 65536"},
    {STATUS_FORMAT, "{\"vector\":[1],\"dimension\":0}",
     "dimension: invalid value: integer `0`, expected a nonzero number (byte 27)"},
    {STATUS_FORMAT, "{\"vector\":[1],\"dimension\":4294967296}",
     "dimension: expected a whole number up to 2^32-1 (byte 36)"},
    {STATUS_VALIDATION, "{\"vector\":[1],\"ratio\":0.4}",
     "internal.ratio: value 0.4 invalid, must be from 0.5 to 1"},
    {STATUS_VALIDATION, "{\"vector\":[1],\"name\":\"\"}",
     "internal.name: has 0 bytes, must have from 1 to 5"},
    {STATUS_VALIDATION, "{\"vector\":[1],\"name\":\"abcdef\"}",
     "internal.name: has 6 bytes, must have from 1 to 5"},
    {STATUS_FORMAT, "{\"vector\":[1],\"vector\":[1]}",
     "vector: duplicate field `vector` (byte 23)"},
    {STATUS_FORMAT, "{\"vector\":[1],\"limit\":1,\"top\":1}",
     "top: duplicate field `limit` (byte 30)"},
    {STATUS_FORMAT, "{\"vector\":[1]} x", "text after the end of the value (byte 15)"},
    {STATUS_VALIDATION, "{\"vector\":[1],\"inner\":{\"depth\":10}}",
     "internal.inner.depth: value 10 invalid, must be from 1 to 9"},
    {STATUS_FORMAT, "{\"vector\":[1],\"inner\":{\"dept\":1}}",
     "inner.dept: unknown field `dept` of Inner (byte 30)"},
    {STATUS_VALIDATION, "{\"vector\":[1],\"list\":[{},{},{},{}]}",
     "internal.list[3]: more than 3 items"},
    {STATUS_VALIDATION, "{\"vector\":[1],\"names\":[]}",
     "internal.names: must have at least 1 items"},
    {STATUS_FORMAT, "{\"vector\":[1],\"unknown\":tru}",
     "unknown: expected true or false (byte 24)"},
};

START_TEST(what_is_wrong_is_rejected_with_its_path) {
    ck_assert_int_eq(read_text(rejected[_i].text), rejected[_i].status);
    ck_assert_str_eq(error.message, rejected[_i].message);
}
END_TEST

/* What follows a name in memory is no part of it, however long the key that begins like it. */
START_TEST(a_key_that_holds_nul_is_no_name_of_a_field) {
    static const char before[] = "{\"limit\\u0000", after[] = "\":77,\"vector\":[1]}";
    enum {
        SHORT_MAX = 512,
        LONG = 8 << 20
    };
    char *text = malloc(LONG + sizeof(before) + sizeof(after));
    arena.limit = 2 * LONG;
    for (int length = 0; length <= SHORT_MAX + 1; length++) {
        int filling = length <= SHORT_MAX ? length : LONG;
        memcpy(text, before, sizeof(before) - 1);
        memset(text + sizeof(before) - 1, 'x', (size_t)filling);
        memcpy(text + sizeof(before) - 1 + filling, after, sizeof(after));
        ck_assert_msg(read_text(text) == STATUS_OK, "%d: %s", filling, error.message);
        ck_assert_msg(outer.limit == 10, "a key with %d bytes after its NUL is limit", filling);
    }
    free(text);
}
END_TEST

START_TEST(merging_keeps_what_is_not_named) {
    struct inner shared = {.depth = 4};
    static const char text[] = "{\"limit\":3,\"inner\":{}}";
    struct json_reader reader;
    outer = (struct outer){.limit = 8, .flag = true, .inner = &shared};
    json_reader_init(&reader, text, strlen(text), &arena, &error);
    ck_assert_int_eq(json_shape_merge(&reader, &outer_shape, &outer), STATUS_OK);
    ck_assert_uint_eq(outer.limit, 3);
    ck_assert(outer.flag);
    ck_assert_ptr_ne(outer.inner, &shared); /* what was there may be shared: it is copied */
    ck_assert_uint_eq(outer.inner->depth, 4);
}
END_TEST

START_TEST(what_is_read_is_written_again) {
    static const char text[] =
        "{\"vector\":[0.1,-2.5],\"limit\":9007199254740993,\"threshold\":0.5,\"ratio\":0.6,"
        "\"shift\":-1,\"flag\":true,\"dimension\":2,\"name\":\"a\\\"b\",\"any\":[1.50],"
        "\"inner\":{\"depth\":9},\"list\":[{\"depth\":1}],\"names\":[\"p\"]}";
    struct json_writer writer;
    ck_assert_int_eq(read_text(text), STATUS_OK);
    json_writer_init(&writer, &arena);
    json_shape_write(&writer, &outer_shape, &outer);
    ck_assert_int_eq(json_writer_finish(&writer), STATUS_OK);
    ck_assert_uint_eq(writer.length, strlen(text));
    ck_assert_mem_eq(writer.text, text, writer.length);
}
END_TEST

START_TEST(a_full_arena_is_an_error) {
    arena.limit = 100;
    ck_assert_int_eq(read_text("{\"vector\":[1],\"list\":[{\"depth\":1}]}"), STATUS_NO_MEMORY);
}
END_TEST

START_TEST(the_schema_says_what_the_rows_say) {
    struct json_schema_set *set = arena_alloc(&arena, sizeof(*set));
    struct json_writer writer;
    *set = (struct json_schema_set){.shapes_count = 0};
    json_schema_collect(set, &outer_shape);
    json_writer_init(&writer, &arena);
    json_schema_components(&writer, set);
    ck_assert_int_eq(json_writer_finish(&writer), STATUS_OK);
    cJSON *schemas = cJSON_ParseWithLength(writer.text, writer.length);
    ck_assert_ptr_nonnull(schemas);
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(schemas, "Outer");
    const cJSON *properties = cJSON_GetObjectItemCaseSensitive(shape, "properties");
    ck_assert_int_eq(cJSON_GetArraySize(properties), 12);
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(shape, "required")), 1);
    const cJSON *dimension = cJSON_GetObjectItemCaseSensitive(properties, "dimension");
    ck_assert_int_eq(cJSON_GetObjectItemCaseSensitive(dimension, "maximum")->valueint, 65536);
    ck_assert_ptr_nonnull(cJSON_GetObjectItemCaseSensitive(schemas, "Inner"));
    cJSON_Delete(schemas);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("json_shape");
    TCase *tcase = tcase_create("json_shape");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, every_kind_of_member_is_read);
    tcase_add_test(tcase, null_says_the_same_as_leaving_out);
    tcase_add_test(tcase, an_alias_and_a_single_item_are_taken);
    tcase_add_loop_test(tcase, what_is_wrong_is_rejected_with_its_path, 0,
                        (int)(sizeof(rejected) / sizeof(rejected[0])));
    tcase_add_test(tcase, a_key_that_holds_nul_is_no_name_of_a_field);
    tcase_add_test(tcase, merging_keeps_what_is_not_named);
    tcase_add_test(tcase, what_is_read_is_written_again);
    tcase_add_test(tcase, a_full_arena_is_an_error);
    tcase_add_test(tcase, the_schema_says_what_the_rows_say);
    suite_add_tcase(suite, tcase);
    return suite;
}
