/* The bounds of collections: readers, time, names, numbers; each one past its limit. */
#include "index/slots.h"
#include "storage/collection_internal.h"
#include "storage/payload_path.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

#include <math.h>

static struct fixture fixture;
static struct collection *collection;

static void begin(void) {
    fixture_begin(&fixture);
    fixture_create(&fixture, "main");
    collection = fixture_acquire(&fixture, "main");
}

static void end(void) {
    storage_release_collection(collection);
    fixture_end(&fixture);
}

/* ---- Readers ----------------------------------------------------------------------------------
 */

START_TEST(one_reader_too_many_is_refused) {
    struct error error = {0};
    unsigned most = 0;
    begin();
    most = fixture.options.readers_max + LMDB_READERS_SPARE;
    struct read *reads = calloc(most, sizeof(*reads));
    for (unsigned i = 0; i < most; i++)
        read_begin(&reads[i], collection);
    struct reader *reader = NULL;
    const struct reader_options options = {.arena = &reads[0].arena};
    ck_assert_int_eq(reader_begin(collection, &options, &reader, &error), STATUS_UNAVAILABLE);
    read_end(&reads[most - 1]);
    read_begin(&reads[most - 1], collection);
    for (unsigned i = 0; i < most; i++)
        read_end(&reads[i]);
    free(reads);
    end();
}
END_TEST

START_TEST(a_reader_stops_at_its_deadline_and_when_it_is_cancelled) {
    struct error error = {0};
    atomic_bool cancelled = _i == 1;
    struct arena arena;
    struct reader *reader;
    uint64_t count;
    begin();
    for (uint64_t first = 0; first < 3000; first += 1000)
        ck_assert_int_eq(fixture_upsert(collection, first, 1000, 1, &error), STATUS_OK);
    arena_init(&arena, FIXTURE_ARENA_MAX);
    const struct reader_options options = {
        .arena = &arena, .deadline_ns = _i == 0 ? 1 : 0, .cancelled = &cancelled};
    ck_assert_int_eq(reader_begin(collection, &options, &reader, &error), STATUS_OK);
    struct condition condition = {.kind = CONDITION_IS_NULL, .expected = false};
    ck_assert_int_eq(payload_path_parse("v", 1, &arena, &condition.path, NULL), STATUS_OK);
    const struct filter filter = {.must = {.items = &condition, .count = 1}};
    enum status expected = _i == 0 ? STATUS_TIMEOUT : STATUS_CANCELLED;
    ck_assert_int_eq(reader_count(reader, &filter, &count, &error), expected);
    struct point_page page;
    ck_assert_int_eq(reader_scroll(reader, NULL, 3000, NULL, &page, &error), expected);
    reader_end(reader);
    arena_free(&arena);
    end();
}
END_TEST

START_TEST(a_snapshot_stays_what_it_was_while_points_change) {
    struct error error = {0};
    struct read read;
    begin();
    ck_assert_int_eq(fixture_upsert(collection, 0, 200, 1, &error), STATUS_OK);
    read_begin(&read, collection);
    ck_assert_int_eq(fixture_upsert(collection, 0, 100, 2, &error), STATUS_OK);
    ck_assert_int_eq(fixture_remove_points(collection, 150, 50, &error), STATUS_OK);
    ck_assert_int_eq(fixture_upsert(collection, 500, 50, 2, &error), STATUS_OK);
    uint64_t count;
    ck_assert_int_eq(reader_count(read.reader, NULL, &count, &read.error), STATUS_OK);
    ck_assert_uint_eq(count, 200);
    for (uint64_t id = 0; id < 200; id++)
        fixture_expect_point(read.reader, id, 1);
    float target[FIXTURE_DIMENSION] = {0};
    const struct query query = {.vector = &reader_config(read.reader)->vectors[0],
                                .values = target,
                                .limit = 1000,
                                .exact = true};
    struct query_hits hits;
    ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_OK);
    ck_assert_uint_eq(hits.count, 200);
    read_end(&read);
    ck_assert_uint_eq(fixture_count(collection), 200);
    end();
}
END_TEST

/* ---- Queries ----------------------------------------------------------------------------------
 */

START_TEST(limit_and_offset_saturate) {
    struct error error = {0};
    struct read read;
    struct query_hits hits;
    begin();
    ck_assert_int_eq(fixture_upsert(collection, 0, 30, 1, &error), STATUS_OK);
    read_begin(&read, collection);
    float target[FIXTURE_DIMENSION] = {0};
    struct query query = {.vector = &reader_config(read.reader)->vectors[0], .values = target};
    const struct {
        uint64_t limit, offset;
        size_t count;
    } cases[] = {{UINT64_MAX, 0, 30},
                 {UINT64_MAX, UINT64_MAX, 0},
                 {1, UINT64_MAX, 0},
                 {UINT64_MAX, 29, 1},
                 {UINT64_MAX, 30, 0},
                 {10, 25, 5},
                 {(uint64_t)UINT32_MAX + 1, 0, 30}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        query.limit = cases[i].limit;
        query.offset = cases[i].offset;
        ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_OK);
        ck_assert_uint_eq(hits.count, cases[i].count);
    }
    read_end(&read);
    end();
}
END_TEST

START_TEST(a_threshold_keeps_what_is_strictly_better) {
    struct error error = {0};
    struct read read;
    struct query_hits hits;
    fixture_begin(&fixture);
    ck_assert_int_eq(fixture_create_with(&fixture, "main", (enum distance)_i, 1), STATUS_OK);
    collection = fixture_acquire(&fixture, "main");
    float values[10];
    struct named_vector vectors[10];
    struct point_input points[10];
    for (unsigned i = 0; i < 10; i++) {
        values[i] = (float)i + 1;
        vectors[i] = (struct named_vector){.name = "", .values = &values[i], .count = 1};
        points[i] = (struct point_input){
            .id = fixture_id(i + 1), .vectors = &vectors[i], .vectors_count = 1};
    }
    struct operation operation = {.kind = OPERATION_UPSERT, .points = points, .points_count = 10};
    ck_assert_int_eq(collection_prepare(collection, &operation, &error), STATUS_OK);
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), STATUS_OK);
    read_begin(&read, collection);
    const float one = 1;
    struct query query = {.vector = &reader_config(read.reader)->vectors[0],
                          .values = &one,
                          .limit = 100,
                          .has_threshold = true,
                          .threshold = 5};
    static const size_t expected[] = {[DISTANCE_COSINE] = 0, /* all score 1 */
                                      [DISTANCE_DOT] = 5,    /* 6 .. 10 */
                                      [DISTANCE_EUCLID] = 5, /* |x - 1| < 5: 1 .. 5 */
                                      [DISTANCE_MANHATTAN] = 5};
    ck_assert_int_eq(reader_query(read.reader, &query, &hits, &read.error), STATUS_OK);
    ck_assert_uint_eq(hits.count, expected[_i]);
    read_end(&read);
    end();
}
END_TEST

/* ---- What is refused before it is queued ------------------------------------------------------
 */

START_TEST(a_vector_of_wrong_name_size_or_number_is_refused) {
    struct error error = {0};
    float values[FIXTURE_DIMENSION] = {0};
    struct named_vector vector = {.name = "", .values = values, .count = FIXTURE_DIMENSION};
    const struct point_input point = {.id = fixture_id(1), .vectors = &vector, .vectors_count = 1};
    struct operation operation = {.kind = OPERATION_UPSERT, .points = &point, .points_count = 1};
    begin();
    ck_assert_int_eq(collection_prepare(collection, &operation, &error), STATUS_OK);
    vector.count--;
    ck_assert_int_eq(collection_prepare(collection, &operation, &error), STATUS_INVALID);
    ck_assert_str_eq(error.message, "Vector dimension error: expected dim: 8, got 7");
    vector.count++;
    vector.name = "other";
    ck_assert_int_eq(collection_prepare(collection, &operation, &error), STATUS_INVALID);
    ck_assert_str_eq(error.message, "Not existing vector name error: other");
    vector.name = "";
    values[3] = NAN;
    ck_assert_int_eq(collection_prepare(collection, &operation, &error), STATUS_INVALID);
    values[3] = -INFINITY;
    ck_assert_int_eq(collection_prepare(collection, &operation, &error), STATUS_INVALID);
    end();
}
END_TEST

START_TEST(one_payload_index_too_many_is_refused) {
    struct error error = {0};
    struct arena arena;
    begin();
    arena_init(&arena, 1 << 20);
    for (unsigned i = 0; i <= PAYLOAD_INDEXES_MAX; i++) {
        char path[16];
        int n = snprintf(path, sizeof(path), "field%u", i);
        struct operation operation = {.kind = OPERATION_CREATE_INDEX};
        operation.field.type = PAYLOAD_INDEX_KEYWORD;
        ck_assert_int_eq(payload_path_parse(path, (size_t)n, &arena, &operation.field.path, &error),
                         STATUS_OK);
        enum status status = fixture_write(collection, &operation, 1, &error);
        ck_assert_int_eq(status, i < PAYLOAD_INDEXES_MAX ? STATUS_OK : STATUS_INVALID);
    }
    arena_free(&arena);
    end();
}
END_TEST

/* Folders have schemas from before there was a limit: more than a start, or a read, may take. */
START_TEST(large_schemas_of_payload_indexes_are_opened_and_read) {
    enum {
        BYTES = 20 << 20,
        SMALL_ARENA = 1 << 20
    };
    struct error error = {0};
    struct arena arena, small;
    struct reader *reader;
    const struct payload_index_status *indexes;
    size_t count;
    char *params = malloc(BYTES);
    begin();
    memset(params, ' ', BYTES);
    memcpy(params, "{\"type\":\"keyword\"", 17);
    params[BYTES - 1] = '}';
    arena_init(&arena, SMALL_ARENA);
    arena_init(&small, SMALL_ARENA);
    struct operation create = {.kind = OPERATION_CREATE_INDEX};
    create.field = (struct payload_index_field){
        .type = PAYLOAD_INDEX_KEYWORD, .params = params, .params_length = BYTES};
    ck_assert_int_eq(payload_path_parse("a", 1, &arena, &create.field.path, &error), STATUS_OK);
    ck_assert_int_eq(fixture_upsert(collection, 0, 10, 1, &error), STATUS_OK);
    ck_assert_int_eq(fixture_write(collection, &create, 1, &error), STATUS_OK);
    storage_release_collection(collection);
    fixture_reopen(&fixture);
    collection = fixture_acquire(&fixture, "main");
    ck_assert_int_eq(fixture_upsert(collection, 10, 10, 1, &error), STATUS_OK);
    const struct reader_options options = {.arena = &small};
    ck_assert_int_eq(reader_begin(collection, &options, &reader, &error), STATUS_OK);
    ck_assert_int_eq(reader_payload_indexes(reader, &indexes, &count, &error), STATUS_OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(indexes[0].field.params_length, BYTES);
    ck_assert_mem_eq(indexes[0].field.params, params, BYTES);
    reader_end(reader);
    arena_free(&small);
    arena_free(&arena);
    free(params);
    end();
}
END_TEST

/* ---- What is refused for the state of the whole -----------------------------------------------
 */

enum refusing_state {
    STATE_READ_ONLY,
    STATE_DISK_LOW,
    STATE_MEMORY_LOW,
    STATE_COUNT
};

static const struct {
    enum status status;
    bool are_deletions_taken, are_payloads_taken;
} refusals[STATE_COUNT] = {
    [STATE_READ_ONLY] = {STATUS_UNAVAILABLE, false, false},
    [STATE_DISK_LOW] = {STATUS_NO_SPACE, true, false},
    [STATE_MEMORY_LOW] = {STATUS_NO_MEMORY, true, true},
};

static void enter(enum refusing_state state) {
    if (state == STATE_READ_ONLY) {
        collection_fail(collection, "a test");
        return;
    }
    storage_release_collection(collection);
    fixture.options.disk_reserve_bytes = state == STATE_DISK_LOW ? UINT64_MAX : 0;
    fixture.options.memory_limit_bytes = state == STATE_MEMORY_LOW ? 1 : 0;
    fixture_reopen(&fixture);
    collection = fixture_acquire(&fixture, "main");
}

static enum status no_edit(const struct operation *operation, const char *payload, size_t length,
                           struct arena *arena, const char **edited, size_t *edited_length,
                           struct error *error) {
    (void)operation, (void)payload, (void)length, (void)arena, (void)error;
    *edited = NULL;
    *edited_length = 0;
    return STATUS_OK;
}

/* Submits a write that nobody watches; one that is taken must succeed. */
static enum status submit_unwatched(const struct operation *operation, struct error *error) {
    struct waiter waiter;
    waiter_init(&waiter);
    struct write_job job = {.operations = operation,
                            .operations_count = 1,
                            .bytes = 1000,
                            .is_unwatched = true,
                            .context = &waiter,
                            .done = fixture_write_done};
    enum status status = collection_submit(collection, &job, error);
    if (status != STATUS_OK)
        return status;
    waiter_wait(&waiter);
    ck_assert_msg(job.status == STATUS_OK, "was taken and dropped: %s", job.error.message);
    return STATUS_OK;
}

/* _i: the state. */
START_TEST(an_unwatched_write_is_refused_as_a_watched_one_would_be) {
    const uint64_t fresh[] = {100, 101};
    const struct point_id id = fixture_id(1), other = fixture_id(2);
    struct error watched = {0}, unwatched = {0};
    struct batch batch;
    begin();
    ck_assert_int_eq(fixture_upsert(collection, 0, 10, 1, &watched), STATUS_OK);
    enter((enum refusing_state)_i);
    batch_make(&batch, fresh, 2, 1, FIXTURE_DIMENSION);
    ck_assert_int_eq(fixture_write(collection, &batch.operation, 1, &watched), refusals[_i].status);
    ck_assert_int_eq(submit_unwatched(&batch.operation, &unwatched), refusals[_i].status);
    ck_assert_str_eq(watched.message, unwatched.message);
    batch_free(&batch);
    const struct operation deletion = {.kind = OPERATION_DELETE,
                                       .selector = {.ids = &id, .ids_count = 1}};
    enum status status = submit_unwatched(&deletion, &unwatched);
    ck_assert_int_eq(status, refusals[_i].are_deletions_taken ? STATUS_OK : refusals[_i].status);
    const struct operation edit = {.kind = OPERATION_EDIT_PAYLOAD,
                                   .selector = {.ids = &other, .ids_count = 1},
                                   .edit = no_edit};
    status = submit_unwatched(&edit, &unwatched);
    ck_assert_int_eq(status, refusals[_i].are_payloads_taken ? STATUS_OK : refusals[_i].status);
    ck_assert_uint_eq(fixture_count(collection), refusals[_i].are_deletions_taken ? 9 : 10);
    end();
}
END_TEST

/* ---- Size -------------------------------------------------------------------------------------
 */

/* More pages than a transaction of LMDB keeps in memory, more postings than are collected at once.
 */
START_TEST(one_operation_may_change_very_many_points) {
    enum {
        MANY = 60000
    };
    struct error error = {0};
    struct arena arena;
    struct payload_scalar value = {.type = PAYLOAD_BOOL, .boolean = true};
    struct condition condition = {.kind = CONDITION_MATCH, .values = &value, .values_count = 1};
    const struct filter filter = {.must = {.items = &condition, .count = 1}};
    begin();
    arena_init(&arena, 1 << 20);
    struct operation create = {.kind = OPERATION_CREATE_INDEX};
    ck_assert_int_eq(payload_path_parse("even", 4, &arena, &create.field.path, &error), STATUS_OK);
    create.field.type = PAYLOAD_INDEX_BOOL;
    condition.path = create.field.path;
    if (_i == 1)
        ck_assert_int_eq(fixture_write(collection, &create, 1, &error), STATUS_OK);
    ck_assert_msg(fixture_upsert(collection, 0, MANY, 1, &error) == STATUS_OK, "%s", error.message);
    ck_assert_msg(fixture_upsert(collection, 0, MANY, 2, &error) == STATUS_OK, "%s", error.message);
    struct operation operation = {.kind = OPERATION_DELETE, .selector = {.filter = &filter}};
    ck_assert_msg(fixture_write(collection, &operation, 1, &error) == STATUS_OK, "%s",
                  error.message);
    ck_assert_uint_eq(fixture_count(collection), MANY / 2);
    struct read read;
    uint64_t count;
    read_begin(&read, collection);
    ck_assert_int_eq(reader_count(read.reader, &filter, &count, &read.error), STATUS_OK);
    ck_assert_uint_eq(count, 0);
    for (uint64_t id = 1; id < MANY; id += 998)
        fixture_expect_point(read.reader, id, 2);
    read_end(&read);
    arena_free(&arena);
    end();
}
END_TEST

/* ---- Configuration ----------------------------------------------------------------------------
 */

static enum status change_document(struct catalogue_job *job,
                                   const struct collection_config *present,
                                   struct collection_config *changed, struct error *error) {
    (void)error;
    static struct vector_config vector;
    vector = present->vectors[0];
    vector.m = 32;
    vector.dimension += *(const unsigned *)job->arena; /* how many dimensions too many */
    *changed = *present;
    changed->vectors = &vector;
    changed->document = "{\"b\":2}";
    changed->document_length = 7;
    return STATUS_OK;
}

START_TEST(an_update_changes_options_and_nothing_else) {
    struct read read;
    unsigned added = 0;
    begin();
    struct catalogue_job job = {.kind = CATALOGUE_UPDATE,
                                .name = "main",
                                .change = change_document,
                                .arena = (struct arena *)(void *)&added};
    ck_assert_int_eq(fixture_change(&fixture, &job), STATUS_OK);
    added = 1;
    ck_assert_int_eq(fixture_change(&fixture, &job), STATUS_INVALID);
    job.name = "nobody";
    ck_assert_int_eq(fixture_change(&fixture, &job), STATUS_NOT_FOUND);
    for (int i = 0; i < 2; i++) {
        read_begin(&read, collection);
        ck_assert_str_eq(reader_config(read.reader)->document, "{\"b\":2}");
        ck_assert_uint_eq(reader_config(read.reader)->vectors[0].m, 32);
        ck_assert_uint_eq(reader_config(read.reader)->vectors[0].dimension, FIXTURE_DIMENSION);
        read_end(&read);
        if (i == 0) {
            storage_release_collection(collection);
            fixture_reopen(&fixture);
            collection = fixture_acquire(&fixture, "main");
        }
    }
    end();
}
END_TEST

START_TEST(a_name_may_have_1020_bytes_and_not_one_more) {
    char name[COLLECTION_NAME_BYTES_MAX + 2];
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    begin();
    ck_assert_int_eq(fixture_create_with(&fixture, name, DISTANCE_DOT, 2), STATUS_INVALID);
    name[COLLECTION_NAME_BYTES_MAX] = '\0';
    ck_assert_int_eq(fixture_create_with(&fixture, name, DISTANCE_DOT, 2), STATUS_OK);
    ck_assert_int_eq(fixture_create_with(&fixture, "y", DISTANCE_DOT, 0), STATUS_INVALID);
    ck_assert_int_eq(fixture_create_with(&fixture, "y", DISTANCE_DOT, VECTOR_DIMENSION_MAX + 1),
                     STATUS_INVALID);
    ck_assert_int_eq(fixture_create_with(&fixture, "y", DISTANCE_DOT, VECTOR_DIMENSION_MAX),
                     STATUS_OK);
    end();
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("limits");
    TCase *tests = tcase_create("tests");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, one_reader_too_many_is_refused);
    tcase_add_loop_test(tests, a_reader_stops_at_its_deadline_and_when_it_is_cancelled, 0, 2);
    tcase_add_test(tests, a_snapshot_stays_what_it_was_while_points_change);
    tcase_add_test(tests, limit_and_offset_saturate);
    tcase_add_loop_test(tests, a_threshold_keeps_what_is_strictly_better, 0, DISTANCE_COUNT);
    tcase_add_test(tests, a_vector_of_wrong_name_size_or_number_is_refused);
    tcase_add_test(tests, one_payload_index_too_many_is_refused);
    tcase_add_test(tests, large_schemas_of_payload_indexes_are_opened_and_read);
    tcase_add_loop_test(tests, an_unwatched_write_is_refused_as_a_watched_one_would_be, 0,
                        STATE_COUNT);
    tcase_add_loop_test(tests, one_operation_may_change_very_many_points, 0, 2);
    tcase_add_test(tests, an_update_changes_options_and_nothing_else);
    tcase_add_test(tests, a_name_may_have_1020_bytes_and_not_one_more);
    suite_add_tcase(suite, tests);
    return suite;
}
