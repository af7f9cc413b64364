/* save_bench.c -- what saving a graph costs the searches that go on beside it, and what it writes.
 *
 *   save_bench [rows [dimension [folder]]]
 *
 * Builds a graph over seeded clusters, then lets one thread search while nothing else goes on,
 * while a thread with a builder's priority saves whole images, and while it saves deltas of a
 * hundredth of the rows. Of each: how long searches take, in wall and in CPU time, and bytes and
 * time of a save. The thread of searches has this machine's cores with whatever else runs on it:
 * the slowest search of the quiet round says how much of the others' is the machine's.
 */
#include "index/vector_index.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    CLUSTERS = 500,
    BUILDERS = 2,
    BUILDER_NICE = 10,
    SEARCHES_MIN = 20000, /* of a round, which lasts for SAVES_MIN saves too */
    SEARCHES_MAX = 400000,
    SAVES_MIN = 3,
    K = 10,
    DELTA_SHARE = 100,
};

struct bench {
    uint32_t rows, dimension;
    char path[4096];
    float *vectors; /* a share 1 / DELTA_SHARE more than rows */
    struct slots *slots;
    struct vector_index *index;
    enum index_image kind; /* that is being saved */
    atomic_bool is_over;   /* enough searches */
    atomic_uint saves;
    double save_wall, save_cpu; /* seconds, of all */
    uint64_t save_bytes;        /* of the last */
};

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

static float draw(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)(*state >> 40) / (float)(1 << 24) - 0.5f;
}

static void make_vector(const struct bench *bench, uint64_t number, float *vector) {
    uint64_t own = number * 7919 + 1, cluster = number * 2654435761 % CLUSTERS + 1;
    for (uint32_t i = 0; i < bench->dimension; i++)
        vector[i] = draw(&cluster) + draw(&own);
}

static const float *vector_of(void *context, uint32_t slot) {
    const struct bench *bench = context;
    return bench->vectors + (size_t)slot * bench->dimension;
}

static void *link_all(void *context) {
    struct bench *bench = context;
    struct index_scratch *scratch;
    struct error error = {0};
    uint32_t linked = 1;
    must(index_scratch_create(&scratch, &error), &error);
    while (linked > 0)
        must(vector_index_link(bench->index, 64, scratch, &linked, &error), &error);
    while (vector_index_refresh(bench->index, scratch))
        continue;
    index_scratch_free(scratch);
    return NULL;
}

static void put_and_link(struct bench *bench, uint32_t first, uint32_t count) {
    pthread_t threads[BUILDERS];
    for (uint32_t slot = first; slot < first + count; slot++) {
        vector_index_put(bench->index, slot, vector_of(bench, slot), slot);
        slots_born(bench->slots, slot, 1);
    }
    for (int i = 0; i < BUILDERS; i++)
        pthread_create(&threads[i], NULL, link_all, bench);
    for (int i = 0; i < BUILDERS; i++)
        pthread_join(threads[i], NULL);
}

/* ---- Saving -----------------------------------------------------------------------------------
 */

static void save(struct bench *bench) {
    const struct index_stamp stamp = {.operation = 1, .incarnation = 1};
    struct error error = {0};
    struct stat info;
    int fd = open(bench->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    must(vector_index_save(bench->index, fd, bench->kind, &stamp, &error), &error);
    if (fsync(fd) < 0 || fstat(fd, &info) < 0)
        exit(EXIT_FAILURE);
    bench->save_bytes = (uint64_t)info.st_size;
    close(fd);
}

static void *save_until_over(void *context) {
    struct bench *bench = context;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), BUILDER_NICE);
    while (!atomic_load(&bench->is_over)) {
        double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
        save(bench);
        bench->save_wall += seconds(CLOCK_MONOTONIC) - wall;
        bench->save_cpu += seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
        atomic_fetch_add(&bench->saves, 1);
    }
    return NULL;
}

/* ---- Searching --------------------------------------------------------------------------------
 */

static int compare(const void *a, const void *b) {
    const float *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void print_times(const char *clock, float *ms, size_t count) {
    qsort(ms, count, sizeof(ms[0]), compare);
    printf("  %s: median %.3f ms, p99 %.3f, p99.9 %.3f, slowest %.3f\n", clock,
           (double)ms[count / 2], (double)ms[count * 99 / 100], (double)ms[count * 999 / 1000],
           (double)ms[count - 1]);
}

/* Searches, with what the thread `beside` does; NULL: nothing. */
static void run_round(struct bench *bench, const char *name, void *(*beside)(void *)) {
    static float wall[SEARCHES_MAX], cpu[SEARCHES_MAX];
    struct vector_owner owner = {.vector = vector_of, .context = bench};
    struct index_scratch *scratch;
    struct error error = {0};
    float *query = malloc(bench->dimension * sizeof(float));
    pthread_t thread;
    size_t count = 0, scans = 0;
    must(index_scratch_create(&scratch, &error), &error);
    bench->save_wall = bench->save_cpu = 0;
    atomic_store(&bench->saves, 0);
    atomic_store(&bench->is_over, false);
    if (beside)
        pthread_create(&thread, NULL, beside, bench);
    while (count < SEARCHES_MAX &&
           (count < SEARCHES_MIN || (beside && atomic_load(&bench->saves) < SAVES_MIN))) {
        make_vector(bench, (uint64_t)1 << 32 | count, query);
        const struct index_query wanted = {
            .vector = query, .k = K, .plan = INDEX_PLAN_GRAPH, .operation = 1};
        struct index_answer answer;
        double wall_begun = seconds(CLOCK_MONOTONIC), cpu_begun = seconds(CLOCK_THREAD_CPUTIME_ID);
        must(vector_index_search(bench->index, &wanted, &owner, scratch, &answer, &error), &error);
        cpu[count] = (float)((seconds(CLOCK_THREAD_CPUTIME_ID) - cpu_begun) * 1e3);
        scans += answer.plan == INDEX_PLAN_EXACT; /* the walk did not find enough */
        wall[count++] = (float)((seconds(CLOCK_MONOTONIC) - wall_begun) * 1e3);
    }
    atomic_store(&bench->is_over, true);
    printf("%s: %zu searches, of which %zu ended as exact scans\n", name, count, scans);
    if (beside) {
        pthread_join(thread, NULL);
        unsigned saves = atomic_load(&bench->saves);
        printf("  a save: %.1f MB, %.3f s, %.3f s of CPU; %u of them\n",
               (double)bench->save_bytes / 1e6, bench->save_wall / saves, bench->save_cpu / saves,
               saves);
    }
    print_times("wall", wall, count);
    print_times("CPU", cpu, count);
    free(query);
    index_scratch_free(scratch);
}

int main(int count, char **arguments) {
    struct error error = {0};
    struct bench bench = {.rows = count > 1 ? (uint32_t)atoi(arguments[1]) : 20000,
                          .dimension = count > 2 ? (uint32_t)atoi(arguments[2]) : 768};
    uint32_t more = bench.rows / DELTA_SHARE, all = bench.rows + more;
    snprintf(bench.path, sizeof(bench.path), "%s/nigh-save-bench-%d",
             count > 3 ? arguments[3] : "/tmp", (int)getpid());
    const struct vector_index_options options = {.dimension = bench.dimension,
                                                 .distance = DISTANCE_EUCLID};
    bench.vectors = malloc((size_t)all * bench.dimension * sizeof(float));
    if (!bench.vectors)
        return EXIT_FAILURE;
    for (uint32_t row = 0; row < all; row++)
        make_vector(&bench, row, bench.vectors + (size_t)row * bench.dimension);
    must(slots_create(&bench.slots, &error), &error);
    must(slots_reserve(bench.slots, all, &error), &error);
    must(vector_index_create(&options, bench.slots, &bench.index, &error), &error);
    must(vector_index_reserve(bench.index, all, &error), &error);
    put_and_link(&bench, 0, bench.rows);
    printf("%u rows of %u dimensions\n", bench.rows, bench.dimension);
    run_round(&bench, "nothing beside", NULL);
    run_round(&bench, "whole images beside", save_until_over);
    run_round(&bench, "nothing beside", NULL);
    put_and_link(&bench, bench.rows, more);
    bench.kind = INDEX_IMAGE_DELTA;
    run_round(&bench, "deltas beside", save_until_over);
    unlink(bench.path);
    vector_index_free(bench.index);
    slots_free(bench.slots);
    free(bench.vectors);
    return EXIT_SUCCESS;
}
