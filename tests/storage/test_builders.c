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

/* The point's own vector finds the point, as of its version. */
static void expect_found(struct collection *collection, uint64_t number, uint64_t version,
                         bool is_exact) {
    struct read read;
    struct query_hits found;
    float values[FIXTURE_DIMENSION];
    read_begin(&read, collection);
    fixture_expect_point(read.reader, number, version);
    fixture_vector(number, version, values, FIXTURE_DIMENSION);
    const struct query query = {.vector = &reader_config(read.reader)->vectors[0],
                                .values = values,
                                .limit = 1,
                                .ef = 200,
                                .exact = is_exact};
    ck_assert_int_eq(reader_query(read.reader, &query, &found, &read.error), STATUS_OK);
    ck_assert_uint_eq(found.count, 1);
    ck_assert_uint_eq(found.hits[0].row.id.number, number);
    read_end(&read);
}

/* Closes as a crash would: the graph file stays that of the last stop. */
static struct collection *crash(struct fixture *fixture, struct collection *collection) {
    storage_release_collection(collection);
    storage_close(fixture->storage, 0);
    fixture_open(fixture);
    return fixture_acquire(fixture, "main");
}

static void wait_until_free(struct collection *collection) {
    wait_until_linked(collection);
    for (int ms = 0; slot_pool_free_count(&collection->pool) < BATCH_POINTS; ms++) {
        ck_assert_int_lt(ms, WAITED_MS_MAX);
        usleep(1000);
    }
}

/* A repair passes over the whole graph: a pass a slot would make a start take hours. */
START_TEST(slots_used_again_since_the_graph_was_saved_are_repaired_in_one_pass) {
    struct fixture fixture;
    struct error error = {0};
    fixture_begin(&fixture);
    fixture_create(&fixture, "main");
    struct collection *collection = fixture_acquire(&fixture, "main");
    ck_assert_int_eq(fixture_upsert(collection, 1, BATCH_POINTS, 1, &error), STATUS_OK);
    wait_until_linked(collection);
    storage_release_collection(collection);
    fixture_reopen(&fixture);
    collection = fixture_acquire(&fixture, "main");
    ck_assert_int_eq(fixture_upsert(collection, 1, BATCH_POINTS, 2, &error), STATUS_OK);
    wait_until_free(collection);
    ck_assert_int_eq(fixture_upsert(collection, 1, BATCH_POINTS, 3, &error), STATUS_OK);
    ck_assert_uint_eq(collection->state.next_slot, 2 * BATCH_POINTS);
    fixture.options.builders = 0;
    collection = crash(&fixture, collection);
    /* Epochs begin with 1, and each pass ends one. */
    ck_assert_uint_eq(vector_index_epoch_advance(collection->vectors[0].index), 2);
    ck_assert_uint_eq(fixture_count(collection), BATCH_POINTS);
    for (uint64_t number = 1; number <= BATCH_POINTS; number += 7)
        expect_found(collection, number, 3, true);
    fixture.options.builders = 1;
    collection = crash(&fixture, collection);
    wait_until_free(collection);
    for (uint64_t number = 1; number <= BATCH_POINTS; number += 7)
        expect_found(collection, number, 3, false);
    while (atomic_flag_test_and_set(&collection->is_maintained))
        usleep(1000);
    ck_assert_msg(vector_index_check(collection->vectors[0].index, &error) == STATUS_OK, "%s",
                  error.message);
    atomic_flag_clear(&collection->is_maintained);
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
    tcase_add_test(tests, slots_used_again_since_the_graph_was_saved_are_repaired_in_one_pass);
    suite_add_tcase(suite, tests);
    return suite;
}
