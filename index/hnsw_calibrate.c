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
};

static const uint32_t efs[] = {64, 96, 128, 192, 256, 384, 512};
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

void hnsw_calibrate(struct hnsw *hnsw, struct index_scratch *scratch) {
    const struct store *store = hnsw->store;
    const size_t count = sizeof(efs) / sizeof(efs[0]);
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    uint32_t end = store_end(store), at = 0;
    size_t found[sizeof(efs) / sizeof(efs[0])] = {0}, wanted = 0;
    struct walk walk;
    if (entry == HNSW_NO_ENTRY || !hnsw_walk_init(&walk, hnsw, scratch, efs[count - 1]))
        return;
    for (uint32_t i = 0; i < QUERIES; i++) {
        struct hit nearest[NEAREST];
        struct top_k truth;
        /* The first linked slot from here on; strides of an odd size do not follow any order. */
        for (at = (at + end / QUERIES) | 1; at < end; at++) {
            if (store_is_present(store, at) && store_kind(store, at) == STORE_LINKED)
                break;
        }
        if (at >= end)
            break;
        codes_query_row(hnsw->space, store_code(store, at), *store_meta(store, at),
                        &scratch->query);
        if (store->edge_blocks > 0)
            codes_query_edges(hnsw->space, &scratch->query);
        top_k_init(&truth, nearest, NEAREST);
        scan(hnsw, scratch, at, &truth);
        wanted += truth.count;
        for (size_t e = 0; e < count; e++) {
            walk.ef = walk.kept_max = efs[e];
            found[e] += count_found(&walk, entry, at, &truth);
        }
    }
    /* A walk by edges expands about two thirds of the nodes that another of its ef expands. */
    for (size_t e = store->edge_blocks > 0 ? 1 : 0; e < count && wanted > 0; e++) {
        atomic_store_explicit(&hnsw->default_ef, efs[e], memory_order_relaxed);
        if ((double)found[e] >= recall_wanted * (double)wanted)
            break;
    }
}
