/* The queue of a collection's writes, and the groups in which they are committed. */
#include "storage/collection_internal.h"
#include "storage/fault.h"
#include "storage/write_group.h"
#include "tests/storage/storage_fixture.h"
#include "tests/support/run_suite.h"

static struct fixture fixture;
static struct collection *collection;

static void begin(void) {
    fixture_create(&fixture, "main");
    collection = fixture_acquire(&fixture, "main");
}

static void end(void) {
    storage_release_collection(collection);
    fixture_end(&fixture);
}

/* An edit that holds its writer until it is let go. */
struct barrier {
    struct waiter reached, released;
};

static enum status edit_and_wait(const struct operation *operation, const char *payload,
                                 size_t length, struct arena *arena, const char **edited,
                                 size_t *edited_length, struct error *error) {
    struct barrier *barrier = (struct barrier *)(uintptr_t)operation->edit_context;
    (void)arena, (void)error;
    *edited = payload;
    *edited_length = length;
    waiter_signal(&barrier->reached);
    waiter_wait(&barrier->released);
    return STATUS_OK;
}

struct held_writer {
    struct barrier barrier;
    struct point_id id;
    struct operation operation;
    struct write_job job;
    struct waiter done;
};

static void hold_writer(struct held_writer *held) {
    struct error error = {0};
    memset(held, 0, sizeof(*held));
    waiter_init(&held->barrier.reached);
    waiter_init(&held->barrier.released);
    waiter_init(&held->done);
    held->id = fixture_id(1);
    held->operation = (struct operation){.kind = OPERATION_EDIT_PAYLOAD,
                                         .selector = {.ids = &held->id, .ids_count = 1},
                                         .edit = edit_and_wait,
                                         .edit_context = &held->barrier};
    held->job = (struct write_job){.operations = &held->operation,
                                   .operations_count = 1,
                                   .context = &held->done,
                                   .done = fixture_write_done};
    ck_assert_int_eq(collection_submit(collection, &held->job, &error), STATUS_OK);
    waiter_wait(&held->barrier.reached);
}

static void release_writer(struct held_writer *held) {
    waiter_signal(&held->barrier.released);
    waiter_wait(&held->done);
    ck_assert_int_eq(held->job.status, STATUS_OK);
}

static void count_done(struct write_job *job) {
    atomic_fetch_add((atomic_uint *)job->context, 1);
}

START_TEST(a_full_queue_refuses_and_what_it_took_is_done) {
    static struct write_job jobs[WRITE_QUEUE_JOBS_MAX + 1];
    struct held_writer held;
    struct error error = {0};
    atomic_uint done = 0;
    fixture_begin(&fixture);
    begin();
    ck_assert_int_eq(fixture_upsert(collection, 1, 1, 1, &error), STATUS_OK);
    hold_writer(&held);
    const struct point_id id = fixture_id(7);
    const struct operation operation = {.kind = OPERATION_DELETE,
                                        .selector = {.ids = &id, .ids_count = 1}};
    for (size_t i = 0; i <= WRITE_QUEUE_JOBS_MAX; i++) {
        jobs[i] = (struct write_job){
            .operations = &operation, .operations_count = 1, .context = &done, .done = count_done};
        enum status status = collection_submit(collection, &jobs[i], &error);
        ck_assert_int_eq(status, i < WRITE_QUEUE_JOBS_MAX ? STATUS_OK : STATUS_UNAVAILABLE);
    }
    release_writer(&held);
    while (atomic_load(&done) < WRITE_QUEUE_JOBS_MAX)
        usleep(1000);
    for (size_t i = 0; i < WRITE_QUEUE_JOBS_MAX; i++)
        ck_assert_int_eq(jobs[i].status, STATUS_OK);
    end();
}
END_TEST

START_TEST(a_queue_is_bounded_in_bytes_but_takes_any_single_job) {
    struct held_writer held;
    struct error error = {0};
    atomic_uint done = 0;
    fixture_begin(&fixture);
    begin();
    ck_assert_int_eq(fixture_upsert(collection, 1, 1, 1, &error), STATUS_OK);
    hold_writer(&held);
    struct write_job jobs[2];
    for (int i = 0; i < 2; i++)
        jobs[i] = (struct write_job){.bytes = i == 0 ? 2 * (size_t)WRITE_QUEUE_BYTES_MAX : 1,
                                     .context = &done,
                                     .done = count_done};
    ck_assert_int_eq(collection_submit(collection, &jobs[0], &error), STATUS_OK);
    ck_assert_int_eq(collection_submit(collection, &jobs[1], &error), STATUS_UNAVAILABLE);
    release_writer(&held);
    while (atomic_load(&done) < 1)
        usleep(1000);
    end();
}
END_TEST

START_TEST(jobs_that_wait_are_committed_together_and_fail_alone) {
    enum {
        JOBS = 40
    };
    struct held_writer held;
    struct error error = {0};
    struct storage_figures before, after;
    struct batch batches[JOBS];
    struct write_job jobs[JOBS];
    atomic_uint done = 0;
    fixture_begin(&fixture);
    begin();
    ck_assert_int_eq(fixture_upsert(collection, 1, 1, 1, &error), STATUS_OK);
    hold_writer(&held);
    storage_figures(fixture.storage, &before);
    const struct point_id missing = fixture_id(5000);
    const struct operation bad = {.kind = OPERATION_EDIT_PAYLOAD,
                                  .selector = {.ids = &missing, .ids_count = 1},
                                  .edit = edit_and_wait};
    for (uint64_t i = 0; i < JOBS; i++) {
        const uint64_t numbers[] = {100 + i, 101 + i, 100 + i}; /* the last of equal ids wins */
        batch_make(&batches[i], numbers, 3, i + 1, FIXTURE_DIMENSION);
        jobs[i] = (struct write_job){.operations = i % 4 == 3 ? &bad : &batches[i].operation,
                                     .operations_count = 1,
                                     .context = &done,
                                     .done = count_done};
        ck_assert_int_eq(collection_submit(collection, &jobs[i], &error), STATUS_OK);
    }
    release_writer(&held);
    while (atomic_load(&done) < JOBS)
        usleep(1000);
    storage_figures(fixture.storage, &after);
    ck_assert_uint_le(after.commits - before.commits, 2);
    struct read read;
    read_begin(&read, collection);
    for (uint64_t i = 0; i < JOBS; i++) {
        ck_assert_int_eq(jobs[i].status, i % 4 == 3 ? STATUS_NOT_FOUND : STATUS_OK);
        if (i > 0)
            ck_assert_uint_ge(jobs[i].operation_number, jobs[i - 1].operation_number);
        batch_free(&batches[i]);
        if (i % 4 == 1) /* 100 + i was written by job i - 1, then by job i */
            fixture_expect_point(read.reader, 100 + i, i + 1);
    }
    read_end(&read);
    end();
}
END_TEST

/* What one job wants and the map cannot give is no matter of the others. */
START_TEST(a_job_that_the_map_cannot_hold_fails_alone) {
    enum {
        TEXT_BYTES = 24 * 1024 * 1024,
        MAP_BYTES = 16 * 1024 * 1024
    };
    struct held_writer held;
    struct error error = {0};
    atomic_uint done = 0;
    fixture_prepare(&fixture);
    fixture.options.map_bytes = fixture.options.map_bytes_max = MAP_BYTES;
    fixture_open(&fixture);
    begin();
    ck_assert_int_eq(fixture_upsert(collection, 1, 2, 1, &error), STATUS_OK);
    hold_writer(&held);
    const uint64_t numbers[] = {7, 8};
    struct batch large, small;
    batch_make(&large, numbers, 1, 1, FIXTURE_DIMENSION);
    batch_make(&small, numbers + 1, 1, 1, FIXTURE_DIMENSION);
    char *text = malloc(TEXT_BYTES);
    memset(text, ' ', TEXT_BYTES);
    memcpy(text, "{}", 2);
    large.points[0].payload = text;
    large.points[0].payload_length = TEXT_BYTES;
    const struct point_id second = fixture_id(2);
    const struct operation removal = {.kind = OPERATION_DELETE,
                                      .selector = {.ids = &second, .ids_count = 1}};
    const struct operation *operations[] = {&removal, &large.operation, &small.operation};
    struct write_job jobs[3];
    for (size_t i = 0; i < 3; i++) {
        jobs[i] = (struct write_job){.operations = operations[i],
                                     .operations_count = 1,
                                     .context = &done,
                                     .done = count_done};
        ck_assert_int_eq(collection_submit(collection, &jobs[i], &error), STATUS_OK);
    }
    release_writer(&held);
    while (atomic_load(&done) < 3)
        usleep(1000);
    ck_assert_int_eq(jobs[0].status, STATUS_OK);
    ck_assert_int_eq(jobs[1].status, STATUS_NO_SPACE);
    ck_assert_int_eq(jobs[2].status, STATUS_OK);
    ck_assert_uint_eq(fixture_count(collection), 2); /* 1 and 8 */
    batch_free(&large);
    batch_free(&small);
    free(text);
    end();
}
END_TEST

/* ---- Points that move -------------------------------------------------------------------------
 */

enum {
    MOVED_POINTS = 700,
    MOVED_DIMENSION = 8192, /* 23 MB in all */
    MOVED_MEMORY = WRITE_MOVED_KEPT + (2 << 20),
};

static void create_with_two_vectors(void) {
    const struct vector_config vectors[] = {
        {.name = "a", .dimension = 2, .distance = DISTANCE_EUCLID},
        {.name = "b", .dimension = MOVED_DIMENSION, .distance = DISTANCE_EUCLID},
    };
    struct catalogue_job job = {
        .kind = CATALOGUE_CREATE,
        .name = "main",
        .config = {.vectors = vectors, .vectors_count = 2, .document = "{}", .document_length = 2}};
    ck_assert_int_eq(fixture_change(&fixture, &job), STATUS_OK);
    collection = fixture_acquire(&fixture, "main");
}

static void upsert_with_two_vectors(uint64_t number) {
    static float b[MOVED_DIMENSION];
    struct error error = {0};
    float a[2];
    const struct named_vector vectors[] = {{"a", a, 2}, {"b", b, MOVED_DIMENSION}};
    const struct point_input point = {
        .id = fixture_id(number), .vectors = vectors, .vectors_count = 2};
    const struct operation operation = {
        .kind = OPERATION_UPSERT, .points = &point, .points_count = 1};
    fixture_vector(number, 1, a, 2);
    fixture_vector(number, 2, b, MOVED_DIMENSION);
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), STATUS_OK);
}

static void nothing_done(struct write_job *job) {
    (void)job;
}

/* A writer has told of the last write, and may not have let go of the collection yet. */
static void wait_for_writer(void) {
    bool is_busy = true;
    while (is_busy) {
        usleep(1000);
        pthread_mutex_lock(&collection->queue_mutex);
        is_busy = collection->is_scheduled;
        pthread_mutex_unlock(&collection->queue_mutex);
    }
}

/* Runs the operation by a writer that has little memory for copies of vectors. */
static enum status write_with_little_memory(const struct operation *operation) {
    struct write_context context;
    struct write_job job = {
        .operations = operation, .operations_count = 1, .bytes = 100, .done = nothing_done};
    write_context_init(&context);
    arena_init(&context.moved, MOVED_MEMORY);
    wait_for_writer();
    write_group_run(&context, collection, &job);
    write_context_free(&context);
    return job.status;
}

static void expect_only_b(uint64_t number) {
    static float b[MOVED_DIMENSION];
    struct point_id id = fixture_id(number);
    struct query_hits found;
    struct point_row row;
    struct read read;
    read_begin(&read, collection);
    const struct vector_config *vectors = reader_config(read.reader)->vectors;
    fixture_vector(number, 2, b, MOVED_DIMENSION);
    ck_assert_int_eq(reader_point(read.reader, &id, &row, &read.error), STATUS_OK);
    ck_assert_ptr_null(reader_vector(read.reader, &row, &vectors[0]));
    const float *values = reader_vector(read.reader, &row, &vectors[1]);
    ck_assert_ptr_nonnull(values);
    ck_assert_mem_eq(values, b, sizeof(b));
    const struct query query = {.vector = &vectors[1], .values = b, .limit = 1, .exact = true};
    ck_assert_int_eq(reader_query(read.reader, &query, &found, &read.error), STATUS_OK);
    ck_assert_uint_eq(found.count, 1);
    ck_assert_uint_eq(found.hits[0].row.id.number, number);
    read_end(&read);
}

START_TEST(moving_points_takes_no_memory_for_all_their_vectors) {
    static const char *const names[] = {"a"};
    struct point_id ids[MOVED_POINTS];
    fixture_prepare(&fixture);
    fixture.options.map_bytes = 4 << 20; /* so that it grows meanwhile, again and again */
    fixture_open(&fixture);
    create_with_two_vectors();
    for (uint64_t number = 0; number < MOVED_POINTS; number++) {
        upsert_with_two_vectors(number);
        ids[number] = fixture_id(number);
    }
    const struct operation operation = {.kind = OPERATION_DELETE_VECTORS,
                                        .selector = {.ids = ids, .ids_count = MOVED_POINTS},
                                        .vector_names = names,
                                        .vector_names_count = 1};
    ck_assert_int_eq(write_with_little_memory(&operation), STATUS_OK);
    for (uint64_t number = 0; number < MOVED_POINTS; number += 50)
        expect_only_b(number);
    storage_release_collection(collection);
    fixture_reopen(&fixture);
    collection = fixture_acquire(&fixture, "main");
    for (uint64_t number = 0; number < MOVED_POINTS; number += 50)
        expect_only_b(number);
    end();
}
END_TEST

#ifdef NIGH_FAULTS

static const struct {
    const char *fault;
    enum status status;
} failures[] = {
    {"group.commit:1:fail", STATUS_IO},
    {"group.doubted:1:fail", STATUS_OK},
    {"map.grow:1:fail", STATUS_NO_SPACE},
};

/* What is read for publishing must not keep the file from being opened again, or the map from
 * growing. */
START_TEST(points_move_once_though_the_commit_fails) {
    static const char *const names[] = {"a"};
    enum {
        COUNT = 60
    };
    struct error error = {0};
    struct point_id ids[COUNT];
    fixture_prepare(&fixture);
    fixture.options.map_bytes = 3 << 20;
    fixture_open(&fixture);
    create_with_two_vectors();
    for (uint64_t number = 0; number < COUNT; number++) {
        upsert_with_two_vectors(number);
        ids[number] = fixture_id(number);
    }
    const struct operation operation = {.kind = OPERATION_DELETE_VECTORS,
                                        .selector = {.ids = ids, .ids_count = COUNT},
                                        .vector_names = names,
                                        .vector_names_count = 1};
    fault_set(failures[_i].fault);
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), failures[_i].status);
    fault_set(NULL);
    ck_assert_int_eq(fixture_write(collection, &operation, 1, &error), STATUS_OK);
    for (uint64_t number = 0; number < COUNT; number++)
        expect_only_b(number);
    end();
}
END_TEST

#endif

START_TEST(a_vector_that_cannot_be_read_is_left_out_and_told) {
    struct error error = {0};
    struct change_set set = {0};
    const float values[] = {1, 2};
    fixture_begin(&fixture);
    create_with_two_vectors();
    ck_assert_int_eq(change_set_add_birth(&set, 0, 1, 1, &error), STATUS_OK);
    ck_assert_int_eq(change_set_add_vector(&set, 0, values, &error), STATUS_OK);
    ck_assert_int_eq(change_set_add_vector(&set, 1, NULL, &error), STATUS_OK);
    ck_assert_int_eq(change_set_reserve(&set, collection, 1, &error), STATUS_OK);
    ck_assert_int_eq(change_set_publish(&set, collection, NULL, &error), STATUS_UNAVAILABLE);
    ck_assert(vector_index_has(collection->vectors[0].index, 0));
    ck_assert(!vector_index_has(collection->vectors[1].index, 0));
    change_set_free(&set);
    storage_release_collection(collection);
    storage_close(fixture.storage, 0);
    fixture_remove(fixture.path);
}
END_TEST

Suite *test_suite(void) {
    Suite *suite = suite_create("groups");
    TCase *tests = tcase_create("groups");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_full_queue_refuses_and_what_it_took_is_done);
    tcase_add_test(tests, a_queue_is_bounded_in_bytes_but_takes_any_single_job);
    tcase_add_test(tests, jobs_that_wait_are_committed_together_and_fail_alone);
    tcase_add_test(tests, a_job_that_the_map_cannot_hold_fails_alone);
    tcase_add_test(tests, moving_points_takes_no_memory_for_all_their_vectors);
#ifdef NIGH_FAULTS
    tcase_add_loop_test(tests, points_move_once_though_the_commit_fails, 0,
                        sizeof(failures) / sizeof(failures[0]));
#endif
    tcase_add_test(tests, a_vector_that_cannot_be_read_is_left_out_and_told);
    suite_add_tcase(suite, tests);
    return suite;
}
