/* Which candidates become links: the heuristic of the paper.
 *
 * A candidate is chosen unless a chosen one is nearer to it than the slot whose links they are to
 * be. The paper asks each candidate about all that were chosen before; here each one that is chosen
 * is measured against the candidates that are left, many in one call. That is the same choice for
 * half the time. A window bounds what is measured in vain, of candidates that lie beyond the last
 * one that there is room for.
 */
#include "index/hnsw.h"

#include <assert.h>
#include <string.h>

enum {
    WINDOW = 64 /* candidates */
};

/* Candidates of a window that are not covered by any chosen one, nearest first. */
struct window {
    const struct hnsw_candidates *candidates;
    size_t count;
    uint32_t places[WINDOW]; /* among the candidates */
};

static struct window open_window(const struct hnsw_candidates *candidates, size_t first) {
    size_t left = candidates->count - first;
    struct window window = {.candidates = candidates, .count = left < WINDOW ? left : WINDOW};
    for (size_t i = 0; i < window.count; i++)
        window.places[i] = (uint32_t)(first + i);
    return window;
}

/* Drops those to which the chosen slot is nearer than the slot whose links are chosen. */
static void drop_covered(const struct hnsw *hnsw, struct index_scratch *scratch, uint32_t chosen,
                         struct window *window) {
    const struct store *store = hnsw->store;
    const struct hit *hits = window->candidates->hits;
    struct code_batch *batch = &scratch->pair_batch;
    codes_query_row(hnsw->space, store_code(store, chosen), *store_meta(store, chosen),
                    &scratch->candidate);
    batch->count = 0;
    for (size_t i = 0; i < window->count; i++)
        search_batch_add(store, batch, hits[window->places[i]].slot);
    codes_distances(hnsw->space, &scratch->candidate, batch);
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        uint32_t place = window->places[i];
        window->places[kept] = place;
        kept += batch->distances[i] > hits[place].distance;
    }
    window->count = kept;
}

size_t hnsw_select(const struct hnsw *hnsw, struct index_scratch *scratch,
                   const struct hnsw_candidates *candidates, size_t max, bool *is_chosen) {
    uint32_t chosen[HNSW_PLACES_MAX];
    size_t chosen_count = 0;
    assert(max <= HNSW_PLACES_MAX && candidates->count <= HNSW_CANDIDATES_MAX);
    memset(is_chosen, 0, candidates->count * sizeof(is_chosen[0]));
    for (size_t first = 0; first < candidates->count && chosen_count < max; first += WINDOW) {
        struct window window = open_window(candidates, first);
        for (size_t i = 0; i < chosen_count && window.count > 0; i++)
            drop_covered(hnsw, scratch, chosen[i], &window);
        while (window.count > 0 && chosen_count < max) {
            uint32_t place = window.places[0];
            is_chosen[place] = true;
            chosen[chosen_count++] = candidates->hits[place].slot;
            memmove(window.places, window.places + 1, --window.count * sizeof(window.places[0]));
            if (window.count > 0)
                drop_covered(hnsw, scratch, chosen[chosen_count - 1], &window);
        }
    }
    return chosen_count;
}
