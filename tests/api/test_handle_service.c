/* What the server says about itself, and the document of its endpoints. */
#include "tests/api/session.h"
#include "tests/support/run_suite.h"

#include <cjson/cJSON.h>

static struct session session;

static void setup(void) {
    session_open(&session);
}

static void teardown(void) {
    session_close(&session);
}

START_TEST(the_service_endpoints_answer_in_their_form) {
    static const struct step steps[] = {
        {"GET /", NULL, 200,
         "{\"title\":\"nigh - vector search engine\",\"version\":\"1.19.0\",\"commit\":"
         "\"0123456789012345678901234567890123456789\",\"nigh\":\"0.0.0\"}"},
        {"GET /healthz", NULL, 200, "healthz check passed"},
        {"GET /livez", NULL, 200, "healthz check passed"},
        {"GET /readyz", NULL, 200, "all shards are ready"},
        {"GET /issues", NULL, 200, "{\"result\":{\"issues\":[]},\"status\":\"ok\""},
        {"DELETE /issues", NULL, 200, "{\"result\":true,\"status\":\"ok\""},
        {"GET /cluster", NULL, 200, "{\"result\":{\"status\":\"disabled\"},\"status\":\"ok\""},
        {"GET /aliases", NULL, 200, "{\"result\":{\"aliases\":[]},\"status\":\"ok\""},
        {"GET /telemetry?details_level=3&anonymize=false", NULL, 200,
         "\"app\":{\"name\":\"nigh\",\"version\":\"1.19.0\",\"nigh\":\"0.0.0\",\"startup\":\""},
        {"GET /telemetry?details_level=x", NULL, 400, "Deserialize error in query parameters"},
        {"PUT /collections/x", "{\"vectors\":{\"size\":1,\"distance\":\"Dot\"}}", 200, NULL},
        {"GET /metrics", NULL, 200, "app_info{name=\"nigh\",version=\"0.0.0\"} 1\n"},
        {"GET /metrics", NULL, 200, "\ncollections_total 1\n"},
        {"GET /nowhere", NULL, 404, NULL},
        {"POST /healthz", NULL, 405, NULL},
    };
    session_steps(&session, steps, sizeof(steps) / sizeof(steps[0]));
}
END_TEST

/* Calls visit for each {"$ref": "#/components/schemas/X"} within. */
static size_t check_references(const cJSON *json, const cJSON *schemas) {
    size_t count = 0;
    static const char prefix[] = "#/components/schemas/";
    for (const cJSON *item = json->child; item; item = item->next) {
        if (item->string && strcmp(item->string, "$ref") == 0) {
            ck_assert(strncmp(item->valuestring, prefix, sizeof(prefix) - 1) == 0);
            const char *name = item->valuestring + sizeof(prefix) - 1;
            ck_assert_msg(cJSON_HasObjectItem(schemas, name), "no schema %s", name);
            count++;
        }
        count += check_references(item, schemas);
    }
    return count;
}

START_TEST(the_document_has_every_route_and_every_schema_it_refers_to) {
    struct reply reply = session_call(&session, "GET /openapi.json", NULL);
    ck_assert_uint_eq(reply.status, 200);
    cJSON *document = cJSON_ParseWithLengthOpts(reply.body, reply.length + 1, NULL, true);
    ck_assert_ptr_nonnull(document);
    const cJSON *paths = cJSON_GetObjectItemCaseSensitive(document, "paths");
    const cJSON *components = cJSON_GetObjectItemCaseSensitive(document, "components");
    const cJSON *schemas = cJSON_GetObjectItemCaseSensitive(components, "schemas");
    for (size_t i = 0; i < routes_count; i++) {
        char method[16];
        size_t length = 0;
        for (; routes[i].method[length]; length++)
            method[length] = (char)(routes[i].method[length] | 0x20);
        method[length] = '\0';
        const cJSON *path = cJSON_GetObjectItemCaseSensitive(paths, routes[i].pattern);
        const cJSON *operation = cJSON_GetObjectItemCaseSensitive(path, method);
        ck_assert_msg(operation != NULL, "%s %s", method, routes[i].pattern);
        ck_assert_int_eq(cJSON_HasObjectItem(operation, "requestBody"), routes[i].request != NULL);
        ck_assert(cJSON_HasObjectItem(operation, "responses"));
        ck_assert(cJSON_HasObjectItem(operation, "operationId"));
    }
    ck_assert_uint_gt(check_references(document, schemas), 50);
    for (const cJSON *schema = schemas->child; schema; schema = schema->next) {
        for (const cJSON *other = schema->next; other; other = other->next)
            ck_assert_str_ne(schema->string, other->string);
    }
    cJSON_Delete(document);
    free(reply.body);
}
END_TEST

/* The document wants the most memory of all answers: less and less of it must end in an error. */
START_TEST(want_of_memory_is_answered_not_suffered) {
    size_t failures = 0, successes = 0;
    for (size_t limit = 0; limit < 400000; limit += 10000) {
        struct reply reply =
            session_call_limited(&session, "GET /openapi.json", "", 0, 20000 + limit);
        ck_assert_msg(reply.status == 200 || reply.status == 400, "%u", reply.status);
        failures += reply.status == 400;
        successes += reply.status == 200;
        ck_assert(reply.status == 200 || strstr(reply.body, "\"status\":{\"error\":\"") != NULL);
        free(reply.body);
    }
    ck_assert_uint_gt(failures, 0);
    ck_assert_uint_gt(successes, 0);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("handle_service");
    TCase *tcase = tcase_create("handle_service");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_service_endpoints_answer_in_their_form);
    tcase_add_test(tcase, the_document_has_every_route_and_every_schema_it_refers_to);
    tcase_add_test(tcase, want_of_memory_is_answered_not_suffered);
    suite_add_tcase(suite, tcase);
    return suite;
}
