/* The filter grammar: what is read means what it says, and what is misspelt is refused. */
#include "api/filter_json.h"

#include "tests/api/session.h"
#include "tests/support/run_suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;
static struct error error;

static void setup(void) {
    arena_init(&arena, 64u << 20);
    error = (struct error){0};
}

static void teardown(void) {
    arena_free(&arena);
}

static enum status read_filter(const char *text, const struct filter **filter) {
    struct json_reader reader;
    json_reader_init(&reader, text, strlen(text), &arena, &error);
    enum status status = filter_json.read(&reader, filter);
    return status == STATUS_OK ? json_read_end(&reader) : status;
}

static bool has_vector(const void *context, const char *name) {
    (void)context;
    return strcmp(name, "image") == 0;
}

#define PAYLOAD                                                                       \
    "{\"s\":\"red\",\"n\":9007199254740993,\"f\":5.0,\"b\":true,\"z\":null,\"e\":[]," \
    "\"l\":[1,2,\"x\"],\"d\":\"2024-02-29T12:00:00Z\",\"o\":{\"k\":\"v\"},"           \
    "\"p\":[{\"t\":\"a\",\"w\":1},{\"t\":\"b\",\"w\":2}]}"

/* Whether the point 7 with this payload matches. */
static const struct {
    const char *filter;
    bool matches;
} meanings[] = {
    {"{}", true},
    {"{\"must\":[],\"should\":[],\"must_not\":null,\"min_should\":null}", true},
    {"{\"must\":{\"key\":\"s\",\"match\":{\"value\":\"red\"}}}", true},
    {"{\"must\":[{\"match\":{\"value\":\"red\"},\"key\":\"s\"}]}", true},
    {"{\"must_not\":{\"key\":\"s\",\"match\":{\"value\":\"red\"}}}", false},
    {"{\"must\":[{\"key\":\"n\",\"match\":{\"value\":9007199254740993}}]}", true},
    {"{\"must\":[{\"key\":\"n\",\"match\":{\"value\":9007199254740992}}]}", false},
    {"{\"must\":[{\"key\":\"f\",\"match\":{\"value\":5}}]}", false},
    {"{\"must\":[{\"key\":\"b\",\"match\":{\"value\":true}}]}", true},
    {"{\"must\":[{\"key\":\"s\",\"match\":{\"any\":[\"blue\",\"red\"]}}]}", true},
    {"{\"must\":[{\"key\":\"s\",\"match\":{\"any\":[]}}]}", false},
    {"{\"must\":[{\"key\":\"l\",\"match\":{\"any\":[2,9]}}]}", true},
    {"{\"must\":[{\"key\":\"s\",\"match\":{\"except\":[\"red\"]}}]}", false},
    {"{\"must\":[{\"key\":\"s\",\"match\":{\"except\":[]}}]}", true},
    {"{\"must\":[{\"key\":\"q\",\"match\":{\"except\":[]}}]}", false},
    {"{\"must\":[{\"key\":\"n\",\"range\":{\"gt\":9007199254740992,\"lt\":9007199254740994}}]}",
     true},
    {"{\"must\":[{\"key\":\"n\",\"range\":{\"gt\":9007199254740993}}]}", false},
    {"{\"must\":[{\"key\":\"f\",\"range\":{\"gte\":5,\"lte\":5.0,\"gt\":null}}]}", true},
    {"{\"must\":[{\"key\":\"d\",\"range\":{\"gte\":\"2024-02-29\",\"lt\":\"2024-03-01\"}}]}", true},
    {"{\"must\":[{\"key\":\"d\",\"range\":{\"gt\":\"2024-02-29T12:00:00Z\"}}]}", false},
    {"{\"must\":[{\"key\":\"l\",\"values_count\":{\"gte\":3,\"lt\":4}}]}", true},
    {"{\"must\":[{\"key\":\"q\",\"values_count\":{\"lt\":1}}]}", true},
    {"{\"must\":[{\"is_empty\":{\"key\":\"e\"}}]}", true},
    {"{\"must\":[{\"is_null\":{\"key\":\"z\"}}]}", true},
    {"{\"must\":[{\"key\":\"s\",\"is_empty\":false}]}", true},
    {"{\"must\":[{\"is_null\":true,\"key\":\"s\"}]}", false},
    {"{\"must\":[{\"has_id\":[9,7,\"abc\",8]}]}", true},
    {"{\"must\":[{\"has_id\":[]}]}", false},
    {"{\"must\":[{\"has_id\":[\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"]}]}", false},
    {"{\"must\":[{\"has_vector\":\"image\"}]}", true},
    {"{\"must\":[{\"has_vector\":\"\"}]}", false},
    {"{\"must\":[{\"nested\":{\"key\":\"p\",\"filter\":{\"must\":[{\"key\":\"t\",\"match\":{"
     "\"value\":"
     "\"a\"}},{\"key\":\"w\",\"match\":{\"value\":1}}]}}}]}",
     true},
    {"{\"must\":[{\"nested\":{\"filter\":{\"must\":[{\"key\":\"t\",\"match\":{\"value\":\"a\"}},{"
     "\"key\":\"w\",\"match\":{\"value\":2}}]},\"key\":\"p[]\"}}]}",
     false},
    {"{\"must\":[{\"key\":\"p[].t\",\"match\":{\"value\":\"b\"}}]}", true},
    {"{\"must\":[{\"key\":\"o.k\",\"match\":{\"value\":\"v\"}}]}", true},
    {"{\"min_should\":{\"min_count\":2,\"conditions\":[{\"key\":\"b\",\"match\":{\"value\":true}},{"
     "\"key\":\"s\",\"match\":{\"value\":\"red\"}},{\"has_id\":[1]}]}}",
     true},
    {"{\"min_should\":{\"min_count\":3,\"conditions\":[{\"key\":\"b\",\"match\":{\"value\":true}},{"
     "\"key\":\"s\",\"match\":{\"value\":\"red\"}},{\"has_id\":[1]}]}}",
     false},
    {"{\"must\":[{\"should\":[{\"has_id\":[1]},{\"must\":{\"has_id\":[7]}}],\"must_not\":[{\"has_"
     "id\":["
     "8]}]}]}",
     true},
    {"{\"must\":[{}]}", true},
    {"{\"must_not\":[{}]}", false},
    {"{\"should\":[{\"has_id\":[1]},{\"has_id\":[2]}]}", false},
    {"{\"must\":{\"key\":\"s\",\"match\":{\"value\":\"red\",\"any\":null},\"range\":null}}", true},
};

START_TEST(a_filter_means_what_it_says) {
    const struct point_id id = {.kind = POINT_ID_NUMBER, .number = 7};
    const struct filter_subject subject = {.id = &id,
                                           .payload = PAYLOAD,
                                           .payload_length = sizeof(PAYLOAD) - 1,
                                           .has_vector = has_vector};
    const struct filter *filter;
    ck_assert_msg(read_filter(meanings[_i].filter, &filter) == STATUS_OK, "%s: %s",
                  meanings[_i].filter, error.message);
    ck_assert_msg(filter_matches(filter, &subject) == meanings[_i].matches, "%s",
                  meanings[_i].filter);
}
END_TEST

static const struct {
    enum status status;
    const char *filter, *message;
} refused[] = {
    {STATUS_FORMAT, "[]", "expected an object"},
    {STATUS_FORMAT, "{\"mst\":[]}", "mst: unknown field `mst`, expected one of `must`"},
    {STATUS_FORMAT, "{\"must\":[],\"must\":[]}", "duplicate field `must`"},
    {STATUS_FORMAT, "{\"must\":5}", "must: expected an array"},
    {STATUS_FORMAT, "{\"must\":[5]}", "must[0]: expected an object"},
    {STATUS_FORMAT, "{\"must\":[{\"kex\":\"a\"}]}",
     "must[0].kex: unknown field `kex` of a condition"},
    {STATUS_VALIDATION, "{\"must\":[{\"key\":\"a\"}]}",
     "must[0]: At least one field condition must be specified"},
    {STATUS_VALIDATION, "{\"must\":[{\"key\":\"a\",\"match\":null}]}",
     "At least one field condition must be specified"},
    {STATUS_FORMAT, "{\"must\":[{\"match\":{\"value\":1}}]}", "`match` without `key`"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"has_id\":[1]}]}", "`has_id` takes no `key`"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{}}]}",
     "expected `value`, `any` or `except`"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{\"vale\":1}}]}",
     "vale: expected `value`"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{\"value\":1,\"any\":[2]}}]}",
     "a match takes only one of its forms"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{\"value\":1.5}}]}", "must be whole"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{\"value\":18446744073709551616}}]}",
     "must be whole and fit 64 bits"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{\"value\":[1]}}]}", "expected a string"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{\"any\":[1,\"a\"]}}]}",
     "may not be mixed"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{\"any\":[true]}}]}",
     "expected strings or whole numbers"},
    {STATUS_BAD_REQUEST, "{\"must\":[{\"key\":\"a\",\"match\":{\"text\":\"x\"}}]}",
     "not supported"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"range\":{\"lt\":1,\"gt\":\"2024-01-01\"}}]}",
     "all numbers or all dates"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"range\":{\"lt\":\"tomorrow\"}}]}",
     "no RFC 3339 date"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"range\":{\"lt\":true}}]}",
     "all numbers or all dates"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"range\":{\"lt\":1e999}}]}",
     "larger than a double"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"range\":{\"less\":1}}]}", "unknown field `less`"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"values_count\":{\"lt\":-1}}]}",
     "whole number from 0"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"match\":{\"value\":1},\"range\":{\"lt\":1}}]}",
     "takes only one of `match` and `range`"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a\",\"key\":\"b\",\"match\":{\"value\":1}}]}",
     "only one of"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"a..b\",\"match\":{\"value\":1}}]}", "must[0].key"},
    {STATUS_FORMAT, "{\"must\":[{\"key\":\"\",\"match\":{\"value\":1}}]}", "must[0].key"},
    {STATUS_FORMAT, "{\"must\":[{\"is_empty\":{\"key\":\"a\",\"x\":1}}]}", "expected only `key`"},
    {STATUS_FORMAT, "{\"must\":[{\"is_empty\":{}}]}", "missing field `key`"},
    {STATUS_FORMAT, "{\"must\":[{\"is_null\":true}]}", "`is_null` without `key`"},
    {STATUS_FORMAT, "{\"must\":[{\"has_id\":[1.5]}]}",
     "value 1.5 is not a valid point ID, valid values are either an unsigned integer or a UUID"},
    {STATUS_FORMAT, "{\"must\":[{\"has_id\":1}]}", "has_id: expected an array"},
    {STATUS_FORMAT, "{\"must\":[{\"nested\":{\"key\":\"a\"}}]}", "missing field `filter`"},
    {STATUS_FORMAT, "{\"must\":[{\"nested\":{\"key\":\"a\",\"filter\":{\"x\":1}}}]}",
     "unknown field `x`"},
    {STATUS_BAD_REQUEST, "{\"must\":[{\"key\":\"a\",\"geo_radius\":{}}]}", "not supported"},
    {STATUS_BAD_REQUEST, "{\"must\":[{\"slice\":{\"total\":2,\"index\":1}}]}", "not supported"},
    {STATUS_VALIDATION, "{\"min_should\":{\"conditions\":[],\"min_count\":0}}",
     "value 0 invalid, must be 1 or larger"},
    {STATUS_FORMAT, "{\"min_should\":{\"conditions\":[]}}", "missing field `min_count`"},
    {STATUS_FORMAT, "{\"min_should\":{\"min_count\":1}}", "missing field `conditions`"},
    {STATUS_FORMAT, "{\"must\":[{\"must\":[],\"key\":\"a\",\"match\":{\"value\":1}}]}",
     "clauses of a filter beside"},
};

START_TEST(what_is_not_of_the_grammar_is_refused) {
    const struct filter *filter;
    ck_assert_msg(read_filter(refused[_i].filter, &filter) == refused[_i].status, "%s: %s",
                  refused[_i].filter, error.message);
    ck_assert_msg(strstr(error.message, refused[_i].message) != NULL, "%s", error.message);
}
END_TEST

/* ---- Depth ----------------------------------------------------------------------------------- */

/* What makes one filter more of a condition. */
static const struct wrapping {
    const char *before, *after;
} wrappings[] = {
    {"{\"must\":[", "]}"},
    {"{\"should\":[", "]}"},
    {"{\"must_not\":", "}"},
    {"{\"min_should\":{\"min_count\":1,\"conditions\":[", "]}}"},
    {"{\"must\":[{\"nested\":{\"key\":\"a\",\"filter\":", "}}]}"},
};

/* Conditions and filters of one level. */
static const char *const innermost[] = {"{}", "{\"must\":[]}", "{\"must\":[{\"has_id\":[1]}]}"};

enum {
    WRAPPINGS = sizeof(wrappings) / sizeof(wrappings[0]),
    INNERMOST = sizeof(innermost) / sizeof(innermost[0]),
    DEPTH_CASES = WRAPPINGS * WRAPPINGS * INNERMOST,
};

/* Filters within filters, depth of them: the innermost in one wrapping, all others in another. */
static char *nested_filters(int depth, int row) {
    const struct wrapping *outer = &wrappings[row % WRAPPINGS];
    const struct wrapping *inner = &wrappings[row / WRAPPINGS % WRAPPINGS];
    char *text = malloc((size_t)depth * 64 + 64), *at = text;
    for (int i = 1; i < depth; i++)
        at += sprintf(at, "%s", i == depth - 1 ? inner->before : outer->before);
    at += sprintf(at, "%s", innermost[row / WRAPPINGS / WRAPPINGS]);
    for (int i = depth - 1; i > 0; i--)
        at += sprintf(at, "%s", i == depth - 1 ? inner->after : outer->after);
    return text;
}

START_TEST(filters_nest_to_a_limit) {
    const struct filter *filter;
    const struct point_id id = {.kind = POINT_ID_NUMBER, .number = 7};
    const struct filter_subject subject = {.id = &id, .payload = "{}", .payload_length = 2};
    char *deep = nested_filters(FILTER_DEPTH_MAX, _i);
    char *deeper = nested_filters(FILTER_DEPTH_MAX + 1, _i);
    ck_assert_msg(read_filter(deep, &filter) == STATUS_OK, "%s: %s", deep, error.message);
    (void)filter_matches(filter, &subject);
    ck_assert_msg(read_filter(deeper, &filter) == STATUS_BAD_REQUEST, "%s", deeper);
    ck_assert_ptr_nonnull(strstr(error.message, "filters nested deeper than 32"));
    free(deep);
    free(deeper);
}
END_TEST

/* A payload whose objects nest as deep as filters do, so that all of a filter is asked about. */
static void put_deep_point(struct session *session) {
    char body[1024], *at = body;
    at += sprintf(at, "{\"points\":[{\"id\":1,\"vector\":[1],\"payload\":");
    for (int i = 0; i <= FILTER_DEPTH_MAX; i++)
        at += sprintf(at, "{\"a\":[");
    for (int i = 0; i <= FILTER_DEPTH_MAX; i++)
        at += sprintf(at, "]}");
    sprintf(at, "}]}");
    session_step(session, &(struct step){"PUT /collections/x/points?wait=true", body, 200, NULL});
}

static const char *const filtered[] = {
    "POST /collections/x/points/count",
    "POST /collections/x/points/scroll",
    "POST /collections/x/points/query",
    "POST /collections/x/points/payload/clear?wait=true",
    "POST /collections/x/points/delete?wait=true",
};

START_TEST(whatever_filter_is_read_is_planned_and_asked) {
    struct session session;
    static const struct step creation = {
        "PUT /collections/x", "{\"vectors\":{\"size\":1,\"distance\":\"Dot\"}}", 200, NULL};
    session_open(&session);
    session_step(&session, &creation);
    for (int over = 0; over <= 1; over++) {
        char *filter = nested_filters(FILTER_DEPTH_MAX + over, _i);
        char *body = malloc(strlen(filter) + 32);
        sprintf(body, "{\"filter\":%s}", filter);
        for (size_t i = 0; i < sizeof(filtered) / sizeof(filtered[0]); i++) {
            put_deep_point(&session);
            session_step(&session, &(struct step){filtered[i], body, over ? 400 : 200,
                                                  over ? "Bad request: filter." : NULL});
            session_step(&session, &(struct step){filtered[i], body, over ? 400 : 200,
                                                  over ? "filters nested deeper than 32" : NULL});
        }
        free(filter);
        free(body);
    }
    session_close(&session);
}
END_TEST

/* ---- Lists ----------------------------------------------------------------------------------- */

static char *repeated(const char *before, const char *item, int count, const char *after) {
    char *text = malloc(strlen(before) + (strlen(item) + 1) * (size_t)count + strlen(after) + 1);
    char *at = text + sprintf(text, "%s", before);
    for (int i = 0; i < count; i++)
        at += sprintf(at, "%s%s", i ? "," : "", item);
    strcpy(at, after);
    return text;
}

static const struct {
    const char *before, *item, *after;
    int max;
} limits[] = {
    {"{\"must\":[", "{\"has_id\":[1]}", "]}", FILTER_CONDITIONS_MAX},
    {"{\"must\":[{\"has_id\":[", "1", "]}]}", FILTER_VALUES_MAX},
    {"{\"must\":[{\"key\":\"a\",\"match\":{\"any\":[", "1", "]}}]}", FILTER_VALUES_MAX},
    {"{\"must\":[{\"key\":\"a\",\"match\":{\"except\":[", "\"x\"", "]}}]}", FILTER_VALUES_MAX},
};

START_TEST(lists_have_limits_and_one_past_them_is_refused) {
    const struct filter *filter;
    char *full = repeated(limits[_i].before, limits[_i].item, limits[_i].max, limits[_i].after);
    char *over = repeated(limits[_i].before, limits[_i].item, limits[_i].max + 1, limits[_i].after);
    ck_assert_msg(read_filter(full, &filter) == STATUS_OK, "%s", error.message);
    ck_assert_int_eq(read_filter(over, &filter), STATUS_BAD_REQUEST);
    free(full);
    free(over);
}
END_TEST

START_TEST(ids_are_sorted_for_searching) {
    const struct filter *filter;
    ck_assert_int_eq(read_filter("{\"must\":{\"has_id\":[\"b\",9,\"a\",3,"
                                 "\"6ba7b8109dad11d180b400c04fd430c8\",3]}}",
                                 &filter),
                     STATUS_OK);
    const struct condition *condition = &filter->must.items[0];
    ck_assert_uint_eq(condition->ids_count, 6);
    for (size_t i = 1; i < condition->ids_count; i++)
        ck_assert_int_le(point_id_compare(&condition->ids[i - 1], &condition->ids[i]), 0);
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("filter_json");
    TCase *tcase = tcase_create("filter_json");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_filter_means_what_it_says, 0, COUNT_OF(meanings));
    tcase_add_loop_test(tcase, what_is_not_of_the_grammar_is_refused, 0, COUNT_OF(refused));
    tcase_add_loop_test(tcase, filters_nest_to_a_limit, 0, DEPTH_CASES);
    tcase_add_loop_test(tcase, whatever_filter_is_read_is_planned_and_asked, 0, DEPTH_CASES);
    tcase_add_loop_test(tcase, lists_have_limits_and_one_past_them_is_refused, 0, COUNT_OF(limits));
    tcase_add_test(tcase, ids_are_sorted_for_searching);
    suite_add_tcase(suite, tcase);
    return suite;
}
