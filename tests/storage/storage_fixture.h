/* storage_fixture.h -- a data folder in a temporary place, and writes that wait for their answer.
 *
 * Static functions in a header, since tests of the lower layers link the other support files but
 * not storage. One test, one fixture; jobs may be submitted from several threads.
 */
#ifndef STORAGE_FIXTURE_H
#define STORAGE_FIXTURE_H

#include "storage/collection.h"
#include "storage/file.h"
#include "storage/log.h"
#include "storage/storage.h"

#include <check.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURE __attribute__((unused)) static

/* The fixture's own memory; test_allocations.c makes that of all others fail. */
#ifndef FIXTURE_CALLOC
#define FIXTURE_CALLOC calloc
#endif

enum {
    FIXTURE_DIMENSION = 8,
    FIXTURE_ARENA_MAX = 256 * 1024 * 1024,
};

struct fixture {
    char path[64];
    struct storage_options options;
    struct storage *storage;
};

/* ---- The folder -------------------------------------------------------------------------------
 */

FIXTURE int fixture_remove_one(const char *path, const struct stat *info, int type,
                               struct FTW *walk) {
    (void)info, (void)type, (void)walk;
    return remove(path);
}

FIXTURE void fixture_remove(const char *path) {
    nftw(path, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

FIXTURE void fixture_open(struct fixture *fixture) {
    struct error error = {0};
    ck_assert_msg(storage_open(&fixture->options, &fixture->storage, &error) == STATUS_OK, "%s",
                  error.message);
}

FIXTURE void fixture_close(struct fixture *fixture) {
    storage_close(fixture->storage, 10000);
    fixture->storage = NULL;
}

FIXTURE void fixture_prepare(struct fixture *fixture) {
    memset(fixture, 0, sizeof(*fixture));
    snprintf(fixture->path, sizeof(fixture->path), "/tmp/nigh-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(fixture->path));
    log_configure(LOG_LEVEL_ERROR, false);
    fixture->options = (struct storage_options){.path = fixture->path,
                                                .map_bytes = 256 * 1024 * 1024,
                                                .writers = 2,
                                                .builders = 1,
                                                .readers_max = 32};
}

FIXTURE void fixture_begin(struct fixture *fixture) {
    fixture_prepare(fixture);
    fixture_open(fixture);
}

FIXTURE void fixture_end(struct fixture *fixture) {
    fixture_close(fixture);
    fixture_remove(fixture->path);
}

FIXTURE void fixture_reopen(struct fixture *fixture) {
    fixture_close(fixture);
    fixture_open(fixture);
}

/* ---- Jobs that wait ---------------------------------------------------------------------------
 */

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
};

FIXTURE void waiter_init(struct waiter *waiter) {
    pthread_mutex_init(&waiter->mutex, NULL);
    pthread_cond_init(&waiter->done, NULL);
    waiter->is_done = false;
}

FIXTURE void waiter_signal(struct waiter *waiter) {
    pthread_mutex_lock(&waiter->mutex);
    waiter->is_done = true;
    pthread_cond_signal(&waiter->done);
    pthread_mutex_unlock(&waiter->mutex);
}

FIXTURE void waiter_wait(struct waiter *waiter) {
    pthread_mutex_lock(&waiter->mutex);
    while (!waiter->is_done)
        pthread_cond_wait(&waiter->done, &waiter->mutex);
    pthread_mutex_unlock(&waiter->mutex);
    pthread_cond_destroy(&waiter->done);
    pthread_mutex_destroy(&waiter->mutex);
}

FIXTURE void fixture_write_done(struct write_job *job) {
    waiter_signal(job->context);
}

FIXTURE void fixture_catalogue_done(struct catalogue_job *job) {
    waiter_signal(job->context);
}

/* Submits the operations as one job and waits; returns its status. */
FIXTURE enum status fixture_write(struct collection *collection, const struct operation *operations,
                                  size_t count, struct error *error) {
    struct waiter waiter;
    waiter_init(&waiter);
    struct write_job job = {.operations = operations,
                            .operations_count = count,
                            .bytes = 1000,
                            .context = &waiter,
                            .done = fixture_write_done};
    enum status status = collection_submit(collection, &job, error);
    if (status != STATUS_OK)
        return status;
    waiter_wait(&waiter);
    *error = job.error;
    return job.status;
}

FIXTURE enum status fixture_change(struct fixture *fixture, struct catalogue_job *job) {
    struct waiter waiter;
    waiter_init(&waiter);
    job->context = &waiter;
    job->done = fixture_catalogue_done;
    enum status status = storage_submit_catalogue(fixture->storage, job, &job->error);
    if (status != STATUS_OK)
        return status;
    waiter_wait(&waiter);
    return job->status;
}

/* ---- Collections ------------------------------------------------------------------------------
 */

FIXTURE enum status fixture_create_with(struct fixture *fixture, const char *name,
                                        enum distance distance, uint32_t dimension) {
    const struct vector_config vector = {.name = "", .dimension = dimension, .distance = distance};
    struct catalogue_job job = {
        .kind = CATALOGUE_CREATE,
        .name = name,
        .config = {
            .vectors = &vector, .vectors_count = 1, .document = "{\"a\":1}", .document_length = 7}};
    return fixture_change(fixture, &job);
}

FIXTURE void fixture_create(struct fixture *fixture, const char *name) {
    ck_assert_int_eq(fixture_create_with(fixture, name, DISTANCE_EUCLID, FIXTURE_DIMENSION),
                     STATUS_OK);
}

FIXTURE enum status fixture_delete(struct fixture *fixture, const char *name, bool *existed) {
    struct catalogue_job job = {.kind = CATALOGUE_DELETE, .name = name};
    enum status status = fixture_change(fixture, &job);
    *existed = job.existed;
    return status;
}

FIXTURE struct collection *fixture_acquire(struct fixture *fixture, const char *name) {
    struct collection *collection = NULL;
    struct error error = {0};
    ck_assert_msg(storage_acquire_collection(fixture->storage, name, &collection, &error) ==
                      STATUS_OK,
                  "%s", error.message);
    return collection;
}

/* ---- Points -----------------------------------------------------------------------------------
 */

FIXTURE struct point_id fixture_id(uint64_t number) {
    return (struct point_id){.kind = POINT_ID_NUMBER, .number = number};
}

/* The vector of a point is a function of its id and version. */
FIXTURE void fixture_vector(uint64_t number, uint64_t version, float *values, size_t dimension) {
    uint64_t state = number * 0x9E3779B97F4A7C15ULL + version * 0xD1B54A32D192ED03ULL + 1;
    for (size_t i = 0; i < dimension; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values[i] = (float)(state >> 40) / (float)(1 << 23) - 1.0f;
    }
}

/* Memory for a batch of points with one unnamed vector and the payload {"n":id,"v":version}. */
struct batch {
    struct operation operation;
    struct point_input *points;
    struct named_vector *vectors;
    float *values;
    char *payloads;
};

enum {
    BATCH_PAYLOAD_MAX = 96,
};

FIXTURE void batch_make(struct batch *batch, const uint64_t *numbers, size_t count,
                        uint64_t version, size_t dimension) {
    batch->points = FIXTURE_CALLOC(count, sizeof(*batch->points));
    batch->vectors = FIXTURE_CALLOC(count, sizeof(*batch->vectors));
    batch->values = FIXTURE_CALLOC(count * dimension, sizeof(float));
    batch->payloads = FIXTURE_CALLOC(count, BATCH_PAYLOAD_MAX);
    for (size_t i = 0; i < count; i++) {
        float *values = batch->values + i * dimension;
        char *payload = batch->payloads + i * BATCH_PAYLOAD_MAX;
        fixture_vector(numbers[i], version, values, dimension);
        int n = snprintf(payload, BATCH_PAYLOAD_MAX, "{\"n\":%llu,\"v\":%llu,\"even\":%s}",
                         (unsigned long long)numbers[i], (unsigned long long)version,
                         numbers[i] % 2 == 0 ? "true" : "false");
        batch->vectors[i] = (struct named_vector){.name = "", .values = values, .count = dimension};
        batch->points[i] = (struct point_input){.id = fixture_id(numbers[i]),
                                                .vectors = &batch->vectors[i],
                                                .vectors_count = 1,
                                                .payload = payload,
                                                .payload_length = (size_t)n};
    }
    batch->operation = (struct operation){
        .kind = OPERATION_UPSERT, .points = batch->points, .points_count = count};
}

FIXTURE void batch_free(struct batch *batch) {
    free(batch->points);
    free(batch->vectors);
    free(batch->values);
    free(batch->payloads);
}

FIXTURE enum status fixture_upsert(struct collection *collection, uint64_t first, size_t count,
                                   uint64_t version, struct error *error) {
    uint64_t *numbers = FIXTURE_CALLOC(count, sizeof(*numbers));
    struct batch batch;
    for (size_t i = 0; i < count; i++)
        numbers[i] = first + i;
    batch_make(&batch, numbers, count, version, FIXTURE_DIMENSION);
    enum status status = fixture_write(collection, &batch.operation, 1, error);
    batch_free(&batch);
    free(numbers);
    return status;
}

FIXTURE enum status fixture_remove_points(struct collection *collection, uint64_t first,
                                          size_t count, struct error *error) {
    struct point_id *ids = FIXTURE_CALLOC(count, sizeof(*ids));
    for (size_t i = 0; i < count; i++)
        ids[i] = fixture_id(first + i);
    const struct operation operation = {.kind = OPERATION_DELETE,
                                        .selector = {.ids = ids, .ids_count = count}};
    enum status status = fixture_write(collection, &operation, 1, error);
    free(ids);
    return status;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

struct read {
    struct arena arena;
    struct reader *reader;
    struct error error;
};

FIXTURE void read_begin(struct read *read, struct collection *collection) {
    memset(read, 0, sizeof(*read));
    arena_init(&read->arena, FIXTURE_ARENA_MAX);
    const struct reader_options options = {.arena = &read->arena};
    ck_assert_msg(reader_begin(collection, &options, &read->reader, &read->error) == STATUS_OK,
                  "%s", read->error.message);
}

FIXTURE void read_end(struct read *read) {
    reader_end(read->reader);
    arena_free(&read->arena);
}

FIXTURE uint64_t fixture_count(struct collection *collection) {
    struct read read;
    uint64_t count = 0;
    read_begin(&read, collection);
    ck_assert_int_eq(reader_count(read.reader, NULL, &count, &read.error), STATUS_OK);
    read_end(&read);
    return count;
}

/* Checks that the point is there with exactly this version's vector and payload. */
FIXTURE void fixture_expect_point(struct reader *reader, uint64_t number, uint64_t version) {
    struct error error = {0};
    struct point_row row;
    struct point_id id = fixture_id(number);
    float expected[FIXTURE_DIMENSION];
    char payload[BATCH_PAYLOAD_MAX];
    ck_assert_msg(reader_point(reader, &id, &row, &error) == STATUS_OK, "point %llu: %s",
                  (unsigned long long)number, error.message);
    int n = snprintf(payload, sizeof(payload), "{\"n\":%llu,\"v\":%llu,\"even\":%s}",
                     (unsigned long long)number, (unsigned long long)version,
                     number % 2 == 0 ? "true" : "false");
    ck_assert_uint_eq(row.payload_length, (size_t)n);
    ck_assert_mem_eq(row.payload, payload, (size_t)n);
    const float *values = reader_vector(reader, &row, &reader_config(reader)->vectors[0]);
    ck_assert_ptr_nonnull(values);
    fixture_vector(number, version, expected, FIXTURE_DIMENSION);
    ck_assert_mem_eq(values, expected, sizeof(expected));
}

#endif
