#include "index/plan.h"

#include "index/kernels.h"
#include "index/prices.h"

/* Below this share of passing rows a walk over them falls apart; that is where scans are cheap. */
static const double filtered_share_min = 0.04;
/* A walk that drops what does not pass keeps its recall only while enough of its pool passes. */
static const double plain_share_min = 0.02;
/* What a walk may cost, in scans, before one follows: a guess of what it costs may be a third off,
 * and both together are to cost no more than 2.2. */
static const double vain_max = 0.8;

static enum price_name scan_of(const struct plan_question *question) {
    bool is_shared = question->together >= KERNELS_QUERIES;
    if (question->candidates < question->rows)
        return is_shared ? PRICE_SCAN_SHARED_GAPS : PRICE_SCAN_GAPS;
    return is_shared ? PRICE_SCAN_SHARED : PRICE_SCAN;
}

/* Nanoseconds of a walk that looks through failing slots: it measures up to 64 rows a step, and
 * reads the list of each neighbour that fails. */
static double filtered_walk_ns(const struct plan_question *question, double share) {
    double links = question->places * 0.75, lists = links * (1 - share);
    double scored = links * share + lists * links * share;
    scored = scored > 64 ? 64 : scored;
    /* Fewer are met for the first time as the walk goes on; a third is what is left of them. */
    double step = scored / 3 * prices_fetch(question->width) +
                  lists * prices_fetch(question->places * sizeof(uint32_t)) +
                  lists * question->places * prices_look();
    return (double)question->ef * step;
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
    enum price_name scan = scan_of(question);
    prices_prepare(UINT32_C(1) << scan | UINT32_C(1) << PRICE_FETCH |
                   (uint32_t)question->has_filter << PRICE_LOOK);
    double rows = (double)(question->rows > 0 ? question->rows : 1);
    double fetch_ns = prices_fetch(question->width);
    double exact_ns =
        (double)question->candidates * prices_scan(scan, question->candidates, question->width);
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
