/* The default ef: the smallest at which walks find what an exact scan finds.
 *
 * A query is a mixture of two slots that have nothing to do with each other: a vector that the set
 * might have but has not, at no distance from it that rows have among themselves. Recall of rows as
 * queries says little: they lie within the set, where walks hardly err. Recall is measured among
 * codes.
 */
#include "index/hnsw.h"

#include <time.h>

enum {
    QUERIES = 48,
    NEAREST = 10,
    SMALL_GRAPH = 4096,    /* slots */
    PIECE_SLOTS = 1 << 13, /* of a scan, half a millisecond to one */
};

/* Where even the last falls short the plan will prefer an exact scan, unless the set is huge. */
static const uint32_t efs[] = {96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096};
static const double recall_wanted = 0.97;
/* So that recall is as with queries of users: on 58,716 text embeddings 0.973 here was 0.979 there
 * for cosine, 0.965 was 0.963 for Manhattan. */
static const float other_share = 0.35f;

/* The slots of a query, and what is nearest to it. */
struct sample {
    uint32_t slot, other;
    struct hit nearest[NEAREST];
    struct top_k truth;
};

static void make_query(const struct hnsw *hnsw, const struct sample *sample,
                       struct code_query *query) {
    const struct store *store = hnsw->store;
    const struct code_row first = {.code = store_code(store, sample->slot),
                                   .meta = store_meta(store, sample->slot)};
    const struct code_row second = {.code = store_code(store, sample->other),
                                    .meta = store_meta(store, sample->other)};
    codes_query_mixture(hnsw->space, &first, &second, other_share, query);
}

/* Offers the block's slots to samples that share a pass. */
static void take_block(const struct hnsw *hnsw, const struct code_query *const *queries,
                       struct sample *samples, size_t count, struct code_block *block) {
    codes_scan(hnsw->space, queries, count, block);
    for (size_t q = 0; q < count; q++) {
        const float *distances = block->distances + q * CODES_BATCH_MAX;
        for (size_t i = 0; i < block->count; i++)
            top_k_offer(&samples[q].truth,
                        (struct hit){.slot = block->slots[i], .distance = distances[i]});
    }
    block->count = 0;
}

/* The NEAREST of all linked slots by code, of at most KERNELS_QUERIES samples in one pass. */
static void scan(struct hnsw *hnsw, struct code_query *queries, struct sample *samples,
                 size_t count, struct index_scratch *scratch) {
    const struct store *store = hnsw->store;
    struct code_block *block = &scratch->block;
    const struct code_query *given[KERNELS_QUERIES];
    for (size_t q = 0; q < count; q++) {
        given[q] = &queries[q];
        make_query(hnsw, &samples[q], &queries[q]);
        top_k_init(&samples[q].truth, samples[q].nearest, NEAREST);
    }
    block->count = 0;
    for (uint32_t slot = 0, end = store_end(store); slot < end; slot++) {
        if (store_is_linked(store, slot))
            search_block_add(store, block, slot);
        if (block->count == CODES_BATCH_MAX)
            take_block(hnsw, given, samples, count, block);
        if (slot % PIECE_SLOTS == PIECE_SLOTS - 1)
            hnsw_pause(hnsw, scratch);
    }
    take_block(hnsw, given, samples, count, block);
    for (size_t q = 0; q < count; q++)
        top_k_finish(&samples[q].truth);
}

/* What is nearest to each sample; false when memory ends. */
static bool find_nearest(struct hnsw *hnsw, struct sample *samples, size_t count,
                         struct index_scratch *scratch) {
    struct code_query queries[KERNELS_QUERIES] = {0};
    bool has_memory = true;
    for (size_t q = 0; q < KERNELS_QUERIES; q++)
        has_memory &= codes_query_reserve(&queries[q], hnsw->space->width);
    for (size_t first = 0; has_memory && first < count; first += KERNELS_QUERIES)
        scan(hnsw, queries, samples + first,
             count - first < KERNELS_QUERIES ? count - first : KERNELS_QUERIES, scratch);
    for (size_t q = 0; q < KERNELS_QUERIES; q++)
        codes_query_free(&queries[q]);
    return has_memory;
}

/* The first linked slot from `from` on and before end; end or more if there is none. The end is the
 * caller's, who compares with it: that of the store grows meanwhile. */
static uint32_t find_linked(const struct store *store, uint32_t from, uint32_t end) {
    while (from < end && !store_is_linked(store, from))
        from++;
    return from;
}

/* Takes up to QUERIES samples from all over the set; their number. */
static size_t take_samples(const struct hnsw *hnsw, struct sample *samples) {
    uint64_t linked = atomic_load_explicit(&hnsw->linked, memory_order_relaxed);
    uint32_t end = store_end(hnsw->store);
    size_t count = 0;
    for (uint64_t i = 0; i < QUERIES; i++) {
        struct sample *sample = &samples[count];
        sample->slot = find_linked(hnsw->store, (uint32_t)(linked * i / QUERIES), end);
        sample->other =
            find_linked(hnsw->store, (uint32_t)(linked * ((i * 5 + 7) % QUERIES) / QUERIES), end);
        count += sample->slot < end && sample->other < end;
    }
    return count;
}

static double cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The share of the samples' neighbours that walks of this ef find: what is not farther than the
 * last of them. *ns: of CPU that they take. */
static double measure_recall(struct walk *walk, struct hnsw *hnsw, const struct sample *samples,
                             size_t count, double *ns) {
    size_t found = 0, wanted = 0;
    *ns = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
        if (entry == HNSW_NO_ENTRY)
            break;
        const struct top_k *truth = &samples[i].truth;
        make_query(hnsw, &samples[i], &walk->scratch->query);
        *ns -= cpu_ns();
        if (hnsw->store->edge_blocks > 0)
            codes_query_edges(hnsw->space, &walk->scratch->query);
        hnsw_walk_nearest(walk, entry);
        *ns += cpu_ns();
        for (size_t j = 0; j < walk->count && j < truth->count; j++)
            found += walk->pool[j].distance <= truth->hits[truth->count - 1].distance;
        wanted += truth->count;
        hnsw_pause(hnsw, walk->scratch);
    }
    return wanted > 0 ? (double)found / (double)wanted : 1;
}

/* Where to begin, since few samples err: by Manhattan distance and by edges walks find less, and a
 * pool that is twice as long as needed costs little in a small graph. */
static size_t first_ef(const struct hnsw *hnsw) {
    return hnsw->store->edge_blocks > 0 || hnsw->space->metric == CODE_METRIC_L1 ||
                   atomic_load_explicit(&hnsw->linked, memory_order_relaxed) < SMALL_GRAPH
               ? 1
               : 0;
}

/* What was found; searches see nothing of the trials. */
struct finding {
    uint32_t ef;
    float scored_per_ef, scored_ns;
};

static void publish(struct hnsw *hnsw, const struct finding *found) {
    atomic_store_explicit(&hnsw->default_ef, found->ef, memory_order_relaxed);
    atomic_store_explicit(&hnsw->walk_per_ef, found->scored_per_ef, memory_order_relaxed);
    atomic_store_explicit(&hnsw->walk_ns, found->scored_ns, memory_order_release);
}

void hnsw_calibrate(struct hnsw *hnsw, struct index_scratch *scratch) {
    struct sample samples[QUERIES];
    struct finding found = {0};
    size_t count = take_samples(hnsw, samples);
    if (count == 0 || !find_nearest(hnsw, samples, count, scratch))
        return;
    for (size_t e = first_ef(hnsw); e < sizeof(efs) / sizeof(efs[0]); e++) {
        struct walk walk;
        double ns;
        if (!hnsw_walk_init(&walk, hnsw, scratch, efs[e]))
            return;
        double recall = measure_recall(&walk, hnsw, samples, count, &ns);
        double scored = walk.scored > 0 ? (double)walk.scored : 1;
        found = (struct finding){.ef = efs[e],
                                 .scored_per_ef = (float)(scored / (double)(count * efs[e] + 1)),
                                 .scored_ns = (float)(ns / scored)};
        if (recall >= recall_wanted)
            break;
    }
    publish(hnsw, &found);
}
