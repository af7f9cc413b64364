/* A collection from its creation to its reopening, seen through the public headers. */
#include "storage/collection_internal.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <sys/wait.h>

START_TEST(an_upserted_point_is_read_queried_scrolled_counted_and_deleted) {
    struct fixture fixture;
    struct error error = {0};
    struct read read;
    fixture_begin(&fixture);
    fixture_create(&fixture, "cats");
    struct collection *collection = fixture_acquire(&fixture, "cats");
    ck_assert_msg(fixture_upsert(collection, 1, 300, 7, &error) == STATUS_OK, "%s", error.message);

    read_begin(&read, collection);
    for (uint64_t number = 1; number <= 300; number++)
        fixture_expect_point(read.reader, number, 7);
    float values[FIXTURE_DIMENSION];
    fixture_vector(42, 7, values, FIXTURE_DIMENSION);
    const struct query query = {
        .vector = &reader_config(read.reader)->vectors[0], .values = values, .limit = 5};
    struct query_hits hits;
    ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_OK);
    ck_assert_uint_eq(hits.count, 5);
    ck_assert_uint_eq(hits.hits[0].row.id.number, 42);
    ck_assert_float_eq(hits.hits[0].score, 0.0f);
    struct point_page page;
    struct point_id from = fixture_id(100);
    ck_assert_int_eq(reader_scroll(read.reader, &from, 10, NULL, &page, &read.error), STATUS_OK);
    ck_assert_uint_eq(page.count, 10);
    ck_assert_uint_eq(page.rows[0].id.number, 100);
    ck_assert(page.has_next);
    ck_assert_uint_eq(page.next.number, 110);
    read_end(&read);

    ck_assert_int_eq(fixture_remove_points(collection, 1, 100, &error), STATUS_OK);
    ck_assert_uint_eq(fixture_count(collection), 200);
    read_begin(&read, collection);
    struct query by_id = {.vector = &reader_config(read.reader)->vectors[0], .limit = 1000};
    struct point_id id = fixture_id(150), gone = fixture_id(50);
    by_id.id = &id;
    ck_assert_int_eq(reader_query(read.reader, &by_id, &hits, &read.error), STATUS_OK);
    ck_assert_uint_eq(hits.count, 199); /* all but itself */
    by_id.id = &gone;
    ck_assert_int_eq(reader_query(read.reader, &by_id, &hits, &read.error), STATUS_NOT_FOUND);
    ck_assert_str_eq(read.error.message, "No point with id 50 found");
    read_end(&read);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

START_TEST(an_id_that_stands_twice_in_a_list_is_one_point) {
    struct fixture fixture;
    struct error error = {0};
    const char *const name = "";
    const struct point_id ids[] = {fixture_id(7), fixture_id(5), fixture_id(7), fixture_id(7)};
    struct operation operation = {.kind = OPERATION_DELETE_VECTORS,
                                  .selector = {.ids = ids, .ids_count = 4},
                                  .vector_names = &name,
                                  .vector_names_count = 1};
    fixture_begin(&fixture);
    fixture_create(&fixture, "cats");
    struct collection *collection = fixture_acquire(&fixture, "cats");
    ck_assert_int_eq(fixture_upsert(collection, 0, 10, 1, &error), STATUS_OK);
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), STATUS_OK);
    ck_assert_uint_eq(fixture_count(collection), 10);
    operation.kind = OPERATION_DELETE;
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), STATUS_OK);
    ck_assert_uint_eq(fixture_count(collection), 8);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

START_TEST(everything_is_there_after_a_reopening) {
    struct fixture fixture;
    struct error error = {0};
    struct read read;
    fixture_begin(&fixture);
    fixture_create(&fixture, "cats");
    struct collection *collection = fixture_acquire(&fixture, "cats");
    ck_assert_int_eq(fixture_upsert(collection, 0, 2000, 1, &error), STATUS_OK);
    ck_assert_int_eq(fixture_upsert(collection, 500, 500, 2, &error), STATUS_OK);
    ck_assert_int_eq(fixture_remove_points(collection, 1500, 300, &error), STATUS_OK);
    storage_release_collection(collection);
    fixture_reopen(&fixture);
    collection = fixture_acquire(&fixture, "cats");
    ck_assert_uint_eq(fixture_count(collection), 1700);
    read_begin(&read, collection);
    for (uint64_t number = 0; number < 1500; number++)
        fixture_expect_point(read.reader, number, number >= 500 && number < 1000 ? 2 : 1);
    float values[FIXTURE_DIMENSION];
    fixture_vector(700, 2, values, FIXTURE_DIMENSION);
    const struct query query = {.vector = &reader_config(read.reader)->vectors[0],
                                .values = values,
                                .limit = 1,
                                .exact = _i == 1};
    struct query_hits hits;
    ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_OK);
    ck_assert_uint_eq(hits.count, 1);
    ck_assert_uint_eq(hits.hits[0].row.id.number, 700);
    read_end(&read);
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

/* ---- A graph file that is behind ---------------------------------------------------------------
 */

enum {
    BEHIND_POINTS = 3000,
    BEHIND_ROUNDS = 12,
    BEHIND_BATCH = 400,
};

/* Moves points around until slots are used again, and dies without closing. */
static void change_and_die(struct fixture *fixture) {
    struct error error = {0};
    fixture_open(fixture);
    struct collection *collection = fixture_acquire(fixture, "cats");
    for (uint64_t round = 0; round < BEHIND_ROUNDS; round++) {
        if (fixture_upsert(collection, round * 150, BEHIND_BATCH, round + 2, &error) != STATUS_OK)
            _exit(1);
        /* Builders repair and free meanwhile. */
        for (int i = 0; i < 500 && round > 4 && slot_pool_dead_count(&collection->pool) > 0; i++)
            usleep(10000);
    }
    if (fixture_remove_points(collection, 2500, 300, &error) != STATUS_OK ||
        fixture_upsert(collection, 5000, 100, 1, &error) != STATUS_OK)
        _exit(1);
    _exit(collection->state.next_slot < BEHIND_POINTS + BEHIND_ROUNDS * BEHIND_BATCH ? 0 : 2);
}

static uint64_t behind_version(uint64_t id) {
    uint64_t version = 1;
    for (uint64_t round = 0; round < BEHIND_ROUNDS; round++)
        if (id >= round * 150 && id < round * 150 + BEHIND_BATCH)
            version = round + 2;
    return version;
}

static void print_problem(void *context, const char *problem) {
    (void)context;
    ck_abort_msg("verify: %s", problem);
}

START_TEST(a_graph_file_that_is_behind_is_caught_up_with) {
    struct fixture fixture;
    struct error error = {0};
    int status;
    fixture_begin(&fixture);
    fixture_create(&fixture, "cats");
    struct collection *collection = fixture_acquire(&fixture, "cats");
    ck_assert_int_eq(fixture_upsert(collection, 0, BEHIND_POINTS, 1, &error), STATUS_OK);
    while (collection_has_waiting(collection, 0))
        usleep(1000);
    storage_release_collection(collection);
    fixture_close(&fixture);
    pid_t child = fork();
    if (child == 0)
        change_and_die(&fixture);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(status == 0, "status %x (200: no slot was used again)", (unsigned)status);

    fixture_open(&fixture);
    collection = fixture_acquire(&fixture, "cats");
    ck_assert_uint_eq(fixture_count(collection), BEHIND_POINTS - 300 + 100);
    for (int linked = 0; linked < 2; linked++) {
        struct read read;
        read_begin(&read, collection);
        for (uint64_t id = 0; id < 5100; id += 13) {
            if ((id >= 2500 && id < 2800) || (id >= BEHIND_POINTS && id < 5000))
                continue;
            float target[FIXTURE_DIMENSION];
            struct query_hits hits;
            uint64_t version = behind_version(id);
            fixture_expect_point(read.reader, id, version);
            fixture_vector(id, version, target, FIXTURE_DIMENSION);
            const struct query query = {.vector = &reader_config(read.reader)->vectors[0],
                                        .values = target,
                                        .limit = 1,
                                        .exact = id % 2 == 0};
            ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_OK);
            ck_assert_uint_eq(hits.count, 1);
            ck_assert_uint_eq(hits.hits[0].row.id.number, id);
        }
        read_end(&read);
        while (collection_has_waiting(collection, 0))
            usleep(1000);
    }
    storage_release_collection(collection);
    ck_assert_int_eq(
        storage_verify_collection(fixture.storage, "cats", print_problem, NULL, &error), STATUS_OK);
    fixture_end(&fixture);
}
END_TEST

START_TEST(names_are_taken_once_and_free_again_after_deletion) {
    struct fixture fixture;
    bool existed;
    struct collection *collection = NULL;
    struct error error = {0};
    fixture_begin(&fixture);
    fixture_create(&fixture, "b");
    fixture_create(&fixture, "a");
    ck_assert_int_eq(fixture_create_with(&fixture, "a", DISTANCE_DOT, 4), STATUS_CONFLICT);
    struct arena arena;
    arena_init(&arena, 65536);
    const char *const *names;
    size_t count;
    ck_assert_int_eq(storage_list_collections(fixture.storage, &arena, &names, &count, &error),
                     STATUS_OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(names[0], "a");
    arena_free(&arena);
    ck_assert_int_eq(fixture_delete(&fixture, "a", &existed), STATUS_OK);
    ck_assert(existed);
    ck_assert_int_eq(fixture_delete(&fixture, "a", &existed), STATUS_OK);
    ck_assert(!existed);
    ck_assert_int_eq(storage_acquire_collection(fixture.storage, "a", &collection, &error),
                     STATUS_NOT_FOUND);
    ck_assert_int_eq(fixture_create_with(&fixture, "a", DISTANCE_DOT, 4), STATUS_OK);
    fixture_reopen(&fixture);
    ck_assert(storage_has_collection(fixture.storage, "a"));
    ck_assert(storage_has_collection(fixture.storage, "b"));
    fixture_end(&fixture);
}
END_TEST

/* ---- Rows that are remembered -----------------------------------------------------------------
 */

static enum status edit_to_context(const struct operation *operation, const char *payload,
                                   size_t payload_length, struct arena *arena, const char **edited,
                                   size_t *edited_length, struct error *error) {
    (void)payload, (void)payload_length, (void)arena, (void)error;
    *edited = operation->edit_context;
    *edited_length = strlen(*edited);
    return STATUS_OK;
}

/* Gives all points this payload; they stay in their slots. */
static void set_payloads(struct collection *collection, const struct point_id *ids, size_t count,
                         const char *payload) {
    struct error error = {0};
    const struct operation operation = {.kind = OPERATION_EDIT_PAYLOAD,
                                        .selector = {.ids = ids, .ids_count = count},
                                        .edit = edit_to_context,
                                        .edit_context = payload};
    ck_assert_msg(fixture_write(collection, &operation, 1, &error) == STATUS_OK, "%s",
                  error.message);
}

/* All hits of a query, which fetches more rows than it looks for together, have this payload. */
static void expect_payloads(struct read *read, size_t count, const char *payload) {
    float values[FIXTURE_DIMENSION];
    struct query_hits hits;
    fixture_vector(1, 1, values, FIXTURE_DIMENSION);
    const struct query query = {
        .vector = &reader_config(read->reader)->vectors[0], .values = values, .limit = count};
    ck_assert_msg(reader_query(read->reader, &query, &hits, &read->error) == STATUS_OK, "%s",
                  read->error.message);
    ck_assert_uint_eq(hits.count, count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(hits.hits[i].row.payload_length, strlen(payload));
        ck_assert_mem_eq(hits.hits[i].row.payload, payload, strlen(payload));
    }
}

/* Where a row lies is remembered from reader to reader, but only within a snapshot. */
START_TEST(each_reader_finds_the_rows_of_its_own_snapshot) {
    enum {
        POINTS = 40,
        ROUNDS = 20
    };
    struct fixture fixture;
    struct error error = {0};
    struct point_id ids[POINTS];
    char payloads[ROUNDS][32];
    struct read old, repeated, now;
    fixture_begin(&fixture);
    fixture_create(&fixture, "cats");
    struct collection *collection = fixture_acquire(&fixture, "cats");
    ck_assert_int_eq(fixture_upsert(collection, 1, POINTS, 1, &error), STATUS_OK);
    for (size_t i = 0; i < POINTS; i++)
        ids[i] = fixture_id(1 + i);
    for (size_t round = 0; round < ROUNDS; round++)
        snprintf(payloads[round], sizeof(payloads[round]), "{\"round\":%zu}", round);
    set_payloads(collection, ids, POINTS, payloads[0]);
    for (size_t round = 1; round < ROUNDS; round++) {
        read_begin(&old, collection);
        expect_payloads(&old, POINTS, payloads[round - 1]);
        read_begin(&repeated, collection);
        set_payloads(collection, ids, POINTS, payloads[round]);
        read_begin(&now, collection);
        expect_payloads(&now, POINTS, payloads[round]);
        expect_payloads(&old, POINTS, payloads[round - 1]);
        read_end(&old); /* what it remembers is lent next */
        expect_payloads(&repeated, POINTS, payloads[round - 1]);
        read_end(&now);
        read_end(&repeated);
    }
    storage_release_collection(collection);
    fixture_end(&fixture);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("collection");
    TCase *basic = tcase_create("basic");
    tcase_set_timeout(basic, 60);
    tcase_add_test(basic, an_upserted_point_is_read_queried_scrolled_counted_and_deleted);
    tcase_add_test(basic, an_id_that_stands_twice_in_a_list_is_one_point);
    tcase_add_loop_test(basic, everything_is_there_after_a_reopening, 0, 2);
    tcase_add_test(basic, a_graph_file_that_is_behind_is_caught_up_with);
    tcase_add_test(basic, each_reader_finds_the_rows_of_its_own_snapshot);
    tcase_add_test(basic, names_are_taken_once_and_free_again_after_deletion);
    suite_add_tcase(suite, basic);
    return suite;
}
