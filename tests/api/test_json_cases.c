/* Every case of json_cases.h, by the reader and as part of a body of the endpoint. */
#include "storage/json_reader.h"

#include "tests/api/json_cases.h"
#include "tests/api/session.h"
#include "tests/support/run_suite.h"

#include <cjson/cJSON.h>

START_TEST(the_table_has_cases_of_every_class) {
    size_t accepted = 0;
    for (size_t i = 0; i < JSON_CASES_COUNT; i++)
        accepted += json_cases[i].is_accepted != REFUSED;
    ck_assert_uint_ge(JSON_CASES_COUNT, 250);
    ck_assert_uint_ge(accepted, 90);
    ck_assert_uint_ge(JSON_CASES_COUNT - accepted, 180);
}
END_TEST

START_TEST(the_reader_accepts_json_and_nothing_else) {
    struct arena arena;
    struct json_reader reader;
    struct error error;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < JSON_CASES_COUNT; i++) {
        const struct json_case *row = &json_cases[i];
        const char *raw;
        size_t length;
        char *exact = malloc(row->length + 1 - (row->length > 0)); /* no NUL behind it */
        memcpy(exact, row->text, row->length);
        json_reader_init(&reader, exact, row->length, &arena, &error);
        enum status status = json_read_raw(&reader, &raw, &length);
        if (status == STATUS_OK)
            status = json_read_end(&reader);
        ck_assert_msg(status == (row->is_accepted ? STATUS_OK : STATUS_FORMAT), "case %zu: %s", i,
                      row->text);
        free(exact);
    }
    arena_free(&arena);
}
END_TEST

/* What we accept, cJSON accepts too; it is looser than we are. */
START_TEST(a_second_parser_accepts_what_is_accepted) {
    for (size_t i = 0; i < JSON_CASES_COUNT; i++) {
        const struct json_case *row = &json_cases[i];
        if (!row->is_accepted)
            continue;
        cJSON *json = cJSON_ParseWithLength(row->text, row->length);
        ck_assert_msg(json != NULL || memmem(row->text, row->length, "\\u0000", 6) != NULL,
                      "case %zu: %s", i, row->text);
        cJSON_Delete(json);
    }
}
END_TEST

/* As a value of a payload: refused with 400, or stored and given back byte for byte. */
START_TEST(the_endpoint_accepts_json_and_gives_it_back) {
    static const char before[] = "{\"points\":[{\"id\":1,\"vector\":[1],\"payload\":{\"v\":";
    static const char after[] = "}}]}";
    struct session session;
    session_open(&session);
    const struct step create = {"PUT /collections/x",
                                "{\"vectors\":{\"size\":1,\"distance\":\"Dot\"}}", 200, NULL};
    session_step(&session, &create);
    for (size_t i = 0; i < JSON_CASES_COUNT; i++) {
        const struct json_case *row = &json_cases[i];
        char body[2048], payload[2048];
        size_t length = sizeof(before) - 1;
        memcpy(body, before, length);
        memcpy(body + length, row->text, row->length);
        length += row->length;
        memcpy(body + length, after, sizeof(after) - 1);
        length += sizeof(after) - 1;
        struct reply reply = session_call_limited(&session, "PUT /collections/x/points?wait=true",
                                                  body, length, 1 << 20);
        ck_assert_msg(reply.status == (row->is_accepted ? 200 : 400), "case %zu: %s is answered %s",
                      i, row->text, reply.body);
        free(reply.body);
        if (!row->is_accepted)
            continue;
        size_t shown = (size_t)sprintf(payload, "\"payload\":{\"v\":");
        memcpy(payload + shown, row->text, row->length);
        shown += row->length;
        payload[shown++] = '}';
        reply = session_call(&session, "GET /collections/x/points/1", NULL);
        ck_assert_msg(memmem(reply.body, reply.length, payload, shown) != NULL,
                      "case %zu: %s comes back as %s", i, row->text, reply.body);
        free(reply.body);
    }
    session_close(&session);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("json_cases");
    TCase *tcase = tcase_create("json_cases");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, the_table_has_cases_of_every_class);
    tcase_add_test(tcase, the_reader_accepts_json_and_nothing_else);
    tcase_add_test(tcase, a_second_parser_accepts_what_is_accepted);
    tcase_add_test(tcase, the_endpoint_accepts_json_and_gives_it_back);
    suite_add_tcase(suite, tcase);
    return suite;
}
