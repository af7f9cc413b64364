/* Reading and writing structs by their shape.
 *
 * One row of a table is one case; check runs each in its own process and names the row that fails.
 */
#include "api/json_writer.h"
#include "api/points_shapes.h"

#include "tests/support/run_suite.h"

#include <string.h>

static struct arena arena;
static struct error error;

static void setup(void) {
    arena_init(&arena, 1 << 20);
    error = (struct error){0};
}

static void teardown(void) {
    arena_free(&arena);
}

static enum status read_search(const char *text, struct search_request *request) {
    struct json_reader reader;
    json_reader_init(&reader, text, strlen(text), &arena, &error);
    enum status status = json_shape_read(&reader, &search_request_shape, request);
    return status == STATUS_OK ? json_read_end(&reader) : status;
}

START_TEST(reads_every_kind_of_member) {
    struct search_request request;
    ck_assert_int_eq(read_search("{\"vector\":[1,-2.5,3e1],\"limit\":3,\"with_payload\":true,"
                                 "\"params\":{\"hnsw_ef\":64}}",
                                 &request),
                     STATUS_OK);
    ck_assert_uint_eq(request.vector.count, 3);
    ck_assert_float_eq(request.vector.values[1], -2.5f);
    ck_assert_uint_eq(request.limit, 3);
    ck_assert(request.with_payload);
    ck_assert_uint_eq(request.params->hnsw_ef, 64);
}
END_TEST

START_TEST(leaves_defaults_where_the_json_is_silent) {
    struct search_request request;
    ck_assert_int_eq(read_search("{\"vector\":[1],\"offset\":null}", &request), STATUS_OK);
    ck_assert_uint_eq(request.limit, 10);
    ck_assert_ptr_null(request.params);
}
END_TEST

static const struct {
    const char *text;
    const char *message;
} rejected[] = {
    {"", "expected an object (byte 0)"},
    {"{}", "missing field \"vector\" (byte 2)"},
    {"{\"vector\":1}", "vector: expected an array (byte 10)"},
    {"{\"vector\":[1,\"2\"]}", "vector[1]: expected a number (byte 13)"},
    {"{\"vector\":[1,]}", "vector[0]: trailing comma (byte 13)"},
    {"{\"vector\":[01]}", "vector[0]: expected a number (byte 11)"},
    {"{\"vector\":[1],\"limit\":0}", "limit: must be from 1 to 10000 (byte 23)"},
    {"{\"vector\":[1],\"limit\":1.5}", "limit: expected a whole number from 0 to 2^64-1 (byte 22)"},
    {"{\"vector\":[1],\"Limit\":1}", "Limit: unknown field (byte 22)"},
    {"{\"vector\":[1],\"vector\":[1]}", "vector: repeated field (byte 23)"},
    {"{\"vector\":[1]} x", "text after the end of the value (byte 15)"},
    {"{\"vector\":[1],\"params\":{\"hnsw_ef\":9999}}",
     "params.hnsw_ef: must be from 1 to 4096 (byte 38)"},
};

START_TEST(rejects_and_says_where) {
    struct search_request request;
    ck_assert_int_eq(read_search(rejected[_i].text, &request), STATUS_INVALID);
    ck_assert_str_eq(error.message, rejected[_i].message);
}
END_TEST

START_TEST(keeps_64_bit_ids_exact) {
    static const char text[] = "{\"points\":[{\"id\":9007199254740993,\"vector\":[0.5],"
                               "\"payload\":{\"a\":[1,{\"b\":\"]\"}]}}]}";
    struct upsert_request request;
    struct json_reader reader;
    json_reader_init(&reader, text, strlen(text), &arena, &error);
    ck_assert_msg(json_shape_read(&reader, &upsert_request_shape, &request) == STATUS_OK, "%s",
                  error.message);
    ck_assert_uint_eq(request.points[0].id.number, 9007199254740993u);

    struct json_writer writer;
    json_writer_init(&writer, &arena);
    json_shape_write(&writer, &upsert_request_shape, &request);
    ck_assert_int_eq(json_writer_finish(&writer), STATUS_OK);
    ck_assert_uint_eq(writer.length, strlen(text));
    ck_assert_mem_eq(writer.text, text, writer.length);
}
END_TEST

START_TEST(fails_cleanly_at_the_arena_limit) {
    struct search_request request;
    arena.limit = 100;
    ck_assert_int_eq(read_search("{\"vector\":[1]}", &request), STATUS_NO_MEMORY);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("json_shape");
    TCase *tcase = tcase_create("json_shape");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, reads_every_kind_of_member);
    tcase_add_test(tcase, leaves_defaults_where_the_json_is_silent);
    tcase_add_loop_test(tcase, rejects_and_says_where, 0,
                        (int)(sizeof(rejected) / sizeof(rejected[0])));
    tcase_add_test(tcase, keeps_64_bit_ids_exact);
    tcase_add_test(tcase, fails_cleanly_at_the_arena_limit);
    suite_add_tcase(suite, tcase);
    return suite;
}
