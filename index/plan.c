#include "index/plan.h"

#include "index/codes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TRIAL_BYTES = 24 << 20, /* rows that no cache near the core holds */
    NARROW = 128,           /* the widths that are measured; others lie on a line through them */
    WIDE = 1024,
    TRIAL_ROWS = 6144, /* random rows a measurement takes */
    LOOKS = 1 << 17,
    TRIAL_RUNS = 3, /* of which the fastest counts: others may use the core */
};

/* Below this share of passing rows a walk over them falls apart; that is where scans are cheap. */
static const double filtered_share_min = 0.04;
/* A walk that drops what does not pass keeps its recall only while enough of its pool passes. */
static const double plain_share_min = 0.02;

struct price {
    double base, per_byte; /* nanoseconds a row */
};

static struct price scan, fetch; /* rows in order, rows at random */
static double look_ns;           /* at two bytes of a slot at random */

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Nanoseconds a row of `width` bytes takes, in order or scattered. */
static double measure(const struct code_space *space, struct code_query *query,
                      const uint8_t *memory, bool is_scattered) {
    struct code_batch *batch = calloc(1, sizeof(*batch));
    const struct code_meta meta = {.scale = 0.01f, .length = 1};
    uint32_t rows = (uint32_t)(TRIAL_BYTES / space->width), at = 0;
    double best = 0;
    for (int run = 0; batch && run < TRIAL_RUNS; run++) {
        double start = now_ns();
        volatile float sink = 0;
        float floors[CODES_BATCH_MAX] = {0};
        for (uint32_t done = 0; done < TRIAL_ROWS; done += (uint32_t)batch->count) {
            /* Walks measure some 16 rows at a time, scans a full batch. */
            batch->count = is_scattered ? 16 : CODES_BATCH_MAX;
            for (size_t i = 0; i < batch->count; i++) {
                at = is_scattered ? (at * 1664525u + 1013904223u) : at + 1;
                batch->rows[i] = memory + (size_t)(at % rows) * space->width;
                batch->metas[i] = &meta;
            }
            codes_distances(space, query, batch);
            if (!is_scattered)
                codes_floors(space, query, batch, batch->lengths, floors);
            sink = sink + batch->distances[0] + floors[0];
        }
        double took = (now_ns() - start) / TRIAL_ROWS;
        best = run == 0 || took < best ? took : best;
    }
    free(batch);
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

static void measure_prices(void) {
    static const size_t widths[] = {NARROW, WIDE};
    double in_order[2] = {0}, scattered[2] = {0};
    uint8_t *memory = aligned_alloc(KERNELS_BLOCK, TRIAL_BYTES);
    struct code_query query = {0};
    for (int i = 0; memory && i < 2; i++) {
        struct code_space space;
        float *vector = calloc(widths[i], sizeof(*vector));
        bool is_ready = codes_space_init(&space, DISTANCE_COSINE, widths[i]);
        if (i == 0)
            memset(memory, 100, TRIAL_BYTES);
        if (vector && is_ready && codes_query_reserve(&query, widths[i])) {
            vector[0] = 1;
            codes_query_vector(&space, vector, &query);
            codes_query_bound(&space, &query);
            in_order[i] = measure(&space, &query, memory, false);
            scattered[i] = measure(&space, &query, memory, true);
        }
        codes_space_free(&space);
        free(vector);
    }
    look_ns = memory ? measure_look(memory) : 0;
    codes_query_free(&query);
    free(memory);
    scan = line_through(in_order[0], in_order[1]);
    fetch = line_through(scattered[0], scattered[1]);
}

static double price_of(struct price price, size_t bytes) {
    return price.base + price.per_byte * (double)bytes;
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
    double exact_ns = (double)question->candidates * price_of(scan, question->width);
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
    choice.best.scored_max =
        question->wanted == INDEX_PLAN_CHEAPEST ? (uint64_t)(exact_ns / scored_ns) : UINT64_MAX / 4;
    return choice.best;
}
