/* The walk that keeps to slots that pass a filter.
 *
 * The pool holds passing slots only. Where a neighbour fails, its own neighbours are looked at
 * instead (two hops, after ACORN, Patel et al. 2024, and NaviX, Sehgal & Salihoglu 2025): without
 * that the passing slots fall apart into islands. Besides the entry from above the walk starts at
 * slots drawn from the filter, for what passes may lie far from the query.
 */
#include "index/hnsw_links.h"

enum {
    SCORED_PER_STEP = 64, /* rows measured at once; further second hops add little */
    STARTS = 8,           /* slots drawn from the filter */
};

_Static_assert(SCORED_PER_STEP + HNSW_PLACES_MAX <= CODES_BATCH_MAX, "a step fits a batch");
_Static_assert(STARTS + HNSW_SEEDS_MAX <= CODES_BATCH_MAX, "starts and seeds fit a batch");

/* A slot with twins may not pass and yet lead to some that do. */
static bool is_wanted(const struct walk *walk, uint32_t slot) {
    return search_may_pass(walk->search, slot) || store_is_leading(walk->hnsw->store, slot);
}

/* Adds the passing neighbours met for the first time to the batch; those that fail to `failed`. */
static size_t look_at(struct walk *walk, uint32_t slot, size_t batch_max, uint32_t *failed) {
    const struct store *store = walk->hnsw->store;
    struct visited *visited = &walk->scratch->visited;
    struct code_batch *batch = &walk->scratch->batch;
    const _Atomic uint32_t *list = store_links(store, slot);
    size_t failed_count = 0;
    for (uint32_t i = 0; i < store->link_count && batch->count < batch_max; i++) {
        uint32_t link = hnsw_link_load(list, i) & ~HNSW_KEPT;
        if (!visited_is_new(visited, link))
            continue;
        if (is_wanted(walk, link)) {
            visited_add(visited, link);
            search_batch_add(store, batch, link);
        } else if (failed) {
            visited_add(visited, link);
            __builtin_prefetch(store_links(store, link));
            failed[failed_count++] = link;
        }
    }
    return failed_count;
}

static void expand(struct walk *walk, uint32_t slot) {
    uint32_t failed[HNSW_PLACES_MAX];
    walk->scratch->batch.count = 0;
    size_t count = look_at(walk, slot, CODES_BATCH_MAX, failed);
    for (size_t i = 0; i < count && walk->scratch->batch.count < SCORED_PER_STEP; i++)
        look_at(walk, failed[i], SCORED_PER_STEP, NULL);
}

/* Slots spread evenly over the filter's words, whatever passes first from there on. */
static void add_starts(struct walk *walk) {
    const struct slot_filter *filter = walk->search->query->filter;
    const struct store *store = walk->hnsw->store;
    struct visited *visited = &walk->scratch->visited;
    size_t words = bitmap_words(filter->slot_end);
    walk->scratch->batch.count = 0;
    for (size_t i = 0; i < STARTS; i++) {
        for (size_t word = words * i / STARTS; word < words * (i + 1) / STARTS; word++) {
            uint64_t bits = filter->words[word];
            if (bits == 0)
                continue;
            uint32_t slot = (uint32_t)(word * BITMAP_WORD_BITS) + bitmap_take_lowest(&bits);
            if (slot < visited->capacity && slot < filter->slot_end &&
                store_is_linked(store, slot) && visited_add(visited, slot))
                search_batch_add(store, &walk->scratch->batch, slot);
            break;
        }
    }
}

/* Seeds that pass: links may fail to lead to them. */
static void add_seeds(struct walk *walk) {
    const struct hnsw_seeds *seeds = &walk->hnsw->seeds;
    struct visited *visited = &walk->scratch->visited;
    uint32_t used = atomic_load_explicit(&seeds->used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        uint32_t seed = hnsw_seeds_load(seeds, i);
        if (seed < visited->capacity && is_wanted(walk, seed) && visited_add(visited, seed))
            search_batch_add(walk->hnsw->store, &walk->scratch->batch, seed);
    }
}

/* A lazy filter is asked only about what would enter the pool. */
static bool accepts(void *context, uint32_t slot) {
    struct walk *walk = context;
    return search_passes(walk->search, slot) || store_is_leading(walk->hnsw->store, slot);
}

void hnsw_walk_filtered(struct walk *walk, struct hit start, uint64_t scored_max) {
    uint32_t slot;
    visited_begin(&walk->scratch->visited);
    visited_add(&walk->scratch->visited, start.slot);
    walk->count = walk->cursor = 0;
    walk->level = 0;
    add_starts(walk);
    add_seeds(walk);
    hnsw_walk_take(walk, accepts);
    expand(walk, start.slot);
    if (is_wanted(walk, start.slot))
        search_batch_add(walk->hnsw->store, &walk->scratch->batch, start.slot);
    hnsw_walk_take(walk, accepts);
    while (walk->scored <= scored_max && hnsw_walk_next(walk, &slot)) {
        expand(walk, slot);
        hnsw_walk_take(walk, accepts);
        walk->search->scored += walk->scratch->batch.count;
        if (search_is_over(walk->search))
            break;
    }
    walk->was_full = walk->count == walk->ef;
    hnsw_walk_end(walk);
}
