/* Points that have some of their collection's vectors only: graphs know the slots of theirs. */
#include "storage/collection_internal.h"
#include "storage/storage_internal.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <fcntl.h>
#include <xxhash.h>

enum {
    POINTS = 2000,
    GONE = 1000,
    RETURNING = 900, /* fewer than slots are free, so that all are used again */
    LATER = 10000,   /* the first of their ids */
    BOTH = 2,
    WAITED_MS_MAX = 30000,
    SLOT_FILE_HEADER = 64,
    SLOT_FILE_SUM = 56,
};

static const struct vector_config vectors[BOTH] = {
    {.name = "a", .number = 0, .dimension = FIXTURE_DIMENSION, .distance = DISTANCE_EUCLID},
    {.name = "b", .number = 1, .dimension = FIXTURE_DIMENSION, .distance = DISTANCE_EUCLID}};

static struct collection *begin(struct fixture *fixture) {
    struct catalogue_job job = {
        .kind = CATALOGUE_CREATE,
        .name = "main",
        .config = {
            .vectors = vectors, .vectors_count = BOTH, .document = "{}", .document_length = 2}};
    fixture_begin(fixture);
    ck_assert_int_eq(fixture_change(fixture, &job), STATUS_OK);
    return fixture_acquire(fixture, "main");
}

/* Points with the first so many vectors. */
static void upsert(struct collection *collection, uint64_t first, size_t count, size_t has) {
    struct error error = {0};
    struct point_input *points = calloc(count, sizeof(*points));
    struct named_vector *named = calloc(count * BOTH, sizeof(*named));
    float *values = calloc(count * BOTH, FIXTURE_DIMENSION * sizeof(*values));
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < has; k++) {
            float *at = values + (i * BOTH + k) * FIXTURE_DIMENSION;
            fixture_vector(first + i, k, at, FIXTURE_DIMENSION);
            named[i * BOTH + k] = (struct named_vector){
                .name = vectors[k].name, .values = at, .count = FIXTURE_DIMENSION};
        }
        points[i] = (struct point_input){.id = fixture_id(first + i),
                                         .vectors = named + i * BOTH,
                                         .vectors_count = has,
                                         .payload = "{}",
                                         .payload_length = 2};
    }
    const struct operation operation = {
        .kind = OPERATION_UPSERT, .points = points, .points_count = count};
    ck_assert_msg(fixture_write(collection, &operation, 1, &error) == STATUS_OK, "%s",
                  error.message);
    free(points);
    free(named);
    free(values);
}

static void wait_until_linked(struct collection *collection) {
    for (int ms = 0; collection_has_waiting(collection, 0); ms++) {
        ck_assert_int_lt(ms, WAITED_MS_MAX);
        usleep(1000);
    }
}

static void wait_until_free(struct collection *collection) {
    for (int ms = 0; slot_pool_free_count(&collection->pool) < RETURNING; ms++) {
        ck_assert_int_lt(ms, WAITED_MS_MAX);
        usleep(1000);
    }
}

/* Each point of the second vector finds itself, by whichever way. */
static void expect_found(struct collection *collection, uint64_t first, uint64_t end) {
    struct read read;
    read_begin(&read, collection);
    for (uint64_t number = first; number < end; number += 7) {
        struct query_hits found;
        float values[FIXTURE_DIMENSION];
        fixture_vector(number, 1, values, FIXTURE_DIMENSION);
        const struct query query = {.vector = &reader_config(read.reader)->vectors[1],
                                    .values = values,
                                    .limit = 10,
                                    .ef = 200,
                                    .exact = number % 2 == 0};
        ck_assert_msg(reader_query(read.reader, &query, &found, &read.error) == STATUS_OK, "%s",
                      read.error.message);
        ck_assert_uint_eq(found.count, 10);
        ck_assert_uint_eq(found.hits[0].row.id.number, number);
    }
    read_end(&read);
}

static void count_problem(void *context, const char *problem) {
    (void)problem;
    ++*(int *)context;
}

static int count_problems(struct fixture *fixture) {
    int problems = 0;
    struct error error = {0};
    enum status status =
        storage_verify_collection(fixture->storage, "main", count_problem, &problems, &error);
    ck_assert_int_eq(status, problems > 0 ? STATUS_CORRUPT : STATUS_OK);
    return problems;
}

static uint32_t slot_of(struct collection *collection, uint64_t number) {
    struct read read;
    struct point_row row;
    struct point_id id = fixture_id(number);
    read_begin(&read, collection);
    ck_assert_int_eq(reader_point(read.reader, &id, &row, &read.error), STATUS_OK);
    read_end(&read);
    return row.slot;
}

/* The second graph is told of a point that has no such vector. */
static void put_wrongly(struct collection *collection, uint64_t number) {
    float values[FIXTURE_DIMENSION];
    fixture_vector(number, 1, values, FIXTURE_DIMENSION);
    vector_index_put(collection->vectors[1].index, slot_of(collection, number), values, number);
    builder_pool_wake(&collection->storage->builders, collection);
    wait_until_linked(collection);
}

/* _i: the points that come have no vector at all, or the first alone. */
START_TEST(a_slot_used_again_without_a_vector_is_not_found_by_it_after_a_crash) {
    struct fixture fixture;
    struct collection *collection = begin(&fixture);
    upsert(collection, 0, POINTS, BOTH);
    wait_until_linked(collection);
    storage_release_collection(collection);
    fixture_reopen(&fixture); /* the graph files know all */
    collection = fixture_acquire(&fixture, "main");
    struct error error = {0};
    ck_assert_int_eq(fixture_remove_points(collection, 0, GONE, &error), STATUS_OK);
    wait_until_free(collection);
    upsert(collection, LATER, RETURNING, (size_t)_i);
    ck_assert_uint_eq(collection->state.next_slot, POINTS);
    storage_release_collection(collection);
    storage_close(fixture.storage, 0); /* as a crash leaves them */
    fixture_open(&fixture);
    collection = fixture_acquire(&fixture, "main");
    expect_found(collection, GONE, POINTS);
    ck_assert_int_eq(count_problems(&fixture), 0);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

/* Takes a living slot out of the first graph. */
static void forget(struct collection *collection, uint64_t number) {
    struct error error = {0};
    struct index_scratch *scratch;
    uint32_t slot = slot_of(collection, number);
    ck_assert_int_eq(index_scratch_create(&scratch, &error), STATUS_OK);
    ck_assert_int_eq(vector_index_repair(collection->vectors[0].index, &slot, 1, scratch, &error),
                     STATUS_OK);
    index_scratch_free(scratch);
}

START_TEST(verify_tells_of_a_graph_that_knows_other_points_than_have_the_vector) {
    struct fixture fixture;
    struct collection *collection = begin(&fixture);
    upsert(collection, 0, 100, BOTH);
    upsert(collection, LATER, 100, 1);
    wait_until_linked(collection);
    ck_assert_int_eq(count_problems(&fixture), 0);
    put_wrongly(collection, LATER + 1);
    ck_assert_int_eq(count_problems(&fixture), 1);
    forget(collection, 7);
    ck_assert_int_eq(count_problems(&fixture), 2);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

/* Makes slots.bin one of version 1, with the right sum. */
static void make_old(const char *folder) {
    uint8_t bytes[SLOT_FILE_HEADER + 8 * POINTS];
    char path[PATH_MAX + 16];
    snprintf(path, sizeof(path), "%s/slots.bin", folder);
    int fd = open(path, O_RDWR);
    ssize_t length = read(fd, bytes, sizeof(bytes));
    ck_assert_int_gt(length, SLOT_FILE_HEADER);
    row_put_u32(bytes + 8, 1);
    row_put_u64(bytes + SLOT_FILE_SUM,
                XXH3_64bits_withSeed(bytes + SLOT_FILE_HEADER, (size_t)length - SLOT_FILE_HEADER,
                                     XXH3_64bits(bytes, SLOT_FILE_SUM)));
    ck_assert_int_eq(pwrite(fd, bytes, (size_t)length, 0), length);
    close(fd);
}

/* Files of a clean stop after such a crash, as earlier versions made them. */
START_TEST(a_wrong_graph_beside_an_old_table_of_slots_is_put_right) {
    struct fixture fixture;
    char folder[PATH_MAX];
    struct collection *collection = begin(&fixture);
    upsert(collection, 0, 100, BOTH);
    upsert(collection, LATER, 100, 1);
    for (uint64_t number = LATER; number < LATER + 50; number++)
        put_wrongly(collection, number);
    strcpy(folder, collection->path);
    storage_release_collection(collection);
    fixture_close(&fixture);
    make_old(folder);
    fixture_open(&fixture);
    collection = fixture_acquire(&fixture, "main");
    expect_found(collection, 0, 100);
    ck_assert_int_eq(count_problems(&fixture), 0);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

/* Publishing may fail once a group is on disk: memory then never learns of some vectors. */
START_TEST(what_memory_lacks_of_a_failed_collection_is_found_after_a_stop) {
    struct fixture fixture;
    struct collection *collection = begin(&fixture);
    upsert(collection, 0, 100, BOTH);
    wait_until_linked(collection);
    forget(collection, 7);
    collection_fail(collection, "what was committed cannot be read");
    storage_release_collection(collection);
    fixture_reopen(&fixture);
    ck_assert_int_eq(count_problems(&fixture), 0);
    fixture_end(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("partial_points");
    TCase *tests = tcase_create("partial_points");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, a_slot_used_again_without_a_vector_is_not_found_by_it_after_a_crash,
                        0, BOTH);
    tcase_add_test(tests, verify_tells_of_a_graph_that_knows_other_points_than_have_the_vector);
    tcase_add_test(tests, a_wrong_graph_beside_an_old_table_of_slots_is_put_right);
    tcase_add_test(tests, what_memory_lacks_of_a_failed_collection_is_found_after_a_stop);
    suite_add_tcase(suite, tests);
    return suite;
}
