/* What builders do for several collections at once. */
#include "storage/collection_internal.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

enum {
    LARGE_POINTS = 40000, /* seconds of linking */
    BATCH_POINTS = 2000,
    WAITED_MS_MAX = 30000,
};

static uint64_t waiting(struct collection *collection) {
    struct collection_status status;
    collection_status(collection, &status);
    return status.waiting_count;
}

static void wait_until_linked(struct collection *collection) {
    for (int ms = 0; waiting(collection) > 0; ms++) {
        ck_assert_int_lt(ms, WAITED_MS_MAX);
        usleep(1000);
    }
}

/* A collection whose graph waits for a quiet moment to be saved stands on the list of those that
 * are looked at later; a bulk load of another must not keep it there. */
START_TEST(a_bulk_load_of_one_collection_does_not_hold_up_another) {
    struct fixture fixture;
    struct error error = {0};
    fixture_begin(&fixture);
    fixture_create(&fixture, "large");
    fixture_create(&fixture, "small");
    struct collection *large = fixture_acquire(&fixture, "large"),
                      *small = fixture_acquire(&fixture, "small");
    ck_assert_int_eq(fixture_upsert(small, 1, BATCH_POINTS, 1, &error), STATUS_OK);
    wait_until_linked(small);
    for (uint64_t first = 1; first < LARGE_POINTS; first += BATCH_POINTS)
        ck_assert_int_eq(fixture_upsert(large, first, BATCH_POINTS, 1, &error), STATUS_OK);
    ck_assert_int_eq(fixture_upsert(small, BATCH_POINTS + 1, 1, 1, &error), STATUS_OK);
    ck_assert_uint_gt(waiting(large), LARGE_POINTS / 4); /* else the test proves nothing */
    wait_until_linked(small);
    ck_assert_uint_gt(waiting(large), 0);
    storage_release_collection(large);
    storage_release_collection(small);
    fixture_end(&fixture);
}
END_TEST

/* Slots of dead points come back although nothing is written any more. */
START_TEST(what_died_becomes_free_without_another_write) {
    struct fixture fixture;
    struct error error = {0};
    fixture_begin(&fixture);
    fixture_create(&fixture, "main");
    struct collection *collection = fixture_acquire(&fixture, "main");
    ck_assert_int_eq(fixture_upsert(collection, 1, BATCH_POINTS, 1, &error), STATUS_OK);
    wait_until_linked(collection);
    ck_assert_int_eq(fixture_remove_points(collection, 1, BATCH_POINTS / 2, &error), STATUS_OK);
    for (int ms = 0; slot_pool_dead_count(&collection->pool) > 0; ms++) {
        ck_assert_int_lt(ms, WAITED_MS_MAX);
        usleep(1000);
    }
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("builders");
    TCase *tests = tcase_create("builders");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, a_bulk_load_of_one_collection_does_not_hold_up_another);
    tcase_add_test(tests, what_died_becomes_free_without_another_write);
    suite_add_tcase(suite, tests);
    return suite;
}
