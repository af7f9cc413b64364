#include "index/prices.h"

#include "index/codes.h"
#include "index/memory.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TRIAL_BYTES = 24 << 20, /* rows that no cache near the core holds */
    NEAR_BYTES = 1 << 20,   /* rows that stay near it from scan to scan */
    NARROW = 128,           /* the widths that are measured; others lie on a line through them */
    WIDE = 1024,
    NEAR_READ = 768 << 10, /* bytes of rows near the core that a run takes; or ... */
    FAR_ROWS = 6144,       /* ... rows far from it, or at random, so that runs come around late */
    LOOKS = 1 << 17,
    TRIAL_RUNS = 3, /* of which the fastest counts: others may use the core */
};

/* Nanoseconds a row. */
struct price {
    double base, per_byte;
};

struct trial;
typedef uint32_t take_fn(struct trial *trial); /* measures some rows, returns how many */
static take_fn take_block, take_scattered;

/* How each price of rows is measured. */
static const struct way {
    take_fn *take;
    uint32_t stride;
    size_t together;
} ways[] = {[PRICE_SCAN] = {take_block, 1, 1},
            [PRICE_SCAN_SHARED] = {take_block, 1, KERNELS_QUERIES},
            [PRICE_SCAN_GAPS] = {take_block, 2, 1},
            [PRICE_SCAN_SHARED_GAPS] = {take_block, 2, KERNELS_QUERIES},
            [PRICE_FETCH] = {take_scattered, 1, 1}};

enum {
    ROW_PRICES = sizeof(ways) / sizeof(ways[0])
};

/* Written under the lock, by whoever finds them unknown; read by those who find them known. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t known;
static struct {
    struct price near, far;
} rows_cost[ROW_PRICES] = {
    {{1, 0}, {1, 0}}, {{1, 0}, {1, 0}}, {{1, 0}, {1, 0}}, {{1, 0}, {1, 0}}, {{1, 0}, {1, 0}}};
static double look_ns;

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Where rows are measured: of a width, all like the query. */
struct trial {
    struct code_space space;
    struct code_query query;
    const uint8_t *memory; /* TRIAL_BYTES */
    size_t region;         /* of which so many are read */
    const struct way *way;
    uint32_t at; /* the next row; each measurement goes on where the last one ended */
    struct code_batch batch;
    struct code_block block;
};

static const uint8_t *row_at(const struct trial *trial, uint32_t number) {
    return trial->memory + number % (trial->region / trial->space.width) * trial->space.width;
}

/* Rows here and there, as walks do: some 16 at a time. */
static uint32_t take_scattered(struct trial *trial) {
    static const struct code_meta meta = {.scale = 0.01f, .length = 1};
    struct code_batch *batch = &trial->batch;
    for (batch->count = 0; batch->count < 16; batch->count++) {
        trial->at = trial->at * 1664525u + 1013904223u;
        batch->rows[batch->count] = row_at(trial, trial->at);
        batch->metas[batch->count] = &meta;
    }
    codes_distances(&trial->space, &trial->query, batch);
    return (uint32_t)batch->count;
}

/* As scans do: a full block. */
static uint32_t take_block(struct trial *trial) {
    const struct code_query *queries[KERNELS_QUERIES];
    const struct way *way = trial->way;
    for (size_t i = 0; i < KERNELS_QUERIES; i++)
        queries[i] = &trial->query;
    struct code_block *block = &trial->block;
    for (block->count = 0; block->count < CODES_BATCH_MAX;
         block->count++, trial->at += way->stride) {
        block->slots[block->count] = trial->at;
        block->rows[block->count] = row_at(trial, trial->at);
        block->scales[block->count] = 0.01f;
        block->lengths[block->count] = 1;
        block->errors[block->count] = 0;
        if (way->stride > 1) /* see flat.c */
            memory_prefetch(block->rows[block->count], trial->space.width);
    }
    codes_scan(&trial->space, queries, way->together, block);
    codes_floors(&trial->space, queries, way->together, block);
    return (uint32_t)block->count;
}

/* Nanoseconds a row of a region takes, of each query. */
static double measure(struct trial *trial, const struct way *way, size_t region) {
    double best = 0;
    const uint32_t rows =
        region == NEAR_BYTES ? (uint32_t)(NEAR_READ / trial->space.width) : FAR_ROWS;
    trial->region = region;
    trial->way = way;
    for (int run = 0; run < TRIAL_RUNS; run++) {
        double start = now_ns();
        for (uint32_t done = 0; done < rows;)
            done += way->take(trial);
        double took = (now_ns() - start) / rows;
        best = run == 0 || took < best ? took : best;
    }
    return best / (double)way->together;
}

static double measure_look(const uint8_t *memory) {
    const uint16_t *marks = (const uint16_t *)(const void *)memory;
    uint32_t at = 1, sum = 0;
    double start = now_ns();
    for (uint32_t i = 0; i < LOOKS; i++) {
        at = at * 1664525u + 1013904223u;
        sum += marks[(at >> 8) % (TRIAL_BYTES / sizeof(marks[0]))];
    }
    volatile uint32_t sink = sum;
    (void)sink;
    return (now_ns() - start) / LOOKS;
}

static struct price line_through(double narrow, double wide) {
    double slope = (wide - narrow) / (WIDE - NARROW);
    slope = slope > 0 ? slope : 0;
    double base = narrow - slope * NARROW;
    return (struct price){.base = base > 1 ? base : 1, .per_byte = slope};
}

/* Nanoseconds a row at a width. */
struct measured {
    double near[ROW_PRICES], far[ROW_PRICES];
};

static bool is_wanted(uint32_t names, size_t name) {
    return names >> name & 1;
}

/* False when memory ends. */
static bool measure_width(const uint8_t *memory, uint32_t names, size_t width,
                          struct measured *ns) {
    struct trial *trial = calloc(1, sizeof(*trial));
    float *vector = calloc(width, sizeof(*vector));
    bool is_ready = trial && vector && codes_space_init(&trial->space, DISTANCE_COSINE, width) &&
                    codes_query_reserve(&trial->query, width);
    if (is_ready) {
        trial->memory = memory;
        vector[0] = 1;
        codes_query_vector(&trial->space, vector, &trial->query);
        codes_query_bound(&trial->space, &trial->query);
        for (size_t name = 0; name < ROW_PRICES; name++) {
            if (is_wanted(names, name) && name != PRICE_FETCH) /* which is from far */
                ns->near[name] = measure(trial, &ways[name], NEAR_BYTES);
            if (is_wanted(names, name))
                ns->far[name] = measure(trial, &ways[name], TRIAL_BYTES);
        }
    }
    if (trial) {
        codes_query_free(&trial->query);
        codes_space_free(&trial->space);
    }
    free(vector);
    free(trial);
    return is_ready;
}

static void measure_rows(const uint8_t *memory, uint32_t names) {
    struct measured narrow = {0}, wide = {0};
    if (!measure_width(memory, names, NARROW, &narrow) ||
        !measure_width(memory, names, WIDE, &wide))
        return;
    for (size_t name = 0; name < ROW_PRICES; name++) {
        if (!is_wanted(names, name))
            continue;
        rows_cost[name].near = line_through(narrow.near[name], wide.near[name]);
        rows_cost[name].far = line_through(narrow.far[name], wide.far[name]);
    }
}

static void measure_all(uint32_t names) {
    uint8_t *memory = memory_map(TRIAL_BYTES);
    if (!memory)
        return;
    memory_expect(memory, TRIAL_BYTES);
    memset(memory, 100, TRIAL_BYTES);
    if (is_wanted(names, PRICE_LOOK))
        look_ns = measure_look(memory);
    measure_rows(memory, names);
    memory_unmap(memory, TRIAL_BYTES);
}

void prices_prepare(uint32_t names) {
    if ((names & ~atomic_load_explicit(&known, memory_order_acquire)) == 0)
        return;
    pthread_mutex_lock(&lock);
    uint32_t missing = names & ~atomic_load(&known);
    if (missing) {
        measure_all(missing);
        atomic_fetch_or_explicit(&known, missing, memory_order_release);
    }
    pthread_mutex_unlock(&lock);
}

static double price_of(struct price price, size_t bytes) {
    return price.base + price.per_byte * (double)bytes;
}

double prices_scan(enum price_name scan, uint64_t rows, size_t row_bytes) {
    double bytes = (double)rows * (double)row_bytes;
    double share = log2(bytes / NEAR_BYTES) / log2((double)TRIAL_BYTES / NEAR_BYTES);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    return (1 - share) * price_of(rows_cost[scan].near, row_bytes) +
           share * price_of(rows_cost[scan].far, row_bytes);
}

double prices_fetch(size_t bytes) {
    return price_of(rows_cost[PRICE_FETCH].far, bytes);
}

double prices_look(void) {
    return look_ns;
}
