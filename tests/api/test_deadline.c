/* Reads that take long end when their time is over, or when nobody waits for them any more: while
 * ids are looked up and while what was found is written, not only while it is searched for. */
#include "tests/api/session.h"
#include "tests/support/run_suite.h"

enum {
    POINTS = 20,
    PAYLOAD_BYTES = 64 * 1024, /* of each: so few points are written in several steps */
    IDS = 1000,
};

static struct session session;

static void put_points(void) {
    char *body = malloc((size_t)POINTS * (PAYLOAD_BYTES + 128) + 128), *at = body;
    at += sprintf(at, "{\"points\":[");
    for (int i = 0; i < POINTS; i++) {
        at += sprintf(at, "%s{\"id\":%d,\"vector\":[1,%d],\"payload\":{\"text\":\"", i ? "," : "",
                      i + 1, i);
        memset(at, 'x', PAYLOAD_BYTES);
        at += PAYLOAD_BYTES;
        at += sprintf(at, "\"}}");
    }
    sprintf(at, "]}");
    session_step(&session, &(struct step){"PUT /collections/x/points?wait=true", body, 200, NULL});
    free(body);
}

static void setup(void) {
    static const struct step creation = {
        "PUT /collections/x", "{\"vectors\":{\"size\":2,\"distance\":\"Dot\"}}", 200, NULL};
    session_open(&session);
    session_step(&session, &creation);
    put_points();
}

static void teardown(void) {
    session_close(&session);
}

/* Ids, of which so many exist. */
static char *ids_body(int existing, int count) {
    char *body = malloc((size_t)count * 8 + 64), *at = body;
    at += sprintf(at, "{\"with_payload\":true,\"ids\":[");
    for (int i = 0; i < count; i++)
        at += sprintf(at, "%s%d", i ? "," : "", i < existing ? i + 1 : 10000 + i);
    sprintf(at, "]}");
    return body;
}

/* Body NULL: ids; 20 that exist are written, 1000 that do not are looked up. */
static const struct {
    const char *request, *body;
    int existing, count;
} reads[] = {
    {"POST /collections/x/points?timeout=9", NULL, POINTS, POINTS},
    {"POST /collections/x/points?timeout=9", NULL, 0, IDS},
    {"POST /collections/x/points/scroll?timeout=9", "{\"limit\":20}", 0, 0},
    {"POST /collections/x/points/query?timeout=9", "{\"limit\":20,\"with_payload\":true}", 0, 0},
    {"POST /collections/x/points/query?timeout=9",
     "{\"limit\":20,\"with_payload\":true,\"query\":[1,1]}", 0, 0},
    {"POST /collections/x/points/query/batch?timeout=9",
     "{\"searches\":[{\"limit\":20,\"with_payload\":true,\"query\":[1,1]}]}", 0, 0},
    {"POST /collections/x/points/search?timeout=9",
     "{\"limit\":20,\"with_payload\":true,\"vector\":[1,1]}", 0, 0},
};

/* Answers are too long to be shown by session_step(). */
static void expect(const char *request, const char *body, unsigned status, const char *part) {
    struct reply reply = session_call(&session, request, body);
    ck_assert_msg(reply.status == status, "%s is answered %u, not %u: %.100s", request,
                  reply.status, status, reply.body);
    ck_assert_msg(strstr(reply.body, part) != NULL, "%s: %.100s", request, reply.body);
    free(reply.body);
}

START_TEST(a_read_whose_time_is_over_ends) {
    const char *request = reads[_i].request;
    char *body =
        reads[_i].body ? strdup(reads[_i].body) : ids_body(reads[_i].existing, reads[_i].count);
    expect(request, body, 200, "\"status\":\"ok\"");
    session.late_ns = UINT64_C(10000000000);
    expect(request, body, 408, "Timeout: ");
    session.late_ns = UINT64_C(1000000000);
    expect(request, body, 200, "\"status\":\"ok\"");
    session.is_left = true;
    expect(request, body, 408, "Timeout: ");
    free(body);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("deadline");
    TCase *tcase = tcase_create("deadline");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, a_read_whose_time_is_over_ends, 0,
                        (int)(sizeof(reads) / sizeof(reads[0])));
    suite_add_tcase(suite, tcase);
    return suite;
}
