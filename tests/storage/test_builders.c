/* What builders do for several collections at once. */
#include "storage/collection_internal.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

enum {
    LARGE_DIMENSION = 512, /* linking takes ten times as long as writing: seconds in all */
    LARGE_WAITING = 8000,
    LARGE_POINTS_MAX = 100000,
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

/* Writes until so many points wait to be linked, however slow the disk is. */
static void load_large(struct collection *collection) {
    struct error error = {0};
    for (uint64_t first = 0; waiting(collection) < LARGE_WAITING; first += BATCH_POINTS) {
        uint64_t numbers[BATCH_POINTS];
        struct batch batch;
        ck_assert_uint_lt(first, LARGE_POINTS_MAX);
        for (uint64_t i = 0; i < BATCH_POINTS; i++)
            numbers[i] = first + i;
        batch_make(&batch, numbers, BATCH_POINTS, 1, LARGE_DIMENSION);
        ck_assert_int_eq(fixture_write(collection, &batch.operation, 1, &error), STATUS_OK);
        batch_free(&batch);
    }
}

/* A collection whose graph waits for a quiet moment to be saved stands on the list of those that
 * are looked at later; a bulk load of another must not keep it there. */
START_TEST(a_bulk_load_of_one_collection_does_not_hold_up_another) {
    struct fixture fixture;
    struct error error = {0};
    fixture_begin(&fixture);
    ck_assert_int_eq(fixture_create_with(&fixture, "large", DISTANCE_EUCLID, LARGE_DIMENSION),
                     STATUS_OK);
    fixture_create(&fixture, "small");
    struct collection *large = fixture_acquire(&fixture, "large"),
                      *small = fixture_acquire(&fixture, "small");
    ck_assert_int_eq(fixture_upsert(small, 1, BATCH_POINTS, 1, &error), STATUS_OK);
    wait_until_linked(small);
    load_large(large);
    ck_assert_int_eq(fixture_upsert(small, BATCH_POINTS + 1, 1, 1, &error), STATUS_OK);
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
