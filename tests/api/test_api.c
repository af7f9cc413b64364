/* The frame of all calls: errors in the API's form, want of memory at every point, who frees a
 * call. */
#include "storage/json_reader.h"

#include "tests/api/session.h"
#include "tests/support/run_suite.h"

static struct session session;

static void setup(void) {
    session_open(&session);
}

static void teardown(void) {
    session_close(&session);
}

#define RUN(steps) session_steps(&session, steps, sizeof(steps) / sizeof((steps)[0]))
#define OK(result) "{\"result\":" result ",\"status\":\"ok\""

/* ---- Errors ---------------------------------------------------------------------------------- */

static const struct {
    enum status status;
    unsigned http_status;
    const char *text;
    bool is_retried;
} failures[] = {
    {STATUS_INVALID, 400, "Wrong input: why", false},
    {STATUS_BAD_REQUEST, 400, "Bad request: why", false},
    {STATUS_FORMAT, 400, "Format error in JSON body: why", false},
    {STATUS_QUERY_FORMAT, 400, "Deserialize error in query parameters: why", false},
    {STATUS_VALIDATION, 422, "Validation error in JSON body: [why]", false},
    {STATUS_QUERY_VALIDATION, 422, "Validation error in query parameters: [why]", false},
    {STATUS_PATH_VALIDATION, 422, "Validation error in path parameters: [why]", false},
    {STATUS_NOT_FOUND, 404, "Not found: why", false},
    {STATUS_CONFLICT, 409, "Wrong input: why", false},
    {STATUS_FORBIDDEN, 403, "Forbidden: why", false},
    {STATUS_TOO_LARGE, 413, "why", false},
    {STATUS_TIMEOUT, 408, "Timeout: why", false},
    {STATUS_RATE_LIMITED, 429, "Rate limiting exceeded: why", true},
    {STATUS_UNAVAILABLE, 503, "Service unavailable: why", true},
    {STATUS_NO_SPACE, 507, "Insufficient storage: why", false},
    {STATUS_MAP_FULL, 507, "Insufficient storage: why", false},
    {STATUS_NO_MEMORY, 503, "Service unavailable: why", true},
    {STATUS_IO, 500, "Service internal error: why", false},
    {STATUS_CORRUPT, 500, "Service internal error: why", false},
    {STATUS_CANCELLED, 408, "Timeout: why", false},
};

START_TEST(every_status_has_its_code_and_its_prefix) {
    struct arena arena;
    struct api_call call;
    char expected[256];
    arena_init(&arena, 1 << 16);
    api_call_init(&call, session.api, &arena);
    api_fail(&call, failures[_i].status, "%s", "why");
    ck_assert_uint_eq(call.answer.http_status, failures[_i].http_status);
    ck_assert_int_eq(call.answer.retry_after_s > 0, failures[_i].is_retried);
    ck_assert_str_eq(call.answer.content_type, "application/json");
    size_t length = (size_t)snprintf(expected, sizeof(expected),
                                     "{\"status\":{\"error\":\"%s\"},\"time\":", failures[_i].text);
    ck_assert_msg(strncmp(call.answer.body, expected, length) == 0, "%.*s", (int)call.answer.length,
                  call.answer.body);
    arena_free(&arena);
}
END_TEST

START_TEST(an_error_needs_no_memory) {
    struct arena arena;
    struct api_call call;
    arena_init(&arena, 0);
    api_call_init(&call, session.api, &arena);
    api_fail(&call, STATUS_TOO_LARGE, "JSON payload (%d bytes) is larger than allowed", 5);
    ck_assert_uint_eq(call.answer.http_status, 413);
    ck_assert_uint_gt(call.answer.length, 0);
    ck_assert_int_eq(call.answer.body[0], '{');
    arena_free(&arena);
}
END_TEST

START_TEST(a_message_of_any_length_and_bytes_makes_a_valid_answer) {
    struct arena arena;
    struct api_call call;
    char message[3000];
    memset(message, '"', sizeof(message));
    message[10] = '\xff';
    message[sizeof(message) - 1] = '\0';
    arena_init(&arena, 1 << 16);
    api_call_init(&call, session.api, &arena);
    api_fail(&call, STATUS_INVALID, "%s", message);
    struct json_reader reader;
    struct error error = {0};
    const char *text;
    size_t length;
    json_reader_init(&reader, call.answer.body, call.answer.length, &arena, &error);
    ck_assert_int_eq(json_read_raw(&reader, &text, &length), STATUS_OK);
    ck_assert_int_eq(json_read_end(&reader), STATUS_OK);
    arena_free(&arena);
}
END_TEST

/* ---- Stages ---------------------------------------------------------------------------------- */

/* Requests, each with the stages that it passes through. */
static const struct {
    const char *request, *body;
    const char *stages;
} staged[] = {
    {"PUT /collections/x", "{\"vectors\":{\"size\":2,\"distance\":\"Dot\"}}", "parse"},
    {"PUT /collections/x/points?wait=true", "{\"points\":[{\"id\":1,\"vector\":[1,2]}]}", "parse"},
    {"PUT /collections/x/points?wait=false", "{\"points\":[{\"id\":2,\"vector\":[1,2]}]}",
     "parse encode"},
    {"POST /collections/x/points/query", "{\"query\":[1,2]}", "parse snapshot search rows encode"},
    {"POST /collections/x/points/query", "{}", "parse snapshot search encode"},
    {"POST /collections/x/points/query/batch", "{\"searches\":[{\"query\":[1,2]},{}]}",
     "parse snapshot search rows encode"},
    {"POST /collections/x/points/scroll", "{}", "parse snapshot search encode"},
    {"POST /collections/x/points/count", "{}", "parse snapshot search encode"},
    {"POST /collections/x/points", "{\"ids\":[1]}", "parse snapshot search rows encode"},
    {"GET /collections/x/points/1", NULL, "parse snapshot search rows encode"},
    {"POST /collections/none/points/query", "{}", "parse snapshot"},
    {"POST /collections/x/points/query", "nonsense", "parse"},
};

START_TEST(a_clocked_call_tells_its_stages) {
    session.is_clocked = true;
    for (size_t i = 0; i < sizeof(staged) / sizeof(staged[0]); i++) {
        struct reply reply = session_call(&session, staged[i].request, staged[i].body);
        char passed[128] = "";
        for (int stage = 0; stage < STAGE_COUNT; stage++) {
            if (reply.stages.spent_ns[stage] == 0)
                continue;
            strcat(passed, *passed ? " " : "");
            strcat(passed, stage_clock_name((enum stage)stage));
        }
        ck_assert_msg(strcmp(passed, staged[i].stages) == 0, "%s %s: %s", staged[i].request,
                      staged[i].body ? staged[i].body : "", passed);
        free(reply.body);
    }
}
END_TEST

START_TEST(other_calls_are_not_clocked) {
    struct reply reply = session_call(&session, "GET /collections", NULL);
    ck_assert(!reply.stages.was_started);
    ck_assert_uint_eq(reply.stages.spent_ns[STAGE_parse], 0);
    free(reply.body);
}
END_TEST

/* ---- Memory ---------------------------------------------------------------------------------- */

#define BODY_BYTES (1 << 20)

/* Repeats an item until the body is full. */
static size_t fill_body(char *body, const char *before, const char *item, const char *after) {
    size_t used = (size_t)sprintf(body, "%s", before);
    for (int i = 0; used + 200 < BODY_BYTES; i++) {
        used += (size_t)sprintf(body + used, "%s", i ? "," : "");
        used += (size_t)sprintf(body + used, item, i, i);
    }
    return used + (size_t)sprintf(body + used, "%s", after);
}

static const struct {
    const char *request, *before, *item, *after;
} large[] = {
    {"PUT /collections/x/points?wait=true", "{\"points\":[", "{\"id\":%d,\"vector\":[1]}", "]}"},
    {"PUT /collections/x/points?wait=true", "{\"points\":[",
     "{\"id\":%d,\"vector\":[1],\"payload\":{\"n\":%d,\"t\":[\"a\",\"b\"]}}", "]}"},
    {"PUT /collections/x/points?wait=true", "{\"points\":[",
     "{\"id\":\"text %d\",\"vector\":{\"\":\"AACAPw==\"}}", "]}"},
    {"POST /collections/x/points", "{\"ids\":[", "%d", "]}"},
    {"POST /collections/x/points/delete?wait=true", "{\"points\":[", "%d", "]}"},
};

/* The server gives a call so many times its body and a fixed part: every body must fit in that. */
START_TEST(a_body_of_the_smallest_items_fits_its_arena) {
    static char body[BODY_BYTES + 256];
    RUN(((const struct step[]){
        {"PUT /collections/x", "{\"vectors\":{\"size\":1,\"distance\":\"Dot\"}}", 200, NULL}}));
    size_t length = fill_body(body, large[_i].before, large[_i].item, large[_i].after);
    struct reply reply = session_call_limited(&session, large[_i].request, body, length,
                                              length * API_ARENA_FACTOR + (1 << 20));
    ck_assert_msg(reply.status == 200, "%s", reply.body);
    free(reply.body);
}
END_TEST

static const struct step hungry[] = {
    {"PUT /collections/y",
     "{\"vectors\":{\"a\":{\"size\":4,\"distance\":\"Dot\"}},\"metadata\":{\"k\":[1,2]}}", 200,
     NULL},
    {"PUT /collections/x/points?wait=true",
     "{\"points\":[{\"id\":\"a\\u0041\",\"vector\":{\"\":[1,2]},\"payload\":{\"k\":[1]}}]}", 200,
     NULL},
    {"PUT /collections/x/points?wait=true",
     "{\"batch\":{\"ids\":[1,2],\"vectors\":{\"\":[[1,2],[3,4]]}}}", 200, NULL},
    {"POST /collections/x/points/query",
     "{\"query\":[1,2],\"with_payload\":[\"k[].x\"],\"with_vector\":true,\"filter\":{\"must\":[{"
     "\"key\":"
     "\"k\",\"match\":{\"any\":[1,2,3]}},{\"should\":[{\"has_id\":[1,7]},{\"key\":\"n\",\"range\":{"
     "\"lt\":5}}]}]}}",
     200, NULL},
    {"POST /collections/x/points/scroll", "{\"with_payload\":{\"exclude\":[\"a.b\"]}}", 200, NULL},
    {"POST /collections/x/points/payload?wait=true",
     "{\"payload\":{\"z\":1},\"key\":\"a[].b\",\"points\":[7]}", 200, NULL},
    {"PATCH /collections/x", "{\"hnsw_config\":{\"m\":20},\"metadata\":{\"q\":1}}", 200, NULL},
    {"GET /collections/x", NULL, 200, NULL},
};

/* With less memory than it needs a call is refused for good and changes nothing; with enough it
 * succeeds. */
START_TEST(want_of_memory_at_any_point_is_an_error_that_changes_nothing) {
    static const struct step create[] = {
        {"PUT /collections/x", "{\"vectors\":{\"size\":2,\"distance\":\"Dot\"}}", 200, NULL},
        {"PUT /collections/x/points?wait=true",
         "{\"points\":[{\"id\":7,\"vector\":[1,1],\"payload\":{\"a\":[{\"b\":{\"c\":1}}],\"k\":[{"
         "\"x\":"
         "1}]}}]}",
         200, NULL},
    };
    RUN(create);
    const struct step *step = &hungry[_i];
    const char *body = step->body ? step->body : "";
    struct reply before = session_call(&session, "GET /collections/x/points/7", NULL);
    size_t failed = 0, limit = 0;
    struct reply reply = {.status = 0};
    for (; limit < 1 << 20; limit += 1024) {
        free(reply.body);
        reply = session_call_limited(&session, step->request, body, strlen(body), limit);
        if (reply.status == 200)
            break;
        /* With no memory at all not even the path can be decoded. */
        ck_assert_msg(reply.status == 400 || reply.match == ROUTE_NO_MEMORY, "%zu: %u %s", limit,
                      reply.status, reply.body ? reply.body : "");
        failed++;
        struct reply after = session_call(&session, "GET /collections/x/points/7", NULL);
        ck_assert_msg(strncmp(after.body, before.body,
                              (size_t)(strstr(before.body, ",\"time\"") - before.body)) == 0,
                      "%zu: %s", limit, after.body);
        free(after.body);
    }
    ck_assert_uint_eq(reply.status, 200);
    ck_assert_uint_gt(failed, 1);
    free(reply.body);
    free(before.body);
}
END_TEST

/* Reads whose answers are larger than the arena. */
static const struct step wide[] = {
    {"POST /collections/x/points", "{\"ids\":[1,2],\"with_payload\":true}", 200, NULL},
    {"POST /collections/x/points/scroll", "{}", 200, NULL},
    {"POST /collections/x/points/query", "{\"query\":[1],\"with_payload\":true}", 200, NULL},
    {"POST /collections/x/points/query", "{\"with_payload\":true}", 200, NULL},
    {"GET /collections/x/points/2", NULL, 200, NULL},
};

/* Nobody is told to come back for what can never be given; for what the system lacks, they are. */
START_TEST(an_answer_beyond_the_limit_is_refused_for_good) {
    static const char before[] = "{\"points\":[{\"id\":1,\"vector\":[1]},{\"id\":2,\"vector\":[1],"
                                 "\"payload\":{\"t\":\"";
    enum {
        TEXT = 200000,
        ENOUGH = 4 << 20,
        LITTLE = 100000
    };
    char *body = malloc(sizeof(before) + TEXT + 8);
    memcpy(body, before, sizeof(before) - 1);
    memset(body + sizeof(before) - 1, 'x', TEXT);
    strcpy(body + sizeof(before) - 1 + TEXT, "\"}}]}");
    RUN(((const struct step[]){
        {"PUT /collections/x", "{\"vectors\":{\"size\":1,\"distance\":\"Dot\"}}", 200, NULL},
        {"PUT /collections/x/points?wait=true", body, 200, NULL}}));
    free(body);
    const char *read = wide[_i].body ? wide[_i].body : "";
    struct reply reply =
        session_call_limited(&session, wide[_i].request, read, strlen(read), ENOUGH);
    ck_assert_uint_eq(reply.status, 200);
    free(reply.body);
    reply = session_call_limited(&session, wide[_i].request, read, strlen(read), LITTLE);
    ck_assert_uint_eq(reply.status, 400);
    ck_assert_uint_eq(reply.retry_after_s, 0);
    ck_assert_msg(strstr(reply.body, "Bad request: the request and its answer need more than "
                                     "service.request_memory_mb (64)") != NULL,
                  "%s", reply.body);
    free(reply.body);
}
END_TEST

/* ---- Ownership ------------------------------------------------------------------------------- */

static int freed;

static void count_free(struct api_call *call) {
    (void)call;
    freed++;
}

START_TEST(the_last_reference_frees_the_call) {
    struct arena arena;
    struct api_call call;
    arena_init(&arena, 1 << 16);
    api_call_init(&call, session.api, &arena);
    call.free_call = count_free;
    atomic_fetch_add(&call.references, 1);
    api_call_release(&call);
    ck_assert_int_eq(freed, 0);
    api_call_release(&call);
    ck_assert_int_eq(freed, 1);
    arena_free(&arena);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("api");
    TCase *tcase = tcase_create("api");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, every_status_has_its_code_and_its_prefix, 0,
                        (int)(sizeof(failures) / sizeof(failures[0])));
    tcase_add_test(tcase, an_error_needs_no_memory);
    tcase_add_test(tcase, a_clocked_call_tells_its_stages);
    tcase_add_test(tcase, other_calls_are_not_clocked);
    tcase_add_test(tcase, a_message_of_any_length_and_bytes_makes_a_valid_answer);
    tcase_add_loop_test(tcase, a_body_of_the_smallest_items_fits_its_arena, 0,
                        (int)(sizeof(large) / sizeof(large[0])));
    tcase_add_loop_test(tcase, want_of_memory_at_any_point_is_an_error_that_changes_nothing, 0,
                        (int)(sizeof(hungry) / sizeof(hungry[0])));
    tcase_add_loop_test(tcase, an_answer_beyond_the_limit_is_refused_for_good, 0,
                        (int)(sizeof(wide) / sizeof(wide[0])));
    tcase_add_test(tcase, the_last_reference_frees_the_call);
    suite_add_tcase(suite, tcase);
    return suite;
}
