/* Points through the api: written, edited, read back as they were sent, refused. */
#include "tests/api/session.h"
#include "tests/support/run_suite.h"

static struct session session;

#define RUN(steps) session_steps(&session, steps, sizeof(steps) / sizeof((steps)[0]))
#define OK(result) "{\"result\":" result ",\"status\":\"ok\""
#define COMPLETED  "\"status\":\"completed\"},\"status\":\"ok\""
#define PUT_POINTS "PUT /collections/x/points?wait=true"
#define UPSERT(id, vector, payload)                                                              \
    {                                                                                            \
        PUT_POINTS,                                                                              \
            "{\"points\":[{\"id\":" id ",\"vector\":" vector ",\"payload\":" payload "}]}", 200, \
            COMPLETED                                                                            \
    }
#define GET(id, result) \
    { "GET /collections/x/points/" id, NULL, 200, OK(result) }
#define MISSING(id)                                            \
    {                                                          \
        "GET /collections/x/points/" id, NULL, 404,            \
            "Not found: Point with id " id " does not exists!" \
    }
#define COUNT(n) \
    { "POST /collections/x/points/count", "{}", 200, OK("{\"count\":" n "}") }

static void setup(void) {
    session_open(&session);
    RUN(((const struct step[]){
        {"PUT /collections/x", "{\"vectors\":{\"size\":2,\"distance\":\"Dot\"}}", 200, NULL},
        {"PUT /collections/named",
         "{\"vectors\":{\"a\":{\"size\":2,\"distance\":\"Dot\"},\"b\":{\"size\":1,\"distance\":"
         "\"Dot\"}}}",
         200, NULL}}));
}

static void teardown(void) {
    session_close(&session);
}

/* ---- Ids ------------------------------------------------------------------------------------- */

/* As sent, as shown, and as asked for in a path. */
static const struct {
    const char *sent, *shown, *path;
} ids[] = {
    {"0", "0", "0"},
    {"9007199254740993", "9007199254740993", "9007199254740993"},
    {"18446744073709551615", "18446744073709551615", "18446744073709551615"},
    {"7", "7", "007"},
    {"\"6ba7b8109dad11d180b400c04fd430c8\"", "\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"",
     "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"},
    {"\"urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8\"",
     "\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"", "%7B6ba7b810-9dad-11d1-80b4-00c04fd430c8%7D"},
    {"\"a text\"", "\"a text\"", "a%20text"},
    {"\"\\u00e9/\\\"\"", "\"\xc3\xa9/\\\"\"", "%C3%A9%2F%22"},
    {"\"-1\"", "\"-1\"", "-1"},
};

START_TEST(an_id_comes_back_exactly_from_every_endpoint) {
    char upsert[256], get[256], shown[256], by_id[256], retrieve[256], scroll[256];
    snprintf(upsert, sizeof(upsert), "{\"points\":[{\"id\":%s,\"vector\":[1,2]}]}", ids[_i].sent);
    snprintf(get, sizeof(get), "GET /collections/x/points/%s", ids[_i].path);
    snprintf(shown, sizeof(shown), OK("{\"id\":%s,\"payload\":{},\"vector\":[1.0,2.0]}"),
             ids[_i].shown);
    snprintf(by_id, sizeof(by_id), "{\"ids\":[%s]}", ids[_i].sent);
    snprintf(retrieve, sizeof(retrieve), OK("[{\"id\":%s}]"), ids[_i].shown);
    snprintf(scroll, sizeof(scroll),
             "{\"result\":{\"points\":[{\"id\":%s,\"payload\":{}}],"
             "\"next_page_offset\":null},\"status\":\"ok\"",
             ids[_i].shown);
    char filter[256], offset[256], query[256], hit[256], delete[256];
    snprintf(filter, sizeof(filter), "{\"filter\":{\"must\":{\"has_id\":[%s]}}}", ids[_i].sent);
    snprintf(offset, sizeof(offset), "{\"offset\":%s}", ids[_i].sent);
    snprintf(query, sizeof(query), "{\"query\":[1,1]}");
    snprintf(hit, sizeof(hit), "\"id\":%s,\"version\":", ids[_i].shown);
    snprintf(delete, sizeof(delete), "{\"points\":[%s]}", ids[_i].sent);
    const struct step steps[] = {
        {PUT_POINTS, upsert, 200, COMPLETED},
        {get, NULL, 200, shown},
        {"POST /collections/x/points", by_id, 200, retrieve},
        {"POST /collections/x/points/scroll", filter, 200, scroll},
        {"POST /collections/x/points/scroll", offset, 200, scroll},
        {"POST /collections/x/points/query", query, 200, hit},
        {"POST /collections/x/points/delete?wait=true", delete, 200, COMPLETED},
        COUNT("0"),
    };
    RUN(steps);
}
END_TEST

static const char *const bad_ids[] = {
    "18446744073709551616", "-1", "1.5", "1.0", "1e3", "\"\"", "null", "true", "[1]", "{}",
    "\"a\\u0000b\"",
};

START_TEST(what_is_no_id_is_refused) {
    char upsert[256], delete[256];
    snprintf(upsert, sizeof(upsert), "{\"points\":[{\"id\":%s,\"vector\":[1,2]}]}", bad_ids[_i]);
    snprintf(delete, sizeof(delete), "{\"points\":[%s]}", bad_ids[_i]);
    const struct step steps[] = {
        {PUT_POINTS, upsert, 400, "is not a valid point ID, valid values are either an unsigned"},
        {"POST /collections/x/points/delete", delete, 400, "Format error in JSON body: points[0]"},
        COUNT("0"),
    };
    RUN(steps);
}
END_TEST

START_TEST(a_text_id_has_255_bytes_at_most) {
    char full[400], over[400], text[300];
    memset(text, 'k', sizeof(text));
    snprintf(full, sizeof(full), "{\"points\":[{\"id\":\"%.255s\",\"vector\":[1,2]}]}", text);
    snprintf(over, sizeof(over), "{\"points\":[{\"id\":\"%.256s\",\"vector\":[1,2]}]}", text);
    const struct step steps[] = {
        {PUT_POINTS, full, 200, COMPLETED},
        {PUT_POINTS, over, 400, "is not a valid point ID"},
        {"GET /collections/x/points/18446744073709551616", NULL, 400,
         "Wrong input: Can not recognize \\\"18446744073709551616\\\" as point id"},
        COUNT("1"),
    };
    RUN(steps);
}
END_TEST

/* ---- Upsert ---------------------------------------------------------------------------------- */

START_TEST(a_payload_comes_back_as_it_was_sent) {
    static const struct step steps[] = {
        UPSERT(
            "1", "[0.1,1e-7]",
            "{\"z\":1,\"a\":1.50,\"big\":123456789012345678901234567890,\"u\":\"\\u00e9\\u0000\","
            "\"n\":null,\"d\":1,\"d\":2}"),
        GET("1", "{\"id\":1,\"payload\":{\"z\":1,\"a\":1.50,\"big\":123456789012345678901234567890,"
                 "\"u\":\"\\u00e9\\u0000\",\"n\":null,\"d\":1,\"d\":2},\"vector\":[0.1,1e-7]}"),
    };
    RUN(steps);
}
END_TEST

START_TEST(an_upsert_replaces_the_whole_point) {
    static const struct step steps[] = {
        {"PUT /collections/named/points?wait=true",
         "{\"points\":[{\"id\":1,\"vector\":{\"a\":[1,2],\"b\":[3]},\"payload\":{\"k\":1}}]}", 200,
         COMPLETED},
        {"GET /collections/named/points/1", NULL, 200,
         OK("{\"id\":1,\"payload\":{\"k\":1},\"vector\":{\"a\":[1.0,2.0],\"b\":[3.0]}}")},
        {"PUT /collections/named/points?wait=true",
         "{\"points\":[{\"id\":1,\"vectors\":{\"b\":\"AACAQA==\"}}]}", 200, COMPLETED},
        {"GET /collections/named/points/1", NULL, 200,
         OK("{\"id\":1,\"payload\":{},\"vector\":{\"b\":[4.0]}}")},
        {"PUT /collections/named/points?wait=true", "{\"points\":[{\"id\":1,\"vector\":{}}]}", 200,
         COMPLETED},
        {"GET /collections/named/points/1", NULL, 200,
         OK("{\"id\":1,\"payload\":{},\"vector\":{}}")},
    };
    RUN(steps);
}
END_TEST

START_TEST(columns_become_points) {
    static const struct step steps[] = {
        {PUT_POINTS,
         "{\"batch\":{\"ids\":[1,\"t\"],\"vectors\":[[1,2],[3,4]],\"payloads\":[{\"k\":1},null]}}",
         200, COMPLETED},
        GET("1", "{\"id\":1,\"payload\":{\"k\":1},\"vector\":[1.0,2.0]}"),
        GET("t", "{\"id\":\"t\",\"payload\":{},\"vector\":[3.0,4.0]}"),
        {"PUT /collections/named/points?wait=true",
         "{\"batch\":{\"ids\":[1,2],\"vectors\":{\"a\":[[1,2],[3,4]],\"b\":[[5],[6]]}}}", 200,
         COMPLETED},
        {"GET /collections/named/points/2", NULL, 200,
         OK("{\"id\":2,\"payload\":{},\"vector\":{\"a\":[3.0,4.0],\"b\":[6.0]}}")},
        {PUT_POINTS, "{\"batch\":{\"ids\":[1,2,3],\"vectors\":[[1,2],[3,4]]}}", 422,
         "Validation error in JSON body: [batch: number of ids and vectors must be equal (3 != "
         "2)]"},
        {PUT_POINTS, "{\"batch\":{\"ids\":[1],\"vectors\":[[1,2]],\"payloads\":[]}}", 422,
         "number of ids and payloads must be equal (1 != 0)"},
        {PUT_POINTS, "{\"batch\":{\"ids\":[],\"vectors\":[]}}", 400, "Empty update request"},
    };
    RUN(steps);
}
END_TEST

START_TEST(modes_and_filters_of_an_upsert_are_kept) {
    static const struct step steps[] = {
        UPSERT("1", "[1,1]", "{\"k\":1}"),
        {PUT_POINTS,
         "{\"update_mode\":\"insert_only\",\"points\":[{\"id\":1,\"vector\":[2,2]},{\"id\":2,"
         "\"vector\":[2,2]}]}",
         200, COMPLETED},
        GET("1", "{\"id\":1,\"payload\":{\"k\":1},\"vector\":[1.0,1.0]}"),
        GET("2", "{\"id\":2,\"payload\":{},\"vector\":[2.0,2.0]}"),
        {PUT_POINTS,
         "{\"update_mode\":\"update_only\",\"points\":[{\"id\":2,\"vector\":[3,3]},{\"id\":3,"
         "\"vector\":[3,3]}]}",
         200, COMPLETED},
        GET("2", "{\"id\":2,\"payload\":{},\"vector\":[3.0,3.0]}"),
        MISSING("3"),
        {PUT_POINTS,
         "{\"update_filter\":{\"must\":{\"key\":\"k\",\"match\":{\"value\":1}}},\"points\":[{"
         "\"id\":1,"
         "\"vector\":[9,9]},{\"id\":2,\"vector\":[9,9]},{\"id\":4,\"vector\":[9,9]}]}",
         200, COMPLETED},
        GET("1", "{\"id\":1,\"payload\":{},\"vector\":[9.0,9.0]}"),
        GET("2", "{\"id\":2,\"payload\":{},\"vector\":[3.0,3.0]}"),
        GET("4", "{\"id\":4,\"payload\":{},\"vector\":[9.0,9.0]}"),
        {PUT_POINTS, "{\"update_mode\":\"other\",\"points\":[{\"id\":1,\"vector\":[1,1]}]}", 400,
         "unknown variant `other`"},
    };
    RUN(steps);
}
END_TEST

static const struct step refused[] = {
    {PUT_POINTS, "{}", 400, "expected either `points` or `batch`"},
    {PUT_POINTS, "{\"points\":[]}", 400, "Bad request: Empty update request"},
    {PUT_POINTS, "{\"points\":[{\"id\":1}]}", 400, "points[0]: missing field `vector`"},
    {PUT_POINTS, "{\"points\":[{\"vector\":[1,2]}]}", 400, "points[0]: missing field `id`"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[1,2,3]}]}", 400,
     "Wrong input: Vector dimension error: expected dim: 2, got 3"},
    {"PUT /collections/x/points", "{\"points\":[{\"id\":1,\"vector\":[1]}]}", 400,
     "Wrong input: Vector dimension error: expected dim: 2, got 1"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[]}]}", 422,
     "points[0].vector: must not be empty"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":{\"q\":[1,2]}}]}", 400,
     "Wrong input: Not existing vector name error: q"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":{\"\":[1,2],\"\":[1,2]}}]}", 400,
     "duplicate vector name"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[1,1e39]}]}", 400,
     "points[0].vector[1]: expected a number that a 32-bit float can hold, not 1e39"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[1,null]}]}", 400, "points[0].vector[1]"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[[1,2]]}]}", 400,
     "Bad request: points[0].vector: multivectors are not supported by this version"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":{\"s\":{\"indices\":[1],\"values\":[1]}}}]}",
     400, "Bad request: points[0].vector.s: sparse vectors"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[1,2],\"payload\":[1]}]}", 400,
     "points[0].payload: expected an object"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[1,2],\"payload\":{\"a\":tru}}]}", 400,
     "points[0].payload.a: expected true or false"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"id\":2,\"vector\":[1,2]}]}", 400,
     "duplicate field `id`"},
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[1,2]}]} x", 400, "text after the end"},
    {PUT_POINTS, "", 400, "the body is empty"},
    {"PUT /collections/x/points?wait=yes", "{\"points\":[{\"id\":1,\"vector\":[1,2]}]}", 400,
     "Deserialize error in query parameters: wait"},
    {"PUT /collections/x/points?ordering=best", "{\"points\":[{\"id\":1,\"vector\":[1,2]}]}", 400,
     "ordering: unknown variant `best`"},
    /* One wrong point keeps all others out. */
    {PUT_POINTS, "{\"points\":[{\"id\":1,\"vector\":[1,2]},{\"id\":2,\"vector\":[1]}]}", 400,
     "dim: 2"},
    {"POST /collections/x/points/delete", "{}", 400,
     "Format error in JSON body: Either list of point ids or filter must be provided"},
    {"POST /collections/x/points/delete", "{\"points\":[]}", 400, "Empty update request"},
    {"POST /collections/x/points/delete", "{\"filter\":{\"mst\":[]}}", 400, "unknown field `mst`"},
    {"POST /collections/x/points/payload", "{\"points\":[1]}", 400, "missing field `payload`"},
    {"POST /collections/x/points/payload", "{\"payload\":{\"a\":1}}", 400,
     "Either list of point ids"},
    {"POST /collections/x/points/payload", "{\"payload\":{},\"points\":[1],\"key\":\"a..b\"}", 400,
     "Invalid json path"},
    {"POST /collections/x/points/payload?wait=true", "{\"payload\":{\"a\":1},\"points\":[77]}", 404,
     "Not found: No point with id 77 found"},
    {"POST /collections/x/points/payload/delete", "{\"keys\":[\"\"],\"points\":[1]}", 400,
     "json path"},
    {"PUT /collections/x/points/vectors?wait=true", "{\"points\":[{\"id\":77,\"vector\":[1,2]}]}",
     404, "Not found: No point with id 77 found"},
    {"PUT /collections/x/points/vectors", "{\"points\":[{\"id\":1,\"vector\":{}}]}", 422,
     "points[0].vector: must specify vectors to update for point"},
    {"PUT /collections/x/points/vectors", "{\"points\":[]}", 400, "Empty update request"},
    {"POST /collections/x/points/vectors/delete", "{\"points\":[1],\"vector\":[]}", 422, "vector"},
    {"POST /collections/x/points/batch", "{\"operations\":[]}", 400, "Empty update request"},
    {"POST /collections/x/points/batch", "{\"operations\":[{}]}", 400, "expected an operation"},
    {"POST /collections/x/points/batch", "{\"operations\":[{\"explode\":{}}]}", 400,
     "unknown operation `explode`"},
    {"POST /collections/x/points/batch",
     "{\"operations\":[{\"delete\":{\"points\":[1]},\"upsert\":{\"points\":[]}}]}", 400,
     "only one operation"},
};

START_TEST(a_wrong_write_is_refused_and_changes_nothing) {
    session_step(&session, &refused[_i]);
    RUN(((const struct step[]){COUNT("0")}));
}
END_TEST

/* ---- Edits ----------------------------------------------------------------------------------- */

START_TEST(payloads_are_edited_by_ids_and_by_filter) {
    static const struct step steps[] = {
        UPSERT("1", "[1,1]", "{\"k\":1,\"n\":{\"x\":1}}"),
        UPSERT("2", "[2,2]", "{\"k\":2}"),
        {"POST /collections/x/points/payload?wait=true",
         "{\"payload\":{\"k\":null,\"m\":3},\"points\":[1]}", 200, COMPLETED},
        GET("1", "{\"id\":1,\"payload\":{\"n\":{\"x\":1},\"m\":3},\"vector\":[1.0,1.0]}"),
        {"POST /collections/x/points/payload?wait=true",
         "{\"payload\":{\"y\":2},\"key\":\"n\",\"points\":[1]}", 200, COMPLETED},
        GET("1", "{\"id\":1,\"payload\":{\"n\":{\"x\":1,\"y\":2},\"m\":3},\"vector\":[1.0,1.0]}"),
        {"PUT /collections/x/points/payload?wait=true",
         "{\"payload\":{\"only\":1},\"filter\":{\"must\":{\"key\":\"k\",\"match\":{\"value\":2}}}}",
         200, COMPLETED},
        GET("2", "{\"id\":2,\"payload\":{\"only\":1},\"vector\":[2.0,2.0]}"),
        {"POST /collections/x/points/payload/delete?wait=true",
         "{\"keys\":[\"n.x\",\"m\"],\"points\":[1,2]}", 200, COMPLETED},
        GET("1", "{\"id\":1,\"payload\":{\"n\":{\"y\":2}},\"vector\":[1.0,1.0]}"),
        {"POST /collections/x/points/payload/clear?wait=true", "{\"filter\":{}}", 200, COMPLETED},
        GET("1", "{\"id\":1,\"payload\":{},\"vector\":[1.0,1.0]}"),
        GET("2", "{\"id\":2,\"payload\":{},\"vector\":[2.0,2.0]}"),
    };
    RUN(steps);
}
END_TEST

START_TEST(vectors_are_updated_and_deleted_by_name) {
    static const struct step steps[] = {
        {"PUT /collections/named/points?wait=true",
         "{\"points\":[{\"id\":1,\"vector\":{\"a\":[1,2],\"b\":[3]},\"payload\":{\"k\":1}}]}", 200,
         COMPLETED},
        {"PUT /collections/named/points/vectors?wait=true",
         "{\"points\":[{\"id\":1,\"vector\":{\"b\":[9]}}]}", 200, COMPLETED},
        {"GET /collections/named/points/1", NULL, 200,
         OK("{\"id\":1,\"payload\":{\"k\":1},\"vector\":{\"a\":[1.0,2.0],\"b\":[9.0]}}")},
        {"POST /collections/named/points/vectors/delete?wait=true",
         "{\"points\":[1],\"vector\":[\"a\"]}", 200, COMPLETED},
        {"GET /collections/named/points/1", NULL, 200,
         OK("{\"id\":1,\"payload\":{\"k\":1},\"vector\":{\"b\":[9.0]}}")},
        {"POST /collections/named/points/vectors/delete?wait=true",
         "{\"points\":[1],\"vector\":[\"zz\"]}", 400, "Not existing vector name error: zz"},
    };
    RUN(steps);
}
END_TEST

START_TEST(points_are_deleted_by_ids_and_by_filter) {
    static const struct step steps[] = {
        {PUT_POINTS,
         "{\"points\":[{\"id\":1,\"vector\":[1,1],\"payload\":{\"k\":1}},{\"id\":2,\"vector\":[1,1]"
         ","
         "\"payload\":{\"k\":2}},{\"id\":3,\"vector\":[1,1]}]}",
         200, COMPLETED},
        {"POST /collections/x/points/delete?wait=true",
         "{\"filter\":{\"must\":{\"key\":\"k\",\"match\":{\"value\":2}}}}", 200, COMPLETED},
        COUNT("2"),
        {"POST /collections/x/points/delete?wait=true", "{\"points\":[3,99]}", 200, COMPLETED},
        COUNT("1"),
        MISSING("3"),
    };
    RUN(steps);
}
END_TEST

START_TEST(a_batch_is_applied_whole_or_not_at_all) {
    static const struct step steps[] = {
        {"POST /collections/x/points/batch?wait=true",
         "{\"operations\":[{\"upsert\":{\"points\":[{\"id\":1,\"vector\":[1,1]},{\"id\":2,"
         "\"vector\":"
         "[2,2]}]}},{\"set_payload\":{\"payload\":{\"a\":1},\"points\":[1]}},{\"overwrite_"
         "payload\":{"
         "\"payload\":{\"b\":1},\"points\":[2]}},{\"delete_payload\":{\"keys\":[\"b\"],\"points\":["
         "2]}},"
         "{\"clear_payload\":{\"points\":[2]}},{\"update_vectors\":{\"points\":[{\"id\":2,"
         "\"vector\":"
         "[5,5]}]}},{\"delete\":{\"points\":[3]}}]}",
         200, "\"completed\"},{\"operation_id\""},
        GET("1", "{\"id\":1,\"payload\":{\"a\":1},\"vector\":[1.0,1.0]}"),
        GET("2", "{\"id\":2,\"payload\":{},\"vector\":[5.0,5.0]}"),
        {"POST /collections/x/points/batch?wait=true",
         "{\"operations\":[{\"delete\":{\"points\":[1]}},{\"set_payload\":{\"payload\":{\"a\":1},"
         "\"points\":[99]}}]}",
         404, "No point with id 99 found"},
        GET("1", "{\"id\":1,\"payload\":{\"a\":1},\"vector\":[1.0,1.0]}"),
    };
    RUN(steps);
}
END_TEST

START_TEST(without_wait_a_write_is_acknowledged_and_applied_soon) {
    const struct step write = {"PUT /collections/x/points",
                               "{\"points\":[{\"id\":1,\"vector\":[1,2]}]}", 200,
                               OK("{\"status\":\"acknowledged\"}")};
    session_step(&session, &write);
    /* The call's memory was let go, so the write is done: a session waits for that. */
    RUN(((const struct step[]){COUNT("1")}));
}
END_TEST

/* ---- Reading --------------------------------------------------------------------------------- */

START_TEST(retrieving_keeps_the_order_and_leaves_out_what_is_missing) {
    static const struct step steps[] = {
        {PUT_POINTS,
         "{\"points\":[{\"id\":1,\"vector\":[1,1],\"payload\":{\"k\":1,\"l\":2}},{\"id\":2,"
         "\"vector\":"
         "[2,2]}]}",
         200, COMPLETED},
        {"POST /collections/x/points",
         "{\"ids\":[2,9,1,2,1],\"with_payload\":[\"k\"],\"with_vectors\":true}", 200,
         OK("[{\"id\":2,\"payload\":{},\"vector\":[2.0,2.0]},{\"id\":1,\"payload\":{\"k\":1},"
            "\"vector\":[1.0,1.0]}]")},
        {"POST /collections/x/points", "{\"ids\":[1],\"with_payload\":{\"exclude\":[\"k\"]}}", 200,
         OK("[{\"id\":1,\"payload\":{\"l\":2}}]")},
        {"POST /collections/x/points", "{\"ids\":[]}", 200, OK("[]")},
        {"POST /collections/x/points", "{}", 400, "missing field `ids`"},
        {"POST /collections/x/points", "{\"ids\":[1],\"with_vector\":[\"zz\"]}", 400,
         "Wrong input: Not existing vector name error: zz"},
        {"POST /collections/x/points?timeout=0", "{\"ids\":[1]}", 400,
         "Deserialize error in query parameters: invalid value: integer `0`, expected a nonzero "
         "u64"},
        {"POST /collections/x/points?consistency=most", "{\"ids\":[1]}", 400, "consistency"},
        {"POST /collections/x/points?consistency=quorum&timeout=5&unknown=1", "{\"ids\":[1]}", 200,
         NULL},
    };
    RUN(steps);
}
END_TEST

START_TEST(scrolling_walks_numbers_then_uuids_then_texts) {
    static const struct step steps[] = {
        {PUT_POINTS,
         "{\"points\":[{\"id\":\"b\",\"vector\":[1,1]},{\"id\":10,\"vector\":[1,1]},{\"id\":9,"
         "\"vector\":[1,1]},{\"id\":\"00000000-0000-0000-0000-000000000001\",\"vector\":[1,1]}]}",
         200, COMPLETED},
        {"POST /collections/x/points/scroll", "{\"limit\":2,\"with_payload\":false}", 200,
         OK("{\"points\":[{\"id\":9},{\"id\":10}],\"next_page_offset\":"
            "\"00000000-0000-0000-0000-000000000001\"}")},
        {"POST /collections/x/points/scroll",
         "{\"limit\":2,\"with_payload\":false,\"offset\":\"00000000-0000-0000-0000-000000000001\"}",
         200,
         OK("{\"points\":[{\"id\":\"00000000-0000-0000-0000-000000000001\"},{\"id\":\"b\"}],"
            "\"next_page_offset\":null}")},
        {"POST /collections/x/points/scroll", "{\"limit\":18446744073709551615}", 200,
         "\"next_page_offset\":null"},
        {"POST /collections/x/points/scroll", "{\"limit\":0}", 422,
         "[scroll_request.limit: value 0 invalid, must be 1 or larger]"},
        {"POST /collections/x/points/scroll", "{\"order_by\":\"k\"}", 400,
         "Bad request: order_by: this form is not supported by this version"},
        {"POST /collections/x/points/count", "{\"exact\":false}", 200, OK("{\"count\":4}")},
    };
    RUN(steps);
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("handle_points");
    TCase *tcase = tcase_create("handle_points");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, an_id_comes_back_exactly_from_every_endpoint, 0, COUNT_OF(ids));
    tcase_add_loop_test(tcase, what_is_no_id_is_refused, 0, COUNT_OF(bad_ids));
    tcase_add_test(tcase, a_text_id_has_255_bytes_at_most);
    tcase_add_test(tcase, a_payload_comes_back_as_it_was_sent);
    tcase_add_test(tcase, an_upsert_replaces_the_whole_point);
    tcase_add_test(tcase, columns_become_points);
    tcase_add_test(tcase, modes_and_filters_of_an_upsert_are_kept);
    tcase_add_loop_test(tcase, a_wrong_write_is_refused_and_changes_nothing, 0, COUNT_OF(refused));
    tcase_add_test(tcase, payloads_are_edited_by_ids_and_by_filter);
    tcase_add_test(tcase, vectors_are_updated_and_deleted_by_name);
    tcase_add_test(tcase, points_are_deleted_by_ids_and_by_filter);
    tcase_add_test(tcase, a_batch_is_applied_whole_or_not_at_all);
    tcase_add_test(tcase, without_wait_a_write_is_acknowledged_and_applied_soon);
    tcase_add_test(tcase, retrieving_keeps_the_order_and_leaves_out_what_is_missing);
    tcase_add_test(tcase, scrolling_walks_numbers_then_uuids_then_texts);
    suite_add_tcase(suite, tcase);
    return suite;
}
