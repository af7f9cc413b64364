#include "index/plan.h"

#include "index/codes.h"
#include "index/memory.h"

#include <math.h>
#include <pthread.h>
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

/* Below this share of passing rows a walk over them falls apart; that is where scans are cheap. */
static const double filtered_share_min = 0.04;
/* A walk that drops what does not pass keeps its recall only while enough of its pool passes. */
static const double plain_share_min = 0.02;
/* What a walk may cost, in scans, before one follows: a guess of what it costs may be a third off,
 * and both together are to cost no more than 2.2. */
static const double vain_max = 0.8;

struct price {
    double base, per_byte; /* nanoseconds a row */
};

/* What a scan does: it goes through all rows or passes over some, and for one query or for
 * KERNELS_QUERIES, of which each bears its share. */
enum scan_kind {
    SCAN_ALL,
    SCAN_SHARED,
    SCAN_GAPS,
    SCAN_SHARED_GAPS,
    SCAN_KINDS,
};

static const struct {
    uint32_t stride;
    size_t together;
} scan_kinds[SCAN_KINDS] = {[SCAN_ALL] = {1, 1},
                            [SCAN_SHARED] = {1, KERNELS_QUERIES},
                            [SCAN_GAPS] = {2, 1},
                            [SCAN_SHARED_GAPS] = {2, KERNELS_QUERIES}};

/* Of rows in order, from near and from far. Nothing but these is known before it is measured. */
static struct {
    struct price near, far;
} scans[SCAN_KINDS] = {{{1, 0}, {1, 0}}, {{1, 0}, {1, 0}}, {{1, 0}, {1, 0}}, {{1, 0}, {1, 0}}};
static struct price fetch = {1, 0}; /* of rows at random */
static double look_ns;              /* at two bytes of a slot at random */

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
    enum scan_kind kind;
    uint32_t at; /* the next row; each measurement goes on where the last one ended */
    struct code_batch batch;
    struct code_block block;
};

static const uint8_t *row_at(const struct trial *trial, uint32_t number) {
    return trial->memory + number % (trial->region / trial->space.width) * trial->space.width;
}

/* Measures rows here and there, as walks do: some 16 at a time. Returns their number. */
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
    uint32_t stride = scan_kinds[trial->kind].stride;
    for (size_t i = 0; i < KERNELS_QUERIES; i++)
        queries[i] = &trial->query;
    struct code_block *block = &trial->block;
    for (block->count = 0; block->count < CODES_BATCH_MAX; block->count++, trial->at += stride) {
        block->slots[block->count] = trial->at;
        block->rows[block->count] = row_at(trial, trial->at);
        block->scales[block->count] = 0.01f;
        block->lengths[block->count] = 1;
        block->errors[block->count] = 0;
        if (stride > 1) /* see flat.c */
            memory_prefetch(block->rows[block->count], trial->space.width);
    }
    codes_scan(&trial->space, queries, scan_kinds[trial->kind].together, block);
    codes_floors(&trial->space, queries, scan_kinds[trial->kind].together, block);
    return (uint32_t)block->count;
}

/* Nanoseconds a row of a region takes. */
static double measure(struct trial *trial, size_t region, uint32_t (*take)(struct trial *)) {
    double best = 0;
    const uint32_t rows =
        region == NEAR_BYTES ? (uint32_t)(NEAR_READ / trial->space.width) : FAR_ROWS;
    trial->region = region;
    for (int run = 0; run < TRIAL_RUNS; run++) {
        double start = now_ns();
        for (uint32_t done = 0; done < rows;)
            done += take(trial);
        double took = (now_ns() - start) / rows;
        best = run == 0 || took < best ? took : best;
    }
    return best;
}

/* Nanoseconds to look at two bytes somewhere, many such looks under way at once. */
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
    double near[SCAN_KINDS], far[SCAN_KINDS], fetch;
};

/* False when memory ends. */
static bool measure_width(const uint8_t *memory, size_t width, struct measured *ns) {
    struct trial *trial = calloc(1, sizeof(*trial));
    float *vector = calloc(width, sizeof(*vector));
    bool is_ready = trial && vector && codes_space_init(&trial->space, DISTANCE_COSINE, width) &&
                    codes_query_reserve(&trial->query, width);
    if (is_ready) {
        trial->memory = memory;
        vector[0] = 1;
        codes_query_vector(&trial->space, vector, &trial->query);
        codes_query_bound(&trial->space, &trial->query);
        for (trial->kind = 0; trial->kind < SCAN_KINDS; trial->kind++) {
            double queries = (double)scan_kinds[trial->kind].together;
            ns->near[trial->kind] = measure(trial, NEAR_BYTES, take_block) / queries;
            ns->far[trial->kind] = measure(trial, TRIAL_BYTES, take_block) / queries;
        }
        ns->fetch = measure(trial, TRIAL_BYTES, take_scattered);
    }
    if (trial) {
        codes_query_free(&trial->query);
        codes_space_free(&trial->space);
    }
    free(vector);
    free(trial);
    return is_ready;
}

/* Where memory lacks for measuring, all rows cost the same. */
static void measure_prices(void) {
    struct measured narrow = {0}, wide = {0};
    uint8_t *memory = memory_map(TRIAL_BYTES);
    if (!memory)
        return;
    memory_expect(memory, TRIAL_BYTES);
    memset(memory, 100, TRIAL_BYTES);
    if (measure_width(memory, NARROW, &narrow) && measure_width(memory, WIDE, &wide)) {
        for (size_t kind = 0; kind < SCAN_KINDS; kind++) {
            scans[kind].near = line_through(narrow.near[kind], wide.near[kind]);
            scans[kind].far = line_through(narrow.far[kind], wide.far[kind]);
        }
        fetch = line_through(narrow.fetch, wide.fetch);
    }
    look_ns = measure_look(memory);
    memory_unmap(memory, TRIAL_BYTES);
}

static double price_of(struct price price, size_t bytes) {
    return price.base + price.per_byte * (double)bytes;
}

/* Nanoseconds of an exact scan: between near and far by the bytes that it reads. */
static double scan_ns(const struct plan_question *question) {
    bool is_shared = question->together >= KERNELS_QUERIES;
    bool has_gaps = question->candidates < question->rows;
    enum scan_kind kind = has_gaps    ? is_shared ? SCAN_SHARED_GAPS : SCAN_GAPS
                          : is_shared ? SCAN_SHARED
                                      : SCAN_ALL;
    double rows = (double)question->candidates, bytes = rows * (double)question->width;
    double share = log2(bytes / NEAR_BYTES) / log2((double)TRIAL_BYTES / NEAR_BYTES);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    return rows * ((1 - share) * price_of(scans[kind].near, question->width) +
                   share * price_of(scans[kind].far, question->width));
}

/* Nanoseconds of a walk that looks through failing slots: it measures up to 64 rows a step, and
 * reads the list of each neighbour that fails. */
static double filtered_walk_ns(const struct plan_question *question, double share) {
    double links = question->places * 0.75, lists = links * (1 - share);
    double scored = links * share + lists * links * share;
    scored = scored > 64 ? 64 : scored;
    /* Fewer are met for the first time as the walk goes on; a third is what is left of them. */
    double step = scored / 3 * price_of(fetch, question->width) +
                  lists * price_of(fetch, question->places * sizeof(uint32_t)) +
                  lists * question->places * look_ns;
    return (double)question->ef * step;
}

void plan_prepare(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, measure_prices);
}

/* What is considered; each improves on the answer if it is cheaper. */
struct choice {
    const struct plan_question *question;
    struct plan_answer best;
    double best_ns;
    double share; /* of the rows, that passes */
    double scored_ns;
};

static bool is_better(const struct choice *choice, enum index_plan plan, double ns) {
    enum index_plan wanted = choice->question->wanted;
    return wanted == INDEX_PLAN_CHEAPEST ? ns < choice->best_ns : wanted == plan;
}

static void take(struct choice *choice, enum index_plan plan, double ef, double ns) {
    if (!is_better(choice, plan, ns))
        return;
    choice->best.plan = plan;
    choice->best.ef = (size_t)ef;
    choice->best_ns = ns;
}

static void consider_graph(struct choice *choice) {
    const struct plan_question *question = choice->question;
    double ef = (double)question->ef / choice->share;
    if (choice->share >= plain_share_min && ef <= VECTOR_INDEX_EF_MAX)
        take(choice, INDEX_PLAN_GRAPH, ef, ef * question->scored_per_ef * choice->scored_ns);
}

static void consider_filtered_graph(struct choice *choice) {
    const struct plan_question *question = choice->question;
    if (question->has_filter && choice->share >= filtered_share_min && choice->share < 0.9)
        take(choice, INDEX_PLAN_FILTERED_GRAPH, (double)question->ef,
             filtered_walk_ns(question, choice->share));
}

struct plan_answer plan_choose(const struct plan_question *question) {
    plan_prepare();
    double rows = (double)(question->rows > 0 ? question->rows : 1);
    double fetch_ns = price_of(fetch, question->width);
    double exact_ns = scan_ns(question);
    struct choice choice = {
        .question = question,
        .best = {.plan = INDEX_PLAN_EXACT,
                 .ef = question->ef,
                 .share = (double)question->candidates / rows},
        .best_ns = exact_ns,
        .share = question->has_filter ? (double)question->passing / rows : 1,
        .scored_ns = question->scored_ns > 0 ? question->scored_ns : fetch_ns,
    };
    consider_graph(&choice);
    consider_filtered_graph(&choice);
    /* A walk to the end, where one is wanted whatever it costs. */
    double scored_ns = choice.best.plan == INDEX_PLAN_GRAPH ? choice.scored_ns : fetch_ns;
    choice.best.scored_max = question->wanted == INDEX_PLAN_CHEAPEST
                                 ? (uint64_t)(vain_max * exact_ns / scored_ns)
                                 : UINT64_MAX / 4;
    return choice.best;
}
