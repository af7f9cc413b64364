#include "server/auth.h"
#include "tests/support/run_suite.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct http_text text(const char *bytes) {
    return (struct http_text){.bytes = bytes, .length = bytes ? strlen(bytes) : 0};
}

static struct auth *make(const char *api_key, const char *read_only_key) {
    struct auth *auth = NULL;
    ck_assert_int_eq(auth_create(api_key, read_only_key, &auth, NULL), STATUS_OK);
    return auth;
}

static const struct {
    const char *api_key, *authorization; /* what the client sends */
    enum auth_verdict verdict;
} rows[] = {
    {NULL, NULL, AUTH_MISSING},
    {"full", NULL, AUTH_FULL},
    {"read", NULL, AUTH_READ_ONLY},
    {NULL, "Bearer full", AUTH_FULL},
    {NULL, "bearer full", AUTH_FULL},
    {NULL, "BEARER   full", AUTH_FULL},
    {NULL, "Bearer read", AUTH_READ_ONLY},
    {"full", "Bearer full", AUTH_FULL},
    {"read", "Bearer read", AUTH_READ_ONLY},
    /* Two keys with different rights: neither wins. */
    {"full", "Bearer read", AUTH_WRONG},
    {"read", "Bearer full", AUTH_WRONG},
    {"full", "Bearer wrong", AUTH_WRONG},
    {"wrong", "Bearer full", AUTH_WRONG},
    /* Another scheme is no key at all. */
    {NULL, "Basic ZnVsbA==", AUTH_MISSING},
    {NULL, "full", AUTH_MISSING},
    {NULL, "Bearer", AUTH_MISSING},
    {NULL, "Bearer ", AUTH_MISSING},
    {NULL, "Bearerfull", AUTH_MISSING},
    {"", NULL, AUTH_WRONG},
    {"wrong", NULL, AUTH_WRONG},
    {"Full", NULL, AUTH_WRONG},
    {"ful", NULL, AUTH_WRONG},
    {"full ", NULL, AUTH_WRONG},
    {"fulll", NULL, AUTH_WRONG},
    {"full,read", NULL, AUTH_WRONG},
    {NULL, "Bearer full read", AUTH_WRONG},
    {NULL, "Bearer wrong", AUTH_WRONG},
};

START_TEST(judges_what_the_client_sends) {
    struct auth *auth = make("full", "read");
    ck_assert(auth_is_required(auth));
    ck_assert_int_eq(auth_check(auth, text(rows[_i].api_key), text(rows[_i].authorization)),
                     rows[_i].verdict);
    auth_free(auth);
}
END_TEST

START_TEST(without_keys_everybody_may_do_everything) {
    struct auth *auth = make(NULL, NULL);
    ck_assert(!auth_is_required(auth));
    ck_assert_int_eq(auth_check(auth, text(NULL), text(NULL)), AUTH_FULL);
    ck_assert_int_eq(auth_check(auth, text("x"), text("Bearer x")), AUTH_FULL);
    auth_free(auth);
}
END_TEST

START_TEST(a_key_that_is_not_configured_matches_nothing) {
    struct auth *auth = make("full", NULL);
    ck_assert_int_eq(auth_check(auth, text(""), text(NULL)), AUTH_WRONG);
    auth_free(auth);
    auth = make(NULL, "read");
    ck_assert_int_eq(auth_check(auth, text("read"), text(NULL)), AUTH_READ_ONLY);
    ck_assert_int_eq(auth_check(auth, text(""), text(NULL)), AUTH_WRONG);
    ck_assert_int_eq(auth_check(auth, text(NULL), text(NULL)), AUTH_MISSING);
    auth_free(auth);
}
END_TEST

static double seconds_for(struct auth *auth, const char *key, int checks) {
    struct timespec begin, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    for (int i = 0; i < checks; i++)
        (void)auth_check(auth, text(key), text(NULL));
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    return (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
}

/* The medians of many short rounds, taken in turns so that the machine's moods hit both alike. */
static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

START_TEST(takes_as_long_for_a_key_that_is_almost_right) {
    enum {
        ROUNDS = 101,
        CHECKS = 200
    };
    static double far[ROUNDS], near[ROUNDS];
    struct auth *auth =
        make("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL);
    for (int i = 0; i < ROUNDS; i++) {
        far[i] = seconds_for(
            auth, "baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", CHECKS);
        near[i] = seconds_for(
            auth, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", CHECKS);
    }
    qsort(far, ROUNDS, sizeof(far[0]), by_value);
    qsort(near, ROUNDS, sizeof(near[0]), by_value);
    double ratio = near[ROUNDS / 2] / far[ROUNDS / 2];
    ck_assert_msg(ratio > 0.9 && ratio < 1.1, "the ratio of times is %f", ratio);
    auth_free(auth);
}
END_TEST

static const struct {
    const char *host, *bound;
    bool is_local;
} hosts[] = {
    {"localhost", "127.0.0.1", true},
    {"LocalHost:6333", "127.0.0.1", true},
    {"localhost.", "127.0.0.1", true},
    {"127.0.0.1", "127.0.0.1", true},
    {"127.0.0.1:6333", "127.0.0.1", true},
    {"127.1.2.3:1", "127.0.0.1", true},
    {"[::1]:6333", "127.0.0.1", true},
    {"[::1]", "::1", true},
    {"nigh.local:6333", "nigh.local", true},
    {"NIGH.local", "nigh.local", true},
    {"evil.example", "127.0.0.1", false},
    {"evil.example:6333", "127.0.0.1", false},
    {"localhost.evil.example", "127.0.0.1", false},
    {"127.0.0.1.evil.example", "127.0.0.1", false},
    {"localhost@evil.example", "127.0.0.1", false},
    {"10.0.0.1", "127.0.0.1", false},
    {"0.0.0.0", "127.0.0.1", false},
    {"127.1", "127.0.0.1", false},
    {"0x7f.0.0.1", "127.0.0.1", false},
    {"2130706433", "127.0.0.1", false},
    {"[::2]", "127.0.0.1", false},
    {"[::1]x", "127.0.0.1", false},
    {"[::1", "127.0.0.1", false},
    {"[]", "127.0.0.1", false},
    {"[::ffff:10.0.0.1]", "127.0.0.1", false},
    {":6333", "127.0.0.1", false},
    {"", "127.0.0.1", false},
    {NULL, "127.0.0.1", false},
};

START_TEST(tells_local_host_names_from_others) {
    ck_assert_int_eq(auth_host_is_local(text(hosts[_i].host), hosts[_i].bound), hosts[_i].is_local);
}
END_TEST

START_TEST(a_host_name_longer_than_any_is_not_local) {
    char name[300];
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    ck_assert(!auth_host_is_local(text(name), name));
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("auth");
    TCase *tests = tcase_create("all");
    tcase_add_loop_test(tests, judges_what_the_client_sends, 0,
                        (int)(sizeof(rows) / sizeof(rows[0])));
    tcase_add_test(tests, without_keys_everybody_may_do_everything);
    tcase_add_test(tests, a_key_that_is_not_configured_matches_nothing);
    tcase_add_test(tests, takes_as_long_for_a_key_that_is_almost_right);
    tcase_add_loop_test(tests, tells_local_host_names_from_others, 0,
                        (int)(sizeof(hosts) / sizeof(hosts[0])));
    tcase_add_test(tests, a_host_name_longer_than_any_is_not_local);
    suite_add_tcase(suite, tests);
    return suite;
}
