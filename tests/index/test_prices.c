#include "index/prices.h"

#include "tests/support/run_suite.h"

#include <pthread.h>
#include <stdbool.h>

enum {
    THREADS = 4,
    MANY_ROWS = 1 << 20,
};

static const size_t narrow = 128, wide = 1024;

/* Each test is a process of its own, in which nothing was measured yet. */
static uint32_t only(enum price_name name) {
    return UINT32_C(1) << name;
}

static bool is_measured(enum price_name scan) {
    return prices_scan(scan, MANY_ROWS, wide) > prices_scan(scan, MANY_ROWS, narrow);
}

START_TEST(what_was_not_wanted_is_not_measured) {
    prices_prepare(only(PRICE_SCAN_GAPS));
    ck_assert(is_measured(PRICE_SCAN_GAPS));
    ck_assert(!is_measured(PRICE_SCAN));
    ck_assert_double_eq(prices_fetch(wide), prices_fetch(narrow));
    ck_assert_double_eq(prices_look(), 0);
}
END_TEST

START_TEST(what_was_measured_stays) {
    prices_prepare(only(PRICE_FETCH) | only(PRICE_LOOK));
    double fetch = prices_fetch(wide), look = prices_look();
    ck_assert_double_gt(fetch, prices_fetch(narrow));
    ck_assert_double_gt(look, 0);
    prices_prepare(PRICES_ALL);
    ck_assert_double_eq(prices_fetch(wide), fetch);
    ck_assert_double_eq(prices_look(), look);
    for (enum price_name scan = PRICE_SCAN; scan <= PRICE_SCAN_SHARED_GAPS; scan++)
        ck_assert(is_measured(scan));
}
END_TEST

START_TEST(few_rows_cost_what_rows_near_the_core_do) {
    prices_prepare(only(PRICE_SCAN));
    double one = prices_scan(PRICE_SCAN, 1, wide), few = prices_scan(PRICE_SCAN, 1000, wide);
    double more = prices_scan(PRICE_SCAN, 4000, wide),
           many = prices_scan(PRICE_SCAN, MANY_ROWS, wide);
    ck_assert_double_eq(one, few);
    /* Between both, whichever is the dearer here. */
    ck_assert(few == many || (more - few) * (many - more) > 0);
    ck_assert_double_eq(many, prices_scan(PRICE_SCAN, 2 * MANY_ROWS, wide));
    ck_assert_double_ge(prices_scan(PRICE_SCAN, 0, wide), 0);
}
END_TEST

static void *prepare(void *context) {
    double *fetch = context;
    prices_prepare(only(PRICE_FETCH));
    *fetch = prices_fetch(wide);
    return NULL;
}

START_TEST(threads_that_ask_at_once_hear_the_same) {
    pthread_t threads[THREADS];
    double fetch[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, prepare, &fetch[i]), 0);
    for (size_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_double_gt(fetch[0], prices_fetch(narrow));
    for (size_t i = 1; i < THREADS; i++)
        ck_assert_double_eq(fetch[i], fetch[0]);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("prices");
    TCase *tcase = tcase_create("prices");
    tcase_add_test(tcase, what_was_not_wanted_is_not_measured);
    tcase_add_test(tcase, what_was_measured_stays);
    tcase_add_test(tcase, few_rows_cost_what_rows_near_the_core_do);
    tcase_add_test(tcase, threads_that_ask_at_once_hear_the_same);
    suite_add_tcase(suite, tcase);
    return suite;
}
