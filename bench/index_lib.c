/* The index as a shared library for bench/engines.py: matrices in, ids and CPU seconds out.
 *
 * Rows are slots, all alive. Bench only: it exits when memory ends or a file cannot be written.
 */
#include "index/memory.h"
#include "index/vector_index.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE = 64,
    ROWS_AHEAD = 8, /* as the index asks for rows */
    ROWS_READ = 1 << 18,
    THREADS_MAX = 64,
};

/* What is drawn up to make a bench_index; the rows are borrowed until bench_free. */
struct bench_options {
    const float *rows;
    uint32_t count, dimension;
    int distance, profile; /* enum distance, enum index_profile */
};

/* What the searches of a call did, all together. */
struct bench_work {
    uint64_t scored;    /* distances of codes and of vectors */
    uint64_t originals; /* vectors asked of the owner */
    uint64_t halved;    /* codes of which half was read */
};

/* Searches at default parameters for k rows of those whose bit is set. */
struct bench_filter {
    const uint64_t *words;
    uint32_t k;
    int plan; /* enum index_plan */
};

struct bench_index {
    struct bench_options options;
    struct bench_work work;
    struct slots *slots;
    struct vector_index *index;
    struct index_scratch *scratch;
};

int bench_profile(const char *name);
int bench_distance(const char *name);
struct bench_index *bench_create(const struct bench_options *options);
void bench_put(struct bench_index *bench);
double bench_build(struct bench_index *bench, int threads);
int bench_save(struct bench_index *bench, const char *path);
int bench_load(struct bench_index *bench, const char *path);
void bench_settle(struct bench_index *bench);
void bench_work(const struct bench_index *bench, struct bench_work *work);
double bench_row_ns(size_t row_bytes, size_t region_bytes);
double bench_search(struct bench_index *bench, const float *queries, uint32_t count, uint32_t k,
                    uint32_t ef, int plan, int32_t *ids);
double bench_scan(struct bench_index *bench, const float *queries, uint32_t count, uint32_t k,
                  uint32_t together, int32_t *ids);
double bench_filtered(struct bench_index *bench, const struct bench_filter *filter,
                      const float *queries, uint32_t count, int32_t *ids, uint32_t *taken);
double bench_search_threads(struct bench_index *bench, const float *queries, uint32_t count,
                            int threads);
double bench_memory(struct bench_index *bench);
uint32_t bench_default_ef(struct bench_index *bench);
uint32_t bench_edge_bits(struct bench_index *bench);
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
    struct bench_index *bench = context;
    bench->work.originals++;
    return bench->options.rows + (size_t)slot * bench->options.dimension;
}

/* The enum index_profile of that name; -1 if there is none. */
int bench_profile(const char *name) {
    int profile = INDEX_PROFILE_COUNT - 1;
    while (profile >= 0 && strcmp(name, index_profile_name((enum index_profile)profile)) != 0)
        profile--;
    return profile;
}

/* The enum distance of that name (distance_name). */
int bench_distance(const char *name) {
    int distance = 0;
    while (distance < DISTANCE_COUNT && strcmp(name, distance_name((enum distance)distance)) != 0)
        distance++;
    return distance;
}

/* NULL if the index refuses the options: a profile or distance that it does not have. */
struct bench_index *bench_create(const struct bench_options *options) {
    struct error error = {0};
    struct bench_index *bench = calloc(1, sizeof(*bench));
    if (!bench)
        exit(EXIT_FAILURE);
    bench->options = *options;
    const struct vector_index_options index = {.dimension = options->dimension,
                                               .profile = (enum index_profile)options->profile,
                                               .distance = (enum distance)options->distance};
    must(slots_create(&bench->slots, &error), &error);
    must(slots_reserve(bench->slots, options->count, &error), &error);
    if (vector_index_create(&index, bench->slots, &bench->index, &error) != STATUS_OK) {
        slots_free(bench->slots);
        free(bench);
        return NULL;
    }
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
    while (vector_index_refresh(bench->index, scratch)) {
    }
    index_scratch_free(scratch);
    return NULL;
}

/* Puts all rows, which is enough for exact scans. */
void bench_put(struct bench_index *bench) {
    struct error error = {0};
    must(vector_index_reserve(bench->index, bench->options.count, &error), &error);
    for (uint32_t slot = 0; slot < bench->options.count; slot++) {
        vector_index_put(bench->index, slot, row_of(bench, slot), slot);
        slots_born(bench->slots, slot, 1);
    }
}

/* Puts and links all rows; the CPU seconds of all threads. */
double bench_build(struct bench_index *bench, int threads) {
    double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
    pthread_t others[THREADS_MAX];
    bench_put(bench);
    for (int i = 1; i < threads && i < 64; i++)
        pthread_create(&others[i], NULL, build, bench);
    build(bench);
    for (int i = 1; i < threads && i < 64; i++)
        pthread_join(others[i], NULL);
    return seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
}

/* Writes the image to a file; 0, or -1 if it cannot be written. */
int bench_save(struct bench_index *bench, const char *path) {
    const struct index_stamp stamp = {.operation = 1, .incarnation = 1};
    struct error error = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return -1;
    enum status status = vector_index_save(bench->index, fd, INDEX_IMAGE_WHOLE, &stamp, &error);
    return close(fd) == 0 && status == STATUS_OK ? 0 : -1;
}

/* Fills a fresh index from such a file, all its slots alive; 0, or -1 if the file is refused. */
int bench_load(struct bench_index *bench, const char *path) {
    struct index_stamp stamp;
    struct error error = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    const struct index_files files = {.whole = fd, .delta = -1};
    enum status status = vector_index_load(bench->index, &files, &stamp, &error);
    close(fd);
    if (status != STATUS_OK)
        return -1;
    for (uint32_t slot = 0; slot < bench->options.count; slot++)
        slots_born(bench->slots, slot, 1);
    return 0;
}

/* After a load: what builders do in the background until searches are at their fastest. */
void bench_settle(struct bench_index *bench) {
    while (vector_index_settle(bench->index)) {
    }
    build(bench);
}

static double search_all(struct bench_index *bench, struct index_query *query, const float *queries,
                         uint32_t count, int32_t *ids, uint32_t *taken) {
    const struct vector_owner owner = {.vector = row_of, .context = bench};
    struct index_answer answer;
    struct error error = {0};
    bench->work = (struct bench_work){0};
    double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t i = 0; i < count; i++) {
        query->vector = queries + (size_t)i * bench->options.dimension;
        must(vector_index_search(bench->index, query, &owner, bench->scratch, &answer, &error),
             &error);
        for (uint32_t j = 0; j < query->k; j++)
            ids[(size_t)i * query->k + j] = j < answer.count ? (int32_t)answer.hits[j].slot : -1;
        bench->work.scored += answer.scored;
        bench->work.halved += answer.halved;
        if (taken)
            taken[answer.plan]++;
    }
    return seconds(CLOCK_THREAD_CPUTIME_ID) - start;
}

/* plan: an enum index_plan. */
double bench_search(struct bench_index *bench, const float *queries, uint32_t count, uint32_t k,
                    uint32_t ef, int plan, int32_t *ids) {
    struct index_query query = {.k = k, .ef = ef, .plan = (enum index_plan)plan, .operation = 1};
    return search_all(bench, &query, queries, count, ids, NULL);
}

/* Exact scans for `together` queries a pass, at most VECTOR_INDEX_TOGETHER_MAX. */
double bench_scan(struct bench_index *bench, const float *queries, uint32_t count, uint32_t k,
                  uint32_t together, int32_t *ids) {
    const struct vector_owner owner = {.vector = row_of, .context = bench};
    struct index_query wanted[VECTOR_INDEX_TOGETHER_MAX];
    struct index_answer answers[VECTOR_INDEX_TOGETHER_MAX];
    struct error error = {0};
    double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (uint32_t i = 0; i < count; i += together) {
        uint32_t now = count - i < together ? count - i : together;
        for (uint32_t q = 0; q < now; q++)
            wanted[q] =
                (struct index_query){.vector = queries + (size_t)(i + q) * bench->options.dimension,
                                     .k = k,
                                     .operation = 1};
        must(vector_index_scan(bench->index, wanted, now, &owner, bench->scratch, answers, &error),
             &error);
        for (uint32_t q = 0; q < now; q++)
            for (uint32_t j = 0; j < k; j++)
                ids[(size_t)(i + q) * k + j] =
                    j < answers[q].count ? (int32_t)answers[q].hits[j].slot : -1;
    }
    return seconds(CLOCK_THREAD_CPUTIME_ID) - start;
}

/* A thread that searches: a copy of the index's handle, with a scratch and counts of its own. */
struct searcher {
    pthread_t thread;
    struct bench_index bench;
    const float *queries;
    uint32_t count;
};

static void *search_as_thread(void *context) {
    struct searcher *searcher = context;
    struct index_query query = {.k = 10, .operation = 1};
    int32_t *ids = calloc((size_t)searcher->count * query.k, sizeof(*ids));
    if (!ids)
        exit(EXIT_FAILURE);
    search_all(&searcher->bench, &query, searcher->queries, searcher->count, ids, NULL);
    free(ids);
    return NULL;
}

/* Wall seconds in which each of up to THREADS_MAX threads searches for all queries, at default
 * parameters.
 */
double bench_search_threads(struct bench_index *bench, const float *queries, uint32_t count,
                            int threads) {
    static struct searcher searchers[THREADS_MAX];
    struct error error = {0};
    for (int i = 0; i < threads && i < THREADS_MAX; i++) {
        searchers[i] = (struct searcher){.bench = *bench, .queries = queries, .count = count};
        must(index_scratch_create(&searchers[i].bench.scratch, &error), &error);
    }
    double start = seconds(CLOCK_MONOTONIC);
    for (int i = 0; i < threads && i < THREADS_MAX; i++)
        if (pthread_create(&searchers[i].thread, NULL, search_as_thread, &searchers[i]) != 0)
            exit(EXIT_FAILURE);
    for (int i = 0; i < threads && i < THREADS_MAX; i++)
        pthread_join(searchers[i].thread, NULL);
    double took = seconds(CLOCK_MONOTONIC) - start;
    for (int i = 0; i < threads && i < THREADS_MAX; i++)
        index_scratch_free(searchers[i].bench.scratch);
    return took;
}

/* taken: how many searches were done in each way, by enum index_plan. */
double bench_filtered(struct bench_index *bench, const struct bench_filter *filter,
                      const float *queries, uint32_t count, int32_t *ids, uint32_t *taken) {
    struct slot_filter slots = {.words = filter->words, .slot_end = bench->options.count};
    for (uint32_t slot = 0; slot < bench->options.count; slot++)
        slots.count += filter->words[slot / 64] >> (slot % 64) & 1;
    slots.estimate = slots.count;
    struct index_query query = {
        .k = filter->k, .plan = (enum index_plan)filter->plan, .operation = 1, .filter = &slots};
    return search_all(bench, &query, queries, count, ids, taken);
}

/* Of the last call of bench_search or bench_filtered. */
void bench_work(const struct bench_index *bench, struct bench_work *work) {
    *work = bench->work;
}

/* What one row costs that is read at a random place of a region in huge pages, asked for as the
 * index asks for rows: the memory's own price, the bound of every walk. Nanoseconds of CPU. */
double bench_row_ns(size_t row_bytes, size_t region_bytes) {
    size_t rows = region_bytes / row_bytes;
    if (rows < ROWS_AHEAD)
        return 0;
    char *region = memory_map(rows * row_bytes);
    uint32_t *order = malloc((ROWS_READ + ROWS_AHEAD) * sizeof(*order));
    if (!region || !order)
        exit(EXIT_FAILURE);
    memory_use_huge_pages(region, rows * row_bytes);
    memset(region, 1, rows * row_bytes);
    uint64_t random = 1;
    for (size_t i = 0; i < ROWS_READ + ROWS_AHEAD; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        order[i] = (uint32_t)((random >> 32) * rows >> 32);
    }
    uint64_t sum = 0;
    double start = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < ROWS_READ; i++) {
        const char *ahead = region + order[i + ROWS_AHEAD] * row_bytes;
        const char *row = region + order[i] * row_bytes;
        for (size_t byte = 0; byte < row_bytes; byte += LINE) {
            __builtin_prefetch(ahead + byte, 0, 2);
            sum += (uint64_t)row[byte];
        }
    }
    double took = seconds(CLOCK_THREAD_CPUTIME_ID) - start;
    __asm__ volatile("" : : "r"(sum)); /* or the loop may go */
    free(order);
    memory_unmap(region, rows * row_bytes);
    return took / ROWS_READ * 1e9;
}

double bench_memory(struct bench_index *bench) {
    struct vector_index_info info;
    vector_index_info(bench->index, &info);
    return (double)info.memory_bytes / (double)bench->options.count;
}

uint32_t bench_default_ef(struct bench_index *bench) {
    struct vector_index_info info;
    vector_index_info(bench->index, &info);
    return info.default_ef;
}

uint32_t bench_edge_bits(struct bench_index *bench) {
    struct vector_index_info info;
    vector_index_info(bench->index, &info);
    return info.edge_bits;
}

void bench_free(struct bench_index *bench) {
    index_scratch_free(bench->scratch);
    vector_index_free(bench->index);
    slots_free(bench->slots);
    free(bench);
}
