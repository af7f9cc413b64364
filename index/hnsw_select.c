/* Which candidates become links: the heuristic of the paper. */
#include "index/hnsw.h"

#include <assert.h>

enum {
    GROUP = 4 /* chosen ones compared at once: what one kernel call measures together */
};

/* True if a chosen slot is nearer to the candidate than the slot whose links are chosen. */
static bool is_covered(const struct hnsw *hnsw, struct index_scratch *scratch, struct hit candidate,
                       const uint32_t *chosen, size_t count) {
    const struct store *store = hnsw->store;
    struct code_batch *batch = &scratch->pair_batch;
    codes_query_row(hnsw->space, store_code(store, candidate.slot),
                    *store_meta(store, candidate.slot), &scratch->candidate);
    for (size_t i = 0; i < count;) {
        batch->count = 0;
        for (; i < count && batch->count < GROUP; i++)
            search_batch_add(store, batch, chosen[i]);
        codes_distances(hnsw->space, &scratch->candidate, batch);
        for (size_t j = 0; j < batch->count; j++) {
            if (batch->distances[j] <= candidate.distance)
                return true;
        }
    }
    return false;
}

size_t hnsw_select(const struct hnsw *hnsw, struct index_scratch *scratch,
                   const struct hnsw_candidates *candidates, size_t max, bool *is_chosen) {
    uint32_t chosen[HNSW_PLACES_MAX];
    size_t chosen_count = 0;
    assert(max <= HNSW_PLACES_MAX && candidates->count <= HNSW_CANDIDATES_MAX);
    for (size_t i = 0; i < candidates->count; i++) {
        struct hit hit = candidates->hits[i];
        is_chosen[i] = chosen_count < max && !is_covered(hnsw, scratch, hit, chosen, chosen_count);
        if (is_chosen[i])
            chosen[chosen_count++] = hit.slot;
    }
    return chosen_count;
}
