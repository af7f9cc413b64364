/* Writes and the builders they leave work to. */
#include "storage/collection_internal.h"
#include "storage/storage_internal.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

enum {
    POINTS = 8000,
    GONE = 6000,
    SPARE = 256,
    AT_ONCE = (GONE - SPARE) / 4, /* new points may take so many slots */
    LATER = 100000,               /* the first of their ids */
    SHORT_MS = 1000,              /* half of what is waited for builders that do nothing */
    WAITED_MS_MAX = 200000,       /* under tsan a repair takes many times as long */
};

/* By batches of the least size there would be 24. Under tsan that is all there is time for. */
#ifdef __SANITIZE_THREAD__
enum {
    PASSES_MAX = 24
};
#else
enum {
    PASSES_MAX = 18
};
#endif

/* A collection whose points are linked, and of which most are to die: builders are kept from it. */
static struct collection *begin(struct fixture *fixture) {
    struct error error = {0};
    fixture_prepare(fixture);
    fixture->options.dead_slots_spare = SPARE;
    fixture_open(fixture);
    fixture_create(fixture, "main");
    struct collection *collection = fixture_acquire(fixture, "main");
    ck_assert_int_eq(fixture_upsert(collection, 0, POINTS, 1, &error), STATUS_OK);
    for (int ms = 0; collection_has_waiting(collection, 0); ms++) {
        ck_assert_int_lt(ms, WAITED_MS_MAX);
        usleep(1000);
    }
    while (atomic_flag_test_and_set(&collection->is_maintained))
        usleep(1000);
    ck_assert_int_eq(fixture_remove_points(collection, 0, GONE, &error), STATUS_OK);
    return collection;
}

static void end(struct fixture *fixture, struct collection *collection) {
    storage_release_collection(collection);
    fixture_end(fixture);
}

static void repair_all(struct collection *collection) {
    atomic_flag_clear(&collection->is_maintained);
    builder_pool_wake(&collection->storage->builders, collection);
    for (int ms = 0; slot_pool_dead_count(&collection->pool) > 0; ms++) {
        ck_assert_int_lt(ms, WAITED_MS_MAX);
        usleep(1000);
    }
}

static uint64_t ms_since(uint64_t began_ns) {
    return (collection_now_ns() - began_ns) / 1000000;
}

static uint64_t upsert_ms(struct collection *collection, uint64_t first, size_t count) {
    struct error error = {0};
    uint64_t began_ns = collection_now_ns();
    ck_assert_msg(fixture_upsert(collection, first, count, 1, &error) == STATUS_OK, "%s",
                  error.message);
    return ms_since(began_ns);
}

START_TEST(a_large_deletion_holds_up_no_write) {
    struct fixture fixture;
    struct error error = {0};
    struct collection *collection = begin(&fixture);
    ck_assert_uint_lt(upsert_ms(collection, LATER, 1), SHORT_MS);
    ck_assert_uint_lt(upsert_ms(collection, LATER + 1, AT_ONCE - 1), SHORT_MS);
    uint64_t began_ns = collection_now_ns();
    ck_assert_int_eq(fixture_remove_points(collection, GONE, 100, &error), STATUS_OK);
    ck_assert_uint_lt(ms_since(began_ns), SHORT_MS);
    repair_all(collection);
    end(&fixture, collection);
}
END_TEST

START_TEST(slots_that_come_faster_than_dead_ones_go_wait_for_builders) {
    struct fixture fixture;
    struct collection *collection = begin(&fixture);
    ck_assert_uint_lt(upsert_ms(collection, LATER, AT_ONCE), SHORT_MS);
    ck_assert_uint_ge(upsert_ms(collection, LATER + AT_ONCE, 2), SHORT_MS);
    repair_all(collection);
    ck_assert_uint_lt(upsert_ms(collection, 2 * LATER, AT_ONCE), SHORT_MS);
    end(&fixture, collection);
}
END_TEST

START_TEST(many_dead_are_repaired_in_few_passes) {
    struct fixture fixture;
    struct collection *collection = begin(&fixture);
    uint64_t before = vector_index_epoch_advance(collection->vectors[0].index);
    repair_all(collection);
    while (atomic_flag_test_and_set(&collection->is_maintained)) /* the last pass has ended */
        usleep(1000);
    uint64_t after = vector_index_epoch_advance(collection->vectors[0].index);
    atomic_flag_clear(&collection->is_maintained);
    ck_assert_uint_le(after - before - 1, PASSES_MAX);
    end(&fixture, collection);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("pace");
    TCase *tests = tcase_create("pace");
    tcase_set_timeout(tests, 280);
    tcase_add_test(tests, a_large_deletion_holds_up_no_write);
    tcase_add_test(tests, slots_that_come_faster_than_dead_ones_go_wait_for_builders);
    tcase_add_test(tests, many_dead_are_repaired_in_few_passes);
    suite_add_tcase(suite, tests);
    return suite;
}
