/* The route table: each row is reached, wrong methods and paths are told apart. */
#include "api/query_parameters.h"
#include "api/routes.h"

#include "tests/support/run_suite.h"

#include <stdio.h>
#include <string.h>

static struct arena arena;

static void setup(void) {
    arena_init(&arena, 1 << 20);
}

static void teardown(void) {
    arena_free(&arena);
}

static const struct route *route;
static struct route_arguments arguments;
static char allow[64];

static enum route_match match(const char *method, const char *path) {
    return routes_match(method, path, strlen(path), &arena, &route, &arguments, allow);
}

/* Puts a value in the place of each argument of a pattern. */
static size_t fill(const char *pattern, char *path) {
    size_t count = 0;
    for (; *pattern; pattern++) {
        if (*pattern == '{') {
            path += sprintf(path, "value%%20%zu", count++);
            pattern = strchr(pattern, '}');
        } else {
            *path++ = *pattern;
        }
    }
    *path = '\0';
    return count;
}

START_TEST(every_row_is_reached_by_its_method_and_path) {
    char path[256], value[32];
    for (size_t i = 0; i < routes_count; i++) {
        size_t count = fill(routes[i].pattern, path);
        ck_assert_int_eq(match(routes[i].method, path), ROUTE_FOUND);
        ck_assert_ptr_eq(route, &routes[i]);
        ck_assert_uint_eq(arguments.count, count);
        for (size_t a = 0; a < count; a++) {
            snprintf(value, sizeof(value), "value %zu", a);
            ck_assert_str_eq(arguments.values[a], value);
        }
    }
}
END_TEST

START_TEST(every_row_is_complete) {
    for (size_t i = 0; i < routes_count; i++) {
        ck_assert(routes[i].handle != NULL);
        ck_assert_ptr_nonnull(routes[i].summary);
        ck_assert_ptr_nonnull(routes[i].answer);
        bool is_get = strcmp(routes[i].method, "GET") == 0;
        ck_assert_msg(!is_get || !routes[i].request, "%s has a body", routes[i].pattern);
        ck_assert_msg(!is_get || routes[i].access != ACCESS_WRITE, "%s", routes[i].pattern);
        ck_assert_msg(strcmp(routes[i].method, "DELETE") != 0 || routes[i].access == ACCESS_WRITE,
                      "%s", routes[i].pattern);
        for (size_t j = 0; j < i; j++)
            ck_assert(strcmp(routes[i].method, routes[j].method) != 0 ||
                      strcmp(routes[i].pattern, routes[j].pattern) != 0);
    }
}
END_TEST

/* Without a key: what a load balancer asks, and the greeting. */
START_TEST(only_the_health_endpoints_are_public) {
    static const char *const public[] = {"/", "/healthz", "/livez", "/readyz"};
    size_t count = 0;
    for (size_t i = 0; i < routes_count; i++) {
        if (routes[i].access != ACCESS_PUBLIC)
            continue;
        ck_assert_uint_lt(count, 4);
        ck_assert_str_eq(routes[i].pattern, public[count]);
        count++;
    }
    ck_assert_uint_eq(count, 4);
}
END_TEST

static const struct {
    const char *method, *path;
    enum route_match match;
    const char *pattern; /* of the row; or what is allowed */
} cases[] = {
    {"GET", "", ROUTE_FOUND, "/"},
    {"GET", "//", ROUTE_FOUND, "/"},
    {"GET", "/collections/", ROUTE_FOUND, "/collections"},
    {"GET", "//collections///x//", ROUTE_FOUND, "/collections/{collection_name}"},
    {"POST", "//collections/x/points/search/", ROUTE_FOUND,
     "/collections/{collection_name}/points/search"},
    {"HEAD", "/collections", ROUTE_FOUND, "/collections"},
    {"GET", "/collections/x/points/count", ROUTE_FOUND,
     "/collections/{collection_name}/points/{id}"},
    {"GET", "/collections/aliases", ROUTE_FOUND, "/collections/{collection_name}"},
    {"GET", "/%63ollections", ROUTE_FOUND, "/collections"},
    {"GET", "/collections/a%2Fb", ROUTE_FOUND, "/collections/{collection_name}"},
    {"GET", "/collections/..", ROUTE_FOUND, "/collections/{collection_name}"},
    {"GET", "/Collections", ROUTE_NOT_FOUND, NULL},
    {"GET", "/collection", ROUTE_NOT_FOUND, NULL},
    {"GET", "/collections/x/y", ROUTE_NOT_FOUND, NULL},
    {"GET", "/collectionsx", ROUTE_NOT_FOUND, NULL},
    {"GET", "/healthz/x", ROUTE_NOT_FOUND, NULL},
    {"GET", "/healthz;x", ROUTE_NOT_FOUND, NULL},
    {"GET", "/healthz%2f..%2fcollections", ROUTE_NOT_FOUND, NULL},
    {"GET", "/dashboard%2f..%2fcollections", ROUTE_NOT_FOUND, NULL},
    {"GET", "\\collections", ROUTE_NOT_FOUND, NULL},
    {"POST", "/collections", ROUTE_WRONG_METHOD, "GET, HEAD"},
    {"POST", "/collections/x", ROUTE_WRONG_METHOD, "GET, HEAD, PUT, PATCH, DELETE"},
    {"DELETE", "/collections/x/points/count", ROUTE_WRONG_METHOD, "GET, HEAD, POST"},
    {"HEAD", "/collections/x/points/query/batch", ROUTE_WRONG_METHOD, "POST"},
    {"get", "/collections", ROUTE_WRONG_METHOD, "GET, HEAD"},
    {"GET", "/collections/%", ROUTE_BAD_PATH, NULL},
    {"GET", "/collections/%2", ROUTE_BAD_PATH, NULL},
    {"GET", "/collections/%zz", ROUTE_BAD_PATH, NULL},
    {"GET", "/collections/a%00b", ROUTE_BAD_PATH, NULL},
    {"GET", "/collections/%c0%af", ROUTE_BAD_PATH, NULL},
    {"GET", "/collections/%ff", ROUTE_BAD_PATH, NULL},
    {"GET", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p", ROUTE_NOT_FOUND, NULL},
    {"GET", "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", ROUTE_BAD_PATH, NULL},
};

START_TEST(paths_and_methods_are_told_apart) {
    ck_assert_int_eq(match(cases[_i].method, cases[_i].path), cases[_i].match);
    if (cases[_i].match == ROUTE_FOUND)
        ck_assert_str_eq(route->pattern, cases[_i].pattern);
    if (cases[_i].match == ROUTE_WRONG_METHOD)
        ck_assert_str_eq(allow, cases[_i].pattern);
}
END_TEST

START_TEST(arguments_are_decoded) {
    ck_assert_int_eq(match("GET", "/collections/a%20b%2Fc/points/%C3%A9+"), ROUTE_FOUND);
    ck_assert_uint_eq(arguments.count, 2);
    ck_assert_str_eq(arguments.values[0], "a b/c");
    ck_assert_str_eq(arguments.values[1], "\xc3\xa9+");
}
END_TEST

START_TEST(a_full_arena_is_told_apart_too) {
    arena.limit = 0;
    ck_assert_int_eq(match("GET", "/collections"), ROUTE_NO_MEMORY);
}
END_TEST

/* ---- Query strings --------------------------------------------------------------------------- */

static const struct {
    enum parameter_set set;
    const char *query;
    enum status status;
    bool wait;
    uint64_t timeout_s;
} queries[] = {
    {PARAMETERS_WRITE, "", STATUS_OK, false, 0},
    {PARAMETERS_WRITE, "wait=true", STATUS_OK, true, 0},
    {PARAMETERS_WRITE, "wait=false&timeout=0", STATUS_OK, false, 0},
    {PARAMETERS_WRITE, "timeout=7&&wait=true&", STATUS_OK, true, 7},
    {PARAMETERS_WRITE, "%77ait=%74rue", STATUS_OK, true, 0},
    {PARAMETERS_WRITE, "wait=true&ordering=strong&unknown=%41", STATUS_OK, true, 0},
    {PARAMETERS_WRITE, "ordering=weak", STATUS_OK, false, 0},
    {PARAMETERS_WRITE, "wait", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "wait=", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "wait=True", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "wait=1", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "wait=true&wait=true", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "ordering=", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "timeout=-1", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "timeout=1.5", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "timeout=18446744073709551616", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "timeout=18446744073709551615", STATUS_OK, false, UINT64_MAX},
    {PARAMETERS_WRITE, "wait=%zz", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_WRITE, "a=%00", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_READ, "timeout=0", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_READ, "timeout=1&wait=nonsense", STATUS_OK, false, 1},
    {PARAMETERS_READ, "consistency=all", STATUS_OK, false, 0},
    {PARAMETERS_READ, "consistency=2", STATUS_OK, false, 0},
    {PARAMETERS_READ, "consistency=0", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_READ, "consistency=some", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_COLLECTION, "timeout=0", STATUS_QUERY_VALIDATION, false, 0},
    {PARAMETERS_COLLECTION, "timeout=x", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_SERVICE, "details_level=10&anonymize=true", STATUS_OK, false, 0},
    {PARAMETERS_SERVICE, "details_level=11", STATUS_QUERY_FORMAT, false, 0},
    {PARAMETERS_NONE, "timeout=0&wait=x", STATUS_OK, false, 0},
};

START_TEST(query_parameters_are_read_by_their_table) {
    struct query_parameters parameters;
    struct error error;
    ck_assert_int_eq(query_parameters_read(queries[_i].set, queries[_i].query,
                                           strlen(queries[_i].query), &arena, &parameters, &error),
                     queries[_i].status);
    if (queries[_i].status == STATUS_OK) {
        ck_assert_int_eq(parameters.wait, queries[_i].wait);
        ck_assert_uint_eq(parameters.timeout_s, queries[_i].timeout_s);
    }
}
END_TEST

START_TEST(a_query_has_a_limited_number_of_parameters) {
    char query[8 * QUERY_PARAMETERS_MAX + 16] = "a=1";
    struct query_parameters parameters;
    struct error error;
    for (int i = 1; i < QUERY_PARAMETERS_MAX; i++)
        strcat(query, "&a=1");
    ck_assert_int_eq(
        query_parameters_read(PARAMETERS_WRITE, query, strlen(query), &arena, &parameters, &error),
        STATUS_OK);
    strcat(query, "&a=1");
    ck_assert_int_eq(
        query_parameters_read(PARAMETERS_WRITE, query, strlen(query), &arena, &parameters, &error),
        STATUS_QUERY_FORMAT);
}
END_TEST

#define COUNT_OF(list) ((int)(sizeof(list) / sizeof((list)[0])))

Suite *test_suite(void) {
    Suite *suite = suite_create("routes");
    TCase *tcase = tcase_create("routes");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, every_row_is_reached_by_its_method_and_path);
    tcase_add_test(tcase, every_row_is_complete);
    tcase_add_test(tcase, only_the_health_endpoints_are_public);
    tcase_add_loop_test(tcase, paths_and_methods_are_told_apart, 0, COUNT_OF(cases));
    tcase_add_test(tcase, arguments_are_decoded);
    tcase_add_test(tcase, a_full_arena_is_told_apart_too);
    tcase_add_loop_test(tcase, query_parameters_are_read_by_their_table, 0, COUNT_OF(queries));
    tcase_add_test(tcase, a_query_has_a_limited_number_of_parameters);
    suite_add_tcase(suite, tcase);
    return suite;
}
