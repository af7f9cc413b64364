/* The default ef: the smallest at which walks find what an exact scan finds.
 *
 * Sampled slots are the queries, their own code taken for a vector, and recall is measured among
 * codes. Such queries lie within the set and are easier than those of users, so more is asked of
 * them than of the default: 0.99 here has been 0.97 or better on real queries.
 */
#include "index/hnsw.h"

enum {
    QUERIES = 48,
    NEAREST = 10,
    FINE_DIMENSION_MIN = 256,
};

/* Where even the last falls short the plan will prefer an exact scan, unless the set is huge. */
static const uint32_t efs[] = {64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096};
static const double recall_wanted = 0.99;

/* The NEAREST of all linked slots by code, but for the query itself. */
static void scan(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t slot,
                 struct top_k *top) {
    struct code_batch *batch = &scratch->batch;
    uint32_t end = store_end(hnsw->store);
    batch->count = 0;
    for (uint32_t other = 0; other <= end; other++) {
        if (batch->count == CODES_BATCH_MAX || (other == end && batch->count > 0)) {
            codes_distances(hnsw->space, &scratch->query, batch);
            for (size_t i = 0; i < batch->count; i++)
                top_k_offer(top,
                            (struct hit){.slot = batch->slots[i], .distance = batch->distances[i]});
            batch->count = 0;
        }
        if (other < end && other != slot && store_is_present(hnsw->store, other) &&
            store_kind(hnsw->store, other) == STORE_LINKED)
            search_batch_add(hnsw->store, batch, other);
    }
    top_k_finish(top);
}

/* How many of the truth a walk finds: those not farther than its last. */
static size_t count_found(struct walk *walk, uint64_t entry, uint32_t slot,
                          const struct top_k *truth) {
    size_t found = 0;
    hnsw_walk_nearest(walk, entry);
    for (size_t i = 0; i < walk->count && i <= NEAREST && found < truth->count; i++)
        found += walk->pool[i].slot != slot &&
                 walk->pool[i].distance <= truth->hits[truth->count - 1].distance;
    return found;
}

/* A slot that serves as a query, and what is nearest to it. */
struct sample {
    uint32_t slot;
    struct hit nearest[NEAREST];
    struct top_k truth;
};

static void make_query(const struct hnsw *hnsw, uint32_t slot, struct code_query *query) {
    codes_query_row(hnsw->space, store_code(hnsw->store, slot), *store_meta(hnsw->store, slot),
                    query);
    if (hnsw->store->edge_blocks > 0)
        codes_query_edges(hnsw->space, query);
}

/* Takes up to QUERIES samples; their number. */
static size_t take_samples(const struct hnsw *hnsw, struct index_scratch *scratch,
                           struct sample *samples) {
    const struct store *store = hnsw->store;
    uint32_t end = store_end(store), at = 0;
    size_t count = 0;
    for (; count < QUERIES; count++) {
        struct sample *sample = &samples[count];
        /* The first linked slot from here on; strides of an odd size do not follow any order. */
        for (at = (at + end / QUERIES) | 1; at < end; at++) {
            if (store_is_present(store, at) && store_kind(store, at) == STORE_LINKED)
                break;
        }
        if (at >= end)
            break;
        sample->slot = at;
        make_query(hnsw, at, &scratch->query);
        top_k_init(&sample->truth, sample->nearest, NEAREST);
        scan(hnsw, scratch, at, &sample->truth);
    }
    return count;
}

/* The share of the samples' neighbours that walks of this ef find. */
static double measure_recall(struct walk *walk, uint64_t entry, const struct sample *samples,
                             size_t count) {
    size_t found = 0, wanted = 0;
    for (size_t i = 0; i < count; i++) {
        make_query(walk->hnsw, samples[i].slot, &walk->scratch->query);
        found += count_found(walk, entry, samples[i].slot, &samples[i].truth);
        wanted += samples[i].truth.count;
    }
    return wanted > 0 ? (double)found / (double)wanted : 1;
}

/* Where to begin: a walk by edges expands fewer nodes than another of its ef, and with few
 * dimensions in a rougher order. Queries of users feel that more than those that lie within the
 * set. */
static size_t first_ef(const struct hnsw *hnsw) {
    if (hnsw->store->edge_blocks == 0)
        return 0;
    return hnsw->space->dimension < FINE_DIMENSION_MIN ? 2 : 1;
}

void hnsw_calibrate(struct hnsw *hnsw, struct index_scratch *scratch) {
    struct sample samples[QUERIES];
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    size_t count = take_samples(hnsw, scratch, samples);
    size_t first = first_ef(hnsw);
    for (size_t e = first; entry != HNSW_NO_ENTRY && e < sizeof(efs) / sizeof(efs[0]); e++) {
        struct walk walk;
        if (!hnsw_walk_init(&walk, hnsw, scratch, efs[e]))
            return;
        atomic_store_explicit(&hnsw->default_ef, efs[e], memory_order_relaxed);
        if (measure_recall(&walk, entry, samples, count) >= recall_wanted)
            break;
    }
}
