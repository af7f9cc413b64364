/* Queries through the api, against a scan in the test; every form that is taken and refused. */
#include "tests/api/session.h"
#include "tests/support/run_suite.h"

#include <math.h>

enum {
    POINTS = 300,
    DIMENSION = 8,
};

static struct session session;
static float vectors[POINTS][DIMENSION];

#define RUN(steps) session_steps(&session, steps, sizeof(steps) / sizeof((steps)[0]))
#define OK(result) "{\"result\":" result ",\"status\":\"ok\""
#define QUERY      "POST /collections/x/points/query"
#define SEARCH     "POST /collections/x/points/search"

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

/* Point i has the id i, a payload that says whether i is even, and whole coordinates, so that sums
 * are exact and many points tie. */
static size_t write_points(char *body) {
    size_t used = (size_t)sprintf(body, "{\"points\":[");
    srand(5);
    for (int i = 0; i < POINTS; i++) {
        used += (size_t)sprintf(body + used, "%s{\"id\":%d,\"vector\":[", i ? "," : "", i);
        for (int d = 0; d < DIMENSION; d++) {
            vectors[i][d] = (float)(rand() % 7 - 3);
            used += (size_t)sprintf(body + used, "%s%g", d ? "," : "", (double)vectors[i][d]);
        }
        used += (size_t)sprintf(body + used, "],\"payload\":{\"even\":%s,\"n\":%d}}",
                                i % 2 ? "false" : "true", i);
    }
    return used + (size_t)sprintf(body + used, "]}");
}

static void setup_with(const char *distance) {
    static char body[POINTS * 128];
    char create[128];
    session_open(&session);
    snprintf(create, sizeof(create), "{\"vectors\":{\"size\":%d,\"distance\":\"%s\"}}", DIMENSION,
             distance);
    write_points(body);
    RUN(((const struct step[]){{"PUT /collections/x", create, 200, NULL},
                               {"PUT /collections/x/points?wait=true", body, 200, "completed"}}));
}

static void setup(void) {
    setup_with("Dot");
}

static void teardown(void) {
    session_close(&session);
}

/* ---- Against a scan -------------------------------------------------------------------------- */

struct expected {
    int id;
    double score;
};

static double score_of(const char *distance, const float *a, const float *b) {
    double dot = 0, square = 0, absolute = 0;
    for (int d = 0; d < DIMENSION; d++) {
        dot += (double)a[d] * (double)b[d];
        square += pow((double)a[d] - (double)b[d], 2);
        absolute += fabs((double)a[d] - (double)b[d]);
    }
    return strcmp(distance, "Dot") == 0      ? -dot
           : strcmp(distance, "Euclid") == 0 ? sqrt(square)
                                             : absolute;
}

static int by_score_then_id(const void *a, const void *b) {
    const struct expected *left = a, *right = b;
    if (left->score != right->score)
        return left->score < right->score ? -1 : 1;
    return left->id - right->id;
}

/* Asserts that the answer lists exactly these ids with these scores. */
static void assert_hits(const char *body, const struct expected *hits, int count, double sign) {
    const char *at = body;
    for (int i = 0; i < count; i++) {
        at = strstr(at, "{\"id\":");
        ck_assert_msg(at != NULL, "hit %d is missing in %s", i, body);
        ck_assert_int_eq(atoi(at + 6), hits[i].id);
        at = strstr(at, "\"score\":");
        ck_assert_double_eq_tol(atof(at + 8), hits[i].score * sign, 1e-5);
    }
    ck_assert_ptr_null(strstr(at, "{\"id\":"));
}

static const char *const distances[] = {"Dot", "Euclid", "Manhattan"};

START_TEST(hits_are_those_of_a_scan_equal_scores_by_id) {
    const char *distance = distances[_i];
    struct expected all[POINTS];
    char body[256];
    session_close(&session);
    setup_with(distance);
    for (int q = 0; q < 20; q++) {
        int count = 0, limit = 1 + q, offset = q % 4;
        bool only_even = q % 2, by_id = q % 3 == 0;
        for (int i = 0; i < POINTS; i++) {
            if ((only_even && i % 2) || (by_id && i == q))
                continue;
            all[count++] = (struct expected){i, score_of(distance, vectors[q], vectors[i])};
        }
        qsort(all, (size_t)count, sizeof(all[0]), by_score_then_id);
        size_t used =
            (size_t)sprintf(body, "{\"limit\":%d,\"offset\":%d,\"query\":", limit, offset);
        if (by_id)
            used += (size_t)sprintf(body + used, "%d", q);
        for (int d = 0; !by_id && d < DIMENSION; d++)
            used += (size_t)sprintf(body + used, "%c%g", d ? ',' : '[', (double)vectors[q][d]);
        sprintf(body + used, "%s%s,\"params\":{\"exact\":%s}}", by_id ? "" : "]",
                only_even ? ",\"filter\":{\"must\":{\"key\":\"even\",\"match\":{\"value\":true}}}"
                          : "",
                q % 5 ? "true" : "false");
        struct reply reply = session_call(&session, QUERY, body);
        ck_assert_msg(reply.status == 200, "%s", reply.body);
        assert_hits(reply.body, all + offset, limit, strcmp(distance, "Dot") == 0 ? -1 : 1);
        free(reply.body);
    }
}
END_TEST

/* ---- Forms ----------------------------------------------------------------------------------- */

#define ONES      "[1,1,1,1,1,1,1,1]"
#define ONES_64   "AACAPwAAgD8AAIA/AACAPwAAgD8AAIA/AACAPwAAgD8="
#define TOP(rest) "{\"limit\":1,\"params\":{\"exact\":true}," rest "}"

/* All say the same in another form: the answer is that of the first. */
static const char *const same[] = {
    TOP("\"query\":" ONES),
    TOP("\"query\":{\"nearest\":" ONES "}"),
    TOP("\"query\":{\"nearest\":" ONES ",\"mmr\":null}"),
    TOP("\"query\":\"" ONES_64 "\""),
    TOP("\"query\":{\"nearest\":\"" ONES_64 "\"}"),
    TOP("\"query\":" ONES ",\"using\":\"\""),
    TOP("\"query\":" ONES ",\"prefetch\":[],\"filter\":null,\"lookup_from\":null,"
        "\"score_threshold\":null,\"shard_key\":\"s\",\"unknown\":1"),
    "{\"limit\":1,\"query\":" ONES
    ",\"params\":{\"exact\":true,\"hnsw_ef\":50,\"indexed_only\":false,"
    "\"quantization\":{\"ignore\":true,\"rescore\":true,\"oversampling\":2.0},\"acorn\":{"
    "\"enable\":"
    "true}}}",
};

START_TEST(a_vector_is_asked_for_in_many_forms) {
    struct reply first = session_call(&session, QUERY, same[0]);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct reply reply = session_call(&session, QUERY, same[i]);
        size_t length = (size_t)(strstr(first.body, ",\"time\"") - first.body);
        ck_assert_msg(reply.status == 200 && strncmp(reply.body, first.body, length) == 0,
                      "%s is answered %s, not %s", same[i], reply.body, first.body);
        free(reply.body);
    }
    free(first.body);
}
END_TEST

START_TEST(the_legacy_search_answers_a_bare_list) {
    static const struct step steps[] = {
        {SEARCH, "{\"vector\":" ONES ",\"limit\":1}", 200, "\"result\":[{\"id\":"},
        {SEARCH, "{\"vector\":" ONES ",\"top\":1}", 200, "\"score\":"},
        {SEARCH, "{\"vector\":{\"name\":\"\",\"vector\":" ONES "},\"limit\":1}", 200, "\"score\":"},
        {SEARCH, "{\"vector\":\"" ONES_64 "\",\"limit\":1}", 200, "\"score\":"},
        {SEARCH, "{\"vector\":" ONES "}", 400, "missing field `limit`"},
        {SEARCH, "{\"limit\":1}", 400, "missing field `vector`"},
        {SEARCH, "{\"vector\":" ONES ",\"limit\":0}", 422,
         "[search_request.limit: value 0 invalid"},
        {SEARCH, "{\"vector\":{\"name\":\"q\",\"vector\":" ONES "},\"limit\":1}", 400,
         "Wrong input: Not existing vector name error: q"},
        {SEARCH "/batch",
         "{\"searches\":[{\"vector\":" ONES ",\"limit\":1},{\"vector\":" ONES ",\"limit\":2}]}",
         200, "}],[{\"id\""},
    };
    RUN(steps);
}
END_TEST

START_TEST(a_batch_answers_each_of_its_queries) {
    static const struct step steps[] = {
        {QUERY "/batch", "{\"searches\":[]}", 200, OK("[]")},
        {QUERY "/batch",
         "{\"searches\":[{\"limit\":1,\"with_payload\":[\"n\"]},{\"limit\":1,\"offset\":3,"
         "\"filter\":{\"must_not\":{\"has_id\":[0]}}}]}",
         200,
         OK("[{\"points\":[{\"id\":0,\"version\":0,\"score\":1.0,\"payload\":{\"n\":0}}]},"
            "{\"points\":[{\"id\":4,\"version\":0,\"score\":1.0}]}]")},
        {QUERY "/batch", "{\"searches\":[{\"query\":" ONES "},{\"query\":[1]}]}", 400,
         "Vector dimension error: expected dim: 8, got 1"},
        {QUERY "/batch", "{\"searches\":[{\"limit\":0}]}", 422,
         "[searches[0].internal.limit: value 0 invalid, must be 1 or larger]"},
        {QUERY "/batch", "{}", 400, "missing field `searches`"},
    };
    RUN(steps);
}
END_TEST

enum {
    FORMS = 9,  /* ways in which one search of a batch differs from the next */
    BATCH = 60, /* several times what shares a scan */
    FORM_MAX = 256,
};

/* Search q of a batch: by vector and by id, of different sizes, with filters that an index answers,
 * that none does and that are alike, with more hits than share a scan, and in the order of ids. */
static void write_form(char *form, int q) {
    static const char *const rests[FORMS] = {
        "\"limit\":3",
        "\"limit\":10,\"params\":{\"exact\":true}",
        "\"limit\":4,\"filter\":{\"must\":{\"key\":\"even\",\"match\":{\"value\":true}}}",
        "\"limit\":2,\"offset\":5,\"with_payload\":true",
        "\"limit\":7,\"filter\":{\"must\":{\"key\":\"n\",\"range\":{\"lt\":100}}}",
        "\"limit\":5,\"filter\":{\"must_not\":{\"key\":\"even\",\"match\":{\"value\":false}}}",
        "\"limit\":2000,\"with_vector\":true",
        "\"limit\":300,\"score_threshold\":1.5,\"params\":{\"indexed_only\":false}",
        "\"limit\":3,\"filter\":{\"must\":{\"has_id\":[]}}",
    };
    size_t used = (size_t)sprintf(form, "{");
    if (q % 11 != 10) /* else points in order */
        used += (size_t)sprintf(form + used, "\"query\":");
    if (q % 11 != 10 && q % 4 == 3)
        used += (size_t)sprintf(form + used, "%d,", q);
    for (int d = 0; q % 11 != 10 && q % 4 != 3 && d < DIMENSION; d++)
        used += (size_t)sprintf(form + used, "%c%g%s", d ? ',' : '[', (double)vectors[q][d],
                                d == DIMENSION - 1 ? "]," : "");
    sprintf(form + used, "%s}", rests[q % FORMS]);
}

/* Where the value after "result": begins, and its length up to ,"status". */
static const char *result_of(const struct reply *reply, size_t *length) {
    static const char begin[] = "{\"result\":";
    ck_assert_msg(reply->status == 200 && strncmp(reply->body, begin, strlen(begin)) == 0, "%s",
                  reply->body);
    const char *result = reply->body + strlen(begin);
    *length = (size_t)(strstr(result, ",\"status\"") - result);
    return result;
}

START_TEST(a_batch_answers_as_its_queries_would_be_one_by_one) {
    static char body[BATCH * FORM_MAX], form[FORM_MAX];
    session_close(&session);
    setup_with(_i < COUNT_OF(distances) ? distances[_i] : "Cosine");
    RUN(((const struct step[]){{"PUT /collections/x/index?wait=true",
                                "{\"field_name\":\"even\",\"field_schema\":\"bool\"}", 200,
                                "completed"}}));
    size_t used = (size_t)sprintf(body, "{\"searches\":[");
    for (int q = 0; q < BATCH; q++) {
        write_form(form, q);
        used += (size_t)sprintf(body + used, "%s%s", q ? "," : "", form);
    }
    sprintf(body + used, "]}");
    struct reply batch = session_call(&session, QUERY "/batch", body);
    size_t left, length;
    const char *answer = result_of(&batch, &left);
    for (int q = 0; q < BATCH; q++) {
        write_form(form, q);
        struct reply single = session_call(&session, QUERY, form);
        const char *expected = result_of(&single, &length);
        ck_assert_int_eq(*answer++, q ? ',' : '[');
        ck_assert_msg(strncmp(answer, expected, length) == 0, "%s is answered %.300s, not %.300s",
                      form, answer, expected);
        answer += length;
        free(single.body);
    }
    ck_assert_int_eq(*answer, ']');
    free(batch.body);
}
END_TEST

/* As if the queries were asked one after the other. */
START_TEST(a_batch_tells_the_first_of_its_errors) {
    static const struct step steps[] = {
        {QUERY "/batch", "{\"searches\":[{\"query\":12345},{\"query\":[1]}]}", 404,
         "No point with id 12345 found"},
        {QUERY "/batch", "{\"searches\":[{\"query\":[1]},{\"query\":12345}]}", 400,
         "Vector dimension error: expected dim: 8, got 1"},
        {QUERY "/batch", "{\"searches\":[{},{\"query\":" ONES "},{\"query\":12345}]}", 404,
         "No point with id 12345 found"},
        {QUERY "/batch", "{\"searches\":[{\"query\":" ONES "},{},{\"query\":1,\"using\":\"q\"}]}",
         400, "Not existing vector name error: q"},
    };
    RUN(steps);
}
END_TEST

START_TEST(parts_of_a_point_are_shown_as_asked) {
    static const struct step steps[] = {
        {QUERY,
         "{\"query\":0,\"limit\":1,\"filter\":{\"must\":{\"has_id\":[4]}},\"with_payload\":true}",
         200, "\"payload\":{\"even\":true,\"n\":4}}]"},
        {QUERY,
         "{\"query\":0,\"limit\":1,\"filter\":{\"must\":{\"has_id\":[4]}},\"with_payload\":{"
         "\"exclude\":[\"n\"]}}",
         200, "\"payload\":{\"even\":true}}]"},
        {QUERY,
         "{\"query\":0,\"limit\":1,\"filter\":{\"must\":{\"has_id\":[4]}},\"with_vectors\":[\"\"]}",
         200, "\"vector\":["},
        {QUERY, "{\"limit\":1,\"with_payload\":{\"excludes\":[]}}", 400,
         "unknown field `excludes`"},
        {QUERY, "{\"limit\":1,\"with_vector\":[\"q\"]}", 400, "Not existing vector name error: q"},
        {QUERY, "{\"limit\":1,\"with_vector\":1}", 400, "with_vector: expected a boolean"},
    };
    RUN(steps);
}
END_TEST

START_TEST(thresholds_offsets_and_limits_hold_at_their_edges) {
    static const struct step steps[] = {
        {QUERY, "{\"query\":" ONES ",\"score_threshold\":1e30}", 200, OK("{\"points\":[]}")},
        {QUERY, "{\"query\":" ONES ",\"offset\":300,\"limit\":10}", 200, OK("{\"points\":[]}")},
        {QUERY,
         "{\"query\":" ONES ",\"offset\":18446744073709551615,\"limit\":18446744073709551615}", 200,
         OK("{\"points\":[]}")},
        {QUERY, "{\"offset\":18446744073709551615,\"limit\":18446744073709551615}", 200,
         OK("{\"points\":[]}")},
        {QUERY, "{\"query\":" ONES ",\"limit\":18446744073709551615,\"params\":{\"exact\":true}}",
         200, "\"id\":299"},
        {QUERY, "{\"query\":" ONES ",\"limit\":18446744073709551616}", 400,
         "Format error in JSON body: limit"},
        {QUERY, "{\"query\":" ONES ",\"limit\":-1}", 400, "limit"},
        {QUERY, "{\"query\":" ONES ",\"score_threshold\":1e39}", 400, "score_threshold"},
        {QUERY, "{\"query\":" ONES ",\"params\":{\"hnsw_ef\":0}}", 422,
         "[internal.params.hnsw_ef: value 0 invalid, must be from 1 to 10000]"},
        {QUERY, "{\"query\":" ONES ",\"params\":{\"hnsw_ef\":10001}}", 422, "hnsw_ef"},
        {QUERY, "{\"query\":" ONES ",\"params\":{\"quantization\":{\"oversampling\":0.5}}}", 422,
         "oversampling"},
        {QUERY "?timeout=0", "{\"query\":" ONES "}", 400, "expected a nonzero u64"},
    };
    RUN(steps);
}
END_TEST

/* ---- Refused --------------------------------------------------------------------------------- */

#define LATER(query, name) \
    { QUERY, "{\"query\":" query "}", 400, name ": this form is not supported by this version" }

static const struct step refused[] = {
    LATER("{\"recommend\":{\"positive\":[1]}}", "recommend queries"),
    LATER("{\"discover\":{\"target\":1}}", "discover queries"),
    LATER("{\"context\":[]}", "context queries"),
    LATER("{\"order_by\":\"n\"}", "order_by queries"),
    LATER("{\"fusion\":\"rrf\"}", "fusion queries"),
    LATER("{\"rrf\":{\"k\":2}}", "fusion queries"),
    LATER("{\"formula\":\"$score\"}", "formula queries"),
    LATER("{\"sample\":\"random\"}", "sample queries"),
    LATER("{\"nearest\":" ONES ",\"mmr\":{\"diversity\":0.5}}", "mmr"),
    LATER("{\"indices\":[1],\"values\":[1]}", "sparse vectors"),
    LATER("{\"text\":\"a\",\"model\":\"m\"}", "inference"),
    {QUERY, "{\"query\":{}}", 400, "expected a form of a query"},
    {QUERY, "{\"query\":{\"neerest\":" ONES "}}", 400, "unknown form of a query"},
    {QUERY, "{\"query\":[" ONES "]}", 400, "Bad request: query: multivectors"},
    {QUERY, "{\"query\":true}", 400, "query"},
    {QUERY, "{\"query\":\"\"}", 400, "expected an id, or the base64 of a vector"},
    {QUERY, "{\"query\":-1}", 400, "is not a valid point ID"},
    {QUERY, "{\"query\":[]}", 422, "query: must not be empty"},
    {QUERY, "{\"query\":" ONES ",\"using\":\"q\"}", 400, "Not existing vector name error: q"},
    {QUERY, "{\"query\":[1,2]}", 400, "Vector dimension error: expected dim: 8, got 2"},
    {QUERY, "{\"query\":9999}", 404, "Not found: No point with id 9999 found"},
    {QUERY, "{\"query\":\"a text\"}", 404, "Not found: No point with id a text found"},
    {QUERY, "{\"query\":\"00000000-0000-0000-0000-000000000001\"}", 404,
     "No point with id 00000000-0000-0000-0000-000000000001 found"},
    {QUERY, "{\"prefetch\":[{\"query\":1}]}", 400,
     "Bad request: A query is needed to merge the prefetches. Can't have prefetches without "
     "defining "
     "a query."},
    {QUERY, "{\"prefetch\":{\"query\":1},\"query\":1}", 400,
     "Bad request: prefetch: this form is not supported by this version"},
    {QUERY, "{\"query\":1,\"lookup_from\":{\"collection\":\"y\"}}", 400,
     "Bad request: lookup_from"},
    {QUERY, "{\"query\":1,\"filter\":{\"must\":[{\"kay\":\"n\"}]}}", 400, "unknown field `kay`"},
    {QUERY, "{\"query\":1,\"query\":2}", 400, "duplicate field `query`"},
    {QUERY, "{\"query\":1,\"shard_key\":true}", 400, "shard_key: a shard key is a string"},
    {SEARCH, "{\"vector\":{\"name\":\"\",\"name\":\"\",\"vector\":" ONES "},\"limit\":1}", 400,
     "name"},
    {SEARCH, "{\"vector\":{\"name\":\"\",\"vector\":" ONES ",\"vector\":" ONES "},\"limit\":1}",
     400, "vector"},
    {QUERY, "", 400, "the body is empty"},
    {QUERY, "[]", 400, "expected an object"},
};

START_TEST(a_wrong_query_is_refused_and_says_why) {
    session_step(&session, &refused[_i]);
}
END_TEST

START_TEST(a_cosine_query_is_normalised) {
    session_close(&session);
    session_open(&session);
    static const struct step steps[] = {
        {"PUT /collections/x", "{\"vectors\":{\"size\":2,\"distance\":\"Cosine\"}}", 200, NULL},
        {"PUT /collections/x/points?wait=true",
         "{\"points\":[{\"id\":1,\"vector\":[3,4]},{\"id\":2,\"vector\":[-4,3]},{\"id\":3,"
         "\"vector\":[0,"
         "0]}]}",
         200, NULL},
        {QUERY, "{\"query\":[30,40],\"with_vector\":true}", 200,
         OK("{\"points\":[{\"id\":1,\"version\":1,\"score\":1.0,\"vector\":[0.6,0.8]},{\"id\":2,"
            "\"version\":1,\"score\":0.0,\"vector\":[-0.8,0.6]},{\"id\":3,\"version\":1,\"score\":"
            "0.0,"
            "\"vector\":[0.0,0.0]}]}")},
    };
    RUN(steps);
}
END_TEST

/* A text of 24 letters is an id of this collection, and the base64 of a vector where it fits. */
START_TEST(a_text_is_a_vector_only_where_it_has_the_dimension) {
    session_close(&session);
    session_open(&session);
    static const struct step steps[] = {
        {"PUT /collections/x", "{\"vectors\":{\"size\":2,\"distance\":\"Dot\"}}", 200, NULL},
        {"PUT /collections/x/points?wait=true",
         "{\"points\":[{\"id\":\"AACAPwAAAEAAAEBA\",\"vector\":[1,2]},{\"id\":2,\"vector\":[3,4]}]"
         "}",
         200, NULL},
        /* three floats in a collection of two: the id */
        {QUERY, "{\"query\":\"AACAPwAAAEAAAEBA\"}", 200,
         OK("{\"points\":[{\"id\":2,\"version\":1,\"score\":11.0}]}")},
        {QUERY, "{\"query\":\"AACAPwAAAEA=\"}", 200,
         OK("{\"points\":[{\"id\":2,\"version\":1,\"score\":11.0},{\"id\":\"AACAPwAAAEAAAEBA\","
            "\"version\":1,\"score\":5.0}]}")},
    };
    RUN(steps);
}
END_TEST

/* A vector of so many numbers is longer than any id, and not asked whether it is one. */
START_TEST(a_long_text_is_a_vector_or_nothing) {
    enum {
        TEXT_BYTES = 768 / 3 * 16
    };
    static char text[TEXT_BYTES + 1], body[TEXT_BYTES + 256];
    session_step(&session,
                 &(struct step){"PUT /collections/long",
                                "{\"vectors\":{\"size\":768,\"distance\":\"Dot\"}}", 200, NULL});
    for (size_t i = 0; i < TEXT_BYTES; i += 16)
        memcpy(text + i, "AACAPwAAgD8AAIA/", 16); /* 1, 1, 1 */
    snprintf(body, sizeof(body), "{\"points\":[{\"id\":7,\"vector\":\"%s\"}]}", text);
    session_step(&session,
                 &(struct step){"PUT /collections/long/points?wait=true", body, 200, NULL});
    snprintf(body, sizeof(body), "{\"query\":\"%s\"}", text);
    session_step(&session,
                 &(struct step){"POST /collections/long/points/query", body, 200,
                                OK("{\"points\":[{\"id\":7,\"version\":1,\"score\":768.0}]}")});
    text[TEXT_BYTES / 2] = '!';
    snprintf(body, sizeof(body), "{\"query\":\"%s\"}", text);
    session_step(&session, &(struct step){"POST /collections/long/points/query", body, 400,
                                          "query: expected numbers, or base64"});
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("handle_query");
    TCase *tcase = tcase_create("handle_query");
    tcase_set_timeout(tcase, 30);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, hits_are_those_of_a_scan_equal_scores_by_id, 0, COUNT_OF(distances));
    tcase_add_test(tcase, a_vector_is_asked_for_in_many_forms);
    tcase_add_test(tcase, the_legacy_search_answers_a_bare_list);
    tcase_add_loop_test(tcase, a_batch_answers_as_its_queries_would_be_one_by_one, 0,
                        COUNT_OF(distances) + 1);
    tcase_add_test(tcase, a_batch_tells_the_first_of_its_errors);
    tcase_add_test(tcase, a_batch_answers_each_of_its_queries);
    tcase_add_test(tcase, parts_of_a_point_are_shown_as_asked);
    tcase_add_test(tcase, thresholds_offsets_and_limits_hold_at_their_edges);
    tcase_add_loop_test(tcase, a_wrong_query_is_refused_and_says_why, 0, COUNT_OF(refused));
    tcase_add_test(tcase, a_cosine_query_is_normalised);
    tcase_add_test(tcase, a_text_is_a_vector_only_where_it_has_the_dimension);
    tcase_add_test(tcase, a_long_text_is_a_vector_or_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}
