/* The index as a shared library for bench/index_bench.py: matrices in, ids and CPU seconds out.
 *
 * Rows are slots, all alive. Bench only: it exits when memory ends.
 */
#include "index/vector_index.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bench_index {
    const float *rows; /* the caller's matrix */
    uint32_t dimension, count;
    struct slots *slots;
    struct vector_index *index;
    struct index_scratch *scratch;
};

struct bench_index *bench_create(const float *rows, uint32_t count, uint32_t dimension,
                                 int distance);
double bench_build(struct bench_index *bench, int threads);
double bench_search(struct bench_index *bench, const float *queries, uint32_t count, uint32_t k,
                    uint32_t ef, int exact, int32_t *ids);
double bench_filtered(struct bench_index *bench, const float *queries, uint32_t count, uint32_t k,
                      uint32_t ef, const uint64_t *words, int32_t *ids, uint32_t *plans);
double bench_memory(struct bench_index *bench);
uint32_t bench_default_ef(struct bench_index *bench);
void bench_free(struct bench_index *bench);

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void must(enum status status, const struct error *error) {
    if (status == STATUS_OK)
        return;
    fprintf(stderr, "%s: %s\n", status_text(status), error->message);
    exit(EXIT_FAILURE);
}

static const float *row_of(void *context, uint32_t slot) {
    const struct bench_index *bench = context;
    return bench->rows + (size_t)slot * bench->dimension;
}

struct bench_index *bench_create(const float *rows, uint32_t count, uint32_t dimension,
                                 int distance) {
    struct error error = {0};
    struct bench_index *bench = calloc(1, sizeof(*bench));
    if (!bench)
        exit(EXIT_FAILURE);
    *bench = (struct bench_index){.rows = rows, .dimension = dimension, .count = count};
    const struct vector_index_options options = {.dimension = dimension,
                                                 .distance = (enum distance)distance};
    must(slots_create(&bench->slots, &error), &error);
    must(slots_reserve(bench->slots, count, &error), &error);
    must(vector_index_create(&options, bench->slots, &bench->index, &error), &error);
    must(vector_index_reserve(bench->index, count, &error), &error);
    must(index_scratch_create(&bench->scratch, &error), &error);
    return bench;
}

static void *build(void *context) {
    struct bench_index *bench = context;
    struct index_scratch *scratch;
    struct error error = {0};
    uint32_t linked = 1;
    must(index_scratch_create(&scratch, &error), &error);
    while (linked > 0)
        must(vector_index_link(bench->index, 64, scratch, &linked, &error), &error);
    index_scratch_free(scratch);
    return NULL;
}

/* Puts and links all rows; the CPU seconds of all threads. */
double bench_build(struct bench_index *bench, int threads) {
    double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    pthread_t others[64];
    for (uint32_t slot = 0; slot < bench->count; slot++) {
        vector_index_put(bench->index, slot, row_of(bench, slot), slot);
        slots_born(bench->slots, slot, 1);
    }
    for (int i = 1; i < threads && i < 64; i++)
        pthread_create(&others[i], NULL, build, bench);
    build(bench);
    for (int i = 1; i < threads && i < 64; i++)
        pthread_join(others[i], NULL);
    return seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
}

static double search_all(struct bench_index *bench, struct index_query *query, const float *queries,
                         uint32_t count, int32_t *ids, uint32_t *plans) {
    const struct vector_owner owner = {.vector = row_of, .context = bench};
    struct index_answer answer;
    struct error error = {0};
    double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t i = 0; i < count; i++) {
        query->vector = queries + (size_t)i * bench->dimension;
        must(vector_index_search(bench->index, query, &owner, bench->scratch, &answer, &error),
             &error);
        for (uint32_t j = 0; j < query->k; j++)
            ids[(size_t)i * query->k + j] = j < answer.count ? (int32_t)answer.hits[j].slot : -1;
        if (plans)
            plans[answer.plan]++;
    }
    return seconds(CLOCK_THREAD_CPUTIME_ID) - start;
}

double bench_search(struct bench_index *bench, const float *queries, uint32_t count, uint32_t k,
                    uint32_t ef, int exact, int32_t *ids) {
    struct index_query query = {.k = k, .ef = ef, .exact = exact != 0, .operation = 1};
    return search_all(bench, &query, queries, count, ids, NULL);
}

double bench_filtered(struct bench_index *bench, const float *queries, uint32_t count, uint32_t k,
                      uint32_t ef, const uint64_t *words, int32_t *ids, uint32_t *plans) {
    struct slot_filter filter = {.words = words, .slot_end = bench->count};
    for (uint32_t slot = 0; slot < bench->count; slot++)
        filter.count += words[slot / 64] >> (slot % 64) & 1;
    filter.estimate = filter.count;
    struct index_query query = {.k = k, .ef = ef, .operation = 1, .filter = &filter};
    return search_all(bench, &query, queries, count, ids, plans);
}

double bench_memory(struct bench_index *bench) {
    struct vector_index_info info;
    vector_index_info(bench->index, &info);
    return (double)info.memory_bytes / (double)bench->count;
}

uint32_t bench_default_ef(struct bench_index *bench) {
    struct vector_index_info info;
    vector_index_info(bench->index, &info);
    return info.default_ef;
}

void bench_free(struct bench_index *bench) {
    index_scratch_free(bench->scratch);
    vector_index_free(bench->index);
    slots_free(bench->slots);
    free(bench);
}
