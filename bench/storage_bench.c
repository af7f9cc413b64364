/* storage_bench.c -- how fast storage takes acknowledged (synced) upserts, without HTTP and JSON.
 *
 *   storage_bench [points [dimension [clients [points a request]]]]
 *
 * Prints points a second, and the CPU of the writers and clients a point; builders are counted
 * apart, since linking goes on behind the acknowledgements. Then times exact and graph queries.
 */
#include "storage/collection.h"
#include "storage/file.h"
#include "storage/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct settings {
    uint64_t points;
    size_t dimension, clients, batch;
    struct collection *collection;
    atomic_uint_fast64_t next;
    atomic_uint_fast64_t client_cpu_ns;
};

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done;
};

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void signal_done(struct waiter *waiter) {
    pthread_mutex_lock(&waiter->mutex);
    waiter->is_done = true;
    pthread_cond_signal(&waiter->done);
    pthread_mutex_unlock(&waiter->mutex);
}

static void wait_done(struct waiter *waiter) {
    pthread_mutex_lock(&waiter->mutex);
    while (!waiter->is_done)
        pthread_cond_wait(&waiter->done, &waiter->mutex);
    waiter->is_done = false;
    pthread_mutex_unlock(&waiter->mutex);
}

static void write_done(struct write_job *job) {
    signal_done(job->context);
}

static void catalogue_done(struct catalogue_job *job) {
    signal_done(job->context);
}

static void die(const char *what, const struct error *error) {
    fprintf(stderr, "%s: %s\n", what, error->message);
    exit(1);
}

static void fill(float *values, size_t count, uint64_t seed) {
    uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values[i] = (float)(state >> 40) / (float)(1 << 23) - 1.0f;
    }
}

static void *client(void *argument) {
    struct settings *settings = argument;
    size_t batch = settings->batch, dimension = settings->dimension;
    struct waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    float *values = malloc(batch * dimension * sizeof(*values));
    struct point_input *points = calloc(batch, sizeof(*points));
    struct named_vector *vectors = calloc(batch, sizeof(*vectors));
    uint64_t cpu_ns = 0;
    for (;;) {
        uint64_t first = atomic_fetch_add(&settings->next, batch);
        if (first >= settings->points)
            break;
        for (size_t i = 0; i < batch; i++) {
            static const char payload[] = "{\"city\":\"Bern\",\"count\":12}";
            vectors[i] = (struct named_vector){
                .name = "", .values = values + i * dimension, .count = dimension};
            points[i] = (struct point_input){.id = {.kind = POINT_ID_NUMBER, .number = first + i},
                                             .vectors = &vectors[i],
                                             .vectors_count = 1,
                                             .payload = payload,
                                             .payload_length = sizeof(payload) - 1};
        }
        fill(values, batch * dimension, first);
        uint64_t begun = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        struct operation operation = {
            .kind = OPERATION_UPSERT, .points = points, .points_count = batch};
        struct error error = {0};
        if (collection_prepare(settings->collection, &operation, &error) != STATUS_OK)
            die("prepare", &error);
        struct write_job job = {.operations = &operation,
                                .operations_count = 1,
                                .bytes = batch * dimension * 10,
                                .context = &waiter,
                                .done = write_done};
        if (collection_submit(settings->collection, &job, &error) != STATUS_OK)
            die("submit", &error);
        wait_done(&waiter);
        cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - begun;
        if (job.status != STATUS_OK)
            die("upsert", &job.error);
    }
    atomic_fetch_add(&settings->client_cpu_ns, cpu_ns);
    free(values);
    free(points);
    free(vectors);
    return NULL;
}

static void upsert_all(struct settings *settings) {
    pthread_t threads[64];
    uint64_t begun = clock_ns(CLOCK_MONOTONIC), cpu_begun = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < settings->clients; i++)
        pthread_create(&threads[i], NULL, client, settings);
    for (size_t i = 0; i < settings->clients; i++)
        pthread_join(threads[i], NULL);
    double seconds = (double)(clock_ns(CLOCK_MONOTONIC) - begun) / 1e9;
    double cpu = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_begun) / 1e9;
    printf("%llu points of %zu: %.2f s, %.0f points/s; all CPU %.1f us a point (clients %.1f)\n",
           (unsigned long long)settings->points, settings->dimension, seconds,
           (double)settings->points / seconds, cpu * 1e6 / (double)settings->points,
           (double)settings->client_cpu_ns / 1e3 / (double)settings->points);
}

static void wait_for_links(struct settings *settings) {
    uint64_t begun = clock_ns(CLOCK_MONOTONIC);
    struct collection_status status;
    do {
        usleep(20000);
        collection_status(settings->collection, &status);
    } while (status.waiting_count > 0);
    printf("all linked after another %.2f s\n", (double)(clock_ns(CLOCK_MONOTONIC) - begun) / 1e9);
}

static void query_some(struct settings *settings, bool exact, unsigned count) {
    float *values = malloc(settings->dimension * sizeof(*values));
    uint64_t begun = clock_ns(CLOCK_THREAD_CPUTIME_ID), found = 0;
    for (unsigned i = 0; i < count; i++) {
        struct arena arena;
        struct reader *reader;
        struct error error = {0};
        arena_init(&arena, 1 << 26);
        const struct reader_options options = {.arena = &arena};
        fill(values, settings->dimension, i * settings->batch);
        if (reader_begin(settings->collection, &options, &reader, &error) != STATUS_OK)
            die("read", &error);
        const struct query query = {.vector = reader_config(reader)->vectors,
                                    .values = values,
                                    .limit = 10,
                                    .exact = exact};
        struct query_hits hits;
        if (reader_query(reader, &query, &hits, &error) != STATUS_OK)
            die("query", &error);
        found += hits.count > 0 && hits.hits[0].row.id.number == i * settings->batch;
        reader_end(reader);
        arena_free(&arena);
    }
    printf("%s query: %.1f us of CPU each, own point found %llu of %u\n", exact ? "exact" : "graph",
           (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - begun) / 1e3 / count,
           (unsigned long long)found, count);
    free(values);
}

static void reopen(struct storage **storage, const struct storage_options *options,
                   struct settings *settings) {
    struct error error = {0};
    uint64_t begun = clock_ns(CLOCK_MONOTONIC);
    storage_release_collection(settings->collection);
    storage_close(*storage, 60000);
    uint64_t closed = clock_ns(CLOCK_MONOTONIC);
    if (storage_open(options, storage, &error) != STATUS_OK ||
        storage_acquire_collection(*storage, "bench", &settings->collection, &error) != STATUS_OK)
        die("reopen", &error);
    printf("closed in %.2f s, open again in %.3f s\n", (double)(closed - begun) / 1e9,
           (double)(clock_ns(CLOCK_MONOTONIC) - closed) / 1e9);
}

static size_t argument(int count, char **arguments, int index, size_t otherwise) {
    return index < count ? strtoull(arguments[index], NULL, 10) : otherwise;
}

int main(int count, char **arguments) {
    char path[] = "/tmp/nigh-bench-XXXXXX", command[64];
    struct settings settings = {.points = argument(count, arguments, 1, 30000),
                                .dimension = argument(count, arguments, 2, 768),
                                .clients = argument(count, arguments, 3, 8),
                                .batch = argument(count, arguments, 4, 100)};
    struct error error = {0};
    struct storage *storage;
    if (settings.clients > 64 || settings.batch == 0 || !mkdtemp(path))
        return 1;
    log_configure(LOG_LEVEL_WARN, false);
    const struct storage_options options = {.path = path, .readers_max = 16};
    if (storage_open(&options, &storage, &error) != STATUS_OK)
        die("open", &error);
    struct waiter waiter = {.mutex = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    const struct vector_config vector = {
        .name = "", .dimension = (uint32_t)settings.dimension, .distance = DISTANCE_EUCLID};
    struct catalogue_job job = {
        .kind = CATALOGUE_CREATE,
        .name = "bench",
        .config = {.vectors = &vector, .vectors_count = 1, .document = "{}", .document_length = 2},
        .context = &waiter,
        .done = catalogue_done};
    if (storage_submit_catalogue(storage, &job, &error) != STATUS_OK)
        die("create", &error);
    wait_done(&waiter);
    if (storage_acquire_collection(storage, "bench", &settings.collection, &error) != STATUS_OK)
        die("acquire", &error);
    upsert_all(&settings);
    query_some(&settings, true, 100);
    query_some(&settings, false, 100);
    wait_for_links(&settings);
    query_some(&settings, true, 100);
    query_some(&settings, false, 1000);
    reopen(&storage, &options, &settings);
    query_some(&settings, false, 1000);
    storage_release_collection(settings.collection);
    storage_close(storage, 0);
    snprintf(command, sizeof(command), "rm -rf %s", path);
    return system(command) == 0 ? 0 : 1;
}
